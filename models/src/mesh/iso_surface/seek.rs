//! Finds the surface from few samples and follows it.
//!
//! 1. A coarse lattice is sampled. Where two neighbours differ in sign, halving
//!    the edge between them finds one crossing of a fine edge.
//! 2. Coarse cells whose corners agree are cut in eight, down to fine cells, as
//!    long as the guard says that the surface may hide in them.
//! 3. From every crossing known, the surface is followed from cell to cell
//!    through the faces it crosses, in waves, until it closes.

use super::{
    Guard,
    bricks::{Bricks, SIDE},
    lattice::{Index, Lattice, OUTSIDE},
    sample::Sampler,
};
use crate::error::{StageError, StageErrorKind};

/// Coarse cells along the longest side, whatever `coarse_step` says: fewer see next to nothing.
const LEAST_COARSE_CELLS: u32 = 8;
/// A value and the index it is asked for at.
const BYTES_PER_SAMPLE: u64 = 10;

pub fn seek(bricks: &mut Bricks, sampler: &mut Sampler) -> Result<(), StageError> {
    let coarse = Coarse::sample(&bricks.lattice, sampler)?;
    sampler.step.at(1)?;
    let mut seeker = Seeker { bricks, coarse, sampler };
    seeker.find_crossings()?;
    seeker.sampler.step.at(2)?;
    seeker.follow()
}

/// Every `step`th point along each axis, and the last.
struct Coarse {
    step: u16,
    last: Index,
    n: [usize; 3],
    values: Vec<f32>,
}

impl Coarse {
    fn sample(lattice: &Lattice, sampler: &mut Sampler) -> Result<Coarse, StageError> {
        let options = sampler.options;
        let step = options.coarse_step.min(options.resolution / LEAST_COARSE_CELLS).max(1) as u16;
        let last = lattice.last();
        let n = last.map(|last| (last - 1).div_ceil(step) as usize + 1);
        let n_bytes = n.iter().map(|&n| n as u64).product::<u64>() * BYTES_PER_SAMPLE;
        if n_bytes > sampler.options.max_bytes {
            return Err(StageError::new(
                StageErrorKind::TooLarge,
                format!("coarse samples take {n_bytes} bytes, more than {}", sampler.options.max_bytes),
                "choose a larger coarse step",
            ));
        }
        let mut coarse = Coarse { step, last, n, values: Vec::new() };
        let indices: Vec<Index> = (0..n.iter().product()).map(|i| coarse.index(coarse.unflatten(i))).collect();
        coarse.values = sampler.at_indices(lattice, &indices)?;
        Ok(coarse)
    }

    fn unflatten(&self, i: usize) -> [usize; 3] {
        [i % self.n[0], i / self.n[0] % self.n[1], i / self.n[0] / self.n[1]]
    }

    fn index(&self, at: [usize; 3]) -> Index {
        std::array::from_fn(|a| (1 + at[a] as u16 * self.step).min(self.last[a]))
    }

    fn value(&self, at: [usize; 3]) -> f32 {
        self.values[(at[2] * self.n[1] + at[1]) * self.n[0] + at[0]]
    }

    /// The value at a lattice point, where it was sampled.
    fn known(&self, index: Index) -> Option<f32> {
        let mut at = [0; 3];
        for a in 0..3 {
            let from_first = index[a].checked_sub(1)?;
            at[a] = from_first.div_ceil(self.step) as usize;
            if index[a] > self.last[a] || (from_first % self.step != 0 && index[a] != self.last[a]) {
                return None;
            }
        }
        Some(self.value(at))
    }
}

/// Part of a lattice line whose ends differ in sign.
#[derive(Clone, Copy)]
struct Bracket {
    low: Index,
    axis: usize,
    length: u16,
    low_is_inside: bool,
}

/// Cell of a lattice coarser than the fine one.
#[derive(Clone, Copy)]
struct Box3 {
    low: Index,
    high: Index,
}

struct Seeker<'a, 'b> {
    bricks: &'a mut Bricks,
    coarse: Coarse,
    sampler: &'a mut Sampler<'b>,
}

