//! Cancelling, retrying, pausing, sharing and overtaking, with real processes.

use std::time::{Duration, Instant};

use meshkiln_protocol::job::{Class, Job, JobState, StageState, SubmitParams};
use meshkiln_tests::{Daemon, Home, PATIENCE, example, figure, submit, until};

/// A source of this text, for three stages: decode, cutout, export-image.
fn order(home: &Home, name: &str, text: &str) -> SubmitParams {
    SubmitParams {
        recipe: Some("cutout".to_owned()),
        ..submit(&home.write(&format!("{name}.png"), format!("# {name}\n{text}\n")), None)
    }
}

/// Keeps the worker busy until it is cancelled.
fn hold(home: &Home, daemon: &Daemon) -> Job {
    let job = daemon.submit(&order(home, "holds", "decode hang"));
    daemon.until_stage(job.id, "decode", StageState::Running)
}

#[test]
fn cancelled_jobs_stop_at_once_and_stay_so() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let running = hold(&home, &daemon);
    let queued = daemon.submit(&order(&home, "queued", ""));

    let begun = Instant::now();
    assert_eq!(daemon.cancel(queued.id).state, JobState::Cancelled);
    figure("cancel of a queued job is answered after", begun.elapsed(), Duration::from_millis(50), 20);
    let begun = Instant::now();
    assert_eq!(daemon.cancel(running.id).state, JobState::Cancelled);
    // The worker is free for the next.
    let next = daemon.submit(&order(&home, "next", ""));
    assert_eq!(daemon.wait(next.id).state, JobState::Done);
    figure("after a cancel of a running job, the next is done after", begun.elapsed(), Duration::from_secs(1), 10);
    assert_eq!(daemon.status().workers[0].restarts, 0, "a worker that listens is not killed");
    // Once more is no error, and changes nothing.
    assert_eq!(daemon.cancel(running.id), daemon.job(running.id));

    home.kill();
    let daemon = home.start();
    for id in [queued.id, running.id] {
        assert_eq!(daemon.job(id).state, JobState::Cancelled);
        assert!(daemon.log(id).iter().any(|line| line == "cancelled"));
    }
    let done = daemon.submit(&order(&home, "after", ""));
    assert_eq!(daemon.wait(done.id).state, JobState::Done);
    assert_eq!(daemon.jobs(&[JobState::Cancelled]).len(), 2);
    for name in ["queued", "holds"] {
        assert!(!home.fake_dir.path().join(format!("{name}.cutout.png")).exists(), "{name} was delivered");
    }
}

#[test]
fn a_worker_that_ignores_a_cancel_is_killed() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let job = daemon.submit(&order(&home, "deaf", "decode hang ignore-cancel"));
    daemon.until_stage(job.id, "decode", StageState::Running);
    let worker = daemon.worker_pid();
    let begun = Instant::now();
    assert_eq!(daemon.cancel(job.id).state, JobState::Cancelled);
    until("the worker is killed", PATIENCE, || daemon.worker_pid() != worker);
    figure("a worker that ignores a cancel is killed after", begun.elapsed(), Duration::from_secs(5), 3);
    let next = daemon.submit(&order(&home, "next", ""));
    assert_eq!(daemon.wait(next.id).state, JobState::Done);
    assert_eq!((daemon.job(job.id).state, daemon.job(job.id).crashes), (JobState::Cancelled, 0));
}

#[test]
fn a_real_stage_hears_a_cancel() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let picture = home.write("lantern.png", std::fs::read(example("lantern.png")).unwrap());
    let job = daemon.fire(&picture, None);
    daemon.until_stage(job.id, "reconstruct", StageState::Running);
    let begun = Instant::now();
    assert_eq!(daemon.cancel(job.id).state, JobState::Cancelled);
    until("the worker is free", PATIENCE, || daemon.status().workers[0].doing.is_none());
    figure("a real stage has stopped after", begun.elapsed(), Duration::from_secs(1), 5);
    assert_eq!(daemon.status().workers[0].restarts, 0, "it did not listen and was killed");
    assert!(!home.fake_dir.path().join("lantern.glb").exists());

    // What was finished before is kept.
    let job = daemon.retry(job.id);
    let job = daemon.wait(job.id);
    assert_eq!((job.state, job.attempt), (JobState::Done, 2), "{job:?}");
    assert_eq!(job.stages[0].state, StageState::Cached);
    assert!(home.fake_dir.path().join("lantern.glb").exists());
}

