//! What a user points at, as tokens and as a picture of features.
//!
//! Positions are random Fourier features (Tancik et al., 2020).
//! Reference: facebookresearch/segment-anything, `modeling/prompt_encoder.py` @ dca509f.
//! Checkpoint keys under `prompt_encoder.`.

use candle_core::Tensor;

use super::neck::{EPS_2D, normed};
use crate::{
    error::StageError,
    nets::{
        Vars,
        blocks::LayerNorm,
        checkpoint::on_device,
        conv::{After, Conv2d, ConvShape},
        features,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

/// A place on the picture in pixels, from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
    /// On the object, or else on what is not to be part of it.
    pub is_object: bool,
}

/// A rectangle around the object, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

#[derive(Debug, Clone, Default)]
pub struct Prompt {
    pub points: Vec<Point>,
    pub frame: Option<Frame>,
    /// Logits of an earlier answer, [mask side, mask side], row by row.
    pub mask: Option<Vec<f32>>,
}

pub struct PromptEncoder {
    d: usize,
    /// Side of the square that the encoder sees, in pixels.
    side: usize,
    grid: usize,
    /// [2, d / 2]
    frequencies: Vec<f32>,
    /// Of points beside the object, points on it, and two corners of a frame.
    kinds: [Vec<f32>; 4],
    no_point: Vec<f32>,
    /// [1, d]
    no_mask: Tensor,
    shrink: [Conv2d; 2],
    norms: [LayerNorm; 2],
    widen: Conv2d,
}

impl PromptEncoder {
    pub fn new(d: usize, side: usize, grid: usize, vars: &Vars) -> Result<PromptEncoder> {
        let token = |name: &str| -> Result<Vec<f32>> { Ok(vars.pp(name).values("weight", &[1, d])?.to_vec()) };
        let masks = vars.pp("mask_downscaling");
        let conv = |shape: ConvShape, i: usize| Conv2d::new(shape, After::None, &masks.pp(i));
        let half = |n_in, n_out| ConvShape::new(n_in, n_out, 2).stride(2).padding(0);
        Ok(PromptEncoder {
            d,
            side,
            grid,
            frequencies: vars.values("pe_layer.positional_encoding_gaussian_matrix", &[2, d / 2])?.to_vec(),
            kinds: [
                token("point_embeddings.0")?,
                token("point_embeddings.1")?,
                token("point_embeddings.2")?,
                token("point_embeddings.3")?,
            ],
            no_point: token("not_a_point_embed")?,
            no_mask: vars.pp("no_mask_embed").tensor("weight", &[1, d])?,
            shrink: [conv(half(1, MASK_CHANNELS[0]), 0)?, conv(half(MASK_CHANNELS[0], MASK_CHANNELS[1]), 3)?],
            norms: [
                LayerNorm::new(MASK_CHANNELS[0], EPS_2D, &masks.pp(1))?,
                LayerNorm::new(MASK_CHANNELS[1], EPS_2D, &masks.pp(4))?,
            ],
            widen: conv(ConvShape::new(MASK_CHANNELS[1], d, 1), 6)?,
        })
    }

    /// Tokens of points and corners, [n, d]; their places are in pixels of the square.
    pub fn tokens(&self, points: &[Point], frame: Option<&Frame>) -> Result<Tensor> {
        let mut tokens = Vec::new();
        let mut push = |x: f32, y: f32, kind: &[f32]| {
            let side = self.side as f32;
            tokens.extend(self.place((x + 0.5) / side, (y + 0.5) / side).iter().zip(kind).map(|(p, k)| p + k));
        };
        for point in points {
            push(point.x, point.y, &self.kinds[usize::from(point.is_object)]);
        }
        if let Some(frame) = frame {
            push(frame.left, frame.top, &self.kinds[2]);
            push(frame.right, frame.bottom, &self.kinds[3]);
        } else if !points.is_empty() {
            tokens.extend(&self.no_point);
        }
        on_device(&tokens, &[tokens.len() / self.d, self.d], self.no_mask.device())
    }

    /// Features of a mask, [n, d], or of none, [1, d].
    pub fn picture(&self, mask: Option<&[f32]>) -> Result<Tensor> {
        let Some(mask) = mask else { return Ok(self.no_mask.clone()) };
        let side = 4 * self.grid;
        if mask.len() != side * side {
            return Err(StageError::internal(format!("a mask of {} numbers, not {side} x {side}", mask.len())));
        }
        let mut x = on_device(mask, &[side, side, 1], self.no_mask.device())?;
        for (shrink, norm) in self.shrink.iter().zip(&self.norms) {
            x = features::gelu(&normed(norm, &shrink.forward(&x)?)?)?;
        }
        Ok(self.widen.forward(&x)?.flatten_to(1)?)
    }

    /// Positions of the embedding's tokens, [n, d].
    pub fn positions(&self) -> Result<Tensor> {
        let at = |i: usize| (i as f32 + 0.5) / self.grid as f32;
        let places = (0..self.grid * self.grid).flat_map(|i| self.place(at(i % self.grid), at(i / self.grid)));
        let places: Vec<f32> = places.collect();
        on_device(&places, &[self.grid * self.grid, self.d], self.no_mask.device())
    }

    /// Features of a place given in shares of the side.
    fn place(&self, x: f32, y: f32) -> Vec<f32> {
        let (x, y) = (2.0 * x - 1.0, 2.0 * y - 1.0);
        let (of_x, of_y) = self.frequencies.split_at(self.d / 2);
        let turns: Vec<f32> = of_x.iter().zip(of_y).map(|(fx, fy)| std::f32::consts::TAU * (x * fx + y * fy)).collect();
        turns.iter().map(|turn| turn.sin()).chain(turns.iter().map(|turn| turn.cos())).collect()
    }
}

/// Of the two smaller pictures of a mask.
const MASK_CHANNELS: [usize; 2] = [4, 16];
