//! Convolutions of every shape, activation, precision and instruction set against plain loops.

use fastrand::Rng;

use super::{
    super::{
        Isa, Lined, Precision, bf16, reference,
        testing::{assert_close, numbers},
    },
    After, ConvShape, Convolution, PackedConv, PackedTransposed, Part, TransposedShape,
    few::FEW,
};

struct Case {
    shape: ConvShape,
    h: usize,
    w: usize,
}

const fn case(shape: ConvShape, h: usize, w: usize) -> Case {
    Case { shape, h, w }
}

/// Odd sizes around tiles of 14 pixels (28 of few outputs) and panels of 32, strides, dilations, channels
/// of several chunks, pictures smaller than their filter; few panels and many, pictures that are read
/// in place.
const CASES: [Case; 41] = [
    case(ConvShape::new(1, 1, 1), 1, 1),
    case(ConvShape::new(3, 64, 3), 9, 31),
    case(ConvShape::new(64, 3, 3), 15, 14),
    case(ConvShape::new(24, 48, 3), 6, 29),
    case(ConvShape::new(20, 2, 5).stride(2), 15, 33),
    case(ConvShape::new(9, 4, 3).dilated(2), 8, 19),
    case(ConvShape::new(48, 33, 3), 5, 120),
    case(ConvShape::new(16, 16, 3).dilated(2), 10, 10),
    case(ConvShape::new(16, 20, 3).dilated(8), 9, 12),
    case(ConvShape::new(5, 64, 3).stride(2), 13, 30),
    case(ConvShape::new(12, 7, 4).stride(4).padding(0), 17, 16),
    case(ConvShape::new(7, 9, 2).padding(1), 4, 5),
    case(ConvShape::new(130, 40, 3), 7, 5),
    case(ConvShape::new(257, 31, 1), 3, 19),
    case(ConvShape::new(64, 64, 1), 20, 31),
    case(ConvShape::new(128, 24, 1), 3, 40),
    case(ConvShape::new(256, 90, 1), 1, 300),
    case(ConvShape::new(1100, 36, 3), 3, 3),
    case(ConvShape::new(32, 32, 3), 1, 1),
    case(ConvShape::new(24, 48, 3), 17, 33),
    case(ConvShape::new(64, 48, 3), 35, 37),
    case(ConvShape::new(96, 16, 3).stride(2), 71, 75),
    case(ConvShape::new(32, 130, 2).padding(1), 34, 50),
    case(ConvShape::new(30, 70, 3).stride(2), 34, 37),
    case(ConvShape::new(25, 8, 3).dilated(3), 22, 40),
    case(ConvShape::new(33, 40, 2).padding(1), 16, 19),
    case(ConvShape::new(40, 130, 3), 9, 11),
    case(ConvShape::new(20, 110, 3).dilated(4), 10, 15),
    case(ConvShape::new(9, 100, 3).stride(2), 12, 21),
    case(ConvShape::new(1050, 97, 2).padding(0), 3, 4),
    case(ConvShape::new(6, 5, 7).padding(3), 4, 2),
    case(ConvShape::new(64, 16, 3), 17, 47),
    case(ConvShape::new(16, 16, 3), 20, 61),
    case(ConvShape::new(128, 12, 1), 1, 100),
    case(ConvShape::new(3, 64, 3), 15, 17),
    case(ConvShape::new(3, 20, 16).stride(16).padding(0), 32, 240),
    case(ConvShape::new(40, 40, 3).depthwise(), 7, 9),
    case(ConvShape::new(32, 32, 3).depthwise(), 14, 17),
    case(ConvShape::new(16, 16, 3).padding(0).depthwise(), 10, 9),
    case(ConvShape::new(35, 35, 3).stride(2).depthwise(), 8, 5),
    case(ConvShape::new(16, 16, 5).dilated(2).depthwise(), 6, 11),
];

/// Sums are of size 1 to 4, so their noise grows with the root of the number of products times 6e-8
/// and more; two parts of bf16 are an f32 but for 2^-17 of it. A wrong number anywhere is off by 1e-2.
fn tolerance(shape: &ConvShape, precision: Precision) -> f64 {
    let products = shape.n_in / shape.groups * shape.kernel * shape.kernel;
    let noise = 5e-7 + 2.5e-7 * (products as f64).sqrt();
    if precision == Precision::Bf16x3 { noise + 6e-5 } else { noise }
}

