//! Scan conversion: a triangle in pixel coordinates to runs of pixels.
//!
//! A pixel is covered when its centre is. Corners snap to 1/256 pixel and all
//! arithmetic from there is exact integers with the top-left rule, so triangles
//! that share an edge cover every pixel along it exactly once.

use std::ops::Range;

use glam::DVec2;

/// Fixed-point steps in one pixel.
const STEPS: i64 = 256;

/// Corners must lie within this many pixels of the origin, so that products of
/// two differences fit 64 bits.
pub const MAX_COORDINATE: f64 = (1 << 21) as f64;

/// A triangle ready to be scanned; x to the right, y down, in fixed point.
#[derive(Debug, Clone, Copy)]
pub struct ScanTriangle {
    /// Ordered so that the inside is to the right of each edge, seen on screen.
    corners: [[i64; 2]; 3],
}

impl ScanTriangle {
    /// `None` when nothing is left after snapping: no area, not finite, or
    /// beyond `MAX_COORDINATE`. Either winding will do.
    pub fn new(corners: [DVec2; 3]) -> Option<Self> {
        // NaN fails this comparison too.
        if !corners.iter().all(|c| c.abs().max_element() <= MAX_COORDINATE) {
            return None;
        }
        let [a, b, c] = corners.map(|c| [(c.x * STEPS as f64).round() as i64, (c.y * STEPS as f64).round() as i64]);
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        match area {
            0 => None,
            1.. => Some(Self { corners: [a, b, c] }),
            _ => Some(Self { corners: [a, c, b] }),
        }
    }

    /// Rows that may hold covered pixels, within 0..height.
    pub fn rows(&self, height: u32) -> Range<u32> {
        let ys = self.corners.map(|c| c[1]);
        let [low, high] = [ys.iter().min(), ys.iter().max()].map(|y| first_centre(*y.expect("three corners")));
        low.clamp(0, height as i64) as u32..high.clamp(0, height as i64) as u32
    }

    /// Calls `run(y, x0..x1)` for every row of `rows` that has covered pixels
    /// within 0..width. `rows` must lie within `self.rows(..)`.
    pub fn for_each_run(&self, width: u32, rows: Range<u32>, mut run: impl FnMut(u32, Range<u32>)) {
        let [a, b, c] = self.corners;
        let mut edges = [Edge::new(a, b, rows.start), Edge::new(b, c, rows.start), Edge::new(c, a, rows.start)];
        for y in rows {
            let (mut first, mut last) = (0, width as i64 - 1);
            for edge in &mut edges {
                match edge.side {
                    Side::Left => first = first.max(-edge.quotient),
                    Side::Right => last = last.min(edge.quotient),
                    Side::Level => {}
                }
                edge.next_row();
            }
            if first <= last {
                run(y, first as u32..last as u32 + 1);
            }
        }
    }
}

/// Smallest pixel whose centre lies at or beyond the fixed-point coordinate.
fn first_centre(v: i64) -> i64 {
    (v - STEPS / 2 + STEPS - 1).div_euclid(STEPS)
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
    /// Horizontal: the range of rows already says everything.
    Level,
}

/// Walks down one edge, keeping quotient and remainder of the place where the
/// edge crosses the row, as Bresenham's line does: no division after the first row.
struct Edge {
    side: Side,
    /// Last covered x (right edge), or minus the first covered x (left edge).
    quotient: i64,
    remainder: i64,
    quotient_step: i64,
    remainder_step: i64,
    divisor: i64,
}

impl Edge {
    /// The edge function is E(p) = cross(to - from, p - from), positive inside.
    /// On a row E is linear in x; a pixel is inside when E >= 0 (left edges and
    /// top edges, which own their points) or E >= 1 (the others).
    fn new(from: [i64; 2], to: [i64; 2], row: u32) -> Self {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let side = match dy {
            0 => Side::Level,
            ..0 => Side::Left,
            _ => Side::Right,
        };
        let centre = STEPS / 2;
        let at_x_0 = dx * (row as i64 * STEPS + centre - from[1]) - dy * (centre - from[0]);
        let numerator = at_x_0 - i64::from(matches!(side, Side::Right));
        let divisor = (dy.abs() * STEPS).max(1);
        let step = dx * STEPS;
        Self {
            side,
            quotient: numerator.div_euclid(divisor),
            remainder: numerator.rem_euclid(divisor),
            quotient_step: step.div_euclid(divisor),
            remainder_step: step.rem_euclid(divisor),
            divisor,
        }
    }

