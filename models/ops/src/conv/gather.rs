//! A piece of the picture with what filters need around it, as tiles want it.

use std::{ops::Range, slice};

use half::bf16;

use super::{
    super::{
        bf16::{Parts, part},
        buffer::as_bf16,
        isa::Isa,
        simd::{LANES, Simd, load_few, per_isa},
    },
    ConvShape, Part, Values,
    weights::{Depth, Products},
};

/// A block of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
}

/// How gathered pixels lie: `[chunk][row][column % stride][column / stride][numbers]`, so that
/// outputs side by side read pixels side by side whatever the stride. Where taps are folded, a
/// column is one of the outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    pub rows: usize,
    pub columns: usize,
    /// Columns of one remainder.
    part: usize,
    /// Pixels from row to row.
    pub pitch: usize,
    stride: usize,
}

impl Gathered {
    pub fn new(shape: &ConvShape, depth: &Depth, rows: usize, columns: usize) -> Gathered {
        let reach = |n: usize| (n - 1) * shape.stride + shape.reach();
        let (columns, stride) = if depth.folded > 1 { (columns, 1) } else { (reach(columns), shape.stride) };
        let part = columns.div_ceil(stride);
        Gathered { rows: reach(rows), columns, part, pitch: part * stride, stride }
    }

    /// Numbers of all chunks.
    pub fn len(&self, depth: &Depth) -> usize {
        self.rows * self.pitch * depth.n_chunks() * depth.stride
    }

    /// Where the pixel `column` of a row is, in pixels.
    pub fn place(&self, column: usize) -> usize {
        column % self.stride * self.part + column / self.stride
    }
}

/// The inputs of a layer, `[h, w, channels]` each.
pub(super) struct Inputs<'a> {
    pub parts: &'a [Part<'a>],
    pub h: usize,
    pub w: usize,
}

/// Copies the pixels that `block` needs to `to`; beyond the borders of the picture there are zeros.
pub(super) fn gather(isa: Isa, shape: &ConvShape, depth: &Depth, inputs: &Inputs, block: &Block, to: &mut [f32]) {
    let lay = Gathered::new(shape, depth, block.rows, block.columns);
    assert!(lay.len(depth) <= to.len(), "{lay:?} in {}", to.len());
    for row in 0..lay.rows {
        // SAFETY: there is room for all rows, as asserted.
        unsafe { gather_row(isa, shape, depth, inputs, block, row, to.as_mut_ptr()) }
    }
}

/// The row `row` of what `block` needs, to its places in `to`.
///
/// # Safety
/// `to` has room for all that `block` needs, and nobody else uses the places of this row.
pub(super) unsafe fn gather_row(
    isa: Isa,
    shape: &ConvShape,
    depth: &Depth,
    inputs: &Inputs,
    block: &Block,
    row: usize,
    to: *mut f32,
) {
    let lay = Gathered::new(shape, depth, block.rows, block.columns);
    let len = lay.pitch * depth.stride;
    // SAFETY: a row of a chunk, as promised.
    let of_chunk = |chunk: usize| unsafe { slice::from_raw_parts_mut(to.add((chunk * lay.rows + row) * len), len) };
    let y = (block.y * shape.stride + row).checked_sub(shape.padding).filter(|y| *y < inputs.h);
    for piece in pieces(shape, depth, inputs) {
        let to = of_chunk(piece.chunk);
        // Columns of one remainder are neighbours here, and `stride` pixels apart in the picture.
        for remainder in 0..lay.stride {
            let n = (lay.columns - remainder).div_ceil(lay.stride);
            let places = Places { depth, first: remainder * lay.part * depth.stride, within: piece.within };
            let Some(y) = y else {
                places.clear(0..n, piece.len(), to);
                continue;
            };
            let line = Line {
                pixels: piece.values.from(y * inputs.w * piece.channels),
                w: inputs.w,
                first: block.x * shape.stride + remainder + piece.taps.start * shape.dilation,
                shape,
            };
            line.gather(isa, &piece, &places, n, to);
        }
    }
    let (filled, all) = (shape.n_in * depth.folded, depth.n * depth.products.per_word());
    if filled < all {
        let chunk_len = depth.chunk * depth.products.per_word();
        let places = Places { depth, first: 0, within: filled % chunk_len };
        places.clear(0..lay.pitch, all - filled, of_chunk(filled / chunk_len));
    }
}

/// Channels that lie side by side in a part of the inputs, and in gathered pixels too.
struct Piece<'a> {
    values: Values<'a>,
    channels: usize,
    /// The first of them, and how many.
    channel: usize,
    n: usize,
    /// Where taps of all channels are neighbours in the picture they are one piece.
    taps: Range<usize>,
    chunk: usize,
    /// In the chunk, in numbers.
    within: usize,
}

