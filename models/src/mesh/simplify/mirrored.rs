//! Meshes that are their own mirror image, as the inflate engine makes them.
//!
//! meshoptimizer keeps borders but no outlines, so such a mesh is reduced as its
//! front half, whose border is the outline, and mirrored again. Where that half
//! is a height over the plane of the picture it stays one, so the picture can be
//! projected onto it without folds.

use std::collections::HashSet;

use glam::Vec3;
use meshopt::{SimplifyOptions, SimplifyVertex, VertexDataAdapter, typed_to_bytes};

use super::super::{
    Mesh,
    clean::doubled_faces,
    mirror::{FrontHalf, with_mirror_image},
    surface::{Separated, Surface, separate},
    unfold::unfold,
};
use super::{SimplifyTarget, border_vertices};

/// Weight of a change of a unit normal, relative to a move by the mesh's extent.
const NORMAL_WEIGHT: f32 = 0.3;
/// The same for reliefs: of the squared height and of the normal. Found by
/// trying: deviation and creases were least over a range of cutouts.
const RELIEF_WEIGHTS: [f32; 4] = [3.0, 2.0, 2.0, 2.0];
/// A first pass leaves this many times the budget, the attempts start from there.
const ROUGH: usize = 2;
/// Times that tangled places are locked before they are taken apart instead.
const MAX_LOCKED: usize = 3;
/// Attempts at the budget before the best one so far is taken.
const MAX_ATTEMPTS: usize = 10;

/// At most `budget` >= 1 triangles, or as few as `max_error` (metres) allows.
/// Also returns meshoptimizer's estimate of the error, in metres.
pub(super) fn reduce_mirrored(half: &FrontHalf, target: SimplifyTarget) -> (Mesh, f32) {
    // The outline is what everybody sees: its vertices should go last.
    let lock = |p: &Vec3| if p.z == 0.0 { SimplifyVertex::Priority } else { SimplifyVertex::None };
    let locks = half.mesh.positions.iter().map(lock).collect();
    let mut reduction = if is_relief(&half.mesh) {
        Reduction::of_relief(&half.mesh, locks)
    } else {
        Reduction::of_solid(&half.mesh, locks)
    };
    let finish = |(positions, triangles)| half.lift_flat_spots(positions, triangles);
    let (positions, triangles) = match target {
        SimplifyTarget::Triangles(budget) => reduction.towards(budget / 2, finish),
        SimplifyTarget::Error(metres) => reduction.within(metres, finish),
    };
    let (positions, triangles) = with_mirror_image(&positions, &triangles);
    (Mesh { positions, triangles, front: half.mesh.front, ..Mesh::default() }, reduction.error)
}

/// Whether all triangles face the front and have normals to keep.
fn is_relief(mesh: &Mesh) -> bool {
    let faces_front = |[a, b, c]: [Vec3; 3]| (b - a).truncate().perp_dot((c - a).truncate()) > 0.0;
    mesh.normals.len() == mesh.positions.len() && mesh.triangles.iter().all(|&t| faces_front(mesh.corners(t)))
}

type Triangles = (Vec<Vec3>, Vec<[u32; 3]>);

struct Reduction<'a> {
    mesh: &'a Mesh,
    locks: Vec<SimplifyVertex>,
    /// Vertices of the original's border.
    on_border: Vec<bool>,
    is_relief: bool,
    /// Where meshoptimizer sees the vertices; it lets no triangle turn over there.
    space: Vec<[f32; 3]>,
    /// What it keeps besides, `weights.len()` numbers a vertex.
    attributes: Vec<f32>,
    weights: Vec<f32>,
    /// How far collapses may go, and the furthest that one went, in metres.
    max_error: f32,
    error: f32,
}

impl<'a> Reduction<'a> {
    /// Keeps positions and normals.
    fn of_solid(mesh: &'a Mesh, locks: Vec<SimplifyVertex>) -> Self {
        let on_border = border_vertices(&Surface::of(&mesh.positions, mesh.triangles.clone()), mesh.positions.len());
        let space = mesh.positions.iter().map(|p| p.to_array()).collect();
        let has_normals = mesh.normals.len() == mesh.positions.len();
        let attributes = mesh.normals.iter().flat_map(|n| n.to_array()).collect();
        let weights = if has_normals { vec![NORMAL_WEIGHT; 3] } else { Vec::new() };
        Reduction {
            mesh,
            locks,
            on_border,
            is_relief: false,
            space,
            attributes,
            weights,
            max_error: f32::MAX,
            error: 0.0,
        }
    }

    /// For a mesh that is a height over the xy plane: seen from above, so that no
    /// triangle turns its back to the front. The height counts by its square,
    /// which unlike itself rises gently where the surface leaves the plane upright.
    fn of_relief(mesh: &'a Mesh, locks: Vec<SimplifyVertex>) -> Self {
        let (low, high) = mesh.bounds().unwrap_or_default();
        let scale = (high - low).truncate().max_element().recip();
        let square = |z: f32| z * z / (2.0 * high.z);
        let attribute = |(p, n): (&Vec3, &Vec3)| [square(p.z) * scale, n.x, n.y, n.z];
        let space = mesh.positions.iter().map(|p| [p.x, p.y, 0.0]).collect();
        let attributes = mesh.positions.iter().zip(&mesh.normals).flat_map(attribute).collect();
        let weights = RELIEF_WEIGHTS.to_vec();
        Reduction { is_relief: true, space, attributes, weights, ..Reduction::of_solid(mesh, locks) }
    }

