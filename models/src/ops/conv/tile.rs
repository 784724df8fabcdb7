//! The inner loop: a few pixels times the outputs of a panel, sums in registers over all taps and
//! channels; then bias, activation and out.

use super::{
    super::simd::{LANES, Simd, per_isa},
    Then,
    after::{Kind, after},
};

/// Outputs of a panel.
pub(super) const PANEL: usize = 32;

/// Longest depth of a chunk, and from pixel to pixel then: a cache line more, since pixels at powers
/// of two apart would fall on the same few places of the cache. Known to the compiler, so that
/// pixels of a tile are addressed from one register.
pub(super) const STRIDES: [(usize, usize); 4] = [(64, 80), (128, 144), (256, 272), (512, 528)];

/// Sums of a tile: at least `TILE_ROWS` times two vectors of every `Simd`.
const MAX_SUMS: usize = 28;

/// Where the numbers of a tap and chunk begin, from the first pixel of a tile, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub at: usize,
    pub depth: usize,
}

pub(super) struct Tile<'a> {
    /// The first pixel at the first tap.
    pub a: *const f32,
    pub stride: usize,
    pub segments: &'a [Segment],
    /// Numbers are pairs of bf16.
    pub pairs: bool,
    /// The panel: rows of `width`, in the order of segments.
    pub b: *const f32,
    /// `PANEL`, or half of it.
    pub width: usize,
    /// For each pixel of the tile, where its outputs go; null where nobody wants them.
    pub to: &'a [*mut f32],
    /// Outputs that exist.
    pub outputs: usize,
    /// `PANEL` of each.
    pub bias: *const f32,
    pub slopes: *const f32,
    pub after: Kind,
    pub then: Then,
}

/// Pixels of a tile.
pub(super) fn n_pixels(isa: super::super::Isa, width: usize) -> usize {
    super::super::simd::tile_rows(isa) * (PANEL / width)
}

per_isa! {
    /// # Safety
    /// `a`: `n_pixels` pixels, `stride` apart, each segment of each of them readable. `b` holds
    /// `width` numbers for each number of all segments. `to` is as long as a tile, and where it is
    /// not null the `outputs` places are nobody else's. `isa` is available.
    pub(super) fn tile(tile: &Tile) = any;
}

#[inline(always)]
unsafe fn any<S: Simd>(tile: &Tile) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[0.0_f32; LANES]; MAX_SUMS];
        let c = sums.as_mut_ptr().cast();
        match (tile.pairs, tile.width == PANEL) {
            (false, true) => of_stride::<S, 2, false>(tile, c),
            (false, false) => of_stride::<S, 1, false>(tile, c),
            (true, true) => of_stride::<S, 2, true>(tile, c),
            (true, false) => of_stride::<S, 1, true>(tile, c),
        }
        for (i, &to) in tile.to.iter().enumerate() {
            if !to.is_null() {
                finish::<S>(tile, c.add(i * tile.width), to);
            }
        }
    }
}

#[inline(always)]
unsafe fn of_stride<S: Simd, const N: usize, const PAIRS: bool>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.stride {
            80 => multiply::<S, N, PAIRS, 80>(tile, c),
            144 => multiply::<S, N, PAIRS, 144>(tile, c),
            272 => multiply::<S, N, PAIRS, 272>(tile, c),
            _ => multiply::<S, N, PAIRS, 528>(tile, c),
        }
    }
}

/// `N` vectors of sums for each pixel, written to c.
#[inline(always)]
unsafe fn multiply<S: Simd, const N: usize, const PAIRS: bool, const STRIDE: usize>(tile: &Tile, c: *mut f32) {
    // SAFETY: pixels and panel are as the caller promised.
    unsafe {
        let n = S::TILE_ROWS * 2 / N;
        let mut sums = [S::splat(0.0); MAX_SUMS];
        let mut b = tile.b;
        for segment in tile.segments {
            let a = tile.a.add(segment.at);
            for k in 0..segment.depth {
                let row: [S::V; N] = std::array::from_fn(|i| S::load(b.add(i * LANES)));
                for r in 0..n {
                    let x = S::splat(*a.add(r * STRIDE + k));
                    for (i, row) in row.iter().enumerate() {
                        let sum = &mut sums[r * N + i];
                        *sum = if PAIRS { S::dot_bf16(x, *row, *sum) } else { S::fma(x, *row, *sum) };
                    }
                }
                b = b.add(N * LANES);
            }
        }
        for (i, sum) in sums.iter().enumerate().take(n * N) {
            S::store(c.add(i * LANES), *sum);
        }
    }
}

/// One pixel's outputs from its sums.
#[inline(always)]
unsafe fn finish<S: Simd>(tile: &Tile, sums: *const f32, to: *mut f32) {
    // SAFETY: `width` sums, as many of bias and slopes; `outputs` places.
    unsafe {
        for first in (0..tile.outputs).step_by(LANES) {
            let v = S::add(S::load(sums.add(first)), S::load(tile.bias.add(first)));
            let v = after::<S>(tile.after, v, S::load(tile.slopes.add(first)));
            let (to, n) = (to.add(first), tile.outputs - first);
            let add = |v: S::V, old: S::V| match tile.then {
                Then::Write => v,
                Then::Add { scale } => S::fma(v, S::splat(scale), old),
            };
            if n >= LANES {
                let old = if tile.then == Then::Write { v } else { S::load(to) };
                S::store(to, add(v, old));
            } else {
                let mut few = [0.0; LANES];
                if tile.then != Then::Write {
                    std::ptr::copy_nonoverlapping(to, few.as_mut_ptr(), n);
                }
                S::store(few.as_mut_ptr(), add(v, S::load(few.as_ptr())));
                std::ptr::copy_nonoverlapping(few.as_ptr(), to, n);
            }
        }
    }
}
