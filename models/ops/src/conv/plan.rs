//! How a picture is cut, and who gathers what.

use super::{
    super::simd::LANES,
    Part,
    dense::Dense,
    gather::{Gathered, Inputs},
    tile::PANEL,
    weights::{Depth, FEW_PANELS, Products},
};

/// Words that a block gathers, about: 384 KiB stay in the second cache beside a panel.
const GATHERED: usize = 96 << 10;

/// How the work on a picture is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Every thread gathers blocks of so many outputs and computes all panels of them.
    Blocks { rows: usize, columns: usize },
    /// The picture is gathered once; threads then take a panel of so many rows at a time. `rows_first`:
    /// all panels of the same rows follow each other, otherwise all rows of the same panel.
    Whole { rows: usize, rows_first: bool },
    /// Tiles read the inputs where they are; threads take one of so many blocks, down and across.
    InPlace { down: usize, across: usize },
}

/// Most words of a pixel of an input that is read in place: pixels further apart share too few places of
/// the first cache.
const LARGEST_PIXEL: usize = 512;

impl Dense {
    pub fn plan(&self, inputs: &Inputs) -> Plan {
        let depth = &self.weights.depth;
        let (out_h, out_w) = (self.shape.size(inputs.h), self.shape.size(inputs.w));
        let n_threads = rayon::current_num_threads();
        let wanted = if n_threads == 1 { 1 } else { 4 * n_threads };
        let picture = Gathered::new(&self.shape, depth, out_h, out_w).len(depth);
        // Of few panels gathering takes long beside computing; layers of one tap gather each pixel once anyhow.
        let few = self.shape.n_out <= FEW_PANELS * PANEL;
        if self.shape.kernel > 1 && !few && picture <= wanted.clamp(2, 32) * GATHERED {
            let n_parts = wanted.div_ceil(self.n_panels());
            let rows_first = picture > self.weights.values.len();
            let n_parts = if rows_first { n_parts.max(picture.div_ceil(GATHERED)) } else { n_parts };
            return Plan::Whole { rows: out_h.div_ceil(n_parts.min(out_h)), rows_first };
        }
        if self.reads_in_place(inputs) {
            // What a block reads stays in the second cache, and no thread waits for the last block.
            let wanted =
                (depth.n / depth.folded * inputs.h * inputs.w / GATHERED).max(wanted).next_multiple_of(n_threads);
            let down = wanted.min(out_h);
            return Plan::InPlace { down, across: (wanted / down).min(out_w) };
        }
        let tile = self.lengths(self.weights.panels.width(0), depth.stride).longest;
        let tile = tile * (14 / tile).max(1);
        let widths = (4..=12).chain([24, 48]).map(|n| (n * tile).min(out_w));
        let options = widths.flat_map(|columns| {
            let rows = [(GATHERED, wanted), (GATHERED, 1), (2 * GATHERED, 1)];
            let across = out_w.div_ceil(columns);
            rows.map(|(most, wanted)| (self.rows(columns, out_h, most, wanted.div_ceil(across)), columns))
        });
        let costs = options.map(|(rows, columns)| {
            let n_blocks = out_h.div_ceil(rows) * out_w.div_ceil(columns);
            // All threads wait for the one that gets the last block.
            let rounds = n_blocks.div_ceil(n_threads) * n_threads;
            (self.cost(rows, columns, out_h, out_w) / n_blocks * rounds, rows, columns)
        });
        let (_, rows, columns) = costs.min().expect("several widths");
        Plan::Blocks { rows, columns }
    }

    /// Inputs as they are multiplied, few panels or a single tap, and a picture of which most is far
    /// enough from the borders.
    fn reads_in_place(&self, inputs: &Inputs) -> bool {
        let Depth { products, folded, .. } = self.weights.depth;
        let (rows, columns) = (self.shape.inner(inputs.h).len(), self.shape.inner(inputs.w).len());
        let has_edges = columns < self.shape.size(inputs.w);
        let tile = self.lengths(PANEL, 0).longest;
        let in_reach =
            |part: &Part| part.values.words(products, part.channels).is_some_and(|(_, n)| n <= LARGEST_PIXEL);
        inputs.parts.iter().all(in_reach)
            && (folded == 1 || inputs.parts.len() == 1 && self.shape.dilation == 1)
            && (self.shape.kernel == 1 || self.shape.n_out <= FEW_PANELS * PANEL)
            && columns >= tile
            && (!has_edges || rows >= tile)
    }

    /// As many rows as `most` gathered words allow, and few enough that there are `wanted` blocks.
    fn rows(&self, columns: usize, out_h: usize, most: usize, wanted: usize) -> usize {
        let depth = &self.weights.depth;
        let row = Gathered::new(&self.shape, depth, 1, columns).pitch * depth.n_chunks() * depth.stride;
        let rows = (most / row).saturating_sub(self.shape.reach() - 1) / self.shape.stride;
        let n_down = out_h.div_ceil(rows.clamp(1, out_h)).max(wanted.min(out_h.div_ceil(2)));
        out_h.div_ceil(n_down)
    }

    /// About how long a picture takes in blocks of this size, in products of 16 lanes.
    fn cost(&self, rows: usize, columns: usize, out_h: usize, out_w: usize) -> usize {
        let depth = &self.weights.depth;
        let products = depth.n_taps(self.shape.kernel) * depth.n * self.shape.n_out.div_ceil(LANES);
        // Products in the time of one by vectors.
        let at_once = match depth.products {
            Products::F32 | Products::Pairs => 1,
            Products::Tiles(parts) => 16 / (parts.n() * parts.n() - parts.n() + 1),
        };
        let of = |columns: usize| {
            let lay = Gathered::new(&self.shape, depth, rows, columns);
            // Copying: a line of 16 words is about two products, a pixel about 15.
            let gathering = at_once * lay.rows * lay.pitch * (15 * depth.folded + depth.n / 8);
            let width = self.weights.panels.width(0);
            let (run, n_runs) = self.runs(rows, columns, &lay, width);
            let lengths = self.lengths(width, depth.stride);
            let n = lengths.longest;
            let tail = if run.is_multiple_of(n) { 0 } else { lengths.of(run % n, usize::MAX) };
            let pixels = run / n * n + tail;
            // What does not stay in the second cache is read from the third.
            let far = match lay.len(depth) {
                len if len <= GATHERED => 32,
                len if len <= 2 * GATHERED => 33,
                _ => 48,
            };
            gathering + n_runs * pixels * products / 32 * far
        };
        let rest = if out_w.is_multiple_of(columns) { 0 } else { of(out_w % columns) };
        out_h.div_ceil(rows) * (out_w / columns * of(columns) + rest)
    }
}