    /// The largest result found that has at most `budget` triangles after
    /// `finish`, or the smallest one when none has.
    fn towards(&mut self, budget: usize, finish: impl Fn(Triangles) -> Triangles) -> Triangles {
        self.lock_extremes();
        let mesh = self.mesh;
        let mut rough = self.collapse(&mesh.triangles, budget * ROUGH);
        let mut best: Option<Triangles> = None;
        let mut target = budget;
        let mut n_locked = 0;
        for _ in 0..MAX_ATTEMPTS {
            let collapsed = self.collapse(&rough, target);
            let (tidy, tangled) = self.untangle(collapsed);
            if !tangled.is_empty() && n_locked < MAX_LOCKED {
                // Taken apart, a handle may be cut through: better to keep what is there.
                n_locked += 1;
                self.lock_around(&tangled);
                rough = self.collapse(&mesh.triangles, budget * ROUGH);
                continue;
            }
            let result = finish(tidy);
            let n = result.1.len();
            let n_best = best.as_ref().map(|(_, triangles)| triangles.len());
            let better = match n_best {
                Some(n_best) if n_best <= budget => n <= budget && n > n_best,
                Some(n_best) => n < n_best,
                None => true,
            };
            if better {
                best = Some(result);
            } else if n_best.is_some_and(|n| n <= budget) {
                break;
            }
            if (budget - budget / 100..=budget).contains(&n) {
                break;
            }
            // What is missing is added to the target, what is too much taken off.
            target = (target + budget).saturating_sub(n);
        }
        best.unwrap_or_else(|| (self.mesh.positions.clone(), self.mesh.triangles.clone()))
    }

    /// As few triangles as `metres` allow, then `finish`.
    fn within(&mut self, metres: f32, finish: impl Fn(Triangles) -> Triangles) -> Triangles {
        let mesh = self.mesh;
        self.max_error = metres;
        self.lock_extremes();
        for n_locked in 0.. {
            let collapsed = self.collapse(&mesh.triangles, 0);
            let (tidy, tangled) = self.untangle(collapsed);
            if tangled.is_empty() || n_locked == MAX_LOCKED {
                return finish(tidy);
            }
            self.lock_around(&tangled);
        }
        (mesh.positions.clone(), mesh.triangles.clone())
    }

    /// meshoptimizer's edge collapse.
    fn collapse(&mut self, triangles: &[[u32; 3]], target: usize) -> Vec<[u32; 3]> {
        let mut error = 0.0;
        let Ok(vertices) = VertexDataAdapter::new(typed_to_bytes(&self.space), size_of::<[f32; 3]>(), 0) else {
            return triangles.to_vec();
        };
        let indices = meshopt::simplify_with_attributes_and_locks(
            triangles.as_flattened(),
            &vertices,
            &self.attributes,
            &self.weights,
            size_of::<f32>() * self.weights.len(),
            &self.locks,
            target.min(triangles.len()) * 3,
            self.max_error,
            SimplifyOptions::ErrorAbsolute,
            Some(&mut error),
        );
        self.error = self.error.max(error);
        indices.as_chunks::<3>().0.to_vec()
    }

    /// Takes apart what was tied together by collapsing edges without regard to
    /// their surroundings: doubled faces, edges with several sheets, vertices
    /// between two fans. Also returns the vertices where that was so, and those
    /// of holes that have closed.
    fn untangle(&self, triangles: Vec<[u32; 3]>) -> (Triangles, Vec<u32>) {
        let positions = &self.mesh.positions;
        let faces = match doubled_faces(positions.len(), &triangles) {
            Some(kept) => triangles.iter().zip(kept).filter(|(_, kept)| *kept).map(|(&face, _)| face).collect(),
            None => triangles.clone(),
        };
        let doubled = faces.len() < triangles.len();
        let mut surface = Surface::of(positions, faces);
        unfold(positions, &mut surface, self.is_relief);
        let Separated { positions: apart, triangles: tidy, .. } = separate(positions, &surface);
        let tidy = (apart, tidy);
        let split = surface.faces.iter().flatten().zip(tidy.1.iter().flatten()).filter(|(a, b)| a != b);
        let mut tangled: Vec<u32> = split.map(|(&vertex, _)| vertex).collect();
        let on_border = border_vertices(&surface, positions.len());
        tangled
            .extend(surface.faces.iter().flatten().filter(|&&v| self.on_border[v as usize] && !on_border[v as usize]));
        if doubled {
            let kept: HashSet<&[u32; 3]> = surface.faces.iter().collect();
            tangled.extend(triangles.iter().filter(|face| !kept.contains(face)).flatten());
        }
        (tidy, tangled)
    }

    /// Keeps one vertex at each end of the bounding box, so that the mesh goes on
    /// standing on the ground at its height.
    fn lock_extremes(&mut self) {
        for axis in 0..3 {
            let along = |v: &usize| self.mesh.positions[*v][axis];
            let all = 0..self.mesh.positions.len();
            let lowest = all.clone().min_by(|a, b| along(a).total_cmp(&along(b)));
            let highest = all.max_by(|a, b| along(a).total_cmp(&along(b)));
            for v in lowest.into_iter().chain(highest) {
                self.locks[v] = SimplifyVertex::Lock;
            }
        }
    }

    /// Keeps the surroundings of some vertices as they are in the original.
    fn lock_around(&mut self, vertices: &[u32]) {
        let wanted: HashSet<u32> = vertices.iter().copied().collect();
        for triangle in &self.mesh.triangles {
            if triangle.iter().any(|v| wanted.contains(v)) {
                for &v in triangle {
                    self.locks[v as usize] = SimplifyVertex::Lock;
                }
            }
        }
    }
}