fn check(after: &dyn Fn(usize) -> After, precision: Precision, n_parts: usize, add: Option<f32>) {
    for (seed, case) in CASES.iter().enumerate() {
        let Case { shape, h, w } = *case;
        let mut rng = Rng::with_seed(seed as u64);
        let n_products = shape.n_in / shape.groups * shape.kernel * shape.kernel;
        let weight = numbers(&mut rng, shape.n_out * n_products, (3.0 / n_products as f32).sqrt());
        let bias = numbers(&mut rng, shape.n_out, 1.0);
        let after = after(shape.n_out);
        let layer = Convolution { shape, weight: &weight, bias: (seed % 3 > 0).then_some(&bias), after: &after };
        let x = numbers(&mut rng, h * w * shape.n_in, 1.7);
        let before = numbers(&mut rng, shape.size(h) * shape.size(w) * shape.n_out, 1.0);
        for isa in Isa::available() {
            let is_half =
                precision == Precision::Bf16 && isa.multiplies_bf16() && shape.groups == 1 && shape.n_out > FEW;
            let rounded = |values: &[f32]| values.iter().map(|v| bf16::round(*v)).collect::<Vec<f32>>();
            let mut want = if is_half {
                reference::convolution(&Convolution { weight: &rounded(&weight), ..layer }, &rounded(&x), h, w)
            } else {
                reference::convolution(&layer, &x, h, w)
            };
            if let Some(scale) = add {
                want.iter_mut().zip(&before).for_each(|(w, b)| *w = *w * f64::from(scale) + f64::from(*b));
            }
            let parts = split(&x, shape.n_in, n_parts);
            let parts: Vec<Part> = parts.iter().map(|(x, c)| Part::new(x, *c)).collect();
            let packed = PackedConv::for_isa(&layer, precision, isa);
            let y = match add {
                None => packed.apply(&parts, h, w),
                Some(scale) => packed.apply_add(&parts, h, w, &before, scale),
            };
            assert_close(
                &format!("{isa:?} {precision:?} {after:?} {shape:?}"),
                &y,
                &want,
                tolerance(&shape, precision),
            );
        }
    }
}

/// Channels shared out among `n` inputs.
fn split<T: Copy>(x: &[T], channels: usize, n: usize) -> Vec<(Vec<T>, usize)> {
    let each = channels.div_ceil(n);
    let part = |first: usize| {
        let c = each.min(channels - first);
        (x.chunks_exact(channels).flat_map(|pixel| pixel[first..first + c].to_vec()).collect(), c)
    };
    (0..channels).step_by(each).map(part).collect()
}

#[test]
fn convolutions_are_sums_over_taps_and_channels() {
    check(&|_| After::None, Precision::F32, 1, None);
    check(&|_| After::None, Precision::Bf16x3, 1, None);
    check(&|_| After::None, Precision::Bf16, 1, None);
}

#[test]
fn inputs_count_as_one_side_by_side() {
    check(&|_| After::None, Precision::F32, 3, None);
    check(&|_| After::None, Precision::Bf16x3, 3, None);
    check(&|_| After::None, Precision::Bf16, 3, None);
}

#[test]
fn activations_follow() {
    for after in [After::Relu, After::LeakyRelu(0.2), After::Gelu, After::Silu, After::Sigmoid] {
        check(&|_| after.clone(), Precision::F32, 1, None);
    }
    check(&|n| After::Prelu((0..n).map(|i| i as f32 / n as f32 - 0.3).collect()), Precision::F32, 1, None);
}

#[test]
fn results_are_added_to_a_residual() {
    check(&|_| After::Relu, Precision::F32, 2, Some(0.2));
    check(&|_| After::None, Precision::Bf16, 1, Some(1.0));
}

/// What is bf16 already is not rounded again, and what comes out is the nearest bf16 of what would,
/// in the memory of an earlier result too.
#[test]
fn inputs_and_outputs_may_be_bf16() {
    let mut old = Lined::<half::bf16>::default();
    for (seed, Case { shape, h, w }) in CASES.iter().enumerate() {
        let mut rng = Rng::with_seed(seed as u64);
        let weight = numbers(&mut rng, shape.weight_shape().iter().product(), 0.3);
        let layer = Convolution { shape: *shape, weight: &weight, bias: None, after: &After::Relu };
        let x: Vec<half::bf16> =
            numbers(&mut rng, h * w * shape.n_in, 1.0).into_iter().map(half::bf16::from_f32).collect();
        let wide: Vec<f32> = x.iter().map(|v| v.to_f32()).collect();
        let (x, wide) = (split(&x, shape.n_in, 1 + seed % 2), split(&wide, shape.n_in, 1 + seed % 2));
        let halves: Vec<Part> = x.iter().map(|(x, c)| Part::new(x, *c)).collect();
        let wide: Vec<Part> = wide.iter().map(|(x, c)| Part::new(x, *c)).collect();
        for isa in Isa::available() {
            for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
                let packed = PackedConv::for_isa(&layer, precision, isa);
                let want = packed.apply(&wide, *h, *w);
                let label = format!("{isa:?} {precision:?} {shape:?}");
                // Whether they are read in place or not, sums have one order.
                assert!(*packed.apply(&halves, *h, *w) == *want, "{label}");
                let rounded: Vec<half::bf16> = want.iter().map(|v| half::bf16::from_f32(*v)).collect();
                old = packed.apply_in(&halves, *h, *w, old);
                assert!(*old == *rounded, "{label}");
            }
        }
    }
}

