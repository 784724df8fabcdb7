//! Brings the files of one net into a folder, every byte verified.
//!
//! From a hub or a mirror of it ([`Source::Hub`]), or from a folder
//! ([`Source::Folder`]). What is in a net's folder: the published files under
//! their own names, the safetensors made of checkpoints, `state.json` with what
//! was verified, `lock`, and while a pull is at work or was interrupted,
//! `NAME.part` with `NAME.part.json`. A file has its final name only when its
//! size and SHA-256 are those of the catalogue, or, where the catalogue does
//! not know them, those of the first download.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use core::time::Duration;

use super::{
    Result, WeightsError,
    catalogue::{Net, NetFile, Role},
    convert, digest, save,
};
use crate::cx::CancelToken;

mod address;
mod folder;
mod http;
mod partial;
mod state;

use state::{Seen, State};

/// Where the weights of most networks are published.
pub const HUB: &str = "https://huggingface.co";
/// Left free on the disk beside what a pull needs, in bytes.
pub const RESERVE: u64 = 256 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Base address of a hub, such as [`HUB`] or the value of `MESHKILN_HUB`:
    /// https, or http on this machine. Files are `BASE/OWNER/NAME/resolve/REVISION/FILE`.
    Hub(String),
    /// Files lie in it under their published names, or under `NET/`,
    /// `OWNER/NAME/` or `OWNER/NAME/resolve/REVISION/`.
    Folder(PathBuf),
}

/// How to pull: everything about the world that this module does not decide.
pub struct Pull<'a> {
    pub source: &'a Source,
    /// Folder of all weights; absolute. That of the net is below it.
    pub folder: &'a Path,
    /// Failed connections per file after which a pull gives up.
    pub retries: u32,
    /// Longest silence of a server before the connection counts as failed.
    pub stall: Duration,
    /// Bytes that may still be written to the disk of a folder.
    pub free_bytes: &'a dyn Fn(&Path) -> io::Result<u64>,
    /// Called before the n-th retry of a file, n from 1: returns when it is
    /// time, or when the pull is cancelled.
    pub pause: &'a dyn Fn(u32),
    pub cancel: &'a CancelToken,
    /// Called for every chunk, on the calling thread.
    pub progress: &'a dyn Fn(Progress),
}

/// Counted work of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    pub phase: Phase,
    /// Published name of the file at work.
    pub file: &'a str,
    /// Bytes, of all files of the net together. Goes back only when a file has
    /// to be fetched from its start again.
    pub done: u64,
    /// `None` while the size of a file is not known.
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Fetch,
    Convert,
}

/// A net whose files are all here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// In the order of the catalogue.
    pub files: Vec<InstalledFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFile {
    pub role: Role,
    /// What to load: the published file, or what was made of it.
    pub path: PathBuf,
    /// Of the published file.
    pub bytes: u64,
    /// Of the published file: part of cache keys.
    pub sha256: String,
}

/// How much of a net is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    Absent,
    /// `bytes` need not be fetched again.
    Partial {
        bytes: u64,
    },
    Here(Installed),
}

/// Brings everything of `net` that is not here yet, and converts checkpoints.
/// On errors, and when it is cancelled, what is complete and what can be
/// resumed stays.
pub fn pull(net: &Net, how: &Pull) -> Result<Installed> {
    let home = how.folder.join(net.id);
    fs::create_dir_all(&home).map_err(|error| WeightsError::io(home.display(), &error))?;
    let _lock = lock(net, &home)?;
    let mut state = State::read(&home)?;
    state.expect_revision(net.revision_or_main());
    adopt(net, &home, &mut state, how.cancel)?;
    check_room(net, &home, &state, how)?;
    let mut sizes: Vec<Option<u64>> = net.files.iter().map(|file| expected(net, file, &state).bytes).collect();
    let origin = match how.source {
        Source::Hub(base) => Origin::Hub(http::Client::new(base, how)?),
        Source::Folder(folder) => Origin::Folder(folder),
    };
    let mut done_before = 0;
    for (i, file) in net.files.iter().enumerate() {
        if let Some(seen) = state.here(&home, file) {
            done_before += seen.bytes;
            sizes[i] = Some(seen.bytes);
            continue;
        }
        let mut report = |done: u64, total: Option<u64>| {
            sizes[i] = sizes[i].or(total);
            let total = sizes.iter().copied().sum();
            (how.progress)(Progress { phase: Phase::Fetch, file: file.path, done: done_before + done, total });
        };
        let target = home.join(file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| WeightsError::io(parent.display(), &error))?;
        }
        let wanted = Wanted { net, file, target: &target, expected: expected(net, file, &state) };
        let seen = match &origin {
            Origin::Hub(client) => client.fetch(&wanted, &mut report)?,
            Origin::Folder(folder) => folder::fetch(&wanted, folder, how, &mut report)?,
        };
        done_before += seen.bytes;
        sizes[i] = Some(seen.bytes);
        state.record(net, file, seen);
        state.write(&home)?;
    }
    state.write(&home)?;
    convert_all(net, &home, &mut state, how)?;
    installed_in(net, &home, &state).ok_or_else(|| WeightsError::Io {
        file: home.display().to_string(),
        what: "files vanished while they were pulled".to_owned(),
    })
}

