//! What follows sums: activations.

use super::super::{
    isa::Isa,
    simd::{LANES, Simd, math, per_isa},
};

/// An activation, each value by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    None,
    /// `max(v, 0)`.
    Relu,
    /// Values below zero times this.
    LeakyRelu(f32),
    /// Values below zero times the number of their channel.
    Prelu(Vec<f32>),
    /// `v / 2 * (1 + erf(v / sqrt 2))`.
    Gelu,
    /// `v / (1 + e^-v)`.
    Silu,
    /// `1 / (1 + e^-v)`.
    Sigmoid,
}

impl After {
    /// Replaces `values`, whose last axis is `n_channels` long.
    ///
    /// # Panics
    /// If there is another number of slopes than of channels.
    pub fn apply(&self, values: &mut [f32], n_channels: usize) {
        let slopes = self.slopes(n_channels);
        for values in values.chunks_mut(n_channels.max(1)) {
            // SAFETY: as many values as slopes; the best instructions are available.
            unsafe { activate(Isa::best(), self.kind(), &slopes, values) }
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            After::None => Kind::None,
            After::Relu | After::LeakyRelu(_) | After::Prelu(_) => Kind::Slope,
            After::Gelu => Kind::Gelu,
            After::Silu => Kind::Silu,
            After::Sigmoid => Kind::Sigmoid,
        }
    }

    /// For each channel, what values below zero are multiplied by; none where that is not what happens.
    pub(super) fn slopes(&self, n_channels: usize) -> Vec<f32> {
        match self {
            After::Relu => vec![0.0; n_channels],
            After::LeakyRelu(slope) => vec![*slope; n_channels],
            After::Prelu(slopes) => {
                assert_eq!(slopes.len(), n_channels, "slopes for other channels");
                slopes.clone()
            }
            _ => Vec::new(),
        }
    }
}

/// An activation without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    Slope,
    Gelu,
    Silu,
    Sigmoid,
}

/// The activation of 16 values; `slopes` are those of their channels.
///
/// # Safety
/// As `Simd`.
#[inline(always)]
pub(super) unsafe fn after<S: Simd>(kind: Kind, v: S::V, slopes: S::V) -> S::V {
    // SAFETY: as promised.
    unsafe {
        let zero = S::splat(0.0);
        match kind {
            Kind::None => v,
            Kind::Slope => S::fma(S::min(v, zero), slopes, S::max(v, zero)),
            Kind::Gelu => math::gelu::<S>(v),
            Kind::Silu => math::silu::<S>(v),
            Kind::Sigmoid => {
                // e^69 is the largest that `recip` is good for.
                let e = math::exp::<S>(S::min(S::sub(zero, v), S::splat(69.0)));
                S::recip(S::add(S::splat(1.0), e))
            }
        }
    }
}

per_isa! { fn activate(kind: Kind, slopes: &[f32], values: &mut [f32]) = all; }

#[inline(always)]
unsafe fn all<S: Simd>(kind: Kind, slopes: &[f32], values: &mut [f32]) {
    // SAFETY: whole vectors are within the slices; a rest is copied.
    unsafe {
        let whole = values.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let v = values.as_mut_ptr().add(i);
            let slope = if slopes.is_empty() { S::splat(0.0) } else { S::load(slopes.as_ptr().add(i)) };
            S::store(v, after::<S>(kind, S::load(v), slope));
        }
        let n_rest = values.len() - whole;
        if n_rest > 0 {
            let (mut rest, mut rest_slopes) = ([0.0; LANES], [0.0; LANES]);
            rest[..n_rest].copy_from_slice(&values[whole..]);
            if !slopes.is_empty() {
                rest_slopes[..n_rest].copy_from_slice(&slopes[whole..]);
            }
            let v = after::<S>(kind, S::load(rest.as_ptr()), S::load(rest_slopes.as_ptr()));
            S::store(rest.as_mut_ptr(), v);
            values[whole..].copy_from_slice(&rest[..n_rest]);
        }
    }
}
