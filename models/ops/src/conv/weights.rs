//! Weights in the order in which tiles read them.

use rayon::prelude::*;

use super::{
    super::{
        Isa, Precision,
        bf16::{self, Parts},
        buffer::Aligned,
        simd::tile_rows,
    },
    ConvShape, Convolution,
    tile::{PANEL, wide_rows},
};

/// What is multiplied with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Products {
    F32,
    /// Two bf16 in the place of an f32, by vectors.
    Pairs,
    /// The same by AMX, 16 pairs of 16 pixels at once; of each number one part or two.
    Tiles(Parts),
}

impl Products {
    pub fn of(precision: Precision, isa: Isa) -> Products {
        match Parts::multiplied(precision, isa) {
            None => Products::F32,
            Some(parts) if isa == Isa::Amx => Products::Tiles(parts),
            Some(_) => Products::Pairs,
        }
    }

    /// Numbers of bf16 or f32 in a word of a gathered pixel.
    pub fn per_word(self) -> usize {
        if self == Products::F32 { 1 } else { 2 }
    }

    /// Words that stand for each of a pixel.
    pub fn parts(self) -> usize {
        if let Products::Tiles(parts) = self { parts.n() } else { 1 }
    }
}

/// Words of a row of an AMX tile.
pub(super) const WORDS: usize = 16;

/// Numbers of a row of taps that are folded into pixels.
const FOLDED: usize = 64;

/// Longest depth of a chunk.
const LONGEST: usize = 512;

/// Words behind a part of a gathered pixel, over which its last vector may be written.
const SLACK: usize = 16;

/// Panels of outputs; outputs beyond the last are zero.
pub(super) struct Weights {
    /// `[panel][chunk][tap][depth of the chunk][outputs of the panel]`; for products of bf16 each
    /// number is the bits of two, the one that comes first in the lower half. Where they have two
    /// parts, 16 rows of the first are followed by the same rows of the second.
    pub values: Aligned<f32>,
    /// As many as panels are wide.
    pub bias: Aligned<f32>,
    /// As many, or none.
    pub slopes: Option<Aligned<f32>>,
    pub depth: Depth,
    pub panels: Panels,
}

/// What lies together of a gathered pixel, and in what chunks tiles take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub products: Products,
    /// Taps of a row that lie side by side within each pixel: 1, or all of them where there are so
    /// few channels that a tap would not be worth a loop.
    pub folded: usize,
    /// Words of a pixel: its numbers, or half as many of bf16 pairs; a multiple of 16 for AMX.
    pub n: usize,
    /// Words of a chunk; the last may be shorter.
    pub chunk: usize,
    /// Words from pixel to pixel of gathered chunks: a cache line more than a chunk, since pixels at
    /// powers of two apart would fall on the same few places of the cache.
    pub stride: usize,
}

impl Depth {
    pub fn new(shape: &ConvShape, products: Products) -> Depth {
        let folded = if shape.n_in * shape.kernel <= FOLDED { shape.kernel } else { 1 };
        let n = (shape.n_in * folded).div_ceil(products.per_word());
        let chunk = n.div_ceil(n.div_ceil(LONGEST));
        if let Products::Tiles(parts) = products {
            let (n, chunk) = (n.next_multiple_of(WORDS), chunk.next_multiple_of(WORDS));
            return Depth { products, folded, n, chunk, stride: parts.n() * (chunk + SLACK) };
        }
        Depth { products, folded, n, chunk, stride: chunk.next_multiple_of(WORDS) + SLACK }
    }

    /// Words from the first part of a gathered pixel to the second.
    pub fn part_stride(&self) -> usize {
        self.chunk + SLACK
    }

    /// First number and length of each chunk.
    pub fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let Depth { n, chunk, .. } = *self;
        (0..n).step_by(chunk).map(move |first| (first, chunk.min(n - first)))
    }

    pub fn n_chunks(&self) -> usize {
        self.n.div_ceil(self.chunk)
    }

    /// Rows of a panel of weights.
    pub fn n_rows(&self, kernel: usize) -> usize {
        self.n_taps(kernel) * self.n * self.products.parts()
    }

    /// Taps that are not folded into pixels.
    pub fn n_taps(&self, kernel: usize) -> usize {
        kernel * kernel / self.folded
    }

    /// Tap, word and part of each row of a panel of weights.
    fn rows(&self, kernel: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let (n_taps, parts) = (self.n_taps(kernel), self.products.parts());
        let step = if parts == 1 { self.chunk } else { WORDS };
        self.chunks().flat_map(move |(first, len)| (0..n_taps).map(move |tap| (tap, first, len))).flat_map(
            move |(tap, first, len)| {
                let steps = (first..first + len).step_by(step).map(move |word| word..(word + step).min(first + len));
                let parts = steps.flat_map(move |words| (0..parts).map(move |part| (words.clone(), part)));
                parts.flat_map(move |(words, part)| words.map(move |word| (tap, word, part)))
            },
        )
    }
}

