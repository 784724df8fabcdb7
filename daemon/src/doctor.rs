//! Looks for what commonly goes wrong. Each check says what was found and, when
//! something should be done, what: a sentence or a command.

use std::{fs, path::Path, time::Duration};

use meshkiln_protocol::{
    daemon::{Check, DoctorReport, Verdict, WorkerState},
    runtime::RuntimeFile,
    watch::Watch,
};

use crate::{
    catalogue::Catalogue,
    rpc::{Daemon, VERSION},
    system,
};

/// First version without the bug that damages a WAL: <https://sqlite.org/wal.html>.
pub const SOUND_SQLITE: i32 = 3_051_003;

const MIB: u64 = 1 << 20;

pub fn examine(daemon: &Daemon, watches: &[Watch]) -> DoctorReport {
    let mut checks = vec![ok("version", format!("meshkilnd {VERSION}"))];
    let folders = &daemon.folders;
    for (what, path) in [
        ("config folder", &folders.config),
        ("state folder", &folders.state),
        ("cache folder", &folders.cache),
        ("runtime folder", &folders.runtime),
    ] {
        checks.push(writable(what, path));
    }
    checks.extend([free_disk("disk of the queue", &folders.state), free_disk("disk of the blobs", &folders.cache)]);
    checks.push(local("file system of the queue", &folders.state));
    checks.push(runtime_file(daemon));
    checks.push(sqlite());
    checks.extend(workers(daemon));
    checks.push(queue(daemon));
    let problems = daemon.backend.view().problems.clone();
    checks.extend(problems.into_iter().map(|problem| warning("daemon", problem, "look into the log: `meshkiln log`")));
    checks.extend(inotify(watches));
    checks.extend(watched(watches));
    checks.extend(recipes(daemon));
    checks.extend(own_nets(daemon));
    checks.push(open_files());
    checks.push(clock(daemon));
    DoctorReport { checks }
}

fn writable(what: &str, path: &Path) -> Check {
    let shown = path.display();
    match tempfile::Builder::new().prefix(".doctor-").tempfile_in(path) {
        Ok(_) => ok(what, format!("{shown} may be written")),
        // Nobody needs a folder for settings before there are any.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && what == "config folder" => {
            ok(what, format!("{shown} is not there yet"))
        }
        Err(e) => error(
            what,
            format!("{shown} cannot be written: {e}"),
            format!("make it yours: chown -R \"$USER\" '{shown}'"),
        ),
    }
}

fn free_disk(what: &str, path: &Path) -> Check {
    let found = |free: u64| format!("{} MiB are free at {}", free / MIB, path.display());
    match system::free_bytes(path) {
        Ok(free) if free < 100 * MIB => error(what, found(free), "free some space; jobs cannot be stored safely"),
        Ok(free) if free < 1024 * MIB => warning(what, found(free), "free some space; 1 GiB or more is comfortable"),
        Ok(free) => ok(what, found(free)),
        Err(e) => warning(what, format!("{}: {e}", path.display()), "check the drive"),
    }
}

fn local(what: &str, path: &Path) -> Check {
    match system::network_file_system(path) {
        Ok(Some(kind)) => error(
            what,
            format!("{} is on {kind}, where locks cannot be trusted", path.display()),
            "set MESHKILN_HOME to a folder on a local drive",
        ),
        Ok(None) => ok(what, "a local file system".to_owned()),
        Err(e) => warning(what, format!("{}: {e}", path.display()), "check the drive"),
    }
}

fn runtime_file(daemon: &Daemon) -> Check {
    let what = "runtime file";
    let path = daemon.folders.runtime_file();
    let shown = path.display();
    let restart = "restart the daemon: `meshkiln down`, then `meshkiln up`";
    let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<RuntimeFile>(&bytes).ok());
    match read {
        None => error(what, format!("{shown} is missing or damaged: clients do not find the daemon"), restart),
        Some(file) if file.pid != std::process::id() => {
            error(what, format!("{shown} is that of process {}, this is {}", file.pid, std::process::id()), restart)
        }
        Some(_) if !is_private(&path) => {
            error(what, format!("{shown} may be read by others"), format!("chmod 600 '{shown}'; then {restart}"))
        }
        Some(_) => ok(what, format!("{shown} is ours and private")),
    }
}

