//! The queue with real worker processes, on the fake device: whatever a worker
//! does, every job ends as it should and the others never notice.

#![allow(clippy::unwrap_used)] // all of it is test

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    error::ErrorKind,
    event::{self, EventBody},
    job::{Class, Job, JobId, JobState, StageState},
};
use meshkilnd::{
    catalogue::Listed,
    collect::Limits,
    deliver::Deliverer,
    main_loop::{Answer, Call, LoopConfig, LoopEnd, LoopHandle, Submission, inbox, start},
    outside::World,
    state::{
        Setup,
        policy::{Devices, Policy},
    },
    store::{Store, blobs::BlobStore},
    worker::supervise::Workers,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Daemon {
    handle: LoopHandle,
    thread: Option<JoinHandle<LoopEnd>>,
    blobs: BlobStore,
    told: Receiver<event::Event>,
    ended: BTreeMap<JobId, Job>,
}

impl Daemon {
    fn start(folder: &Path) -> Daemon {
        // Shorter than in life, so that the tests are.
        let policy = Policy {
            crash_delay: Duration::from_millis(50),
            heartbeat_timeout: Duration::from_secs(3),
            cancel_grace: Duration::from_secs(1),
            ..Policy::default()
        };
        let blobs = BlobStore::open(folder.join("blobs")).unwrap();
        let store = Store::open(&folder.join("queue.db"), blobs.clone()).unwrap();
        let inbox = inbox();
        let (tell, told) = channel();
        let exe = PathBuf::from(env!("CARGO_BIN_EXE_meshkilnd"));
        let world = World {
            workers: Workers::new(exe, folder.join("blobs"), folder.join("nets"), inbox.sender.clone()),
            deliverer: Deliverer::new(blobs.clone(), inbox.sender.clone()),
            publish: move |event| drop(tell.send(event)),
        };
        let catalogue = std::sync::Arc::new(Listed::default());
        let setup = Setup { policy, devices: Devices::only("fake"), catalogue, generator: "test".to_owned(), seed: 1 };
        let config = LoopConfig { store, setup, limits: Limits::default(), outside: Box::new(world), inbox };
        let (handle, thread) = start(config).unwrap();
        Daemon { handle, thread: Some(thread), blobs, told, ended: BTreeMap::new() }
    }

    /// `trouble` is what the fake device does with it.
    fn submit(&self, name: &str, trouble: &str, output: Option<PathBuf>) -> JobId {
        let source = format!("# {name}\n{trouble}\n");
        let submission = Submission {
            source_sha256: self.blobs.put(source.as_bytes()).unwrap().sha256,
            source_path: None,
            name: name.to_owned(),
            plan: Recipe::built_in("cutout").unwrap().plan(&|_| false).unwrap(),
            output,
            class: Class::Interactive,
            client: None,
            idempotency_key: None,
            watch: None,
        };
        match self.handle.blocking_call(Call::Submit(vec![submission])) {
            Ok(Answer::Jobs(ids)) => ids[0],
            other => panic!("{other:?}"),
        }
    }

    fn end_of(&mut self, id: JobId) -> Job {
        let until = Instant::now() + PATIENCE;
        while !self.ended.contains_key(&id) {
            let left = until.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left).map(|event| event.body) {
                Ok(EventBody::Job { job }) if job.state.is_final() => drop(self.ended.insert(job.id, *job)),
                Ok(_) => {}
                Err(_) => panic!("job {id} does not end: {:?}", self.handle.reader().log(id)),
            }
        }
        self.ended[&id].clone()
    }

    /// Until a job's stage runs in a worker.
    fn wait_for_stage(&mut self, id: JobId, stage: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left).map(|event| event.body) {
                Ok(EventBody::Progress { id: found, progress }) if found == id && progress.stage == stage => return,
                Ok(_) => {}
                Err(_) => panic!("job {id} does not get to {stage}"),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.handle.blocking_call(Call::Shutdown { now: true });
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn finished_files_appear_and_equal_work_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let first = daemon.submit("lantern", "", Some(folder.path().join("out/lantern.png")));
    let job = daemon.end_of(first);
    assert_eq!((job.state, job.attempt), (JobState::Done, 1));
    let asset = daemon.blobs.get(job.asset_sha256.unwrap().parse().unwrap()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("out/lantern.png")).unwrap(), asset);

    let again = daemon.submit("lantern", "", None);
    let job = daemon.end_of(again);
    assert!(job.stages.iter().all(|stage| stage.state == StageState::Cached), "{:?}", job.stages);
}

