//! Real networks in the real worker: small ones of the user's own, from a folder to a finished file.

mod memory;
mod trouble;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use image::{Rgba, RgbaImage};
use meshkiln_models::export::{glb, ownership};
use meshkiln_protocol::{
    api::{EventsPoll, NoParams, StageListAll},
    event::{Event, EventBody, PollParams},
    job::{Job, JobId, JobState, Progress, StageState, SubmitParams},
    net::NetState,
    recipe::ParamKindInfo,
};
use meshkiln_tests::{
    Daemon, Home, PATIENCE, example,
    nets::{Sizes, put},
    say, stages_in, submit, until,
};

/// One picture through `net` to a file.
fn order(picture: &Path, net: &str) -> SubmitParams {
    SubmitParams {
        recipe: Some("draft".to_owned()),
        set: vec![format!("reconstruct.net={net}"), "surface.resolution=48".to_owned()],
        ..submit(picture, None)
    }
}

/// A disc, of another size and colour for each `n`.
fn picture(home: &Home, n: u32) -> PathBuf {
    let radius = 40.0 + (n % 16) as f32;
    let disc = RgbaImage::from_fn(128, 128, |x, y| {
        let inside = (x as f32 - 63.5).hypot(y as f32 - 63.5) < radius;
        Rgba([(n * 37) as u8, x as u8, y as u8, if inside { 255 } else { 0 }])
    });
    let path = home.write(&format!("disc-{n}.png"), "");
    disc.save(&path).unwrap();
    path
}

/// What has happened since, all of it.
fn events(daemon: &Daemon, since: u64, job: Option<JobId>) -> Vec<Event> {
    daemon.call::<EventsPoll>(&PollParams { since: Some(since), wait_ms: 0, limit: Some(1000), job }).events
}

fn last_event(daemon: &Daemon) -> u64 {
    daemon.call::<EventsPoll>(&PollParams::default()).next
}

fn progress(event: &Event) -> Option<&Progress> {
    match &event.body {
        EventBody::Progress { progress, .. } => Some(progress),
        _ => None,
    }
}

/// Submits and waits for the first word on the job's progress: the job, and how long that took.
fn first_progress(daemon: &Daemon, params: &SubmitParams) -> (Job, Duration) {
    let since = last_event(daemon);
    let begun = Instant::now();
    let job = daemon.submit(params);
    let deadline = begun + PATIENCE;
    let mut since = since;
    while Instant::now() < deadline {
        let params = PollParams { since: Some(since), wait_ms: 1000, limit: None, job: Some(job.id) };
        let page = daemon.call::<EventsPoll>(&params);
        if page.events.iter().any(|event| progress(event).is_some()) {
            return (job, begun.elapsed());
        }
        since = page.next;
    }
    panic!("no progress of job {} within {PATIENCE:?}", job.id);
}

fn done(daemon: &Daemon, params: &SubmitParams) -> Job {
    let job = daemon.submit(params);
    let job = daemon.wait(job.id);
    assert_eq!(job.state, JobState::Done, "{job:?}");
    job
}

