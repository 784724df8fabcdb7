//! The silhouette of a cutout as a lattice of signed values.
//!
//! In: a picture with alpha. Out: a `Silhouette`, cropped to the object, at a
//! resolution that still sees parts two pixels wide, without specks and
//! pinholes, smoothed so that its zero line has no stair steps.

use ::image::RgbaImage;
use glam::DVec2;

use super::fairing::fair;
use crate::error::{StageError, StageErrorKind};

/// Parts and holes smaller than this many pixels are noise.
const SPECK_PIXELS: f64 = 8.0;
/// ... and so are those smaller than this share of the whole silhouette.
const SPECK_SHARE: f64 = 1.0 / 5000.0;
/// Larger silhouettes are averaged down to this many nodes along the longer side.
const FINEST: f64 = 1024.0;
/// Small pictures gain no detail from more nodes per pixel than this.
const MAX_NODES_PER_PIXEL: f64 = 8.0;
/// Pictures that lack less than this factor keep their pixels: interpolation costs more than it gives.
const WORTH_REFINING: f64 = 1.5;
/// Nodes outside on each side, so that neighbours of inside nodes always exist.
const MARGIN: usize = 3;
/// The number of cells along each side is a multiple of this.
pub const BLOCK: usize = 16;

/// Values at the nodes of a square lattice, row by row from the top left:
/// positive inside the object, never zero; near the outline the distance to it in
/// node spacings. The outermost nodes are outside.
pub struct Silhouette {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
    /// Pixels of the cutout between neighbouring nodes.
    pub spacing: f64,
    /// Where node (0, 0) lies, in pixels from the top left corner of the cutout.
    pub origin: DVec2,
    /// Longer side of the object, in nodes.
    pub extent: usize,
}

impl Silhouette {
    /// `resolution` is about the number of nodes wanted along the longer side;
    /// pictures that show more are kept at up to 1024, much smaller ones are interpolated.
    pub fn of(cutout: &RgbaImage, resolution: usize) -> Result<Silhouette, StageError> {
        let [x0, y0, x1, y1] = bounds(cutout.width() as usize, cutout.height() as usize, |x, y| {
            cutout.get_pixel(x as u32, y as u32).0[3] >= 128
        })
        .ok_or_else(|| no_object("the cutout is transparent everywhere"))?;
        let long = (x1 - x0).max(y1 - y0) as f64;
        let coarse = (long / FINEST.max(resolution as f64)).max(1.0);
        let mut lattice = sample(cutout, [x0, y0, x1, y1], coarse);
        drop_specks(&mut lattice);
        fair(&mut lattice);

        let factor = (resolution as f64 / long).min(MAX_NODES_PER_PIXEL);
        if factor >= WORTH_REFINING {
            lattice = refine(&lattice, factor);
        }
        let [x0, y0, x1, y1] = bounds(lattice.width, lattice.height, |x, y| lattice.is_inside(x, y))
            .ok_or_else(|| no_object(&format!("no part of the cutout covers {SPECK_PIXELS} pixels")))?;
        lattice.extent = (x1 - x0).max(y1 - y0);
        Ok(lattice)
    }

    pub fn is_inside(&self, x: usize, y: usize) -> bool {
        self.values[y * self.width + x] > 0.0
    }

    /// Whether the two inside corners of a cell whose signs alternate around it are joined.
    pub fn joins_diagonally(corners: [f32; 4]) -> bool {
        corners.iter().sum::<f32>() > 0.0
    }

    fn outside(width: usize, height: usize, spacing: f64, origin: DVec2) -> Silhouette {
        Silhouette { width, height, values: vec![-0.5; width * height], spacing, origin, extent: 0 }
    }
}

fn no_object(message: &str) -> StageError {
    StageError::new(
        StageErrorKind::NoObject,
        message,
        "give a picture with alpha that shows one object, or one on a plain background",
    )
}

/// Half-open box around everything inside: left, top, right, bottom.
fn bounds(width: usize, height: usize, inside: impl Fn(usize, usize) -> bool) -> Option<[usize; 4]> {
    let mut found: Option<[usize; 4]> = None;
    for y in 0..height {
        let Some(left) = (0..width).find(|&x| inside(x, y)) else { continue };
        let right = (0..width).rev().find(|&x| inside(x, y)).unwrap_or(left) + 1;
        let [x0, y0, x1, _] = found.unwrap_or([left, y, right, y + 1]);
        found = Some([x0.min(left), y0, x1.max(right), y + 1]);
    }
    found
}

