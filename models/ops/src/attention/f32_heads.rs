//! Attention with f32 products.

use rayon::prelude::*;

use super::{
    super::{
        buffer::{Shared, with_kept, with_scratch},
        isa::Isa,
        simd::tile_rows,
        tile::{DEPTH, PANEL, SHORT_STRIDE, STRIDE, pack_columns, tile_f32, tile_f32_short},
    },
    Attention, binary_scale,
    softmax::{Running, softmax_f32, write_rows},
};

/// Queries of a task, about: their sums and the keys and values of a block stay in the second cache.
const QUERIES: usize = 112;

pub(super) fn run(of: &Attention, isa: Isa, out: &mut [f32]) {
    let &Attention { k, v, heads, d, windows, .. } = of;
    let (n_queries, n_keys) = (of.queries(), of.keys());
    let keys = n_keys.next_multiple_of(PANEL);
    let width = d.next_multiple_of(PANEL);
    // Keys [window][head][keys / 32][d][32], values [window][head][width / 32][keys][32].
    with_kept(windows * heads * keys * (d + width), |packed| {
        let (packed_k, packed_v) = packed.split_at_mut(windows * heads * keys * d);
        packed_k.par_chunks_mut(d * PANEL).enumerate().for_each(|(i, to)| {
            let (part, first) = (i / (keys / PANEL), i % (keys / PANEL) * PANEL);
            let (window, head) = (part / heads, part % heads);
            let row = |c: usize| (first + c < n_keys).then(|| k.part(window * n_keys + first + c, head * d, d));
            pack_columns(isa, d, row, to);
        });
        packed_v.par_chunks_mut(keys * PANEL).enumerate().for_each(|(i, to)| {
            let (part, first) = (i / (width / PANEL), i % (width / PANEL) * PANEL);
            let (window, head) = (part / heads, part % heads);
            let len = PANEL.min(d - first);
            for (row, to) in to.chunks_exact_mut(PANEL).enumerate() {
                let copied = if row < n_keys { len } else { 0 };
                if copied > 0 {
                    to[..len].copy_from_slice(v.part(window * n_keys + row, head * d + first, len));
                }
                to[copied..].fill(0.0);
            }
        });
        let (packed_k, packed_v) = (&*packed_k, &*packed_v);
        let step = tile_rows(isa);
        let block = (QUERIES / step * step).min(n_queries.next_multiple_of(step));
        let blocks = n_queries.div_ceil(block.max(1));
        let out = Shared(out.as_mut_ptr());
        (0..windows * heads * blocks).into_par_iter().for_each(|i| {
            let (part, first) = (i / blocks, i % blocks * block);
            let (window, head) = (part / heads, part % heads);
            let keys_of_head = &packed_k[part * keys * d..][..keys * d];
            let values_of_head = &packed_v[part * keys * width..][..keys * width];
            let rows = window * n_queries + first..window * n_queries + (first + block).min(n_queries);
            run_task(of, isa, head, rows, keys_of_head, values_of_head, &out);
        });
    });
}

fn run_task(
    of: &Attention,
    isa: Isa,
    head: usize,
    rows: std::ops::Range<usize>,
    packed_k: &[f32],
    packed_v: &[f32],
    out: &Shared<f32>,
) {
    let &Attention { q, heads, d, scale, .. } = of;
    let keys = packed_k.len() / d;
    let width = packed_v.len() / keys;
    let step = tile_rows(isa);
    let n = rows.len().next_multiple_of(step);
    with_scratch([n * SHORT_STRIDE, step * STRIDE, n * width, 2 * n], |[queries, scores, sums, state]| {
        for (row, to) in rows.clone().zip(queries.chunks_exact_mut(SHORT_STRIDE)) {
            let factor = binary_scale(scale);
            to.iter_mut().zip(q.part(row, head * d, d)).for_each(|(t, s)| *t = s * factor);
        }
        // Rows beyond the last are computed on and dropped: they must not be slow numbers.
        queries[rows.len() * SHORT_STRIDE..].fill(0.0);
        sums.fill(0.0);
        let (largest, totals) = state.split_at_mut(n);
        largest.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        for first in (0..keys).step_by(DEPTH) {
            let len = DEPTH.min(keys - first);
            let valid = len.min(of.keys() - first);
            for r in (0..n).step_by(step) {
                let queries = queries[r * SHORT_STRIDE..].as_ptr();
                let sums = &mut sums[r * width..][..step * width];
                // SAFETY: `step` rows of queries, scores, sums and state exist from row r on;
                // panels of keys are `d` deep, those of values `keys`, of which `len` follow `first`.
                unsafe {
                    for p in (0..len).step_by(PANEL) {
                        let keys = packed_k[(first + p) * d..].as_ptr();
                        tile_f32_short(isa, d, queries, keys, scores[p..].as_mut_ptr(), STRIDE, false);
                    }
                    for row in r..(r + step).min(rows.len()) {
                        let at = (row - r) * STRIDE;
                        of.add_bias(head, rows.start + row, first, &mut scores[at..at + valid]);
                    }
                    let running = Running {
                        scores: scores.as_mut_ptr(),
                        stride: STRIDE,
                        rows: step,
                        len,
                        valid,
                        largest: largest[r..].as_mut_ptr(),
                        totals: totals[r..].as_mut_ptr(),
                        sums: sums.as_mut_ptr(),
                        width,
                    };
                    softmax_f32(isa, running);
                    for p in (0..width).step_by(PANEL) {
                        let values = packed_v[p * keys + first * PANEL..].as_ptr();
                        tile_f32(isa, len, scores.as_ptr(), values, sums[p..].as_mut_ptr(), width, true);
                    }
                }
            }
        }
        write_rows(sums, width, totals, rows, head * d, d, heads * d, out);
    });
}
