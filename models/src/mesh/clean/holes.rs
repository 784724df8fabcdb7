//! Fills small holes.
//!
//! A hole is a closed walk along edges that one face has. Small ones get the
//! triangulation without new vertices whose sharpest edge, those to the
//! surroundings included, is as flat as can be, and whose area is least among
//! those (Barequet and Sharir 1995 with the weights of Liepa 2003); larger ones
//! are closed ear by ear. Where neither works without an edge or a face that is
//! there already, all edges are connected to a new vertex in the middle. Patches
//! within a smooth surface then continue it, see `fair`.

mod ears;
mod fair;
mod least_weight;

use std::collections::{BTreeMap, BTreeSet};

use glam::Vec3;

use super::super::{
    Mesh,
    topology::{DisjointSets, EdgeTable},
};

/// The least-weight triangulation looks at n^3 / 6 triangles.
const MAX_LEAST_WEIGHT: usize = 64;
/// Largest share of its piece's area that a patch may have: a sheet is no hole.
const MAX_AREA: f64 = 0.5;

pub(super) struct Limits {
    /// Metres.
    pub perimeter: f32,
    pub n_edges: usize,
}

/// Adds faces to a manifold mesh; returns how many holes were filled.
pub(super) fn fill(mesh: &mut Mesh, limits: &Limits) -> usize {
    let edges = EdgeTable::new(mesh.positions.len(), &mesh.triangles);
    let small: Vec<Vec<u32>> = loops_of(mesh, &edges).into_iter().filter(|hole| is_small(mesh, hole, limits)).collect();
    if small.is_empty() {
        return 0;
    }
    let areas = PieceAreas::of(mesh);
    let around = Surroundings::of(mesh, &small);
    let mut filled: Vec<Patch> = Vec::new();
    let mut n_filled = 0;
    for hole in small {
        let rim = Rim::of(mesh, &edges, &hole);
        let largest = MAX_AREA * areas.at(hole[0]);
        let fits = |patch: &Patch| patch.area(mesh, &hole) <= largest;
        let Some(patch) = rim.patch().filter(fits) else { continue };
        n_filled += 1;
        let faired = fair::fair(&rim, &patch, &around.of_rim(mesh, &hole)).filter(fits);
        filled.push(faired.unwrap_or(patch));
    }
    for patch in filled {
        let first = mesh.positions.len() as u32;
        mesh.positions.extend(patch.new);
        mesh.triangles.extend(patch.faces.iter().map(|face| face.map(|v| if v >= NEW { v - NEW + first } else { v })));
    }
    n_filled
}

/// All walks along open edges, each in the direction in which a patch would go.
pub(super) fn loops(mesh: &Mesh) -> Vec<Vec<u32>> {
    loops_of(mesh, &EdgeTable::new(mesh.positions.len(), &mesh.triangles))
}

fn loops_of(mesh: &Mesh, edges: &EdgeTable) -> Vec<Vec<u32>> {
    const NONE: u32 = u32::MAX;
    let mut next = vec![NONE; mesh.positions.len()];
    for users in edges.iter().filter(|users| users.len() == 1) {
        let face = mesh.triangles[users[0].face() as usize];
        let side = users[0].side();
        next[face[(side + 1) % 3] as usize] = face[side];
    }
    let mut all = Vec::new();
    for start in 0..next.len() {
        let mut walk = Vec::new();
        let mut at = start as u32;
        while next[at as usize] != NONE {
            walk.push(at);
            at = std::mem::replace(&mut next[at as usize], NONE);
        }
        // In a manifold mesh every walk comes back; another is no hole.
        if walk.len() >= 3 && at == start as u32 {
            all.push(walk);
        }
    }
    all
}

fn is_small(mesh: &Mesh, hole: &[u32], limits: &Limits) -> bool {
    let at = |i: usize| mesh.positions[hole[i % hole.len()] as usize];
    hole.len() <= limits.n_edges && (0..hole.len()).map(|i| at(i).distance(at(i + 1))).sum::<f32>() <= limits.perimeter
}

/// From here on a patch's own vertices are counted.
const NEW: u32 = 1 << 31;

struct Patch {
    faces: Vec<[u32; 3]>,
    /// Its own vertices.
    new: Vec<Vec3>,
}

impl Patch {
    fn area(&self, mesh: &Mesh, hole: &[u32]) -> f64 {
        let at = |v: u32| match v.checked_sub(NEW) {
            Some(new) => self.new.get(new as usize).copied(),
            None => mesh.positions.get(v as usize).copied(),
        };
        let corner = |v: u32| at(v).unwrap_or(mesh.positions[hole[0] as usize]).as_dvec3();
        let doubled = |face: &[u32; 3]| {
            let [a, b, c] = face.map(corner);
            (b - a).cross(c - a).length()
        };
        self.faces.iter().map(doubled).sum::<f64>() / 2.0
    }
}

