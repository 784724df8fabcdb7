//! The loop with a real database and blob store, and puppets for workers.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, SyncSender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use meshkiln_models::stage;
use meshkiln_protocol::{
    Sha256,
    daemon::WorkerState,
    error::ErrorKind,
    event::{self, EventBody},
    job::{Job, JobId, JobListParams, JobState},
};
use rusqlite::Connection;
use serde_json::json;

use super::{
    Answer, Call, Device, Event, LoopConfig, LoopEnd, LoopHandle, Outside, Submission, WorkerEnd, WorkerId, inbox,
    start,
};
use crate::{
    collect::Limits,
    small_disk::SmallDisk,
    state::{
        Outputs, Setup,
        policy::{Devices, Policy},
        scripts,
    },
    store::{Store, blobs::BlobStore},
    worker::frames::{self, Command, Output, Report},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon's loop in a folder. Dropped, it is told to stop.
struct Bench {
    folder: PathBuf,
    handle: LoopHandle,
    thread: Option<JoinHandle<LoopEnd>>,
    blobs: BlobStore,
    told: Receiver<event::Event>,
    seen: Vec<event::Event>,
    /// While true, workers take work and never answer.
    hold: Arc<Mutex<bool>>,
}

/// Workers that answer at once, from within the loop's own thread.
struct Puppets {
    inbox: SyncSender<Event>,
    blobs: BlobStore,
    told: Sender<event::Event>,
    hold: Arc<Mutex<bool>>,
}

impl Outside for Puppets {
    fn spawn(&mut self, worker: WorkerId, _: &Device) {
        let report = Report::Ready { pid: 1, version: "test".to_owned(), memory: None };
        self.inbox.try_send(Event::Worker { worker, report }).unwrap();
    }

    fn send(&mut self, worker: WorkerId, command: Command) {
        let event = match command {
            Command::Run(_) if *self.hold.lock().unwrap() => return,
            Command::Run(run) => {
                let outputs = put_outputs(&self.blobs, &run);
                let report = scripts::done(run.run, outputs, 1);
                Event::Worker { worker, report }
            }
            Command::Exit => Event::WorkerGone { worker, how: WorkerEnd::Exit(0) },
            Command::Ask(_)
            | Command::Cancel { .. }
            | Command::Trim
            | Command::Load { .. }
            | Command::Unload { .. } => return,
        };
        self.inbox.try_send(event).unwrap();
    }

    fn kill(&mut self, worker: WorkerId) {
        self.inbox.try_send(Event::WorkerGone { worker, how: WorkerEnd::Signal(9) }).unwrap();
    }

    fn deliver(&mut self, job: JobId, attempt: u32, _: Sha256, _: PathBuf) {
        self.inbox.try_send(Event::Delivered { job, attempt, result: Ok(()) }).unwrap();
    }

    fn publish(&mut self, event: event::Event) {
        // The test may have ended.
        let _ = self.told.send(event);
    }
}

fn put_outputs(blobs: &BlobStore, run: &frames::Run) -> Outputs {
    let put = |slot: &meshkiln_models::slot::Slot| {
        let bytes = json!({ "slot": slot.id(), "from": run.inputs }).to_string();
        let blob = blobs.put(bytes.as_bytes()).unwrap();
        (slot.id().to_owned(), Output { sha256: blob.sha256, bytes: blob.bytes })
    };
    stage::find(&run.stage).unwrap().writes.iter().map(put).collect()
}

impl Bench {
    fn start(folder: &Path) -> Bench {
        Bench::start_with(folder, Policy::default(), Limits::default(), |_| ())
    }

    fn start_with(folder: &Path, policy: Policy, limits: Limits, prepare: impl FnOnce(&mut Store)) -> Bench {
        let blobs = BlobStore::open(folder.join("blobs")).unwrap();
        let mut store = Store::open(&folder.join("queue.db"), blobs.clone()).unwrap();
        prepare(&mut store);
        let inbox = inbox();
        let (tell, told) = channel();
        let hold = Arc::new(Mutex::new(false));
        let outside = Puppets { inbox: inbox.sender.clone(), blobs: blobs.clone(), told: tell, hold: hold.clone() };
        let setup = Setup { policy, devices: Devices::only("fake"), ..scripts::setup() };
        let config = LoopConfig { store, setup, limits, outside: Box::new(outside), inbox };
        let (handle, thread) = start(config).unwrap();
        Bench { folder: folder.to_owned(), handle, thread: Some(thread), blobs, told, seen: Vec::new(), hold }
    }

    fn submission(&self, name: &str) -> Submission {
        let source_sha256 = self.blobs.put(name.as_bytes()).unwrap().sha256;
        Submission { source_sha256, ..scripts::submission(name, "cutout") }
    }

    fn submit(&self, name: &str) -> JobId {
        match self.handle.blocking_call(Call::Submit(vec![self.submission(name)])) {
            Ok(Answer::Jobs(ids)) => ids[0],
            other => panic!("{other:?}"),
        }
    }

    fn job(&self, id: JobId) -> Job {
        self.handle.reader().job(id, &self.handle.view()).unwrap().unwrap()
    }

    /// Until an event for which `ended` holds has been told.
    fn wait(&mut self, what: &str, ended: impl Fn(&EventBody) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.last().is_some_and(|event| ended(&event.body)) {
            let left = until.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(event) => self.seen.push(event),
                Err(_) => panic!("waited in vain for: {what}\n{:#?}", self.seen),
            }
        }
    }

    fn wait_for(&mut self, id: JobId, state: JobState) {
        self.wait(state.id(), |body| matches!(body, EventBody::Job { job } if job.id == id && job.state == state));
    }

    /// Until the loop has shown something for which `holds` is true.
    fn wait_view(&self, what: &str, holds: impl Fn(&crate::state::view::View) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut view = self.handle.view.clone();
        let waited = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, view.wait_for(|view| holds(view))).await.is_ok_and(|seen| seen.is_ok())
        });
        assert!(waited, "waited in vain for: {what}\n{:?}", self.handle.view());
    }

    fn stop(mut self) -> LoopEnd {
        self.handle.blocking_call(Call::Shutdown { now: true }).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.handle.blocking_call(Call::Shutdown { now: true });
            let _ = thread.join();
        }
    }
}