impl Seeker<'_, '_> {
    /// Leaves both ends of at least one crossed fine edge in `bricks` for every
    /// coarse edge, and every cell cut because of the guard, whose ends differ.
    fn find_crossings(&mut self) -> Result<(), StageError> {
        let n = self.coarse.n;
        let mut brackets = Vec::new();
        let mut hiding = Vec::new();
        for i in 0..self.coarse.values.len() {
            let at = self.coarse.unflatten(i);
            let low = self.coarse.index(at);
            let low_is_inside = self.coarse.values[i] > 0.0;
            if low_is_inside && (0..3).any(|a| at[a] == 0 || at[a] == n[a] - 1) {
                // The surface leaves the bounds here: the outer layer differs.
                self.bricks.set(low, self.coarse.values[i])?;
            }
            for axis in (0..3).filter(|&a| at[a] + 1 < n[a]) {
                let mut next = at;
                next[axis] += 1;
                if (self.coarse.value(next) > 0.0) != low_is_inside {
                    let length = self.coarse.index(next)[axis] - low[axis];
                    brackets.push(Bracket { low, axis, length, low_is_inside });
                }
            }
            if (0..3).all(|a| at[a] + 1 < n[a]) {
                let corners: [f32; 8] =
                    std::array::from_fn(|c| self.coarse.value(std::array::from_fn(|a| at[a] + (c >> a & 1))));
                let whole = Box3 { low, high: self.coarse.index(at.map(|i| i + 1)) };
                if self.may_hide(whole, &corners) {
                    hiding.push(whole);
                }
            }
        }
        while !hiding.is_empty() {
            hiding = self.cut(&hiding, &mut brackets)?;
        }
        self.halve(brackets)
    }

    /// Whether the guard lets a box whose corners are all inside or all outside
    /// hold a piece of surface nevertheless.
    fn may_hide(&self, whole: Box3, corners: &[f32; 8]) -> bool {
        let size: [f32; 3] = std::array::from_fn(|a| (whole.high[a] - whole.low[a]) as f32);
        let is_fine = size.iter().all(|&side| side <= 1.0);
        let is_crossed = corners.iter().any(|&d| (d > 0.0) != (corners[0] > 0.0));
        if is_fine || is_crossed {
            return false;
        }
        // No point of the box is further from its nearest corner than half the diagonal.
        let reach = 0.5 * size.iter().map(|side| side * side).sum::<f32>().sqrt();
        let slope = match self.sampler.options.guard {
            Guard::SignChange => return false,
            Guard::Lipschitz(slope) => slope * self.bricks.lattice.cell as f32,
            Guard::Slope => {
                let along = |c: usize, a: usize| (corners[c | 1 << a] - corners[c & !(1 << a)]).abs() / size[a];
                (0..8).flat_map(|c| (0..3).map(move |a| along(c, a))).fold(0.0, f32::max)
            }
        };
        let nearest = corners.iter().fold(f32::INFINITY, |least, d| least.min(d.abs()));
        nearest <= slope * reach
    }

    /// Samples the middles of boxes. Returns the parts that may still hide surface.
    fn cut(&mut self, boxes: &[Box3], brackets: &mut Vec<Bracket>) -> Result<Vec<Box3>, StageError> {
        let mut parts = Vec::new();
        for whole in boxes {
            let middle: Index = std::array::from_fn(|a| (whole.low[a] + whole.high[a]).div_ceil(2));
            for octant in 0..8usize {
                let upper = |a: usize| octant >> a & 1 == 1;
                let low = std::array::from_fn(|a| if upper(a) { middle[a] } else { whole.low[a] });
                let high = std::array::from_fn(|a| if upper(a) { whole.high[a] } else { middle[a] });
                if (0..3).all(|a| low[a] < high[a]) {
                    parts.push(Box3 { low, high });
                }
            }
        }
        let corner = |part: &Box3, c: usize| -> Index {
            std::array::from_fn(|a| if c >> a & 1 == 1 { part.high[a] } else { part.low[a] })
        };
        let corners: Vec<Index> = parts.iter().flat_map(|part| (0..8).map(|c| corner(part, c))).collect();
        self.evaluate(&corners)?;
        let mut hiding = Vec::new();
        for part in parts {
            let values: [f32; 8] = std::array::from_fn(|c| self.bricks.get(corner(&part, c)));
            for (c, axis) in (0..8usize).flat_map(|c| (0..3).map(move |a| (c, a))).filter(|(c, a)| c >> a & 1 == 0) {
                let low_is_inside = values[c] > 0.0;
                if low_is_inside != (values[c | 1 << axis] > 0.0) {
                    let length = part.high[axis] - part.low[axis];
                    brackets.push(Bracket { low: corner(&part, c), axis, length, low_is_inside });
                }
            }
            if self.may_hide(part, &values) {
                hiding.push(part);
            }
        }
        Ok(hiding)
    }

