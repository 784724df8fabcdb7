//! Linear layers with bf16 rows and weights, on machines that multiply bf16.
//!
//! First all rows are rounded into tiles. A task then is a block of rows times a few panels. It
//! goes through the depth in parts: a part of the panels stays in the second cache while the rows
//! of the task pass by, and each row's part in the first while it meets the panels.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        bf16::Parts,
        buffer::{Shared, as_bf16, with_kept, with_scratch},
        tile::{Bf16Tiles, PANEL, STEP, STEP_LEN, pack_rows_bf16},
    },
    PackedLinear,
    finish::{Finish, finish},
};

/// Tiles of 32 rows of A for a part of the depth, in KiB.
const DEPTH_KIB: usize = 64;
/// Panels of a task, and blocks of 32 rows: its sums are 384 KiB, its part of the weights 512.
const PANELS: usize = 8;
const BLOCKS: usize = 12;

/// A layer whose weights are bf16 tiles.
pub(super) struct Layer<'a> {
    pub of: &'a PackedLinear,
    pub weights: &'a [u16],
    pub parts: Parts,
}

struct Task<'a> {
    /// Tiles of the task's rows and those behind.
    a: &'a [u16],
    panels: Range<usize>,
    rows: Range<usize>,
    y: &'a Shared<f32>,
    add: bool,
}

impl Layer<'_> {
    pub fn run(&self, x: &[f32], rows: usize, y: &mut [f32], add: bool) {
        if rows == 0 {
            return;
        }
        let PackedLinear { panels, isa, .. } = self.of;
        let n_in = panels.n_in;
        let (n_panels, blocks) = (panels.len(), rows.div_ceil(STEP));
        let block_len = n_in.div_ceil(STEP) * self.step_len();
        // Parts of about equal size, of rows and of panels.
        let width = n_panels.div_ceil(n_panels.div_ceil(PANELS));
        let height = blocks.div_ceil(blocks.div_ceil(BLOCKS));
        let (across, down) = (n_panels.div_ceil(width), blocks.div_ceil(height));
        let y = Shared(y.as_mut_ptr());
        with_kept(blocks * block_len / 2, |a| {
            let a = as_bf16(a);
            a.par_chunks_mut(block_len).enumerate().for_each(|(block, to)| {
                let first = block * STEP;
                let row = |r: usize| (first + r < rows).then(|| &x[(first + r) * n_in..][..n_in]);
                pack_rows_bf16(*isa, self.parts, n_in, 1.0, row, to);
            });
            let a = &*a;
            (0..across * down).into_par_iter().for_each(|i| {
                let (first_panel, first_block) = (i / down * width, i % down * height);
                self.run_task(&Task {
                    a: &a[first_block * block_len..],
                    panels: first_panel..(first_panel + width).min(n_panels),
                    rows: first_block * STEP..((first_block + height) * STEP).min(rows),
                    y: &y,
                    add,
                });
            });
        });
    }

    /// bf16 numbers of a step of tiles.
    fn step_len(&self) -> usize {
        self.parts.n() * STEP_LEN
    }

    fn run_task(&self, task: &Task) {
        const SUMS: usize = STEP * PANEL;
        let step_len = self.step_len();
        let steps = self.of.panels.n_in.div_ceil(STEP);
        let depth = steps.div_ceil(steps.div_ceil(DEPTH_KIB * 512 / step_len));
        let blocks = task.rows.len().div_ceil(STEP);
        // Sums are kept from part to part of the depth; if there is only one, for a moment.
        let kept = if depth < steps { blocks * task.panels.len() } else { 1 };
        let tiles = Bf16Tiles::new(self.of.isa, self.parts);
        with_scratch([kept * SUMS], |[all]| {
            for first in (0..steps).step_by(depth) {
                let len = depth.min(steps - first);
                for block in 0..blocks {
                    let a = task.a[(block * steps + first) * step_len..][..len * step_len].as_ptr();
                    for (i, p) in task.panels.clone().enumerate() {
                        let at = if kept == 1 { 0 } else { block * task.panels.len() + i } * SUMS;
                        let sums = &mut all[at..][..SUMS];
                        let b = self.weights[(p * steps + first) * step_len..][..len * step_len].as_ptr();
                        // SAFETY: `len` steps of a and b, and 32 rows of 32 sums, as sliced.
                        unsafe { tiles.multiply(len, a, b, sums.as_mut_ptr(), PANEL, first > 0) };
                        if first + len == steps {
                            let first_row = task.rows.start + block * STEP;
                            self.finish_panel(
                                first_row..task.rows.end.min(first_row + STEP),
                                p,
                                sums,
                                task.y,
                                task.add,
                            );
                        }
                    }
                }
            }
        });
    }

    /// Writes what a panel's sums become to rows of y.
    fn finish_panel(&self, rows: Range<usize>, p: usize, sums: &[f32], y: &Shared<f32>, add: bool) {
        let PackedLinear { panels, activation, isa } = self.of;
        // SAFETY: 32 rows of sums exist, and these rows and panels of y are the task's own.
        unsafe {
            finish(
                *isa,
                *activation,
                Finish {
                    sums: sums.as_ptr(),
                    sums_stride: PANEL,
                    rows: rows.len(),
                    bias: panels.bias[p * PANEL..].as_ptr(),
                    y: y.get().add(rows.start * panels.n_out + p * panels.outputs),
                    y_stride: panels.n_out,
                    outputs: panels.outputs_of(p),
                    add,
                },
            )
        }
    }
}
