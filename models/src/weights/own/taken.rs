//! What was read of a network of one's own: `state.json` beside its files.
//!
//! Files of a user change without anybody saying so. Each is known by size, time and SHA-256; one
//! that has another size or time since is not taken for the same.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    super::{Result, WeightsError, convert, digest, save},
    Own,
};
use crate::cx::CancelToken;

const NAME: &str = "state.json";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    files: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    bytes: u64,
    /// When it was last written, as the file system counts: only ever compared.
    written: i64,
    sha256: String,
}

/// A network that can be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    pub weights: PathBuf,
    pub config: Option<PathBuf>,
    /// Of the user's files, weights first.
    pub sha256: Vec<String>,
    /// Of the weights as the user has them.
    pub bytes: u64,
}

/// Counted bytes: of the file in hand, what is done and all.
pub type Progress<'a> = &'a mut dyn FnMut(Phase, &str, u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Read,
    Convert,
}

impl Own {
    /// What to load; `None` where a file is not as it was taken in. Reads no weights.
    pub fn ready(&self) -> Option<Ready> {
        let record = self.record();
        let seen = |name: &str| {
            let seen = record.files.get(name)?;
            (self.now(name).ok()? == (seen.bytes, seen.written)).then_some(seen)
        };
        let weights = seen(&self.weights)?;
        let loaded = self.path(&self.loaded_as());
        if self.is_checkpoint() && !convert::is_current(&loaded, &weights.sha256) {
            return None;
        }
        Some(Ready {
            weights: loaded,
            config: self.config.as_deref().map(|name| self.path(name)),
            sha256: self.files().map(|name| Some(seen(name)?.sha256.clone())).collect::<Option<_>>()?,
            bytes: weights.bytes,
        })
    }

    /// Reads every file that is not as it was, and converts a checkpoint. A gigabyte takes a few seconds.
    ///
    /// Errors: files that cannot be read, that are no checkpoint, or that change while they are read;
    /// a disk that is full; cancelled.
    pub fn take_in(&self, cancel: &CancelToken, progress: Progress) -> Result<Ready> {
        let mut record = self.record();
        for name in self.files() {
            let now = self.now(name)?;
            if record.files.get(name).is_some_and(|seen| (seen.bytes, seen.written) == now) {
                continue;
            }
            let sha256 = self.read(name, now.0, cancel, progress)?;
            if self.now(name)? != now {
                return Err(self.changing(name));
            }
            record.files.insert(name.to_owned(), Seen { bytes: now.0, written: now.1, sha256 });
        }
        record.files.retain(|name, _| self.files().any(|file| file == name));
        self.write(&record)?;
        if let Some(seen) = record.files.get(&self.weights).filter(|_| self.is_checkpoint()) {
            let target = self.path(&self.loaded_as());
            convert::convert(&self.path(&self.weights), &seen.sha256, &target, cancel, &mut |done, total| {
                progress(Phase::Convert, &self.weights, done, total);
            })?;
        }
        self.ready().ok_or_else(|| self.changing(&self.weights))
    }

    /// Bytes of the weights as they lie there; 0 where they cannot be told.
    pub fn bytes(&self) -> u64 {
        self.now(&self.weights).map_or(0, |(bytes, _)| bytes)
    }

    /// A pickle, which is converted before it is loaded.
    fn is_checkpoint(&self) -> bool {
        let extension = Path::new(&self.weights).extension();
        matches!(self.kind, super::Kind::BuiltIn { .. }) && extension.is_none_or(|extension| extension != "safetensors")
    }

    /// Never the name of a file of the user.
    fn loaded_as(&self) -> String {
        if self.is_checkpoint() { format!("{}.made.safetensors", self.weights) } else { self.weights.clone() }
    }

    fn read(&self, name: &str, total: u64, cancel: &CancelToken, progress: Progress) -> Result<String> {
        let path = self.path(name);
        let mut file = File::open(&path).map_err(|error| WeightsError::io(path.display(), &error))?;
        let (mut hasher, mut done) = (Sha256::new(), 0);
        digest::copy(&mut file, &mut io::sink(), &mut hasher, &path, cancel, &mut |n| {
            done += n;
            progress(Phase::Read, name, done, total);
        })?;
        Ok(digest::hex(&hasher))
    }

    /// Size and time of a file.
    fn now(&self, name: &str) -> Result<(u64, i64)> {
        let path = self.path(name);
        let found = fs::metadata(&path).map_err(|error| WeightsError::io(path.display(), &error))?;
        Ok((found.len(), written(&found)))
    }

    /// Empty where there is none that can be read: everything is read again.
    fn record(&self) -> Record {
        let bytes = fs::read(self.path(NAME)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, record: &Record) -> Result<()> {
        let path = self.path(NAME);
        match serde_json::to_vec_pretty(record) {
            Ok(bytes) => save::write(&path, &bytes),
            Err(error) => Err(WeightsError::Io { file: path.display().to_string(), what: error.to_string() }),
        }
    }

    fn changing(&self, name: &str) -> WeightsError {
        let what = "it changes while it is read".to_owned();
        WeightsError::Io { file: self.path(name).display().to_string(), what }
    }
}

/// In nanoseconds.
#[cfg(unix)]
fn written(file: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    file.mtime().saturating_mul(1_000_000_000).saturating_add(file.mtime_nsec())
}

/// In units of 100 nanoseconds.
#[cfg(windows)]
fn written(file: &fs::Metadata) -> i64 {
    use std::os::windows::fs::MetadataExt;
    file.last_write_time() as i64
}
