//! Attention of tokens on a grid, within windows, with biases by place.
//!
//! A grid is cut into windows of equal side from its top left corner on; where they reach beyond
//! it, tokens of zeros fill them up, which take part as the others do.

use std::sync::Arc;

use candle_core::{D, DType, Tensor};
use meshkiln_ops as ops;

use crate::{
    error::StageError,
    nets::{
        Compute,
        blocks::{Columns, Linear, read, written},
        compute::Kernels,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

/// How a grid is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub height: usize,
    pub width: usize,
    /// Side of a window, in tokens.
    pub side: usize,
}

impl Windows {
    /// Windows below and beside each other.
    fn counts(&self) -> (usize, usize) {
        (self.height.div_ceil(self.side), self.width.div_ceil(self.side))
    }

    pub fn n(&self) -> usize {
        let (rows, columns) = self.counts();
        rows * columns
    }

    /// [h w, c] to [windows, side, side, c] as rows of c.
    pub fn split(&self, x: &Tensor) -> Result<Tensor> {
        let c = x.dim(1)?;
        let ((rows, columns), side) = (self.counts(), self.side);
        if self.n() == 1 && self.height == side && self.width == side {
            return Ok(x.clone());
        }
        let grid = x.reshape((self.height, self.width, c))?;
        let padded = grid.pad_with_zeros(1, 0, columns * side - self.width)?;
        let padded = padded.pad_with_zeros(0, 0, rows * side - self.height)?;
        let windows = padded.reshape((rows, side, columns, side * c))?.transpose(1, 2)?;
        Ok(windows.contiguous()?.reshape((rows * columns * side * side, c))?)
    }

    /// The other way round; what lies beyond the grid is dropped.
    pub fn join(&self, x: &Tensor) -> Result<Tensor> {
        let c = x.dim(1)?;
        let ((rows, columns), side) = (self.counts(), self.side);
        let split = x.reshape((rows, columns, side, side * c))?.transpose(1, 2)?;
        let grid = split.contiguous()?.reshape((rows * side, columns * side, c))?;
        let grid = grid.narrow(0, 0, self.height)?.narrow(1, 0, self.width)?;
        Ok(grid.contiguous()?.reshape((self.height * self.width, c))?)
    }
}

/// What scores gain by the places of query and key.
pub enum Places {
    /// [heads, tokens of a window, tokens of a window]
    Table(Tensor),
    /// A query times vectors of its offsets from keys, [n heads, d] to what `ops::Bias::Axes` wants.
    Axes { offsets: Linear, side: usize },
}

pub struct PlacedAttention {
    pub n_heads: usize,
    places: Places,
    compute: Arc<Compute>,
}

impl PlacedAttention {
    pub fn new(n_heads: usize, places: Places, compute: &Compute) -> PlacedAttention {
        PlacedAttention { n_heads, places, compute: Arc::new(compute.clone()) }
    }

    /// Queries, keys and values side by side, [n, 3 heads d], of `windows` windows, to [n, heads d].
    pub fn forward(&self, qkv: &Tensor, windows: usize) -> Result<Tensor> {
        match self.compute.kernels {
            Kernels::Ours => self.ours(qkv, windows),
            Kernels::Candle | Kernels::Fused => self.candle(qkv, windows),
        }
    }

    fn ours(&self, qkv: &Tensor, windows: usize) -> Result<Tensor> {
        let (n, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
        let d = width / self.n_heads;
        let biases = match &self.places {
            Places::Table(table) => table.clone(),
            Places::Axes { offsets, .. } => offsets.forward(&self.heads(qkv, 0)?.reshape((self.n_heads * n, d))?)?,
        };
        let mut out = vec![0.0; n * width];
        read(qkv, |values| {
            read(&biases, |biases| {
                let rows = |block: usize| ops::Rows { data: &values[block * width..], stride: 3 * width, n };
                let of = ops::Attention {
                    q: rows(0),
                    k: rows(1),
                    v: rows(2),
                    heads: self.n_heads,
                    d,
                    scale: 1.0 / (d as f32).sqrt(),
                    windows,
                    bias: match self.places {
                        Places::Table(_) => ops::Bias::Table(biases),
                        Places::Axes { side, .. } => ops::Bias::Axes { offsets: biases, height: side, width: side },
                    },
                };
                ops::attention(&of, self.compute.precision.of_kernels(), &mut out);
                Ok(())
            })
        })?;
        written(out, &[n, width])
    }

    /// [heads, n, d] of queries, keys or values, contiguous.
    fn heads(&self, qkv: &Tensor, block: usize) -> Result<Tensor> {
        Columns { tensor: qkv, block, of: 3 }.heads(self.n_heads)
    }

    fn candle(&self, qkv: &Tensor, windows: usize) -> Result<Tensor> {
        let (n, heads) = (qkv.dim(0)?, self.n_heads);
        let (d, per_window) = (qkv.dim(1)? / 3 / heads, n / windows);
        let split =
            |block: usize| -> Result<Tensor> { Ok(self.heads(qkv, block)?.reshape((heads * windows, per_window, d))?) };
        let (q, k, v) = (split(0)?, split(1)?, split(2)?);
        let scaled = (&q * (1.0 / (d as f64).sqrt()))?;
        let biases = match &self.places {
            Places::Table(table) => table.clone(),
            Places::Axes { offsets, .. } => offsets.forward(&q.reshape((heads * n, d))?)?.to_dtype(DType::F32)?,
        };
        // A row of the grid at a time where scores of all would fill the memory.
        let step = if per_window * per_window * heads * windows > SCORES { per_window.isqrt() } else { per_window };
        let mut parts = Vec::new();
        for first in (0..per_window).step_by(step) {
            let len = step.min(per_window - first);
            let scores = scaled.narrow(1, first, len)?.contiguous()?.matmul(&k.t()?)?.to_dtype(DType::F32)?;
            let scores = match &self.places {
                Places::Table(_) => {
                    let scores = scores.reshape((heads, windows, len, per_window))?;
                    scores.broadcast_add(&biases.narrow(1, first, len)?.unsqueeze(1)?)?
                }
                Places::Axes { side, .. } => {
                    let own = biases.reshape((heads * windows, per_window, 4 * side - 2))?.narrow(1, first, len)?;
                    let (down, right) = picked(&own.contiguous()?, first, *side)?;
                    let scores = scores.reshape((heads * windows, len, *side, *side))?;
                    scores.broadcast_add(&down.unsqueeze(3)?)?.broadcast_add(&right.unsqueeze(2)?)?
                }
            };
            let shares = candle_nn::ops::softmax_last_dim(&scores.reshape((heads * windows, len, per_window))?)?;
            parts.push(shares.to_dtype(v.dtype())?.matmul(&v)?);
        }
        let mixed = Tensor::cat(&parts, 1)?.reshape((heads, n, d))?; // [heads, n, d]
        Ok(mixed.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)?)
    }
}

/// Scores that are held at once.
const SCORES: usize = 1 << 26;

/// Of numbers by offset, those of the keys' rows and columns: [b, queries, 4 side - 2], queries from
/// `first` of the window on, to twice [b, queries, side].
fn picked(offsets: &Tensor, first: usize, side: usize) -> Result<(Tensor, Tensor)> {
    let (b, len, _) = offsets.dims3()?;
    let pick = |start: usize, place: &dyn Fn(usize) -> usize| -> Result<Tensor> {
        let columns = |i: usize| (0..side).map(move |key| (start + key + side - 1, i));
        let index: Vec<u32> = (first..first + len).flat_map(columns).map(|(at, i)| (at - place(i)) as u32).collect();
        let index = Tensor::from_vec(index, (1, len, side), offsets.device())?;
        Ok(offsets.gather(&index.broadcast_as((b, len, side))?.contiguous()?, 2)?)
    };
    Ok((pick(0, &|i| i / side)?, pick(2 * side - 1, &|i| i % side)?))
}
