//! The system's change notices, reduced to hints; and where there are none.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
};

use meshkiln_protocol::watch::WatchId;
use notify::{
    Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};

use super::Input;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something changed in this folder (absolute).
    Folder(PathBuf),
    /// A folder appeared: everything below it is new.
    Tree(PathBuf),
    /// This file was closed by its writer, or moved here whole.
    Closed(PathBuf),
}

/// Delivers hints for one watched folder until it is dropped.
pub struct Notice {
    _watcher: RecommendedWatcher,
    overflowed: Arc<AtomicBool>,
}

/// Why the system will not tell, and what to do. The folder is polled then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoNotice {
    pub message: String,
}

impl Notice {
    /// Hints go to `inbox`. The system's thread never waits for us: what does not
    /// fit raises `overflowed`, and so does the system's own overflow.
    pub fn start(watch: WatchId, root: &Path, recursive: bool, inbox: SyncSender<Input>) -> Result<Notice, NoNotice> {
        let overflowed = Arc::new(AtomicBool::new(false));
        let flag = overflowed.clone();
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => flag.store(true, Ordering::Relaxed),
            Ok(event) => {
                for hint in hints(&event) {
                    match inbox.try_send(Input::Hint(watch, hint)) {
                        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                        Err(TrySendError::Full(_)) => flag.store(true, Ordering::Relaxed),
                    }
                }
            }
            Err(_) => flag.store(true, Ordering::Relaxed),
        };
        let config = Config::default().with_follow_symlinks(false);
        let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let mut watcher = RecommendedWatcher::new(handler, config).map_err(|e| explain(&e))?;
        watcher.watch(root, mode).map_err(|e| explain(&e))?;
        Ok(Notice { _watcher: watcher, overflowed })
    }

    /// Whether hints were lost since the last time this was asked.
    pub fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }
}

/// What an event means for the scan.
fn hints(event: &Event) -> Vec<Hint> {
    let parent = |path: &PathBuf| Hint::Folder(path.parent().unwrap_or(path).to_owned());
    let closed = |path: &PathBuf| [Hint::Closed(path.clone()), parent(path)];
    match event.kind {
        // Opened or read: nothing changed.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => event.paths.iter().flat_map(closed).collect(),
        EventKind::Access(_) => Vec::new(),
        EventKind::Create(CreateKind::Folder) => event.paths.iter().map(|path| Hint::Tree(path.clone())).collect(),
        // Moved in: a whole file, or a folder with everything in it.
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => moved_in(event.paths.first()),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            event.paths.first().map(parent).into_iter().chain(moved_in(event.paths.get(1))).collect()
        }
        _ => event.paths.iter().map(parent).collect(),
    }
}

fn moved_in(path: Option<&PathBuf>) -> Vec<Hint> {
    let Some(path) = path else { return Vec::new() };
    let parent = Hint::Folder(path.parent().unwrap_or(path).to_owned());
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        vec![Hint::Tree(path.clone()), parent]
    } else {
        vec![Hint::Closed(path.clone()), parent]
    }
}

fn explain(error: &notify::Error) -> NoNotice {
    let message = match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system's limit of watched folders is reached, so this folder is polled; raise \
            it with `sudo sysctl fs.inotify.max_user_watches=524288`"
                .to_owned()
        }
        ErrorKind::Io(e) if e.raw_os_error() == Some(24) => {
            "the system's limit of watchers is reached, so this folder \
            is polled; raise it with `sudo sysctl fs.inotify.max_user_instances=1024`"
                .to_owned()
        }
        _ => format!("the system does not report changes here ({error}), so this folder is polled"),
    };
    NoNotice { message }
}

/// Network and other remote drives: changes made elsewhere are not reported.
#[cfg(target_os = "linux")]
pub fn is_remote(path: &Path) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517b;
    const CIFS: u64 = 0xff53_4d42;
    const SMB2: u64 = 0xfe53_4d42;
    const NINE_P: u64 = 0x0102_1997;
    const FUSE: u64 = 0x6573_5546;
    const AFS: u64 = 0x5346_414f;
    const CEPH: u64 = 0x00c3_6400;
    rustix::fs::statfs(path).is_ok_and(|found| {
        let kind = found.f_type as u64 & 0xffff_ffff;
        [NFS, SMB, CIFS, SMB2, NINE_P, FUSE, AFS, CEPH].contains(&kind)
    })
}

#[cfg(not(target_os = "linux"))]
pub fn is_remote(path: &Path) -> bool {
    // Windows names shares by two backslashes; mapped drives and macOS mounts
    // report changes made through this machine, and the timed scan finds the rest.
    path.as_os_str().to_string_lossy().starts_with(r"\\")
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, MetadataKind};

    use super::*;

    #[test]
    fn events_become_hints() {
        let of = |kind, paths: &[&str]| {
            let event = paths.iter().fold(Event::new(kind), |event, path| event.add_path(path.into()));
            hints(&event)
        };
        let folder = Hint::Folder("/w".into());
        let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(of(write, &["/w/a.png"]), [Hint::Closed("/w/a.png".into()), folder.clone()]);
        assert_eq!(of(EventKind::Access(AccessKind::Read), &["/w/a.png"]), []);
        assert_eq!(of(EventKind::Create(CreateKind::Folder), &["/w/d"]), [Hint::Tree("/w/d".into())]);
        for kind in [ModifyKind::Data(DataChange::Any), ModifyKind::Metadata(MetadataKind::Any)] {
            assert_eq!(of(EventKind::Modify(kind), &["/w/a.png"]), std::slice::from_ref(&folder));
        }
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(of(to, &["/w/a.png"]), [Hint::Closed("/w/a.png".into()), folder.clone()]);
        assert_eq!(of(EventKind::Any, &["/w/a.png"]), [folder]);
    }
}
