//! A piece of the picture with what filters need around it, as tiles want it.

use super::{
    super::{
        bf16,
        buffer::as_bf16,
        isa::Isa,
        simd::{LANES, Simd, per_isa},
    },
    ConvShape,
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
/// outputs side by side read pixels side by side whatever the stride.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    pub rows: usize,
    pub columns: usize,
    /// Columns of one remainder.
    pub part: usize,
    /// Pixels from row to row.
    pub pitch: usize,
}

impl Gathered {
    pub fn new(shape: &ConvShape, block: &Block) -> Gathered {
        let reach = |n: usize| (n - 1) * shape.stride + shape.reach();
        let (rows, columns) = (reach(block.rows), reach(block.columns));
        let part = columns.div_ceil(shape.stride);
        Gathered { rows, columns, part, pitch: part * shape.stride }
    }

    /// Numbers of all chunks.
    pub fn len(&self, depth: &Depth) -> usize {
        self.rows * self.pitch * depth.n_chunks() * depth.stride
    }

    /// Where the pixel `column` of a row is, in pixels.
    pub fn place(&self, shape: &ConvShape, column: usize) -> usize {
        column % shape.stride * self.part + column / shape.stride
    }
}

/// Copies the pixels that `block` needs of `parts` to `to`; beyond the borders of the picture there
/// are zeros.
pub(super) fn gather(
    isa: Isa,
    shape: &ConvShape,
    depth: &Depth,
    parts: &[(&[f32], usize)],
    (h, w): (usize, usize),
    block: &Block,
    to: &mut [f32],
) {
    let lay = Gathered::new(shape, block);
    let to = &mut to[..lay.len(depth)];
    let chunk_len = lay.rows * lay.pitch * depth.stride;
    for row in 0..lay.rows {
        let from_row = (block.y * shape.stride + row).checked_sub(shape.padding).filter(|y| *y < h);
        for column in 0..lay.columns {
            let from_column = (block.x * shape.stride + column).checked_sub(shape.padding).filter(|x| *x < w);
            let at = (row * lay.pitch + lay.place(shape, column)) * depth.stride;
            let (Some(y), Some(x)) = (from_row, from_column) else {
                for (i, (_, len)) in depth.chunks().enumerate() {
                    to[i * chunk_len + at..][..len].fill(0.0);
                }
                continue;
            };
            let pixel = y * w + x;
            if depth.pairs {
                let to = as_bf16(to);
                if shape.n_in % 2 == 1 {
                    let (chunk, within) = (shape.n_in / (2 * depth.chunk), shape.n_in % (2 * depth.chunk));
                    to[2 * (chunk * chunk_len + at) + within] = 0;
                }
                let round = |from: &[f32], to: &mut [u16]| {
                    // SAFETY: both are equally long, and the instructions are available.
                    unsafe { round_all(isa, from, to) }
                };
                spread(parts, pixel, 2 * depth.chunk, 2 * at, 2 * chunk_len, to, round);
            } else {
                spread(parts, pixel, depth.chunk, at, chunk_len, to, |from, to| to.copy_from_slice(from));
            }
        }
    }
}

/// Cuts the channels of a pixel of all parts, one after another, in chunks of `chunk`, the first of
/// which is at `at` and others `chunk_len` further each.
#[inline(always)]
fn spread<T>(
    parts: &[(&[f32], usize)],
    pixel: usize,
    chunk: usize,
    at: usize,
    chunk_len: usize,
    to: &mut [T],
    copy: impl Fn(&[f32], &mut [T]),
) {
    let (mut start, mut within) = (at, 0);
    for &(values, channels) in parts {
        let mut from = &values[pixel * channels..][..channels];
        while !from.is_empty() {
            let n = from.len().min(chunk - within);
            copy(&from[..n], &mut to[start + within..][..n]);
            (from, within) = (&from[n..], within + n);
            if within == chunk {
                (start, within) = (start + chunk_len, 0);
            }
        }
    }
}

per_isa! { fn round_all(from: &[f32], to: &mut [u16]) = round; }

#[inline(always)]
unsafe fn round<S: Simd>(from: &[f32], to: &mut [u16]) {
    let whole = from.len() / LANES * LANES;
    // SAFETY: 16 numbers of both, as long as there are as many.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            S::store_bf16(to.as_mut_ptr().add(i), S::load(from.as_ptr().add(i)));
        }
    }
    for (to, from) in to[whole..].iter_mut().zip(&from[whole..]) {
        *to = bf16::from_f32(*from);
    }
}
