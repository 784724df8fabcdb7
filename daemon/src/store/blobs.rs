//! The blob store: files named by the SHA-256 of their bytes.
//!
//! In go bytes, an opened file or an upload; out comes a `Blob`, durable once the
//! call returns. `DIR/ab/abcd...` holds a blob, `DIR/tmp/` what is being written.
//! Daemon and workers use one store at the same time, without locks: a blob
//! appears whole, by rename, and equal bytes have equal names.
//!
//! Order: temporary file, write, sync, rename, sync folder. Kept blobs carry in
//! their modification time when they were last put or touched; collection goes
//! by that and by what the database refers to.

mod put;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use meshkiln_models::slot::hex;
use meshkiln_protocol::Sha256;
use sha2::Digest as _;

pub use put::{PutError, Upload};

use crate::durable;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobStore {
    dir: Arc<Path>,
    /// Fan-out folders that this process has seen to be there, durably.
    folders: Arc<[AtomicBool; 256]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub sha256: Sha256,
    pub bytes: u64,
}

/// A SHA-256 whose text form has been checked: 64 lower-case hex digits. The only
/// way to name a blob, so that no path is ever made of what somebody sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256: expected 64 lower-case hex digits")]
pub struct NotADigest;

/// One blob, as `iter` finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub digest: Digest,
    pub bytes: u64,
    /// When it was last put or touched.
    pub used: SystemTime,
}

impl BlobStore {
    /// Creates what is missing, for this user alone.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<BlobStore> {
        let dir: PathBuf = dir.into();
        durable::create_private_folder(&dir.join("tmp"))?;
        durable::sync_folder(&dir)?;
        Ok(BlobStore { dir: dir.into(), folders: Arc::new([const { AtomicBool::new(false) }; 256]) })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The whole blob, verified. `NotFound` when it is not there; `InvalidData`
    /// when its bytes are not those of its name or cannot be read: the file is
    /// then moved out of the way, so that the next put writes it anew.
    pub fn get(&self, digest: Digest) -> io::Result<Vec<u8>> {
        let path = self.path(digest);
        let read = durable::open_regular(&path).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|e| damaged(format!("cannot be read: {e}")))?;
            let found = Digest::of(&bytes);
            if found != digest {
                return Err(damaged(format!("has the bytes of {found}")));
            }
            Ok(bytes)
        });
        read.map_err(|e| {
            if e.kind() == io::ErrorKind::InvalidData {
                tracing::warn!("blob {digest} is damaged and was set aside: {e}");
                let aside = format!("damaged-{digest}-{:08x}", fastrand::u32(..));
                let _ = fs::rename(&path, self.tmp().join(aside));
                return io::Error::new(e.kind(), format!("blob {digest} {e}"));
            }
            e
        })
    }

    /// File and length, for serving; not verified.
    pub fn open_blob(&self, digest: Digest) -> io::Result<(File, u64)> {
        let file = durable::open_regular(&self.path(digest))?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    pub fn contains(&self, digest: Digest) -> bool {
        self.len(digest).is_some()
    }

    /// Length in bytes, `None` when it is not there.
    pub fn len(&self, digest: Digest) -> Option<u64> {
        fs::symlink_metadata(self.path(digest)).ok().filter(|found| found.is_file()).map(|found| found.len())
    }

    /// Marks the blob as used now. `NotFound` when it is not there.
    pub fn touch(&self, digest: Digest) -> io::Result<()> {
        File::options().write(true).open(self.path(digest))?.set_modified(SystemTime::now())
    }

    /// Nothing happens when it is not there.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes the blob unless it was put or touched after `since`, also when that
    /// happens at this very moment in another process. Says whether it is gone.
    pub fn remove_unless_used_since(&self, digest: Digest, since: SystemTime) -> io::Result<bool> {
        // Out of sight first: whoever touches it before sees its time kept below,
        // whoever comes after finds nothing and writes it anew.
        let (path, aside) = (self.path(digest), self.tmp().join(format!("removing-{digest}")));
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        }
        if fs::symlink_metadata(&aside)?.modified()? > since {
            fs::rename(&aside, &path)?;
            return Ok(false);
        }
        fs::remove_file(&aside)?;
        Ok(true)
    }

    /// Every blob, in no particular order; files with other names are passed over.
    pub fn iter(&self) -> impl Iterator<Item = io::Result<Entry>> {
        (0..=255u8).flat_map(|first| self.iter_folder(first))
    }

    /// Blobs whose digest begins with this byte: about a 256th of them all.
    pub fn iter_folder(&self, first: u8) -> impl Iterator<Item = io::Result<Entry>> + use<> {
        let entries: Vec<_> = match fs::read_dir(self.dir.join(hex(&[first]))) {
            Ok(files) => files.filter_map(|file| file.and_then(entry).transpose()).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => vec![Err(e)],
        };
        entries.into_iter()
    }

    /// Removes what writers that died left behind, and damaged blobs that were set
    /// aside. Says how many files went.
    pub fn remove_stale_temps(&self, older_than: Duration) -> io::Result<u64> {
        let now = SystemTime::now();
        let mut removed = 0;
        for file in fs::read_dir(self.tmp())? {
            let file = file?;
            // It may have been renamed or removed by its writer meanwhile.
            let Ok(changed) = file.metadata().and_then(|found| found.modified()) else { continue };
            let age = now.duration_since(changed).unwrap_or_default();
            if age >= older_than && fs::remove_file(file.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn folder(&self, digest: Digest) -> PathBuf {
        self.dir.join(hex(&digest.0[..1]))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder(digest).join(digest.to_string())
    }
}

impl Blob {
    pub fn digest(&self) -> Result<Digest, NotADigest> {
        self.sha256.parse()
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(NotADigest),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotADigest) };
        let mut digest = [0; 32];
        if pairs.len() != digest.len() {
            return Err(NotADigest);
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Digest(digest))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl From<NotADigest> for io::Error {
    fn from(error: NotADigest) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

fn entry(file: fs::DirEntry) -> io::Result<Option<Entry>> {
    let Some(digest) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { return Ok(None) };
    let found = match file.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !found.is_file() {
        return Ok(None);
    }
    Ok(Some(Entry { digest, bytes: found.len(), used: found.modified()? }))
}

fn damaged(how: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how)
}
