//! The daemon itself: `status`, `doctor`, `pause`, `up`, `down`, `log`,
//! and completions.

use std::{
    fs::File,
    io::{IsTerminal, Read, Seek, SeekFrom, stdin, stdout},
    thread,
    time::{Duration, Instant},
};

use clap::CommandFactory;
use clap_complete::Shell;
use meshkiln_protocol::{
    api::{DaemonStatus, Doctor, NoParams, QueuePause, Shutdown},
    daemon::{Check, DoctorReport, Health, ShutdownParams, Status, Verdict, WorkerState},
};
use serde_json::json;

use crate::{
    Outcome,
    args::{Args, Graphics},
    client::{Client, daemon_program, folders},
    commands::nets,
    error::Failure,
    show, tui,
};

/// Everything on one screen; the help where there is none.
pub fn open(ascii: bool, graphics: Graphics) -> Outcome {
    if stdin().is_terminal() && stdout().is_terminal() {
        return tui::run(ascii, graphics);
    }
    let help = Args::command().render_help();
    Err(Failure::usage(format!("no terminal, and no command\n\n{help}"), "name a command"))
}

pub fn pause(json: bool) -> Outcome {
    let status = Client::connect()?.call::<QueuePause>(&NoParams {})?;
    if json { show::json(&status) } else { show::line("paused: no job is started until `meshkiln resume`") }
}

/// Does not start a daemon: asking whether one runs should not change the answer.
pub fn status(json: bool) -> Outcome {
    match Client::running()? {
        Some(client) => {
            let status = client.call::<DaemonStatus>(&NoParams {})?;
            if json { show::json(&json!({ "running": true, "status": status })) } else { print_status(&status) }
        }
        None if json => show::json(&json!({ "running": false })),
        None => show::line("the daemon is not running; `meshkiln up` starts it"),
    }
}

fn print_status(status: &Status) -> Outcome {
    let health = match status.health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
    };
    let now = show::now();
    let up = show::duration(now.saturating_sub(status.started_ms));
    show::line(format!("meshkilnd {} ({}): {health}, up {up}", status.version, status.pid))?;
    for problem in &status.problems {
        show::line(format!("  {problem}"))?;
    }
    let queue = &status.queue;
    let paused = if queue.paused { ", paused" } else { "" };
    show::line(format!("queue: {} running, {} queued{paused}", queue.running, show::count(queue.queued)))?;
    for worker in &status.workers {
        let state = match worker.state {
            WorkerState::Starting => "starting",
            WorkerState::Idle => "idle",
            WorkerState::Busy => "busy",
            WorkerState::Broken => "broken",
            WorkerState::Stopped => "stopped",
            WorkerState::Yielded => "given away",
        };
        let doing = worker.doing.as_ref().map(|d| format!(", {d}")).unwrap_or_default();
        let memory = worker.rss_bytes.map(|b| format!(", {}", show::bytes(b))).unwrap_or_default();
        let restarts = if worker.restarts > 0 { format!(", {} restarts", worker.restarts) } else { String::new() };
        show::line(format!("worker {}: {state}{doing}{memory}{restarts}", worker.device))?;
    }
    nets::print_devices(status)?;
    for usage in &status.stages {
        let failures = if usage.failures > 0 { format!(", {} failed", usage.failures) } else { String::new() };
        show::line(format!(
            "stage {} ({}): {} runs in {}, {} from the cache{failures}, at most {}",
            usage.stage,
            usage.engine,
            show::count(usage.runs),
            show::duration(usage.run_ms),
            show::count(usage.cached),
            show::bytes(usage.peak_bytes)
        ))?;
    }
    show::line(format!("watching {} folders", status.watches))?;
    show::line(format!(
        "kept results: {} of {}, {} free on disk",
        show::bytes(status.disk.blob_bytes),
        show::bytes(status.disk.blob_limit_bytes),
        show::bytes(status.disk.free_bytes)
    ))?;
    status.folders.iter().try_for_each(|folder| show::line(format!("{}: {}", folder.what, folder.path)))
}

