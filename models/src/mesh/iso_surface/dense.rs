//! Every point of the lattice is looked at, a layer of bricks at a time. Only
//! bricks that the surface crosses are kept.

use super::{
    bricks::{BLOCK_SIDE, N_BLOCK_POINTS, SIDE},
    lattice::{Lattice, OUTSIDE},
};

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

    /// Blocks of points around all bricks that the surface crosses.
    pub fn crossed(&self) -> Vec<Block> {
        let [width, height] = self.plane;
        let n_columns = width.div_ceil(SIDE);
        // Points inside of each eight along a row.
        let n_inside: Vec<u8> = self
            .values
            .chunks_exact(width)
            .flat_map(|row| row.chunks(SIDE).map(|part| part.iter().map(|&d| (d > 0.0) as u8).sum()))
            .collect();
        let mut found = Vec::new();
        for by in 0..height.div_ceil(SIDE) {
            let ys = by * SIDE..(by * SIDE + BLOCK_SIDE).min(height);
            for bx in 0..n_columns {
                let xs = bx * SIDE..(bx * SIDE + BLOCK_SIDE).min(width);
                let rows = || (0..self.n_planes).flat_map(|z| ys.clone().map(move |y| z * height + y));
                let inside_of = |row: usize| {
                    let beyond = xs.len() == BLOCK_SIDE && self.values[row * width + xs.end - 1] > 0.0;
                    n_inside[row * n_columns + bx] as usize + beyond as usize
                };
                let n: usize = rows().map(inside_of).sum();
                if n == 0 || n == xs.len() * ys.len() * self.n_planes {
                    continue;
                }
                let mut block = Block {
                    place: [bx, by, self.first_plane / SIDE].map(|i| i as u16),
                    size: [xs.len(), ys.len(), self.n_planes],
                    values: Box::new([f32::NAN; N_BLOCK_POINTS]),
                };
                for (i, row) in rows().enumerate() {
                    let to = (i / ys.len() * BLOCK_SIDE + i % ys.len()) * BLOCK_SIDE;
                    let from = &self.values[row * width..][xs.clone()];
                    block.values[to..to + xs.len()].copy_from_slice(from);
                }
                found.push(block);
            }
        }
        found
    }
}

/// The points that the cells of one brick touch.
pub struct Block {
    pub place: [u16; 3],
    /// Points along each axis: fewer than nine at the end of the lattice.
    pub size: [usize; 3],
    pub values: Box<[f32; N_BLOCK_POINTS]>,
}
