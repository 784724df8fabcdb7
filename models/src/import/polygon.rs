//! Polygons in space to triangles.

use glam::{DVec2, DVec3, Vec3};

/// Looks at other corners per corner, before a polygon is fanned regardless: what
/// honest polygons need stays far below, and hostile ones end.
const EFFORT: usize = 512;

/// Triangles of a simple polygon in three dimensions, as indices into `corners`,
/// with its winding. Always `corners.len() - 2` of them, and every corner is in
/// one, those on straight edges too: without them neighbours would not join.
/// Fewer than three corners give none.
///
/// Quads are cut along the diagonal that is inside and, of two, the shorter;
/// strictly convex polygons are fanned; others lose their ears (Meisters 1975),
/// seen along Newell's normal. Crossing edges give some cover, not a sensible one.
pub(super) fn triangulate(corners: &[Vec3]) -> Vec<[usize; 3]> {
    let n = corners.len();
    match n {
        0..3 => return Vec::new(),
        3 => return vec![[0, 1, 2]],
        _ => {}
    }
    let flat = flatten(corners);
    let turn = |a: usize, b: usize, c: usize| (flat[b] - flat[a]).perp_dot(flat[c] - flat[a]);
    if n == 4 {
        let ok = |diagonal: [[usize; 3]; 2]| diagonal.iter().all(|&[a, b, c]| turn(a, b, c) > 0.0);
        let [first, second] = [[[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]]];
        let length = |a: usize, b: usize| corners[a].distance_squared(corners[b]);
        let take_second = ok(second) && (!ok(first) || length(1, 3) < length(0, 2));
        return if take_second { second.to_vec() } else { first.to_vec() };
    }
    if (0..n).all(|i| turn(i, (i + 1) % n, (i + 2) % n) > 0.0) && winds_once(&flat) {
        return (1..n - 1).map(|i| [0, i, i + 1]).collect();
    }
    cut_ears(&flat)
}

/// The corners seen along the polygon's normal, counter-clockwise in the mean.
fn flatten(corners: &[Vec3]) -> Vec<DVec2> {
    let points: Vec<DVec3> = corners.iter().map(|p| p.as_dvec3() - corners[0].as_dvec3()).collect();
    let next = points.iter().cycle().skip(1);
    let normal: DVec3 = points.iter().zip(next).map(|(a, b)| a.cross(*b)).sum();
    let normal = normal.try_normalize().unwrap_or(DVec3::Z);
    let (right, up) = normal.any_orthonormal_pair();
    points.iter().map(|p| DVec2::new(right.dot(*p), up.dot(*p))).collect()
}

/// Turning left at every corner, does the outline go around just once?
fn winds_once(flat: &[DVec2]) -> bool {
    let n = flat.len();
    let turned: f64 = (0..n)
        .map(|i| {
            let (ahead, further) = (flat[(i + 1) % n] - flat[i], flat[(i + 2) % n] - flat[(i + 1) % n]);
            ahead.perp_dot(further).atan2(ahead.dot(further))
        })
        .sum();
    turned < 3.0 * std::f64::consts::PI
}

fn cut_ears(flat: &[DVec2]) -> Vec<[usize; 3]> {
    let mut left: Vec<usize> = (0..flat.len()).collect();
    let mut triangles = Vec::with_capacity(flat.len() - 2);
    let mut effort = EFFORT * flat.len();
    let mut at = 0;
    let mut n_refused = 0;
    while left.len() > 3 && effort > 0 {
        let n = left.len();
        let ear = [left[(at + n - 1) % n], left[at % n], left[(at + 1) % n]];
        // When no corner is an ear the outline crosses or touches itself: any will do.
        if is_ear(flat, &left, ear, &mut effort) || n_refused >= n {
            triangles.push(ear);
            left.remove(at % n);
            n_refused = 0;
            // Skipping one gives rounder triangles than cutting along.
            at += 1;
        } else {
            at += 1;
            n_refused += 1;
        }
        at %= left.len();
    }
    triangles.extend((1..left.len() - 1).map(|i| [left[0], left[i], left[i + 1]]));
    triangles
}

