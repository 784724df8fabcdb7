//! Convolutions of all channels with all channels: the picture in blocks, blocks in tiles.

use std::ptr::null_mut;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        buffer::{Shared, with_scratch},
    },
    ConvShape, Convolution, Then,
    after::Kind,
    gather::{Block, Gathered, gather},
    tile::{self, PANEL, Segment, Tile, n_pixels},
    weights::{Weights, width},
};

/// Numbers that a block gathers, about: 384 KiB stay in the second cache beside a panel.
const GATHERED: usize = 96 << 10;
/// Columns of a block, about.
const COLUMNS: usize = 112;

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

    pub fn apply(&self, parts: &[(&[f32], usize)], h: usize, w: usize, y: &mut [f32], then: Then) {
        let y = Shared(y.as_mut_ptr());
        self.tasks(h, w).into_par_iter().for_each(|task| self.run(&task, parts, (h, w), &y, then));
    }

    fn n_panels(&self) -> usize {
        self.shape.n_out.div_ceil(PANEL)
    }

    /// Blocks of about equal size; panels are shared out too where there are few blocks.
    fn tasks(&self, h: usize, w: usize) -> Vec<Task> {
        let (out_h, out_w) = (self.shape.size(h), self.shape.size(w));
        let tile = n_pixels(self.isa, PANEL);
        let per_pixel = self.weights.depth.n_chunks() * self.weights.depth.stride;
        let n_across = out_w.div_ceil(COLUMNS);
        // Blocks end where tiles do.
        let columns = if n_across == 1 { out_w } else { out_w.div_ceil(n_across).next_multiple_of(tile) };
        let across = (columns - 1) * self.shape.stride + self.shape.reach();
        let rows = (GATHERED / (across * per_pixel)).saturating_sub(self.shape.reach() - 1) / self.shape.stride;
        let rows = rows.clamp(1, out_h);
        let n_threads = rayon::current_num_threads();
        let wanted = if n_threads == 1 { 1 } else { 4 * n_threads };
        // Rather more blocks than half of the threads idle.
        let n_columns = out_w.div_ceil(columns);
        let n_down = out_h.div_ceil(rows).max(wanted.div_ceil(n_columns).min(out_h.div_ceil(2)));
        let rows = out_h.div_ceil(n_down);
        let n_down = out_h.div_ceil(rows);
        let groups = (wanted / (n_down * n_columns)).clamp(1, self.n_panels());
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

    fn run(&self, task: &Task, parts: &[(&[f32], usize)], size: (usize, usize), y: &Shared<f32>, then: Then) {
        let Task { block, .. } = task;
        let depth = &self.weights.depth;
        let lay = Gathered::new(&self.shape, block);
        let segments = self.segments(&lay);
        let n_most = n_pixels(self.isa, PANEL / 2);
        // Tiles run over the end of a block; what they read there nobody sees.
        let len = lay.len(depth) + n_most * depth.stride;
        with_scratch([len], |[a]| {
            gather(self.isa, &self.shape, depth, parts, size, block, a);
            for panel in task.first_panel..task.first_panel + task.panels {
                self.run_panel(panel, block, &lay, &segments, a, size, y, then);
            }
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn run_panel(
        &self,
        panel: usize,
        block: &Block,
        lay: &Gathered,
        segments: &[Segment],
        a: &[f32],
        size: (usize, usize),
        y: &Shared<f32>,
        then: Then,
    ) {
        let shape = &self.shape;
        let (out_w, n_out) = (shape.size(size.1), shape.n_out);
        let width = width(n_out, panel);
        let n_taps = shape.kernel * shape.kernel;
        let depth = &self.weights.depth;
        let at = panel * PANEL;
        let slopes = self.weights.slopes.as_ref().unwrap_or(&self.weights.bias);
        let n = n_pixels(self.isa, width);
        // Where rows lie one behind the other, tiles may run on from row to row, over the few pixels
        // between them that are of no output.
        let (run, n_runs) = match self.runs_on(block, lay, n) {
            true => ((block.rows - 1) * lay.pitch + block.columns, 1),
            false => (block.columns, block.rows),
        };
        let mut to = [null_mut(); 2 * PANEL];
        for first_row in 0..n_runs {
            for first in (0..run).step_by(n) {
                for (i, to) in to.iter_mut().enumerate().take(n) {
                    let (row, column) = if n_runs == 1 && block.rows > 1 {
                        ((first + i) / lay.pitch, (first + i) % lay.pitch)
                    } else {
                        (first_row, first + i)
                    };
                    let is_output = row < block.rows && column < block.columns;
                    let place = ((block.y + row) * out_w + block.x + column) * n_out + at;
                    *to = if is_output { y.get().wrapping_add(place) } else { null_mut() };
                }
                let from = (first_row * shape.stride * lay.pitch + first) * depth.stride;
                let b = panel * PANEL * n_taps * depth.n;
                let tile = Tile {
                    a: a[from..].as_ptr(),
                    stride: depth.stride,
                    segments,
                    pairs: depth.pairs,
                    b: self.weights.values[b..].as_ptr(),
                    width,
                    to: &to[..n],
                    outputs: (n_out - at).min(PANEL),
                    bias: self.weights.bias[at..].as_ptr(),
                    slopes: slopes[at..].as_ptr(),
                    after: self.after,
                    then,
                };
                // SAFETY: tiles begin at pixels of the block and end at most a tile after it, where
                // scratch goes on; the panel is whole; outputs of a block and panel are one task's.
                unsafe { tile::tile(self.isa, &tile) }
            }
        }
    }

    /// Whether fewer tiles are needed when they do not begin anew with every row.
    fn runs_on(&self, block: &Block, lay: &Gathered, n: usize) -> bool {
        let in_rows = block.rows * block.columns.div_ceil(n);
        let in_one = ((block.rows - 1) * lay.pitch + block.columns).div_ceil(n);
        self.shape.stride == 1 && block.rows > 1 && in_one < in_rows
    }

    /// From the first tap of an output, where the numbers of each chunk and tap are.
    fn segments(&self, lay: &Gathered) -> Vec<Segment> {
        let ConvShape { kernel, dilation, .. } = self.shape;
        let depth = &self.weights.depth;
        let mut segments = Vec::with_capacity(depth.n_chunks() * kernel * kernel);
        for (chunk, (_, len)) in depth.chunks().enumerate() {
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                let row = chunk * lay.rows + ky * dilation;
                let pixel = row * lay.pitch + lay.place(&self.shape, kx * dilation);
                segments.push(Segment { at: pixel * depth.stride, depth: len });
            }
        }
        segments
    }
}
