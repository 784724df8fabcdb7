//! A texture of a mesh file, read smoothly at any size and beyond its border.

use ::image::RgbaImage;
use glam::{Vec2, Vec4};
use rayon::prelude::*;

use super::{TextureUse, Wrap};
use crate::image::srgb::Srgb;

/// How the bytes of red, green and blue are to be read; alpha is always linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    Srgb,
    Linear,
}

/// Takes a third more memory than the picture, which is borrowed.
pub struct Texture<'a> {
    finest: &'a RgbaImage,
    /// Each half the size of the one before, rounded up; the first is half of `finest`.
    coarser: Vec<RgbaImage>,
    encoding: Encoding,
    srgb: Srgb,
}

impl<'a> Texture<'a> {
    pub fn new(finest: &'a RgbaImage, encoding: Encoding) -> Self {
        let mut this = Self { finest, coarser: Vec::new(), encoding, srgb: Srgb::tables() };
        while this.level(this.coarser.len()).width().max(this.level(this.coarser.len()).height()) > 1 {
            let next = this.halved(this.level(this.coarser.len()));
            this.coarser.push(next);
        }
        this
    }

    /// Texels along a side, on average.
    pub fn side(&self) -> f32 {
        (self.finest.width() as f32 * self.finest.height() as f32).sqrt()
    }

    /// Linear RGBA, straight alpha, 0..=1, at texture coordinates of the mesh; trilinear.
    /// `level` 0 is the finest, 1 half its size, and so on. Without pixels, white.
    pub fn sample(&self, uv: Vec2, how: &TextureUse, level: f32) -> Vec4 {
        if self.finest.is_empty() || !uv.is_finite() {
            return Vec4::ONE;
        }
        let uv = how.place(uv);
        let level = level.clamp(0.0, self.coarser.len() as f32);
        let (fine, part) = (level as usize, level.fract());
        let color = self.bilinear(self.level(fine), uv, how.wrap);
        if part > 0.0 { color.lerp(self.bilinear(self.level(fine + 1), uv, how.wrap), part) } else { color }
    }

    fn level(&self, index: usize) -> &RgbaImage {
        match index {
            0 => self.finest,
            _ => &self.coarser[(index - 1).min(self.coarser.len() - 1)],
        }
    }

    fn bilinear(&self, image: &RgbaImage, uv: Vec2, wrap: [Wrap; 2]) -> Vec4 {
        let (x, y) = (uv.x * image.width() as f32 - 0.5, uv.y * image.height() as f32 - 0.5);
        let (left, upper) = (x.floor(), y.floor());
        let columns = [left, left + 1.0].map(|x| wrapped(x, image.width(), wrap[0]));
        let rows = [upper, upper + 1.0].map(|y| wrapped(y, image.height(), wrap[1]));
        let texel = |x: u32, y: u32| self.decoded(image.get_pixel(x, y).0);
        let above = texel(columns[0], rows[0]).lerp(texel(columns[1], rows[0]), x - left);
        let below = texel(columns[0], rows[1]).lerp(texel(columns[1], rows[1]), x - left);
        above.lerp(below, y - upper)
    }

    fn decoded(&self, [r, g, b, a]: [u8; 4]) -> Vec4 {
        let linear = |v: u8| f32::from(v) / 255.0;
        match self.encoding {
            Encoding::Srgb => {
                Vec4::new(self.srgb.to_linear(r), self.srgb.to_linear(g), self.srgb.to_linear(b), linear(a))
            }
            Encoding::Linear => Vec4::new(linear(r), linear(g), linear(b), linear(a)),
        }
    }

    /// Half the size, rounded up. What is see-through says less about the colour.
    fn halved(&self, image: &RgbaImage) -> RgbaImage {
        let (width, height) = (image.width().div_ceil(2), image.height().div_ceil(2));
        let mut half = RgbaImage::new(width, height);
        half.par_chunks_mut(width as usize * 4).enumerate().for_each(|(y, row)| {
            let rows = [2 * y as u32, (2 * y as u32 + 1).min(image.height() - 1)];
            for (x, pixel) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let columns = [2 * x as u32, (2 * x as u32 + 1).min(image.width() - 1)];
                let block = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| image.get_pixel(columns[i], rows[j]).0);
                // The encoding is exact both ways, so an even block stays as it is.
                if block == [block[0]; 4] {
                    *pixel = block[0];
                    continue;
                }
                let colors = block.map(|texel| self.decoded(texel));
                let alpha: f32 = colors.iter().map(|c| c.w).sum();
                let mean = match alpha > 0.0 {
                    true => colors.iter().map(|c| c.truncate() * c.w).sum::<glam::Vec3>() / alpha,
                    false => colors.iter().map(|c| c.truncate()).sum::<glam::Vec3>() / 4.0,
                };
                let byte = |v: f32| (v * 255.0 + 0.5) as u8;
                let [r, g, b] = mean.to_array().map(|v| match self.encoding {
                    Encoding::Srgb => self.srgb.from_linear(v),
                    Encoding::Linear => byte(v),
                });
                *pixel = [r, g, b, byte(alpha / 4.0)];
            }
        });
        half
    }
}

