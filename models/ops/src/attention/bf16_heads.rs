//! Attention with bf16 products, on machines that multiply bf16.

use rayon::prelude::*;

use super::{
    super::{
        bf16::Parts,
        buffer::{Shared, as_bf16, with_kept, with_scratch},
        isa::Isa,
        tile::{Bf16Tiles, PANEL, STEP, STEP_LEN, pack_columns_bf16, pack_depths_bf16, pack_rows_bf16},
    },
    Attention, binary_scale,
    softmax::{Running, softmax_bf16, softmax_two_parts, write_rows},
};

/// Blocks of 32 queries of a task.
const BLOCKS: usize = 8;
/// Keys at a time: their scores for 32 queries are 64 KiB.
const KEYS: usize = 512;
/// From row to row of the scores: not a power of two (tile/mod.rs).
const STRIDE: usize = KEYS + 16;

pub(super) fn run(of: &Attention, isa: Isa, parts: Parts, out: &mut [f32]) {
    let &Attention { k, v, heads, d, windows, .. } = of;
    let (n_queries, n_keys) = (of.queries(), of.keys());
    let n_blocks = n_keys.div_ceil(STEP);
    let steps = d.div_ceil(STEP);
    let step_len = parts.n() * STEP_LEN;
    let head_len = n_blocks * steps * step_len;
    // Keys [window][head][block of 32 keys][step of d], values [window][head][panel of d][block of 32 keys].
    with_kept(windows * heads * head_len, |packed| {
        let (packed_k, packed_v) = as_bf16(packed).split_at_mut(windows * heads * head_len);
        packed_k.par_chunks_mut(steps * step_len).enumerate().for_each(|(i, to)| {
            let (part, first) = (i / n_blocks, i % n_blocks * STEP);
            let (window, head) = (part / heads, part % heads);
            let row = |c: usize| (first + c < n_keys).then(|| k.part(window * n_keys + first + c, head * d, d));
            pack_columns_bf16(isa, parts, d, row, to);
        });
        packed_v.par_chunks_mut(step_len).enumerate().for_each(|(i, to)| {
            let (part, panel, first) = (i / n_blocks / steps, i / n_blocks % steps * PANEL, i % n_blocks * STEP);
            let (window, head) = (part / heads, part % heads);
            let len = PANEL.min(d - panel);
            let place = |r: usize| window * n_keys + first + r;
            let row = |r: usize| (first + r < n_keys).then(|| v.part(place(r), head * d + panel, len));
            pack_depths_bf16(isa, parts, row, to);
        });
        let (packed_k, packed_v) = (&*packed_k, &*packed_v);
        let tasks = n_queries.div_ceil(STEP * BLOCKS);
        let out = Shared(out.as_mut_ptr());
        (0..windows * heads * tasks).into_par_iter().for_each(|i| {
            let (part, first) = (i / tasks, i % tasks * STEP * BLOCKS);
            let (window, head) = (part / heads, part % heads);
            let keys_of_head = &packed_k[part * head_len..][..head_len];
            let values_of_head = &packed_v[part * head_len..][..head_len];
            let rows = window * n_queries + first..window * n_queries + (first + STEP * BLOCKS).min(n_queries);
            run_task(of, isa, parts, head, rows, keys_of_head, values_of_head, &out);
        });
    });
}

#[allow(clippy::too_many_arguments)]
fn run_task(
    of: &Attention,
    isa: Isa,
    parts: Parts,
    head: usize,
    rows: std::ops::Range<usize>,
    packed_k: &[u16],
    packed_v: &[u16],
    out: &Shared<f32>,
) {
    let &Attention { q, heads, d, scale, .. } = of;
    let steps = d.div_ceil(STEP);
    let width = steps * PANEL;
    let step_len = parts.n() * STEP_LEN;
    let n_blocks = packed_k.len() / (steps * step_len);
    let n = rows.len().next_multiple_of(STEP);
    let tiles = Bf16Tiles::new(isa, parts);
    let lens = [n * width * parts.n() / 2, STEP * STRIDE, STEP * KEYS * parts.n() / 2, n * width, 2 * n];
    with_scratch(lens, |[queries, scores, numerators, sums, state]| {
        let (queries, numerators) = (as_bf16(queries), as_bf16(numerators));
        for (i, to) in queries.chunks_exact_mut(steps * step_len).enumerate() {
            let first = rows.start + i * STEP;
            let row = |r: usize| (first + r < rows.end).then(|| q.part(first + r, head * d, d));
            pack_rows_bf16(isa, parts, d, binary_scale(scale), row, to);
        }
        sums.fill(0.0);
        let (largest, totals) = state.split_at_mut(n);
        largest.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        for first in (0..n_blocks).step_by(KEYS / STEP) {
            let len = (KEYS / STEP).min(n_blocks - first);
            let valid = (len * STEP).min(of.keys() - first * STEP);
            for r in (0..n).step_by(STEP) {
                let queries = queries[r * width * parts.n()..].as_ptr();
                let sums = &mut sums[r * width..][..STEP * width];
                // SAFETY: 32 rows of queries, scores, numerators, sums and state exist from row r on;
                // blocks `first` to `first + len` of keys and values exist.
                unsafe {
                    for p in 0..len {
                        let keys = packed_k[(first + p) * steps * step_len..].as_ptr();
                        tiles.multiply(steps, queries, keys, scores[p * PANEL..].as_mut_ptr(), STRIDE, false);
                    }
                    for row in r..(r + STEP).min(rows.len()) {
                        let at = (row - r) * STRIDE;
                        of.add_bias(head, rows.start + row, first * STEP, &mut scores[at..at + valid]);
                    }
                    let running = Running {
                        scores: scores.as_mut_ptr(),
                        stride: STRIDE,
                        rows: STEP,
                        len: len * STEP,
                        valid,
                        largest: largest[r..].as_mut_ptr(),
                        totals: totals[r..].as_mut_ptr(),
                        sums: sums.as_mut_ptr(),
                        width,
                    };
                    match parts {
                        Parts::One => softmax_bf16(isa, running, numerators.as_mut_ptr()),
                        Parts::Two => softmax_two_parts(isa, running, numerators.as_mut_ptr()),
                    }
                    for p in 0..steps {
                        let values = packed_v[(p * n_blocks + first) * step_len..].as_ptr();
                        let sums = sums[p * PANEL..].as_mut_ptr();
                        tiles.multiply(len, numerators.as_ptr(), values, sums, width, true);
                    }
                }
            }
        }
        write_rows(sums, width, totals, rows, head * d, d, heads * d, out);
    });
}
