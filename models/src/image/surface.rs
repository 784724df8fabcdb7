//! A smooth background: colour as a quadratic function of the place in the picture.

use super::oklab::Lab;

const N: usize = 6;
const ROUNDS: usize = 12;

/// Place in the picture: -1 to 1 from left to right and from top to bottom.
pub type Place = (f32, f32);

#[derive(Debug, Clone)]
pub struct Surface {
    /// Per channel, for 1, u, v, uu, uv, vv.
    coefficients: [[f32; N]; 3],
    /// Standard deviation of the colours that belong to it.
    pub sigma: f32,
    /// Share of the samples that belong to it.
    pub inliers: f32,
}

impl Surface {
    /// Fits most of `samples`, leaving out those that are something else
    /// (iteratively reweighted least squares, Geman-McClure weights of shrinking
    /// width). `None` with fewer than 32 samples.
    pub fn fit(samples: &[(Place, Lab)]) -> Option<Surface> {
        if samples.len() < 32 {
            return None;
        }
        let mut surface = Surface { coefficients: [[0.0; N]; 3], sigma: 0.0, inliers: 0.0 };
        for c in 0..3 {
            let mut values: Vec<f32> = samples.iter().map(|s| s.1[c]).collect();
            surface.coefficients[c][0] = median(&mut values);
        }
        let mut width = (median(&mut surface.residuals(samples)) * 2.0).max(0.02);
        for _ in 0..ROUNDS {
            surface.approach(samples, width)?;
            let spread = median(&mut surface.residuals(samples)) * 1.5;
            width = (width * 0.75).min(spread * 2.0).max(0.004);
        }
        surface.measure(samples);
        Some(surface)
    }

    /// The surface fitted to more samples of the same background.
    pub fn refit(&self, samples: &[(Place, Lab)]) -> Option<Surface> {
        if samples.len() < 32 {
            return None;
        }
        let mut surface = self.clone();
        for _ in 0..3 {
            surface.approach(samples, self.reach())?;
        }
        surface.measure(samples);
        Some(surface)
    }

    fn measure(&mut self, samples: &[(Place, Lab)]) {
        let mut residuals = self.residuals(samples);
        // The median length of a three-dimensional normal vector is 1.54 sigma.
        self.sigma = median(&mut residuals) / 1.54;
        let limit = self.reach();
        self.inliers = residuals.iter().filter(|r| **r < limit).count() as f32 / residuals.len() as f32;
    }

    pub fn at(&self, place: Place) -> Lab {
        let terms = terms(place);
        self.coefficients.map(|row| row.iter().zip(terms).map(|(a, b)| a * b).sum())
    }

    /// Distance from the surface within which a colour may belong to it.
    pub fn reach(&self) -> f32 {
        (self.sigma * 4.0).max(0.01)
    }

    fn residuals(&self, samples: &[(Place, Lab)]) -> Vec<f32> {
        samples.iter().map(|(place, colour)| distance(colour, &self.at(*place))).collect()
    }

    /// One round of weighted least squares.
    fn approach(&mut self, samples: &[(Place, Lab)], width: f32) -> Option<()> {
        let mut normal = [[0.0f64; N]; N];
        let mut right = [[0.0f64; 3]; N];
        for (place, colour) in samples {
            let r = distance(colour, &self.at(*place)) / width;
            let weight = f64::from(1.0 / (1.0 + r * r).powi(2));
            let terms = terms(*place).map(f64::from);
            for i in 0..N {
                for j in 0..N {
                    normal[i][j] += weight * terms[i] * terms[j];
                }
                for c in 0..3 {
                    right[i][c] += weight * terms[i] * f64::from(colour[c]);
                }
            }
        }
        // Keeps directions that the samples do not show flat.
        let ridge = normal[0][0] * 1e-4;
        for (i, row) in normal.iter_mut().enumerate().skip(1) {
            row[i] += ridge;
        }
        let solution = solve(normal, right)?;
        self.coefficients = std::array::from_fn(|c| solution.map(|row| row[c] as f32));
        Some(())
    }
}

pub fn distance(a: &Lab, b: &Lab) -> f32 {
    (0..3).map(|c| (a[c] - b[c]) * (a[c] - b[c])).sum::<f32>().sqrt()
}

fn terms((u, v): Place) -> [f32; N] {
    [1.0, u, v, u * u, u * v, v * v]
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Gaussian elimination of a positive definite system.
fn solve(mut matrix: [[f64; N]; N], mut right: [[f64; 3]; N]) -> Option<[[f64; 3]; N]> {
    for i in 0..N {
        let (pivot_row, pivot_right) = (matrix[i], right[i]);
        if pivot_row[i] < 1e-12 {
            return None;
        }
        for k in i + 1..N {
            let factor = matrix[k][i] / pivot_row[i];
            matrix[k].iter_mut().zip(pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
            right[k].iter_mut().zip(pivot_right).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    for i in (0..N).rev() {
        right[i] = std::array::from_fn(|c| {
            let known: f64 = (i + 1..N).map(|j| matrix[i][j] * right[j][c]).sum();
            (right[i][c] - known) / matrix[i][i]
        });
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_gradient_under_outliers() {
        let mut rng = fastrand::Rng::with_seed(4);
        let truth = |(u, v): Place| [0.6 + 0.2 * u - 0.1 * v * v, 0.02 * v, 0.05 * u * v];
        let samples: Vec<(Place, Lab)> = (0..2000)
            .map(|i| {
                let place = (rng.f32() * 2.0 - 1.0, rng.f32() * 2.0 - 1.0);
                let noise = (rng.f32() - 0.5) * 0.01;
                let colour = if i % 4 == 0 { [0.2, 0.1, 0.1] } else { truth(place).map(|c| c + noise) };
                (place, colour)
            })
            .collect();
        let surface = Surface::fit(&samples).unwrap();
        for place in [(0.0, 0.0), (-0.9, 0.9), (0.5, -0.5)] {
            assert!(distance(&surface.at(place), &truth(place)) < 0.005);
        }
        assert!((surface.inliers - 0.75).abs() < 0.03, "{}", surface.inliers);
        assert!(surface.sigma < 0.006, "{}", surface.sigma);
    }

    #[test]
    fn refuses_too_few_samples() {
        assert!(Surface::fit(&[((0.0, 0.0), [0.5; 3]); 31]).is_none());
    }
}