impl Piece<'_> {
    /// Numbers for each pixel.
    fn len(&self) -> usize {
        self.n * self.taps.len()
    }
}

fn pieces<'a>(shape: &ConvShape, depth: &Depth, inputs: &Inputs<'a>) -> Vec<Piece<'a>> {
    if let (&[Part { values, channels }], true, 1) = (inputs.parts, depth.folded > 1, shape.dilation) {
        let taps = 0..depth.folded;
        return vec![Piece { values, channels, channel: 0, n: channels, taps, chunk: 0, within: 0 }];
    }
    let chunk_len = depth.chunk * depth.products.per_word();
    let mut pieces = Vec::new();
    for tap in 0..depth.folded {
        let mut at = tap * shape.n_in;
        for &Part { values, channels } in inputs.parts {
            let mut channel = 0;
            while channel < channels {
                let (chunk, within) = (at / chunk_len, at % chunk_len);
                let n = (channels - channel).min(chunk_len - within);
                pieces.push(Piece { values, channels, channel, n, taps: tap..tap + 1, chunk, within });
                (channel, at) = (channel + n, at + n);
            }
        }
    }
    pieces
}

/// A row of the picture, as outputs side by side see it.
struct Line<'a> {
    /// The row and what follows it.
    pixels: Values<'a>,
    w: usize,
    /// Column of output 0 at the first tap, counted from the first zero of the border.
    first: usize,
    shape: &'a ConvShape,
}

impl Line<'_> {
    /// The piece for outputs 0..`n`.
    fn gather(&self, isa: Isa, piece: &Piece, places: &Places, n: usize, to: &mut [f32]) {
        let ConvShape { stride, padding, dilation, .. } = *self.shape;
        // Outputs of which a tap is before column `x` of the picture.
        let before =
            |x: usize, tap: usize| (x + padding).saturating_sub(self.first + tap * dilation).div_ceil(stride).min(n);
        let last = piece.taps.len() - 1;
        let (start, end) = (before(0, 0), before(self.w, last));
        let start = start.min(end);
        if last == 0 {
            places.clear(0..start, piece.n, to);
            places.clear(end..n, piece.n, to);
        } else {
            for i in (0..start).chain(end..n) {
                for tap in 0..piece.taps.len() {
                    let x = (self.first + i * stride + tap * dilation).checked_sub(padding).filter(|x| *x < self.w);
                    for k in 0..piece.n {
                        let value = x.map_or(0.0, |x| self.pixels.get(x * piece.channels + k));
                        places.put(i, tap * piece.n + k, value, to);
                    }
                }
            }
        }
        if start < end {
            let x = self.first + start * stride - padding;
            let from = Pixels {
                values: self.pixels.from(x * piece.channels + piece.channel),
                len: piece.len(),
                apart: piece.channels * stride,
            };
            // SAFETY: the instructions are available.
            unsafe { copy(isa, &from, places, start..end, to) }
        }
    }
}

/// Where a piece of pixels side by side is gathered.
struct Places<'a> {
    depth: &'a Depth,
    /// Word of pixel 0.
    first: usize,
    /// In a pixel, in numbers.
    within: usize,
}

impl Places<'_> {
    /// Index of the piece of pixel `i`, in numbers.
    #[inline(always)]
    fn at(&self, i: usize) -> usize {
        (self.first + i * self.depth.stride) * self.depth.products.per_word() + self.within
    }

    fn clear(&self, pixels: Range<usize>, len: usize, to: &mut [f32]) {
        for i in pixels {
            let at = self.at(i);
            match self.depth.products {
                Products::F32 => to[at..][..len].fill(0.0),
                products => {
                    for part in 0..products.parts() {
                        as_bf16(to)[at + part * 2 * self.depth.part_stride()..][..len].fill(0);
                    }
                }
            }
        }
    }

    /// Number `k` of the piece of pixel `i`.
    fn put(&self, i: usize, k: usize, value: f32, to: &mut [f32]) {
        let at = self.at(i) + k;
        match self.depth.products {
            Products::F32 => to[at] = value,
            products => {
                for n in 0..products.parts() {
                    as_bf16(to)[at + n * 2 * self.depth.part_stride()] = part(value, n);
                }
            }
        }
    }
}

/// Pieces of pixels of the picture: `len` numbers each, pixels `apart` numbers apart.
struct Pixels<'a> {
    values: Values<'a>,
    len: usize,
    apart: usize,
}

per_isa! {
    /// Copies whole vectors, over the end of a piece: what comes after it in a pixel is written later,
    /// or read by nobody.
    fn copy(from: &Pixels, places: &Places, pixels: Range<usize>, to: &mut [f32]) = all;
}

