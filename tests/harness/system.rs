//! The machine around a daemon: signals, processes, a small disk, and where
//! figures are printed.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Printed also for tests that pass, whose output is otherwise held back.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a measured time beside the one to reach. Fails only at `margin` times
/// that: machines are busy.
pub fn figure(what: &str, measured: Duration, wanted: Duration, margin: u32) {
    let over = if measured > wanted { "  OVER THE FIGURE" } else { "" };
    say(&format!("figure: {what}: {measured:.1?} (to reach: {wanted:.1?}){over}"));
    assert!(measured <= wanted * margin, "{what}: {measured:?} is more than {margin} times {wanted:?}");
}

/// Of sorted or unsorted times: the one that `part` of them do not exceed.
pub fn percentile(times: &[Duration], part: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1]
}

#[cfg(unix)]
pub fn send_signal(pid: u32, signal: i32) {
    // SAFETY: takes no pointer.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Root reads every file; without two capabilities it is like any other user.
#[cfg(target_os = "linux")]
pub fn take_omnipotence(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;
    // SAFETY: only calls that are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for capability in [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH] {
                // Fails for users who do not have it anyway.
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
pub fn take_omnipotence(_: &mut Command) {}

/// Processes with `needle` in their command line; empty where that is not to be had.
pub fn processes_mentioning(needle: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains(needle).then_some(pid)
        })
        .filter(|&pid| pid != std::process::id())
        .collect()
}

/// A real disk of a few MiB that can be filled. Unmounted when it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Over the folder `at`. `None`, and a line that says so, where this cannot be
    /// had: it takes root on Linux.
    pub fn mount(at: &Path, mib: u32) -> Option<SmallDisk> {
        let mounted = cfg!(target_os = "linux")
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tmpfs"])
                .arg(at)
                .output()
                .is_ok_and(|mounted| mounted.status.success());
        if mounted {
            return Some(SmallDisk(at.to_owned()));
        }
        say("skipped: mounting a small disk takes root on Linux");
        None
    }

    /// Until not one more byte fits.
    pub fn fill(&self) {
        let mut filler = fs::File::options().append(true).create(true).open(self.filler()).unwrap();
        for block in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![7; block]).is_ok() {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
