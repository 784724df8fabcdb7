//! Guided filter with a colour guide: smooths a plane while following the edges
//! of a picture.
//!
//! He, Sun and Tang, "Guided image filtering", 2010; with coefficients applied to
//! a larger guide, He and Sun, "Fast guided filter", 2015.

use super::plane::Plane;

/// `value = a . colour + b`, averaged over the windows that hold the pixel.
pub type Line = [f32; 4];

pub struct Options {
    /// Half the window, in pixels: windows are `2 * radius + 1` wide, cut at the border.
    pub radius: usize,
    /// Variance of colour below which the guide counts as flat, in squared units of the guide.
    pub epsilon: f32,
}

/// The local linear model of `input` in `guide` (same size) at each pixel.
/// `lines[i] . (colour, 1)` is the filtered value, which may overshoot the input's range.
pub fn lines(guide: &Plane<[f32; 3]>, input: &Plane<f32>, options: &Options) -> Plane<Line> {
    let (width, height) = (guide.width, guide.height);
    debug_assert_eq!((width, height), (input.width, input.height));
    // Sums, per window, of: colour (3), input, products of colours (6), colour times input (3).
    let moments: Vec<[f32; 13]> = guide
        .data
        .iter()
        .zip(&input.data)
        .map(|(&[r, g, b], &p)| [r, g, b, p, r * r, r * g, r * b, g * g, g * b, b * b, r * p, g * p, b * p])
        .collect();
    let means = box_mean(&moments, width, height, options.radius);
    let fits: Vec<Line> = means.iter().map(|means| fit(means, options.epsilon)).collect();
    Plane { width, height, data: box_mean(&fits, width, height, options.radius) }
}

pub fn apply(line: Line, [r, g, b]: [f32; 3]) -> f32 {
    line[0] * r + line[1] * g + line[2] * b + line[3]
}

/// Ridge regression of the input on colour within one window.
fn fit(m: &[f32; 13], epsilon: f32) -> Line {
    let [r, g, b, p] = [m[0], m[1], m[2], m[3]];
    let xx = m[4] - r * r + epsilon;
    let xy = m[5] - r * g;
    let xz = m[6] - r * b;
    let yy = m[7] - g * g + epsilon;
    let yz = m[8] - g * b;
    let zz = m[9] - b * b + epsilon;
    let (cx, cy, cz) = (m[10] - r * p, m[11] - g * p, m[12] - b * p);

    let (ixx, ixy, ixz) = (yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy);
    let (iyy, iyz, izz) = (xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy);
    let determinant = xx * ixx + xy * ixy + xz * ixz;
    // Rounding can make a flat window's determinant vanish or turn negative.
    if determinant <= epsilon * epsilon * epsilon * 0.5 {
        return [0.0, 0.0, 0.0, p];
    }
    let a = [
        (ixx * cx + ixy * cy + ixz * cz) / determinant,
        (ixy * cx + iyy * cy + iyz * cz) / determinant,
        (ixz * cx + iyz * cy + izz * cz) / determinant,
    ];
    [a[0], a[1], a[2], p - a[0] * r - a[1] * g - a[2] * b]
}

/// Mean over the window around each pixel, by running sums along columns, then rows.
fn box_mean<const N: usize>(data: &[[f32; N]], width: usize, height: usize, radius: usize) -> Vec<[f32; N]> {
    let mut columns = vec![[0.0f32; N]; width];
    let mut out = vec![[0.0f32; N]; data.len()];
    let row = |y: usize| &data[y * width..(y + 1) * width];
    for y in 0..radius.min(height) {
        add(&mut columns, row(y), 1.0);
    }
    for y in 0..height {
        if y + radius < height {
            add(&mut columns, row(y + radius), 1.0);
        }
        if y > radius {
            add(&mut columns, row(y - radius - 1), -1.0);
        }
        let n_rows = (y + radius + 1).min(height) - y.saturating_sub(radius);
        let mut sum = [0.0f32; N];
        for column in columns.iter().take(radius.min(width)) {
            add_one(&mut sum, column, 1.0);
        }
        for x in 0..width {
            if x + radius < width {
                add_one(&mut sum, &columns[x + radius], 1.0);
            }
            if x > radius {
                add_one(&mut sum, &columns[x - radius - 1], -1.0);
            }
            let n_columns = (x + radius + 1).min(width) - x.saturating_sub(radius);
            let scale = 1.0 / (n_rows * n_columns) as f32;
            out[y * width + x] = sum.map(|v| v * scale);
        }
    }
    out
}

