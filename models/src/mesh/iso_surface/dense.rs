//! Every point of the lattice is looked at, a layer of bricks at a time. Only
//! bricks that the surface crosses are kept.

use super::{
    bricks::{BLOCK_SIDE, Bricks, SIDE},
    lattice::{Index, Lattice, OUTSIDE},
};
use crate::error::StageError;

/// The points that the cells of one layer of bricks touch: up to 9 planes, outer layer included.
pub struct Slab {
    first_plane: usize,
    n_planes: usize,
    plane: [usize; 2],
    /// Positive inside; x fastest.
    pub values: Vec<f32>,
}

impl Slab {
    /// Layer `layer` of bricks, all outside so far.
    pub fn new(lattice: &Lattice, layer: usize) -> Slab {
        let first_plane = layer * SIDE;
        let n_planes = BLOCK_SIDE.min(lattice.n_points[2] - first_plane);
        let plane = [lattice.n_points[0], lattice.n_points[1]];
        Slab { first_plane, n_planes, plane, values: vec![OUTSIDE; n_planes * plane[0] * plane[1]] }
    }

    /// z of the planes that hold points within the bounds.
    pub fn inner_planes(&self, lattice: &Lattice) -> std::ops::Range<usize> {
        self.first_plane.max(1)..(self.first_plane + self.n_planes).min(lattice.n_points[2] - 1)
    }

    /// Points within the bounds of row y in plane z.
    pub fn row_mut(&mut self, y: usize, z: usize) -> &mut [f32] {
        let start = ((z - self.first_plane) * self.plane[1] + y) * self.plane[0];
        &mut self.values[start + 1..start + self.plane[0] - 1]
    }

    /// The first plane again, as the last plane of the layer before.
    pub fn reuse_last_plane_of(&mut self, before: &Slab) {
        let n = self.plane[0] * self.plane[1];
        let from = (self.first_plane - before.first_plane) * n;
        self.values[..n].copy_from_slice(&before.values[from..from + n]);
    }

    /// Indices and values of the points around all bricks that the surface crosses.
    pub fn crossed(&self) -> Vec<(Index, f32)> {
        let [width, height] = self.plane;
        let n_words = width.div_ceil(64) + 1;
        // Inside or not, a bit a point; the spare word is read past the row's end.
        let mut inside = vec![0u64; n_words * height * self.n_planes];
        for (row, bits) in self.values.chunks_exact(width).zip(inside.chunks_exact_mut(n_words)) {
            for (points, word) in row.chunks(64).zip(bits) {
                *word = points.iter().rev().fold(0, |word, &d| word << 1 | (d > 0.0) as u64);
            }
        }
        let mut found = Vec::new();
        for by in 0..height.div_ceil(SIDE) {
            let ys = by * SIDE..(by * SIDE + BLOCK_SIDE).min(height);
            for bx in 0..width.div_ceil(SIDE) {
                let xs = bx * SIDE..(bx * SIDE + BLOCK_SIDE).min(width);
                let mask = (1u64 << xs.len()) - 1;
                let (mut any, mut all) = (0, mask);
                for z in 0..self.n_planes {
                    for y in ys.clone() {
                        let row = &inside[(z * height + y) * n_words..][..n_words];
                        let (word, shift) = (xs.start / 64, xs.start % 64);
                        let bits = row[word] >> shift | if shift > 0 { row[word + 1] << (64 - shift) } else { 0 };
                        any |= bits & mask;
                        all &= bits;
                    }
                }
                if any == 0 || all == mask {
                    continue;
                }
                for z in 0..self.n_planes {
                    for y in ys.clone() {
                        for x in xs.clone() {
                            let value = self.values[(z * height + y) * width + x];
                            found.push(([x as u16, y as u16, (self.first_plane + z) as u16], value));
                        }
                    }
                }
            }
        }
        found
    }
}

/// Stores what `Slab::crossed` found.
pub fn keep(bricks: &mut Bricks, found: &[(Index, f32)]) -> Result<(), StageError> {
    found.iter().try_for_each(|&(index, value)| bricks.set(index, value))
}
