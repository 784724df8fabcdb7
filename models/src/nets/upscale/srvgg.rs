//! SRVGG: a plain row of convolutions at the size of the input, pixels made of channels at the end.
//!
//! Paper: Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
//! Data, 2021. Reference: xinntao/Real-ESRGAN, `realesrgan/archs/srvgg_arch.py`.
//! Checkpoints: `realesr-general-x4v3.pth`, `realesr-animevideov3.pth`, keys as published, under
//! `params`. Input: RGB in 0..=1. Differs from the reference: nothing but the order of sums.

use candle_core::Tensor;

use super::{Result, published};
use crate::nets::{
    Vars, Watch,
    conv::{After, Conv2d, ConvShape, forward_row},
    features,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub n_features: usize,
    /// Convolutions between the first and the last.
    pub n_layers: usize,
    pub scale: usize,
}

impl Config {
    pub const fn general_x4v3() -> Config {
        Config { n_features: 64, n_layers: 32, scale: 4 }
    }

    pub const fn animevideov3() -> Config {
        Config { n_features: 64, n_layers: 16, scale: 4 }
    }
}

pub struct Srvgg {
    pub config: Config,
    body: Vec<Conv2d>,
    /// To [scale, scale, 3] channels.
    last: Conv2d,
}

impl Srvgg {
    pub fn new(config: Config, vars: &Vars) -> Result<Srvgg> {
        let Config { n_features: n, n_layers, scale } = config;
        let vars = published(vars, "body.0.bias", &[n]).pp("body");
        let body = (0..=n_layers).map(|i| {
            let slopes = vars.pp(2 * i + 1).values("weight", &[n])?.to_vec();
            Conv2d::new(ConvShape::new(if i == 0 { 3 } else { n }, n, 3), After::Prelu(slopes), &vars.pp(2 * i))
        });
        let body = body.collect::<Result<_>>()?;
        // Published channels are [3, scale, scale]; colours of a pixel side by side are one copy.
        let vars = vars.pp(2 * n_layers + 2);
        let shape = ConvShape::new(n, 3 * scale * scale, 3);
        let (weight, bias) = (vars.values("weight", &shape.weight_shape())?, vars.values("bias", &[shape.n_out])?);
        let published = |i: usize| i % 3 * scale * scale + i / 3;
        let filter = weight.len() / shape.n_out;
        let weight: Vec<f32> =
            (0..shape.n_out).flat_map(|i| weight[published(i) * filter..][..filter].to_vec()).collect();
        let bias: Vec<f32> = (0..shape.n_out).map(|i| bias[published(i)]).collect();
        let last = Conv2d::from_values(shape, After::None, &weight, Some(&bias), vars.compute)?;
        Ok(Srvgg { config, body, last })
    }

    /// [h, w, 3] to [scale h, scale w, 3]: what the network adds to the pixels repeated.
    pub fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor> {
        let total = self.body.len() as u32 + 1;
        (watch.step)(0, total)?;
        let y = forward_row(&self.body, x, &|i, y| {
            if watch.tap.is_some() {
                watch.tap(&format!("body.{}", 2 * i + 1), &y()?);
            }
            (watch.step)(i as u32 + 1, total)
        })?;
        let y = features::depth_to_space(&self.last.forward(&y)?, self.config.scale)?;
        let (h, w, _) = y.dims3()?;
        let y = features::add(&y, &features::resize_nearest(x, h, w)?)?;
        (watch.step)(total, total)?;
        Ok(y)
    }
}
