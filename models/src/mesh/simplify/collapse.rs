//! Edge collapse of any mesh, with or without a texture layout.
//!
//! Several passes, each of which goes on from what the last one left: with
//! quadrics made afresh no place runs away from the surface, and repetitions of
//! the last pass cost little. Where a pass ties a knot (a face twice, an edge with
//! three sheets, a triangle that turns over in the texture), the places are held
//! as they were and the pass is repeated.

use std::collections::{BTreeSet, HashMap};

use glam::{Vec2, Vec3};
use meshopt::{SimplifyOptions as Flags, SimplifyVertex, VertexDataAdapter, typed_to_bytes};

use super::{
    super::{
        Mesh,
        clean::doubled_faces,
        colors,
        surface::{Separated, Surface, separate},
        topology::{DisjointSets, EdgeTable, topology, weld_map},
    },
    SimplifyOptions, SimplifyTarget, border_vertices,
    charts::Charts,
};

/// What the passes before the last leave, in budgets. Found by trying: with
/// fewer the surfaces are further apart, in the mean and where it is most. Only
/// the second of them is of use where vertices stay where they are.
const ROUGH: &[usize] = &[8, 4, 2];
/// Times that knots are held in a mesh before they are taken apart instead, and
/// the same where nothing can be taken apart because of the layout.
const MAX_HELD: usize = 3;
const MAX_HELD_IN_LAYOUT: usize = 8;
/// Radius of pieces that go where nothing else helps, relative to the mesh's extent.
const SMALL_PIECE: f32 = 0.02;
/// Attempts at the budget before the best one so far is taken.
const MAX_ATTEMPTS: usize = 10;
/// Weight of a move by the whole texture and of a change of a unit normal,
/// relative to a move by the mesh's extent.
const UV_WEIGHT: f32 = 0.5;
const NORMAL_WEIGHT: f32 = 0.05;
/// Attributes of a layout: u, v and the normal.
const LAYOUT: usize = 5;
/// Weight of a change from black to white in one channel, sRGB-encoded, relative to the same.
const COLOR_WEIGHT: f32 = 0.05;

/// The mesh of at most the budget that is nearest to it, or the smallest found,
/// and the estimated error in metres. `locks`: one a vertex of `mesh`.
pub(super) fn reduce(
    mesh: &Mesh,
    has_layout: bool,
    mut locks: Vec<SimplifyVertex>,
    options: &SimplifyOptions,
) -> (Mesh, f32) {
    lock_extremes(mesh, &mut locks);
    let whole = Reduced::of(mesh, has_layout);
    let work = Work {
        mesh,
        charts: has_layout.then(|| Charts::of(mesh, &whole.triangles)),
        shape: options.preserve_topology.then(|| Shape::of(&whole.places(), &whole.triangles)),
        was_crowded: if has_layout { crowded(&whole.places(), &whole.triangles) } else { Vec::new() },
        whole,
    };
    match options.target {
        SimplifyTarget::Error(metres) => work.within(metres, locks),
        SimplifyTarget::Triangles(budget) => work.towards(budget, locks),
    }
}

/// Keeps one vertex at each end of the bounding box, so that the mesh goes on
/// standing on the ground at its height.
fn lock_extremes(mesh: &Mesh, locks: &mut [SimplifyVertex]) {
    let mut is_used = vec![false; mesh.positions.len()];
    mesh.triangles.iter().flatten().for_each(|&v| is_used[v as usize] = true);
    let used: Vec<usize> = (0..is_used.len()).filter(|&v| is_used[v]).collect();
    for axis in 0..3 {
        let along = |v: &usize| mesh.positions[*v][axis];
        let lowest = used.iter().copied().min_by(|a, b| along(a).total_cmp(&along(b)));
        let highest = used.iter().copied().rev().max_by(|a, b| along(a).total_cmp(&along(b)));
        for v in lowest.into_iter().chain(highest) {
            locks[v] = SimplifyVertex::Lock;
        }
    }
}

