//! Norms of every instruction set against plain loops.

use fastrand::Rng;

use super::super::{
    Isa, reference,
    testing::{assert_close, numbers},
};
use super::{Norm, group_norm_for_isa, layer_norm_for_isa, transpose_for_isa};

#[test]
fn layer_norm_has_no_mean_and_unit_variance_before_weights() {
    for (rows, n) in [(1, 1), (3, 24), (5, 48), (2, 63), (2, 64), (7, 65), (40, 1024), (3, 5000)] {
        let mut rng = Rng::with_seed(n as u64);
        // A mean far from zero: the naive variance loses all digits here.
        let x: Vec<f32> = numbers(&mut rng, rows * n, 1.7).iter().map(|x| x + 50.0).collect();
        let (weight, bias) = (numbers(&mut rng, n, 1.0), numbers(&mut rng, n, 1.0));
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-5 };
        let want = reference::layer_norm(&x, &norm);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            layer_norm_for_isa(&x, &norm, isa, &mut y);
            // The mean itself is rounded to 4e-6 of a deviation.
            assert_close(&format!("{isa:?} {rows} x {n}"), &y, &want, 1.5e-5);
        }
    }
}

#[test]
fn group_norm_takes_channels_and_positions_together() {
    for (channels, groups, positions) in [(4, 2, 1), (32, 32, 7), (64, 32, 192), (6, 2, 100), (8, 1, 5000)] {
        let mut rng = Rng::with_seed(positions as u64);
        let x: Vec<f32> = numbers(&mut rng, channels * positions, 1.7).iter().map(|x| x - 3.0).collect();
        let (weight, bias) = (numbers(&mut rng, channels, 1.0), numbers(&mut rng, channels, 1.0));
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-6 };
        let want = reference::group_norm(&x, groups, &norm);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            group_norm_for_isa(&x, groups, &norm, isa, &mut y);
            assert_close(&format!("{isa:?} {channels} in {groups} x {positions}"), &y, &want, 2e-6);
        }
    }
}

#[test]
fn transposing_moves_every_number_to_its_place() {
    for (rows, columns) in [(1, 1), (16, 16), (17, 5), (33, 47), (64, 32), (100, 16)] {
        let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            transpose_for_isa(&x, columns, isa, &mut y);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(y[c * rows + r], x[r * columns + c], "{isa:?} {rows} x {columns} at {r}, {c}");
                }
            }
        }
    }
}