#[inline(always)]
unsafe fn all<S: Simd>(from: &Pixels, places: &Places, pixels: Range<usize>, to: &mut [f32]) {
    // SAFETY: as promised.
    unsafe {
        match (from.values, places.depth.products) {
            (Values::Bf16(values), _) => halves(values, from, places, pixels, to),
            (Values::F32(values), Products::F32) => lines::<S, 0>(values, from, places, pixels, to),
            (Values::F32(values), Products::Pairs | Products::Tiles(Parts::One)) => {
                lines::<S, 1>(values, from, places, pixels, to)
            }
            (Values::F32(values), Products::Tiles(Parts::Two)) => lines::<S, 2>(values, from, places, pixels, to),
        }
    }
}

/// What is bf16 already.
#[inline(always)]
fn halves(values: &[bf16], from: &Pixels, places: &Places, pixels: Range<usize>, to: &mut [f32]) {
    type Line = [u16; 2 * LANES];
    let whole = from.len / (2 * LANES) * (2 * LANES);
    let to = as_bf16(to);
    for (n, i) in pixels.enumerate() {
        let from = &values[n * from.apart..][..from.len];
        let to = &mut to[places.at(i)..][..from.len()];
        for k in (0..whole).step_by(2 * LANES) {
            // SAFETY: a line of both, which are numbers of 16 bits.
            unsafe {
                to.as_mut_ptr()
                    .add(k)
                    .cast::<Line>()
                    .write_unaligned(from.as_ptr().add(k).cast::<Line>().read_unaligned())
            }
        }
        to[whole..].iter_mut().zip(&from[whole..]).for_each(|(to, v)| *to = v.to_bits());
    }
}

/// As f32, or in so many parts of bf16.
#[inline(always)]
unsafe fn lines<S: Simd, const PARTS: usize>(
    values: &[f32],
    from: &Pixels,
    places: &Places,
    pixels: Range<usize>,
    to: &mut [f32],
) {
    const TWO: usize = 2 * LANES;
    let len = from.len.next_multiple_of(LANES);
    let second = 2 * places.depth.part_stride();
    let n_pixels = pixels.len();
    let end = places.at(pixels.end - 1) + len + PARTS.saturating_sub(1) * second;
    let n_numbers = if PARTS == 0 { to.len() } else { 2 * to.len() };
    assert!(n_pixels > 0 && end <= n_numbers && (n_pixels - 1) * from.apart + from.len <= values.len());
    // Behind the last of them whole vectors may not be there to be read.
    let n_whole = values.len().checked_sub(len).map_or(0, |rest| n_pixels.min(rest / from.apart + 1));
    let to = to.as_mut_ptr();
    // SAFETY: what is read was counted, and the last place written is within `to`, as asserted.
    unsafe {
        for (n, i) in pixels.enumerate() {
            let values = values.as_ptr().add(n * from.apart);
            let at = places.at(i);
            if n < n_whole {
                for k in (0..len / TWO * TWO).step_by(TWO) {
                    let (a, b) = (S::load(values.add(k)), S::load(values.add(k + LANES)));
                    put_two::<S, PARTS>(to, at + k, second, a, b);
                }
                if !len.is_multiple_of(TWO) {
                    put::<S, PARTS>(to, at + len - LANES, second, S::load(values.add(len - LANES)));
                }
            } else {
                for k in (0..from.len).step_by(LANES) {
                    put::<S, PARTS>(to, at + k, second, load_few::<S>(values.add(k), LANES.min(from.len - k)));
                }
            }
        }
    }
}

/// Number `at` and those that follow; the second part is `second` numbers behind the first.
#[inline(always)]
unsafe fn put<S: Simd, const PARTS: usize>(to: *mut f32, at: usize, second: usize, v: S::V) {
    // SAFETY: as `lines` asserted.
    unsafe {
        if PARTS == 0 {
            return S::store(to.add(at), v);
        }
        let to = to.cast::<u16>().add(at);
        S::store_bf16(to, v);
        if PARTS == 2 {
            S::store_bf16(to.add(second), S::sub(v, S::to_bf16(v)));
        }
    }
}

/// The same of two vectors.
#[inline(always)]
unsafe fn put_two<S: Simd, const PARTS: usize>(to: *mut f32, at: usize, second: usize, a: S::V, b: S::V) {
    // SAFETY: as `lines` asserted.
    unsafe {
        if PARTS == 0 {
            S::store(to.add(at), a);
            return S::store(to.add(at + LANES), b);
        }
        let to = to.cast::<u16>().add(at);
        S::store_two_bf16(to, a, b);
        if PARTS == 2 {
            S::store_two_bf16(to.add(second), S::sub(a, S::to_bf16(a)), S::sub(b, S::to_bf16(b)));
        }
    }
}
