//! A filter for each channel: as much reading as computing, so that what counts is that pixels are
//! read seldom, and from a near cache.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::Aligned,
        simd::{LANES, Simd, load_all, load_few, per_isa, store_few},
    },
    ConvShape, Convolution, Then,
    after::{Kind, after},
    gather::Inputs,
    values::Output,
};

/// Pixels whose sums are kept at a time.
const PIXELS: usize = 8;

/// Rows of outputs that are computed together.
const ROWS: usize = 4;

/// Columns of a block of so many rows, all sums of which are kept at a time.
const COLUMNS: usize = 4;

pub(super) struct Depthwise {
    shape: ConvShape,
    /// `[ky][kx][channels]`, channels filled up with zeros to a multiple of 16, as bias and slopes are.
    weights: Aligned<f32>,
    bias: Aligned<f32>,
    slopes: Aligned<f32>,
    after: Kind,
    isa: Isa,
}

impl Depthwise {
    pub fn new(layer: &Convolution, isa: Isa) -> Depthwise {
        let shape = layer.shape;
        let (channels, taps) = (shape.n_in, shape.kernel * shape.kernel);
        let padded = channels.next_multiple_of(LANES);
        let mut weights = Aligned::zeroed(taps * padded);
        for (i, &value) in layer.weight.iter().enumerate() {
            weights[i % taps * padded + i / taps] = value;
        }
        Depthwise {
            shape,
            weights,
            bias: Aligned::padded(layer.bias.unwrap_or_default(), padded),
            slopes: Aligned::padded(&layer.after.slopes(channels), padded),
            after: layer.after.kind(),
            isa,
        }
    }

    /// `y` has room for the outputs of the whole picture.
    pub fn apply(&self, inputs: &Inputs, y: Output, then: Then) {
        let Inputs { parts, h, w } = *inputs;
        let joined;
        let x = match parts {
            [part] => part.values.f32(),
            _ => {
                let pixels = (0..h * w).flat_map(|i| {
                    parts.iter().map(move |part| &part.values.f32()[i * part.channels..][..part.channels])
                });
                joined = pixels.flatten().copied().collect::<Vec<f32>>();
                &joined
            }
        };
        let out_h = self.shape.size(h);
        (0..out_h.div_ceil(ROWS)).into_par_iter().for_each(|band| {
            let rows = band * ROWS..((band + 1) * ROWS).min(out_h);
            // SAFETY: the rows are this task's; `isa` is available.
            unsafe { of_rows(self.isa, self, x, (h, w), rows, y, then) }
        });
    }
}

per_isa! {
    /// # Safety
    /// `y` has room for all outputs, and those of `rows` are nobody else's. `isa` is available.
    fn of_rows(of: &Depthwise, x: &[f32], size: (usize, usize), rows: Range<usize>, y: Output, then: Then) = all;
}

/// A few rows of the picture: pixels inside several at a time, those at the borders one by one.
#[inline(always)]
unsafe fn all<S: Simd>(of: &Depthwise, x: &[f32], (h, w): (usize, usize), rows: Range<usize>, y: Output, then: Then) {
    let ConvShape { kernel, stride, dilation, padding, n_in: channels, .. } = of.shape;
    let in_blocks = (kernel, stride, dilation, rows.len()) == (3, 1, 1, ROWS)
        && channels.is_multiple_of(LANES)
        && S::TILE_ROWS * 2 > ROWS * COLUMNS;
    // Rows that blocks see, zeros beyond the border.
    let seen = |i: usize| (rows.start + i).checked_sub(padding).filter(|row| *row < h);
    let has_border = in_blocks && (0..ROWS + 2).any(|i| seen(i).is_none());
    let zeros = vec![0.0; if has_border { w * channels } else { 0 }];
    let lines: [*const f32; ROWS + 2] =
        std::array::from_fn(|i| seen(i).map_or(zeros.as_ptr(), |row| x[row * w * channels..].as_ptr()));
    let (inner, end) = (of.shape.inner(w), of.shape.size(w));
    let mut column = 0;
    while column < end {
        let left = if inner.contains(&column) { inner.end - column } else { 0 };
        // SAFETY: these taps of all pixels are inside the picture, or zeros; the pixels are this task's.
        unsafe {
            if in_blocks && left >= COLUMNS {
                block::<S>(of, lines, (rows.start, column), end, y, then);
                column += COLUMNS;
                continue;
            }
            let several = left >= PIXELS;
            for row in rows.clone() {
                let taps = (of.shape.taps(row, h), of.shape.taps(column, w));
                if several {
                    pixels::<S, PIXELS>(of, x, w, (row, column), taps, y, then);
                } else {
                    pixels::<S, 1>(of, x, w, (row, column), taps, y, then);
                }
            }
            column += if several { PIXELS } else { 1 };
        }
    }
}

