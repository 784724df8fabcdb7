//! Listing a watched folder and opening what is in it, without ever leaving it.
//!
//! Links are not followed, neither when listing nor when opening, also when a
//! folder is swapped for a link between the two.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    path::{Component, Path, PathBuf},
};

use super::names::{FOLDER_RULES, is_ignored, is_picture};

/// What tells whether a file has changed since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Nanoseconds since 1970; also moves when the file was replaced. 0 where unknown.
    pub changed: i64,
    /// Number of the file on its device; 0 where unknown.
    pub file: u64,
}

/// Part of a watched tree: a folder, relative to the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    pub folder: PathBuf,
    pub recursive: bool,
}

impl Scope {
    pub fn contains(&self, rel: &Path) -> bool {
        match rel.strip_prefix(&self.folder) {
            Ok(below) => self.recursive || below.components().count() == 1,
            Err(_) => false,
        }
    }
}

#[derive(Debug, Default)]
pub struct Listing {
    /// Pictures by path relative to the root.
    pub files: BTreeMap<PathBuf, Stat>,
    /// Settings files (`.meshkiln.toml`) by folder relative to the root.
    pub rules: BTreeMap<PathBuf, Stat>,
    /// Folders that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Lists the pictures in `scope` of `root`. A folder that is gone or became a
/// link is an empty one; the root itself must be there.
pub fn list(root: &Path, scope: &Scope) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut open = vec![scope.folder.clone()];
    while let Some(folder) = open.pop() {
        let entries = match open_folder(root, &folder).and_then(|dir| entries(root, &folder, dir)) {
            Ok(entries) => entries,
            Err(e) if folder.as_os_str().is_empty() => return Err(e),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(e) => {
                listing.unreadable.push((folder, e.to_string()));
                continue;
            }
        };
        for (name, kind) in entries {
            let rel = folder.join(&name);
            match kind {
                Kind::Folder if scope.recursive && !is_ignored(&name) => open.push(rel),
                Kind::File(stat) if name == OsStr::new(FOLDER_RULES) => {
                    listing.rules.insert(folder.clone(), stat);
                }
                Kind::File(stat) if is_picture(&rel) => {
                    listing.files.insert(rel, stat);
                }
                _ => {}
            }
        }
    }
    Ok(listing)
}

enum Kind {
    Folder,
    File(Stat),
    Other,
}

/// Names in a folder with what they are. Entries that vanish meanwhile are left out.
fn entries(root: &Path, folder: &Path, path: PathBuf) -> io::Result<Vec<(std::ffi::OsString, Kind)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(file_type) = entry.file_type() else { continue };
        let kind = if file_type.is_dir() {
            Kind::Folder
        } else if file_type.is_file() && (is_picture(Path::new(&name)) || name == OsStr::new(FOLDER_RULES)) {
            match entry.metadata() {
                Ok(metadata) => Kind::File(stat(&metadata)),
                Err(_) => continue,
            }
        } else {
            Kind::Other
        };
        found.push((name, kind));
    }
    // A folder swapped for a link while it was read: what was listed is not ours.
    open_folder(root, folder)?;
    Ok(found)
}