fn is_private(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 == 0)
    }
    #[cfg(not(unix))]
    {
        // The user's profile is private on Windows.
        let _ = path;
        true
    }
}

fn sqlite() -> Check {
    let found = format!("SQLite {}", rusqlite::version());
    if rusqlite::version_number() < SOUND_SQLITE {
        return error("database", found, "build with the bundled SQLite: this version may damage its log");
    }
    ok("database", found)
}

fn workers(daemon: &Daemon) -> Vec<Check> {
    let workers = daemon.backend.view().workers.clone();
    if workers.is_empty() {
        return vec![error("workers", "there is none".to_owned(), "restart the daemon, and look into its log")];
    }
    let check = |worker: meshkiln_protocol::daemon::WorkerStatus| {
        let what = format!("worker of {}", worker.device);
        let log = "look into the log: `meshkiln log`";
        match worker.state {
            WorkerState::Broken => error(&what, "it does not start".to_owned(), log),
            _ if worker.restarts > 0 => warning(&what, format!("it was started again {} times", worker.restarts), log),
            state => ok(&what, format!("{state:?}").to_lowercase()),
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let devices: Vec<String> = workers.iter().map(|worker| worker.device.clone()).collect();
    let mut checks = vec![ok("devices", format!("{}; {cores} processor cores", devices.join(", ")))];
    checks.extend(workers.into_iter().map(check));
    checks
}

fn queue(daemon: &Daemon) -> Check {
    let queue = daemon.backend.view().queue.clone();
    let found = format!("{} queued, {} running", queue.queued, queue.running);
    if queue.paused {
        return warning("queue", format!("paused; {found}"), "`meshkiln resume` starts jobs again");
    }
    ok("queue", found)
}

fn watched(watches: &[Watch]) -> Vec<Check> {
    let problem = |watch: &Watch| {
        let found = format!("{}: {}", watch.path, watch.problem.as_ref()?);
        Some(warning("watched folder", found, format!("mend it, or `meshkiln watch remove {}`", watch.id)))
    };
    let mut checks: Vec<Check> = watches.iter().filter_map(problem).collect();
    if checks.is_empty() {
        checks.push(ok("watched folders", format!("{}, all well", watches.len())));
    }
    checks
}

fn recipes(daemon: &Daemon) -> Vec<Check> {
    let list = daemon.recipes.list();
    let mut checks: Vec<Check> = list
        .iter()
        .filter_map(|recipe| {
            let problem = recipe.problem.as_ref()?;
            let line = problem.line.map(|line| format!(" line {line}:")).unwrap_or_default();
            let path = recipe.path.as_deref().unwrap_or(&recipe.name);
            Some(warning("recipe", format!("{path}:{line} {}", problem.message), problem.hint.clone()))
        })
        .collect();
    if checks.is_empty() {
        checks.push(ok("recipes", format!("{}, all sound", list.len())));
    }
    checks
}

/// Nothing to say where the user has none.
fn own_nets(daemon: &Daemon) -> Vec<Check> {
    let installed = daemon.pulls.installed();
    let wrong = installed.problems().iter();
    let wrong = wrong.map(|p| warning("own network", format!("`{}`: {}", p.id, p.message), p.hint.clone()));
    let unread = installed.own().iter().filter(|own| !installed.is_here(&own.id)).map(|own| {
        let found = format!("the files of `{}` have not been read yet, or could not be", own.id);
        warning("own network", found, format!("meshkiln pull {}", own.id))
    });
    let mut checks: Vec<Check> = wrong.chain(unread).collect();
    if checks.is_empty() && !installed.own().is_empty() {
        checks.push(ok("own networks", format!("{}, all sound", installed.own().len())));
    }
    checks
}

fn open_files() -> Check {
    match system::raise_file_limit() {
        Some(limit) if limit < 2048 => warning(
            "open files",
            format!("at most {limit}"),
            "raise the limit: ulimit -n 8192, before the daemon is started",
        ),
        Some(limit) => ok("open files", format!("at most {limit}")),
        None => ok("open files", "no limit".to_owned()),
    }
}

fn clock(daemon: &Daemon) -> Check {
    /// Before this program existed.
    const TOO_EARLY_MS: u64 = 1_735_689_600_000;
    let now = system::now_ms();
    if now < TOO_EARLY_MS {
        return error(
            "clock",
            "it shows a time long past".to_owned(),
            "set the system's clock; times in lists are wrong",
        );
    }
    // A little is what time synchronisation does.
    if now + Duration::from_secs(5).as_millis() as u64 <= daemon.started_ms {
        return warning(
            "clock",
            "it was set back since the start".to_owned(),
            "restart the daemon once the clock is right",
        );
    }
    ok("clock", "plausible".to_owned())
}

/// Nothing to look at elsewhere than on Linux.
fn inotify(watches: &[Watch]) -> Vec<Check> {
    let limit = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
    };
    let (Some(max_watches), Some(max_instances)) = (limit("max_user_watches"), limit("max_user_instances")) else {
        return Vec::new();
    };
    let polled = watches.iter().filter(|watch| watch.mode == meshkiln_protocol::watch::WatchMode::Polling).count();
    vec![
        judge_watches(used_watches(), max_watches, polled),
        if max_instances < 128 {
            warning(
                "inotify instances",
                format!("at most {max_instances} for all programs"),
                "sudo sysctl fs.inotify.max_user_instances=512",
            )
        } else {
            ok("inotify instances", format!("at most {max_instances} for all programs"))
        },
    ]
}

/// `polled`: folders that are listed every few seconds instead.
fn judge_watches(used: u64, max: u64, polled: usize) -> Check {
    let found = format!("{used} of {max} folders, {polled} watched folders are polled");
    if used * 10 > max * 8 {
        let enough = (used * 4).next_power_of_two().max(524_288);
        return warning("inotify watches", found, format!("sudo sysctl fs.inotify.max_user_watches={enough}"));
    }
    ok("inotify watches", found)
}

/// By this process.
fn used_watches() -> u64 {
    let Ok(files) = fs::read_dir("/proc/self/fdinfo") else { return 0 };
    files
        .filter_map(|file| fs::read_to_string(file.ok()?.path()).ok())
        .map(|text| text.lines().filter(|line| line.starts_with("inotify")).count() as u64)
        .sum()
}

fn ok(what: &str, found: String) -> Check {
    Check { what: what.to_owned(), verdict: Verdict::Ok, found, fix: None }
}

fn warning(what: &str, found: String, fix: impl Into<String>) -> Check {
    Check { what: what.to_owned(), verdict: Verdict::Warning, found, fix: Some(fix.into()) }
}

fn error(what: &str, found: String, fix: impl Into<String>) -> Check {
    Check { what: what.to_owned(), verdict: Verdict::Error, found, fix: Some(fix.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_watches_left_are_told_in_time_with_the_command() {
        let check = judge_watches(100, 65_536, 0);
        assert_eq!((check.verdict, check.fix), (Verdict::Ok, None));
        let check = judge_watches(60_000, 65_536, 1);
        assert_eq!(check.verdict, Verdict::Warning);
        assert_eq!(check.fix.as_deref(), Some("sudo sysctl fs.inotify.max_user_watches=524288"));
        let check = judge_watches(500_000, 524_288, 1);
        assert_eq!(check.fix.as_deref(), Some("sudo sysctl fs.inotify.max_user_watches=2097152"));
    }

    #[test]
    fn folders_are_tried_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(writable("state folder", dir.path()).verdict, Verdict::Ok);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
        let none = dir.path().join("none");
        assert_eq!(writable("config folder", &none).verdict, Verdict::Ok);
        let check = writable("state folder", &none);
        assert_eq!(check.verdict, Verdict::Error);
        assert!(check.fix.is_some());
        assert_eq!(free_disk("disk", dir.path()).what, "disk");
        assert_eq!(sqlite().verdict, Verdict::Ok);
    }
}