fn add<const N: usize>(sums: &mut [[f32; N]], values: &[[f32; N]], sign: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        add_one(sum, value, sign);
    }
}

fn add_one<const N: usize>(sum: &mut [f32; N], value: &[f32; N], sign: f32) {
    for (sum, value) in sum.iter_mut().zip(value) {
        *sum += sign * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formulas of the paper, window by window, in f64, with a general solver.
    fn naive(guide: &Plane<[f32; 3]>, input: &Plane<f32>, radius: usize, epsilon: f64) -> Vec<f64> {
        let (width, height) = (guide.width, guide.height);
        let window = |x: usize, y: usize| {
            let columns = x.saturating_sub(radius)..(x + radius + 1).min(width);
            let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
            rows.flat_map(move |y| columns.clone().map(move |x| (x, y))).collect::<Vec<_>>()
        };
        let fit = |x: usize, y: usize| {
            let pixels = window(x, y);
            let n = pixels.len() as f64;
            let mean = |f: &dyn Fn(usize, usize) -> f64| pixels.iter().map(|&(x, y)| f(x, y)).sum::<f64>() / n;
            let colour = |c: usize| move |x: usize, y: usize| f64::from(guide.at(x, y)[c]);
            let mean_p = mean(&|x, y| f64::from(input.at(x, y)));
            let mu = [0, 1, 2].map(|c| mean(&colour(c)));
            let mut system = [[0.0f64; 4]; 3];
            for i in 0..3 {
                for j in 0..3 {
                    system[i][j] = mean(&|x, y| colour(i)(x, y) * colour(j)(x, y)) - mu[i] * mu[j];
                }
                system[i][i] += epsilon;
                system[i][3] = mean(&|x, y| colour(i)(x, y) * f64::from(input.at(x, y))) - mu[i] * mean_p;
            }
            for i in 0..3 {
                for k in i + 1..3 {
                    let factor = system[k][i] / system[i][i];
                    let pivot = system[i];
                    system[k].iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
                }
            }
            let mut a = [0.0; 3];
            for i in (0..3).rev() {
                a[i] = (system[i][3] - (i + 1..3).map(|j| system[i][j] * a[j]).sum::<f64>()) / system[i][i];
            }
            [a[0], a[1], a[2], mean_p - (0..3).map(|c| a[c] * mu[c]).sum::<f64>()]
        };
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let pixels = window(x, y);
                let mut line = [0.0; 4];
                for &(x, y) in &pixels {
                    let one = fit(x, y);
                    (0..4).for_each(|k| line[k] += one[k] / pixels.len() as f64);
                }
                let colour = guide.at(x, y);
                out.push((0..3).map(|c| line[c] * f64::from(colour[c])).sum::<f64>() + line[3]);
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_formulas() {
        let mut rng = fastrand::Rng::with_seed(5);
        for (width, height, radius) in [(17, 13, 2), (9, 4, 6), (1, 7, 1), (12, 12, 0)] {
            let n = width * height;
            let guide = Plane { width, height, data: (0..n).map(|_| [rng.f32(), rng.f32(), rng.f32()]).collect() };
            let input = Plane { width, height, data: (0..n).map(|_| rng.f32()).collect() };
            let lines = lines(&guide, &input, &Options { radius, epsilon: 1e-3 });
            let expected = naive(&guide, &input, radius, 1e-3);
            for (i, expected) in expected.iter().enumerate() {
                let found = f64::from(apply(lines.data[i], guide.data[i]));
                assert!((found - expected).abs() < 2e-3, "{width}x{height} r {radius} at {i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn follows_an_edge_and_smooths_flat_parts() {
        let guide = Plane::from_fn(20, 8, |x, _| if x < 10 { [0.1; 3] } else { [0.9; 3] });
        // The input's edge is one pixel off and has a hole in the flat part.
        let input = Plane::from_fn(20, 8, |x, y| f32::from(u8::from(x >= 11 && (x, y) != (16, 4))));
        let lines = lines(&guide, &input, &Options { radius: 3, epsilon: 1e-4 });
        let value = |x: usize, y: usize| apply(lines.at(x, y), guide.at(x, y));
        assert!(value(8, 4) < 0.05 && value(9, 4) < 0.05);
        assert!(value(10, 4) > 0.6 && value(12, 4) > 0.7);
        assert!(value(16, 4) > 0.8);
    }
}
