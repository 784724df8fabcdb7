//! Convex hulls that cannot fail: quickhull (Barber, Dobkin and Huhdanpaa, 1996)
//! on exact orientation tests (Shewchuk's, from the `robust` crate).
//!
//! In: points, any number of them doubled, on a plane or on a line. Out: a closed
//! convex mesh. Because the side of a face on which a point lies is never wrong,
//! the faces seen from a point are always one disc, and the mesh stays closed. Hulls
//! in floating point alone lose this on the grids and mirrored shapes that meshes are full of.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use glam::{DVec3, Vec3};
use robust::{Coord3D, orient3d};

use crate::{error::StageError, mesh::Mesh};

/// Least thickness, as a share of the extent and in metres.
const THINNEST_SHARE: f64 = 1e-3;
const THINNEST: f64 = 1e-4;
/// Points not further than this share of the extent from a face are on it: they would
/// only make slivers of what f32 rounds.
const ROUNDING: f64 = 1e-6;
/// Points as far from a face up to this share count as equally far: of those on a
/// plane the outermost is a corner, the others may not be.
const TIE: f64 = 1e-9;

const NONE: u32 = u32::MAX;

pub fn hull(points: &[Vec3]) -> Result<Mesh, StageError> {
    limited_hull(points, usize::MAX, 0.0)
}

/// The hull of `points` with the outermost `max_vertices` of them at most, 4 and up,
/// and no more than bring all others within `error` metres of it.
pub fn limited_hull(points: &[Vec3], max_vertices: usize, error: f32) -> Result<Mesh, StageError> {
    let points = with_thickness(points);
    let Some(start) = Tetrahedron::of(&points) else {
        // Thick by construction, unless the points are so far out that f32 cannot hold the thickness.
        return Err(StageError::invalid(
            format!("points near {} m are too far from the origin to make a solid", points[0]),
            "move the mesh to the origin",
        ));
    };
    let error = (error as f64).max(Extent::of(&points).sizes[0] * ROUNDING);
    let mut hull = Quickhull::new(&points, start);
    while hull.n_vertices < max_vertices && hull.grow(error) {}
    Ok(hull.into_mesh())
}

/// Whether the points have no thickness worth decomposing.
pub fn is_thin(points: &[Vec3]) -> bool {
    Extent::of(points).n_dimensions() < 3
}

/// Points on a plane, line or spot are doubled in the directions that they lack.
fn with_thickness(points: &[Vec3]) -> Vec<Vec3> {
    let extent = Extent::of(points);
    let missing: Vec<DVec3> = extent.axes.iter().skip(extent.n_dimensions()).copied().collect();
    let half = 0.5 * extent.least_thickness();
    missing.iter().fold(points.to_vec(), |points, &axis| {
        points.iter().flat_map(|p| [-half, half].map(|t| (p.as_dvec3() + axis * t).as_vec3())).collect()
    })
}

/// How far points spread: along the line between two far ones, across it, across both.
struct Extent {
    /// Orthonormal.
    axes: [DVec3; 3],
    sizes: [f64; 3],
}

impl Extent {
    fn of(points: &[Vec3]) -> Extent {
        let low = points.iter().fold(Vec3::INFINITY, |low, &p| low.min(p));
        // From a corner of the bounds to the furthest point and back again.
        let a = furthest(points, |p| p.distance_squared(low.as_dvec3()));
        let b = furthest(points, |p| p.distance_squared(a));
        let length = a.distance(b);
        let along = (b - a).try_normalize().unwrap_or(DVec3::X);
        let off_line = |p: DVec3| (p - a) - along * (p - a).dot(along);
        let c = furthest(points, |p| off_line(p).length_squared());
        let width = off_line(c).length();
        let across = off_line(c).try_normalize().unwrap_or_else(|| along.any_orthonormal_vector());
        let normal = along.cross(across).try_normalize().unwrap_or(DVec3::Z);
        let d = furthest(points, |p| (p - a).dot(normal).abs());
        Extent { axes: [along, across, normal], sizes: [length, width, (d - a).dot(normal).abs()] }
    }

    fn least_thickness(&self) -> f64 {
        (self.sizes[0] * THINNEST_SHARE).max(THINNEST)
    }

    fn n_dimensions(&self) -> usize {
        self.sizes.iter().take_while(|&&size| size >= self.least_thickness()).count()
    }
}

fn furthest(points: &[Vec3], distance: impl Fn(DVec3) -> f64) -> DVec3 {
    let mut best = (f64::NEG_INFINITY, DVec3::ZERO);
    for p in points {
        let d = distance(p.as_dvec3());
        if d > best.0 {
            best = (d, p.as_dvec3());
        }
    }
    best.1
}

/// Four points to start from, wound outward.
struct Tetrahedron([u32; 4]);

