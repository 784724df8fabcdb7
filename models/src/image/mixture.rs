//! Gaussian mixtures of colours: how likely a colour is, given a set of others.
//!
//! Split along the largest spread (Orchard and Bouman, "Color quantization of
//! images", 1991), then a few rounds of hard assignment, as in GrabCut.

use super::oklab::Lab;

const ROUNDS: usize = 3;
/// Clusters with a standard deviation below this are not split further.
const SMALLEST_SPREAD: f32 = 0.01;
/// Log of the density of colours that are equally likely over the sRGB gamut,
/// whose volume in OKLab is about 0.055.
const LOG_UNIFORM: f32 = 2.9;

#[derive(Debug, Clone)]
pub struct Mixture {
    gaussians: Vec<Gaussian>,
    /// Log density of a colour unlike all samples.
    log_outlier: f32,
}

#[derive(Debug, Clone)]
struct Gaussian {
    mean: Lab,
    /// Inverse covariance: xx, xy, xz, yy, yz, zz.
    inverse: [f32; 6],
    /// Log of weight over volume.
    log_peak: f32,
}

pub struct Fit {
    pub n_gaussians: usize,
    /// Standard deviation added to every axis.
    pub blur: f32,
    /// Share of colours that need not resemble any sample.
    pub outliers: f32,
}

impl Mixture {
    /// `None` without samples.
    pub fn fit(samples: &[Lab], fit: &Fit) -> Option<Mixture> {
        if samples.is_empty() {
            return None;
        }
        let mut clusters = vec![Moments::of(samples)];
        let mut owner = vec![0u8; samples.len()];
        while clusters.len() < fit.n_gaussians {
            let spread: Vec<(f32, Lab)> = clusters.iter().map(|c| largest_axis(&c.covariance())).collect();
            let widest = (0..clusters.len())
                .max_by(|a, b| (spread[*a].0 * clusters[*a].n).total_cmp(&(spread[*b].0 * clusters[*b].n)));
            let Some(widest) = widest.filter(|i| spread[*i].0 > SMALLEST_SPREAD * SMALLEST_SPREAD) else { break };
            let (mean, axis) = (clusters[widest].mean(), spread[widest].1);
            let added = clusters.len() as u8;
            for (sample, owner) in samples.iter().zip(&mut owner) {
                let side: f32 = (0..3).map(|c| (sample[c] - mean[c]) * axis[c]).sum();
                if usize::from(*owner) == widest && side > 0.0 {
                    *owner = added;
                }
            }
            clusters = gather(samples, &owner, clusters.len() + 1);
        }
        for _ in 0..ROUNDS {
            let mixture = Mixture::of(&clusters, fit);
            let index: Vec<usize> = (0..clusters.len()).filter(|i| clusters[*i].n > 0.0).collect();
            for (sample, owner) in samples.iter().zip(&mut owner) {
                *owner = index[mixture.nearest(sample)] as u8;
            }
            clusters = gather(samples, &owner, clusters.len());
        }
        Some(Mixture::of(&clusters, fit))
    }

    fn of(clusters: &[Moments], fit: &Fit) -> Mixture {
        let total: f32 = clusters.iter().map(|c| c.n).sum();
        let gaussians = clusters.iter().filter(|c| c.n > 0.0).map(|c| c.gaussian(c.n / total, fit.blur)).collect();
        Mixture { gaussians, log_outlier: LOG_UNIFORM + fit.outliers.ln() }
    }

    /// Natural log of the density at `colour`, by the likeliest part alone.
    pub fn log_density(&self, colour: &Lab) -> f32 {
        self.gaussians.iter().map(|g| g.log_density(colour)).fold(self.log_outlier, f32::max)
    }

    fn nearest(&self, colour: &Lab) -> usize {
        let mut best = (f32::NEG_INFINITY, 0);
        for (i, gaussian) in self.gaussians.iter().enumerate() {
            let density = gaussian.log_density(colour);
            if density > best.0 {
                best = (density, i);
            }
        }
        best.1
    }
}

impl Gaussian {
    fn log_density(&self, colour: &Lab) -> f32 {
        let [x, y, z] = [colour[0] - self.mean[0], colour[1] - self.mean[1], colour[2] - self.mean[2]];
        let [xx, xy, xz, yy, yz, zz] = self.inverse;
        let square = xx * x * x + yy * y * y + zz * z * z + 2.0 * (xy * x * y + xz * x * z + yz * y * z);
        self.log_peak - 0.5 * square
    }
}

/// Count, sums and sums of products of some samples.
#[derive(Clone, Copy)]
struct Moments {
    n: f32,
    sum: [f64; 3],
    products: [f64; 6],
}

impl Moments {
    const NONE: Moments = Moments { n: 0.0, sum: [0.0; 3], products: [0.0; 6] };

    fn of(samples: &[Lab]) -> Moments {
        let mut moments = Moments::NONE;
        samples.iter().for_each(|s| moments.add(s));
        moments
    }

