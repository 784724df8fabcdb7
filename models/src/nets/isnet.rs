//! IS-Net: which pixels are the object's, at a resolution that keeps its fine parts.
//!
//! Paper: Highly Accurate Dichotomous Image Segmentation, Qin et al., 2022.
//! Reference: xuebinqin/DIS, `IS-Net/models/isnet.py` @ b6764e2; pixels before and after as rembg has
//! them. The checkpoint for drawn figures: SkyTNT/anime-segmentation, `inference.py` @ 1e51dde.
//! Checkpoint: `isnet-general-use.pth`, a plain state dict, stored f32, keys as published;
//! `isnetis.ckpt`, the same below `state_dict.net`, with an encoder of masks that only training needs.
//! Input: see `saliency::Prepare`; any size, trained at 1024x1024.
//! Differs from the reference: batch norm is folded into the convolutions before it; drawn figures are
//! brought to size with antialiasing.
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
    /// Channels that the U gets.
    pub n_first: usize,
    pub u: UShape,
    pub prepare: Prepare,
}

impl Config {
    /// `isnet-general-use.pth` (reference: class `ISNetDIS`).
    pub fn released() -> Config {
        let down = [(32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)];
        let up = [(256, 512), (128, 256), (64, 128), (32, 64), (16, 64)];
        let prepare = Prepare { side: 1024, mean: [0.5; 3], std: [1.0; 3], stretch: Stretch::ByMaximum };
        Config { n_first: 64, u: UShape::new(64, down, up), prepare }
    }

    /// `isnetis.ckpt`: pictures keep their proportions, between black bars, and are not centred.
    pub fn anime() -> Config {
        let prepare = Prepare { side: 1024, mean: [0.0; 3], std: [1.0; 3], stretch: Stretch::Letterbox };
        Config { prepare, ..Config::released() }
    }

    /// The same graph at toy size.
    pub fn tiny() -> Config {
        let prepare = Prepare { side: 64, ..Config::released().prepare };
        Config { n_first: 4, u: UShape::new(4, [(2, 4); 6], [(2, 4); 5]), prepare }
    }
}

pub struct IsNet {
    pub config: Config,
    device: Device,
    first: Conv2d,
    u: NestedU,
}

impl Net for IsNet {
    fn load(id: &str, _: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError> {
        match id {
            "isnet-anime" => IsNet::new(Config::anime(), &vars.pp("state_dict.net")),
            _ => IsNet::new(Config::released(), vars),
        }
    }
}

impl IsNet {
    pub fn new(config: Config, vars: &Vars) -> Result<IsNet, StageError> {
        let first = ConvShape::new(3, config.n_first, 3).stride(2);
        let first = Conv2d::new(first, After::None, &vars.pp("conv_in"))?;
        let u = NestedU::new(&config.u, vars)?;
        Ok(IsNet { config, device: vars.compute.device.clone(), first, u })
    }
}

impl Saliency for IsNet {
    fn prepare(&self) -> &Prepare {
        &self.config.prepare
    }

    fn device(&self) -> &Device {
        &self.device
    }

    /// [h, w, 3] to [h, w, 1] in 0..=1. Taps: `conv_in`, `stage*`, `side*`, `d0` and `d2` to `d6`.
    fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor, StageError> {
        let (h, w, _) = x.dims3()?;
        let total = N_BLOCKS + 1;
        (watch.step)(0, total)?;
        let first = self.first.forward(x)?; // [h / 2, w / 2, c]
        watch.tap("conv_in", &first);
        let maps = self.u.forward(first, watch, &|done| (watch.step)(done, total))?;
        let whole = |map: &Tensor| sigmoid(&resize_bilinear(map, h, w, false)?);
        if watch.tap.is_some() {
            for (i, map) in maps.iter().enumerate().skip(1) {
                watch.tap(&format!("d{}", i + 1), &whole(map)?);
            }
        }
        let out = whole(&maps[0])?;
        watch.tap("d0", &out);
        (watch.step)(total, total)?;
        Ok(out)
    }
}
