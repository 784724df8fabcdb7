//! Faces of a mesh and which of them continue each other across their edges.
//!
//! Where three or more faces meet at an edge, those that bound the same wedge
//! of solid are linked, so that bodies touching along an edge come apart.

use std::collections::HashMap;

use glam::Vec3;

use super::topology::{DisjointSets, EdgeTable, EdgeUse};

/// Share of its distance to its neighbours by which a vertex moves away from
/// another surface that it touched.
const NUDGE: f32 = 1e-3;

pub struct Surface {
    /// Corners, all different.
    pub faces: Vec<[u32; 3]>,
    /// Face that continues each face across its edge from corner i to i + 1.
    pub links: Vec<[Option<u32>; 3]>,
}

impl Surface {
    pub fn of(positions: &[Vec3], faces: Vec<[u32; 3]>) -> Surface {
        let mut links = vec![[None; 3]; faces.len()];
        for users in EdgeTable::new(positions.len(), &faces).iter() {
            match users {
                [_] => {}
                [a, b] => link(&mut links, *a, *b),
                _ => {
                    for (a, b) in pair_around_edge(positions, &faces, users) {
                        link(&mut links, users[a], users[b]);
                    }
                }
            }
        }
        Surface { faces, links }
    }

    /// Makes linked faces wind alike, as most of a piece did before. Links that
    /// contradict each other, as on a Moebius strip, are cut. Returns which
    /// faces kept their winding.
    pub fn orient(&mut self) -> Vec<bool> {
        let n = self.faces.len();
        let mut turned: Vec<Option<bool>> = vec![None; n];
        let mut queue = Vec::new();
        for start in 0..n {
            if turned[start].is_some() {
                continue;
            }
            turned[start] = Some(false);
            queue.push(start);
            let mut next = 0;
            while next < queue.len() {
                let f = queue[next];
                next += 1;
                for i in 0..3 {
                    let Some(g) = self.links[f][i] else { continue };
                    let g = g as usize;
                    let (u, v) = (self.faces[f][i], self.faces[f][(i + 1) % 3]);
                    // Two faces wind alike when they run along their edge in opposite ways.
                    let alike = !runs_along(self.faces[g], u, v);
                    let wanted = turned[f].map(|t| t ^ !alike);
                    if turned[g].is_none() {
                        turned[g] = wanted;
                        queue.push(g);
                    } else if turned[g] != wanted {
                        self.links[f][i] = None;
                        if let Some(back) = self.links[g].iter_mut().find(|link| **link == Some(f as u32)) {
                            *back = None;
                        }
                    }
                }
            }
            // Most faces should keep their winding.
            let n_turned = queue.iter().filter(|&&f| turned[f] == Some(true)).count();
            if n_turned * 2 > queue.len() {
                for &f in &queue {
                    turned[f] = turned[f].map(|t| !t);
                }
            }
            queue.clear();
        }
        self.flip(|f| turned[f] == Some(true));
        turned.into_iter().map(|t| t == Some(false)).collect()
    }

    /// Turns the faces for which `turn` says so.
    pub fn flip(&mut self, turn: impl Fn(usize) -> bool) {
        for (f, (face, links)) in self.faces.iter_mut().zip(&mut self.links).enumerate() {
            if turn(f) {
                // Edges ab, bc, ca become ac, cb, ba.
                face.swap(1, 2);
                links.swap(0, 2);
            }
        }
    }

    /// The piece each face belongs to, numbered in order of their first faces, and how many there are.
    pub fn pieces(&self) -> (Vec<u32>, usize) {
        let mut sets = DisjointSets::new(self.faces.len());
        for (f, links) in self.links.iter().enumerate() {
            for g in links.iter().flatten() {
                sets.join(f as u32, *g);
            }
        }
        let mut number = vec![0; self.faces.len()];
        let mut n = 0;
        for f in 0..self.faces.len() {
            let root = sets.find(f as u32) as usize;
            if root == f {
                number[f] = n as u32;
                n += 1;
            } else {
                number[f] = number[root];
            }
        }
        (number, n)
    }
}

/// What `separate` makes of a surface.
pub struct Separated {
    pub positions: Vec<Vec3>,
    pub triangles: Vec<[u32; 3]>,
    /// The vertex that each one was before, or `u32::MAX` for those in the middle of an edge.
    pub vertex_from: Vec<u32>,
    /// The face that each triangle was, or is a part of.
    pub face_from: Vec<u32>,
}

/// Positions and triangles of a surface, with everything apart that only
/// touches: no vertex has two fans, no edge more than two faces.
pub fn separate(positions: &[Vec3], surface: &Surface) -> Separated {
    const MAX_PASSES: usize = 4;
    let mut apart = split_touching_vertices(positions, surface);
    for _ in 0..MAX_PASSES {
        if !split_doubled_edges(&mut apart) {
            break;
        }
    }
    apart
}

