//! Takes stair steps and wobbles out of a silhouette's outline.
//!
//! In: a lattice whose signs say what is inside. Out: the same signs, with
//! values that are distances to a smooth outline, in node spacings.
//!
//! The outline is traced by marching squares and low-pass filtered along its
//! length. Each of its points slides on its lattice edge only: nodes keep their
//! sides, so parts and holes stay, outlines never touch, and a mask without a
//! soft edge gets the smoothest outline that its pixels allow.

use glam::Vec2;

use super::silhouette::Silhouette;

/// Wobbles shorter than about twice this go, in node spacings.
const SIGMA: f32 = 6.0;
/// Where displacements around a point are below the first of these, as stair
/// steps are, it moves as wanted; where they are above the second, the outline
/// has a corner or detail and is left alone.
const STEPS: f32 = 0.4;
const DETAIL: f32 = 0.75;
/// Points keep this share of their edge away from its nodes.
const MIN_SHARE: f32 = 0.03;
/// Distances are exact up to here and clamped beyond.
const BAND: f32 = 3.0;
const NONE: u32 = u32::MAX;

pub fn fair(lattice: &mut Silhouette) {
    let mut outline = trace(lattice);
    let mut seen = vec![false; outline.points.len()];
    for start in 0..outline.points.len() as u32 {
        if !seen[start as usize] {
            let ring = outline.ring(start);
            for &i in &ring {
                seen[i as usize] = true;
            }
            outline.smooth(&ring);
        }
    }
    measure(lattice, &outline);
}

/// Crossings of the outline with lattice edges, linked to rings.
struct Outline {
    points: Vec<Vec2>,
    /// Whether the edge runs to the right, otherwise down.
    horizontal: Vec<bool>,
    links: Vec<[u32; 2]>,
    /// One segment in each cell the outline passes, two in saddles.
    segments: Vec<[u32; 2]>,
}

fn trace(lattice: &Silhouette) -> Outline {
    let (width, values) = (lattice.width, &lattice.values);
    let mut outline = Outline { points: Vec::new(), horizontal: Vec::new(), links: Vec::new(), segments: Vec::new() };
    // Crossings on the edges to the right of and below each node.
    let mut crossing = vec![[NONE; 2]; values.len()];
    for y in 0..lattice.height - 1 {
        for x in 0..width - 1 {
            let i = y * width + x;
            for (d, j) in [i + 1, i + width].into_iter().enumerate() {
                if (values[i] > 0.0) != (values[j] > 0.0) {
                    let t = values[i] / (values[i] - values[j]);
                    let step = if d == 0 { Vec2::X } else { Vec2::Y };
                    crossing[i][d] = outline.points.len() as u32;
                    outline.points.push(Vec2::new(x as f32, y as f32) + step * t);
                    outline.horizontal.push(d == 0);
                }
            }
        }
    }
    outline.links = vec![[NONE; 2]; outline.points.len()];
    for i in 0..values.len() - width - 1 {
        // Clockwise from the left: the sides of the cell right below node i.
        let sides = [crossing[i][1], crossing[i][0], crossing[i + 1][1], crossing[i + width][0]];
        let mut crossed = sides.into_iter().filter(|&c| c != NONE);
        match (crossed.next(), crossed.next(), crossed.next()) {
            (Some(a), Some(b), None) => outline.link(a, b),
            (Some(_), Some(_), Some(_)) => {
                let corners = [values[i], values[i + 1], values[i + width + 1], values[i + width]];
                // Corners of the kind that is not joined are cut off.
                let [left, top, right, bottom] = sides;
                if (corners[0] > 0.0) != Silhouette::joins_diagonally(corners) {
                    outline.link(left, top);
                    outline.link(right, bottom);
                } else {
                    outline.link(top, right);
                    outline.link(bottom, left);
                }
            }
            _ => {}
        }
    }
    outline
}

impl Outline {
    fn link(&mut self, a: u32, b: u32) {
        self.segments.push([a, b]);
        for (from, to) in [(a, b), (b, a)] {
            let [first, second] = &mut self.links[from as usize];
            *if *first == NONE { first } else { second } = to;
        }
    }

    /// All points of the ring through `start`, in order. The outermost nodes
    /// are outside, hence every point has two neighbours.
    fn ring(&self, start: u32) -> Vec<u32> {
        let mut ring = vec![start];
        let (mut last, mut at) = (start, self.links[start as usize][0]);
        while at != start && at != NONE {
            ring.push(at);
            let [a, b] = self.links[at as usize];
            (last, at) = (at, if a == last { b } else { a });
        }
        ring
    }

