//! Functions of 16 lanes: exponential, GELU, SiLU.
//!
//! Polynomials and the rational function are our own fits (weighted least squares, weights
//! raised where the error is largest until it is level); errors below are measured in tests.

use super::Simd;

/// `e^x` to a relative error of 2e-7. Below -87.3 the result is 1.2e-38, above 88.3 2.2e38.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        let (n, r) = reduced::<S>(x);
        let mut p = S::splat(0.008_312_521);
        for c in [0.041_890_16, 0.166_671_14, 0.499_992_3, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale(p, n)
    }
}

/// `2^x` for x up to 126, to a relative error of 2.5e-7. Below -126 the result is 1.2e-38 or less.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        let (n, r) = S::split(x);
        let mut p = S::splat(1.867_130_7e-3);
        for c in [9.017_029e-3, 5.579_991_3e-2, 0.240_164_45, 0.693_151_3, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale(p, n)
    }
}

/// `2^x` for x up to 126, to a relative error of 9e-5, and exact for whole x: enough for what
/// is rounded to bf16 (4e-3) next. Below -126 as `exp2`.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn exp2_rough<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        let (n, r) = S::split(x);
        let mut p = S::splat(7.706_708e-2);
        for c in [0.227_644_95, 0.695_116_8, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale(p, n)
    }
}

/// `n` and `r` with `x = n ln 2 + r` and |r| at most half of ln 2, after limiting `x`.
#[inline(always)]
unsafe fn reduced<S: Simd>(x: S::V) -> (S::V, S::V) {
    // ln 2 in two parts: products of the first with whole numbers up to 127 are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: as promised.
    unsafe {
        let x = S::max(S::min(x, S::splat(88.3)), S::splat(-87.3));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-LN2_HIGH), x);
        (n, S::fma(n, S::splat(-LN2_LOW), r))
    }
}

/// `x / 2 * (1 + erf(x / sqrt 2))`: the GELU without the tanh approximation, to 2.5e-7 * max(1, |x|).
///
/// The normal distribution's integral from 0 to x is `x P(x^2) / Q(x^2)`, relative error 1.7e-8
/// up to 5.5, where f32 has no room left below 1/2.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    const P: [f32; 5] = [6.301_573_6e-6, 1.645_735_7e-4, 4.651_481_3e-3, 3.345_889e-2, 0.398_942_26];
    const Q: [f32; 5] = [7.216_688e-5, 1.860_645_1e-3, 2.841_612_5e-2, 0.250_535_4, 1.0];
    // SAFETY: as promised.
    unsafe {
        let z = S::max(S::min(x, S::splat(5.5)), S::splat(-5.5));
        let u = S::mul(z, z);
        let mut p = S::splat(2.293_107_2e-8);
        let mut q = S::splat(1.199_024_5e-6);
        for i in 0..5 {
            p = S::fma(p, u, S::splat(P[i]));
            q = S::fma(q, u, S::splat(Q[i]));
        }
        let half = S::splat(0.5);
        let integral = S::mul(S::mul(z, p), S::recip(q));
        let integral = S::max(S::min(integral, half), S::splat(-0.5));
        S::fma(x, integral, S::mul(x, half))
    }
}

/// `x / (1 + e^-x)`, to a relative error of 4e-7.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        // e^69 is the largest that `recip` is good for; what is left of `x` there is noise.
        let e = exp::<S>(S::min(S::sub(S::splat(0.0), x), S::splat(69.0)));
        S::mul(x, S::recip(S::add(S::splat(1.0), e)))
    }
}

/// `x / (1 + e^-x)` with `exp2` and `recip`, to 1.5e-6 of itself while it is not itself negligible;
/// `ROUGH` with `exp2_rough` and `recip_rough`, to 2e-4.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(crate) unsafe fn silu_near<S: Simd, const ROUGH: bool>(x: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        let power = S::min(S::mul(x, S::splat(-std::f32::consts::LOG2_E)), S::splat(99.0));
        let one = S::splat(1.0);
        if ROUGH {
            S::mul(x, S::recip_rough(S::add(one, exp2_rough::<S>(power))))
        } else {
            S::mul(x, S::recip(S::add(one, exp2::<S>(power))))
        }
    }
}