#[test]
fn what_has_ended_badly_can_be_tried_again() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let job = daemon.submit(&order(&home, "fails", "cutout error no_object once"));
    let failed = daemon.wait(job.id);
    assert_eq!(failed.state, JobState::Failed);
    assert_eq!(failed.error.unwrap().stage.as_deref(), Some("cutout"));
    daemon.retry(job.id);
    let done = daemon.wait(job.id);
    assert_eq!((done.state, done.attempt, done.error), (JobState::Done, 2, None));
    assert_eq!(done.stages[0].state, StageState::Cached, "what worked is not done again");

    let held = daemon.submit(&order(&home, "hangs", "decode hang once"));
    until("it hangs", PATIENCE, || home.happened() == 2);
    daemon.cancel(held.id);
    daemon.retry(held.id);
    assert_eq!(daemon.wait(held.id).state, JobState::Done);
    let refused = daemon.try_call_json("job.retry", serde_json::json!({ "id": held.id })).unwrap().unwrap_err();
    assert_eq!(refused.kind, "wrong_state");
}

#[test]
fn a_paused_queue_and_a_paused_job_wait_also_over_a_restart() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    assert!(daemon.pause_queue().queue.paused);
    let paused = daemon.submit(&order(&home, "paused", ""));
    let other = daemon.submit(&order(&home, "other", ""));
    assert_eq!(daemon.pause(paused.id).state, JobState::Paused);

    home.kill();
    let daemon = home.start();
    let queue = daemon.status().queue;
    assert_eq!((queue.paused, queue.queued, queue.paused_jobs, queue.running), (true, 1, 1, 0));
    until("the worker is there", PATIENCE, || daemon.worker_pid().is_some());
    assert_eq!(daemon.job(other.id).attempt, 0, "a paused queue has started a job");

    assert!(!daemon.resume_queue().queue.paused);
    assert_eq!(daemon.wait(other.id).state, JobState::Done);
    assert_eq!(daemon.job(paused.id).state, JobState::Paused);
    daemon.resume(paused.id);
    assert_eq!(daemon.wait(paused.id).state, JobState::Done);
}

#[test]
fn equal_jobs_share_their_work() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let first = order(&home, "twin", "decode sleep 700ms\ncutout sleep 50ms");
    let second = home.fake_dir.path().join("second.cutout.png");
    let second = SubmitParams { output: Some(second.to_str().unwrap().to_owned()), ..first.clone() };
    let first = daemon.submit(&first);
    daemon.until_stage(first.id, "decode", StageState::Running);
    let second = daemon.submit(&second);
    let (first, second) = (daemon.wait(first.id), daemon.wait(second.id));
    assert_eq!((first.state, second.state), (JobState::Done, JobState::Done));
    assert_eq!(first.asset_sha256, second.asset_sha256);
    let log = daemon.log(second.id);
    assert!(log.contains(&format!("decode: shared with job {}", first.id)), "{log:?}");
    let read = |job: &Job| std::fs::read(job.output.as_ref().unwrap()).unwrap();
    assert_eq!(read(&first), read(&second));

    // A third, when both are done, needs no worker at all.
    let third = home.fake_dir.path().join("third.cutout.png");
    let third = daemon.submit(&SubmitParams {
        output: Some(third.to_str().unwrap().to_owned()),
        ..order(&home, "twin", "decode sleep 700ms\ncutout sleep 50ms")
    });
    let third = daemon.wait(third.id);
    assert!(third.stages.iter().all(|run| run.state == StageState::Cached), "{third:?}");
    assert_eq!(third.asset_sha256, first.asset_sha256);
}

#[test]
fn who_waits_for_it_overtakes() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let holder = hold(&home, &daemon);
    let submit = |name: String, class, client: &str| {
        let client = Some(client.to_owned());
        daemon.submit(&SubmitParams { class, client, ..order(&home, &name, "* sleep 2ms") }).id
    };
    let batch: Vec<_> = (0..4).map(|n| submit(format!("batch-{n}"), Class::Batch, "greedy")).collect();
    let modest = submit("modest".to_owned(), Class::Batch, "modest");
    let watch = submit("watch".to_owned(), Class::Watch, "watch");
    let interactive = submit("interactive".to_owned(), Class::Interactive, "blender");
    assert_eq!(daemon.job(interactive).position, Some(0));
    daemon.cancel(holder.id);
    daemon.until_quiet(PATIENCE);

    let started = |id| daemon.job(id).started_ms.unwrap();
    assert!(started(interactive) < started(watch));
    assert!(started(watch) < started(batch[0]));
    assert!(batch.is_sorted_by_key(|&id| started(id)), "oldest first");
    // One client's many do not hold up another client's one.
    assert!(started(modest) < started(batch[1]), "a greedy client has starved another");
}
