//! Pictures to what the networks see, and depths back to the size of the picture.
//!
//! Reference: transformers 4.57.1, `DPTImageProcessor`, `ZoeDepthImageProcessor`.
//! Differs from the reference: pictures so long that keeping their short side would take more than
//! `LARGEST` times the pixels of a square are fitted by their long side, and no side gets shorter
//! than one patch; what bicubic resizing overshoots is cut off.

use ::image::RgbImage;
use rayon::prelude::*;

use super::Result;
use crate::{
    image::{
        pil_resize::{self, Filter},
        plane::Plane,
    },
    nets::positions::cubic,
};

/// How many times as many pixels as asked for there may be.
const LARGEST: usize = 4;
/// ZoeDepth's borders, by the root of half the side.
const PADDING: f64 = 3.0;

/// How a checkpoint wants its pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// Size asked for, in pixels.
    pub height: usize,
    pub width: usize,
    pub fit: Fit,
    pub resize: Resize,
    /// Of red, green, blue in 0..=1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Exactly the size asked for.
    Stretch,
    /// Both sides by the factor that changes less, each to the nearest multiple.
    Keep { multiple: usize },
}

/// How pixels are interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// As Pillow does it, in bytes.
    Pillow(Filter),
    /// Bilinear in floating point, corners aligned; ZoeDepth gets reflected borders before it.
    Corners { padded: bool },
}

/// Normalised red, green, blue of each pixel: [height, width, 3].
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

impl Pixels {
    /// A picture that has the right size already.
    pub fn of(picture: &RgbImage, mean: [f32; 3], std: [f32; 3]) -> Pixels {
        let values = picture.as_raw().iter().map(|v| f32::from(*v) / 255.0).collect();
        Pixels { height: picture.height() as usize, width: picture.width() as usize, values }.normalised(mean, std)
    }

    fn normalised(mut self, mean: [f32; 3], std: [f32; 3]) -> Pixels {
        for pixel in self.values.as_chunks_mut::<3>().0 {
            (0..3).for_each(|c| pixel[c] = (pixel[c] - mean[c]) / std[c]);
        }
        self
    }
}

impl Processor {
    /// For the published checkpoint `id`.
    pub fn released(id: &str) -> Result<Processor> {
        super::released::processor(id)
    }

    pub fn pixels(&self, picture: &RgbImage) -> Pixels {
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        let (top, left) = self.padding(h, w);
        let (height, width) = self.size(h + 2 * top, w + 2 * left);
        if let Resize::Pillow(filter) = self.resize {
            let resized = pil_resize::resize(picture, width as u32, height as u32, filter);
            return Pixels::of(&resized, self.mean, self.std);
        }
        // Corner to corner over the padded picture, places in single precision as PyTorch has them.
        let place = |i: usize, to: usize, from: usize, border: usize| {
            let step = if to > 1 { (from + 2 * border - 1) as f32 / (to - 1) as f32 } else { 0.0 };
            let at = i as f32 * step;
            let low = (at as usize).min(from + 2 * border - 1);
            let reflected = |i: usize| reflected(i as i64 - border as i64, from);
            (reflected(low), reflected((low + 1).min(from + 2 * border - 1)), at - low as f32)
        };
        let columns: Vec<_> = (0..width).map(|x| place(x, width, w, left)).collect();
        let raw = picture.as_raw();
        let mut values = vec![0.0; height * width * 3];
        values.par_chunks_exact_mut(width * 3).enumerate().for_each(|(y, row)| {
            let (above, below, down) = place(y, height, h, top);
            for (to, &(left, right, across)) in row.chunks_exact_mut(3).zip(&columns) {
                for (c, to) in to.iter_mut().enumerate() {
                    let at = |y: usize, x: usize| f32::from(raw[(y * w + x) * 3 + c]) / 255.0;
                    let mix = |y: usize| at(y, left) * (1.0 - across) + at(y, right) * across;
                    *to = mix(above) * (1.0 - down) + mix(below) * down;
                }
            }
        });
        Pixels { height, width, values }.normalised(self.mean, self.std)
    }

    /// Height and width that a picture of this size gets.
    pub fn size(&self, height: usize, width: usize) -> (usize, usize) {
        let Fit::Keep { multiple } = self.fit else { return (self.height, self.width) };
        let (tall, wide) = (self.height as f64 / height as f64, self.width as f64 / width as f64);
        let by = |factor: f64| {
            let side = |n: usize| {
                let multiples = (factor * n as f64 / multiple as f64).round_ties_even() as usize;
                multiples.max(1) * multiple
            };
            (side(height), side(width))
        };
        let nearer = if (1.0 - wide).abs() < (1.0 - tall).abs() { wide } else { tall };
        let size = by(nearer);
        if size.0 * size.1 > LARGEST * self.height * self.width { by(tall.min(wide)) } else { size }
    }

