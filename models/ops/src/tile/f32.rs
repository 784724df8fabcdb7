//! Tiles with f32 sums and f32 rows: the sums stay in registers over the whole depth.

use super::{
    super::simd::{LANES, Simd, per_isa},
    PANEL, SHORT_STRIDE, STEP, STEP_LEN, STRIDE,
};

/// At least `TILE_ROWS` of every `Simd`.
const MAX_ROWS: usize = 14;

per_isa! {
    /// `c = a b`, or `c += a b`: `simd::tile_rows` rows, 32 columns.
    ///
    /// # Safety
    /// `a`: rows of `depth` <= `DEPTH` numbers, `STRIDE` apart. `b`: `depth` rows of 32.
    /// `c`: rows of 32, `c_stride` apart. `isa` is available.
    pub(crate) fn tile_f32(
        depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_stride: usize, accumulate: bool,
    ) = long;
}

per_isa! {
    /// `tile_f32` with rows of `a` `SHORT_STRIDE` apart, and `depth` <= `SHORT_DEPTH`.
    ///
    /// # Safety
    /// As `tile_f32`.
    pub(crate) fn tile_f32_short(
        depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_stride: usize, accumulate: bool,
    ) = short;
}

per_isa! {
    /// `tile_f32` with a bf16 panel, for machines that cannot multiply bf16.
    ///
    /// # Safety
    /// As `tile_f32`; `depth` is a multiple of 32, and `b` has that many rows.
    pub(crate) fn tile_widened(
        depth: usize, a: *const f32, b: *const u16, c: *mut f32, c_stride: usize, accumulate: bool,
    ) = widened;
}

#[inline(always)]
unsafe fn long<S: Simd>(depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_stride: usize, accumulate: bool) {
    // SAFETY: the caller's promises.
    unsafe { multiply::<S, STRIDE>(depth, a, b, c, c_stride, accumulate) }
}

#[inline(always)]
unsafe fn short<S: Simd>(depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_stride: usize, accumulate: bool) {
    // SAFETY: the caller's promises.
    unsafe { multiply::<S, SHORT_STRIDE>(depth, a, b, c, c_stride, accumulate) }
}

#[inline(always)]
unsafe fn multiply<S: Simd, const A_STRIDE: usize>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
) {
    // SAFETY: row r of a and c, and row k of b, are within what the caller promised.
    unsafe {
        let mut sums = begin::<S>(c, c_stride, accumulate);
        for k in 0..depth {
            let row = b.add(k * PANEL);
            step::<S, A_STRIDE>(a.add(k), S::load(row), S::load(row.add(LANES)), &mut sums);
        }
        finish::<S>(c, c_stride, &sums);
    }
}

#[inline(always)]
unsafe fn widened<S: Simd>(depth: usize, a: *const f32, b: *const u16, c: *mut f32, c_stride: usize, accumulate: bool) {
    // SAFETY: as in `multiply`; a step of b is two halves of 16 pairs.
    unsafe {
        let mut sums = begin::<S>(c, c_stride, accumulate);
        for pair in 0..depth / 2 {
            let left = b.add(pair / (STEP / 2) * STEP_LEN + pair % (STEP / 2) * 2 * LANES);
            let (even0, odd0) = S::load_bf16_pairs(left);
            let (even1, odd1) = S::load_bf16_pairs(left.add(STEP_LEN / 2));
            let a = a.add(2 * pair);
            step::<S, STRIDE>(a, even0, even1, &mut sums);
            step::<S, STRIDE>(a.add(1), odd0, odd1, &mut sums);
        }
        finish::<S>(c, c_stride, &sums);
    }
}

type Sums<S> = [[<S as Simd>::V; 2]; MAX_ROWS];

/// Adds the products of one column of `a` and one row of b.
#[inline(always)]
unsafe fn step<S: Simd, const A_STRIDE: usize>(a: *const f32, b0: S::V, b1: S::V, sums: &mut Sums<S>) {
    for (r, sums) in sums.iter_mut().enumerate().take(S::TILE_ROWS) {
        // SAFETY: row r of a.
        unsafe {
            let x = S::splat(*a.add(r * A_STRIDE));
            sums[0] = S::fma(x, b0, sums[0]);
            sums[1] = S::fma(x, b1, sums[1]);
        }
    }
}

#[inline(always)]
unsafe fn begin<S: Simd>(c: *const f32, c_stride: usize, accumulate: bool) -> Sums<S> {
    // SAFETY: row r of c.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; MAX_ROWS];
        if accumulate {
            for (r, sums) in sums.iter_mut().enumerate().take(S::TILE_ROWS) {
                *sums = [S::load(c.add(r * c_stride)), S::load(c.add(r * c_stride + LANES))];
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn finish<S: Simd>(c: *mut f32, c_stride: usize, sums: &Sums<S>) {
    for (r, sums) in sums.iter().enumerate().take(S::TILE_ROWS) {
        // SAFETY: row r of c.
        unsafe {
            S::store(c.add(r * c_stride), sums[0]);
            S::store(c.add(r * c_stride + LANES), sums[1]);
        }
    }
}
