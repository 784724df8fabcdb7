//! Poisson's equation on the inside of a silhouette: how high a soap film
//! under even pressure bulges over it.
//!
//! In: a `Silhouette`. Out: h at its nodes with laplacian(h) = -1 per squared
//! node spacing, h = 0 on the outline and outside.
//!
//! The outline cuts the arms of the five-point stencil to their true length
//! (Shortley and Weller 1938), which is exact for discs and strips, so h follows
//! the outline to sub-node accuracy. These equations are not quite symmetric:
//! they are solved by truncated conjugate residuals (Orthomin, Vinsome 1976),
//! preconditioned with one multigrid V-cycle over their symmetric part (as in
//! McAdams et al. 2010, "A parallel multigrid Poisson solver for fluids
//! simulation on large grids").

use std::collections::VecDeque;

use glam::Vec2;

use super::silhouette::Silhouette;

/// Residual at which the solution is good enough, relative to the right-hand side.
const TOLERANCE: f64 = 1e-4;
const MAX_ITERATIONS: usize = 60;
/// Search directions that a new one is made orthogonal to.
const MEMORY: usize = 4;
/// Shortest arm, so that nodes almost on the outline do not spoil the numbers.
const MIN_ARM: f32 = 0.02;
/// Marks an arm that reaches its neighbour.
const WHOLE: f32 = 2.0;

/// Film height at each node, in squared node spacings; positive exactly inside.
pub struct Film<'a> {
    silhouette: &'a Silhouette,
    pub heights: Vec<f32>,
}

impl<'a> Film<'a> {
    /// `after_iteration` may stop the work by returning an error.
    pub fn over<E>(
        silhouette: &'a Silhouette,
        mut after_iteration: impl FnMut() -> Result<(), E>,
    ) -> Result<Film<'a>, E> {
        let arms = arms_of(silhouette);
        let stencil = Stencil::new(silhouette.width, &arms);
        let mut levels = build_levels(silhouette.width, silhouette.height, arms);
        let mut x = first_guess(&mut levels);
        let mut r = vec![0.0; x.len()];
        levels[0].for_each(|i| r[i] = levels[0].load[i] - stencil.apply(&x, i));
        let goal = TOLERANCE * levels[0].dot(&levels[0].load, &levels[0].load).sqrt();
        // Past search directions, what the matrix makes of them, and the length of that squared.
        let mut past: VecDeque<(Vec<f32>, Vec<f32>, f64)> = VecDeque::new();
        for _ in 0..MAX_ITERATIONS {
            if levels[0].dot(&r, &r).sqrt() <= goal {
                break;
            }
            after_iteration()?;
            levels[0].b.copy_from_slice(&r);
            v_cycle(&mut levels);
            let fine = &levels[0];
            let mut p = fine.x.clone();
            let mut q = vec![0.0; p.len()];
            fine.for_each(|i| q[i] = stencil.apply(&p, i));
            for (old_p, old_q, length) in &past {
                let share = (fine.dot(&q, old_q) / length) as f32;
                fine.for_each(|i| {
                    p[i] -= share * old_p[i];
                    q[i] -= share * old_q[i];
                });
            }
            let length = fine.dot(&q, &q);
            if length == 0.0 {
                break;
            }
            let step = (fine.dot(&r, &q) / length) as f32;
            fine.for_each(|i| {
                x[i] += step * p[i];
                r[i] -= step * q[i];
            });
            past.push_front((p, q, length));
            past.truncate(MEMORY);
        }
        // The exact solution is positive; what is left of the residual must not change that.
        levels[0].for_each(|i| x[i] = x[i].max(0.25 * MIN_ARM));
        Ok(Film { silhouette, heights: x })
    }

    /// Slope at an inside node, in node spacings: of the parabola through the
    /// node and the ends of its arms, which on the outline have height 0.
    pub fn slope(&self, node: usize) -> Vec2 {
        let here = self.heights[node];
        let along = |back: usize, ahead: usize| {
            let end = |other: usize| {
                let arm = arm(&self.silhouette.values, node, other);
                if arm == WHOLE { (1.0, self.heights[other]) } else { (arm.max(MIN_ARM), 0.0) }
            };
            let ((l, h_l), (r, h_r)) = (end(back), end(ahead));
            ((h_r - here) * l / r + (here - h_l) * r / l) / (l + r)
        };
        Vec2::new(along(node - 1, node + 1), along(node - self.silhouette.width, node + self.silhouette.width))
    }
}

/// Distance from an inside node to the outline on the way to its neighbour.
fn arm(values: &[f32], node: usize, neighbour: usize) -> f32 {
    let (here, there) = (values[node], values[neighbour]);
    if there > 0.0 { WHOLE } else { here / (here - there) }
}

