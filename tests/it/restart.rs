//! A daemon with a long history and a long queue dies: how soon the next one
//! serves and works, and how quick it is with that much to look after.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    api::JobList,
    job::{Class, JobId, JobListParams, JobState, SubmitParams},
};
use meshkiln_tests::{Home, PATIENCE, figure, percentile, say, submit, until};
use meshkilnd::{
    jobs::{Finished, Job, SharedPlan},
    main_loop::Submission,
    residency::Measures,
    state::{Changes, view::UsualTimes},
    store::{Store, Writes, blobs::BlobStore},
    worker::frames::Output,
};
use serde_json::json;

const FINISHED: u64 = 100_000;
const QUEUED: u64 = 10_000;
/// Times to reach may be passed by so much on a busy machine.
const MARGIN: u32 = 4;

#[test]
fn a_daemon_with_a_long_queue_is_soon_back() {
    let mut home = Home::new("fake");
    let begun = Instant::now();
    write_history(&home);
    let database = fs::metadata(home.database()).unwrap().len();
    say(&format!("a history of {} MiB written in {:.1?}", database >> 20, begun.elapsed()));

    // One life that dies at work.
    let first = JobId(FINISHED + 1);
    let daemon = home.start();
    until("the first is running", PATIENCE, || daemon.job(first).state == JobState::Running);
    home.kill();

    let begun = Instant::now();
    let daemon = home.start();
    figure("110,000 jobs: serving again after", begun.elapsed(), Duration::from_secs(2), MARGIN);
    until("the first is running again", PATIENCE, || {
        let job = daemon.job(first);
        job.attempt == 2 && job.state == JobState::Running
    });
    figure("110,000 jobs: first queued job started after", begun.elapsed(), Duration::from_secs(3), MARGIN);
    let queue = daemon.status().queue;
    assert_eq!((queue.queued, queue.running), (QUEUED - 1, 1));

    let list = |before: Option<u64>| {
        let params = JobListParams { before: before.map(JobId), ..JobListParams::default() };
        let begun = Instant::now();
        let page = daemon.call::<JobList>(&params);
        assert_eq!(page.jobs.len(), 50);
        begun.elapsed()
    };
    let newest: Vec<Duration> = (0..40).map(|_| list(None)).collect();
    let deep: Vec<Duration> = (1..=40).map(|n| list(Some(n * 2500))).collect();
    let ten = Duration::from_millis(10);
    figure("10,000 queued: newest page of job.list, median", percentile(&newest, 0.5), ten, 10);
    figure("10,000 queued: deep page of job.list, median", percentile(&deep, 0.5), ten, 10);

    let submits: Vec<Duration> = (0..200)
        .map(|n| {
            let source = home.write(&format!("{n}.png"), format!("# submitted {n}\n"));
            let params = SubmitParams { class: Class::Batch, ..submit(&source, Some(&format!("key-{n}"))) };
            let begun = Instant::now();
            daemon.submit(&params);
            begun.elapsed()
        })
        .collect();
    say(&format!("figure: 10,000 queued: submit p50 {:.1?}", percentile(&submits, 0.5)));
    figure("10,000 queued: submit p99", percentile(&submits, 0.99), Duration::from_millis(50), 20);

    let wal = home.path("state/queue.sqlite-wal");
    let wal = fs::metadata(wal).map_or(0, |found| found.len());
    assert!(wal <= 64 << 20, "the write-ahead log has {} MiB", wal >> 20);
    say(&format!("figure: write-ahead log: {:.1} MiB (to reach: 64)", wal as f64 / f64::from(1 << 20)));
}

/// Through the store's own ways, in a few transactions. The first queued job never
/// ends, so that all others stay queued.
fn write_history(home: &Home) {
    let blobs = BlobStore::open(home.path("cache/blobs")).unwrap();
    fs::create_dir_all(home.path("state")).unwrap();
    let mut store = Store::open(&home.database(), blobs.clone()).unwrap();
    let plan = Recipe::built_in("prop").unwrap().plan(&|_| false).unwrap();
    let plan = Arc::new(SharedPlan::new(plan));
    // Only the first queued job gets as far as reading its source.
    let source = blobs.put_many(["# never ends\ndecode hang\n".into()].into_iter()).unwrap().remove(0);
    let digest = |id: u64| match id == FINISHED + 1 {
        true => source.sha256.clone(),
        // In order: the indexes fill more quickly.
        false => format!("{id:064x}"),
    };

    let (usual, now_ms) = (UsualTimes::default(), meshkilnd::system::now_ms() - 3_600_000);
    let jobs: Vec<Job> = (1..=FINISHED + QUEUED)
        .map(|id| {
            let submission = Submission {
                source_sha256: digest(id),
                source_path: Some(home.fake_dir.path().join(format!("history-{id}.png"))),
                name: format!("history-{id}"),
                plan: plan.plan.clone(),
                output: Some(home.fake_dir.path().join(format!("history-{id}.glb"))),
                class: Class::Watch,
                client: Some("watch".to_owned()),
                idempotency_key: Some(format!("history:{id}")),
                watch: None,
            };
            let mut job = Job::new(JobId(id), submission, plan.clone(), now_ms);
            if id <= FINISHED {
                let asset = Output { sha256: digest(id), bytes: 400_000 };
                let report =
                    json!({ "triangles": 8000, "watertight": true, "iou": 0.991, "checks": vec!["passed"; 12] });
                let finished =
                    Finished { preview_sha256: Some(asset.sha256.clone()), asset: Some(asset), report: Some(report) };
                assert!(job.start(now_ms) && job.finish(finished, now_ms + id));
            }
            job
        })
        .collect();
    for part in jobs.chunks(40_000) {
        let ids: BTreeSet<JobId> = part.iter().map(|job| job.id).collect();
        let changes = Changes { new_jobs: ids.clone(), jobs: ids, ..Changes::default() };
        let logs: Vec<(JobId, String)> = part.iter().map(|job| (job.id, "attempt 1 started".to_owned())).collect();
        let next_job = part.last().unwrap().id.0 + 1;
        let writes = Writes {
            now_ms,
            changes: &changes,
            jobs: part.iter().collect(),
            next_job,
            usual: &usual,
            measures: &Measures::default(),
            events: &[],
            logs: &logs,
        };
        store.commit(&writes).unwrap();
    }
    // Not stopped in order: as after a crash.
}
