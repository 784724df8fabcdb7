//! The decoder's layers over a few dozen points that never leave the caches.

use super::{
    super::{
        Precision,
        bf16::{self, Parts},
        buffer::{Aligned, as_bf16, with_scratch},
        isa::Isa,
        simd::{LANES, Simd, math, per_isa, tile_rows},
        tile::{
            Bf16Tiles, PANEL, SHORT_DEPTH, SHORT_STRIDE, STEP, STEP_LEN, pack_columns, pack_columns_bf16,
            pack_rows_bf16, tile_f32_short,
        },
    },
    DecoderLayer,
};

/// Points of a batch, about: activations of 64 are 16 KiB of f32. Two blocks of 32 of bf16.
const POINTS: usize = 64;

pub(super) struct Layers {
    hidden: Vec<Hidden>,
    /// Rows of `SHORT_DEPTH`, zeros behind the last input.
    last_weight: Aligned<f32>,
    last_bias: Vec<f32>,
    isa: Isa,
}

struct Hidden {
    panels: Panels,
    /// 32 for every panel.
    bias: Aligned<f32>,
    n_in: usize,
}

enum Panels {
    F32(Aligned<f32>),
    Bf16(Aligned<u16>, Parts),
}

impl Layers {
    pub fn new(n_in: usize, layers: &[DecoderLayer], precision: Precision, isa: Isa) -> Self {
        assert!(layers.len() > 1, "{} layers: a decoder has a hidden and a last one", layers.len());
        let (hidden, last) = layers.split_at(layers.len() - 1);
        let last = &last[0];
        let mut n_in = n_in;
        let mut packed = Vec::new();
        for layer in hidden {
            check(layer, n_in);
            packed.push(pack(layer, n_in, precision, isa));
            n_in = layer.bias.len();
        }
        check(last, n_in);
        let mut last_weight = Aligned::zeroed(last.bias.len() * SHORT_DEPTH);
        for (to, from) in last_weight.chunks_exact_mut(SHORT_DEPTH).zip(last.weight.chunks_exact(n_in)) {
            to[..n_in].copy_from_slice(from);
        }
        Layers { hidden: packed, last_weight, last_bias: last.bias.to_vec(), isa }
    }

    pub fn n_out(&self) -> usize {
        self.last_bias.len()
    }

    /// The most points `run` takes.
    pub fn batch(&self) -> usize {
        let step = if self.parts().is_some() { STEP } else { tile_rows(self.isa) };
        POINTS.next_multiple_of(step)
    }

    /// Of all hidden layers alike; `None` if they are f32.
    fn parts(&self) -> Option<Parts> {
        match self.hidden[0].panels {
            Panels::F32(_) => None,
            Panels::Bf16(_, parts) => Some(parts),
        }
    }

    /// `fill(rows, stride)` writes the inputs of `points` points; the first `n_out` results go to `out`.
    pub fn run(&self, points: usize, fill: impl FnOnce(&mut [f32], usize), n_out: usize, out: &mut [f32]) {
        let rows = self.batch();
        assert!(points <= rows && out.len() == points * n_out, "{points} points of a batch of {rows}");
        let len = rows * SHORT_STRIDE;
        with_scratch([len, len, rows * SHORT_DEPTH], |[a, b, tiles]| {
            a[points * SHORT_STRIDE..].fill(0.0);
            fill(a, SHORT_STRIDE);
            let last = match self.parts() {
                Some(parts) => self.run_bf16(parts, a, as_bf16(tiles)),
                None => self.run_f32(points, a, b),
            };
            // SAFETY: rows of `SHORT_DEPTH` numbers, as many as weights.
            unsafe { last_layer(self.isa, self, last, n_out, out) }
        });
    }

    fn run_f32<'a>(&self, points: usize, mut from: &'a mut [f32], mut to: &'a mut [f32]) -> &'a [f32] {
        let step = tile_rows(self.isa);
        for layer in &self.hidden {
            let Panels::F32(panels) = &layer.panels else { unreachable!("all layers are packed alike") };
            for (p, panel) in panels.chunks_exact(layer.n_in * PANEL).enumerate() {
                for r in (0..points).step_by(step) {
                    let (a, c) = (from[r * SHORT_STRIDE..].as_ptr(), to[r * SHORT_STRIDE + p * PANEL..].as_mut_ptr());
                    // SAFETY: a batch is whole tiles of rows; a row has room for four panels.
                    unsafe { tile_f32_short(self.isa, layer.n_in, a, panel.as_ptr(), c, SHORT_STRIDE, false) }
                }
            }
            // SAFETY: `points` rows of all panels' columns.
            unsafe { activate_f32(self.isa, &layer.bias, points, to.as_mut_ptr()) }
            std::mem::swap(&mut from, &mut to);
        }
        from
    }

