//! Rays and closest points on large meshes.
//!
//! In: positions and triangles. Out: where a ray meets the surface, whether
//! anything blocks it, which point of the surface is nearest. The tree is
//! `obvhs`'s binary one, built by PLOC (Meister and Bittner, "Parallel Locally-
//! Ordered Clustering", 2018) on one thread: equal meshes give equal trees and
//! equal answers.

use glam::{Vec3, Vec3A};
use obvhs::{
    BvhBuildParams,
    bvh2::{Bvh2, builder::build_bvh2_from_tris},
    ray::{Ray, RayHit},
    rt_triangle::RtTriangle,
    triangle::Triangle,
};

/// Space partition of a triangle mesh. Takes about 200 bytes a triangle; it
/// holds its own copy of the corners.
pub struct Bvh {
    tree: Bvh2,
    /// In the tree's order.
    triangles: Vec<RtTriangle>,
    /// For each of them its index in the mesh.
    faces: Vec<u32>,
}

/// A point of the mesh's surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfacePoint {
    /// Index of the triangle in the mesh.
    pub face: u32,
    /// Weights of its three corners: not negative, sum 1.
    pub barycentric: Vec3,
    /// From the query, in units of the ray's direction, or metres for closest points.
    pub distance: f32,
}

impl Bvh {
    /// Triangles without area and those with corners that are not finite are left
    /// out. Indices must lie within `positions`.
    pub fn new(positions: &[Vec3], triangles: &[[u32; 3]]) -> Bvh {
        let mut kept = Vec::with_capacity(triangles.len());
        let mut corners = Vec::with_capacity(triangles.len());
        for (face, triangle) in triangles.iter().enumerate() {
            let [v0, v1, v2] = triangle.map(|v| Vec3A::from(positions[v as usize]));
            // Infinite and NaN corners fail this comparison too.
            let doubled_area = (v1 - v0).cross(v2 - v0).length_squared();
            if doubled_area > 0.0 && doubled_area.is_finite() {
                kept.push(face as u32);
                corners.push(Triangle { v0, v1, v2 });
            }
        }
        if corners.is_empty() {
            return Bvh { tree: Bvh2::default(), triangles: Vec::new(), faces: Vec::new() };
        }
        let tree = build_bvh2_from_tris(&corners, BvhBuildParams::very_fast_build(), &mut Default::default());
        let order = tree.primitive_indices.iter().map(|&i| i as usize);
        Bvh {
            triangles: order.clone().map(|i| RtTriangle::from(&corners[i])).collect(),
            faces: order.map(|i| kept[i]).collect(),
            tree,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.triangles.is_empty()
    }

    /// The nearest point of the surface along origin + t * direction with
    /// 0 <= t <= `reach` whose triangle `accept` lets pass. `accept` gets the
    /// triangle's index and its normal, which is not of unit length. Both sides of a triangle are met.
    /// Nothing is met by rays that are not finite or have no direction.
    pub fn cast(
        &self,
        origin: Vec3,
        direction: Vec3,
        reach: f32,
        accept: impl Fn(u32, Vec3A) -> bool,
    ) -> Option<SurfacePoint> {
        let ray = ray(origin, direction, reach)?;
        let mut hit = RayHit::none();
        self.tree.ray_traverse(ray, &mut hit, |ray, i| {
            let triangle = &self.triangles[i];
            let t = triangle.intersect(ray);
            if t < f32::INFINITY && accept(self.faces[i], -triangle.ng) { t } else { f32::INFINITY }
        });
        let i = hit.primitive_id as usize;
        (i < self.triangles.len()).then(|| self.hit(&ray, i, hit.t))
    }

    fn hit(&self, ray: &Ray, i: usize, distance: f32) -> SurfacePoint {
        let weights = self.triangles[i].compute_barycentric(ray);
        let [v, w] = weights.clamp(glam::Vec2::ZERO, glam::Vec2::ONE).to_array();
        let barycentric = Vec3::new((1.0 - v - w).max(0.0), v, w);
        SurfacePoint { face: self.faces[i], barycentric: barycentric / barycentric.element_sum(), distance }
    }

    /// Of the points within `reach` metres of `middle` along the line in unit `direction`,
    /// either way, the one nearest to `middle`; `accept` as in `cast`. One walk through the
    /// tree, which pays while `reach` is small: nothing shortens the line on the way.
    pub fn nearest_on_line(
        &self,
        middle: Vec3,
        direction: Vec3,
        reach: f32,
        accept: impl Fn(u32, Vec3A) -> bool,
    ) -> Option<SurfacePoint> {
        let ray = ray(middle - direction * reach, direction, 2.0 * reach)?;
        let mut best: Option<(usize, f32)> = None;
        self.tree.ray_traverse_anyhit(ray, |ray, i| {
            let triangle = &self.triangles[i];
            let t = triangle.intersect(ray);
            let distance = (t - reach).abs();
            let is_nearer = best.is_none_or(|(_, least)| distance < least);
            if t < f32::INFINITY && is_nearer && accept(self.faces[i], -triangle.ng) {
                best = Some((i, distance));
            }
        });
        best.map(|(i, distance)| self.hit(&ray, i, distance))
    }

    /// Whether the ray with 0 <= t <= `reach` meets any triangle.
    pub fn is_blocked(&self, origin: Vec3, direction: Vec3, reach: f32) -> bool {
        match ray(origin, direction, reach) {
            Some(ray) => !self.tree.ray_traverse_miss(ray, |ray, i| self.triangles[i].intersect(ray)),
            None => false,
        }
    }

    /// The point of the surface nearest to `point`, not farther than `reach`, of
    /// the triangles that `accept` lets pass (as in `cast`). Of points equally near
    /// the one found first in the tree.
    pub fn closest(&self, point: Vec3, reach: f32, accept: impl Fn(u32, Vec3A) -> bool) -> Option<SurfacePoint> {
        if self.is_empty() || !point.is_finite() || reach.is_nan() {
            return None;
        }
        let point = Vec3A::from(point);
        let mut best: Option<(usize, [f32; 3])> = None;
        // A little more than the square, so that a point exactly at `reach` counts.
        let mut limit = reach * reach * (1.0 + 1e-6);
        let squared_distance = |node: u32| {
            let bounds = self.tree.nodes[node as usize].aabb();
            (point.clamp(bounds.min, bounds.max) - point).length_squared()
        };
        let mut stack = vec![(squared_distance(0), 0u32)];
        while let Some((distance, index)) = stack.pop() {
            if distance > limit {
                continue;
            }
            let node = &self.tree.nodes[index as usize];
            if node.is_leaf() {
                for i in node.first_index as usize..(node.first_index + node.prim_count) as usize {
                    let triangle = &self.triangles[i];
                    let (nearest, weights) = closest_on_triangle(triangle, point);
                    let distance = (nearest - point).length_squared();
                    let is_better = if best.is_some() { distance < limit } else { distance <= limit };
                    if is_better && accept(self.faces[i], -triangle.ng) {
                        limit = distance;
                        best = Some((i, weights));
                    }
                }
                continue;
            }
            let children = [node.first_index, node.first_index + 1].map(|child| (squared_distance(child), child));
            // The nearer one is looked at first.
            let [near, far] = if children[1].0 < children[0].0 { [children[1], children[0]] } else { children };
            stack.extend([far, near].into_iter().filter(|child| child.0 <= limit));
        }
        best.map(|(i, weights)| SurfacePoint {
            face: self.faces[i],
            barycentric: Vec3::from_array(weights),
            distance: limit.sqrt(),
        })
    }
}

fn ray(origin: Vec3, direction: Vec3, reach: f32) -> Option<Ray> {
    let is_sound = origin.is_finite() && direction.is_finite() && direction != Vec3::ZERO && reach >= 0.0;
    is_sound.then(|| {
        // Hits at exactly `reach` count, and the tree compares with "less than".
        let reach = if reach.is_finite() { reach * (1.0 + 1e-6) + f32::MIN_POSITIVE } else { f32::MAX };
        Ray::new(origin.into(), direction.into(), 0.0, reach)
    })
}

/// The point of the triangle nearest to `p` and its corners' weights (Ericson,
/// "Real-Time Collision Detection", 2005, 5.1.5).
fn closest_on_triangle(triangle: &RtTriangle, p: Vec3A) -> (Vec3A, [f32; 3]) {
    let (a, ab, ac) = (triangle.v0, -triangle.e1, triangle.e2);
    let (b, c) = (a + ab, a + ac);
    let (ap, bp, cp) = (p - a, p - b, p - c);
    let (d1, d2) = (ab.dot(ap), ac.dot(ap));
    if d1 <= 0.0 && d2 <= 0.0 {
        return (a, [1.0, 0.0, 0.0]);
    }
    let (d3, d4) = (ab.dot(bp), ac.dot(bp));
    if d3 >= 0.0 && d4 <= d3 {
        return (b, [0.0, 1.0, 0.0]);
    }
    let vc = d1 * d4 - d3 * d2;
    if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 {
        let v = d1 / (d1 - d3);
        return (a + ab * v, [1.0 - v, v, 0.0]);
    }
    let (d5, d6) = (ab.dot(cp), ac.dot(cp));
    if d6 >= 0.0 && d5 <= d6 {
        return (c, [0.0, 0.0, 1.0]);
    }
    let vb = d5 * d2 - d1 * d6;
    if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 {
        let w = d2 / (d2 - d6);
        return (a + ac * w, [1.0 - w, 0.0, w]);
    }
    let va = d3 * d6 - d5 * d4;
    if va <= 0.0 && d4 >= d3 && d5 >= d6 {
        let w = (d4 - d3) / ((d4 - d3) + (d5 - d6));
        return (b + (c - b) * w, [0.0, 1.0 - w, w]);
    }
    let scale = 1.0 / (va + vb + vc);
    let (v, w) = (vb * scale, vc * scale);
    (a + ab * v + ac * w, [1.0 - v - w, v, w])
}

#[cfg(test)]
mod tests {
    use glam::Vec2;

