//! GLB: the finished asset as one self-contained glTF 2.0 file.
//!
//! `write` takes a mesh, its maps, a name and the record of where they come
//! from, and gives bytes; `write_scene` also levels of detail and a collider, in
//! the style of a target. `read` takes such bytes, trusts none of them, and gives
//! everything back; `with_report` adds what the gate measured.
//!
//! Layout: one material, shared by all levels of detail. Each level and each
//! collider piece is a node of its own with `extras.lod` (1 and up) or
//! `extras.collider` (1 and up). Only the default scene is drawn by viewers; it
//! holds the finest mesh, and colliders where the target's importer knows them by
//! name. All others are in scenes of their own, named like their node, so that
//! nothing lies on top of the object and importers still find them.
//!
//! With a normal map there are `TANGENT`s, as MikkTSpace makes them.
//!
//! The record travels in `asset.extras.meshkiln`. Two digests in it prove that
//! the file is as we wrote it (ownership.rs): `bin_sha256` over the BIN chunk,
//! and `json_sha256` over the JSON chunk with that digest's own digits as zeros.
//!
//! Specification: glTF 2.0, section 4.4 "GLB File Format".

mod bin;
mod compress;
mod material;
mod read;
#[cfg(test)]
mod scene_tests;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use serde_json::{Value as Json, value::RawValue};

pub use self::{
    read::read,
    write::{Style, write, write_scene},
};
pub use super::content::Content as GlbContent;
use crate::{
    error::{StageError, StageErrorKind},
    slot::sha256_hex,
};

/// The same file with `asset.extras.meshkiln.report` set, replacing an earlier
/// one. Every other value keeps its text, the BIN chunk its bytes.
pub fn with_report(bytes: &[u8], report: &Json) -> Result<Vec<u8>, StageError> {
    let chunks = split(bytes)?;
    let mut root = members(chunks.json)?;
    let mut asset = members(text_of(&root, "asset")?)?;
    let mut extras = members(text_of(&asset, "extras")?)?;
    let mut meshkiln = members(text_of(&extras, "meshkiln")?)?;
    set(&mut meshkiln, "report", report)?;
    set(&mut meshkiln, "json_sha256", &Json::from(UNSEALED))?;
    set(&mut extras, "meshkiln", &meshkiln)?;
    set(&mut asset, "extras", &extras)?;
    set(&mut root, "asset", &asset)?;
    let json = serde_json::to_vec(&root).map_err(|e| StageError::internal(format!("cannot write JSON: {e}")))?;
    join(json, chunks.bin)
}

/// JSON object, each value as it was written.
type Members = BTreeMap<String, Box<RawValue>>;

fn members(json: &[u8]) -> Result<Members, StageError> {
    serde_json::from_slice(json).map_err(|e| damaged(format!("JSON of the GLB cannot be read: {e}")))
}

fn text_of<'a>(members: &'a Members, key: &str) -> Result<&'a [u8], StageError> {
    let value = members.get(key).ok_or_else(|| damaged(format!("JSON of the GLB has no `{key}`")))?;
    Ok(value.get().as_bytes())
}

fn set(members: &mut Members, key: &str, value: &impl serde::Serialize) -> Result<(), StageError> {
    let text =
        serde_json::value::to_raw_value(value).map_err(|e| StageError::internal(format!("cannot write JSON: {e}")))?;
    members.insert(key.to_owned(), text);
    Ok(())
}

/// The two chunks of a GLB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks<'a> {
    pub json: &'a [u8],
    /// Empty when the file has none.
    pub bin: &'a [u8],
}

const MAGIC: &[u8] = b"glTF";
const JSON: &[u8] = b"JSON";
const BIN: &[u8] = b"BIN\0";