fn padded(n: usize) -> usize {
    (n + 2 * MARGIN).next_multiple_of(BLOCK) + 1
}

/// Alpha minus one half, averaged over squares of `spacing` >= 1 pixels.
/// Nothing is inside beyond the picture.
fn sample(cutout: &RgbaImage, [x0, y0, x1, y1]: [usize; 4], spacing: f64) -> Silhouette {
    let nodes = |n: usize| padded((n as f64 / spacing).ceil() as usize);
    let (width, height) = (nodes(x1 - x0), nodes(y1 - y0));
    let first = |start: usize| start as f64 + (0.5 - MARGIN as f64) * spacing;
    let origin = DVec2::new(first(x0), first(y0));
    let mut lattice = Silhouette::outside(width, height, spacing, origin);

    let columns: Vec<Vec<(usize, f32)>> = footprints(width, origin.x, spacing, cutout.width() as usize);
    let rows = footprints(height, origin.y, spacing, cutout.height() as usize);
    // Pixel rows are needed by one or two rows of nodes: the averaged row is kept until the next.
    let mut averaged: (usize, Vec<f32>) = (usize::MAX, Vec::new());
    for (y, taps) in rows.iter().enumerate() {
        let out = &mut lattice.values[y * width..][..width];
        for &(row, weight) in taps {
            if averaged.0 != row {
                let alpha = &cutout.as_raw()[row * cutout.width() as usize * 4..];
                let average =
                    |taps: &Vec<(usize, f32)>| taps.iter().map(|&(x, w)| alpha[x * 4 + 3] as f32 * w).sum::<f32>();
                averaged = (row, columns.iter().map(average).collect());
            }
            for (value, alpha) in out.iter_mut().zip(&averaged.1) {
                *value += alpha * weight / 255.0;
            }
        }
    }
    for value in &mut lattice.values {
        if value.abs() < 1e-4 {
            *value = -1e-4;
        }
    }
    lattice
}

/// For each of `n` nodes the pixels under its square and their shares.
fn footprints(n: usize, origin: f64, spacing: f64, n_pixels: usize) -> Vec<Vec<(usize, f32)>> {
    (0..n)
        .map(|i| {
            let from = origin + (i as f64 - 0.5) * spacing;
            let to = from + spacing;
            let pixels = from.floor().max(0.0) as usize..(to.ceil().max(0.0) as usize).min(n_pixels);
            pixels
                .map(|p| (p, ((to.min(p as f64 + 1.0) - from.max(p as f64)) / spacing) as f32))
                .filter(|&(_, share)| share > 1e-6)
                .collect()
        })
        .collect()
}

/// Removes parts and fills holes too small to mean anything. Nodes touching in a
/// corner count as connected, so that fine lines are not taken for specks.
fn drop_specks(lattice: &mut Silhouette) {
    let (width, height) = (lattice.width, lattice.height);
    let n_inside = lattice.values.iter().filter(|&&v| v > 0.0).count();
    let pixels_per_node = lattice.spacing * lattice.spacing;
    let limit = (SPECK_PIXELS / pixels_per_node).max(n_inside as f64 * SPECK_SHARE);

    let mut seen = vec![false; width * height];
    let mut patch = Vec::new();
    for start in 0..width * height {
        if seen[start] {
            continue;
        }
        let inside = lattice.values[start] > 0.0;
        seen[start] = true;
        patch.clear();
        patch.push(start);
        let mut next = 0;
        while next < patch.len() {
            let (x, y) = (patch[next] % width, patch[next] / width);
            next += 1;
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    let node = ny * width + nx;
                    if !seen[node] && (lattice.values[node] > 0.0) == inside {
                        seen[node] = true;
                        patch.push(node);
                    }
                }
            }
        }
        if (patch.len() as f64) < limit {
            for &node in &patch {
                lattice.values[node] = if inside { -0.5 } else { 0.5 };
            }
        }
    }
}

