//! Puts finished assets where the user wants them: whole or not at all, and never
//! over a file that Meshkiln did not write.
//!
//! In goes the asset's digest and a path, out comes `Event::Delivered`. Order:
//! look what stands there, temporary file in the same folder, sync, rename, sync
//! folder. Delivering the same bytes again is no work, so a delivery that a
//! restart interrupted is simply done again.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, SyncSender, channel},
    thread,
    time::Duration,
};

use meshkiln_models::export::ownership::is_ours;
use meshkiln_protocol::{
    Sha256,
    error::{ErrorKind, JobError},
    job::JobId,
};
use tempfile::NamedTempFile;

use crate::{durable, main_loop::Event, store::blobs::BlobStore};

/// A folder is always served by the same thread, in order; a network drive that
/// hangs holds up its own folders and few others.
const THREADS: u64 = 4;
/// Files longer than this are not ours; they are not read to find out.
const LONGEST_ASSET: u64 = 2 << 30;
/// Looks at the target again when it changes while we look.
const LOOKS: usize = 5;
/// A program on Windows that holds the file gets this many chances to let go.
const HELD_TRIES: u32 = 5;
const HELD_PAUSE: Duration = Duration::from_millis(100);

pub struct Deliverer {
    /// Not bounded: holds no more than one entry for each job that is being
    /// finished, and those are limited by the workers.
    queues: Vec<Sender<Delivery>>,
}

struct Delivery {
    job: JobId,
    attempt: u32,
    asset: Sha256,
    output: PathBuf,
}

impl Deliverer {
    /// The threads end with the `Deliverer`, each after what it has begun.
    pub fn new(blobs: BlobStore, inbox: SyncSender<Event>) -> Deliverer {
        let queues = (0..THREADS).map(|n| {
            let (queue, deliveries) = channel();
            let (blobs, inbox) = (blobs.clone(), inbox.clone());
            let thread = thread::Builder::new().name(format!("deliver-{n}"));
            thread
                .spawn(move || serve(&blobs, &deliveries, &inbox))
                .expect("a daemon that cannot start threads is no use");
            queue
        });
        Deliverer { queues: queues.collect() }
    }

    /// Never waits. `output` is absolute.
    pub fn deliver(&self, job: JobId, attempt: u32, asset: Sha256, output: PathBuf) {
        let mut hasher = DefaultHasher::new();
        output.parent().hash(&mut hasher);
        let thread = (hasher.finish() % THREADS) as usize;
        // The thread lives as long as its queue.
        let _ = self.queues[thread].send(Delivery { job, attempt, asset, output });
    }
}

fn serve(blobs: &BlobStore, deliveries: &Receiver<Delivery>, inbox: &SyncSender<Event>) {
    let mut swept = BTreeSet::new();
    for Delivery { job, attempt, asset, output } in deliveries {
        if let Some(folder) = output.parent()
            && swept.insert(folder.to_owned())
        {
            sweep(folder);
        }
        let result = deliver_file(blobs, &asset, &output, is_ours);
        if let Err(error) = &result {
            tracing::warn!(job = job.0, "{} is not delivered: {}", output.display(), error.message);
        }
        if inbox.send(Event::Delivered { job, attempt, result }).is_err() {
            return;
        }
    }
}

/// `is_ours` tells a file that Meshkiln wrote from all others.
fn deliver_file(blobs: &BlobStore, asset: &str, output: &Path, is_ours: fn(&[u8]) -> bool) -> Result<(), JobError> {
    let (Some(folder), Some(name)) = (output.parent().filter(|_| output.is_absolute()), output.file_name()) else {
        let message = format!("`{}` does not name a file with its whole path", output.display());
        return Err(error(ErrorKind::InvalidInput, message, "give another output with -o"));
    };
    let digest = asset.parse().map_err(|e| error(ErrorKind::Internal, format!("asset `{asset}` is {e}"), ""))?;
    let bytes = blobs.get(digest).map_err(|e| {
        let message = format!("the finished file is lost from the blob store: {e}");
        error(ErrorKind::Storage, message, "retry: it is made again")
    })?;

    let mut written: Option<NamedTempFile> = None;
    for _ in 0..LOOKS {
        let before = match look(output, &bytes, is_ours)? {
            Target::Same => return sync(folder),
            Target::Free => None,
            Target::Ours(metadata) => Some(metadata),
        };
        let temp = match written.take() {
            Some(temp) => temp,
            None => write_temp(folder, &name.to_string_lossy(), &bytes, before.as_ref())
                .map_err(|e| storage(&e, "cannot write to", folder))?,
        };
        match put_in_place(temp, output, before.as_ref()) {
            Ok(()) => return sync(folder),
            Err(Placing::Changed(temp)) => written = Some(temp),
            Err(Placing::Failed(e)) => return Err(storage(&e, "cannot write", output)),
        }
    }
    Err(exists(output, "a file keeps changing at"))
}

enum Target {
    Free,
    /// Nothing to do.
    Same,
    Ours(Metadata),
}

