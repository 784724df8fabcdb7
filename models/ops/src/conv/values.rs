//! Where numbers come from and go to.

use half::bf16;
use rayon::prelude::*;

use super::weights::Products;

/// An input `[h, w, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub values: Values<'a>,
    pub channels: usize,
}

impl<'a> Part<'a> {
    pub fn new<T: Number>(values: &'a [T], channels: usize) -> Part<'a> {
        Part { values: T::values(values), channels }
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

    /// The words that products take, and how many there are for so many numbers: f32, or pairs of bf16,
    /// if they lie as words do.
    pub(super) fn words(&self, products: Products, n: usize) -> Option<(*const f32, usize)> {
        match (self, products) {
            (Values::F32(values), Products::F32) => Some((values.as_ptr(), n)),
            (Values::Bf16(values), Products::Pairs) => {
                let start: *const f32 = values.as_ptr().cast();
                (n.is_multiple_of(2) && start.is_aligned()).then_some((start, n / 2))
            }
            _ => None,
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

/// What inputs and outputs are: f32 or bf16.
pub trait Number: Copy + Default + Send + Sync {
    const IS_BF16: bool;

    fn values(of: &[Self]) -> Values<'_>;

    fn nearest(v: f32) -> Self;
}

impl Number for f32 {
    const IS_BF16: bool = false;

    fn values(of: &[f32]) -> Values<'_> {
        Values::F32(of)
    }

    fn nearest(v: f32) -> f32 {
        v
    }
}

impl Number for bf16 {
    const IS_BF16: bool = true;

    fn values(of: &[bf16]) -> Values<'_> {
        Values::Bf16(of)
    }

    fn nearest(v: f32) -> bf16 {
        bf16::from_f32(v)
    }
}

pub(super) fn nearest<T: Number>(values: &[f32]) -> Vec<T> {
    values.par_iter().with_min_len(1 << 12).map(|v| T::nearest(*v)).collect()
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
    pub fn new<T: Number>(start: *mut T) -> Output {
        Output { start: start.cast(), is_bf16: T::IS_BF16 }
    }

    /// Where number `i` goes.
    pub fn at(&self, i: usize) -> *mut u8 {
        self.start.wrapping_add(i * if self.is_bf16 { size_of::<bf16>() } else { size_of::<f32>() })
    }
}
