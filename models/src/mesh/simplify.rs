//! Reduces a mesh to a triangle budget.
//!
//! In: a clean mesh. Out: one with at most the budget, within 1 % of it where
//! the input had more and its topology allows, closed and manifold where the
//! input was, in an order that suits vertex caches, with fresh normals.
//!
//! Edges are collapsed by meshoptimizer, guided by positions and normals. It
//! keeps borders but no outlines, so a mesh that is its own mirror image is
//! reduced as its front half, whose border is the outline, and mirrored again.

use std::collections::HashMap;

use glam::Vec3;
use meshopt::{SimplifyOptions, SimplifyVertex, VertexDataAdapter, typed_to_bytes};

use super::{
    Mesh,
    clean::{clean, drop_doubled_faces},
    mirror::{FrontHalf, with_mirror_image},
    normals::smooth_normals,
    surface::{Surface, split_touching_vertices},
    topology::topology,
};
use crate::error::StageError;

/// Weight of a change of a unit normal, relative to a move by the mesh's extent.
const NORMAL_WEIGHT: f32 = 0.3;
/// A first pass leaves this many times the budget, the attempts start from there.
const ROUGH: usize = 2;
/// Attempts at the budget before the best one so far is taken.
const MAX_ATTEMPTS: usize = 8;

/// At most `budget` >= 1 triangles.
pub fn simplify(mesh: &Mesh, budget: usize) -> Result<Mesh, StageError> {
    let mut reduced = if mesh.triangles.len() <= budget {
        mesh.clone()
    } else if let Some(half) = FrontHalf::of(mesh) {
        reduce_mirrored(&half, budget)
    } else {
        reduce(mesh, budget)
    };
    let broken = |mesh: &Mesh| !is_sound(&mesh.positions, &mesh.triangles);
    if mesh.uvs.is_empty() && broken(&reduced) && !broken(mesh) {
        reduced = clean(&reduced, 0.0)?;
    }
    order_for_caches(&mut reduced);
    reduced.normals = smooth_normals(&reduced.positions, &reduced.triangles);
    Ok(reduced)
}

fn is_sound(positions: &[Vec3], triangles: &[[u32; 3]]) -> bool {
    let t = topology(positions, triangles);
    t.is_watertight() && t.is_manifold() && t.n_degenerate == 0
}

/// Calls `attempt` with targets until its result comes close to the budget from
/// below. Returns the largest result that fits, or the last one when none does.
fn approach<T>(budget: usize, mut attempt: impl FnMut(usize) -> (T, usize)) -> T {
    let close = budget - budget / 100;
    let mut target = budget;
    let (mut best, mut n_best) = attempt(target);
    for _ in 1..MAX_ATTEMPTS {
        if (close..=budget).contains(&n_best) {
            break;
        }
        target = (target + budget).saturating_sub(n_best);
        let (result, n) = attempt(target);
        let better = if n_best > budget { n < n_best } else { n <= budget && n > n_best };
        if !better {
            break;
        }
        (best, n_best) = (result, n);
    }
    best
}

fn reduce(mesh: &Mesh, budget: usize) -> Mesh {
    let locks = outline_locks(mesh);
    let collapse =
        |triangles: &[[u32; 3]], target: usize| collapse(&mesh.positions, &mesh.normals, &locks, triangles, target);
    let rough = collapse(&mesh.triangles, budget * ROUGH);
    let (positions, triangles) = approach(budget, |target| {
        let triangles = collapse(&rough, target);
        // Along texture seams vertices are doubled: what touches there is meant to.
        let result = if mesh.uvs.is_empty() {
            untangle(&mesh.positions, triangles)
        } else {
            (mesh.positions.clone(), triangles)
        };
        let n = result.1.len();
        (result, n)
    });
    Mesh { positions, triangles, normals: Vec::new(), uvs: mesh.uvs.clone(), front: mesh.front }
}

/// Takes apart what collapsing edges without regard to their surroundings tied
/// together: doubled faces, edges with several sheets, vertices between two fans.
fn untangle(positions: &[Vec3], mut triangles: Vec<[u32; 3]>) -> (Vec<Vec3>, Vec<[u32; 3]>) {
    drop_doubled_faces(positions.len(), &mut triangles);
    split_touching_vertices(positions, &Surface::of(positions, triangles))
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

fn reduce_mirrored(half: &FrontHalf, budget: usize) -> Mesh {
    let Mesh { positions, normals, front, .. } = &half.mesh;
    let locks = vec![SimplifyVertex::None; positions.len()];
    let collapse = |triangles: &[[u32; 3]], target: usize| collapse(positions, normals, &locks, triangles, target / 2);
    let rough = collapse(&half.mesh.triangles, budget * ROUGH);
    let (positions, triangles) = approach(budget, |target| {
        let (positions, triangles) = untangle(positions, collapse(&rough, target));
        let (positions, triangles) = half.lift_flat_spots(positions, triangles);
        let n = 2 * triangles.len();
        ((positions, triangles), n)
    });
    let (positions, triangles) = with_mirror_image(&positions, &triangles);
    Mesh { positions, triangles, front: *front, ..Mesh::default() }
}

/// meshoptimizer's edge collapse, towards `target` triangles at whatever error it takes.
fn collapse(
    positions: &[Vec3],
    normals: &[Vec3],
    locks: &[SimplifyVertex],
    triangles: &[[u32; 3]],
    target: usize,
) -> Vec<[u32; 3]> {
    const ANY_ERROR: f32 = f32::MAX;
    let bytes: Vec<[f32; 3]> = positions.iter().map(|p| p.to_array()).collect();
    let Ok(vertices) = VertexDataAdapter::new(typed_to_bytes(&bytes), size_of::<[f32; 3]>(), 0) else {
        return triangles.to_vec();
    };
    let attributes: Vec<f32> = normals.iter().flat_map(|n| n.to_array()).collect();
    let weights = if normals.len() == positions.len() { &[NORMAL_WEIGHT; 3][..] } else { &[] };
    let indices = meshopt::simplify_with_attributes_and_locks(
        triangles.as_flattened(),
        &vertices,
        &attributes,
        weights,
        size_of::<[f32; 3]>(),
        locks,
        target * 3,
        ANY_ERROR,
        SimplifyOptions::None,
        None,
    );
    indices.as_chunks::<3>().0.to_vec()
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
}
