//! The folders of one daemon: private, on a local drive, and held by one process.
//!
//! In go the folders, out comes `Home`, which nobody else can have until it is
//! dropped, or the reason why not. `daemon.json`, by which clients find the
//! daemon, is written last and removed first.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::runtime::{Folders, HOME_VARIABLE, RuntimeFile};

use crate::{durable, system};

const LOCK: &str = "meshkilnd.lock";
/// A daemon that was killed while it started a worker leaves the lock to that
/// process for a moment; one that stops needs a moment for its last step.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Home {
    pub folders: Folders,
    /// Locked until they are closed, also when the process dies.
    _locks: Vec<File>,
}

/// `daemon.json` as long as it stands for this daemon.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("another daemon serves {}{}", folder.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyRunning { folder: PathBuf, pid: Option<u32> },
    #[error("{} is on a network drive ({kind}), where locks and the queue cannot be trusted", folder.display())]
    Network { folder: PathBuf, kind: &'static str },
    #[error("{} {problem}", folder.display())]
    Unsafe { folder: PathBuf, problem: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl HomeError {
    /// What to do, as an action.
    pub fn hint(&self) -> String {
        match self {
            HomeError::AlreadyRunning { .. } => "use it, or stop it with `meshkiln down`".to_owned(),
            HomeError::Network { .. } => format!("set {HOME_VARIABLE} to a folder on a local drive"),
            HomeError::Unsafe { folder, .. } => {
                format!("remove it, or make it yours alone: chmod 700 '{}'", folder.display())
            }
            HomeError::Io { .. } => format!("check the folder, or set {HOME_VARIABLE} to another one"),
        }
    }
}

impl Home {
    /// Creates what is missing and takes hold of it.
    pub fn claim(folders: Folders) -> Result<Home, HomeError> {
        for folder in [&folders.config, &folders.state, &folders.cache, &folders.runtime] {
            durable::create_private_folder(folder).map_err(io_error(folder))?;
        }
        check_private(&folders.runtime)?;
        if let Some(kind) = system::network_file_system(&folders.state).map_err(io_error(&folders.state))? {
            return Err(HomeError::Network { folder: folders.state, kind });
        }
        // The state is what must not be shared; the runtime folder is where clients look.
        let mut locks = vec![lock(&folders.state)?];
        if folders.runtime != folders.state {
            locks.push(lock(&folders.runtime)?);
        }
        Ok(Home { folders, _locks: locks })
    }

    /// Lets clients find the daemon. For this user alone, and never half-written.
    pub fn announce(&self, file: &RuntimeFile) -> Result<Announced, HomeError> {
        let path = self.folders.runtime_file();
        let write = || -> io::Result<()> {
            // Created with mode 0600.
            let mut temp = tempfile::Builder::new().prefix(".daemon-").tempfile_in(&self.folders.runtime)?;
            temp.write_all(&serde_json::to_vec_pretty(file)?)?;
            temp.as_file().sync_all()?;
            temp.persist(&path)?;
            Ok(())
        };
        write().map_err(io_error(&path))?;
        Ok(Announced { path })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// 256 random bits in hex.
pub fn new_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(meshkiln_models::slot::hex(&bytes))
}

fn lock(folder: &Path) -> Result<File, HomeError> {
    let path = folder.join(LOCK);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
        thread::sleep(LOCK_RETRY);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Windows does not let anybody read what is locked.
            let _ = file.read_to_string(&mut pid);
            return Err(HomeError::AlreadyRunning { folder: folder.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(HomeError::Io { path, source }),
    }
    let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(io_error(&path))?;
    Ok(file)
}

/// Whoever can write there can put another daemon's address and wait for tokens.
fn check_private(folder: &Path) -> Result<(), HomeError> {
    let wrong = |problem| Err(HomeError::Unsafe { folder: folder.to_owned(), problem });
    let found = fs::symlink_metadata(folder).map_err(io_error(folder))?;
    if found.is_symlink() {
        return wrong("is a link: it may lead to somebody else's folder");
    }
    if !found.is_dir() {
        return wrong("is not a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if found.uid() != rustix::process::geteuid().as_raw() {
            return wrong("belongs to somebody else");
        }
        let mode = found.permissions().mode();
        if mode & 0o022 != 0 {
            return wrong("may be written by others");
        }
        if mode & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(io_error(folder))?;
        }
    }
    Ok(())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> HomeError {
    move |source| HomeError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(home: &Path) -> Folders {
        let of = |name: &str| home.join(name);
        Folders { config: of("config"), state: of("state"), cache: of("cache"), runtime: of("runtime") }
    }

    #[test]
    fn one_at_a_time_and_the_next_one_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::claim(folders(dir.path())).unwrap();
        match Home::claim(folders(dir.path())) {
            Err(HomeError::AlreadyRunning { pid, .. }) => {
                assert!(cfg!(windows) || pid == Some(std::process::id()), "{pid:?}");
            }
            other => panic!("{other:?}"),
        }
        let elsewhere = Folders { runtime: dir.path().join("elsewhere"), ..folders(dir.path()) };
        assert!(matches!(Home::claim(elsewhere), Err(HomeError::AlreadyRunning { .. })), "the state was shared");
        drop(home);
        assert!(Home::claim(folders(dir.path())).is_ok());
    }

    #[test]
    fn clients_find_the_daemon_while_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::claim(folders(dir.path())).unwrap();
        let file = RuntimeFile {
            url: "http://127.0.0.1:1".into(),
            token: new_token().unwrap(),
            pid: std::process::id(),
            version: "0".into(),
        };
        assert!(file.token.len() == 64 && file.token != new_token().unwrap());
        let announced = home.announce(&file).unwrap();
        let path = home.folders.runtime_file();
        assert_eq!(serde_json::from_slice::<RuntimeFile>(&fs::read(&path).unwrap()).unwrap(), file);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&home.folders.runtime)), (0o600, 0o700));
        }
        drop(announced);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(&home.folders.runtime).unwrap().count(), 1, "only the lock stays");
    }

    #[test]
    #[cfg(unix)]
    fn a_runtime_folder_that_others_control_is_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("runtime");
        fs::create_dir(&runtime).unwrap();
        for mode in [0o777, 0o770, 0o707, 0o1777] {
            fs::set_permissions(&runtime, fs::Permissions::from_mode(mode)).unwrap();
            let error = Home::claim(folders(dir.path())).unwrap_err();
            assert!(matches!(error, HomeError::Unsafe { .. }), "{mode:o}: {error}");
            assert!(error.hint().contains("chmod 700"));
        }
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        drop(Home::claim(folders(dir.path())).unwrap());
        assert_eq!(fs::metadata(&runtime).unwrap().permissions().mode() & 0o777, 0o700, "left readable by others");

        fs::remove_dir_all(&runtime).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        symlink(dir.path().join("other"), &runtime).unwrap();
        assert!(matches!(Home::claim(folders(dir.path())), Err(HomeError::Unsafe { .. })));
    }
}
