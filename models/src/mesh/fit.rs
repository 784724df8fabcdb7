//! How well a mesh's outline fits the object in the picture.

use glam::{Vec2, Vec3};
use image::RgbaImage;
use rayon::prelude::*;

use super::{FrontView, Mesh, raster};

/// Intersection over union, 0..=1, of the mesh's silhouette and the cutout's:
/// sum of the smaller over sum of the larger coverage of each pixel. Seen in the
/// mesh's own front view; without one, the mesh is scaled and moved so that its
/// bounds lie on those of the object. 0 when either is empty.
pub fn silhouette_iou(mesh: &Mesh, cutout: &RgbaImage) -> f64 {
    let (width, height) = cutout.dimensions();
    let Some(view) = mesh.front.or_else(|| aligned_view(mesh, cutout)) else { return 0.0 };
    let (shown, wanted) = (raster::silhouette(mesh, &view, width, height), outline_coverage(cutout));
    // u64: exact, whatever the order of the sum.
    let (mut both, mut either) = (0u64, 0u64);
    for (a, b) in shown.into_iter().zip(wanted) {
        both += u64::from(a.min(b));
        either += u64::from(a.max(b));
    }
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// Samples in a pixel, each way.
const SAMPLES: usize = 8;

/// How much of each pixel lies within the cutout's outline, 0..=255, row by row.
///
/// The outline runs where alpha, bilinear between pixel centres, is one half. On
/// a hard edge that is the edge, to a fraction of a pixel; where alpha fades
/// slowly or is translucent all over, a solid has no better place to end.
fn outline_coverage(cutout: &RgbaImage) -> Vec<u8> {
    let (width, height) = (cutout.width() as usize, cutout.height() as usize);
    let alpha: Vec<u8> = cutout.pixels().map(|pixel| pixel.0[3]).collect();
    let mut coverage = vec![0; alpha.len()];
    coverage.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| &alpha[y * width..(y + 1) * width]);
        let solid = |x: usize| rows.iter().map(|row| row[x] >> 7).sum::<u8>();
        let columns: Vec<u8> = (0..width).map(solid).collect();
        for (x, covered) in row.iter_mut().enumerate() {
            let xs = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            *covered = match xs.map(|x| columns[x]) {
                [0, 0, 0] => 0,
                [3, 3, 3] => 255,
                _ => share_inside(rows.map(|row| xs.map(|x| row[x]))),
            };
        }
    });
    coverage
}

/// Share, 0..=255, of the middle pixel of nine that lies within the outline.
fn share_inside(near: [[u8; 3]; 3]) -> u8 {
    // Neighbours and weights, in sixteenths, of a sample along one axis.
    let axis = |sample: usize| {
        let at = 2 * sample + 1 + SAMPLES;
        (at / (2 * SAMPLES), at % (2 * SAMPLES))
    };
    let whole = 2 * SAMPLES;
    let mut n = 0;
    for (row, v) in (0..SAMPLES).map(axis) {
        let line = [0, 1, 2].map(|x| usize::from(near[row][x]) * (whole - v) + usize::from(near[row + 1][x]) * v);
        for (column, u) in (0..SAMPLES).map(axis) {
            let value = line[column] * (whole - u) + line[column + 1] * u;
            n += usize::from(2 * value >= 255 * whole * whole);
        }
    }
    (n * 255 / (SAMPLES * SAMPLES)) as u8
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
    fn the_outline_keeps_the_area_of_a_shape_and_ends_where_alpha_is_half() {
        let area = |cutout: &RgbaImage| outline_coverage(cutout).iter().map(|&c| f64::from(c)).sum::<f64>() / 255.0;
        let round = area(&disc(256, Vec2::new(110.3, 140.8), 80.0));
        assert!((round / (std::f64::consts::PI * 6400.0) - 1.0).abs() < 2e-3, "{round}");

        // Alpha fades from 0 to 255 over 64 columns: half of them are inside.
        let fading = RgbaImage::from_fn(64, 8, |x, _| Rgba([0, 0, 0, (x * 4) as u8]));
        assert!((area(&fading) / 8.0 - 32.0).abs() < 0.6, "{}", area(&fading));
        // Translucent all over, more than half and less than half.
        assert_eq!(area(&RgbaImage::from_pixel(5, 4, Rgba([0, 0, 0, 128]))), 20.0);
        assert_eq!(area(&RgbaImage::from_pixel(5, 4, Rgba([0, 0, 0, 127]))), 0.0);
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
