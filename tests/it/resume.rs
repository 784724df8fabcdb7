//! After a crash, and after a change of settings, only what is missing is done.

use std::fs;

use meshkiln_models::export::{glb, ownership};
use meshkiln_protocol::job::{JobState, StageState, SubmitParams};
use meshkiln_tests::{Daemon, Home, PATIENCE, PROP, example, stages_in, submit, until};
use rusqlite::Connection;

/// Those of `draft`: the picture as it is, no levels of detail, no collider.
fn draft() -> Vec<&'static str> {
    PROP.into_iter().filter(|stage| !matches!(*stage, "upscale" | "lods" | "collider")).collect()
}

fn lantern(home: &Home, name: &str) -> SubmitParams {
    let picture = fs::read(example("lantern.png")).unwrap();
    SubmitParams { recipe: Some("draft".to_owned()), ..submit(&home.write(name, picture), None) }
}

#[test]
fn a_killed_daemon_goes_on_with_the_next_stage() {
    let mut home = Home::new("fake");
    let daemon = home.start();
    let job = daemon.submit(&submit(&home.write("a.png", "simplify sleep 60000ms once\n"), None));
    until("simplify has begun", PATIENCE, || home.happened() == 1);
    home.kill();

    let daemon = home.start();
    let job = daemon.wait(job.id);
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Done, 2, 0), "{job:?}");
    assert_eq!(stages_in(&job, StageState::Cached), PROP[..6]);
    assert_eq!(stages_in(&job, StageState::Done), PROP[6..]);
    let log = daemon.log(job.id);
    assert!(log.iter().any(|line| line == "queued again: the daemon ended while this job was running"), "{log:?}");
    // Every stage has one result.
    let conn = Connection::open(home.database()).unwrap();
    let n: i64 = conn.query_row("SELECT count(*) FROM results", [], |row| row.get(0)).unwrap();
    assert_eq!(n as usize, PROP.len());
}

#[test]
fn a_real_job_that_was_interrupted_gives_the_same_bytes() {
    let mut calm = Home::new("cpu");
    let daemon = calm.start();
    let expected = daemon.submit(&lantern(&calm, "lantern.png"));
    let expected = daemon.wait(expected.id);
    assert_eq!(expected.state, JobState::Done, "{expected:?}");
    calm.kill();

    let mut home = Home::new("cpu");
    let mut daemon = home.start();
    let job = daemon.submit(&lantern(&home, "lantern.png"));
    for stage in ["reconstruct", "bake", "preview"] {
        // It may be over before we look; then there is less to interrupt.
        until("the stage has begun", PATIENCE, || {
            let now = daemon.job(job.id);
            let at = now.stages.iter().find(|run| run.stage == stage).unwrap().state;
            at != StageState::Pending || now.state.is_final()
        });
        home.kill();
        daemon = home.start();
    }
    let job = daemon.wait(job.id);
    assert_eq!((job.state, job.crashes), (JobState::Done, 0), "{job:?}");
    assert!(!stages_in(&job, StageState::Cached).is_empty(), "{job:?}");
    assert_eq!(job.asset_sha256, expected.asset_sha256);
    let file = |job: &meshkiln_protocol::job::Job| fs::read(job.output.as_ref().unwrap()).unwrap();
    assert!(file(&job) == file(&expected), "the file differs");
}

#[test]
fn another_budget_costs_only_the_stages_it_touches() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let first = daemon.submit(&lantern(&home, "lantern.png"));
    let first = daemon.wait(first.id);
    assert_eq!(first.state, JobState::Done, "{first:?}");
    assert_eq!(stages_in(&first, StageState::Done), draft());
    let output = home.fake_dir.path().join("lantern.glb");
    let bytes = fs::read(&output).unwrap();
    assert!(ownership::is_ours(&bytes));

    let refire = |daemon: &Daemon, set: &[&str]| {
        let job = daemon.refire(&output, set);
        let job = daemon.wait(job.id);
        assert_eq!(job.state, JobState::Done, "{job:?}");
        job
    };
    let coarse = refire(&daemon, &["simplify.triangles=700"]);
    assert_eq!(stages_in(&coarse, StageState::Cached), draft()[..5]);
    assert_eq!(stages_in(&coarse, StageState::Done), draft()[5..]);
    let triangles = |bytes: &[u8]| glb::read(bytes).unwrap().mesh.triangles.len();
    let coarse = fs::read(&output).unwrap();
    assert!(triangles(&coarse) <= 700 && triangles(&coarse) > 350, "{}", triangles(&coarse));
    assert!(triangles(&bytes) > 1000);

    // The same again, also after a restart, is not computed, and is the same file.
    home.kill();
    let daemon = home.start();
    let again = refire(&daemon, &["simplify.triangles=3000"]);
    assert_eq!(stages_in(&again, StageState::Cached), draft());
    assert!(fs::read(&output).unwrap() == bytes, "the same settings gave another file");
}
