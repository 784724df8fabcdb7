//! Triplane transformer: image tokens to three planes of features.
//!
//! Reference: TripoSR `tsr/models/transformer/transformer_1d.py`, `basic_transformer_block.py`,
//! `attention.py`, `tokenizers/triplane.py`, `network_utils.py` @ d26e331.
//! Checkpoint keys under `tokenizer.`, `backbone.` and `post_processor.`.
//!
//! The learned tokens are the same for every picture, and so is all that happens to them before
//! they first meet the picture's: it is computed once.

use std::sync::OnceLock;

use candle_core::Tensor;

use super::config::{BackboneConfig, Config, GROUPS};
use crate::{
    error::StageError,
    nets::{
        Tap, Vars, Watch,
        blocks::{Activation, Attention, Columns, LayerNorm, Linear, group_norm, transposed},
        checkpoint::on_device,
    },
};

/// Of the norm before the backbone and of those within its blocks.
const GROUP_EPS: f64 = 1e-6;
const EPS: f32 = 1e-5;

pub struct Backbone {
    attention: Attention,
    /// Learned tokens [n, c], plane by plane, row by row.
    tokens: Tensor,
    /// The same after the norm.
    normed: Tensor,
    proj_in: Linear,
    blocks: Vec<Block>,
    proj_out: Linear,
    /// [n, c] to [n, 4 c'], columns channel by channel, each 2 x 2.
    upsample: Linear,
    /// What the first block's self-attention leaves, [n, d].
    start: OnceLock<Tensor>,
}

struct Block {
    norm1: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    self_out: Linear,
    norm2: LayerNorm,
    q: Linear,
    /// Keys and values of the image tokens side by side.
    kv: Linear,
    cross_out: Linear,
    norm3: LayerNorm,
    hidden: Linear,
    out: Linear,
}

impl Backbone {
    pub fn new(config: &Config, vars: &Vars) -> Result<Backbone, StageError> {
        let sizes = &config.backbone;
        let BackboneConfig { plane, channels, .. } = *sizes;
        let (n, d) = (sizes.n_tokens(), sizes.d());
        let backbone = vars.pp("backbone");

        // "Np Ct Hp Wp -> Ct (Np Hp Wp)"
        let stored = vars.pp("tokenizer").values("embeddings", &[3, channels, plane, plane])?;
        let mut by_channel = Vec::with_capacity(stored.len());
        for c in 0..channels {
            for p in 0..3 {
                by_channel.extend_from_slice(&stored[(p * channels + c) * plane * plane..][..plane * plane]);
            }
        }
        let norm = backbone.pp("norm");
        let (weight, bias) = (norm.values("weight", &[channels])?, norm.values("bias", &[channels])?);
        let normed = group_norm(&by_channel, GROUPS, GROUP_EPS, &weight, &bias);
        let device = &vars.compute.device;
        let tokens = on_device(&transposed(&by_channel, n), &[n, channels], device)?;
        let normed = on_device(&transposed(&normed, n), &[n, channels], device)?;

        let blocks = backbone.pp("transformer_blocks");
        Ok(Backbone {
            tokens,
            normed,
            proj_in: Linear::new(channels, d, &backbone.pp("proj_in"))?,
            blocks: (0..sizes.depth)
                .map(|i| Block::new(d, config.tokenizer.d, &blocks.pp(i)))
                .collect::<Result<_, _>>()?,
            proj_out: Linear::new(d, channels, &backbone.pp("proj_out"))?,
            upsample: upsample(channels, config.decoder.channels, &vars.pp("post_processor.upsample"))?,
            attention: Attention::new(sizes.heads, vars.compute),
            start: OnceLock::new(),
        })
    }

