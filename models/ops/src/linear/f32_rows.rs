//! Linear layers with f32 rows, and f32 or widened bf16 weights.
//!
//! A task is a block of rows times a range of panels. It copies its rows depth by depth into
//! a buffer with a fixed stride that stays in the second cache, and runs every panel over it.

use rayon::prelude::*;

use super::super::{
    buffer::{Shared, with_scratch},
    simd::tile_rows,
    tile::{DEPTH, PANEL, STEP, STEP_LEN, STRIDE, tile_f32, tile_widened},
};
use super::{
    PackedLinear,
    finish::{Finish, finish},
    pack::Data,
};

/// Rows of a task: 252 rows of 512 inputs are half a megabyte.
const ROWS: usize = 252;
/// Panels of a task: sums of 252 rows and 512 outputs are half a megabyte.
const PANELS: usize = 16;

struct Task {
    first_row: usize,
    rows: usize,
    first_panel: usize,
    panels: usize,
}

pub(super) fn run(layer: &PackedLinear, x: &[f32], rows: usize, y: &mut [f32], add: bool) {
    if rows == 0 {
        return;
    }
    let step = tile_rows(layer.isa);
    let y = Shared(y.as_mut_ptr());
    let n_panels = layer.panels.len();
    // Enough tasks that no thread waits long for another.
    let wanted = if rayon::current_num_threads() == 1 { 1 } else { 4 * rayon::current_num_threads() };
    let panels = n_panels.div_ceil(n_panels.div_ceil(PANELS));
    let columns = n_panels.div_ceil(panels);
    let blocks = rows.div_ceil(ROWS).max(wanted.div_ceil(columns).min(rows.div_ceil(4 * step))).max(1);
    let block = rows.div_ceil(blocks).next_multiple_of(step);
    let blocks = rows.div_ceil(block);
    (0..blocks * columns).into_par_iter().for_each(|i| {
        let (first_row, first_panel) = (i % blocks * block, i / blocks * panels);
        let task = Task {
            first_row,
            rows: block.min(rows - first_row),
            first_panel,
            panels: panels.min(n_panels - first_panel),
        };
        run_task(layer, x, &task, &y, add);
    });
}

fn run_task(layer: &PackedLinear, x: &[f32], task: &Task, y: &Shared<f32>, add: bool) {
    let n_in = layer.panels.n_in;
    let step = tile_rows(layer.isa);
    let padded_rows = task.rows.next_multiple_of(step);
    // Equal parts, in whole bf16 steps.
    let depth = n_in.div_ceil(n_in.div_ceil(DEPTH)).next_multiple_of(STEP);
    let sums_len = padded_rows * PANEL;
    let kept = if depth < n_in { task.panels } else { 1 };
    with_scratch([padded_rows * STRIDE, kept * sums_len], |[a, sums]| {
        for first in (0..n_in).step_by(depth) {
            let len = depth.min(n_in - first);
            let padded = if matches!(layer.panels.data, Data::Bf16(..)) { len.next_multiple_of(STEP) } else { len };
            for (r, a) in a.chunks_exact_mut(STRIDE).enumerate().take(task.rows) {
                a[..len].copy_from_slice(&x[(task.first_row + r) * n_in + first..][..len]);
                a[len..padded].fill(0.0);
            }
            for p in 0..task.panels {
                let sums = &mut sums[if kept == 1 { 0 } else { p * sums_len }..][..sums_len];
                for r in (0..padded_rows).step_by(step) {
                    let (a, c) = (a[r * STRIDE..].as_ptr(), sums[r * PANEL..].as_mut_ptr());
                    // SAFETY: `step` rows of a and c exist from row r on; those beyond the task's rows
                    // are whatever was there, and nobody reads what becomes of them. The panel is
                    // `n_in` deep, bf16 panels to the next multiple of 32.
                    unsafe {
                        match &layer.panels.data {
                            Data::F32(data) => {
                                let b = data[((task.first_panel + p) * n_in + first) * PANEL..].as_ptr();
                                tile_f32(layer.isa, len, a, b, c, PANEL, first > 0);
                            }
                            Data::Bf16(data, _) => {
                                let steps = n_in.div_ceil(STEP);
                                let at = (task.first_panel + p) * steps + first / STEP;
                                let b = data[at * STEP_LEN..].as_ptr();
                                tile_widened(layer.isa, padded, a, b, c, PANEL, first > 0);
                            }
                        }
                    }
                }
                if first + len == n_in {
                    finish_panel(layer, task, task.first_panel + p, sums, y, add);
                }
            }
        }
    });
}

fn finish_panel(layer: &PackedLinear, task: &Task, p: usize, sums: &[f32], y: &Shared<f32>, add: bool) {
    let panels = &layer.panels;
    // SAFETY: the task's rows of sums exist, and its rows and panels of y are its own.
    unsafe {
        finish(
            layer.isa,
            layer.activation,
            Finish {
                sums: sums.as_ptr(),
                sums_stride: PANEL,
                rows: task.rows,
                bias: panels.bias[p * PANEL..].as_ptr(),
                y: y.get().add(task.first_row * panels.n_out + p * panels.outputs),
                y_stride: panels.n_out,
                outputs: panels.outputs_of(p),
                add,
            },
        )
    }
}