/// Two edges of one surface may share both their ends, as around a thin handle.
/// All but one get a vertex in their middle. Returns whether there were any.
fn split_doubled_edges(apart: &mut Separated) -> bool {
    let Separated { positions, triangles, vertex_from, face_from } = apart;
    let edges = EdgeTable::new(positions.len(), triangles);
    let n_faces = triangles.len();
    let mut touched = vec![false; n_faces];
    let mut found = false;
    for users in edges.iter().filter(|users| users.len() > 2) {
        found = true;
        let pairs = pair_around_edge(positions, &triangles[..n_faces], users);
        let in_pairs = |i: &usize| pairs.iter().any(|&(a, b)| a == *i || b == *i);
        let alone = (0..users.len()).filter(|i| !in_pairs(i)).map(|i| vec![i]);
        for sheet in pairs.iter().skip(1).map(|&(a, b)| vec![a, b]).chain(alone) {
            let faces: Vec<usize> = sheet.iter().map(|&i| users[i].face() as usize).collect();
            if faces.iter().any(|&f| touched[f]) {
                continue; // the next pass sees it again
            }
            let (low, high) = users[sheet[0]].corners(triangles);
            let [u, v] = [low, high].map(|corner| triangles[corner as usize / 3][corner as usize % 3]);
            let middle = (positions[u as usize] + positions[v as usize]) / 2.0;
            let [a, b, c] = triangles[faces[0]].map(|w| positions[w as usize]);
            let new = positions.len() as u32;
            positions.push(nudged(middle, (a + b + c) / 3.0));
            vertex_from.push(u32::MAX);
            for f in faces {
                touched[f] = true;
                let whole = triangles[f];
                triangles[f] = whole.map(|w| if w == u { new } else { w });
                triangles.push(whole.map(|w| if w == v { new } else { w }));
                face_from.push(face_from[f]);
            }
        }
    }
    found
}

/// A vertex whose faces are not linked into one fan becomes several, a little
/// apart so that they stay several when equal positions are welded.
fn split_touching_vertices(positions: &[Vec3], surface: &Surface) -> Separated {
    let faces = &surface.faces;
    let corner = |f: usize, v: u32| (3 * f + faces[f].iter().position(|&w| w == v).unwrap_or(0)) as u32;
    let mut fans = DisjointSets::new(3 * faces.len());
    for (f, links) in surface.links.iter().enumerate() {
        for (i, link) in links.iter().enumerate() {
            let Some(g) = link else { continue };
            for v in [faces[f][i], faces[f][(i + 1) % 3]] {
                fans.join(corner(f, v), corner(*g as usize, v));
            }
        }
    }
    let mut positions = positions.to_vec();
    let mut triangles = faces.clone();
    let mut vertex_from: Vec<u32> = (0..positions.len() as u32).collect();
    // First fan seen at each vertex; it keeps the vertex.
    let mut owner = vec![u32::MAX; positions.len()];
    let mut copies: HashMap<u32, u32> = HashMap::new();
    for c in 0..3 * faces.len() {
        let fan = fans.find(c as u32);
        let vertex = faces[c / 3][c % 3];
        if owner[vertex as usize] == u32::MAX {
            owner[vertex as usize] = fan;
        }
        if owner[vertex as usize] != fan {
            // The representative of a fan is its first corner: its face says where the fan lies.
            let copy = *copies.entry(fan).or_insert_with(|| {
                let face = faces[fan as usize / 3].map(|v| positions[v as usize]);
                let centre = (face[0] + face[1] + face[2]) / 3.0;
                positions.push(nudged(positions[vertex as usize], centre));
                vertex_from.push(vertex);
                (positions.len() - 1) as u32
            });
            triangles[c / 3][c % 3] = copy;
        }
    }
    let face_from = (0..faces.len() as u32).collect();
    Separated { positions, triangles, vertex_from, face_from }
}

/// A little from `from` to `to`, so far at least that the two differ. On the
/// plane z = 0, where mirrored solids have their outline, along that plane.
fn nudged(from: Vec3, to: Vec3) -> Vec3 {
    let flat = to.with_z(0.0);
    let to = if from.z == 0.0 && flat.distance_squared(from) > 0.0 { flat } else { to };
    let mut share = NUDGE;
    while share < 0.5 && from.lerp(to, share) == from {
        share *= 4.0;
    }
    from.lerp(to, share)
}

fn link(links: &mut [[Option<u32>; 3]], a: EdgeUse, b: EdgeUse) {
    if a.face() != b.face() {
        links[a.face() as usize][a.side()] = Some(b.face());
        links[b.face() as usize][b.side()] = Some(a.face());
    }
}

fn runs_along([a, b, c]: [u32; 3], u: u32, v: u32) -> bool {
    [(a, b), (b, c), (c, a)].contains(&(u, v))
}

/// Which of three or more faces around one edge belong together, as indices into `users`.
fn pair_around_edge(positions: &[Vec3], faces: &[[u32; 3]], users: &[EdgeUse]) -> Vec<(usize, usize)> {
    let (low, high) = users[0].corners(faces);
    let [from, to] = [low, high].map(|corner| faces[corner as usize / 3][corner as usize % 3]);
    let origin = positions[from as usize];
    let axis = (positions[to as usize] - origin).normalize_or_zero();
    let (side, up) = axis.any_orthonormal_pair();
    // Angle around the edge, and whether the face runs along it from low to high.
    let mut around: Vec<(f32, bool, usize)> = users
        .iter()
        .enumerate()
        .map(|(i, user)| {
            let face = faces[user.face() as usize];
            let apex = positions[face[(user.side() + 2) % 3] as usize] - origin;
            (apex.dot(up).atan2(apex.dot(side)), user.runs_up(faces), i)
        })
        .collect();
    around.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));

    // The outside of a face that runs with the axis is towards growing angles:
    // the solid lies between it and the last face before it that runs against.
    let mut pairs = Vec::new();
    let mut paired = vec![false; users.len()];
    let mut waiting = Vec::new();
    for &(_, with_axis, i) in around.iter().chain(&around) {
        if paired[i] {
            continue;
        }
        if !with_axis {
            if !waiting.contains(&i) {
                waiting.push(i);
            }
        } else if let Some(other) = waiting.pop() {
            (paired[i], paired[other]) = (true, true);
            pairs.push((other, i));
        }
    }
    // Windings that make no sense: neighbours by angle.
    let rest: Vec<usize> = around.iter().map(|a| a.2).filter(|&i| !paired[i]).collect();
    pairs.extend(rest.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    pairs
}
