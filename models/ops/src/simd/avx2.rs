//! Sixteen lanes in two 256-bit registers.

use std::arch::x86_64::*;

use super::{LANES, Simd, load_all};

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[derive(Clone, Copy)]
pub(crate) struct Two(__m256, __m256);

/// Both numbers of each lane widened.
#[inline(always)]
unsafe fn dot_bf16(a: __m256, b: __m256, c: __m256) -> __m256 {
    // SAFETY: AVX2 and FMA, as promised to the trait.
    unsafe {
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let even = |v: __m256| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
        let odd = |v: __m256| _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(v), upper));
        _mm256_fmadd_ps(odd(a), odd(b), _mm256_fmadd_ps(even(a), even(b), c))
    }
}

// SAFETY of every block: the trait's caller promises AVX2, FMA and valid pointers.
impl Simd for Avx2 {
    type V = Two;
    /// Ten registers of sums, two of weights, one of inputs, and what the compiler reads ahead, of 16.
    /// Half of the columns at a time reads inputs twice; all of them would leave room for three rows,
    /// which read weights as often.
    const TILE_ROWS: usize = 5;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Two {
        unsafe { Two(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Two {
        unsafe { Two(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Two) {
        unsafe {
            _mm256_storeu_ps(to, v.0);
            _mm256_storeu_ps(to.add(8), v.1);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> (Two, Two) {
        unsafe {
            let (even0, odd0) = split(_mm256_loadu_si256(from.cast()));
            let (even1, odd1) = split(_mm256_loadu_si256(from.add(16).cast()));
            (Two(even0, even1), Two(odd0, odd1))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, v: Two) {
        unsafe {
            // Packing works within halves of 128 bits: the quarters come out as 0 2 1 3.
            let packed = _mm256_packus_epi32(rounded(v.0), rounded(v.1));
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn to_bf16(v: Two) -> Two {
        unsafe { Two(upper(rounded(v.0)), upper(rounded(v.1))) }
    }
    #[inline(always)]
    unsafe fn pair_bf16(even: Two, odd: Two) -> Two {
        unsafe { Two(pair(even.0, odd.0), pair(even.1, odd.1)) }
    }
    #[inline(always)]
    unsafe fn add(a: Two, b: Two) -> Two {
        unsafe { Two(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Two, b: Two) -> Two {
        unsafe { Two(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Two, b: Two) -> Two {
        unsafe { Two(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn fma(a: Two, b: Two, c: Two) -> Two {
        unsafe { Two(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn dot_bf16(a: Two, b: Two, c: Two) -> Two {
        unsafe { Two(dot_bf16(a.0, b.0, c.0), dot_bf16(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn min(a: Two, b: Two) -> Two {
        unsafe { Two(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn max(a: Two, b: Two) -> Two {
        unsafe { Two(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn recip(v: Two) -> Two {
        unsafe {
            let one = _mm256_set1_ps(1.0);
            Two(_mm256_div_ps(one, v.0), _mm256_div_ps(one, v.1))
        }
    }
    #[inline(always)]
    unsafe fn recip_rough(v: Two) -> Two {
        unsafe { Self::recip(v) }
    }
    #[inline(always)]
    unsafe fn round(v: Two) -> Two {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { Two(_mm256_round_ps::<NEAREST>(v.0), _mm256_round_ps::<NEAREST>(v.1)) }
    }
    #[inline(always)]
    unsafe fn split(v: Two) -> (Two, Two) {
        unsafe {
            let lowest = _mm256_set1_ps(-126.0);
            let v = Two(_mm256_max_ps(v.0, lowest), _mm256_max_ps(v.1, lowest));
            let n = Two(_mm256_floor_ps(v.0), _mm256_floor_ps(v.1));
            (n, Self::sub(v, n))
        }
    }
    #[inline(always)]
    unsafe fn scale(v: Two, n: Two) -> Two {
        unsafe { Two(_mm256_mul_ps(v.0, power(n.0)), _mm256_mul_ps(v.1, power(n.1))) }
    }
    /// Through memory: only packing asks for it.
    #[inline(always)]
    unsafe fn transpose(rows: [Two; LANES]) -> [Two; LANES] {
        unsafe {
            let mut from = [[0.0_f32; LANES]; LANES];
            for (to, v) in from.iter_mut().zip(rows) {
                Self::store(to.as_mut_ptr(), v);
            }
            let to: [[f32; LANES]; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| from[j][i]));
            load_all::<Self, LANES>(to.as_ptr().cast(), LANES)
        }
    }
    #[inline(always)]
    unsafe fn sum(v: Two) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(v.0, v.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(v: Two) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(v.0, v.1);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// 2^n, by the exponent's bits.
#[inline(always)]
unsafe fn power(n: __m256) -> __m256 {
    // SAFETY: AVX2, as promised to the trait.
    unsafe {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    }
}

/// Eight pairs of bf16: the even and the odd ones, widened.
#[inline(always)]
unsafe fn split(pairs: __m256i) -> (__m256, __m256) {
    // SAFETY: AVX2, as promised to the trait.
    unsafe {
        let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
        (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(odd))
    }
}

/// Lower halves of the lanes as the upper ones.
#[inline(always)]
unsafe fn upper(v: __m256i) -> __m256 {
    // SAFETY: AVX2, as promised to the trait.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)) }
}

/// Eight pairs of bf16.
#[inline(always)]
unsafe fn pair(even: __m256, odd: __m256) -> __m256 {
    // SAFETY: AVX2, as promised to the trait.
    unsafe { _mm256_castsi256_ps(_mm256_or_si256(rounded(even), _mm256_castps_si256(upper(rounded(odd))))) }
}

/// Eight bf16 in the lower halves of the lanes.
#[inline(always)]
unsafe fn rounded(v: __m256) -> __m256i {
    // SAFETY: AVX2, as promised to the trait.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let lowest = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(lowest, _mm256_set1_epi32(0x7fff));
        _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up))
    }
}