/// Works without a daemon too: that is when it is needed most.
pub fn doctor(json: bool) -> Outcome {
    let mut report = DoctorReport { checks: vec![] };
    match Client::connect() {
        Ok(client) => report = client.call::<Doctor>(&NoParams {})?,
        Err(failure) => {
            let (found, fix) = match &failure {
                Failure::Unreachable { message, hint } => (message.clone(), hint.clone()),
                other => (format!("{other:?}"), "see `meshkiln log`".to_owned()),
            };
            let program = daemon_program();
            let here = program.is_absolute();
            report.checks.push(Check {
                what: "daemon".to_owned(),
                verdict: Verdict::Error,
                found,
                fix: Some(if here { fix.replace("run `meshkiln doctor`", "see `meshkiln log`") } else { fix }),
            });
            report.checks.push(Check {
                what: "program".to_owned(),
                verdict: if here { Verdict::Ok } else { Verdict::Warning },
                found: format!("the daemon's program is {}", program.display()),
                fix: (!here).then(|| "keep meshkilnd beside meshkiln".to_owned()),
            });
            let folders = folders()?;
            report.checks.extend([&folders.config, &folders.state, &folders.cache, &folders.runtime].map(writable));
        }
    }
    let bad = report.checks.iter().any(|check| check.verdict == Verdict::Error);
    if json {
        show::json(&report)?;
    } else {
        report.checks.iter().try_for_each(print_check)?;
    }
    if bad { Err(Failure::JobsFailed) } else { Ok(()) }
}

fn writable(folder: &std::path::PathBuf) -> Check {
    let probe = folder.join(".meshkiln-probe");
    let tried =
        std::fs::create_dir_all(folder).and_then(|()| File::create(&probe)).and_then(|_| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => Check {
            what: "folder".to_owned(),
            verdict: Verdict::Ok,
            found: format!("{} can be written", folder.display()),
            fix: None,
        },
        Err(e) => Check {
            what: "folder".to_owned(),
            verdict: Verdict::Error,
            found: format!("{} cannot be written: {e}", folder.display()),
            fix: Some("give yourself write permission there, or set MESHKILN_HOME to another folder".to_owned()),
        },
    }
}

fn print_check(check: &Check) -> Outcome {
    let mark = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Error => "ERROR",
    };
    show::line(format!("{mark:8} {}: {}", check.what, check.found))?;
    check.fix.iter().try_for_each(|fix| show::line(format!("         fix: {fix}")))
}

pub fn up(json: bool) -> Outcome {
    let running = Client::running()?.is_some();
    let status = Client::connect()?.call::<DaemonStatus>(&NoParams {})?;
    if json {
        return show::json(&json!({ "running": true, "status": status }));
    }
    let how = if running { "is running already" } else { "is up" };
    show::line(format!("meshkilnd {} {how} (pid {})", status.version, status.pid))
}

pub fn down(now: bool, json: bool) -> Outcome {
    let Some(client) = Client::running()? else {
        return if json { show::json(&json!({ "running": false })) } else { show::line("the daemon is not running") };
    };
    client.call::<Shutdown>(&ShutdownParams { now })?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if Client::running()?.is_none() {
            return if json { show::json(&json!({ "running": false })) } else { show::line("the daemon has stopped") };
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::unreachable("the daemon has not stopped within 30 s", "stop it at once with `meshkiln down --now`"))
}

pub fn log(lines: usize, follow: bool) -> Outcome {
    let path = folders()?.log_file();
    let cannot =
        |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", path.display()), "run `meshkiln up`");
    let mut file = File::open(&path).map_err(cannot)?;
    // Enough for the last lines; longer logs are not read from the start.
    let length = file.metadata().map_err(cannot)?.len();
    let start = length.saturating_sub(512 * (lines as u64 + 1));
    file.seek(SeekFrom::Start(start)).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(cannot)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut tail: Vec<&str> = text.lines().collect();
    if start > 0 && !tail.is_empty() {
        tail.remove(0);
    }
    tail[tail.len().saturating_sub(lines)..].iter().try_for_each(show::line)?;
    if !follow {
        return Ok(());
    }
    loop {
        thread::sleep(Duration::from_millis(300));
        let mut more = Vec::new();
        file.read_to_end(&mut more).map_err(cannot)?;
        String::from_utf8_lossy(&more).lines().try_for_each(show::line)?;
        // The log was rotated: go on with the new file.
        let shrunk = std::fs::metadata(&path).is_ok_and(|now| file.stream_position().is_ok_and(|at| now.len() < at));
        if shrunk {
            file = File::open(&path).map_err(cannot)?;
        }
    }
}

pub fn completions(shell: Shell) -> Outcome {
    clap_complete::generate(shell, &mut Args::command(), "meshkiln", &mut std::io::stdout());
    Ok(())
}
