//! What can be counted on a triangle index: is it closed, manifold, in one piece?
//!
//! All functions look at positions: vertices doubled along texture seams with
//! bit-equal positions count as one.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use glam::Vec3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    pub n_vertices: usize,
    pub n_triangles: usize,
    /// Zero area: two corners coincide, or all three on a line within f32.
    pub n_degenerate: usize,
    /// Edges with one triangle.
    pub n_border_edges: usize,
    /// Edges with three or more triangles, or two of which run the same way.
    pub n_non_manifold_edges: usize,
    /// Vertices whose triangles do not form one fan.
    pub n_non_manifold_vertices: usize,
    /// Pieces connected through shared edges.
    pub n_components: usize,
}

impl Topology {
    /// Every edge has exactly two triangles that agree about their winding.
    pub fn is_watertight(&self) -> bool {
        self.n_triangles > 0 && self.n_border_edges == 0 && self.n_non_manifold_edges == 0
    }

    pub fn is_manifold(&self) -> bool {
        self.n_non_manifold_edges == 0 && self.n_non_manifold_vertices == 0
    }
}

/// For each vertex the first one with the same position. -0.0 equals 0.0.
pub fn weld_map(positions: &[Vec3]) -> Vec<u32> {
    let mut first: HashMap<[u32; 3], u32, BuildHasherDefault<WordHasher>> =
        HashMap::with_capacity_and_hasher(positions.len(), Default::default());
    positions
        .iter()
        .enumerate()
        .map(|(i, p)| *first.entry((*p + Vec3::ZERO).to_array().map(f32::to_bits)).or_insert(i as u32))
        .collect()
}

/// Fast on keys made of words; the default hasher is made to withstand attacks.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(4) {
            let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | byte as u32);
            self.write_u32(word);
        }
    }

    fn write_u32(&mut self, word: u32) {
        // Steele and Vigna's multiplier; the shift brings high bits down, where tables look.
        let mixed = (self.0 ^ word as u64).wrapping_mul(0xD134_2543_DE82_EF95);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// As `Topology::is_watertight`, without the rest: in half the time.
pub fn is_watertight(positions: &[Vec3], triangles: &[[u32; 3]]) -> bool {
    let weld = weld_map(positions);
    let welded = triangles.iter().map(|t| t.map(|v| weld[v as usize]));
    let faces: Vec<[u32; 3]> = welded.filter(|[a, b, c]| a != b && b != c && c != a).collect();
    let agree = |users: &[EdgeUse]| matches!(users, [a, b] if a.runs_up(&faces) != b.runs_up(&faces));
    !triangles.is_empty() && EdgeTable::new(positions.len(), &faces).iter().all(agree)
}

pub fn topology(positions: &[Vec3], triangles: &[[u32; 3]]) -> Topology {
    let weld = weld_map(positions);
    let mut n_degenerate = 0;
    let mut faces = Vec::with_capacity(triangles.len());
    for triangle in triangles {
        let [a, b, c] = triangle.map(|v| weld[v as usize]);
        let [pa, pb, pc] = [a, b, c].map(|v| positions[v as usize]);
        if (pb - pa).cross(pc - pa).length_squared() == 0.0 {
            n_degenerate += 1;
        }
        if a != b && b != c && c != a {
            faces.push([a, b, c]);
        }
    }

    let edges = EdgeTable::new(positions.len(), &faces);
    let mut pieces = DisjointSets::new(faces.len());
    let mut n_border_edges = 0;
    let mut n_non_manifold_edges = 0;
    for users in edges.iter() {
        match users {
            [_] => n_border_edges += 1,
            [a, b] if a.runs_up(&faces) != b.runs_up(&faces) => {}
            _ => n_non_manifold_edges += 1,
        }
        for pair in users.windows(2) {
            pieces.join(pair[0].face(), pair[1].face());
        }
    }

    let mut used = vec![false; positions.len()];
    faces.iter().flatten().for_each(|&v| used[v as usize] = true);
    Topology {
        n_vertices: used.iter().filter(|&&used| used).count(),
        n_triangles: triangles.len(),
        n_degenerate,
        n_border_edges,
        n_non_manifold_edges,
        n_non_manifold_vertices: count_split_fans(positions.len(), &faces, &edges),
        n_components: (0..faces.len() as u32).filter(|&f| pieces.find(f) == f).count(),
    }
}

/// Vertices around which the faces form more than one fan, joined only in a point.
fn count_split_fans(n_vertices: usize, faces: &[[u32; 3]], edges: &EdgeTable) -> usize {
    // Corners at a vertex are joined when their faces share an edge there.
    let mut fans = DisjointSets::new(3 * faces.len());
    for users in edges.iter() {
        for pair in users.windows(2) {
            let [(low, high), (other_low, other_high)] = [pair[0].corners(faces), pair[1].corners(faces)];
            fans.join(low, other_low);
            fans.join(high, other_high);
        }
    }
    let mut n_fans = vec![0u32; n_vertices];
    for corner in 0..3 * faces.len() as u32 {
        if fans.find(corner) == corner {
            n_fans[faces[corner as usize / 3][corner as usize % 3] as usize] += 1;
        }
    }
    n_fans.iter().filter(|&&n| n > 1).count()
}

/// The edges of a mesh and the faces on each, in a fixed order: by their lower,
/// then their higher vertex, then by face.
pub struct EdgeTable {
    /// Where the uses of edges with each lower vertex start.
    starts: Vec<u32>,
    uses: Vec<EdgeUse>,
}

/// One face's use of an edge: from its corner `side` to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeUse {
    higher_vertex: u32,
    half_edge: u32,
}

