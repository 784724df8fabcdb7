//! The inner loop: a few pixels times the outputs of a panel, sums in registers over all taps and
//! channels; then bias, activation and out.

use std::mem::MaybeUninit;

use super::{
    super::{
        Isa,
        simd::{LANES, Simd, per_isa, tile_rows},
    },
    Then,
    after::{Kind, after},
    amx,
    values::Output,
    weights::Products,
};

/// In the place of an output that is not wanted.
pub(super) const NOBODY: usize = usize::MAX;

/// Outputs of a panel; the last may be of 16, 48 or 64.
pub(super) const PANEL: usize = 32;

/// Pixels of a tile of a panel wider than that.
pub(super) const fn wide_rows(width: usize) -> usize {
    if width > 48 { 6 } else { 9 }
}

/// At least `TILE_ROWS` of every `Simd`.
const MAX_ROWS: usize = 14;
const MAX_SUMS: usize = 2 * MAX_ROWS;

/// Most pixels of a tile of half a panel: the addresses of more do not stay in registers, and loading
/// is what takes long there.
const NARROW_ROWS: usize = 12;

/// The words of a tap and chunk, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
#[repr(C)] // read in assembly
pub(super) struct Segment {
    /// Those of pixel 0.
    pub from: *const f32,
    pub depth: usize,
    /// Words from pixel to pixel.
    pub per_pixel: usize,
    /// The first row of the panel.
    pub row: usize,
}

pub(super) struct Tile<'a> {
    pub segments: &'a [Segment],
    /// The first pixel, and how many further on each following one is.
    pub pixel: usize,
    pub step: usize,
    pub products: Products,
    /// Words from the first part of a pixel to the second.
    pub part_stride: usize,
    /// The panel: rows of `width`, in the order of segments.
    pub b: *const f32,
    /// `PANEL`, half of it, or half of it or all of it more.
    pub width: usize,
    /// All outputs, and for each pixel of the tile which is its first of this panel, or `NOBODY`.
    pub y: Output,
    pub to: &'a [usize],
    /// Outputs that exist.
    pub outputs: usize,
    /// `width` of each.
    pub bias: *const f32,
    pub slopes: *const f32,
    pub after: Kind,
    pub then: Then<'a>,
}

/// Pixels of a whole tile.
pub(super) fn full(isa: Isa, products: Products, width: usize) -> usize {
    match products {
        Products::Tiles(_) => 2 * amx::ROWS,
        _ if width > PANEL => wide_rows(width),
        _ if width < PANEL => tile_rows(isa).min(NARROW_ROWS),
        _ => tile_rows(isa),
    }
}

/// Pixels of a tile that computes at least `wanted`, or as many as one can: the last tile of a row
/// need not be as long as others.
pub(super) fn n_pixels(isa: Isa, products: Products, width: usize, wanted: usize) -> usize {
    let full = full(isa, products, width);
    let shorter: &[usize] = match products {
        Products::Tiles(_) if width < PANEL => &[],
        Products::Tiles(_) => &[amx::ROWS],
        _ if width > PANEL => &[WIDE_SHORTER],
        _ if full == NARROW_ROWS => &[NARROW_ROWS / 2],
        _ if full > SHORTER[0] => &SHORTER,
        _ => &[],
    };
    shorter.iter().copied().filter(|n| *n >= wanted).min().unwrap_or(full)
}

/// Pixels of shorter tiles, where tiles are of 14, and of wide panels.
const SHORTER: [usize; 2] = [10, 7];
const WIDE_SHORTER: usize = 3;

/// # Safety
/// `to` is as long as a tile (`n_pixels`), and the `outputs` places of y from each on are nobody
/// else's. As many pixels are there to be read, of each segment; none of them is empty. `b`
/// holds `width` numbers for each row of all segments. `isa` is available; for tiles of AMX,
/// `Bf16Tiles` lives, segments are multiples of 16 long, and all are one panel's rows in their order.
pub(super) unsafe fn tile(isa: Isa, tile: &Tile) {
    // SAFETY: the caller's promises.
    unsafe {
        if let Products::Tiles(parts) = tile.products {
            let mut sums = MaybeUninit::<Lines<{ amx::SUMS }>>::uninit();
            amx::multiply(tile, parts, sums.as_mut_ptr().cast());
            finished(isa, tile, sums.as_ptr().cast());
        } else {
            by_vectors(isa, tile);
        }
    }
}

/// Numbers that begin at a cache line.
#[repr(align(64))]
struct Lines<const N: usize>(#[allow(dead_code)] [f32; N]); // only its place is used

per_isa! { fn by_vectors(tile: &Tile) = any; }
per_isa! { fn finished(tile: &Tile, sums: *const f32) = finish; }

#[inline(always)]
unsafe fn any<S: Simd>(tile: &Tile) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = MaybeUninit::<Lines<{ MAX_SUMS * LANES }>>::uninit();
        let c = sums.as_mut_ptr().cast();
        match (tile.width, tile.products == Products::Pairs) {
            (PANEL, false) => of_rows::<S, false>(tile, c),
            (PANEL, true) => of_rows::<S, true>(tile, c),
            (48.., _) if S::TILE_ROWS < MAX_ROWS => unreachable!("panels are not made so wide"),
            (48, _) if tile.to.len() == WIDE_SHORTER => multiply::<S, 3, false, WIDE_SHORTER>(tile, c),
            (48, _) => multiply::<S, 3, false, { wide_rows(48) }>(tile, c),
            (64, _) if tile.to.len() == WIDE_SHORTER => multiply::<S, 4, false, WIDE_SHORTER>(tile, c),
            (64, _) => multiply::<S, 4, false, { wide_rows(64) }>(tile, c),
            (_, false) => of_few_rows::<S, false>(tile, c),
            (_, true) => of_few_rows::<S, true>(tile, c),
        }
        finish::<S>(tile, c);
    }
}

