//! Numbers to the order that tiles want them in.
//!
//! The rows to pack are asked for one by one; a row that does not exist is packed as zeros.
//! So are depths beyond the last, up to the next whole step of 32 of bf16.

use super::{
    super::{
        bf16::Parts,
        isa::Isa,
        simd::{LANES, Simd, load_few, per_isa},
    },
    PANEL, STEP, STEP_LEN,
};

type Rows<'a, const N: usize> = [Option<&'a [f32]>; N];

/// An f32 panel of B: `row(c)` is its column c, at least `depth` long. `to`: `depth * PANEL`.
pub(crate) fn pack_columns<'a>(isa: Isa, depth: usize, row: impl Fn(usize) -> Option<&'a [f32]>, to: &mut [f32]) {
    assert!(to.len() >= depth * PANEL, "{depth} rows of a panel do not fit in {}", to.len());
    for half in 0..2 {
        let rows: Rows<LANES> = std::array::from_fn(|c| row(half * LANES + c).map(|r| &r[..depth]));
        // SAFETY: existing rows are `depth` long; from this half's first column on, `depth` rows
        // of 16 that are 32 apart fit in `to`, as asserted.
        unsafe { columns_half(isa, &rows, depth, to.as_mut_ptr().add(half * LANES)) }
    }
}

/// A bf16 panel of B: `row(c)` is its column c, at least `depth` long.
pub(crate) fn pack_columns_bf16<'a>(
    isa: Isa,
    parts: Parts,
    depth: usize,
    row: impl Fn(usize) -> Option<&'a [f32]>,
    to: &mut [u16],
) {
    let steps = depth.div_ceil(STEP);
    assert!(to.len() >= steps * parts.n() * STEP_LEN, "{steps} steps do not fit in {}", to.len());
    for half in 0..2 {
        let rows: Rows<LANES> = std::array::from_fn(|c| row(half * LANES + c).map(|r| &r[..depth]));
        // SAFETY: existing rows are `depth` long; half of each step is written, which fits, as asserted.
        unsafe { columns_half_bf16(isa, parts.n(), &rows, depth, to.as_mut_ptr().add(half * STEP_LEN / 2)) }
    }
}

/// One step of a bf16 panel of B: `row(k)` is its row k of 32, up to 32 columns long.
pub(crate) fn pack_depths_bf16<'a>(isa: Isa, parts: Parts, row: impl Fn(usize) -> Option<&'a [f32]>, to: &mut [u16]) {
    assert!(to.len() >= parts.n() * STEP_LEN, "a step does not fit in {}", to.len());
    let rows: Rows<STEP> = std::array::from_fn(&row);
    // SAFETY: rows are slices; `to` holds a step, as asserted.
    unsafe { depths_step_bf16(isa, parts.n(), &rows, to.as_mut_ptr()) }
}

/// 32 rows of bf16 A, times `scale`: `row(r)` is row r, at least `depth` long.
pub(crate) fn pack_rows_bf16<'a>(
    isa: Isa,
    parts: Parts,
    depth: usize,
    scale: f32,
    row: impl Fn(usize) -> Option<&'a [f32]>,
    to: &mut [u16],
) {
    let steps = depth.div_ceil(STEP);
    assert!(to.len() >= steps * parts.n() * STEP_LEN, "{steps} steps do not fit in {}", to.len());
    for r in 0..STEP {
        let from = row(r).map_or(&[][..], |r| &r[..depth]);
        // SAFETY: `from` is a slice; row r of each step fits in `to`, as asserted.
        unsafe { round_row(isa, parts.n(), from, steps, scale, to.as_mut_ptr().add(r * STEP)) }
    }
}

per_isa! { fn columns_half(rows: &Rows<LANES>, depth: usize, to: *mut f32) = transpose_columns; }
per_isa! { fn columns_half_bf16(parts: usize, rows: &Rows<LANES>, depth: usize, to: *mut u16) = transpose_pairs; }
per_isa! { fn depths_step_bf16(parts: usize, rows: &Rows<STEP>, to: *mut u16) = interleave; }
per_isa! { fn round_row(parts: usize, row: &[f32], steps: usize, scale: f32, to: *mut u16) = round; }

