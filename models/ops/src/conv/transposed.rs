//! Transposed convolutions.
//!
//! Outputs that are the same distance from their inputs see the same taps: one plain convolution
//! computes all `stride` x `stride` kinds of them as channels, and writes each where it belongs
//! (Shi et al., 2016, "Is the deconvolution layer the same as a convolutional layer?").

use super::{
    super::{Isa, Lined, Precision},
    After, ConvShape, Convolution, Part, Then, Values,
    dense::{Dense, Target},
    gather::Inputs,
    tile::PANEL,
    values::{self, Output},
    weights::Products,
};

/// Every pixel is spread over `kernel` x `kernel` pixels, pixels land `stride` apart, and `padding`
/// pixels of each side of what comes out are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedShape {
    pub n_in: usize,
    pub n_out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl TransposedShape {
    /// Rows or columns that come out of `n`; none where all of them are left out.
    pub const fn size(&self, n: usize) -> usize {
        if n == 0 { 0 } else { ((n - 1) * self.stride + self.kernel).saturating_sub(2 * self.padding) }
    }

    /// `[n_in, n_out, kernel, kernel]`, as checkpoints have it.
    pub const fn weight_shape(&self) -> [usize; 4] {
        [self.n_in, self.n_out, self.kernel, self.kernel]
    }

    /// Where output `offset` of `stride` of input `i` comes to lie among `n`.
    pub(super) fn place(&self, i: usize, offset: usize, n: usize) -> Option<usize> {
        (i * self.stride + offset).checked_sub(self.padding).filter(|at| *at < n)
    }

    /// Outputs of a kind with those that fill up its last panel: kinds begin at panels.
    pub(super) fn per_kind(&self) -> usize {
        self.n_out.next_multiple_of(PANEL)
    }
}

/// A layer, its weights in the order and precision in which the kernels want them.
pub struct PackedTransposed {
    shape: TransposedShape,
    kinds: Dense,
}

impl PackedTransposed {
    /// Packs `weight` `[n_in, n_out, kernel, kernel]` and `bias` `[n_out]` for this machine, as
    /// `PackedConv::new` does.
    ///
    /// # Panics
    /// If the lengths do not fit one another.
    pub fn new(
        shape: TransposedShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        after: &After,
        precision: Precision,
    ) -> PackedTransposed {
        PackedTransposed::for_isa(shape, weight, bias, after, precision, Isa::best())
    }

    /// Packs for given instructions; for tests and comparisons.
    ///
    /// # Panics
    /// As `new`, and if this machine does not have them.
    pub fn for_isa(
        shape: TransposedShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        after: &After,
        precision: Precision,
        isa: Isa,
    ) -> PackedTransposed {
        let TransposedShape { n_in, n_out, kernel, stride, .. } = shape;
        assert!(isa.is_available(), "{isa:?} is not available here");
        assert_eq!(weight.len(), shape.weight_shape().iter().product::<usize>(), "{shape:?}");
        assert!(bias.is_none_or(|bias| bias.len() == n_out), "{shape:?}");
        let taps = kernel.div_ceil(stride);
        let per_kind = shape.per_kind();
        let n_kinds = stride * stride;
        let mut kinds = vec![0.0; n_kinds * per_kind * n_in * taps * taps];
        for (from, &value) in weight.iter().enumerate() {
            let (tx, ty) = (from % kernel, from / kernel % kernel);
            let (c_out, c_in) = (from / (kernel * kernel) % n_out, from / (kernel * kernel * n_out));
            let channel = (ty % stride * stride + tx % stride) * per_kind + c_out;
            let (u, v) = (taps - 1 - tx / stride, taps - 1 - ty / stride);
            kinds[((channel * n_in + c_in) * taps + v) * taps + u] = value;
        }
        let of_kinds = |values: &[f32]| {
            let mut kind = values.to_vec();
            kind.resize(per_kind, 0.0);
            kind.repeat(n_kinds)
        };
        let after = match after {
            After::Prelu(slopes) => After::Prelu(of_kinds(slopes)),
            other => other.clone(),
        };
        let bias = bias.map(of_kinds);
        let layer = Convolution {
            shape: ConvShape::new(n_in, n_kinds * per_kind, taps).padding(taps - 1),
            weight: &kinds,
            bias: bias.as_deref(),
            after: &after,
        };
        let kinds = Dense::spread(&layer, shape, Products::of(precision, isa), isa);
        PackedTransposed { shape, kinds }
    }

    /// `[h, w, n_in]` to `[h', w', n_out]`.
    ///
    /// # Panics
    /// If lengths or channels are not those of the layer.
    pub fn apply(&self, part: &Part, h: usize, w: usize) -> Lined<f32> {
        let shape = &self.shape;
        assert!(part.channels == shape.n_in && part.values.len() == h * w * shape.n_in, "{shape:?} of {h}x{w}");
        let (out_h, out_w) = (shape.size(h), shape.size(w));
        let len = out_h * out_w * shape.n_out;
        if len == 0 {
            return Vec::new().into();
        }
        let wide = if self.kinds.rounds_inputs() { None } else { values::widened(part) };
        let part = Part { values: wide.as_deref().map_or(part.values, Values::F32), ..*part };
        let run = |y: *mut f32| {
            let target = Target { y: Output::new(y), h: out_h, w: out_w, then: Then::Write };
            self.kinds.apply(&Inputs { parts: &[part], h, w }, target);
        };
        // SAFETY: all outputs are written: each is one kind of an input.
        unsafe { Lined::filled(len, run) }
    }
}
