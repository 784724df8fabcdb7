//! How quick the queue is when it is long: `cargo run --example queue_bench [QUEUED [ENDED]]`.
//!
//! Fills a database in a temporary folder with jobs (10,000 queued and 100,000
//! ended unless told otherwise), then measures what clients feel: start, submit,
//! a page of the list, cancel. Workers are puppets that never answer, so every
//! figure is the queue's own.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    Sha256, event,
    job::{AssetRef, Class, JobId, JobListParams, JobState},
};
use meshkilnd::{
    catalogue::Listed,
    collect::Limits,
    main_loop::{
        Answer, Call, Device, Event, Inbox, LoopConfig, LoopHandle, Outside, Submission, WorkerId, inbox, start,
    },
    state::{
        Setup,
        policy::{Devices, Policy},
    },
    store::{Store, blobs::BlobStore},
    worker::frames::{Command, Report},
};

struct Puppets(Inbox);

impl Outside for Puppets {
    fn spawn(&mut self, worker: WorkerId, _: &Device) {
        let report = Report::Ready { pid: 1, version: String::new(), memory: None };
        let _ = self.0.sender.try_send(Event::Worker { worker, report });
    }

    fn send(&mut self, worker: WorkerId, command: Command) {
        if let Command::Exit = command {
            let how = meshkilnd::main_loop::WorkerEnd::Exit(0);
            let _ = self.0.sender.try_send(Event::WorkerGone { worker, how });
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        let how = meshkilnd::main_loop::WorkerEnd::Signal(9);
        let _ = self.0.sender.try_send(Event::WorkerGone { worker, how });
    }

    fn deliver(&mut self, _: JobId, _: u32, _: Sha256, _: std::path::PathBuf) {}

    fn publish(&mut self, _: event::Event) {}
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse().expect("a number of jobs"));
    let n_queued: usize = arguments.next().unwrap_or(10_000);
    let n_ended: usize = arguments.next().unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("a temporary folder");

    let submission = submission(folder.path());
    let (handle, thread) = open(folder.path());
    timed(&format!("fill: {n_ended} jobs, 5,000 a call"), || {
        for _ in 0..n_ended.div_ceil(5_000) {
            submit(&handle, vec![submission.clone(); 5_000.min(n_ended)]);
        }
    });
    shutdown(&handle, thread);
    end_all(folder.path());

    let (handle, thread) = open(folder.path());
    timed(&format!("submit {n_queued} jobs in one call"), || {
        submit(&handle, vec![submission.clone(); n_queued]);
    });
    shutdown(&handle, thread);

    let (handle, thread) = timed(&format!("start with {n_queued} queued, {n_ended} ended"), || open(folder.path()));
    let reader = handle.reader().clone();
    let view = || handle.view();
    println!("queue: {:?}", view().queue);

    each("submit, one by one", 500, |_| drop(submit(&handle, vec![submission.clone()])));
    each("cancel of a queued job", 200, |_| {
        let newest = reader.jobs(&queued(1, None), &view()).expect("a page").jobs[0].id;
        handle.blocking_call(Call::Cancel(newest)).expect("it is queued");
    });
    each("job.list, first page of 50", 500, |_| drop(reader.jobs(&JobListParams::default(), &view())));
    each("job.list, 50 queued ones in the middle", 500, |_| {
        let middle = Some(JobId((n_ended + n_queued / 2) as u64));
        drop(reader.jobs(&queued(50, middle), &view()));
    });
    each("job.list, 500 queued ones", 100, |_| drop(reader.jobs(&queued(500, None), &view())));
    each("job.list, failed ones, of which there are none", 500, |_| {
        let params = JobListParams { states: vec![JobState::Failed], ..JobListParams::default() };
        drop(reader.jobs(&params, &view()));
    });
    each("job.get, last of the queue", 500, |_| {
        drop(reader.job(JobId((n_ended + n_queued) as u64), &view()));
    });
    each("asset.get by a path nobody has", 500, |_| {
        drop(reader.asset(&AssetRef { id: None, path: Some("/nowhere".to_owned()) }));
    });
    timed("clear all ended jobs", || handle.blocking_call(Call::Clear(Vec::new())).expect("clear"));
    shutdown(&handle, thread);
    let wal = std::fs::metadata(folder.path().join("queue.db-wal")).map_or(0, |found| found.len());
    let db = std::fs::metadata(folder.path().join("queue.db")).map_or(0, |found| found.len());
    println!("database {} MiB, log {} MiB", db >> 20, wal >> 20);
}

