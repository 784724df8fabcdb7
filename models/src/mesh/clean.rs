//! Cleans any triangle soup as far as its index and positions allow.
//!
//! In: a mesh with whatever is wrong with it. Out: bit-equal vertices welded, no
//! non-finite, degenerate or doubled faces, no specks, no unused vertices, faces
//! wound consistently and outwards, no edge with more than two faces, no vertex
//! where surfaces meet in a point only. Holes stay. Texture coordinates go: what
//! is welded here is unwrapped later. `front` stays.

use std::collections::{BTreeMap, BTreeSet};

use glam::{DVec3, Vec3};

use super::{
    Mesh,
    normals::smooth_normals,
    surface::{Surface, separate},
    topology::{EdgeTable, weld_map},
};
use crate::error::StageError;

/// `speck`: pieces with less than this share of the largest piece's area are dropped.
pub fn clean(mesh: &Mesh, speck: f32) -> Result<Mesh, StageError> {
    let positions = &mesh.positions;
    let mut faces = weld(positions, &mesh.triangles);
    resolve_flat_faces(positions, &mut faces);
    drop_doubled_faces(positions.len(), &mut faces);

    let mut surface = Surface::of(positions, faces);
    let oriented = surface.orient();
    turn_outwards(positions, &mut surface, &oriented);
    drop_specks(positions, &mut surface, speck);
    let (positions, triangles) = separate(positions, &surface);
    if triangles.is_empty() {
        return Err(StageError::invalid(
            format!("nothing is left of {} triangles after cleaning", mesh.triangles.len()),
            "give a picture with a larger object",
        ));
    }
    Ok(compact(Mesh { positions, triangles, front: mesh.front, ..Mesh::default() }))
}

/// Drops unused vertices, keeps the order of the others, and makes normals afresh.
fn compact(mut mesh: Mesh) -> Mesh {
    let mut index = vec![u32::MAX; mesh.positions.len()];
    for &v in mesh.triangles.iter().flatten() {
        index[v as usize] = 0;
    }
    let mut kept = Vec::with_capacity(mesh.positions.len());
    for (i, &position) in index.iter_mut().zip(&mesh.positions) {
        if *i == 0 {
            *i = kept.len() as u32;
            kept.push(position);
        }
    }
    mesh.positions = kept;
    for v in mesh.triangles.iter_mut().flatten() {
        *v = index[*v as usize];
    }
    mesh.normals = smooth_normals(&mesh.positions, &mesh.triangles);
    mesh
}

fn weld(positions: &[Vec3], triangles: &[[u32; 3]]) -> Vec<[u32; 3]> {
    let weld = weld_map(positions);
    triangles
        .iter()
        .filter(|triangle| triangle.iter().all(|&v| positions[v as usize].is_finite()))
        .map(|triangle| triangle.map(|v| weld[v as usize]))
        .filter(|[a, b, c]| a != b && b != c && c != a)
        .collect()
}

fn is_flat(positions: &[Vec3], face: [u32; 3]) -> bool {
    let [a, b, c] = face.map(|v| positions[v as usize]);
    (b - a).cross(c - a).length_squared() == 0.0
}

/// A face whose corners lie on a line goes; the neighbour along its longest
/// edge is split at the middle corner, so that no gap opens.
fn resolve_flat_faces(positions: &[Vec3], faces: &mut Vec<[u32; 3]>) {
    const MAX_PASSES: usize = 4;
    for _ in 0..MAX_PASSES {
        let flat: Vec<usize> = (0..faces.len()).filter(|&f| is_flat(positions, faces[f])).collect();
        if flat.is_empty() {
            return;
        }
        let edges = EdgeTable::new(positions.len(), faces);
        let mut gone = vec![false; faces.len()];
        let mut more = Vec::new();
        for f in flat {
            if std::mem::replace(&mut gone[f], true) {
                continue;
            }
            let length =
                |i: usize| positions[faces[f][i] as usize].distance_squared(positions[faces[f][(i + 1) % 3] as usize]);
            let longest = (0..3).max_by(|&i, &j| length(i).total_cmp(&length(j)).then(j.cmp(&i))).unwrap_or(0);
            let [u, v, middle] = [0, 1, 2].map(|i| faces[f][(longest + i) % 3]);
            let [first, second] = edges.users(u, v) else { continue };
            let neighbour = if first.face() as usize == f { second.face() } else { first.face() } as usize;
            if gone[neighbour] || faces[neighbour].contains(&middle) {
                continue;
            }
            gone[neighbour] = true;
            for keep in [u, v] {
                let other = if keep == u { v } else { u };
                more.push(faces[neighbour].map(|w| if w == other { middle } else { w }));
            }
        }
        let mut f = 0;
        faces.retain(|_| {
            f += 1;
            !gone[f - 1]
        });
        faces.extend(more);
    }
    faces.retain(|&face| !is_flat(positions, face));
}

