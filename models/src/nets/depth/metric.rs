//! ZoeDepth's head: metres as the mean of bins of depth, weighted for each pixel.
//!
//! Reference: transformers 4.57.1, `ZoeDepthMetricDepthEstimationHead` and
//! `ZoeDepthMultipleMetricDepthEstimationHeads`. What they resize, they resize with corners aligned.
//! With two kinds of scenes there are always 16 attractors a level, hidden layers are narrower, and
//! the bins' weights do not see the relative depth; that is how those weights were trained.

use candle_core::{DType, Tensor};

use super::{
    Result,
    attractor::{Attractor, Seeds},
    binomial::Binomial,
    config::{Centers, Domain, MetricConfig},
    head::Out,
    neck::{Fused, pointwise},
    router::Router,
};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{Activation, Linear},
        features,
    },
};

/// Attractors of each level where there are several kinds of scenes.
const ATTRACTORS: usize = 16;

pub struct MetricHead {
    bottleneck: Linear,
    router: Option<Router>,
    seed_projector: Perceptron,
    projectors: Vec<Perceptron>,
    domains: Vec<DomainHead>,
    sees_relative: bool,
}

/// What there is for each kind of scenes.
struct DomainHead {
    seeds: Seeds,
    attractors: Vec<Attractor>,
    binomial: Binomial,
}

impl MetricHead {
    /// `fused` is the number of channels of the levels.
    pub fn new(config: &MetricConfig, fused: usize, vars: &Vars) -> Result<MetricHead> {
        let MetricConfig { bottleneck, embedding, .. } = *config;
        let is_one = config.domains.len() == 1;
        let hidden = if is_one { 128 } else { embedding / 2 };
        let projector = |n_in, vars: &Vars| Perceptron::new([n_in, hidden, embedding], vars);
        Ok(MetricHead {
            bottleneck: pointwise(Activation::None, bottleneck, bottleneck, &vars.pp("conv2"))?,
            router: config
                .router
                .as_ref()
                .map(|sizes| Router::new(sizes, bottleneck, config.domains.len(), vars))
                .transpose()?,
            seed_projector: projector(bottleneck, &vars.pp("seed_projector"))?,
            projectors: (0..config.attractors.len())
                .map(|i| projector(fused, &vars.pp("projectors").pp(i)))
                .collect::<Result<_>>()?,
            domains: config
                .domains
                .iter()
                .map(|domain| DomainHead::new(config, domain, is_one, vars))
                .collect::<Result<_>>()?,
            sees_relative: is_one,
        })
    }

    /// Metres [h, w] at the size of the relative depth.
    pub fn forward(&self, relative: &Out, fused: &Fused, watch: &Watch) -> Result<Tensor> {
        let (rows, columns, _) = fused.coarsest.dims3()?;
        let x = pixels(&fused.coarsest)?;
        let x = self.bottleneck.forward(&x)?.to_dtype(DType::F32)?; // [rows * columns, c]
        let domain = match &self.router {
            None => 0,
            Some(router) => router.choose(&x, watch)?,
        };
        let Some(DomainHead { seeds, attractors, binomial }) = self.domains.get(domain) else {
            return Err(StageError::internal(format!("there is no kind {domain} of scenes")));
        };
        let mut bins = seeds.forward(&x, (rows, columns), watch)?;
        let mut embedding = self.seed_projector.forward(&x)?;
        embedding = embedding.reshape((rows, columns, embedding.dim(1)?))?;
        for (i, level) in fused.levels.iter().enumerate() {
            let (Some(projector), Some(attractor)) = (self.projectors.get(i), attractors.get(i)) else {
                return Err(StageError::internal(format!("level {i} has no attractors")));
            };
            let (h, w, _) = level.dims3()?;
            let own = projector.forward(&pixels(level)?)?;
            let own = own.reshape((h, w, own.dim(1)?))?;
            let before = features::resize_bilinear(&embedding, h, w, true)?;
            bins = attractor.forward(&features::add(&own, &before)?, &bins)?;
            watch.tap(&format!("attractor{i}"), &bins.metres);
            embedding = own;
        }
        let (h, w) = relative.depth.dims2()?;
        let embedding = features::resize_bilinear(&embedding, h, w, true)?;
        let centers = features::resize_bilinear(&bins.metres, h, w, true)?;
        let depth = relative.depth.unsqueeze(2)?;
        let seen = if self.sees_relative {
            Tensor::cat(&[&relative.features, &depth, &embedding], 2)?
        } else {
            Tensor::cat(&[&relative.features, &embedding], 2)?
        };
        binomial.forward(&seen, &centers, watch)
    }
}

impl DomainHead {
    fn new(config: &MetricConfig, domain: &Domain, is_one: bool, vars: &Vars) -> Result<DomainHead> {
        let MetricConfig { relative, bottleneck, embedding, temperature, centers, .. } = *config;
        let of = |one: &str, many: &str| if is_one { vars.pp(one) } else { vars.pp(many).pp(&domain.name) };
        let hidden = if is_one { 256 } else { embedding / 2 };
        let range = (centers == Centers::Normed).then_some([domain.min, domain.max]);
        let regressor = of("seed_bin_regressor", "seed_bin_regressors");
        let attractors = of("attractors", "attractors");
        let seen = relative + usize::from(is_one) + embedding;
        let narrow = seen / if is_one { 2 } else { 4 };
        Ok(DomainHead {
            seeds: Seeds::new(Perceptron::new([bottleneck, hidden, domain.n_bins], &regressor)?, range),
            attractors: config
                .attractors
                .iter()
                .enumerate()
                .map(|(i, &n)| {
                    let n = if is_one { n } else { ATTRACTORS };
                    Attractor::new(embedding, n, range, &attractors.pp(i))
                })
                .collect::<Result<_>>()?,
            binomial: Binomial::new(
                [seen, narrow],
                domain.n_bins,
                temperature,
                &of("conditional_log_binomial", "conditional_log_binomial").pp("mlp"),
            )?,
        })
    }
}

/// Two layers over pixels with what is above zero between them.
pub struct Perceptron(Linear, Linear);

impl Perceptron {
    /// `conv1` and `conv2` of 1x1.
    pub fn new([n_in, hidden, n_out]: [usize; 3], vars: &Vars) -> Result<Perceptron> {
        let first = pointwise(Activation::None, n_in, hidden, &vars.pp("conv1"))?;
        Ok(Perceptron(first, pointwise(Activation::None, hidden, n_out, &vars.pp("conv2"))?))
    }

    /// [n, n_in] to [n, n_out]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = features::relu(&self.0.forward(x)?.to_dtype(DType::F32)?)?;
        Ok(self.1.forward(&hidden)?.to_dtype(DType::F32)?)
    }
}

/// [h, w, c] to [h * w, c]
pub fn pixels(map: &Tensor) -> Result<Tensor> {
    let (h, w, c) = map.dims3()?;
    Ok(map.reshape((h * w, c))?)
}