    fn add(&mut self, sample: &Lab) {
        let [x, y, z] = sample.map(f64::from);
        self.n += 1.0;
        for (sum, v) in self.sum.iter_mut().zip([x, y, z]) {
            *sum += v;
        }
        for (sum, v) in self.products.iter_mut().zip([x * x, x * y, x * z, y * y, y * z, z * z]) {
            *sum += v;
        }
    }

    fn mean(&self) -> Lab {
        self.sum.map(|v| (v / f64::from(self.n.max(1.0))) as f32)
    }

    fn covariance(&self) -> [f32; 6] {
        let n = f64::from(self.n.max(1.0));
        let [x, y, z] = self.sum.map(|v| v / n);
        let squares = [x * x, x * y, x * z, y * y, y * z, z * z];
        std::array::from_fn(|i| (self.products[i] / n - squares[i]) as f32)
    }

    fn gaussian(&self, weight: f32, blur: f32) -> Gaussian {
        let mut c = self.covariance();
        for i in [0, 3, 5] {
            c[i] = c[i].max(0.0) + blur * blur;
        }
        let [xx, xy, xz, yy, yz, zz] = c;
        let cofactors = [
            yy * zz - yz * yz,
            xz * yz - xy * zz,
            xy * yz - xz * yy,
            xx * zz - xz * xz,
            xy * xz - xx * yz,
            xx * yy - xy * xy,
        ];
        let smallest = blur.powi(6);
        let determinant = (xx * cofactors[0] + xy * cofactors[1] + xz * cofactors[2]).max(smallest);
        let log_two_pi = std::f32::consts::TAU.ln();
        Gaussian {
            mean: self.mean(),
            inverse: cofactors.map(|v| v / determinant),
            log_peak: weight.ln() - 1.5 * log_two_pi - 0.5 * determinant.ln(),
        }
    }
}

fn gather(samples: &[Lab], owner: &[u8], n_clusters: usize) -> Vec<Moments> {
    let mut clusters = vec![Moments::NONE; n_clusters];
    for (sample, owner) in samples.iter().zip(owner) {
        clusters[usize::from(*owner)].add(sample);
    }
    clusters
}

/// Largest variance of a covariance and its direction, by power iteration.
fn largest_axis(covariance: &[f32; 6]) -> (f32, Lab) {
    let [xx, xy, xz, yy, yz, zz] = *covariance;
    let mut axis = [1.0f32, 0.9, 0.8];
    let mut length = 0.0;
    for _ in 0..24 {
        let [x, y, z] = axis;
        let next = [xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z];
        length = next.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length < 1e-12 {
            return (0.0, axis);
        }
        axis = next.map(|v| v / length);
    }
    (length, axis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Fit = Fit { n_gaussians: 5, blur: 0.01, outliers: 0.01 };

    fn around(centre: Lab, n: usize, rng: &mut fastrand::Rng) -> Vec<Lab> {
        (0..n).map(|_| centre.map(|v| v + (rng.f32() + rng.f32() - 1.0) * 0.05)).collect()
    }

    #[test]
    fn separates_what_it_has_seen_from_what_it_has_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let centres = [[0.3, 0.1, 0.0], [0.8, -0.1, 0.1], [0.5, 0.0, -0.2]];
        let samples: Vec<Lab> = centres.iter().flat_map(|c| around(*c, 3000, &mut rng)).collect();
        let mixture = Mixture::fit(&samples, &FIT).unwrap();
        for centre in centres {
            assert!(mixture.log_density(&centre) > 4.0);
        }
        assert!(mixture.log_density(&[0.55, 0.0, 0.0]) < -1.0);
    }

    #[test]
    fn one_colour_or_none_are_no_problem() {
        let mixture = Mixture::fit(&[[0.5, 0.0, 0.0]; 100], &FIT).unwrap();
        assert_eq!(mixture.gaussians.len(), 1);
        assert!(mixture.log_density(&[0.5, 0.0, 0.0]) > 8.0);
        assert!(mixture.log_density(&[0.9, 0.0, 0.0]) < 0.0);
        assert!(Mixture::fit(&[], &FIT).is_none());
    }

    /// A density integrates to one: here over a box that holds all samples.
    #[test]
    fn densities_are_normalised() {
        let mut rng = fastrand::Rng::with_seed(2);
        let samples = around([0.5, 0.0, 0.0], 4000, &mut rng);
        let mixture = Mixture::fit(&samples, &Fit { n_gaussians: 1, ..FIT }).unwrap();
        let n = 60_000;
        let sum: f64 = (0..n)
            .map(|_| [0.5, 0.0, 0.0].map(|v: f32| v + (rng.f32() - 0.5) * 0.3))
            .map(|c| f64::from(mixture.gaussians[0].log_density(&c)).exp())
            .sum();
        let integral = sum / f64::from(n) * 0.3f64.powi(3);
        assert!((integral - 1.0).abs() < 0.05, "{integral}");
    }
}
