//! Convolutions over features `[h, w, channels]`, channels last: pixels are rows of what linear
//! layers, norms and attention take.
//!
//! On a CPU our own kernels run (`ops::conv`), elsewhere candle's, which want channels first and
//! get turned copies.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor, WithDType};
use half::bf16;
use meshkiln_ops::{
    Lined,
    conv::{Convolution, Number, PackedConv, PackedTransposed, Part, Values},
};

use super::{Compute, Vars, blocks::read, checkpoint::on_device, compute::Kernels, features};
use crate::error::StageError;

pub use meshkiln_ops::conv::{After, ConvShape, TransposedShape};

type Result<T, E = StageError> = std::result::Result<T, E>;

/// y = after(conv(x) + b).
pub struct Conv2d {
    pub shape: ConvShape,
    kernel: ConvKernel,
}

enum ConvKernel {
    Ours(Box<PackedConv>),
    /// `weight` as in the checkpoint and `bias` [1, n_out, 1, 1], in the precision of the net.
    Candle {
        weight: Tensor,
        bias: Option<Tensor>,
        after: After,
    },
}

impl Conv2d {
    /// Tensors `weight` [n_out, n_in / groups, k, k] and `bias` [n_out].
    pub fn new(shape: ConvShape, after: After, vars: &Vars) -> Result<Conv2d> {
        let bias = vars.values("bias", &[shape.n_out])?;
        let weight = vars.values("weight", &shape.weight_shape())?;
        Conv2d::from_values(shape, after, &weight, Some(&bias), vars.compute)
    }

    /// Tensor `weight` alone.
    pub fn without_bias(shape: ConvShape, after: After, vars: &Vars) -> Result<Conv2d> {
        let weight = vars.values("weight", &shape.weight_shape())?;
        Conv2d::from_values(shape, after, &weight, None, vars.compute)
    }

    /// A convolution and the batch norm behind it (Ioffe and Szegedy, 2015) as one: running moments
    /// are constants once a net is trained.
    pub fn with_norm(
        shape: ConvShape,
        has_bias: bool,
        after: After,
        conv: &Vars,
        norm: &Vars,
        eps: f64,
    ) -> Result<Conv2d> {
        let n = shape.n_out;
        let mut weight = conv.values("weight", &shape.weight_shape())?.to_vec();
        let mut bias = if has_bias { conv.values("bias", &[n])?.to_vec() } else { vec![0.0; n] };
        let of = |name: &str| norm.values(name, &[n]);
        let (scale, shift, mean, variance) = (of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?);
        let len = weight.len() / n;
        for (c, filter) in weight.chunks_exact_mut(len).enumerate() {
            let factor = f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
            filter.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            bias[c] = ((f64::from(bias[c]) - f64::from(mean[c])) * factor + f64::from(shift[c])) as f32;
        }
        Conv2d::from_values(shape, after, &weight, Some(&bias), conv.compute)
    }

    /// From `weight` [n_out, n_in / groups, k, k] and `bias` [n_out], row-major.
    pub fn from_values(
        shape: ConvShape,
        after: After,
        weight: &[f32],
        bias: Option<&[f32]>,
        compute: &Compute,
    ) -> Result<Conv2d> {
        let kernel = if compute.kernels == Kernels::Ours {
            let convolution = Convolution { shape, weight, bias, after: &after };
            ConvKernel::Ours(Box::new(PackedConv::new(&convolution, compute.precision.of_kernels())))
        } else {
            let to_device = |values: &[f32], shape: &[usize]| -> Result<Tensor> {
                Ok(on_device(values, shape, &compute.device)?.to_dtype(compute.dtype())?)
            };
            ConvKernel::Candle {
                weight: to_device(weight, &shape.weight_shape())?,
                bias: bias.map(|bias| to_device(bias, &[1, shape.n_out, 1, 1])).transpose()?,
                after,
            }
        };
        Ok(Conv2d { shape, kernel })
    }

