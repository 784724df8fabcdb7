//! What the kernels should compute, in plain loops with f64 sums: read these first.
//!
//! `Bf16` rounds what the kernels round (inputs, weights), and nothing else, so that kernels are
//! held to rounding noise in either precision. The exceptions are named with each function.
//! `Bf16x3` is held against exact numbers.

use glam::Vec3;

use super::{
    Activation, Attention, Bias, DecoderLayer, Linear, Norm, Precision, Triplanes, bf16,
    conv::{After, ConvShape, Convolution, TransposedShape},
};

fn rounded(value: f32, precision: Precision) -> f64 {
    f64::from(match precision {
        Precision::F32 | Precision::Bf16x3 => value,
        Precision::Bf16 => bf16::round(value),
    })
}

/// The error function. All terms of the series `2 x e^(-x^2) / sqrt pi * sum (2 x^2)^n / (2n + 1)!!`
/// have one sign (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6).
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, 0.0, 0.0);
    while sum + term != sum {
        sum += term;
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

pub fn gelu(x: f64) -> f64 {
    x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `activation(x W^T + b)`, `[rows, n_out]`.
pub fn linear(layer: &Linear, precision: Precision, x: &[f32]) -> Vec<f64> {
    let mut y = Vec::new();
    for x in x.chunks_exact(layer.n_in) {
        let sums: Vec<f64> = layer
            .weight
            .chunks_exact(layer.n_in)
            .enumerate()
            .map(|(o, w)| {
                let products = x.iter().zip(w).map(|(&x, &w)| rounded(x, precision) * rounded(w, precision));
                products.sum::<f64>() + layer.bias.map_or(0.0, |b| f64::from(b[o]))
            })
            .collect();
        match layer.activation {
            Activation::None => y.extend(sums),
            Activation::Gelu => y.extend(sums.into_iter().map(gelu)),
            Activation::Geglu => {
                let (values, gates) = sums.split_at(sums.len() / 2);
                y.extend(values.iter().zip(gates).map(|(value, &gate)| value * gelu(gate)));
            }
        }
    }
    y
}

/// `softmax(q k^T * scale + bias) v` of every head in every window, `[q.n, heads * d]`, nothing rounded.
pub fn attention(of: &Attention) -> Vec<f64> {
    let &Attention { q, k, v, heads, d, scale, windows, bias } = of;
    let (queries, keys) = (q.n / windows, k.n / windows);
    let mut out = vec![0.0; q.n * heads * d];
    for i in 0..q.n {
        for head in 0..heads {
            let at = |row: usize, stride: usize, c: usize| row * stride + head * d + c;
            let score = |j: usize| {
                let products =
                    (0..d).map(|c| f64::from(q.data[at(i, q.stride, c)]) * f64::from(k.data[at(j, k.stride, c)]));
                products.sum::<f64>() * f64::from(scale)
                    + f64::from(bias_of(&bias, head, (i, q.n, queries), j % keys, keys))
            };
            let first = i / queries * keys;
            let scores: Vec<f64> = (first..first + keys).map(score).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
            for (j, s) in scores.iter().enumerate() {
                let share = (s - largest).exp() / total;
                for c in 0..d {
                    out[at(i, heads * d, c)] += share * f64::from(v.data[at(first + j, v.stride, c)]);
                }
            }
        }
    }
    out
}

/// Of query `i` of `n`, `queries` a window, and the key at `place` of its window of `keys`.
fn bias_of(bias: &Bias, head: usize, (i, n, queries): (usize, usize, usize), place: usize, keys: usize) -> f32 {
    match *bias {
        Bias::None => 0.0,
        Bias::Table(table) => table[(head * queries + i % queries) * keys + place],
        Bias::Axes { offsets, height, width } => {
            let own = &offsets[(head * n + i) * (2 * height + 2 * width - 2)..];
            let (down, right) = (place / width + height - 1, place % width + width - 1);
            own[down - i % queries / width] + own[2 * height - 1 + right - i % queries % width]
        }
    }
}

/// Norms rows as long as there are weights.
pub fn layer_norm(x: &[f32], norm: &Norm) -> Vec<f64> {
    let n = norm.weight.len();
    let mut y = Vec::new();
    for x in x.chunks_exact(n) {
        let (mean, deviation) = moments(x, norm.eps);
        y.extend(
            (0..n).map(|i| (f64::from(x[i]) - mean) / deviation * f64::from(norm.weight[i]) + f64::from(norm.bias[i])),
        );
    }
    y
}

/// Norms groups of channels of `[channels, positions]`.
pub fn group_norm(x: &[f32], groups: usize, norm: &Norm) -> Vec<f64> {
    let channels = norm.weight.len();
    let positions = x.len() / channels;
    let mut y = Vec::new();
    for group in x.chunks_exact(channels / groups * positions) {
        let (mean, deviation) = moments(group, norm.eps);
        for &x in group {
            let channel = y.len() / positions;
            let (weight, bias) = (f64::from(norm.weight[channel]), f64::from(norm.bias[channel]));
            y.push((f64::from(x) - mean) / deviation * weight + bias);
        }
    }
    y
}

fn moments(x: &[f32], eps: f32) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, (variance + f64::from(eps)).sqrt())
}

