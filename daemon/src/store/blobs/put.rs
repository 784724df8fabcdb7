//! How bytes come into the blob store: whole, many at once, from an opened file,
//! or as an upload. All end in `rename`: synced temporary file to blob.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    iter,
    sync::atomic::Ordering,
};

use sha2::Digest as _;
use tempfile::{NamedTempFile, TempPath};

use super::{Blob, BlobStore, Digest};
use crate::durable;

/// Below this many blobs, syncing each costs less than syncing the file system.
const FEW: usize = 16;
const CHUNK: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the bytes are those of {found}, not of {expected}")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("the file changed while it was read")]
    Changed,
    #[error("not a regular file")]
    NotAFile,
    /// The source could not be read.
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// The store could not be written; `durable::is_full` tells a full disk.
    #[error("cannot write to the blob store: {0}")]
    Write(io::Error),
}

/// Bytes on their way in that must turn out to be those of a digest. Dropped
/// without `finish`, nothing remains.
#[derive(Debug)]
pub struct Upload {
    expected: Digest,
    incoming: Incoming,
}

/// A temporary file being written and hashed.
#[derive(Debug)]
struct Incoming {
    store: BlobStore,
    temp: NamedTempFile,
    hash: sha2::Sha256,
    bytes: u64,
    limit: u64,
}

impl BlobStore {
    pub fn put(&self, bytes: &[u8]) -> io::Result<Blob> {
        let digest = Digest::of(bytes);
        let blob = Blob { sha256: digest.to_string(), bytes: bytes.len() as u64 };
        if !self.keep_existing(digest, blob.bytes)? {
            let mut temp = self.temp()?;
            temp.write_all(bytes)?;
            temp.as_file().sync_all()?;
            self.rename(temp.into_temp_path(), digest)?;
        }
        durable::sync_folder(&self.folder(digest))?;
        Ok(blob)
    }

    /// Many small blobs for the price of few: one sync of the file system where
    /// there is such a thing, and one of each folder. Same order out as in.
    pub fn put_many(&self, contents: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        let mut folders = BTreeSet::new();
        let mut temps: Vec<(Digest, TempPath)> = Vec::new();
        for bytes in contents {
            let digest = Digest::of(&bytes);
            let blob = Blob { sha256: digest.to_string(), bytes: bytes.len() as u64 };
            folders.insert(self.folder(digest));
            if !self.keep_existing(digest, blob.bytes)? {
                let mut temp = self.temp()?;
                temp.write_all(&bytes)?;
                temps.push((digest, temp.into_temp_path()));
            }
            blobs.push(blob);
        }
        if temps.len() < FEW || !durable::sync_file_system(self.dir())? {
            for (_, temp) in &temps {
                // Windows syncs only what is open for writing.
                File::options().write(true).open(temp)?.sync_all()?;
            }
        }
        self.create_folders(temps.iter().map(|(digest, _)| *digest))?;
        for (digest, temp) in temps {
            self.rename(temp, digest)?;
        }
        if folders.len() < FEW || !durable::sync_file_system(self.dir())? {
            for folder in &folders {
                durable::sync_folder(folder)?;
            }
        }
        Ok(blobs)
    }

    /// A snapshot of a file somebody else may be writing to: `Changed` when its
    /// size or time moved during the copy. Takes an opened file, so that the
    /// caller decides what may be opened.
    pub fn put_file(&self, mut file: &File, max_bytes: u64) -> Result<Blob, PutError> {
        let before = file.metadata().map_err(PutError::Read)?;
        if !before.is_file() {
            return Err(PutError::NotAFile);
        }
        if before.len() > max_bytes {
            return Err(PutError::TooLarge { bytes: before.len(), limit: max_bytes });
        }
        file.rewind().map_err(PutError::Read)?;
        let mut incoming = self.begin(max_bytes).map_err(PutError::Write)?;
        let mut chunk = vec![0; CHUNK.min(before.len() as usize + 1)];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => incoming.write(&chunk[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(PutError::Read(e)),
            }
        }
        let after = file.metadata().map_err(PutError::Read)?;
        let moved = before.modified().ok() != after.modified().ok();
        if moved || incoming.bytes != before.len() || incoming.bytes != after.len() {
            return Err(PutError::Changed);
        }
        let digest = incoming.digest();
        incoming.keep(digest).map_err(PutError::Write)
    }

