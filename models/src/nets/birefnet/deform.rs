//! Convolution whose taps say themselves where they look, and how much of what they see counts.
//!
//! Papers: Deformable Convolutional Networks, Dai et al., 2017; Deformable ConvNets v2, Zhu et al., 2019.
//! Reference: ZhengPeng7/BiRefNet, `models/modules/deform_conv.py` @ 0a5c00f, torchvision's
//! `deform_conv2d`: bilinear between pixels, zero beyond the border.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{
    error::StageError,
    nets::{
        Vars,
        blocks::{Activation, Linear, read, written},
        compute::Kernels,
        conv::{After, Conv2d, ConvShape},
        features,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

/// Values that are gathered at once.
const GATHERED: usize = 1 << 24;

/// With the batch norm and the ReLU behind it.
pub struct DeformableConv {
    kernel: usize,
    /// To (down, right) of each tap, in pixels.
    offsets: Conv2d,
    /// To half the share of each tap.
    shares: Conv2d,
    /// From [n, k k n_in], taps first.
    product: Linear,
    is_ours: bool,
}

impl DeformableConv {
    /// `offset_conv`, `modulator_conv` and `regular_conv` below `vars`; stride 1, as large as it was.
    pub fn new(n_in: usize, n_out: usize, kernel: usize, vars: &Vars, norm: &Vars, eps: f64) -> Result<DeformableConv> {
        let taps = kernel * kernel;
        let weight = vars.pp("regular_conv").values("weight", &[n_out, n_in, kernel, kernel])?;
        let of = |name: &str| norm.values(name, &[n_out]);
        let (scale, shift, mean, variance) = (of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?);
        let mut by_tap = vec![0.0; weight.len()];
        let mut bias = vec![0.0; n_out];
        for (out, bias) in bias.iter_mut().enumerate() {
            let factor = f64::from(scale[out]) / (f64::from(variance[out]) + eps).sqrt();
            *bias = (f64::from(shift[out]) - f64::from(mean[out]) * factor) as f32;
            for (c, tap) in (0..n_in).flat_map(|c| (0..taps).map(move |tap| (c, tap))) {
                // Shares go up to 2, what comes out of a sigmoid to 1.
                let value = f64::from(weight[(out * n_in + c) * taps + tap]) * factor * 2.0;
                by_tap[(out * taps + tap) * n_in + c] = value as f32;
            }
        }
        let shape = |n_out: usize| ConvShape::new(n_in, n_out, kernel);
        Ok(DeformableConv {
            kernel,
            offsets: Conv2d::new(shape(2 * taps), After::None, &vars.pp("offset_conv"))?,
            shares: Conv2d::new(shape(taps), After::Sigmoid, &vars.pp("modulator_conv"))?,
            product: Linear::from_values(Activation::None, taps * n_in, &by_tap, Some(&bias), vars.compute)?,
            is_ours: vars.compute.kernels == Kernels::Ours,
        })
    }

    /// [h, w, n_in] to [h, w, n_out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (h, w, c) = x.dims3()?;
        let (offsets, shares) = (self.offsets.forward(x)?, self.shares.forward(x)?);
        let step = (GATHERED / (w * self.kernel * self.kernel * c)).max(1);
        let mut strips = Vec::new();
        for top in (0..h).step_by(step) {
            let n_rows = step.min(h - top);
            let rows = |of: &Tensor| of.narrow(0, top, n_rows);
            let seen = if self.is_ours {
                self.seen(x, &rows(&offsets)?, &rows(&shares)?, top)?
            } else {
                self.seen_by_tensors(x, &rows(&offsets)?, &rows(&shares)?, top)?
            };
            let strip = self.product.forward(&seen)?.to_dtype(DType::F32)?;
            strips.push(features::relu(&strip)?.reshape((n_rows, w, strip.dim(1)?))?);
        }
        Ok(if strips.len() == 1 { strips.remove(0) } else { Tensor::cat(&strips, 0)? })
    }

    /// What the taps of rows from `top` on see, [rows w, k k c].
    fn seen(&self, x: &Tensor, offsets: &Tensor, shares: &Tensor, top: usize) -> Result<Tensor> {
        let (h, w, c) = x.dims3()?;
        let (n_rows, taps) = (offsets.dim(0)?, self.kernel * self.kernel);
        let mut seen = vec![0.0; n_rows * w * taps * c];
        read(x, |x| {
            read(offsets, |offsets| {
                read(shares, |shares| {
                    seen.par_chunks_mut(taps * c).enumerate().for_each(|(pixel, seen)| {
                        let (row, column) = (top + pixel / w, pixel % w);
                        for (tap, seen) in seen.chunks_exact_mut(c).enumerate() {
                            let [down, right] = [0, 1].map(|axis| offsets[(pixel * taps + tap) * 2 + axis]);
                            let y = self.base(row, tap / self.kernel) + down;
                            let at = self.base(column, tap % self.kernel) + right;
                            let share = shares[pixel * taps + tap];
                            for (y, of_y) in corners(y, h) {
                                for (at, of_x) in corners(at, w) {
                                    let weight = share * of_y * of_x;
                                    let from = &x[(y * w + at) * c..][..c];
                                    seen.iter_mut().zip(from).for_each(|(sum, v)| *sum += weight * v);
                                }
                            }
                        }
                    });
                    Ok(())
                })
            })
        })?;
        written(seen, &[n_rows * w, taps * c])
    }

    /// The place along an axis that a tap would look at without an offset.
    fn base(&self, place: usize, tap: usize) -> f32 {
        (place + tap) as f32 - (self.kernel / 2) as f32
    }

    /// The same with operations that every device has.
    fn seen_by_tensors(&self, x: &Tensor, offsets: &Tensor, shares: &Tensor, top: usize) -> Result<Tensor> {
        let (h, w, c) = x.dims3()?;
        let (n_rows, taps, n) = (offsets.dim(0)?, self.kernel * self.kernel, offsets.dim(0)? * w);
        let pixels = x.reshape((h * w, c))?;
        let base = |of: &dyn Fn(usize, usize) -> f32| -> Result<Tensor> {
            let places = (0..n).flat_map(|pixel| (0..taps).map(move |tap| (pixel, tap))).map(|(p, t)| of(p, t));
            Ok(Tensor::from_vec(places.collect::<Vec<_>>(), (n, taps), &Device::Cpu)?.to_device(x.device())?)
        };
        let offsets = offsets.contiguous()?.reshape((n_rows * w, taps, 2))?;
        let axis = |i: usize| offsets.narrow(2, i, 1)?.squeeze(2);
        let y = (base(&|p, t| self.base(top + p / w, t / self.kernel))? + axis(0)?)?;
        let at = (base(&|p, t| self.base(p % w, t % self.kernel))? + axis(1)?)?;
        let shares = shares.contiguous()?.reshape((n, taps))?;
        let mut sum: Option<Tensor> = None;
        for (below, right) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let (y, of_y) = corner(&y, below, h)?;
            let (at, of_x) = corner(&at, right, w)?;
            let index = ((y * w as f64)? + at)?.to_dtype(DType::U32)?.flatten_all()?;
            let weight = ((of_y * of_x)? * &shares)?.reshape((n * taps, 1))?;
            let seen = pixels.index_select(&index, 0)?.broadcast_mul(&weight)?;
            sum = Some(match sum {
                Some(sum) => (sum + seen)?,
                None => seen,
            });
        }
        let sum = sum.ok_or_else(|| StageError::internal("a place without corners"))?;
        Ok(sum.reshape((n, taps * c))?)
    }
}

/// The two pixels of `size` beside a place, with their shares; those beyond the border are left out.
fn corners(place: f32, size: usize) -> impl Iterator<Item = (usize, f32)> {
    let low = place.floor();
    let rest = place - low;
    let both = [(low, 1.0 - rest), (low + 1.0, rest)];
    both.into_iter().filter(move |(at, _)| *at >= 0.0 && *at < size as f32).map(|(at, share)| (at as usize, share))
}

/// One of them for many places, and its share, which is 0 beyond the border.
fn corner(places: &Tensor, after: f64, size: usize) -> Result<(Tensor, Tensor)> {
    let low = places.floor()?;
    let rest = (places - &low)?;
    let share = if after > 0.0 { rest } else { (1.0 - rest)? };
    let at = (low + after)?;
    let inside = (at.ge(0.0)?.to_dtype(DType::F32)? * at.lt(size as f64)?.to_dtype(DType::F32)?)?;
    Ok((at.clamp(0.0, (size - 1) as f64)?, (share * inside)?))
}
