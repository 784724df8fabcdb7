//! ZIP: finished files of several parts as one file.
//!
//! Parts are stored, not compressed, in the order given, all dated 1980: equal
//! parts give equal bytes. The record is a part of its own; the seal stands in
//! the archive's comment, at the very end of the file.
//!
//! Specification: PKWARE APPNOTE 6.3.

use std::io::{Cursor, Read, Write};

use serde_json::Value as Json;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::seal::{UNSEALED, is_sealed, seal};
use crate::error::{StageError, StageErrorKind};

/// A file in the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Without folders.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// How the name of the record's part ends.
pub const RECORD: &str = ".meshkiln.json";

const COMMENT: &str = "Meshkiln ";
/// More parts than any asset of ours has.
const MAX_PARTS: usize = 1000;

pub fn write(parts: &[Part]) -> Result<Vec<u8>, StageError> {
    let failed = |e: ZipError| StageError::internal(format!("cannot write ZIP: {e}"));
    let total: usize = parts.iter().map(|part| part.bytes.len()).sum();
    if total >= u32::MAX as usize - (1 << 20) {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("files of {total} bytes together are over the ZIP's limit of {}", u32::MAX),
            "lower bake.size or simplify.triangles",
        ));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(total + (1 << 12))));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    for part in parts {
        zip.start_file(part.name.as_str(), options).map_err(failed)?;
        zip.write_all(&part.bytes).map_err(|e| failed(e.into()))?;
    }
    zip.set_comment(format!("{COMMENT}{UNSEALED}")).map_err(failed)?;
    let mut bytes = zip.finish().map_err(failed)?.into_inner();
    let at = bytes.len() - UNSEALED.len();
    seal(&mut bytes, at);
    Ok(bytes)
}

/// Parts of an archive that `write` made; memory is bounded by the file's size.
pub fn read(bytes: &[u8]) -> Result<Vec<Part>, StageError> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    if zip.len() > MAX_PARTS {
        return Err(unsupported(format!("the ZIP has {} files, more than {MAX_PARTS}", zip.len())));
    }
    let mut parts = Vec::new();
    let mut total = 0;
    for i in 0..zip.len() {
        let mut file = zip.by_index(i).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        total += file.size();
        if file.compression() != CompressionMethod::Stored || total > bytes.len() as u64 || name.contains(['/', '\\']) {
            return Err(unsupported("the ZIP is not one that Meshkiln wrote"));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|e| damaged(e.into()))?;
        parts.push(Part { name, bytes: content });
    }
    Ok(parts)
}

/// Is this a ZIP of ours, untouched? Reads each byte once.
pub fn is_ours(bytes: &[u8]) -> bool {
    seal_position(bytes).is_some_and(|at| is_sealed(bytes, at))
}

/// The record, also when the archive was touched since.
pub fn record(bytes: &[u8]) -> Option<Json> {
    seal_position(bytes)?;
    let parts = read(bytes).ok()?;
    let part = parts.iter().find(|part| part.name.ends_with(RECORD))?;
    serde_json::from_slice(&part.bytes).ok()
}

/// The same archive with the record's `report` set.
pub fn with_report(bytes: &[u8], report: &Json) -> Result<Vec<u8>, StageError> {
    let mut parts = read(bytes)?;
    let part = parts.iter_mut().find(|part| part.name.ends_with(RECORD));
    let part = part.ok_or_else(|| unsupported("the ZIP has no record"))?;
    let mut record: Json = serde_json::from_slice(&part.bytes)
        .map_err(|e| StageError::invalid(format!("record of the ZIP cannot be read: {e}"), HINT))?;
    let fields = record.as_object_mut().ok_or_else(|| unsupported("record of the ZIP is not an object"))?;
    fields.insert("report".to_owned(), report.clone());
    part.bytes = record.to_string().into_bytes();
    write(&parts)
}

pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Where the seal begins in a file that could be ours.
fn seal_position(bytes: &[u8]) -> Option<usize> {
    let at = bytes.len().checked_sub(UNSEALED.len())?;
    let comment = bytes.get(at.checked_sub(COMMENT.len())?..at)?;
    (looks_like_one(bytes) && comment == COMMENT.as_bytes()).then_some(at)
}

const HINT: &str = "fire the source image again";

fn damaged(error: ZipError) -> StageError {
    StageError::invalid(format!("the ZIP is damaged: {error}"), HINT)
}

fn unsupported(message: impl Into<String>) -> StageError {
    StageError::new(StageErrorKind::Unsupported, message, "give a file that Meshkiln wrote")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts() -> Vec<Part> {
        let part = |name: &str, bytes: &[u8]| Part { name: name.to_owned(), bytes: bytes.to_vec() };
        vec![part("灯.obj", b"v 0 0 0\n"), part("灯.meshkiln.json", b"{\"name\":\"lamp\"}"), part("empty.png", b"")]
    }

    #[test]
    fn parts_come_back_and_equal_parts_give_equal_bytes() {
        let bytes = write(&parts()).unwrap();
        assert_eq!(read(&bytes).unwrap(), parts());
        assert_eq!(write(&parts()).unwrap(), bytes);
        assert_eq!(record(&bytes).unwrap()["name"], "lamp");
        // Offset 10 of a local header: time and date, here midnight of 1980-01-01.
        assert_eq!(&bytes[10..14], [0, 0, 0x21, 0]);
    }

    #[test]
    fn one_changed_byte_makes_the_archive_somebody_elses() {
        let bytes = write(&parts()).unwrap();
        assert!(is_ours(&bytes));
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert!(!is_ours(&touched), "byte {at}");
            let _ = (read(&touched), record(&touched), with_report(&touched, &json!(1)));
            assert!(!is_ours(&bytes[..at]), "cut to {at}");
            let _ = read(&bytes[..at]);
        }
        assert!(!is_ours(&[bytes.as_slice(), b"!"].concat()));
    }

    #[test]
    fn a_report_changes_only_the_record() {
        let bytes = with_report(&write(&parts()).unwrap(), &json!({ "passed": true })).unwrap();
        assert!(is_ours(&bytes));
        assert_eq!(record(&bytes).unwrap(), json!({ "name": "lamp", "report": { "passed": true } }));
        assert_eq!(read(&bytes).unwrap()[0], parts()[0]);
        assert_eq!(with_report(&bytes, &json!({ "passed": true })).unwrap(), bytes);
    }
}
