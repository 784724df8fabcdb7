//! Linear layers of every activation, precision and instruction set against plain loops.

use fastrand::Rng;

use super::{
    super::{
        Isa, Precision, reference,
        testing::{assert_close, numbers},
    },
    Activation, Linear, PackedLinear,
};

struct Case {
    rows: usize,
    n_in: usize,
    n_out: usize,
}

/// Odd sizes around tiles of 14, 16 and 32, one that needs several depths, tiny networks' widths.
const CASES: [Case; 9] = [
    Case { rows: 1, n_in: 1, n_out: 1 },
    Case { rows: 3, n_in: 24, n_out: 48 },
    Case { rows: 37, n_in: 48, n_out: 24 },
    Case { rows: 14, n_in: 31, n_out: 33 },
    Case { rows: 33, n_in: 65, n_out: 31 },
    Case { rows: 29, n_in: 120, n_out: 64 },
    Case { rows: 65, n_in: 513, n_out: 130 },
    Case { rows: 300, n_in: 70, n_out: 80 },
    Case { rows: 5, n_in: 1500, n_out: 1060 },
];

/// Sums are of size 1 to 4, so their noise grows with the root of the depth times 6e-8 and more; what
/// was seen is half of this. A wrong number anywhere is off by 1e-2.
fn tolerance(n_in: usize, precision: Precision) -> f64 {
    let noise = 5e-7 + 2.5e-7 * (n_in as f64).sqrt();
    // Two parts of bf16 leave 2^-18 of every number, and their lesser product is left out;
    // GEGLU multiplies two such sums of size 4.
    if precision == Precision::Bf16x3 { noise + 4e-5 } else { noise }
}

fn check(activation: Activation, precision: Precision, bias: bool, add: bool) {
    for (seed, case) in CASES.iter().enumerate() {
        let Case { rows, n_in, n_out } = *case;
        let mut rng = Rng::with_seed(seed as u64);
        let n_rows = if activation == Activation::Geglu { 2 * n_out } else { n_out };
        let weight = numbers(&mut rng, n_rows * n_in, (3.0 / n_in as f32).sqrt());
        let biases = numbers(&mut rng, n_rows, 1.0);
        let layer = Linear { weight: &weight, bias: bias.then_some(&biases), n_in, activation };
        let x = numbers(&mut rng, rows * n_in, 1.7);
        let before = numbers(&mut rng, rows * n_out, 1.0);
        let mut want = reference::linear(&layer, precision, &x);
        if add {
            want.iter_mut().zip(&before).for_each(|(w, &b)| *w += f64::from(b));
        }
        for isa in Isa::available() {
            let packed = PackedLinear::for_isa(&layer, precision, isa);
            assert_eq!((packed.n_in(), packed.n_out()), (n_in, n_out));
            let mut y = before.clone();
            // Where the machine cannot multiply bf16, rows stay f32 and only weights are rounded.
            let rounded: Vec<f32>;
            let x = if precision == Precision::Bf16 && !isa.multiplies_bf16() {
                rounded = x.iter().map(|&v| super::super::bf16::round(v)).collect();
                &rounded
            } else {
                &x
            };
            match add {
                true => packed.apply_add(x, &mut y),
                false => packed.apply(x, &mut y),
            }
            let what = format!("{isa:?} {precision:?} {activation:?} {rows} x {n_in} -> {n_out}");
            assert_close(&what, &y, &want, tolerance(n_in, precision));
        }
    }
}

#[test]
fn f32_layers_are_products_of_rows_and_weights() {
    check(Activation::None, Precision::F32, true, false);
    check(Activation::None, Precision::F32, false, false);
}

#[test]
fn bf16_layers_are_products_of_rounded_rows_and_weights() {
    check(Activation::None, Precision::Bf16, true, false);
    check(Activation::None, Precision::Bf16, false, false);
}

#[test]
fn layers_of_two_parts_of_bf16_are_nearly_f32() {
    for activation in [Activation::None, Activation::Gelu, Activation::Geglu] {
        check(activation, Precision::Bf16x3, true, false);
        check(activation, Precision::Bf16x3, false, true);
    }
}

#[test]
fn gelu_follows_the_product() {
    check(Activation::Gelu, Precision::F32, true, false);
    check(Activation::Gelu, Precision::Bf16, true, false);
}

#[test]
fn geglu_gates_the_first_half_by_the_second() {
    check(Activation::Geglu, Precision::F32, true, false);
    check(Activation::Geglu, Precision::Bf16, true, false);
}

#[test]
fn results_are_added_to_a_residual() {
    for activation in [Activation::None, Activation::Gelu, Activation::Geglu] {
        check(activation, Precision::F32, true, true);
        check(activation, Precision::Bf16, true, true);
    }
}

#[test]
fn many_threads_compute_the_same_bits_as_one() {
    let mut rng = Rng::with_seed(7);
    let (rows, n_in, n_out) = (211, 530, 190);
    let weight = numbers(&mut rng, n_in * n_out, 0.1);
    let x = numbers(&mut rng, rows * n_in, 1.0);
    let layer = Linear { weight: &weight, bias: None, n_in, activation: Activation::None };
    for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut y = vec![0.0; rows * n_out];
            pool.install(|| PackedLinear::new(&layer, precision).apply(&x, &mut y));
            y
        };
        assert!(with(1) == with(5), "{precision:?}");
    }
}

#[test]
fn no_rows_are_fine() {
    let layer = Linear { weight: &[1.0; 12], bias: None, n_in: 4, activation: Activation::None };
    for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
        PackedLinear::new(&layer, precision).apply(&[], &mut []);
    }
}
