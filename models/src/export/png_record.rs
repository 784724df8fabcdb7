//! A record inside a PNG: where the picture comes from, in an `iTXt` chunk.
//!
//! The chunk's text is a JSON object; its `rest_sha256` is the digest over the
//! file without that chunk, which proves that the picture is as it was written.
//!
//! Specification: PNG third edition, sections 5.3 and 11.3.3.4.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::{error::StageError, slot::hex};

/// `png` with `record`, an object, and the digest in it.
pub fn insert(png: &[u8], record: &Json) -> Result<Vec<u8>, StageError> {
    // Before the pixels, where readers that stop there still see it.
    let at = chunks(png).find(|chunk| chunk.kind() == b"IDAT").map(|chunk| chunk.start);
    let at = at.ok_or_else(|| StageError::internal("picture to be written is not a PNG"))?;
    let mut record = record.clone();
    let fields =
        record.as_object_mut().ok_or_else(|| StageError::internal("record of the picture is not an object"))?;
    fields.insert("rest_sha256".to_owned(), json!(digest(&png[..at], &png[at..])));

    let text = record.to_string();
    let body = [b"iTXt", PREFIX, text.as_bytes()].concat();
    let length =
        u32::try_from(body.len() - 4).map_err(|_| StageError::internal("record of the picture is too long"))?;
    let crc = crc32(&body);
    Ok([&png[..at], &length.to_be_bytes(), &body, &crc.to_be_bytes(), &png[at..]].concat())
}

/// Text of our record.
pub fn find(png: &[u8]) -> Option<&[u8]> {
    Some(find_chunk(png)?.1)
}

/// Does the digest in the record match the rest of the file?
pub fn is_ours(png: &[u8]) -> bool {
    let Some((chunk, text)) = find_chunk(png) else { return false };
    let Ok(stated) = serde_json::from_slice::<Stated>(text) else { return false };
    crc32(chunk.body).to_be_bytes() == chunk.crc && digest(&png[..chunk.start], &png[chunk.end..]) == stated.rest_sha256
}

#[derive(serde::Deserialize)]
struct Stated {
    rest_sha256: String,
}

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Keyword, not compressed, no language, no translated keyword.
const PREFIX: &[u8] = b"meshkiln\0\0\0\0\0";

fn find_chunk(png: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    chunks(png).find_map(|chunk| {
        let text = chunk.body.strip_prefix(b"iTXt")?.strip_prefix(PREFIX)?;
        Some((chunk, text))
    })
}

fn digest(before: &[u8], after: &[u8]) -> String {
    hex(&Sha256::new().chain_update(before).chain_update(after).finalize())
}

struct Chunk<'a> {
    start: usize,
    /// Four letters of its kind, then its data: what the checksum covers.
    body: &'a [u8],
    crc: &'a [u8],
    end: usize,
}

impl Chunk<'_> {
    fn kind(&self) -> &[u8] {
        &self.body[..4]
    }
}

/// Whole chunks up to the first that is cut short.
fn chunks(png: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut start = if png.starts_with(SIGNATURE) { SIGNATURE.len() } else { png.len() };
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*png.get(start..)?.first_chunk()?) as usize;
        let crc = start.checked_add(8)?.checked_add(length)?;
        let chunk = Chunk { start, body: png.get(start + 4..crc)?, crc: png.get(crc..crc + 4)?, end: crc + 4 };
        start = chunk.end;
        Some(chunk)
    })
}

/// CRC-32 of ISO 3309, bit by bit: a record is a few kilobytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;
    use crate::image::png_io;

    fn picture() -> Vec<u8> {
        let image = RgbaImage::from_fn(9, 7, |x, y| Rgba([x as u8 * 20, y as u8 * 30, 9, (x * y) as u8 * 5]));
        png_io::encode_rgba(&image).unwrap()
    }

    #[test]
    fn a_record_is_found_and_the_pixels_stay() {
        let png = insert(&picture(), &json!({ "name": "ä\n\"x\"" })).unwrap();
        let found: Json = serde_json::from_slice(find(&png).unwrap()).unwrap();
        assert_eq!(found["name"], "ä\n\"x\"");
        assert!(is_ours(&png));
        assert_eq!(png_io::decode_rgba(&png).unwrap(), png_io::decode_rgba(&picture()).unwrap());
    }

    #[test]
    fn decoders_accept_the_chunk_and_its_checksum() {
        let png = insert(&picture(), &json!({ "name": "lamp" })).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let text = reader.info().utf8_text[0].clone();
        assert_eq!(text.keyword, "meshkiln");
        assert!(text.get_text().unwrap().contains("\"name\":\"lamp\""));
    }

    #[test]
    fn a_touched_or_foreign_picture_is_not_ours() {
        let ours = insert(&picture(), &json!({})).unwrap();
        assert!(!is_ours(&picture()));
        assert!(!is_ours(&[ours.as_slice(), b"!"].concat()));
        assert!(!is_ours(&insert(&ours, &json!({})).unwrap()));
        for length in 0..ours.len() {
            assert!(!is_ours(&ours[..length]), "cut to {length}");
        }
        for at in 0..ours.len() {
            let mut touched = ours.clone();
            touched[at] ^= 1;
            assert!(!is_ours(&touched), "byte {at}");
        }
    }
}
