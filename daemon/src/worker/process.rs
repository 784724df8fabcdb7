//! Where platforms differ about processes: leaving with the parent, keeping
//! stdout clean, guarding the machine's memory, measuring it, and telling one
//! process from a later one with the same number.

use std::{fs::File, io};

/// Ends this process when its parent ends, however that happens. Elsewhere than
/// on Linux the end of stdin, which every worker watches, does it; a Windows Job
/// Object with kill-on-close would also cover a worker that hangs in a driver.
pub fn leave_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// The real stdout, for frames. Whatever else is printed from now on, also by
/// libraries, goes to stderr. Windows has no such switch; nothing of ours prints.
pub fn take_stdout() -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::fd::{AsFd, AsRawFd};
        let frames = io::stdout().as_fd().try_clone_to_owned()?;
        let (stderr, stdout) = (io::stderr(), io::stdout());
        // SAFETY: both are open, and nothing has been written to stdout yet.
        if unsafe { libc::dup2(stderr.as_raw_fd(), stdout.as_raw_fd()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from(frames))
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
    }
}

/// Lets a worker that grows without bound fail alone, instead of taking the
/// desktop with it.
///
/// - Writable private memory (`RLIMIT_DATA`) ends at three quarters of what the
///   machine, or its container, has. An allocation beyond it fails, and a failed
///   allocation ends the process. Not `RLIMIT_AS`: thread pools and allocators
///   reserve large ranges that they never touch, and drivers map whole devices;
///   hence also only for devices whose memory is the machine's.
/// - The kernel, when it must choose, takes the worker before the daemon or the
///   user's other programs.
/// - No core files: a crash of a worker that holds gigabytes is routine here.
pub fn guard_memory(device: &str) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        if (device == "cpu" || device.starts_with("fake"))
            && let Some(total) = total_memory()
        {
            let limit = Some((total / 4 * 3).max(1 << 30));
            let _ = setrlimit(Resource::Data, Rlimit { current: limit, maximum: limit });
        }
    }
    #[cfg(not(unix))]
    let _ = device;
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Memory in use by this process, in bytes; 0 where it cannot be told.
pub fn rss_bytes() -> u64 {
    status_field("VmRSS:")
}

/// Largest `rss_bytes` since `reset_peak_rss`; 0 where it cannot be told.
pub fn peak_rss_bytes() -> u64 {
    status_field("VmHWM:")
}

pub fn reset_peak_rss() {
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Hands freed memory back to the system.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointer, may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// When process `pid` was started, in a form that no later process with this
/// number shares. `None` when there is none, or it cannot be told.
pub fn started(pid: u32) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, also parentheses and blanks.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, ticks) = (fields.first()?, fields.get(19)?);
        if *state == "Z" {
            return None;
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{} {ticks}", boot.trim()))
    }
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        let ps = std::process::Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
        let started = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
        (!started.is_empty()).then_some(started)
    }
    #[cfg(windows)]
    {
        let _ = pid;
        None
    }
}

/// Kills process `pid`, and everything in the group it leads if it leads one. The caller knows
/// that the number is still that of the process it means.
pub fn kill_group(pid: u32) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
}

#[cfg(target_os = "linux")]
fn status_field(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&status, name).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn status_field(_name: &str) -> u64 {
    0
}

#[cfg(target_os = "linux")]
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// What the machine has, or less where a container says so.
#[cfg(target_os = "linux")]
pub fn total_memory() -> Option<u64> {
    let machine = kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(own_groups().filter_map(|group| number_in(&group, "memory.max")).fold(machine, u64::min))
}

/// What may still be taken without pushing anybody out: the machine's estimate, or
/// less where a container leaves less. File pages that a container's kernel would
/// drop first count as free.
#[cfg(target_os = "linux")]
pub fn free_memory() -> Option<u64> {
    let machine = kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let left = own_groups().filter_map(|group| {
        let limit = number_in(&group, "memory.max")?;
        let used = number_in(&group, "memory.current")?;
        let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let droppable = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(droppable)))
    });
    Some(left.fold(machine, u64::min))
}

#[cfg(not(target_os = "linux"))]
pub fn free_memory() -> Option<u64> {
    None
}

/// The control groups this process is in, innermost first.
#[cfg(target_os = "linux")]
fn own_groups() -> impl Iterator<Item = std::path::PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let ancestors = std::path::Path::new(own).ancestors();
    ancestors.map(|group| std::path::Path::new("/sys/fs/cgroup").join(group)).collect::<Vec<_>>().into_iter()
}

#[cfg(target_os = "linux")]
fn number_in(group: &std::path::Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

#[cfg(not(unix))]
pub fn total_memory() -> Option<u64> {
    None
}

#[cfg(all(unix, not(target_os = "linux")))]
pub fn total_memory() -> Option<u64> {
    // SAFETY: sysconf takes no pointer.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    Some(u64::try_from(pages).ok()? * u64::try_from(page).ok()?)
}