/// A stage of the reduction. With a layout vertices keep the numbers they have in the input.
#[derive(Clone)]
struct Reduced {
    positions: Vec<[f32; 3]>,
    /// As many a vertex as there are weights: with a layout u, v and the normal; then the colour,
    /// sRGB-encoded, where the mesh has colours.
    attributes: Vec<f32>,
    weights: Vec<f32>,
    has_layout: bool,
    triangles: Vec<[u32; 3]>,
    /// Vertices that were on a border of the input.
    was_on_border: Vec<bool>,
    /// Of all passes so far, in metres.
    error: f32,
}

impl Reduced {
    /// Without a layout bit-equal positions become one vertex; with one, those
    /// that have equal texture coordinates too.
    fn of(mesh: &Mesh, has_layout: bool) -> Reduced {
        let positions = mesh.positions.iter().map(|p| p.to_array()).collect();
        let has_colors = !mesh.colors.is_empty() && mesh.colors.len() == mesh.positions.len();
        let (same, mut attributes, mut weights) = if has_layout {
            let (same, normals) = same_corners(mesh);
            let attribute = |(uv, n): (&Vec2, Vec3)| [uv.x, uv.y, n.x, n.y, n.z];
            let attributes: Vec<f32> = mesh.uvs.iter().zip(normals).flat_map(attribute).collect();
            (same, attributes, vec![UV_WEIGHT, UV_WEIGHT, NORMAL_WEIGHT, NORMAL_WEIGHT, NORMAL_WEIGHT])
        } else {
            (weld_map(&mesh.positions), Vec::new(), Vec::new())
        };
        if has_colors {
            let colors: Vec<Vec3> = colors::joined(&mesh.colors, &same).into_iter().map(colors::seen).collect();
            let before = attributes.chunks(weights.len().max(1)).chain(std::iter::repeat(&[][..]));
            attributes =
                before.zip(&colors).flat_map(|(before, c)| before.iter().copied().chain(c.to_array())).collect();
            weights.extend([COLOR_WEIGHT; 3]);
        }
        let triangles = mesh.triangles.iter().map(|t| t.map(|v| same[v as usize]));
        let triangles: Vec<[u32; 3]> = triangles.filter(|[a, b, c]| a != b && b != c && c != a).collect();
        let was_on_border = on_border(mesh.positions.len(), &triangles);
        Reduced { positions, attributes, weights, has_layout, triangles, was_on_border, error: 0.0 }
    }

    /// With the surface taken apart, and `locks` likewise. Not with a layout.
    fn take_apart(&mut self, apart: Separated, locks: &mut Vec<SimplifyVertex>) {
        let Separated { positions, triangles, vertex_from, .. } = apart;
        let before = |v: &u32| (*v != u32::MAX).then_some(*v as usize);
        *locks = vertex_from.iter().map(|v| before(v).map_or(SimplifyVertex::None, |v| locks[v])).collect();
        self.was_on_border = vertex_from.iter().map(|v| before(v).is_some_and(|v| self.was_on_border[v])).collect();
        if let Some(colors) = self.colors(&vertex_from, &triangles) {
            self.attributes = colors.iter().flat_map(|color| color.to_array()).collect();
        }
        self.positions = positions.into_iter().map(|p| p.to_array()).collect();
        self.triangles = triangles;
    }

    /// Colours, as they are seen, of vertices that were the vertices `from` of this, or, by
    /// `u32::MAX`, are new. `None` without colours.
    fn colors(&self, from: &[u32], triangles: &[[u32; 3]]) -> Option<Vec<Vec3>> {
        let n = self.weights.len();
        if n == if self.has_layout { LAYOUT } else { 0 } {
            return None;
        }
        let color = |v: &u32| (*v != u32::MAX).then(|| Vec3::from_slice(&self.attributes[(*v as usize + 1) * n - 3..]));
        Some(colors::completed(from.iter().map(color).collect(), from.len(), triangles))
    }

