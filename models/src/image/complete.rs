//! Does a picture file go on to its end, or is it still being written?
//!
//! Walks the container only, so it is cheap and cannot be harmed by the pixels.
//! Decoders are no help here: several fill the missing part with grey.

use ::image::ImageFormat;

use super::sniff::{Kind, sniff};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// The format's own end mark is there.
    Complete,
    /// The file ends before its format does.
    Truncated,
    /// The format has no end mark, or this is no picture we know.
    Unknown,
}

/// `bytes` is the whole file.
pub fn completeness(bytes: &[u8]) -> Completeness {
    let found = match sniff(bytes) {
        Kind::Picture(ImageFormat::Png) => png_end(bytes),
        Kind::Picture(ImageFormat::Jpeg) => jpeg_end(bytes),
        Kind::Picture(ImageFormat::WebP) => riff_end(bytes),
        Kind::Picture(ImageFormat::Gif) => gif_end(bytes),
        Kind::Picture(ImageFormat::Bmp) => return bmp_end(bytes),
        Kind::Picture(_) | Kind::Refused { .. } => return Completeness::Unknown,
        // Fewer bytes than the longest signature: the rest may be on its way.
        Kind::Unknown if bytes.len() < 16 => None,
        Kind::Unknown => return Completeness::Unknown,
    };
    if found.is_some() { Completeness::Complete } else { Completeness::Truncated }
}

/// Offset behind the IEND chunk.
fn png_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 8;
    loop {
        let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
        let kind = bytes.get(at + 4..at + 8)?;
        let end = at.checked_add(12)?.checked_add(length)?;
        if end > bytes.len() {
            return None;
        }
        if kind == b"IEND" {
            return Some(end);
        }
        at = end;
    }
}

/// Offset behind the EOI marker of the first picture in the file. ITU-T T.81, B.1.
fn jpeg_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // A marker is 0xff and a byte that is neither 0 (stuffing) nor 0xff (fill).
        at += bytes.get(at..)?.windows(2).position(|w| w[0] == 0xff && w[1] != 0 && w[1] != 0xff)?;
        let marker = bytes[at + 1];
        at += 2;
        match marker {
            0xd9 => return Some(at),
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let length = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
                at += length.max(2);
            }
        }
    }
}

/// Offset behind the RIFF chunk.
fn riff_end(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let end = length.checked_add(8)?;
    (end <= bytes.len()).then_some(end)
}

/// Offset behind the trailer. GIF89a specification, appendix A.
fn gif_end(bytes: &[u8]) -> Option<usize> {
    let color_table = |packed: u8| if packed & 0x80 == 0 { 0 } else { 3usize << ((packed & 7) + 1) };
    let mut at = 13 + color_table(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            0x3b => return Some(at + 1),
            0x21 => at = gif_blocks_end(bytes, at + 2)?,
            0x2c => {
                let packed = *bytes.get(at + 9)?;
                at = gif_blocks_end(bytes, at + 10 + color_table(packed) + 1)?;
            }
            // Damaged rather than short: let the decoder say so.
            _ => return Some(at),
        }
    }
}

fn gif_blocks_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length => at += 1 + length as usize,
        }
    }
}

/// Uncompressed rows have a known size; compressed ones end with a code.
fn bmp_end(bytes: &[u8]) -> Completeness {
    let word = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u32::from_le_bytes(*b));
    let half = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u16::from_le_bytes(*b));
    let (Some(offset), Some(header)) = (word(10), word(14)) else { return Completeness::Truncated };
    let size = match header {
        12 => half(18).zip(half(20)).zip(half(24)).map(|((w, h), bits)| (w as u64, h as u64, bits as u64, 0)),
        _ => word(18).zip(word(22)).zip(half(28).zip(word(30))).map(|((w, h), (bits, compression))| {
            (w as u64, (h as i32).unsigned_abs() as u64, bits as u64, compression)
        }),
    };
    match size {
        None => Completeness::Truncated,
        Some((w, h, bits, 0 | 3)) => {
            let row = w.saturating_mul(bits).div_ceil(32).saturating_mul(4);
            let end = row.saturating_mul(h).saturating_add(offset as u64);
            if end <= bytes.len() as u64 { Completeness::Complete } else { Completeness::Truncated }
        }
        Some(_) => Completeness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ::image::{DynamicImage, RgbImage};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(23, 17, |x, y| ::image::Rgb([(x * 9) as u8, (y * 13) as u8, (x * y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(image).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_prefix_is_short_and_the_whole_is_not() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
            let bytes = encoded(format);
            assert_eq!(completeness(&bytes), Completeness::Complete, "{format:?}");
            for length in 0..bytes.len() {
                assert_ne!(completeness(&bytes[..length]), Completeness::Complete, "{format:?} cut to {length}");
            }
        }
    }

    #[test]
    fn bytes_behind_the_end_do_not_matter() {
        let mut bytes = encoded(ImageFormat::Jpeg);
        bytes.extend([0xff, 0xd8, 1, 2, 3]);
        assert_eq!(completeness(&bytes), Completeness::Complete);
    }
}
