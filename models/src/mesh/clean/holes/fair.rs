//! Makes the patch of a hole continue the surface around it.
//!
//! In: a triangulation of the rim without new vertices. Out: one with vertices as
//! dense as those of the rim, on a surface that leaves the rim in the direction in
//! which the surroundings arrive (Liepa, "Filling Holes in Meshes", 2003: split at
//! centroids and relax edges, then make the second-order umbrella vanish, here in
//! the sense of least squares). Where surroundings and patch meet at a corner,
//! as at the lid of a box, the patch stays as it is.

use std::collections::BTreeMap;

use glam::{DVec3, Vec3};

use super::{NEW, Patch, Rim};

/// Liepa's density control: the square root of 2.
const DENSITY: f32 = std::f32::consts::SQRT_2;
const MAX_ROUNDS: usize = 24;
const MAX_NEW: usize = 4000;
/// Cosine of the mean angle between surroundings and flat patch from which on there is a corner.
const CORNER: f32 = 0.5;
const MAX_STEPS: usize = 2000;

/// `patch` refined and faired; `None` where it should stay: it needs no vertices, there is a corner
/// at the rim, or the result would fold over. `neighbours`: for each vertex of the rim all that
/// the mesh has around it, in any order.
pub(super) fn fair(rim: &Rim, patch: &Patch, neighbours: &[Vec<Vec3>]) -> Option<Patch> {
    let index: BTreeMap<u32, usize> = rim.vertices.iter().enumerate().map(|(i, &v)| (v, i)).collect();
    let faces: Option<Vec<[usize; 3]>> = patch
        .faces
        .iter()
        .map(|face| {
            let [a, b, c] = face.map(|v| index.get(&v).copied());
            Some([a?, b?, c?])
        })
        .collect();
    let mut sheet = Sheet { n_rim: rim.points.len(), points: rim.points.clone(), faces: faces?, scale: scales(rim) };
    if sheet.corner(rim) < CORNER {
        return None;
    }
    sheet.refine();
    if sheet.points.len() == sheet.n_rim {
        return None;
    }
    sheet.settle(neighbours);
    if !sheet.continues(rim) {
        return None;
    }
    let name = |i: usize| if i < sheet.n_rim { rim.vertices[i] } else { NEW + (i - sheet.n_rim) as u32 };
    Some(Patch {
        faces: sheet.faces.iter().map(|face| face.map(name)).collect(),
        new: sheet.points[sheet.n_rim..].to_vec(),
    })
}

/// Mean length of the rim's edges at each of its vertices.
fn scales(rim: &Rim) -> Vec<f32> {
    let n = rim.points.len();
    let length = |i: usize| rim.points[i % n].distance(rim.points[(i + 1) % n]);
    (0..n).map(|i| (length(i) + length(i + n - 1)) / 2.0).collect()
}

struct Sheet {
    n_rim: usize,
    /// Those of the rim first.
    points: Vec<Vec3>,
    faces: Vec<[usize; 3]>,
    /// Edge length wanted at each point.
    scale: Vec<f32>,
}

impl Sheet {
    fn normal(&self, [a, b, c]: [usize; 3]) -> Vec3 {
        let [a, b, c] = [a, b, c].map(|i| self.points[i]);
        (b - a).cross(c - a)
    }

    /// Mean cosine between the faces on both sides of the rim.
    fn corner(&self, rim: &Rim) -> f32 {
        let n = self.n_rim;
        let at_rim = self.faces.iter().flat_map(|&face| {
            let sides = (0..3).filter(move |&k| face[(k + 1) % 3] == (face[k] + 1) % n && face[k] < n);
            sides.map(move |k| (face, face[k]))
        });
        let cosines: Vec<f32> =
            at_rim.map(|(face, i)| self.normal(face).normalize_or_zero().dot(rim.outside[i])).collect();
        cosines.iter().sum::<f32>() / cosines.len().max(1) as f32
    }