/// Whether everything of `net` is here, as far as names, sizes and the record
/// of what was verified tell. Reads no weights.
pub fn is_here(net: &Net, folder: &Path) -> bool {
    installed(net, folder).is_some()
}

/// What to load, `None` where something is missing.
pub fn installed(net: &Net, folder: &Path) -> Option<Installed> {
    let home = folder.join(net.id);
    let mut state = State::read(&home).ok()?;
    state.expect_revision(net.revision_or_main());
    installed_in(net, &home, &state)
}

pub fn presence(net: &Net, folder: &Path) -> Presence {
    if let Some(installed) = installed(net, folder) {
        return Presence::Here(installed);
    }
    let home = folder.join(net.id);
    let len = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    let bytes = net.files.iter().map(|file| {
        let path = home.join(file.path);
        len(partial::path(&path)).max(len(path))
    });
    match bytes.sum() {
        0 => Presence::Absent,
        bytes => Presence::Partial { bytes },
    }
}

/// Hashes every file of a net again, and what was made of checkpoints, and
/// drops those whose bytes changed since they were verified or made. Returns
/// the names of the dropped ones; a pull brings them back. About a second for
/// each gigabyte or two.
pub fn verify(net: &Net, folder: &Path, cancel: &CancelToken) -> Result<Vec<String>> {
    let home = folder.join(net.id);
    if !home.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(net, &home)?;
    let state = State::read(&home)?;
    let mut dropped = Vec::new();
    for (name, seen) in state.files.iter().chain(&state.made) {
        let path = home.join(name);
        if path.exists() && digest::of_file(&path, cancel)? != seen.sha256 {
            save::remove(&path)?;
            dropped.push(name.clone());
        }
    }
    Ok(dropped)
}

/// Removes what is here of `net`. Sums that only the first download could tell
/// stay on record.
pub fn remove(net: &Net, folder: &Path) -> Result<()> {
    let home = folder.join(net.id);
    if !home.exists() {
        return Ok(());
    }
    let _lock = lock(net, &home)?;
    let mut state = State::read(&home).unwrap_or_default();
    state.files.clear();
    state.made.clear();
    state.write(&home)?;
    for file in net.files {
        let path = home.join(file.path);
        partial::remove(&path)?;
        save::remove(&home.join(file.loaded_as()))?;
        save::remove(&path)?;
    }
    if state.first_seen.is_empty() {
        // On Windows the lock is still open; an empty folder does no harm there.
        let _ = fs::remove_dir_all(&home);
    }
    Ok(())
}

/// A source that was looked at.
enum Origin<'a> {
    Hub(http::Client<'a>),
    Folder(&'a Path),
}

/// A file to fetch.
struct Wanted<'a> {
    net: &'a Net,
    file: &'a NetFile,
    target: &'a Path,
    expected: Expected,
}

/// What the bytes must be, as far as anybody knows.
#[derive(Debug, Clone, Default)]
struct Expected {
    bytes: Option<u64>,
    sha256: Option<String>,
}

impl Wanted<'_> {
    /// Names these bytes in the record of a partial file.
    fn name(&self) -> String {
        format!("{}@{}/{}", self.net.repository, self.net.revision_or_main(), self.file.path)
    }

    /// Compares finished bytes with what they should be.
    fn check(&self, found: &Seen) -> Result<()> {
        let wrong = |what, expected: String, found: String| WeightsError::WrongBytes {
            file: self.file.path.to_owned(),
            what,
            expected,
            found,
        };
        match (&self.expected.bytes, &self.expected.sha256) {
            (Some(bytes), _) if *bytes != found.bytes => Err(wrong("size", bytes.to_string(), found.bytes.to_string())),
            (_, Some(sha256)) if *sha256 != found.sha256 => Err(wrong("SHA-256", sha256.clone(), found.sha256.clone())),
            _ => Ok(()),
        }
    }
}