    /// Without the vertices that no triangle uses any more, and `locks` likewise, which saves
    /// later passes most of their time. Not with a layout.
    fn compact(&mut self, locks: &mut Vec<SimplifyVertex>) {
        let mut number = vec![u32::MAX; self.positions.len()];
        self.triangles.iter().flatten().for_each(|&v| number[v as usize] = 0);
        let mut n = 0;
        for v in 0..number.len() {
            if number[v] == 0 {
                number[v] = n as u32;
                self.positions[n] = self.positions[v];
                self.was_on_border[n] = self.was_on_border[v];
                let width = self.weights.len();
                self.attributes.copy_within(v * width..(v + 1) * width, n * width);
                locks[n] = locks[v];
                n += 1;
            }
        }
        self.positions.truncate(n);
        self.attributes.truncate(n * self.weights.len());
        self.was_on_border.truncate(n);
        locks.truncate(n);
        self.triangles.iter_mut().flatten().for_each(|v| *v = number[*v as usize]);
    }

    /// One pass of meshoptimizer, at most `max_error` metres. With a layout the
    /// vertices left are some of those that were, so that none leaves its chart;
    /// without one they go where the surface around them is met best.
    fn collapse(&self, target: usize, max_error: f32, locks: &[SimplifyVertex]) -> Reduced {
        let mut next = self.clone();
        let target = target.min(self.triangles.len()) * 3;
        let mut indices = self.triangles.as_flattened().to_vec();
        let mut error = 0.0;
        if !self.has_layout {
            let n = meshopt::simplify_with_update(
                &mut indices,
                &mut next.positions,
                &mut next.attributes,
                &self.weights,
                size_of::<f32>() * self.weights.len(),
                Some(locks),
                target,
                max_error,
                Flags::ErrorAbsolute,
                Some(&mut error),
            );
            indices.truncate(n);
        } else if let Ok(vertices) = VertexDataAdapter::new(typed_to_bytes(&self.positions), size_of::<[f32; 3]>(), 0) {
            indices = meshopt::simplify_with_attributes_and_locks(
                &indices,
                &vertices,
                &self.attributes,
                &self.weights,
                size_of::<f32>() * self.weights.len(),
                locks,
                target,
                max_error,
                Flags::ErrorAbsolute,
                Some(&mut error),
            );
        }
        next.triangles = indices.as_chunks::<3>().0.to_vec();
        next.error += error;
        next
    }

    /// Drops pieces that are small as a whole.
    fn prune(&mut self) {
        if let Ok(vertices) = VertexDataAdapter::new(typed_to_bytes(&self.positions), size_of::<[f32; 3]>(), 0) {
            let kept = meshopt::simplify_prune(self.triangles.as_flattened(), &vertices, SMALL_PIECE);
            self.triangles = kept.as_chunks::<3>().0.to_vec();
        }
    }

    fn places(&self) -> Vec<Vec3> {
        self.positions.iter().map(|&p| p.into()).collect()
    }

    fn uv(&self, v: u32) -> Vec2 {
        let at = v as usize * self.weights.len();
        Vec2::new(self.attributes[at], self.attributes[at + 1])
    }
}

/// For each vertex the first with the same position and texture coordinate, and
/// for each the mean normal of all those, up to its length.
fn same_corners(mesh: &Mesh) -> (Vec<u32>, Vec<Vec3>) {
    let mut first: HashMap<[u32; 5], u32> = HashMap::with_capacity(mesh.positions.len());
    let mut sums = vec![Vec3::ZERO; mesh.positions.len()];
    let mut same = Vec::with_capacity(mesh.positions.len());
    for (v, (p, uv)) in mesh.positions.iter().zip(&mesh.uvs).enumerate() {
        let [x, y, z] = (*p + Vec3::ZERO).to_array().map(f32::to_bits);
        let [s, t] = (*uv + Vec2::ZERO).to_array().map(f32::to_bits);
        let one = *first.entry([x, y, z, s, t]).or_insert(v as u32);
        sums[one as usize] += mesh.normals.get(v).copied().unwrap_or_default();
        same.push(one);
    }
    let normals = same.iter().map(|&v| sums[v as usize].normalize_or_zero()).collect();
    (same, normals)
}

/// What a pass has come to; without a layout also what `Work::settled` finds in it.
struct Settled {
    reduced: Reduced,
    apart: Option<Separated>,
    /// Vertices, by their numbers before, where something was tied together.
    knots: Vec<u32>,
    /// Those of holes that have closed.
    closed: Vec<u32>,
}