impl TextureUse {
    /// Texture coordinates of the mesh to those of the texture (`KHR_texture_transform`;
    /// v runs down, so counter-clockwise on screen turns +u towards -v).
    pub fn place(&self, uv: Vec2) -> Vec2 {
        let (sin, cos) = self.rotation.sin_cos();
        let uv = uv * self.scale;
        self.offset + Vec2::new(cos * uv.x + sin * uv.y, cos * uv.y - sin * uv.x)
    }
}

/// Column or row `v`, a whole number of any size, brought within 0..n.
fn wrapped(v: f32, n: u32, wrap: Wrap) -> u32 {
    let count = n as f32;
    let within = match wrap {
        Wrap::Clamp => v.clamp(0.0, count - 1.0),
        Wrap::Repeat => v.rem_euclid(count),
        Wrap::Mirror => {
            let twice = v.rem_euclid(2.0 * count);
            if twice < count { twice } else { 2.0 * count - 1.0 - twice }
        }
    };
    // Rounding may give `n` itself.
    (within as u32).min(n - 1)
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    fn ramp() -> RgbaImage {
        RgbaImage::from_fn(4, 2, |x, y| Rgba([(x * 60) as u8, (y * 200) as u8, 0, 255]))
    }

    fn red_at(texture: &Texture, u: f32, wrap: Wrap) -> f32 {
        let how = TextureUse { wrap: [wrap; 2], ..TextureUse::of(0) };
        texture.sample(Vec2::new(u, 0.25), &how, 0.0).x * 255.0
    }

    #[test]
    fn beyond_the_border_textures_repeat_mirror_or_stay() {
        let image = ramp();
        let texture = Texture::new(&image, Encoding::Linear);
        let centre = |x: f32| (x + 0.5) / 4.0;
        for (x, [repeat, mirror, clamp]) in [
            (0.0, [0.0; 3]),
            (3.0, [180.0; 3]),
            (4.0, [0.0, 180.0, 180.0]),
            (6.0, [120.0, 60.0, 180.0]),
            (-1.0, [180.0, 0.0, 0.0]),
            (-6.0, [120.0, 120.0, 0.0]),
            (4003.0, [180.0, 180.0, 180.0]),
        ] {
            let seen = [Wrap::Repeat, Wrap::Mirror, Wrap::Clamp].map(|wrap| red_at(&texture, centre(x), wrap));
            assert!(seen.iter().zip([repeat, mirror, clamp]).all(|(s, w)| (s - w).abs() < 0.2), "{x}: {seen:?}");
        }
        // Between the last texel and the first of the next copy.
        assert!((red_at(&texture, 1.0, Wrap::Repeat) - 90.0).abs() < 0.1);
        assert_eq!(texture.sample(Vec2::NAN, &TextureUse::of(0), 0.0), Vec4::ONE);
        let nothing = RgbaImage::new(0, 0);
        assert_eq!(Texture::new(&nothing, Encoding::Srgb).sample(Vec2::ZERO, &TextureUse::of(0), 2.0), Vec4::ONE);
    }

    #[test]
    fn coarse_levels_are_means_in_linear_light_that_leave_out_what_is_invisible() {
        let white = Rgba([255; 4]);
        let image = RgbaImage::from_fn(4, 4, |x, y| if (x + y) % 2 == 0 { white } else { Rgba([0, 0, 0, 255]) });
        let grey = Texture::new(&image, Encoding::Srgb).sample(Vec2::splat(0.3), &TextureUse::of(0), 1.0);
        assert!((grey.x - 0.5).abs() < 0.01, "{grey}");
        let bytes = Texture::new(&image, Encoding::Linear).sample(Vec2::splat(0.3), &TextureUse::of(0), 1.0);
        assert!((bytes.x - 0.5).abs() < 0.01, "{bytes}");
        let image = RgbaImage::from_fn(2, 2, |x, _| if x == 0 { white } else { Rgba([255, 0, 0, 0]) });
        let kept = Texture::new(&image, Encoding::Srgb).sample(Vec2::splat(0.5), &TextureUse::of(0), 9.0);
        assert!(kept.truncate() == glam::Vec3::ONE && (kept.w - 0.5).abs() < 0.01, "{kept}");
    }

    #[test]
    fn a_quarter_turn_moves_the_right_side_to_the_top() {
        let how = TextureUse {
            rotation: std::f32::consts::FRAC_PI_2,
            scale: Vec2::new(2.0, 3.0),
            offset: Vec2::new(0.1, 0.2),
            ..TextureUse::of(0)
        };
        // (1, 0) becomes (2, 0), turned to (0, -2) as v runs down.
        assert!(how.place(Vec2::X).distance(Vec2::new(0.1, -1.8)) < 1e-6);
        assert!(how.place(Vec2::Y).distance(Vec2::new(3.1, 0.2)) < 1e-6);
    }
}