/// The same silhouette with `factor` > 1 times as many nodes a side, by
/// interpolation with Catmull-Rom splines (Keys 1981, a = -1/2).
fn refine(coarse: &Silhouette, factor: f64) -> Silhouette {
    // The margin of the coarse lattice shrinks no further than the margin wanted.
    let size = |n: usize| (((n - 1) as f64 * factor) as usize).next_multiple_of(BLOCK) + 1;
    let (width, height) = (size(coarse.width), size(coarse.height));
    let mut fine = Silhouette::outside(width, height, coarse.spacing / factor, coarse.origin);

    let columns: Vec<(usize, [f32; 4])> = (0..width).map(|x| spline_taps(x as f64 / factor)).collect();
    let rows: Vec<Vec<f32>> = coarse
        .values
        .chunks_exact(coarse.width)
        .map(|line| columns.iter().map(|(first, taps)| apply_taps(|i| clamped(line, *first + i), taps)).collect())
        .collect();
    for y in 0..height {
        let (first, taps) = spline_taps(y as f64 / factor);
        for (x, out) in fine.values[y * width..][..width].iter_mut().enumerate() {
            let value = apply_taps(|i| rows[(first + i).saturating_sub(1).min(rows.len() - 1)][x], &taps);
            *out = if value.abs() < 1e-4 { -1e-4 } else { value };
        }
    }
    fine
}

/// Index of the first of four samples plus one, and their weights, for a position.
fn spline_taps(at: f64) -> (usize, [f32; 4]) {
    let t = at.fract() as f32;
    let (t2, t3) = (t * t, t * t * t);
    let taps = [
        0.5 * (-t + 2.0 * t2 - t3),
        0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
        0.5 * (t + 4.0 * t2 - 3.0 * t3),
        0.5 * (t3 - t2),
    ];
    (at as usize, taps)
}

fn clamped(line: &[f32], index_plus_one: usize) -> f32 {
    line[index_plus_one.saturating_sub(1).min(line.len() - 1)]
}

fn apply_taps(sample: impl Fn(usize) -> f32, taps: &[f32; 4]) -> f32 {
    (0..4).map(|i| sample(i) * taps[i]).sum()
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    fn picture(width: u32, height: u32, alpha: impl Fn(u32, u32) -> u8) -> RgbaImage {
        RgbaImage::from_fn(width, height, |x, y| Rgba([200, 100, 50, alpha(x, y)]))
    }

    #[test]
    fn pixels_are_kept_as_they_are_when_there_are_enough() {
        let cutout = picture(300, 300, |x, y| if (50..250).contains(&x) && (60..200).contains(&y) { 255 } else { 0 });
        let s = Silhouette::of(&cutout, 100).unwrap();
        assert_eq!((s.spacing, s.extent), (1.0, 200));
        assert_eq!(s.values.iter().filter(|&&v| v > 0.0).count(), 200 * 140);
        assert_eq!(s.origin + DVec2::splat(MARGIN as f64), DVec2::new(50.5, 60.5));
    }

    #[test]
    fn large_pictures_are_averaged_and_small_ones_interpolated() {
        let thin = picture(3000, 3000, |x, y| if x + 3 >= y && x <= y { 255 } else { 0 });
        let s = Silhouette::of(&thin, 384).unwrap();
        assert!((s.spacing - 3000.0 / 1024.0).abs() < 1e-9);
        assert!(s.extent > 1000, "{}", s.extent);

        let dot = picture(20, 20, |x, y| if x.abs_diff(10).pow(2) + y.abs_diff(10).pow(2) <= 64 { 255 } else { 0 });
        let s = Silhouette::of(&dot, 128).unwrap();
        assert!(s.extent > 120 && s.extent < 136, "{}", s.extent);
    }

    #[test]
    fn specks_go_and_lines_one_pixel_wide_stay() {
        let cutout = picture(64, 64, |x, y| if (x == 30 && y > 5 && y < 60) || (x == 50 && y == 50) { 255 } else { 0 });
        let s = Silhouette::of(&cutout, 32).unwrap();
        assert_eq!(s.values.iter().filter(|&&v| v > 0.0).count(), 54);
    }

    #[test]
    fn nothing_inside_is_said_so() {
        for cutout in
            [picture(0, 0, |_, _| 0), picture(9, 9, |_, _| 127), picture(9, 9, |x, y| if x + y == 0 { 255 } else { 0 })]
        {
            assert_eq!(Silhouette::of(&cutout, 64).err().unwrap().kind, StageErrorKind::NoObject);
        }
    }
}
