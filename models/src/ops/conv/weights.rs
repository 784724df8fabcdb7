//! Weights in the order in which tiles read them.

use super::{
    super::{bf16, buffer::Aligned},
    ConvShape, Convolution,
    tile::{PANEL, STRIDES},
};

/// Numbers of a row of taps that are folded into pixels.
const FOLDED: usize = 64;

/// Panels of 32 outputs, the last one of 16 where that is enough; outputs beyond the last are zero.
pub(super) struct Weights {
    /// `[panel][chunk][tap][depth of the chunk][outputs of the panel]`; for products of pairs each
    /// number is the bits of two bf16, the one that comes first in the lower half.
    pub values: Aligned<f32>,
    /// 32 for every panel.
    pub bias: Aligned<f32>,
    /// As many, or none.
    pub slopes: Option<Aligned<f32>>,
    pub depth: Depth,
}

/// What lies together of a gathered pixel, and in what chunks tiles take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    /// Two numbers of bf16 are one of these.
    pub pairs: bool,
    /// Taps of a row that lie side by side within each pixel: 1, or all of them where there are so
    /// few channels that a tap would not be worth a loop.
    pub folded: usize,
    /// Numbers of a pixel.
    pub n: usize,
    /// Numbers of a chunk; the last may be shorter.
    pub chunk: usize,
    /// From pixel to pixel of gathered chunks, one of `STRIDES`.
    pub stride: usize,
}

impl Depth {
    pub fn new(shape: &ConvShape, pairs: bool) -> Depth {
        let folded = if shape.n_in * shape.kernel <= FOLDED { shape.kernel } else { 1 };
        let n = (shape.n_in * folded).div_ceil(if pairs { 2 } else { 1 });
        let longest = STRIDES[STRIDES.len() - 1].0;
        let chunk = n.div_ceil(n.div_ceil(longest));
        let (_, stride) = STRIDES.into_iter().find(|(depth, _)| chunk <= *depth).unwrap_or(STRIDES[STRIDES.len() - 1]);
        Depth { pairs, folded, n, chunk, stride }
    }

    /// First number and length of each chunk.
    pub fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let Depth { n, chunk, .. } = *self;
        (0..n).step_by(chunk).map(move |first| (first, chunk.min(n - first)))
    }

    pub fn n_chunks(&self) -> usize {
        self.n.div_ceil(self.chunk)
    }
}

impl Weights {
    pub fn new(layer: &Convolution, pairs: bool) -> Weights {
        let ConvShape { n_in, n_out, kernel, .. } = layer.shape;
        let depth = Depth::new(&layer.shape, pairs);
        let n_panels = n_out.div_ceil(PANEL);
        let panel_len = kernel * kernel / depth.folded * depth.n * PANEL;
        let last_len = panel_len / PANEL * width(n_out, n_panels - 1);
        let values = Aligned::build((n_panels - 1) * panel_len + last_len, panel_len, |panel, to| {
            let columns = width(n_out, panel);
            // Of the output `o`, what is multiplied with place `k` of a pixel at the tap `tap`.
            let weight = |o: usize, tap: usize, k: usize| {
                let (tap, channel) = (tap * depth.folded + k / n_in, k % n_in);
                if k < n_in * depth.folded { layer.weight[(o * n_in + channel) * kernel * kernel + tap] } else { 0.0 }
            };
            let mut rows = to.chunks_exact_mut(columns);
            for (first, len) in depth.chunks() {
                for (tap, k) in
                    (0..kernel * kernel / depth.folded).flat_map(|t| (first..first + len).map(move |k| (t, k)))
                {
                    let Some(row) = rows.next() else { return };
                    for (c, to) in row.iter_mut().enumerate().take(n_out - panel * PANEL) {
                        let weight = |k: usize| weight(panel * PANEL + c, tap, k);
                        *to = if pairs { pair(weight(2 * k), weight(2 * k + 1)) } else { weight(k) };
                    }
                }
            }
        });
        let padded = |from: &[f32]| {
            let mut to = Aligned::zeroed(n_panels * PANEL);
            to[..from.len()].copy_from_slice(from);
            to
        };
        let slopes = layer.after.slopes(n_out);
        Weights {
            values,
            bias: padded(layer.bias.unwrap_or_default()),
            slopes: (!slopes.is_empty()).then(|| padded(&slopes)),
            depth,
        }
    }
}

/// Outputs that tiles of a panel compute.
pub(super) fn width(n_out: usize, panel: usize) -> usize {
    if n_out - panel * PANEL <= PANEL / 2 { PANEL / 2 } else { PANEL }
}

/// Both as bf16 in the bits of one number.
fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(u32::from(bf16::from_f32(even)) | u32::from(bf16::from_f32(odd)) << 16)
}