    /// [h, w, n_in] to [h', w', n_out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_cat(&[x])
    }

    /// `forward` of `parts` [h, w, c], side by side along channels.
    pub fn forward_cat(&self, parts: &[&Tensor]) -> Result<Tensor> {
        match &self.kernel {
            ConvKernel::Ours(packed) => self.ours(packed, parts, None),
            ConvKernel::Candle { weight, bias, after } => self.candle(weight, bias.as_ref(), after, parts),
        }
    }

    /// `forward_cat`, for convolutions alone to read: bf16 where they would round it to that, which
    /// halves what is written and read.
    pub fn forward_rounded(&self, parts: &[&Tensor]) -> Result<Tensor> {
        match &self.kernel {
            ConvKernel::Ours(packed) if packed.rounds_inputs() => {
                let (h, w) = self.input_size(parts)?;
                let mut y = Lined::<bf16>::default();
                with_values(parts, &[], &mut |parts| y = packed.apply_in(parts, h, w, Lined::default()))?;
                lined(y, &[self.shape.size(h), self.shape.size(w), self.shape.n_out])
            }
            _ => self.forward_cat(parts),
        }
    }

    /// residual + scale * `forward_cat`: the end of a residual branch. `residual` [h', w', n_out].
    pub fn forward_add(&self, parts: &[&Tensor], residual: &Tensor, scale: f32) -> Result<Tensor> {
        match &self.kernel {
            ConvKernel::Ours(packed) => self.ours(packed, parts, Some((residual, scale))),
            ConvKernel::Candle { weight, bias, after } => {
                let y = self.candle(weight, bias.as_ref(), after, parts)?;
                Ok((residual + (y * f64::from(scale))?)?)
            }
        }
    }

    fn ours(&self, packed: &PackedConv, parts: &[&Tensor], add: Option<(&Tensor, f32)>) -> Result<Tensor> {
        let (h, w) = self.input_size(parts)?;
        let shape = [self.shape.size(h), self.shape.size(w), self.shape.n_out];
        let mut y = Lined::default();
        match add {
            None => with_values(parts, &[], &mut |parts| y = packed.apply(parts, h, w))?,
            Some((residual, scale)) if residual.dims() == shape => read(residual, |residual| {
                with_values(parts, &[], &mut |parts| y = packed.apply_add(parts, h, w, residual, scale))
            })?,
            Some((residual, _)) => {
                return Err(StageError::internal(format!("a residual {:?} is added to {shape:?}", residual.dims())));
            }
        }
        lined(y, &shape)
    }

    fn candle(&self, weight: &Tensor, bias: Option<&Tensor>, after: &After, parts: &[&Tensor]) -> Result<Tensor> {
        self.input_size(parts)?;
        let ConvShape { padding, stride, dilation, groups, .. } = self.shape;
        let x = match parts {
            [one] => (*one).clone(),
            _ => Tensor::cat(parts, 2)?,
        };
        let x = channels_first(&x.to_dtype(weight.dtype())?)?;
        let y = x.conv2d(weight, padding, stride, dilation, groups)?;
        let y = bias.map_or_else(|| Ok(y.clone()), |bias| y.broadcast_add(bias))?;
        features::activated(&channels_last(&y)?.to_dtype(DType::F32)?, after)
    }

    /// Rows and columns of all parts, whose channels must be those of the layer.
    fn input_size(&self, parts: &[&Tensor]) -> Result<(usize, usize)> {
        let dims = parts.iter().map(|part| part.dims3()).collect::<Result<Vec<_>, _>>()?;
        let (h, w, _) = dims.first().copied().unwrap_or_default();
        self.output_size(&dims)?;
        Ok((h, w))
    }

    /// Of inputs of these sizes, whose channels must be those of the layer.
    fn output_size(&self, dims: &[(usize, usize, usize)]) -> Result<(usize, usize, usize)> {
        let (h, w, _) = dims.first().copied().unwrap_or_default();
        let n_in: usize = dims.iter().map(|(_, _, c)| c).sum();
        let fits = dims.iter().all(|d| (d.0, d.1) == (h, w)) && n_in == self.shape.n_in;
        let out = (self.shape.size(h), self.shape.size(w), self.shape.n_out);
        if !fits || out.0.min(out.1) == 0 {
            return Err(StageError::internal(format!("{:?} was given {dims:?}", self.shape)));
        }
        Ok(out)
    }
}

/// `layers` one after the other, each seeing only the results of the one before; [h, w, n_in] to
/// [h', w', n_out]. What passes between them, bf16 where all of them would round it to that, is in
/// two pieces of memory. `each` hears of the results of every layer.
pub fn forward_row(layers: &[Conv2d], x: &Tensor, each: Each) -> Result<Tensor> {
    let packed = layers.iter().map(|layer| match &layer.kernel {
        ConvKernel::Ours(packed) => Some((layer, packed.as_ref())),
        ConvKernel::Candle { .. } => None,
    });
    match packed.collect::<Option<Vec<_>>>() {
        Some(layers) if layers.iter().all(|(_, packed)| packed.rounds_inputs()) => row::<bf16>(&layers, x, each),
        Some(layers) => row::<f32>(&layers, x, each),
        None => {
            let mut y = x.clone();
            for (i, layer) in layers.iter().enumerate() {
                y = layer.forward(&y)?;
                each(i, &|| Ok(y.clone()))?;
            }
            Ok(y)
        }
    }
}

/// The number of a layer, and its results where they are asked for.
pub type Each<'a> = &'a dyn Fn(usize, &dyn Fn() -> Result<Tensor>) -> Result<()>;