    /// Halves brackets until their ends are neighbours on the fine lattice.
    fn halve(&mut self, mut brackets: Vec<Bracket>) -> Result<(), StageError> {
        let along = |bracket: &Bracket, by: u16| {
            let mut index = bracket.low;
            index[bracket.axis] += by;
            index
        };
        let mut ends = Vec::new();
        while !brackets.is_empty() {
            ends.extend(brackets.iter().filter(|b| b.length == 1).flat_map(|b| [b.low, along(b, 1)]));
            brackets.retain(|b| b.length > 1);
            let middles: Vec<Index> = brackets.iter().map(|b| along(b, b.length / 2)).collect();
            self.evaluate(&middles)?;
            for (bracket, middle) in brackets.iter_mut().zip(middles) {
                let half = bracket.length / 2;
                if (self.bricks.get(middle) > 0.0) == bracket.low_is_inside {
                    bracket.low = middle;
                    bracket.length -= half;
                } else {
                    bracket.length = half;
                }
            }
        }
        self.evaluate(&ends)
    }

    /// Makes the values at `indices` known in `bricks`, asking for each point once.
    fn evaluate(&mut self, indices: &[Index]) -> Result<(), StageError> {
        let mut missing = Vec::new();
        for &index in indices {
            if !self.bricks.get(index).is_nan() {
                continue;
            }
            let known = if self.bricks.lattice.is_outer(index) { Some(OUTSIDE) } else { self.coarse.known(index) };
            // Infinity: asked for already.
            self.bricks.set(index, known.unwrap_or(f32::INFINITY))?;
            if known.is_none() {
                missing.push(index);
            }
        }
        let values = self.sampler.at_indices(&self.bricks.lattice, &missing)?;
        missing.iter().zip(values).try_for_each(|(&index, value)| self.bricks.set(index, value))
    }

    /// Completes every piece of surface of which one crossed edge is known.
    fn follow(&mut self) -> Result<(), StageError> {
        // Following one piece may bring a point beside another piece's, and so
        // show a crossing nobody looked for.
        loop {
            let mut wave = self.cells_at_crossings()?;
            if wave.is_empty() {
                return Ok(());
            }
            while !wave.is_empty() {
                wave = self.follow_wave(&wave)?;
            }
        }
    }

    /// Cells not visited yet at edges whose ends are known and differ.
    fn cells_at_crossings(&mut self) -> Result<Vec<Index>, StageError> {
        let mut cells = Vec::new();
        for place in self.bricks.places_in_order() {
            let block = self.bricks.block(place);
            for (axis, step) in [1, SIDE + 1, (SIDE + 1) * (SIDE + 1)].into_iter().enumerate() {
                for point in 0..SIDE * SIDE * SIDE {
                    let within = [point % SIDE, point / SIDE % SIDE, point / SIDE / SIDE];
                    let at = (within[2] * (SIDE + 1) + within[1]) * (SIDE + 1) + within[0];
                    let (a, b) = (block[at], block[at + step]);
                    if a.is_nan() || b.is_nan() || (a > 0.0) == (b > 0.0) {
                        continue;
                    }
                    // A crossed edge is never in the outer layer, so it has cells on all sides.
                    let mut cell: Index = std::array::from_fn(|i| place[i] * SIDE as u16 + within[i] as u16);
                    (0..3).filter(|&i| i != axis).for_each(|i| cell[i] -= 1);
                    if self.bricks.visit(cell)? {
                        cells.push(cell);
                    }
                }
            }
        }
        Ok(cells)
    }

    /// Learns the corners of cells; returns the neighbours across crossed faces not visited yet.
    fn follow_wave(&mut self, cells: &[Index]) -> Result<Vec<Index>, StageError> {
        let corner = |cell: Index, c: u16| -> Index { std::array::from_fn(|a| cell[a] + (c >> a & 1)) };
        let corners: Vec<Index> = cells.iter().flat_map(|&cell| (0..8).map(move |c| corner(cell, c))).collect();
        self.evaluate(&corners)?;
        let mut next = Vec::new();
        for &cell in cells {
            let inside = (0..8).fold(0u8, |bits, c| bits | ((self.bricks.get(corner(cell, c)) > 0.0) as u8) << c);
            for (axis, upper) in [0b1010_1010u8, 0b1100_1100, 0b1111_0000].into_iter().enumerate() {
                for (face, forward) in [(upper, true), (!upper, false)] {
                    if inside & face == 0 || inside & face == face {
                        continue;
                    }
                    // A crossed face is never in the outer layer.
                    let mut neighbour = cell;
                    neighbour[axis] = if forward { cell[axis] + 1 } else { cell[axis] - 1 };
                    if self.bricks.visit(neighbour)? {
                        next.push(neighbour);
                    }
                }
            }
        }
        Ok(next)
    }
}