    use super::*;
    use crate::mesh::{
        Mesh,
        test_shapes::{cuboid, lens},
    };

    fn any(_: u32, _: Vec3A) -> bool {
        true
    }

    fn at(mesh: &Mesh, point: &SurfacePoint) -> Vec3 {
        let [a, b, c] = mesh.corners(mesh.triangles[point.face as usize]);
        let w = point.barycentric;
        a * w.x + b * w.y + c * w.z
    }

    /// Somewhere within +-1.5 each way.
    fn place(random: &mut fastrand::Rng) -> Vec3 {
        Vec3::new(random.f32(), random.f32(), random.f32()) * 3.0 - 1.5
    }

    #[test]
    fn rays_and_nearest_points_agree_with_trying_every_triangle() {
        let mesh = lens(Vec2::new(1.0, 0.7), 0.5, 12);
        let bvh = Bvh::new(&mesh.positions, &mesh.triangles);
        let mut random = fastrand::Rng::with_seed(5);
        let (mut n_hits, mut n_misses) = (0, 0);
        for _ in 0..2000 {
            let (origin, target) = (place(&mut random), place(&mut random) * 0.6);
            let direction = (target - origin).normalize();
            // Planes first, then the inside of the triangle: another way than the tree's.
            let slow = mesh
                .triangles
                .iter()
                .filter_map(|&triangle| {
                    let [a, b, c] = mesh.corners(triangle).map(|p| p.as_dvec3());
                    let (o, d) = (origin.as_dvec3(), direction.as_dvec3());
                    let n = (b - a).cross(c - a);
                    let t = (a - o).dot(n) / d.dot(n);
                    let p = o + d * t;
                    let inside = [(a, b), (b, c), (c, a)].iter().all(|(u, v)| (*v - *u).cross(p - *u).dot(n) >= 0.0);
                    (t >= 0.0 && inside).then_some(t as f32)
                })
                .fold(f32::INFINITY, f32::min);
            let hit = bvh.cast(origin, direction, f32::INFINITY, any);
            assert_eq!(bvh.is_blocked(origin, direction, f32::INFINITY), hit.is_some());
            match hit {
                Some(hit) => {
                    n_hits += 1;
                    assert!((hit.distance - slow).abs() < 1e-5, "{} {slow}", hit.distance);
                    assert!(at(&mesh, &hit).distance(origin + direction * hit.distance) < 1e-5);
                    assert!(bvh.cast(origin, direction, hit.distance * 0.999, any).is_none());
                    // From beside the hit, looked for both ways along the line.
                    let middle = origin + direction * (hit.distance + random.f32() * 0.02 - 0.01);
                    let nearest = bvh.nearest_on_line(middle, direction, 0.02, any).unwrap();
                    let one_way = |d: Vec3| bvh.cast(middle, d, 0.02, any).map_or(f32::INFINITY, |hit| hit.distance);
                    let want = one_way(direction).min(one_way(-direction));
                    assert!((nearest.distance - want).abs() < 1e-5, "{} {want}", nearest.distance);
                }
                None => {
                    n_misses += 1;
                    assert_eq!(slow, f32::INFINITY);
                }
            }

            let near = bvh.closest(origin, f32::INFINITY, any).unwrap();
            assert!((at(&mesh, &near).distance(origin) - near.distance).abs() < 1e-5);
            // No sample of any triangle is nearer.
            let least = mesh.triangles.iter().flat_map(|&t| {
                let [a, b, c] = mesh.corners(t);
                [a, b, c, (a + b + c) / 3.0, (a + b) / 2.0, (b + c) / 2.0, (c + a) / 2.0]
            });
            let least = least.map(|p| p.distance(origin)).fold(f32::INFINITY, f32::min);
            assert!(near.distance <= least + 1e-5 && least < near.distance + 0.1);
            assert!(bvh.closest(origin, near.distance * 0.99, any).is_none());
        }
        assert!(n_hits > 300 && n_misses > 300, "{n_hits} {n_misses}");
    }

