//! The colours of the object in a cutout, continued beyond its edge.

use ::image::RgbaImage;
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use crate::image::{fill::fill_unknown, srgb::Srgb};

/// Pixels of this share of the greatest alpha within `AROUND` pixels belong to
/// the object alone, as far as alpha can tell. Glass and veils have an inside too.
const OPAQUE: f32 = 0.97;
const AROUND: usize = 4;

/// Below this a pixel says nothing about the object's colour.
const FAINT: u8 = 16;

/// Width of the edge whose colours may be mixed with the background's although
/// it is opaque, relative to the object; and its limits, in pixels.
const EDGE: f32 = 1.0 / 256.0;
const EDGE_LIMITS: [f32; 2] = [2.0, 4.0];

pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
    /// Where this picture begins in the cutout, in its pixels.
    corner: Vec2,
    /// Pixels of this picture to one of the cutout's.
    scale: f32,
    /// Where samples of one texel lie around its centre, in pixels.
    taps: &'static [Vec2],
    srgb: Srgb,
}

impl Picture {
    /// `pixels_per_texel`: how many of the cutout's pixels, along one side, a
    /// sample stands for.
    pub fn new(cutout: &RgbaImage, pixels_per_texel: f32) -> Self {
        let Some([left, top, right, bottom]) = visible_box(cutout) else { return Self::black() };
        let mut scaled = ::image::imageops::crop_imm(cutout, left, top, right - left, bottom - top).to_image();
        let mut scale = 1.0;
        while pixels_per_texel * scale > 2.0 && scaled.width().min(scaled.height()) > 1 {
            scaled = halved(&scaled);
            scale /= 2.0;
        }
        let mut this = Self {
            width: scaled.width() as usize,
            height: scaled.height() as usize,
            pixels: scaled.pixels().map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
            corner: Vec2::new(left as f32, top as f32),
            scale,
            taps: if pixels_per_texel * scale > 1.25 { &FOUR_TAPS } else { &ONE_TAP },
            srgb: Srgb::tables(),
        };
        let opaque = opaque(&scaled);
        let depths = depths(&opaque, this.width);
        let edge = (extent(&opaque, this.width) * EDGE).clamp(EDGE_LIMITS[0], EDGE_LIMITS[1]);
        let mut known: Vec<bool> = depths.iter().map(|&depth| depth >= edge).collect();
        this.replace_edge(&scaled, &depths, edge, &mut known);
        fill_unknown(&mut this.pixels, &mut known, this.width);
        this
    }

    fn black() -> Self {
        let srgb = Srgb::tables();
        Self { width: 1, height: 1, pixels: vec![[0; 3]], corner: Vec2::ZERO, scale: 1.0, taps: &ONE_TAP, srgb }
    }

    /// Pixels less deep than `edge` take the mean colour of the deepest pixels
    /// around them; in parts thinner than that these are the middle ones.
    fn replace_edge(&mut self, scaled: &RgbaImage, depths: &[f32], edge: f32, known: &mut [bool]) {
        let (width, height) = (self.width, self.height);
        let source = scaled.as_raw().as_chunks::<4>().0;
        let reach = edge.ceil() as usize + 1;
        self.pixels.par_chunks_mut(width).zip(known.par_chunks_mut(width)).enumerate().for_each(|(y, (row, known))| {
            for x in (0..width).filter(|x| source[y * width + x][3] >= FAINT && depths[y * width + x] < edge) {
                let (mut deep, mut strong) = (Mean::default(), Mean::default());
                for v in y.saturating_sub(reach)..(y + reach + 1).min(height) {
                    for u in x.saturating_sub(reach)..(x + reach + 1).min(width) {
                        let [r, g, b, alpha] = source[v * width + u];
                        let near = 1.0 / (1 + u.abs_diff(x).pow(2) + v.abs_diff(y).pow(2)) as f32;
                        let depth = depths[v * width + u].min(edge) / edge;
                        deep.add([r, g, b], near * near * depth.powi(6));
                        strong.add([r, g, b], near * (f32::from(alpha) / 255.0).powi(4));
                    }
                }
                // The last pixel before `edge` fades into what lies deeper.
                let own = (depths[y * width + x] - edge + 1.0).clamp(0.0, 1.0);
                let new = deep.get().or_else(|| strong.get()).expect("the pixel itself is not faint");
                row[x] = std::array::from_fn(|k| {
                    (f32::from(row[x][k]) * own + f32::from(new[k]) * (1.0 - own)).round() as u8
                });
                known[x] = true;
            }
        });
    }

