//! Which kind of scenes a picture shows: a transformer over the coarsest level.
//!
//! Reference: transformers 4.57.1, `ZoeDepthPatchTransformerEncoder`, `ZoeDepthMLPClassifier`.

use candle_core::{DType, Tensor};

use super::{Result, config::RouterConfig, neck::pointwise};
use crate::nets::{
    Vars, Watch,
    blocks::{Activation, Attention, Columns, LayerNorm, Linear, to_host},
    checkpoint::on_device,
    features,
};

const EPS: f32 = 1e-5;

pub struct Router {
    d: usize,
    embed: Linear,
    attention: Attention,
    layers: Vec<Layer>,
    classifier: [Linear; 2],
}

struct Layer {
    qkv: Linear,
    mixed: Linear,
    norms: [LayerNorm; 2],
    hidden: Linear,
    out: Linear,
}

impl Router {
    pub fn new(config: &RouterConfig, n_in: usize, n_domains: usize, vars: &Vars) -> Result<Router> {
        let RouterConfig { d, depth, heads, hidden } = *config;
        let transformer = vars.pp("patch_transformer");
        let classifier = vars.pp("mlp_classifier");
        let layer = |i: usize| -> Result<Layer> {
            let vars = transformer.pp("transformer_encoder").pp(i);
            let attention = vars.pp("self_attn");
            Ok(Layer {
                qkv: Linear::stacked(d, d, true, &["query", "key", "value"].map(|name| attention.pp(name)))?,
                mixed: Linear::new(d, d, &attention.pp("out_proj"))?,
                norms: [LayerNorm::new(d, EPS, &vars.pp("norm1"))?, LayerNorm::new(d, EPS, &vars.pp("norm2"))?],
                hidden: Linear::new(d, hidden, &vars.pp("linear1"))?,
                out: Linear::new(hidden, d, &vars.pp("linear2"))?,
            })
        };
        Ok(Router {
            d,
            embed: pointwise(Activation::None, n_in, d, &transformer.pp("embedding_convPxP"))?,
            attention: Attention::new(heads, vars.compute),
            layers: (0..depth).map(layer).collect::<Result<_>>()?,
            classifier: [
                Linear::new(d, d, &classifier.pp("linear1"))?,
                Linear::new(d, n_domains, &classifier.pp("linear2"))?,
            ],
        })
    }

    /// Index of the kind that pixels [n, c] look most like.
    pub fn choose(&self, pixels: &Tensor, watch: &Watch) -> Result<usize> {
        let embedded = self.embed.forward(pixels)?.to_dtype(DType::F32)?;
        let device = embedded.device();
        let class = Tensor::zeros((1, self.d), DType::F32, device)?;
        let x = Tensor::cat(&[&class, &embedded], 0)?; // [1 + n, d]
        let n = x.dim(0)?;
        let mut x = features::add(&x, &on_device(&waves(n, self.d), &[n, self.d], device)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.attention)?;
        }
        watch.tap("patch_transformer", &x);
        let hidden = self.classifier[0].forward(&x.narrow(0, 0, 1)?.contiguous()?)?.to_dtype(DType::F32)?;
        let logits = self.classifier[1].forward(&features::relu(&hidden)?)?;
        watch.tap("domain_logits", &logits.flatten_all()?);
        let logits = to_host(&logits)?;
        Ok((0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }))
    }
}

impl Layer {
    /// [n, d] to [n, d]
    fn forward(&self, x: &Tensor, attention: &Attention) -> Result<Tensor> {
        let in_f32 = |x: Tensor| x.to_dtype(DType::F32);
        let qkv = self.qkv.forward(x)?;
        let [q, k, v] = [0, 1, 2].map(|block| Columns { tensor: &qkv, block, of: 3 });
        let x = self.mixed.forward_add(&attention.forward(q, k, v)?, x)?;
        let x = in_f32(self.norms[0].forward(&x)?)?;
        let hidden = features::relu(&in_f32(self.hidden.forward(&x)?)?)?;
        let x = self.out.forward_add(&hidden, &x)?;
        Ok(in_f32(self.norms[1].forward(&x)?)?)
    }
}

/// Sines, then cosines, of positions 0..n at d / 2 frequencies, [n, d] (Vaswani et al., 2017).
fn waves(n: usize, d: usize) -> Vec<f32> {
    let frequency = |i: usize| ((2 * i) as f32 * (-(10_000f32).ln() / d as f32)).exp();
    let angle = |at: usize, i: usize| at as f32 * frequency(i);
    let row = |at: usize| {
        let sines = (0..d / 2).map(move |i| angle(at, i).sin());
        sines.chain((0..d / 2).map(move |i| angle(at, i).cos()))
    };
    (0..n).flat_map(row).collect()
}