/// 16 depths of 16 columns.
#[inline(always)]
unsafe fn square<S: Simd>(rows: &Rows<LANES>, first: usize) -> [S::V; LANES] {
    // SAFETY: no memory but that of rows is touched.
    unsafe {
        let mut square = [S::splat(0.0); LANES];
        for (v, row) in square.iter_mut().zip(rows) {
            *v = sixteen::<S>(row.unwrap_or_default(), first);
        }
        S::transpose(square)
    }
}

/// 16 numbers from `first` on, zeros where there are none.
#[inline(always)]
unsafe fn sixteen<S: Simd>(row: &[f32], first: usize) -> S::V {
    let row = row.get(first..).unwrap_or_default();
    // SAFETY: as many as there are.
    unsafe { if row.len() >= LANES { S::load(row.as_ptr()) } else { load_few::<S>(row.as_ptr(), row.len()) } }
}

#[inline(always)]
unsafe fn transpose_columns<S: Simd>(rows: &Rows<LANES>, depth: usize, to: *mut f32) {
    // SAFETY: the caller promises `depth` places of 16, 32 apart.
    unsafe {
        for first in (0..depth).step_by(LANES) {
            let square = square::<S>(rows, first);
            for (k, v) in square.into_iter().enumerate().take(depth - first) {
                S::store(to.add((first + k) * PANEL), v);
            }
        }
    }
}

/// Takes away what bf16 numbers of `v` hold: what the next part has to.
#[inline(always)]
unsafe fn rest<S: Simd>(v: S::V) -> S::V {
    // SAFETY: no memory is touched.
    unsafe { S::sub(v, S::to_bf16(v)) }
}

#[inline(always)]
unsafe fn transpose_pairs<S: Simd>(parts: usize, rows: &Rows<LANES>, depth: usize, to: *mut u16) {
    // SAFETY: the caller promises half of each part of a step for every 32 of `depth`.
    unsafe {
        for (i, first) in (0..depth.next_multiple_of(STEP)).step_by(LANES).enumerate() {
            let mut square = square::<S>(rows, first);
            for part in 0..parts {
                let to = to.add((i / 2 * parts + part) * STEP_LEN + i % 2 * (STEP_LEN / 4));
                for p in 0..LANES / 2 {
                    S::store(to.add(p * 2 * LANES).cast(), S::pair_bf16(square[2 * p], square[2 * p + 1]));
                }
                if part + 1 < parts {
                    for v in &mut square {
                        *v = rest::<S>(*v);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn interleave<S: Simd>(parts: usize, rows: &Rows<STEP>, to: *mut u16) {
    // SAFETY: the caller promises a whole step of all parts.
    unsafe {
        for half in 0..2 {
            for p in 0..STEP / 2 {
                let (even, odd) = (rows[2 * p].unwrap_or_default(), rows[2 * p + 1].unwrap_or_default());
                let (mut even, mut odd) = (sixteen::<S>(even, half * LANES), sixteen::<S>(odd, half * LANES));
                for part in 0..parts {
                    let to = to.add(part * STEP_LEN + half * STEP_LEN / 2 + p * 2 * LANES);
                    S::store(to.cast(), S::pair_bf16(even, odd));
                    (even, odd) = (rest::<S>(even), rest::<S>(odd));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn round<S: Simd>(parts: usize, row: &[f32], steps: usize, scale: f32, to: *mut u16) {
    // SAFETY: the caller promises 32 places for every part of a step, `STEP_LEN` apart.
    unsafe {
        let scale = S::splat(scale);
        for s in 0..steps {
            let mut v0 = S::mul(sixteen::<S>(row, s * STEP), scale);
            let mut v1 = S::mul(sixteen::<S>(row, s * STEP + LANES), scale);
            for part in 0..parts {
                S::store_two_bf16(to.add((s * parts + part) * STEP_LEN), v0, v1);
                (v0, v1) = (rest::<S>(v0), rest::<S>(v1));
            }
        }
    }
}
