//! Layer norm, group norm, and the transposition between their layouts.

use rayon::prelude::*;

use super::{
    isa::Isa,
    simd::{LANES, Simd, load_all, per_isa},
};

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, the variance that of a whole population.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// One for every feature (layer norm) or channel (group norm).
    pub weight: &'a [f32],
    /// As many.
    pub bias: &'a [f32],
    pub eps: f32,
}

/// Rows for a thread at a time, in numbers.
const CHUNK: usize = 1 << 14;
/// Numbers whose f32 sums lose nothing that matters; those of more are added up in f64.
const PART: usize = 4096;

/// Norms every row: x and y `[rows, n]`, n as many as there are weights.
///
/// # Panics
/// If the lengths do not fit one another.
pub fn layer_norm(x: &[f32], norm: &Norm, y: &mut [f32]) {
    layer_norm_for_isa(x, norm, Isa::best(), y);
}

/// `layer_norm` with given instructions; for tests and comparisons.
///
/// # Panics
/// As `layer_norm`, and if this machine does not have them.
pub fn layer_norm_for_isa(x: &[f32], norm: &Norm, isa: Isa, y: &mut [f32]) {
    let n = norm.weight.len();
    check(x, norm, isa, y);
    let chunk = (CHUNK / n).max(1) * n;
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
            let (mean, factor) = moments(isa, x, norm.eps);
            // SAFETY: all have `n` numbers; `isa` is available, as checked.
            unsafe { scale_row(isa, x, mean, factor, norm.weight, norm.bias, y) }
        }
    });
}

/// Norms groups of channels: x and y `[channels, positions]`, as many channels as there are weights.
///
/// # Panics
/// If the lengths do not fit one another, or channels are not whole groups.
pub fn group_norm(x: &[f32], groups: usize, norm: &Norm, y: &mut [f32]) {
    group_norm_for_isa(x, groups, norm, Isa::best(), y);
}

/// `group_norm` with given instructions; for tests and comparisons.
///
/// # Panics
/// As `group_norm`, and if this machine does not have them.
pub fn group_norm_for_isa(x: &[f32], groups: usize, norm: &Norm, isa: Isa, y: &mut [f32]) {
    let channels = norm.weight.len();
    check(x, norm, isa, y);
    assert!(groups > 0 && channels.is_multiple_of(groups), "{channels} channels are not {groups} groups");
    let (positions, of_group) = (x.len() / channels, channels / groups);
    if positions == 0 {
        return;
    }
    let len = of_group * positions;
    y.par_chunks_mut(len).zip(x.par_chunks(len)).enumerate().for_each(|(group, (y, x))| {
        let (mean, factor) = moments(isa, x, norm.eps);
        for (i, (y, x)) in y.chunks_exact_mut(positions).zip(x.chunks_exact(positions)).enumerate() {
            let channel = group * of_group + i;
            let factor = factor * norm.weight[channel];
            // SAFETY: both have `positions` numbers; `isa` is available, as checked.
            unsafe { scale_channel(isa, x, mean, factor, norm.bias[channel], y) }
        }
    });
}

/// x `[rows, columns]` to y `[columns, rows]`.
///
/// # Panics
/// If the lengths are not `rows * columns`.
pub fn transpose(x: &[f32], columns: usize, y: &mut [f32]) {
    transpose_for_isa(x, columns, Isa::best(), y);
}

/// `transpose` with given instructions; for tests and comparisons.
///
/// # Panics
/// As `transpose`, and if this machine does not have them.
pub fn transpose_for_isa(x: &[f32], columns: usize, isa: Isa, y: &mut [f32]) {
    assert!(isa.is_available(), "{isa:?} is not available here");
    assert!(columns > 0 && x.len().is_multiple_of(columns), "{} numbers are not rows of {columns}", x.len());
    assert!(x.len() == y.len(), "{} numbers into {}", x.len(), y.len());
    let rows = x.len() / columns;
    if rows == 0 {
        return;
    }
    y.par_chunks_mut(LANES * rows).enumerate().for_each(|(strip, y)| {
        let whole = if y.len() == LANES * rows { rows / LANES * LANES } else { 0 };
        // SAFETY: `whole` rows of x have 16 columns from the strip's first on; y has 16 rows of `rows`.
        unsafe { transpose_strip(isa, x[strip * LANES..].as_ptr(), columns, whole, y.as_mut_ptr(), rows) }
        for (c, y) in y.chunks_exact_mut(rows).enumerate() {
            (whole..rows).for_each(|r| y[r] = x[r * columns + strip * LANES + c]);
        }
    });
}