/// Path of a real folder inside the root, none of its parts a link.
fn open_folder(root: &Path, folder: &Path) -> io::Result<PathBuf> {
    let mut path = root.to_owned();
    if !fs::metadata(&path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    for part in folder.components() {
        path.push(part);
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    Ok(path)
}

/// Opens a regular file inside the root without following links in any part of
/// `rel` and without waiting (a FIFO does not hang).
pub fn open_beneath(root: &Path, rel: &Path) -> io::Result<(File, Stat)> {
    if rel.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leaves its folder"));
    }
    let file = open_no_links(root, rel)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((file, stat(&metadata)))
}

#[cfg(target_os = "linux")]
fn open_no_links(root: &Path, rel: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, rel, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that refuse the call.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => open_step_by_step(root, rel),
        other => Ok(other?.into()),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn open_no_links(root: &Path, rel: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    open_step_by_step(open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, rel)
}

/// Each part opened in the one before it, none of them a link.
#[cfg(unix)]
fn open_step_by_step(mut folder: rustix::fd::OwnedFd, rel: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};
    let parts: Vec<_> = rel.components().collect();
    let common = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    for part in &parts[..parts.len().saturating_sub(1)] {
        folder = openat(&folder, part.as_os_str(), common | OFlags::DIRECTORY, Mode::empty())?;
    }
    let name = parts.last().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(openat(&folder, name.as_os_str(), common, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open_no_links(root: &Path, rel: &Path) -> io::Result<File> {
    let folder = open_folder(root, rel.parent().unwrap_or(Path::new("")))?;
    let path = folder.join(rel.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    if fs::symlink_metadata(&path)?.file_type().is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link"));
    }
    File::open(path)
}

#[cfg(unix)]
pub fn stat(metadata: &Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stat {
        bytes: metadata.size(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        file: metadata.ino(),
    }
}

#[cfg(not(unix))]
pub fn stat(metadata: &Metadata) -> Stat {
    let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Stat { bytes: metadata.len(), modified: modified.map_or(0, |d| d.as_nanos() as i64), changed: 0, file: 0 }
}

/// Device and number of a folder: another one when something else is mounted there.
#[cfg(unix)]
pub fn folder_identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() { Ok((metadata.dev(), metadata.ino())) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(not(unix))]
pub fn folder_identity(path: &Path) -> io::Result<(u64, u64)> {
    if fs::metadata(path)?.is_dir() { Ok((0, 0)) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Scope {
        Scope { folder: PathBuf::new(), recursive: true }
    }

    #[test]
    fn pictures_and_rules_are_listed_and_scopes_hold() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b/.hidden")).unwrap();
        for file in ["x.png", "a/y.JPG", "a/b/z.webp", "a/b/.hidden/w.png", "a/n.txt", "a/.meshkiln.toml"] {
            fs::write(root.join(file), "1234").unwrap();
        }
        let listing = list(root, &whole()).unwrap();
        let names: Vec<_> = listing.files.keys().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(names, ["a/b/z.webp", "a/y.JPG", "x.png"]);
        assert!(listing.rules.contains_key(Path::new("a")));
        let flat = Scope { folder: "a".into(), recursive: false };
        assert_eq!(list(root, &flat).unwrap().files.len(), 1);
        assert!(flat.contains(Path::new("a/y.JPG")) && !flat.contains(Path::new("a/b/z.webp")));
        assert!(whole().contains(Path::new("a/b/z.webp")));
    }

    #[test]
    #[cfg(unix)]
    fn links_fifos_and_ways_out_are_not_followed() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret.png"), "secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        symlink(outside.path().join("secret.png"), root.join("link.png")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink(root, root.join("loop")).unwrap();
        fs::create_dir(root.join("folder.png")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe.png"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        // Takes root.
        let zero = rustix::fs::makedev(1, 5);
        let device = root.join("device.png");
        let _ = rustix::fs::mknodat(
            rustix::fs::CWD,
            device,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::RUSR,
            zero,
        );
        assert!(list(root, &whole()).unwrap().files.is_empty());
        for rel in ["device.png", "link.png", "out/secret.png", "pipe.png", "folder.png", "../x.png", "/etc/passwd"] {
            assert!(open_beneath(root, Path::new(rel)).is_err(), "{rel}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_swapped_for_a_link_never_lets_anything_outside_be_read() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a.png"), "outside").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/a.png"), "inside").unwrap();
        symlink(outside.path(), root.join("fake")).unwrap();
        let swap = root.join("sub");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for side in ["real", "fake"] {
                        let _ = fs::rename(root.join(side), &swap);
                        let _ = fs::rename(&swap, root.join(side));
                    }
                }
            });
            for _ in 0..1000 {
                if let Ok((mut file, _)) = open_beneath(root, Path::new("sub/a.png")) {
                    let mut text = String::new();
                    io::Read::read_to_string(&mut file, &mut text).unwrap();
                    assert_eq!(text, "inside");
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
