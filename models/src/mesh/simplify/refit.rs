//! Moves the vertices of a reduced mesh to where its surface is nearest to that
//! of the mesh it was made from.
//!
//! In: both meshes. Out: the same triangles on other positions. Edge collapse
//! places a vertex by the planes around it alone; here the distances of the two
//! surfaces themselves are made small, both ways, as in Hoppe et al., "Mesh
//! Optimization" (1993): points of either surface are tied to their nearest points
//! on the other, then all vertices move so that the distances along those ties
//! are smallest in the sense of least squares, and the points are tied anew. From
//! the second pass on large distances count more, which brings the largest one
//! down (iteratively reweighted least squares for the 4-norm). Of all passes the
//! best one stays: nothing gets worse.

use glam::{DMat3, DVec3, Vec3};
use rayon::prelude::*;

use super::super::{
    Mesh,
    bvh::{Bvh, closest_on_triangle},
};

/// Moves of all vertices. More gain little.
const PASSES: usize = 5;
/// Passes in a row without gain before the rest is spared.
const PATIENCE: usize = 3;
/// Points of the mesh as it was for each triangle of the reduced one, about.
const POINTS: usize = 10;
/// Triangles with a side this many times as long as points are apart have points within them.
const LARGE: f32 = 2.0;
/// Square of an equilateral triangle's side, relative to its area.
const EQUILATERAL: f32 = 2.309_401;
/// Most points along a side of such a triangle.
const MAX_DIVISIONS: f32 = 16.0;
/// How much a vertex is held where it is, relative to all that pulls at it.
const HOLD: f64 = 0.01;
/// Share of a reweighted step that is taken, for they go too far.
const STEP: f32 = 0.8;
/// Weights of near and of the farthest points, relative to those at the mean square.
const MIN_WEIGHT: f32 = 0.1;
const MAX_WEIGHT: f32 = 50.0;
/// Sweeps over all vertices for one solution.
const SWEEPS: usize = 4;
/// Steps of a walk from triangle to triangle.
const MAX_STEPS: usize = 8;

/// A point of a surface and its tie to the other.
#[derive(Clone, Copy)]
struct Tie {
    /// On the reduced mesh.
    face: u32,
    barycentric: Vec3,
    /// On the mesh as it was.
    point: Vec3,
    squared: f32,
}

/// Positions of `low`, whose triangles all have an area, fitted to the surface of
/// `high`, whose tree is given. Its bounding box stays, and so do the vertices that touch it. Memory:
/// about 100 bytes a triangle of `high`, and 2 KiB one of `low`.
pub(super) fn refit(high: &Mesh, tree: &Bvh, low: &mut Mesh) {
    let Some(bounds) = low.bounds() else { return };
    let points = points_on(high, POINTS * low.triangles.len());
    if low.triangles.is_empty() || points.is_empty() {
        return;
    }
    let positions = low.positions.clone();
    let mut work = Work { high, triangles: &low.triangles, positions, fans: Fans::of(low), bounds };
    let mut forth = work.tie_all(&points);
    let mut back = work.spots();
    let mut start = None;
    let mut best = (2.0, low.positions.clone());
    let mut best_pass = 0;
    for pass in 0..=PASSES {
        work.tie_back(tree, &mut back, pass > 0);
        let fit = Fit::of(&forth, &back);
        let left = fit.relative_to(start.get_or_insert(fit));
        if let Some(left) = left.filter(|&left| left < best.0) {
            best = (left, work.positions.clone());
            best_pass = pass;
        }
        if pass == PASSES || pass - best_pass == PATIENCE {
            break;
        }
        let mean_square = forth.iter().map(|tie| f64::from(tie.squared)).sum::<f64>() / forth.len() as f64;
        let weight = |squared: f32| match (pass, (squared / mean_square as f32).min(MAX_WEIGHT)) {
            (1.., relative) if relative.is_finite() => MIN_WEIGHT + relative,
            _ => 1.0,
        };
        work.step(&forth, &back, weight, if pass == 0 { 1.0 } else { STEP });
        work.tie_again(&mut forth);
    }
    low.positions = best.1;
}

/// How far the surfaces are apart.
#[derive(Clone, Copy)]
struct Fit {
    largest: f32,
    mean: f64,
}

