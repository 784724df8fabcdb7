//! From an encoder's tokens to the embedding: two convolutions, each with a norm over channels.

use candle_core::Tensor;

use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::LayerNorm,
        conv::{After, Conv2d, ConvShape},
    },
};

/// Of every norm over the channels of a pixel (`LayerNorm2d` of the reference).
pub const EPS_2D: f32 = 1e-6;

pub struct Neck {
    narrow: Conv2d,
    norm_narrow: LayerNorm,
    mix: Conv2d,
    norm_mix: LayerNorm,
}

impl Neck {
    pub fn new(n_in: usize, d: usize, vars: &Vars) -> Result<Neck, StageError> {
        let conv = |kernel: usize, n_in: usize, i: usize| {
            Conv2d::without_bias(ConvShape::new(n_in, d, kernel), After::None, &vars.pp(i))
        };
        Ok(Neck {
            narrow: conv(1, n_in, 0)?,
            norm_narrow: LayerNorm::new(d, EPS_2D, &vars.pp(1))?,
            mix: conv(3, d, 2)?,
            norm_mix: LayerNorm::new(d, EPS_2D, &vars.pp(3))?,
        })
    }

    /// [h w, n_in] of a grid `side` wide and high to [h w, d].
    pub fn forward(&self, x: &Tensor, side: usize, watch: &Watch) -> Result<Tensor, StageError> {
        let grid = x.reshape((side, side, x.dim(1)?))?;
        let narrow = normed(&self.norm_narrow, &self.narrow.forward(&grid)?)?;
        watch.tap("neck1", &narrow);
        let mixed = normed(&self.norm_mix, &self.mix.forward(&narrow)?)?;
        Ok(mixed.flatten_to(1)?)
    }
}

/// A norm over the channels of each pixel, [h, w, c] of f32 to the same.
pub fn normed(norm: &LayerNorm, x: &Tensor) -> Result<Tensor, StageError> {
    let y = norm.forward(&x.flatten_to(1)?)?;
    Ok(y.to_dtype(candle_core::DType::F32)?.reshape(x.dims())?)
}