#[test]
fn transposed_convolutions_spread_every_pixel() {
    let cases = [
        (2, 2, 0, 5, 6),
        (4, 2, 1, 70, 40),
        (3, 2, 1, 9, 33),
        (4, 4, 0, 20, 48),
        (3, 1, 0, 4, 3),
        (3, 1, 1, 6, 60),
        (5, 3, 2, 40, 8),
    ];
    for (seed, (kernel, stride, padding, n_in, n_out)) in cases.into_iter().enumerate() {
        let shape = TransposedShape { n_in, n_out, kernel, stride, padding };
        for (h, w) in [(1, 1), (3, 4), (7, 20), (18, 33)] {
            let mut rng = Rng::with_seed(seed as u64);
            let n_products = n_in * kernel.div_ceil(stride).pow(2);
            let weight = numbers(&mut rng, shape.weight_shape().iter().product(), (3.0 / n_products as f32).sqrt());
            let (bias, x) = (numbers(&mut rng, n_out, 1.0), numbers(&mut rng, h * w * n_in, 1.7));
            let after = After::Prelu((0..n_out).map(|i| i as f32 / n_out as f32).collect());
            for isa in Isa::available() {
                for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
                    let is_half = precision == Precision::Bf16 && isa.multiplies_bf16();
                    let seen = |values: &[f32]| -> Vec<f32> {
                        values.iter().map(|v| if is_half { bf16::round(*v) } else { *v }).collect()
                    };
                    let want = reference::transposed(shape, &seen(&weight), &bias, &after, &seen(&x), h, w);
                    let layer = PackedTransposed::for_isa(shape, &weight, Some(&bias), &after, precision, isa);
                    let got = layer.apply(&Part::new(&x, n_in), h, w);
                    let tolerance = tolerance(&ConvShape::new(n_products, 1, 1), precision);
                    assert_close(&format!("{isa:?} {precision:?} {shape:?} of {h}x{w}"), &got, &want, tolerance);
                }
            }
        }
    }
}

#[test]
fn many_threads_compute_the_same_bits_as_one() {
    let mut rng = Rng::with_seed(7);
    let shape = ConvShape::new(70, 100, 3);
    let weight = numbers(&mut rng, shape.n_out * shape.n_in * 9, 0.1);
    let (h, w) = (37, 150);
    let x = numbers(&mut rng, h * w * shape.n_in, 1.0);
    let layer = Convolution { shape, weight: &weight, bias: None, after: &After::Relu };
    for precision in [Precision::F32, Precision::Bf16] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let packed = PackedConv::new(&layer, precision);
            pool.install(|| packed.apply(&[Part::new(&x, shape.n_in)], h, w))
        };
        assert!(*with(1) == *with(5), "{precision:?}");
    }
}

#[test]
fn nothing_around_a_picture_leaks_in() {
    // What scratch holds from an earlier call must not show.
    let shape = ConvShape::new(3, 5, 3);
    let weight = vec![1.0; 5 * 27];
    let layer = Convolution { shape, weight: &weight, bias: None, after: &After::None };
    for precision in [Precision::F32, Precision::Bf16] {
        let packed = PackedConv::new(&layer, precision);
        packed.apply(&[Part::new(&[f32::NAN; 9 * 9 * 3], 3)], 9, 9);
        let y = packed.apply(&[Part::new(&[1.0; 4 * 5 * 3], 3)], 4, 5);
        assert_eq!((y[0], y[(5 + 1) * 5]), (12.0, 27.0), "{precision:?}");
        assert!(y.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn results_begin_at_cache_lines() {
    let shape = ConvShape::new(2, 33, 1);
    let weight = vec![1.0; 66];
    let layer = Convolution { shape, weight: &weight, bias: None, after: &After::None };
    let packed = PackedConv::new(&layer, Precision::F32);
    // The last is large enough for huge pages.
    for side in [1, 9, 40, 520] {
        let x = vec![0.5; side * side * 2];
        let y = packed.apply(&[Part::new(&x, 2)], side, side);
        assert_eq!((y.as_ptr().addr() % 64, y.len()), (0, side * side * 33), "{side}");
        assert!(y.iter().all(|v| *v == 1.0), "{side}");
    }
}
