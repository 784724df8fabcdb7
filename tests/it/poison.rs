//! One picture that kills its worker, among 200 good ones.

use std::time::{Duration, Instant};

use meshkiln_protocol::{
    error::ErrorKind,
    job::{Class, JobState, SubmitParams},
};
use meshkiln_tests::{Home, say, submit};

const GOOD: usize = 200;

#[test]
fn a_poison_job_dies_alone_after_three_crashes() {
    let (alone, _) = run(None);
    let (beside, crashes) = run(Some("decode crash segv"));
    assert_eq!(crashes, 3);
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    say(&format!(
        "figure: {GOOD} good jobs take {alone:.1?}, beside a poison job {beside:.1?}: {ratio:.2} times (to reach: 1.15){}",
        if ratio > 1.15 { "  OVER THE FIGURE" } else { "" }
    ));
    // The crashes cost three starts of a worker, whatever the good jobs take.
    assert!(beside < alone.mul_f64(1.5) + Duration::from_secs(3), "{alone:?} became {beside:?}");
}

/// Time until all good jobs are done, and how often the poison job crashed.
fn run(poison: Option<&str>) -> (Duration, u32) {
    let mut home = Home::new("fake");
    let daemon = home.start();
    daemon.pause_queue();
    let order = |name: &str, text: &str| SubmitParams {
        recipe: Some("cutout".to_owned()),
        class: Class::Batch,
        ..submit(&home.write(&format!("{name}.png"), text), None)
    };
    let poison = poison.map(|trouble| daemon.submit(&order("poison", trouble)));
    let good: Vec<_> =
        (0..GOOD).map(|n| daemon.submit(&order(&format!("good-{n}"), &format!("# {n}\n* sleep 5ms\n")))).collect();

    daemon.resume_queue();
    let begun = Instant::now();
    let ended: Vec<_> = good.iter().map(|job| daemon.wait(job.id)).collect();
    let took = begun.elapsed();
    for job in ended {
        assert_eq!((job.state, job.crashes, job.attempt), (JobState::Done, 0, 1), "{job:?}");
    }
    let Some(poison) = poison else { return (took, 0) };

    let poison = daemon.wait(poison.id);
    assert_eq!(poison.state, JobState::Dead, "{poison:?}");
    let error = poison.error.unwrap();
    assert_eq!((error.kind, error.stage.as_deref()), (ErrorKind::WorkerLost, Some("decode")));
    let crashes = daemon.log(poison.id).iter().filter(|line| line.contains(": crash ")).count();
    assert_eq!(crashes as u32, poison.crashes);
    // One start of a worker for each death, and no more.
    assert_eq!(daemon.status().workers[0].restarts, poison.crashes);
    assert!(home.is_alive());
    (took, poison.crashes)
}
