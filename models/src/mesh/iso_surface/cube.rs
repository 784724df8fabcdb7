//! Corners, edges and faces of a cell, and how the surface crosses it.
//!
//! In: which corners are inside and which ambiguous faces join their inside
//! corners. Out: the loops in which the surface crosses the cell's boundary,
//! each with a triangulation of the disc it bounds. All of it is derived from
//! the cube's incidences; nothing is a typed-in table.
//!
//! Corner c is at (c & 1, c >> 1 & 1, c >> 2 & 1). Edge 4 * a + k runs along axis
//! a from the corner whose bits in the other two axes are k. Face 2 * a + s is
//! at s on axis a.

use std::sync::LazyLock;

/// The surface's crossing of one cell's boundary.
#[derive(Debug, Clone, Default)]
pub struct Case {
    pub loops: Vec<Loop>,
}

/// One closed curve through edges of the cell, counter-clockwise around the
/// patch that it bounds, seen from outside.
#[derive(Debug, Clone)]
pub struct Loop {
    pub edges: Vec<u8>,
    /// Corners number the cell's edges, or are `CENTRE`.
    pub triangles: Vec<[u8; 3]>,
}

/// Stands for a vertex in the middle of its loop.
pub const CENTRE: u8 = 12;

pub struct Cases {
    /// By `inside | joined << 8`; `u16::MAX` where a joined face is not ambiguous.
    slots: Vec<u16>,
    cases: Vec<Case>,
    /// Ambiguous faces by `inside`.
    ambiguous: [u8; 256],
}

pub static CASES: LazyLock<Cases> = LazyLock::new(Cases::derive);

impl Cases {
    /// Bits of the faces on which `inside` has two corners that only touch diagonally.
    pub fn ambiguous(&self, inside: u8) -> u8 {
        self.ambiguous[inside as usize]
    }

    /// `joined` is a subset of `ambiguous(inside)`.
    pub fn get(&self, inside: u8, joined: u8) -> &Case {
        &self.cases[self.slots[inside as usize | (joined as usize) << 8] as usize]
    }

    /// Every case, with its `inside` and `joined`.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (u8, u8, &Case)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| **slot != u16::MAX)
            .map(|(key, slot)| (key as u8, (key >> 8) as u8, &self.cases[*slot as usize]))
    }

    fn derive() -> Cases {
        let mut cases = Cases { slots: vec![u16::MAX; 256 * 64], cases: Vec::new(), ambiguous: [0; 256] };
        for inside in 0..=255u8 {
            let is_ambiguous = |f: &u8| {
                let [a, b, c, d] = face_ring(*f).map(|corner| inside >> corner & 1);
                a == c && b == d && a != b
            };
            let ambiguous = (0..6u8).filter(is_ambiguous).fold(0u8, |mask, f| mask | 1 << f);
            cases.ambiguous[inside as usize] = ambiguous;
            for joined in (0..64u8).filter(|joined| joined & !ambiguous == 0) {
                cases.slots[inside as usize | (joined as usize) << 8] = cases.cases.len() as u16;
                let loops = trace(inside, joined).into_iter().map(fill).collect();
                cases.cases.push(Case { loops });
            }
        }
        cases
    }
}

/// The four corners of a face, counter-clockwise seen from outside the cell.
pub fn face_ring(face: u8) -> [u8; 4] {
    let axis = face / 2;
    let (u, v) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
    if face & 1 == 1 {
        let base = 1 << axis;
        [base, base | u, base | u | v, base | v]
    } else {
        [0, v, u | v, u]
    }
}

/// The axis of an edge and the corner it starts at.
pub fn edge_start(edge: u8) -> (u8, u8) {
    let (axis, k) = (edge / 4, edge % 4);
    (axis, (k & 1) << ((axis + 1) % 3) | (k >> 1) << ((axis + 2) % 3))
}

fn edge_between(a: u8, b: u8) -> u8 {
    let axis = (a ^ b).trailing_zeros() as u8;
    let low = a & b;
    axis * 4 + (low >> ((axis + 1) % 3) & 1) + 2 * (low >> ((axis + 2) % 3) & 1)
}

/// Bits of the two faces that an edge lies on.
fn faces_of(edge: u8) -> u8 {
    let (axis, start) = edge_start(edge);
    [(axis + 1) % 3, (axis + 2) % 3].iter().fold(0, |mask, &a| mask | 1 << (2 * a + (start >> a & 1)))
}

