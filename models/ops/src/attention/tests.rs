//! Attention of every precision and instruction set against plain loops.

use fastrand::Rng;

use super::{
    super::{
        Isa, Precision, reference,
        testing::{assert_close, numbers},
    },
    Attention, Bias, Rows, attention_for_isa,
};

struct Case {
    queries: usize,
    keys: usize,
    heads: usize,
    d: usize,
}

/// Odd sizes around tiles and blocks of keys, and every kind of head width.
const CASES: [Case; 8] = [
    Case { queries: 1, keys: 1, heads: 1, d: 16 },
    Case { queries: 5, keys: 3, heads: 3, d: 16 },
    Case { queries: 37, keys: 33, heads: 2, d: 32 },
    Case { queries: 61, keys: 257, heads: 2, d: 64 },
    Case { queries: 130, keys: 513, heads: 1, d: 64 },
    Case { queries: 15, keys: 1100, heads: 2, d: 40 },
    Case { queries: 33, keys: 64, heads: 1, d: 128 },
    Case { queries: 270, keys: 31, heads: 1, d: 24 },
];

fn check(precision: Precision, sharpness: f32, tolerance: impl Fn(Isa) -> f64) {
    for (seed, &Case { queries, keys, heads, d }) in CASES.iter().enumerate() {
        let mut rng = Rng::with_seed(seed as u64);
        let width = heads * d;
        // Keys and values interleaved, as one product leaves them; queries with room behind.
        let q = numbers(&mut rng, queries * (width + 5), sharpness);
        let kv = numbers(&mut rng, keys * 2 * width, 1.7);
        let of = Attention {
            q: Rows { data: &q, stride: width + 5, n: queries },
            k: Rows { data: &kv, stride: 2 * width, n: keys },
            v: Rows { data: &kv[width..], stride: 2 * width, n: keys },
            heads,
            d,
            scale: 1.0 / (d as f32).sqrt(),
            windows: 1,
            bias: Bias::None,
        };
        let want = reference::attention(&of);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; queries * width];
            attention_for_isa(&of, precision, isa, &mut out);
            let what = format!("{isa:?} {precision:?} {queries} to {keys}, {heads} x {d}, {sharpness}");
            assert_close(&what, &out, &want, tolerance(isa));
        }
    }
}

#[test]
fn f32_attention_is_the_softmax_of_scores_times_values() {
    check(Precision::F32, 1.7, |_| 2e-6);
}

/// Scores up to 150, whose own rounding is 1e-5: the largest of a later block of keys takes over.
#[test]
fn sharp_f32_attention_survives_growing_maxima() {
    check(Precision::F32, 60.0, |_| 1e-4);
}

/// Queries, keys and numerators are rounded to 2^-9 of their size, values too.
#[test]
fn bf16_attention_is_near() {
    check(Precision::Bf16, 1.7, |isa| if isa.multiplies_bf16() { 1e-2 } else { 2e-6 });
}

#[test]
fn attention_of_two_parts_of_bf16_is_nearly_f32() {
    check(Precision::Bf16x3, 1.7, |_| 2e-5);
    check(Precision::Bf16x3, 60.0, |_| 1e-3);
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let (n, d) = (40, 16);
    let q = vec![30.0; n * d];
    let k: Vec<f32> = (0..n).flat_map(|row| vec![if row == 33 { 40.0 } else { -40.0 }; d]).collect();
    let v: Vec<f32> = (0..n).flat_map(|row| vec![row as f32; d]).collect();
    let rows = |data| Rows::dense(data, d);
    let of = Attention { q: rows(&q), k: rows(&k), v: rows(&v), heads: 1, d, scale: 1.0, windows: 1, bias: Bias::None };
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
            let mut out = vec![0.0; n * d];
            attention_for_isa(&of, precision, isa, &mut out);
            assert!(out.iter().all(|&o| o == 33.0), "{isa:?} {precision:?}: {:?}", &out[..4]);
        }
    }
}

/// Windows of one and of several blocks of keys, with each kind of bias.
#[test]
fn windows_keep_to_themselves_and_places_have_biases() {
    for (seed, (windows, height, width, heads, d)) in
        [(1, 3, 5, 2, 16), (4, 7, 7, 3, 32), (3, 14, 14, 1, 64), (2, 25, 31, 2, 24)].into_iter().enumerate()
    {
        let mut rng = Rng::with_seed(seed as u64);
        let (n, of_window) = (windows * height * width, height * width);
        let q = numbers(&mut rng, n * heads * d, 1.7);
        let kv = numbers(&mut rng, n * 2 * heads * d, 1.7);
        let table = numbers(&mut rng, heads * of_window * of_window, 1.7);
        let offsets = numbers(&mut rng, heads * n * (2 * height + 2 * width - 2), 1.7);
        for bias in [Bias::None, Bias::Table(&table), Bias::Axes { offsets: &offsets, height, width }] {
            let of = Attention {
                q: Rows { data: &q, stride: heads * d, n },
                k: Rows { data: &kv, stride: 2 * heads * d, n },
                v: Rows { data: &kv[heads * d..], stride: 2 * heads * d, n },
                heads,
                d,
                scale: 1.0 / (d as f32).sqrt(),
                windows,
                bias,
            };
            let want = reference::attention(&of);
            for isa in Isa::available() {
                for (precision, tolerance) in [(Precision::F32, 3e-6), (Precision::Bf16, 1.5e-2)] {
                    let mut out = vec![f32::NAN; n * heads * d];
                    attention_for_isa(&of, precision, isa, &mut out);
                    let what = format!("{isa:?} {precision:?} {windows} windows of {height} x {width}, {heads} x {d}");
                    assert_close(&what, &out, &want, tolerance);
                }
            }
        }
    }
}
