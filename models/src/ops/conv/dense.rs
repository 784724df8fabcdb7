//! Convolutions of all channels with all channels: the picture in blocks, blocks in tiles.

use std::ptr::null_mut;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::{Shared, with_scratch},
        simd::tile_rows,
    },
    ConvShape, Convolution, Then,
    after::Kind,
    gather::{Block, Gathered, Inputs, gather},
    tile::{self, PANEL, Segment, Tile, n_pixels},
    weights::{Weights, width},
};

/// Numbers that a block gathers, about: 384 KiB stay in the second cache beside a panel.
const GATHERED: usize = 96 << 10;

pub(super) struct Dense {
    shape: ConvShape,
    weights: Weights,
    after: Kind,
    isa: Isa,
}

/// A block, and the panels that a task computes of it.
struct Task {
    block: Block,
    first_panel: usize,
    panels: usize,
}

impl Dense {
    pub fn new(layer: &Convolution, pairs: bool, isa: Isa) -> Dense {
        Dense { shape: layer.shape, weights: Weights::new(layer, pairs), after: layer.after.kind(), isa }
    }

    /// `y` has room for the outputs of the whole picture.
    pub fn apply(&self, inputs: &Inputs, y: &Shared<f32>, then: Then) {
        // A layer of one tap knows no rows: all pixels are one.
        let row = Inputs { parts: inputs.parts, h: 1, w: inputs.h * inputs.w };
        let inputs = if self.is_pointwise() { &row } else { inputs };
        self.tasks(inputs).into_par_iter().for_each(|task| self.run(&task, inputs, y, then));
    }

    fn is_pointwise(&self) -> bool {
        let ConvShape { kernel, stride, padding, .. } = self.shape;
        (kernel, stride, padding) == (1, 1, 0)
    }

    fn n_panels(&self) -> usize {
        self.shape.n_out.div_ceil(PANEL)
    }

    /// Blocks of equal size, but for those at the lower and right border; panels are shared out too
    /// where there are few blocks.
    fn tasks(&self, inputs: &Inputs) -> Vec<Task> {
        let (out_h, out_w) = (self.shape.size(inputs.h), self.shape.size(inputs.w));
        let n_threads = rayon::current_num_threads();
        let wanted = if n_threads == 1 { 1 } else { 4 * n_threads };
        let tile = tile_rows(self.isa) * (14 / tile_rows(self.isa)).max(1);
        let widths = (4..=12).chain([24, 48]).map(|n| (n * tile).min(out_w));
        let options = widths.flat_map(|columns| {
            let across = out_w.div_ceil(columns);
            let rows = [(GATHERED, wanted), (GATHERED, 1), (2 * GATHERED, 1)];
            rows.map(|(most, wanted)| (self.rows(columns, out_h, most, wanted.div_ceil(across)), columns))
        });
        let costs = options.map(|(rows, columns)| {
            let n_blocks = out_h.div_ceil(rows) * out_w.div_ceil(columns);
            let groups = (wanted / n_blocks).clamp(1, self.n_panels());
            (self.cost(rows, columns, groups, wanted > 2 * n_blocks * groups, out_h, out_w), rows, columns, groups)
        });
        let (_, rows, columns, groups) = costs.min().expect("several widths");
        let panels = self.n_panels().div_ceil(groups);
        let mut tasks = Vec::new();
        for (y, x) in (0..out_h).step_by(rows).flat_map(|y| (0..out_w).step_by(columns).map(move |x| (y, x))) {
            let block = Block { y, x, rows: rows.min(out_h - y), columns: columns.min(out_w - x) };
            for first_panel in (0..self.n_panels()).step_by(panels) {
                tasks.push(Task { block, first_panel, panels: panels.min(self.n_panels() - first_panel) });
            }
        }
        tasks
    }

    /// As many rows as `most` gathered numbers allow, and few enough that there are `wanted` blocks.
    fn rows(&self, columns: usize, out_h: usize, most: usize, wanted: usize) -> usize {
        let depth = &self.weights.depth;
        let row = Gathered::new(&self.shape, depth, 1, columns).pitch * depth.n_chunks() * depth.stride;
        let rows = (most / row).saturating_sub(self.shape.reach() - 1) / self.shape.stride;
        let n_down = out_h.div_ceil(rows.clamp(1, out_h)).max(wanted.min(out_h.div_ceil(2)));
        out_h.div_ceil(n_down)
    }

