//! Convolutions over features `[h, w, channels]`: `y = after(conv(x) + b)`, everything fused.
//!
//! | file | what |
//! | --- | --- |
//! | shape.rs | sizes in and out |
//! | after.rs | activations |
//! | values.rs | inputs and outputs, f32 or bf16 |
//! | weights.rs | weights in the order in which they are read |
//! | gather.rs | a piece of the picture, bordered by zeros, as tiles want it |
//! | tile.rs | the inner loop: a few pixels times 32 outputs, sums in registers |
//! | amx.rs | the same by matrix tiles |
//! | finish.rs | from sums to outputs |
//! | plan.rs | how a picture is cut |
//! | dense.rs | the pieces of a picture, each by one thread |
//! | in_place.rs | the same without gathering |
//! | transposed.rs | transposed convolutions |
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
mod finish;
mod gather;
mod in_place;
mod plan;
mod shape;
mod tile;
mod transposed;
mod values;
mod weights;

pub use after::After;
pub use shape::ConvShape;
pub use transposed::{PackedTransposed, TransposedShape};
pub use values::{Number, Part, Values};

use self::{
    dense::{Dense, Target},
    depthwise::Depthwise,
    few::Few,
    gather::Inputs,
    values::Output,
    weights::Products,
};
use super::{Isa, Lined, Precision};

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

/// What becomes of results.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then<'a> {
    Write,
    /// They are added, `scale` times, to `residual`, which is as long as the outputs.
    Add {
        scale: f32,
        residual: &'a [f32],
    },
}

impl Then<'_> {
    /// The same for outputs from number `first` on.
    fn from(self, first: usize) -> Self {
        match self {
            Then::Write => Then::Write,
            Then::Add { scale, residual } => Then::Add { scale, residual: &residual[first..] },
        }
    }
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

    /// Whether inputs are rounded to bf16 before they are multiplied: then it is the same whether they
    /// come as f32 or as bf16.
    pub fn rounds_inputs(&self) -> bool {
        match &self.kind {
            Kind::Dense(dense) => dense.rounds_inputs(),
            _ => false,
        }
    }

    /// `[h', w', n_out]` of `parts`, which count as one input, side by side along channels.
    ///
    /// # Panics
    /// If lengths or channels are not those of the layer.
    pub fn apply(&self, parts: &[Part], h: usize, w: usize) -> Lined<f32> {
        self.to_f32(parts, h, w, Then::Write)
    }

    /// `apply`, or rounded to bf16, in the memory of `old`, if that is enough: large results are
    /// otherwise in memory that is new to the system, which takes time.
    ///
    /// # Panics
    /// As `apply`.
    pub fn apply_in<T: Number>(&self, parts: &[Part], h: usize, w: usize, old: Lined<T>) -> Lined<T> {
        if T::IS_BF16 && !matches!(self.kind, Kind::Dense(_)) {
            return values::nearest(&self.apply(parts, h, w)).into();
        }
        // SAFETY: all outputs are written.
        unsafe { old.refilled(self.len(h, w), |y| self.run(parts, h, w, Output::new(y), Then::Write)) }
    }

    /// `residual + scale * apply(parts)`: the end of a residual branch.
    ///
    /// # Panics
    /// As `apply`, and if `residual` is of another length than the outputs.
    pub fn apply_add(&self, parts: &[Part], h: usize, w: usize, residual: &[f32], scale: f32) -> Lined<f32> {
        assert_eq!(residual.len(), self.len(h, w), "{:?} of {h}x{w}", self.shape);
        self.to_f32(parts, h, w, Then::Add { scale, residual })
    }

    fn to_f32(&self, parts: &[Part], h: usize, w: usize, then: Then) -> Lined<f32> {
        // SAFETY: all outputs are written.
        unsafe { Lined::filled(self.len(h, w), |y| self.run(parts, h, w, Output::new(y), then)) }
    }

    /// Outputs of a picture.
    fn len(&self, h: usize, w: usize) -> usize {
        self.shape.size(h) * self.shape.size(w) * self.shape.n_out
    }

    /// `y` has room for all outputs.
    fn run(&self, parts: &[Part], h: usize, w: usize, y: Output, then: Then) {
        let shape = &self.shape;
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), shape.n_in, "{shape:?}");
        assert!(parts.iter().all(|part| part.values.len() == h * w * part.channels), "{shape:?} of {h}x{w}");
        if self.len(h, w) == 0 {
            return;
        }
        let wide: Vec<Option<Vec<f32>>> =
            parts.iter().map(|part| if self.rounds_inputs() { None } else { values::widened(part) }).collect();
        let parts: Vec<Part> = parts
            .iter()
            .zip(&wide)
            .map(|(part, wide)| Part { values: wide.as_deref().map_or(part.values, Values::F32), ..*part })
            .collect();
        let inputs = Inputs { parts: &parts, h, w };
        match &self.kind {
            Kind::Dense(dense) => {
                let (h, w) = (shape.size(h), shape.size(w));
                dense.apply(&inputs, Target { y, h, w, then })
            }
            Kind::Few(few) => few.apply(&inputs, y, then),
            Kind::Depthwise(depthwise) => depthwise.apply(&inputs, y, then),
        }
    }
}

#[cfg(test)]
mod tests;
