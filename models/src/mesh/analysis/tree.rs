//! A tree of boxes over a mesh's triangles: nearest point of the surface, and
//! which triangles come near a box.
//!
//! Boxes by `obvhs` (PLOC, Meister and Bittner 2018); the same mesh always gives
//! the same tree. About 100 bytes a triangle.

use glam::{DVec3, Vec3, Vec3A};
use obvhs::{
    BvhBuildParams,
    aabb::Aabb,
    bvh2::{Bvh2, builder::build_bvh2},
};

use crate::mesh::Mesh;

pub struct Tree {
    boxes: Bvh2,
    /// Corners of the triangles in the tree.
    corners: Vec<[Vec3; 3]>,
    /// Their indices in the mesh, ascending.
    triangles: Vec<u32>,
}

/// Where the surface is nearest to a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Index of the triangle in the mesh. Of equally near ones any, but always the same.
    pub triangle: u32,
    pub point: DVec3,
    /// In metres.
    pub distance: f64,
}

impl Tree {
    /// Triangles with a corner that is not a number or infinite are left out.
    pub fn new(mesh: &Mesh) -> Tree {
        let all = mesh.triangles.iter().map(|&triangle| mesh.corners(triangle)).enumerate();
        let (triangles, corners): (Vec<u32>, Vec<_>) =
            all.filter(|(_, c)| c.iter().all(|p| p.is_finite())).map(|(i, c)| (i as u32, c)).unzip();
        let boxes: Vec<Aabb> = corners.iter().map(|c| Aabb::from_points(&c.map(Vec3A::from))).collect();
        let mut unused = Default::default();
        let boxes = build_bvh2(&boxes, BvhBuildParams::very_fast_build(), &mut unused);
        Tree { boxes, corners, triangles }
    }

    /// Triangles in the tree. They are numbered in the order of the mesh.
    pub fn len(&self) -> usize {
        self.triangles.len()
    }

    pub fn is_empty(&self) -> bool {
        self.triangles.is_empty()
    }

    pub fn corners(&self, item: u32) -> [Vec3; 3] {
        self.corners[item as usize]
    }

    /// Index in the mesh of a triangle of the tree.
    pub fn triangle(&self, item: u32) -> u32 {
        self.triangles[item as usize]
    }

    /// Calls `visit` with each triangle of the tree whose box touches that of
    /// `item`, itself included, until it says false.
    pub fn for_each_near(&self, item: u32, mut visit: impl FnMut(u32) -> bool) {
        let wanted = Aabb::from_points(&self.corners(item).map(Vec3A::from));
        self.boxes.aabb_traverse(wanted, |boxes, node| {
            let node = &boxes.nodes[node as usize];
            let items = &boxes.primitive_indices[node.first_index as usize..][..node.prim_count as usize];
            items.iter().all(|&other| visit(other))
        });
    }

    /// `None` when the tree is empty or the point is not finite.
    pub fn nearest(&self, point: Vec3) -> Option<Nearest> {
        if self.is_empty() || !point.is_finite() {
            return None;
        }
        let (at, exact) = (Vec3A::from(point), point.as_dvec3());
        let mut best = Nearest { triangle: 0, point: exact, distance: f64::INFINITY };
        // Squared distances. Boxes are compared in f32, a little too near, so that
        // rounding does not hide the nearest triangle.
        let mut best_squared = f64::INFINITY;
        let mut waiting = Vec::with_capacity(64);
        waiting.push((0u32, 0f32));
        while let Some((node, near)) = waiting.pop() {
            if f64::from(near) > best_squared {
                continue;
            }
            let node = &self.boxes.nodes[node as usize];
            if node.is_leaf() {
                let items = &self.boxes.primitive_indices[node.first_index as usize..][..node.prim_count as usize];
                for &item in items {
                    let found = nearest_on_triangle(exact, self.corners(item).map(Vec3::as_dvec3));
                    let squared = found.distance_squared(exact);
                    if squared < best_squared {
                        best_squared = squared;
                        best = Nearest { triangle: self.triangle(item), point: found, distance: squared.sqrt() };
                    }
                }
            } else {
                let [first, second] = [node.first_index, node.first_index + 1].map(|child| {
                    let aabb = self.boxes.nodes[child as usize].aabb();
                    let outside = (aabb.min - at).max(at - aabb.max).max(Vec3A::ZERO);
                    (child, outside.length_squared() * (1.0 - 1e-5))
                });
                // The nearer one is looked at first.
                let (near, far) = if first.1 <= second.1 { (first, second) } else { (second, first) };
                waiting.extend([far, near]);
            }
        }
        Some(best)
    }
}

