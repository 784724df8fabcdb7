//! Attention: `softmax(q k^T * scale) v` for every head, without the matrix of scores.
//!
//! Scores are computed for a few queries and a few hundred keys at a time, with running
//! maxima and sums. Paper: FlashAttention, 2022 (tiling), after Online normalizer
//! calculation for softmax, 2018. Keys and values are first copied to the order that the
//! tiles want, per head.

mod bf16_heads;
mod bias;
mod f32_heads;
mod softmax;

use super::{Isa, Precision, bf16::Parts};

pub use bias::Bias;
use bias::Query;

/// A matrix whose rows may be parts of longer ones.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    /// From the start of a row to that of the next.
    pub stride: usize,
    pub n: usize,
}

impl<'a> Rows<'a> {
    /// Rows that follow one another without gaps.
    ///
    /// # Panics
    /// If `data` is not whole rows.
    pub fn dense(data: &'a [f32], width: usize) -> Self {
        assert!(width > 0 && data.len().is_multiple_of(width), "{} numbers are not rows of {width}", data.len());
        Rows { data, stride: width, n: data.len() / width }
    }

    fn part(&self, row: usize, first: usize, len: usize) -> &'a [f32] {
        &self.data[row * self.stride + first..][..len]
    }
}

/// Queries, keys and values of all heads: head h is at `h * d..(h + 1) * d` of every row.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    pub q: Rows<'a>,
    pub k: Rows<'a>,
    /// As many rows as `k`.
    pub v: Rows<'a>,
    pub heads: usize,
    /// Width of a head: up to 128.
    pub d: usize,
    /// Factor of the scores, usually `1 / sqrt d`; positive.
    pub scale: f32,
    /// Equal parts into which the rows fall, one after another: a query sees the keys of its part. 1 is all.
    pub windows: usize,
    pub bias: Bias<'a>,
}

impl Attention<'_> {
    /// Queries of a window.
    fn queries(&self) -> usize {
        self.q.n / self.windows
    }

    /// Keys of a window.
    fn keys(&self) -> usize {
        self.k.n / self.windows
    }

    /// Adds the biases of query `row` in `head` to its scores of the keys from `first` on.
    fn add_bias(&self, head: usize, row: usize, first: usize, scores: &mut [f32]) {
        let (queries, keys) = (self.queries(), self.keys());
        self.bias.add(Query { head, row, place: row % queries }, self.q.n, first, keys, queries, scores);
    }
}

/// Writes `[q.n, heads * d]`.
///
/// `Bf16` rounds queries, keys, values and the softmax's numerators; on machines that cannot
/// multiply bf16 it is the same as `F32`.
///
/// # Panics
/// If rows are missing, heads are wider than 128, there is no key, windows are not equal, biases are
/// not for them, or `out` has another length.
pub fn attention(of: &Attention, precision: Precision, out: &mut [f32]) {
    attention_for_isa(of, precision, Isa::best(), out);
}

/// `attention` with given instructions; for tests and comparisons.
///
/// # Panics
/// As `attention`, and if this machine does not have them.
pub fn attention_for_isa(of: &Attention, precision: Precision, isa: Isa, out: &mut [f32]) {
    let Attention { q, k, v, heads, d, windows, .. } = *of;
    let width = heads * d;
    assert!(isa.is_available(), "{isa:?} is not available here");
    assert!((1..=MAX_HEAD).contains(&d), "heads of {d}, not of 1 to {MAX_HEAD}");
    assert!(k.n > 0 && k.n == v.n, "{} keys and {} values", k.n, v.n);
    assert!(
        windows > 0 && q.n.is_multiple_of(windows) && k.n.is_multiple_of(windows),
        "{} queries and {} keys in {windows} windows",
        q.n,
        k.n
    );
    of.bias.check(heads, q.n, of.queries(), of.keys());
    for (name, rows) in [("queries", q), ("keys", k), ("values", v)] {
        let needed = if rows.n == 0 { 0 } else { (rows.n - 1) * rows.stride + width };
        assert!(rows.stride >= width && rows.data.len() >= needed, "{name} lack numbers: {needed} are needed");
    }
    assert!(out.len() == q.n * width, "{} results for {} rows of {width}", out.len(), q.n);
    match Parts::multiplied(precision, isa) {
        Some(parts) => bf16_heads::run(of, isa, parts, out),
        None => f32_heads::run(of, isa, out),
    }
}

const MAX_HEAD: usize = super::tile::SHORT_DEPTH;

/// Scores are in powers of two: `2^(s log2 e) = e^s`.
fn binary_scale(scale: f32) -> f32 {
    scale * std::f32::consts::LOG2_E
}

#[cfg(test)]
mod tests;
