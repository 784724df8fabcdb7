//! A filter for each channel: as much reading as computing, so that what counts is that every
//! pixel is read once from memory.

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::{Aligned, Shared},
        simd::{LANES, Simd, per_isa},
    },
    ConvShape, Convolution, Then,
    after::{Kind, after},
};

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
        let filled = |from: &[f32]| {
            let mut to = Aligned::zeroed(padded);
            to[..from.len()].copy_from_slice(from);
            to
        };
        Depthwise {
            shape,
            weights,
            bias: filled(layer.bias.unwrap_or_default()),
            slopes: filled(&layer.after.slopes(channels)),
            after: layer.after.kind(),
            isa,
        }
    }

    pub fn apply(&self, parts: &[(&[f32], usize)], h: usize, w: usize, y: &mut [f32], then: Then) {
        let joined;
        let x = match parts {
            [(x, _)] => *x,
            _ => {
                let pixels = (0..h * w).flat_map(|i| parts.iter().map(move |(x, c)| &x[i * c..][..*c]));
                joined = pixels.flatten().copied().collect::<Vec<f32>>();
                &joined
            }
        };
        let (out_w, channels) = (self.shape.size(w), self.shape.n_in);
        y.par_chunks_mut(out_w * channels).enumerate().for_each(|(row, y)| {
            let y = Shared(y.as_mut_ptr());
            for column in 0..out_w {
                // SAFETY: the pixel is one of this row, which is this task's; `isa` is available.
                unsafe { pixel(self.isa, self, x, (h, w), (row, column), y.get().add(column * channels), then) }
            }
        });
    }
}

per_isa! {
    /// # Safety
    /// `to`: a number for each channel.
    fn pixel(
        of: &Depthwise, x: &[f32], size: (usize, usize), at: (usize, usize), to: *mut f32, then: Then,
    ) = one;
}

#[inline(always)]
unsafe fn one<S: Simd>(
    of: &Depthwise,
    x: &[f32],
    (h, w): (usize, usize),
    (row, column): (usize, usize),
    to: *mut f32,
    then: Then,
) {
    let ConvShape { kernel, stride, padding, dilation, n_in: channels, .. } = of.shape;
    let padded = channels.next_multiple_of(LANES);
    // SAFETY: taps within the picture are read, of 16 channels where there are as many.
    unsafe {
        for first in (0..channels).step_by(LANES) {
            let n = (channels - first).min(LANES);
            let few = |from: *const f32| {
                let mut all = [0.0; LANES];
                std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), n);
                S::load(all.as_ptr())
            };
            let load = |from: *const f32| if n == LANES { S::load(from) } else { few(from) };
            let mut sum = S::load(of.bias.as_ptr().add(first));
            for ky in 0..kernel {
                let Some(y) = (row * stride + ky * dilation).checked_sub(padding).filter(|y| *y < h) else { continue };
                for kx in 0..kernel {
                    let Some(x_at) = (column * stride + kx * dilation).checked_sub(padding).filter(|x| *x < w) else {
                        continue;
                    };
                    let value = load(x.as_ptr().add((y * w + x_at) * channels + first));
                    let weight = S::load(of.weights.as_ptr().add((ky * kernel + kx) * padded + first));
                    sum = S::fma(value, weight, sum);
                }
            }
            let mut v = after::<S>(of.after, sum, S::load(of.slopes.as_ptr().add(first)));
            let to = to.add(first);
            if let Then::Add { scale } = then {
                v = S::fma(v, S::splat(scale), load(to));
            }
            if n == LANES {
                S::store(to, v);
            } else {
                let mut all = [0.0; LANES];
                S::store(all.as_mut_ptr(), v);
                std::ptr::copy_nonoverlapping(all.as_ptr(), to, n);
            }
        }
    }
}
