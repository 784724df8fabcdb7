//! Segment Anything: a picture and what a user points at to masks of the thing that is meant.
//!
//! Paper: Segment Anything, 2023. Reference: facebookresearch/segment-anything @ dca509f and
//! ChaoningZhang/MobileSAM @ 34bbbfd. Written after them, not taken from candle-transformers.
//! Checkpoints: `sam_vit_{b,l,h}_*.pth`, `mobile_sam.pt`, stored f32, keys as published, at top level.
//! Input: an RGB picture of any size and places on it in pixels.
//! Differs from the reference: nothing but the order of sums.
//!
//! Embedding a picture takes seconds and counts its blocks; masks of an embedding take tens of
//! milliseconds. What follows the encoder computes in f32 whatever the precision is.
//!
//! Axes: n tokens of the picture, d features, h w rows and columns, t tokens of a prompt.

pub mod config;
pub mod decoder;
mod neck;
pub mod picture;
pub mod prompt;
mod tiny_vit;
mod two_way;
mod vit;
pub(super) mod windows;

use ::image::RgbImage;
use candle_core::Tensor;

pub use self::{
    config::Config,
    decoder::{Masks, Wanted},
    picture::Fit,
    prompt::{Frame, Point, Prompt},
};
use self::{
    config::EncoderConfig, decoder::Decoder, prompt::PromptEncoder, tiny_vit::TinyVit, two_way::Seen, vit::Vit,
};
use super::{Net, Vars, Watch, checkpoint::on_device, features};
use crate::error::StageError;

pub struct Sam {
    pub config: Config,
    encoder: Encoder,
    prompts: PromptEncoder,
    decoder: Decoder,
    /// Of the embedding's tokens, [n, d].
    pub positions: Tensor,
}

enum Encoder {
    TinyVit(Box<TinyVit>),
    Vit(Box<Vit>),
}

/// What is known of a picture, for any number of prompts: 14 MB at the released size.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// [n, d]
    pub features: Tensor,
    /// The same as the decoder sees it with prompts that have no mask.
    seen: Seen,
    pub fit: Fit,
}

impl Net for Sam {
    fn load(id: &str, config: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError> {
        let unknown = || StageError::internal(format!("there is no segment anything network `{id}`"));
        let base = Config::of(id).ok_or_else(unknown)?;
        Sam::new(config.map_or_else(|| Ok(base.clone()), |tree| Config::from_tree(tree, base.clone()))?, vars)
    }
}

impl Sam {
    pub fn new(config: Config, vars: &Vars) -> Result<Sam, StageError> {
        let (d, grid) = (config.decoder.d, config.grid());
        let encoder = vars.pp("image_encoder");
        let exact = vars.compute.in_f32();
        let exact = vars.on(&exact);
        let prompts = PromptEncoder::new(d, config.side, grid, &exact.pp("prompt_encoder"))?;
        Ok(Sam {
            encoder: match &config.encoder {
                EncoderConfig::TinyVit(sizes) => Encoder::TinyVit(Box::new(TinyVit::new(sizes, grid, d, &encoder)?)),
                EncoderConfig::Vit(sizes) => Encoder::Vit(Box::new(Vit::new(sizes, grid, d, &encoder)?)),
            },
            positions: prompts.positions()?,
            prompts,
            decoder: Decoder::new(&config.decoder, &exact.pp("mask_decoder"))?,
            config,
        })
    }

    /// Looks at a picture.
    pub fn embed(&self, picture: &RgbImage, watch: &Watch) -> Result<Embedding, StageError> {
        let total = self.config.n_steps();
        let side = self.config.side;
        (watch.step)(0, total)?;
        let fit = Fit::new(picture.width() as usize, picture.height() as usize, side);
        let square = fit.squared(&fit.resized(picture));
        let square = on_device(&square, &[side, side, 3], self.positions.device())?;
        let step = |done| (watch.step)(done, total);
        let features = match &self.encoder {
            Encoder::TinyVit(net) => net.forward(&square, watch, &step)?,
            Encoder::Vit(net) => net.forward(&square, watch, &step)?,
        };
        watch.tap("embedding", &features);
        let seen = self.decoder.look(&features.broadcast_add(&self.prompts.picture(None)?)?, &self.positions)?;
        (watch.step)(total, total)?;
        Ok(Embedding { features, seen, fit })
    }

    /// Masks of what `prompt` means on the embedded picture.
    pub fn masks(
        &self,
        embedding: &Embedding,
        prompt: &Prompt,
        wanted: Wanted,
        watch: &Watch,
    ) -> Result<Masks, StageError> {
        let fit = embedding.fit;
        let points: Vec<Point> = prompt.points.iter().map(|point| fit.point(*point)).collect();
        let tokens = self.prompts.tokens(&points, prompt.frame.map(|frame| fit.frame(frame)).as_ref())?;
        watch.tap("sparse", &tokens);
        let seen = match &prompt.mask {
            None => embedding.seen.clone(),
            Some(mask) => {
                let dense = self.prompts.picture(Some(mask))?;
                watch.tap("dense", &dense);
                self.decoder.look(&features::add(&embedding.features, &dense)?, &self.positions)?
            }
        };
        self.decoder.forward(&seen, &self.positions, &tokens, wanted, watch)
    }
}
