//! How a mesh uses its texture: how much of it, and whether twice.
//!
//! Triangles are drawn into a grid of texels with the exact top-left rule of
//! graphics hardware: texel centres on an edge shared by two triangles belong to
//! exactly one of them, so charts that touch do not count as overlapping.

use glam::Vec2;

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
    let inside = |uv: &Vec2| (0.0..=1.0).contains(&uv.x) && (0.0..=1.0).contains(&uv.y);
    let mut grid = Grid { size: i64::from(size), hits: vec![0; size as usize * size as usize] };
    for triangle in triangles {
        let corners = triangle.map(|v| uvs.get(v as usize).copied().unwrap_or(Vec2::NAN));
        if corners.iter().all(|uv| uv.is_finite()) {
            grid.draw(corners);
        }
    }
    let n_covered = grid.hits.iter().filter(|&&hits| hits > 0).count();
    let n_overlapping = grid.hits.iter().filter(|&&hits| hits > 1).count();
    UvUse {
        coverage: n_covered as f64 / grid.hits.len().max(1) as f64,
        overlap: n_overlapping as f64 / n_covered.max(1) as f64,
        n_outside: uvs.iter().filter(|uv| !inside(uv)).count(),
    }
}

/// Steps per texel that corners are rounded to.
const STEPS: i64 = 256;

/// Farthest a corner is followed outside the unit square.
const FAR: f32 = 16.0;

struct Grid {
    size: i64,
    hits: Vec<u8>,
}

impl Grid {
    fn draw(&mut self, corners: [Vec2; 3]) {
        let scale = (self.size * STEPS) as f64;
        let [a, mut b, mut c] = corners.map(|uv| {
            let uv = uv.clamp(Vec2::splat(-FAR), Vec2::splat(FAR)).as_dvec2();
            [(uv.x * scale).round() as i64, (uv.y * scale).round() as i64]
        });
        match edge(a, b, c) {
            0 => return,
            area if area < 0 => (b, c) = (c, b),
            _ => {}
        }
        let edges = [(a, b), (b, c), (c, a)];
        let texels = |axis: usize| {
            let (low, high) = (a[axis].min(b[axis]).min(c[axis]), a[axis].max(b[axis]).max(c[axis]));
            low.div_euclid(STEPS).max(0)..=high.div_euclid(STEPS).min(self.size - 1)
        };
        for y in texels(1) {
            for x in texels(0) {
                let centre = [x * STEPS + STEPS / 2, y * STEPS + STEPS / 2];
                let covers = |&(from, to)| {
                    let side = edge(from, to, centre);
                    side > 0 || (side == 0 && is_top_or_left(from, to))
                };
                if edges.iter().all(covers) {
                    let hits = &mut self.hits[(y * self.size + x) as usize];
                    *hits = hits.saturating_add(1);
                }
            }
        }
    }
}

/// Twice the area of `from`, `to`, `p`: positive on the inner side.
fn edge(from: [i64; 2], to: [i64; 2], p: [i64; 2]) -> i64 {
    (to[0] - from[0]) * (p[1] - from[1]) - (to[1] - from[1]) * (p[0] - from[0])
}

/// With y down and the inside at positive `edge`, a left edge runs up and a top
/// edge runs right.
fn is_top_or_left(from: [i64; 2], to: [i64; 2]) -> bool {
    to[1] < from[1] || (to[1] == from[1] && to[0] > from[0])
}

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
        uvs[3] = Vec2::new(f32::INFINITY, 1e38);
        assert_eq!(measure(&uvs, &QUAD, 64), UvUse { coverage: 0.0, overlap: 0.0, n_outside: 3 });
        assert_eq!(measure(&[], &[[0, 1, 2]], 64), UvUse { coverage: 0.0, overlap: 0.0, n_outside: 0 });
        let huge = quad(Vec2::splat(-1e30), Vec2::splat(1e30));
        assert_eq!(measure(&huge, &QUAD, 64).coverage, 1.0);
    }
}
