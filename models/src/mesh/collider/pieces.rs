//! Splits a mesh into sets of points whose hulls hold it.
//!
//! V-HACD fills the mesh with voxels and cuts them by planes along the axes until
//! each part is nearly convex. The mesh's triangles, clipped to a part's voxels,
//! give its points. Parts are then merged, those that add the least empty space first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use glam::Vec3;
use parry3d::{
    math::Vec3 as ParryVec3,
    transformation::{
        vhacd::{VHACD, VHACDParameters},
        voxelization::FillMode,
    },
};
use rayon::prelude::*;

use super::{ColliderOptions, hull};
use crate::{error::StageError, mesh::Mesh};

/// Voxels along the longest side.
const RESOLUTION: u32 = 64;
/// Range of V-HACD's concavity: empty space in a hull as a share of the whole hull.
const CONCAVITY: (f32, f32) = (0.001, 0.2);

/// Points of each piece, `options.max_pieces` sets at most. `used` are the mesh's
/// vertices that triangles use; they are not flat.
pub fn decompose(mesh: &Mesh, used: &[Vec3], options: &ColliderOptions) -> Result<Vec<Vec<Vec3>>, StageError> {
    let whole = hull::hull(used)?;
    let whole_volume = volume(&whole);
    // A layer as thick as the error on the hull, as a share of its volume.
    let concavity = (0.1 * options.error as f64 * area(&whole) / whole_volume) as f32;
    let concavity = concavity.clamp(CONCAVITY.0, CONCAVITY.1);
    let sets = voxel_parts(mesh, used, concavity, options.max_pieces as u32).unwrap_or_else(|| vec![used.to_vec()]);
    let pieces = sets.iter().map(|points| Piece::of(points)).collect::<Result<Vec<_>, _>>()?;
    Ok(merge(pieces, options.max_pieces, 0.1 * concavity as f64 * whole_volume)?
        .into_iter()
        .map(|p| p.points)
        .collect())
}

/// `None` where V-HACD gives up.
fn voxel_parts(mesh: &Mesh, used: &[Vec3], concavity: f32, max_pieces: u32) -> Option<Vec<Vec<Vec3>>> {
    // V-HACD's tolerances are absolute: it is given a mesh about 1 wide at the origin.
    let (low, high) = used.iter().fold((used[0], used[0]), |(low, high), &p| (low.min(p), high.max(p)));
    let (middle, size) = ((low + high) / 2.0, (high - low).max_element());
    let points: Vec<ParryVec3> =
        mesh.positions.iter().map(|&p| ParryVec3::from_array(((p - middle) / size).to_array())).collect();
    let parameters = VHACDParameters {
        concavity,
        resolution: RESOLUTION,
        max_convex_hulls: max_pieces,
        fill_mode: FillMode::FloodFill { detect_cavities: false },
        ..VHACDParameters::default()
    };
    // Its hulls in floating point may panic on unlucky voxels; the single hull is then the answer.
    let sets = catch_unwind(AssertUnwindSafe(|| {
        let parts = VHACD::decompose(&parameters, &points, &mesh.triangles, true);
        parts.compute_primitive_intersections(&points, &mesh.triangles)
    }))
    .ok()?;
    let back = |p: &ParryVec3| Vec3::from_array(p.to_array()) * size + middle;
    let sets: Vec<Vec<Vec3>> =
        sets.iter().filter(|set| !set.is_empty()).map(|set| set.iter().map(back).collect()).collect();
    (!sets.is_empty()).then_some(sets)
}

struct Piece {
    /// Corners of the hull.
    points: Vec<Vec3>,
    volume: f64,
}

impl Piece {
    fn of(points: &[Vec3]) -> Result<Piece, StageError> {
        let hull = hull::hull(points)?;
        let volume = volume(&hull);
        Ok(Piece { points: hull.positions, volume })
    }

    fn with(&self, other: &Piece) -> Result<Piece, StageError> {
        Piece::of(&[self.points.as_slice(), &other.points].concat())
    }
}

/// Joins the two pieces that add the least volume until there are `max_pieces`, and
/// on while that is no more than `free` cubic metres.
fn merge(mut pieces: Vec<Piece>, max_pieces: usize, free: f64) -> Result<Vec<Piece>, StageError> {
    let added = |a: &Piece, b: &Piece| Ok(a.with(b)?.volume - a.volume - b.volume);
    let costs_of = |pieces: &[Piece], i: usize, range: std::ops::Range<usize>| {
        range.into_par_iter().map(|j| added(&pieces[i], &pieces[j])).collect::<Result<Vec<f64>, StageError>>()
    };
    // Cost of joining piece i with each before it.
    let mut costs = Vec::new();
    for i in 0..pieces.len() {
        costs.push(costs_of(&pieces, i, 0..i)?);
    }
    loop {
        let mut best = (f64::INFINITY, 0, 0);
        for (i, row) in costs.iter().enumerate() {
            for (j, &cost) in row.iter().enumerate() {
                if cost < best.0 {
                    best = (cost, i, j);
                }
            }
        }
        let (cost, i, j) = best;
        if i == j || (pieces.len() <= max_pieces && cost > free) {
            return Ok(pieces);
        }
        pieces[j] = pieces[i].with(&pieces[j])?;
        pieces.remove(i);
        costs.remove(i);
        costs.iter_mut().skip(i).for_each(|row| {
            row.remove(i);
        });
        costs[j] = costs_of(&pieces, j, 0..j)?;
        let after = costs_of(&pieces, j, j + 1..pieces.len())?;
        costs.iter_mut().skip(j + 1).zip(after).for_each(|(row, cost)| row[j] = cost);
    }
}

fn volume(mesh: &Mesh) -> f64 {
    let Some(&origin) = mesh.positions.first() else { return 0.0 };
    let corners = |t: &[u32; 3]| mesh.corners(*t).map(|p| (p - origin).as_dvec3());
    mesh.triangles.iter().map(corners).map(|[a, b, c]| a.dot(b.cross(c)) / 6.0).sum()
}

fn area(mesh: &Mesh) -> f64 {
    let corners = |t: &[u32; 3]| mesh.corners(*t).map(|p| p.as_dvec3());
    mesh.triangles.iter().map(corners).map(|[a, b, c]| (b - a).cross(c - a).length() / 2.0).sum()
}