impl Weights {
    pub fn new(layer: &Convolution, group: usize, products: Products, isa: Isa) -> Weights {
        let ConvShape { n_in, n_out, kernel, .. } = layer.shape;
        let depth = Depth::new(&layer.shape, products);
        let rows = depth.n_rows(kernel);
        let panels = Panels::new(n_out, group, rows, products, isa);
        let panel_len = rows * panels.width;
        let before_last = (panels.n - 1) * panel_len;
        let mut values = Aligned::zeroed(before_last + rows * panels.last_width);
        let fill = |panel: usize, width: usize, to: &mut [f32]| {
            // Of the output `o`, what is multiplied with number `k` of a pixel at the tap `tap`.
            let weight = |o: usize, tap: usize, k: usize| {
                let (tap, channel) = (tap * depth.folded + k / n_in, k % n_in);
                if k < n_in * depth.folded { layer.weight[(o * n_in + channel) * kernel * kernel + tap] } else { 0.0 }
            };
            let rows = to.chunks_exact_mut(width);
            for (row, (tap, word, part)) in rows.zip(depth.rows(kernel)) {
                for (o, to) in (panels.first(panel)..n_out).zip(row) {
                    *to = if products == Products::F32 {
                        weight(o, tap, word)
                    } else {
                        let [even, odd] = [2 * word, 2 * word + 1].map(|k| bf16::part(weight(o, tap, k), part));
                        f32::from_bits(u32::from(even) | u32::from(odd) << 16)
                    };
                }
            }
        };
        let (whole, last) = values.split_at_mut(before_last);
        whole.par_chunks_exact_mut(panel_len).enumerate().for_each(|(panel, to)| fill(panel, panels.width, to));
        fill(panels.n - 1, panels.last_width, last);
        let n_padded = panels.first(panels.n - 1) + panels.last_width;
        let slopes = layer.after.slopes(n_out);
        Weights {
            values,
            bias: Aligned::padded(layer.bias.unwrap_or_default(), n_padded),
            slopes: (!slopes.is_empty()).then(|| Aligned::padded(&slopes, n_padded)),
            depth,
            panels,
        }
    }
}

/// How outputs are shared out among panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panels {
    pub n: usize,
    /// Outputs of each but the last.
    pub width: usize,
    pub last_width: usize,
}

/// Rows of a panel that stay in the second cache even if they are twice as wide.
const SHORT: usize = 1024;

impl Panels {
    /// `rows` is how many rows panels have; every `group` outputs another one begins.
    ///
    /// Where registers are enough, panels twice as wide read inputs half as often; but they have fewer
    /// pixels at a time, so that they are read more often themselves. What is too much for whole panels
    /// has a narrower one, or makes the last one wider.
    fn new(n_out: usize, group: usize, rows: usize, products: Products, isa: Isa) -> Panels {
        const HALF: usize = PANEL / 2;
        const TWICE: usize = 2 * PANEL;
        let can_be_wide = !matches!(products, Products::Tiles(_)) && tile_rows(isa) > wide_rows(PANEL + HALF);
        let few = n_out <= FEW_PANELS * PANEL;
        if can_be_wide && !few && rows <= SHORT && group.is_multiple_of(TWICE) {
            let last_width = (n_out - 1) % TWICE + 1;
            return Panels { n: n_out.div_ceil(TWICE), width: TWICE, last_width: last_width.next_multiple_of(HALF) };
        }
        let (whole, rest) = (n_out / PANEL, n_out % PANEL);
        let (n, last_width) = match rest {
            0 if can_be_wide && few && whole > 1 => (whole - 1, TWICE),
            0 => (whole, PANEL),
            1..=HALF if can_be_wide && whole > 0 => (whole, PANEL + HALF),
            1..=HALF => (whole + 1, HALF),
            _ if can_be_wide && few && whole > 0 => (whole, TWICE),
            _ => (whole + 1, PANEL),
        };
        Panels { n, width: PANEL, last_width }
    }

    /// The first output of a panel.
    pub fn first(&self, panel: usize) -> usize {
        panel * self.width
    }

    /// Outputs that tiles of a panel compute.
    pub fn width(&self, panel: usize) -> usize {
        if panel + 1 == self.n { self.last_width } else { self.width }
    }
}

/// So many panels are few: inputs are read in place, and the last two panels are one.
pub(super) const FEW_PANELS: usize = 3;
