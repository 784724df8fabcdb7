//! What happens to features `[h, w, channels]` between convolutions: activations, pooling, other
//! sizes, channels for pixels.

use ::image::RgbImage;
use candle_core::{Device, Tensor};
use meshkiln_ops::conv::After;
use rayon::prelude::*;

use super::blocks::{read, written};
use crate::error::StageError;

type Result<T, E = StageError> = std::result::Result<T, E>;

/// Values that one task of a pointwise operation has.
const CHUNK: usize = 1 << 14;

pub fn relu(x: &Tensor) -> Result<Tensor> {
    activated(x, &After::Relu)
}

/// By the error function, not by the hyperbolic tangent.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    activated(x, &After::Gelu)
}

pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    activated(x, &After::Sigmoid)
}

/// The same shape, each value by itself; channels are the last axis.
pub fn activated(x: &Tensor, after: &After) -> Result<Tensor> {
    if x.device().is_cpu() {
        let n_channels = x.dim(candle_core::D::Minus1)?;
        let mut y = read(x, |x| Ok(x.to_vec()))?;
        y.par_chunks_mut((CHUNK / n_channels).max(1) * n_channels).for_each(|part| after.apply(part, n_channels));
        return written(y, x.dims());
    }
    Ok(match after {
        After::None => x.clone(),
        After::Relu => x.relu()?,
        After::LeakyRelu(slope) => (x.relu()? - (x.neg()?.relu()? * f64::from(*slope))?)?,
        After::Prelu(slopes) => {
            let slopes = Tensor::from_slice(slopes, slopes.len(), x.device())?.to_dtype(x.dtype())?;
            (x.relu()? - x.neg()?.relu()?.broadcast_mul(&slopes)?)?
        }
        After::Gelu => x.gelu_erf()?,
        After::Silu => x.silu()?,
        After::Sigmoid => (((x * 0.5)?.tanh()? + 1.0)? * 0.5)?,
    })
}

/// a + b, of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    add_scaled(a, b, 1.0)
}

/// a + scale * b, of one shape.
pub fn add_scaled(a: &Tensor, b: &Tensor, scale: f32) -> Result<Tensor> {
    if !a.device().is_cpu() || a.dims() != b.dims() {
        return Ok((a + (b * f64::from(scale))?)?);
    }
    let mut y = read(a, |a| Ok(a.to_vec()))?;
    read(b, |b| {
        let pairs = y.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK));
        pairs.for_each(|(y, b)| y.iter_mut().zip(b).for_each(|(y, b)| *y += scale * b));
        Ok(())
    })?;
    written(y, a.dims())
}

/// The largest of `kernel` x `kernel` pixels every `stride` pixels. `ceil`: windows that the border
/// cuts off count too.
pub fn max_pool(x: &Tensor, kernel: usize, stride: usize, ceil: bool) -> Result<Tensor> {
    let (h, w, c) = x.dims3()?;
    let size = |n: usize| {
        let rest = n.saturating_sub(kernel);
        if ceil { rest.div_ceil(stride) + 1 } else { rest / stride + 1 }
    };
    let (out_h, out_w) = (size(h), size(w));
    if x.device().is_cpu() {
        let mut y = vec![f32::NEG_INFINITY; out_h * out_w * c];
        read(x, |x| {
            y.par_chunks_mut(out_w * c).enumerate().for_each(|(row, y)| {
                for from in row * stride..(row * stride + kernel).min(h) {
                    for (column, y) in y.chunks_exact_mut(c).enumerate() {
                        for at in column * stride..(column * stride + kernel).min(w) {
                            let x = &x[(from * w + at) * c..][..c];
                            y.iter_mut().zip(x).for_each(|(y, x)| *y = y.max(*x));
                        }
                    }
                }
            });
            Ok(())
        })?;
        return written(y, &[out_h, out_w, c]);
    }
    // Beyond the border the outermost pixels again: no window's largest becomes larger.
    let more = |n: usize, out: usize| ((out - 1) * stride + kernel).saturating_sub(n);
    let x = x.pad_with_same(0, 0, more(h, out_h))?.pad_with_same(1, 0, more(w, out_w))?;
    let pooled = x.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?.max_pool2d_with_stride(kernel, stride)?;
    Ok(pooled.squeeze(0)?.permute((1, 2, 0))?.contiguous()?)
}

/// To `h` x `w` pixels, bilinear, without antialiasing: PyTorch's `interpolate`.
pub fn resize_bilinear(x: &Tensor, h: usize, w: usize, align_corners: bool) -> Result<Tensor> {
    let (from_h, from_w, c) = x.dims3()?;
    if (from_h, from_w) == (h, w) {
        return Ok(x.clone());
    }
    let (rows, columns) = (Taps::new(from_h, h, align_corners), Taps::new(from_w, w, align_corners));
    if x.device().is_cpu() {
        let mut y = vec![0.0; h * w * c];
        read(x, |x| {
            y.par_chunks_mut(w * c).enumerate().for_each_init(
                || vec![0.0; from_w * c],
                |mixed, (row, y)| {
                    let (low, share) = rows.0[row];
                    let high = (low + 1).min(from_h - 1);
                    let (low, high) = (&x[low * from_w * c..], &x[high * from_w * c..]);
                    mix(&low[..from_w * c], &high[..from_w * c], share, mixed);
                    for (y, &(low, share)) in y.chunks_exact_mut(c).zip(&columns.0) {
                        let high = (low + 1).min(from_w - 1);
                        mix(&mixed[low * c..][..c], &mixed[high * c..][..c], share, y);
                    }
                },
            );
            Ok(())
        })?;
        return written(y, &[h, w, c]);
    }
    // As products with matrices of shares, which every device has.
    let tall = rows.matrix(from_h, x)?.matmul(&x.reshape((from_h, from_w * c))?)?;
    let wide = tall.reshape((h, from_w, c))?;
    Ok(columns.matrix(from_w, x)?.unsqueeze(0)?.broadcast_matmul(&wide)?)
}