/// From the catalogue, else from the first download.
fn expected(net: &Net, file: &NetFile, state: &State) -> Expected {
    let first = state.first_seen(net, file);
    Expected {
        bytes: file.bytes.or(first.map(|seen| seen.bytes)),
        sha256: file.sha256.map(str::to_owned).or(first.map(|seen| seen.sha256.clone())),
    }
}

/// Held by the system for the open file: it ends with the process.
fn lock(net: &Net, home: &Path) -> Result<File> {
    let path = home.join("lock");
    let io = |error: io::Error| WeightsError::io(path.display(), &error);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WeightsError::Busy { net: net.id.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Takes in files that lie under their final name without being on record:
/// put there by hand, or by a pull that ended before it could say so.
fn adopt(net: &Net, home: &Path, state: &mut State, cancel: &CancelToken) -> Result<()> {
    for file in net.files {
        let (path, expected) = (home.join(file.path), expected(net, file, state));
        let len = fs::metadata(&path).map(|found| found.len());
        let (Ok(bytes), Some(sha256), None) = (len, expected.sha256, state.here(home, file)) else { continue };
        if expected.bytes.is_none_or(|wanted| wanted == bytes) && digest::of_file(&path, cancel)? == sha256 {
            state.record(net, file, Seen { bytes, sha256 });
        }
    }
    Ok(())
}

/// What is still to come, the conversion and a reserve must fit on the disk.
/// Files of unknown size are looked at again when the server has said it.
fn check_room(net: &Net, home: &Path, state: &State, how: &Pull) -> Result<()> {
    let mut needed = 0_u64;
    for file in net.files {
        let bytes = expected(net, file, state).bytes.unwrap_or(0);
        let path = home.join(file.path);
        if state.here(home, file).is_none() {
            let part = fs::metadata(partial::path(&path)).map_or(0, |found| found.len());
            needed = needed.saturating_add(bytes.saturating_sub(part));
        }
        let is_made = || state.here(home, file).is_some_and(|seen| state.is_made(home, file, seen));
        if file.role == Role::Checkpoint && !is_made() {
            needed = needed.saturating_add(bytes);
        }
    }
    match needed {
        0 => Ok(()),
        needed => room_for(needed, home, how),
    }
}

/// Refuses to go on where `needed` bytes and the reserve do not fit.
fn room_for(needed: u64, home: &Path, how: &Pull) -> Result<()> {
    let free = (how.free_bytes)(home).map_err(|error| WeightsError::io(home.display(), &error))?;
    match needed.saturating_add(RESERVE) {
        needed if needed > free => Err(WeightsError::DiskFull { folder: home.display().to_string(), needed, free }),
        _ => Ok(()),
    }
}

fn convert_all(net: &Net, home: &Path, state: &mut State, how: &Pull) -> Result<()> {
    for file in net.files.iter().filter(|file| file.role == Role::Checkpoint) {
        let Some(seen) = state.here(home, file) else { continue };
        if state.is_made(home, file, seen) {
            continue;
        }
        let (source, target) = (home.join(file.path), home.join(file.loaded_as()));
        save::remove(&target)?; // nobody recorded what it should be
        let sha256 = convert::convert(&source, &seen.sha256, &target, how.cancel, &mut |done, total| {
            (how.progress)(Progress { phase: Phase::Convert, file: file.path, done, total: Some(total) });
        })?;
        let len = fs::metadata(&target).map_err(|error| WeightsError::io(target.display(), &error))?.len();
        state.made.insert(file.loaded_as(), Seen { bytes: len, sha256: sha256.unwrap_or_default() });
        state.write(home)?;
    }
    Ok(())
}

fn installed_in(net: &Net, home: &Path, state: &State) -> Option<Installed> {
    let files = net.files.iter().map(|file| {
        let seen = state.here(home, file)?;
        let path = home.join(file.loaded_as());
        if file.role == Role::Checkpoint && !state.is_made(home, file, seen) {
            return None;
        }
        Some(InstalledFile { role: file.role, path, bytes: seen.bytes, sha256: seen.sha256.clone() })
    });
    Some(Installed { files: files.collect::<Option<_>>()? })
}
