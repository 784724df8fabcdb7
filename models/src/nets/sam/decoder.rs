//! From an embedding and tokens of a prompt to masks, each with how good it thinks it is.
//!
//! Paper: Segment Anything, 2023, appendix A.
//! Reference: facebookresearch/segment-anything, `modeling/mask_decoder.py` @ dca509f.
//! Checkpoint keys under `mask_decoder.`.

use candle_core::Tensor;

use super::{
    config::DecoderConfig,
    neck::{EPS_2D, normed},
    prompt::Prompt,
    two_way::{Seen, TwoWay},
};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{LayerNorm, Linear, to_host, transposed},
        conv::{After, ConvTranspose2d, TransposedShape},
        features,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

/// One for prompts that leave no doubt, then three for a part, a larger part and the whole.
pub const N_MASKS: usize = 4;

pub struct Decoder {
    transformer: TwoWay,
    /// Of the quality, then of each mask: [1 + `N_MASKS`, d].
    tokens: Tensor,
    larger: ConvTranspose2d,
    norm: LayerNorm,
    largest: ConvTranspose2d,
    masks: Vec<Perceptron>,
    quality: Perceptron,
}

/// Masks of one prompt.
#[derive(Debug, Clone)]
pub struct Masks {
    /// Of each mask, row by row, [side, side]: positive on the object.
    pub logits: Vec<Vec<f32>>,
    /// Of each mask: the overlap with the true one, over their union, that the network expects.
    pub iou: Vec<f32>,
    /// In pixels.
    pub side: usize,
}

/// Which masks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The one for prompts that leave no doubt: frames, several points, earlier masks.
    One,
    /// Three, for a single point.
    Three,
}

impl Wanted {
    /// What suits a prompt: one point may mean a part or the whole.
    pub fn of(prompt: &Prompt) -> Wanted {
        let is_sure = prompt.frame.is_some() || prompt.mask.is_some() || prompt.points.len() > 1;
        if is_sure { Wanted::One } else { Wanted::Three }
    }
}

impl Masks {
    /// The one with the highest expected quality.
    pub fn best(&self) -> usize {
        (0..self.iou.len()).max_by(|a, b| self.iou[*a].total_cmp(&self.iou[*b])).unwrap_or(0)
    }
}

/// Three linear layers with ReLU between them.
struct Perceptron([Linear; 3]);

impl Decoder {
    pub fn new(config: &DecoderConfig, vars: &Vars) -> Result<Decoder> {
        let d = config.d;
        let tokens =
            [vars.pp("iou_token").tensor("weight", &[1, d])?, vars.pp("mask_tokens").tensor("weight", &[N_MASKS, d])?];
        let up = vars.pp("output_upscaling");
        let twice = |n_in, n_out| TransposedShape { n_in, n_out, kernel: 2, stride: 2, padding: 0 };
        let perceptron = |n_out: usize, vars: Vars| Perceptron::new(d, n_out, &vars.pp("layers"));
        Ok(Decoder {
            transformer: TwoWay::new(config, &vars.pp("transformer"))?,
            tokens: Tensor::cat(&tokens, 0)?,
            larger: ConvTranspose2d::new(twice(d, d / 4), After::None, &up.pp(0))?,
            norm: LayerNorm::new(d / 4, EPS_2D, &up.pp(1))?,
            largest: ConvTranspose2d::new(twice(d / 4, d / 8), After::Gelu, &up.pp(3))?,
            masks: (0..N_MASKS)
                .map(|i| perceptron(d / 8, vars.pp("output_hypernetworks_mlps").pp(i)))
                .collect::<Result<_>>()?,
            quality: perceptron(N_MASKS, vars.pp("iou_prediction_head"))?,
        })
    }

    /// An embedding [n, d] of a square grid with the features of the prompt's mask added, and the
    /// positions [n, d] of its tokens: once for all prompts that have no mask.
    pub fn look(&self, embedding: &Tensor, positions: &Tensor) -> Result<Seen> {
        self.transformer.look(embedding, positions)
    }

    /// Masks of four times the grid's side. `prompt` [points, d].
    pub fn forward(
        &self,
        seen: &Seen,
        positions: &Tensor,
        prompt: &Tensor,
        wanted: Wanted,
        watch: &Watch,
    ) -> Result<Masks> {
        let tokens = Tensor::cat(&[&self.tokens, prompt], 0)?;
        let (tokens, image) = self.transformer.forward(seen, positions, &tokens)?;
        watch.tap("tokens", &tokens);
        let (n, d) = image.dims2()?;
        let grid = image.reshape((n.isqrt(), n.isqrt(), d))?;
        let larger = features::gelu(&normed(&self.norm, &self.larger.forward(&grid)?)?)?;
        let pixels = self.largest.forward(&larger)?; // [4 grid, 4 grid, d / 8]
        let side = pixels.dim(0)?;

        let range = if wanted == Wanted::One { 0..1 } else { 1..N_MASKS };
        let filters = range.clone().map(|i| self.masks[i].forward(&tokens.narrow(0, 1 + i, 1)?));
        let filters = Tensor::cat(&filters.collect::<Result<Vec<_>>>()?, 0)?; // [masks, d / 8]
        let logits = pixels.flatten_to(1)?.matmul(&filters.t()?.contiguous()?)?; // [pixels, masks]
        let planes = transposed(&to_host(&logits)?, range.len());
        let iou = to_host(&self.quality.forward(&tokens.narrow(0, 0, 1)?)?)?;
        Ok(Masks {
            logits: planes.chunks_exact(side * side).map(<[f32]>::to_vec).collect(),
            iou: iou[range].to_vec(),
            side,
        })
    }
}

impl Perceptron {
    fn new(d: usize, n_out: usize, vars: &Vars) -> Result<Perceptron> {
        Ok(Perceptron([
            Linear::new(d, d, &vars.pp(0))?,
            Linear::new(d, d, &vars.pp(1))?,
            Linear::new(d, n_out, &vars.pp(2))?,
        ]))
    }

    /// [n, d] to [n, n_out]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, last] = &self.0;
        last.forward(&second.forward(&first.forward(x)?.relu()?)?.relu()?)
    }
}