#[test]
fn a_job_goes_through_and_is_told_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(folder.path());
    let id = bench.submit("lantern");
    bench.wait_for(id, JobState::Done);

    let states: Vec<&str> = bench
        .seen
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::Job { job } => Some(job.state.id()),
            _ => None,
        })
        .collect();
    assert_eq!(states, ["queued", "running", "done"]);
    let seqs: Vec<u64> = bench.seen.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let job = bench.job(id);
    assert_eq!(job.state, JobState::Done);
    let asset = job.asset_sha256.unwrap().parse().unwrap();
    assert!(bench.blobs.contains(asset));

    // Whatever was told, progress apart, can be polled.
    let told: Vec<event::Event> =
        bench.seen.iter().filter(|event| !matches!(event.body, EventBody::Progress { .. })).cloned().collect();
    let mut polled = bench.handle.reader().events(0, 100, None).unwrap().events;
    polled.retain(|event| event.seq <= told.last().unwrap().seq);
    assert_eq!(polled, told);
    assert_eq!(bench.stop(), LoopEnd::Stopped);
}

#[test]
fn an_answer_means_that_the_job_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path());
    *bench.hold.lock().unwrap() = true;
    for n in 0..20 {
        let id = bench.submit(&format!("picture {n}"));
        // Another connection, as another process would see it.
        let other = Connection::open(bench.folder.join("queue.db")).unwrap();
        let found: i64 =
            other.query_row("SELECT count(*) FROM jobs WHERE id = ?1", [id.0 as i64], |row| row.get(0)).unwrap();
        assert_eq!(found, 1);
    }
}

