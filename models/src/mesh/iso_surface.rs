//! Surface of a scalar field: a function on points in, a closed manifold out.
//!
//! `iso_surface` asks the field only near the surface; `marching_cubes` takes a
//! grid of values. Both make the same triangles of the same values.
//!
//! **What is found.** With `dense` every point of the lattice is looked at. Without,
//! a coarse lattice of every `coarse_step`th point is, and the surface is followed
//! from there, cell by cell, through every cell face that it crosses. The result
//! is then bit for bit that of `dense`, except that a connected piece of surface is missing when
//! - no two neighbouring points of the coarse lattice lie on different sides of it, and
//! - the guard saw nothing in the coarse cells that it lies in: see `Guard`. With
//!   `Guard::Lipschitz` and a bound that holds nothing is ever missing.
//!
//! What both miss: features smaller than a cell that no point of the fine lattice sees.
//!
//! **Mesh.** Closed, manifold, wound counter-clockwise from outside, without normals.
//! Outside the bounds counts as outside: a surface that leaves them is capped
//! 1/1024 of a cell beyond. Topology within a cell is that of trilinear
//! interpolation, except that tunnels thinner than 1/256 of a cell are closed.
//!
//! **Memory.** At most `max_bytes` for values, of which a surface of n cells needs about 40 n
//! (2.1 kB for each 8 x 8 x 8 points that it touches), 8.8 MB of directory and
//! (1024 / `coarse_step`)^3 * 10 bytes of coarse lattice at resolution 1024, and
//! the mesh: about 56 bytes a cell. Dense: nine planes of points besides.

mod bricks;
mod cube;
mod dense;
mod lattice;
mod polygonize;
mod project;
mod sample;
mod seek;
#[cfg(test)]
mod tests;
mod tunnel;

use glam::Vec3;
use rayon::prelude::*;

use self::{
    bricks::Bricks,
    dense::Slab,
    lattice::Lattice,
    sample::{Sampler, not_finite, to_depths},
};
use super::Mesh;
use crate::error::StageError;

pub use self::lattice::MAX_RESOLUTION;

/// Values at points in metres, one each. Called from several threads; must give a
/// point the same value whatever else is in its batch, else the result is not reproducible.
pub type Field<'a> = dyn Fn(&[Vec3]) -> Result<Vec<f32>, StageError> + Sync + 'a;

/// Called with steps done and in all; an error ends the work, as with `StageCx::step`.
pub type OnStep<'a> = dyn Fn(u32, u32) -> Result<(), StageError> + Sync + 'a;

#[derive(Debug, Clone, PartialEq)]
pub struct IsoOptions {
    /// Two opposite corners, in metres. The lattice of cubes starts at the first;
    /// its last cells may reach less than a cell beyond the second.
    pub bounds: (Vec3, Vec3),
    /// Cells along the longest side, 1 to 1024.
    pub resolution: u32,
    /// The value on the surface.
    pub level: f32,
    pub inside: Inside,
    /// Look at every point.
    pub dense: bool,
    /// Cells between samples of the coarse lattice, 1 to 64. Less where fewer than
    /// eight would lie along the longest side.
    pub coarse_step: u32,
    /// What else is looked into where coarse samples agree.
    pub guard: Guard,
    /// Steps that move vertices along the lattice's edges to where the field is at
    /// the level. 0: linear interpolation. Each asks for one point a vertex.
    pub edge_steps: u32,
    /// Newton steps, by up to half a cell, for vertices within cells; without
    /// `edge_steps` for all. Each asks for 5 points a vertex, up to an eighth of a cell
    /// outside the bounds.
    pub newton_steps: u32,
    /// Points in one call of the field.
    pub batch_points: usize,
    /// Most memory for field values near the surface.
    pub max_bytes: u64,
}

/// Which values are in the solid. The level itself is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    Above,
    Below,
}

/// When a coarse cell with all corners on one side is cut in eight nevertheless,
/// down to fine cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guard {
    /// Never.
    SignChange,
    /// When the steepest of its edges, continued from its corner nearest to the
    /// level, would reach the level within half the cell's diagonal.
    Slope,
    /// When a field of which no value changes by more than this per metre could
    /// reach the level within it. 1 for distances.
    Lipschitz(f32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsoStats {
    /// Points at which the field was asked to find the surface.
    pub n_points: u64,
    /// Points that the dense lattice has.
    pub n_dense_points: u64,
    /// Points asked for to move vertices onto the surface.
    pub n_refining_points: u64,
    /// Cells that the surface crosses.
    pub n_cells: u64,
    pub n_triangles: u64,
}

/// Values on a grid of cubes.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// x fastest, then y, then z.
    pub values: &'a [f32],
    /// Along x, y and z, 1 to 1025.
    pub n_points: [usize; 3],
    /// Position of the first point, in metres.
    pub origin: Vec3,
    /// Distance of neighbours, in metres.
    pub cell: f32,
}

impl IsoOptions {
    /// A cube lattice over `bounds` with the defaults for networks: coarse to fine
    /// with the slope guard, vertices refined along edges.
    pub fn new(bounds: (Vec3, Vec3), resolution: u32, level: f32, inside: Inside) -> IsoOptions {
        IsoOptions {
            bounds,
            resolution,
            level,
            inside,
            dense: false,
            coarse_step: 8,
            guard: Guard::Slope,
            edge_steps: 3,
            newton_steps: 0,
            batch_points: 1 << 14,
            max_bytes: 4 << 30,
        }
    }
}