/// `ROWS` x `COLUMNS` outputs of 3x3 filters from `(row, column)` of the picture, `out_w` wide, on. `x` are
/// the rows that they see.
#[inline(always)]
unsafe fn block<S: Simd>(
    of: &Depthwise,
    x: [*const f32; ROWS + 2],
    (row, column): (usize, usize),
    out_w: usize,
    y: Output,
    then: Then,
) {
    let ConvShape { padding, n_in: channels, .. } = of.shape;
    // SAFETY: as the caller promised.
    unsafe {
        for first in (0..channels).step_by(LANES) {
            let weights = load_all::<S, 9>(of.weights.as_ptr().add(first), channels);
            let mut sums = [[S::load(of.bias.as_ptr().add(first)); COLUMNS]; ROWS];
            for (i, x) in x.iter().enumerate() {
                let seen = load_all::<S, { COLUMNS + 2 }>(x.add((column - padding) * channels + first), channels);
                for (r, sums) in sums.iter_mut().enumerate() {
                    if r <= i && i < r + 3 {
                        for kx in 0..3 {
                            for (c, sum) in sums.iter_mut().enumerate() {
                                *sum = S::fma(seen[c + kx], weights[(i - r) * 3 + kx], *sum);
                            }
                        }
                    }
                }
            }
            let slopes = S::load(of.slopes.as_ptr().add(first));
            for (r, sums) in sums.iter().enumerate() {
                for (c, sum) in sums.iter().enumerate() {
                    let at = ((row + r) * out_w + column + c) * channels + first;
                    put::<S>(after::<S>(of.after, *sum, slopes), LANES, at, y, then);
                }
            }
        }
    }
}

/// `P` outputs side by side from `(row, column)` on, which all have the taps `rows` x `columns`.
#[inline(always)]
unsafe fn pixels<S: Simd, const P: usize>(
    of: &Depthwise,
    x: &[f32],
    w: usize,
    (row, column): (usize, usize),
    (rows, columns): (Range<usize>, Range<usize>),
    y: Output,
    then: Then,
) {
    let ConvShape { kernel, stride, padding, dilation, n_in: channels, .. } = of.shape;
    let out_w = of.shape.size(w);
    let padded = channels.next_multiple_of(LANES);
    // SAFETY: taps are inside the picture, and 16 channels are read where there are as many.
    unsafe {
        for first in (0..channels).step_by(LANES) {
            let n = (channels - first).min(LANES);
            let mut sums = [S::load(of.bias.as_ptr().add(first)); P];
            for (ky, kx) in rows.clone().flat_map(|ky| columns.clone().map(move |kx| (ky, kx))) {
                let weight = S::load(of.weights.as_ptr().add((ky * kernel + kx) * padded + first));
                let (y_at, x_at) = (row * stride + ky * dilation - padding, column * stride + kx * dilation - padding);
                let from = x.as_ptr().add((y_at * w + x_at) * channels + first);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let from = from.add(p * stride * channels);
                    let v = if n == LANES { S::load(from) } else { load_few::<S>(from, n) };
                    *sum = S::fma(v, weight, *sum);
                }
            }
            let slopes = S::load(of.slopes.as_ptr().add(first));
            for (p, sum) in sums.into_iter().enumerate() {
                let at = (row * out_w + column + p) * channels + first;
                put::<S>(after::<S>(of.after, sum, slopes), n, at, y, then);
            }
        }
    }
}

/// The first `n` of `v` are outputs number `at` and those that follow.
#[inline(always)]
unsafe fn put<S: Simd>(mut v: S::V, n: usize, at: usize, y: Output, then: Then) {
    // SAFETY: there are so many places.
    unsafe {
        if let Then::Add { scale, residual } = then {
            let old = residual.as_ptr().add(at);
            v = S::fma(v, S::splat(scale), if n == LANES { S::load(old) } else { load_few::<S>(old, n) });
        }
        let to = y.at(at).cast();
        if n == LANES { S::store(to, v) } else { store_few::<S>(to, v, n) }
    }
}
