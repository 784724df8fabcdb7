//! Tiles with f32 sums of bf16 products: AMX, or AVX-512's products of pairs.

use super::super::{bf16::Parts, isa::Isa};

/// The right to multiply bf16 tiles on this thread: holds the tile configuration while it lives.
pub(crate) struct Bf16Tiles {
    isa: Isa,
    parts: Parts,
}

impl Bf16Tiles {
    /// # Panics
    /// If `isa` cannot multiply bf16, or not two parts.
    pub fn new(isa: Isa, parts: Parts) -> Self {
        let possible = isa == Isa::Amx || (isa.multiplies_bf16() && parts == Parts::One);
        assert!(possible && isa.is_available(), "{isa:?} cannot multiply {parts:?} of bf16 here");
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Amx {
            // SAFETY: available, as asserted.
            unsafe { x86::configure_tiles() }
        }
        Bf16Tiles { isa, parts }
    }

    /// `c = a b` or `c += a b`: 32 rows, 32 columns, `steps` times 32 deep.
    ///
    /// # Safety
    /// `a` and `b`: `steps * STEP_LEN` numbers for each part, laid out as the module says.
    /// `c`: 32 rows of 32, `c_stride` apart.
    #[inline]
    pub unsafe fn multiply(
        &self,
        steps: usize,
        a: *const u16,
        b: *const u16,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        // SAFETY: the caller's promises; that the instructions exist was checked in `new`.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match (self.isa, self.parts) {
                (Isa::Amx, Parts::One) => x86::multiply_tiles(steps, a, b, c, c_stride, accumulate),
                (Isa::Amx, Parts::Two) => x86::multiply_two_parts(steps, a, b, c, c_stride, accumulate),
                _ => x86::multiply_pairs(steps, a, b, c, c_stride, accumulate),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("{:?} {:?} {:?}", self.isa, self.parts, (steps, a, b, c, c_stride, accumulate));
    }
}

impl Drop for Bf16Tiles {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.isa == Isa::Amx {
            // SAFETY: available, as `new` asserted.
            unsafe { x86::release_tiles() }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::{asm, x86_64::*};

    use super::super::{STEP, STEP_LEN};

    /// Palette 1: eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct TileConfig {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_per_row: [u16; 16],
        rows: [u8; 16],
    }

    const fn first_eight<T: Copy, const N: usize>(value: T, none: T) -> [T; N] {
        let mut all = [none; N];
        let mut i = 0;
        while i < 8 {
            all[i] = value;
            i += 1;
        }
        all
    }

    static TILES: TileConfig = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_per_row: first_eight(64, 0),
        rows: first_eight(16, 0),
    };

    pub unsafe fn configure_tiles() {
        // SAFETY: AMX is available; the configuration is one that palette 1 allows.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const TILES, options(nostack, readonly)) }
    }

    pub unsafe fn release_tiles() {
        // SAFETY: AMX is available.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// Four tiles of sums, multiplied by a loop over steps. The intrinsics are not stable yet.
    macro_rules! multiply_tiles {
        ($(#[$doc:meta])* $name:ident, $bytes:literal, [$($step:literal),* $(,)?]) => {
            $(#[$doc])*
            #[inline]
            pub unsafe fn $name(
                steps: usize,
                a: *const u16,
                b: *const u16,
                c: *mut f32,
                c_stride: usize,
                accumulate: bool,
            ) {
                // SAFETY: tiles are configured; every tile read or written is within a, b and c.
                unsafe {
                    asm!(
                        "test {accumulate:e}, {accumulate:e}",
                        "jnz 2f",
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "jmp 3f",
                        "2:",
                        "tileloadd tmm0, [{c} + {c_bytes}]",
                        "tileloadd tmm1, [{c} + {c_bytes} + 64]",
                        "tileloadd tmm2, [{lower} + {c_bytes}]",
                        "tileloadd tmm3, [{lower} + {c_bytes} + 64]",
                        "3:",
                        $($step,)*
                        concat!("add {a}, ", $bytes),
                        concat!("add {b}, ", $bytes),
                        "dec {steps}",
                        "jnz 3b",
                        "tilestored [{c} + {c_bytes}], tmm0",
                        "tilestored [{c} + {c_bytes} + 64], tmm1",
                        "tilestored [{lower} + {c_bytes}], tmm2",
                        "tilestored [{lower} + {c_bytes} + 64], tmm3",
                        accumulate = in(reg) u32::from(accumulate),
                        a = inout(reg) a => _,
                        b = inout(reg) b => _,
                        c = in(reg) c,
                        lower = in(reg) c.add(16 * c_stride),
                        c_bytes = in(reg) c_stride * size_of::<f32>(),
                        line = in(reg) 64_usize,
                        steps = inout(reg) steps => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                }
            }
        };
    }

    multiply_tiles! {
        /// `Bf16Tiles::multiply` of one part.
        multiply_tiles, 2048, [
            "tileloadd tmm4, [{a} + {line}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tileloadd tmm7, [{b} + {line} + 1024]",
            "tileloadd tmm5, [{a} + {line} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
        ]
    }

    multiply_tiles! {
        /// `Bf16Tiles::multiply` of two parts: all products but that of the two lesser ones.
        multiply_two_parts, 4096, [
            "tileloadd tmm4, [{a} + {line} + 2048]",
            "tileloadd tmm6, [{b} + {line}]",
            "tileloadd tmm7, [{b} + {line} + 1024]",
            "tileloadd tmm5, [{a} + {line} + 3072]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{a} + {line}]",
            "tileloadd tmm5, [{a} + {line} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {line} + 2048]",
            "tileloadd tmm7, [{b} + {line} + 3072]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
        ]
    }

    /// `Bf16Tiles::multiply` of one part, with 16 vectors of sums at a time, for eight rows.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn multiply_pairs(
        steps: usize,
        a: *const u16,
        b: *const u16,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        const ROWS: usize = 8;
        // SAFETY: every place read or written is within a, b and c; any bits are bf16 numbers.
        unsafe {
            for first in (0..32).step_by(ROWS) {
                let a = a.add(first * STEP);
                let c = c.add(first * c_stride);
                let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
                if accumulate {
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let c = c.add(r * c_stride);
                        *sums = [_mm512_loadu_ps(c), _mm512_loadu_ps(c.add(16))];
                    }
                }
                for s in 0..steps {
                    let (a, b) = (a.add(s * STEP_LEN), b.add(s * STEP_LEN));
                    for p in 0..STEP / 2 {
                        let b = b.add(p * 32);
                        let b0: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.cast()));
                        let b1: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.add(STEP_LEN / 2).cast()));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let pair = a.add(r * STEP + 2 * p).cast::<i32>().read_unaligned();
                            let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(pair));
                            sums[0] = _mm512_dpbf16_ps(sums[0], pair, b0);
                            sums[1] = _mm512_dpbf16_ps(sums[1], pair, b1);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    let c = c.add(r * c_stride);
                    _mm512_storeu_ps(c, sums[0]);
                    _mm512_storeu_ps(c.add(16), sums[1]);
                }
            }
        }
    }
}
