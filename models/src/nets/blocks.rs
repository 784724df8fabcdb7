//! What networks are made of: linear layers, layer norm, attention.
//!
//! Values between layers are [n, d]: n tokens of d features, f32. Within a block, between
//! a norm and what is added to its input, they are in the precision of the `Compute` on a GPU
//! and f32 on a CPU, where our own kernels round while they multiply.
//! One picture at a time: there is no batch axis.

use std::sync::Arc;

use candle_core::{D, DType, Device, Storage, Tensor};
use meshkiln_ops::{self as ops, Bias, Norm, PackedLinear, Rows};

#[cfg(feature = "flash-attn")]
use super::cuda;
use super::{
    Vars,
    checkpoint::on_device,
    compute::{Compute, Kernels},
};
use crate::error::StageError;

pub use meshkiln_ops::Activation;

type Result<T, E = StageError> = std::result::Result<T, E>;

/// y = act(x W^T + b); after `Activation::Geglu` half as wide.
pub struct Linear(LinearKernel);

enum LinearKernel {
    Ours(PackedLinear),
    /// `weight` [rows, n_in], in the precision of the net.
    Candle {
        weight: Tensor,
        bias: Option<Tensor>,
        activation: Activation,
        kernels: Kernels,
    },
}

impl Linear {
    /// Tensors `weight` [n_out, n_in] and `bias` [n_out].
    pub fn new(n_in: usize, n_out: usize, vars: &Vars) -> Result<Linear> {
        Linear::with(Activation::None, n_in, n_out, vars)
    }

    /// With an activation; `n_out` rows, of which `Geglu` halves the output.
    pub fn with(activation: Activation, n_in: usize, n_out: usize, vars: &Vars) -> Result<Linear> {
        let (weight, bias) = (vars.values("weight", &[n_out, n_in])?, vars.values("bias", &[n_out])?);
        Linear::from_values(activation, n_in, &weight, Some(&bias), vars.compute)
    }

    /// Layers with one input as one layer: their outputs side by side, each `n_out` wide.
    pub fn stacked(n_in: usize, n_out: usize, has_bias: bool, parts: &[Vars]) -> Result<Linear> {
        let mut weight = vec![0.0; parts.len() * n_out * n_in];
        let mut bias = vec![0.0; if has_bias { parts.len() * n_out } else { 0 }];
        for (i, vars) in parts.iter().enumerate() {
            vars.copy_to("weight", &[n_out, n_in], &mut weight[i * n_out * n_in..][..n_out * n_in])?;
            if has_bias {
                vars.copy_to("bias", &[n_out], &mut bias[i * n_out..][..n_out])?;
            }
        }
        let compute = parts.first().map(|vars| vars.compute).ok_or_else(|| StageError::internal("no parts"))?;
        Linear::from_values(Activation::None, n_in, &weight, has_bias.then_some(&bias), compute)
    }

    /// From `weight` [n, n_in] and `bias` [n], row-major.
    pub fn from_values(
        activation: Activation,
        n_in: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
        compute: &Compute,
    ) -> Result<Linear> {
        if compute.kernels == Kernels::Ours {
            let layer = ops::Linear { weight, bias, n_in, activation };
            return Ok(Linear(LinearKernel::Ours(PackedLinear::new(&layer, compute.precision.of_kernels()))));
        }
        let to_device = |values: &[f32], shape: &[usize]| -> Result<Tensor> {
            Ok(on_device(values, shape, &compute.device)?.to_dtype(compute.dtype())?)
        };
        Ok(Linear(LinearKernel::Candle {
            weight: to_device(weight, &[weight.len() / n_in, n_in])?,
            bias: bias.map(|bias| to_device(bias, &[bias.len()])).transpose()?,
            activation,
            kernels: compute.kernels,
        }))
    }

    /// [n, n_in] to [n, n_out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            LinearKernel::Ours(packed) => {
                let n = x.dim(0)?;
                let mut y = vec![0.0; n * packed.n_out()];
                read(x, |x| {
                    packed.apply(x, &mut y);
                    Ok(())
                })?;
                written(y, &[n, packed.n_out()])
            }
            LinearKernel::Candle { weight, bias, activation, kernels } => {
                let y = x.to_dtype(weight.dtype())?.matmul(&weight.t()?)?;
                match (kernels, bias) {
                    #[cfg(feature = "flash-attn")]
                    (Kernels::Fused, Some(bias)) if *activation == Activation::Gelu => Ok(cuda::gelu(&y, bias)?),
                    #[cfg(feature = "flash-attn")]
                    (Kernels::Fused, Some(bias)) if *activation == Activation::Geglu => Ok(cuda::geglu(&y, bias)?),
                    (_, Some(bias)) => activated(y.broadcast_add(bias)?, *activation),
                    (_, None) => activated(y, *activation),
                }
            }
        }
    }

    /// `forward` in f32, added to `residual` [n, n_out].
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match &self.0 {
            LinearKernel::Ours(packed) => {
                let mut y = read(residual, |values| Ok(values.to_vec()))?;
                read(x, |x| {
                    packed.apply_add(x, &mut y);
                    Ok(())
                })?;
                written(y, residual.dims())
            }
            #[cfg(feature = "flash-attn")]
            LinearKernel::Candle {
                weight,
                bias: Some(bias),
                activation: Activation::None,
                kernels: Kernels::Fused,
            } => {
                let y = x.to_dtype(weight.dtype())?.matmul(&weight.t()?)?;
                Ok(cuda::add(&y, bias, &residual.contiguous()?)?)
            }
            LinearKernel::Candle { .. } => Ok((self.forward(x)?.to_dtype(residual.dtype())? + residual)?),
        }
    }
}

