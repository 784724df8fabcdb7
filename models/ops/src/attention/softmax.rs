//! The running softmax between the two products of attention.

use super::super::{
    buffer::Shared,
    simd::{LANES, Simd, load_all, math, per_isa},
    tile::{STEP, STEP_LEN},
};

/// Scores of a block of keys, and what is known of earlier blocks.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// Scores in powers of two: `rows` of `len`, `stride` apart.
    pub scores: *mut f32,
    pub stride: usize,
    pub rows: usize,
    /// A multiple of 32.
    pub len: usize,
    /// Keys that exist; 1 to `len`. The others get nothing.
    pub valid: usize,
    /// The largest score of each row so far; minus infinity at first.
    pub largest: *mut f32,
    /// Sum of the numerators of each row so far.
    pub totals: *mut f32,
    /// Sums of numerators times values so far: rows of `width`, a multiple of 32.
    pub sums: *mut f32,
    pub width: usize,
}

per_isa! {
    /// Turns scores into numerators `2^(score - largest)`, and brings totals and sums up to date.
    ///
    /// # Safety
    /// The pointers are valid for what `Running` says.
    pub(super) fn softmax_f32(running: Running) = in_place;
}

per_isa! {
    /// The same, with the numerators as bf16 tiles of 32 rows (tile/mod.rs), and with a rougher
    /// exponential, whose error bf16 hides.
    ///
    /// # Safety
    /// As `softmax_f32`, and there is room for the tiles.
    pub(super) fn softmax_bf16(running: Running, tiles: *mut u16) = one_part;
}

per_isa! {
    /// The same, with numerators of two parts.
    ///
    /// # Safety
    /// As `softmax_bf16`.
    pub(super) fn softmax_two_parts(running: Running, tiles: *mut u16) = two_parts;
}

#[inline(always)]
unsafe fn in_place<S: Simd>(running: Running) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..running.rows {
            let (scores, largest) = prepare::<S>(&running, row);
            let mut total = [S::splat(0.0); 2];
            for i in (0..running.len).step_by(2 * LANES) {
                for (half, total) in total.iter_mut().enumerate() {
                    let at = scores.add(i + half * LANES);
                    let numerator = math::exp2::<S>(S::sub(S::load(at), largest));
                    *total = S::add(*total, numerator);
                    S::store(at, numerator);
                }
            }
            *running.totals.add(row) += S::sum(S::add(total[0], total[1]));
        }
    }
}

#[inline(always)]
unsafe fn one_part<S: Simd>(running: Running, tiles: *mut u16) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..running.rows {
            let (scores, largest) = prepare::<S>(&running, row);
            let mut total = [S::splat(0.0); 2];
            for i in (0..running.len).step_by(STEP) {
                let [v0, v1] = load_all::<S, 2>(scores.add(i), LANES);
                let n0 = math::exp2_rough::<S>(S::sub(v0, largest));
                let n1 = math::exp2_rough::<S>(S::sub(v1, largest));
                total = [S::add(total[0], n0), S::add(total[1], n1)];
                S::store_two_bf16(tiles.add(i / STEP * STEP_LEN + row * STEP), n0, n1);
            }
            *running.totals.add(row) += S::sum(S::add(total[0], total[1]));
        }
    }
}

#[inline(always)]
unsafe fn two_parts<S: Simd>(running: Running, tiles: *mut u16) {
    // SAFETY: the caller's promises.
    unsafe {
        for row in 0..running.rows {
            let (scores, largest) = prepare::<S>(&running, row);
            let mut total = [S::splat(0.0); 2];
            for i in (0..running.len).step_by(STEP) {
                let [v0, v1] = load_all::<S, 2>(scores.add(i), LANES);
                let (n0, n1) = (math::exp2::<S>(S::sub(v0, largest)), math::exp2::<S>(S::sub(v1, largest)));
                total = [S::add(total[0], n0), S::add(total[1], n1)];
                let to = tiles.add(i / STEP * 2 * STEP_LEN + row * STEP);
                S::store_two_bf16(to, n0, n1);
                S::store_two_bf16(to.add(STEP_LEN), S::sub(n0, S::to_bf16(n0)), S::sub(n1, S::to_bf16(n1)));
            }
            *running.totals.add(row) += S::sum(S::add(total[0], total[1]));
        }
    }
}

/// Finds the row's largest score and scales its total and sums to it.
#[inline(always)]
unsafe fn prepare<S: Simd>(running: &Running, row: usize) -> (*mut f32, S::V) {
    // SAFETY: row `row` of everything.
    unsafe {
        let scores = running.scores.add(row * running.stride);
        for i in running.valid..running.len {
            *scores.add(i) = f32::MIN;
        }
        let mut found = [S::splat(f32::MIN); 2];
        for i in (0..running.len).step_by(2 * LANES) {
            found = [S::max(found[0], S::load(scores.add(i))), S::max(found[1], S::load(scores.add(i + LANES)))];
        }
        let found = S::largest(S::max(found[0], found[1]));
        let before = *running.largest.add(row);
        if found > before {
            *running.largest.add(row) = found;
            let factor = (before - found).exp2();
            *running.totals.add(row) *= factor;
            let (sums, factor) = (running.sums.add(row * running.width), S::splat(factor));
            for i in (0..running.width).step_by(LANES) {
                S::store(sums.add(i), S::mul(S::load(sums.add(i)), factor));
            }
        }
        (scores, S::splat(found.max(before)))
    }
}

/// Writes `sums / totals` of existing rows to columns `first..first + d` of `out`, rows of `stride`.
#[allow(clippy::too_many_arguments)]
pub(super) fn write_rows(
    sums: &[f32],
    width: usize,
    totals: &[f32],
    rows: std::ops::Range<usize>,
    first: usize,
    d: usize,
    stride: usize,
    out: &Shared<f32>,
) {
    for ((row, sums), total) in rows.zip(sums.chunks_exact(width)).zip(totals) {
        // SAFETY: each head and each row is written by one task only.
        let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(row * stride + first), d) };
        let factor = 1.0 / total;
        out.iter_mut().zip(sums).for_each(|(o, s)| *o = s * factor);
    }
}