impl Fit {
    fn of(forth: &[Tie], back: &[Tie]) -> Fit {
        let largest = forth.iter().chain(back).fold(0.0f32, |most, tie| most.max(tie.squared)).sqrt();
        let mean = |ties: &[Tie]| ties.iter().map(|tie| f64::from(tie.squared.sqrt())).sum::<f64>() / ties.len() as f64;
        Fit { largest, mean: mean(forth) + mean(back) }
    }

    /// What is left of the distances that were at the start, both counting alike;
    /// `None` where either has grown.
    fn relative_to(&self, start: &Fit) -> Option<f64> {
        let is_no_worse = self.mean <= start.mean && self.largest <= start.largest;
        is_no_worse.then(|| self.mean / start.mean + f64::from(self.largest / start.largest))
    }
}

/// About `n` points of a surface: vertices, and points within triangles that are large.
fn points_on(mesh: &Mesh, n: usize) -> Vec<Vec3> {
    let mut is_used = vec![false; mesh.positions.len()];
    mesh.triangles.iter().flatten().for_each(|&v| is_used[v as usize] = true);
    let vertices = || mesh.positions.iter().zip(&is_used).filter(|(_, used)| **used).map(|(p, _)| *p);
    let every = (vertices().count() / n.max(1)).max(1);
    let mut points: Vec<Vec3> = vertices().step_by(every).collect();
    let area = |[a, b, c]: [Vec3; 3]| (b - a).cross(c - a).length() / 2.0;
    let total: f64 = mesh.triangles.iter().map(|&t| f64::from(area(mesh.corners(t)))).sum();
    let spacing = LARGE * (total / n as f64).sqrt() as f32;
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle);
        // Middles of the upright triangles of a triangle divided n times each way.
        let longest = (b - a).length_squared().max((c - b).length_squared()).max((a - c).length_squared()).sqrt();
        // The side of an equilateral one; of a sliver a mean of its length and its area.
        let side = (longest * (area([a, b, c]) * EQUILATERAL).sqrt()).sqrt();
        let n = (side / spacing).min(MAX_DIVISIONS) as usize;
        for (i, j) in (0..n).flat_map(|i| (0..n - i).map(move |j| (i, j))) {
            let at = |i: usize| (i as f32 + 1.0 / 3.0) / n as f32;
            points.push(a + (b - a) * at(i) + (c - a) * at(j));
        }
    }
    points
}

/// The triangles at each vertex.
struct Fans {
    starts: Vec<u32>,
    faces: Vec<u32>,
}

impl Fans {
    fn of(mesh: &Mesh) -> Fans {
        let at = |f: usize, t: [u32; 3]| t.map(|v| (v, f as u32));
        let (starts, faces) = by_vertex(
            mesh.positions.len(),
            mesh.triangles.iter().enumerate().flat_map(|(f, &t)| at(f, t)).collect::<Vec<_>>().as_slice(),
        );
        Fans { starts, faces }
    }

    fn at(&self, v: u32) -> &[u32] {
        &self.faces[self.starts[v as usize] as usize..self.starts[v as usize + 1] as usize]
    }
}

/// Values by their keys below `n`: where those of each begin, and all in order.
fn by_vertex(n: usize, pairs: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; n + 1];
    pairs.iter().for_each(|(v, _)| starts[*v as usize + 1] += 1);
    for v in 0..n {
        starts[v + 1] += starts[v];
    }
    let mut next = starts.clone();
    let mut values = vec![0; pairs.len()];
    for &(v, value) in pairs {
        values[next[v as usize] as usize] = value;
        next[v as usize] += 1;
    }
    (starts, values)
}

/// The reduced mesh on its way.
struct Work<'a> {
    high: &'a Mesh,
    triangles: &'a [[u32; 3]],
    positions: Vec<Vec3>,
    fans: Fans,
    bounds: (Vec3, Vec3),
}