fn activated(y: Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::None => y,
        Activation::Gelu => y.gelu_erf()?,
        Activation::Geglu => {
            let half = y.dim(D::Minus1)? / 2;
            (y.narrow(1, 0, half)? * y.narrow(1, half, half)?.contiguous()?.gelu_erf()?)?
        }
    })
}

/// Each token less its mean, over its deviation, times `weight` plus `bias` (Ba et al., 2016).
pub struct LayerNorm {
    kernel: NormKernel,
    eps: f32,
}

enum NormKernel {
    Ours {
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    Candle {
        weight: Tensor,
        bias: Tensor,
        to: DType,
        #[cfg(feature = "flash-attn")]
        kernels: Kernels,
    },
}

impl LayerNorm {
    /// Tensors `weight` [d] and `bias` [d].
    pub fn new(d: usize, eps: f32, vars: &Vars) -> Result<LayerNorm> {
        let kernel = match vars.compute.kernels {
            Kernels::Ours => NormKernel::Ours {
                weight: vars.values("weight", &[d])?.to_vec(),
                bias: vars.values("bias", &[d])?.to_vec(),
            },
            Kernels::Candle | Kernels::Fused => NormKernel::Candle {
                weight: vars.tensor("weight", &[d])?,
                bias: vars.tensor("bias", &[d])?,
                to: vars.compute.dtype(),
                #[cfg(feature = "flash-attn")]
                kernels: vars.compute.kernels,
            },
        };
        Ok(LayerNorm { kernel, eps })
    }

    /// [n, d] of f32 to [n, d] in what layers within a block take.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.kernel {
            NormKernel::Ours { weight, bias } => {
                let mut y = vec![0.0; x.elem_count()];
                read(x, |x| {
                    ops::layer_norm(x, &Norm { weight, bias, eps: self.eps }, &mut y);
                    Ok(())
                })?;
                written(y, x.dims())
            }
            #[cfg(feature = "flash-attn")]
            NormKernel::Candle { weight, bias, to, kernels: Kernels::Fused } => {
                Ok(cuda::layer_norm(&x.contiguous()?, weight, bias, self.eps, *to)?)
            }
            NormKernel::Candle { weight, bias, to, .. } => {
                Ok(candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, self.eps)?.to_dtype(*to)?)
            }
        }
    }
}

/// One of several equally wide blocks of columns of a tensor [n, `of` * width].
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    pub tensor: &'a Tensor,
    pub block: usize,
    pub of: usize,
}

impl<'a> Columns<'a> {
    pub fn all(tensor: &'a Tensor) -> Columns<'a> {
        Columns { tensor, block: 0, of: 1 }
    }

    /// Rows, and the width of the block.
    fn dims(&self) -> Result<(usize, usize)> {
        let (n, width) = self.tensor.dims2()?;
        Ok((n, width / self.of))
    }

    /// [n, width], with the columns of other blocks between its rows.
    #[cfg(feature = "flash-attn")]
    fn view(&self) -> Result<Tensor> {
        let (_, width) = self.dims()?;
        Ok(self.tensor.narrow(1, self.block * width, width)?)
    }

    /// [heads, n, d], contiguous.
    pub(super) fn heads(&self, n_heads: usize) -> Result<Tensor> {
        let (n, width) = self.dims()?;
        let split = self.tensor.reshape((n, self.of, n_heads, width / n_heads))?;
        Ok(split.narrow(1, self.block, 1)?.squeeze(1)?.transpose(0, 1)?.contiguous()?)
    }

    /// The rows within the numbers of the whole tensor.
    fn rows<'b>(&self, whole: &'b [f32]) -> Result<Rows<'b>> {
        let (n, width) = self.dims()?;
        Ok(Rows { data: &whole[self.block * width..], stride: self.of * width, n })
    }
}

/// Attention of several heads (Vaswani et al., 2017).
#[derive(Debug, Clone)]
pub struct Attention {
    pub n_heads: usize,
    compute: Arc<Compute>,
}

impl Attention {
    pub fn new(n_heads: usize, compute: &Compute) -> Attention {
        Attention { n_heads, compute: Arc::new(compute.clone()) }
    }