    fn smooth(&mut self, ring: &[u32]) {
        let points: Vec<Vec2> = ring.iter().map(|&i| self.points[i as usize]).collect();
        let kernel = Kernel::along(&points);
        // What (1 - Gauss)^3 leaves is noise: straight lines and round bends pass unchanged.
        let once = kernel.apply(&points);
        let mut noise: Vec<Vec2> = points.iter().zip(&once).map(|(p, s)| p - s).collect();
        for _ in 0..2 {
            let smooth = kernel.apply(&noise);
            noise.iter_mut().zip(smooth).for_each(|(n, s)| *n -= s);
        }
        let n = ring.len();
        let normal = |i: usize| (once[(i + 1) % n] - once[(i + n - 1) % n]).perp().normalize_or_zero();
        let distances: Vec<f32> = (0..n).map(|i| -noise[i].dot(normal(i))).collect();
        // Their 4-norm around each point: a corner is felt as far as its smoothing rings.
        let powers: Vec<Vec2> = distances.iter().map(|d| Vec2::new(d.powi(4), 0.0)).collect();
        let around = kernel.apply(&powers);
        for (i, &point) in ring.iter().enumerate() {
            let t = ((DETAIL - around[i].x.sqrt().sqrt()) / (DETAIL - STEPS)).clamp(0.0, 1.0);
            let fade = t * t * (3.0 - 2.0 * t);
            let (wanted, normal) = (distances[i] * fade, normal(i));
            let p = &mut self.points[point as usize];
            let (at, lean) = if self.horizontal[point as usize] { (&mut p.x, normal.x) } else { (&mut p.y, normal.y) };
            let lean = if lean < 0.0 { lean.min(-0.2) } else { lean.max(0.2) };
            let node = at.floor();
            *at = (*at + wanted / lean).clamp(node + MIN_SHARE, node + 1.0 - MIN_SHARE);
        }
    }
}

/// Gaussian weights along a closed polyline, by distance travelled.
struct Kernel {
    /// First of the points under the kernel and their weights; indices wrap around.
    taps: Vec<(usize, Vec<f32>)>,
}

impl Kernel {
    fn along(points: &[Vec2]) -> Kernel {
        let n = points.len();
        let step: Vec<f32> = (0..n).map(|i| points[i].distance(points[(i + 1) % n])).collect();
        // A point stands for half the way to each neighbour.
        let share = |i: usize| step[i] + step[(i + n - 1) % n];
        let reach = (3.0 * SIGMA).min(step.iter().sum::<f32>() / 2.0);
        let weight = |s: f32, i: usize| share(i) * (-0.5 * (s / SIGMA).powi(2)).exp();
        let taps = (0..n).map(|i| {
            let mut before = Vec::new();
            let (mut at, mut s) = (i, 0.0);
            loop {
                at = (at + n - 1) % n;
                s += step[at];
                if s >= reach || before.len() * 2 >= n {
                    break;
                }
                before.push(weight(s, at));
            }
            let first = (i + n - before.len()) % n;
            let mut weights: Vec<f32> = before.into_iter().rev().collect();
            weights.push(weight(0.0, i));
            let (mut at, mut s) = (i, 0.0);
            loop {
                s += step[at];
                at = (at + 1) % n;
                if s >= reach || weights.len() >= n {
                    break;
                }
                weights.push(weight(s, at));
            }
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            (first, weights)
        });
        Kernel { taps: taps.collect() }
    }

    fn apply(&self, values: &[Vec2]) -> Vec<Vec2> {
        let n = values.len();
        let sum = |(first, weights): &(usize, Vec<f32>)| {
            weights.iter().enumerate().map(|(k, &w)| values[(first + k) % n] * w).sum::<Vec2>()
        };
        self.taps.iter().map(sum).collect()
    }
}

/// Replaces values by the distance to the outline, signs stay.
fn measure(lattice: &mut Silhouette, outline: &Outline) {
    let mut squared = vec![BAND * BAND; lattice.values.len()];
    let reach = BAND as usize;
    for &[a, b] in &outline.segments {
        let (a, b) = (outline.points[a as usize], outline.points[b as usize]);
        let low = a.min(b).floor().as_usizevec2();
        let along = b - a;
        let scale = 1.0 / along.length_squared().max(1e-12);
        for y in low.y.saturating_sub(reach)..(low.y + reach + 2).min(lattice.height) {
            for x in low.x.saturating_sub(reach)..(low.x + reach + 2).min(lattice.width) {
                let p = Vec2::new(x as f32, y as f32);
                let t = ((p - a).dot(along) * scale).clamp(0.0, 1.0);
                let best = &mut squared[y * lattice.width + x];
                *best = best.min(p.distance_squared(a + along * t));
            }
        }
    }
    for (value, squared) in lattice.values.iter_mut().zip(squared) {
        *value = squared.sqrt().max(1e-4).copysign(*value);
    }
}
