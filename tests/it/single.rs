//! One daemon a home, whoever starts how many, and whatever the last one left.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use meshkiln_protocol::runtime::EXIT_ALREADY_RUNNING;
use meshkiln_tests::{Daemon, Home, PATIENCE, figure, runtime_file, say, until};

const AT_ONCE: usize = 50;
const RESTARTS: usize = 100;

#[test]
fn of_fifty_daemons_one_serves() {
    let home = Home::new("fake");
    let begun = Instant::now();
    let mut started = Killed((0..AT_ONCE).map(|_| home.spawn()).collect());
    let mut ended: Vec<(u32, Option<i32>, Duration)> = Vec::new();
    until("all but one have ended", PATIENCE, || {
        for child in &mut started.0 {
            let pid = child.id();
            if let Some(status) = child.try_wait().unwrap()
                && ended.iter().all(|(known, ..)| *known != pid)
            {
                ended.push((pid, status.code(), begun.elapsed()));
            }
        }
        ended.len() >= AT_ONCE - 1
    });
    assert_eq!(ended.len(), AT_ONCE - 1, "nobody serves");
    for (pid, code, _) in &ended {
        assert_eq!(*code, Some(EXIT_ALREADY_RUNNING), "process {pid}");
    }
    let last = ended.iter().map(|(_, _, after)| *after).max().unwrap();
    figure("the last of 49 superfluous daemons has ended after", last, Duration::from_secs(2), 10);

    let mut serving = None;
    until("one serves", PATIENCE, || {
        serving = Daemon::find(home.dir.path());
        serving.is_some()
    });
    let serving = serving.unwrap();
    let left: Vec<u32> =
        started.0.iter().map(Child::id).filter(|pid| ended.iter().all(|(gone, ..)| gone != pid)).collect();
    assert_eq!(left, [serving.runtime.pid]);

    // One more is told, on stderr, who is there.
    let mut late = Command::new(meshkiln_tests::program("meshkilnd"));
    late.env("MESHKILN_HOME", home.dir.path()).stdin(Stdio::null());
    let late = late.output().unwrap();
    assert_eq!(late.status.code(), Some(EXIT_ALREADY_RUNNING));
    let said = String::from_utf8(late.stderr).unwrap();
    assert!(said.contains(&serving.runtime.pid.to_string()) && said.contains("meshkiln down"), "{said}");
    assert_eq!(serving.status().pid, serving.runtime.pid, "the one that serves was disturbed");
}

#[test]
fn a_daemon_starts_over_what_a_killed_one_left() {
    let mut home = Home::new("fake");
    let mut times = Vec::new();
    let mut token = String::new();
    for _ in 0..RESTARTS {
        let begun = Instant::now();
        let daemon = home.start();
        times.push(begun.elapsed());
        assert_ne!(daemon.runtime.token, token, "the token of a dead daemon is used again");
        token.clone_from(&daemon.runtime.token);
        home.kill();
        assert!(runtime_file(home.dir.path()).is_some(), "nothing stale is left to start over");
    }
    let worst = times.iter().copied().max().unwrap();
    say(&format!("figure: {RESTARTS} of {RESTARTS} starts over stale runtime files serve"));
    figure("the slowest of them serves after", worst, Duration::from_secs(2), 5);
    until("no worker outlives its daemon", Duration::from_secs(10), || home.workers().is_empty());
}

/// However the test ends.
struct Killed(Vec<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
