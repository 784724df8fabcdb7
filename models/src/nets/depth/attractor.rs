//! Centres of bins of depth: where they begin, and how attractors move them.
//!
//! Reference: transformers 4.57.1, `ZoeDepthSeedBinRegressor`, `ZoeDepthAttractorLayer`,
//! `ZoeDepthAttractorLayerUnnormed`.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Result,
    metric::{Perceptron, pixels},
};
use crate::nets::{Vars, Watch, blocks::to_host, checkpoint::on_device, features};

/// How strongly a bin far away resists: the reference's function has it fixed, whatever
/// `attractor_alpha` of a configuration says.
const ALPHA: f32 = 300.0;
/// Least share of a normed bin, least position of an attractor.
const LEAST: f32 = 1e-3;

/// Bins [h, w, n] of a level.
pub struct Bins {
    /// As the next level takes them: shares of the range where they are normed.
    pub raw: Tensor,
    pub metres: Tensor,
}

/// First centres, from the coarsest level.
pub struct Seeds {
    regressor: Perceptron,
    /// Least and largest depth of normed bins.
    range: Option<[f32; 2]>,
}

impl Seeds {
    pub fn new(regressor: Perceptron, range: Option<[f32; 2]>) -> Seeds {
        Seeds { regressor, range }
    }

    /// [rows * columns, c] to bins.
    pub fn forward(&self, x: &Tensor, (rows, columns): (usize, usize), watch: &Watch) -> Result<Bins> {
        let made = self.regressor.forward(x)?;
        let (device, n) = (made.device().clone(), made.dim(1)?);
        let mut centers = to_host(&made)?;
        let mut raw = None;
        match self.range {
            None => centers.par_iter_mut().for_each(|v| *v = softplus(*v)),
            Some([min, max]) => {
                centers.par_chunks_exact_mut(n).for_each(|bins| normed(bins, min, max));
                raw = Some(centers.iter().map(|v| (v - min) / (max - min)).collect::<Vec<_>>());
            }
        }
        let on = |values: &[f32]| on_device(values, &[rows, columns, n], &device);
        let metres = on(&centers)?;
        watch.tap("seed", &metres);
        Ok(Bins { raw: raw.map_or_else(|| Ok(metres.clone()), |raw| on(&raw))?, metres })
    }
}

/// Widths, of which the positive part counts, to centres that follow each other from `min` to `max`.
fn normed(bins: &mut [f32], min: f32, max: f32) {
    bins.iter_mut().for_each(|v| *v = v.max(0.0) + LEAST);
    let sum: f32 = bins.iter().sum();
    let mut edge = min;
    for bin in bins {
        let next = edge + (max - min) * (*bin / sum);
        *bin = 0.5 * (edge + next);
        edge = next;
    }
}

/// Moves the bins of a level towards points that it makes for each pixel.
pub struct Attractor {
    points: Perceptron,
    n: usize,
    range: Option<[f32; 2]>,
}

impl Attractor {
    pub fn new(embedding: usize, n: usize, range: Option<[f32; 2]>, vars: &Vars) -> Result<Attractor> {
        let n_out = if range.is_some() { 2 * n } else { n };
        Ok(Attractor { points: Perceptron::new([embedding, embedding, n_out], vars)?, n, range })
    }

    /// Embedding [h, w, c] and bins of the level before to bins of this one.
    pub fn forward(&self, embedding: &Tensor, before: &Bins) -> Result<Bins> {
        let (h, w, _) = embedding.dims3()?;
        let bins = features::resize_bilinear(&before.raw, h, w, true)?;
        let (device, n_bins): (Device, usize) = (bins.device().clone(), bins.dim(2)?);
        let made = self.points.forward(&pixels(embedding)?)?;
        let (mut points, mut bins) = (to_host(&made)?, to_host(&bins)?);
        match self.range {
            None => points.par_iter_mut().for_each(|v| *v = softplus(*v)),
            // Of each pair the reference uses the first alone.
            Some(_) => points = points.chunks_exact(2).map(|pair| pair[0].max(0.0) + LEAST).collect(),
        }
        bins.par_chunks_exact_mut(n_bins).zip(points.par_chunks_exact(self.n)).for_each(|(bins, points)| {
            for bin in bins {
                let move_by = |sum: f32, point: &f32| sum + pull(point - *bin);
                *bin += points.iter().fold(0.0, move_by) / points.len() as f32;
            }
        });
        let on = |values: &[f32]| on_device(values, &[h, w, n_bins], &device);
        let raw = on(&bins)?;
        let Some([min, max]) = self.range else { return Ok(Bins { metres: raw.clone(), raw }) };
        bins.par_chunks_exact_mut(n_bins).for_each(|bins| {
            bins.iter_mut().for_each(|v| *v = ((max - min) * *v + min).clamp(min, max));
            bins.sort_unstable_by(f32::total_cmp);
        });
        Ok(Bins { raw, metres: on(&bins)? })
    }
}

/// How far a bin moves towards a point at the distance `d`: far for near ones.
fn pull(d: f32) -> f32 {
    d / (1.0 + ALPHA * d * d)
}

/// ln(1 + e^x), as PyTorch cuts it.
pub fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
