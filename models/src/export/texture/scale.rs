//! Textures made smaller or larger, and their mip levels.
//!
//! Each new texel is the mean over the area it covers, fractional borders
//! included: of linear light for colours, of vectors for normals, which are
//! brought back to length 1. Texels count alike whatever their alpha, because
//! colours of a texture go on beneath transparent parts.

use ::image::RgbaImage;
use rayon::prelude::*;

use super::MapKind;
use crate::image::srgb::Srgb;

/// `image` with sides `w` and `h`, at least 1.
pub fn resized(map: MapKind, image: &RgbaImage, w: u32, h: u32) -> RgbaImage {
    let (from_w, from_h) = image.dimensions();
    if (from_w, from_h) == (w, h) {
        return image.clone();
    }
    let mut out = RgbaImage::new(w, h);
    let row_length = w as usize * 4;
    out.as_flat_samples_mut().samples.par_chunks_exact_mut(row_length).enumerate().for_each(|(y, row)| {
        let lines = Span::new(y as u32, h, from_h);
        for (x, texel) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let columns = Span::new(x as u32, w, from_w);
            let mut sum = [0f32; 4];
            let mut area = 0.0;
            for (line, line_weight) in lines.weights() {
                for (column, column_weight) in columns.weights() {
                    let weight = line_weight * column_weight;
                    area += weight;
                    let value = to_numbers(map, image.get_pixel(column, line).0);
                    for (sum, value) in sum.iter_mut().zip(value) {
                        *sum += value * weight;
                    }
                }
            }
            *texel = to_texel(map, sum.map(|sum| sum / area));
        }
    });
    out
}

/// `image` and its mip levels down to one texel, each half as large, rounded down.
pub fn mip_chain(map: MapKind, image: &RgbaImage) -> Vec<RgbaImage> {
    let mut levels = vec![image.clone()];
    while let Some(last) = levels.last()
        && last.dimensions() != (1, 1)
    {
        let next = resized(map, last, (last.width() / 2).max(1), (last.height() / 2).max(1));
        levels.push(next);
    }
    levels
}

/// Colours 0..=1, vectors -1..=1.
fn to_numbers(map: MapKind, texel: [u8; 4]) -> [f32; 4] {
    let [r, g, b, a] = texel;
    let [r, g, b] = match map {
        MapKind::BaseColor | MapKind::Emissive => [r, g, b].map(|byte| Srgb::tables().to_linear(byte)),
        MapKind::Normal => [r, g, b].map(|byte| f32::from(byte) / 127.5 - 1.0),
        _ => [r, g, b].map(|byte| f32::from(byte) / 255.0),
    };
    [r, g, b, f32::from(a) / 255.0]
}

fn to_texel(map: MapKind, [r, g, b, a]: [f32; 4]) -> [u8; 4] {
    let byte = |value: f32| (value * 255.0).round() as u8;
    let [r, g, b] = match map {
        MapKind::BaseColor | MapKind::Emissive => [r, g, b].map(|value| Srgb::tables().from_linear(value)),
        MapKind::Normal => {
            let normal = glam::Vec3::new(r, g, b).try_normalize().unwrap_or(glam::Vec3::Z);
            normal.to_array().map(|value| byte(value * 0.5 + 0.5))
        }
        _ => [r, g, b].map(byte),
    };
    [r, g, b, byte(a)]
}

/// Source texels that one new texel covers along an axis, in parts of `parts`.
struct Span {
    from: u64,
    to: u64,
    parts: u64,
}

impl Span {
    fn new(index: u32, n_new: u32, n_old: u32) -> Span {
        let (index, n_new, n_old) = (u64::from(index), u64::from(n_new), u64::from(n_old));
        Span { from: index * n_old, to: (index + 1) * n_old, parts: n_new }
    }

    fn weights(&self) -> impl Iterator<Item = (u32, f32)> {
        (self.from / self.parts..self.to.div_ceil(self.parts)).map(|i| {
            let covered = self.to.min((i + 1) * self.parts) - self.from.max(i * self.parts);
            (i as u32, covered as f32)
        })
    }
}
