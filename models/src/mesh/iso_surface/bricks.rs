//! Sparse values on a lattice: bricks of 8 x 8 x 8 points, held only where something is known.
//!
//! Memory: 2.1 kB a brick, and 4 bytes for each place where a brick could be
//! (8.8 MB at 1024 cells along each side).

use super::{
    dense::Block,
    lattice::{Index, Lattice, OUTSIDE},
};
use crate::error::{StageError, StageErrorKind};

/// Points along a brick's side.
pub const SIDE: usize = 8;
pub const N_BRICK_POINTS: usize = SIDE * SIDE * SIDE;
/// Points along the side of the block that a brick's cells touch.
pub const BLOCK_SIDE: usize = SIDE + 1;
pub const N_BLOCK_POINTS: usize = BLOCK_SIDE * BLOCK_SIDE * BLOCK_SIDE;

/// No brick.
pub const NONE: u32 = u32::MAX;

pub struct Brick {
    /// Positive inside; NaN where not known. x runs fastest.
    pub values: [f32; N_BRICK_POINTS],
    /// Cells, by their lowest corner, that have been looked at.
    visited: [u64; 8],
}

pub struct Bricks {
    pub lattice: Lattice,
    /// Bricks along each axis.
    pub dims: [usize; 3],
    /// Place of each brick in `bricks`, x fastest.
    directory: Vec<u32>,
    #[expect(clippy::vec_box, reason = "growing must not copy gigabytes of bricks, nor need room for them twice")]
    bricks: Vec<Box<Brick>>,
    /// Where each brick of `bricks` lies.
    places: Vec<[u16; 3]>,
    max_bricks: usize,
}

impl Bricks {
    pub fn new(lattice: Lattice, max_bytes: u64) -> Bricks {
        let dims = lattice.n_points.map(|n| n.div_ceil(SIDE));
        Bricks {
            lattice,
            dims,
            directory: vec![NONE; dims.iter().product()],
            bricks: Vec::new(),
            places: Vec::new(),
            max_bricks: (max_bytes / size_of::<Brick>() as u64) as usize,
        }
    }

    /// NaN where not known.
    pub fn get(&self, index: Index) -> f32 {
        match self.directory[self.slot(place_of(index))] {
            NONE => f32::NAN,
            brick => self.bricks[brick as usize].values[offset(index)],
        }
    }

    pub fn set(&mut self, index: Index, value: f32) -> Result<(), StageError> {
        let brick = self.ensure(place_of(index))?;
        self.bricks[brick].values[offset(index)] = value;
        Ok(())
    }

    /// Stores a block's points, the last on each axis in the bricks beyond.
    pub fn set_block(&mut self, block: &Block) -> Result<(), StageError> {
        for corner in 0..8u16 {
            let shift: [u16; 3] = std::array::from_fn(|a| corner >> a & 1);
            if (0..3).any(|a| shift[a] == 1 && block.size[a] < BLOCK_SIDE) {
                continue;
            }
            let brick = self.ensure(std::array::from_fn(|a| block.place[a] + shift[a]))?;
            let values = &mut self.bricks[brick].values;
            let n: [usize; 3] = std::array::from_fn(|a| if shift[a] == 1 { 1 } else { block.size[a].min(SIDE) });
            let start = shift.map(|s| s as usize * SIDE);
            for z in 0..n[2] {
                for y in 0..n[1] {
                    let to = (z * SIDE + y) * SIDE;
                    let from = ((start[2] + z) * BLOCK_SIDE + start[1] + y) * BLOCK_SIDE + start[0];
                    values[to..to + n[0]].copy_from_slice(&block.values[from..from + n[0]]);
                }
            }
        }
        Ok(())
    }

    /// Marks the cell whose lowest corner is `index`; whether it was not marked before.
    pub fn visit(&mut self, index: Index) -> Result<bool, StageError> {
        let brick = self.ensure(place_of(index))?;
        let at = offset(index);
        let word = &mut self.bricks[brick].visited[at / 64];
        let is_new = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        Ok(is_new)
    }

    /// Places of the bricks that exist, x fastest.
    pub fn places_in_order(&self) -> Vec<[u16; 3]> {
        let mut places = self.places.clone();
        places.sort_unstable_by_key(|place| self.slot(*place));
        places
    }

    pub fn find(&self, place: [u16; 3]) -> u32 {
        if (0..3).any(|a| place[a] as usize >= self.dims[a]) { NONE } else { self.directory[self.slot(place)] }
    }

    pub fn values(&self, brick: u32) -> Option<&[f32; N_BRICK_POINTS]> {
        self.bricks.get(brick as usize).map(|brick| &brick.values)
    }

    /// The brick's points and one more on each axis, x fastest; NaN where not known.
    pub fn block(&self, place: [u16; 3]) -> [f32; N_BLOCK_POINTS] {
        let mut block = [f32::NAN; N_BLOCK_POINTS];
        for corner in 0..8u16 {
            let shift: [u16; 3] = std::array::from_fn(|a| corner >> a & 1);
            let Some(values) = self.values(self.find(std::array::from_fn(|a| place[a] + shift[a]))) else { continue };
            let n = shift.map(|s| if s == 1 { 1 } else { SIDE });
            let start = shift.map(|s| s as usize * SIDE);
            for z in 0..n[2] {
                for y in 0..n[1] {
                    let from = (z * SIDE + y) * SIDE;
                    let to = ((start[2] + z) * BLOCK_SIDE + start[1] + y) * BLOCK_SIDE + start[0];
                    block[to..to + n[0]].copy_from_slice(&values[from..from + n[0]]);
                }
            }
        }
        block
    }

    fn slot(&self, place: [u16; 3]) -> usize {
        let [x, y, z] = place.map(usize::from);
        (z * self.dims[1] + y) * self.dims[0] + x
    }

    fn ensure(&mut self, place: [u16; 3]) -> Result<usize, StageError> {
        let slot = self.slot(place);
        if self.directory[slot] != NONE {
            return Ok(self.directory[slot] as usize);
        }
        if self.bricks.len() >= self.max_bricks {
            return Err(StageError::new(
                StageErrorKind::TooLarge,
                format!("the surface needs more than {} bytes of field values", self.max_bricks * size_of::<Brick>()),
                "lower the resolution or choose a level that does not cut through noise",
            ));
        }
        self.directory[slot] = self.bricks.len() as u32;
        let mut values = [f32::NAN; N_BRICK_POINTS];
        let is_at_border = (0..3).any(|a| place[a] == 0 || (place[a] as usize + 1) * SIDE >= self.lattice.n_points[a]);
        if is_at_border {
            for (at, value) in values.iter_mut().enumerate() {
                let within = [at % SIDE, at / SIDE % SIDE, at / SIDE / SIDE];
                let index: [usize; 3] = std::array::from_fn(|a| place[a] as usize * SIDE + within[a]);
                let is_point = (0..3).all(|a| index[a] < self.lattice.n_points[a]);
                if is_point && self.lattice.is_outer(index.map(|i| i as u16)) {
                    *value = OUTSIDE;
                }
            }
        }
        self.bricks.push(Box::new(Brick { values, visited: [0; 8] }));
        self.places.push(place);
        Ok(self.bricks.len() - 1)
    }
}

fn place_of(index: Index) -> [u16; 3] {
    index.map(|i| i / SIDE as u16)
}

fn offset(index: Index) -> usize {
    let [x, y, z] = index.map(|i| i as usize % SIDE);
    (z * SIDE + y) * SIDE + x
}