fn row<T: Number + WithDType>(layers: &[(&Conv2d, &PackedConv)], x: &Tensor, each: Each) -> Result<Tensor> {
    let (mut y, mut free) = (Lined::<T>::default(), Lined::<T>::default());
    let mut size = x.dims3()?;
    for (i, (layer, packed)) in layers.iter().enumerate() {
        let (h, w, channels) = size;
        let next = layer.output_size(&[size])?;
        let mut apply = |parts: &[Part]| free = packed.apply_in(parts, h, w, std::mem::take(&mut free));
        match i {
            0 => with_values(&[x], &[], &mut apply)?,
            _ => apply(&[Part::new(&y, channels)]),
        }
        std::mem::swap(&mut y, &mut free);
        size = next;
        each(i, &|| Ok(Tensor::from_slice(&y, size, &Device::Cpu)?))?;
    }
    lined(y, &[size.0, size.1, size.2])
}

/// Gives `work` the numbers of tensors on the CPU, f32 or bf16.
fn with_values(parts: &[&Tensor], seen: &[Part], work: &mut dyn FnMut(&[Part])) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else {
        work(seen);
        return Ok(());
    };
    let channels = first.dims3()?.2;
    let first = first.contiguous()?;
    let (storage, layout) = first.storage_and_layout();
    let values = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Values::F32(&values[start..end]),
        (Storage::Cpu(CpuStorage::BF16(values)), Some((start, end))) => Values::Bf16(&values[start..end]),
        _ => return Err(StageError::internal("a convolution on the CPU is given other numbers or those elsewhere")),
    };
    let seen: Vec<Part> = seen.iter().copied().chain([Part { values, channels }]).collect();
    with_values(rest, &seen, work)
}

/// Without a copy.
fn lined<T: WithDType + Default>(values: Lined<T>, shape: &[usize]) -> Result<Tensor> {
    let len = values.len();
    let (values, first) = values.into_parts();
    let n = values.len();
    Ok(Tensor::from_vec(values, n, &Device::Cpu)?.narrow(0, first, len)?.reshape(shape)?)
}

/// A transposed convolution with its activation.
pub struct ConvTranspose2d {
    shape: TransposedShape,
    kernel: TransposeKernel,
}

enum TransposeKernel {
    Ours(Box<PackedTransposed>),
    /// `weight` as in the checkpoint and `bias` [1, n_out, 1, 1], in the precision of the net.
    Candle {
        weight: Tensor,
        bias: Tensor,
        after: After,
    },
}

impl ConvTranspose2d {
    /// Tensors `weight` [n_in, n_out, k, k] and `bias` [n_out].
    pub fn new(shape: TransposedShape, after: After, vars: &Vars) -> Result<ConvTranspose2d> {
        let Compute { device, kernels, precision } = vars.compute;
        let weight = vars.values("weight", &shape.weight_shape())?;
        let bias = vars.values("bias", &[shape.n_out])?;
        let kernel = if *kernels == Kernels::Ours {
            let precision = precision.of_kernels();
            TransposeKernel::Ours(Box::new(PackedTransposed::new(shape, &weight, Some(&bias), &after, precision)))
        } else {
            let to_device = |values: &[f32], shape: &[usize]| -> Result<Tensor> {
                Ok(on_device(values, shape, device)?.to_dtype(vars.compute.dtype())?)
            };
            TransposeKernel::Candle {
                weight: to_device(&weight, &shape.weight_shape())?,
                bias: to_device(&bias, &[1, shape.n_out, 1, 1])?,
                after,
            }
        };
        Ok(ConvTranspose2d { shape, kernel })
    }

    /// [h, w, n_in] to [(h - 1) * stride - 2 * padding + kernel, ..., n_out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (h, w, channels) = x.dims3()?;
        let TransposedShape { n_in, n_out, stride, padding, .. } = self.shape;
        let (out_h, out_w) = (self.shape.size(h), self.shape.size(w));
        if channels != n_in || out_h.min(out_w) == 0 {
            return Err(StageError::internal(format!("{:?} was given {h}x{w}x{channels}", self.shape)));
        }
        match &self.kernel {
            TransposeKernel::Ours(packed) => {
                let mut y = Lined::default();
                with_values(&[x], &[], &mut |parts| y = packed.apply(&parts[0], h, w))?;
                lined(y, &[out_h, out_w, n_out])
            }
            TransposeKernel::Candle { weight, bias, after } => {
                let x = channels_first(&x.to_dtype(weight.dtype())?)?;
                let y = x.conv_transpose2d(weight, padding, 0, stride, 1)?.broadcast_add(bias)?;
                features::activated(&channels_last(&y)?.to_dtype(DType::F32)?, after)
            }
        }
    }
}

/// [h, w, c] to [1, c, h, w].
fn channels_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?)
}

/// [1, c, h, w] to [h, w, c].
fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.squeeze(0)?.permute((1, 2, 0))?.contiguous()?)
}