/// The three lookups of a point, one after another.
pub fn look_up(planes: &Triplanes, point: Vec3) -> Vec<f64> {
    let &Triplanes { planes, channels, height, width, radius } = planes;
    let p = point.as_dvec3() / f64::from(radius);
    let mut features = Vec::new();
    for (plane, (u, v)) in [(p.x, p.y), (p.x, p.z), (p.y, p.z)].into_iter().enumerate() {
        let x = (u + 1.0) / 2.0 * width as f64 - 0.5;
        let y = (v + 1.0) / 2.0 * height as f64 - 0.5;
        for c in 0..channels {
            let mut sum = 0.0;
            for row in [y.floor(), y.floor() + 1.0] {
                for column in [x.floor(), x.floor() + 1.0] {
                    let inside = (0.0..height as f64).contains(&row) && (0.0..width as f64).contains(&column);
                    if inside {
                        let at = ((plane * channels + c) * height + row as usize) * width + column as usize;
                        sum += (1.0 - (x - column).abs()) * (1.0 - (y - row).abs()) * f64::from(planes[at]);
                    }
                }
            }
            features.push(sum);
        }
    }
    features
}

/// Lookup and layers of a point. `Bf16` rounds lookups, weights and activations of hidden layers,
/// each after an f64 sum: kernels may round to the neighbour.
pub fn decode(planes: &Triplanes, layers: &[DecoderLayer], precision: Precision, point: Vec3) -> Vec<f64> {
    let mut x = look_up(planes, point);
    for (i, layer) in layers.iter().enumerate() {
        let precision = if i + 1 < layers.len() { precision } else { Precision::F32 };
        let rows = layer.weight.chunks_exact(x.len()).zip(layer.bias);
        let sum = |(w, &b): (&[f32], &f32)| {
            let products = x.iter().zip(w).map(|(&x, &w)| match precision {
                Precision::F32 | Precision::Bf16x3 => x * f64::from(w),
                Precision::Bf16 => f64::from(bf16::round(x as f32)) * f64::from(bf16::round(w)),
            });
            products.sum::<f64>() + f64::from(b)
        };
        let y = rows.map(sum).collect::<Vec<f64>>();
        x = if i + 1 < layers.len() { y.into_iter().map(silu).collect() } else { y };
    }
    x
}

/// A convolution with its activation; x `[h, w, n_in]` to `[h', w', n_out]`.
pub fn convolution(layer: &Convolution, x: &[f32], h: usize, w: usize) -> Vec<f64> {
    let ConvShape { n_in, n_out, kernel, stride, padding, dilation, groups } = layer.shape;
    let (in_group, out_group) = (n_in / groups, n_out / groups);
    let mut y = Vec::new();
    for (row, column) in (0..layer.shape.size(h)).flat_map(|row| (0..layer.shape.size(w)).map(move |c| (row, c))) {
        for c_out in 0..n_out {
            let mut sum = layer.bias.map_or(0.0, |bias| f64::from(bias[c_out]));
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                let at = |place: usize, tap: usize, n: usize| {
                    (place * stride + tap * dilation).checked_sub(padding).filter(|at| *at < n)
                };
                let (Some(y), Some(x_at)) = (at(row, ky, h), at(column, kx, w)) else { continue };
                for c in 0..in_group {
                    let value = x[(y * w + x_at) * n_in + c_out / out_group * in_group + c];
                    let weight = layer.weight[((c_out * in_group + c) * kernel + ky) * kernel + kx];
                    sum += f64::from(value) * f64::from(weight);
                }
            }
            y.push(activated(layer.after, sum, c_out));
        }
    }
    y
}

/// A transposed convolution; x `[h, w, n_in]` to `[h', w', n_out]`.
pub fn transposed(
    shape: TransposedShape,
    weight: &[f32],
    bias: &[f32],
    after: &After,
    x: &[f32],
    h: usize,
    w: usize,
) -> Vec<f64> {
    let TransposedShape { n_in, n_out, kernel, stride, padding } = shape;
    let (out_h, out_w) = (shape.size(h), shape.size(w));
    let mut y: Vec<f64> = (0..out_h * out_w).flat_map(|_| bias.iter().map(|b| f64::from(*b))).collect();
    for i in 0..h * w * n_in * kernel * kernel * n_out {
        let (c_out, tx, ty) = (i % n_out, i / n_out % kernel, i / n_out / kernel % kernel);
        let rest = i / n_out / kernel / kernel;
        let (c_in, column, row) = (rest % n_in, rest / n_in % w, rest / n_in / w);
        let place = |at: usize, tap: usize, n: usize| (at * stride + tap).checked_sub(padding).filter(|at| *at < n);
        if let (Some(to_y), Some(to_x)) = (place(row, ty, out_h), place(column, tx, out_w)) {
            let filter = f64::from(weight[((c_in * n_out + c_out) * kernel + ty) * kernel + tx]);
            y[(to_y * out_w + to_x) * n_out + c_out] += filter * f64::from(x[(row * w + column) * n_in + c_in]);
        }
    }
    y.iter_mut().enumerate().for_each(|(i, v)| *v = activated(after, *v, i % n_out));
    y
}

fn activated(after: &After, v: f64, channel: usize) -> f64 {
    let slope = |slope: f32| if v < 0.0 { v * f64::from(slope) } else { v };
    match after {
        After::None => v,
        After::Relu => v.max(0.0),
        After::LeakyRelu(s) => slope(*s),
        After::Prelu(slopes) => slope(slopes[channel]),
        After::Gelu => gelu(v),
        After::Silu => silu(v),
        After::Sigmoid => 1.0 / (1.0 + (-v).exp()),
    }
}
