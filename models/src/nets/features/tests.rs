//! Known answers, and convolutions against plain sums.

use candle_core::Device;

use super::*;
use crate::nets::{
    Compute, Precision, Vars,
    blocks::to_host,
    compute::Kernels,
    conv::{After, ConvTranspose2d},
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
    assert_eq!(
        to_host(&pixel_shuffle(&x, 2).unwrap()).unwrap(),
        [0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15].map(|v| v as f32)
    );
    let back = pixel_unshuffle(&pixel_shuffle(&x, 2).unwrap(), 2).unwrap();
    assert_eq!(to_host(&back).unwrap(), to_host(&x).unwrap());
    let within = depth_to_space_within(&counted(2, 2, 4), 2, 1, 2, 3).unwrap();
    assert_eq!(to_host(&within).unwrap(), [3, 6, 7, 9, 12, 13].map(|v| v as f32));
    assert!(depth_to_space_within(&counted(2, 2, 4), 2, 2, 3, 2).is_err());
}

/// Weights by formula, several strides and paddings: every output is the sum over inputs and taps that
/// meet there.
#[test]
fn transposed_convolutions_spread_every_pixel() {
    let weights = Synthetic { seed: 3, tensors: None };
    let ours = Compute::cpu(Precision::F32).unwrap();
    let candle = Compute { kernels: Kernels::Candle, ..ours.clone() };
    for (kernel, stride, padding) in [(2, 2, 0), (4, 2, 1), (3, 2, 1), (4, 4, 0), (3, 1, 0), (5, 3, 2)] {
        let (h, w, n_in, n_out) = (3, 4, 5, 6);
        let x = counted(h, w, n_in);
        let (out_h, out_w) = ((h - 1) * stride + kernel - 2 * padding, (w - 1) * stride + kernel - 2 * padding);
        let vars = Vars::new(&weights, &ours);
        let filters = vars.values("weight", &[n_in, n_out, kernel, kernel]).unwrap().to_vec();
        let bias = vars.values("bias", &[n_out]).unwrap().to_vec();
        let values = to_host(&x).unwrap();
        let mut want: Vec<f64> = (0..out_h * out_w).flat_map(|_| bias.iter().map(|b| f64::from(*b))).collect();
        for i in 0..h * w * n_in * kernel * kernel * n_out {
            let (c_out, tx, ty) = (i % n_out, i / n_out % kernel, i / n_out / kernel % kernel);
            let rest = i / n_out / kernel / kernel;
            let (c_in, column, row) = (rest % n_in, rest / n_in % w, rest / n_in / w);
            let place = |at: usize, tap: usize, n: usize| (at * stride + tap).checked_sub(padding).filter(|at| *at < n);
            if let (Some(y), Some(x)) = (place(row, ty, out_h), place(column, tx, out_w)) {
                let filter = f64::from(filters[((c_in * n_out + c_out) * kernel + ty) * kernel + tx]);
                want[(y * out_w + x) * n_out + c_out] += filter * f64::from(values[(row * w + column) * n_in + c_in]);
            }
        }
        for compute in [&ours, &candle] {
            let vars = Vars::new(&weights, compute);
            let layer = ConvTranspose2d::new(n_in, n_out, kernel, stride, padding, After::None, &vars).unwrap();
            let got = layer.forward(&x).unwrap();
            assert_eq!(got.dims(), [out_h, out_w, n_out]);
            for (got, want) in to_host(&got).unwrap().iter().zip(&want) {
                // Sums of up to 45 products of numbers up to 60 with ones up to 1.
                assert!((f64::from(*got) - want).abs() < 1e-4, "{kernel} {stride} {padding}: {got} {want}");
            }
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
