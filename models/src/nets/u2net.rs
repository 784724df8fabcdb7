//! U2-Net: how much of each pixel belongs to what catches the eye.
//!
//! Paper: U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, Qin et al., 2020.
//! Reference: xuebinqin/U-2-Net, `model/u2net.py` @ ac7e1c8; pixels before and after as rembg has them.
//! Checkpoint: `u2net.pth` or `u2netp.pth`, a plain state dict, stored f32, keys as published.
//! Input: see `saliency::Prepare`; any size, trained at 320x320.
//! Differs from the reference: batch norm is folded into the convolutions before it; nothing else.
//!
//! Axes: h w rows and columns, c channels.

use candle_core::{Device, Tensor};

use super::{
    Net, Vars, Watch,
    conv::{After, Conv2d, ConvShape},
    features::{resize_bilinear, sigmoid},
    rsu::{N_BLOCKS, NestedU, UShape},
    saliency::{Prepare, Saliency, Stretch},
};
use crate::error::StageError;

/// Sizes fixed by the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub u: UShape,
    pub prepare: Prepare,
}

impl Config {
    /// `u2net.pth` (reference: class `U2NET`).
    pub fn released() -> Config {
        let down = [(32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)];
        let up = [(256, 512), (128, 256), (64, 128), (32, 64), (16, 64)];
        Config { u: UShape::new(3, down, up), prepare: PREPARE }
    }

    /// `u2netp.pth` (reference: class `U2NETP`).
    pub fn small() -> Config {
        Config { u: UShape::new(3, [(16, 64); 6], [(16, 64); 5]), prepare: PREPARE }
    }

    /// The same graph at toy size.
    pub fn tiny() -> Config {
        let prepare = Prepare { side: 40, ..PREPARE };
        Config { u: UShape::new(3, [(2, 4); 6], [(2, 4); 5]), prepare }
    }
}

/// As rembg does it for these nets.
const PREPARE: Prepare =
    Prepare { side: 320, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], stretch: Stretch::ByMaximum };

pub struct U2Net {
    pub config: Config,
    device: Device,
    u: NestedU,
    out: Conv2d,
}

impl Net for U2Net {
    fn load(id: &str, _: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError> {
        U2Net::new(if id == "u2netp" { Config::small() } else { Config::released() }, vars)
    }
}

impl U2Net {
    pub fn new(config: Config, vars: &Vars) -> Result<U2Net, StageError> {
        let u = NestedU::new(&config.u, vars)?;
        let out = Conv2d::new(ConvShape::new(6, 1, 1), After::None, &vars.pp("outconv"))?;
        Ok(U2Net { config, device: vars.compute.device.clone(), u, out })
    }
}

impl Saliency for U2Net {
    fn prepare(&self) -> &Prepare {
        &self.config.prepare
    }

    fn device(&self) -> &Device {
        &self.device
    }

    /// [h, w, 3] to [h, w, 1] in 0..=1. Taps: `stage*`, `side*`, `d0` to `d6`.
    fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor, StageError> {
        let (h, w, _) = x.dims3()?;
        let total = N_BLOCKS + 1;
        (watch.step)(0, total)?;
        let maps = self.u.forward(x.clone(), watch, &|done| (watch.step)(done, total))?;
        let maps = maps.iter().map(|map| resize_bilinear(map, h, w, false)).collect::<Result<Vec<_>, _>>()?;
        if watch.tap.is_some() {
            for (i, map) in maps.iter().enumerate() {
                watch.tap(&format!("d{}", i + 1), &sigmoid(map)?);
            }
        }
        let out = sigmoid(&self.out.forward_cat(&maps.iter().collect::<Vec<_>>())?)?;
        watch.tap("d0", &out);
        (watch.step)(total, total)?;
        Ok(out)
    }
}