/// Arms of the inside nodes: left, right, up, down. Outside nodes have [0; 4].
fn arms_of(silhouette: &Silhouette) -> Vec<[f32; 4]> {
    let (width, values) = (silhouette.width, &silhouette.values);
    let arms = |i: usize| match values[i] > 0.0 {
        true => [i - 1, i + 1, i - width, i + width].map(|j| arm(values, i, j)),
        false => [0.0; 4],
    };
    (0..values.len()).map(arms).collect()
}

/// The equations of the finest grid, each multiplied by the area of its node's cell.
struct Stencil {
    width: usize,
    /// Weights of the neighbours left and right, above and below, of the node itself.
    weights: Vec<[f32; 3]>,
}

impl Stencil {
    fn new(width: usize, arms: &[[f32; 4]]) -> Stencil {
        let weights = |&arms: &[f32; 4]| {
            let [left, right, up, down] = arms.map(|arm| arm.clamp(MIN_ARM, 1.0));
            let (across, along) = (0.5 * (up + down), 0.5 * (left + right));
            [across, along, across * (1.0 / left + 1.0 / right) + along * (1.0 / up + 1.0 / down)]
        };
        Stencil { width, weights: arms.iter().map(weights).collect() }
    }

    /// Row `i` of the matrix times `x`, which is 0 at outside nodes.
    fn apply(&self, x: &[f32], i: usize) -> f32 {
        let [across, along, here] = self.weights[i];
        here * x[i] - across * (x[i - 1] + x[i + 1]) - along * (x[i - self.width] + x[i + self.width])
    }
}

/// One grid of the hierarchy. Vectors are 0 at outside nodes.
struct Level {
    width: usize,
    /// Runs of inside nodes: row, first node, one past the last node.
    runs: Vec<(usize, usize, usize)>,
    n_inside: usize,
    /// Area of the cell around each node, in squared spacings of the finest grid.
    load: Vec<f32>,
    /// Weights of the links to the neighbours to the right and below; 0 where either is outside.
    right: Vec<f32>,
    down: Vec<f32>,
    diagonal: Vec<f32>,
    x: Vec<f32>,
    b: Vec<f32>,
    r: Vec<f32>,
}

impl Level {
    fn for_each(&self, mut f: impl FnMut(usize)) {
        for &(_, start, end) in &self.runs {
            for i in start..end {
                f(i);
            }
        }
    }

    /// Row `i` of the matrix times `x`.
    fn apply(&self, x: &[f32], i: usize) -> f32 {
        self.diagonal[i] * x[i] - linked(&self.right, &self.down, x, i, self.width)
    }

    /// Summed in one fixed order, so that equal input gives equal bytes.
    fn dot(&self, a: &[f32], b: &[f32]) -> f64 {
        let mut sum = 0.0;
        for &(_, start, end) in &self.runs {
            sum += a[start..end].iter().zip(&b[start..end]).map(|(a, b)| a * b).sum::<f32>() as f64;
        }
        sum
    }

    /// One Gauss-Seidel half sweep over the nodes of one colour of the chequerboard.
    fn relax(&mut self, colour: usize) {
        let Level { width, runs, right, down, diagonal, x, b, .. } = self;
        for &(row, start, end) in runs.iter() {
            let first = start + ((start - row * *width + row + colour) & 1);
            for i in (first..end).step_by(2) {
                x[i] = (b[i] + linked(right, down, x, i, *width)) / diagonal[i];
            }
        }
    }
}

/// The weighted sum over the neighbours of node `i`.
fn linked(right: &[f32], down: &[f32], x: &[f32], i: usize, width: usize) -> f32 {
    right[i - 1] * x[i - 1] + right[i] * x[i + 1] + down[i - width] * x[i - width] + down[i] * x[i + width]
}

fn build_levels(mut width: usize, mut height: usize, mut arms: Vec<[f32; 4]>) -> Vec<Level> {
    let mut area = 1.0;
    let mut levels = vec![level(width, area, &arms)];
    while width.max(height) > 6 {
        let (coarse_width, coarse_height) = (width / 2 + 1, height / 2 + 1);
        let mut coarse = vec![[0.0; 4]; coarse_width * coarse_height];
        for y in 0..height.div_ceil(2) {
            for x in 0..width.div_ceil(2) {
                let i = 2 * y * width + 2 * x;
                if arms[i] == [0.0; 4] {
                    continue;
                }
                let neighbours = [i.wrapping_sub(1), i + 1, i.wrapping_sub(width), i + width];
                coarse[y * coarse_width + x] = std::array::from_fn(|d| {
                    let near = arms[i][d];
                    if near != WHOLE {
                        return near / 2.0;
                    }
                    let far = arms[neighbours[d]][d];
                    if far != WHOLE { (1.0 + far) / 2.0 } else { WHOLE }
                });
            }
        }
        // The stencil has no grid spacing in it: each coarsening quadruples the load.
        (arms, width, height, area) = (coarse, coarse_width, coarse_height, 4.0 * area);
        let next = level(width, area, &arms);
        if next.n_inside == 0 {
            break;
        }
        levels.push(next);
    }
    levels
}