/// A hole and what it has to know of its surroundings.
struct Rim<'a> {
    edges: &'a EdgeTable,
    vertices: &'a [u32],
    points: Vec<Vec3>,
    /// Normal of the face outside of each edge, from vertex i to i + 1.
    outside: Vec<Vec3>,
}

impl<'a> Rim<'a> {
    fn of(mesh: &Mesh, edges: &'a EdgeTable, vertices: &'a [u32]) -> Rim<'a> {
        let n = vertices.len();
        let outside = |i: usize| match edges.users(vertices[i], vertices[(i + 1) % n]) {
            [one, ..] => {
                let [a, b, c] = mesh.corners(mesh.triangles[one.face() as usize]);
                (b - a).cross(c - a).normalize_or_zero()
            }
            [] => Vec3::ZERO,
        };
        Rim {
            edges,
            vertices,
            points: vertices.iter().map(|&v| mesh.positions[v as usize]).collect(),
            outside: (0..n).map(outside).collect(),
        }
    }

    fn patch(&self) -> Option<Patch> {
        let n = self.vertices.len();
        let without_middle =
            if n <= MAX_LEAST_WEIGHT { least_weight::triangulate(self) } else { ears::triangulate(self) };
        let named = |faces: Vec<[usize; 3]>| faces.iter().map(|face| face.map(|i| self.vertices[i])).collect();
        match without_middle {
            Some(faces) => Some(Patch { faces: named(faces), new: Vec::new() }),
            None => self.fan(),
        }
    }

    /// All edges connected to their middle; `None` where a triangle would be flat.
    fn fan(&self) -> Option<Patch> {
        let n = self.vertices.len();
        let middle = self.points.iter().map(|p| p.as_dvec3()).sum::<glam::DVec3>() / n as f64;
        let middle = middle.as_vec3();
        let sound = |i: usize| normal(self.points[i], self.points[(i + 1) % n], middle).is_some();
        let faces = (0..n).map(|i| [self.vertices[i], self.vertices[(i + 1) % n], NEW]).collect();
        (0..n).all(sound).then_some(Patch { faces, new: vec![middle] })
    }

    /// Whether the mesh has an edge between two vertices of the rim that are not
    /// neighbours there: a second one would be too much.
    fn is_taken(&self, i: usize, j: usize) -> bool {
        !self.edges.users(self.vertices[i], self.vertices[j]).is_empty()
    }
}

/// Unit normal, `None` for a triangle whose corners are almost on a line.
fn normal(a: Vec3, b: Vec3, c: Vec3) -> Option<Vec3> {
    const LEAST: f32 = 1e-5;
    let longest = a.distance_squared(b).max(b.distance_squared(c)).max(c.distance_squared(a));
    let normal = (b - a).cross(c - a);
    (normal.length() > LEAST * longest).then(|| normal.normalize())
}

/// The vertices around those of holes.
struct Surroundings {
    neighbours: BTreeMap<u32, BTreeSet<u32>>,
}

impl Surroundings {
    fn of(mesh: &Mesh, holes: &[Vec<u32>]) -> Surroundings {
        let mut neighbours: BTreeMap<u32, BTreeSet<u32>> =
            holes.iter().flatten().map(|&v| (v, BTreeSet::new())).collect();
        for face in &mesh.triangles {
            for &v in face {
                if let Some(around) = neighbours.get_mut(&v) {
                    around.extend(face.iter().filter(|&&other| other != v));
                }
            }
        }
        Surroundings { neighbours }
    }

    /// For each vertex of a rim those around it that are not neighbours along the rim.
    fn of_rim(&self, mesh: &Mesh, rim: &[u32]) -> Vec<Vec<Vec3>> {
        let n = rim.len();
        let off_rim = |i: usize| {
            let along = [rim[(i + 1) % n], rim[(i + n - 1) % n]];
            let around = self.neighbours.get(&rim[i]).into_iter().flatten().filter(move |v| !along.contains(v));
            around.map(|&v| mesh.positions[v as usize]).collect()
        };
        (0..n).map(off_rim).collect()
    }
}

struct PieceAreas {
    pieces: Vec<u32>,
    areas: Vec<f64>,
}

impl PieceAreas {
    fn of(mesh: &Mesh) -> PieceAreas {
        let n = mesh.positions.len();
        let mut sets = DisjointSets::new(n);
        for &[a, b, c] in &mesh.triangles {
            sets.join(a, b);
            sets.join(b, c);
        }
        let pieces: Vec<u32> = (0..n as u32).map(|v| sets.find(v)).collect();
        let mut areas = vec![0.0; n];
        for &triangle in &mesh.triangles {
            let [a, b, c] = mesh.corners(triangle).map(|p| p.as_dvec3());
            areas[pieces[triangle[0] as usize] as usize] += (b - a).cross(c - a).length() / 2.0;
        }
        PieceAreas { pieces, areas }
    }

    fn at(&self, vertex: u32) -> f64 {
        self.areas[self.pieces[vertex as usize] as usize]
    }
}
