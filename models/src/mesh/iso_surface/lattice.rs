//! The grid of points over the bounds: cubes, with one more layer of points all
//! around that counts as outside, so that surfaces which leave the bounds are closed.
//!
//! A point's index is (x, y, z) with 0 and `n_points - 1` in the outer layer.

use glam::{DVec3, Vec3};

use crate::error::{StageError, StageErrorKind};

/// Most cells along a side.
pub const MAX_RESOLUTION: u32 = 1024;
/// Cells must be wider than this many steps of f32 at the coordinates they have.
const ULPS_PER_CELL: f64 = 4096.0;
/// What the outer layer holds. Values of the field are clamped to less.
pub const OUTSIDE: f32 = -1e30;
pub const LARGEST: f32 = 1e20;

pub type Index = [u16; 3];

#[derive(Debug, Clone, Copy)]
pub struct Lattice {
    /// Corner of the bounds; index (1, 1, 1).
    origin: DVec3,
    /// Side of a cell in metres.
    pub cell: f64,
    /// Along each axis, outer layer included.
    pub n_points: [usize; 3],
}

impl Lattice {
    /// Cubes, `resolution` along the longest side.
    pub fn over(bounds: (Vec3, Vec3), resolution: u32) -> Result<Lattice, StageError> {
        let (low, high) = bounds;
        let size = high.as_dvec3() - low.as_dvec3();
        if !(size.is_finite() && size.min_element() > 0.0) {
            return Err(StageError::invalid(
                format!("bounds from {low} to {high} are empty or not finite"),
                "give bounds whose second corner is larger on every axis",
            ));
        }
        if !(1..=MAX_RESOLUTION).contains(&resolution) {
            return Err(StageError::invalid(
                format!("resolution {resolution} is not in 1 to {MAX_RESOLUTION}"),
                format!("choose a resolution of at most {MAX_RESOLUTION} cells along the longest side"),
            ));
        }
        let cell = size.max_element() / resolution as f64;
        // A last cell that is only a rounding error wide is left out.
        let n_cells = size.to_array().map(|side| ((side / cell - 1e-4).ceil() as usize).max(1));
        Lattice::new(low.as_dvec3(), cell, n_cells.map(|n| n + 1))
    }

    /// `n_points` along each axis without the outer layer.
    pub fn new(origin: DVec3, cell: f64, n_points: [usize; 3]) -> Result<Lattice, StageError> {
        if n_points.iter().any(|&n| n == 0 || n > MAX_RESOLUTION as usize + 1) {
            return Err(StageError::new(
                StageErrorKind::TooLarge,
                format!("grid of {n_points:?} points is not in 1 to {} a side", MAX_RESOLUTION + 1),
                "choose a coarser grid",
            ));
        }
        let lattice = Lattice { origin, cell, n_points: n_points.map(|n| n + 2) };
        let furthest = origin.abs().max(lattice.at(n_points.map(|n| n as f64)).abs()).max_element();
        if !(cell > 0.0 && cell * (1u64 << 23) as f64 >= ULPS_PER_CELL * furthest && cell > 1e-9) {
            return Err(StageError::invalid(
                format!("cells of {cell} m at {furthest} m from the origin are too fine for single precision"),
                "move the bounds to the origin or lower the resolution",
            ));
        }
        Ok(lattice)
    }

    /// Position of a point or, with fractions, of anything between, in metres.
    pub fn at(&self, index: [f64; 3]) -> DVec3 {
        self.origin + (DVec3::from_array(index) - 1.0) * self.cell
    }

    pub fn position(&self, index: Index) -> Vec3 {
        self.at(index.map(|i| i as f64)).as_vec3()
    }

    /// Last index within the bounds, along each axis.
    pub fn last(&self) -> Index {
        self.n_points.map(|n| (n - 2) as u16)
    }

    pub fn is_outer(&self, index: Index) -> bool {
        (0..3).any(|a| index[a] == 0 || index[a] as usize == self.n_points[a] - 1)
    }

    /// Points within the bounds.
    pub fn n_inner(&self) -> u64 {
        self.n_points.iter().map(|&n| (n - 2) as u64).product()
    }

    /// First and last corner of the bounds as the cells cover them.
    pub fn bounds(&self) -> (Vec3, Vec3) {
        (self.position([1; 3]), self.position(self.last()))
    }
}