fn check(x: &[f32], norm: &Norm, isa: Isa, y: &[f32]) {
    let n = norm.weight.len();
    assert!(isa.is_available(), "{isa:?} is not available here");
    assert!(n > 0 && norm.bias.len() == n, "{n} weights and {} biases", norm.bias.len());
    assert!(x.len().is_multiple_of(n), "{} numbers are not a multiple of {n}", x.len());
    assert!(x.len() == y.len(), "{} numbers into {}", x.len(), y.len());
}

/// Mean, and `1 / sqrt(variance + eps)`. The variance is taken around the mean, in a second pass.
fn moments(isa: Isa, x: &[f32], eps: f32) -> (f32, f32) {
    let total = |around: Option<f32>| {
        x.chunks(PART).fold(0.0, |total, part| {
            let mut sum = 0.0_f32;
            // SAFETY: a slice, and `isa` is available, as the callers checked.
            unsafe {
                match around {
                    None => sum_of(isa, part, &mut sum),
                    Some(mean) => squares_of(isa, part, mean, &mut sum),
                }
            }
            total + f64::from(sum)
        })
    };
    let n = x.len() as f64;
    let mean = (total(None) / n) as f32;
    let variance = total(Some(mean)) / n;
    (mean, (1.0 / (variance + f64::from(eps)).sqrt()) as f32)
}

per_isa! { fn sum_of(x: &[f32], to: &mut f32) = sum; }
per_isa! { fn squares_of(x: &[f32], mean: f32, to: &mut f32) = squares; }
per_isa! {
    fn scale_row(x: &[f32], mean: f32, factor: f32, weight: &[f32], bias: &[f32], y: &mut [f32]) = row;
}
per_isa! { fn scale_channel(x: &[f32], mean: f32, factor: f32, bias: f32, y: &mut [f32]) = channel; }
per_isa! {
    fn transpose_strip(x: *const f32, columns: usize, rows: usize, y: *mut f32, y_stride: usize) = strip;
}

#[inline(always)]
unsafe fn sum<S: Simd>(x: &[f32], to: &mut f32) {
    // SAFETY: whole vectors of the slice.
    unsafe {
        let mut sums = [S::splat(0.0); 4];
        let mut parts = x.chunks_exact(4 * LANES);
        for part in &mut parts {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = S::add(*sum, S::load(part.as_ptr().add(i * LANES)));
            }
        }
        let all = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
        *to = S::sum(all) + parts.remainder().iter().sum::<f32>();
    }
}

#[inline(always)]
unsafe fn squares<S: Simd>(x: &[f32], mean: f32, to: &mut f32) {
    // SAFETY: whole vectors of the slice.
    unsafe {
        let mut sums = [S::splat(0.0); 4];
        let mut parts = x.chunks_exact(4 * LANES);
        for part in &mut parts {
            for (i, sum) in sums.iter_mut().enumerate() {
                let off = S::sub(S::load(part.as_ptr().add(i * LANES)), S::splat(mean));
                *sum = S::fma(off, off, *sum);
            }
        }
        let all = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
        *to = S::sum(all) + parts.remainder().iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
    }
}

#[inline(always)]
unsafe fn row<S: Simd>(x: &[f32], mean: f32, factor: f32, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let whole = x.len() / LANES * LANES;
    // SAFETY: whole vectors of slices of one length.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            let normed = S::mul(S::sub(S::load(x.as_ptr().add(i)), S::splat(mean)), S::splat(factor));
            let v = S::fma(normed, S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
            S::store(y.as_mut_ptr().add(i), v);
        }
    }
    for i in whole..x.len() {
        y[i] = (x[i] - mean) * factor * weight[i] + bias[i];
    }
}

#[inline(always)]
unsafe fn channel<S: Simd>(x: &[f32], mean: f32, factor: f32, bias: f32, y: &mut [f32]) {
    let whole = x.len() / LANES * LANES;
    // SAFETY: whole vectors of slices of one length.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            let off = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
            S::store(y.as_mut_ptr().add(i), S::fma(off, S::splat(factor), S::splat(bias)));
        }
    }
    for i in whole..x.len() {
        y[i] = (x[i] - mean) * factor + bias;
    }
}

#[inline(always)]
unsafe fn strip<S: Simd>(x: *const f32, columns: usize, rows: usize, y: *mut f32, y_stride: usize) {
    // SAFETY: the caller promises `rows` rows of 16 numbers of x, and 16 rows of as many of y.
    unsafe {
        for r in (0..rows).step_by(LANES) {
            let square = S::transpose(load_all::<S, LANES>(x.add(r * columns), columns));
            for (c, v) in square.into_iter().enumerate() {
                S::store(y.add(c * y_stride + r), v);
            }
        }
    }
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
