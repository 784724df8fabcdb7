//! Gaussian mixtures: how likely a sample is, given a set of others.
//!
//! Samples are colours, or colours with places. Split along the largest spread
//! (Orchard and Bouman, "Color quantization of images", 1991), then a few rounds of
//! hard assignment, as in GrabCut.

const ROUNDS: usize = 3;
/// Clusters with a standard deviation below this are not split further.
const SMALLEST_SPREAD: f32 = 0.01;

/// A mixture over vectors of `N` numbers.
#[derive(Debug, Clone)]
pub struct Mixture<const N: usize> {
    gaussians: Vec<Gaussian<N>>,
    /// Log density of a sample unlike all others.
    log_outlier: f32,
}

#[derive(Debug, Clone)]
struct Gaussian<const N: usize> {
    mean: [f32; N],
    /// Inverse of the lower Cholesky factor of the covariance, lower triangle.
    whitening: [[f32; N]; N],
    /// Log of weight over volume.
    log_peak: f32,
}

pub struct Fit<const N: usize> {
    pub n_gaussians: usize,
    /// Standard deviation added to each axis.
    pub blur: [f32; N],
    /// Log density of samples that need not resemble any other.
    pub log_outlier: f32,
}

impl<const N: usize> Mixture<N> {
    /// `None` without samples.
    pub fn fit(samples: &[[f32; N]], fit: &Fit<N>) -> Option<Mixture<N>> {
        if samples.is_empty() {
            return None;
        }
        let mut clusters = gather(samples, &vec![0; samples.len()], 1);
        let mut owner = vec![0u8; samples.len()];
        while clusters.len() < fit.n_gaussians {
            let spread: Vec<(f32, [f32; N])> = clusters.iter().map(|c| largest_axis(&c.covariance())).collect();
            let widest = (0..clusters.len())
                .max_by(|a, b| (spread[*a].0 * clusters[*a].n).total_cmp(&(spread[*b].0 * clusters[*b].n)));
            let Some(widest) = widest.filter(|i| spread[*i].0 > SMALLEST_SPREAD * SMALLEST_SPREAD) else { break };
            let (mean, axis) = (clusters[widest].mean(), spread[widest].1);
            let added = clusters.len() as u8;
            for (sample, owner) in samples.iter().zip(&mut owner) {
                let side: f32 = (0..N).map(|i| (sample[i] - mean[i]) * axis[i]).sum();
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

    fn of(clusters: &[Moments<N>], fit: &Fit<N>) -> Mixture<N> {
        let total: f32 = clusters.iter().map(|c| c.n).sum();
        let gaussians = clusters.iter().filter(|c| c.n > 0.0).map(|c| c.gaussian(c.n / total, &fit.blur)).collect();
        Mixture { gaussians, log_outlier: fit.log_outlier }
    }

    /// Natural log of the density at `sample`, by the likeliest part alone.
    pub fn log_density(&self, sample: &[f32; N]) -> f32 {
        self.gaussians.iter().map(|g| g.log_density(sample)).fold(self.log_outlier, f32::max)
    }

    fn nearest(&self, sample: &[f32; N]) -> usize {
        let mut best = (f32::NEG_INFINITY, 0);
        for (i, gaussian) in self.gaussians.iter().enumerate() {
            let density = gaussian.log_density(sample);
            if density > best.0 {
                best = (density, i);
            }
        }
        best.1
    }
}

impl<const N: usize> Gaussian<N> {
    fn log_density(&self, sample: &[f32; N]) -> f32 {
        let off: [f32; N] = std::array::from_fn(|i| sample[i] - self.mean[i]);
        let mut square = 0.0;
        for (i, row) in self.whitening.iter().enumerate() {
            let white: f32 = row[..=i].iter().zip(&off).map(|(w, o)| w * o).sum();
            square += white * white;
        }
        self.log_peak - 0.5 * square
    }
}

/// Count, sums and sums of products of some samples.
#[derive(Clone, Copy)]
struct Moments<const N: usize> {
    n: f32,
    sum: [f64; N],
    products: [[f64; N]; N],
}

impl<const N: usize> Moments<N> {
    fn mean(&self) -> [f32; N] {
        self.sum.map(|v| (v / f64::from(self.n.max(1.0))) as f32)
    }

    fn covariance(&self) -> [[f64; N]; N] {
        let n = f64::from(self.n.max(1.0));
        let mean = self.sum.map(|v| v / n);
        std::array::from_fn(|i| std::array::from_fn(|j| self.products[i.max(j)][i.min(j)] / n - mean[i] * mean[j]))
    }

    fn gaussian(&self, weight: f32, blur: &[f32; N]) -> Gaussian<N> {
        let mut covariance = self.covariance();
        for i in 0..N {
            covariance[i][i] = covariance[i][i].max(0.0) + f64::from(blur[i] * blur[i]);
        }
        // Cholesky; the blur keeps the diagonal away from zero but for rounding.
        let mut factor = [[0.0f64; N]; N];
        for i in 0..N {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
                let rest = covariance[i][j] - known;
                factor[i][j] =
                    if i == j { rest.max(f64::from(blur[i] * blur[i]) * 0.01).sqrt() } else { rest / factor[j][j] };
            }
        }
        let mut inverse = [[0.0f64; N]; N];
        for i in 0..N {
            inverse[i][i] = 1.0 / factor[i][i];
            let row: Vec<f64> =
                (0..i).map(|j| -(j..i).map(|k| factor[i][k] * inverse[k][j]).sum::<f64>() / factor[i][i]).collect();
            inverse[i][..i].copy_from_slice(&row);
        }
        let log_volume: f64 = (0..N).map(|i| factor[i][i].ln()).sum();
        let log_two_pi = std::f32::consts::TAU.ln();
        Gaussian {
            mean: self.mean(),
            whitening: inverse.map(|row| row.map(|v| v as f32)),
            log_peak: weight.ln() - 0.5 * N as f32 * log_two_pi - log_volume as f32,
        }
    }
}

fn gather<const N: usize>(samples: &[[f32; N]], owner: &[u8], n_clusters: usize) -> Vec<Moments<N>> {
    let mut clusters = vec![Moments { n: 0.0, sum: [0.0; N], products: [[0.0; N]; N] }; n_clusters];
    for (sample, owner) in samples.iter().zip(owner) {
        let cluster = &mut clusters[usize::from(*owner)];
        let sample = sample.map(f64::from);
        cluster.n += 1.0;
        for i in 0..N {
            cluster.sum[i] += sample[i];
            for j in 0..=i {
                cluster.products[i][j] += sample[i] * sample[j];
            }
        }
    }
    clusters
}

/// Largest variance of a covariance and its direction, by power iteration.
fn largest_axis<const N: usize>(covariance: &[[f64; N]; N]) -> (f32, [f32; N]) {
    let mut axis: [f64; N] = std::array::from_fn(|i| 1.0 - 0.1 * i as f64);
    let mut length = 0.0;
    for _ in 0..24 {
        let next: [f64; N] = std::array::from_fn(|i| (0..N).map(|j| covariance[i][j] * axis[j]).sum());
        length = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length < 1e-12 {
            return (0.0, axis.map(|v| v as f32));
        }
        axis = next.map(|v| v / length);
    }
    (length as f32, axis.map(|v| v as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Fit<3> = Fit { n_gaussians: 5, blur: [0.01; 3], log_outlier: -2.0 };

    fn around<const N: usize>(centre: [f32; N], n: usize, rng: &mut fastrand::Rng) -> Vec<[f32; N]> {
        (0..n).map(|_| centre.map(|v| v + (rng.f32() + rng.f32() - 1.0) * 0.05)).collect()
    }

    #[test]
    fn separates_what_it_has_seen_from_what_it_has_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let centres = [[0.3, 0.1, 0.0], [0.8, -0.1, 0.1], [0.5, 0.0, -0.2]];
        let samples: Vec<[f32; 3]> = centres.iter().flat_map(|c| around(*c, 3000, &mut rng)).collect();
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
        let mut samples = around([0.5, 0.0, 0.0], 4000, &mut rng);
        // Skewed, so that the covariance is not diagonal.
        samples.iter_mut().for_each(|s| s[1] += 0.8 * s[0] - 0.4);
        let mixture = Mixture::fit(&samples, &Fit { n_gaussians: 1, log_outlier: f32::NEG_INFINITY, ..FIT }).unwrap();
        let n = 80_000;
        let sum: f64 = (0..n)
            .map(|_| [0.5, 0.0, 0.0].map(|v: f32| v + (rng.f32() - 0.5) * 0.3))
            .map(|c| f64::from(mixture.log_density(&c)).exp())
            .sum();
        let integral = sum / f64::from(n) * 0.3f64.powi(3);
        assert!((integral - 1.0).abs() < 0.05, "{integral}");
    }
}