fn open(folder: &Path) -> (LoopHandle, std::thread::JoinHandle<meshkilnd::main_loop::LoopEnd>) {
    let blobs = BlobStore::open(folder.join("blobs")).expect("a blob store");
    let store = Store::open(&folder.join("queue.db"), blobs).expect("a database");
    let inbox = inbox();
    let outside = Puppets(Inbox { sender: inbox.sender.clone(), receiver: std::sync::mpsc::sync_channel(0).1 });
    let (heartbeat_timeout, live_jobs) = (Duration::from_secs(86_400), 1_000_000);
    let policy = Policy { heartbeat_timeout, live_jobs, ..Policy::default() };
    let catalogue = std::sync::Arc::new(Listed::default());
    let setup = Setup { policy, devices: Devices::only("fake"), catalogue, generator: "bench".to_owned(), seed: 1 };
    let limits = Limits::default();
    start(LoopConfig { store, setup, limits, outside: Box::new(outside), inbox }).expect("the loop starts")
}

/// As if all of them had been done.
fn end_all(folder: &Path) {
    let database = rusqlite::Connection::open(folder.join("queue.db")).expect("a database");
    let ended = "UPDATE jobs SET state = 'done', attempt = 1, finished_ms = submitted_ms + id, asset_bytes = 1,
                     started_ms = submitted_ms, asset_sha256 = source_sha256,
                     stages = (SELECT pending FROM plans WHERE id = plan), report = hex(zeroblob(500)),
                     output = CAST('/out/' || id AS BLOB), source_path = CAST('/in/' || id AS BLOB);
                 UPDATE jobs SET report = json_quote(report)";
    database.execute_batch(ended).expect("an update");
}

fn submission(folder: &Path) -> Submission {
    let blobs = BlobStore::open(folder.join("blobs")).expect("a blob store");
    let recipe = Recipe::built_in("prop").expect("built in");
    Submission {
        source_sha256: blobs.put(b"not a picture").expect("room for a blob").sha256,
        source_path: Some("/home/somebody/pictures/lanterns/lantern.png".into()),
        name: "lantern".to_owned(),
        plan: recipe.plan(&|_| false).expect("sound"),
        output: Some("/home/somebody/pictures/lanterns/lantern.glb".into()),
        class: Class::Batch,
        client: Some("bench".to_owned()),
        idempotency_key: None,
        watch: None,
    }
}

fn submit(handle: &LoopHandle, submissions: Vec<Submission>) -> Vec<JobId> {
    match handle.blocking_call(Call::Submit(submissions)) {
        Ok(Answer::Jobs(ids)) => ids,
        other => panic!("{other:?}"),
    }
}

fn queued(limit: u32, before: Option<JobId>) -> JobListParams {
    JobListParams { states: vec![JobState::Queued], before, limit: Some(limit) }
}

fn shutdown(handle: &LoopHandle, thread: std::thread::JoinHandle<meshkilnd::main_loop::LoopEnd>) {
    handle.blocking_call(Call::Shutdown { now: true }).expect("a stop is never refused");
    thread.join().expect("the loop does not panic");
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    result
}

fn each(what: &str, times: usize, mut work: impl FnMut(usize)) {
    let mut taken: Vec<Duration> = (0..times)
        .map(|n| {
            let start = Instant::now();
            work(n);
            start.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let ms = |part: f64| taken[((times - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms", ms(0.5), ms(0.99), ms(1.0));
}