    /// Takes bytes of at most `max_bytes` that must turn out to be `expected`.
    pub fn upload(&self, expected: Digest, max_bytes: u64) -> io::Result<Upload> {
        Ok(Upload { expected, incoming: self.begin(max_bytes)? })
    }

    fn begin(&self, limit: u64) -> io::Result<Incoming> {
        Ok(Incoming { store: self.clone(), temp: self.temp()?, hash: sha2::Sha256::new(), bytes: 0, limit })
    }

    /// Readable by this user alone, removed unless renamed.
    fn temp(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix("put-").rand_bytes(12).tempfile_in(self.tmp())
    }

    /// Whether the blob is there already; marks it as used. The caller must still
    /// sync the folder: another process may have renamed it there just now.
    fn keep_existing(&self, digest: Digest, bytes: u64) -> io::Result<bool> {
        if self.len(digest) != Some(bytes) {
            return Ok(false);
        }
        match self.touch(digest) {
            // Collected between the two calls.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            // Looks again: the file that was touched may have been on its way out.
            other => other.map(|()| self.contains(digest)),
        }
    }

    /// Moves a synced temporary file to its name. Somebody may have put the same
    /// bytes meanwhile: replacing them is harmless, and cures a damaged file.
    fn rename(&self, temp: TempPath, digest: Digest) -> io::Result<()> {
        let to = self.path(digest);
        self.create_folders(iter::once(digest))?;
        let temp = match temp.persist(&to) {
            Ok(()) => return Ok(()),
            Err(refused) if refused.error.kind() == io::ErrorKind::NotFound => refused.path,
            // Windows does not replace a file that somebody reads.
            Err(refused)
                if cfg!(windows) && self.len(digest) == fs::metadata(&refused.path).ok().map(|temp| temp.len()) =>
            {
                return self.touch(digest);
            }
            Err(refused) => return Err(refused.error),
        };
        // Somebody has tidied up.
        self.folders[usize::from(digest.0[0])].store(false, Ordering::Relaxed);
        self.create_folders(iter::once(digest))?;
        temp.persist(&to).map_err(|refused| refused.error)
    }

    /// Creates the fan-out folders of these blobs where they are missing. Another
    /// process may have created one a moment ago and not synced it yet, so each
    /// process does so itself, once.
    fn create_folders(&self, digests: impl Iterator<Item = Digest> + Clone) -> io::Result<()> {
        let is_there = |digest: Digest| &self.folders[usize::from(digest.0[0])];
        let missing = digests.filter(|digest| !is_there(*digest).load(Ordering::Relaxed));
        if missing.clone().next().is_none() {
            return Ok(());
        }
        for digest in missing.clone() {
            durable::create_private_folder(&self.folder(digest))?;
        }
        durable::sync_folder(self.dir())?;
        missing.for_each(|digest| is_there(digest).store(true, Ordering::Relaxed));
        Ok(())
    }
}

impl Upload {
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), PutError> {
        self.incoming.write(chunk)
    }

    /// The blob, durable; refused when the bytes are not those that were announced.
    pub fn finish(self) -> Result<Blob, PutError> {
        let found = self.incoming.digest();
        if found != self.expected {
            return Err(PutError::WrongDigest { expected: self.expected, found });
        }
        self.incoming.keep(found).map_err(PutError::Write)
    }
}

impl Incoming {
    fn write(&mut self, chunk: &[u8]) -> Result<(), PutError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.limit {
            return Err(PutError::TooLarge { bytes: self.bytes, limit: self.limit });
        }
        self.hash.update(chunk);
        self.temp.write_all(chunk).map_err(PutError::Write)
    }

    fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    fn keep(self, digest: Digest) -> io::Result<Blob> {
        let Incoming { store, temp, bytes, .. } = self;
        if !store.keep_existing(digest, bytes)? {
            temp.as_file().sync_all()?;
            store.rename(temp.into_temp_path(), digest)?;
        }
        durable::sync_folder(&store.folder(digest))?;
        Ok(Blob { sha256: digest.to_string(), bytes })
    }
}
