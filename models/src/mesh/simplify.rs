//! Reduces a mesh to a triangle budget or to an error.
//!
//! In: a clean mesh. Out: one with at most the budget, within 1 % of it where
//! the input had more and its topology allows, closed and manifold where the
//! input was, in an order that suits vertex caches. The report says what stood
//! in the way of a budget.
//!
//! Edges are collapsed by meshoptimizer. Without texture coordinates only shape
//! counts, vertices go where the surfaces are nearest to each other (see `refit`),
//! and normals are made afresh. With them, charts keep their layout: seams stay where they
//! are and closed, no triangle turns over or lies on another in the texture, and
//! normals are those of the input, so that maps baked for the input still fit.
//! Of a mesh with colours the places where they change stay as well as its shape does.
//! What the engine `inflate` makes is reduced as what it is: see `mirrored`.

mod charts;
mod collapse;
mod mirrored;
mod refit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use glam::Vec3;
use meshopt::SimplifyVertex;

use super::{
    Mesh,
    bvh::Bvh,
    clean::{CleanOptions, clean, clean_with},
    mirror::FrontHalf,
    normals::smooth_normals,
    surface::Surface,
    topology::topology,
};
use crate::error::StageError;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SimplifyTarget {
    /// At most this many, at least 1.
    Triangles(usize),
    /// As few triangles as this error allows, in metres, above 0: the estimate of
    /// meshoptimizer's quadrics, which is about the distance of the surfaces where
    /// they are furthest apart; changes of layout count too, by their weight.
    Error(f32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimplifyOptions {
    pub target: SimplifyTarget,
    /// Rather miss the target than lose a piece, a handle or a hole.
    pub preserve_topology: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SimplifyReport {
    pub triangles: usize,
    /// What meshoptimizer estimates, in metres: see `SimplifyTarget::Error`.
    pub error_m: f32,
    /// Why the result has more triangles than asked for, or less than 99 % of
    /// them; `None` where neither is so.
    pub reason: Option<String>,
}

/// At most `budget` >= 1 triangles, whatever it takes.
pub fn simplify(mesh: &Mesh, budget: usize) -> Result<Mesh, StageError> {
    let options = SimplifyOptions { target: SimplifyTarget::Triangles(budget), preserve_topology: false };
    Ok(simplify_with(mesh, &options)?.0)
}

/// Memory: about 300 bytes a triangle of the input besides the meshes.
pub fn simplify_with(mesh: &Mesh, options: &SimplifyOptions) -> Result<(Mesh, SimplifyReport), StageError> {
    let within_budget = match options.target {
        SimplifyTarget::Triangles(budget) => mesh.triangles.len() <= budget,
        SimplifyTarget::Error(_) => mesh.triangles.is_empty(),
    };
    let has_layout = !mesh.uvs.is_empty() && mesh.uvs.len() == mesh.positions.len();
    let (mut reduced, error_m) = if within_budget {
        (mesh.clone(), 0.0)
    } else if let Some(half) = FrontHalf::of(mesh) {
        mirrored::reduce_mirrored(&half, options.target)
    } else {
        let tree = || (!has_layout).then(|| Bvh::in_a_hurry(&mesh.positions, &mesh.triangles));
        let reduce = || collapse::reduce(mesh, has_layout, outline_locks(mesh), options);
        let (tree, (mut reduced, error_m)) = rayon::join(tree, reduce);
        if let Some(tree) = tree {
            refit::refit(mesh, &tree, &mut reduced);
        }
        (reduced, error_m)
    };
    let broken = |mesh: &Mesh| !is_sound(&mesh.positions, &mesh.triangles);
    if broken(&reduced) && !broken(mesh) {
        reduced = if has_layout {
            let keep = CleanOptions { weld: 0.0, speck: 0.0, hole: 0.0, keep_uvs: true, ..CleanOptions::default() };
            clean_with(&reduced, &keep)?.0
        } else {
            clean(&reduced, 0.0)?
        };
    }
    if !has_layout || reduced.normals.len() != reduced.positions.len() {
        reduced.normals.clear();
    }
    order_for_caches(&mut reduced);
    if reduced.normals.is_empty() {
        reduced.normals = smooth_normals(&reduced.positions, &reduced.triangles);
    }
    let triangles = reduced.triangles.len();
    Ok((reduced, SimplifyReport { triangles, error_m, reason: reason(mesh, triangles, has_layout, options) }))
}

/// Why `triangles` are not what was asked for.
fn reason(mesh: &Mesh, triangles: usize, has_layout: bool, options: &SimplifyOptions) -> Option<String> {
    let SimplifyTarget::Triangles(budget) = options.target else { return None };
    let n = mesh.triangles.len();
    // A collapse more or less is two triangles, or four in a mirrored mesh.
    let enough = triangles + 4 >= n.min(budget) * 99 / 100;
    let why = match (triangles > budget, enough) {
        (false, true) => return None,
        (true, _) if options.preserve_topology => "fewer would lose a piece, a handle or a hole",
        (true, _) if has_layout => "corners where seams meet stay, and fewer triangles would leave their charts",
        (true, _) => "pieces, handles and borders need these",
        (false, false) => "one step less would have been over the budget",
    };
    Some(format!("{triangles} triangles for a budget of {budget}: {why}"))
}

/// Closed, manifold and without flat triangles.
fn is_sound(positions: &[Vec3], triangles: &[[u32; 3]]) -> bool {
    let t = topology(positions, triangles);
    t.is_watertight() && t.is_manifold() && t.n_degenerate == 0
}

/// Marks the vertices of the outline seen from the front, which should go last.
fn outline_locks(mesh: &Mesh) -> Vec<SimplifyVertex> {
    let mut locks = vec![SimplifyVertex::None; mesh.positions.len()];
    if mesh.front.is_none() {
        return locks;
    }
    let faces_front = |[a, b, c]: [Vec3; 3]| (b - a).cross(c - a).z > 0.0;
    let mut sides: HashMap<(u32, u32), bool> = HashMap::with_capacity(mesh.triangles.len() * 2);
    for &triangle in &mesh.triangles {
        let front = faces_front(mesh.corners(triangle));
        for i in 0..3 {
            let (u, v) = (triangle[i], triangle[(i + 1) % 3]);
            if *sides.entry((u.min(v), u.max(v))).or_insert(front) != front {
                locks[u as usize] = SimplifyVertex::Priority;
                locks[v as usize] = SimplifyVertex::Priority;
            }
        }
    }
    locks
}

fn border_vertices(surface: &Surface, n_vertices: usize) -> Vec<bool> {
    let mut on_border = vec![false; n_vertices];
    for (face, links) in surface.faces.iter().zip(&surface.links) {
        for i in (0..3).filter(|&i| links[i].is_none()) {
            on_border[face[i] as usize] = true;
            on_border[face[(i + 1) % 3] as usize] = true;
        }
    }
    on_border
}

/// Triangles in an order that reuses vertices, vertices in the order of their
/// first use, unused ones dropped.
fn order_for_caches(mesh: &mut Mesh) {
    let indices = meshopt::optimize_vertex_cache(mesh.triangles.as_flattened(), mesh.positions.len());
    let mut index = vec![u32::MAX; mesh.positions.len()];
    let mut order = Vec::with_capacity(mesh.positions.len());
    for &v in &indices {
        if index[v as usize] == u32::MAX {
            index[v as usize] = order.len() as u32;
            order.push(v as usize);
        }
    }
    mesh.triangles = indices.as_chunks::<3>().0.iter().map(|t| t.map(|v| index[v as usize])).collect();
    mesh.positions = order.iter().map(|&v| mesh.positions[v]).collect();
    if !mesh.uvs.is_empty() {
        mesh.uvs = order.iter().map(|&v| mesh.uvs[v]).collect();
    }
    if !mesh.colors.is_empty() {
        mesh.colors = order.iter().map(|&v| mesh.colors[v]).collect();
    }
    if !mesh.normals.is_empty() {
        mesh.normals = order.iter().map(|&v| mesh.normals[v]).collect();
    }
}
