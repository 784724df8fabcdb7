//! Layers of one to four outputs: a vector holds 16 channels of a pixel, not 16 outputs, and is summed
//! at the end. Reading takes longer than computing.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::Aligned,
        simd::{LANES, Simd, load_all, load_few, per_isa, store_few},
    },
    ConvShape, Convolution, Part, Then,
    after::{Kind, after},
    gather::Inputs,
    values::Output,
};

/// Most outputs of such a layer.
pub(super) const FEW: usize = 4;

/// Pixels whose sums are kept at a time.
const PIXELS: usize = 6;

pub(super) struct Few {
    shape: ConvShape,
    /// `[n_out][ky][kx][n_in]`, and a vector of zeros.
    weights: Aligned<f32>,
    /// A vector each.
    bias: Aligned<f32>,
    slopes: Aligned<f32>,
    after: Kind,
    isa: Isa,
}

impl Few {
    pub fn new(layer: &Convolution, isa: Isa) -> Few {
        let shape = layer.shape;
        let (n_in, taps) = (shape.n_in, shape.kernel * shape.kernel);
        let mut weights = Aligned::zeroed(layer.weight.len() + LANES);
        for (i, &value) in layer.weight.iter().enumerate() {
            let (o, channel, tap) = (i / (n_in * taps), i / taps % n_in, i % taps);
            weights[(o * taps + tap) * n_in + channel] = value;
        }
        Few {
            shape,
            weights,
            bias: Aligned::padded(layer.bias.unwrap_or_default(), LANES),
            slopes: Aligned::padded(&layer.after.slopes(shape.n_out), LANES),
            after: layer.after.kind(),
            isa,
        }
    }

    /// `y` has room for the outputs of the whole picture.
    pub fn apply(&self, inputs: &Inputs, y: Output, then: Then) {
        (0..self.shape.size(inputs.h)).into_par_iter().for_each(|row| {
            let first = row * self.shape.size(inputs.w) * self.shape.n_out;
            // SAFETY: the row is within y and this task's; `isa` is available.
            unsafe { of_row(self.isa, self, inputs, row, y.at(first).cast(), then.from(first)) }
        });
    }
}

per_isa! {
    /// # Safety
    /// `to`: the outputs of the row. `isa` is available.
    fn of_row(of: &Few, inputs: &Inputs, row: usize, to: *mut f32, then: Then) = any;
}

#[inline(always)]
unsafe fn any<S: Simd>(of: &Few, inputs: &Inputs, row: usize, to: *mut f32, then: Then) {
    // SAFETY: the caller's promises.
    unsafe {
        match of.shape.n_out {
            1 => outputs::<S, 1>(of, inputs, row, to, then),
            2 => outputs::<S, 2>(of, inputs, row, to, then),
            3 => outputs::<S, 3>(of, inputs, row, to, then),
            _ => outputs::<S, FEW>(of, inputs, row, to, then),
        }
    }
}

/// A row of the picture: pixels inside several at a time, those at the borders one by one.
#[inline(always)]
unsafe fn outputs<S: Simd, const N: usize>(of: &Few, inputs: &Inputs, row: usize, to: *mut f32, then: Then) {
    let inner = of.shape.inner(inputs.w);
    let rows = of.shape.taps(row, inputs.h);
    let end = of.shape.size(inputs.w);
    let mut column = 0;
    while column < end {
        let columns = of.shape.taps(column, inputs.w);
        // SAFETY: these taps of all pixels are inside the picture, and the pixels in the row.
        unsafe {
            if inner.contains(&column) && column + PIXELS <= inner.end {
                let sums = sums::<S, PIXELS, N>(of, inputs, (row, column), rows.clone(), columns);
                for (i, sums) in sums.iter().enumerate() {
                    finish::<S, N>(of, sums, column + i, to, then);
                }
                column += PIXELS;
            } else {
                let sums = sums::<S, 1, N>(of, inputs, (row, column), rows.clone(), columns);
                finish::<S, N>(of, &sums[0], column, to, then);
                column += 1;
            }
        }
    }
}

/// Of `P` pixels from `(row, column)` on, which all have the taps `rows` x `columns`.
#[inline(always)]
unsafe fn sums<S: Simd, const P: usize, const N: usize>(
    of: &Few,
    inputs: &Inputs,
    (row, column): (usize, usize),
    rows: Range<usize>,
    columns: Range<usize>,
) -> [[f32; N]; P] {
    let ConvShape { n_in, kernel, stride, dilation, padding, .. } = of.shape;
    // SAFETY: taps are inside the picture, weights of a tap and a vector behind it in `weights`.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; P];
        for (ky, kx) in rows.flat_map(|ky| columns.clone().map(move |kx| (ky, kx))) {
            let y = row * stride + ky * dilation - padding;
            let x = column * stride + kx * dilation - padding;
            let mut weights = of.weights.as_ptr().add((ky * kernel + kx) * n_in);
            for &Part { values, channels } in inputs.parts {
                let from = values.f32().as_ptr().add((y * inputs.w + x) * channels);
                for k in (0..channels).step_by(LANES) {
                    let n = (channels - k).min(LANES);
                    let rows = load_all::<S, N>(weights.add(k), kernel * kernel * n_in);
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let from = from.add(p * stride * channels + k);
                        let v = if n == LANES { S::load(from) } else { load_few::<S>(from, n) };
                        for (sum, row) in sums.iter_mut().zip(&rows) {
                            *sum = S::fma(v, *row, *sum);
                        }
                    }
                }
                weights = weights.add(channels);
            }
        }
        let mut numbers = [[0.0; N]; P];
        for (numbers, sums) in numbers.iter_mut().zip(sums) {
            for (number, sum) in numbers.iter_mut().zip(sums) {
                *number = S::sum(sum);
            }
        }
        numbers
    }
}

/// The outputs of a pixel of the row `to`.
#[inline(always)]
unsafe fn finish<S: Simd, const N: usize>(of: &Few, sums: &[f32; N], column: usize, to: *mut f32, then: Then) {
    // SAFETY: `N` numbers of sums and places, a vector of bias and slopes.
    unsafe {
        let v = S::add(load_few::<S>(sums.as_ptr(), N), S::load(of.bias.as_ptr()));
        let mut v = after::<S>(of.after, v, S::load(of.slopes.as_ptr()));
        if let Then::Add { scale, residual } = then {
            v = S::fma(v, S::splat(scale), load_few::<S>(residual.as_ptr().add(column * N), N));
        }
        store_few::<S>(to.add(column * N), v, N);
    }
}
