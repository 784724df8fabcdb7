//! Weights to panels of 32 outputs.

use super::{
    super::{
        Precision,
        bf16::Parts,
        buffer::Aligned,
        isa::Isa,
        tile::{PANEL, STEP, STEP_LEN, pack_columns, pack_columns_bf16},
    },
    Activation, Linear,
};

/// Packed weights: panels of 32 columns, columns beyond the last output zero.
pub(super) struct Panels {
    pub data: Data,
    /// 32 for every panel, in the order of its columns; zero where there is none.
    pub bias: Aligned<f32>,
    pub n_in: usize,
    /// Results of a row, after the activation.
    pub n_out: usize,
    /// Results of a panel: 32, or 16 when half of its columns are gates.
    pub outputs: usize,
}

pub(super) enum Data {
    /// `[panel][n_in][32]`.
    F32(Aligned<f32>),
    /// `[panel][n_in / 32][parts][2][16][16][2]` (tile/mod.rs).
    Bf16(Aligned<u16>, Parts),
}

impl Panels {
    pub fn new(layer: &Linear, precision: Precision, isa: Isa) -> Self {
        let n_in = layer.n_in;
        assert!(n_in > 0, "a layer without inputs");
        let n_rows = layer.weight.len() / n_in;
        assert!(layer.weight.len() == n_rows * n_in, "{} weights are not rows of {n_in}", layer.weight.len());
        if let Some(bias) = layer.bias {
            assert!(bias.len() == n_rows, "{} biases for {n_rows} outputs", bias.len());
        }
        let (n_out, outputs) = match layer.activation {
            Activation::Geglu => {
                assert!(n_rows.is_multiple_of(2), "{n_rows} outputs have no half");
                (n_rows / 2, PANEL / 2)
            }
            Activation::None | Activation::Gelu => (n_rows, PANEL),
        };
        let n_panels = n_out.div_ceil(outputs);
        // The row of the weights that is column `c` of panel `p`.
        let row_of = |p: usize, c: usize| {
            let output = p * outputs + c % outputs;
            (output < n_out).then_some(output + c / outputs * n_out)
        };
        let row = |r: usize| &layer.weight[r * n_in..][..n_in];
        // Where bf16 cannot be multiplied it is still half of what has to be read.
        let parts = Parts::multiplied(precision, isa).or((precision == Precision::Bf16).then_some(Parts::One));
        let data = match parts {
            None => {
                let len = n_in * PANEL;
                Data::F32(Aligned::build(n_panels * len, len, |p, to| {
                    pack_columns(isa, n_in, |c| row_of(p, c).map(row), to)
                }))
            }
            Some(parts) => {
                let len = n_in.div_ceil(STEP) * parts.n() * STEP_LEN;
                let packed = Aligned::build(n_panels * len, len, |p, to| {
                    pack_columns_bf16(isa, parts, n_in, |c| row_of(p, c).map(row), to)
                });
                Data::Bf16(packed, parts)
            }
        };
        let mut bias = Aligned::zeroed(n_panels * PANEL);
        if let Some(from) = layer.bias {
            for (i, b) in bias.iter_mut().enumerate() {
                *b = row_of(i / PANEL, i % PANEL).map_or(0.0, |r| from[r]);
            }
        }
        Panels { data, bias, n_in, n_out, outputs }
    }

    pub fn len(&self) -> usize {
        self.bias.len() / PANEL
    }

    /// How many outputs panel `p` really has.
    pub fn outputs_of(&self, p: usize) -> usize {
        self.outputs.min(self.n_out - p * self.outputs)
    }
}
