//! SAM's image encoder: a plain ViT, most of whose blocks look within windows.
//!
//! Paper: Exploring Plain Vision Transformer Backbones for Object Detection, 2022; decomposed
//! relative positions after MViTv2, 2022.
//! Reference: facebookresearch/segment-anything, `modeling/image_encoder.py` @ dca509f.
//! Checkpoint keys under `image_encoder.`.
//! Differs from the reference: positions are not interpolated, since pictures always have the
//! trained size; queries meet the vectors of all offsets at once, not of those that there are.

use candle_core::Tensor;

use super::{
    config::{PATCH, VitConfig},
    neck::Neck,
    windows::{PlacedAttention, Places, Windows},
};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{Activation, LayerNorm, Linear},
        checkpoint::on_device,
    },
};

const EPS: f32 = 1e-6;

pub struct Vit {
    grid: usize,
    patches: Linear,
    /// [n, d]
    positions: Tensor,
    blocks: Vec<Block>,
    neck: Neck,
}

struct Block {
    norm_before: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    windows: Windows,
    attention: PlacedAttention,
    mixed: Linear,
    norm_after: LayerNorm,
    hidden: Linear,
    out: Linear,
}

impl Vit {
    /// Of pictures of `grid` x `grid` patches, with embeddings of `d_out` features.
    pub fn new(config: &VitConfig, grid: usize, d_out: usize, vars: &Vars) -> Result<Vit, StageError> {
        let d = config.d;
        let projection = vars.pp("patch_embed.proj");
        let weight = patch_rows(&projection.values("weight", &[d, 3, PATCH, PATCH])?);
        let bias = projection.values("bias", &[d])?;
        let positions = vars.values("pos_embed", &[1, grid, grid, d])?;
        Ok(Vit {
            grid,
            patches: Linear::from_values(Activation::None, 3 * PATCH * PATCH, &weight, Some(&bias), vars.compute)?,
            positions: on_device(&positions, &[grid * grid, d], &vars.compute.device)?,
            blocks: (0..config.depth)
                .map(|i| Block::new(config, config.global.contains(&i), grid, &vars.pp("blocks").pp(i)))
                .collect::<Result<_, _>>()?,
            neck: Neck::new(d, d_out, &vars.pp("neck"))?,
        })
    }

    /// Normalised picture [side, side, 3] to its embedding [n, d_out]. `step` hears how many blocks
    /// are done, and the patches before them.
    pub fn forward(
        &self,
        picture: &Tensor,
        watch: &Watch,
        step: &dyn Fn(u32) -> Result<(), StageError>,
    ) -> Result<Tensor, StageError> {
        let (grid, row) = (self.grid, PATCH * 3);
        let patches = picture.reshape((grid, PATCH, grid, row))?.transpose(1, 2)?.contiguous()?;
        let patches = patches.reshape((grid * grid, PATCH * row))?; // each row by row, pixel by pixel
        let mut x = self.patches.forward_add(&patches, &self.positions)?;
        watch.tap("patch_embed", &x);
        step(1)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x)?;
            watch.tap(&format!("block{i}"), &x);
            step(i as u32 + 2)?;
        }
        self.neck.forward(&x, grid, watch)
    }
}

impl Block {
    fn new(config: &VitConfig, is_global: bool, grid: usize, vars: &Vars) -> Result<Block, StageError> {
        let VitConfig { d, heads, window, .. } = *config;
        let side = if is_global { grid } else { window };
        let attention = vars.pp("attn");
        let places = Places::Axes { offsets: offsets(d / heads, side, &attention)?, side };
        Ok(Block {
            norm_before: LayerNorm::new(d, EPS, &vars.pp("norm1"))?,
            qkv: Linear::new(d, 3 * d, &attention.pp("qkv"))?,
            windows: Windows { height: grid, width: grid, side },
            attention: PlacedAttention::new(heads, places, vars.compute),
            mixed: Linear::new(d, d, &attention.pp("proj"))?,
            norm_after: LayerNorm::new(d, EPS, &vars.pp("norm2"))?,
            hidden: Linear::with(Activation::Gelu, d, 4 * d, &vars.pp("mlp.lin1"))?,
            out: Linear::new(4 * d, d, &vars.pp("mlp.lin2"))?,
        })
    }

    /// [n, d] to [n, d]
    fn forward(&self, x: &Tensor) -> Result<Tensor, StageError> {
        let normed = self.windows.split(&self.norm_before.forward(x)?)?;
        let seen = self.attention.forward(&self.qkv.forward(&normed)?, self.windows.n())?;
        let x = self.mixed.forward_add(&self.windows.join(&seen)?, x)?;
        let hidden = self.hidden.forward(&self.norm_after.forward(&x)?)?;
        self.out.forward_add(&hidden, &x)
    }
}

/// A query's products with the vectors of offsets: those of rows, then of columns, each from the
/// key that is farthest above or left of the query on. The checkpoint has them the other way round.
fn offsets(d: usize, side: usize, vars: &Vars) -> Result<Linear, StageError> {
    let n = 2 * side - 1;
    let mut weight = Vec::with_capacity(2 * n * d);
    for axis in ["rel_pos_h", "rel_pos_w"] {
        let stored = vars.values(axis, &[n, d])?;
        stored.rchunks_exact(d).for_each(|vector| weight.extend_from_slice(vector));
    }
    Linear::from_values(Activation::None, d, &weight, None, vars.compute)
}

/// Weights [d, c, row, column] of patches as [d, row, column, c].
fn patch_rows(weight: &[f32]) -> Vec<f32> {
    let of_filter = |filter: &[f32]| -> Vec<f32> {
        let at = |i: usize| filter[i % 3 * PATCH * PATCH + i / 3];
        (0..3 * PATCH * PATCH).map(at).collect()
    };
    weight.chunks_exact(3 * PATCH * PATCH).flat_map(of_filter).collect()
}