    /// Image tokens [n', d'] to upsampled plane tokens [n, 4 c'], columns channel by channel,
    /// each 2 x 2. `step` hears how many blocks are done.
    pub fn forward(
        &self,
        image: &Tensor,
        watch: &Watch,
        step: &dyn Fn(u32) -> Result<(), StageError>,
    ) -> Result<Tensor, StageError> {
        let mut x = self.start(watch)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let tap = |name: &str, value: &Tensor| watch.tap(&format!("backbone_block{i}{name}"), value);
            if i > 0 {
                x = block.mix_with_themselves(&x, &self.attention, watch.tap.map(|_| &tap as Tap))?;
            }
            x = block.mix_with_image(&x, image, &self.attention, watch.tap.map(|_| &tap as Tap))?;
            tap("", &x);
            step(i as u32 + 1)?;
        }
        let out = self.proj_out.forward_add(&x, &self.tokens)?;
        if watch.tap.is_some() {
            watch.tap("backbone_out", &out.t()?);
        }
        self.upsample.forward(&out)
    }

    /// What the picture has no part in: up to the first block's cross-attention, [n, d].
    fn start(&self, watch: &Watch) -> Result<Tensor, StageError> {
        if let (Some(start), None) = (self.start.get(), watch.tap) {
            return Ok(start.clone());
        }
        if watch.tap.is_some() {
            watch.tap("backbone_norm", &self.normed.t()?);
        }
        let x = self.proj_in.forward(&self.normed)?.to_dtype(self.tokens.dtype())?;
        watch.tap("backbone_proj_in", &x);
        let tap = |name: &str, value: &Tensor| watch.tap(&format!("backbone_block0{name}"), value);
        let tap = watch.tap.map(|_| &tap as Tap);
        let start = match self.blocks.first() {
            Some(first) => first.mix_with_themselves(&x, &self.attention, tap)?,
            None => x,
        };
        Ok(self.start.get_or_init(|| start).clone())
    }
}

impl Block {
    fn new(d: usize, d_image: usize, vars: &Vars) -> Result<Block, StageError> {
        let (attn1, attn2, ff) = (vars.pp("attn1"), vars.pp("attn2"), vars.pp("ff.net"));
        Ok(Block {
            norm1: LayerNorm::new(d, EPS, &vars.pp("norm1"))?,
            qkv: Linear::stacked(d, d, false, &["to_q", "to_k", "to_v"].map(|name| attn1.pp(name)))?,
            self_out: Linear::new(d, d, &attn1.pp("to_out.0"))?,
            norm2: LayerNorm::new(d, EPS, &vars.pp("norm2"))?,
            q: Linear::stacked(d, d, false, &[attn2.pp("to_q")])?,
            kv: Linear::stacked(d_image, d, false, &["to_k", "to_v"].map(|name| attn2.pp(name)))?,
            cross_out: Linear::new(d, d, &attn2.pp("to_out.0"))?,
            norm3: LayerNorm::new(d, EPS, &vars.pp("norm3"))?,
            hidden: Linear::with(Activation::Geglu, d, 8 * d, &ff.pp("0.proj"))?,
            out: Linear::new(4 * d, d, &ff.pp("2"))?,
        })
    }

    /// [n, d] to [n, d]
    fn mix_with_themselves(&self, x: &Tensor, attention: &Attention, tap: Option<Tap>) -> Result<Tensor, StageError> {
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?; // [n, 3 d]
        let [q, k, v] = [0, 1, 2].map(|block| Columns { tensor: &qkv, block, of: 3 });
        add(&self.self_out, &attention.forward(q, k, v)?, x, tap, "_self")
    }

    /// Tokens [n, d] and image tokens [n', d'] to [n, d]
    fn mix_with_image(
        &self,
        x: &Tensor,
        image: &Tensor,
        attention: &Attention,
        tap: Option<Tap>,
    ) -> Result<Tensor, StageError> {
        let q = self.q.forward(&self.norm2.forward(x)?)?; // [n, d]
        let kv = self.kv.forward(image)?; // [n', 2 d]
        let [k, v] = [0, 1].map(|block| Columns { tensor: &kv, block, of: 2 });
        let x = add(&self.cross_out, &attention.forward(Columns::all(&q), k, v)?, x, tap, "_cross")?;
        let hidden = self.hidden.forward(&self.norm3.forward(&x)?)?; // [n, 4 d]
        add(&self.out, &hidden, &x, tap, "_ff")
    }
}

/// The layer's output plus `residual`; who looks on sees it without.
fn add(layer: &Linear, x: &Tensor, residual: &Tensor, tap: Option<Tap>, name: &str) -> Result<Tensor, StageError> {
    let Some(tap) = tap else { return layer.forward_add(x, residual) };
    let y = layer.forward(x)?.to_dtype(residual.dtype())?;
    tap(name, &y);
    Ok((y + residual)?)
}

/// A transposed convolution 2 x 2 of stride 2 as a linear layer: weights [c, c', 2, 2] of the
/// checkpoint, bias [c']. Always f32: what it gives is the field.
fn upsample(n_in: usize, n_out: usize, vars: &Vars) -> Result<Linear, StageError> {
    let weight = transposed(&vars.values("weight", &[n_in, n_out, 2, 2])?, 4 * n_out);
    let bias: Vec<f32> = vars.values("bias", &[n_out])?.iter().flat_map(|b| [*b; 4]).collect();
    Linear::from_values(Activation::None, n_in, &weight, Some(&bias), &vars.compute.in_f32())
}
