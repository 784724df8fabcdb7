//! What physics collides with: a mesh in, few convex pieces with few vertices out.
//!
//! Decompositions are parry3d's V-HACD (Mamou, "Volumetric hierarchical approximate
//! convex decomposition", 2016) followed by merging of pieces, which parry leaves
//! out. Hulls are our own (hull.rs): parry's may panic. Every piece is closed,
//! convex, wound outward, and its vertices are points of the mesh or lie on its
//! triangles; flat and tiny inputs become thin boxes and prisms.

mod hull;
mod pieces;
#[cfg(test)]
mod tests;

use glam::Vec3;

use super::Mesh;
use crate::error::StageError;

/// Fewest vertices a piece may be limited to: a tetrahedron.
pub const LEAST_VERTICES: usize = 4;
/// Most pieces.
pub const MOST_PIECES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColliderOptions {
    pub kind: ColliderKind,
    /// 1 to 64. With `Decomposition`, how many pieces at most.
    pub max_pieces: usize,
    /// 4 and up. A piece of n vertices has 2 n - 4 triangles at most: 64 vertices
    /// are 124 triangles, below the 255 of Unity and PhysX.
    pub max_vertices_per_piece: usize,
    /// In metres: a piece gets no more vertices once no point that it should hold
    /// is further outside, and a decomposition no more pieces once a layer as
    /// thick on the hull would fill the gaps between hull and mesh. With few
    /// vertices points may stay further outside.
    pub error: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColliderKind {
    /// One convex hull.
    Hull,
    /// Several convex pieces that follow dents and holes.
    Decomposition,
}

/// The smallest convex solid around `points`, up to a millionth of their extent:
/// closed, outward, without points that lie on a face within that. Points on a plane, on a line or in one place get
/// a thickness of a thousandth of their extent, 0.1 mm at least.
///
/// Errors: no points, or one that is not finite. About 100 bytes of memory a point.
pub fn convex_hull(points: &[Vec3]) -> Result<Mesh, StageError> {
    check_points(points)?;
    hull::hull(points)
}

/// Convex pieces that together hold the mesh. Only positions and triangles are
/// read; doubled vertices, holes and wrong winding do not matter.
///
/// Errors: options out of range, a mesh without triangles, a position that is not
/// finite, a triangle whose corner does not exist.
pub fn collider(mesh: &Mesh, options: &ColliderOptions) -> Result<Vec<Mesh>, StageError> {
    check_options(options)?;
    check_points(&mesh.positions)?;
    let n_vertices = mesh.positions.len();
    if let Some(bad) = mesh.triangles.iter().flatten().find(|&&v| v as usize >= n_vertices) {
        return Err(StageError::invalid(
            format!("triangle corner {bad} is not one of {n_vertices} vertices"),
            "clean the mesh first",
        ));
    }
    if mesh.triangles.is_empty() {
        return Err(StageError::invalid(
            "mesh of 0 triangles has nothing to collide with",
            "give a mesh with triangles",
        ));
    }
    let mut is_used = vec![false; n_vertices];
    mesh.triangles.iter().flatten().for_each(|&v| is_used[v as usize] = true);
    let used: Vec<Vec3> = mesh.positions.iter().zip(is_used).filter(|(_, used)| *used).map(|(&p, _)| p).collect();

    let sets = match options.kind {
        ColliderKind::Hull => vec![used],
        ColliderKind::Decomposition if hull::is_thin(&used) => vec![used],
        ColliderKind::Decomposition => pieces::decompose(mesh, &used, options)?,
    };
    sets.iter().map(|points| hull::limited_hull(points, options.max_vertices_per_piece, options.error)).collect()
}

fn check_options(options: &ColliderOptions) -> Result<(), StageError> {
    if !(1..=MOST_PIECES).contains(&options.max_pieces) {
        return Err(StageError::invalid(
            format!("{} pieces are not in 1 to {MOST_PIECES}", options.max_pieces),
            "choose up to 16 pieces",
        ));
    }
    if options.max_vertices_per_piece < LEAST_VERTICES {
        return Err(StageError::invalid(
            format!("{} vertices are fewer than the {LEAST_VERTICES} of a solid", options.max_vertices_per_piece),
            "allow 64 vertices a piece",
        ));
    }
    if !(options.error >= 0.0 && options.error.is_finite()) {
        return Err(StageError::invalid(
            format!("error of {} m is not a distance of 0 or more", options.error),
            "choose an error of 0.01 m",
        ));
    }
    Ok(())
}

fn check_points(points: &[Vec3]) -> Result<(), StageError> {
    if points.is_empty() {
        return Err(StageError::invalid("0 points have no hull", "give a mesh with vertices"));
    }
    match points.iter().position(|p| !p.is_finite()) {
        None => Ok(()),
        Some(i) => {
            Err(StageError::invalid(format!("vertex {i} at {} is not finite", points[i]), "clean the mesh first"))
        }
    }
}
