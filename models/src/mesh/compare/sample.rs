//! Points spread evenly over a surface.

use glam::Vec3;

use crate::mesh::Mesh;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub position: Vec3,
    /// Of the triangle, unit length.
    pub normal: Vec3,
}

/// `n` points, at least one: each lies in its own n-th of the surface's area, at
/// random within it, so that the spread is more even than by chance alone.
/// `None` without area. Triangles that are not finite are left out.
pub fn spread(mesh: &Mesh, n: usize, seed: u64) -> Option<Vec<Sample>> {
    let n = n.max(1);
    let mut whole = 0.0;
    let ends: Vec<f64> = mesh
        .triangles
        .iter()
        .map(|&triangle| {
            let [a, b, c] = mesh.corners(triangle).map(Vec3::as_dvec3);
            let area = (b - a).cross(c - a).length() / 2.0;
            whole += if area.is_finite() { area } else { 0.0 };
            whole
        })
        .collect();
    if !(whole > 0.0 && whole.is_finite()) {
        return None;
    }
    let at = |i: usize| {
        let [along, s, t] = random(seed, i as u64);
        let wanted = (i as f64 + along) / n as f64 * whole;
        // The first triangle that ends beyond it has area.
        let triangle = ends.partition_point(|&end| end <= wanted);
        let last = ends.partition_point(|&end| end < whole);
        let corners @ [a, b, c] = mesh.corners(mesh.triangles[triangle.min(last)]);
        // Turk, "Generating Random Points in Triangles", 1990.
        let root = s.sqrt();
        let [u, v, w] = [1.0 - root, root * (1.0 - t), root * t].map(|weight| weight as f32);
        Sample { position: a * u + b * v + c * w, normal: normal(corners) }
    };
    Some((0..n).map(at).collect())
}

/// Unit normal; zero without area. Through f64, where small triangles have one too.
pub fn normal([a, b, c]: [Vec3; 3]) -> Vec3 {
    let [a, b, c] = [a, b, c].map(Vec3::as_dvec3);
    (b - a).cross(c - a).normalize_or_zero().as_vec3()
}

/// Three numbers in 0..1 that depend on nothing but seed and index: SplitMix64
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn random(seed: u64, index: u64) -> [f64; 3] {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    [1u64, 2, 3].map(|k| {
        let mut z = seed.wrapping_add(GOLDEN.wrapping_mul(index.wrapping_mul(3).wrapping_add(k)));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::shapes;

    #[test]
    fn points_follow_area_and_lie_on_their_triangles() {
        // One triangle with three quarters of the area, one without, one with the rest.
        let mesh = Mesh {
            positions: [[0., 0., 0.], [3., 0., 0.], [0., 1., 0.], [0., 0., 5.], [1., 0., 5.], [0., 1., 5.]]
                .map(Vec3::from)
                .to_vec(),
            triangles: vec![[0, 1, 2], [0, 1, 1], [3, 5, 4]],
            ..Mesh::default()
        };
        let points = spread(&mesh, 4000, 1).unwrap();
        assert_eq!(points.iter().filter(|p| p.position.z == 0.0).count(), 3000);
        assert!(points.iter().all(|p| p.normal.z == if p.position.z == 0.0 { 1.0 } else { -1.0 }));
        let middle = points[..3000].iter().map(|p| p.position).sum::<Vec3>() / 3000.0;
        assert!((middle - Vec3::new(1.0, 1.0 / 3.0, 0.0)).length() < 0.03, "{middle}");
    }

    #[test]
    fn a_ball_is_covered_evenly() {
        let points = spread(&shapes::sphere(48), 8000, 7).unwrap();
        // As much area in each slice of equal height (Archimedes).
        for slice in 0..8 {
            let low = -1.0 + slice as f32 / 4.0;
            let n = points.iter().filter(|p| (low..low + 0.25).contains(&p.position.y)).count();
            assert!(n.abs_diff(1000) < 60, "slice {slice}: {n}");
        }
        assert_ne!(spread(&shapes::sphere(8), 9, 1), spread(&shapes::sphere(8), 9, 2));
        assert_eq!(spread(&Mesh::default(), 9, 1), None);
    }
}