/// What must not be lost where topology is to be preserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    n_pieces: usize,
    n_borders: usize,
    /// Vertices minus edges plus faces.
    euler: i64,
}

impl Shape {
    fn of(positions: &[Vec3], triangles: &[[u32; 3]]) -> Shape {
        let t = topology(positions, triangles);
        let weld = weld_map(positions);
        let faces: Vec<[u32; 3]> = triangles.iter().map(|f| f.map(|v| weld[v as usize])).collect();
        let edges = EdgeTable::new(positions.len(), &faces);
        let mut borders = DisjointSets::new(positions.len());
        let mut on_border = BTreeSet::new();
        for users in edges.iter().filter(|users| users.len() == 1) {
            let face = faces[users[0].face() as usize];
            let (u, v) = (face[users[0].side()], face[(users[0].side() + 1) % 3]);
            borders.join(u, v);
            on_border.extend([u, v]);
        }
        let n_borders = on_border.iter().filter(|&&v| borders.find(v) == v).count();
        let euler = t.n_vertices as i64 - edges.iter().count() as i64 + faces.len() as i64;
        Shape { n_pieces: t.n_components, n_borders, euler }
    }
}

struct Work<'a> {
    mesh: &'a Mesh,
    whole: Reduced,
    charts: Option<Charts>,
    /// Where it is to be preserved.
    shape: Option<Shape>,
    /// See `crowded`; with a layout only.
    was_crowded: Vec<bool>,
}

/// How far to go for a budget.
#[derive(Clone, Copy, PartialEq)]
enum Force {
    /// Knots are held, and holes that would close.
    Gentle,
    /// Holes are held; knots are taken apart, which costs no repetition.
    Loose,
    /// They are taken apart.
    Firm,
    /// Before that, small pieces go.
    Any,
}

impl Force {
    /// Later passes smooth out what has been taken apart early.
    fn while_rough(self) -> Force {
        if self == Force::Gentle { Force::Loose } else { self }
    }
}

