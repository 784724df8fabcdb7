//! RRDBNet: residual blocks of residual dense blocks, twice doubled in size at the end.
//!
//! Papers: Wang et al., ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, 2018;
//! Real-ESRGAN, 2021. Reference: XPixelGroup/BasicSR, `basicsr/archs/rrdbnet_arch.py`.
//! Checkpoints: `RealESRGAN_x4plus.pth`, `RealESRGAN_x4plus_anime_6B.pth`, `RealESRGAN_x2plus.pth`,
//! keys as published, under `params_ema` or `params`. Input: RGB in 0..=1.
//! Differs from the reference: what is at the size of the result is computed in strips of rows
//! that see two rows more on either side, which is as far as those layers look.

use candle_core::Tensor;

use super::{Result, published};
use crate::nets::{
    Vars, Watch,
    conv::{After, Conv2d, ConvShape},
    features,
};

const LEAKY: After = After::LeakyRelu(0.2);
/// Of what a block adds.
const RESIDUAL: f32 = 0.2;
/// Rows of a strip, at the size of the body.
const STRIP: usize = 32;
/// Rows on either side of a strip that layers behind the body see: 1 + 1/2 + 1/4 + 1/4.
const REACH: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub n_features: usize,
    /// Channels that each layer of a dense block adds.
    pub n_growth: usize,
    pub n_blocks: usize,
    /// 4; or 2, where the body works at half the size of the picture.
    pub scale: usize,
}

impl Config {
    pub const fn x4plus() -> Config {
        Config { n_features: 64, n_growth: 32, n_blocks: 23, scale: 4 }
    }

    pub const fn x4plus_anime() -> Config {
        Config { n_blocks: 6, ..Config::x4plus() }
    }

    pub const fn x2plus() -> Config {
        Config { scale: 2, ..Config::x4plus() }
    }
}

pub struct Rrdb {
    pub config: Config,
    first: Conv2d,
    blocks: Vec<[Dense; 3]>,
    body: Conv2d,
    up: [Conv2d; 2],
    full: Conv2d,
    last: Conv2d,
}

impl Rrdb {
    pub fn new(config: Config, vars: &Vars) -> Result<Rrdb> {
        let Config { n_features: n, n_growth, n_blocks, scale } = config;
        let vars = published(vars, "conv_first.bias", &[n]);
        let halving = 4 / scale;
        let conv = |name: &str, n_in, n_out, after| Conv2d::new(ConvShape::new(n_in, n_out, 3), after, &vars.pp(name));
        let block = |i: usize| {
            let dense = |j: usize| Dense::new(n, n_growth, &vars.pp(format!("body.{i}.rdb{j}")));
            Ok([dense(1)?, dense(2)?, dense(3)?])
        };
        Ok(Rrdb {
            config,
            first: conv("conv_first", 3 * halving * halving, n, After::None)?,
            blocks: (0..n_blocks).map(block).collect::<Result<_>>()?,
            body: conv("conv_body", n, n, After::None)?,
            up: [conv("conv_up1", n, n, LEAKY)?, conv("conv_up2", n, n, LEAKY)?],
            full: conv("conv_hr", n, n, LEAKY)?,
            last: conv("conv_last", n, 3, After::None)?,
        })
    }

    /// [h, w, 3] to [scale h, scale w, 3].
    pub fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor> {
        let (h, w, _) = x.dims3()?;
        let halving = 4 / self.config.scale;
        let x = if halving > 1 { features::pixel_unshuffle(&reflected(x, halving)?, halving)? } else { x.clone() };
        let n_strips = x.dim(0)?.div_ceil(STRIP);
        // A strip takes about as long as a dense block of it: far less than a block of the body.
        let total = (3 * self.blocks.len() + 1 + n_strips) as u32;
        (watch.step)(0, total)?;
        let first = self.first.forward(&x)?;
        watch.tap("conv_first", &first);
        let mut y = first.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let mut inner = y.clone();
            for (j, dense) in block.iter().enumerate() {
                inner = dense.forward(&inner)?;
                watch.tap(&format!("block{i}_rdb{}", j + 1), &inner);
                (watch.step)((3 * i + j) as u32 + 1, total)?;
            }
            y = features::add_scaled(&y, &inner, RESIDUAL)?;
            watch.tap(&format!("block{i}"), &y);
        }
        let y = self.body.forward_add(&[&y], &first, 1.0)?;
        watch.tap("body", &y);
        let n_before = total - n_strips as u32;
        (watch.step)(n_before, total)?;
        let strips = (0..n_strips).map(|i| {
            let strip = self.strip(&y, i * STRIP, watch)?;
            (watch.step)(n_before + i as u32 + 1, total)?;
            Ok(strip)
        });
        let y = Tensor::cat(&strips.collect::<Result<Vec<_>>>()?, 0)?;
        let (out_h, out_w) = (h * self.config.scale, w * self.config.scale);
        if y.dims()[..2] == [out_h, out_w] {
            return Ok(y);
        }
        Ok(y.narrow(0, 0, out_h)?.narrow(1, 0, out_w)?.contiguous()?)
    }

    /// What comes of rows `start` and following of the body.
    fn strip(&self, body: &Tensor, start: usize, watch: &Watch) -> Result<Tensor> {
        let (h, w, _) = body.dims3()?;
        let (from, to) = (start.saturating_sub(REACH), (start + STRIP + REACH).min(h));
        let mut y = body.narrow(0, from, to - from)?;
        for (i, up) in self.up.iter().enumerate() {
            let times = 2 << i;
            y = up.forward(&features::resize_nearest(&y, (to - from) * times, w * times)?)?;
            watch.tap(&format!("up{}", i + 1), &y);
        }
        let y = self.last.forward(&self.full.forward(&y)?)?;
        Ok(y.narrow(0, (start - from) * 4, STRIP.min(h - start) * 4)?)
    }
}

/// Five convolutions, each of which sees the input and what all before it gave.
struct Dense {
    growing: Vec<Conv2d>,
    last: Conv2d,
}

impl Dense {
    fn new(n: usize, n_growth: usize, vars: &Vars) -> Result<Dense> {
        let conv = |i: usize, n_out: usize, after| {
            Conv2d::new(ConvShape::new(n + (i - 1) * n_growth, n_out, 3), after, &vars.pp(format!("conv{i}")))
        };
        Ok(Dense {
            growing: (1..=4).map(|i| conv(i, n_growth, LEAKY)).collect::<Result<_>>()?,
            last: conv(5, n, After::None)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut parts = vec![x.clone()];
        for layer in &self.growing {
            let y = layer.forward_rounded(&parts.iter().collect::<Vec<_>>())?;
            parts.push(y);
        }
        self.last.forward_add(&parts.iter().collect::<Vec<_>>(), x, RESIDUAL)
    }
}

/// Rows and columns mirrored at the lower and right border, up to multiples of `n`.
fn reflected(x: &Tensor, n: usize) -> Result<Tensor> {
    let mut x = x.clone();
    for axis in 0..2 {
        let size = x.dim(axis)?;
        for i in 0..(n - size % n) % n {
            // A single row has none to mirror but itself.
            let mirrored = x.narrow(axis, size.saturating_sub(2 + i), 1)?;
            x = Tensor::cat(&[&x, &mirrored], axis)?;
        }
    }
    Ok(x)
}
