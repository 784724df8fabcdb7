//! Depth from one picture: DPT and MiDaS, Depth Anything V2, ZoeDepth.
//!
//! Papers: Vision Transformers for Dense Prediction, 2021 (DPT); MiDaS v3.1, 2023; Depth Anything
//! V2, 2024; ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth, 2023.
//! Reference: transformers 4.57.1, `models/{dpt,bit,beit,dinov2,depth_anything,zoedepth}`.
//! Checkpoints: `model.safetensors` with the names of transformers; those of Depth Anything V2
//! also with the names of its authors (`original`).
//! Differs from the reference: 1x1 convolutions stand before the resizing they follow there, layer
//! scales are part of the weights before them; the sums are the same, in another order.
//!
//! All of them are one construction: a transformer over patches of the picture (`vit`; before it
//! a convolutional net in DPT-Hybrid, `bit`), whose tokens after four of its blocks become maps of
//! four sizes that are fused from the coarsest to the finest (`neck`), and a head that makes a
//! depth of each pixel (`head`; in metres by bins of depth in ZoeDepth, `metric`).
//!
//! Axes: n tokens, d features, h w rows and columns, c channels.

pub mod config;
pub mod processor;

mod attractor;
mod binomial;
mod bit;
mod head;
mod metric;
mod neck;
mod original;
mod relative;
mod released;
mod router;
mod vit;

use ::image::RgbImage;
use candle_core::Tensor;

use self::{
    bit::Bit,
    head::Head,
    metric::MetricHead,
    neck::{Feature, Neck},
    processor::{Pixels, Processor},
    vit::Encoder,
};
pub use self::{
    config::{Config, Unit},
    released::{ids, view},
};
use super::{Net, Vars, Watch, blocks::to_host, checkpoint::on_device};
use crate::{error::StageError, image::plane::Plane};

type Result<T, E = StageError> = std::result::Result<T, E>;

pub struct DepthNet {
    pub config: Config,
    pub processor: Processor,
    /// Convolutions before the transformer.
    stem: Option<Bit>,
    encoder: Encoder,
    neck: Neck,
    head: Head,
    metric: Option<MetricHead>,
}

impl Net for DepthNet {
    fn load(id: &str, config: Option<&serde_json::Value>, vars: &Vars) -> Result<Self> {
        let config = match config {
            Some(tree) => Config::from_tree(tree)?,
            None => Config::released(id)?,
        };
        DepthNet::new(config, Processor::released(id)?, vars)
    }
}

impl DepthNet {
    pub fn new(config: Config, processor: Processor, vars: &Vars) -> Result<DepthNet> {
        let original = original::Original::new(vars.checkpoint());
        let vars = if original.is_needed() { &Vars::new(&original, vars.compute) } else { vars };
        Ok(DepthNet {
            stem: config.stem.as_ref().map(|sizes| Bit::new(sizes, &vars.pp(config::BIT))).transpose()?,
            encoder: Encoder::new(&config.vit, vars)?,
            neck: Neck::new(&config, &vars.pp("neck"))?,
            head: Head::new(&config, vars)?,
            metric: config
                .metric
                .as_ref()
                .map(|sizes| MetricHead::new(sizes, config.neck.fused, &vars.pp("metric_head")))
                .transpose()?,
            config,
            processor,
        })
    }

    /// Steps that `run` counts: one for each block of the transformer, one for each level of the
    /// neck, one for what comes before and one for what comes after.
    pub fn n_steps(&self) -> u32 {
        (self.config.vit.depth + self.config.neck.sizes.len() + 2) as u32
    }

    /// Depth of each pixel of `picture`, in the unit of `config`.
    pub fn estimate(&self, picture: &RgbImage, watch: &Watch) -> Result<Plane<f32>> {
        let depth = self.run(&self.processor.pixels(picture), watch)?;
        Ok(self.processor.restored(&depth, picture.width() as usize, picture.height() as usize))
    }

    /// Normalised pixels of a size that the net takes to depth of each of them.
    ///
    /// Errors: sides that are no multiple of the patch, a size that is not the trained one where
    /// there are convolutions before the transformer.
    pub fn run(&self, pixels: &Pixels, watch: &Watch) -> Result<Plane<f32>> {
        let Pixels { height, width, values } = pixels;
        let patch = self.config.vit.patch;
        self.config.check_size(*height, *width)?;
        let (rows, columns) = (height / patch, width / patch);
        let total = self.n_steps();
        let step = |done: u32| (watch.step)(done, total);
        step(0)?;

        let mut features = Vec::new();
        let patches = match &self.stem {
            None => vit::patches(pixels, patch, self.encoder.device())?,
            Some(stem) => {
                let x = on_device(values, &[*height, *width, 3], self.encoder.device())?;
                let mut stages = stem.forward(&x)?;
                let last = stages.pop().ok_or_else(|| StageError::internal("the stem has no stages"))?;
                features.extend(stages.into_iter().map(Feature::Map));
                let (h, w, c) = last.dims3()?;
                last.reshape((h * w, c))?
            }
        };
        step(1)?;
        let tokens = self.encoder.forward(&patches, (rows, columns), watch, &|done| step(1 + done))?;
        features.extend(tokens.into_iter().map(Feature::Tokens));

        let blocks = 1 + self.config.vit.depth as u32;
        let fused = self.neck.forward(features, (rows, columns), watch, &|done| step(blocks + done))?;
        let finest = fused.levels.last().ok_or_else(|| StageError::internal("the neck has no levels"))?;
        let out = self.head.forward(finest, (*height, *width))?;
        let depth = match &self.metric {
            None => out.depth,
            Some(metric) => {
                watch.tap("relative0", &out.depth);
                watch.tap("relative1", &out.features);
                metric.forward(&out, &fused, watch)?
            }
        };
        watch.tap("depth", &depth);
        step(total)?;
        plane(&depth)
    }
}

/// [h, w] on any device.
fn plane(depth: &Tensor) -> Result<Plane<f32>> {
    let (height, width) = depth.dims2()?;
    Ok(Plane { width, height, data: to_host(depth)? })
}