    fn next_row(&mut self) {
        self.quotient += self.quotient_step;
        self.remainder += self.remainder_step;
        if self.remainder >= self.divisor {
            self.remainder -= self.divisor;
            self.quotient += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(triangles: &[[DVec2; 3]], size: u32) -> Vec<u8> {
        let mut hits = vec![0; (size * size) as usize];
        for triangle in triangles.iter().filter_map(|t| ScanTriangle::new(*t)) {
            triangle.for_each_run(size, triangle.rows(size), |y, xs| {
                xs.for_each(|x| hits[(y * size + x) as usize] += 1);
            });
        }
        hits
    }

    #[test]
    fn fans_around_random_points_cover_a_square_exactly_once() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..300 {
            // On a coarse grid many corners and edges meet pixel centres exactly.
            let grid = [1.0, 2.0, 4.0, 997.0][random.usize(0..4)];
            let mut place = || (random.f64() * 32.0 * grid).round() / grid;
            let hub = DVec2::new(place(), place());
            let mut rim = vec![DVec2::ZERO, DVec2::new(32.0, 0.0), DVec2::splat(32.0), DVec2::new(0.0, 32.0)];
            for _ in 0..3 {
                rim.extend([DVec2::new(place(), 0.0), DVec2::new(32.0, place())]);
                rim.extend([DVec2::new(place(), 32.0), DVec2::new(0.0, place())]);
            }
            // Along the square's outline: the top, right, bottom, then left side.
            let along = |p: &DVec2| match p.to_array() {
                [x, 0.0] => x,
                [32.0, y] => 32.0 + y,
                [x, 32.0] => 96.0 - x,
                [_, y] => 128.0 - y,
            };
            rim.sort_by(|a, b| along(a).total_cmp(&along(b)));
            let fan: Vec<_> = (0..rim.len()).map(|i| [hub, rim[i], rim[(i + 1) % rim.len()]]).collect();
            let hits = hits(&fan, 32);
            assert!(hits.iter().all(|&n| n == 1), "hub {hub}, rim {rim:?}");
        }
    }

    #[test]
    fn runs_agree_with_the_edge_functions_of_every_pixel() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..300 {
            // Partly outside the picture, on quarter pixels.
            let corners = [(); 3].map(|()| DVec2::new(random.i32(-60..120) as f64, random.i32(-60..120) as f64) / 4.0);
            let area = (corners[1] - corners[0]).perp_dot(corners[2] - corners[0]);
            let hits = hits(&[corners], 16);
            for (i, &hit) in hits.iter().enumerate() {
                let p = DVec2::new((i % 16) as f64, (i / 16) as f64) + 0.5;
                let inside = |strict: bool| {
                    (0..3).all(|k| {
                        let (a, b) = (corners[k], corners[(k + 1) % 3]);
                        let e = (b - a).perp_dot(p - a) * area.signum();
                        if strict { e > 0.0 } else { e >= 0.0 }
                    }) && area != 0.0
                };
                assert!(inside(false) || hit == 0, "{corners:?} does not cover {p}");
                assert!(!inside(true) || hit == 1, "{corners:?} covers {p}");
            }
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        let p = DVec2::new(3.0, 4.0);
        assert!(ScanTriangle::new([p, p, p * 2.0]).is_none());
        assert!(ScanTriangle::new([p, DVec2::NAN, p * 2.0]).is_none());
        assert!(ScanTriangle::new([p, DVec2::new(1e9, 0.0), DVec2::ZERO]).is_none());
        assert!(ScanTriangle::new([p, DVec2::X, DVec2::ZERO]).is_some());
    }
}