/// Keeps one of several faces with the same corners. Two that face opposite
/// ways are a fin: both go where the surface closes without them.
pub(super) fn drop_doubled_faces(n_vertices: usize, faces: &mut Vec<[u32; 3]>) {
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
        return;
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
    faces.retain(|&face| {
        let corners = sorted(face);
        !copies.contains_key(&corners) || (!fins.contains(&corners) && seen.insert(corners))
    });
}

/// Winds closed pieces outwards. A closed piece that was wound consistently
/// before and lies inside the box of another one is a cavity and keeps its winding.
/// Open pieces keep the winding most of their area had: see `Surface::orient`.
fn turn_outwards(positions: &[Vec3], surface: &mut Surface, oriented: &[bool]) {
    let (piece_of, n_pieces) = surface.pieces();
    let mut pieces = vec![Piece::default(); n_pieces];
    for (f, &face) in surface.faces.iter().enumerate() {
        let piece = &mut pieces[piece_of[f] as usize];
        piece.closed &= surface.links[f].iter().all(|link| link.is_some());
        piece.kept &= oriented[f];
        let [a, b, c] = face.map(|v| positions[v as usize]);
        piece.low = piece.low.min(a).min(b).min(c);
        piece.high = piece.high.max(a).max(b).max(c);
    }
    for (f, &face) in surface.faces.iter().enumerate() {
        let piece = &mut pieces[piece_of[f] as usize];
        let [a, b, c] = face.map(|v| (positions[v as usize] - piece.low).as_dvec3());
        piece.volume += DVec3::dot(a, b.cross(c));
    }
    let is_inside_another = |p: usize| {
        (0..n_pieces)
            .any(|q| q != p && pieces[q].low.cmplt(pieces[p].low).all() && pieces[q].high.cmpgt(pieces[p].high).all())
    };
    let turn: Vec<bool> = (0..n_pieces)
        .map(|p| {
            let piece = &pieces[p];
            piece.closed && piece.volume < 0.0 && !(piece.kept && is_inside_another(p))
        })
        .collect();
    surface.flip(|f| turn[piece_of[f] as usize]);
}

#[derive(Clone)]
struct Piece {
    low: Vec3,
    high: Vec3,
    /// Six times the signed volume.
    volume: f64,
    closed: bool,
    /// No face had to be turned.
    kept: bool,
}

impl Default for Piece {
    fn default() -> Self {
        Piece { low: Vec3::INFINITY, high: Vec3::NEG_INFINITY, volume: 0.0, closed: true, kept: true }
    }
}

fn drop_specks(positions: &[Vec3], surface: &mut Surface, speck: f32) {
    let (piece_of, n_pieces) = surface.pieces();
    let mut areas = vec![0.0; n_pieces];
    for (f, &face) in surface.faces.iter().enumerate() {
        let [a, b, c] = face.map(|v| positions[v as usize]);
        areas[piece_of[f] as usize] += (b - a).cross(c - a).length() as f64;
    }
    let largest = areas.iter().copied().fold(0.0, f64::max);
    let keep: Vec<bool> = areas.iter().map(|&area| area >= speck as f64 * largest).collect();
    if keep.contains(&false) {
        let faces = (0..surface.faces.len()).filter(|&f| keep[piece_of[f] as usize]).map(|f| surface.faces[f]);
        *surface = Surface::of(positions, faces.collect());
    }
}
