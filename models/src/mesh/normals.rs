//! Smooth vertex normals.

use glam::Vec3;
use rayon::prelude::*;

use super::topology::weld_map;

/// Triangles further from equilateral than this count less: their normal means little.
const SLIVER: f32 = 0.03;

/// Unit normals: those of the triangles around each vertex, weighted by their
/// angle there (Thürmer and Wüthrich 1998), which does not depend on how flat
/// parts are cut into triangles. Slivers, whose angle may be wide and whose
/// normal is noise, count less. Vertices with bit-equal positions get the same
/// normal, so texture seams do not show. Vertices without area get +Z.
pub fn smooth_normals(positions: &[Vec3], triangles: &[[u32; 3]]) -> Vec<Vec3> {
    // What each triangle adds to its three corners.
    let shares = |triangle: &[u32; 3]| {
        let corners = triangle.map(|v| positions[v as usize]);
        let [a, b, c] = corners;
        let area = (b - a).cross(c - a);
        let sides = a.distance_squared(b) + b.distance_squared(c) + c.distance_squared(a);
        // 1 for an equilateral triangle, towards 0 as the corners line up.
        let quality = 2.0 * 3f32.sqrt() * area.length() / sides;
        let normal = area.normalize_or_zero() * (quality / SLIVER).min(1.0);
        [0, 1, 2].map(|i| {
            let (ahead, back) = (corners[(i + 1) % 3] - corners[i], corners[(i + 2) % 3] - corners[i]);
            let angle = ahead.cross(back).length().atan2(ahead.dot(back));
            normal * angle
        })
    };
    let (weld, shares) =
        rayon::join(|| weld_map(positions), || triangles.par_iter().map(shares).collect::<Vec<[Vec3; 3]>>());
    let mut sums = vec![Vec3::ZERO; positions.len()];
    for (&vertex, share) in triangles.as_flattened().iter().zip(shares.as_flattened()) {
        sums[weld[vertex as usize] as usize] += *share;
    }
    weld.iter().map(|&v| sums[v as usize].try_normalize().unwrap_or(Vec3::Z)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cube_has_diagonal_normals_however_its_faces_are_cut() {
        let positions: Vec<Vec3> =
            (0..8).map(|i| Vec3::new((i & 1) as f32, (i >> 1 & 1) as f32, (i >> 2) as f32)).collect();
        // Each face counter-clockwise from outside.
        let faces = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]];
        let triangles: Vec<[u32; 3]> = faces.iter().flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]).collect();
        for (p, n) in positions.iter().zip(smooth_normals(&positions, &triangles)) {
            assert!(n.distance((*p - Vec3::splat(0.5)).normalize()) < 1e-6, "{n} at {p}");
        }
    }

    #[test]
    fn a_sliver_standing_on_edge_does_not_darken_its_neighbours() {
        // A flat fan around a vertex, one face of which is a needle with another normal.
        let positions = [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::NEG_X, Vec3::new(-1.0, 1e-4, -1e-3), Vec3::NEG_Y];
        let triangles = [[0, 1, 2], [0, 2, 4], [0, 4, 3], [0, 3, 5], [0, 5, 1], [3, 4, 1]];
        let normal = smooth_normals(&positions, &triangles)[1];
        assert!(normal.z > 0.99, "{normal}");
    }

    #[test]
    fn doubled_vertices_share_their_normal_and_lonely_ones_have_one() {
        let positions = [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::ZERO, Vec3::Y, Vec3::Z, Vec3::ONE];
        let normals = smooth_normals(&positions, &[[0, 1, 2], [3, 4, 5]]);
        assert_eq!(normals[0], normals[3]);
        assert_eq!(normals[2], normals[4]);
        assert_eq!(normals[6], Vec3::Z);
        assert!(normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-6));
    }
}