#[test]
fn callers_at_once_with_one_key_get_one_job() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path());
    let (submission, handle) = (bench.submission("same"), bench.handle.clone());
    let ids: Vec<Vec<JobId>> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let (submission, handle) = (submission.clone(), handle.clone());
                let submit = move |key: usize| {
                    let submission = Submission { idempotency_key: Some(key.to_string()), ..submission.clone() };
                    match handle.blocking_call(Call::Submit(vec![submission])) {
                        Ok(Answer::Jobs(ids)) => ids[0],
                        other => panic!("{other:?}"),
                    }
                };
                scope.spawn(move || (0..10).map(submit).collect::<Vec<_>>())
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|answers| *answers == ids[0]), "{ids:?}");
    let page = bench.handle.reader().jobs(&JobListParams::default(), &bench.handle.view()).unwrap();
    assert_eq!(page.jobs.len(), 10);
}

#[test]
fn a_daemon_that_was_killed_goes_on_where_it_was() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bench = Bench::start(first.path());
    let done = bench.submit("done before");
    bench.wait_for(done, JobState::Done);
    *bench.hold.lock().unwrap() = true;
    let ids: Vec<JobId> = (0..5).map(|n| bench.submit(&format!("open {n}"))).collect();
    bench.wait_view("a busy worker", |view| view.workers[0].state == WorkerState::Busy);
    let last_seq = bench.handle.view().seq;
    copy_folder(first.path(), second.path());

    let mut bench = Bench::start(second.path());
    for id in ids.iter().rev() {
        let expected = *id;
        if bench.job(expected).state != JobState::Done {
            bench.wait_for(expected, JobState::Done);
        }
    }
    assert_eq!(bench.job(done).attempt, 1, "what was done is not done again");
    assert_eq!(bench.job(ids[0]).attempt, 2);
    assert_eq!(bench.job(ids[1]).attempt, 1);
    assert!(bench.seen[0].seq > last_seq, "numbers go on");
}

#[test]
fn after_a_stop_in_order_nothing_is_suspected_and_callers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path());
    let handle = bench.handle.clone();
    assert_eq!(bench.stop(), LoopEnd::Stopped);
    let refusal = handle.blocking_call(Call::PauseQueue).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::ShuttingDown);
    let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
    assert!(!Store::open(&folder.path().join("queue.db"), blobs).unwrap().was_unclean());
}

#[test]
fn while_nothing_can_be_written_calls_are_refused_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { write_probe: Duration::from_millis(20), ..Policy::default() };
    let impatient = |store: &mut Store| store.set_busy_timeout(Duration::from_millis(10));
    let mut bench = Bench::start_with(folder.path(), policy, Limits::default(), impatient);
    let before = bench.submit("before");
    bench.wait_for(before, JobState::Done);
    *bench.hold.lock().unwrap() = true;
    let running = bench.submit("running");

    // Somebody else holds the database.
    let mut other = Connection::open(folder.path().join("queue.db")).unwrap();
    let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let refusal = bench.handle.blocking_call(Call::Submit(vec![bench.submission("refused")])).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Storage);
    let again = bench.handle.blocking_call(Call::Cancel(before)).unwrap_err();
    assert_eq!(again.kind, ErrorKind::Storage);
    assert_eq!(bench.job(before).state, JobState::Done);
    assert!(bench.handle.view().problems[0].contains("cannot be written"), "{:?}", bench.handle.view());

    *bench.hold.lock().unwrap() = false;
    drop(lock);
    bench.wait_view("health", |view| view.problems.is_empty());
    if bench.job(running).state != JobState::Done {
        bench.wait_for(running, JobState::Done);
    }
    assert_eq!(bench.job(running).crashes, 0, "the disk's fault is not the job's");
    let after = bench.submit("after");
    bench.wait_for(after, JobState::Done);
    let page = bench.handle.reader().jobs(&JobListParams::default(), &bench.handle.view()).unwrap();
    assert_eq!(page.jobs.len(), 3, "the refused job does not exist");
}

