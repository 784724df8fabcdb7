//! A file that is still coming: `NAME.part` and what is known of it.
//!
//! `NAME.part.json` says which bytes these are, how many of them were on the
//! disk when it was written and their SHA-256, so that what is resumed is what
//! was received: a partial that was altered, or of which the record is lost, is
//! not trusted and starts again.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    super::{Result, WeightsError, digest, save},
    Seen,
};
use crate::cx::CancelToken;

/// At most this many bytes are fetched twice after the power went, and at most
/// one in [`RECORDS`] of a file.
const RECORD_BYTES: u64 = 32 << 20;
const RECORDS: u64 = 64;

pub struct Partial {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    record: Record,
    len: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// Which bytes: repository, revision and name.
    name: String,
    /// Validator of the server's answer, as it sent it.
    etag: Option<String>,
    total: Option<u64>,
    len: u64,
    sha256: String,
}

pub fn path(target: &Path) -> PathBuf {
    save::beside(target, ".part")
}

fn record_path(target: &Path) -> PathBuf {
    save::beside(target, ".part.json")
}

/// Removes what there is of a partial file.
pub fn remove(target: &Path) -> Result<()> {
    save::remove(&record_path(target))?;
    save::remove(&path(target))
}

impl Partial {
    /// Takes up what is there for `target` if it is a part of the bytes called `name`.
    pub fn open(target: &Path, name: String, cancel: &CancelToken) -> Result<Self> {
        let path = path(target);
        let io = |error: std::io::Error| WeightsError::io(path.display(), &error);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let record = fs::read(record_path(target)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut partial = Self { path, file, hasher: Sha256::new(), record: Record::default(), len: 0 };
        match record {
            Some(Record { name: found, .. }) if found != name => {}
            Some(record) => partial.take_up(record, cancel)?,
            None => {}
        }
        partial.record.name = name;
        if partial.len == 0 {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Bytes after those on record are dropped: nobody vouches for them.
    fn take_up(&mut self, record: Record, cancel: &CancelToken) -> Result<()> {
        let io = |error: std::io::Error| WeightsError::io(self.path.display(), &error);
        if self.file.metadata().map_err(io)?.len() < record.len {
            return Ok(());
        }
        self.file.set_len(record.len).map_err(io)?;
        let mut hasher = Sha256::new();
        digest::copy(&mut self.file, &mut std::io::sink(), &mut hasher, &self.path, cancel, &mut |_| {})?;
        if digest::hex(&hasher) == record.sha256 {
            (self.hasher, self.len, self.record) = (hasher, record.len, record);
        }
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn etag(&self) -> Option<&str> {
        self.record.etag.as_deref()
    }

    pub fn total(&self) -> Option<u64> {
        self.record.total
    }

    pub fn sha256(&self) -> String {
        digest::hex(&self.hasher)
    }

    /// What the server says these bytes are, from now on.
    pub fn describe(&mut self, etag: Option<String>, total: Option<u64>) {
        (self.record.etag, self.record.total) = (etag, total);
    }

    pub fn restart(&mut self) -> Result<()> {
        let io = |error: std::io::Error| WeightsError::io(self.path.display(), &error);
        self.file.set_len(0).map_err(io)?;
        self.file.seek(SeekFrom::Start(0)).map_err(io)?;
        (self.hasher, self.len) = (Sha256::new(), 0);
        self.record = Record { name: std::mem::take(&mut self.record.name), ..Record::default() };
        Ok(())
    }

    pub fn append(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write_all(chunk).map_err(|error| WeightsError::io(self.path.display(), &error))?;
        self.hasher.update(chunk);
        self.len += chunk.len() as u64;
        let step = self.record.total.map_or(RECORD_BYTES, |total| (total / RECORDS).clamp(1 << 18, RECORD_BYTES));
        if self.len - self.record.len >= step { self.save() } else { Ok(()) }
    }

    /// Puts on record what is there; only that can be resumed.
    pub fn save(&mut self) -> Result<()> {
        let io = |error: std::io::Error| WeightsError::io(self.path.display(), &error);
        self.file.sync_data().map_err(io)?;
        (self.record.len, self.record.sha256) = (self.len, self.sha256());
        match serde_json::to_vec(&self.record) {
            Ok(bytes) => save::write(&save::beside(&self.path, ".json"), &bytes),
            Err(error) => Err(WeightsError::Io { file: self.path.display().to_string(), what: error.to_string() }),
        }
    }

    /// Verified: gets its final name.
    pub fn finish(self, target: &Path) -> Result<Seen> {
        let seen = Seen { bytes: self.len, sha256: self.sha256() };
        save::publish(&self.file, &self.path, target)?;
        save::remove(&record_path(target))?;
        Ok(seen)
    }
}
