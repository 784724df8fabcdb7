//! Sixteen lanes in one 512-bit register, with and without conversions to bf16.

use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// These and BF16.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16;

/// Rounded in integers.
#[inline(always)]
unsafe fn to_bf16(v: __m512) -> __m256i {
    // SAFETY: AVX-512 F, as promised to the trait.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let lowest = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(lowest, _mm512_set1_epi32(0x7fff));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up)))
    }
}

/// Rounded by the machine, which takes denormals for zero.
#[inline(always)]
unsafe fn to_bf16_at_once(v: __m512) -> __m256i {
    // SAFETY: AVX-512 BF16, as promised to the trait; both types are 256 bits.
    unsafe { std::mem::transmute(_mm512_cvtneps_pbh(v)) }
}

#[inline(always)]
unsafe fn store_two(to: *mut u16, first: __m512, second: __m512) {
    // SAFETY: AVX-512 F and 32 places, as promised to the trait.
    unsafe {
        _mm256_storeu_si256(to.cast(), to_bf16(first));
        _mm256_storeu_si256(to.add(LANES).cast(), to_bf16(second));
    }
}

/// One store of a whole cache line: a tile is loaded line by line, and would wait for two halves.
#[inline(always)]
unsafe fn store_two_at_once(to: *mut u16, first: __m512, second: __m512) {
    // SAFETY: AVX-512 BF16 and 32 places, as promised to the trait; both types are 512 bits.
    unsafe {
        let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        _mm512_storeu_si512(to.cast(), both);
    }
}

/// Both numbers of each lane widened.
#[inline(always)]
unsafe fn dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
    // SAFETY: AVX-512 F, as promised to the trait.
    unsafe {
        let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        let even = |v: __m512| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v)));
        let odd = |v: __m512| _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper));
        _mm512_fmadd_ps(odd(a), odd(b), _mm512_fmadd_ps(even(a), even(b), c))
    }
}

/// The machine's own, which takes denormals for zero.
#[inline(always)]
unsafe fn dot_bf16_at_once(a: __m512, b: __m512, c: __m512) -> __m512 {
    // SAFETY: AVX-512 BF16, as promised to the trait; all types are 512 bits.
    unsafe {
        _mm512_dpbf16_ps(c, std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b))
    }
}

macro_rules! sixteen_lanes {
    ($name:ident, $to_bf16:ident, $store_two:ident, $dot_bf16:ident) => {
        // SAFETY of every block: the trait's caller promises the instructions and valid pointers.
        impl Simd for $name {
            type V = __m512;
            /// 28 sums, two vectors of weights, one of inputs: 31 of 32 registers.
            const TILE_ROWS: usize = 14;

            #[inline(always)]
            unsafe fn splat(value: f32) -> __m512 {
                unsafe { _mm512_set1_ps(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> __m512 {
                unsafe { _mm512_loadu_ps(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: __m512) {
                unsafe { _mm512_storeu_ps(to, v) }
            }
            #[inline(always)]
            unsafe fn load_bf16_pairs(from: *const u16) -> (__m512, __m512) {
                unsafe {
                    let pairs = _mm512_loadu_si512(from.cast());
                    let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                    (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd))
                }
            }
            #[inline(always)]
            unsafe fn store_bf16(to: *mut u16, v: __m512) {
                unsafe { _mm256_storeu_si256(to.cast(), $to_bf16(v)) }
            }
            #[inline(always)]
            unsafe fn store_two_bf16(to: *mut u16, first: __m512, second: __m512) {
                unsafe { $store_two(to, first, second) }
            }
            #[inline(always)]
            unsafe fn to_bf16(v: __m512) -> __m512 {
                unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32($to_bf16(v)))) }
            }
            #[inline(always)]
            unsafe fn pair_bf16(even: __m512, odd: __m512) -> __m512 {
                unsafe {
                    let (even, odd) = (_mm512_cvtepu16_epi32($to_bf16(even)), _mm512_cvtepu16_epi32($to_bf16(odd)));
                    _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)))
                }
            }
            #[inline(always)]
            unsafe fn add(a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_add_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_sub_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_mul_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }
            #[inline(always)]
            unsafe fn dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
                unsafe { $dot_bf16(a, b, c) }
            }
            #[inline(always)]
            unsafe fn min(a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_min_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn max(a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_max_ps(a, b) }
            }
            /// 14 bits and one step of Newton's.
            #[inline(always)]
            unsafe fn recip(v: __m512) -> __m512 {
                unsafe {
                    let r = _mm512_rcp14_ps(v);
                    let miss = _mm512_fnmadd_ps(v, r, _mm512_set1_ps(1.0));
                    _mm512_fmadd_ps(miss, r, r)
                }
            }
            #[inline(always)]
            unsafe fn recip_rough(v: __m512) -> __m512 {
                unsafe { _mm512_rcp14_ps(v) }
            }
            #[inline(always)]
            unsafe fn round(v: __m512) -> __m512 {
                unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
            }
            #[inline(always)]
            unsafe fn split(v: __m512) -> (__m512, __m512) {
                // Scaling takes the floor itself, and knows of underflow.
                unsafe { (v, _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(v)) }
            }
            #[inline(always)]
            unsafe fn scale(v: __m512, n: __m512) -> __m512 {
                unsafe { _mm512_scalef_ps(v, n) }
            }
            #[inline(always)]
            unsafe fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
                unsafe { transpose(rows) }
            }
            #[inline(always)]
            unsafe fn sum(v: __m512) -> f32 {
                unsafe { _mm512_reduce_add_ps(v) }
            }
            #[inline(always)]
            unsafe fn largest(v: __m512) -> f32 {
                unsafe { _mm512_reduce_max_ps(v) }
            }
        }
    };
}

sixteen_lanes!(Avx512, to_bf16, store_two, dot_bf16);
sixteen_lanes!(Avx512Bf16, to_bf16_at_once, store_two_at_once, dot_bf16_at_once);

/// Four rounds, each pairing rows: single lanes, pairs, quarters, halves.
#[inline(always)]
unsafe fn transpose(r: [__m512; LANES]) -> [__m512; LANES] {
    // SAFETY: AVX-512 F, as promised to the trait.
    unsafe {
        let mut t = r;
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        // Quarter q of u[4 * i + j] is column 4 * q + j of rows 4 * i to 4 * i + 3.
        let mut u = r;
        for i in 0..4 {
            let pair = |a: __m512, b: __m512| (_mm512_castps_pd(a), _mm512_castps_pd(b));
            let (a, b) = pair(t[4 * i], t[4 * i + 2]);
            u[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            u[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            let (a, b) = pair(t[4 * i + 1], t[4 * i + 3]);
            u[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            u[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
        let mut all = r;
        for j in 0..4 {
            let even0 = _mm512_shuffle_f32x4::<0b10_00_10_00>(u[j], u[4 + j]);
            let odd0 = _mm512_shuffle_f32x4::<0b11_01_11_01>(u[j], u[4 + j]);
            let even1 = _mm512_shuffle_f32x4::<0b10_00_10_00>(u[8 + j], u[12 + j]);
            let odd1 = _mm512_shuffle_f32x4::<0b11_01_11_01>(u[8 + j], u[12 + j]);
            all[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even0, even1);
            all[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd0, odd1);
            all[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even0, even1);
            all[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd0, odd1);
        }
        all
    }
}
