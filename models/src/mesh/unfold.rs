//! Flips edges along which a surface folds back on itself, and those of slivers.

use std::collections::HashSet;

use glam::Vec3;

use super::surface::Surface;

/// Cosine of the angle between the normals on both sides of an edge worth flipping.
const FOLD: f32 = 0.2;
/// A flip against a fold has to improve the sharpest edge around by this much.
const GAIN: f32 = 0.05;
/// Triangles less equilateral than this are slivers worth flipping.
const SLIVER: f32 = 0.2;
/// A flip against a sliver has to improve the worse triangle by this factor ...
const ROUNDER: f32 = 1.5;
/// ... and may sharpen the edges around by this much.
const LOSS: f32 = 0.01;
const MAX_PASSES: usize = 6;
/// Twice the least area of a new triangle, relative to its longest edge squared.
const MIN_AREA: f32 = 1e-3;

/// Collapsing edges may leave slivers that stand on edge or lie folded over;
/// flipping an edge of them often puts them flat. Neither vertices nor pieces,
/// holes and borders change. `facing_front`: triangles that face the front, as
/// seen along -Z, must go on doing so.
pub fn unfold(positions: &[Vec3], surface: &mut Surface, facing_front: bool) {
    let mut edges: HashSet<(u32, u32)> = HashSet::new();
    for _ in 0..MAX_PASSES {
        let mut n_flipped = 0;
        for f in 0..surface.faces.len() {
            for i in 0..3 {
                let Some(flip) = Flip::find(positions, surface, f, i) else { continue };
                if edges.is_empty() {
                    edges = surface.faces.iter().flat_map(|&[a, b, c]| [key(a, b), key(b, c), key(c, a)]).collect();
                }
                if edges.contains(&key(flip.c, flip.d)) || !flip.pays(positions, surface, facing_front) {
                    continue;
                }
                edges.remove(&key(flip.a, flip.b));
                edges.insert(key(flip.c, flip.d));
                flip.apply(surface);
                n_flipped += 1;
            }
        }
        if n_flipped == 0 {
            break;
        }
    }
}

fn key(u: u32, v: u32) -> (u32, u32) {
    (u.min(v), u.max(v))
}

/// Faces f = a b c and g = b a d, to become a d c and d b c.
struct Flip {
    f: usize,
    g: usize,
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    /// Faces across b c, c a, a d and d b.
    around: [Option<u32>; 4],
}

impl Flip {
    /// At edge `i` of face `f`, if the surface folds there or a sliver lies there.
    fn find(positions: &[Vec3], surface: &Surface, f: usize, i: usize) -> Option<Flip> {
        let g = surface.links[f][i]? as usize;
        let pair = [surface.faces[f], surface.faces[g]];
        let folds = normal(positions, pair[0]).dot(normal(positions, pair[1])) < FOLD;
        if !folds && pair.iter().all(|&face| quality(positions, face) > SLIVER) {
            return None;
        }
        let [a, b, c] = [0, 1, 2].map(|k| surface.faces[f][(i + k) % 3]);
        let j = side(surface.faces[g], b, a)?;
        let d = surface.faces[g][(j + 2) % 3];
        let across = |face: usize, side: usize| surface.links[face][side % 3];
        let around = [across(f, i + 1), across(f, i + 2), across(g, j + 1), across(g, j + 2)];
        (c != d).then_some(Flip { f, g, a, b, c, d, around })
    }

    fn pays(&self, positions: &[Vec3], surface: &Surface, facing_front: bool) -> bool {
        let &Flip { f, g, a, b, c, d, around } = self;
        let new = [[a, d, c], [d, b, c]];
        let sound = new.iter().all(|&face| {
            let [p, q, r] = face.map(|v| positions[v as usize]);
            let least = MIN_AREA * p.distance_squared(q).max(q.distance_squared(r)).max(r.distance_squared(p));
            let area = (q - p).cross(r - p);
            area.length() > least && (!facing_front || area.z > 0.0)
        });
        let neighbour = |k: usize| around[k].map(|face| normal(positions, surface.faces[face as usize]));
        // The sharpest of the inner edge and the four around it.
        let sharpest = |[first, second]: [[u32; 3]; 2], beside_first: [usize; 2], beside_second: [usize; 2]| {
            let (n, m) = (normal(positions, first), normal(positions, second));
            let first = beside_first.iter().filter_map(|&k| neighbour(k)).map(|other| n.dot(other));
            let second = beside_second.iter().filter_map(|&k| neighbour(k)).map(|other| m.dot(other));
            first.chain(second).fold(n.dot(m), f32::min)
        };
        let old = [surface.faces[f], surface.faces[g]];
        let gain = sharpest(new, [2, 1], [3, 0]) - sharpest(old, [0, 1], [2, 3]);
        let worst = |faces: [[u32; 3]; 2]| quality(positions, faces[0]).min(quality(positions, faces[1]));
        sound && (gain > GAIN || (gain > -LOSS && worst(new) > ROUNDER * worst(old)))
    }

    fn apply(&self, surface: &mut Surface) {
        let &Flip { f, g, a, b, c, d, around: [bc, ca, ad, db] } = self;
        let (f_id, g_id) = (Some(f as u32), Some(g as u32));
        // The neighbours that change hands.
        if let Some(face) = ad.map(|face| face as usize).filter(|&face| face != f && face != g)
            && let Some(side) = side(surface.faces[face], d, a)
        {
            surface.links[face][side] = f_id;
        }
        if let Some(face) = bc.map(|face| face as usize).filter(|&face| face != f && face != g)
            && let Some(side) = side(surface.faces[face], c, b)
        {
            surface.links[face][side] = g_id;
        }
        surface.faces[f] = [a, d, c];
        surface.links[f] = [ad, g_id, ca];
        surface.faces[g] = [d, b, c];
        surface.links[g] = [db, bc, f_id];
    }
}

fn normal(positions: &[Vec3], face: [u32; 3]) -> Vec3 {
    let [a, b, c] = face.map(|v| positions[v as usize]);
    (b - a).cross(c - a).normalize_or_zero()
}

/// 1 for an equilateral triangle, towards 0 as the corners line up.
fn quality(positions: &[Vec3], face: [u32; 3]) -> f32 {
    let [a, b, c] = face.map(|v| positions[v as usize]);
    let sides = a.distance_squared(b) + b.distance_squared(c) + c.distance_squared(a);
    2.0 * 3f32.sqrt() * (b - a).cross(c - a).length() / sides
}

/// Which edge of a face runs from `u` to `v`.
fn side(face: [u32; 3], u: u32, v: u32) -> Option<usize> {
    (0..3).find(|&i| face[i] == u && face[(i + 1) % 3] == v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sliver_standing_on_edge_is_put_flat() {
        // A square around a vertex that lies almost on one of its edges, above it.
        let positions = [
            Vec3::ZERO,
            Vec3::X,
            Vec3::new(1.0, 1.0, 0.0),
            Vec3::Y,
            Vec3::new(0.5, 0.001, 0.4),
            Vec3::new(0.5, -1.0, 0.0),
        ];
        let faces = vec![[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [0, 5, 1]];
        let mut surface = Surface::of(&positions, faces);
        unfold(&positions, &mut surface, true);
        let mut faces = surface.faces.clone();
        faces.sort_unstable();
        assert!(faces.contains(&[0, 5, 4]) && faces.contains(&[5, 1, 4]), "{faces:?}");
        // The links are those of a surface made afresh.
        let fresh = Surface::of(&positions, surface.faces.clone());
        assert_eq!(fresh.links, surface.links);
    }
}