    /// About how long the picture takes in blocks of this size, in products of 16 lanes; each block is
    /// gathered for each of `groups` of panels. `idle`: there are fewer tasks than threads want.
    fn cost(&self, rows: usize, columns: usize, groups: usize, idle: bool, out_h: usize, out_w: usize) -> usize {
        let depth = &self.weights.depth;
        let products = self.shape.kernel * self.shape.kernel / depth.folded * depth.n * self.n_panels() * 2;
        let whole = out_w / columns;
        let of = |columns: usize| {
            let lay = Gathered::new(&self.shape, depth, rows, columns);
            // Copying: a line of 16 numbers is about two products, a pixel about 15.
            let gathering = groups * lay.rows * lay.pitch * (15 * depth.folded + depth.n / 8);
            let (run, n_runs) = self.runs(rows, columns, &lay, PANEL);
            let n = tile_rows(self.isa);
            let tail = if run.is_multiple_of(n) { 0 } else { n_pixels(self.isa, PANEL, run % n) };
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
        let all = out_h.div_ceil(rows) * (whole * of(columns) + rest);
        if idle { all * 2 } else { all }
    }

    fn run(&self, task: &Task, inputs: &Inputs, y: &Shared<f32>, then: Then) {
        let Task { block, .. } = task;
        let depth = &self.weights.depth;
        let lay = Gathered::new(&self.shape, depth, block.rows, block.columns);
        let segments = self.segments(&lay);
        // Tiles run over the end of a block; what they read there nobody sees.
        let len = lay.len(depth) + 2 * PANEL * depth.stride;
        with_scratch([len], |[a]| {
            gather(self.isa, &self.shape, depth, inputs, block, a);
            for panel in task.first_panel..task.first_panel + task.panels {
                let at = panel * PANEL;
                let slopes = self.weights.slopes.as_ref().unwrap_or(&self.weights.bias);
                let panel_len = self.shape.kernel * self.shape.kernel / depth.folded * depth.n * PANEL;
                let tile = Tile {
                    a: a.as_ptr(),
                    stride: depth.stride,
                    segments: &segments,
                    pairs: depth.pairs,
                    b: self.weights.values[panel * panel_len..].as_ptr(),
                    width: width(self.shape.n_out, panel),
                    to: &[],
                    outputs: (self.shape.n_out - at).min(PANEL),
                    bias: self.weights.bias[at..].as_ptr(),
                    slopes: slopes[at..].as_ptr(),
                    after: self.after,
                    then,
                };
                let to = y.get().wrapping_add(at);
                self.run_panel(&tile, block, &lay, to, self.shape.size(inputs.w));
            }
        });
    }

    /// All tiles of a panel; `panel` is one of them but for where it begins and ends, `to` where the
    /// outputs of the panel are in a picture `out_w` wide.
    fn run_panel(&self, panel: &Tile, block: &Block, lay: &Gathered, to: *mut f32, out_w: usize) {
        let (run, n_runs) = self.runs(block.rows, block.columns, lay, panel.width);
        let mut places = [null_mut(); 2 * PANEL];
        for first_row in 0..n_runs {
            let (mut first, mut row, mut column) = (0, first_row, 0);
            while first < run {
                let n = n_pixels(self.isa, panel.width, run - first);
                for place in &mut places[..n] {
                    let is_output = row < block.rows && column < block.columns;
                    let pixel = (block.y + row) * out_w + block.x + column;
                    *place = if is_output { to.wrapping_add(pixel * self.shape.n_out) } else { null_mut() };
                    column += 1;
                    if n_runs == 1 && column == lay.pitch {
                        (row, column) = (row + 1, 0);
                    }
                }
                let from = (first_row * self.shape.stride * lay.pitch + first) * panel.stride;
                let tile = Tile { a: panel.a.wrapping_add(from), to: &places[..n], ..*panel };
                // SAFETY: tiles begin at pixels of the block and end at most a tile after it, where
                // scratch goes on; the panel is whole; outputs of a block and panel are one task's.
                unsafe { tile::tile(self.isa, &tile) }
                first += n;
            }
        }
    }

    /// Length and number of runs of pixels of a block, each of which is cut in tiles: its rows, or,
    /// where they lie one behind the other and fewer tiles are needed so, all of it with the few
    /// pixels between rows, which are of no output.
    fn runs(&self, rows: usize, columns: usize, lay: &Gathered, width: usize) -> (usize, usize) {
        let n = tile_rows(self.isa) * (PANEL / width);
        let all = (rows - 1) * lay.pitch + columns;
        let tail = if columns.is_multiple_of(n) { 0 } else { n_pixels(self.isa, width, columns % n) };
        let in_rows = rows * (columns / n * n + tail);
        if self.shape.stride == 1 && rows > 1 && all.next_multiple_of(n) < in_rows { (all, 1) } else { (columns, rows) }
    }

    /// From the first tap of an output, where the numbers of each chunk and tap are.
    fn segments(&self, lay: &Gathered) -> Vec<Segment> {
        let ConvShape { kernel, dilation, .. } = self.shape;
        let depth = &self.weights.depth;
        let mut segments = Vec::with_capacity(depth.n_chunks() * kernel * kernel);
        for (chunk, (_, len)) in depth.chunks().enumerate() {
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel / depth.folded).map(move |kx| (ky, kx))) {
                let row = chunk * lay.rows + ky * dilation;
                let pixel = row * lay.pitch + lay.place(kx * dilation);
                segments.push(Segment { at: pixel * depth.stride, depth: len });
            }
        }
        segments
    }
}
