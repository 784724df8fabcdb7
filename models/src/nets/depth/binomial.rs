//! How much each bin of depth counts at a pixel: a binomial distribution of a temperature.
//!
//! Reference: transformers 4.57.1, `ZoeDepthConditionalLogBinomialSoftmax`, `LogBinomialSoftmax`.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::{Result, attractor::softplus, metric::pixels, neck::pointwise};
use crate::nets::{
    Vars, Watch,
    blocks::{Activation, Linear, to_host},
    checkpoint::on_device,
};

/// Least of what probabilities and temperatures are shares of, and of a probability.
const LEAST: f32 = 1e-4;

pub struct Binomial {
    hidden: Linear,
    /// Success, failure, hot, cold.
    out: Linear,
    temperature: [f32; 2],
    /// Logarithm of how many ways lead to each bin.
    ways: Vec<f32>,
}

impl Binomial {
    pub fn new([n_in, hidden]: [usize; 2], n_bins: usize, temperature: [f32; 2], vars: &Vars) -> Result<Binomial> {
        Ok(Binomial {
            hidden: pointwise(Activation::Gelu, n_in, hidden, &vars.pp(0))?,
            out: pointwise(Activation::None, hidden, 4, &vars.pp(2))?,
            temperature,
            ways: (0..n_bins).map(|k| log_ways((n_bins - 1) as f32, k as f32)).collect(),
        })
    }

    /// What is known of each pixel [h, w, c] and centres of bins [h, w, n] to depths [h, w].
    pub fn forward(&self, seen: &Tensor, centers: &Tensor, watch: &Watch) -> Result<Tensor> {
        let (h, w, n) = centers.dims3()?;
        let made = self.out.forward(&self.hidden.forward(&pixels(seen)?)?)?.to_dtype(DType::F32)?;
        let (made, centers) = (to_host(&made)?, to_host(centers)?);
        let mut shares = vec![0.0; centers.len()];
        let mut depths = vec![0.0; h * w];
        let each = depths.par_iter_mut().zip(shares.par_chunks_exact_mut(n));
        each.zip(centers.par_chunks_exact(n).zip(made.par_chunks_exact(4))).for_each(
            |((depth, shares), (centers, made))| {
                self.shares(made, shares);
                *depth = shares.iter().zip(centers).map(|(share, center)| share * center).sum();
            },
        );
        if watch.tap.is_some() {
            watch.tap("log_binomial", &on_device(&shares, &[h, w, n], seen.device())?);
        }
        on_device(&depths, &[h, w], seen.device())
    }

    fn shares(&self, made: &[f32], to: &mut [f32]) {
        let [success, failure, hot, cold] = [0, 1, 2, 3].map(|i| softplus(made[i]) + LEAST);
        let probability = success / (success + failure);
        let [min, max] = self.temperature;
        let temperature = (max - min) * (hot / (hot + cold)) + min;
        let (success, failure) = (probability.clamp(LEAST, 1.0).ln(), (1.0 - probability).clamp(LEAST, 1.0).ln());
        let last = (to.len() - 1) as f32;
        let mut largest = f32::NEG_INFINITY;
        for (k, (to, ways)) in to.iter_mut().zip(&self.ways).enumerate() {
            let k = k as f32;
            *to = (ways + k * success + (last - k) * failure) / temperature;
            largest = largest.max(*to);
        }
        let mut sum = 0.0;
        for share in to.iter_mut() {
            *share = (*share - largest).exp();
            sum += *share;
        }
        to.iter_mut().for_each(|share| *share /= sum);
    }
}

/// Logarithm of n over k by Stirling's formula, with what the reference adds to stay finite.
fn log_ways(n: f32, k: f32) -> f32 {
    const EPS: f32 = 1e-7;
    let (n, k) = (n + EPS, k + EPS);
    n * n.ln() - k * k.ln() - (n - k) * (n - k + EPS).ln()
}