#[test]
fn a_poisoned_job_is_dead_after_three_crashes_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let segv = daemon.submit("segv", "cutout crash segv", None);
    let panic = daemon.submit("panic", "decode panic", None);
    let garbage = daemon.submit("garbage", "cutout garbage", None);
    let once = daemon.submit("exits", "decode crash exit", None);
    let good: Vec<JobId> = (0..30).map(|n| daemon.submit(&format!("good {n}"), "", None)).collect();
    for id in good {
        let job = daemon.end_of(id);
        assert_eq!((job.state, job.attempt, job.crashes), (JobState::Done, 1, 0));
    }
    for id in [segv, panic, garbage, once] {
        let job = daemon.end_of(id);
        assert_eq!((job.state, job.attempt, job.crashes), (JobState::Dead, 3, 3), "{:?}", job.error);
        assert_eq!(job.error.unwrap().kind, ErrorKind::WorkerLost);
    }
}

#[test]
fn a_frozen_worker_is_found_out_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let frozen = daemon.submit("frozen", "decode freeze", None);
    let good = daemon.submit("good", "", None);
    assert_eq!(daemon.end_of(good).state, JobState::Done);
    daemon.handle.blocking_call(Call::Cancel(frozen)).unwrap();
    let job = daemon.end_of(frozen);
    assert_eq!(job.state, JobState::Cancelled);
    assert!(job.crashes >= 1);
}

#[test]
fn a_stage_that_does_not_obey_is_cancelled_at_once_and_its_worker_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let deaf = daemon.submit("deaf", "decode hang ignore-cancel", None);
    daemon.wait_for_stage(deaf, "decode");
    let start = Instant::now();
    daemon.handle.blocking_call(Call::Cancel(deaf)).unwrap();
    assert_eq!(daemon.end_of(deaf).state, JobState::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let next = daemon.submit("next", "", None);
    assert_eq!(daemon.end_of(next).state, JobState::Done);
    assert_eq!(daemon.handle.view().workers[0].restarts, 1);

    let obeys = daemon.submit("obeys", "decode hang", None);
    daemon.wait_for_stage(obeys, "decode");
    daemon.handle.blocking_call(Call::Cancel(obeys)).unwrap();
    let next = daemon.submit("after", "", None);
    assert_eq!(daemon.end_of(next).state, JobState::Done);
    assert_eq!(daemon.handle.view().workers[0].restarts, 1, "who obeys is not killed");
}

#[test]
fn a_worker_that_lies_about_its_results_cannot_keep_a_job_going_round() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let missing = daemon.submit("missing", "decode lie missing", None);
    let good = daemon.submit("good", "", None);
    assert_eq!(daemon.end_of(good).state, JobState::Done);
    let job = daemon.end_of(missing);
    assert_eq!(job.state, JobState::Failed, "{:?}", job.error);
    assert_eq!(job.error.unwrap().kind, ErrorKind::Storage);
}

#[test]
fn an_error_of_the_picture_is_told_as_the_stage_said_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let bad = daemon.submit("bad", "cutout error no_object", None);
    let job = daemon.end_of(bad);
    let error = job.error.unwrap();
    assert_eq!(
        (job.state, error.kind, error.stage.as_deref()),
        (JobState::Failed, ErrorKind::NoObject, Some("cutout"))
    );
    assert_eq!(job.attempt, 1);
    let log = daemon.handle.reader().log(bad).unwrap().unwrap();
    assert!(log.lines.iter().any(|line| line.text.starts_with("failed in cutout")), "{log:?}");
}
