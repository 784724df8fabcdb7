//! Swin: a pyramid of attention within windows that shift from block to block.
//!
//! Paper: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, Liu et al., 2021.
//! Reference: ZhengPeng7/BiRefNet, `models/backbones/swin_v1.py` @ 2cddd79; keys as there.
//! Differs from the reference: tokens of different regions are told apart by -100, as Swin itself
//! has it, and not by minus infinity: a share below 1e-43.
//!
//! Axes: h w rows and columns, d features, n tokens of a window.

use candle_core::Tensor;

use super::{
    Vars,
    blocks::{Activation, LayerNorm, Linear},
    checkpoint::on_device,
    conv::{After, Conv2d, ConvShape},
    sam::windows::{PlacedAttention, Places, Windows},
};
use crate::error::StageError;

type Result<T, E = StageError> = std::result::Result<T, E>;

const NORM_EPS: f32 = 1e-5;
/// Score of a token that is not to be seen.
const UNSEEN: f32 = -100.0;

/// Sizes fixed by the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Features of the first level; each further one has twice as many.
    pub width: usize,
    pub depths: [usize; 4],
    pub heads: [usize; 4],
    /// Side of a window, in tokens.
    pub window: usize,
}

impl Config {
    pub fn n_blocks(&self) -> usize {
        self.depths.iter().sum()
    }
}

pub struct Swin {
    embed: Conv2d,
    norm: LayerNorm,
    levels: Vec<Level>,
}

struct Level {
    blocks: Vec<Block>,
    /// Of what leaves the pyramid here.
    norm: LayerNorm,
    merge: Option<Merge>,
}

impl Swin {
    pub fn new(config: &Config, vars: &Vars) -> Result<Swin> {
        let embed = vars.pp("patch_embed");
        let shape = ConvShape::new(3, config.width, 4).stride(4).padding(0);
        let level = |i: usize| {
            let (d, of_level) = (config.width << i, vars.pp(format!("layers.{i}")));
            let block = |j: usize| {
                let shift = if j.is_multiple_of(2) { 0 } else { config.window / 2 };
                Block::new(d, config.heads[i], config.window, shift, &of_level.pp(format!("blocks.{j}")))
            };
            Ok(Level {
                blocks: (0..config.depths[i]).map(block).collect::<Result<_>>()?,
                norm: LayerNorm::new(d, NORM_EPS, &vars.pp(format!("norm{i}")))?,
                merge: (i < 3).then(|| Merge::new(d, &of_level.pp("downsample"))).transpose()?,
            })
        };
        Ok(Swin {
            embed: Conv2d::new(shape, After::None, &embed.pp("proj"))?,
            norm: LayerNorm::new(config.width, NORM_EPS, &embed.pp("norm"))?,
            levels: (0..4).map(level).collect::<Result<_>>()?,
        })
    }

    /// [h, w, 3], sides multiples of 4, to four maps [h / 4, w / 4, d], [h / 8, w / 8, 2 d], ...
    /// `step` is called after each block.
    pub fn forward(&self, picture: &Tensor, step: &dyn Fn() -> Result<()>) -> Result<Vec<Tensor>> {
        let x = self.embed.forward(picture)?;
        let (mut h, mut w, mut d) = x.dims3()?;
        let mut x = full(&self.norm.forward(&x.reshape((h * w, d))?)?)?; // [h w, d]
        let mut maps = Vec::with_capacity(4);
        for level in &self.levels {
            for block in &level.blocks {
                x = block.forward(&x, h, w)?;
                step()?;
            }
            maps.push(full(&level.norm.forward(&x)?)?.reshape((h, w, d))?);
            if let Some(merge) = &level.merge {
                x = merge.forward(&x.reshape((h, w, d))?)?;
                (h, w, d) = (h.div_ceil(2), w.div_ceil(2), 2 * d);
            }
        }
        Ok(maps)
    }
}

/// What is carried from layer to layer is f32.
fn full(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(candle_core::DType::F32)?)
}

/// Four neighbours become one token.
struct Merge {
    norm: LayerNorm,
    reduction: Linear,
}

impl Merge {
    fn new(d: usize, vars: &Vars) -> Result<Merge> {
        let reduction = Linear::stacked(4 * d, 2 * d, false, &[vars.pp("reduction")])?;
        Ok(Merge { norm: LayerNorm::new(4 * d, NORM_EPS, &vars.pp("norm"))?, reduction })
    }

    /// [h, w, d] to [h / 2 w / 2, 2 d], sizes rounded up.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (h, w, d) = x.dims3()?;
        let x = x.pad_with_zeros(0, 0, h % 2)?.pad_with_zeros(1, 0, w % 2)?;
        let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
        // Downwards before sideways.
        let split = x.reshape((rows, 2, columns, 2, d))?.permute((0, 2, 3, 1, 4))?;
        let x = split.contiguous()?.reshape((rows * columns, 4 * d))?;
        full(&self.reduction.forward(&self.norm.forward(&x)?)?)
    }
}

