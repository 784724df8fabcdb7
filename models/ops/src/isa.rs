//! Which vector instructions the kernels use, found out once while running.
//!
//! Every kernel exists for each `Isa` from one generic source (simd/), but for the
//! matrix tiles of `Amx` and the dot products of `Avx512Bf16`, which have files of
//! their own in linear/ and attention/.

use std::sync::OnceLock;

/// An instruction set, best first. One that follows is a subset of one before, on x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// AVX-512 with BF16, and matrix tiles of bf16 (AMX-TILE, AMX-BF16).
    Amx,
    /// AVX-512 with dot products of bf16 pairs.
    Avx512Bf16,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// What the compiler makes of plain loops: NEON on aarch64, SSE2 on x86-64.
    Portable,
}

impl Isa {
    /// All, best first.
    pub const ALL: [Isa; 5] = [Isa::Amx, Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The best that this machine and its operating system allow.
    ///
    /// The first call asks Linux for the use of tile registers, for the whole process.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// Whether kernels for this set can run here.
    pub fn is_available(self) -> bool {
        self == Isa::Portable || (cfg!(target_arch = "x86_64") && self >= Isa::best())
    }

    /// Those that can run here, best first: what tests walk.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether products of bf16 numbers are done by the machine itself.
    pub(super) fn multiplies_bf16(self) -> bool {
        matches!(self, Isa::Amx | Isa::Avx512Bf16)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Isa::Portable;
    }
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx512, is_x86_feature_detected!("avx512bf16")) {
        (false, _) => Isa::Avx2,
        (true, false) => Isa::Avx512,
        (true, true) if has_bf16_tiles() => Isa::Amx,
        (true, true) => Isa::Avx512Bf16,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}

/// Whether the processor has bf16 tiles and the system lets this process use them.
///
/// Bits: Intel's Software Developer's Manual, CPUID leaf 7 (EDX 22 and 24) and XCR0 (17 and 18).
#[cfg(target_arch = "x86_64")]
fn has_bf16_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILE_STATE: u64 = 0b11 << 17;
    if __cpuid(0).eax < 7 {
        return false;
    }
    let edx = __cpuid_count(7, 0).edx;
    let processor = edx >> 22 & 1 == 1 && edx >> 24 & 1 == 1;
    // SAFETY: AVX-512 was found, so the system has enabled XSAVE and XGETBV exists.
    processor && unsafe { enabled_state() } & TILE_STATE == TILE_STATE && ask_for_tiles()
}

/// XCR0: the register state that the operating system saves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
unsafe fn enabled_state() -> u64 {
    // SAFETY: the caller knows that XGETBV exists; register 0 always does.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Linux hands out tile registers only on request, because they make signal frames 8 KiB larger
/// (Documentation/arch/x86/xstate.rst). Other systems that enable the state need no request.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask_for_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn ask_for_tiles() -> bool {
    true
}
