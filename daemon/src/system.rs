//! What the system says about itself: free disk space, kind of file system,
//! handles, the clock.

use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use meshkiln_protocol::UnixMs;

/// Room that this user may still fill on the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(windows)]
    windows::free_bytes(path)
}

/// Name of the network file system that `path` is on, `None` on a local one.
/// There locks, change events and the database's shared memory cannot be trusted.
pub fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    #[cfg(target_os = "linux")]
    {
        // linux/magic.h; SMB as the kernel's three clients call it.
        let magic = rustix::fs::statfs(path)?.f_type as u32;
        Ok(match magic {
            0x0000_6969 => Some("NFS"),
            0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
            0x5346_414f | 0x6b41_4653 => Some("AFS"),
            0x7375_7245 => Some("Coda"),
            0x0102_1997 => Some("9P"),
            0x00c3_6400 => Some("Ceph"),
            _ => None,
        })
    }
    #[cfg(target_os = "macos")]
    {
        let found = rustix::fs::statfs(path)?;
        let name: Vec<u8> = found.f_fstypename.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        Ok(match name.as_slice() {
            b"nfs" => Some("NFS"),
            b"smbfs" => Some("SMB"),
            b"afpfs" => Some("AFP"),
            b"webdav" => Some("WebDAV"),
            _ => None,
        })
    }
    #[cfg(windows)]
    windows::network_file_system(path)
}

/// Lets this process have as many open files as the system allows it; the usual
/// 1,024 are fewer than our connections. Says how many that are.
pub fn raise_file_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // macOS refuses more than OPEN_MAX although it says unlimited.
        let wanted = if cfg!(target_os = "macos") { Some(10_240) } else { limit.maximum };
        if limit.current < wanted || wanted.is_none() {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum });
        }
        getrlimit(Resource::Nofile).current
    }
    #[cfg(windows)]
    None
}

pub fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(windows)]
mod windows {
    use std::{io, os::windows::ffi::OsStrExt, path::Path};

    const DRIVE_REMOTE: u32 = 4;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetDiskFreeSpaceExW(folder: *const u16, available: *mut u64, total: *mut u64, free: *mut u64) -> i32;
        fn GetDriveTypeW(root: *const u16) -> u32;
    }

    pub fn free_bytes(path: &Path) -> io::Result<u64> {
        let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        let (mut available, mut total, mut free) = (0, 0, 0);
        // SAFETY: `path` ends in 0 and the three numbers outlive the call.
        let done = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &mut available, &mut total, &mut free) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(available) }
    }

    pub fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
        let root = std::path::absolute(path)?.ancestors().last().map(Path::to_owned).unwrap_or_default();
        let root: Vec<u16> = root.as_os_str().encode_wide().chain([0]).collect();
        // SAFETY: `root` ends in 0.
        Ok((unsafe { GetDriveTypeW(root.as_ptr()) } == DRIVE_REMOTE).then_some("network drive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers_about_a_local_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert_eq!(network_file_system(dir.path()).unwrap(), None);
        assert!(free_bytes(&dir.path().join("none")).is_err());
        if cfg!(unix) {
            assert!(raise_file_limit().is_none_or(|limit| limit >= 1024));
        }
    }
}