    /// Rows and columns that are added on each side.
    fn padding(&self, height: usize, width: usize) -> (usize, usize) {
        let is_padded = self.resize == Resize::Corners { padded: true };
        let of = |side: usize| if is_padded { ((side as f64 / 2.0).sqrt() * PADDING) as usize } else { 0 };
        (of(height), of(width))
    }

    /// What the network made of a picture of `width` x `height` pixels, at that size: bicubic
    /// (a = -0.75, corners not aligned), without its borders.
    pub fn restored(&self, depth: &Plane<f32>, width: usize, height: usize) -> Plane<f32> {
        self.restored_at(depth, (width, height), (width, height))
    }

    /// The same of a picture of size `of`, at another size.
    pub fn restored_at(&self, depth: &Plane<f32>, of: (usize, usize), to: (usize, usize)) -> Plane<f32> {
        let (top, left) = self.padding(of.1, of.0);
        let taps = |n: usize, to: usize, of: usize, border: usize| -> Vec<[(usize, f32); 4]> {
            let (scale, whole) = (of as f64 / to as f64, (of + 2 * border) as f64);
            let at = |i: usize| ((i as f64 + 0.5) * scale + border as f64) * n as f64 / whole - 0.5;
            (0..to).map(|i| cubic(at(i), n)).collect()
        };
        let (rows, columns) = (taps(depth.height, to.1, of.1, top), taps(depth.width, to.0, of.0, left));
        let bounds = |(low, high): (f32, f32), v: &f32| (low.min(*v), high.max(*v));
        let (low, high) = depth.data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), bounds);
        let mixed = |taps: &[(usize, f32); 4], at: &dyn Fn(usize) -> f32| -> f32 {
            taps.iter().map(|(i, weight)| at(*i) * weight).sum()
        };
        Plane::from_fn_parallel(to.0, to.1, |x, y| {
            let value = mixed(&rows[y], &|row| mixed(&columns[x], &|column| depth.at(column, row)));
            value.clamp(low, high)
        })
    }
}

/// The place within 0..`n` that mirrors at both ends put at `i`; ends are not repeated.
fn reflected(i: i64, n: usize) -> usize {
    let period = (2 * (n as i64 - 1)).max(1);
    let i = i.rem_euclid(period) as usize;
    i.min(period as usize - i).min(n - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoe() -> Processor {
        Processor::released("zoedepth-nk").unwrap()
    }

    #[test]
    fn mirrors_do_not_repeat_their_ends() {
        let places: Vec<usize> = (-4..8).map(|i| reflected(i, 4)).collect();
        assert_eq!(places, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert!((-9..9).all(|i| reflected(i, 1) == 0));
    }

    #[test]
    fn long_pictures_stay_small_and_thin_ones_keep_a_patch() {
        let of = |id: &str, height, width| Processor::released(id).unwrap().size(height, width);
        assert_eq!(of("depth-anything-v2-small", 480, 640), (518, 686));
        assert_eq!(of("depth-anything-v2-small", 500, 8000), (28, 518));
        assert_eq!(of("depth-anything-v2-small", 2, 8000), (14, 518));
        assert_eq!(of("dpt-large", 2, 8000), (384, 384));
        let (height, width) = of("zoedepth-nk", 600, 9000);
        assert!(height * width <= LARGEST * 384 * 512 && height >= 32, "{height} {width}");
    }

    #[test]
    fn depths_come_back_to_where_they_were_seen() {
        // A ramp over the whole padded picture is the same ramp over its inner part.
        let processor = zoe();
        let picture = RgbImage::from_fn(200, 150, |x, _| ::image::Rgb([x as u8; 3]));
        let pixels = processor.pixels(&picture);
        let seen = Plane {
            width: pixels.width,
            height: pixels.height,
            data: pixels.values.as_chunks::<3>().0.iter().map(|p| (p[0] * 0.5 + 0.5) * 255.0).collect(),
        };
        let restored = processor.restored(&seen, 200, 150);
        let errors = (20..180).map(|x| (restored.at(x, 70) - x as f32).abs());
        assert!(errors.clone().fold(0.0, f32::max) < 0.6, "{:?}", errors.collect::<Vec<_>>());
        let half = processor.restored_at(&seen, (200, 150), (100, 75));
        assert!((half.at(50, 30) - 100.5).abs() < 0.6, "{}", half.at(50, 30));
    }
}
