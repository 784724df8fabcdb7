//! Textures as files: in a map of the material, out PNG, JPEG, WebP, KTX2 or DDS.
//!
//! What a texel means (`MapKind`) decides how it is compressed and made smaller:
//! colours in linear light, normals renormalised, everything else as it is.

mod dds;
mod decode;
mod ktx2;
mod scale;
#[cfg(test)]
mod tests;

use ::image::{
    ExtendedColorType, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::{jpeg::JpegEncoder, webp::WebPEncoder},
};

pub use self::{
    dds::{Block, encode as encode_dds},
    decode::decode,
    scale::resized,
};
use super::format::TextureFormat;
use crate::{error::StageError, image::png_io, mesh::Maps};

/// What the texels of a texture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// sRGB with alpha.
    BaseColor,
    /// Tangent space, green up.
    Normal,
    /// Occlusion, roughness, metallic in R, G, B; the factors apply.
    Orm,
    /// Each of them alone, grey, the factors multiplied in.
    Occlusion,
    Roughness,
    Metallic,
    /// sRGB.
    Emissive,
}

/// Largest texture read or written, in texels.
pub const MAX_TEXELS: u64 = 8192 * 8192;

/// JPEG and WebP, of 100: beyond this files grow and nobody sees it.
const COLOR_QUALITY: u8 = 90;
/// Artefacts of normals and roughness show as light that flickers.
const DATA_QUALITY: u8 = 97;

impl MapKind {
    /// Are the texels sRGB colours?
    pub fn is_color(self) -> bool {
        matches!(self, MapKind::BaseColor | MapKind::Emissive)
    }

    /// In words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            MapKind::BaseColor => "base colour",
            MapKind::Normal => "normal",
            MapKind::Orm => "occlusion-roughness-metallic",
            MapKind::Occlusion => "occlusion",
            MapKind::Roughness => "roughness",
            MapKind::Metallic => "metallic",
            MapKind::Emissive => "emissive",
        }
    }

    /// The map, opaque but for the base colour; `None` where the material has none.
    pub fn of(self, maps: &Maps) -> Option<RgbaImage> {
        let orm = |pick: fn(&Maps, [u8; 3]) -> u8| {
            let texels = maps.orm.as_ref()?;
            Some(RgbaImage::from_fn(texels.width(), texels.height(), |x, y| {
                let v = pick(maps, texels.get_pixel(x, y).0);
                Rgba([v, v, v, 255])
            }))
        };
        match self {
            MapKind::BaseColor => Some(maps.base_color.clone()),
            MapKind::Normal => maps.normal.as_ref().map(opaque),
            MapKind::Orm => maps.orm.as_ref().map(opaque),
            MapKind::Emissive => maps.emissive.as_ref().map(opaque),
            MapKind::Occlusion => orm(|_, [occlusion, _, _]| occlusion),
            MapKind::Roughness => orm(|maps, [_, roughness, _]| (f32::from(roughness) * maps.roughness).round() as u8),
            MapKind::Metallic => orm(|maps, [_, _, metallic]| (f32::from(metallic) * maps.metallic).round() as u8),
        }
    }
}

/// A texture file and what it turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub format: TextureFormat,
}

impl Encoded {
    pub fn mime(&self) -> &'static str {
        match self.format {
            TextureFormat::Png => "image/png",
            TextureFormat::Jpeg => "image/jpeg",
            TextureFormat::Webp => "image/webp",
            TextureFormat::Ktx2 => "image/ktx2",
            TextureFormat::Dds => "image/vnd-ms.dds",
        }
    }
}

