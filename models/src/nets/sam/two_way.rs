//! Tokens of a prompt and of a picture that look at each other.
//!
//! Reference: facebookresearch/segment-anything, `modeling/transformer.py` @ dca509f.
//! Checkpoint keys under `mask_decoder.transformer.`.

use candle_core::Tensor;

use super::config::DecoderConfig;
use crate::{
    error::StageError,
    nets::{
        Vars,
        blocks::{self, Columns, LayerNorm, Linear},
        features,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

const EPS: f32 = 1e-5;
const DEPTH: usize = 2;
/// By how much attention between the two is narrower than the tokens.
const NARROWING: usize = 2;

pub struct TwoWay {
    layers: Vec<Layer>,
    last: Attention,
    norm: LayerNorm,
}

struct Layer {
    /// Of the first layer, whose tokens have no places added and are replaced.
    is_first: bool,
    own: Attention,
    norms: [LayerNorm; 4],
    to_image: Attention,
    hidden: Linear,
    out: Linear,
    to_tokens: Attention,
}

struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    heads: blocks::Attention,
    out: Linear,
}

impl TwoWay {
    pub fn new(config: &DecoderConfig, vars: &Vars) -> Result<TwoWay> {
        Ok(TwoWay {
            layers: (0..DEPTH).map(|i| Layer::new(config, i == 0, &vars.pp("layers").pp(i))).collect::<Result<_>>()?,
            last: Attention::new(config, NARROWING, &vars.pp("final_attn_token_to_image"))?,
            norm: LayerNorm::new(config.d, EPS, &vars.pp("norm_final_attn"))?,
        })
    }

    /// Image [n, d], its positions [n, d] and tokens [t, d] to tokens and image.
    pub fn forward(&self, image: &Tensor, positions: &Tensor, tokens: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut queries, mut keys) = (tokens.clone(), image.clone());
        for layer in &self.layers {
            (queries, keys) = layer.forward(&queries, &keys, tokens, positions)?;
        }
        let (q, k) = (features::add(&queries, tokens)?, features::add(&keys, positions)?);
        let queries = self.norm.forward(&self.last.forward_add(&q, &k, &keys, &queries)?)?;
        Ok((queries, keys))
    }
}

impl Layer {
    fn new(config: &DecoderConfig, is_first: bool, vars: &Vars) -> Result<Layer> {
        let DecoderConfig { d, hidden, .. } = *config;
        let norm = |name: &str| LayerNorm::new(d, EPS, &vars.pp(name));
        let attention = |narrowing: usize, name: &str| Attention::new(config, narrowing, &vars.pp(name));
        Ok(Layer {
            is_first,
            own: attention(1, "self_attn")?,
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?, norm("norm4")?],
            to_image: attention(NARROWING, "cross_attn_token_to_image")?,
            hidden: Linear::new(d, hidden, &vars.pp("mlp.lin1"))?,
            out: Linear::new(hidden, d, &vars.pp("mlp.lin2"))?,
            to_tokens: attention(NARROWING, "cross_attn_image_to_token")?,
        })
    }

    fn forward(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        places: &Tensor,
        positions: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let [norm_own, norm_image, norm_hidden, norm_tokens] = &self.norms;
        let queries = if self.is_first {
            self.own.forward(queries, queries, queries)?
        } else {
            let q = features::add(queries, places)?;
            self.own.forward_add(&q, &q, queries, queries)?
        };
        let queries = norm_own.forward(&queries)?;

        let placed_keys = features::add(keys, positions)?;
        let q = features::add(&queries, places)?;
        let queries = norm_image.forward(&self.to_image.forward_add(&q, &placed_keys, keys, &queries)?)?;
        let hidden = self.hidden.forward(&queries)?.relu()?;
        let queries = norm_hidden.forward(&self.out.forward_add(&hidden, &queries)?)?;

        let q = features::add(&queries, places)?;
        let keys = norm_tokens.forward(&self.to_tokens.forward_add(&placed_keys, &q, &queries, keys)?)?;
        Ok((queries, keys))
    }
}

impl Attention {
    fn new(config: &DecoderConfig, narrowing: usize, vars: &Vars) -> Result<Attention> {
        let (d, narrow) = (config.d, config.d / narrowing);
        let into = |name: &str| Linear::new(d, narrow, &vars.pp(name));
        Ok(Attention {
            q: into("q_proj")?,
            k: into("k_proj")?,
            v: into("v_proj")?,
            heads: blocks::Attention::new(config.heads, vars.compute),
            out: Linear::new(narrow, d, &vars.pp("out_proj"))?,
        })
    }

    fn seen(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (q, k, v) = (self.q.forward(q)?, self.k.forward(k)?, self.v.forward(v)?);
        self.heads.forward(Columns::all(&q), Columns::all(&k), Columns::all(&v))
    }

    /// q [n, d], k and v [m, d] to [n, d]
    fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.out.forward(&self.seen(q, k, v)?)
    }

    /// The same, added to `residual` [n, d].
    fn forward_add(&self, q: &Tensor, k: &Tensor, v: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.forward_add(&self.seen(q, k, v)?, residual)
    }
}
