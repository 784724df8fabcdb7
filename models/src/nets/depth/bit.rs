//! ResNetv2 before the transformer of DPT-Hybrid: convolutions of standardised weights, group norm.
//!
//! Papers: Big Transfer, 2020; Micro-Batch Training with Batch-Channel Normalization and Weight
//! Standardization, 2019.
//! Reference: transformers 4.57.1, `models/bit`, layers of type `bottleneck`, padding `same`.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Result, config::BitConfig};
use crate::nets::{
    Vars,
    blocks::{read, written},
    compute::Kernels,
    conv::{After, Conv2d, ConvShape},
    features,
};

/// What is added to the variance of a filter, and to that of a group of channels.
const EPS_WEIGHT: f64 = 1e-8;
const EPS_GROUP: f64 = 1e-5;
/// Channels of a bottleneck are a multiple of this.
const DIVISOR: usize = 8;

pub struct Bit {
    first: Layer,
    stages: Vec<Vec<Bottleneck>>,
}

/// A convolution and the group norm behind it.
struct Layer {
    conv: Conv2d,
    norm: GroupNorm,
}

struct Bottleneck {
    shortcut: Option<Layer>,
    layers: [Layer; 3],
}

impl Bit {
    pub fn new(config: &BitConfig, vars: &Vars) -> Result<Bit> {
        let groups = config.groups;
        let embedder = vars.pp("embedder");
        let shape = ConvShape::new(3, config.first, 7).stride(2).padding(0);
        let first = Layer::new(shape, groups, &embedder.pp("convolution"), &embedder.pp("norm"))?;
        let mut n_in = config.first;
        let mut stages = Vec::new();
        for (i, (&depth, &n_out)) in config.depths.iter().zip(&config.sizes).enumerate() {
            let vars = vars.pp("encoder.stages").pp(i).pp("layers");
            let mut stage = Vec::new();
            for j in 0..depth {
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                stage.push(Bottleneck::new(n_in, n_out, stride, j == 0, groups, &vars.pp(j))?);
                n_in = n_out;
            }
            stages.push(stage);
        }
        Ok(Bit { first, stages })
    }

    /// Picture [h, w, 3] to what each stage makes: a quarter, an eighth, a sixteenth of its size.
    pub fn forward(&self, picture: &Tensor) -> Result<Vec<Tensor>> {
        let x = features::relu(&self.first.forward(&padded(picture, 7, 2)?)?)?;
        // Padding with zeros takes nothing from the largest of values that are not below zero.
        let mut x = features::max_pool(&padded(&x, 3, 2)?, 3, 2, false)?;
        let mut made = Vec::new();
        for stage in &self.stages {
            for layer in stage {
                x = layer.forward(&x)?;
            }
            made.push(x.clone());
        }
        Ok(made)
    }
}

impl Bottleneck {
    fn new(n_in: usize, n_out: usize, stride: usize, is_first: bool, groups: usize, vars: &Vars) -> Result<Bottleneck> {
        let middle = divisible(n_out as f64 * 0.25);
        let layer = |i: usize, shape: ConvShape| {
            Layer::new(shape, groups, &vars.pp(format!("conv{i}")), &vars.pp(format!("norm{i}")))
        };
        let shortcut = vars.pp("downsample");
        let wide = ConvShape::new(middle, middle, 3);
        let wide = if stride == 1 { wide } else { wide.stride(stride).padding(0) };
        Ok(Bottleneck {
            shortcut: is_first
                .then(|| {
                    let shape = ConvShape::new(n_in, n_out, 1).stride(stride);
                    Layer::new(shape, groups, &shortcut.pp("conv"), &shortcut.pp("norm"))
                })
                .transpose()?,
            layers: [
                layer(1, ConvShape::new(n_in, middle, 1))?,
                layer(2, wide)?,
                layer(3, ConvShape::new(middle, n_out, 1))?,
            ],
        })
    }

    /// [h, w, c] to [h / stride, w / stride, c']
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [narrow, wide, back] = &self.layers;
        let shortcut = match &self.shortcut {
            Some(layer) => layer.forward(x)?,
            None => x.clone(),
        };
        let y = features::relu(&narrow.forward(x)?)?;
        let stride = wide.conv.shape.stride;
        let y = if stride == 1 { y } else { padded(&y, 3, stride)? };
        let y = features::relu(&wide.forward(&y)?)?;
        features::relu(&features::add(&back.forward(&y)?, &shortcut)?)
    }
}