/// The surface on which `field` is at the level; empty where there is none.
///
/// Errors: bounds, resolution or step out of range; a value that is not finite
/// (the message says where); more values near the surface than `max_bytes`
/// hold; whatever `field` and `on_step` return.
pub fn iso_surface(field: &Field, options: &IsoOptions, on_step: &OnStep) -> Result<(Mesh, IsoStats), StageError> {
    if !(1..=64).contains(&options.coarse_step) {
        return Err(StageError::invalid(
            format!("coarse step {} is not in 1 to 64", options.coarse_step),
            "choose a step of 8 cells",
        ));
    }
    let lattice = Lattice::over(options.bounds, options.resolution)?;
    let step = Step { on_step, done: 0.into() };
    let mut sampler = Sampler { field, options, step: &step, n_points: 0 };
    let mut bricks = Bricks::new(lattice, options.max_bytes);
    step.at(0)?;
    if options.dense {
        sample_densely(&mut bricks, &mut sampler)?;
    } else {
        seek::seek(&mut bricks, &mut sampler)?;
    }
    let n_points = sampler.n_points;
    step.at(3)?;
    let polygonized = polygonize::polygonize(&bricks)?;
    drop(bricks);
    let mut mesh = polygonized.mesh;
    step.at(4)?;
    if options.edge_steps > 0 {
        project::refine(&mut mesh, &polygonized.on_edges, &lattice, options.edge_steps, &mut sampler)?;
    }
    if options.newton_steps > 0 {
        let first = if options.edge_steps > 0 { polygonized.on_edges.len() } else { 0 };
        project::project(&mut mesh, first, &lattice, options.newton_steps, &mut sampler)?;
    }
    step.at(Step::TOTAL)?;
    let stats = IsoStats {
        n_points,
        n_dense_points: lattice.n_inner(),
        n_refining_points: sampler.n_points - n_points,
        n_cells: polygonized.n_cells,
        n_triangles: mesh.triangles.len() as u64,
    };
    Ok((mesh, stats))
}

/// The surface of values on a grid; empty where there is none. Vertices lie on
/// grid edges where linear interpolation puts them, 1/1024 of an edge away from its ends at least.
///
/// Errors: sizes that do not fit each other or are over 1025; a value that is not finite.
pub fn marching_cubes(grid: &Grid, level: f32, inside: Inside) -> Result<Mesh, StageError> {
    let lattice = Lattice::new(grid.origin.as_dvec3(), grid.cell as f64, grid.n_points)?;
    let [width, height, depth] = grid.n_points;
    if grid.values.len() != width * height * depth {
        return Err(StageError::invalid(
            format!("{} values for a grid of {width} x {height} x {depth} points", grid.values.len()),
            "give one value for each point",
        ));
    }
    let mut bricks = Bricks::new(lattice, u64::MAX);
    let layers: Vec<Result<_, StageError>> = (0..bricks.dims[2])
        .into_par_iter()
        .map(|layer| {
            let mut slab = Slab::new(&lattice, layer);
            for z in slab.inner_planes(&lattice) {
                for y in 0..height {
                    let values = &grid.values[((z - 1) * height + y) * width..][..width];
                    let row = slab.row_mut(y + 1, z);
                    row.copy_from_slice(values);
                    if let Some(x) = to_depths(row, level, inside) {
                        return Err(not_finite(values[x], format!("grid point [{x}, {y}, {}]", z - 1)));
                    }
                }
            }
            Ok(slab.crossed())
        })
        .collect();
    for found in layers {
        found?.iter().try_for_each(|block| bricks.set_block(block))?;
    }
    Ok(polygonize::polygonize(&bricks)?.mesh)
}

fn sample_densely(bricks: &mut Bricks, sampler: &mut Sampler) -> Result<(), StageError> {
    let lattice = bricks.lattice;
    let mut before: Option<Slab> = None;
    for layer in 0..bricks.dims[2] {
        let mut slab = Slab::new(&lattice, layer);
        for z in slab.inner_planes(&lattice) {
            if let Some(before) = before.as_ref().filter(|_| z == layer * bricks::SIDE) {
                slab.reuse_last_plane_of(before);
                continue;
            }
            let last = lattice.last();
            let indices: Vec<lattice::Index> =
                (1..=last[1]).flat_map(|y| (1..=last[0]).map(move |x| [x, y, z as u16])).collect();
            let values = sampler.at_indices(&lattice, &indices)?;
            for (row, values) in values.chunks_exact(last[0] as usize).enumerate() {
                slab.row_mut(row + 1, z).copy_from_slice(values);
            }
        }
        slab.crossed().iter().try_for_each(|block| bricks.set_block(block))?;
        before = Some(slab);
    }
    Ok(())
}

/// Where the work is, for `OnStep`.
struct Step<'a> {
    on_step: &'a OnStep<'a>,
    done: std::sync::atomic::AtomicU32,
}

impl Step<'_> {
    /// Coarse samples, crossings, the rest of the surface, triangles, moving vertices.
    const TOTAL: u32 = 5;

    fn at(&self, done: u32) -> Result<(), StageError> {
        self.done.store(done, std::sync::atomic::Ordering::Relaxed);
        self.check()
    }

    fn check(&self) -> Result<(), StageError> {
        (self.on_step)(self.done.load(std::sync::atomic::Ordering::Relaxed), Step::TOTAL)
    }
}