impl Work<'_> {
    fn towards(&self, budget: usize, locks: Vec<SimplifyVertex>) -> (Mesh, f32) {
        let mut best = self.attempts(budget, &locks, Force::Gentle);
        let forces: &[Force] = match (&self.shape, &self.charts) {
            (Some(_), _) => &[],
            // In a layout nothing can be taken apart.
            (None, Some(_)) => &[Force::Any],
            (None, None) => &[Force::Firm, Force::Any],
        };
        for &force in forces {
            if best.0.triangles.len() <= budget {
                break;
            }
            let next = self.attempts(budget, &locks, force);
            if next.0.triangles.len() < best.0.triangles.len() && !next.0.triangles.is_empty() {
                best = next;
            }
        }
        best
    }

    fn attempts(&self, budget: usize, locks: &[SimplifyVertex], force: Force) -> (Mesh, f32) {
        let mut rough = self.whole.clone();
        if force == Force::Any {
            rough.prune();
        }
        let passes = if self.charts.is_some() { &ROUGH[1..2] } else { ROUGH };
        let mut locks = locks.to_vec();
        for ratio in passes {
            if rough.triangles.len() > ratio * budget * 5 / 4 {
                let held = &mut locks.clone();
                let mut next = self.settle(&rough, budget * ratio, f32::MAX, held, force.while_rough());
                if self.shape.is_some() && !self.has_its_shape(&self.finished(&next)) {
                    break;
                }
                if let Some(apart) = next.apart {
                    next.reduced.take_apart(apart, &mut locks);
                    next.reduced.compact(&mut locks);
                }
                rough = next.reduced;
            }
        }
        let mut best: Option<(Mesh, f32)> = None;
        let mut target = budget;
        // The largest target so far that loses something which is to be preserved.
        let mut lost_at = None;
        for _ in 0..MAX_ATTEMPTS {
            let settled = self.settle(&rough, target, f32::MAX, &mut locks, force);
            let result = self.finished(&settled);
            let n = result.triangles.len();
            let n_best = best.as_ref().map(|(mesh, _)| mesh.triangles.len());
            let keeps_shape = self.has_its_shape(&result);
            let better = keeps_shape
                && match n_best {
                    Some(n_best) if n_best <= budget => n <= budget && n > n_best,
                    Some(n_best) => n < n_best,
                    None => true,
                };
            if better {
                best = Some((result, settled.reduced.error));
            }
            if !keeps_shape {
                lost_at = Some(target);
            }
            if let Some(lost_at) = lost_at {
                // Between that and the fewest that lose nothing.
                let fewest = best.as_ref().map_or(rough.triangles.len(), |(mesh, _)| mesh.triangles.len());
                target = lost_at + fewest.saturating_sub(lost_at) / 2;
                if target <= lost_at + budget / 100 {
                    break;
                }
                continue;
            }
            let too_many = n > budget && !better;
            let too_few = n_best.is_some_and(|n_best| n_best <= budget) && !better;
            if too_many || too_few || (budget - budget / 100..=budget).contains(&n) {
                break;
            }
            // What is missing is added to the target, what is too much taken off.
            target = (target + budget).saturating_sub(n);
        }
        best.unwrap_or_else(|| {
            let rough = self.finished(&self.settled(rough));
            if self.has_its_shape(&rough) { (rough, 0.0) } else { (self.mesh.clone(), 0.0) }
        })
    }

    fn has_its_shape(&self, result: &Mesh) -> bool {
        self.shape.is_none_or(|shape| Shape::of(&result.positions, &result.triangles) == shape)
    }

    fn within(&self, mut metres: f32, mut locks: Vec<SimplifyVertex>) -> (Mesh, f32) {
        for _ in 0..MAX_ATTEMPTS {
            let settled = self.settle(&self.whole, 0, metres, &mut locks, Force::Gentle);
            let result = self.finished(&settled);
            if self.has_its_shape(&result) {
                return (result, settled.reduced.error);
            }
            metres /= 2.0;
        }
        (self.mesh.clone(), 0.0)
    }

    /// Collapses; where that ties knots, locks their surroundings and tries again.
    fn settle(
        &self,
        from: &Reduced,
        target: usize,
        max_error: f32,
        locks: &mut [SimplifyVertex],
        force: Force,
    ) -> Settled {
        let max_held = match (&self.charts, force) {
            (Some(_), _) => MAX_HELD_IN_LAYOUT,
            (None, Force::Gentle | Force::Loose) => MAX_HELD,
            (None, _) => 0,
        };
        let mut next = self.settled(from.collapse(target, max_error, locks));
        for _ in 0..max_held {
            let held = match &self.charts {
                None => {
                    let knots = if force == Force::Loose { &[][..] } else { &next.knots };
                    around(&from.triangles, &[knots, &next.closed].concat())
                }
                Some(charts) => {
                    let next = &next.reduced;
                    let mut held = around(&from.triangles, &self.knots(next));
                    held.extend(charts.trouble(&next.triangles, |v| next.uv(v), &from.triangles, |v| from.uv(v)));
                    held
                }
            };
            let mut n_new = 0;
            for v in held {
                n_new += usize::from(locks[v as usize] != SimplifyVertex::Lock);
                locks[v as usize] = SimplifyVertex::Lock;
            }
            if n_new == 0 {
                break;
            }
            next = self.settled(from.collapse(target, max_error, locks));
        }
        next
    }

    fn finished(&self, Settled { reduced, apart, .. }: &Settled) -> Mesh {
        let front = self.mesh.front;
        let linear = |colors: Vec<Vec3>| colors.into_iter().map(colors::linear).collect();
        if let Some(Separated { positions, triangles, vertex_from, .. }) = apart {
            let colors = reduced.colors(vertex_from, triangles).map_or_else(Vec::new, linear);
            let (positions, triangles) = (positions.clone(), triangles.clone());
            return Mesh { positions, triangles, front, colors, ..Mesh::default() };
        }
        let uvs = (0..reduced.positions.len() as u32).map(|v| reduced.uv(v)).collect();
        let normal = |attributes: &[f32]| Vec3::from_slice(&attributes[2..5]);
        let normals = if self.mesh.normals.len() == self.mesh.positions.len() {
            reduced.attributes.chunks(reduced.weights.len()).map(normal).map(|n| n.normalize_or(Vec3::Z)).collect()
        } else {
            Vec::new()
        };
        let all: Vec<u32> = (0..reduced.positions.len() as u32).collect();
        let colors = reduced.colors(&all, &[]).map_or_else(Vec::new, linear);
        Mesh { positions: reduced.places(), triangles: reduced.triangles.clone(), normals, uvs, colors, front }
    }

    /// Takes apart what was tied together by collapsing edges without regard to
    /// their surroundings: doubled faces, edges with several sheets, vertices
    /// between two fans.
    fn settled(&self, reduced: Reduced) -> Settled {
        if self.charts.is_some() {
            return Settled { reduced, apart: None, knots: Vec::new(), closed: Vec::new() };
        }
        let positions = reduced.places();
        let kept = doubled_faces(positions.len(), &reduced.triangles);
        let faces = match &kept {
            Some(kept) => {
                reduced.triangles.iter().zip(kept).filter(|(_, kept)| **kept).map(|(&face, _)| face).collect()
            }
            None => reduced.triangles.clone(),
        };
        let surface = Surface::of(&positions, faces);
        let apart = separate(&positions, &surface);
        let split = surface.faces.iter().flatten().zip(apart.triangles.iter().flatten()).filter(|(a, b)| a != b);
        let mut knots: Vec<u32> = split.map(|(&vertex, _)| vertex).collect();
        let on_border = border_vertices(&surface, positions.len());
        let is_closed = |v: &u32| reduced.was_on_border[*v as usize] && !on_border[*v as usize];
        let closed = surface.faces.iter().flatten().copied().filter(is_closed).collect();
        if let Some(kept) = kept {
            knots.extend(reduced.triangles.iter().zip(kept).filter(|(_, kept)| !kept).flat_map(|(&face, _)| face));
        }
        Settled { reduced, apart: Some(apart), knots, closed }
    }

    /// Vertices where the surface, seen through its seams, is no longer manifold
    /// and was before.
    fn knots(&self, reduced: &Reduced) -> Vec<u32> {
        let after = crowded(&reduced.places(), &reduced.triangles);
        (0..after.len()).filter(|&v| after[v] && !self.was_crowded[v]).map(|v| v as u32).collect()
    }
}