#[test]
fn a_net_of_ones_own_makes_assets_and_is_loaded_once() {
    let mut home = Home::new("cpu");
    put(&home, "ball", 1, Sizes::SMALL);
    let daemon = home.start();
    let ball = daemon.until_net("ball", NetState::Cold);
    let own = ball.own.unwrap();
    assert_eq!((own.kind.as_deref(), own.license.as_deref()), (Some("triposr"), Some("CC0-1.0")));
    assert_eq!((own.used_by.as_deref(), ball.about), (Some("reconstruct.net=ball"), None));
    let words = String::from_utf8(home.cli(&["nets"]).stdout).unwrap();
    assert!(words.contains("yours, in") && words.contains("licence CC0-1.0"), "{words}");
    let stages = daemon.call::<StageListAll>(&NoParams {}).stages;
    let reconstruct = stages.iter().find(|stage| stage.id == "reconstruct").unwrap();
    let net = reconstruct.engines[0].params.iter().find(|param| param.id == "net").unwrap();
    let options = vec!["triposr".to_owned(), "ball".to_owned()];
    assert_eq!((&net.kind, &net.default), (&ParamKindInfo::Choice { options }, &serde_json::json!("triposr")));

    let lantern = home.write("lantern.png", fs::read(example("lantern.png")).unwrap());
    let first = done(&daemon, &order(&lantern, "ball"));
    let file = first.output.unwrap();
    let bytes = fs::read(&file).unwrap();
    assert!(ownership::is_ours(&bytes));
    let content = glb::read(&bytes).unwrap();
    let (low, high) = content.mesh.bounds().unwrap();
    let size = high - low;
    assert!((size.y - 1.0).abs() < 0.02 && (size.x - 1.0).abs() < 0.2 && (size.z - 1.0).abs() < 0.2, "no ball: {size}");
    let steps = content.meshkiln["plan"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["stage"] == "reconstruct").unwrap();
    assert_eq!((&step["engine"], &step["settings"]["net"]), (&"triposr".into(), &"ball".into()));
    let nets = &content.meshkiln["nets"];
    assert_eq!((&nets[0]["id"], &nets[0]["license"]), (&"ball".into(), &"CC0-1.0".into()), "{nets}");
    let warm = daemon.net("ball");
    assert_eq!((warm.state, warm.loads, warm.device.as_deref()), (NetState::Warm, 1, Some("cpu")));
    assert!(warm.resident_bytes.unwrap() > 8 << 20, "{warm:?}");

    // Another picture: the same net, neither loaded nor packed again.
    let (second, took) = first_progress(&daemon, &order(&picture(&home, 1), "ball"));
    say(&format!("figure: a job on a warm net: first progress {took:.1?} after it was asked for (to reach: 50ms)"));
    let second = daemon.wait(second.id);
    assert_eq!(second.state, JobState::Done, "{second:?}");
    let again = daemon.net("ball");
    assert_eq!((again.loads, again.load_ms), (1, warm.load_ms), "it was loaded again");

    // And a change after the net does not even run it.
    let refired = daemon.refire(Path::new(&file), &["simplify.triangles=500"]);
    let refired = daemon.wait(refired.id);
    assert_eq!(refired.state, JobState::Done, "{refired:?}");
    assert_eq!(stages_in(&refired, StageState::Cached)[..3], ["decode", "cutout", "reconstruct"]);
    assert_eq!(daemon.net("ball").loads, 1);
}

#[test]
fn progress_within_a_net_is_counted_and_cancel_ends_it_while_it_stays_warm() {
    let mut home = Home::new("cpu");
    put(&home, "slow", 2, Sizes::SLOW);
    let daemon = home.start();
    daemon.until_net("slow", NetState::Cold);
    let since = last_event(&daemon);
    // Of 120 blocks of the backbone, three of the tokenizer, and what is before and after them.
    let n_steps = 120 + 3 + 2;
    let in_net = |id: JobId| -> Vec<(u32, f32)> {
        let all = events(&daemon, since, Some(id));
        let heard = all.iter().filter_map(progress).filter(|heard| heard.stage == "reconstruct" && heard.total > 1);
        heard.inspect(|heard| assert_eq!(heard.total, n_steps)).map(|heard| (heard.done, heard.fraction)).collect()
    };
    let pid = daemon.worker_pid();
    for round in 0..2 {
        let job = daemon.submit(&order(&picture(&home, round), "slow"));
        until("the net is in the middle of its work", PATIENCE, || {
            let heard = in_net(job.id);
            heard.len() >= 4 && heard.last().is_some_and(|(done, _)| (2..n_steps).contains(done))
        });
        let heard = in_net(job.id);
        assert!(heard.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{heard:?}");
        let begun = Instant::now();
        let cancelled = daemon.cancel(job.id);
        assert_eq!(cancelled.state, JobState::Cancelled);
        until("the net is at rest", PATIENCE, || !daemon.net("slow").in_use);
        say(&format!("figure: cancelled in the middle of a net, which was at rest {:.1?} later", begun.elapsed()));
        let net = daemon.net("slow");
        assert_eq!((net.state, net.loads), (NetState::Warm, 1), "{net:?}");
        assert!(!fs::exists(job.output.unwrap()).unwrap());
    }
    let status = daemon.status();
    assert_eq!((status.workers[0].pid, status.workers[0].restarts), (pid, 0), "its worker was killed");
}
