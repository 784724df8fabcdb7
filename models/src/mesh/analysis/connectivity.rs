//! How the triangles of a mesh hang together, beyond what `topology` counts.
//!
//! Vertices with bit-equal positions count as one. Triangles with fewer than
//! three different vertices have no part in anything here.

use glam::Vec3;

use crate::mesh::{
    Mesh,
    topology::{DisjointSets, EdgeTable, weld_map},
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Connectivity {
    /// Edges, each once.
    pub n_edges: usize,
    /// Vertices - edges + triangles.
    pub euler: i64,
    /// Closed rows of border edges.
    pub n_holes: usize,
    /// Edges with two triangles that run the same way: one of them is turned over.
    pub n_flipped_edges: usize,
    /// Triangles with the same three vertices as an earlier one, whatever their order.
    pub n_duplicate_faces: usize,
    /// Stored vertices that no triangle uses.
    pub n_loose_vertices: usize,
    /// Vertices within the surface with more edges than allowed.
    pub n_high_valence: usize,
    /// Vertices within the surface with fewer than four edges.
    pub n_low_valence: usize,
    pub max_valence: usize,
    /// Pieces with a smaller share of the whole area than allowed.
    pub n_floaters: usize,
    /// Closed pieces whose triangles face inwards and that lie in no other's box.
    pub n_inverted: usize,
}

/// A mesh whose vertices are welded by position.
pub struct Welded {
    /// For each triangle of the mesh its welded vertices, degenerate ones included.
    pub all: Vec<[u32; 3]>,
    /// Those with three different vertices, and their indices in `all`.
    pub faces: Vec<[u32; 3]>,
    pub face_triangles: Vec<u32>,
    pub edges: EdgeTable,
}

impl Welded {
    pub fn new(mesh: &Mesh) -> Welded {
        let weld = weld_map(&mesh.positions);
        let all: Vec<[u32; 3]> = mesh.triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
        let proper = all.iter().enumerate().filter(|(_, [a, b, c])| a != b && b != c && c != a);
        let (face_triangles, faces): (Vec<u32>, Vec<_>) = proper.map(|(i, &face)| (i as u32, face)).unzip();
        let edges = EdgeTable::new(mesh.positions.len(), &faces);
        Welded { all, faces, face_triangles, edges }
    }
}

/// `max_valence` edges at a vertex are still no pole; pieces with less than
/// `floater` of the area are floaters.
pub fn connectivity(mesh: &Mesh, welded: &Welded, max_valence: usize, floater: f64) -> Connectivity {
    let Welded { faces, edges, .. } = welded;
    let n_vertices = mesh.positions.len();
    let (mut n_edges, mut n_flipped_edges) = (0, 0);
    let mut valence = vec![0u32; n_vertices];
    let mut on_border = vec![false; n_vertices];
    let mut pieces = DisjointSets::new(faces.len());
    // Corners at a vertex are joined across edges: one set is one fan.
    let mut fans = DisjointSets::new(3 * faces.len());
    let mut border = Vec::new();
    for users in edges.iter() {
        n_edges += 1;
        let face = faces[users[0].face() as usize];
        let ends = [face[users[0].side()], face[(users[0].side() + 1) % 3]];
        for v in ends {
            valence[v as usize] += 1;
            on_border[v as usize] |= users.len() == 1;
        }
        match users {
            [one] => border.push(one.corners(faces)),
            [a, b] if a.runs_up(faces) == b.runs_up(faces) => n_flipped_edges += 1,
            _ => {}
        }
        for pair in users.windows(2) {
            pieces.join(pair[0].face(), pair[1].face());
            let [(low, high), (other_low, other_high)] = [pair[0].corners(faces), pair[1].corners(faces)];
            fans.join(low, other_low);
            fans.join(high, other_high);
        }
    }

    let mut used = vec![false; n_vertices];
    mesh.triangles.iter().flatten().for_each(|&v| used[v as usize] = true);
    let inner = || (0..n_vertices).filter(|&v| valence[v] > 0 && !on_border[v]).map(|v| valence[v] as usize);
    let n_used = valence.iter().filter(|&&valence| valence > 0).count();
    let (n_floaters, n_inverted) = judge_pieces(mesh, welded, &mut pieces, floater);
    Connectivity {
        n_edges,
        euler: n_used as i64 - n_edges as i64 + faces.len() as i64,
        n_holes: count_loops(&border, &mut fans, faces),
        n_flipped_edges,
        n_duplicate_faces: count_duplicates(faces),
        n_loose_vertices: used.iter().filter(|&&used| !used).count(),
        n_high_valence: inner().filter(|&valence| valence > max_valence).count(),
        n_low_valence: inner().filter(|&valence| valence < 4).count(),
        max_valence: valence.iter().max().map_or(0, |&valence| valence as usize),
        n_floaters,
        n_inverted,
    }
}

/// Border edges follow each other where they end the same fan: holes that touch
/// in a vertex are one, as they are once that vertex is split. `border` holds the corners at both ends of each.
fn count_loops(border: &[(u32, u32)], fans: &mut DisjointSets, faces: &[[u32; 3]]) -> usize {
    let mut loops = DisjointSets::new(3 * faces.len());
    for &(low, high) in border {
        loops.join(fans.find(low), fans.find(high));
    }
    let mut roots: Vec<u32> = border.iter().map(|&(low, _)| loops.find(fans.find(low))).collect();
    roots.sort_unstable();
    roots.dedup();
    roots.len()
}

fn count_duplicates(faces: &[[u32; 3]]) -> usize {
    let mut keys: Vec<[u32; 3]> = faces.to_vec();
    keys.iter_mut().for_each(|key| key.sort_unstable());
    keys.sort_unstable();
    let n = keys.len();
    keys.dedup();
    n - keys.len()
}

struct Piece {
    area: f64,
    volume: f64,
    /// Whether every edge so far has two triangles that run against each other.
    closed: bool,
    low: Vec3,
    high: Vec3,
}

/// Floaters and inverted pieces.
fn judge_pieces(mesh: &Mesh, welded: &Welded, pieces: &mut DisjointSets, floater: f64) -> (usize, usize) {
    let faces = &welded.faces;
    let empty = || Piece {
        area: 0.0,
        volume: 0.0,
        closed: true,
        low: Vec3::splat(f32::INFINITY),
        high: Vec3::splat(f32::NEG_INFINITY),
    };
    let mut number = vec![u32::MAX; faces.len()];
    let mut all: Vec<Piece> = Vec::new();
    let origin = mesh.positions.iter().find(|p| p.is_finite()).copied().unwrap_or_default().as_dvec3();
    for (face_idx, face) in faces.iter().enumerate() {
        let root = pieces.find(face_idx as u32) as usize;
        if number[root] == u32::MAX {
            number[root] = all.len() as u32;
            all.push(empty());
        }
        let piece = &mut all[number[root] as usize];
        let corners = face.map(|v| mesh.positions[v as usize]);
        if !corners.iter().all(|p| p.is_finite()) {
            continue;
        }
        let [a, b, c] = corners.map(|p| p.as_dvec3() - origin);
        piece.area += (b - a).cross(c - a).length() / 2.0;
        piece.volume += a.dot(b.cross(c)) / 6.0;
        for p in corners {
            piece.low = piece.low.min(p);
            piece.high = piece.high.max(p);
        }
    }
    for users in welded.edges.iter() {
        let paired = matches!(users, [a, b] if a.runs_up(faces) != b.runs_up(faces));
        let piece = &mut all[number[pieces.find(users[0].face()) as usize] as usize];
        piece.closed &= paired;
    }
    let whole: f64 = all.iter().map(|piece| piece.area).sum();
    let n_floaters = all.iter().filter(|piece| piece.area < whole * floater).count();
    let inverted: Vec<&Piece> = all.iter().filter(|piece| piece.closed && piece.volume < 0.0).collect();
    let around = |outer: &Piece, inner: &Piece| {
        outer.closed && outer.volume > 0.0 && outer.low.cmple(inner.low).all() && outer.high.cmpge(inner.high).all()
    };
    // A cavity faces inwards rightly. Looking for what it lies in is quadratic:
    // past some number of pieces those that face inwards are taken for cavities.
    let n_inverted = match all.len() * inverted.len() {
        0..=4_000_000 => inverted.iter().filter(|inner| !all.iter().any(|outer| around(outer, inner))).count(),
        _ => 0,
    };
    (n_floaters, n_inverted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{analysis::shape::area_and_volume, shapes, test_shapes::cuboid};

    fn counted(mesh: &Mesh) -> Connectivity {
        connectivity(mesh, &Welded::new(mesh), 12, 0.001)
    }

    fn joined(a: &Mesh, b: &Mesh) -> Mesh {
        let n = a.positions.len() as u32;
        let triangles = a.triangles.iter().copied().chain(b.triangles.iter().map(|t| t.map(|v| v + n))).collect();
        Mesh { positions: [&a.positions[..], &b.positions[..]].concat(), triangles, ..Mesh::default() }
    }

    #[test]
    fn a_box_is_sound_and_has_twelve_edges_and_six_diagonals() {
        let sound = counted(&cuboid(Vec3::ZERO, Vec3::ONE));
        let none = Connectivity {
            n_edges: 18,
            euler: 2,
            n_holes: 0,
            n_flipped_edges: 0,
            n_duplicate_faces: 0,
            n_loose_vertices: 0,
            n_high_valence: 0,
            n_low_valence: sound.n_low_valence,
            max_valence: sound.max_valence,
            n_floaters: 0,
            n_inverted: 0,
        };
        assert_eq!(sound, none);
        assert_eq!(counted(&shapes::cube()).n_edges, 18, "doubled vertices count once");
    }

    #[test]
    fn holes_are_counted_as_rows_of_border_edges() {
        // A flat grid of 8 x 8 quads without some of them; its rim is a hole too.
        let open = |holes: &[(u32, u32)]| {
            let positions = (0..81).map(|i| Vec3::new((i % 9) as f32, (i / 9) as f32, 0.0)).collect();
            let triangles = (0..64)
                .filter(|i| !holes.contains(&(i % 8, i / 8)))
                .flat_map(|i| {
                    let at = i / 8 * 9 + i % 8;
                    [[at, at + 1, at + 10], [at, at + 10, at + 9]]
                })
                .collect();
            counted(&Mesh { positions, triangles, ..Mesh::default() }).n_holes
        };
        assert_eq!(open(&[]), 1);
        assert_eq!(open(&[(2, 2)]), 2);
        assert_eq!(open(&[(2, 2), (5, 5)]), 3);
        assert_eq!(open(&[(2, 2), (3, 2)]), 2, "one large hole");
        assert_eq!(open(&[(2, 2), (3, 3)]), 2, "two that touch in a corner");
    }

    #[test]
    fn turned_doubled_and_loose_things_are_counted() {
        let mut mesh = cuboid(Vec3::ZERO, Vec3::ONE);
        mesh.triangles[0].swap(0, 1);
        assert_eq!(counted(&mesh).n_flipped_edges, 3);
        mesh.triangles.push([mesh.triangles[5][1], mesh.triangles[5][0], mesh.triangles[5][2]]);
        mesh.triangles.push(mesh.triangles[5]);
        mesh.positions.push(Vec3::splat(9.0));
        mesh.triangles.push([1, 1, 2]);
        let found = counted(&mesh);
        assert_eq!((found.n_duplicate_faces, found.n_loose_vertices), (2, 1));
    }

    #[test]
    fn poles_are_counted_within_the_surface_only() {
        // 48 triangles meet at each pole of this ball.
        let ball = counted(&shapes::sphere(24));
        assert_eq!((ball.n_high_valence, ball.max_valence, ball.n_low_valence), (2, 48, 0));
        let ring = counted(&shapes::torus(12, 0.3));
        assert_eq!((ring.n_high_valence, ring.max_valence, ring.euler), (0, 6, 0));
        let tetrahedron = Mesh {
            positions: vec![Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::Z],
            triangles: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
            ..Mesh::default()
        };
        assert_eq!(counted(&tetrahedron).n_low_valence, 4);
    }

    #[test]
    fn crumbs_are_floaters_and_cavities_are_not_inside_out() {
        let whole = cuboid(Vec3::ZERO, Vec3::ONE);
        let crumb = cuboid(Vec3::splat(3.0), Vec3::splat(0.01));
        assert_eq!(counted(&joined(&whole, &crumb)).n_floaters, 1);
        let mut inside_out = cuboid(Vec3::ZERO, Vec3::splat(0.5));
        inside_out.triangles.iter_mut().for_each(|t| t.swap(1, 2));
        assert_eq!(counted(&inside_out).n_inverted, 1);
        let hollow = joined(&whole, &inside_out);
        assert_eq!(counted(&hollow).n_inverted, 0);
        let (area, volume) = area_and_volume(&hollow);
        assert!((area - 30.0).abs() < 1e-9 && (volume - 7.0).abs() < 1e-9, "{area} {volume}");
    }
}
