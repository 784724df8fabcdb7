//! Reduces a mesh to a triangle budget.
//!
//! In: a clean mesh. Out: one with at most the budget, within 1 % of it where
//! the input had more and its topology allows, closed and manifold where the
//! input was, in an order that suits vertex caches, with fresh normals.
//!
//! Edges are collapsed by meshoptimizer, guided by positions and normals. It
//! keeps borders but no outlines, so a mesh that is its own mirror image is
//! reduced as its front half, whose border is the outline, and mirrored again.

use std::collections::{BTreeMap, HashMap};

use glam::Vec3;
use meshopt::{SimplifyOptions, SimplifyVertex, VertexDataAdapter, typed_to_bytes};

use super::{
    Mesh,
    clean::clean,
    mirror::{front_half, with_mirror_image},
    normals::smooth_normals,
    topology::topology,
};
use crate::error::StageError;

/// Weight of a change of a unit normal, relative to a move by the mesh's extent.
const NORMAL_WEIGHT: f32 = 0.3;
/// Attempts at the budget before the best one so far is taken.
const MAX_ATTEMPTS: usize = 8;

/// At most `budget` >= 1 triangles.
pub fn simplify(mesh: &Mesh, budget: usize) -> Result<Mesh, StageError> {
    let sound = is_sound(&mesh.positions, &mesh.triangles);
    let half = if mesh.uvs.is_empty() { front_half(&mesh.positions, &mesh.triangles) } else { None };
    let reduced = match half {
        _ if mesh.triangles.len() <= budget => mesh.clone(),
        Some(front) => reduce_mirrored(mesh, front, budget),
        None => reduce(mesh, budget, sound),
    };
    let mut reduced = if sound && !is_sound(&reduced.positions, &reduced.triangles) {
        // Last resort: what meshoptimizer tied together comes apart here.
        clean(&reduced, 0.0)?
    } else {
        reduced
    };
    order_for_caches(&mut reduced);
    reduced.normals = smooth_normals(&reduced.positions, &reduced.triangles);
    Ok(reduced)
}

fn is_sound(positions: &[Vec3], triangles: &[[u32; 3]]) -> bool {
    let t = topology(positions, triangles);
    t.is_watertight() && t.is_manifold() && t.n_degenerate == 0
}

/// Calls `attempt` with targets until its result fits the budget closely;
/// returns the largest acceptable result that fits, or the last one.
fn approach<T>(budget: usize, mut attempt: impl FnMut(usize) -> (T, usize, bool)) -> T {
    let close = budget - budget / 100;
    let mut target = budget;
    let mut best: Option<(T, usize)> = None;
    let mut last = None;
    for _ in 0..MAX_ATTEMPTS {
        let (result, n, sound) = attempt(target);
        if n > budget {
            target = target.saturating_sub((n - budget).max(1));
            last = Some(result);
        } else if sound {
            let better = best.as_ref().is_none_or(|&(_, n_best)| n > n_best);
            // Short of the budget: what is missing is added, unless that led nowhere.
            if better {
                best = Some((result, n));
            }
            if n >= close || !better {
                break;
            }
            target += budget - n;
        } else {
            target = target.saturating_sub(2 + budget / 200);
            last = Some(result);
        }
        if target == 0 {
            break;
        }
    }
    match (best, last) {
        (Some((result, _)), _) | (None, Some(result)) => result,
        (None, None) => attempt(budget).0,
    }
}

