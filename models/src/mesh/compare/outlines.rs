//! Whether two meshes have the same outline, seen from all around.

use glam::{Mat3, Vec2, Vec3};

use super::finite_bounds;
use crate::mesh::{
    FrontView, Mesh,
    raster::{axes, silhouette},
};

/// Pixels along a side of each picture; coverage is measured within pixels too.
const SIZE: u32 = 256;

/// Mean over `n_views` parallel views of intersection over union; 0 when one of
/// the meshes is empty. Both are seen in the same frame: a shift costs. Opposite
/// directions show the same outline, so views are spread over half a sphere.
pub fn mean_iou(a: &Mesh, b: &Mesh, n_views: usize) -> f64 {
    let (Some(bounds_a), Some(bounds_b)) = (finite_bounds(a), finite_bounds(b)) else { return 0.0 };
    let (low, high) = (bounds_a.0.min(bounds_b.0), bounds_a.1.max(bounds_b.1));
    let (centre, width) = ((low + high) / 2.0, (high - low).length());
    if !(width > 0.0 && width.is_finite()) {
        return 0.0;
    }
    let view = FrontView { metres_per_pixel: width * 1.02 / SIZE as f32, origin: Vec2::splat(SIZE as f32 / 2.0) };
    let iou = |i| {
        let [right, up, back] = axes(-direction(i, n_views));
        let turn = Mat3::from_cols(right, up, back).transpose();
        let [a, b] = [a, b].map(|mesh| coverage(mesh, centre, turn, &view));
        let (mut both, mut either) = (0u64, 0u64);
        for (a, b) in a.into_iter().zip(b) {
            both += u64::from(a.min(b));
            either += u64::from(a.max(b));
        }
        if either == 0 { 0.0 } else { both as f64 / either as f64 }
    };
    (0..n_views).map(iou).sum::<f64>() / n_views.max(1) as f64
}

fn coverage(mesh: &Mesh, centre: Vec3, turn: Mat3, view: &FrontView) -> Vec<u8> {
    let positions = mesh.positions.iter().map(|&p| turn * (p - centre)).collect();
    let turned = Mesh { positions, triangles: mesh.triangles.clone(), ..Mesh::default() };
    silhouette(&turned, view, SIZE, SIZE)
}

/// Unit vectors spread over the upper half of a sphere: a spiral in which each
/// turns by the golden angle (González, "Measurement of Areas on a Sphere Using
/// Fibonacci and Latitude-Longitude Lattices", 2010).
fn direction(i: usize, n: usize) -> Vec3 {
    let y = (i as f32 + 0.5) / n as f32;
    let (s, c) = (i as f32 * 2.399_963).sin_cos();
    Vec3::new(s, 0.0, c) * (1.0 - y * y).sqrt() + Vec3::Y * y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::shapes;

    #[test]
    fn outlines_of_balls_overlap_by_the_ratio_of_their_areas() {
        let ball = shapes::sphere(48);
        assert_eq!(mean_iou(&ball, &ball, 12), 1.0);
        let half = Mesh { positions: ball.positions.iter().map(|p| *p * 0.5).collect(), ..ball.clone() };
        let iou = mean_iou(&ball, &half, 12);
        // 256 pixels; the rim of both is off by less than a tenth of a pixel.
        assert!((iou - 0.25).abs() < 2e-3, "{iou}");
        let apart = Mesh { positions: ball.positions.iter().map(|p| *p + Vec3::X * 50.0).collect(), ..ball.clone() };
        assert!(mean_iou(&ball, &apart, 12) < 0.05);
        assert_eq!(mean_iou(&ball, &Mesh::default(), 12), 0.0);
    }
}
