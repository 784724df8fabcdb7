//! Tests of the tree: every answer against trying all triangles.

use glam::Vec2;

use super::*;
use crate::mesh::{
    shapes,
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
    check_rays_and_nearest_points(&mesh, &Bvh::new(&mesh.positions, &mesh.triangles));
    check_rays_and_nearest_points(&mesh, &Bvh::in_a_hurry(&mesh.positions, &mesh.triangles));
}

fn check_rays_and_nearest_points(mesh: &Mesh, bvh: &Bvh) {
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
                assert!(at(mesh, &hit).distance(origin + direction * hit.distance) < 1e-5);
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
        assert!((at(mesh, &near).distance(origin) - near.distance).abs() < 1e-5);
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

#[test]
fn the_nearest_point_is_that_of_trying_all_triangles() {
    let mut mesh = shapes::torus(9, 0.4);
    // Triangles that are a segment, a point, and not a number.
    mesh.positions.push(Vec3::NAN);
    mesh.triangles.extend([[0, 1, 0], [5, 5, 5], [0, 1, mesh.positions.len() as u32 - 1]]);
    let tree = Bvh::with_flat_triangles(&mesh.positions, &mesh.triangles);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let p = Vec3::new(random.f32() - 0.5, random.f32() - 0.5, random.f32() - 0.5) * 4.0;
        let found = tree.nearest(&mesh, p).unwrap();
        let all = mesh.triangles[..mesh.triangles.len() - 1].iter().map(|&t| mesh.corners(t).map(Vec3::as_dvec3));
        let on = |t| closest_on_triangle_exact(t, p.as_dvec3()).0.distance(p.as_dvec3());
        let brute = all.map(on).fold(f64::INFINITY, f64::min);
        assert!((found.distance - brute).abs() < 1e-12, "{} is not {brute}", found.distance);
        assert!((found.point.distance(p.as_dvec3()) - brute).abs() < 1e-12);
    }
    assert_eq!(tree.nearest(&mesh, Vec3::NAN), None);
    assert_eq!(Bvh::with_flat_triangles(&[], &[]).nearest(&Mesh::default(), Vec3::ZERO), None);
}

#[test]
fn the_point_on_a_triangle_is_the_best_of_many() {
    let mut random = fastrand::Rng::with_seed(8);
    let mut place = || DVec3::new(random.f64(), random.f64(), random.f64()) * 2.0 - 1.0;
    for _ in 0..200 {
        let (p, [a, b, c]) = (place(), [place(), place(), place()]);
        let (found, weights) = closest_on_triangle_exact([a, b, c], p);
        assert!((a * weights.x + b * weights.y + c * weights.z).distance(found) < 1e-12);
        assert!(weights.min_element() >= 0.0 && (weights.element_sum() - 1.0).abs() < 1e-12);
        let n = 60;
        for (i, j) in (0..=n).flat_map(|i| (0..=n - i).map(move |j| (i, j))) {
            let other = a + (b - a) * f64::from(i) / f64::from(n) + (c - a) * f64::from(j) / f64::from(n);
            assert!(p.distance(found) <= p.distance(other) + 1e-12, "{p} {a} {b} {c}");
        }
    }
}

#[test]
fn triangles_near_a_box_include_all_whose_boxes_touch_it() {
    let mesh = shapes::sphere(8);
    let bounds = |face: usize| {
        let [a, b, c] = mesh.corners(mesh.triangles[face]);
        (a.min(b).min(c), a.max(b).max(c))
    };
    for tree in [Bvh::new, Bvh::in_a_hurry, Bvh::with_flat_triangles].map(|new| new(&mesh.positions, &mesh.triangles)) {
        for face in 0..mesh.triangles.len() {
            let (low, high) = bounds(face);
            let mut near = Vec::new();
            tree.for_each_near(low, high, |other| {
                near.push(other as usize);
                true
            });
            for other in 0..mesh.triangles.len() {
                let (other_low, other_high) = bounds(other);
                if low.cmple(other_high).all() && other_low.cmple(high).all() {
                    // Those without area are only in the last one.
                    let is_flat = !has_area(mesh.corners(mesh.triangles[other]));
                    assert!(is_flat || near.contains(&other), "{face} does not see {other}");
                }
            }
        }
    }
}
