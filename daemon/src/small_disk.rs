//! For tests: a real disk of 4 MiB, which can be filled and made read-only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and a line that says so, where this cannot be had: it takes root on
    /// Linux.
    pub fn mount(under: &Path) -> Option<SmallDisk> {
        let at = under.join("disk");
        fs::create_dir(&at).unwrap();
        if cfg!(target_os = "linux") && mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &at) {
            return Some(SmallDisk(at));
        }
        println!("skipped: mounting a small disk takes root on Linux");
        None
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn make_read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn mount(args: &[&str], at: &Path) -> bool {
    Command::new("mount").args(args).arg(at).output().is_ok_and(|mounted| mounted.status.success())
}
