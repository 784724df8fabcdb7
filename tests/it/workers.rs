//! Worker processes die, hang and refuse to start; the daemon goes on, and no
//! worker outlives it.

use std::{
    fs,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    daemon::{Health, WorkerState},
    job::{JobState, StageState, SubmitParams},
};
use meshkiln_tests::{Daemon, Home, PATIENCE, figure, say, submit, until};

/// A source of this text; decode is its only stage with anything to do.
fn order(home: &Home, name: &str, text: &str) -> SubmitParams {
    SubmitParams {
        recipe: Some("cutout".to_owned()),
        ..submit(&home.write(&format!("{name}.png"), format!("# {name}\n{text}\n")), None)
    }
}

fn until_busy(daemon: &Daemon) -> u32 {
    let mut pid = None;
    until("the worker is busy", PATIENCE, || {
        let worker = &daemon.status().workers[0];
        pid = worker.pid.filter(|_| worker.state == WorkerState::Busy);
        pid.is_some()
    });
    pid.unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn no_worker_outlives_its_daemon() {
    const KILLS: usize = 100;
    // A worker that sleeps, one that does not even answer, one that stands still.
    let busy = ["decode hang", "decode mute", "decode freeze"];
    let mut home = Home::new("fake");
    let mut longest = Duration::ZERO;
    for n in 0..KILLS {
        let daemon = home.start();
        // The jobs of earlier rounds are paused after a few deaths of their daemon.
        daemon.submit(&order(&home, &format!("{n}"), busy[n % busy.len()]));
        let worker = until_busy(&daemon);
        assert_eq!(home.workers(), [worker], "round {n}");
        home.kill();
        let killed = Instant::now();
        until("the worker is gone with its daemon", Duration::from_secs(20), || home.workers().is_empty());
        longest = longest.max(killed.elapsed());
    }
    say(&format!("figure: {KILLS} SIGKILLs of a daemon with a busy worker: 0 orphans"));
    figure("the slowest worker to follow its daemon was gone after", longest, Duration::from_secs(2), 5);
}

#[test]
#[cfg(unix)]
fn a_worker_killed_in_a_job_costs_one_attempt() {
    use meshkiln_tests::system::send_signal;
    const ROUNDS: usize = 200;
    let signals = [libc::SIGSEGV, libc::SIGABRT, libc::SIGKILL];
    let mut home = Home::new("fake");
    let daemon = home.start();
    let mut jobs = Vec::new();
    let mut slowest = Duration::ZERO;
    for n in 0..ROUNDS {
        // Next time it answers at once.
        let job = daemon.submit(&order(&home, &format!("victim-{n}"), "decode sleep 60000ms once"));
        // It has read the source: otherwise it would sleep the next time.
        until("the victim sleeps", PATIENCE, || home.happened() == n + 1);
        let worker = until_busy(&daemon);
        let signal = signals[n % signals.len()];
        let killed = Instant::now();
        // Rust's own handler lets the first SIGSEGV pass that no access raised.
        until("the worker is gone", PATIENCE, || {
            send_signal(worker, signal);
            daemon.worker_pid() != Some(worker)
        });
        let next = daemon.submit(&order(&home, &format!("next-{n}"), ""));
        let done = daemon.wait(next.id);
        assert_eq!((done.state, done.crashes), (JobState::Done, 0), "{done:?}");
        slowest = slowest.max(killed.elapsed());
        jobs.push(job.id);
    }
    for id in jobs {
        let job = daemon.wait(id);
        assert_eq!((job.state, job.crashes, job.attempt), (JobState::Done, 1, 2), "{job:?}");
    }
    let status = daemon.status();
    assert_eq!(status.workers[0].restarts as usize, ROUNDS);
    assert_eq!((status.pid, status.health), (daemon.runtime.pid, Health::Ok), "{:?}", status.problems);
    assert!(home.is_alive());
    figure("after the death of a worker, the next job is done after", slowest, Duration::from_secs(1), 10);
}

#[test]
fn a_worker_without_a_heartbeat_is_killed_and_its_job_done_by_the_next() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    for (name, trouble) in [("mute", "cutout mute once"), ("frozen", "cutout freeze once")] {
        if cfg!(not(unix)) && name == "frozen" {
            continue;
        }
        let job = daemon.submit(&order(&home, name, trouble));
        daemon.until_stage(job.id, "cutout", StageState::Running);
        let begun = Instant::now();
        let worker = until_busy(&daemon);
        until("the worker is killed", PATIENCE, || daemon.worker_pid() != Some(worker));
        // The heartbeat before may be a second old.
        figure(&format!("a worker that is {name} is killed after"), begun.elapsed(), Duration::from_secs(11), 3);
        let job = daemon.wait(job.id);
        assert_eq!((job.state, job.crashes, job.attempt), (JobState::Done, 1, 2), "{job:?}");
        // What was done before the hang was not done again.
        assert_eq!(job.stages[0].state, StageState::Cached, "{job:?}");
        let log = daemon.log(job.id);
        assert!(log.iter().any(|line| line.contains("no sign of life for 10 s")), "{log:?}");
    }
    assert!(home.is_alive());
    assert_eq!(daemon.status().health, Health::Ok);
}

#[test]
fn health_says_when_a_worker_does_not_start_and_when_it_does_again() {
    let mut home = Home::new("fake");
    let trouble = home.write("worker", "crash exit\n");
    let daemon = home.start();
    let begun = Instant::now();
    let job = daemon.submit(&order(&home, "patient", ""));
    let mut status = daemon.status();
    until("health is degraded", PATIENCE, || {
        status = daemon.status();
        status.health == Health::Degraded
    });
    figure("health is degraded by a worker that does not start after", begun.elapsed(), Duration::from_secs(2), 5);
    assert_eq!(status.workers[0].state, WorkerState::Broken);
    assert!(status.problems[0].contains("did not start 3 times in a row"), "{:?}", status.problems);
    // The job waits; it is not to blame.
    let waiting = daemon.job(job.id);
    assert_eq!((waiting.state, waiting.crashes), (JobState::Queued, 0), "{waiting:?}");

    fs::remove_file(trouble).unwrap();
    let job = daemon.wait(job.id);
    assert_eq!((job.state, job.crashes), (JobState::Done, 0), "{job:?}");
    let status = daemon.status();
    assert_eq!((status.health, status.problems), (Health::Ok, vec![]));
    assert!(home.is_alive());
}