/// `area` is that of a whole cell, in squared spacings of the finest grid.
fn level(width: usize, area: f32, arms: &[[f32; 4]]) -> Level {
    let zeros = || vec![0.0; arms.len()];
    let mut level = Level {
        width,
        runs: Vec::new(),
        n_inside: 0,
        load: zeros(),
        right: zeros(),
        down: zeros(),
        diagonal: vec![1.0; arms.len()],
        x: zeros(),
        b: zeros(),
        r: zeros(),
    };
    for (row, line) in arms.chunks_exact(width).enumerate() {
        let mut x = 0;
        while x < width {
            let start = x;
            while x < width && line[x] != [0.0; 4] {
                x += 1;
            }
            if x > start {
                level.runs.push((row, row * width + start, row * width + x));
                level.n_inside += x - start;
            }
            x += 1;
        }
    }
    // A link is as wide as the cells it joins, on average.
    let sides = |i: usize| {
        let [left, right, up, down] = arms[i].map(|arm| arm.clamp(MIN_ARM, 1.0));
        (0.5 * (left + right), 0.5 * (up + down))
    };
    for &(_, start, end) in &level.runs {
        for (i, reach) in arms.iter().enumerate().take(end).skip(start) {
            let (w, h) = sides(i);
            level.load[i] = area * w * h;
            if reach[1] == WHOLE {
                level.right[i] = 0.5 * (h + sides(i + 1).1);
            }
            if reach[3] == WHOLE {
                level.down[i] = 0.5 * (w + sides(i + width).0);
            }
        }
    }
    for &(_, start, end) in &level.runs {
        for (i, reach) in arms.iter().enumerate().take(end).skip(start) {
            let (w, h) = sides(i);
            let links = [level.right[i - 1], level.right[i], level.down[i - width], level.down[i]];
            let widths = [h, h, w, w];
            let weight = |d: usize| if reach[d] == WHOLE { links[d] } else { widths[d] / reach[d].max(MIN_ARM) };
            level.diagonal[i] = (0..4).map(weight).sum();
        }
    }
    level
}

/// Solves roughly on each grid from the coarsest to the finest.
fn first_guess(levels: &mut [Level]) -> Vec<f32> {
    let mut guess: Vec<f32> = Vec::new();
    for l in (0..levels.len()).rev() {
        let mut x = vec![0.0; levels[l].x.len()];
        if l + 1 < levels.len() {
            prolong(&levels[l], &mut x, levels[l + 1].width, &guess);
        }
        let fine = &mut levels[l];
        let mut residual = std::mem::take(&mut fine.b);
        fine.for_each(|i| residual[i] = fine.load[i] - fine.apply(&x, i));
        fine.b = residual;
        v_cycle(&mut levels[l..]);
        let fine = &levels[l];
        fine.for_each(|i| x[i] += fine.x[i]);
        guess = x;
    }
    guess
}

/// Approximate solution `x` for `b` of the first level; symmetric, hence fit
/// for conjugate gradients: sweeps after are those before in reverse order.
fn v_cycle(levels: &mut [Level]) {
    let [fine, coarser @ ..] = levels else { return };
    fine.x.fill(0.0);
    if coarser.is_empty() {
        for _ in 0..8 {
            fine.relax(0);
            fine.relax(1);
        }
        for _ in 0..8 {
            fine.relax(1);
            fine.relax(0);
        }
        return;
    }
    fine.relax(0);
    fine.relax(1);
    fine.relax(0);
    let mut r = std::mem::take(&mut fine.r);
    fine.for_each(|i| r[i] = fine.b[i] - fine.apply(&fine.x, i));
    fine.r = r;
    restrict(fine, &mut coarser[0]);
    v_cycle(coarser);
    let mut x = std::mem::take(&mut fine.x);
    prolong(fine, &mut x, coarser[0].width, &coarser[0].x);
    fine.x = x;
    fine.relax(0);
    fine.relax(1);
    fine.relax(0);
}

