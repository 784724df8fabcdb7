//! Sixteen f32 lanes on every machine: one source for each kernel, compiled for each `Isa`.
//!
//! A kernel is a generic `#[inline(always)] unsafe fn kernel<S: Simd>(..)`; `per_isa!` makes a
//! function of it that takes an `Isa` and runs the copy compiled for that instruction set.
//! (The generic body must be inlined into a function that has the target feature on:
//! elsewhere the compiler would split the registers in parts, slowly. Closures that take or
//! return vectors are not always inlined: functions are, that say so.)

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod math;
pub(super) mod portable;

use super::isa::Isa;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Operations on 16 lanes. Loads and stores need no alignment.
///
/// # Safety
/// Whoever calls knows that the machine has the instructions, and that pointers are
/// valid for 16 numbers (those of pairs and of two vectors: for 32).
pub(super) trait Simd: Copy {
    type V: Copy;
    /// Rows of a tile of 32 columns, and how many vectors of each row are summed at a time, so that
    /// sums fit in registers.
    const TILE_ROWS: usize;
    const TILE_VECTORS: usize = 2;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// 32 bf16 numbers, widened: those at even and those at odd places.
    unsafe fn load_bf16_pairs(from: *const u16) -> (Self::V, Self::V);
    /// Rounded to bf16, ties to even.
    unsafe fn store_bf16(to: *mut u16, v: Self::V);
    /// 32 numbers rounded to bf16.
    #[inline(always)]
    unsafe fn store_two_bf16(to: *mut u16, first: Self::V, second: Self::V) {
        // SAFETY: the caller promises 32 places.
        unsafe {
            Self::store_bf16(to, first);
            Self::store_bf16(to.add(LANES), second);
        }
    }
    /// Rounded to bf16, as f32.
    unsafe fn to_bf16(v: Self::V) -> Self::V;
    /// Both rounded to bf16: in every lane the even one in the lower half, the odd one in the upper.
    unsafe fn pair_bf16(even: Self::V, odd: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`; rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a * b + c` of lanes that are two bf16 each: both products are added.
    unsafe fn dot_bf16(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// 1 / v to within a few units in the last place, for 2^-100 < |v| < 2^100.
    unsafe fn recip(v: Self::V) -> Self::V;
    /// 1 / v to 7e-5, for the same v.
    unsafe fn recip_rough(v: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even, for |v| < 2^22.
    unsafe fn round(v: Self::V) -> Self::V;
    /// `n` and `v - floor(v)` such that `scale(2^(v - floor(v)), n)` is `2^v`, for v up to 127;
    /// almost zero for v below -126, however far.
    unsafe fn split(v: Self::V) -> (Self::V, Self::V);
    /// `v * 2^n` for whole `n` in -126..=127, or `n` from `split`.
    unsafe fn scale(v: Self::V, n: Self::V) -> Self::V;
    /// Row i of the result holds lane i of every row.
    unsafe fn transpose(rows: [Self::V; LANES]) -> [Self::V; LANES];
    unsafe fn sum(v: Self::V) -> f32;
    unsafe fn largest(v: Self::V) -> f32;
}

/// `N` vectors, each `apart` numbers behind the one before.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(super) unsafe fn load_all<S: Simd, const N: usize>(from: *const f32, apart: usize) -> [S::V; N] {
    // SAFETY: as promised.
    unsafe {
        let mut all = [S::splat(0.0); N];
        for (i, v) in all.iter_mut().enumerate() {
            *v = S::load(from.add(i * apart));
        }
        all
    }
}

/// `n` numbers, then zeros.
///
/// # Safety
/// `n` <= 16 numbers can be read.
#[inline(always)]
pub(super) unsafe fn load_few<S: Simd>(from: *const f32, n: usize) -> S::V {
    let mut all = [0.0; LANES];
    // SAFETY: as promised.
    unsafe {
        std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), n);
        S::load(all.as_ptr())
    }
}

/// The first `n` numbers.
///
/// # Safety
/// `n` <= 16 numbers can be written.
#[inline(always)]
pub(super) unsafe fn store_few<S: Simd>(to: *mut f32, v: S::V, n: usize) {
    let mut all = [0.0; LANES];
    // SAFETY: as promised.
    unsafe {
        S::store(all.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(all.as_ptr(), to, n);
    }
}

/// Makes `fn name(isa, ..)` of a generic kernel.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $kernel:ident;) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: the caller's promises, and the features are on here.
                unsafe { $kernel::<$crate::simd::avx512::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512_bf16($($arg: $ty),*) {
                // SAFETY: the caller's promises, and the features are on here.
                unsafe { $kernel::<$crate::simd::avx512::Avx512Bf16>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the caller's promises, and the features are on here.
                unsafe { $kernel::<$crate::simd::avx2::Avx2>($($arg),*) }
            }
            // SAFETY: an `Isa` other than `Portable` is only given to kernels where available;
            // the rest is the caller's promise.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Amx | $crate::isa::Isa::Avx512Bf16 => avx512_bf16($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 => avx2($($arg),*),
                    _ => $kernel::<$crate::simd::portable::Portable>($($arg),*),
                }
            }
        }
    };
}
pub(super) use per_isa;

/// Rows of a register tile for 32 columns (`Simd::TILE_ROWS` of the copy that runs).
pub(super) fn tile_rows(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 => avx512::Avx512::TILE_ROWS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::Avx2::TILE_ROWS,
        _ => portable::Portable::TILE_ROWS,
    }
}

#[cfg(test)]
mod tests;