/// Marks vertices, of `n`, on edges with one face.
fn on_border(n: usize, triangles: &[[u32; 3]]) -> Vec<bool> {
    let mut on_border = vec![false; n];
    for users in EdgeTable::new(n, triangles).iter().filter(|users| users.len() == 1) {
        let face = triangles[users[0].face() as usize];
        on_border[face[users[0].side()] as usize] = true;
        on_border[face[(users[0].side() + 1) % 3] as usize] = true;
    }
    on_border
}

/// Marks vertices at edges with more than two faces and at faces that are there twice.
fn crowded(positions: &[Vec3], triangles: &[[u32; 3]]) -> Vec<bool> {
    let weld = weld_map(positions);
    let faces: Vec<[u32; 3]> = triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
    let mut marked = vec![false; positions.len()];
    for users in EdgeTable::new(positions.len(), &faces).iter().filter(|users| users.len() > 2) {
        for user in users {
            faces[user.face() as usize].iter().for_each(|&v| marked[v as usize] = true);
        }
    }
    if let Some(kept) = doubled_faces(positions.len(), &faces) {
        for (face, _) in faces.iter().zip(kept).filter(|(_, kept)| !kept) {
            face.iter().for_each(|&v| marked[v as usize] = true);
        }
    }
    (0..positions.len()).map(|v| marked[weld[v] as usize]).collect()
}

/// The given vertices and their neighbours.
fn around(triangles: &[[u32; 3]], vertices: &[u32]) -> BTreeSet<u32> {
    if vertices.is_empty() {
        return BTreeSet::new();
    }
    let wanted: BTreeSet<u32> = vertices.iter().copied().collect();
    triangles.iter().filter(|t| t.iter().any(|v| wanted.contains(v))).flatten().copied().collect()
}
