//! The mesh's outline as the cutout would show it.

use glam::DVec2;
use rayon::prelude::*;

use super::{bins, scan::ScanTriangle};
use crate::mesh::{FrontView, Mesh};

/// Samples in a pixel, each way. One row of samples of a pixel is one byte.
const SAMPLES: u32 = 8;

/// Pixel rows that are drawn together.
const BAND: u32 = 16;

/// How much of each pixel the mesh covers, 0..=255, row by row from the top
/// left, in the orthographic view along -Z that `view` describes. Front and
/// back faces count alike, so open meshes have a silhouette too.
///
/// 8x8 samples a pixel: straight edges are off by at most 1/16 of a pixel.
pub fn silhouette(mesh: &Mesh, view: &FrontView, width: u32, height: u32) -> Vec<u8> {
    let mut coverage = vec![0; width as usize * height as usize];
    if coverage.is_empty() {
        return coverage;
    }
    let samples: Vec<DVec2> =
        mesh.positions.iter().map(|&p| view.to_pixel(p).as_dvec2() * f64::from(SAMPLES)).collect();
    let triangles: Vec<ScanTriangle> =
        mesh.triangles.iter().filter_map(|triangle| ScanTriangle::new(triangle.map(|v| samples[v as usize]))).collect();

    let n_bands = height.div_ceil(BAND) as usize;
    let bins = bins(n_bands, BAND * SAMPLES, triangles.iter().map(|t| t.rows(height * SAMPLES)));
    coverage.par_chunks_mut((BAND * width) as usize).zip(&bins).enumerate().for_each(|(band, (pixels, bin))| {
        let first_row = band as u32 * BAND * SAMPLES;
        let n_rows = pixels.len() as u32 / width * SAMPLES;
        // One bit a sample; row by row, a byte is one pixel's share of the row.
        let mut bits = vec![0u8; (n_rows * width) as usize];
        for triangle in bin.iter().map(|&i| &triangles[i as usize]) {
            let rows = triangle.rows(first_row + n_rows);
            triangle.for_each_run(width * SAMPLES, rows.start.max(first_row)..rows.end, |y, xs| {
                let row = &mut bits[((y - first_row) * width) as usize..][..width as usize];
                set_bits(row, xs.start, xs.end);
            });
        }
        let n_samples = SAMPLES * SAMPLES;
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = (i as u32 % width, i as u32 / width);
            let n: u32 = (0..SAMPLES).map(|s| bits[((y * SAMPLES + s) * width + x) as usize].count_ones()).sum();
            *pixel = ((n * 255 + n_samples / 2) / n_samples) as u8;
        }
    });
    coverage
}

/// Sets the bits start..end, least significant first, start < end.
fn set_bits(bytes: &mut [u8], start: u32, end: u32) {
    let (first, last) = ((start / 8) as usize, ((end - 1) / 8) as usize);
    let head = 0xff << (start % 8);
    let tail = 0xff >> (7 - (end - 1) % 8);
    if first == last {
        bytes[first] |= head & tail;
    } else {
        bytes[first] |= head;
        bytes[first + 1..last].fill(0xff);
        bytes[last] |= tail;
    }
}

#[cfg(test)]
mod tests {
    use glam::{Vec2, Vec3};

    use super::*;
    use crate::mesh::test_shapes::{cuboid, lens};

    fn total(coverage: &[u8]) -> f64 {
        coverage.iter().map(|&c| f64::from(c)).sum::<f64>() / 255.0
    }

    #[test]
    fn a_box_covers_its_rectangle_in_the_right_place() {
        // 10 mm pixels; the box spans x 3.25..9.5 px and y 2..7.75 px.
        let view = FrontView { metres_per_pixel: 0.01, origin: Vec2::new(4.0, 10.0) };
        let centre = Vec3::new((3.25 + 9.5) / 2.0 - 4.0, 10.0 - (2.0 + 7.75) / 2.0, 3.0) * 0.01;
        let mesh = cuboid(centre, Vec3::new(6.25, 5.75, 20.0) * 0.005);
        let coverage = silhouette(&mesh, &view, 12, 9);
        for (i, &c) in coverage.iter().enumerate() {
            let (x, y) = ((i % 12) as f64, (i / 12) as f64);
            let share = |v: f64, lo: f64, hi: f64| (hi.min(v + 1.0) - lo.max(v)).clamp(0.0, 1.0);
            let want = share(x, 3.25, 9.5) * share(y, 2.0, 7.75) * 255.0;
            assert!((f64::from(c) - want).abs() < 1.0, "pixel {x},{y}: {c}, not {want}");
        }
    }

    #[test]
    fn a_sphere_covers_its_disc_within_a_thousandth() {
        for width in [64, 501] {
            let view = FrontView { metres_per_pixel: 1.0 / width as f32, origin: Vec2::splat(width as f32 / 2.0) };
            let coverage = silhouette(&lens(Vec2::splat(0.4), 0.4, 40), &view, width, width);
            let want = std::f64::consts::PI * (0.4 * f64::from(width)).powi(2);
            assert!((total(&coverage) / want - 1.0).abs() < 1e-3, "{} of {want}", total(&coverage));
        }
    }

    #[test]
    fn what_lies_outside_the_picture_is_cut_off() {
        let view = FrontView { metres_per_pixel: 1.0, origin: Vec2::ZERO };
        let mesh = cuboid(Vec3::ZERO, Vec3::splat(1e4));
        assert!(silhouette(&mesh, &view, 7, 5).iter().all(|&c| c == 255));
        assert!(silhouette(&mesh, &FrontView { origin: Vec2::splat(2e4), ..view }, 7, 5).iter().all(|&c| c == 0));
        assert!(silhouette(&mesh, &view, 0, 5).is_empty());
        assert!(silhouette(&Mesh::default(), &view, 3, 1).iter().all(|&c| c == 0));
    }
}
