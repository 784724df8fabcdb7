//! The inner loop: a few pixels times the outputs of a panel, sums in registers over all taps and
//! channels.

use std::mem::MaybeUninit;

use super::{
    super::{
        Isa,
        simd::{LANES, Simd, load_all, per_isa, tile_rows},
    },
    Then,
    after::Kind,
    amx,
    finish::finish,
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

/// Most pixels of a tile of half a panel, where loading takes as long as multiplying: the addresses of
/// more do not stay in registers.
const NARROW_ROWS: usize = 12;

/// Pixels of tiles of half a panel whose pixels are a distance apart that is known beforehand: one
/// address is enough.
const EVEN_ROWS: [usize; 4] = [28, 20, 14, 7];

/// Those distances, in words: of 16 to 128 channels read in place, and of three taps of 16.
const EVEN: [usize; 4] = [16, 32, 64, 128];

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
    /// Words from pixel to pixel of the tile; 0 where segments differ in that.
    pub apart: usize,
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

/// How many pixels a tile can have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub longest: usize,
    /// Falling.
    shorter: &'static [usize],
}

impl Lengths {
    /// Those of panels of this width; `apart` as in `Tile`.
    pub fn new(isa: Isa, products: Products, width: usize, apart: usize) -> Lengths {
        let of = |lengths: &'static [usize]| Lengths { longest: lengths[0], shorter: &lengths[1..] };
        let has_room = tile_rows(isa) == MAX_ROWS;
        match products {
            Products::Tiles(_) if width < PANEL => of(&[2 * amx::ROWS]),
            Products::Tiles(_) => of(&[2 * amx::ROWS, amx::ROWS]),
            _ if width > 48 => of(const { &[wide_rows(64), WIDE_SHORTER] }),
            _ if width > PANEL => of(const { &[wide_rows(48), WIDE_SHORTER] }),
            Products::F32 if width < PANEL && has_room && EVEN.contains(&apart) => of(&EVEN_ROWS),
            _ if width < PANEL && has_room => of(&[NARROW_ROWS, NARROW_ROWS / 2]),
            _ if has_room => of(&[MAX_ROWS, 10, 7]),
            _ if tile_rows(isa) > HALF_SHORTER => Lengths { longest: tile_rows(isa), shorter: &[HALF_SHORTER] },
            _ => Lengths { longest: tile_rows(isa), shorter: &[] },
        }
    }

    /// Pixels of a tile that computes at least `wanted`, or as many as one can of `most`, for which
    /// there is a tile: the last tile of a row need not be as long as others.
    pub fn of(&self, wanted: usize, most: usize) -> usize {
        let short_enough = [self.longest].into_iter().chain(self.shorter.iter().copied()).filter(|n| *n <= most);
        short_enough.reduce(|longer, n| if n >= wanted { n } else { longer }).expect("a tile that is short enough")
    }
}

/// Pixels of shorter tiles of wide panels, and of those that are summed half a panel at a time.
const WIDE_SHORTER: usize = 3;
const HALF_SHORTER: usize = 3;

/// # Safety
/// `to` is as long as a tile (`Lengths`), and the `outputs` places of y from each on are nobody
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
            (48, false) => of_wide_rows::<S, 3, false, { wide_rows(48) }>(tile, c),
            (48, true) => of_wide_rows::<S, 3, true, { wide_rows(48) }>(tile, c),
            (64, false) => of_wide_rows::<S, 4, false, { wide_rows(64) }>(tile, c),
            (64, true) => of_wide_rows::<S, 4, true, { wide_rows(64) }>(tile, c),
            (_, true) => of_few_rows::<S, true>(tile, c),
            (_, false) if S::TILE_ROWS < MAX_ROWS => of_few_rows::<S, false>(tile, c),
            (_, false) => match tile.apart {
                16 => of_even_rows::<S, 16>(tile, c),
                32 => of_even_rows::<S, 32>(tile, c),
                64 => of_even_rows::<S, 64>(tile, c),
                128 => of_even_rows::<S, 128>(tile, c),
                _ => of_few_rows::<S, false>(tile, c),
            },
        }
        finish::<S>(tile, c);
    }
}

