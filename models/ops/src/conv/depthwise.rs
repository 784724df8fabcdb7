//! A filter for each channel: as much reading as computing, so that what counts is that every
//! pixel is read once from memory.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::Aligned,
        simd::{LANES, Simd, per_isa},
    },
    ConvShape, Convolution, Then,
    after::{Kind, after},
    gather::Inputs,
    tile::{load_few, store_few},
    values::Output,
};

/// Pixels whose sums are kept at a time.
const PIXELS: usize = 8;

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
        (0..self.shape.size(h)).into_par_iter().for_each(|row| {
            let first = row * self.shape.size(w) * self.shape.n_in;
            // SAFETY: the row is within y and this task's; `isa` is available.
            unsafe { of_row(self.isa, self, x, (h, w), row, y.at(first).cast(), then.from(first)) }
        });
    }
}

per_isa! {
    /// # Safety
    /// `to`: the outputs of the row. `isa` is available.
    fn of_row(of: &Depthwise, x: &[f32], size: (usize, usize), row: usize, to: *mut f32, then: Then) = all;
}

/// A row of the picture: pixels inside several at a time, those at the borders one by one.
#[inline(always)]
unsafe fn all<S: Simd>(of: &Depthwise, x: &[f32], (h, w): (usize, usize), row: usize, to: *mut f32, then: Then) {
    let (inner, rows) = (of.shape.inner(w), of.shape.taps(row, h));
    let end = of.shape.size(w);
    let mut column = 0;
    while column < end {
        let several = inner.contains(&column) && column + PIXELS <= inner.end;
        let taps = (rows.clone(), of.shape.taps(column, w));
        // SAFETY: these taps of all pixels are inside the picture, and the pixels in the row.
        unsafe {
            if several {
                pixels::<S, PIXELS>(of, x, w, (row, column), taps, to, then);
            } else {
                pixels::<S, 1>(of, x, w, (row, column), taps, to, then);
            }
        }
        column += if several { PIXELS } else { 1 };
    }
}

/// `P` pixels of the row `to` from `(row, column)` on, which all have the taps `rows` x `columns`.
#[inline(always)]
unsafe fn pixels<S: Simd, const P: usize>(
    of: &Depthwise,
    x: &[f32],
    w: usize,
    (row, column): (usize, usize),
    (rows, columns): (Range<usize>, Range<usize>),
    to: *mut f32,
    then: Then,
) {
    let ConvShape { kernel, stride, padding, dilation, n_in: channels, .. } = of.shape;
    let padded = channels.next_multiple_of(LANES);
    // SAFETY: taps are inside the picture, and 16 channels are read where there are as many.
    unsafe {
        for first in (0..channels).step_by(LANES) {
            let n = (channels - first).min(LANES);
            let load = |from: *const f32| if n == LANES { S::load(from) } else { load_few::<S>(from, n) };
            let mut sums = [S::load(of.bias.as_ptr().add(first)); P];
            for (ky, kx) in rows.clone().flat_map(|ky| columns.clone().map(move |kx| (ky, kx))) {
                let weight = S::load(of.weights.as_ptr().add((ky * kernel + kx) * padded + first));
                let (y, x_at) = (row * stride + ky * dilation - padding, column * stride + kx * dilation - padding);
                let from = x.as_ptr().add((y * w + x_at) * channels + first);
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(load(from.add(p * stride * channels)), weight, *sum);
                }
            }
            let slopes = S::load(of.slopes.as_ptr().add(first));
            for (p, sum) in sums.into_iter().enumerate() {
                let at = (column + p) * channels + first;
                let to = to.add(at);
                let mut v = after::<S>(of.after, sum, slopes);
                if let Then::Add { scale, residual } = then {
                    v = S::fma(v, S::splat(scale), load(residual.as_ptr().add(at)));
                }
                if n == LANES { S::store(to, v) } else { store_few::<S>(to, v, n) }
            }
        }
    }
}
