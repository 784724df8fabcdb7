//! Rays, closest points and neighbours on large meshes.
//!
//! In: positions and triangles. Out: where a ray meets the surface, whether
//! anything blocks it, which point of the surface is nearest, which triangles
//! come near each other. The tree is `obvhs`'s binary one, built by PLOC (Meister
//! and Bittner, "Parallel Locally-Ordered Clustering", 2018) over triangles, or
//! over groups of them where it is asked little. Equal meshes give equal trees
//! and equal answers, whatever the number of threads.

#[cfg(test)]
mod tests;
mod wide;

use std::sync::OnceLock;

use glam::{DVec3, Vec3, Vec3A};
use obvhs::{
    BvhBuildParams,
    aabb::Aabb,
    bvh2::{
        Bvh2,
        builder::{build_bvh2, build_bvh2_from_tris},
    },
    ray::{Ray, RayHit},
    rt_triangle::RtTriangle,
    triangle::Triangle,
};
use rayon::prelude::*;

use self::wide::Wide;
use super::Mesh;

/// Space partition of a triangle mesh. Takes about 200 bytes a triangle; it
/// holds its own copy of the corners.
pub struct Bvh {
    tree: Bvh2,
    /// Made when it is first needed.
    wide: OnceLock<Wide>,
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

/// Where the surface is nearest to a point, without rounding to f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Index of the triangle in the mesh. Of equally near ones any, but always the same.
    pub face: u32,
    pub point: DVec3,
    /// In metres.
    pub distance: f64,
}

/// Triangles in a leaf of a tree made in a hurry.
const GROUP: usize = 4;

impl Bvh {
    /// Triangles without area and those with corners that are not finite are left
    /// out. Indices must lie within `positions`.
    pub fn new(positions: &[Vec3], triangles: &[[u32; 3]]) -> Bvh {
        let (corners, faces) = corners(positions, triangles, has_area);
        let tree = build_bvh2_from_tris(&corners, BvhBuildParams::very_fast_build(), &mut Default::default());
        let order = tree.primitive_indices.clone();
        Bvh::of(tree, &order, &corners, &faces)
    }

    /// The same made in less than half the time, with answers that take up to twice
    /// as long: for fewer questions than triangles.
    pub fn in_a_hurry(positions: &[Vec3], triangles: &[[u32; 3]]) -> Bvh {
        let (corners, faces) = corners(positions, triangles, has_area);
        Bvh::of_groups(&corners, &faces)
    }

    /// Made in a hurry, and with the triangles without area: as the segments or points that they are.
    pub fn with_flat_triangles(positions: &[Vec3], triangles: &[[u32; 3]]) -> Bvh {
        let (corners, faces) = corners(positions, triangles, |t| t.iter().all(|p| p.is_finite()));
        Bvh::of_groups(&corners, &faces)
    }

    fn of_groups(corners: &[Triangle], faces: &[u32]) -> Bvh {
        let order = along_curve(corners);
        let bounds = |group: &[u32]| {
            let mut bounds = Aabb::empty();
            for &i in group {
                let Triangle { v0, v1, v2 } = corners[i as usize];
                [v0, v1, v2].into_iter().for_each(|p| {
                    bounds.extend(p);
                });
            }
            bounds
        };
        let boxes: Vec<Aabb> = order.par_chunks(GROUP).map(bounds).collect();
        let params = BvhBuildParams { max_prims_per_leaf: 1, ..BvhBuildParams::very_fast_build() };
        let mut tree = build_bvh2(&boxes, params, &mut Default::default());
        // Leaves hold the triangles of their group in place of the group.
        let members = |group: u32| {
            let first = group as usize * GROUP;
            &order[first..order.len().min(first + GROUP)]
        };
        let mut starts = vec![0u32];
        for &group in &tree.primitive_indices {
            starts.push(starts[starts.len() - 1] + members(group).len() as u32);
        }
        for node in tree.nodes.iter_mut().filter(|node| node.is_leaf()) {
            let (first, end) = (node.first_index as usize, (node.first_index + node.prim_count) as usize);
            (node.first_index, node.prim_count) = (starts[first], starts[end] - starts[first]);
        }
        let order: Vec<u32> = tree.primitive_indices.iter().flat_map(|&group| members(group)).copied().collect();
        Bvh::of(tree, &order, corners, faces)
    }