impl EdgeUse {
    pub fn face(self) -> u32 {
        self.half_edge / 3
    }

    pub fn side(self) -> usize {
        (self.half_edge % 3) as usize
    }

    /// Whether the face runs along the edge from its lower to its higher vertex.
    pub fn runs_up(self, faces: &[[u32; 3]]) -> bool {
        faces[self.face() as usize][(self.side() + 1) % 3] == self.higher_vertex
    }

    /// The face's corners at the lower and the higher vertex, numbered 3 * face + side.
    pub fn corners(self, faces: &[[u32; 3]]) -> (u32, u32) {
        let next = self.face() * 3 + (self.side() as u32 + 1) % 3;
        if self.runs_up(faces) { (self.half_edge, next) } else { (next, self.half_edge) }
    }
}

impl EdgeTable {
    /// `faces` have three different corners each.
    pub fn new(n_vertices: usize, faces: &[[u32; 3]]) -> EdgeTable {
        // Counting sort by lower vertex; the few uses at each are then sorted.
        let sides = |face: &[u32; 3]| {
            let [a, b, c] = *face;
            [(a.min(b), a.max(b)), (b.min(c), b.max(c)), (c.min(a), c.max(a))]
        };
        let mut starts = vec![0u32; n_vertices + 1];
        for (low, _) in faces.iter().flat_map(sides) {
            starts[low as usize + 1] += 1;
        }
        for v in 0..n_vertices {
            starts[v + 1] += starts[v];
        }
        let mut next = starts.clone();
        let mut uses = vec![EdgeUse { higher_vertex: 0, half_edge: 0 }; faces.len() * 3];
        for (half_edge, (low, high)) in faces.iter().flat_map(sides).enumerate() {
            let slot = &mut next[low as usize];
            uses[*slot as usize] = EdgeUse { higher_vertex: high, half_edge: half_edge as u32 };
            *slot += 1;
        }
        for v in 0..n_vertices {
            uses[starts[v] as usize..starts[v + 1] as usize].sort_unstable();
        }
        EdgeTable { starts, uses }
    }

    /// The uses of each edge.
    pub fn iter(&self) -> impl Iterator<Item = &[EdgeUse]> {
        self.starts.windows(2).flat_map(|range| {
            self.uses[range[0] as usize..range[1] as usize].chunk_by(|a, b| a.higher_vertex == b.higher_vertex)
        })
    }

    /// The uses of the edge between two vertices.
    pub fn users(&self, u: u32, v: u32) -> &[EdgeUse] {
        let uses = &self.uses[self.starts[u.min(v) as usize] as usize..self.starts[u.min(v) as usize + 1] as usize];
        let from = uses.partition_point(|edge| edge.higher_vertex < u.max(v));
        let to = uses.partition_point(|edge| edge.higher_vertex <= u.max(v));
        &uses[from..to]
    }
}

/// Union-find with path halving.
pub struct DisjointSets {
    parent: Vec<u32>,
}

impl DisjointSets {
    pub fn new(n: usize) -> Self {
        Self { parent: (0..n as u32).collect() }
    }

    pub fn find(&mut self, mut i: u32) -> u32 {
        while self.parent[i as usize] != i {
            let up = self.parent[self.parent[i as usize] as usize];
            self.parent[i as usize] = up;
            i = up;
        }
        i
    }

    /// The smaller representative stays, so results do not depend on the order of joins.
    pub fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORNERS: [Vec3; 4] = [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::Z];
    const TETRAHEDRON: [[u32; 3]; 4] = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]];

    #[test]
    fn a_tetrahedron_is_closed_manifold_and_in_one_piece() {
        let t = topology(&CORNERS, &TETRAHEDRON);
        assert!(t.is_watertight() && t.is_manifold());
        assert_eq!((t.n_vertices, t.n_components, t.n_degenerate), (4, 1, 0));
        assert!(is_watertight(&CORNERS, &TETRAHEDRON) && !is_watertight(&CORNERS, &[]));
    }

    #[test]
    fn doubled_vertices_do_not_open_the_surface() {
        let positions: Vec<Vec3> = TETRAHEDRON.iter().flatten().map(|&v| CORNERS[v as usize]).collect();
        let triangles: Vec<[u32; 3]> = (0..4).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
        let t = topology(&positions, &triangles);
        assert!(t.is_watertight() && t.is_manifold());
        assert_eq!(t.n_vertices, 4);
    }

    #[test]
    fn a_missing_face_a_flipped_face_and_a_flat_face_are_counted() {
        assert_eq!(topology(&CORNERS, &TETRAHEDRON[..3]).n_border_edges, 3);
        let flipped = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 3, 2]];
        assert_eq!(topology(&CORNERS, &flipped).n_non_manifold_edges, 3);
        assert!(!is_watertight(&CORNERS, &TETRAHEDRON[..3]) && !is_watertight(&CORNERS, &flipped));
        assert_eq!(topology(&[Vec3::ZERO, Vec3::X, Vec3::X * 2.0], &[[0, 1, 2]]).n_degenerate, 1);
    }

    #[test]
    fn two_solids_touching_in_a_point_are_not_manifold() {
        let mut positions = CORNERS.to_vec();
        positions.extend(CORNERS.map(|p| -p));
        let mut triangles = TETRAHEDRON.to_vec();
        // Mirroring turns the winding around.
        triangles.extend(TETRAHEDRON.map(|[a, b, c]| [a + 4, c + 4, b + 4]));
        let t = topology(&positions, &triangles);
        assert_eq!((t.n_non_manifold_vertices, t.n_components), (1, 2));
        assert!(t.is_watertight() && !t.is_manifold());
    }
}
