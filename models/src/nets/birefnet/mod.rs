//! BiRefNet: which pixels are the object's, by a pyramid of the picture at two sizes and the picture
//! itself at every step of the way back.
//!
//! Paper: Bilateral Reference for High-Resolution Dichotomous Image Segmentation, Zheng et al., 2024.
//! Reference: ZhengPeng7/BiRefNet, `models/birefnet.py` @ 2a09e98 and `models/modules`; pixels before
//! and after as rembg has them. Held against our own definition in PyTorch, `tests/peers/birefnet_torch.py`.
//! Checkpoint: `model.safetensors`, stored f16, keys as published; `gdt_convs_pred_*` and
//! `conv_ms_spvn_*` are for training and not used.
//! Input: see `saliency::Prepare`; sides multiples of 32, trained at 1024x1024.
//! Differs from the reference: batch norm is folded into what is before it; see also `swin`.
//!
//! Axes: h w rows and columns, c channels.

mod decoder;
mod deform;

use candle_core::{Device, Tensor};

use self::decoder::{Decoder, DecoderBlock, resized};
use super::{
    Net, Vars, Watch,
    saliency::{Prepare, Saliency, Stretch},
    swin::{self, Swin},
};
use crate::error::StageError;

type Result<T, E = StageError> = std::result::Result<T, E>;

/// Sizes fixed by the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub swin: swin::Config,
    /// Channels within a block of the decoder, and of each part of its pyramid.
    pub inner: usize,
    pub planes: usize,
    /// Of what tells where the picture changes.
    pub gradient: usize,
    pub prepare: Prepare,
}

impl Config {
    /// The general checkpoint (reference: config.py with `swin_v1_l`).
    pub fn released() -> Config {
        let swin = swin::Config { width: 192, depths: [2, 2, 18, 2], heads: [6, 12, 24, 48], window: 12 };
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let prepare = Prepare { side: 1024, mean, std, stretch: Stretch::ByMaximum };
        Config { swin, inner: 64, planes: 256, gradient: 16, prepare }
    }

    /// The same graph at toy size.
    pub fn tiny() -> Config {
        let swin = swin::Config { width: 8, depths: [2; 4], heads: [1, 2, 2, 4], window: 3 };
        let prepare = Prepare { side: 64, ..Config::released().prepare };
        Config { swin, inner: 8, planes: 12, gradient: 4, prepare }
    }
}

pub struct BiRefNet {
    pub config: Config,
    device: Device,
    backbone: Swin,
    squeeze: DecoderBlock,
    decoder: Decoder,
}

impl Net for BiRefNet {
    fn load(_: &str, _: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError> {
        BiRefNet::new(Config::released(), vars)
    }
}

impl BiRefNet {
    pub fn new(config: Config, vars: &Vars) -> Result<BiRefNet> {
        // Of the maps, deepest first: those of both sizes of the picture side by side.
        let channels = [3, 2, 1, 0].map(|level| (2 * config.swin.width) << level);
        let n_squeezed = channels.iter().sum();
        Ok(BiRefNet {
            backbone: Swin::new(&config.swin, &vars.pp("bb"))?,
            squeeze: DecoderBlock::new(n_squeezed, channels[0], &config, &vars.pp("squeeze_module.0"))?,
            decoder: Decoder::new(channels, &config, &vars.pp("decoder"))?,
            device: vars.compute.device.clone(),
            config,
        })
    }
}

impl Saliency for BiRefNet {
    fn prepare(&self) -> &Prepare {
        &self.config.prepare
    }

    fn device(&self) -> &Device {
        &self.device
    }

    /// [h, w, 3] to [h, w, 1] in 0..=1. Taps: `x1` to `x4`, `squeezed`, `p4` to `p1`, `d0`.
    fn forward(&self, picture: &Tensor, watch: &Watch) -> Result<Tensor> {
        let (h, w, _) = picture.dims3()?;
        if !h.is_multiple_of(32) || !w.is_multiple_of(32) || h.min(w) == 0 {
            return Err(StageError::internal(format!("a picture of {w}x{h} is no multiple of 32")));
        }
        let total = 2 * self.config.swin.n_blocks() as u32 + 1 + decoder::N_BLOCKS;
        let done = std::cell::Cell::new(0);
        (watch.step)(0, total)?;
        let step = || {
            done.set(done.get() + 1);
            (watch.step)(done.get(), total)
        };
        let small = self.backbone.forward(&resized(picture, h / 2, w / 2)?, &step)?;
        let large = self.backbone.forward(picture, &step)?;
        let mut maps = Vec::with_capacity(4);
        for (i, (large, small)) in large.iter().zip(&small).enumerate() {
            let (h, w, _) = large.dims3()?;
            maps.push(Tensor::cat(&[large, &resized(small, h, w)?], 2)?);
            watch.tap(&format!("x{}", i + 1), &maps[i]);
        }
        let (high, wide, _) = maps[3].dims3()?;
        let context = maps[..3].iter().map(|map| resized(map, high, wide)).collect::<Result<Vec<_>>>()?;
        maps[3] = self.squeeze.forward(&context.iter().chain([&maps[3]]).collect::<Vec<_>>())?;
        watch.tap("squeezed", &maps[3]);
        step()?;
        let out = self.decoder.forward(picture, &maps, watch, &step)?;
        watch.tap("d0", &out);
        Ok(out)
    }
}