    /// `order`: the triangle at each place of the tree's leaves; none: an empty tree.
    fn of(tree: Bvh2, order: &[u32], corners: &[Triangle], faces: &[u32]) -> Bvh {
        let triangles: Vec<RtTriangle> = order.iter().map(|&i| RtTriangle::from(&corners[i as usize])).collect();
        Bvh { triangles, faces: order.iter().map(|&i| faces[i as usize]).collect(), wide: OnceLock::new(), tree }
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

    fn wide(&self) -> &Wide {
        self.wide.get_or_init(|| Wide::of(&self.tree))
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
        self.wide().any(&ray, |i| {
            let triangle = &self.triangles[i];
            let t = triangle.intersect(&ray);
            let distance = (t - reach).abs();
            let is_nearer = best.is_none_or(|(_, least)| distance < least);
            if t < f32::INFINITY && is_nearer && accept(self.faces[i], -triangle.ng) {
                best = Some((i, distance));
            }
            false
        });
        best.map(|(i, distance)| self.hit(&ray, i, distance))
    }

    /// Whether the ray with 0 <= t <= `reach` meets any triangle.
    pub fn is_blocked(&self, origin: Vec3, direction: Vec3, reach: f32) -> bool {
        match ray(origin, direction, reach) {
            Some(ray) => self.wide().any(&ray, |i| self.triangles[i].intersect(&ray) < ray.tmax),
            None => false,
        }
    }

    /// The point of the surface nearest to `point`, not farther than `reach`, of
    /// the triangles that `accept` lets pass (as in `cast`). Of points equally near
    /// the one found first in the tree.
    pub fn closest(&self, point: Vec3, reach: f32, accept: impl Fn(u32, Vec3A) -> bool) -> Option<SurfacePoint> {
        if reach.is_nan() {
            return None;
        }
        let mut best: Option<(usize, Vec3)> = None;
        // A little more than the square, so that a point exactly at `reach` counts.
        let squared = self.towards(point, reach * reach * (1.0 + 1e-6), |i, limit| {
            let triangle = &self.triangles[i];
            let (a, ab, ac) = (triangle.v0, -triangle.e1, triangle.e2);
            let (nearest, weights) = closest_on_triangle([a, a + ab, a + ac].map(Vec3::from), point);
            let distance = nearest.distance_squared(point);
            let is_better = if best.is_some() { distance < limit } else { distance <= limit };
            if is_better && accept(self.faces[i], -triangle.ng) {
                best = Some((i, weights));
                return distance;
            }
            limit
        });
        best.map(|(i, weights)| SurfacePoint { face: self.faces[i], barycentric: weights, distance: squared.sqrt() })
    }

    /// The point of the surface nearest to `point`, from the corners in `mesh`, which the
    /// tree was made of; `None` when the tree is empty or the point is not finite.
    pub fn nearest(&self, mesh: &Mesh, point: Vec3) -> Option<Nearest> {
        let exact = point.as_dvec3();
        let mut best: Option<Nearest> = None;
        self.towards(point, f32::INFINITY, |i, limit| {
            let corners = mesh.corners(mesh.triangles[self.faces[i] as usize]);
            let (found, _) = closest_on_triangle_exact(corners.map(Vec3::as_dvec3), exact);
            let distance = found.distance(exact);
            if best.is_some_and(|best| distance >= best.distance) {
                return limit;
            }
            best = Some(Nearest { face: self.faces[i], point: found, distance });
            // A little more, so that rounding of the boxes' distances hides nothing.
            (distance * distance) as f32 * (1.0 + 1e-5) + f32::MIN_POSITIVE
        });
        best
    }

    /// See `Wide::towards`; nothing is near a point that is not finite.
    fn towards(&self, point: Vec3, limit: f32, visit: impl FnMut(usize, f32) -> f32) -> f32 {
        if point.is_finite() { self.wide().towards(point, limit, visit) } else { limit }
    }

    /// Calls `visit` with each triangle whose leaf's box touches the given one, until it
    /// says false: all those whose own boxes do, and some more.
    pub fn for_each_near(&self, low: Vec3, high: Vec3, mut visit: impl FnMut(u32) -> bool) {
        self.tree.aabb_traverse(Aabb::new(low.into(), high.into()), |tree, node| {
            let node = &tree.nodes[node as usize];
            let faces = &self.faces[node.first_index as usize..][..node.prim_count as usize];
            faces.iter().all(|&face| visit(face))
        });
    }
}

fn has_area([a, b, c]: [Vec3; 3]) -> bool {
    // Infinite and NaN corners fail this comparison too.
    let doubled_area = (b - a).cross(c - a).length_squared();
    doubled_area > 0.0 && doubled_area.is_finite()
}

/// Of the triangles that `is_kept` lets pass, and their indices.
fn corners(
    positions: &[Vec3],
    triangles: &[[u32; 3]],
    is_kept: impl Fn([Vec3; 3]) -> bool,
) -> (Vec<Triangle>, Vec<u32>) {
    let all = triangles.iter().map(|t| t.map(|v| positions[v as usize])).enumerate();
    let triangle = |t: [Vec3; 3]| {
        let [v0, v1, v2] = t.map(Vec3A::from);
        Triangle { v0, v1, v2 }
    };
    all.filter(|(_, t)| is_kept(*t)).map(|(face, t)| (triangle(t), face as u32)).unzip()
}

/// The triangles in the order of their middles along the Morton curve, those of one
/// cell in the order they came in.
fn along_curve(triangles: &[Triangle]) -> Vec<u32> {
    let middle = |t: &Triangle| (t.v0.min(t.v1).min(t.v2) + t.v0.max(t.v1).max(t.v2)) * 0.5;
    let none = (Vec3A::INFINITY, Vec3A::NEG_INFINITY);
    let (low, high) = triangles.iter().map(middle).fold(none, |(low, high), p| (low.min(p), high.max(p)));
    let scale = 1023.0 / (high - low).max_element().max(f32::MIN_POSITIVE);
    // Every third bit, from ten in a row.
    let spread = |x: f32| {
        let x = (x as u64).min(1023);
        let x = (x | x << 16) & 0x0300_00ff;
        let x = (x | x << 8) & 0x0300_f00f;
        let x = (x | x << 4) & 0x030c_30c3;
        (x | x << 2) & 0x0924_9249
    };
    let key = |(i, triangle): (usize, &Triangle)| {
        let [x, y, z] = ((middle(triangle) - low) * scale).to_array().map(spread);
        (x | y << 1 | z << 2) << 32 | i as u64
    };
    let mut keys: Vec<u64> = triangles.par_iter().enumerate().map(key).collect();
    keys.par_sort_unstable();
    keys.into_iter().map(|key| key as u32).collect()
}

fn ray(origin: Vec3, direction: Vec3, reach: f32) -> Option<Ray> {
    let is_sound = origin.is_finite() && direction.is_finite() && direction != Vec3::ZERO && reach >= 0.0;
    is_sound.then(|| {
        // Hits at exactly `reach` count, and the tree compares with "less than".
        let reach = if reach.is_finite() { reach * (1.0 + 1e-6) + f32::MIN_POSITIVE } else { f32::MAX };
        Ray::new(origin.into(), direction.into(), 0.0, reach)
    })
}

/// The point of a triangle nearest to `p` and the weights of its corners: not
/// negative, sum 1. Ericson, "Real-Time Collision Detection", 2005, section 5.1.5:
/// by the region of the triangle's plane that the point lies over. Triangles
/// without area are taken as the segment or point that they are.
macro_rules! closest_on_triangle {
    ($name:ident, $vector:ty) => {
        pub fn $name([a, b, c]: [$vector; 3], p: $vector) -> ($vector, $vector) {
            let (ab, ac, ap) = (b - a, c - a, p - a);
            let (d1, d2) = (ab.dot(ap), ac.dot(ap));
            if d1 <= 0.0 && d2 <= 0.0 {
                return (a, <$vector>::X);
            }
            let bp = p - b;
            let (d3, d4) = (ab.dot(bp), ac.dot(bp));
            if d3 >= 0.0 && d4 <= d3 {
                return (b, <$vector>::Y);
            }
            let cp = p - c;
            let (d5, d6) = (ab.dot(cp), ac.dot(cp));
            if d6 >= 0.0 && d5 <= d6 {
                return (c, <$vector>::Z);
            }
            let (va, vb, vc) = (d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2);
            let sum = va + vb + vc;
            if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 && d1 > d3 {
                let t = d1 / (d1 - d3);
                return (a + ab * t, <$vector>::new(1.0 - t, t, 0.0));
            }
            if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 && d2 > d6 {
                let t = d2 / (d2 - d6);
                return (a + ac * t, <$vector>::new(1.0 - t, 0.0, t));
            }
            if (va <= 0.0 || sum <= 0.0) && d4 >= d3 && d5 >= d6 && (d4 - d3) + (d5 - d6) > 0.0 {
                let t = (d4 - d3) / ((d4 - d3) + (d5 - d6));
                return (b + (c - b) * t, <$vector>::new(0.0, 1.0 - t, t));
            }
            if sum > 0.0 {
                let (v, w) = (vb / sum, vc / sum);
                (a + ab * v + ac * w, <$vector>::new(1.0 - v - w, v, w))
            } else {
                (a, <$vector>::X)
            }
        }
    };
}
closest_on_triangle!(closest_on_triangle, Vec3);
closest_on_triangle!(closest_on_triangle_exact, DVec3);
