//! Where file systems and platforms differ: making folders durable, private
//! folders, opening nothing but regular files, telling a full disk.
//!
//! Everything else in the daemon writes files the same way everywhere:
//! temporary file, write, sync, rename, sync the folder.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Makes renames, creations and removals within `folder` survive a power cut.
/// Windows has no such call; NTFS journals them.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Writes back everything of the file system that `folder` is in, and says
/// `true`; `false` where there is no such call that reports errors, so that each
/// file must be synced by itself.
pub fn sync_file_system(folder: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(File::open(folder)?)?;
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        Ok(false)
    }
}

/// Creates `folder` and its parents, for this user alone (0700).
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Opens a regular file to read. A link, folder, pipe or device at `path` is an
/// error of kind `InvalidData`, and never waits.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let irregular = || io::Error::new(io::ErrorKind::InvalidData, "not a regular file");
    let file = match options.open(path) {
        Ok(file) => file,
        // The error for a link is not the same everywhere; look what stands there.
        Err(e) => match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => return Err(irregular()),
            _ => return Err(e),
        },
    };
    if cfg!(not(unix)) && !fs::symlink_metadata(path)?.is_file() {
        return Err(irregular());
    }
    if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
}

/// Whether an error says that there is no room: full disk or quota.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
