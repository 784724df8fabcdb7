//! What a convolution does to sizes.

use std::ops::Range;

/// A square convolution over `[h, w, channels]`, zeros beyond the borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    pub n_in: usize,
    pub n_out: usize,
    /// Taps along each axis.
    pub kernel: usize,
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Pixels from tap to tap.
    pub dilation: usize,
    /// 1, or `n_in` where every channel has a filter of its own.
    pub groups: usize,
}

impl ConvShape {
    /// One that keeps the size of the picture, where `kernel` is odd.
    pub const fn new(n_in: usize, n_out: usize, kernel: usize) -> ConvShape {
        ConvShape { n_in, n_out, kernel, stride: 1, padding: (kernel - 1) / 2, dilation: 1, groups: 1 }
    }

    pub const fn stride(self, stride: usize) -> ConvShape {
        ConvShape { stride, ..self }
    }

    pub const fn padding(self, padding: usize) -> ConvShape {
        ConvShape { padding, ..self }
    }

    /// Taps `dilation` pixels apart, and as many zeros as keep the size of the picture.
    pub const fn dilated(self, dilation: usize) -> ConvShape {
        ConvShape { dilation, padding: dilation * (self.kernel - 1) / 2, ..self }
    }

    /// A filter for each channel.
    pub const fn depthwise(self) -> ConvShape {
        ConvShape { groups: self.n_in, ..self }
    }

    /// Pixels from the first tap to the last, both included.
    pub const fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Rows or columns that come out of `n`; 0 where the filter does not fit.
    pub const fn size(&self, n: usize) -> usize {
        let padded = n + 2 * self.padding;
        if padded < self.reach() { 0 } else { (padded - self.reach()) / self.stride + 1 }
    }

    /// Taps of output `i` that are inside `n` rows or columns.
    pub(super) fn taps(&self, i: usize, n: usize) -> Range<usize> {
        let before = |x: usize| (x + self.padding).saturating_sub(i * self.stride).div_ceil(self.dilation);
        let (first, end) = (before(0).min(self.kernel), before(n).min(self.kernel));
        first.min(end)..end
    }

    /// Of the outputs of `n` rows or columns, those all of whose taps are inside.
    pub(super) fn inner(&self, n: usize) -> Range<usize> {
        let first = self.padding.div_ceil(self.stride).min(self.size(n));
        let end = (n + self.padding).checked_sub(self.reach()).map_or(0, |rest| rest / self.stride + 1);
        first..end.min(self.size(n)).max(first)
    }

    /// `[n_out, n_in / groups, kernel, kernel]`, as checkpoints have it.
    pub const fn weight_shape(&self) -> [usize; 4] {
        [self.n_out, self.n_in / self.groups, self.kernel, self.kernel]
    }
}