impl Layer {
    fn new(shape: ConvShape, groups: usize, conv: &Vars, norm: &Vars) -> Result<Layer> {
        let mut weight = conv.values("weight", &shape.weight_shape())?.to_vec();
        let len = weight.len() / shape.n_out;
        weight.chunks_exact_mut(len).for_each(standardise);
        Ok(Layer {
            conv: Conv2d::from_values(shape, After::None, &weight, None, conv.compute)?,
            norm: GroupNorm::new(shape.n_out, groups, norm)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(x)?)
    }
}

/// A filter less its mean, over its deviation.
fn standardise(filter: &mut [f32]) {
    let n = filter.len() as f64;
    let mean = filter.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
    let variance = filter.iter().map(|w| (f64::from(*w) - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (variance + EPS_WEIGHT).sqrt();
    filter.iter_mut().for_each(|w| *w = ((f64::from(*w) - mean) * scale) as f32);
}

/// As many channels as a multiple of `DIVISOR` is nearest, and no less than nine tenths.
fn divisible(n: f64) -> usize {
    let nearest = DIVISOR.max((n + DIVISOR as f64 / 2.0) as usize / DIVISOR * DIVISOR);
    if (nearest as f64) < 0.9 * n { nearest + DIVISOR } else { nearest }
}

/// Zeros around [h, w, c] so that windows every `stride` pixels reach all of it, the odd one at the
/// bottom and the right: padding `same` of TensorFlow.
fn padded(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let (h, w, _) = x.dims3()?;
    let missing = |n: usize| ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n);
    let (tall, wide) = (missing(h), missing(w));
    let x = x.pad_with_zeros(0, tall / 2, tall - tall / 2)?;
    Ok(x.pad_with_zeros(1, wide / 2, wide - wide / 2)?.contiguous()?)
}

/// Each group of channels over all pixels less its mean, over its deviation, times `weight` plus
/// `bias` of the channel (Wu and He, 2018), channels last.
struct GroupNorm {
    groups: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    kernels: Kernels,
}

impl GroupNorm {
    fn new(n: usize, groups: usize, vars: &Vars) -> Result<GroupNorm> {
        Ok(GroupNorm {
            groups,
            weight: vars.values("weight", &[n])?.to_vec(),
            bias: vars.values("bias", &[n])?.to_vec(),
            kernels: vars.compute.kernels,
        })
    }

    /// [h, w, c] to [h, w, c]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.kernels == Kernels::Ours {
            return written(read(x, |x| Ok(self.on_host(x)))?, x.dims());
        }
        let (h, w, c) = x.dims3()?;
        let grouped = x.reshape((h * w, self.groups, c / self.groups))?;
        let mean = |x: &Tensor| x.mean_keepdim(2)?.mean_keepdim(0);
        let centred = grouped.broadcast_sub(&mean(&grouped)?)?;
        let deviation = (mean(&centred.sqr()?)? + EPS_GROUP)?.sqrt()?; // [1, groups, 1]
        let y = centred.broadcast_div(&deviation)?.reshape((h * w, c))?;
        let of = |values: &[f32]| Tensor::from_slice(values, c, x.device());
        Ok(y.broadcast_mul(&of(&self.weight)?)?.broadcast_add(&of(&self.bias)?)?.reshape((h, w, c))?)
    }

    fn on_host(&self, x: &[f32]) -> Vec<f32> {
        let c = self.weight.len();
        let size = c / self.groups;
        let n = (x.len() / self.groups) as f64;
        // Sum and sum of squares of each group, row by row.
        let sums = x
            .par_chunks(c * 256)
            .map(|pixels| {
                let mut sums = vec![[0.0f64; 2]; self.groups];
                for pixel in pixels.chunks_exact(c) {
                    for (sum, group) in sums.iter_mut().zip(pixel.chunks_exact(size)) {
                        for v in group {
                            sum[0] += f64::from(*v);
                            sum[1] += f64::from(*v) * f64::from(*v);
                        }
                    }
                }
                sums
            })
            .collect::<Vec<_>>();
        let affine: Vec<[f32; 2]> = (0..c)
            .map(|channel| {
                let group = channel / size;
                let [sum, squares] = sums.iter().fold([0.0; 2], |a, s| [a[0] + s[group][0], a[1] + s[group][1]]);
                let mean = sum / n;
                let scale = f64::from(self.weight[channel]) / (squares / n - mean * mean + EPS_GROUP).sqrt();
                [scale as f32, (f64::from(self.bias[channel]) - mean * scale) as f32]
            })
            .collect();
        let mut y = x.to_vec();
        y.par_chunks_mut(c * 256).for_each(|pixels| {
            for pixel in pixels.chunks_exact_mut(c) {
                pixel.iter_mut().zip(&affine).for_each(|(v, [scale, shift])| *v = *v * scale + shift);
            }
        });
        y
    }
}

#[cfg(test)]
mod tests {
    use super::divisible;

    #[test]
    fn bottlenecks_have_channels_in_eights() {
        assert_eq!([8.0, 12.0, 16.0, 64.0, 3.0, 18.0].map(divisible), [8, 16, 16, 64, 8, 24]);
    }
}
