//! How well a mesh's outline fits the object in the picture.

use glam::{Vec2, Vec3};
use image::RgbaImage;

use super::{FrontView, Mesh, raster};

/// Intersection over union, 0..=1, of the mesh's silhouette and the cutout's
/// alpha, both soft: sum of the smaller over sum of the larger value of each
/// pixel. Seen in the mesh's own front view; without one, the mesh is scaled and
/// moved so that its bounds lie on those of the alpha. 0 when either is empty.
pub fn silhouette_iou(mesh: &Mesh, cutout: &RgbaImage) -> f64 {
    let (width, height) = cutout.dimensions();
    let Some(view) = mesh.front.or_else(|| aligned_view(mesh, cutout)) else { return 0.0 };
    let coverage = raster::silhouette(mesh, &view, width, height);
    // u64: exact, whatever the order of the sum.
    let (mut both, mut either) = (0u64, 0u64);
    for (covered, pixel) in coverage.iter().zip(cutout.pixels()) {
        both += u64::from(*covered.min(&pixel.0[3]));
        either += u64::from(*covered.max(&pixel.0[3]));
    }
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// The view in which the mesh is as high as the object and centred on it.
/// `None` when there is no object, or no height.
fn aligned_view(mesh: &Mesh, cutout: &RgbaImage) -> Option<FrontView> {
    let (low, high) = mesh.bounds()?;
    let solid = || cutout.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[3] >= 128);
    let left_top = solid().map(|(x, y, _)| [x, y]).reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])])?;
    let right_bottom = solid().map(|(x, y, _)| [x + 1, y + 1]).reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])])?;
    let pixels = |corner: [u32; 2]| Vec2::new(corner[0] as f32, corner[1] as f32);
    let (left_top, right_bottom) = (pixels(left_top), pixels(right_bottom));

    let metres_per_pixel = (high.y - low.y) / (right_bottom.y - left_top.y);
    let centre: Vec3 = (low + high) / 2.0;
    let origin = (left_top + right_bottom) / 2.0 - Vec2::new(centre.x, -centre.y) / metres_per_pixel;
    (metres_per_pixel > 0.0 && origin.is_finite()).then_some(FrontView { metres_per_pixel, origin })
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;
    use crate::mesh::shapes;

    /// A disc of `radius` pixels around `centre` with one soft pixel at its rim.
    fn disc(size: u32, centre: Vec2, radius: f32) -> RgbaImage {
        RgbaImage::from_fn(size, size, |x, y| {
            let distance = (Vec2::new(x as f32 + 0.5, y as f32 + 0.5) - centre).length();
            Rgba([200, 100, 50, ((radius - distance + 0.5).clamp(0.0, 1.0) * 255.0) as u8])
        })
    }

    fn ball(front: Option<FrontView>) -> Mesh {
        Mesh { front, ..shapes::sphere(64) }
    }

    #[test]
    fn a_ball_fits_its_disc_in_its_own_view_and_when_aligned() {
        let centre = Vec2::new(110.0, 140.0);
        let cutout = disc(256, centre, 80.0);
        let front = FrontView { metres_per_pixel: 1.0 / 80.0, origin: centre };
        for mesh in [ball(Some(front)), ball(None)] {
            let iou = silhouette_iou(&mesh, &cutout);
            assert!(iou > 0.99, "{iou}");
        }
    }

    #[test]
    fn a_shift_and_a_size_cost_what_they_should() {
        let centre = Vec2::new(128.0, 128.0);
        let cutout = disc(256, centre, 80.0);
        let smaller = FrontView { metres_per_pixel: 1.0 / 40.0, origin: centre };
        let iou = silhouette_iou(&ball(Some(smaller)), &cutout);
        assert!((iou - 0.25).abs() < 0.01, "a disc of half the radius has a quarter of the area: {iou}");
        let elsewhere = FrontView { metres_per_pixel: 1.0 / 40.0, origin: Vec2::new(-500.0, 0.0) };
        assert_eq!(silhouette_iou(&ball(Some(elsewhere)), &cutout), 0.0);
    }

    #[test]
    fn nothing_fits_nothing() {
        let front = FrontView { metres_per_pixel: 1.0, origin: Vec2::ZERO };
        assert_eq!(silhouette_iou(&ball(None), &RgbaImage::new(16, 16)), 0.0);
        assert_eq!(silhouette_iou(&Mesh { front: Some(front), ..Mesh::default() }, &RgbaImage::new(16, 16)), 0.0);
        assert_eq!(silhouette_iou(&Mesh::default(), &disc(16, Vec2::splat(8.0), 5.0)), 0.0);
        assert_eq!(silhouette_iou(&ball(None), &RgbaImage::new(0, 0)), 0.0);
    }
}