/// Adds the coarse solution, bilinearly interpolated, to `x`.
fn prolong(fine: &Level, x: &mut [f32], coarse_width: usize, coarse: &[f32]) {
    for &(row, start, end) in &fine.runs {
        let line = row / 2 * coarse_width;
        let below = line + (row & 1) * coarse_width;
        let first = start - row * fine.width;
        for (column, value) in (first..).zip(&mut x[start..end]) {
            let (left, right) = (column / 2, column / 2 + (column & 1));
            *value +=
                0.25 * (coarse[line + left] + coarse[line + right] + coarse[below + left] + coarse[below + right]);
        }
    }
}

/// The transpose of `prolong`, applied to the residual.
fn restrict(fine: &Level, coarse: &mut Level) {
    let Level { runs, b, width: coarse_width, .. } = coarse;
    let (r, w) = (&fine.r, fine.width);
    for &(row, start, end) in runs.iter() {
        let first = start - row * *coarse_width;
        for (column, out) in (first..).zip(&mut b[start..end]) {
            let i = 2 * row * w + 2 * column;
            let sides = r[i - 1] + r[i + 1] + r[i - w] + r[i + w];
            let corners = r[i - w - 1] + r[i - w + 1] + r[i + w - 1] + r[i + w + 1];
            *out = r[i] + 0.5 * sides + 0.25 * corners;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use glam::DVec2;

    use super::*;

    fn lattice(n: usize, value: impl Fn(f32, f32) -> f32) -> Silhouette {
        let mut values: Vec<f32> = (0..n * n).map(|i| value((i % n) as f32, (i / n) as f32)).collect();
        values.iter_mut().for_each(|v| *v = if *v == 0.0 { -1e-4 } else { v.clamp(-2.0, 2.0) });
        Silhouette { width: n, height: n, values, spacing: 1.0, origin: DVec2::ZERO, extent: n }
    }

    fn film(silhouette: &Silhouette) -> (Film<'_>, usize) {
        let mut n_iterations = 0;
        let film = Film::over(silhouette, || {
            n_iterations += 1;
            Ok::<(), Infallible>(())
        });
        (film.unwrap(), n_iterations)
    }

    #[test]
    fn over_a_disc_it_is_the_known_paraboloid() {
        let (radius, centre) = (70.3, Vec2::new(80.2, 79.7));
        let s = lattice(161, |x, y| radius - Vec2::new(x, y).distance(centre));
        let (film, n_iterations) = film(&s);
        assert!(n_iterations <= 15, "{n_iterations} iterations");
        let peak = radius * radius / 4.0;
        for (i, &h) in film.heights.iter().enumerate() {
            let at = Vec2::new((i % 161) as f32, (i / 161) as f32);
            let expected = ((radius * radius - at.distance_squared(centre)) / 4.0).max(0.0);
            // Nodes nearer to the outline than the shortest arm count as that far away.
            let inset = radius - at.distance(centre);
            let tolerance = if inset.abs() < MIN_ARM { MIN_ARM * radius / 2.0 } else { 2e-4 * peak };
            assert!((h - expected).abs() < tolerance, "{h} instead of {expected} at {at}");
            if inset > 0.3 {
                let slope = (at - centre) / -2.0;
                let tolerance = if inset > 2.0 { 0.005 } else { 0.05 };
                assert!((film.slope(i) - slope).length() < tolerance * radius, "{} {slope}", film.slope(i));
            }
        }
    }

    #[test]
    fn over_a_strip_it_is_a_parabola_across() {
        let s = lattice(257, |x, y| (6.4 - (y - 128.0).abs()).min(120.0 - (x - 128.0).abs()));
        let (film, n_iterations) = film(&s);
        assert!(n_iterations <= 20, "{n_iterations} iterations");
        for dy in -6..=6 {
            let expected = (6.4f32 * 6.4 - (dy * dy) as f32) / 2.0;
            let h = film.heights[(128 + dy) as usize * 257 + 128];
            assert!((h - expected).abs() < 0.02, "{h} instead of {expected}");
        }
    }

    #[test]
    fn converges_over_ragged_shapes() {
        let mut rng = fastrand::Rng::with_seed(4);
        let noise: Vec<f32> = (0..193 * 193).map(|_| rng.f32() - 0.3).collect();
        let s = lattice(193, |x, y| {
            let at = y as usize * 193 + x as usize;
            if x < 3.0 || y < 3.0 || x > 189.0 || y > 189.0 { -1.0 } else { noise[at] }
        });
        let (film, n_iterations) = film(&s);
        assert!(n_iterations < MAX_ITERATIONS, "{n_iterations} iterations");
        assert!(film.heights.iter().zip(&s.values).all(|(&h, &v)| (h > 0.0) == (v > 0.0)));
    }
}
