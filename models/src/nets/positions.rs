//! Positions of patches for grids other than the trained one.

use candle_core::Tensor;

use super::{blocks::to_host, checkpoint::on_device};
use crate::error::StageError;

/// Position embeddings [rows, columns, d] for a grid of patches `to`, bicubic (a = -0.75, borders
/// repeated, no antialiasing), as PyTorch resizes them by the scale (`to` + `offset`) / rows: the
/// DINO family was trained with an offset of 0.1, by size it is 0.
pub fn bicubic(stored: &Tensor, to: (usize, usize), offset: f64) -> Result<Tensor, StageError> {
    let (rows, columns, d) = stored.dims3()?;
    if (rows, columns) == to {
        return Ok(stored.clone());
    }
    let values = resized(&to_host(stored)?, d, (rows, columns), to, offset);
    on_device(&values, &[to.0, to.1, d], stored.device())
}

/// The same of [rows, columns, d], row-major.
pub fn resized(stored: &[f32], d: usize, from: (usize, usize), to: (usize, usize), offset: f64) -> Vec<f32> {
    let (rows, columns) = (taps(from.0, to.0, offset), taps(from.1, to.1, offset));
    let mut out = Vec::with_capacity(to.0 * to.1 * d);
    for (y, x) in (0..to.0).flat_map(|y| (0..to.1).map(move |x| (y, x))) {
        let start = out.len();
        out.resize(start + d, 0.0);
        for (row, row_weight) in rows[y] {
            for (column, column_weight) in columns[x] {
                let from = &stored[(row * from.1 + column) * d..][..d];
                let weight = row_weight * column_weight;
                out[start..].iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    out
}

/// Four places and their weights for each of `to` places of an axis of `from`.
fn taps(from: usize, to: usize, offset: f64) -> Vec<[(usize, f32); 4]> {
    let at = |i: usize| (i as f64 + 0.5) * from as f64 / (to as f64 + offset) - 0.5;
    (0..to).map(|i| cubic(at(i), from)).collect()
}

/// The four places of an axis of `n` that a value at `at` is made of, and their weights: cubic
/// convolution, ends repeated.
pub fn cubic(at: f64, n: usize) -> [(usize, f32); 4] {
    let share = (at - at.floor()) as f32;
    let place = |k: i64| (at.floor() as i64 + k).clamp(0, n as i64 - 1) as usize;
    let near = |t: f32| ((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0;
    let far = |t: f32| ((CUBIC * t - 5.0 * CUBIC) * t + 8.0 * CUBIC) * t - 4.0 * CUBIC;
    let weights = [far(share + 1.0), near(share), near(1.0 - share), far(2.0 - share)];
    std::array::from_fn(|k| (place(k as i64 - 1), weights[k]))
}

/// The `a` of the cubic convolution kernel (Keys, 1981).
const CUBIC: f32 = -0.75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_everywhere_stays_and_one_position_spreads_over_four() {
        let (from, to) = (14, 32);
        for offset in [0.0, 0.1] {
            let even = resized(&vec![3.0; 2 * from * from], 2, (from, from), (to, to), offset);
            assert!(even.len() == 2 * to * to && even.iter().all(|v| (v - 3.0).abs() < 1e-5));

            let mut one = vec![0.0; from * from];
            one[5 * from + 5] = 1.0;
            let spread = resized(&one, 1, (from, from), (to, to), offset);
            let sum: f32 = spread.iter().sum();
            let reach = spread.iter().filter(|v| **v != 0.0).count();
            // Four positions wide, at a scale of 32 / 14 each way.
            assert!((sum - (32.0f32 / 14.0).powi(2)).abs() < 0.1 && reach <= 10 * 10, "{sum} {reach}");
        }
    }
}
