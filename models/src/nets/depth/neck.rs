//! Tokens of four depths to maps of four sizes, fused from the coarsest to the finest.
//!
//! Reference: transformers 4.57.1, `DPTNeck`, `ZoeDepthNeck`, `DepthAnythingNeck`.
//! The first unit of the coarsest fusion has nothing to work on: it is in the checkpoints, unused.

use candle_core::Tensor;

use super::{
    Result,
    config::{Config, NeckConfig},
};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{Activation, Linear},
        conv::{After, Conv2d, ConvShape, ConvTranspose2d, TransposedShape},
        features,
    },
};

/// What a level is made of.
pub enum Feature {
    /// [1 + n, d], the class first.
    Tokens(Tensor),
    /// [h, w, c], taken as it is.
    Map(Tensor),
}

pub struct Fused {
    /// [h, w, fused], coarsest first.
    pub levels: Vec<Tensor>,
    /// The coarsest level before it was fused, [h, w, fused].
    pub coarsest: Tensor,
}

pub struct Neck {
    config: NeckConfig,
    /// Finest first.
    levels: Vec<Level>,
    /// Coarsest first.
    fusions: Vec<Fusion>,
}

struct Level {
    from_tokens: Option<Reassemble>,
    /// To as many channels as all levels have.
    even: Conv2d,
}

struct Reassemble {
    /// Each token with the class beside it.
    readout: Option<Linear>,
    project: Linear,
    resize: Resize,
}

enum Resize {
    Up(ConvTranspose2d),
    Same,
    Down(Conv2d),
}

impl Neck {
    pub fn new(config: &Config, vars: &Vars) -> Result<Neck> {
        let (d, config) = (config.vit.d, &config.neck);
        let stage = vars.pp("reassemble_stage");
        let level = |(i, (&channels, &factor)): (usize, (&usize, &f64))| {
            let from_tokens = (i >= config.n_given)
                .then(|| {
                    let readout = stage.pp("readout_projects").pp(i).pp(0);
                    Ok::<_, StageError>(Reassemble {
                        readout: config
                            .readout
                            .then(|| Linear::with(Activation::Gelu, 2 * d, d, &readout))
                            .transpose()?,
                        project: pointwise(Activation::None, d, channels, &stage.pp("layers").pp(i).pp("projection"))?,
                        resize: Resize::new(channels, factor, &stage.pp("layers").pp(i).pp("resize"))?,
                    })
                })
                .transpose()?;
            let even =
                Conv2d::without_bias(ConvShape::new(channels, config.fused, 3), After::None, &vars.pp("convs").pp(i))?;
            Ok(Level { from_tokens, even })
        };
        let fusion = |i| Fusion::new(config.fused, i > 0, &vars.pp("fusion_stage.layers").pp(i));
        Ok(Neck {
            levels: config.sizes.iter().zip(&config.factors).enumerate().map(level).collect::<Result<_>>()?,
            fusions: (0..config.sizes.len()).map(fusion).collect::<Result<_>>()?,
            config: config.clone(),
        })
    }

    /// One feature for each level, finest first; tokens are those of a grid of patches. `step`
    /// hears how many levels are fused.
    pub fn forward(
        &self,
        made: Vec<Feature>,
        grid: (usize, usize),
        watch: &Watch,
        step: &dyn Fn(u32) -> Result<()>,
    ) -> Result<Fused> {
        let mut maps = Vec::new();
        for (i, (level, feature)) in self.levels.iter().zip(&made).enumerate() {
            let map = match (feature, &level.from_tokens) {
                (Feature::Map(map), None) => map.clone(),
                (Feature::Tokens(tokens), Some(reassemble)) => reassemble.forward(tokens, grid)?,
                _ => return Err(StageError::internal(format!("level {i} was given the wrong kind of feature"))),
            };
            watch.tap(&format!("reassembled{i}"), &map);
            maps.push(level.even.forward(&map)?);
        }
        drop(made);
        let coarsest = maps.last().cloned().ok_or_else(|| StageError::internal("the neck has no levels"))?;
        let mut levels: Vec<Tensor> = Vec::new();
        for (i, fusion) in self.fusions.iter().enumerate() {
            let map = maps.pop().ok_or_else(|| StageError::internal(format!("there are only {i} levels")))?;
            let (h, w, _) = levels.last().unwrap_or(&map).dims3()?;
            let size = match maps.last() {
                Some(next) if self.config.to_next => (next.dim(0)?, next.dim(1)?),
                _ => (2 * h, 2 * w),
            };
            let fused = match levels.last() {
                None => fusion.forward(&map, None, size)?,
                Some(before) => fusion.forward(before, Some(&map), size)?,
            };
            watch.tap(&format!("fused{i}"), &fused);
            levels.push(fused);
            step(i as u32 + 1)?;
        }
        Ok(Fused { levels, coarsest })
    }
}

