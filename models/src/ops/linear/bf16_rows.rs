//! Linear layers with bf16 rows and weights, on machines that multiply bf16.
//!
//! First all rows are rounded into tiles. A task then is a range of rows times a range of
//! panels that stay in the second cache while the rows stream by.

use rayon::prelude::*;

use super::{
    PackedLinear,
    finish::{Finish, finish},
    pack::Data,
};
use crate::ops::{
    buffer::{Aligned, Shared, as_bf16, with_kept, with_scratch},
    tile::{Bf16Tiles, PANEL, STEP, STEP_LEN, pack_rows_bf16},
};

/// Steps of a product whose rows of A stay in the first cache: 32 rows of 512 inputs are 32 KiB.
const STEPS: usize = 16;
/// Weights of a task, in steps of 2 KiB: a megabyte.
const TASK_STEPS: usize = 512;
/// Blocks of 32 rows of a task.
const BLOCKS: usize = 8;

pub(super) fn run(layer: &PackedLinear, x: &[f32], rows: usize, y: &mut [f32], add: bool) {
    if rows == 0 {
        return;
    }
    let Data::Bf16(weights) = &layer.panels.data else { unreachable!("called for bf16 weights") };
    let n_in = layer.panels.n_in;
    let n_panels = layer.panels.len();
    let steps = n_in.div_ceil(STEP);
    let blocks = rows.div_ceil(STEP);
    let panels = (TASK_STEPS / steps).clamp(1, n_panels.max(1));
    let columns = n_panels.div_ceil(panels);
    let panels = n_panels.div_ceil(columns.max(1));
    let tasks_down = blocks.div_ceil(BLOCKS);
    let y = Shared(y.as_mut_ptr());
    with_kept(blocks * steps * STEP_LEN / 2, |a| {
        let a = as_bf16(a);
        a.par_chunks_mut(steps * STEP_LEN).enumerate().for_each(|(block, to)| {
            let first = block * STEP;
            let row = |r: usize| (first + r < rows).then(|| &x[(first + r) * n_in..][..n_in]);
            pack_rows_bf16(layer.isa, n_in, 1.0, row, to);
        });
        let a = &*a;
        (0..columns * tasks_down).into_par_iter().for_each(|i| {
            let first_panel = i / tasks_down * panels;
            let panels = first_panel..(first_panel + panels).min(n_panels);
            let first_block = i % tasks_down * BLOCKS;
            let tiles = Bf16Tiles::new(layer.isa);
            for block in first_block..(first_block + BLOCKS).min(blocks) {
                let a = &a[block * steps * STEP_LEN..][..steps * STEP_LEN];
                multiply_block(&tiles, a, weights, panels.clone(), steps, |p, sums| {
                    let first = block * STEP;
                    // SAFETY: 32 rows of sums exist, and this task's rows and panels of y are its own.
                    unsafe {
                        finish(
                            layer.isa,
                            layer.activation,
                            Finish {
                                sums: sums.as_ptr(),
                                sums_stride: PANEL,
                                rows: STEP.min(rows - first),
                                bias: layer.panels.bias[p * PANEL..].as_ptr(),
                                y: y.get().add(first * layer.panels.n_out + p * layer.panels.outputs),
                                y_stride: layer.panels.n_out,
                                outputs: layer.panels.outputs_of(p),
                                add,
                            },
                        )
                    }
                });
            }
        });
    });
}

/// 32 rows times some panels; hands over each panel's 32 x 32 sums.
fn multiply_block(
    tiles: &Bf16Tiles,
    a: &[u16],
    weights: &Aligned<u16>,
    panels: std::ops::Range<usize>,
    steps: usize,
    finish: impl Fn(usize, &[f32]),
) {
    let deep = steps.div_ceil(steps.div_ceil(STEPS));
    with_scratch([panels.len() * STEP * PANEL], |[sums]| {
        for first in (0..steps).step_by(deep) {
            let len = deep.min(steps - first);
            for (sums, p) in sums.chunks_exact_mut(STEP * PANEL).zip(panels.clone()) {
                let a = a[first * STEP_LEN..][..len * STEP_LEN].as_ptr();
                let b = weights[(p * steps + first) * STEP_LEN..][..len * STEP_LEN].as_ptr();
                // SAFETY: `len` steps of a and b, and 32 rows of 32 sums, as sliced.
                unsafe { tiles.multiply(len, a, b, sums.as_mut_ptr(), PANEL, first > 0) };
                if first + len == steps {
                    finish(p, sums);
                }
            }
        }
    });
}