    fn refine(&mut self) {
        self.relax();
        for _ in 0..MAX_ROUNDS {
            let mut has_split = false;
            for f in 0..self.faces.len() {
                let face @ [a, b, c] = self.faces[f];
                let middle = face.iter().map(|&i| self.points[i]).sum::<Vec3>() / 3.0;
                let scale = face.iter().map(|&i| self.scale[i]).sum::<f32>() / 3.0;
                let is_far = |&i: &usize| {
                    let distance = DENSITY * middle.distance(self.points[i]);
                    distance > scale && distance > self.scale[i]
                };
                if face.iter().all(is_far) && self.points.len() < self.n_rim + MAX_NEW {
                    let new = self.points.len();
                    self.points.push(middle);
                    self.scale.push(scale);
                    self.faces[f] = [a, b, new];
                    self.faces.extend([[b, c, new], [c, a, new]]);
                    has_split = true;
                }
            }
            if !has_split {
                break;
            }
            self.relax();
        }
    }

    /// Turns edges while an opposite corner lies within the sphere around a triangle.
    fn relax(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut users: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
            for (f, face) in self.faces.iter().enumerate() {
                for k in 0..3 {
                    let (u, v) = (face[k], face[(k + 1) % 3]);
                    users.entry((u.min(v), u.max(v))).or_default().push(f);
                }
            }
            let mut is_touched = vec![false; self.faces.len()];
            let mut has_turned = false;
            for (&(u, v), faces) in &users {
                let &[f, g] = &faces[..] else { continue };
                if is_touched[f] || is_touched[g] {
                    continue;
                }
                let apex = |face: [usize; 3]| face.into_iter().find(|&i| i != u && i != v);
                let (Some(p), Some(q)) = (apex(self.faces[f]), apex(self.faces[g])) else { continue };
                let is_taken = users.contains_key(&(p.min(q), p.max(q))) || self.joins_rim(p, q);
                if is_taken || !self.is_within(self.faces[f], q) {
                    continue;
                }
                // From u to v in f, or the other way round.
                let runs = |face: [usize; 3]| (0..3).any(|k| face[k] == u && face[(k + 1) % 3] == v);
                let (u, v) = if runs(self.faces[f]) { (u, v) } else { (v, u) };
                let turned = [[p, u, q], [q, v, p]];
                let sum = self.normal(self.faces[f]) + self.normal(self.faces[g]);
                if turned.iter().any(|&face| self.normal(face).dot(sum) <= 0.0) {
                    continue;
                }
                [self.faces[f], self.faces[g]] = turned;
                (is_touched[f], is_touched[g]) = (true, true);
                has_turned = true;
            }
            if !has_turned {
                break;
            }
        }
    }

    /// Edges between two vertices of the rim may be there outside.
    fn joins_rim(&self, p: usize, q: usize) -> bool {
        p < self.n_rim && q < self.n_rim
    }

    /// Whether a point lies within the sphere around a triangle's circle.
    fn is_within(&self, face: [usize; 3], point: usize) -> bool {
        let [a, b, c] = face.map(|i| self.points[i].as_dvec3());
        let (ab, ac) = (b - a, c - a);
        let normal = ab.cross(ac);
        let from_a = (normal.cross(ab) * ac.length_squared() + ac.cross(normal) * ab.length_squared())
            / (2.0 * normal.length_squared());
        // NaN of flat triangles is no sphere.
        (self.points[point].as_dvec3() - a - from_a).length_squared() < from_a.length_squared() * (1.0 - 1e-6)
    }

    /// Moves the new points so that the umbrellas of all, those of the rim with the surroundings
    /// included, are least in the sense of squares: conjugate gradients on the normal equations.
    fn settle(&mut self, outside: &[Vec<Vec3>]) {
        let n = self.points.len();
        let mut around: Vec<Vec<(usize, f64)>> = vec![Vec::new(); n];
        for face in &self.faces {
            for k in 0..3 {
                let (u, v) = (face[k], face[(k + 1) % 3]);
                for (u, v) in [(u, v), (v, u)] {
                    if around[u].iter().all(|(w, _)| *w != v) {
                        around[u].push((v, f64::from(1.0 / self.points[u].distance(self.points[v]))));
                    }
                }
            }
        }
        let start: Vec<DVec3> = self.points.iter().map(|p| p.as_dvec3()).collect();
        // What the surroundings add to the umbrellas of the rim.
        let given: Vec<(DVec3, f64)> = (0..n)
            .map(|i| {
                let near = outside.get(i).map_or(&[][..], Vec::as_slice).iter().map(|p| p.as_dvec3());
                let weighed = near.filter(|p| *p != start[i]).map(|p| (p, 1.0 / p.distance(start[i])));
                weighed.fold((DVec3::ZERO, 0.0), |(sum, all), (p, weight)| (sum + p * weight, all + weight))
            })
            .collect();
        let total: Vec<f64> = (0..n).map(|i| around[i].iter().map(|(_, w)| w).sum::<f64>() + given[i].1).collect();
        // Umbrellas of `x`, `constant` times what the surroundings give.
        let umbrellas = |x: &[DVec3], constant: f64| -> Vec<DVec3> {
            let at = |i: usize| {
                let sum: DVec3 = around[i].iter().map(|&(j, weight)| x[j] * weight).sum();
                (sum + given[i].0 * constant) / total[i] - x[i]
            };
            (0..n).map(at).collect()
        };
        let n_rim = self.n_rim;
        let back = |u: &[DVec3]| -> Vec<DVec3> {
            let mut sum: Vec<DVec3> = u.iter().map(|u| -*u).collect();
            for (i, u) in u.iter().enumerate() {
                around[i].iter().for_each(|&(j, weight)| sum[j] += *u * (weight / total[i]));
            }
            sum[..n_rim].fill(DVec3::ZERO);
            sum
        };
        let dot = |a: &[DVec3], b: &[DVec3]| a.iter().zip(b).map(|(a, b)| a.dot(*b)).sum::<f64>();
        let mut x = start;
        let mut rest: Vec<DVec3> = back(&umbrellas(&x, 1.0)).into_iter().map(|g| -g).collect();
        let mut way = rest.clone();
        let mut squared = dot(&rest, &rest);
        let least = squared * 1e-16;
        for _ in 0..MAX_STEPS {
            let changed = back(&umbrellas(&way, 0.0));
            let step = squared / dot(&way, &changed);
            if squared <= least || !step.is_finite() {
                break;
            }
            x.iter_mut().zip(&way).for_each(|(x, d)| *x += *d * step);
            rest.iter_mut().zip(&changed).for_each(|(r, c)| *r -= *c * step);
            let next = dot(&rest, &rest);
            way.iter_mut().zip(&rest).for_each(|(d, r)| *d = *r + *d * (next / squared));
            squared = next;
        }
        for (point, x) in self.points.iter_mut().zip(&x).skip(n_rim) {
            *point = x.as_vec3();
        }
    }

    /// Whether no triangle is flat and none folds over another or over the surroundings.
    fn continues(&self, rim: &Rim) -> bool {
        let mut users: BTreeMap<(usize, usize), Vec3> = BTreeMap::new();
        let n = self.n_rim;
        for &face in &self.faces {
            let [a, b, c] = face.map(|i| self.points[i]);
            let Some(normal) = super::normal(a, b, c) else { return false };
            for k in 0..3 {
                let (u, v) = (face[k], face[(k + 1) % 3]);
                let is_rim = u < n && v == (u + 1) % n;
                let other = if is_rim { Some(rim.outside[u]) } else { users.insert((u.min(v), u.max(v)), normal) };
                // NaN is no continuation either.
                if other.is_some_and(|other| !(other.dot(normal) > 0.0 || other == Vec3::ZERO)) {
                    return false;
                }
            }
        }
        true
    }
}