    /// softmax(q k^T / sqrt(d)) v in each head of d features: q [n, heads * d],
    /// k and v [n_kv, heads * d] to [n, heads * d].
    pub fn forward(&self, q: Columns, k: Columns, v: Columns) -> Result<Tensor> {
        match self.compute.kernels {
            Kernels::Ours => self.ours(q, k, v, Bias::None),
            #[cfg(feature = "flash-attn")]
            Kernels::Fused if q.dims()?.1 == self.n_heads * cuda::HEAD => {
                Ok(cuda::attention(&q.view()?, &k.view()?, &v.view()?, self.n_heads)?)
            }
            Kernels::Candle | Kernels::Fused => chunked(q, k, v, self.n_heads, None),
        }
    }

    /// The same with `bias` [heads, n, n_kv] of f32 added to what the softmax is taken of.
    pub fn forward_biased(&self, q: Columns, k: Columns, v: Columns, bias: &Tensor) -> Result<Tensor> {
        match self.compute.kernels {
            Kernels::Ours => read(bias, |bias| self.ours(q, k, v, Bias::Table(bias))),
            Kernels::Candle | Kernels::Fused => chunked(q, k, v, self.n_heads, Some(bias)),
        }
    }

    fn ours(&self, q: Columns, k: Columns, v: Columns, bias: Bias) -> Result<Tensor> {
        let (n, width) = q.dims()?;
        let d = width / self.n_heads;
        let mut out = vec![0.0; n * width];
        let precision = self.compute.precision.of_kernels();
        read(q.tensor, |whole_q| {
            read(k.tensor, |whole_k| {
                read(v.tensor, |whole_v| {
                    let of = ops::Attention {
                        q: q.rows(whole_q)?,
                        k: k.rows(whole_k)?,
                        v: v.rows(whole_v)?,
                        heads: self.n_heads,
                        d,
                        scale: 1.0 / (d as f32).sqrt(),
                        windows: 1,
                        bias,
                    };
                    ops::attention(&of, precision, &mut out);
                    Ok(())
                })
            })
        })?;
        written(out, &[n, width])
    }
}

/// Queries whose scores are held at once, [heads, this, n_kv].
const QUERIES: usize = 1024;

fn chunked(q: Columns, k: Columns, v: Columns, n_heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (q, k, v) = (q.heads(n_heads)?, k.heads(n_heads)?, v.heads(n_heads)?);
    let (_, n, d) = q.dims3()?;
    let q = (q * (1.0 / (d as f64).sqrt()))?;
    let mut parts = Vec::new();
    for start in (0..n).step_by(QUERIES) {
        let len = QUERIES.min(n - start);
        let part = q.narrow(1, start, len)?.contiguous()?;
        let mut scores = part.matmul(&k.t()?)?; // [heads, part, n_kv]
        if let Some(bias) = bias {
            scores = (scores + bias.narrow(1, start, len)?.to_dtype(q.dtype())?)?;
        }
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?; // [heads, part, d]
        parts.push(mixed.transpose(0, 1)?.flatten_from(1)?); // [part, heads * d]
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// Hands the numbers of a tensor of f32 on the CPU to `work`.
pub(super) fn read<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => work(&storage.as_slice::<f32>()?[start..end]),
        _ => Err(StageError::internal("a tensor for the CPU is elsewhere")),
    }
}

pub(super) fn written(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Each group of channels over all positions less its mean, over its deviation, times `weight`
/// plus `bias` of the channel (Wu and He, 2018). `x` is [channels, positions], row-major.
pub fn group_norm(x: &[f32], n_groups: usize, eps: f64, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let n_channels = weight.len();
    let n_positions = x.len() / n_channels;
    let mut y = Vec::with_capacity(x.len());
    for (group, values) in x.chunks_exact(x.len() / n_groups).enumerate() {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + eps).sqrt();
        for (i, channel) in values.chunks_exact(n_positions).enumerate() {
            let c = group * (n_channels / n_groups) + i;
            let (weight, bias) = (f64::from(weight[c]), f64::from(bias[c]));
            y.extend(channel.iter().map(|v| ((f64::from(*v) - mean) * scale * weight + bias) as f32));
        }
    }
    y
}

/// [rows, columns] to [columns, rows], row-major.
pub fn transposed(values: &[f32], n_columns: usize) -> Vec<f32> {
    let n_rows = values.len() / n_columns;
    let mut out = vec![0.0; values.len()];
    // Blocks that stay in the cache in both orders.
    const SIDE: usize = 32;
    for top in (0..n_rows).step_by(SIDE) {
        for left in (0..n_columns).step_by(SIDE) {
            for row in top..(top + SIDE).min(n_rows) {
                for column in left..(left + SIDE).min(n_columns) {
                    out[column * n_rows + row] = values[row * n_columns + column];
                }
            }
        }
    }
    out
}

/// Values of a tensor on any device as f32.
pub fn to_host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
}
