//! ViT image encoder as DINO trains it: picture to patch tokens.
//!
//! Paper: Emerging Properties in Self-Supervised Vision Transformers, 2021.
//! Reference: TripoSR `tsr/models/tokenizers/image.py` @ d26e331 over transformers 4.35.0 `ViTModel`.
//! Checkpoint keys under `image_tokenizer.model.`; its pooler is not used.

use candle_core::Tensor;

use super::config::{Config, TokenizerConfig};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{Activation, Attention, Columns, LayerNorm, Linear},
        checkpoint::on_device,
        positions,
    },
};

/// ImageNet's, of RGB in 0..=1.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

pub struct Tokenizer {
    side: usize,
    patch: usize,
    attention: Attention,
    patches: Linear,
    /// Class token with its position, [1, d].
    class: Tensor,
    /// [1 + n, d]
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

struct Block {
    norm_before: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    mixed: Linear,
    norm_after: LayerNorm,
    hidden: Linear,
    out: Linear,
}

impl Tokenizer {
    pub fn new(config: &Config, vars: &Vars) -> Result<Tokenizer, StageError> {
        let TokenizerConfig { d, depth, heads, patch, trained_side, eps, .. } = config.tokenizer;
        let embeddings = vars.pp("embeddings");
        let projection = embeddings.pp("patch_embeddings.projection");
        let weight = projection.values("weight", &[d, 3, patch, patch])?;
        let bias = projection.values("bias", &[d])?;

        let (trained, n) = (trained_side / patch, config.image_side / patch);
        let stored = embeddings.values("position_embeddings", &[1, 1 + trained * trained, d])?;
        let positions = resized_positions(&stored, d, trained, n);
        let class = embeddings.values("cls_token", &[1, 1, d])?;
        let class: Vec<f32> = class.iter().zip(&positions).map(|(token, position)| token + position).collect();
        let device = &vars.compute.device;
        Ok(Tokenizer {
            side: config.image_side,
            patch,
            attention: Attention::new(heads, vars.compute),
            patches: Linear::from_values(Activation::None, 3 * patch * patch, &weight, Some(&bias), vars.compute)?,
            class: on_device(&class, &[1, d], device)?,
            positions: on_device(&positions, &[1 + n * n, d], device)?,
            blocks: (0..depth)
                .map(|i| Block::new(&config.tokenizer, &vars.pp("encoder.layer").pp(i)))
                .collect::<Result<_, _>>()?,
            norm: LayerNorm::new(d, eps, &vars.pp("layernorm"))?,
        })
    }

    /// Picture [side, side, 3] of RGB in 0..=1 to tokens [1 + n, d], the class first, in the
    /// precision of the net. `step` hears how many blocks are done, and the patches before them.
    pub fn forward(
        &self,
        pixels: &[f32],
        watch: &Watch,
        step: &dyn Fn(u32) -> Result<(), StageError>,
    ) -> Result<Tensor, StageError> {
        let n = self.positions.dim(0)? - 1;
        watch.tap("dino_pos", &self.positions);
        let patches = on_device(&self.unfolded(pixels)?, &[n, 3 * self.patch * self.patch], self.class.device())?;
        let x = self.patches.forward_add(&patches, &self.positions.narrow(0, 1, n)?.contiguous()?)?;
        let mut x = Tensor::cat(&[&self.class, &x], 0)?; // [1 + n, d]
        watch.tap("dino_hidden_0", &x);
        step(1)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &self.attention)?;
            watch.tap(&format!("dino_hidden_{}", i + 1), &x);
            step(i as u32 + 2)?;
        }
        let tokens = self.norm.forward(&x)?;
        watch.tap("dino_tokens", &tokens);
        Ok(tokens)
    }

    /// Normalised patches [n, 3 p p], each channel by channel, row by row.
    fn unfolded(&self, pixels: &[f32]) -> Result<Vec<f32>, StageError> {
        let (side, patch) = (self.side, self.patch);
        if pixels.len() != side * side * 3 {
            return Err(StageError::internal(format!("{} values for a picture of {side} x {side}", pixels.len())));
        }
        let mut out = Vec::with_capacity(pixels.len());
        for (top, left) in grid(side / patch) {
            for c in 0..3 {
                for (y, x) in grid(patch) {
                    let value = pixels[((top * patch + y) * side + left * patch + x) * 3 + c];
                    out.push((value - MEAN[c]) / DEVIATION[c]);
                }
            }
        }
        Ok(out)
    }
}

impl Block {
    fn new(config: &TokenizerConfig, vars: &Vars) -> Result<Block, StageError> {
        let TokenizerConfig { d, hidden, eps, .. } = *config;
        let attention = vars.pp("attention.attention");
        let qkv = ["query", "key", "value"].map(|name| attention.pp(name));
        Ok(Block {
            norm_before: LayerNorm::new(d, eps, &vars.pp("layernorm_before"))?,
            qkv: Linear::stacked(d, d, true, &qkv)?,
            mixed: Linear::new(d, d, &vars.pp("attention.output.dense"))?,
            norm_after: LayerNorm::new(d, eps, &vars.pp("layernorm_after"))?,
            hidden: Linear::with(Activation::Gelu, d, hidden, &vars.pp("intermediate.dense"))?,
            out: Linear::new(hidden, d, &vars.pp("output.dense"))?,
        })
    }

    /// [n, d] to [n, d]
    fn forward(&self, x: &Tensor, attention: &Attention) -> Result<Tensor, StageError> {
        let qkv = self.qkv.forward(&self.norm_before.forward(x)?)?; // [n, 3 d]
        let [q, k, v] = [0, 1, 2].map(|block| Columns { tensor: &qkv, block, of: 3 });
        let x = self.mixed.forward_add(&attention.forward(q, k, v)?, x)?;
        let hidden = self.hidden.forward(&self.norm_after.forward(&x)?)?;
        self.out.forward_add(&hidden, &x)
    }
}

/// Rows and columns of a square, row by row.
fn grid(side: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)))
}

/// Position embeddings [1 + `from`^2, d] for `to`^2 patches, the first as it is, as transformers
/// 4.35.0 resizes the others: by (`to` + 0.1) / `from`, not by the ratio of sides.
fn resized_positions(stored: &[f32], d: usize, from: usize, to: usize) -> Vec<f32> {
    if from == to {
        return stored.to_vec();
    }
    let (first, rest) = stored.split_at(d);
    [first, &positions::resized(rest, d, (from, from), (to, to), 0.1)].concat()
}
