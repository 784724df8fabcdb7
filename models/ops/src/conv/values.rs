//! Where numbers come from and go to.

use half::bf16;
use rayon::prelude::*;

/// An input `[h, w, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub values: Values<'a>,
    pub channels: usize,
}

impl<'a> Part<'a> {
    pub fn new(values: &'a [f32], channels: usize) -> Part<'a> {
        Part { values: Values::F32(values), channels }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> Values<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
        }
    }

    /// Those from `first` on.
    pub(super) fn from(&self, first: usize) -> Values<'a> {
        match self {
            Values::F32(values) => Values::F32(&values[first..]),
            Values::Bf16(values) => Values::Bf16(&values[first..]),
        }
    }

    pub(super) fn get(&self, i: usize) -> f32 {
        match self {
            Values::F32(values) => values[i],
            Values::Bf16(values) => values[i].to_f32(),
        }
    }

    /// All of them, which are f32.
    pub(super) fn f32(&self) -> &'a [f32] {
        match self {
            Values::F32(values) => values,
            Values::Bf16(_) => unreachable!("kernels of f32 are given f32"),
        }
    }
}

/// What kernels of f32 need in the place of bf16.
pub(super) fn widened(part: &Part) -> Option<Vec<f32>> {
    match part.values {
        Values::F32(_) => None,
        Values::Bf16(values) => Some(values.par_iter().with_min_len(1 << 12).map(|v| v.to_f32()).collect()),
    }
}

/// All as bf16, the nearest.
pub(super) fn rounded(values: &[f32]) -> Vec<bf16> {
    values.par_iter().with_min_len(1 << 12).map(|v| bf16::from_f32(*v)).collect()
}

/// Outputs, which several threads write, each to places of its own: f32, or bf16.
#[derive(Clone, Copy)]
pub(super) struct Output {
    start: *mut u8,
    pub is_bf16: bool,
}

// SAFETY: only an address; who writes there answers for where.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    pub fn f32(start: *mut f32) -> Output {
        Output { start: start.cast(), is_bf16: false }
    }

    pub fn bf16(start: *mut bf16) -> Output {
        Output { start: start.cast(), is_bf16: true }
    }

    /// Where number `i` goes.
    pub fn at(&self, i: usize) -> *mut u8 {
        self.start.wrapping_add(i * if self.is_bf16 { size_of::<bf16>() } else { size_of::<f32>() })
    }
}
