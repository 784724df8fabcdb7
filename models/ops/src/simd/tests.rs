//! Lane operations of every instruction set against scalar f64.

use super::{
    super::{bf16, isa::Isa, reference},
    LANES, Simd, math,
};

per_isa! { fn exp_all(x: &[f32], y: &mut [f32]) = exp_lanes; }
per_isa! { fn exp2_all(x: &[f32], y: &mut [f32]) = exp2_lanes; }
per_isa! { fn exp2_rough_all(x: &[f32], y: &mut [f32]) = exp2_rough_lanes; }
per_isa! { fn gelu_all(x: &[f32], y: &mut [f32]) = gelu_lanes; }
per_isa! { fn silu_all(x: &[f32], y: &mut [f32]) = silu_lanes; }
per_isa! { fn silu_near_all(x: &[f32], y: &mut [f32]) = silu_near_lanes; }
per_isa! { fn silu_rough_all(x: &[f32], y: &mut [f32]) = silu_rough_lanes; }
per_isa! { fn round_all(x: &[f32], y: &mut [u16]) = round_lanes; }
per_isa! { fn dot_all(x: &[f32], y: &mut [f32]) = dot_lanes; }
per_isa! { fn transpose_all(x: &[f32], y: &mut [f32]) = transpose_lanes; }

macro_rules! lanes {
    ($name:ident, $function:ident $(, $rough:literal)?) => {
        #[inline(always)]
        unsafe fn $name<S: Simd>(x: &[f32], y: &mut [f32]) {
            for (x, y) in x.chunks_exact(LANES).zip(y.chunks_exact_mut(LANES)) {
                // SAFETY: 16 numbers each.
                unsafe { S::store(y.as_mut_ptr(), math::$function::<S $(, $rough)?>(S::load(x.as_ptr()))) }
            }
        }
    };
}
lanes!(exp_lanes, exp);
lanes!(exp2_lanes, exp2);
lanes!(exp2_rough_lanes, exp2_rough);
lanes!(gelu_lanes, gelu);
lanes!(silu_lanes, silu);
lanes!(silu_near_lanes, silu_near, false);
lanes!(silu_rough_lanes, silu_near, true);

#[inline(always)]
unsafe fn round_lanes<S: Simd>(x: &[f32], y: &mut [u16]) {
    for (x, y) in x.chunks_exact(LANES).zip(y.chunks_exact_mut(LANES)) {
        // SAFETY: 16 numbers each.
        unsafe { S::store_bf16(y.as_mut_ptr(), S::load(x.as_ptr())) }
    }
}

#[inline(always)]
unsafe fn transpose_lanes<S: Simd>(x: &[f32], y: &mut [f32]) {
    // SAFETY: 256 numbers each.
    unsafe {
        let square = S::transpose(std::array::from_fn(|i| S::load(x.as_ptr().add(i * LANES))));
        square.into_iter().enumerate().for_each(|(i, v)| S::store(y.as_mut_ptr().add(i * LANES), v));
    }
}

#[inline(always)]
unsafe fn dot_lanes<S: Simd>(x: &[f32], y: &mut [f32]) {
    // SAFETY: three vectors of x, one of y.
    unsafe {
        let [a, b, c] = std::array::from_fn(|i| S::load(x.as_ptr().add(i * LANES)));
        S::store(y.as_mut_ptr(), S::dot_bf16(a, b, c));
    }
}

/// Evenly spread, a multiple of 16 of them.
fn range(from: f32, to: f32) -> Vec<f32> {
    const N: usize = 1 << 16;
    (0..N).map(|i| from + (to - from) * (i as f32 / (N - 1) as f32)).collect()
}

type Lanes = unsafe fn(Isa, &[f32], &mut [f32]);

/// `size` gives what an error is measured in.
fn check(name: &str, f: Lanes, x: &[f32], exact: fn(f64) -> f64, size: fn(f64, f64) -> f64, tolerance: f64) {
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; x.len()];
        // SAFETY: available.
        unsafe { f(isa, x, &mut y) }
        let mut worst = 0.0_f64;
        for (&x, &y) in x.iter().zip(&y) {
            let want = exact(f64::from(x));
            let off = (f64::from(y) - want).abs() / size(f64::from(x), want);
            assert!(off <= tolerance, "{isa:?} {name}({x}) is {y}, not {want}: {off:.2e}");
            worst = worst.max(off);
        }
        println!("{isa:?} {name}: {worst:.2e}");
    }
}

#[test]
fn exponentials_are_as_exact_as_they_say() {
    let relative = |_, want: f64| want;
    check("exp", exp_all, &range(-87.0, 88.0), f64::exp, relative, 2e-7);
    check("exp2", exp2_all, &range(-125.0, 126.0), f64::exp2, relative, 2.5e-7);
    check("exp2_rough", exp2_rough_all, &range(-125.0, 126.0), f64::exp2, relative, 9e-5);
}