#[inline(always)]
unsafe fn of_rows<S: Simd, const PAIRS: bool>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            10 if S::TILE_ROWS > 10 => multiply::<S, 2, 2, PAIRS, 10, 0>(tile, c, 0),
            7 if S::TILE_ROWS > 7 => multiply::<S, 2, 2, PAIRS, 7, 0>(tile, c, 0),
            HALF_SHORTER if S::TILE_VECTORS == 1 => by_halves::<S, PAIRS, HALF_SHORTER>(tile, c),
            _ if S::TILE_VECTORS == 1 => by_halves::<S, PAIRS, 0>(tile, c),
            _ => multiply::<S, 2, 2, PAIRS, 0, 0>(tile, c, 0),
        }
    }
}

#[inline(always)]
unsafe fn of_wide_rows<S: Simd, const N: usize, const PAIRS: bool, const ROWS: usize>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            WIDE_SHORTER => multiply::<S, N, N, PAIRS, WIDE_SHORTER, 0>(tile, c, 0),
            _ => multiply::<S, N, N, PAIRS, ROWS, 0>(tile, c, 0),
        }
    }
}

/// One half of a panel after the other.
#[inline(always)]
unsafe fn by_halves<S: Simd, const PAIRS: bool, const ROWS: usize>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        multiply::<S, 1, 2, PAIRS, ROWS, 0>(tile, c, 0);
        multiply::<S, 1, 2, PAIRS, ROWS, 0>(tile, c, LANES);
    }
}

#[inline(always)]
unsafe fn of_few_rows<S: Simd, const PAIRS: bool>(tile: &Tile, c: *mut f32) {
    const HALF: usize = NARROW_ROWS / 2;
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            NARROW_ROWS if S::TILE_ROWS > NARROW_ROWS => multiply::<S, 1, 1, PAIRS, NARROW_ROWS, 0>(tile, c, 0),
            HALF if S::TILE_ROWS > NARROW_ROWS => multiply::<S, 1, 1, PAIRS, HALF, 0>(tile, c, 0),
            HALF_SHORTER if S::TILE_VECTORS == 1 => multiply::<S, 1, 1, PAIRS, HALF_SHORTER, 0>(tile, c, 0),
            _ => multiply::<S, 1, 1, PAIRS, 0, 0>(tile, c, 0),
        }
    }
}

#[inline(always)]
unsafe fn of_even_rows<S: Simd, const APART: usize>(tile: &Tile, c: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.to.len() {
            7 => multiply::<S, 1, 1, false, 7, APART>(tile, c, 0),
            14 => multiply::<S, 1, 1, false, 14, APART>(tile, c, 0),
            20 => multiply::<S, 1, 1, false, 20, APART>(tile, c, 0),
            _ => multiply::<S, 1, 1, false, 28, APART>(tile, c, 0),
        }
    }
}

/// `N` vectors of sums for each pixel, of the `WIDTH` of the panel those from output `output` on, written
/// to c: for `ROWS` pixels, or as many as fit where it is 0. They are `APART` words apart, or wherever
/// segments say where it is 0.
#[inline(always)]
unsafe fn multiply<
    S: Simd,
    const N: usize,
    const WIDTH: usize,
    const PAIRS: bool,
    const ROWS: usize,
    const APART: usize,
>(
    tile: &Tile,
    c: *mut f32,
    output: usize,
) {
    // SAFETY: pixels and panel are as the caller promised.
    unsafe {
        let n = if ROWS == 0 { S::TILE_ROWS } else { ROWS };
        let mut sums = [S::splat(0.0); MAX_SUMS];
        for segment in tile.segments {
            let first = segment.from.wrapping_add(tile.pixel * segment.per_pixel);
            let mut pixel = first;
            let mut pixels = [pixel; MAX_ROWS];
            for here in &mut pixels {
                *here = pixel;
                pixel = pixel.wrapping_add(tile.step * segment.per_pixel);
            }
            let mut b = tile.b.add(segment.row * WIDTH * LANES + output);
            for k in 0..segment.depth {
                let row = load_all::<S, N>(b, LANES);
                for r in 0..n {
                    let x = S::splat(if APART == 0 { *pixels[r].add(k) } else { *first.add(k + r * APART) });
                    for (i, row) in row.iter().enumerate() {
                        let sum = &mut sums[r * N + i];
                        *sum = if PAIRS { S::dot_bf16(x, *row, *sum) } else { S::fma(x, *row, *sum) };
                    }
                }
                b = b.add(WIDTH * LANES);
            }
        }
        for r in 0..n {
            for i in 0..N {
                S::store(c.add((r * WIDTH + i) * LANES + output), sums[r * N + i]);
            }
        }
    }
}
