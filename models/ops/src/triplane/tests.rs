//! The triplane decoder of every precision and instruction set against plain loops.

use fastrand::Rng;
use glam::Vec3;

use super::{
    super::{
        Isa, Precision, bf16, reference,
        testing::{assert_close, numbers},
    },
    DecoderLayer, TriplaneDecoder, Triplanes,
};

/// Channels, plane height and width, widths of the layers.
type Sizes = (usize, (usize, usize), &'static [usize]);

/// TripoSR's tiny and released decoders, and one with odd sizes.
const SIZES: [Sizes; 3] = [
    (8, (16, 16), &[16, 16, 16, 4]),
    (40, (64, 64), &[64, 64, 64, 64, 64, 64, 64, 64, 64, 4]),
    (5, (7, 3), &[33, 20, 3]),
];

fn points(rng: &mut Rng, n: usize, radius: f32) -> Vec<Vec3> {
    // Inside, on the border, and beyond it.
    let mut all: Vec<Vec3> =
        (0..n).map(|_| Vec3::new(rng.f32() - 0.5, rng.f32() - 0.5, rng.f32() - 0.5) * 2.6 * radius).collect();
    all.extend([Vec3::ZERO, Vec3::splat(radius), Vec3::splat(-radius), Vec3::new(1e9, -1e9, 0.0)]);
    all
}

/// Ten layers of sums of 64 to 120, each of size 1 to 4.
const NOISE: f64 = 1e-4;

fn check(precision: Precision, tolerance: f64) {
    for (seed, (channels, (height, width), widths)) in SIZES.into_iter().enumerate() {
        let mut rng = Rng::with_seed(seed as u64);
        let planes = numbers(&mut rng, 3 * channels * height * width, 1.7);
        let planes = Triplanes { planes: &planes, channels, height, width, radius: 0.87 };
        let mut n_in = 3 * channels;
        let parameters: Vec<(Vec<f32>, Vec<f32>)> = widths
            .iter()
            .map(|&n_out| {
                // SiLU halves what passes: larger weights keep it alive through all layers.
                let weight = numbers(&mut rng, n_out * n_in, 1.8 * (3.0 / n_in as f32).sqrt());
                n_in = n_out;
                (weight, numbers(&mut rng, n_out, 0.2))
            })
            .collect();
        let layers: Vec<DecoderLayer> = parameters.iter().map(|(weight, bias)| DecoderLayer { weight, bias }).collect();
        let points = points(&mut rng, 203, planes.radius);
        let want = |layers: &[DecoderLayer], precision| -> Vec<f64> {
            points.iter().flat_map(|&p| reference::decode(&planes, layers, precision, p)).collect()
        };
        // Where the machine cannot multiply bf16, only hidden weights are rounded.
        let mut rounded = parameters.clone();
        if precision == Precision::Bf16 {
            let hidden = rounded.len() - 1;
            rounded[..hidden].iter_mut().flat_map(|(w, _)| w).for_each(|w| *w = bf16::round(*w));
        }
        let rounded: Vec<DecoderLayer> = rounded.iter().map(|(weight, bias)| DecoderLayer { weight, bias }).collect();
        let (all_rounded, weights_rounded) = (want(&layers, precision), want(&rounded, Precision::F32));
        for isa in Isa::available() {
            let decoder = TriplaneDecoder::for_isa(&planes, &layers, precision, isa);
            let n_out = decoder.n_out();
            let mut out = vec![f32::NAN; points.len() * n_out];
            decoder.decode(&points, &mut out);
            let what = format!("{isa:?} {precision:?} {channels} {widths:?}");
            if isa.multiplies_bf16() {
                assert_close(&what, &out, &all_rounded, tolerance);
            } else {
                assert_close(&what, &out, &weights_rounded, NOISE);
            }
            let mut first = vec![f32::NAN; points.len()];
            decoder.decode_first(&points, &mut first);
            assert!(first.iter().eq(out.iter().step_by(n_out)), "{isa:?} {precision:?}: first results differ");
        }
    }
}

#[test]
fn f32_decoder_follows_lookups_and_layers() {
    check(Precision::F32, NOISE);
}

#[test]
fn decoder_of_two_parts_of_bf16_is_nearly_f32() {
    check(Precision::Bf16x3, 3e-4);
}

/// Where a sum lies between two bf16 numbers, noise decides which; layers behind spread that.
#[test]
fn bf16_decoder_is_near() {
    check(Precision::Bf16, 5e-2);
}