/// What stands at `output`; an error when it is not ours to replace.
fn look(output: &Path, bytes: &[u8], is_ours: fn(&[u8]) -> bool) -> Result<Target, JobError> {
    let found = match fs::symlink_metadata(output) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Target::Free),
        // A file where a folder should be is said when that folder is made.
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(Target::Free),
        Err(e) => return Err(storage(&e, "cannot see", output)),
    };
    if found.is_symlink() {
        return Err(exists(output, "a link stands at"));
    }
    if found.is_dir() {
        return Err(exists(output, "a folder stands at"));
    }
    if !found.is_file() || found.len() > LONGEST_ASSET {
        return Err(exists(output, "a file that Meshkiln did not write stands at"));
    }
    let mut there = Vec::new();
    let read = durable::open_regular(output).and_then(|file| file.take(LONGEST_ASSET).read_to_end(&mut there));
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Target::Free),
        Err(e) => Err(exists(output, &format!("a file that cannot be read ({e}) stands at"))),
        Ok(_) if there == bytes => Ok(Target::Same),
        Ok(_) if is_ours(&there) => Ok(Target::Ours(found)),
        Ok(_) => Err(exists(output, "a file that Meshkiln did not write stands at")),
    }
}

/// The bytes, synced, under a name that nobody takes for an asset. Locked while
/// it is open, so that `sweep` tells it from one left behind.
fn write_temp(folder: &Path, name: &str, bytes: &[u8], replaced: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let mut temp = match create_temp(folder, name) {
        // The folder may have vanished, or never have been.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            create_temp(folder, name)?
        }
        other => other?,
    };
    temp.write_all(bytes)?;
    if let Some(replaced) = replaced {
        temp.as_file().set_permissions(replaced.permissions())?;
    }
    temp.as_file().sync_all()?;
    Ok(temp)
}

fn create_temp(folder: &Path, name: &str) -> io::Result<NamedTempFile> {
    // File systems end names at 255 bytes.
    let short = &name[..name.floor_char_boundary(200)];
    let prefix = format!(".{short}.meshkiln-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    // Like any file of the user's; a temporary file would be private.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temp = builder.tempfile_in(folder)?;
    let _ = temp.as_file().try_lock();
    Ok(temp)
}

enum Placing {
    /// Something else stands there now; look again.
    Changed(NamedTempFile),
    Failed(io::Error),
}

fn put_in_place(mut temp: NamedTempFile, output: &Path, before: Option<&Metadata>) -> Result<(), Placing> {
    let mut tries = 0;
    loop {
        if let Some(before) = before
            && !is_unchanged(output, before)
        {
            return Err(Placing::Changed(temp));
        }
        let placed = match before {
            Some(_) => temp.persist(output),
            None => temp.persist_noclobber(output),
        };
        // Kept open until now: its lock tells `sweep` that it is in use.
        let Err(refused) = placed else { return Ok(()) };
        temp = refused.file;
        match refused.error {
            e if before.is_none() && e.kind() == io::ErrorKind::AlreadyExists => return Err(Placing::Changed(temp)),
            e if is_held(&e) && tries < HELD_TRIES => {
                tries += 1;
                thread::sleep(HELD_PAUSE);
            }
            // Neither rename without replacing nor links: the last look must do.
            e if before.is_none() && is_unsupported(&e) && fs::symlink_metadata(output).is_err() => {
                return temp.persist(output).map(drop).map_err(|refused| Placing::Failed(refused.error));
            }
            e => return Err(Placing::Failed(e)),
        }
    }
}

fn is_unchanged(output: &Path, before: &Metadata) -> bool {
    let Ok(now) = fs::symlink_metadata(output) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if (now.dev(), now.ino()) != (before.dev(), before.ino()) {
            return false;
        }
    }
    now.is_file() && now.len() == before.len() && now.modified().ok() == before.modified().ok()
}

fn sync(folder: &Path) -> Result<(), JobError> {
    match durable::sync_folder(folder) {
        Ok(()) => Ok(()),
        // Network drives need not know the call, and a folder may be closed to readers.
        Err(e) if is_unsupported(&e) || e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(e) => Err(storage(&e, "cannot sync", folder)),
    }
}

/// Removes temporary files that a daemon that died left in `folder`.
fn sweep(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.contains(".meshkiln-") && name.ends_with(".tmp")) {
            continue;
        }
        let path = file.path();
        let is_left_behind = durable::open_regular(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_left_behind && let Err(e) = fs::remove_file(&path) {
            tracing::warn!("{} was left behind and cannot be removed: {e}", path.display());
        }
    }
}

/// Windows: another program has the file open.
fn is_held(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32 | 33))
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
        || cfg!(unix) && error.raw_os_error() == Some(1) // EPERM: no links on this file system
}

fn exists(output: &Path, what: &str) -> JobError {
    let hint = "move it away or give another output with -o, then retry; nothing is computed again";
    error(ErrorKind::OutputExists, format!("{what} {}", output.display()), hint)
}

fn storage(e: &io::Error, what: &str, path: &Path) -> JobError {
    let hint = match e.kind() {
        _ if durable::is_full(e) => "free some space there, then retry; nothing is computed again",
        _ if is_held(e) => "close the file in the program that has it open, then retry; nothing is computed again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable or give another output with -o, then retry; nothing is computed again"
        }
        _ => "see that the folder is there and can be written, then retry; nothing is computed again",
    };
    error(ErrorKind::Storage, format!("{what} {}: {e}", path.display()), hint)
}

fn error(kind: ErrorKind, message: String, hint: &str) -> JobError {
    JobError { kind, stage: None, message, hint: hint.to_owned(), retryable: kind.retryable() }
}
