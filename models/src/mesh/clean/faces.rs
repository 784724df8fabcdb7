//! Faces on their own: welded corners, no flat ones, no doubles.

use std::collections::{BTreeMap, BTreeSet};

use glam::Vec3;

use super::{
    super::topology::{EdgeTable, weld_map},
    CleanReport,
};

/// Faces and where they are from.
pub(super) struct Soup {
    /// Corners, all different; of vertices with equal positions the first stands for all.
    pub faces: Vec<[u32; 3]>,
    /// The triangle of the input that each face is, or is a part of.
    pub origin: Vec<u32>,
}

impl Soup {
    pub fn kept(self, kept: &[bool]) -> Soup {
        Soup { faces: keep(&self.faces, kept), origin: keep(&self.origin, kept) }
    }
}

pub(super) fn keep<T: Copy>(all: &[T], kept: &[bool]) -> Vec<T> {
    all.iter().zip(kept).filter(|&(_, &kept)| kept).map(|(&item, _)| item).collect()
}

/// The faces on the first of equal positions, and for each vertex that first one.
pub(super) fn weld(positions: &[Vec3], triangles: &[[u32; 3]], report: &mut CleanReport) -> (Soup, Vec<u32>) {
    let weld = weld_map(positions);
    let mut soup = Soup { faces: Vec::with_capacity(triangles.len()), origin: Vec::with_capacity(triangles.len()) };
    for (t, triangle) in triangles.iter().enumerate() {
        if !triangle.iter().all(|&v| positions.get(v as usize).is_some_and(|p| p.is_finite())) {
            report.n_invalid += 1;
            continue;
        }
        let [a, b, c] = triangle.map(|v| weld[v as usize]);
        if a == b || b == c || c == a {
            report.n_flat += 1;
            continue;
        }
        soup.faces.push([a, b, c]);
        soup.origin.push(t as u32);
    }
    (soup, weld)
}

pub(super) fn is_flat(positions: &[Vec3], face: [u32; 3]) -> bool {
    let [a, b, c] = face.map(|v| positions[v as usize]);
    (b - a).cross(c - a).length_squared() == 0.0
}

/// A face whose corners lie on a line goes; the neighbour along its longest
/// edge is split at the middle corner, so that no gap opens.
pub(super) fn resolve_flat_faces(positions: &[Vec3], mut soup: Soup) -> Soup {
    const MAX_PASSES: usize = 4;
    for _ in 0..MAX_PASSES {
        let faces = &soup.faces;
        let flat: Vec<usize> = (0..faces.len()).filter(|&f| is_flat(positions, faces[f])).collect();
        if flat.is_empty() {
            return soup;
        }
        let edges = EdgeTable::new(positions.len(), faces);
        let mut kept = vec![true; faces.len()];
        let mut more = Soup { faces: Vec::new(), origin: Vec::new() };
        for f in flat {
            if !std::mem::replace(&mut kept[f], false) {
                continue;
            }
            let length =
                |i: usize| positions[faces[f][i] as usize].distance_squared(positions[faces[f][(i + 1) % 3] as usize]);
            let longest = (0..3).max_by(|&i, &j| length(i).total_cmp(&length(j)).then(j.cmp(&i))).unwrap_or(0);
            let [u, v, middle] = [0, 1, 2].map(|i| faces[f][(longest + i) % 3]);
            let [first, second] = edges.users(u, v) else { continue };
            let neighbour = if first.face() as usize == f { second.face() } else { first.face() } as usize;
            if !kept[neighbour] || faces[neighbour].contains(&middle) {
                continue;
            }
            kept[neighbour] = false;
            for end in [u, v] {
                let other = if end == u { v } else { u };
                more.faces.push(faces[neighbour].map(|w| if w == other { middle } else { w }));
                more.origin.push(soup.origin[neighbour]);
            }
        }
        soup = soup.kept(&kept);
        soup.faces.extend(more.faces);
        soup.origin.extend(more.origin);
    }
    let kept: Vec<bool> = soup.faces.iter().map(|&face| !is_flat(positions, face)).collect();
    soup.kept(&kept)
}

/// Which faces stay when one of several with the same corners does; `None`
/// where there are no doubles. Two that face opposite ways are a fin: both go
/// where the surface closes without them.
pub fn doubled_faces(n_vertices: usize, faces: &[[u32; 3]]) -> Option<Vec<bool>> {
    let sorted = |[a, b, c]: [u32; 3]| {
        let mut s = [a, b, c];
        s.sort_unstable();
        s
    };
    // Tells the two ways round apart, wherever a face starts.
    let way_round = |[a, b, c]: [u32; 3]| (a < b) ^ (b < c) ^ (c < a);
    let mut copies: BTreeMap<[u32; 3], [usize; 2]> = BTreeMap::new();
    let edges = EdgeTable::new(n_vertices, faces);
    for (f, &face) in faces.iter().enumerate() {
        let [a, b, c] = sorted(face);
        let is_double = |other: u32| other as usize != f && sorted(faces[other as usize]) == [a, b, c];
        if edges.users(a, b).iter().any(|user| is_double(user.face())) {
            copies.entry([a, b, c]).or_default()[usize::from(way_round(face))] += 1;
        }
    }
    if copies.is_empty() {
        return None;
    }
    let is_fin = |corners: [u32; 3], [one, other]: [usize; 2]| {
        let [a, b, c] = corners;
        // Distinct other faces at each edge: without the fin exactly one would be left alone.
        let n_others = |u, v| {
            let mut others: Vec<[u32; 3]> =
                edges.users(u, v).iter().map(|user| sorted(faces[user.face() as usize])).collect();
            others.sort_unstable();
            others.dedup();
            others.len() - 1
        };
        one == other && n_others(a, b) != 1 && n_others(b, c) != 1 && n_others(a, c) != 1
    };
    let fins: BTreeSet<[u32; 3]> = copies.iter().filter(|&(&c, &n)| is_fin(c, n)).map(|(&c, _)| c).collect();
    let mut seen = BTreeSet::new();
    let stays = |&face: &[u32; 3]| {
        let corners = sorted(face);
        !copies.contains_key(&corners) || (!fins.contains(&corners) && seen.insert(corners))
    };
    Some(faces.iter().map(stays).collect())
}
