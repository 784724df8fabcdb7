//! A checkpoint turned into safetensors, once.
//!
//! The header is written first: names, types and shapes are known without
//! reading a value. Then the tensors stream through, one at a time. The result
//! gets its name when it is complete. It says in its metadata which source it
//! was made of, so that a changed source is converted anew.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::{
    Result, WeightsError, digest,
    open::Weights,
    pickle::{Checkpoint, Tensor},
    save,
};
use crate::cx::CancelToken;

/// Key in the metadata of the result.
pub const SOURCE_SHA256: &str = "source_sha256";
/// Part of the record: raise it when the same source gives another result.
const VERSION: &str = "1";
/// Tensors start on a cache line.
const ALIGN: usize = 64;

/// Whether `target` was made of the source with this SHA-256, by this version.
pub fn is_current(target: &Path, source_sha256: &str) -> bool {
    Weights::open(target).is_ok_and(|weights| {
        let says = |key: &str, value: &str| weights.metadata().get(key).is_some_and(|found| found == value);
        says(SOURCE_SHA256, source_sha256) && says("converter", VERSION)
    })
}

/// Converts the checkpoint `source`, whose SHA-256 the caller knows, unless
/// `target` is the result already. `progress` hears of (bytes done, bytes in
/// all). Memory: a megabyte for tensors that are a storage of their own, as in
/// state dicts; otherwise the storage that is shared. Disk: about the size of
/// the unpacked source. Returns the SHA-256 of the result, `None` where there
/// was nothing to do.
pub fn convert(
    source: &Path,
    source_sha256: &str,
    target: &Path,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<String>> {
    if is_current(target, source_sha256) {
        return Ok(None);
    }
    let temporary = save::beside(target, ".tmp");
    let result = write(source, source_sha256, &temporary, cancel, progress);
    match result.and_then(|(file, sha256)| save::publish(&file, &temporary, target).map(|()| sha256)) {
        Ok(sha256) => Ok(Some(sha256)),
        Err(error) => {
            let _ = save::remove(&temporary); // what went wrong before is what matters
            Err(error)
        }
    }
}

fn write(
    source: &Path,
    source_sha256: &str,
    temporary: &Path,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(File, String)> {
    let mut checkpoint = Checkpoint::open(source)?;
    let order = order(checkpoint.tensors());
    let total = checkpoint.tensors().iter().map(Tensor::n_bytes).sum();
    let io = |error: std::io::Error| WeightsError::io(temporary.display(), &error);
    let file = BufWriter::with_capacity(1 << 16, File::create(temporary).map_err(io)?);
    let mut out = Hashed { file, hasher: Sha256::new() };
    out.write_all(&header(checkpoint.tensors(), &order, source_sha256)).map_err(io)?;
    let mut done = 0;
    progress(done, total);
    for index in order {
        checkpoint.stream(index, &mut |chunk| {
            if cancel.is_cancelled() {
                return Err(WeightsError::Cancelled);
            }
            out.write_all(chunk).map_err(io)?;
            done += chunk.len() as u64;
            progress(done, total);
            Ok(())
        })?;
    }
    let file = out.file.into_inner().map_err(|error| io(error.into_error()))?;
    Ok((file, digest::hex(&out.hasher)))
}

/// A file whose bytes are hashed on their way.
struct Hashed {
    file: BufWriter<File>,
    hasher: Sha256,
}

impl Hashed {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

/// Widest elements first, so that each tensor starts at a multiple of its
/// element's size; otherwise as in the checkpoint, which keeps reading sequential.
fn order(tensors: &[Tensor]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(tensors[i].dtype.size()));
    order
}

/// Length and JSON, padded with spaces so that the data starts at a multiple of [`ALIGN`].
fn header(tensors: &[Tensor], order: &[usize], source_sha256: &str) -> Vec<u8> {
    let mut entries = Map::new();
    let metadata = json!({ "format": "pt", SOURCE_SHA256: source_sha256, "converter": VERSION });
    entries.insert("__metadata__".to_owned(), metadata);
    let mut at = 0;
    for tensor in order.iter().map(|&i| &tensors[i]) {
        let end = at + tensor.n_bytes();
        let entry = json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end] });
        entries.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut json = serde_json::Value::Object(entries).to_string().into_bytes();
    json.resize((json.len() + 8).next_multiple_of(ALIGN) - 8, b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}

#[cfg(test)]
mod tests;