impl Tetrahedron {
    fn of(points: &[Vec3]) -> Option<Tetrahedron> {
        let pick = |distance: &dyn Fn(DVec3) -> f64| {
            let mut best = (0.0, NONE);
            for (i, p) in (0u32..).zip(points) {
                let d = distance(p.as_dvec3());
                if d > best.0 {
                    best = (d, i);
                }
            }
            (best.1 != NONE).then_some(best.1)
        };
        let at = |i: u32| points[i as usize].as_dvec3();
        let low = points.iter().fold(DVec3::INFINITY, |low, p| low.min(p.as_dvec3()));
        let a = pick(&|p| p.distance_squared(low)).unwrap_or(0);
        let b = pick(&|p| p.distance_squared(at(a)))?;
        let c = pick(&|p| (at(b) - at(a)).cross(p - at(a)).length_squared())?;
        let normal = (at(b) - at(a)).cross(at(c) - at(a));
        let d = pick(&|p| (p - at(a)).dot(normal).abs())?;
        match side(points, [a, b, c], d) {
            0.0 => None,
            above if above > 0.0 => Some(Tetrahedron([a, c, b, d])),
            _ => Some(Tetrahedron([a, b, c, d])),
        }
    }
}

/// Positive where `p` is on the outer side of the face, exactly.
fn side(points: &[Vec3], face: [u32; 3], p: u32) -> f64 {
    let coord = |v: u32| {
        let [x, y, z] = points[v as usize].as_dvec3().to_array();
        Coord3D { x, y, z }
    };
    -orient3d(coord(face[0]), coord(face[1]), coord(face[2]), coord(p))
}

struct Face {
    corners: [u32; 3],
    /// Across the edge from corner i to i + 1.
    neighbours: [u32; 3],
    /// Points on the outer side that no other face holds.
    outside: Vec<u32>,
    is_alive: bool,
}

struct Quickhull<'a> {
    points: &'a [Vec3],
    faces: Vec<Face>,
    /// Points to add, the furthest outside first.
    queue: BinaryHeap<Candidate>,
    n_vertices: usize,
}

