//! How a mesh uses its texture: how much of it, and whether twice.
//!
//! Triangles are drawn into a grid of texels with the exact top-left rule of
//! graphics hardware: texel centres on an edge shared by two triangles belong to
//! exactly one of them, so charts that touch do not count as overlapping.

pub mod layout;

use glam::{DVec2, Vec2};

use super::raster::scan::ScanTriangle;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UvUse {
    /// Share of the unit square that some triangle covers, 0..=1.
    pub coverage: f64,
    /// Share of the covered texels that more than one triangle covers, 0..=1.
    pub overlap: f64,
    /// Vertices whose UV is outside 0..=1 or not a number.
    pub n_outside: usize,
}

/// Measures on `size` x `size` texels. Parts outside the unit square, triangles
/// without UV area and triangles with a UV that is not a number are not drawn.
pub fn measure(uvs: &[Vec2], triangles: &[[u32; 3]], size: u32) -> UvUse {
    let mut hits = vec![0u8; size as usize * size as usize];
    for triangle in triangles {
        let corners = triangle.map(|v| match uvs.get(v as usize) {
            Some(uv) if uv.is_finite() => uv.clamp(Vec2::splat(-FAR), Vec2::splat(FAR)).as_dvec2() * f64::from(size),
            _ => DVec2::NAN,
        });
        let Some(scan) = ScanTriangle::new(corners) else { continue };
        scan.for_each_run(size, scan.rows(size), |y, xs| {
            let row = y as usize * size as usize;
            for hits in &mut hits[row + xs.start as usize..row + xs.end as usize] {
                *hits = hits.saturating_add(1);
            }
        });
    }
    let inside = |uv: &Vec2| (0.0..=1.0).contains(&uv.x) && (0.0..=1.0).contains(&uv.y);
    let n_covered = hits.iter().filter(|&&hits| hits > 0).count();
    let n_overlapping = hits.iter().filter(|&&hits| hits > 1).count();
    UvUse {
        coverage: n_covered as f64 / hits.len().max(1) as f64,
        overlap: n_overlapping as f64 / n_covered.max(1) as f64,
        n_outside: uvs.iter().filter(|uv| !inside(uv)).count(),
    }
}

/// Farthest a corner is followed outside the unit square.
const FAR: f32 = 16.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::shapes;

    const QUAD: [[u32; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

    fn quad(low: Vec2, high: Vec2) -> Vec<Vec2> {
        vec![low, Vec2::new(high.x, low.y), high, Vec2::new(low.x, high.y)]
    }

    #[test]
    fn a_square_covers_its_area_and_its_diagonal_is_not_doubled() {
        let all = measure(&quad(Vec2::ZERO, Vec2::ONE), &QUAD, 1024);
        assert_eq!(all, UvUse { coverage: 1.0, overlap: 0.0, n_outside: 0 });
        let quarter = measure(&quad(Vec2::ZERO, Vec2::splat(0.5)), &QUAD, 1024);
        assert_eq!(quarter, UvUse { coverage: 0.25, overlap: 0.0, n_outside: 0 });
    }

    #[test]
    fn winding_does_not_matter() {
        let mirrored = quad(Vec2::ZERO, Vec2::ONE).iter().map(|uv| Vec2::new(1.0 - uv.x, uv.y)).collect::<Vec<_>>();
        assert_eq!(measure(&mirrored, &QUAD, 64), UvUse { coverage: 1.0, overlap: 0.0, n_outside: 0 });
        assert_eq!(measure(&mirrored, &[[0, 1, 2], [0, 3, 2]], 64).overlap, 0.0);
    }

    #[test]
    fn charts_side_by_side_touch_and_charts_shifted_overlap() {
        let mut uvs = quad(Vec2::new(0.0, 0.0), Vec2::new(0.37, 0.9));
        uvs.extend(quad(Vec2::new(0.37, 0.0), Vec2::new(1.0, 0.9)));
        let triangles = [QUAD[0], QUAD[1], [4, 5, 6], [4, 6, 7]];
        assert_eq!(measure(&uvs, &triangles, 512).overlap, 0.0);

        for uv in &mut uvs[4..] {
            uv.x -= 0.185;
        }
        // The second chart covers half of the first: 0.185 of 0.815 in width.
        let overlap = measure(&uvs, &triangles, 2048).overlap;
        assert!((overlap - 0.185 / 0.815).abs() < 2e-3, "{overlap}");
    }

    #[test]
    fn the_same_chart_twice_overlaps_everywhere() {
        let uvs = quad(Vec2::splat(0.1), Vec2::splat(0.8));
        let twice = [QUAD[0], QUAD[1], QUAD[0], QUAD[1]];
        assert_eq!(measure(&uvs, &twice, 256).overlap, 1.0);
    }

    #[test]
    fn fans_and_grids_of_any_slope_hit_each_texel_once() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50 {
            let centre = Vec2::new(0.3 + 0.4 * random.f32(), 0.3 + 0.4 * random.f32());
            let mut uvs = quad(Vec2::ZERO, Vec2::ONE);
            uvs.push(centre);
            let fan = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]];
            assert_eq!(measure(&uvs, &fan, 97), UvUse { coverage: 1.0, overlap: 0.0, n_outside: 0 });
        }
        for mesh in [shapes::sphere(17), shapes::torus(13, 0.3), shapes::cube()] {
            let used = measure(&mesh.uvs, &mesh.triangles, 512);
            assert_eq!((used.overlap, used.n_outside), (0.0, 0));
            assert!(used.coverage > 0.9, "{used:?}");
        }
    }

    #[test]
    fn outside_nonsense_and_nothing_are_counted_not_drawn() {
        let mut uvs = quad(Vec2::splat(-0.5), Vec2::splat(0.5));
        assert_eq!(measure(&uvs, &QUAD, 64), UvUse { coverage: 0.25, overlap: 0.0, n_outside: 3 });
        uvs[1] = Vec2::splat(f32::NAN);
        uvs[3] = Vec2::new(f32::INFINITY, 0.0);
        assert_eq!(measure(&uvs, &QUAD, 64), UvUse { coverage: 0.0, overlap: 0.0, n_outside: 3 });
        assert_eq!(measure(&[], &[[0, 1, 2]], 64), UvUse { coverage: 0.0, overlap: 0.0, n_outside: 0 });
        let huge = quad(Vec2::splat(-1e30), Vec2::splat(1e30));
        assert_eq!(measure(&huge, &QUAD, 64).coverage, 1.0);
    }
}
