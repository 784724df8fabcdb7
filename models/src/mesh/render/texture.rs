//! A texture with its mip levels, read in linear light.

use ::image::RgbaImage;
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use crate::image::srgb::Srgb;

pub struct Texture {
    /// Each half the size of the one before, rounded up.
    levels: Vec<Level>,
    srgb: Srgb,
}

struct Level {
    width: usize,
    height: usize,
    /// sRGB, alpha unused.
    pixels: Vec<[u8; 4]>,
}

impl Texture {
    /// Without pixels the texture is white.
    pub fn new(image: &RgbaImage) -> Self {
        let srgb = Srgb::tables();
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut levels = vec![if width * height == 0 {
            Level { width: 1, height: 1, pixels: vec![[255; 4]] }
        } else {
            Level { width, height, pixels: image.as_raw().as_chunks::<4>().0.to_vec() }
        }];
        while levels[levels.len() - 1].pixels.len() > 1 {
            levels.push(levels[levels.len() - 1].halved(srgb));
        }
        Self { levels, srgb }
    }

    /// Linear colour at `uv`, repeating outside 0..=1; trilinear. `level` 0 is
    /// the finest, 1 half its size, and so on.
    pub fn sample(&self, uv: Vec2, level: f32) -> Vec3 {
        let uv = Vec2::new(repeated(uv.x), repeated(uv.y));
        let level = level.clamp(0.0, (self.levels.len() - 1) as f32);
        let fine = level as usize;
        let part = level - fine as f32;
        let colour = self.levels[fine].bilinear(uv, self.srgb);
        if part > 0.0 { colour.lerp(self.levels[fine + 1].bilinear(uv, self.srgb), part) } else { colour }
    }
}

impl Level {
    fn halved(&self, srgb: Srgb) -> Level {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut pixels = vec![[255; 4]; width * height];
        pixels.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            let upper = &self.pixels[2 * y * self.width..][..self.width];
            let lower = &self.pixels[(2 * y + 1).min(self.height - 1) * self.width..][..self.width];
            for (x, pixel) in row.iter_mut().enumerate() {
                let (left, right) = (2 * x, (2 * x + 1).min(self.width - 1));
                for k in 0..3 {
                    let four = [upper[left][k], upper[right][k], lower[left][k], lower[right][k]];
                    pixel[k] = srgb.from_linear(four.iter().map(|v| srgb.to_linear(*v)).sum::<f32>() / 4.0);
                }
            }
        });
        Level { width, height, pixels }
    }

    fn bilinear(&self, uv: Vec2, srgb: Srgb) -> Vec3 {
        // One texture further on all coordinates are positive: casts round down.
        let x = (uv.x + 1.0) * self.width as f32 - 0.5;
        let y = (uv.y + 1.0) * self.height as f32 - 0.5;
        let part = Vec2::new(x - x as u32 as f32, y - y as u32 as f32);
        let (left, right) = (wrapped(x as usize, self.width), wrapped(x as usize + 1, self.width));
        let (upper, lower) = (wrapped(y as usize, self.height), wrapped(y as usize + 1, self.height));
        let (upper, lower) = (upper * self.width, lower * self.width);
        let pixel = |i: usize| {
            let [r, g, b, _] = self.pixels[i];
            Vec3::new(srgb.to_linear(r), srgb.to_linear(g), srgb.to_linear(b))
        };
        let above = pixel(upper + left).lerp(pixel(upper + right), part.x);
        let below = pixel(lower + left).lerp(pixel(lower + right), part.x);
        above.lerp(below, part.y)
    }
}

/// The part of a coordinate within the texture, 0..=1.
fn repeated(v: f32) -> f32 {
    if (0.0..=1.0).contains(&v) { v } else { v - v.floor() }
}

/// `v` modulo `n`, for `v` below 3 `n`.
fn wrapped(v: usize, n: usize) -> usize {
    let v = if v >= 2 * n { v - 2 * n } else { v };
    if v >= n { v - n } else { v }
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    #[test]
    fn texel_centres_are_exact_and_coarse_levels_are_means() {
        let image = RgbaImage::from_fn(5, 3, |x, y| Rgba([(x * 50) as u8, (y * 90) as u8, 255, 255]));
        let texture = Texture::new(&image);
        let srgb = Srgb::tables();
        let seen = texture.sample(Vec2::new(2.5 / 5.0, 1.5 / 3.0), 0.0);
        let want = Vec3::new(srgb.to_linear(100), srgb.to_linear(90), 1.0);
        assert!((seen - want).abs().max_element() < 1e-5, "{seen}, not {want}");
        assert!((texture.sample(Vec2::new(0.1, 0.7), 9.0).z - 1.0).abs() < 1e-5);

        let checker = RgbaImage::from_fn(8, 8, |x, y| Rgba([if (x + y) % 2 == 0 { 255 } else { 0 }; 4]));
        let grey = Texture::new(&checker).sample(Vec2::new(0.3, 0.8), 1.0);
        assert!((grey - 0.5).abs().max_element() < 0.01, "{grey}");
    }

    #[test]
    fn an_empty_texture_is_white() {
        assert_eq!(Texture::new(&RgbaImage::new(0, 0)).sample(Vec2::ZERO, 3.0), Vec3::ONE);
    }
}
