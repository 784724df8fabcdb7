//! A texture with its mip levels, read in linear light.

use ::image::{RgbImage, RgbaImage};
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use crate::image::srgb::Srgb;

pub struct Texture {
    /// Each half the size of the one before, rounded up.
    levels: Vec<Level>,
    encoding: Encoding,
}

/// What the bytes mean.
#[derive(Clone, Copy)]
enum Encoding {
    Srgb(Srgb),
    Linear,
}

impl Encoding {
    fn to_linear(self, byte: u8) -> f32 {
        match self {
            Encoding::Srgb(srgb) => srgb.to_linear(byte),
            Encoding::Linear => f32::from(byte) / 255.0,
        }
    }

    fn encode(self, value: f32) -> u8 {
        match self {
            Encoding::Srgb(srgb) => srgb.from_linear(value),
            Encoding::Linear => (value * 255.0 + 0.5) as u8,
        }
    }
}

struct Level {
    width: usize,
    height: usize,
    /// Alpha unused.
    pixels: Vec<[u8; 4]>,
}

impl Texture {
    /// Of sRGB colours. Without pixels the texture is white.
    pub fn new(image: &RgbaImage) -> Self {
        let pixels = image.as_raw().as_chunks::<4>().0.to_vec();
        Self::with_levels(image.width(), image.height(), pixels, Encoding::Srgb(Srgb::tables()))
    }

    /// Of sRGB colours without alpha.
    pub fn srgb(image: &RgbImage) -> Self {
        Self::with_levels(image.width(), image.height(), opaque(image), Encoding::Srgb(Srgb::tables()))
    }

    /// Of values that are linear already: normals, occlusion, roughness, metallic.
    pub fn linear(image: &RgbImage) -> Self {
        Self::with_levels(image.width(), image.height(), opaque(image), Encoding::Linear)
    }

    fn with_levels(width: u32, height: u32, pixels: Vec<[u8; 4]>, encoding: Encoding) -> Self {
        let mut levels = vec![match pixels.len() {
            0 => Level { width: 1, height: 1, pixels: vec![[255; 4]] },
            _ => Level { width: width as usize, height: height as usize, pixels },
        }];
        while levels[levels.len() - 1].pixels.len() > 1 {
            levels.push(levels[levels.len() - 1].halved(encoding));
        }
        Self { levels, encoding }
    }

    /// Linear colour at `uv`, repeating outside 0..=1; trilinear. `level` 0 is
    /// the finest, 1 half its size, and so on.
    pub fn sample(&self, uv: Vec2, level: f32) -> Vec3 {
        let uv = Vec2::new(repeated(uv.x), repeated(uv.y));
        let level = level.clamp(0.0, (self.levels.len() - 1) as f32);
        let fine = level as usize;
        let part = level - fine as f32;
        let colour = self.levels[fine].bilinear(uv, self.encoding);
        if part > 0.0 { colour.lerp(self.levels[fine + 1].bilinear(uv, self.encoding), part) } else { colour }
    }
}

impl Level {
    fn halved(&self, encoding: Encoding) -> Level {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut pixels = vec![[255; 4]; width * height];
        pixels.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            let upper = &self.pixels[2 * y * self.width..][..self.width];
            let lower = &self.pixels[(2 * y + 1).min(self.height - 1) * self.width..][..self.width];
            for (x, pixel) in row.iter_mut().enumerate() {
                let (left, right) = (2 * x, (2 * x + 1).min(self.width - 1));
                for k in 0..3 {
                    let four = [upper[left][k], upper[right][k], lower[left][k], lower[right][k]];
                    pixel[k] = encoding.encode(four.iter().map(|v| encoding.to_linear(*v)).sum::<f32>() / 4.0);
                }
            }
        });
        Level { width, height, pixels }
    }

    fn bilinear(&self, uv: Vec2, encoding: Encoding) -> Vec3 {
        // One texture further on all coordinates are positive: casts round down.
        let x = (uv.x + 1.0) * self.width as f32 - 0.5;
        let y = (uv.y + 1.0) * self.height as f32 - 0.5;
        let part = Vec2::new(x - x as u32 as f32, y - y as u32 as f32);
        let (left, right) = (wrapped(x as usize, self.width), wrapped(x as usize + 1, self.width));
        let (upper, lower) = (wrapped(y as usize, self.height), wrapped(y as usize + 1, self.height));
        let (upper, lower) = (upper * self.width, lower * self.width);
        let pixel = |i: usize| {
            let [r, g, b, _] = self.pixels[i];
            Vec3::new(encoding.to_linear(r), encoding.to_linear(g), encoding.to_linear(b))
        };
        let above = pixel(upper + left).lerp(pixel(upper + right), part.x);
        let below = pixel(lower + left).lerp(pixel(lower + right), part.x);
        above.lerp(below, part.y)
    }
}

fn opaque(image: &RgbImage) -> Vec<[u8; 4]> {
    image.pixels().map(|p| [p.0[0], p.0[1], p.0[2], 255]).collect()
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