struct Block {
    window: usize,
    shift: usize,
    norm1: LayerNorm,
    qkv: Linear,
    /// Of windows that lie within the grid, at its right side, at its lower side and in that corner:
    /// shifted ones hold what was at the other side there. One alone without a shift.
    attention: Vec<PlacedAttention>,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(d: usize, heads: usize, window: usize, shift: usize, vars: &Vars) -> Result<Block> {
        let (attn, mlp) = (vars.pp("attn"), vars.pp("mlp"));
        let by_offset = attn.values("relative_position_bias_table", &[(2 * window - 1).pow(2), heads])?;
        let attention = |kind: usize| {
            let n = window * window;
            let mut table = Vec::with_capacity(heads * n * n);
            let place = |token: usize| (token / window, token % window);
            // Whether a token is one that came around.
            let around =
                |(y, x): (usize, usize)| (kind >= 2 && y + shift >= window, kind % 2 == 1 && x + shift >= window);
            for head in 0..heads {
                for (query, key) in (0..n).flat_map(|query| (0..n).map(move |key| (place(query), place(key)))) {
                    let (down, right) = (query.0 + window - 1 - key.0, query.1 + window - 1 - key.1);
                    let unseen = if around(query) == around(key) { 0.0 } else { UNSEEN };
                    table.push(by_offset[(down * (2 * window - 1) + right) * heads + head] + unseen);
                }
            }
            let table = on_device(&table, &[heads, n, n], &vars.compute.device)?;
            Ok(PlacedAttention::new(heads, Places::Table(table), vars.compute))
        };
        Ok(Block {
            window,
            shift,
            norm1: LayerNorm::new(d, NORM_EPS, &vars.pp("norm1"))?,
            qkv: Linear::new(d, 3 * d, &attn.pp("qkv"))?,
            attention: (0..if shift > 0 { 4 } else { 1 }).map(attention).collect::<Result<_>>()?,
            proj: Linear::new(d, d, &attn.pp("proj"))?,
            norm2: LayerNorm::new(d, NORM_EPS, &vars.pp("norm2"))?,
            fc1: Linear::with(Activation::Gelu, d, 4 * d, &mlp.pp("fc1"))?,
            fc2: Linear::new(4 * d, d, &mlp.pp("fc2"))?,
        })
    }

    /// [h w, d] to the same.
    fn forward(&self, x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
        let (d, side, shift) = (x.dim(1)?, self.window, self.shift as i32);
        let (high, wide) = (h.next_multiple_of(side), w.next_multiple_of(side));
        let grid = self.norm1.forward(x)?.reshape((h, w, d))?;
        let mut grid = grid.pad_with_zeros(0, 0, high - h)?.pad_with_zeros(1, 0, wide - w)?;
        if shift > 0 {
            grid = grid.roll(-shift, 0)?.roll(-shift, 1)?;
        }
        let windows = Windows { height: high, width: wide, side };
        let tokens = windows.split(&grid.contiguous()?.reshape((high * wide, d))?)?;
        let mixed = self.attend(&self.qkv.forward(&tokens)?, high / side, wide / side)?;
        let mut mixed = windows.join(&mixed)?.reshape((high, wide, d))?;
        if shift > 0 {
            mixed = mixed.roll(shift, 0)?.roll(shift, 1)?;
        }
        let mixed = mixed.narrow(0, 0, h)?.narrow(1, 0, w)?.contiguous()?.reshape((h * w, d))?;
        let x = self.proj.forward_add(&mixed, x)?;
        self.fc2.forward_add(&self.fc1.forward(&self.norm2.forward(&x)?)?, &x)
    }

    /// Of `rows` x `columns` windows [windows n, 3 d] to [windows n, d].
    fn attend(&self, qkv: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let (all, width) = qkv.dims2()?;
        if self.attention.len() == 1 {
            return self.attention[0].forward(qkv, rows * columns);
        }
        let n = all / (rows * columns);
        let grid = qkv.reshape((rows, columns, n * width))?;
        let strip = |top: usize, n_rows: usize, kind: usize| -> Result<Tensor> {
            let part = |left: usize, n_columns: usize, kind: usize| -> Result<Tensor> {
                let part = grid.narrow(0, top, n_rows)?.narrow(1, left, n_columns)?.contiguous()?;
                let windows = n_rows * n_columns;
                let mixed = self.attention[kind].forward(&part.reshape((windows * n, width))?, windows)?;
                Ok(mixed.reshape((n_rows, n_columns, n * width / 3))?)
            };
            let last = part(columns - 1, 1, kind + 1)?;
            Ok(if columns == 1 { last } else { Tensor::cat(&[part(0, columns - 1, kind)?, last], 1)? })
        };
        let last = strip(rows - 1, 1, 2)?;
        let mixed = if rows == 1 { last } else { Tensor::cat(&[strip(0, rows - 1, 0)?, last], 0)? };
        Ok(mixed.contiguous()?.reshape((all, width / 3))?)
    }
}
