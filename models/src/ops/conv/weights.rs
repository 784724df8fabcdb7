//! Weights in the order in which tiles read them.

use super::{
    super::{bf16, buffer::Aligned},
    ConvShape, Convolution,
    tile::{PANEL, STRIDES},
};

/// Panels of 32 outputs, the last one of 16 where that is enough; outputs beyond the last are zero.
pub(super) struct Weights {
    /// `[panel][chunk][ky][kx][depth of the chunk][outputs of the panel]`; for products of pairs each
    /// number is the bits of two bf16, of an even channel in the lower half.
    pub values: Aligned<f32>,
    /// 32 for every panel.
    pub bias: Aligned<f32>,
    /// As many, or none.
    pub slopes: Option<Aligned<f32>>,
    pub depth: Depth,
}

/// How the channels of a pixel are cut in chunks that tiles take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    /// Two channels of bf16 are one number.
    pub pairs: bool,
    /// Numbers of a pixel.
    pub n: usize,
    /// Numbers of a chunk; the last may be shorter.
    pub chunk: usize,
    /// From pixel to pixel of gathered chunks, one of `STRIDES`.
    pub stride: usize,
}

impl Depth {
    pub fn new(n_in: usize, pairs: bool) -> Depth {
        let n = if pairs { n_in.div_ceil(2) } else { n_in };
        let longest = STRIDES[STRIDES.len() - 1].0;
        let chunk = n.div_ceil(n.div_ceil(longest));
        let (_, stride) = STRIDES.into_iter().find(|(depth, _)| chunk <= *depth).unwrap_or(STRIDES[STRIDES.len() - 1]);
        Depth { pairs, n, chunk, stride }
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
        let depth = Depth::new(n_in, pairs);
        let n_taps = kernel * kernel;
        let n_panels = n_out.div_ceil(PANEL);
        let panel_len = n_taps * depth.n * PANEL;
        let last_len = n_taps * depth.n * width(n_out, n_panels - 1);
        let values = Aligned::build((n_panels - 1) * panel_len + last_len, panel_len, |panel, to| {
            let columns = width(n_out, panel);
            let mut rows = to.chunks_exact_mut(columns);
            for (first, len) in depth.chunks() {
                for tap in 0..n_taps {
                    for k in first..first + len {
                        let Some(row) = rows.next() else { return };
                        for (c, to) in row.iter_mut().enumerate().take(n_out - panel * PANEL) {
                            let at = |channel: usize| {
                                let exists = channel < n_in;
                                let at = ((panel * PANEL + c) * n_in + channel) * n_taps + tap;
                                if exists { layer.weight[at] } else { 0.0 }
                            };
                            *to = if pairs { pair(at(2 * k), at(2 * k + 1)) } else { at(k) };
                        }
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