/// A corner that turns left, or not at all, with no other corner in its triangle.
fn is_ear(flat: &[DVec2], left: &[usize], ear: [usize; 3], effort: &mut usize) -> bool {
    let [a, b, c] = ear.map(|i| flat[i]);
    let turn = (b - a).perp_dot(c - a);
    // Straight corners are kept for a neighbour to take, so that it has an area.
    if turn <= 1e-12 * (b - a).length() * (c - b).length() {
        return false;
    }
    left.iter().all(|&i| {
        *effort = effort.saturating_sub(1);
        let p = flat[i];
        // Corners that lie on those of the ear are where the outline touches itself.
        p == a || p == b || p == c || ear.contains(&i) || {
            let sides = [(a, b), (b, c), (c, a)];
            sides.iter().any(|(u, v)| (*v - *u).perp_dot(p - *u) < 0.0)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(corners: &[Vec3], triangles: &[[usize; 3]]) -> f32 {
        triangles.iter().map(|&[a, b, c]| (corners[b] - corners[a]).cross(corners[c] - corners[a]).z / 2.0).sum()
    }

    fn check(outline: &[(f32, f32)], expected: f32) {
        let corners: Vec<Vec3> = outline.iter().map(|&(x, y)| Vec3::new(x, y, 0.0)).collect();
        for start in 0..corners.len() {
            let mut turned = corners.clone();
            turned.rotate_left(start);
            let triangles = triangulate(&turned);
            assert_eq!(triangles.len(), corners.len() - 2);
            let positive = triangles.iter().all(|t| area(&turned, &[*t]) >= 0.0);
            assert!(positive && (area(&turned, &triangles) - expected).abs() < 1e-5, "{turned:?} {triangles:?}");
            let mut named: Vec<usize> = triangles.iter().flatten().copied().collect();
            named.sort();
            named.dedup();
            assert_eq!(named.len(), corners.len(), "every corner is used");
        }
    }

    #[test]
    fn areas_of_convex_and_concave_polygons_come_out() {
        check(&[(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)], 2.0);
        check(&[(0.0, 0.0), (4.0, 0.0), (1.0, 1.0), (0.0, 4.0)], 4.0);
        check(&[(0.0, 0.0), (2.0, 0.0), (3.0, 1.0), (1.0, 3.0), (-1.0, 1.0)], 7.0);
        // L, comb and a square with corners on its edges.
        check(&[(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0)], 3.0);
        let comb = [
            (0.0, 0.0),
            (5.0, 0.0),
            (5.0, 2.0),
            (4.0, 2.0),
            (4.0, 1.0),
            (3.0, 1.0),
            (3.0, 2.0),
            (2.0, 2.0),
            (2.0, 1.0),
        ];
        check(&[&comb[..], &[(1.0, 1.0), (1.0, 2.0), (0.0, 2.0)]].concat(), 8.0);
        check(&[(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (2.0, 2.0), (1.0, 2.0), (0.0, 2.0)], 4.0);
        // A star, and a frame: a square with a hole joined to its rim by a double edge.
        let star: Vec<(f32, f32)> = (0..10)
            .map(|i| {
                let (angle, radius) = (i as f32 * std::f32::consts::PI / 5.0, if i % 2 == 0 { 2.0 } else { 1.0 });
                (radius * angle.cos(), radius * angle.sin())
            })
            .collect();
        check(&star, 10.0 * (std::f32::consts::PI / 5.0).sin());
        let hole = [(1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (1.0, 1.0)];
        check(&[&[(0.0, 0.0)][..], &hole, &[(0.0, 0.0), (3.0, 0.0), (3.0, 3.0), (0.0, 3.0)]].concat(), 8.0);
    }

    #[test]
    fn winding_and_count_hold_for_any_plane_and_any_nonsense() {
        let square = [Vec3::ZERO, Vec3::Z, Vec3::new(0.0, 1.0, 1.0), Vec3::Y, Vec3::new(0.0, 0.5, 0.2)];
        let area: Vec3 = triangulate(&square)
            .iter()
            .map(|&[a, b, c]| (square[b] - square[a]).cross(square[c] - square[a]) / 2.0)
            .sum();
        assert!((area - Vec3::new(-0.9, 0.0, 0.0)).length() < 1e-6, "{area}");
        assert!(triangulate(&[Vec3::ZERO; 2]).is_empty());
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 3..60 {
            let same = vec![Vec3::ONE; n];
            let any: Vec<Vec3> = (0..n).map(|_| Vec3::new(rng.f32(), rng.f32(), rng.f32())).collect();
            let nan = vec![Vec3::NAN; n];
            for corners in [same, any, nan] {
                assert_eq!(triangulate(&corners).len(), n - 2);
            }
        }
        let spiral: Vec<Vec3> = (0..20_000)
            .map(|i| {
                let (angle, radius) = (i as f32 * 0.1, 1.0 + (i % 10_000) as f32 * if i < 10_000 { 1.0 } else { -1.0 });
                Vec3::new(angle.cos() * radius, angle.sin() * radius, 0.0)
            })
            .collect();
        assert_eq!(triangulate(&spiral).len(), 19_998);
    }
}