/// The loops of edges in which the surface crosses the cell's boundary.
fn trace(inside: u8, joined: u8) -> Vec<Vec<u8>> {
    let mut next = [u8::MAX; 12];
    for face in 0..6 {
        let ring = face_ring(face);
        let is_in = |i: usize| inside >> ring[i % 4] & 1 == 1;
        for i in (0..4).filter(|&i| !is_in(i) && is_in(i + 1)) {
            // The boundary of the face enters the inside here. The surface runs
            // to where it leaves again; where the inside corners are joined
            // across the face, to where it left before.
            let leaves = |j: &usize| is_in(*j) && !is_in(*j + 1);
            let end =
                if joined >> face & 1 == 1 { (i + 1..i + 4).rev().find(leaves) } else { (i + 1..i + 4).find(leaves) };
            if let Some(j) = end {
                let edge = |i: usize| edge_between(ring[i % 4], ring[(i + 1) % 4]);
                next[edge(i) as usize] = edge(j);
            }
        }
    }
    let mut loops = Vec::new();
    for start in 0..12u8 {
        let mut edges = Vec::new();
        let mut edge = start;
        while next[edge as usize] != u8::MAX {
            edges.push(edge);
            edge = std::mem::replace(&mut next[edge as usize], u8::MAX);
        }
        if !edges.is_empty() {
            loops.push(edges);
        }
    }
    loops
}

/// Triangulates the disc in a loop. A diagonal between two edges of one face
/// would lie in that face, where the neighbouring cell might draw it too: four
/// triangles on one edge. Loops that need such a diagonal get a vertex in the middle.
fn fill(edges: Vec<u8>) -> Loop {
    let n = edges.len();
    // Cheapest triangulations of the polygons from i to j, after Klincsek (1980).
    let mut cost = vec![vec![0.0f32; n]; n];
    let mut split = vec![vec![0usize; n]; n];
    for span in 2..n {
        for i in 0..n - span {
            let j = i + span;
            let best = (i + 1..j)
                .map(|k| (cost[i][k] + cost[k][j], k))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .unwrap_or((f32::INFINITY, i));
            cost[i][j] = best.0 + if (i, j) == (0, n - 1) { 0.0 } else { diagonal_cost(edges[i], edges[j]) };
            split[i][j] = best.1;
        }
    }
    let mut triangles = Vec::new();
    if cost[0][n - 1].is_finite() {
        let mut open = vec![(0, n - 1)];
        while let Some((i, j)) = open.pop() {
            if j > i + 1 {
                let k = split[i][j];
                triangles.push([edges[i], edges[k], edges[j]]);
                open.extend([(i, k), (k, j)]);
            }
        }
    } else {
        triangles.extend((0..n).map(|i| [edges[i], edges[(i + 1) % n], CENTRE]));
    }
    Loop { edges, triangles }
}

/// Squared length between the middles of two edges; infinite within a face.
fn diagonal_cost(a: u8, b: u8) -> f32 {
    if faces_of(a) & faces_of(b) != 0 {
        return f32::INFINITY;
    }
    let middle = |edge: u8| {
        let (axis, start) = edge_start(edge);
        [0, 1, 2].map(|i| if i == axis { 0.5 } else { (start >> i & 1) as f32 })
    };
    let (p, q) = (middle(a), middle(b));
    (0..3).map(|i| (p[i] - q[i]) * (p[i] - q[i])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crossed_edge_is_in_exactly_one_loop() {
        for (inside, joined, case) in CASES.iter() {
            let mut seen = [0; 12];
            case.loops.iter().flat_map(|l| &l.edges).for_each(|&e| seen[e as usize] += 1);
            for edge in 0..12u8 {
                let (axis, start) = edge_start(edge);
                let crossed = (inside >> start ^ inside >> (start | 1 << axis)) & 1;
                assert_eq!(seen[edge as usize], crossed, "edge {edge} of {inside:08b} with {joined:06b}");
            }
        }
    }

    #[test]
    fn triangles_of_a_loop_form_a_disc_bounded_by_it() {
        for (inside, joined, case) in CASES.iter() {
            for patch in &case.loops {
                let n = patch.edges.len();
                let mut sides = std::collections::BTreeMap::new();
                for t in &patch.triangles {
                    (0..3).for_each(|i| *sides.entry((t[i], t[(i + 1) % 3])).or_insert(0) += 1);
                }
                assert!(sides.values().all(|&n| n == 1), "{inside:08b} with {joined:06b}");
                let border: Vec<_> = sides.keys().filter(|(a, b)| !sides.contains_key(&(*b, *a))).collect();
                assert_eq!(border.len(), n);
                assert!((0..n).all(|i| border.contains(&&(patch.edges[i], patch.edges[(i + 1) % n]))));
                let with_centre = patch.triangles.iter().flatten().any(|&v| v == CENTRE);
                assert_eq!(patch.triangles.len(), if with_centre { n } else { n - 2 });
            }
        }
    }

    #[test]
    fn no_diagonal_lies_in_a_face() {
        for (_, _, case) in CASES.iter() {
            for patch in &case.loops {
                let n = patch.edges.len();
                for (a, b) in patch.triangles.iter().flat_map(|&[a, b, c]| [(a, b), (b, c), (c, a)]) {
                    let at = |v| patch.edges.iter().position(|&e| e == v);
                    if let (Some(i), Some(j)) = (at(a), at(b)) {
                        let on_loop = (i + 1) % n == j || (j + 1) % n == i;
                        assert!(on_loop || faces_of(a) & faces_of(b) == 0, "{a} {b}");
                    }
                }
            }
        }
    }
}
