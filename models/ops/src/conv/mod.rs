//! Convolutions over features `[h, w, channels]`: `y = after(conv(x) + b)`, everything fused.
//!
//! | file | what |
//! | --- | --- |
//! | shape.rs | sizes in and out |
//! | after.rs | activations |
//! | weights.rs | weights in the order in which they are read |
//! | gather.rs | a piece of the picture, bordered by zeros, as tiles want it |
//! | tile.rs | the inner loop: a few pixels times 32 outputs, sums in registers |
//! | amx.rs | the same by matrix tiles |
//! | plan.rs | how a picture is cut |
//! | dense.rs | the pieces of a picture, each by one thread |
//! | in_place.rs | the same without gathering |
//! | few.rs | layers of few outputs |
//! | depthwise.rs | a filter for each channel |
//!
//! Channels last makes a convolution a product of matrices without a copy for each tap: the
//! same gathered pixels, read from another place, are the rows of every tap (compare Georganas
//! et al., 2018, "Anatomy of high-performance deep learning convolutions on SIMD architectures").
//! Several inputs count as one with their channels side by side.

mod after;
mod amx;
mod dense;
mod depthwise;
mod few;
mod gather;
mod in_place;
mod plan;
mod shape;
mod tile;
mod weights;

pub use after::After;
pub use shape::ConvShape;

use self::{dense::Dense, depthwise::Depthwise, few::Few, gather::Inputs, weights::Products};
use super::{Isa, Precision, buffer::Shared};

/// A layer as it stands in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    pub shape: ConvShape,
    /// `[n_out, n_in / groups, kernel, kernel]`, row-major.
    pub weight: &'a [f32],
    /// `[n_out]`.
    pub bias: Option<&'a [f32]>,
    pub after: &'a After,
}

/// An input `[h, w, channels]` with its channels.
pub type Part<'a> = (&'a [f32], usize);

/// What becomes of results.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Write,
    /// They are added, `scale` times, to what is there.
    Add {
        scale: f32,
    },
}

/// A layer, its weights in the order and precision in which the kernels want them.
pub struct PackedConv {
    shape: ConvShape,
    kind: Kind,
}

enum Kind {
    Dense(Dense),
    Few(Few),
    Depthwise(Depthwise),
}

impl PackedConv {
    /// Packs for this machine. Products of bf16 that it cannot multiply are computed as `F32`, as
    /// those of `Bf16x3` are where there are no tiles; depthwise layers and those of few outputs, which
    /// wait for memory, always.
    ///
    /// # Panics
    /// If the lengths do not fit one another, or groups are neither 1 nor as many as channels.
    pub fn new(layer: &Convolution, precision: Precision) -> PackedConv {
        PackedConv::for_isa(layer, precision, Isa::best())
    }

    /// Packs for given instructions; for tests and comparisons.
    ///
    /// # Panics
    /// As `new`, and if this machine does not have them.
    pub fn for_isa(layer: &Convolution, precision: Precision, isa: Isa) -> PackedConv {
        let shape = layer.shape;
        assert!(isa.is_available(), "{isa:?} is not available here");
        assert_eq!(layer.weight.len(), shape.weight_shape().iter().product::<usize>(), "{shape:?}");
        assert!(layer.bias.is_none_or(|bias| bias.len() == shape.n_out), "{shape:?}");
        let kind = if shape.groups == 1 && shape.n_out <= few::FEW {
            Kind::Few(Few::new(layer, isa))
        } else if shape.groups == 1 {
            Kind::Dense(Dense::new(layer, Products::of(precision, isa), isa))
        } else {
            assert!(shape.groups == shape.n_in && shape.n_in == shape.n_out, "{shape:?}");
            Kind::Depthwise(Depthwise::new(layer, isa))
        };
        PackedConv { shape, kind }
    }

    /// `[h', w', n_out]` of `parts`, which count as one input, side by side along channels.
    ///
    /// # Panics
    /// If lengths or channels are not those of the layer.
    pub fn apply(&self, parts: &[Part], h: usize, w: usize) -> Vec<f32> {
        let len = self.shape.size(h) * self.shape.size(w) * self.shape.n_out;
        let mut y = Vec::with_capacity(len);
        self.run(parts, h, w, Shared(y.as_mut_ptr()), Then::Write);
        // SAFETY: there is room for as many, and all of them are written.
        unsafe { y.set_len(len) }
        y
    }

    /// `y += scale * apply(parts)`: the end of a residual branch.
    ///
    /// # Panics
    /// As `apply`, and if `y` is of another length.
    pub fn apply_add(&self, parts: &[Part], h: usize, w: usize, y: &mut [f32], scale: f32) {
        assert_eq!(y.len(), self.shape.size(h) * self.shape.size(w) * self.shape.n_out, "{:?} of {h}x{w}", self.shape);
        self.run(parts, h, w, Shared(y.as_mut_ptr()), Then::Add { scale });
    }

    /// `y` has room for all outputs, and they are there already where something is added to them.
    fn run(&self, parts: &[Part], h: usize, w: usize, y: Shared<f32>, then: Then) {
        let shape = &self.shape;
        assert_eq!(parts.iter().map(|(_, channels)| channels).sum::<usize>(), shape.n_in, "{shape:?}");
        assert!(parts.iter().all(|(x, channels)| x.len() == h * w * channels), "{shape:?} of {h}x{w}");
        if shape.size(h).min(shape.size(w)) == 0 {
            return;
        }
        let inputs = Inputs { parts, h, w };
        match &self.kind {
            Kind::Dense(dense) => dense.apply(&inputs, &y, then),
            Kind::Few(few) => few.apply(&inputs, &y, then),
            Kind::Depthwise(depthwise) => depthwise.apply(&inputs, &y, then),
        }
    }
}

#[cfg(test)]
mod tests;
