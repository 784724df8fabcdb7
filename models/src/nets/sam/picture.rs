//! From a picture to the square that the encoder sees, and from masks back to the picture's size.
//!
//! Reference: facebookresearch/segment-anything, `utils/transforms.py` (`ResizeLongestSide`) and
//! `modeling/sam.py` (`preprocess`, `postprocess_masks`) @ dca509f.

use ::image::{RgbImage, RgbaImage};
use rayon::prelude::*;

use super::prompt::{Frame, Point};
use crate::image::{
    pil_resize::{Filter, resize},
    plane::Plane,
};

/// Of RGB in 0..=255.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const DEVIATION: [f32; 3] = [58.395, 57.12, 57.375];

/// How a picture lies in the square: at its top left corner, its longer side as long as the square's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Of the picture, in pixels.
    pub width: usize,
    pub height: usize,
    /// Of the picture in the square.
    pub inner_width: usize,
    pub inner_height: usize,
    /// Of the square.
    pub side: usize,
}

impl Fit {
    /// Of a picture of at least one pixel.
    pub fn new(width: usize, height: usize, side: usize) -> Fit {
        let scale = side as f64 / width.max(height) as f64;
        let scaled = |n: usize| ((n as f64 * scale + 0.5) as usize).max(1);
        Fit { width, height, inner_width: scaled(width), inner_height: scaled(height), side }
    }

    pub fn resized(&self, picture: &RgbImage) -> RgbImage {
        resize(picture, self.inner_width as u32, self.inner_height as u32, Filter::Bilinear)
    }

    /// A resized picture as [side, side, 3], normalised, with zeros beside and below it.
    pub fn squared(&self, resized: &RgbImage) -> Vec<f32> {
        let row = self.side * 3;
        let mut out = vec![0.0; self.side * row];
        let rows = resized.as_raw().par_chunks_exact(self.inner_width * 3);
        out.par_chunks_exact_mut(row).zip(rows).for_each(|(out, from)| {
            for (out, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(from.as_chunks::<3>().0) {
                *out = std::array::from_fn(|c| (f32::from(from[c]) - MEAN[c]) / DEVIATION[c]);
            }
        });
        out
    }

    /// From pixels of the picture to those of the square.
    pub fn point(&self, point: Point) -> Point {
        let (x, y) = self.place(point.x, point.y);
        Point { x, y, ..point }
    }

    pub fn frame(&self, frame: Frame) -> Frame {
        let ((left, top), (right, bottom)) = (self.place(frame.left, frame.top), self.place(frame.right, frame.bottom));
        Frame { left, top, right, bottom }
    }

    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let scaled = |v: f32, to: usize, from: usize| (f64::from(v) * (to as f64 / from as f64)) as f32;
        (scaled(x, self.inner_width, self.width), scaled(y, self.inner_height, self.height))
    }

    /// Logits of a mask [mask_side, mask_side] of the square at `width` x `height`, in which the whole
    /// picture lies: bilinear, first to the square's size, then to the one wanted.
    pub fn enlarged(&self, logits: &[f32], mask_side: usize, width: usize, height: usize) -> Plane<f32> {
        let to_square = taps(mask_side, self.side, self.side);
        let inner = |size: usize, of: usize| -> Vec<[Tap; 4]> {
            let outer = taps(of, size, size);
            let two = |[a, b]: [Tap; 2]| {
                let [[aa, ab], [ba, bb]] =
                    [a, b].map(|tap| to_square[tap.at].map(|t| Tap { share: t.share * tap.share, ..t }));
                [aa, ab, ba, bb]
            };
            outer.into_iter().map(two).collect()
        };
        let columns = inner(width, self.inner_width);
        let rows = inner(height, self.inner_height);
        let mut data = vec![0.0; width * height];
        data.par_chunks_exact_mut(width).zip(rows).for_each_init(
            || vec![0.0f32; mask_side],
            |line, (out, taps)| {
                line.fill(0.0);
                for tap in taps.into_iter().filter(|tap| tap.share != 0.0) {
                    let from = &logits[tap.at * mask_side..][..mask_side];
                    line.iter_mut().zip(from).for_each(|(sum, v)| *sum += tap.share * v);
                }
                for (out, taps) in out.iter_mut().zip(&columns) {
                    *out = taps.iter().map(|tap| tap.share * line[tap.at]).sum();
                }
            },
        );
        Plane { width, height, data }
    }
}

/// Without alpha: whatever lies under transparent pixels.
pub fn colours(image: &RgbaImage) -> RgbImage {
    let pixels = image.as_raw().as_chunks::<4>().0;
    let rgb: Vec<u8> = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    RgbImage::from_raw(image.width(), image.height(), rgb).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
struct Tap {
    at: usize,
    share: f32,
}

/// What each of the first `n` of `to` positions takes of `from`, bilinear: centres over centres,
/// borders repeated.
fn taps(from: usize, to: usize, n: usize) -> Vec<[Tap; 2]> {
    let scale = from as f32 / to as f32;
    let tap = |i: usize| {
        let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (at as usize).min(from - 1);
        let share = at - low as f32;
        [Tap { at: low, share: 1.0 - share }, Tap { at: (low + 1).min(from - 1), share }]
    };
    (0..n).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_picture_fills_the_upper_part_of_the_square() {
        let fit = Fit::new(288, 200, 1024);
        assert_eq!((fit.inner_width, fit.inner_height), (1024, 711));
        assert_eq!((Fit::new(1, 9000, 64).inner_width, Fit::new(3000, 2000, 64).inner_height), (1, 43));
        let point = fit.point(Point { x: 144.0, y: 100.0, is_object: true });
        assert_eq!((point.x, point.y), (512.0, 355.5));

        let picture = RgbImage::from_pixel(4, 2, ::image::Rgb([124, 116, 104]));
        let fit = Fit::new(4, 2, 8);
        let square = fit.squared(&fit.resized(&picture));
        assert_eq!(square.len(), 8 * 8 * 3);
        assert!((square[0] - (124.0 - 123.675) / 58.395).abs() < 1e-6);
        assert!(square[..4 * 8 * 3].iter().all(|v| *v != 0.0) && square[4 * 8 * 3..].iter().all(|v| *v == 0.0));
    }

    #[test]
    fn a_mask_lands_where_it_was_in_the_picture() {
        let fit = Fit::new(200, 100, 64);
        // The left half of the picture, which has the upper half of the square.
        let logits: Vec<f32> = (0..16 * 16).map(|i| if i % 16 < 8 && i / 16 < 8 { 1.0 } else { -1.0 }).collect();
        let large = fit.enlarged(&logits, 16, 200, 100);
        assert!((0..100).all(|y| large.at(50, y) >= 0.0 && large.at(150, y) < 0.0));
        let wrong = large.data.iter().enumerate().filter(|(i, v)| (**v > 0.0) != (i % 200 < 100)).count();
        assert!(wrong < 700, "{wrong} pixels are on the wrong side");
        assert!(fit.enlarged(&[0.5; 256], 16, 7, 9).data.iter().all(|v| (v - 0.5).abs() < 1e-6));
    }
}
