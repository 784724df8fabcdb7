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

/// An image as a layer's two attentions between image and tokens want it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// [n, d]
    keys: Tensor,
    /// Keys and values of tokens that look at the image, queries of the image that looks at tokens,
    /// each [n, d / 2].
    k: Tensor,
    v: Tensor,
    q: Tensor,
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

    /// What no prompt changes: image [n, d] and its positions [n, d], as the first layer sees them.
    pub fn look(&self, image: &Tensor, positions: &Tensor) -> Result<Seen> {
        self.layers[0].look(image, positions)
    }

    /// An image that was looked at, its positions [n, d] and tokens [t, d] to tokens and image.
    pub fn forward(&self, seen: &Seen, positions: &Tensor, tokens: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut queries, mut keys) = self.layers[0].forward(tokens, seen, tokens)?;
        for layer in &self.layers[1..] {
            (queries, keys) = layer.forward(&queries, &layer.look(&keys, positions)?, tokens)?;
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

    fn look(&self, keys: &Tensor, positions: &Tensor) -> Result<Seen> {
        let placed = features::add(keys, positions)?;
        Ok(Seen {
            k: self.to_image.k.forward(&placed)?,
            v: self.to_image.v.forward(keys)?,
            q: self.to_tokens.q.forward(&placed)?,
            keys: keys.clone(),
        })
    }

    fn forward(&self, queries: &Tensor, seen: &Seen, places: &Tensor) -> Result<(Tensor, Tensor)> {
        let [norm_own, norm_image, norm_hidden, norm_tokens] = &self.norms;
        let queries = if self.is_first {
            self.own.forward(queries, queries, queries)?
        } else {
            let q = features::add(queries, places)?;
            self.own.forward_add(&q, &q, queries, queries)?
        };
        let queries = norm_own.forward(&queries)?;

        let q = self.to_image.q.forward(&features::add(&queries, places)?)?;
        let queries = norm_image.forward(&self.to_image.mixed(&q, &seen.k, &seen.v, &queries)?)?;
        let hidden = self.hidden.forward(&queries)?.relu()?;
        let queries = norm_hidden.forward(&self.out.forward_add(&hidden, &queries)?)?;

        let (k, v) =
            (self.to_tokens.k.forward(&features::add(&queries, places)?)?, self.to_tokens.v.forward(&queries)?);
        let keys = norm_tokens.forward(&self.to_tokens.mixed(&seen.q, &k, &v, &seen.keys)?)?;
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

    /// What comes of queries, keys and values, added to `residual` [n, d].
    fn mixed(&self, q: &Tensor, k: &Tensor, v: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let seen = self.heads.forward(Columns::all(q), Columns::all(k), Columns::all(v))?;
        self.out.forward_add(&seen, residual)
    }

    /// The same as `forward`, added to `residual` [n, d].
    fn forward_add(&self, q: &Tensor, k: &Tensor, v: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.forward_add(&self.seen(q, k, v)?, residual)
    }
}
