//! Files that are either there whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::{Result, WeightsError};

/// `path` with `suffix` behind its whole name: `model.ckpt` becomes `model.ckpt.part`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives a finished file its final name: bytes on the disk first, then the name.
pub fn publish(file: &File, from: &Path, to: &Path) -> Result<()> {
    file.sync_all().map_err(|error| WeightsError::io(from.display(), &error))?;
    fs::rename(from, to).map_err(|error| WeightsError::io(to.display(), &error))?;
    sync_folder(to)
}

/// Writes a small file in one step.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path, ".tmp");
    let io = |error: std::io::Error| WeightsError::io(temporary.display(), &error);
    let mut file = File::create(&temporary).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    publish(&file, &temporary, path)
}

/// Removes a file; that it was not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WeightsError::io(path.display(), &error)),
        _ => Ok(()),
    }
}

/// Makes the names in the folder of `path` last. Folders cannot be opened for
/// this on Windows, where the file system's journal does it.
fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|_| cfg!(unix)) else { return Ok(()) };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| WeightsError::io(folder.display(), &error))
}
