//! Compute kernels of the networks on the CPU: slices in, slices out, threads from rayon.
//!
//! | kernel | file |
//! | --- | --- |
//! | linear layers with bias, GELU, GEGLU, added to a residual | linear/ |
//! | convolutions, plain, dilated, strided, for each channel | conv/ |
//! | attention without the matrix of scores, also in windows and with biases | attention/ |
//! | layer and group norm, transposition | norm.rs |
//! | triplane sampling and the decoder behind it | triplane/ |
//! | what all of them should compute, in plain loops | reference.rs |
//!
//! Interfaces are f32, row-major. `Precision` says what products are made of; sums are
//! always f32. Instructions are chosen while running (isa.rs), and every choice has a
//! portable fallback. A kernel is a function of its arguments alone: results do not depend
//! on the number of threads.

pub mod attention;
pub mod conv;
pub mod isa;
pub mod linear;
pub mod norm;
pub mod reference;
pub mod triplane;

mod bf16;
mod buffer;
mod simd;
mod tile;

#[cfg(test)]
mod testing;

pub use attention::{Attention, Bias, Rows, attention};
pub use buffer::Lined;
pub use isa::Isa;
pub use linear::{Activation, Linear, PackedLinear};
pub use norm::{Norm, group_norm, layer_norm, transpose};
pub use triplane::{DecoderLayer, TriplaneDecoder, Triplanes};

/// What products are made of. Sums are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32: results differ from others' f32 by rounding noise.
    F32,
    /// Two bf16 for every f32, 16 bits of mantissa, and three products for each of f32: errors of
    /// 1e-5, on machines with AMX several times faster than f32. Elsewhere the same as `F32`.
    Bf16x3,
    /// bf16, eight bits of mantissa: half the memory; on machines with AMX the fastest.
    Bf16,
}
