//! A bias of attention scores by where tokens lie to each other.
//!
//! Reference: transformers 4.57.1, `BeitRelativePositionBias`, which follows MiDaS 3.1.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::Result;
use crate::nets::{Vars, blocks::to_host, checkpoint::on_device, features};

pub struct RelativeBias {
    /// By row and column of a token less those of another: [2 side - 1, 2 side - 1, heads] of the
    /// trained grid, on the CPU.
    table: Tensor,
    /// From the class to others, from others to the class, from the class to itself: [3, heads].
    class: Vec<f32>,
    heads: usize,
}

impl RelativeBias {
    pub fn new(side: usize, heads: usize, vars: &Vars) -> Result<RelativeBias> {
        let reach = 2 * side - 1;
        let stored = vars.values("relative_position_bias_table", &[reach * reach + 3, heads])?;
        let (table, class) = stored.split_at(reach * reach * heads);
        let table = on_device(table, &[reach, reach, heads], &Device::Cpu)?;
        Ok(RelativeBias { table, class: class.to_vec(), heads })
    }

    /// [heads, 1 + rows * columns, 1 + rows * columns] for a grid of patches: the table is resized
    /// bilinearly where it is another than the trained one.
    pub fn of(&self, (rows, columns): (usize, usize), device: &Device) -> Result<Tensor> {
        let (tall, wide) = (2 * rows - 1, 2 * columns - 1);
        let table = to_host(&features::resize_bilinear(&self.table, tall, wide, false)?)?;
        let n = 1 + rows * columns;
        let class = |i: usize, head: usize| self.class[i * self.heads + head];
        let mut bias = vec![0.0; self.heads * n * n];
        bias.par_chunks_mut(n).enumerate().for_each(|(at, to)| {
            let (head, token) = (at / n, at % n);
            let Some(token) = token.checked_sub(1) else {
                to.fill(class(0, head));
                to[0] = class(2, head);
                return;
            };
            let (row, column) = (token / columns, token % columns);
            to[0] = class(1, head);
            for (y, to) in to[1..].chunks_exact_mut(columns).enumerate() {
                let from = &table[(row + rows - 1 - y) * wide * self.heads..];
                for (x, to) in to.iter_mut().enumerate() {
                    *to = from[(column + columns - 1 - x) * self.heads + head];
                }
            }
        });
        on_device(&bias, &[self.heads, n, n], device)
    }
}
