//! Products of small tiles, the inner loops of linear layers, attention and decoders.
//!
//! All multiply rows of A with a panel of B: 32 columns, all that a register tile is wide.
//!
//! | numbers | A | panel of B | rows at once |
//! | --- | --- | --- | --- |
//! | f32 | row-major, a fixed stride | `[k][32]` | `simd::tile_rows` |
//! | bf16 | `[k / 32][parts][32 rows][32 k]` | `[k / 32][parts][2][16 pairs of k][16 columns][2]` | 32 |
//! | f32 times bf16 | as f32 | as bf16, one part | `simd::tile_rows` |
//!
//! The bf16 panel is what AMX wants of its second operand (Intel's Architecture Instruction Set
//! Extensions Programming Reference, TDPBF16PS), and serves the pair products of AVX-512 as well.
//! Depths that bf16 tiles do not divide are filled up with zeros on both sides.

mod bf16;
mod f32;
mod pack;

pub(super) use self::{
    bf16::Bf16Tiles,
    f32::{tile_f32, tile_f32_short, tile_widened},
    pack::{pack_columns, pack_columns_bf16, pack_depths_bf16, pack_rows_bf16},
};

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Depth of a step of bf16 tiles, and rows of a bf16 tile of A.
pub(super) const STEP: usize = 32;
/// bf16 numbers of one part of a step: 32 rows or columns of 32 depths.
pub(super) const STEP_LEN: usize = 32 * STEP;

/// Longest depth `tile_f32` and `tile_widened` take at once: 14 rows of it fit in the first cache.
pub(super) const DEPTH: usize = 512;
/// From row to row of A for these. A cache line more than the depth: rows at powers of two apart
/// would fall on the same few places of the cache.
pub(super) const STRIDE: usize = DEPTH + 16;
/// The same for `tile_f32_short`.
pub(super) const SHORT_DEPTH: usize = 128;
pub(super) const SHORT_STRIDE: usize = SHORT_DEPTH + 16;
