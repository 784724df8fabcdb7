//! Views of a field by volume rendering: what the reference compares pictures with in training.
//!
//! Reference: TripoSR `tsr/models/nerf_renderer.py`, `tsr/utils.py` (`get_spherical_cameras`) @ d26e331.
//! Everything is in the decoder's axes: +z up, azimuth from +x towards +y.

use glam::{Mat3, Vec3};
use rayon::prelude::*;

use crate::field::Field;

/// One of a ring of cameras that look at the origin, square, pinhole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// Degrees.
    pub azimuth: f32,
    /// Degrees above the horizon.
    pub elevation: f32,
    /// From the origin.
    pub distance: f32,
    /// Vertical field of view, in degrees.
    pub fov: f32,
    /// Width and height, in pixels.
    pub side: usize,
}

/// A pixel's ray.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ray {
    pub origin: Vec3,
    /// Unit length.
    pub direction: Vec3,
}

impl Camera {
    pub fn position(&self) -> Vec3 {
        let (azimuth, elevation) = (self.azimuth.to_radians(), self.elevation.to_radians());
        let flat = elevation.cos() * self.distance;
        Vec3::new(flat * azimuth.cos(), flat * azimuth.sin(), self.distance * elevation.sin())
    }

    /// Rays through the pixels' centres, row by row.
    pub fn rays(&self) -> Vec<Ray> {
        let origin = self.position();
        let forward = (-origin).normalize();
        let right = forward.cross(Vec3::Z).normalize();
        let to_world = Mat3::from_cols(right, right.cross(forward).normalize(), -forward);
        let half = self.side as f32 / 2.0;
        let focal = half / (self.fov.to_radians() / 2.0).tan();
        let at = |i: usize| (i as f32 + 0.5 - half) / focal;
        let rays = (0..self.side * self.side).map(|i| {
            let direction = to_world * Vec3::new(at(i % self.side), -at(i / self.side), -1.0);
            Ray { origin, direction: direction.normalize() }
        });
        rays.collect()
    }
}

/// Colours along `rays` over white, 0..=1, from `n_samples` midpoints between where each enters
/// and leaves the cube, which is shrunk by a thousandth. As in the reference a step counts as
/// 1 / `n_samples`, however long it is. Rays that miss the cube are white.
pub fn render(field: &Field, rays: &[Ray], n_samples: usize) -> Vec<[f32; 3]> {
    rays.par_iter().with_min_len(16).map(|ray| along(field, ray, n_samples)).collect()
}

fn along(field: &Field, ray: &Ray, n_samples: usize) -> [f32; 3] {
    let Some((near, far)) = crossing(ray, field.scales.radius * (1.0 - 1e-3)) else { return [1.0; 3] };
    let step = 1.0 / n_samples as f32;
    let points: Vec<Vec3> = (0..n_samples)
        .map(|i| {
            let share = (i as f32 + 0.5) * step;
            ray.origin + ray.direction * (near * (1.0 - share) + far * share)
        })
        .collect();
    let mut color = Vec3::ZERO;
    let mut seen_through = 1.0f32;
    for [log_density, rgb @ ..] in field.raw(&points) {
        let alpha = 1.0 - (-step * (log_density + field.scales.density_bias).exp()).exp();
        color += Vec3::from_array(rgb.map(|v| 1.0 / (1.0 + (-v).exp()))) * (alpha * seen_through);
        seen_through *= 1.0 - alpha;
    }
    (color + seen_through).to_array()
}

/// Where a ray enters and leaves the cube of half side `radius`. `None` where it misses it or
/// passes through less than a hundredth of a unit.
fn crossing(ray: &Ray, radius: f32) -> Option<(f32, f32)> {
    let (mut near, mut far) = (0.0f32, f32::INFINITY);
    for axis in 0..3 {
        let origin = ray.origin[axis];
        let direction = if ray.direction[axis].abs() < 1e-6 { 1e-6 } else { ray.direction[axis] };
        let (a, b) = ((-radius - origin) / direction, (radius - origin) / direction);
        near = near.max(a.min(b));
        far = far.min(a.max(b));
    }
    (far - near > 0.01).then_some((near, far))
}