#[inline(always)]
unsafe fn of_rows<S: Simd, const PAIRS: bool>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            10 if S::TILE_ROWS > 10 => multiply::<S, 2, PAIRS, 10>(tile, c),
            7 if S::TILE_ROWS > 7 => multiply::<S, 2, PAIRS, 7>(tile, c),
            _ => multiply::<S, 2, PAIRS, 0>(tile, c),
        }
    }
}

#[inline(always)]
unsafe fn of_few_rows<S: Simd, const PAIRS: bool>(tile: &Tile, c: *mut f32) {
    const HALF: usize = NARROW_ROWS / 2;
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            NARROW_ROWS if S::TILE_ROWS > NARROW_ROWS => multiply::<S, 1, PAIRS, NARROW_ROWS>(tile, c),
            HALF if S::TILE_ROWS > NARROW_ROWS => multiply::<S, 1, PAIRS, HALF>(tile, c),
            _ => multiply::<S, 1, PAIRS, 0>(tile, c),
        }
    }
}

/// `N` vectors of sums for each pixel, written to c: for `ROWS` pixels, or as many as fit where it is 0.
#[inline(always)]
unsafe fn multiply<S: Simd, const N: usize, const PAIRS: bool, const ROWS: usize>(tile: &Tile, c: *mut f32) {
    // SAFETY: pixels and panel are as the caller promised.
    unsafe {
        let n = if ROWS == 0 { S::TILE_ROWS } else { ROWS };
        let mut sums = [S::splat(0.0); MAX_SUMS];
        for segment in tile.segments {
            let mut pixel = segment.from.wrapping_add(tile.pixel * segment.per_pixel);
            let pixels: [*const f32; MAX_ROWS] = std::array::from_fn(|_| {
                let here = pixel;
                pixel = pixel.wrapping_add(tile.step * segment.per_pixel);
                here
            });
            let mut b = tile.b.add(segment.row * N * LANES);
            for k in 0..segment.depth {
                let row: [S::V; N] = std::array::from_fn(|i| S::load(b.add(i * LANES)));
                for r in 0..n {
                    let x = S::splat(*pixels[r].add(k));
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

#[inline(always)]
unsafe fn finish<S: Simd>(tile: &Tile, sums: *const f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.after {
            Kind::None => outputs::<S>(tile, Kind::None, sums),
            Kind::Slope => outputs::<S>(tile, Kind::Slope, sums),
            kind => outputs::<S>(tile, kind, sums),
        }
    }
}

/// Outputs from sums.
#[inline(always)]
unsafe fn outputs<S: Simd>(tile: &Tile, kind: Kind, sums: *const f32) {
    // SAFETY: `width` sums of each pixel, as many of bias and slopes; `outputs` places.
    unsafe {
        for first in (0..tile.outputs).step_by(LANES) {
            let n = (tile.outputs - first).min(LANES);
            let (bias, slopes) = (S::load(tile.bias.add(first)), S::load(tile.slopes.add(first)));
            for (i, &at) in tile.to.iter().enumerate() {
                if at == NOBODY {
                    continue;
                }
                let to = tile.y.at(at + first);
                let mut v = S::add(S::load(sums.add(i * tile.width + first)), bias);
                v = after::<S>(kind, v, slopes);
                if tile.y.is_bf16 {
                    let to = to.cast();
                    if n == LANES {
                        S::store_bf16(to, v)
                    } else {
                        store_few_bf16::<S>(to, v, n)
                    }
                    continue;
                }
                let to = to.cast();
                if let Then::Add { scale, residual } = tile.then {
                    let old = residual.as_ptr().add(at + first);
                    let old = if n == LANES { S::load(old) } else { load_few::<S>(old, n) };
                    v = S::fma(v, S::splat(scale), old);
                }
                if n == LANES { S::store(to, v) } else { store_few::<S>(to, v, n) }
            }
        }
    }
}

/// `n` numbers, then zeros.
///
/// # Safety
/// `n` <= 16 numbers can be read.
#[inline(always)]
pub(super) unsafe fn load_few<S: Simd>(from: *const f32, n: usize) -> S::V {
    let mut all = [0.0; LANES];
    // SAFETY: as promised.
    unsafe {
        std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), n);
        S::load(all.as_ptr())
    }
}

/// The first `n` numbers.
///
/// # Safety
/// `n` <= 16 numbers can be written.
#[inline(always)]
pub(super) unsafe fn store_few<S: Simd>(to: *mut f32, v: S::V, n: usize) {
    let mut all = [0.0; LANES];
    // SAFETY: as promised.
    unsafe {
        S::store(all.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(all.as_ptr(), to, n);
    }
}

/// The first `n` numbers as bf16.
///
/// # Safety
/// As `store_few`.
#[inline(always)]
unsafe fn store_few_bf16<S: Simd>(to: *mut u16, v: S::V, n: usize) {
    let mut all = [0; LANES];
    // SAFETY: as promised.
    unsafe {
        S::store_bf16(all.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(all.as_ptr(), to, n);
    }
}