impl Work<'_> {
    fn corners(&self, face: u32) -> [Vec3; 3] {
        self.triangles[face as usize].map(|v| self.positions[v as usize])
    }

    fn foot(&self, tie: &Tie) -> Vec3 {
        let [a, b, c] = self.corners(tie.face);
        a * tie.barycentric.x + b * tie.barycentric.y + c * tie.barycentric.z
    }

    fn tie(&self, point: Vec3, face: u32) -> Tie {
        let (foot, barycentric) = closest_on_triangle(self.corners(face), point);
        Tie { face, barycentric, point, squared: foot.distance_squared(point) }
    }

    /// Points to their nearest points of the reduced mesh.
    fn tie_all(&self, points: &[Vec3]) -> Vec<Tie> {
        let tree = Bvh::new(&self.positions, self.triangles);
        let run = |points: &[Vec3]| -> Vec<Tie> {
            // Points that follow each other are near each other: a short way to look.
            let mut last = 0;
            let tie = |&point: &Vec3| {
                let known = self.tie(point, last);
                let reach = known.squared.sqrt() * (1.0 + 1e-5);
                let found = tree.closest(point, reach, |_, _| true);
                last = found.map_or(last, |hit| hit.face);
                self.tie(point, last)
            };
            points.iter().map(tie).collect()
        };
        points.par_chunks(1024).flat_map_iter(run).collect()
    }

    /// Again, walking from where each was; the farthest ones are looked for everywhere.
    fn tie_again(&self, ties: &mut [Tie]) {
        ties.par_iter_mut().for_each(|tie| *tie = self.walk(tie.point, tie.face));
        let mean_square = ties.iter().map(|tie| f64::from(tie.squared)).sum::<f64>() / ties.len() as f64;
        let far = 4.0 * mean_square as f32;
        let tree = Bvh::new(&self.positions, self.triangles);
        ties.par_iter_mut().filter(|tie| tie.squared > far).for_each(|tie| {
            if let Some(hit) = tree.closest(tie.point, tie.squared.sqrt(), |_, _| true) {
                *tie = self.tie(tie.point, hit.face);
            }
        });
    }

    /// Downhill from a triangle to its neighbours at the side or corner that is nearest.
    fn walk(&self, point: Vec3, face: u32) -> Tie {
        let mut best = self.tie(point, face);
        for _ in 0..MAX_STEPS {
            let from = best;
            if from.barycentric.min_element() > 0.0 {
                break;
            }
            for (v, _) in
                self.triangles[from.face as usize].iter().zip(from.barycentric.to_array()).filter(|v| v.1 > 0.0)
            {
                for &next in self.fans.at(*v) {
                    let tie = self.tie(point, next);
                    if tie.squared < best.squared {
                        best = tie;
                    }
                }
            }
            if best.face == from.face {
                break;
            }
        }
        best
    }

    /// Points of the reduced mesh: vertices and the middles of edges and triangles, not tied yet.
    fn spots(&self) -> Vec<Tie> {
        let mut spots = Vec::with_capacity(self.triangles.len() * 3);
        let mut is_new = vec![true; self.positions.len()];
        for (face, t) in self.triangles.iter().enumerate() {
            let mut add = |barycentric: Vec3| {
                spots.push(Tie { face: face as u32, barycentric, point: Vec3::ZERO, squared: f32::INFINITY });
            };
            add(Vec3::splat(1.0 / 3.0));
            for k in 0..3 {
                if std::mem::take(&mut is_new[t[k] as usize]) {
                    add(Vec3::AXES[k]);
                }
                if t[k] < t[(k + 1) % 3] {
                    add((Vec3::AXES[k] + Vec3::AXES[(k + 1) % 3]) / 2.0);
                }
            }
        }
        spots
    }

    /// Points of the reduced mesh to their nearest points on the mesh as it was.
    /// `again`: they are tied to near ones.
    fn tie_back(&self, tree: &Bvh, spots: &mut [Tie], again: bool) {
        spots.par_chunks_mut(256).for_each(|spots| {
            // Spots that follow each other are near each other.
            let mut last = None;
            for tie in spots {
                let spot = self.foot(tie);
                let known = if again { Some(tie.point) } else { last };
                tie.point = known.unwrap_or_default();
                let reach = known.map_or(f32::INFINITY, |known| known.distance(spot) * (1.0 + 1e-5));
                if let Some(hit) = tree.closest(spot, reach, |_, _| true) {
                    let [a, b, c] = self.high.corners(self.high.triangles[hit.face as usize]);
                    tie.point = a * hit.barycentric.x + b * hit.barycentric.y + c * hit.barycentric.z;
                }
                last = Some(tie.point);
                tie.squared = tie.point.distance_squared(spot);
            }
        });
    }

    /// Moves the vertices so that the ties get short; `weight`: of a squared length.
    fn step(&mut self, forth: &[Tie], back: &[Tie], weight: impl Fn(f32) -> f32, share: f32) {
        // All points of either surface together weigh the same.
        let of_back = forth.len() as f32 / back.len().max(1) as f32;
        let rows: Vec<Row> = (forth.iter().map(|tie| (tie, 1.0)).chain(back.iter().map(|tie| (tie, of_back))))
            .map(|(tie, more)| self.row(tie, more * weight(tie.squared)))
            .collect();
        let moves = self.solution(&rows);
        let before = self.positions.clone();
        let (low, high) = self.bounds;
        for (p, step) in self.positions.iter_mut().zip(&moves) {
            let is_held = p.cmpeq(low).any() || p.cmpeq(high).any();
            if !is_held && step.is_finite() {
                *p = (*p + step.as_vec3() * share).clamp(low, high);
            }
        }
        self.turn_back(&before);
    }

    /// Vertices of triangles that turned over or lost their area go back to where they were.
    fn turn_back(&mut self, before: &[Vec3]) {
        let normal = |t: &[u32; 3], at: &[Vec3]| {
            let [a, b, c] = t.map(|v| at[v as usize]);
            (b - a).cross(c - a)
        };
        loop {
            let is_turned = |t: &&[u32; 3]| {
                let (was, is) = (normal(t, before), normal(t, &self.positions));
                // NaN is turned too.
                let (along, least) = (was.dot(is), 0.05 * was.length_squared().min(was.length() * is.length()));
                along.partial_cmp(&least) != Some(std::cmp::Ordering::Greater)
            };
            let turned: Vec<u32> = self.triangles.iter().filter(is_turned).flatten().copied().collect();
            let moved = |&v: &u32| self.positions[v as usize] != before[v as usize];
            if !turned.iter().any(moved) {
                return;
            }
            turned.into_iter().for_each(|v| self.positions[v as usize] = before[v as usize]);
        }
    }

    fn row(&self, tie: &Tie, weight: f32) -> Row {
        let [a, b, c] = self.corners(tie.face);
        let way = tie.point - self.foot(tie);
        let length = way.length();
        let normal = (b - a).cross(c - a).normalize_or_zero();
        // Of points on the surface nothing but its plane is known.
        let along = if length > 1e-6 * (b - a).length() { way / length } else { normal };
        Row {
            vertices: self.triangles[tie.face as usize],
            barycentric: tie.barycentric,
            along,
            rest: way.dot(along),
            weight,
        }
    }

    /// Gauss-Seidel, a vertex at a time.
    fn solution(&self, rows: &[Row]) -> Vec<DVec3> {
        let n = self.positions.len();
        let uses = |i: usize, row: &Row| [0, 1, 2].map(|k| (row.vertices[k], (3 * i + k) as u32));
        let pairs: Vec<(u32, u32)> = rows.iter().enumerate().flat_map(|(i, row)| uses(i, row)).collect();
        let (starts, uses) = by_vertex(n, &pairs);
        let at = |v: usize| {
            let uses = &uses[starts[v] as usize..starts[v + 1] as usize];
            uses.iter().map(|&use_| (use_ as usize / 3, use_ as usize % 3))
        };
        let inverse: Vec<(DMat3, f64)> = (0..n)
            .into_par_iter()
            .map(|v| {
                let (mut sum, mut hold) = (DMat3::ZERO, 0.0);
                for (i, k) in at(v) {
                    let (row, along) = (&rows[i], rows[i].along.as_dvec3());
                    let weight = f64::from(row.weight) * f64::from(row.barycentric[k]).powi(2);
                    sum += DMat3::from_cols(along * along.x, along * along.y, along * along.z) * weight;
                    hold += HOLD * weight;
                }
                ((sum + DMat3::from_diagonal(DVec3::splat(hold))).inverse(), hold)
            })
            .collect();
        let mut rest: Vec<f64> = rows.iter().map(|row| f64::from(row.rest)).collect();
        let mut moves = vec![DVec3::ZERO; n];
        for v in (0..SWEEPS).flat_map(|_| 0..n) {
            let mut pull = -moves[v] * inverse[v].1;
            for (i, k) in at(v) {
                let scale = f64::from(rows[i].weight) * f64::from(rows[i].barycentric[k]) * rest[i];
                pull += rows[i].along.as_dvec3() * scale;
            }
            let step = inverse[v].0 * pull;
            if step.is_finite() {
                moves[v] += step;
                for (i, k) in at(v) {
                    rest[i] -= f64::from(rows[i].barycentric[k]) * rows[i].along.as_dvec3().dot(step);
                }
            }
        }
        moves
    }
}

/// One tie's wish: that the weighted moves of three vertices along it sum up to `rest`.
struct Row {
    vertices: [u32; 3],
    barycentric: Vec3,
    along: Vec3,
    rest: f32,
    weight: f32,
}