impl Reassemble {
    /// [1 + rows * columns, d] to [h, w, c].
    fn forward(&self, tokens: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let n = rows * columns;
        let patches = tokens.narrow(0, 1, n)?.contiguous()?;
        let patches = match &self.readout {
            None => patches,
            Some(readout) => {
                let class = tokens.narrow(0, 0, 1)?.broadcast_as(patches.shape())?.contiguous()?;
                readout.forward(&Tensor::cat(&[&patches, &class], 1)?)?
            }
        };
        let map = self.project.forward(&patches)?.to_dtype(candle_core::DType::F32)?;
        let map = map.reshape((rows, columns, map.dim(1)?))?;
        match &self.resize {
            Resize::Up(conv) => conv.forward(&map),
            Resize::Same => Ok(map),
            Resize::Down(conv) => conv.forward(&map),
        }
    }
}

impl Resize {
    fn new(channels: usize, factor: f64, vars: &Vars) -> Result<Resize> {
        Ok(if factor > 1.0 {
            let factor = factor as usize;
            let shape = TransposedShape { n_in: channels, n_out: channels, kernel: factor, stride: factor, padding: 0 };
            Resize::Up(ConvTranspose2d::new(shape, After::None, vars)?)
        } else if factor == 1.0 {
            Resize::Same
        } else {
            let shape = ConvShape::new(channels, channels, 3).stride((1.0 / factor) as usize);
            Resize::Down(Conv2d::new(shape, After::None, vars)?)
        })
    }
}

struct Fusion {
    /// Of the level that joins; absent in the coarsest.
    joining: Option<Unit>,
    unit: Unit,
    project: Linear,
}

impl Fusion {
    fn new(n: usize, joins: bool, vars: &Vars) -> Result<Fusion> {
        Ok(Fusion {
            joining: joins.then(|| Unit::new(n, &vars.pp("residual_layer1"))).transpose()?,
            unit: Unit::new(n, &vars.pp("residual_layer2"))?,
            project: pointwise(Activation::None, n, n, &vars.pp("projection"))?,
        })
    }

    /// `x` [h, w, n], with the level that joins it, to [size, n].
    fn forward(&self, x: &Tensor, joins: Option<&Tensor>, size: (usize, usize)) -> Result<Tensor> {
        let (h, w, n) = x.dims3()?;
        let x = match (joins, &self.joining) {
            (Some(level), Some(unit)) => {
                let level = features::resize_bilinear(level, h, w, false)?;
                unit.forward(&level, &features::add(x, &level)?)?
            }
            _ => x.clone(),
        };
        let x = self.unit.forward(&x, &x)?;
        // A quarter of the work of the reference, which resizes first: weights of neighbours add up
        // to 1, so a layer without an activation may come before or after.
        let x = self.project.forward(&x.reshape((h * w, n))?)?.to_dtype(candle_core::DType::F32)?;
        features::resize_bilinear(&x.reshape((h, w, n))?, size.0, size.1, true)
    }
}

/// Two convolutions of 3x3, activations before them.
struct Unit(Conv2d, Conv2d);

impl Unit {
    fn new(n: usize, vars: &Vars) -> Result<Unit> {
        let shape = ConvShape::new(n, n, 3);
        let first = Conv2d::new(shape, After::Relu, &vars.pp("convolution1"))?;
        Ok(Unit(first, Conv2d::new(shape, After::None, &vars.pp("convolution2"))?))
    }

    /// residual + what the convolutions make of `x`; all [h, w, n].
    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let y = self.0.forward(&features::relu(x)?)?;
        self.1.forward_add(&[&y], residual, 1.0)
    }
}

/// A convolution of 1x1 as a layer over pixels: `weight` [n_out, n_in, 1, 1] and `bias` [n_out].
pub fn pointwise(activation: Activation, n_in: usize, n_out: usize, vars: &Vars) -> Result<Linear> {
    let (weight, bias) = (vars.values("weight", &[n_out, n_in, 1, 1])?, vars.values("bias", &[n_out])?);
    Linear::from_values(activation, n_in, &weight, Some(&bias), vars.compute)
}