    /// Colour around a point of the cutout, in its pixels; beyond the border the
    /// border's colour.
    pub fn sample(&self, at: Vec2) -> [u8; 3] {
        let at = (at - self.corner) * self.scale;
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

/// Weighted mean of colours.
#[derive(Default)]
pub struct Mean {
    sum: [f32; 3],
    weight: f32,
}

impl Mean {
    pub fn add(&mut self, colour: [u8; 3], weight: f32) {
        (0..3).for_each(|k| self.sum[k] += f32::from(colour[k]) * weight);
        self.weight += weight;
    }

    /// `None` without any weight.
    pub fn get(&self) -> Option<[u8; 3]> {
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

/// Left, top, right and bottom of the part that shows anything, ends exclusive,
/// with some pixels to spare and at places that halving keeps.
fn visible_box(image: &RgbaImage) -> Option<[u32; 4]> {
    const GRID: u32 = 16;
    let mut bounds: Option<[u32; 4]> = None;
    for (y, row) in image.rows().enumerate() {
        let is_visible = |p: &::image::Rgba<u8>| p.0[3] >= FAINT;
        if let Some(first) = row.clone().position(is_visible) {
            let (first, y) = (first as u32, y as u32);
            let last = image.width() - 1 - row.rev().position(is_visible).expect("there is a first") as u32;
            let [left, top, right, _] = bounds.unwrap_or([first, y, last, y]);
            bounds = Some([left.min(first), top, right.max(last), y]);
        }
    }
    bounds.map(|[left, top, right, bottom]| {
        let down = |v: u32| v.saturating_sub(GRID / 2) / GRID * GRID;
        let up = |v: u32, n: u32| (v + 1 + GRID / 2).next_multiple_of(GRID).min(n);
        [down(left), down(top), up(right, image.width()), up(bottom, image.height())]
    })
}

/// Which pixels show the object alone.
fn opaque(image: &RgbaImage) -> Vec<bool> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let alpha: Vec<u8> = image.pixels().map(|p| p.0[3]).collect();
    let mut across = alpha.clone();
    across.par_chunks_mut(width.max(1)).zip(alpha.par_chunks(width.max(1))).for_each(|(out, row)| {
        for by in 1..=AROUND.min(width - 1) {
            raise(&mut out[by..], &row[..width - by]);
            raise(&mut out[..width - by], &row[by..]);
        }
    });
    let mut around = across.clone();
    around.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, out)| {
        for v in y.saturating_sub(AROUND)..(y + AROUND + 1).min(height) {
            raise(out, &across[v * width..(v + 1) * width]);
        }
    });
    alpha.iter().zip(around).map(|(&a, most)| a >= FAINT && f32::from(a) >= f32::from(most) * OPAQUE).collect()
}

fn raise(out: &mut [u8], other: &[u8]) {
    out.iter_mut().zip(other).for_each(|(a, b)| *a = (*a).max(*b));
}

/// For each pixel how far it is from the nearest one that is not opaque, 0 for
/// those; in pixels, within 6 % (chamfer distance, Borgefors 1986). Outside the
/// picture nothing is known, so its border does not count.
fn depths(opaque: &[bool], width: usize) -> Vec<f32> {
    /// Deeper is all the same.
    const DEEP: u16 = 1000;
    let height = opaque.len() / width.max(1);
    let mut thirds: Vec<u16> = opaque.iter().map(|&opaque| if opaque { DEEP } else { 0 }).collect();
    for y in 0..height {
        for x in 0..width {
            let i = y * width + x;
            let mut least = thirds[i];
            if x > 0 {
                least = least.min(thirds[i - 1] + 3);
            }
            if y > 0 {
                least = least.min(thirds[i - width] + 3);
                if x > 0 {
                    least = least.min(thirds[i - width - 1] + 4);
                }
                if x + 1 < width {
                    least = least.min(thirds[i - width + 1] + 4);
                }
            }
            thirds[i] = least;
        }
    }
    for y in (0..height).rev() {
        for x in (0..width).rev() {
            let i = y * width + x;
            let mut least = thirds[i];
            if x + 1 < width {
                least = least.min(thirds[i + 1] + 3);
            }
            if y + 1 < height {
                least = least.min(thirds[i + width] + 3);
                if x + 1 < width {
                    least = least.min(thirds[i + width + 1] + 4);
                }
                if x > 0 {
                    least = least.min(thirds[i + width - 1] + 4);
                }
            }
            thirds[i] = least;
        }
    }
    thirds.into_iter().map(|d| f32::from(d) / 3.0).collect()
}

/// Longer side of the box around all opaque pixels, in pixels.
fn extent(opaque: &[bool], width: usize) -> f32 {
    let mut bounds: Option<[usize; 4]> = None;
    for i in (0..opaque.len()).filter(|&i| opaque[i]) {
        let (x, y) = (i % width, i / width);
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
        bounds = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }
    bounds.map_or(0.0, |[left, top, right, bottom]| ((right - left).max(bottom - top) + 1) as f32)
}
