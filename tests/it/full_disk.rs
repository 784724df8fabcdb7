//! The disk of state and cache is full, and has room again.
//!
//! Takes root on Linux, for a disk of its own; elsewhere it says so and is skipped.

use std::time::{Duration, Instant};

use meshkiln_protocol::{
    daemon::Health,
    job::{JobId, JobState, SubmitParams},
};
use meshkiln_tests::{Daemon, Home, PATIENCE, figure, submit, until};

const DISK_MIB: u32 = 8;

fn order(home: &Home, name: &str, text: &str) -> SubmitParams {
    SubmitParams {
        recipe: Some("cutout".to_owned()),
        ..submit(&home.write(&format!("{name}.png"), format!("# {name}\n{text}\n")), Some(name))
    }
}

#[test]
fn with_a_full_disk_the_daemon_stays_and_says_so() {
    let Some(mut home) = Home::on_small_disk("fake", DISK_MIB) else { return };
    let daemon = home.start();
    let done = daemon.submit(&order(&home, "done", ""));
    assert_eq!(daemon.wait(done.id).state, JobState::Done);
    daemon.pause_queue();
    let mut kept: Vec<JobId> = (0..20).map(|n| daemon.submit(&order(&home, &format!("kept-{n}"), "")).id).collect();

    home.disk.as_ref().unwrap().fill();
    refused(&home, &daemon, "new source", &order(&home, "new", ""));
    // Its source is known; only the row has no room.
    let again = SubmitParams { idempotency_key: Some("once more".to_owned()), ..order(&home, "kept-1", "") };
    let worst = (0..20).map(|_| refused(&home, &daemon, "known source", &again)).max().unwrap();
    figure("on a full disk, a submit is refused after", worst, Duration::from_secs(1), 3);
    let problems = |daemon: &Daemon| daemon.status().problems.join("; ");
    assert_eq!(daemon.status().health, Health::Degraded);
    assert!(problems(&daemon).contains("the disk is full"), "{}", problems(&daemon));
    // What the queue has to write fits until its file has to grow.
    let id = serde_json::json!({ "id": kept[0] });
    until("the queue cannot be written", PATIENCE, || {
        let change = |method| daemon.try_call_json(method, id.clone()).unwrap();
        let refusal = change("job.pause").and_then(|_| change("job.resume")).err();
        refusal.is_some_and(|refusal| {
            assert_eq!(refusal.kind, "storage", "{refusal:?}");
            true
        })
    });
    assert!(problems(&daemon).contains("database cannot be written"), "{}", problems(&daemon));
    // Reads work.
    assert_eq!(daemon.jobs(&[]).len(), 21);
    assert_eq!(daemon.job(done.id).state, JobState::Done);
    assert!(daemon.log(done.id).iter().any(|line| line == "done"));
    let doctor = daemon.try_call_json("daemon.doctor", serde_json::json!({})).unwrap().unwrap();
    assert!(doctor.to_string().contains("disk"), "{doctor}");
    assert!(home.is_alive());

    home.disk.as_ref().unwrap().free();
    let freed = Instant::now();
    let new = order(&home, "new", "");
    until("a submit is taken again", PATIENCE, || match daemon.try_call::<meshkiln_protocol::api::Submit>(&new) {
        Ok(job) => {
            kept.push(job.id);
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.kind, "storage", "{refusal:?}");
            false
        }
    });
    figure("after space is back, a submit is taken after", freed.elapsed(), Duration::from_secs(5), 3);
    // One of them may have been paused above, durably or not.
    daemon.resume(kept[0]);
    daemon.resume_queue();
    for id in kept {
        assert_eq!(daemon.wait(id).state, JobState::Done);
    }
    let status = daemon.status();
    assert_eq!((status.health, status.pid), (Health::Ok, daemon.runtime.pid), "{:?}", status.problems);
    assert!(home.is_alive());
}

#[test]
fn a_disk_that_fills_while_jobs_run_loses_none_of_them() {
    let Some(mut home) = Home::on_small_disk("fake", DISK_MIB) else { return };
    let daemon = home.start();
    let orders = (0..30).map(|n| order(&home, &format!("{n}"), "* sleep 10ms"));
    let jobs: Vec<JobId> = orders.map(|order| daemon.submit(&order).id).collect();
    until("some are done", PATIENCE, || daemon.jobs(&[JobState::Done]).len() >= 3);
    home.disk.as_ref().unwrap().fill();
    // Each turns back for lack of room, or the queue itself has none.
    until("nothing runs", PATIENCE, || daemon.status().queue.running == 0);
    assert!(daemon.status().queue.queued > 0, "all were done before the disk was full");
    assert!(home.is_alive());
    home.disk.as_ref().unwrap().free();
    for id in jobs {
        let job = daemon.wait(id);
        assert_eq!((job.state, job.crashes), (JobState::Done, 0), "{job:?}");
    }
    until("health is ok", PATIENCE, || daemon.status().health == Health::Ok);
    assert!(home.is_alive());
    // Also the next daemon finds everything.
    home.kill();
    let daemon = home.start();
    assert_eq!(daemon.jobs(&[JobState::Done]).len(), 30);
}

/// Says how long the refusal took.
fn refused(home: &Home, daemon: &Daemon, what: &str, params: &SubmitParams) -> Duration {
    // Room that something else gives back is filled as well.
    home.disk.as_ref().unwrap().fill();
    let begun = Instant::now();
    let refusal = daemon.try_call::<meshkiln_protocol::api::Submit>(params).unwrap_err();
    assert_eq!(refusal.kind, "storage", "{what}: {refusal:?}");
    begun.elapsed()
}
