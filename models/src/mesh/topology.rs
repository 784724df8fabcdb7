//! What can be counted on a triangle index: is it closed, manifold, in one piece?
//!
//! All functions look at positions: vertices doubled along texture seams with
//! bit-equal positions count as one.

use std::collections::HashMap;

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
    let mut first = HashMap::with_capacity(positions.len());
    positions
        .iter()
        .enumerate()
        .map(|(i, p)| *first.entry((*p + Vec3::ZERO).to_array().map(f32::to_bits)).or_insert(i as u32))
        .collect()
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

    // Edge by its ordered end points: the faces on it, and how many run low to high.
    let mut edges: HashMap<(u32, u32), Vec<(u32, bool)>> = HashMap::with_capacity(faces.len() * 2);
    for (f, face) in faces.iter().enumerate() {
        for (from, to) in [(face[0], face[1]), (face[1], face[2]), (face[2], face[0])] {
            edges.entry((from.min(to), from.max(to))).or_default().push((f as u32, from < to));
        }
    }

    let mut pieces = DisjointSets::new(faces.len());
    let mut n_border_edges = 0;
    let mut n_non_manifold_edges = 0;
    for users in edges.values() {
        match users[..] {
            [_] => n_border_edges += 1,
            [(_, up), (_, other_up)] if up != other_up => {}
            _ => n_non_manifold_edges += 1,
        }
        for pair in users.windows(2) {
            pieces.join(pair[0].0, pair[1].0);
        }
    }

    let mut used: Vec<u32> = faces.iter().flatten().copied().collect();
    used.sort_unstable();
    used.dedup();
    Topology {
        n_vertices: used.len(),
        n_triangles: triangles.len(),
        n_degenerate,
        n_border_edges,
        n_non_manifold_edges,
        n_non_manifold_vertices: count_split_fans(positions.len(), &faces),
        n_components: (0..faces.len() as u32).filter(|&f| pieces.find(f) == f).count(),
    }
}

/// Vertices around which the faces form more than one fan, joined only in a point.
fn count_split_fans(n_vertices: usize, faces: &[[u32; 3]]) -> usize {
    // Corners around a vertex are joined when their faces share an edge at it.
    let mut corners: Vec<Vec<(u32, u32)>> = vec![Vec::new(); n_vertices];
    for &[a, b, c] in faces {
        corners[a as usize].push((b, c));
        corners[b as usize].push((c, a));
        corners[c as usize].push((a, b));
    }
    let mut n = 0;
    for fan in corners.iter().filter(|fan| fan.len() > 1) {
        let mut sets = DisjointSets::new(fan.len());
        let mut by_neighbour: HashMap<u32, u32> = HashMap::with_capacity(fan.len() + 1);
        for (i, &(from, to)) in fan.iter().enumerate() {
            for neighbour in [from, to] {
                let other = *by_neighbour.entry(neighbour).or_insert(i as u32);
                sets.join(other, i as u32);
            }
        }
        let n_fans = (0..fan.len() as u32).filter(|&i| sets.find(i) == i).count();
        n += usize::from(n_fans > 1);
    }
    n
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
