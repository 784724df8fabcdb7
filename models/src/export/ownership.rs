//! Did Meshkiln write this file, and is it as it was written?
//!
//! A finished file may be replaced by a newer one, a file of somebody else never.
//! Names and times prove nothing; the digests in the file do. An edit of ours,
//! even of one byte, makes the file somebody else's.

use serde::Deserialize;
use serde_json::Value as Json;

use super::{archive, glb, ply, png_record, stl};
use crate::slot::sha256_hex;

/// True only for an untouched GLB, PNG, ZIP, PLY or STL that Meshkiln wrote. Reads
/// each byte at most twice, never panics, whatever the bytes.
pub fn is_ours(bytes: &[u8]) -> bool {
    is_our_glb(bytes)
        || png_record::is_ours(bytes)
        || archive::is_ours(bytes)
        || ply::is_ours(bytes)
        || stl::is_ours(bytes)
}

/// The record of where a file of ours comes from, also when it was touched since.
/// `None` for files of others, and for STL, which has no place for one.
pub fn record(bytes: &[u8]) -> Option<Json> {
    if archive::looks_like_one(bytes) {
        return archive::record(bytes);
    }
    if ply::looks_like_one(bytes) {
        return ply::record(bytes);
    }
    if let Ok(chunks) = glb::split(bytes) {
        let document: Document<Json> = serde_json::from_slice(chunks.json).ok()?;
        return Some(document.asset.extras.meshkiln);
    }
    serde_json::from_slice(png_record::find(bytes)?).ok()
}

fn is_our_glb(bytes: &[u8]) -> bool {
    let Ok(chunks) = glb::split(bytes) else { return false };
    let Ok(document) = serde_json::from_slice::<Document<Seal>>(chunks.json) else { return false };
    let stated = document.asset.extras.meshkiln.bin_sha256;
    document.asset.generator == "Meshkiln" && glb::is_sealed(chunks.json) && stated == sha256_hex(chunks.bin)
}

#[derive(Deserialize)]
struct Document<Record> {
    asset: AssetPart<Record>,
}

#[derive(Deserialize)]
struct AssetPart<Record> {
    generator: String,
    extras: Extras<Record>,
}

#[derive(Deserialize)]
struct Extras<Record> {
    meshkiln: Record,
}

#[derive(Deserialize)]
struct Seal {
    bin_sha256: String,
}
