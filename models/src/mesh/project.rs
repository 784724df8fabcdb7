//! Texture by projection: the cutout painted onto an unwrapped mesh from the front.
//!
//! In: cutout (straight alpha, sRGB), mesh with texture coordinates and its
//! `FrontView`. Out: an opaque texture. The back gets the picture that the front
//! shows at the same place, so nothing jumps at the outline.

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::{
    FrontView, Mesh,
    raster::{Camera, Cull, Frame, NOTHING, Projection},
};
use crate::image::{fill::fill_unknown, srgb::Srgb};

/// Pixels this opaque show nothing of the background worth mentioning.
const OPAQUE: u8 = 230;

/// Below this a pixel says nothing about the object's colour.
const FAINT: u8 = 16;

/// Paints a `size` x `size` texture, alpha 255 everywhere. Texels off the charts
/// continue the charts' colours, in every mip level. Only colours of opaque
/// pixels are used where there are any close by: neither what the cutout holds
/// under transparent pixels nor a fringe of background reaches the texture.
///
/// A cutout without a single visible pixel gives a black texture.
pub fn project(cutout: &RgbaImage, mesh: &Mesh, front: &FrontView, size: u32) -> RgbaImage {
    let corners: Vec<Vec3> = mesh.uvs.iter().map(|uv| uv.extend(0.0)).collect();
    let projection = Projection::new(&corners, &mesh.triangles, &Camera::texture(), size, size, Cull::Nothing);
    let frame = Frame::draw(&projection);

    let picture = Picture::new(cutout, pixels_per_texel(mesh, front, size));
    let mut texels = vec![[0u8; 3]; frame.faces.len()];
    let mut known: Vec<bool> = frame.faces.iter().map(|&face| face != NOTHING).collect();
    texels.par_chunks_mut(size.max(1) as usize).enumerate().for_each(|(y, row)| {
        for (x, texel) in row.iter_mut().enumerate() {
            if let Some(hit) = frame.hit(&projection, x as u32, y as u32) {
                let [a, b, c] = mesh.corners(mesh.triangles[hit.triangle as usize]);
                let weights = hit.barycentric;
                *texel = picture.sample(front.to_pixel(a * weights.x + b * weights.y + c * weights.z));
            }
        }
    });
    grow(&mut texels, &mut known, size as usize);
    fill_unknown(&mut texels, &mut known, size as usize);
    RgbaImage::from_fn(size, size, |x, y| {
        let [r, g, b] = texels[(y * size + x) as usize];
        Rgba([r, g, b, 255])
    })
}

/// How many pixels of the cutout, along one side, fall on a texel.
fn pixels_per_texel(mesh: &Mesh, front: &FrontView, size: u32) -> f32 {
    let (mut in_picture, mut in_texture) = (0.0, 0.0);
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle).map(|p| front.to_pixel(p));
        in_picture += f64::from((b - a).perp_dot(c - a).abs());
        let [a, b, c] = triangle.map(|v| mesh.uvs[v as usize] * size as f32);
        in_texture += f64::from((b - a).perp_dot(c - a).abs());
    }
    if in_texture > 0.0 { (in_picture / in_texture).sqrt() as f32 } else { 1.0 }
}

/// Colours of the object, also beyond its edge.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
    /// Pixels of this picture to one of the cutout's.
    scale: f32,
    /// Where samples of one texel lie around its centre, in pixels.
    taps: &'static [Vec2],
    srgb: Srgb,
}

impl Picture {
    fn new(cutout: &RgbaImage, pixels_per_texel: f32) -> Self {
        let mut scaled = cutout.clone();
        let mut scale = 1.0;
        while pixels_per_texel * scale > 2.0 && scaled.width().min(scaled.height()) > 1 {
            scaled = halved(&scaled);
            scale /= 2.0;
        }
        let mut this = Self {
            width: scaled.width() as usize,
            height: scaled.height() as usize,
            pixels: scaled.pixels().map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
            scale,
            taps: if pixels_per_texel * scale > 1.1 { &FOUR_TAPS } else { &ONE_TAP },
            srgb: Srgb::tables(),
        };
        let mut known: Vec<bool> = scaled.pixels().map(|p| p.0[3] >= OPAQUE).collect();
        this.replace_edge_colours(&scaled, &mut known);
        fill_unknown(&mut this.pixels, &mut known, this.width);
        this
    }

