//! Bilinear resizing with antialiasing, as PyTorch and Pillow do it: a triangle filter that
//! widens with the scale when pictures shrink.

use rayon::prelude::*;

/// `values` [h, w, N] to [to_h, to_w, N], row-major: along rows first. Samples are at pixel
/// centres; the filter is cut at the border and its weights add up to 1. Sums are f32.
pub fn bilinear<const N: usize>(values: &[f32], w: usize, h: usize, to_w: usize, to_h: usize) -> Vec<f32> {
    let columns = taps(w, to_w);
    let mut narrow = vec![0.0; h * to_w * N];
    narrow.par_chunks_exact_mut(to_w * N).zip(values.par_chunks_exact(w * N)).for_each(|(to, from)| {
        for (pixel, tap) in to.chunks_exact_mut(N).zip(&columns) {
            for (weight, from) in tap.weights.iter().zip(from[tap.first * N..].chunks_exact(N)) {
                pixel.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    });
    let rows = taps(h, to_h);
    let mut out = vec![0.0; to_h * to_w * N];
    out.par_chunks_exact_mut(to_w * N).zip(&rows).for_each(|(to, tap)| {
        for (weight, from) in tap.weights.iter().zip(narrow[tap.first * to_w * N..].chunks_exact(to_w * N)) {
            to.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
        }
    });
    out
}

/// What one target pixel is made of, along one axis.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = scale * (i as f64 + 0.5);
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let raw: Vec<f64> =
                (first..end).map(|j| (1.0 - ((j as f64 - centre + 0.5) / reach).abs()).max(0.0)).collect();
            let sum: f64 = raw.iter().sum();
            Tap { first, weights: raw.iter().map(|weight| (weight / sum) as f32).collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_weighs_one_three_three_one() {
        let out = bilinear::<1>(&[0.0, 0.0, 8.0, 0.0, 0.0, 0.0], 6, 1, 3, 1);
        // The second pixel's centre is between the third and the fourth value.
        assert_eq!(out, [1.0 * 8.0 / 7.0, 3.0, 0.0]);
    }

    #[test]
    fn growing_is_plain_bilinear_and_equal_sizes_change_nothing() {
        assert_eq!(bilinear::<1>(&[0.0, 4.0], 2, 1, 4, 1), [0.0, 1.0, 3.0, 4.0]);
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        assert_eq!(bilinear::<2>(&values, 4, 3, 4, 3), values);
    }
}