    #[test]
    fn what_is_not_accepted_is_looked_through() {
        let mesh = cuboid(Vec3::ZERO, Vec3::ONE);
        let bvh = Bvh::new(&mesh.positions, &mesh.triangles);
        let (origin, down) = (Vec3::new(0.3, 5.0, 0.2), Vec3::NEG_Y);
        assert!((bvh.cast(origin, down, 10.0, any).unwrap().distance - 4.0).abs() < 1e-5);
        let only_from_behind = |_: u32, normal: Vec3A| normal.y < 0.0;
        assert!((bvh.cast(origin, down, 10.0, only_from_behind).unwrap().distance - 6.0).abs() < 1e-5);
        let near = bvh.closest(Vec3::new(0.3, 0.9, 0.2), 10.0, only_from_behind).unwrap();
        assert!((near.distance - 1.9).abs() < 1e-5);
        assert!(bvh.closest(origin, 10.0, |_, _| false).is_none());
    }

    #[test]
    fn nothing_flat_and_not_finite_are_survived() {
        let positions = [Vec3::ZERO, Vec3::X, Vec3::X * 2.0, Vec3::splat(f32::NAN), Vec3::Y];
        let empty = Bvh::new(&positions, &[[0, 1, 2], [0, 1, 3], [4, 4, 4]]);
        assert!(empty.is_empty() && empty.cast(Vec3::ONE, Vec3::NEG_ONE, 9.0, any).is_none());
        assert!(empty.closest(Vec3::ONE, 9.0, any).is_none() && !empty.is_blocked(Vec3::ONE, Vec3::NEG_ONE, 9.0));
        let one = Bvh::new(&positions, &[[0, 1, 4]]);
        for (origin, direction, reach) in
            [(Vec3::NAN, Vec3::X, 1.0), (Vec3::ONE, Vec3::ZERO, 1.0), (Vec3::ONE, Vec3::X, f32::NAN)]
        {
            assert!(one.cast(origin, direction, reach, any).is_none());
        }
        assert!(one.closest(Vec3::NAN, 1.0, any).is_none());
        let hit = one.cast(Vec3::new(0.25, 0.25, 1.0), Vec3::NEG_Z, 1.0, any).unwrap();
        assert!(hit.barycentric.distance(Vec3::new(0.5, 0.25, 0.25)) < 1e-6 && hit.distance == 1.0);
    }
}