/// `image` as a file. JPEG has no alpha: a texture with transparent texels becomes
/// PNG instead. WebP is lossy for colours and lossless for everything else, because
/// its lossy form halves the resolution of colour differences. DDS is always BC7
/// here; see `encode_dds` for the others. Equal arguments give equal bytes.
pub fn encode(map: MapKind, image: &RgbaImage, format: TextureFormat) -> Result<Encoded, StageError> {
    let opaque = is_opaque(image);
    let (bytes, format) = match format {
        TextureFormat::Jpeg if opaque => (jpeg(map, image)?, format),
        TextureFormat::Png | TextureFormat::Jpeg => (png_io::encode_rgba(image)?, TextureFormat::Png),
        TextureFormat::Webp if map.is_color() => (lossy_webp(image, opaque)?, format),
        TextureFormat::Webp => (lossless_webp(image)?, format),
        TextureFormat::Ktx2 => (ktx2::encode(map, image)?, format),
        TextureFormat::Dds => (dds::encode(map, image, Block::Bc7, map.is_color())?, format),
    };
    Ok(Encoded { bytes, format })
}

pub fn is_opaque(image: &RgbaImage) -> bool {
    image.pixels().all(|texel| texel.0[3] == 255)
}

/// Sides that `limits` allow, nearest to `(w, h)`.
pub fn allowed_size((w, h): (u32, u32), max: u32, power_of_two: bool, multiple_of_4: bool) -> (u32, u32) {
    let longer = w.max(h).max(1);
    let scaled =
        |side: u32| if longer <= max { side } else { (u64::from(side) * u64::from(max) / u64::from(longer)) as u32 };
    let side = |side: u32| {
        let side = scaled(side).max(1);
        if power_of_two {
            nearest_power_of_two(side).min(max)
        } else if multiple_of_4 {
            side.next_multiple_of(4)
        } else {
            side
        }
    };
    let (w, h) = (side(w), side(h));
    if multiple_of_4 { (w.max(4), h.max(4)) } else { (w, h) }
}

/// By ratio: 91 becomes 128, 90 becomes 64.
fn nearest_power_of_two(side: u32) -> u32 {
    let above = side.next_power_of_two();
    let below = if above == side { side } else { above / 2 };
    if u64::from(side) * u64::from(side) > u64::from(below) * u64::from(above) { above } else { below }
}

/// Green turned over: from glTF's convention to DirectX's and back.
pub fn with_green_turned(mut normals: RgbaImage) -> RgbaImage {
    for texel in normals.pixels_mut() {
        texel.0[1] = 255 - texel.0[1];
    }
    normals
}

pub fn opaque(image: &RgbImage) -> RgbaImage {
    RgbaImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b] = image.get_pixel(x, y).0;
        Rgba([r, g, b, 255])
    })
}

pub fn without_alpha(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, _] = image.get_pixel(x, y).0;
        Rgb([r, g, b])
    })
}

fn jpeg(map: MapKind, image: &RgbaImage) -> Result<Vec<u8>, StageError> {
    let quality = if map.is_color() { COLOR_QUALITY } else { DATA_QUALITY };
    let mut bytes = Vec::new();
    let rgb = without_alpha(image);
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(rgb.as_raw(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .map_err(|e| StageError::internal(format!("cannot encode JPEG: {e}")))?;
    Ok(bytes)
}

fn lossless_webp(image: &RgbaImage) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::new();
    let encoder = WebPEncoder::new_lossless(&mut bytes);
    let (w, h) = image.dimensions();
    let written = if is_opaque(image) {
        encoder.write_image(without_alpha(image).as_raw(), w, h, ExtendedColorType::Rgb8)
    } else {
        encoder.write_image(image.as_raw(), w, h, ExtendedColorType::Rgba8)
    };
    written.map_err(|e| StageError::internal(format!("cannot encode WebP: {e}")))?;
    Ok(bytes)
}

fn lossy_webp(image: &RgbaImage, opaque: bool) -> Result<Vec<u8>, StageError> {
    let (w, h) = image.dimensions();
    let rgb = opaque.then(|| without_alpha(image));
    let encoder = match &rgb {
        Some(rgb) => webp::Encoder::from_rgb(rgb.as_raw(), w, h),
        None => webp::Encoder::from_rgba(image.as_raw(), w, h),
    };
    let bytes = encoder
        .encode_simple(false, f32::from(COLOR_QUALITY))
        .map_err(|e| StageError::internal(format!("cannot encode WebP: {e:?}")))?;
    Ok(bytes.to_vec())
}
