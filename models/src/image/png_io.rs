//! PNG for blobs, textures and previews: deterministic, favouring speed.

use std::io::Cursor;

use ::image::RgbaImage;

use super::plane::Plane;
use crate::error::StageError;

/// RGB when every pixel is opaque, RGBA otherwise.
pub fn encode_rgba(image: &RgbaImage) -> Result<Vec<u8>, StageError> {
    let opaque = image.pixels().all(|p| p.0[3] == 255);
    if opaque {
        let rgb: Vec<u8> = image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect();
        encode(image.width(), image.height(), png::ColorType::Rgb, &rgb)
    } else {
        encode(image.width(), image.height(), png::ColorType::Rgba, image.as_raw())
    }
}

/// Black and white, a bit a pixel.
pub fn encode_mask(mask: &Plane<bool>) -> Result<Vec<u8>, StageError> {
    let bits = |pixels: &[bool]| pixels.iter().enumerate().fold(0, |byte, (i, set)| byte | u8::from(*set) << (7 - i));
    let rows = (0..mask.height).flat_map(|y| mask.row(y).chunks(8).map(bits));
    let data: Vec<u8> = rows.collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, mask.width as u32, mask.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn failed(error: png::EncodingError) -> StageError {
    StageError::internal(format!("cannot encode PNG: {error}"))
}

fn encode(width: u32, height: u32, color: png::ColorType, data: &[u8]) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// A PNG written by `encode_rgba`. For users' files see `decode`.
pub fn decode_rgba(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    let failed = |e: png::DecodingError| StageError::internal(format!("cannot decode PNG blob: {e}"));
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(failed)?;
    let (width, height) = (reader.info().width, reader.info().height);
    let mut data = vec![0; reader.output_buffer_size().unwrap_or(0)];
    reader.next_frame(&mut data).map_err(failed)?;
    RgbaImage::from_raw(width, height, data).ok_or_else(|| StageError::internal("PNG blob is not RGBA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_black_and_white() {
        let mask = Plane::from_fn(19, 3, |x, y| (x * 5 + y) % 3 == 0);
        let read = ::image::load_from_memory(&encode_mask(&mask).unwrap()).unwrap().to_luma8();
        assert_eq!(read.dimensions(), (19, 3));
        let expected = |set: &bool| if *set { 255 } else { 0 };
        assert!(read.into_raw().into_iter().eq(mask.data.iter().map(expected)));
    }

    #[test]
    fn pixels_survive_with_and_without_alpha() {
        for alpha in [255, 7] {
            let image = RgbaImage::from_fn(5, 3, |x, y| ::image::Rgba([x as u8, y as u8, 200, alpha]));
            assert_eq!(decode_rgba(&encode_rgba(&image).unwrap()).unwrap(), image);
        }
    }
}
