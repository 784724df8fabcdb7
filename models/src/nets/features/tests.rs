//! Known answers, and candle against our kernels.

use candle_core::Device;

use super::*;
use crate::nets::{
    Compute, Precision, Vars,
    blocks::to_host,
    compute::Kernels,
    conv::{After, ConvTranspose2d, TransposedShape},
    synthetic::Synthetic,
};

fn counted(h: usize, w: usize, c: usize) -> Tensor {
    Tensor::from_vec((0..h * w * c).map(|i| i as f32).collect(), (h, w, c), &Device::Cpu).unwrap()
}

#[test]
fn channels_become_pixels_and_pixels_channels() {
    let x = counted(1, 2, 8);
    assert_eq!(
        to_host(&depth_to_space(&x, 2).unwrap()).unwrap(),
        [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15].map(|v| v as f32)
    );
    // Colours of a pixel apart instead of side by side: what `pixel_unshuffle` gives.
    let whole = depth_to_space(&x, 2).unwrap();
    let apart = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15].map(|v| v as f32);
    assert_eq!(to_host(&pixel_unshuffle(&whole, 2).unwrap()).unwrap(), apart);
}

/// Weights by formula, several strides and paddings.
#[test]
fn candle_spreads_pixels_as_our_kernels_do() {
    let weights = Synthetic { seed: 3, tensors: None };
    let ours = Compute::cpu(Precision::F32).unwrap();
    let candle = Compute { kernels: Kernels::Candle, ..ours.clone() };
    for (kernel, stride, padding) in [(2, 2, 0), (4, 2, 1), (3, 2, 1), (4, 4, 0), (3, 1, 0), (5, 3, 2)] {
        let shape = TransposedShape { n_in: 5, n_out: 6, kernel, stride, padding };
        let x = counted(3, 4, 5);
        let [got, want] = [&ours, &candle].map(|compute| {
            let layer = ConvTranspose2d::new(shape, After::None, &Vars::new(&weights, compute)).unwrap();
            let y = layer.forward(&x).unwrap();
            assert_eq!(y.dims(), [shape.size(3), shape.size(4), 6]);
            to_host(&y).unwrap()
        });
        for (got, want) in got.iter().zip(&want) {
            // Sums of up to 45 products of numbers up to 60 with ones up to 1.
            assert!((got - want).abs() < 1e-4, "{kernel} {stride} {padding}: {got} {want}");
        }
    }
}

/// Against PyTorch 2.13's `interpolate` of 0, 1, 2 (columns) and of 0, 1, 2, 3 in two rows.
#[test]
fn sizes_change_as_in_pytorch() {
    let row = counted(1, 3, 1);
    let resized = |w, corners| to_host(&resize_bilinear(&row, 1, w, corners).unwrap()).unwrap();
    assert_eq!(resized(5, true), [0.0, 0.5, 1.0, 1.5, 2.0]);
    let plain = resized(6, false);
    let want = [0.0, 0.25, 0.75, 1.25, 1.75, 2.0];
    assert!(plain.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{plain:?}");
    assert_eq!(
        to_host(&resize_nearest(&row, 2, 5).unwrap()).unwrap(),
        [0.0, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 2.0]
    );
    let pooled = |ceil| max_pool(&counted(3, 3, 1), 2, 2, ceil).unwrap();
    assert_eq!(to_host(&pooled(true)).unwrap(), [4.0, 5.0, 7.0, 8.0]);
    assert_eq!(to_host(&pooled(false)).unwrap(), [4.0]);
}
