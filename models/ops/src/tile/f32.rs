//! Tiles with f32 sums and f32 rows: the sums stay in registers over the whole depth.

use super::{
    super::simd::{LANES, Simd, load_all, per_isa},
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
    let tile = Tile { depth, a, c, c_stride, accumulate };
    // SAFETY: the caller's promises.
    unsafe { multiply::<S, STRIDE>(tile, b) }
}

#[inline(always)]
unsafe fn short<S: Simd>(depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_stride: usize, accumulate: bool) {
    let tile = Tile { depth, a, c, c_stride, accumulate };
    // SAFETY: the caller's promises.
    unsafe { multiply::<S, SHORT_STRIDE>(tile, b) }
}

#[inline(always)]
unsafe fn widened<S: Simd>(depth: usize, a: *const f32, b: *const u16, c: *mut f32, c_stride: usize, accumulate: bool) {
    let tile = Tile { depth, a, c, c_stride, accumulate };
    // SAFETY: the caller's promises; the other half of a step of b is behind the first.
    unsafe {
        if S::TILE_VECTORS == 2 {
            widened_columns::<S, 2>(tile, b);
        } else {
            widened_columns::<S, 1>(tile, b);
            widened_columns::<S, 1>(tile.other_half(), b.add(STEP_LEN / 2));
        }
    }
}

/// All but the panel.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    a: *const f32,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
}

impl Tile {
    fn other_half(self) -> Tile {
        Tile { c: self.c.wrapping_add(LANES), ..self }
    }
}

#[inline(always)]
unsafe fn multiply<S: Simd, const A_STRIDE: usize>(tile: Tile, b: *const f32) {
    // SAFETY: the caller's promises.
    unsafe {
        if S::TILE_VECTORS == 2 {
            columns::<S, A_STRIDE, 2>(tile, b);
        } else {
            columns::<S, A_STRIDE, 1>(tile, b);
            columns::<S, A_STRIDE, 1>(tile.other_half(), b.add(LANES));
        }
    }
}

/// `N` vectors of each row.
#[inline(always)]
unsafe fn columns<S: Simd, const A_STRIDE: usize, const N: usize>(tile: Tile, b: *const f32) {
    // SAFETY: row r of a and c, and row k of b, are within what the caller promised.
    unsafe {
        let mut sums = begin::<S, N>(&tile);
        for k in 0..tile.depth {
            step::<S, A_STRIDE, N>(tile.a.add(k), load_all::<S, N>(b.add(k * PANEL), LANES), &mut sums);
        }
        finish::<S, N>(&tile, &sums);
    }
}

/// `N` vectors of each row.
#[inline(always)]
unsafe fn widened_columns<S: Simd, const N: usize>(tile: Tile, b: *const u16) {
    // SAFETY: as in `columns`; a half of a step of b is 16 pairs.
    unsafe {
        let mut sums = begin::<S, N>(&tile);
        for pair in 0..tile.depth / 2 {
            let pairs = b.add(pair / (STEP / 2) * STEP_LEN + pair % (STEP / 2) * 2 * LANES);
            let (mut even, mut odd) = ([S::splat(0.0); N], [S::splat(0.0); N]);
            for i in 0..N {
                (even[i], odd[i]) = S::load_bf16_pairs(pairs.add(i * STEP_LEN / 2));
            }
            let a = tile.a.add(2 * pair);
            step::<S, STRIDE, N>(a, even, &mut sums);
            step::<S, STRIDE, N>(a.add(1), odd, &mut sums);
        }
        finish::<S, N>(&tile, &sums);
    }
}

type Sums<S, const N: usize> = [[<S as Simd>::V; N]; MAX_ROWS];

/// Adds the products of one column of `a` and one row of b.
#[inline(always)]
unsafe fn step<S: Simd, const A_STRIDE: usize, const N: usize>(a: *const f32, b: [S::V; N], sums: &mut Sums<S, N>) {
    for (r, sums) in sums.iter_mut().enumerate().take(S::TILE_ROWS) {
        // SAFETY: row r of a.
        unsafe {
            let x = S::splat(*a.add(r * A_STRIDE));
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = S::fma(x, b, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn begin<S: Simd, const N: usize>(tile: &Tile) -> Sums<S, N> {
    // SAFETY: row r of c.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; MAX_ROWS];
        if tile.accumulate {
            for (r, sums) in sums.iter_mut().enumerate().take(S::TILE_ROWS) {
                *sums = load_all::<S, N>(tile.c.add(r * tile.c_stride), LANES);
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const N: usize>(tile: &Tile, sums: &Sums<S, N>) {
    for (r, sums) in sums.iter().enumerate().take(S::TILE_ROWS) {
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: row r of c.
            unsafe { S::store(tile.c.add(r * tile.c_stride + i * LANES), *sum) }
        }
    }
}
