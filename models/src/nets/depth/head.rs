//! The finest level to a depth of each pixel.
//!
//! Reference: transformers 4.57.1, `DPTDepthEstimationHead`, `DepthAnythingDepthEstimationHead`,
//! `ZoeDepthRelativeDepthEstimationHead`.

use candle_core::Tensor;

use super::{Result, config::Config, neck::pointwise};
use crate::nets::{
    Vars,
    blocks::{Activation, Linear},
    conv::{After, Conv2d, ConvShape},
    features,
};

pub struct Head {
    narrow: Conv2d,
    detail: Conv2d,
    depth: Linear,
    max_depth: Option<f64>,
}

pub struct Out {
    /// [h, w]
    pub depth: Tensor,
    /// What it is made of, [h, w, c].
    pub features: Tensor,
}

impl Head {
    /// `vars` is the root of the checkpoint.
    pub fn new(config: &Config, vars: &Vars) -> Result<Head> {
        let [first, second, third] = config.head.names.map(|name| vars.pp(name));
        let (n, hidden) = (config.neck.fused, config.head.hidden);
        Ok(Head {
            narrow: Conv2d::new(ConvShape::new(n, n / 2, 3), After::None, &first)?,
            detail: Conv2d::new(ConvShape::new(n / 2, hidden, 3), After::Relu, &second)?,
            depth: pointwise(Activation::None, hidden, 1, &third)?,
            max_depth: config.head.max_depth,
        })
    }

    /// [h, w, c] to depths of `size`.
    pub fn forward(&self, x: &Tensor, (height, width): (usize, usize)) -> Result<Out> {
        let x = features::resize_bilinear(&self.narrow.forward(x)?, height, width, true)?;
        let made = self.detail.forward(&x)?;
        let (h, w, c) = made.dims3()?;
        let depth = self.depth.forward(&made.reshape((h * w, c))?)?.to_dtype(candle_core::DType::F32)?;
        let depth = match self.max_depth {
            None => features::relu(&depth)?,
            Some(max) => (features::sigmoid(&depth)? * max)?,
        };
        Ok(Out { depth: depth.reshape((h, w))?, features: made })
    }
}