    /// Translucent pixels take the mean colour of opaque pixels within two
    /// pixels. Hairs that have none keep what their strongest pixels say.
    fn replace_edge_colours(&mut self, scaled: &RgbaImage, known: &mut [bool]) {
        let (width, height) = (self.width, self.height);
        let source = scaled.as_raw();
        let is_opaque = |i: usize| source[4 * i + 3] >= OPAQUE;
        self.pixels.par_chunks_mut(width).zip(known.par_chunks_mut(width)).enumerate().for_each(|(y, (row, known))| {
            for x in (0..width).filter(|x| (FAINT..OPAQUE).contains(&source[4 * (y * width + x) + 3])) {
                let around = (y.saturating_sub(2)..(y + 3).min(height))
                    .flat_map(|v| (x.saturating_sub(2)..(x + 3).min(width)).map(move |u| (u, v)));
                let mut opaque = WeightedMean::default();
                let mut any = WeightedMean::default();
                for (u, v) in around {
                    let i = v * width + u;
                    let colour = [source[4 * i], source[4 * i + 1], source[4 * i + 2]];
                    let near = 1.0 / (1 + u.abs_diff(x).pow(2) + v.abs_diff(y).pow(2)) as f32;
                    if is_opaque(i) {
                        opaque.add(colour, near * near);
                    }
                    any.add(colour, near * (f32::from(source[4 * i + 3]) / 255.0).powi(4));
                }
                row[x] = opaque.get().or_else(|| any.get()).expect("the pixel itself is not faint");
                known[x] = true;
            }
        });
    }

    /// Colour around a point of the cutout, in its pixels; beyond the border the
    /// border's colour.
    fn sample(&self, at: Vec2) -> [u8; 3] {
        let at = at * self.scale;
        let mut sum = Vec3::ZERO;
        for tap in self.taps {
            sum += self.bilinear(at + *tap);
        }
        (sum / self.taps.len() as f32).to_array().map(|v| self.srgb.from_linear(v))
    }

    fn bilinear(&self, at: Vec2) -> Vec3 {
        let last = Vec2::new((self.width - 1) as f32, (self.height - 1) as f32);
        let at = (at - 0.5).clamp(Vec2::ZERO, last);
        let (x, y) = (at.x as usize, at.y as usize);
        let (right, below) = ((x + 1).min(self.width - 1), (y + 1).min(self.height - 1));
        let pixel = |x: usize, y: usize| {
            let [r, g, b] = self.pixels[y * self.width + x];
            Vec3::new(self.srgb.to_linear(r), self.srgb.to_linear(g), self.srgb.to_linear(b))
        };
        let part = at.fract();
        let upper = pixel(x, y).lerp(pixel(right, y), part.x);
        let lower = pixel(x, below).lerp(pixel(right, below), part.x);
        upper.lerp(lower, part.y)
    }
}

static ONE_TAP: [Vec2; 1] = [Vec2::ZERO];

/// A texel that spans one to two pixels, in quarters.
static FOUR_TAPS: [Vec2; 4] = [Vec2::new(-0.4, -0.4), Vec2::new(0.4, -0.4), Vec2::new(-0.4, 0.4), Vec2::new(0.4, 0.4)];

#[derive(Default)]
struct WeightedMean {
    sum: [f32; 3],
    weight: f32,
}

impl WeightedMean {
    fn add(&mut self, colour: [u8; 3], weight: f32) {
        (0..3).for_each(|k| self.sum[k] += f32::from(colour[k]) * weight);
        self.weight += weight;
    }

    fn get(&self) -> Option<[u8; 3]> {
        (self.weight > 0.0).then(|| self.sum.map(|s| (s / self.weight).round() as u8))
    }
}

/// Half the size, rounded up; colours weighted by alpha, in linear light.
fn halved(image: &RgbaImage) -> RgbaImage {
    let srgb = Srgb::tables();
    let (width, height) = (image.width(), image.height());
    let mut half = RgbaImage::new(width.div_ceil(2), height.div_ceil(2));
    let row = half.width() as usize * 4;
    half.par_chunks_mut(row).enumerate().for_each(|(y, pixels)| {
        for (x, pixel) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (mut sum, mut weight) = (Vec3::ZERO, 0.0);
            for (u, v) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let at = ((2 * x as u32 + u).min(width - 1), (2 * y as u32 + v).min(height - 1));
                let [r, g, b, a] = image.get_pixel(at.0, at.1).0;
                let alpha = f32::from(a);
                sum += Vec3::new(srgb.to_linear(r), srgb.to_linear(g), srgb.to_linear(b)) * alpha;
                weight += alpha;
            }
            if weight > 0.0 {
                let [r, g, b] = (sum / weight).to_array().map(|v| srgb.from_linear(v));
                *pixel = [r, g, b, (weight / 4.0).round() as u8];
            }
        }
    });
    half
}

/// Texels next to a chart take its colour from there: that is what filtering at
/// the chart's edge mixes in.
fn grow(texels: &mut [[u8; 3]], known: &mut [bool], width: usize) {
    let (before, was_known) = (texels.to_vec(), known.to_vec());
    let height = before.len().checked_div(width).unwrap_or(0);
    texels.par_chunks_mut(width.max(1)).zip(known.par_chunks_mut(width.max(1))).enumerate().for_each(
        |(y, (row, known))| {
            for x in (0..width).filter(|&x| !was_known[y * width + x]) {
                let mut mean = WeightedMean::default();
                for v in y.saturating_sub(1)..(y + 2).min(height) {
                    for u in x.saturating_sub(1)..(x + 2).min(width) {
                        if was_known[v * width + u] {
                            mean.add(before[v * width + u], if u == x || v == y { 2.0 } else { 1.0 });
                        }
                    }
                }
                if let Some(colour) = mean.get() {
                    row[x] = colour;
                    known[x] = true;
                }
            }
        },
    );
}
