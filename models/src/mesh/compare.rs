//! How far apart two meshes are, in the measures that papers and tools quote.
//!
//! In: two meshes in the same place and size. Out: `Comparison`. Points are
//! spread evenly over each surface by area, and held against the nearest point
//! of the other surface itself, not of a cloud of samples. Same meshes, number
//! of samples and seed, same figures, whatever the number of threads.
//!
//! Chamfer distance and F-score as in Knapitsch et al., "Tanks and Temples",
//! 2017; normal consistency as in Mescheder et al., "Occupancy Networks", 2019.

mod outlines;
mod sample;

use glam::Vec3;
use rayon::prelude::*;
use serde_json::{Value as Json, json};

use super::{
    Mesh,
    analysis::{rounded, shape::area_and_volume},
    bvh::Bvh,
    topology::is_watertight,
};

use sample::Sample;

/// Thresholds of the F-score, relative to the diagonal of the first mesh's bounds.
pub const F_SCORE_AT: [f64; 3] = [0.01, 0.02, 0.05];

/// Views in which outlines are compared.
pub const N_VIEWS: usize = 12;

/// At most so many vertices are looked at for each sample, evenly spread over the
/// mesh: dense meshes have samples enough.
const MAX_VERTICES: usize = 1;

/// From each surface to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// Mean over the samples of the first mesh, in metres.
    pub mean_forth: f64,
    /// Mean over the samples of the second.
    pub mean_back: f64,
    /// Largest over all samples of both, and their vertices, every one where there
    /// are not many more than samples: Hausdorff's, from below.
    pub max: f64,
    /// For each threshold, relative to the diagonal of the first: 0..=1.
    pub f_score: [f64; 3],
    /// Mean of |cosine| between normals at a sample and at the nearest point, 0..=1.
    pub normal_consistency: f64,
    /// Of the first mesh's bounds, in metres: what distances are relative to.
    pub diagonal: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub distances: Distances,
    /// Mean intersection over union of the outlines seen from all around, 0..=1.
    pub silhouette_iou: f64,
    /// Second over first.
    pub area_ratio: f64,
    /// Second over first; `None` unless both are closed.
    pub volume_ratio: Option<f64>,
}

/// Compares `b` with the reference `a`. `None` when one of them has no triangle
/// with area. `samples` on each surface, at least 1; 30,000 hold a mean to about
/// a hundredth of itself.
pub fn compare(a: &Mesh, b: &Mesh, samples: usize, seed: u64) -> Option<Comparison> {
    let distances = distances(a, b, samples, seed)?;
    let ((area_a, _), (area_b, _)) = (area_and_volume(a), area_and_volume(b));
    Some(Comparison {
        distances,
        silhouette_iou: outlines::mean_iou(a, b, N_VIEWS),
        area_ratio: area_b / area_a,
        volume_ratio: closed_volume(a).zip(closed_volume(b)).map(|(a, b)| b / a),
    })
}

/// Signed, in cubic metres; `None` when the surface is not closed or has none.
pub fn closed_volume(mesh: &Mesh) -> Option<f64> {
    let closed = is_watertight(&mesh.positions, &mesh.triangles);
    let volume = if closed { area_and_volume(mesh).1 } else { 0.0 };
    (volume != 0.0).then_some(volume)
}

/// The part of `compare` that looks at points.
pub fn distances(a: &Mesh, b: &Mesh, samples: usize, seed: u64) -> Option<Distances> {
    let (low, high) = finite_bounds(a)?;
    let diagonal = f64::from((high - low).length());
    let (points_a, points_b) = (sample::spread(a, samples, seed)?, sample::spread(b, samples, seed)?);
    let tree = |mesh: &Mesh| Bvh::with_flat_triangles(&mesh.positions, &mesh.triangles);
    let (tree_a, tree_b) = rayon::join(|| tree(a), || tree(b));
    let forth = Side::measure(&points_a, a, b, &tree_b);
    let back = Side::measure(&points_b, b, a, &tree_a);
    let f_score = F_SCORE_AT.map(|share| {
        let (precision, recall) = (forth.share_within(share * diagonal), back.share_within(share * diagonal));
        if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    });
    Some(Distances {
        mean_forth: mean(&forth.distances),
        mean_back: mean(&back.distances),
        max: forth.farthest.max(back.farthest),
        f_score,
        normal_consistency: (mean(&forth.cosines) + mean(&back.cosines)) / 2.0,
        diagonal,
    })
}

/// What the samples of one surface find on the other.
struct Side {
    distances: Vec<f64>,
    cosines: Vec<f64>,
    farthest: f64,
}

impl Side {
    fn measure(points: &[Sample], from: &Mesh, to: &Mesh, tree: &Bvh) -> Side {
        let found = points.par_iter().filter_map(|sample| {
            let near = tree.nearest(to, sample.position)?;
            Some((near.distance, f64::from(sample.normal.dot(normal(to, near.face)).abs())))
        });
        let (distances, cosines): (Vec<f64>, Vec<f64>) = found.unzip();
        let mut used = vec![false; from.positions.len()];
        from.triangles.iter().flatten().for_each(|&v| used[v as usize] = true);
        let stride = from.positions.len() / (MAX_VERTICES * points.len()) + 1;
        let corners: Vec<Vec3> = from.positions.iter().zip(used).filter(|(_, used)| *used).map(|(&p, _)| p).collect();
        let every = corners.par_iter().step_by(stride);
        let corner = every.filter_map(|&p| Some(tree.nearest(to, p)?.distance)).reduce(|| 0.0, f64::max);
        let farthest = distances.iter().copied().fold(corner, f64::max);
        Side { distances, cosines, farthest }
    }

    fn share_within(&self, limit: f64) -> f64 {
        let n = self.distances.iter().filter(|&&distance| distance <= limit).count();
        n as f64 / self.distances.len().max(1) as f64
    }
}

impl Distances {
    /// Mean of both directions, in metres.
    pub fn chamfer(&self) -> f64 {
        (self.mean_forth + self.mean_back) / 2.0
    }

    /// Lengths in metres, and relative to the diagonal of the first mesh's bounds.
    pub fn to_json(&self) -> Json {
        let relative = |metres: f64| rounded(metres / self.diagonal);
        json!({
            "chamfer_m": rounded(self.chamfer()),
            "chamfer": relative(self.chamfer()),
            "hausdorff_m": rounded(self.max),
            "hausdorff": relative(self.max),
            "f_score_1": rounded(self.f_score[0]),
            "f_score_2": rounded(self.f_score[1]),
            "f_score_5": rounded(self.f_score[2]),
            "normal_consistency": rounded(self.normal_consistency),
            "diagonal_m": rounded(self.diagonal),
        })
    }
}

impl Comparison {
    pub fn to_json(&self) -> Json {
        let mut json = self.distances.to_json();
        json["silhouette_iou"] = json!(rounded(self.silhouette_iou));
        json["area_ratio"] = json!(rounded(self.area_ratio));
        json["volume_ratio"] = json!(self.volume_ratio.map(rounded));
        json
    }
}

fn normal(mesh: &Mesh, triangle: u32) -> Vec3 {
    sample::normal(mesh.corners(mesh.triangles[triangle as usize]))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Of the corners of triangles that are finite.
fn finite_bounds(mesh: &Mesh) -> Option<(Vec3, Vec3)> {
    let corners = mesh.triangles.iter().map(|&t| mesh.corners(t)).filter(|c| c.iter().all(|p| p.is_finite()));
    corners.flatten().map(|p| (p, p)).reduce(|(low, high), (p, _)| (low.min(p), high.max(p)))
}

#[cfg(test)]
mod tests;