#[test]
fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let policy = Policy { write_probe: Duration::from_millis(20), ..Policy::default() };
    let mut bench = Bench::start_with(disk.path(), policy, Limits::default(), |_| ());
    let first = bench.submit("first");
    bench.wait_for(first, JobState::Done);
    let submission = bench.submission("waits for room");
    let filler = disk.path().join("filler");
    fill(&filler);

    // What the log file already has room for is still written.
    let refusal = (0..10_000)
        .find_map(|_| bench.handle.blocking_call(Call::Submit(vec![submission.clone(); 20])).err())
        .expect("a full disk");
    assert_eq!(refusal.kind, ErrorKind::Storage);
    assert_eq!(bench.job(first).state, JobState::Done);

    fs::remove_file(&filler).unwrap();
    bench.wait_view("room", |view| view.problems.is_empty());
    let last = bench.submit("last");
    bench.wait_for(last, JobState::Done);
}

#[test]
fn shutdown_works_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let bench = Bench::start_with(disk.path(), Policy::default(), Limits::default(), |_| ());
    let submission = bench.submission("no room");
    fill(&disk.path().join("filler"));
    while bench.handle.blocking_call(Call::Submit(vec![submission.clone(); 50])).is_ok() {}
    assert_eq!(bench.stop(), LoopEnd::Stopped);
}

#[test]
fn a_full_inbox_is_busy_and_a_loop_that_is_gone_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path());
    let inbox = inbox();
    // The same handle, but nobody takes anything out.
    let handle = LoopHandle { inbox: inbox.sender.clone(), ..bench.handle.clone() };
    while inbox.sender.try_send(Event::Tick).is_ok() {}
    assert_eq!(handle.blocking_call(Call::PauseQueue).unwrap_err().kind, ErrorKind::Busy);
    handle.note(EventBody::Stopping);
    drop(inbox.receiver);
    assert_eq!(handle.blocking_call(Call::PauseQueue).unwrap_err().kind, ErrorKind::ShuttingDown);
    let Ok(Answer::Queue(queue)) = bench.handle.blocking_call(Call::ResumeQueue) else { panic!("no answer") };
    assert!(!queue.paused, "the refused calls have changed nothing");
}

#[test]
fn what_nobody_refers_to_is_collected_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        result_bytes: 0,
        upload_grace: Duration::from_secs(3600),
        orphan_grace: Duration::ZERO,
        interval: Duration::from_millis(1),
        ..Limits::default()
    };
    let bench = Bench::start(folder.path());
    let old = bench.blobs.put(b"an upload nobody used").unwrap();
    let young = bench.blobs.put(b"an upload of just now").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
    let path = bench.blobs.dir().join(&old.sha256[..2]).join(&old.sha256);
    fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(bench.stop(), LoopEnd::Stopped);

    let mut bench = Bench::start_with(folder.path(), Policy::default(), limits, |_| ());
    let id = bench.submit("kept");
    bench.wait_for(id, JobState::Done);
    let job = bench.job(id);
    let asset = job.asset_sha256.unwrap();
    let sum = |blobs: &BlobStore| blobs.iter().map(|entry| entry.unwrap().bytes).sum::<u64>();
    let kept: u64 = [&asset, &job.source_sha256, &young.sha256]
        .into_iter()
        .map(|sha256| bench.blobs.len(sha256.parse().unwrap()).unwrap())
        .sum();
    // The worker's heartbeat is not there to make the loop turn, so calls do.
    let until = Instant::now() + PATIENCE;
    while sum(&bench.blobs) != kept {
        assert!(Instant::now() < until, "{} bytes are left, {kept} are wanted", sum(&bench.blobs));
        bench.handle.blocking_call(Call::ResumeQueue).unwrap();
    }
    assert!(!bench.blobs.contains(old.digest().unwrap()));
}

fn fill(path: &Path) {
    let mut bytes = vec![7; 64 << 10];
    let mut file = fs::File::create(path).unwrap();
    while !bytes.is_empty() {
        if std::io::Write::write_all(&mut file, &bytes).is_err() {
            bytes.truncate(bytes.len() / 2);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        // A crash leaves no shared memory behind.
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
