//! TripoSR: one picture of an object to a field of density and colour.
//!
//! Paper: TripoSR: Fast 3D Object Reconstruction from a Single Image, 2024.
//! Reference: VAST-AI-Research/TripoSR, `tsr/system.py` @ d26e331, with transformers 4.35.0.
//! Checkpoint: `model.ckpt`, stored f32, keys as published; `image_tokenizer.model.pooler` is not used.
//! Input: a square RGB picture over grey, see `preprocess`.
//! Differs from the reference: nothing but the order of sums.
//!
//! Axes: n tokens, d features, h w rows and columns, p planes, c channels.

pub mod backbone;
pub mod config;
pub mod preprocess;
pub mod render;
pub mod tokenizer;

use std::sync::Arc;

use ::image::RgbImage;
use candle_core::Tensor;

pub use self::config::Config;
use self::{backbone::Backbone, tokenizer::Tokenizer};
use super::{Net, Precision, Vars, Watch, blocks::to_host};
use crate::{
    error::StageError,
    field::{Decoder, DecoderLayer, Field, Products},
};

/// Density on the surface.
pub const THRESHOLD: f32 = 25.0;

pub struct TripoSr {
    pub config: Config,
    tokenizer: Tokenizer,
    backbone: Backbone,
    decoder: Arc<Decoder>,
    products: Products,
}

impl Net for TripoSr {
    fn load(_: &str, config: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError> {
        TripoSr::new(config.map_or_else(|| Ok(Config::released()), Config::from_tree)?, vars)
    }
}

impl TripoSr {
    pub fn new(config: Config, vars: &Vars) -> Result<TripoSr, StageError> {
        Ok(TripoSr {
            tokenizer: Tokenizer::new(&config, &vars.pp("image_tokenizer.model"))?,
            backbone: Backbone::new(&config, vars)?,
            decoder: Arc::new(decoder(&config, &vars.pp("decoder.layers"))?),
            products: if vars.compute.precision == Precision::F32 { Products::Exact } else { Products::Quick },
            config,
        })
    }

    /// Steps that `field` counts: one for each block, one for what comes before and after them.
    pub fn n_steps(&self) -> u32 {
        (self.config.tokenizer.depth + self.config.backbone.depth + 2) as u32
    }

    /// The object in `picture`, a square over grey as `preprocess::composite` makes it, as a field.
    pub fn field(&self, picture: &RgbImage, watch: &Watch) -> Result<Field, StageError> {
        let total = self.n_steps();
        (watch.step)(0, total)?;
        let pixels = preprocess::condition(picture, self.config.image_side); // [h, w, 3]
        let blocks_before = self.config.tokenizer.depth as u32 + 1;
        let tokens = self.tokenizer.forward(&pixels, watch, &|done| (watch.step)(done, total))?; // [n, d]
        let planes = self.backbone.forward(&tokens, watch, &|done| (watch.step)(blocks_before + done, total))?;
        let planes = self.planes(&planes)?;
        (watch.step)(total, total)?;
        Field::new(planes, self.decoder.clone(), self.scales(), self.products)
    }

    /// [p h w, (2 x 2) c] of the backbone to [p, c, 2 h, 2 w] on the host, row-major.
    fn planes(&self, upsampled: &Tensor) -> Result<crate::field::Planes, StageError> {
        let (plane, channels) = (self.config.backbone.plane, self.config.decoder.channels);
        // "(Np Hp Wp) (C i j) -> Np C (Hp i) (Wp j)"
        let split = upsampled.reshape((3, plane, plane, channels, 2, 2))?;
        let planes = split.permute((0, 3, 1, 4, 2, 5))?.contiguous()?;
        Ok(crate::field::Planes { values: to_host(&planes)?, channels, side: 2 * plane })
    }

    fn scales(&self) -> crate::field::Scales {
        crate::field::Scales {
            radius: self.config.radius,
            density_bias: self.config.density_bias,
            threshold: THRESHOLD,
        }
    }
}

/// `n_hidden` hidden layers with SiLU between them and four outputs. The reference numbers
/// activations too, so that layers have even names.
fn decoder(config: &Config, vars: &Vars) -> Result<Decoder, StageError> {
    let sizes = &config.decoder;
    let layers = (0..=sizes.n_hidden).map(|i| {
        let n_in = if i == 0 { 3 * sizes.channels } else { sizes.hidden };
        let n_out = if i == sizes.n_hidden { 4 } else { sizes.hidden };
        let vars = vars.pp(2 * i);
        Ok(DecoderLayer {
            weight: vars.values("weight", &[n_out, n_in])?.to_vec(),
            bias: vars.values("bias", &[n_out])?.to_vec(),
        })
    });
    Ok(Decoder { layers: layers.collect::<Result<_, StageError>>()? })
}

#[cfg(test)]
mod tests;
