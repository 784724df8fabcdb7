//! What follows the sums of a panel: bias, activation, residual, and out to the rows of y.

use super::{
    super::{
        isa::Isa,
        simd::{LANES, Simd, math, per_isa},
        tile::PANEL,
    },
    Activation,
};

/// A panel's results for a few rows, on their way out.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// Sums, rows of 32, `sums_stride` apart.
    pub sums: *const f32,
    pub sums_stride: usize,
    pub rows: usize,
    /// 32 of them.
    pub bias: *const f32,
    /// First result of the first row; rows are `y_stride` apart.
    pub y: *mut f32,
    pub y_stride: usize,
    /// Results that exist: up to 32, for GEGLU up to 16.
    pub outputs: usize,
    /// Whether to add to what is in y.
    pub add: bool,
}

/// # Safety
/// The pointers of `finish` are valid for what it says, and nobody else uses these
/// places of y. `isa` is available.
pub(super) unsafe fn finish(isa: Isa, activation: Activation, finish: Finish) {
    // SAFETY: the caller's promises.
    unsafe {
        match activation {
            Activation::None => finish_plain(isa, finish),
            Activation::Gelu => finish_gelu(isa, finish),
            Activation::Geglu => finish_geglu(isa, finish),
        }
    }
}

per_isa! { fn finish_plain(finish: Finish) = plain; }
per_isa! { fn finish_gelu(finish: Finish) = gelu; }
per_isa! { fn finish_geglu(finish: Finish) = geglu; }

#[inline(always)]
unsafe fn plain<S: Simd>(f: Finish) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..f.rows {
            let (v0, v1) = biased::<S>(&f, row);
            write::<S, 2>(&f, row, [v0, v1]);
        }
    }
}

#[inline(always)]
unsafe fn gelu<S: Simd>(f: Finish) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..f.rows {
            let (v0, v1) = biased::<S>(&f, row);
            write::<S, 2>(&f, row, [math::gelu::<S>(v0), math::gelu::<S>(v1)]);
        }
    }
}

#[inline(always)]
unsafe fn geglu<S: Simd>(f: Finish) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..f.rows {
            let (value, gate) = biased::<S>(&f, row);
            write::<S, 1>(&f, row, [S::mul(value, math::gelu::<S>(gate))]);
        }
    }
}

#[inline(always)]
unsafe fn biased<S: Simd>(f: &Finish, row: usize) -> (S::V, S::V) {
    // SAFETY: a row of sums and the bias are 32 numbers.
    unsafe {
        let sums = f.sums.add(row * f.sums_stride);
        (S::add(S::load(sums), S::load(f.bias)), S::add(S::load(sums.add(LANES)), S::load(f.bias.add(LANES))))
    }
}

#[inline(always)]
unsafe fn write<S: Simd, const N: usize>(f: &Finish, row: usize, values: [S::V; N]) {
    // SAFETY: `outputs` places of this row of y are ours.
    unsafe {
        let y = f.y.add(row * f.y_stride);
        if f.outputs == N * LANES {
            for (i, &v) in values.iter().enumerate() {
                let y = y.add(i * LANES);
                S::store(y, if f.add { S::add(S::load(y), v) } else { v });
            }
            return;
        }
        let mut all = [0.0_f32; PANEL];
        for (i, &v) in values.iter().enumerate() {
            S::store(all.as_mut_ptr().add(i * LANES), v);
        }
        for (i, v) in all.into_iter().enumerate().take(f.outputs) {
            *y.add(i) = if f.add { *y.add(i) + v } else { v };
        }
    }
}