#[test]
fn exponentials_of_what_is_far_below_are_almost_nothing() {
    for f in [exp_all, exp2_all, exp2_rough_all] as [Lanes; 3] {
        for isa in Isa::available() {
            let mut y = [f32::NAN; LANES];
            // SAFETY: available.
            unsafe { f(isa, &[f32::MIN; LANES], &mut y) }
            assert!(y.iter().all(|&y| (0.0..2e-38).contains(&y)), "{isa:?}: {y:?}");
        }
    }
}

#[test]
fn gelu_is_exact_to_rounding_noise() {
    let size = |x: f64, _| x.abs().max(1.0);
    check("gelu", gelu_all, &range(-9.0, 9.0), reference::gelu, size, 2.5e-7);
    check("gelu", gelu_all, &range(-0.01, 0.01), reference::gelu, |_, want: f64| want.abs().max(1e-30), 3e-7);
    check("gelu", gelu_all, &range(-1e6, 1e6), reference::gelu, |x: f64, _| x.abs().max(1.0), 2.5e-7);
}

#[test]
fn silu_is_exact_to_rounding_noise() {
    check("silu", silu_all, &range(-60.0, 60.0), reference::silu, |_, want: f64| want.abs().max(1e-30), 4e-7);
    check("silu", silu_all, &range(-1e6, 1e6), reference::silu, |x: f64, _| x.abs().max(1.0), 4e-7);
}

#[test]
fn rougher_silus_are_as_exact_as_they_say() {
    let relative = |_, want: f64| want.abs().max(1e-30);
    check("silu_near", silu_near_all, &range(-15.0, 60.0), reference::silu, relative, 1.5e-6);
    check("silu_rough", silu_rough_all, &range(-15.0, 60.0), reference::silu, relative, 2e-4);
    for f in [silu_near_all, silu_rough_all] as [Lanes; 2] {
        check("far silu", f, &range(-1e6, 1e6), reference::silu, |x, _| x.abs().max(1.0), 2e-4);
    }
}

#[test]
fn bf16_is_the_nearest_with_ties_to_even() {
    let mut x: Vec<f32> =
        (0..1 << 16).map(|i: u32| f32::from_bits((i << 16) ^ (i.wrapping_mul(0x9E37_79B9) >> 16))).collect();
    x.extend((0x3f80..0x3f90).map(|i: u32| f32::from_bits(i << 16 | 0x8000)));
    // Denormals: some machines take them for zero.
    x.retain(|x| x.is_normal() || *x == 0.0);
    x.truncate(x.len() / LANES * LANES);
    for isa in Isa::available() {
        let mut y = vec![0; x.len()];
        // SAFETY: available.
        unsafe { round_all(isa, &x, &mut y) }
        for (&x, &y) in x.iter().zip(&y) {
            let (below, above) = ((x.to_bits() >> 16) as u16, (x.to_bits() >> 16) as u16 + 1);
            let rest = x.to_bits() & 0xffff;
            let want = if rest > 0x8000 || (rest == 0x8000 && below & 1 == 1) { above } else { below };
            assert_eq!(y, want, "{isa:?} {x:e}");
            assert_eq!(bf16::from_f32(x), want, "{x:e}");
        }
    }
    assert!(bf16::to_f32(bf16::from_f32(f32::NAN)).is_nan());
}

#[test]
fn transposing_swaps_rows_and_lanes() {
    let x: Vec<f32> = (0..LANES * LANES).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        // SAFETY: available.
        unsafe { transpose_all(isa, &x, &mut y) }
        for i in 0..LANES {
            for j in 0..LANES {
                assert_eq!(y[i * LANES + j], x[j * LANES + i], "{isa:?} {i} {j}");
            }
        }
    }
}

#[test]
fn products_of_pairs_are_added_to_what_was_there() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut pairs = || -> Vec<[f32; 2]> {
        (0..LANES).map(|_| [rng.f32(), rng.f32()].map(|v| bf16::round(v * 4.0 - 2.0))).collect()
    };
    let (a, b, c) = (pairs(), pairs(), pairs());
    let packed = |pairs: &[[f32; 2]]| -> Vec<f32> {
        let word = |[even, odd]: &[f32; 2]| {
            f32::from_bits(u32::from(bf16::from_f32(*even)) | u32::from(bf16::from_f32(*odd)) << 16)
        };
        pairs.iter().map(word).collect()
    };
    let sums: Vec<f32> = c.iter().map(|pair| pair[0]).collect();
    let x = [packed(&a), packed(&b), sums].concat();
    for isa in Isa::available() {
        let mut y = [0.0; LANES];
        // SAFETY: available.
        unsafe { dot_all(isa, &x, &mut y) }
        for i in 0..LANES {
            let want = f64::from(a[i][0]) * f64::from(b[i][0]) + f64::from(a[i][1]) * f64::from(b[i][1]);
            let want = want + f64::from(c[i][0]);
            // Two roundings of sums up to ten.
            assert!((f64::from(y[i]) - want).abs() < 2e-6, "{isa:?} lane {i}: {} {want}", y[i]);
        }
    }
}
