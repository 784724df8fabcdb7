//! Linear layers: `y = activation(x W^T + b)`, weights packed once, everything fused.
//!
//! Packing turns the weights into panels of 32 outputs (tile/mod.rs), so that the
//! inner loops read them front to back. A GEGLU panel holds 16 values and their 16 gates.

mod bf16_rows;
mod f32_rows;
mod finish;
mod pack;

use super::{Isa, Precision};
use pack::Panels;

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    None,
    /// `v / 2 * (1 + erf(v / sqrt 2))`.
    Gelu,
    /// The first half of the outputs times the GELU of the second: half as many come out.
    Geglu,
}

/// A layer as it stands in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[n_out, n_in]`, row-major.
    pub weight: &'a [f32],
    /// `[n_out]`.
    pub bias: Option<&'a [f32]>,
    pub n_in: usize,
    pub activation: Activation,
}

/// A layer, its weights in the order and precision in which the kernels want them.
pub struct PackedLinear {
    panels: Panels,
    activation: Activation,
    isa: Isa,
}

impl PackedLinear {
    /// Packs for this machine, in parallel.
    ///
    /// # Panics
    /// If the lengths do not fit one another.
    pub fn new(layer: &Linear, precision: Precision) -> Self {
        Self::for_isa(layer, precision, Isa::best())
    }

    /// Packs for given instructions; for tests and comparisons.
    ///
    /// # Panics
    /// As `new`, and if this machine does not have them.
    pub fn for_isa(layer: &Linear, precision: Precision, isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} is not available here");
        PackedLinear { panels: Panels::new(layer, precision, isa), activation: layer.activation, isa }
    }

    /// Numbers in a row of x.
    pub fn n_in(&self) -> usize {
        self.panels.n_in
    }

    /// Numbers in a row of y: for GEGLU half the rows of the weights.
    pub fn n_out(&self) -> usize {
        self.panels.n_out
    }

    /// `y = activation(x W^T + b)`: x `[rows, n_in]`, y `[rows, n_out]`.
    ///
    /// # Panics
    /// If the lengths are not those of the same number of rows.
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        self.run(x, y, false);
    }

    /// `y += activation(x W^T + b)`: the end of a residual branch.
    ///
    /// # Panics
    /// As `apply`.
    pub fn apply_add(&self, x: &[f32], y: &mut [f32]) {
        self.run(x, y, true);
    }

    fn run(&self, x: &[f32], y: &mut [f32], add: bool) {
        let (n_in, n_out) = (self.n_in(), self.n_out());
        let rows = x.len() / n_in;
        assert!(
            x.len() == rows * n_in && y.len() == rows * n_out,
            "{} inputs and {} outputs are not rows of {n_in} and {n_out}",
            x.len(),
            y.len()
        );
        match &self.panels.data {
            pack::Data::Bf16(weights, parts) if self.isa.multiplies_bf16() => {
                bf16_rows::Layer { of: self, weights, parts: *parts }.run(x, rows, y, add)
            }
            _ => f32_rows::run(self, x, rows, y, add),
        }
    }
}

#[cfg(test)]
mod tests;