/// Takes a GLB apart. The chunks must fill it to the last byte.
pub(super) fn split(bytes: &[u8]) -> Result<Chunks<'_>, StageError> {
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("the file does not begin with `glTF`"));
    }
    let [version, length] = [4, 8].map(|at| word(bytes, at));
    let (Some(version), Some(length)) = (version, length) else { return Err(truncated(20, bytes.len())) };
    if version != 2 {
        return Err(StageError::new(
            StageErrorKind::Unsupported,
            format!("GLB version {version} is not 2"),
            "export it as glTF 2.0",
        ));
    }
    if length as usize > bytes.len() {
        return Err(truncated(length as usize, bytes.len()));
    }
    if (length as usize) < bytes.len() {
        return Err(damaged(format!("GLB of {length} bytes is followed by {}", bytes.len() - length as usize)));
    }
    let (json, rest) = chunk(bytes, 12, JSON)?;
    let (bin, rest) = if rest == bytes.len() { (&[][..], rest) } else { chunk(bytes, rest, BIN)? };
    if rest != bytes.len() {
        return Err(damaged(format!("{} bytes follow the BIN chunk", bytes.len() - rest)));
    }
    Ok(Chunks { json, bin })
}

/// Content of the chunk that begins at `at`, and where the next one begins.
fn chunk<'a>(bytes: &'a [u8], at: usize, kind: &[u8]) -> Result<(&'a [u8], usize), StageError> {
    let length = word(bytes, at).ok_or_else(|| truncated(at + 8, bytes.len()))? as usize;
    let start = at + 8;
    if bytes.get(at + 4..start) != Some(kind) {
        return Err(damaged(format!("there is no {} chunk at byte {at}", String::from_utf8_lossy(&kind[..3]))));
    }
    let content = start.checked_add(length).and_then(|end| bytes.get(start..end));
    Ok((content.ok_or_else(|| truncated(start.saturating_add(length), bytes.len()))?, start + length))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// Puts a GLB together and seals it. `json` must hold `json_sha256` as
/// `UNSEALED`; `bin` must be a multiple of four long.
fn join(mut json: Vec<u8>, bin: &[u8]) -> Result<Vec<u8>, StageError> {
    json.resize(json.len().next_multiple_of(4), b' ');
    let digest = sha256_hex(&json);
    let at = seal_position(&json).ok_or_else(|| StageError::internal("JSON of the GLB has no `json_sha256`"))?;
    json[at..at + UNSEALED.len()].copy_from_slice(digest.as_bytes());

    let length = 12 + 8 + json.len() + 8 + bin.len();
    let [length_word, json_word, bin_word] = [length, json.len(), bin.len()].map(|n| (n as u32).to_le_bytes());
    if u32::try_from(length).is_err() {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("a GLB of {length} bytes is over the format's limit of {}", u32::MAX),
            "lower bake.size or simplify.triangles",
        ));
    }
    let version = 2u32.to_le_bytes();
    let parts = [MAGIC, &version, &length_word, &json_word, JSON, &json, &bin_word, BIN, bin];
    Ok(parts.concat())
}

/// Stands where the digest of the JSON chunk will be.
const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where the digits of `json_sha256` begin.
fn seal_position(json: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"\"json_sha256\":\"";
    let at = json.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    (json.len() >= at + UNSEALED.len()).then_some(at)
}

/// Is the JSON chunk as `join` wrote it?
pub(super) fn is_sealed(json: &[u8]) -> bool {
    let Some(at) = seal_position(json) else { return false };
    let mut unsealed = json.to_vec();
    let digits = &mut unsealed[at..at + UNSEALED.len()];
    let stated = digits.to_vec();
    digits.copy_from_slice(UNSEALED.as_bytes());
    sha256_hex(&unsealed).as_bytes() == stated
}

fn damaged(message: impl Into<String>) -> StageError {
    StageError::invalid(message, "fire the source image again")
}

fn truncated(expected: usize, found: usize) -> StageError {
    StageError::new(
        StageErrorKind::Truncated,
        format!("the GLB ends after {found} of {expected} bytes"),
        "fire the source image again",
    )
}