    /// Two blocks of 32 rows take turns: while one is multiplied, the other is activated.
    /// Activations of the last hidden layer come back as f32, in the place of the features.
    fn run_bf16<'a>(&self, parts: Parts, sums: &'a mut [f32], a: &mut [u16]) -> &'a [f32] {
        let tiles = Bf16Tiles::new(self.isa, parts);
        let step_len = parts.n() * STEP_LEN;
        let n_in = self.hidden[0].n_in;
        let block_len = SHORT_DEPTH / STEP * step_len;
        for (block, to) in a.chunks_exact_mut(block_len).enumerate().take(2) {
            let row = |r: usize| Some(&sums[(block * STEP + r) * SHORT_STRIDE..][..n_in]);
            pack_rows_bf16(self.isa, parts, n_in, 1.0, row, to);
        }
        let multiply = |turn: usize, p: usize, a: &[u16], sums: &mut [f32]| {
            let (layer, block) = (&self.hidden[turn / 2], turn % 2);
            let Panels::Bf16(panels, _) = &layer.panels else { unreachable!("all layers are packed alike") };
            let steps = layer.n_in.div_ceil(STEP);
            let panel = &panels[p * steps * step_len..][..steps * step_len];
            let c = sums[block * STEP * SHORT_STRIDE + p * PANEL..].as_mut_ptr();
            // SAFETY: `steps` steps of a and the panel; 32 rows with room for four panels.
            unsafe { tiles.multiply(steps, a[block * block_len..].as_ptr(), panel.as_ptr(), c, SHORT_STRIDE, false) }
        };
        let activate = |turn: usize, p: usize, a: &mut [u16], sums: &mut [f32]| {
            let (layer, block) = (turn / 2, turn % 2);
            let bias = &self.hidden[layer].bias[p * PANEL..][..PANEL];
            let sums = sums[block * STEP * SHORT_STRIDE + p * PANEL..].as_mut_ptr();
            let tile = a[block * block_len + p * step_len..].as_mut_ptr();
            // SAFETY: 32 rows of a panel, which become a step of the next layer's rows.
            unsafe {
                match parts {
                    _ if layer + 1 == self.hidden.len() => activate_f32(self.isa, bias, STEP, sums),
                    Parts::One => activate_bf16(self.isa, bias, sums, tile),
                    Parts::Two => activate_two_parts(self.isa, bias, sums, tile),
                }
            }
        };
        let turns = 2 * self.hidden.len();
        let panels = |turn: usize| self.hidden[turn / 2].bias.len() / PANEL;
        for turn in 0..=turns {
            let multiplied = if turn < turns { panels(turn) } else { 0 };
            let activated = if turn > 0 { panels(turn - 1) } else { 0 };
            for p in 0..multiplied.max(activated) {
                if p < multiplied {
                    multiply(turn, p, a, sums);
                }
                if p < activated {
                    activate(turn - 1, p, a, sums);
                }
            }
        }
        sums
    }
}

fn check(layer: &DecoderLayer, n_in: usize) {
    let n_out = layer.bias.len();
    assert!(
        n_out > 0 && layer.weight.len() == n_out * n_in,
        "{} weights for {n_in} inputs and {n_out} outputs",
        layer.weight.len()
    );
    assert!(n_in.max(n_out) <= SHORT_DEPTH, "a layer of {n_in} to {n_out}, not up to {SHORT_DEPTH}");
}

fn pack(layer: &DecoderLayer, n_in: usize, precision: Precision, isa: Isa) -> Hidden {
    let n_out = layer.bias.len();
    let n_panels = n_out.div_ceil(PANEL);
    let mut bias = Aligned::zeroed(n_panels * PANEL);
    bias[..n_out].copy_from_slice(layer.bias);
    let row = |p: usize, c: usize| layer.weight.chunks_exact(n_in).nth(p * PANEL + c);
    let panels = match Parts::multiplied(precision, isa) {
        Some(parts) => {
            let len = n_in.div_ceil(STEP) * parts.n() * STEP_LEN;
            let packed =
                Aligned::build(n_panels * len, len, |p, to| pack_columns_bf16(isa, parts, n_in, |c| row(p, c), to));
            Panels::Bf16(packed, parts)
        }
        None => {
            let len = n_in * PANEL;
            Panels::F32(Aligned::build(n_panels * len, len, |p, to| {
                pack_columns(isa, n_in, |c| row(p, c), to);
                if precision == Precision::Bf16 {
                    to.iter_mut().for_each(|t| *t = bf16::round(*t));
                }
            }))
        }
    };
    Hidden { panels, bias, n_in }
}