/// Ericson, "Real-Time Collision Detection", 2005, section 5.1.5: by the region
/// of the triangle's plane that the point lies over. Triangles without area are
/// taken as the segment or point that they are.
fn nearest_on_triangle(p: DVec3, [a, b, c]: [DVec3; 3]) -> DVec3 {
    let (ab, ac, ap) = (b - a, c - a, p - a);
    let (d1, d2) = (ab.dot(ap), ac.dot(ap));
    if d1 <= 0.0 && d2 <= 0.0 {
        return a;
    }
    let bp = p - b;
    let (d3, d4) = (ab.dot(bp), ac.dot(bp));
    if d3 >= 0.0 && d4 <= d3 {
        return b;
    }
    let cp = p - c;
    let (d5, d6) = (ab.dot(cp), ac.dot(cp));
    if d6 >= 0.0 && d5 <= d6 {
        return c;
    }
    let (va, vb, vc) = (d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2);
    let sum = va + vb + vc;
    if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 && d1 > d3 {
        return a + ab * (d1 / (d1 - d3));
    }
    if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 && d2 > d6 {
        return a + ac * (d2 / (d2 - d6));
    }
    if (va <= 0.0 || sum <= 0.0) && d4 >= d3 && d5 >= d6 && (d4 - d3) + (d5 - d6) > 0.0 {
        return b + (c - b) * ((d4 - d3) / ((d4 - d3) + (d5 - d6)));
    }
    if sum > 0.0 { a + ab * (vb / sum) + ac * (vc / sum) } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::shapes;

    #[test]
    fn the_nearest_point_is_that_of_trying_all_triangles() {
        let mut mesh = shapes::torus(9, 0.4);
        // Triangles that are a segment, a point, and not a number.
        mesh.positions.push(Vec3::NAN);
        mesh.triangles.extend([[0, 1, 0], [5, 5, 5], [0, 1, mesh.positions.len() as u32 - 1]]);
        let tree = Tree::new(&mesh);
        assert_eq!(tree.len(), mesh.triangles.len() - 1);
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..500 {
            let p = Vec3::new(random.f32() - 0.5, random.f32() - 0.5, random.f32() - 0.5) * 4.0;
            let found = tree.nearest(p).unwrap();
            let brute = (0..tree.len() as u32)
                .map(|i| nearest_on_triangle(p.as_dvec3(), tree.corners(i).map(Vec3::as_dvec3)).distance(p.as_dvec3()))
                .fold(f64::INFINITY, f64::min);
            assert!((found.distance - brute).abs() < 1e-12, "{} is not {brute}", found.distance);
            assert!((found.point.distance(p.as_dvec3()) - brute).abs() < 1e-12);
        }
        assert_eq!(tree.nearest(Vec3::NAN), None);
        assert_eq!(Tree::new(&Mesh::default()).nearest(Vec3::ZERO), None);
    }

    #[test]
    fn the_point_on_a_triangle_is_the_best_of_many() {
        let mut random = fastrand::Rng::with_seed(8);
        let mut place = || DVec3::new(random.f64(), random.f64(), random.f64()) * 2.0 - 1.0;
        for _ in 0..200 {
            let (p, [a, b, c]) = (place(), [place(), place(), place()]);
            let found = nearest_on_triangle(p, [a, b, c]);
            let n = 60;
            for (i, j) in (0..=n).flat_map(|i| (0..=n - i).map(move |j| (i, j))) {
                let other = a + (b - a) * f64::from(i) / f64::from(n) + (c - a) * f64::from(j) / f64::from(n);
                assert!(p.distance(found) <= p.distance(other) + 1e-12, "{p} {a} {b} {c}");
            }
        }
    }

    #[test]
    fn triangles_near_a_triangle_include_all_whose_boxes_touch() {
        let mesh = shapes::sphere(8);
        let tree = Tree::new(&mesh);
        let bounds = |i: u32| {
            let [a, b, c] = tree.corners(i);
            (a.min(b).min(c), a.max(b).max(c))
        };
        for item in 0..tree.len() as u32 {
            let mut near = Vec::new();
            tree.for_each_near(item, |other| {
                near.push(other);
                true
            });
            let (low, high) = bounds(item);
            for other in 0..tree.len() as u32 {
                let (other_low, other_high) = bounds(other);
                if low.cmple(other_high).all() && other_low.cmple(high).all() {
                    assert!(near.contains(&other), "{item} does not see {other}");
                }
            }
        }
    }
}