struct Candidate {
    distance: f64,
    face: u32,
    point: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.distance.total_cmp(&other.distance).then(other.face.cmp(&self.face))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl Quickhull<'_> {
    fn new(points: &[Vec3], Tetrahedron([a, b, c, d]): Tetrahedron) -> Quickhull<'_> {
        let mut hull = Quickhull { points, faces: Vec::new(), queue: BinaryHeap::new(), n_vertices: 4 };
        // d lies below a, b, c.
        let sides = [([a, b, c], [1, 2, 3]), ([b, a, d], [0, 3, 2]), ([c, b, d], [0, 1, 3]), ([a, c, d], [0, 2, 1])];
        for (corners, neighbours) in sides {
            hull.faces.push(Face { corners, neighbours, outside: Vec::new(), is_alive: true });
        }
        hull.share_out((0..points.len() as u32).filter(|p| ![a, b, c, d].contains(p)), &[0, 1, 2, 3]);
        hull
    }

    /// Adds the point furthest outside. False where none is further than `error`.
    fn grow(&mut self, error: f64) -> bool {
        let is_far = |next: &Candidate| next.distance > error;
        let next = self.next_candidate().filter(is_far).or_else(|| {
            self.reassign();
            self.next_candidate().filter(is_far)
        });
        let Some(Candidate { face, point, .. }) = next else { return false };
        let (seen, horizon) = self.seen_from(point, face);
        let mut orphans = Vec::new();
        for &i in &seen {
            let face = &mut self.faces[i as usize];
            face.is_alive = false;
            orphans.append(&mut face.outside);
        }
        orphans.retain(|&p| p != point);
        orphans.sort_unstable();

        // A fan from the horizon to the point; neighbours in it share a horizon vertex.
        let first = self.faces.len() as u32;
        let from: BTreeMap<u32, u32> = horizon.iter().zip(first..).map(|(edge, i)| (edge.from, i)).collect();
        let to: BTreeMap<u32, u32> = horizon.iter().zip(first..).map(|(edge, i)| (edge.to, i)).collect();
        for (edge, i) in horizon.iter().zip(first..) {
            let next = from.get(&edge.to).copied().unwrap_or(NONE);
            let before = to.get(&edge.from).copied().unwrap_or(NONE);
            self.faces.push(Face {
                corners: [edge.from, edge.to, point],
                neighbours: [edge.beyond, next, before],
                outside: Vec::new(),

                is_alive: true,
            });
            let beyond = &mut self.faces[edge.beyond as usize];
            if let Some(side) = (0..3).find(|&s| beyond.corners[s] == edge.to) {
                beyond.neighbours[side] = i;
            }
        }
        let made: Vec<u32> = (first..self.faces.len() as u32).collect();
        self.share_out(orphans.into_iter(), &made);
        self.n_vertices += 1;
        true
    }

    /// The point furthest outside of the face that holds it.
    fn next_candidate(&mut self) -> Option<Candidate> {
        // Faces that are gone are still in the queue.
        std::iter::from_fn(|| self.queue.pop()).find(|next| self.faces[next.face as usize].is_alive)
    }

    /// Gives each point still outside to the face that it is furthest from: a face
    /// may hold points that it sees only at a low angle.
    fn reassign(&mut self) {
        let alive: Vec<u32> = (0u32..).zip(&self.faces).filter(|(_, face)| face.is_alive).map(|(i, _)| i).collect();
        let at = |v: u32| self.points[v as usize].as_dvec3();
        let planes: Vec<(DVec3, DVec3)> = alive
            .iter()
            .map(|&i| {
                let [a, b, c] = self.faces[i as usize].corners.map(at);
                (a, (b - a).cross(c - a).normalize_or_zero())
            })
            .collect();
        let mut points: Vec<u32> =
            alive.iter().flat_map(|&i| std::mem::take(&mut self.faces[i as usize].outside)).collect();
        points.sort_unstable();
        for p in points {
            let mut best = (f64::NEG_INFINITY, alive[0]);
            for (&(origin, normal), &face) in planes.iter().zip(&alive) {
                let distance = (self.points[p as usize].as_dvec3() - origin).dot(normal);
                if distance > best.0 {
                    best = (distance, face);
                }
            }
            self.faces[best.1 as usize].outside.push(p);
        }
        self.queue = alive.iter().filter_map(|&i| self.outermost(i)).collect();
    }

    /// Faces that a point is outside of, and the edges around them.
    fn seen_from(&self, point: u32, start: u32) -> (Vec<u32>, Vec<HorizonEdge>) {
        let mut seen = vec![start];
        let mut is_seen = BTreeMap::from([(start, true)]);
        let mut horizon = Vec::new();
        let mut next = 0;
        while next < seen.len() {
            let face = &self.faces[seen[next] as usize];
            next += 1;
            for s in 0..3 {
                let beyond = face.neighbours[s];
                let known = is_seen.get(&beyond).copied();
                let visible =
                    known.unwrap_or_else(|| side(self.points, self.faces[beyond as usize].corners, point) > 0.0);
                is_seen.insert(beyond, visible);
                if !visible {
                    horizon.push(HorizonEdge { from: face.corners[s], to: face.corners[(s + 1) % 3], beyond });
                } else if known.is_none() {
                    seen.push(beyond);
                }
            }
        }
        (seen, horizon)
    }

    /// Gives each point to the first of `faces` that it is outside of, if any.
    fn share_out(&mut self, points: impl Iterator<Item = u32>, faces: &[u32]) {
        for p in points {
            let holder = faces.iter().find(|&&f| side(self.points, self.faces[f as usize].corners, p) > 0.0);
            if let Some(&f) = holder {
                self.faces[f as usize].outside.push(p);
            }
        }
        let candidates = faces.iter().filter_map(|&f| self.outermost(f)).collect::<Vec<_>>();
        self.queue.extend(candidates);
    }

    fn outermost(&self, face_idx: u32) -> Option<Candidate> {
        let face = &self.faces[face_idx as usize];
        let at = |v: u32| self.points[v as usize].as_dvec3();
        let [a, b, c] = face.corners.map(at);
        let normal = (b - a).cross(c - a).try_normalize()?;
        let distance = |p: u32| (at(p) - a).dot(normal);
        let most = face.outside.iter().map(|&p| distance(p)).fold(f64::NEG_INFINITY, f64::max);
        let middle = (a + b + c) / 3.0;
        let mut best: Option<(f64, u32)> = None;
        for &p in face.outside.iter().filter(|&&p| distance(p) >= most - TIE * most.abs()) {
            let spread = at(p).distance_squared(middle);
            if best.is_none_or(|(widest, _)| spread > widest) {
                best = Some((spread, p));
            }
        }
        best.map(|(_, point)| Candidate { distance: most, face: face_idx, point })
    }

    fn into_mesh(self) -> Mesh {
        let faces: Vec<[u32; 3]> = self.faces.iter().filter(|f| f.is_alive).map(|f| f.corners).collect();
        let mut number = BTreeMap::new();
        faces.iter().flatten().for_each(|&v| {
            number.insert(v, 0u32);
        });
        number.values_mut().zip(0..).for_each(|(n, i)| *n = i);
        Mesh {
            positions: number.keys().map(|&v| self.points[v as usize]).collect(),
            triangles: faces.iter().map(|f| f.map(|v| number[&v])).collect(),
            ..Mesh::default()
        }
    }
}

/// Edge of a seen face, in that face's direction, beyond which the next is not seen.
struct HorizonEdge {
    from: u32,
    to: u32,
    beyond: u32,
}
