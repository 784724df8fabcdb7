//! The daemon's side of its workers.

use std::{
    path::Path,
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use meshkilnd::{
    main_loop::{Event, WorkerEnd, WorkerId},
    worker::{
        frames::{Command, Report, Run},
        process,
        supervise::Workers,
    },
};
use serde_json::json;

use crate::harness::{EXE, PATIENCE, Place, is_alive, place, wait_for};

struct Team {
    place: Place,
    workers: Workers,
    events: Receiver<Event>,
}

fn team() -> Team {
    team_of(EXE)
}

fn team_of(exe: &str) -> Team {
    let place = place();
    let (inbox, events) = sync_channel(16);
    let workers = Workers::new(exe.into(), place.blobs.dir().to_owned(), place.blobs.dir().join("nets"), inbox);
    Team { place, workers, events }
}

impl Team {
    fn spawn(&self, id: u64) -> WorkerId {
        self.workers.spawn(WorkerId(id), &"fake".to_owned());
        WorkerId(id)
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event in time")
    }

    /// The next report of this worker that is no heartbeat.
    fn report(&self, id: WorkerId) -> Report {
        loop {
            match self.next() {
                Event::Worker { report: Report::Heartbeat { .. }, .. } => {}
                Event::Worker { worker, report } if worker == id => return report,
                other => panic!("{other:?}"),
            }
        }
    }

    fn ready(&self, id: WorkerId) -> u32 {
        match self.report(id) {
            Report::Ready { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    fn end(&self, id: WorkerId) -> WorkerEnd {
        loop {
            match self.next() {
                Event::WorkerGone { worker, how } if worker == id => return how,
                Event::Worker { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn run(&self, id: WorkerId, run: u64, directives: &str) -> Run {
        let it = self.place.run(run, "cutout", directives);
        self.workers.send(id, Command::Run(it.clone()));
        it
    }
}

#[test]
fn a_worker_is_started_heard_and_told_to_leave() {
    let team = team();
    let id = team.spawn(1);
    let pid = team.ready(id);
    assert!(is_alive(pid));
    team.run(id, 5, "");
    assert!(matches!(team.report(id), Report::Done { run: 5, .. }));
    team.workers.send(id, Command::Exit);
    assert_eq!(team.end(id), WorkerEnd::Exit(0));
    assert!(!is_alive(pid));
    assert_eq!(team.workers.count(), 0);
    // Gone is gone: no harm in telling it more.
    team.workers.send(id, Command::Trim);
    team.workers.kill(id);
    assert!(team.events.try_recv().is_err());
}

#[test]
fn what_cannot_be_started_is_said() {
    let team = team_of("/nowhere/meshkilnd");
    let id = team.spawn(1);
    match team.next() {
        Event::WorkerNotStarted { worker, error } => {
            assert_eq!(worker, id);
            assert!(!error.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(team.workers.count(), 0);
}

#[cfg(unix)]
#[test]
fn fifty_killed_in_every_state_leave_no_process_and_each_is_told_once() {
    let team = team();
    let busy = ["", "cutout hang", "cutout hang ignore-cancel", "cutout mute", "cutout freeze"];
    for n in 0..50 {
        let id = team.spawn(n);
        // A tenth before it is even there.
        let pid = (n % 10 != 0).then(|| team.ready(id));
        if pid.is_some() {
            team.run(id, n, busy[n as usize % busy.len()]);
        }
        team.workers.kill(id);
        assert_eq!(team.end(id), WorkerEnd::Signal(9));
        assert!(pid.is_none_or(|pid| !is_alive(pid)));
        assert_eq!(team.workers.count(), 0);
    }
    assert!(team.events.try_recv().is_err());
}

/// Two hundred deaths in the middle of work, and how soon the next one works.
#[cfg(unix)]
#[test]
fn the_next_worker_is_at_work_soon_after_one_dies() {
    let team = team();
    let deaths = [("segv", 11), ("abort", 6), ("kill", 9)];
    let mut waits = Vec::new();
    let mut id = team.spawn(0);
    team.ready(id);
    for n in 1..=200 {
        let (death, signal) = deaths[n as usize % deaths.len()];
        team.run(id, n, &format!("cutout crash {death}"));
        assert_eq!(team.end(id), WorkerEnd::Signal(signal));
        let died = Instant::now();
        id = team.spawn(n);
        team.ready(id);
        waits.push(died.elapsed());
    }
    waits.sort();
    println!("death to next ready: median {:?}, worst {:?}", waits[100], waits[199]);
    // The middle one: a busy machine may hold up any single one.
    assert!(waits[100] < Duration::from_secs(1), "{waits:?}");
    assert_eq!(team.workers.count(), 1);
}

#[test]
fn one_that_talks_nonsense_or_hangs_up_is_ended() {
    let team = team();
    for (n, directives) in ["cutout garbage\ncutout hang", "cutout close"].into_iter().enumerate() {
        let id = team.spawn(n as u64);
        let pid = team.ready(id);
        team.run(id, 1, directives);
        let how = team.end(id);
        assert!(matches!(how, WorkerEnd::Signal(9) | WorkerEnd::Exit(1)), "{how:?}");
        assert!(!is_alive(pid));
    }
}

#[cfg(unix)]
#[test]
fn one_that_does_not_read_is_ended_and_telling_it_never_waits() {
    let team = team();
    let id = team.spawn(1);
    team.ready(id);
    let mut run = team.run(id, 1, "cutout freeze");
    // More than a pipe holds.
    run.settings.insert("padding".to_owned(), json!("x".repeat(100_000)));
    let told = Instant::now();
    for _ in 0..300 {
        team.workers.send(id, Command::Run(run.clone()));
    }
    assert!(told.elapsed() < Duration::from_secs(5));
    assert_eq!(team.end(id), WorkerEnd::Signal(9));
}

#[test]
fn a_full_inbox_slows_nobody_but_the_worker() {
    let team = team();
    let ids: Vec<WorkerId> = (0..4).map(|n| team.spawn(n)).collect();
    wait_for("all run", || team.workers.count() == 4);
    for _ in 0..20 {
        ids.iter().for_each(|&id| drop(team.run(id, 1, "")));
    }
    // Nobody reads the inbox, which holds 16; ending them must not wait for it.
    team.workers.kill_all();
    let mut gone = 0;
    while gone < ids.len() {
        gone += usize::from(matches!(team.next(), Event::WorkerGone { .. }));
    }
    assert_eq!(team.workers.count(), 0);
}

#[test]
fn all_are_gone_when_the_daemon_lets_go_of_them() {
    let team = team();
    let ids: Vec<WorkerId> = (0..3).map(|n| team.spawn(n)).collect();
    let mut pids = Vec::new();
    while pids.len() < ids.len() {
        if let Event::Worker { report: Report::Ready { pid, .. }, .. } = team.next() {
            pids.push(pid);
        }
    }
    team.workers.spawn(WorkerId(9), &"fake".to_owned());
    let Team { workers, events, place } = team;
    drop(workers);
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    drop((events, place));
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_earlier_daemon_left_is_ended_and_nothing_else() {
    let team = team();
    let record = team.place.dir.path().join("workers.json");
    assert_eq!(team.workers.reap_orphans(&record).unwrap(), 0);
    let listed = |record: &Path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(record).unwrap()).unwrap();
    let id = team.spawn(1);
    let pid = team.ready(id);
    assert_eq!(listed(&record)[0]["pid"], pid);
    team.workers.kill(id);
    team.end(id);
    assert_eq!(listed(&record), json!([]));

    // As after a crash: a worker runs, and the list names it, a process that has
    // the number of an earlier one, and one that is no more.
    let mut orphan = team.place.worker("fake");
    let started = process::started(orphan.child.id()).unwrap();
    let innocent = std::process::id();
    let left = json!([
        { "pid": orphan.child.id(), "started": started },
        { "pid": innocent, "started": started },
        { "pid": 4_000_000, "started": started },
    ]);
    std::fs::write(&record, left.to_string()).unwrap();
    assert_eq!(team.workers.reap_orphans(&record).unwrap(), 1);
    let status = orphan.status();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(listed(&record), json!([]));
    for broken in ["", "[", "{}", "[1]"] {
        std::fs::write(&record, broken).unwrap();
        assert_eq!(team.workers.reap_orphans(&record).unwrap(), 0);
    }
}
