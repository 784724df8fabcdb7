//! Texture files of ours back into texels.

use std::io::Cursor;

use ::image::{ImageFormat, ImageReader, Limits, RgbaImage};

use super::{MAX_TEXELS, dds, ktx2};
use crate::{
    error::{StageError, StageErrorKind},
    image::png_io,
};

/// PNG (8 bits, RGB or RGBA), JPEG, WebP, KTX2 or DDS by content. Looks at the
/// header first: memory is only asked for when the size is sane.
///
/// Errors: `Unsupported` for other formats, `TooLarge` beyond `MAX_TEXELS`,
/// `InvalidInput` for damage.
pub fn decode(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        [0xff, 0xd8, 0xff, ..] => decode_picture(bytes, ImageFormat::Jpeg),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => decode_picture(bytes, ImageFormat::WebP),
        [b'D', b'D', b'S', b' ', ..] => dds::decode(bytes),
        _ if bytes.starts_with(ktx2::IDENTIFIER) => ktx2::decode(bytes),
        _ => Err(unsupported("the texture is no PNG, JPEG, WebP, KTX2 or DDS")),
    }
}

fn decode_png(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    let header = bytes.first_chunk::<26>().filter(|h| h.starts_with(b"\x89PNG\r\n\x1a\n") && &h[12..16] == b"IHDR");
    let header = header.ok_or_else(|| unsupported("the texture is not a PNG"))?;
    let [width, height] =
        [16, 20].map(|at| header[at..at + 4].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
    check_size(width, height)?;
    let (depth, color) = (header[24], header[25]);
    if depth != 8 || !matches!(color, 2 | 6) {
        return Err(unsupported(format!("the texture has bit depth {depth} and colour type {color}, not 8 RGB")));
    }
    png_io::decode_rgba(bytes).map_err(|e| damaged(&e.message))
}

fn decode_picture(bytes: &[u8], format: ImageFormat) -> Result<RgbaImage, StageError> {
    let reader = || ImageReader::with_format(Cursor::new(bytes), format);
    let (width, height) = reader().into_dimensions().map_err(|e| damaged(&e.to_string()))?;
    check_size(u64::from(width), u64::from(height))?;
    let mut reader = reader();
    let mut limits = Limits::no_limits();
    // Texels as RGBA, and as much again for what the decoder itself needs.
    limits.max_alloc = Some(MAX_TEXELS * 8);
    reader.limits(limits);
    Ok(reader.decode().map_err(|e| damaged(&e.to_string()))?.into_rgba8())
}

fn check_size(width: u64, height: u64) -> Result<(), StageError> {
    if width.saturating_mul(height) <= MAX_TEXELS {
        return Ok(());
    }
    Err(StageError::new(
        StageErrorKind::TooLarge,
        format!("the texture of {width}x{height} has more than {MAX_TEXELS} pixels"),
        "lower bake.size",
    ))
}

fn damaged(why: &str) -> StageError {
    let why: String = why.chars().take(300).collect();
    StageError::invalid(format!("the texture is damaged: {why}"), "fire the source image again")
}

fn unsupported(message: impl Into<String>) -> StageError {
    StageError::new(StageErrorKind::Unsupported, message, "give a file that Meshkiln wrote")
}
