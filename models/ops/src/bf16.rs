//! bf16: the upper half of an f32. Rounding to it and back.

use super::{Isa, Precision};

/// How many bf16 numbers stand for an f32: the nearest, and the nearest to what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    One = 1,
    Two = 2,
}

impl Parts {
    /// Those that tiles of `isa` multiply for a precision; `None` if products are f32.
    pub fn multiplied(precision: Precision, isa: Isa) -> Option<Parts> {
        match precision {
            Precision::Bf16 if isa.multiplies_bf16() => Some(Parts::One),
            // Without tiles, three products of pairs take longer than one of f32.
            Precision::Bf16x3 if isa == Isa::Amx => Some(Parts::Two),
            _ => None,
        }
    }

    pub fn n(self) -> usize {
        self as usize
    }
}

/// Nearest bf16, ties to even; what is beyond its range becomes infinite, NaN stays NaN.
#[inline(always)]
pub fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The f32 with the same value.
#[inline(always)]
pub fn to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16 as part 0; as part 1 the nearest to what is left.
pub fn part(value: f32, part: usize) -> u16 {
    from_f32(if part == 0 { value } else { value - round(value) })
}

/// `value` with bf16's precision.
pub fn round(value: f32) -> f32 {
    to_f32(from_f32(value))
}