fn mix(a: &[f32], b: &[f32], share: f32, to: &mut [f32]) {
    let rest = 1.0 - share;
    to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = a * rest + b * share);
}

/// For each place of a resized axis the lower of two neighbours and the share of the upper one.
struct Taps(Vec<(usize, f32)>);

impl Taps {
    fn new(from: usize, to: usize, align_corners: bool) -> Taps {
        let step = match align_corners {
            true if to > 1 => (from - 1) as f64 / (to - 1) as f64,
            true => 0.0,
            false => from as f64 / to as f64,
        };
        let place = |i: usize| if align_corners { i as f64 * step } else { ((i as f64 + 0.5) * step - 0.5).max(0.0) };
        let tap = |i: usize| {
            let low = (place(i) as usize).min(from - 1);
            (low, (place(i) - low as f64).min(1.0) as f32)
        };
        Taps((0..to).map(tap).collect())
    }

    /// [to, from].
    fn matrix(&self, from: usize, like: &Tensor) -> Result<Tensor> {
        let mut values = vec![0.0; self.0.len() * from];
        for (row, &(low, share)) in values.chunks_exact_mut(from).zip(&self.0) {
            row[low] += 1.0 - share;
            row[(low + 1).min(from - 1)] += share;
        }
        Ok(Tensor::from_vec(values, (self.0.len(), from), like.device())?.to_dtype(like.dtype())?)
    }
}

/// To `h` x `w` pixels, each of them that of the input which it falls in.
pub fn resize_nearest(x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
    let (from_h, from_w, c) = x.dims3()?;
    let columns: Vec<usize> = (0..w).map(|i| i * from_w / w).collect();
    if x.device().is_cpu() {
        let mut y = vec![0.0; h * w * c];
        read(x, |x| {
            y.par_chunks_mut(w * c).enumerate().for_each(|(row, y)| {
                let x = &x[row * from_h / h * from_w * c..][..from_w * c];
                for (y, &column) in y.chunks_exact_mut(c).zip(&columns) {
                    y.copy_from_slice(&x[column * c..][..c]);
                }
            });
            Ok(())
        })?;
        return written(y, &[h, w, c]);
    }
    let list = |places: Vec<usize>| {
        let places: Vec<u32> = places.into_iter().map(|place| place as u32).collect();
        Tensor::from_vec(places.clone(), places.len(), x.device())
    };
    let rows = (0..h).map(|i| i * from_h / h).collect();
    Ok(x.index_select(&list(rows)?, 0)?.index_select(&list(columns)?, 1)?)
}

/// [h, w, (r, r, c)] to [r h, r w, c].
pub fn depth_to_space(x: &Tensor, r: usize) -> Result<Tensor> {
    let (h, w, channels) = x.dims3()?;
    let row = channels / r;
    if x.device().is_cpu() {
        let mut y = vec![0.0; h * w * channels];
        read(x, |x| {
            y.par_chunks_mut((w * row).max(1)).enumerate().for_each(|(to, y)| {
                let pixels = x[to / r * w * channels..].chunks_exact(channels);
                // Pixels of one input lie side by side in both.
                y.chunks_exact_mut(row).zip(pixels).for_each(|(y, x)| y.copy_from_slice(&x[to % r * row..][..row]));
            });
            Ok(())
        })?;
        return written(y, &[r * h, r * w, row / r]);
    }
    let split = x.reshape(&[h, w, r, row][..])?.permute([0, 2, 1, 3])?;
    Ok(split.contiguous()?.reshape((r * h, r * w, row / r))?)
}

/// [r h, r w, c] to [h, w, (c, r, r)].
pub fn pixel_unshuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (h, w, c) = x.dims3()?;
    let split = x.reshape(&[h / r, r, w / r, r, c][..])?.permute([0, 2, 4, 1, 3])?;
    Ok(split.contiguous()?.reshape((h / r, w / r, c * r * r))?)
}

/// A picture as [h, w, 3]: its values in 0..=1, less the mean, over the deviation.
pub fn from_rgb(picture: &RgbImage, mean: [f32; 3], std: [f32; 3], device: &Device) -> Result<Tensor> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw().as_chunks::<3>().0.par_iter();
    let values = pixels.flat_map_iter(|p| (0..3).map(|c| (f32::from(p[c]) / 255.0 - mean[c]) / std[c])).collect();
    Ok(Tensor::from_vec(values, (h, w, 3), &Device::Cpu)?.to_device(device)?)
}

#[cfg(test)]
mod tests;
