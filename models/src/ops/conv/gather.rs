//! A piece of the picture with what filters need around it, as tiles want it.

use std::ops::Range;

use super::{
    super::{
        buffer::as_bf16,
        isa::Isa,
        simd::{LANES, Simd, per_isa},
    },
    ConvShape, Part,
    tile::load_few,
    weights::Depth,
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
    let to = &mut to[..lay.len(depth)];
    let pieces = pieces(shape, depth, inputs);
    for row in 0..lay.rows {
        let y = (block.y * shape.stride + row).checked_sub(shape.padding).filter(|y| *y < inputs.h);
        for piece in &pieces {
            // Columns of one remainder are neighbours here, and `stride` pixels apart in the picture.
            for remainder in 0..lay.stride {
                let first = block.x * shape.stride + remainder + piece.tap * shape.dilation;
                let n = (lay.columns - remainder).div_ceil(lay.stride);
                // Those inside the picture are neighbours too.
                let before = |x: usize| (x + shape.padding).saturating_sub(first).div_ceil(shape.stride).min(n);
                let (start, end) = if y.is_some() { (before(0), before(inputs.w)) } else { (n, n) };
                let start = start.min(end);
                let pixel = (piece.chunk * lay.rows + row) * lay.pitch + remainder * lay.part;
                let places = Places { first: pixel * depth.stride, within: piece.within, stride: depth.stride };
                places.clear(depth.pairs, 0..start, piece.len, to);
                places.clear(depth.pairs, end..n, piece.len, to);
                if let Some(y) = y.filter(|_| start < end) {
                    let x = first + start * shape.stride - shape.padding;
                    let from = &piece.values[(y * inputs.w + x) * piece.channels..];
                    let from = Pixels {
                        values: from,
                        first: piece.channel,
                        len: piece.len,
                        apart: piece.channels * shape.stride,
                    };
                    // SAFETY: the instructions are available.
                    unsafe { copy(isa, depth.pairs, &from, &places, start..end, to) }
                }
            }
        }
        let n = shape.n_in * depth.folded;
        if depth.pairs && n % 2 == 1 {
            let (chunk, within) = (n / (2 * depth.chunk), n % (2 * depth.chunk));
            let first = (chunk * lay.rows + row) * lay.pitch * depth.stride;
            Places { first, within, stride: depth.stride }.clear(true, 0..lay.pitch, 1, to);
        }
    }
}

/// Channels that lie side by side in a part of the inputs, and in gathered pixels too.
struct Piece<'a> {
    values: &'a [f32],
    channels: usize,
    /// The first of them, and how many.
    channel: usize,
    len: usize,
    tap: usize,
    chunk: usize,
    /// In the chunk; for pairs in numbers of bf16.
    within: usize,
}

fn pieces<'a>(shape: &ConvShape, depth: &Depth, inputs: &Inputs<'a>) -> Vec<Piece<'a>> {
    let chunk_len = if depth.pairs { 2 * depth.chunk } else { depth.chunk };
    let mut pieces = Vec::new();
    for tap in 0..depth.folded {
        let mut at = tap * shape.n_in;
        for &(values, channels) in inputs.parts {
            let mut channel = 0;
            while channel < channels {
                let (chunk, within) = (at / chunk_len, at % chunk_len);
                let len = (channels - channel).min(chunk_len - within);
                pieces.push(Piece { values, channels, channel, len, tap, chunk, within });
                (channel, at) = (channel + len, at + len);
            }
        }
    }
    pieces
}

/// Where a piece of pixels side by side is gathered.
struct Places {
    first: usize,
    within: usize,
    stride: usize,
}

impl Places {
    /// Index of the piece of pixel `i`; for pairs in numbers of bf16.
    #[inline(always)]
    fn at(&self, pairs: bool, i: usize) -> usize {
        (self.first + i * self.stride) * if pairs { 2 } else { 1 } + self.within
    }

    fn clear(&self, pairs: bool, pixels: Range<usize>, len: usize, to: &mut [f32]) {
        for i in pixels {
            match pairs {
                true => as_bf16(to)[self.at(true, i)..][..len].fill(0),
                false => to[self.at(false, i)..][..len].fill(0.0),
            }
        }
    }
}

/// Pieces of pixels of the picture: `len` numbers from the `first` on, pixels `apart` numbers apart.
struct Pixels<'a> {
    values: &'a [f32],
    first: usize,
    len: usize,
    apart: usize,
}

per_isa! {
    /// Copies whole vectors, over the end of a piece: what comes after it in a pixel is written later,
    /// or read by nobody.
    fn copy(pairs: bool, from: &Pixels, places: &Places, pixels: Range<usize>, to: &mut [f32]) = all;
}

#[inline(always)]
unsafe fn all<S: Simd>(pairs: bool, from: &Pixels, places: &Places, pixels: Range<usize>, to: &mut [f32]) {
    for (n, i) in pixels.enumerate() {
        let values = &from.values[n * from.apart + from.first..];
        let at = places.at(pairs, i);
        for k in (0..from.len).step_by(LANES) {
            // SAFETY: 16 numbers of both, where there are as many.
            unsafe {
                let rest = values.len() - k;
                let v = if rest >= LANES {
                    S::load(values.as_ptr().add(k))
                } else {
                    load_few::<S>(values.as_ptr().add(k), rest)
                };
                if pairs {
                    let to = &mut as_bf16(to)[at + k..][..LANES];
                    S::store_bf16(to.as_mut_ptr(), v);
                } else {
                    S::store(to[at + k..][..LANES].as_mut_ptr(), v);
                }
            }
        }
    }
}