fn reduce(mesh: &Mesh, budget: usize, sound: bool) -> Mesh {
    let locks = outline_locks(mesh);
    let triangles = approach(budget, |target| {
        let triangles = collapse(&mesh.positions, &mesh.normals, &locks, &mesh.triangles, target);
        let n = triangles.len();
        let fine = !sound || is_sound(&mesh.positions, &triangles);
        (triangles, n, fine)
    });
    Mesh { triangles, ..mesh.clone() }
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

fn reduce_mirrored(mesh: &Mesh, front: Vec<[u32; 3]>, budget: usize) -> Mesh {
    let half = Half::new(mesh, &front);
    let (positions, triangles) = approach(budget, |target| {
        let triangles = collapse(&half.positions, &half.normals, &half.locks, &half.triangles, target / 2);
        let (positions, triangles) = half.lift_flat_spots(triangles);
        let (positions, triangles) = with_mirror_image(&positions, &triangles);
        let (n, fine) = (triangles.len(), is_sound(&positions, &triangles));
        ((positions, triangles), n, fine)
    });
    Mesh { positions, triangles, normals: Vec::new(), uvs: Vec::new(), front: mesh.front }
}

/// The front half of a mirrored mesh, with vertices of its own.
struct Half {
    positions: Vec<Vec3>,
    normals: Vec<Vec3>,
    locks: Vec<SimplifyVertex>,
    triangles: Vec<[u32; 3]>,
    /// Positions off the mirror plane, by x.
    raised: Vec<Vec3>,
}

impl Half {
    fn new(mesh: &Mesh, front: &[[u32; 3]]) -> Half {
        let mut index = vec![u32::MAX; mesh.positions.len()];
        let mut positions = Vec::new();
        let mut normals = Vec::new();
        let mut triangles = front.to_vec();
        for v in triangles.iter_mut().flatten() {
            let i = &mut index[*v as usize];
            if *i == u32::MAX {
                *i = positions.len() as u32;
                positions.push(mesh.positions[*v as usize]);
                normals.extend(mesh.normals.get(*v as usize));
            }
            *v = *i;
        }
        let mut raised: Vec<Vec3> = positions.iter().copied().filter(|p| p.z != 0.0).collect();
        raised.sort_by(|a, b| a.x.total_cmp(&b.x));
        let locks = vec![SimplifyVertex::None; positions.len()];
        Half { positions, normals, locks, triangles, raised }
    }

    /// Where an inner edge or a whole triangle lies in the mirror plane, front
    /// and back would coincide: a vertex of the original's height is put there.
    fn lift_flat_spots(&self, triangles: Vec<[u32; 3]>) -> (Vec<Vec3>, Vec<[u32; 3]>) {
        let mut positions = self.positions.clone();
        let in_plane = |v: u32| self.positions[v as usize].z == 0.0;
        let edges = |[a, b, c]: [u32; 3]| [(a, b), (b, c), (c, a)].map(|(u, v)| (u.min(v), u.max(v)));
        let mut n_users: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for (u, v) in triangles.iter().flat_map(|&t| edges(t)) {
            if in_plane(u) && in_plane(v) {
                *n_users.entry((u, v)).or_default() += 1;
            }
        }
        let mut middles: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for ((u, v), _) in n_users.into_iter().filter(|&(_, n)| n > 1) {
            middles.insert((u, v), positions.len() as u32);
            positions.push(self.lifted((self.positions[u as usize] + self.positions[v as usize]) / 2.0));
        }

        let mut lifted = Vec::with_capacity(triangles.len() + 4 * middles.len());
        for triangle in triangles {
            let middle = edges(triangle).map(|edge| middles.get(&edge).copied());
            // Turned so that a lone split edge comes first, a lone whole edge last.
            let turned = |first: usize| [0, 1, 2].map(|i| triangle[(first + i) % 3]);
            match middle {
                [None, None, None] if triangle.iter().all(|&v| in_plane(v)) => {
                    let [a, b, c] = triangle;
                    let centre = positions.len() as u32;
                    let sum: Vec3 = triangle.iter().map(|&v| self.positions[v as usize]).sum();
                    positions.push(self.lifted(sum / 3.0));
                    lifted.extend([[a, b, centre], [b, c, centre], [c, a, centre]]);
                }
                [None, None, None] => lifted.push(triangle),
                [Some(ab), Some(bc), Some(ca)] => {
                    let [a, b, c] = triangle;
                    lifted.extend([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]);
                }
                _ => {
                    let n_split = middle.iter().flatten().count();
                    let first = (0..3).find(|&i| match n_split {
                        1 => middle[i].is_some(),
                        _ => middle[(i + 2) % 3].is_none(),
                    });
                    let first = first.unwrap_or(0);
                    let [a, b, c] = turned(first);
                    let Some(ab) = middle[first] else { continue };
                    match middle[(first + 1) % 3] {
                        None => lifted.extend([[a, ab, c], [ab, b, c]]),
                        Some(bc) => lifted.extend([[ab, b, bc], [a, ab, bc], [a, bc, c]]),
                    }
                }
            }
        }
        (positions, lifted)
    }

    /// The point in the mirror plane, raised to the original surface about there.
    fn lifted(&self, point: Vec3) -> Vec3 {
        let start = self.raised.partition_point(|p| p.x < point.x);
        let (mut best, mut z) = (f32::INFINITY, 0.0);
        let mut look = |p: &Vec3| {
            let distance = p.truncate().distance_squared(point.truncate());
            if distance < best {
                (best, z) = (distance, p.z);
            }
            (p.x - point.x).powi(2) <= best
        };
        // Outwards in both directions until x alone is further than the nearest so far.
        let _ = self.raised[start..].iter().all(&mut look);
        let _ = self.raised[..start].iter().rev().all(&mut look);
        point.with_z(z)
    }
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
