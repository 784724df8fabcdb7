//! Sixteen lanes in an array: the compiler finds the registers.

use super::{super::bf16, LANES, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; LANES];

/// One rounding where the machine has the instruction; a library call would be far slower.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// Adding and taking away 1.5 * 2^23 leaves no place for a fraction.
const NO_FRACTION: f32 = 12_582_912.0;

// SAFETY of every block: the trait's caller promises valid pointers.
impl Simd for Portable {
    type V = V;
    /// On aarch64: 24 sums of 32 registers, half of the columns at a time. With 16 registers of four lanes
    /// even two rows spill.
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 1 };
    const TILE_VECTORS: usize = if cfg!(target_arch = "aarch64") { 1 } else { 2 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: V) {
        unsafe { to.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> (V, V) {
        let bits = unsafe { from.cast::<[[u16; 2]; LANES]>().read_unaligned() };
        (bits.map(|b| f32::from_bits(u32::from(b[0]) << 16)), bits.map(|b| f32::from_bits(u32::from(b[1]) << 16)))
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, v: V) {
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(v.map(bf16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn to_bf16(v: V) -> V {
        v.map(bf16::round)
    }
    #[inline(always)]
    unsafe fn pair_bf16(even: V, odd: V) -> V {
        std::array::from_fn(|i| {
            f32::from_bits(u32::from(bf16::from_f32(even[i])) | u32::from(bf16::from_f32(odd[i])) << 16)
        })
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn dot_bf16(a: V, b: V, c: V) -> V {
        let even = |v: f32| f32::from_bits(v.to_bits() << 16);
        let odd = |v: f32| f32::from_bits(v.to_bits() & 0xffff_0000);
        std::array::from_fn(|i| mul_add(odd(a[i]), odd(b[i]), mul_add(even(a[i]), even(b[i]), c[i])))
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn recip(v: V) -> V {
        v.map(|x| 1.0 / x)
    }
    #[inline(always)]
    unsafe fn recip_rough(v: V) -> V {
        unsafe { Self::recip(v) }
    }
    #[inline(always)]
    unsafe fn round(v: V) -> V {
        v.map(|x| (x + NO_FRACTION) - NO_FRACTION)
    }
    #[inline(always)]
    unsafe fn split(v: V) -> (V, V) {
        let v = v.map(|x| if x > -126.0 { x } else { -126.0 });
        // Rounded, and one less where that went up: no call of a library.
        let n = v.map(|x| {
            let near = (x + NO_FRACTION) - NO_FRACTION;
            if near > x { near - 1.0 } else { near }
        });
        (n, std::array::from_fn(|i| v[i] - n[i]))
    }
    #[inline(always)]
    unsafe fn scale(v: V, n: V) -> V {
        std::array::from_fn(|i| {
            let shifted = (n[i] + NO_FRACTION).to_bits().wrapping_sub(NO_FRACTION.to_bits());
            v[i] * f32::from_bits(shifted.wrapping_add(127) << 23)
        })
    }
    #[inline(always)]
    unsafe fn transpose(rows: [V; LANES]) -> [V; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
    #[inline(always)]
    unsafe fn sum(v: V) -> f32 {
        let mut half = 8;
        let mut v = v;
        while half > 0 {
            for i in 0..half {
                v[i] += v[i + half];
            }
            half /= 2;
        }
        v[0]
    }
    #[inline(always)]
    unsafe fn largest(v: V) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }
}