per_isa! { fn activate_f32(bias: &[f32], rows: usize, sums: *mut f32) = activate; }
per_isa! { fn activate_bf16(bias: &[f32], sums: *const f32, tile: *mut u16) = activate_one_part; }
per_isa! { fn activate_two_parts(bias: &[f32], sums: *const f32, tile: *mut u16) = activate_parts; }
per_isa! { fn last_layer(layers: &Layers, rows: &[f32], n_out: usize, out: &mut [f32]) = dot_products; }

/// SiLU of sums and bias, in place: rows of `SHORT_STRIDE`, of which as many columns as biases.
#[inline(always)]
unsafe fn activate<S: Simd>(bias: &[f32], rows: usize, sums: *mut f32) {
    // SAFETY: the caller promises these rows; biases are whole panels.
    unsafe {
        for r in 0..rows {
            for c in (0..bias.len()).step_by(LANES) {
                let at = sums.add(r * SHORT_STRIDE + c);
                S::store(at, math::silu::<S>(S::add(S::load(at), S::load(bias.as_ptr().add(c)))));
            }
        }
    }
}

/// The same for 32 rows of a panel, to a bf16 tile.
#[inline(always)]
unsafe fn activate_one_part<S: Simd>(bias: &[f32], sums: *const f32, tile: *mut u16) {
    // SAFETY: the caller promises 32 rows of a panel, and a tile.
    unsafe {
        let bias = [S::load(bias.as_ptr()), S::load(bias.as_ptr().add(LANES))];
        for r in 0..STEP {
            let sums = sums.add(r * SHORT_STRIDE);
            let v0 = math::silu_near::<S, true>(S::add(S::load(sums), bias[0]));
            let v1 = math::silu_near::<S, true>(S::add(S::load(sums.add(LANES)), bias[1]));
            S::store_two_bf16(tile.add(r * STEP), v0, v1);
        }
    }
}

/// The same, to two tiles, one behind the other.
#[inline(always)]
unsafe fn activate_parts<S: Simd>(bias: &[f32], sums: *const f32, tile: *mut u16) {
    // SAFETY: the caller promises 32 rows of a panel, and two tiles.
    unsafe {
        let bias = [S::load(bias.as_ptr()), S::load(bias.as_ptr().add(LANES))];
        for r in 0..STEP {
            let sums = sums.add(r * SHORT_STRIDE);
            let v0 = math::silu_near::<S, false>(S::add(S::load(sums), bias[0]));
            let v1 = math::silu_near::<S, false>(S::add(S::load(sums.add(LANES)), bias[1]));
            let tile = tile.add(r * STEP);
            S::store_two_bf16(tile, v0, v1);
            S::store_two_bf16(tile.add(STEP_LEN), S::sub(v0, S::to_bf16(v0)), S::sub(v1, S::to_bf16(v1)));
        }
    }
}

#[inline(always)]
unsafe fn dot_products<S: Simd>(layers: &Layers, rows: &[f32], n_out: usize, out: &mut [f32]) {
    let width = layers.hidden.last().map_or(SHORT_DEPTH, |layer| layer.bias.len());
    for (out, row) in out.chunks_exact_mut(n_out).zip(rows.chunks_exact(SHORT_STRIDE)) {
        for (o, out) in out.iter_mut().enumerate() {
            let weight = &layers.last_weight[o * SHORT_DEPTH..][..SHORT_DEPTH];
            // SAFETY: `width` is at most `SHORT_DEPTH`, a multiple of 16.
            unsafe {
                let mut sum = S::splat(0.0);
                for c in (0..width).step_by(LANES) {
                    sum = S::fma(S::load(row.as_ptr().add(c)), S::load(weight.as_ptr().add(c)), sum);
                }
                *out = S::sum(sum) + layers.last_bias[o];
            }
        }
    }
}
