use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    asset::AssetListParams,
    daemon::QueueStatus,
    event::{Event, EventBody},
    job::{AssetRef, Class, JobListParams, Progress, StageRun, StageState},
};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    jobs::{Finished, SharedPlan},
    main_loop::Submission,
    state::{Changes, Made, view::View},
};

struct Bench {
    folder: TempDir,
    store: Store,
    plan: Arc<SharedPlan>,
    usual: UsualTimes,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
        let plan = Recipe::built_in("cutout").unwrap().plan(&|_| false).unwrap();
        Bench { folder, store, plan: Arc::new(SharedPlan::new(plan)), usual: UsualTimes::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    fn reopen(self) -> Bench {
        let Bench { folder, store, plan, usual } = self;
        drop(store);
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
        Bench { folder, store, plan, usual }
    }

    fn job(&self, id: u64) -> Job {
        let submission = Submission {
            source_sha256: format!("source {id}"),
            source_path: Some(format!("/in/{id}.png").into()),
            name: format!("job {id}"),
            plan: self.plan.plan.clone(),
            output: Some(format!("/out/{id}.png").into()),
            class: Class::Interactive,
            client: Some("test".to_owned()),
            idempotency_key: None,
            watch: None,
        };
        Job::new(JobId(id), submission, self.plan.clone(), 1000 + id)
    }

    fn done(&self, id: u64) -> Job {
        let mut job = self.job(id);
        job.start(2000 + id);
        let asset = Output { sha256: format!("asset {id}"), bytes: 7 };
        let preview_sha256 = Some(format!("preview {id}"));
        job.finish(Finished { asset: Some(asset), preview_sha256, report: Some(json!({ "id": id })) }, 3000 + id);
        job
    }

    fn write(
        &mut self,
        changes: Changes,
        jobs: &[&Job],
        events: &[Event],
        logs: &[(JobId, String)],
    ) -> Result<(), StoreError> {
        self.store.commit(&Writes {
            now_ms: 5000,
            changes: &changes,
            jobs: jobs.to_vec(),
            next_job: jobs.iter().map(|job| job.id.0 + 1).max().unwrap_or(1),
            usual: &self.usual,
            events,
            logs,
        })
    }

    fn insert(&mut self, jobs: &[&Job]) -> Result<(), StoreError> {
        let new_jobs: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        self.write(Changes { new_jobs, ..Changes::default() }, jobs, &[], &[])
    }

    fn update(&mut self, job: &Job) -> Result<(), StoreError> {
        self.write(Changes::default(), &[job], &[], &[])
    }

    fn result(&mut self, key: &str, blobs: &[(&str, &str, u64)], now_ms: u64) {
        let output =
            |&(slot, sha256, bytes): &(&str, &str, u64)| (slot.to_owned(), Output { sha256: sha256.to_owned(), bytes });
        let made = Made { stage: "decode".to_owned(), outputs: blobs.iter().map(output).collect() };
        let changes = Changes { results: [(key.to_owned(), made)].into(), ..Changes::default() };
        self.store
            .commit(&Writes {
                now_ms,
                changes: &changes,
                jobs: Vec::new(),
                next_job: 1,
                usual: &self.usual,
                events: &[],
                logs: &[],
            })
            .unwrap();
    }

    fn ids(&self, params: JobListParams) -> (Vec<u64>, Option<u64>) {
        let page = self.store.reader().jobs(&params, &View::default()).unwrap();
        (page.jobs.iter().map(|job| job.id.0).collect(), page.next.map(|id| id.0))
    }
}

fn queue_event(seq: u64) -> Event {
    Event { seq, time_ms: seq, body: EventBody::Queue { queue: QueueStatus::default() } }
}

#[test]
fn a_job_comes_back_as_it_was() {
    let mut bench = Bench::new();
    let mut odd = bench.job(3);
    odd.class = Class::Batch;
    odd.client = None;
    odd.source_path = Some(odd_path());
    odd.idempotency_key = Some("k".to_owned());
    odd.start(9);
    odd.requeue(Some(99));
    odd.crashes = 1;
    odd.errors = 2;
    odd.daemon_deaths = 2;
    let mut running = bench.job(2);
    running.start(8);
    running.stages[0].state = StageState::Cached;
    bench.insert(&[&bench.done(1), &running, &odd]).unwrap();

    let loaded = bench.store.load(true).unwrap();
    assert_eq!(loaded.jobs, [running, odd]);
    assert!(Arc::ptr_eq(&loaded.jobs[0].plan, &loaded.jobs[1].plan), "plans are kept once");
    assert_eq!((loaded.next_job, loaded.unclean), (4, true));
    assert_eq!(bench.store.job(JobId(1)), Some(bench.done(1)));
    let wire = bench.store.reader().job(JobId(1), &View::default()).unwrap().unwrap();
    assert_eq!(wire, bench.done(1).wire());
    assert_eq!(bench.store.reader().job(JobId(9), &View::default()).unwrap(), None);
}

#[test]
fn an_ended_job_is_fenced_off_from_late_writes() {
    let mut bench = Bench::new();
    let done = bench.done(1);
    bench.insert(&[&done]).unwrap();

    let mut late = bench.job(1);
    late.start(0);
    late.cancel(1);
    assert!(matches!(bench.update(&late), Err(StoreError::Fenced { job: JobId(1), attempt: 1 })));
    assert_eq!(bench.store.job(JobId(1)), Some(done));

    // An earlier attempt is stale even while the job is live.
    let mut second = bench.job(2);
    second.start(0);
    second.requeue(None);
    second.start(1);
    bench.insert(&[&second]).unwrap();
    let mut stale = bench.job(2);
    stale.start(0);
    assert!(matches!(bench.update(&stale), Err(StoreError::Fenced { .. })));

    // What else was in the turn has not happened either.
    let new = bench.job(3);
    let changes = Changes { new_jobs: [JobId(3)].into(), ..Changes::default() };
    assert!(bench.write(changes, &[&new, &stale], &[], &[]).is_err());
    assert_eq!(bench.store.job(JobId(3)), None);
}

#[test]
fn only_a_retry_leaves_a_final_state() {
    let mut bench = Bench::new();
    let mut job = bench.job(1);
    job.start(0);
    job.cancel(1);
    bench.insert(&[&job]).unwrap();
    job.retry();
    assert!(bench.update(&job).is_err());
    let changes = Changes { retried: [JobId(1)].into(), ..Changes::default() };
    bench.write(changes, &[&job], &[], &[]).unwrap();
    assert_eq!(bench.store.job(JobId(1)).unwrap().state, JobState::Queued);
}

#[test]
fn an_idempotency_key_belongs_to_one_job() {
    let mut bench = Bench::new();
    let mut first = bench.job(1);
    first.idempotency_key = Some("k".to_owned());
    bench.insert(&[&first]).unwrap();
    assert_eq!(bench.store.job_with_key("k"), Some(JobId(1)));
    assert_eq!(bench.store.job_with_key("other"), None);

    let mut second = bench.job(2);
    second.idempotency_key = Some("k".to_owned());
    assert!(bench.insert(&[&second]).is_err());
    assert_eq!(bench.store.job(JobId(2)), None);
}

#[test]
fn pages_cover_every_job_once_also_when_filtered() {
    let mut bench = Bench::new();
    let mut jobs: Vec<Job> = (1..=7).map(|id| bench.job(id)).collect();
    jobs[2].start(0);
    jobs[2].cancel(0);
    jobs[5].start(0);
    jobs.push(bench.done(8));
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();

    let page = |before: Option<u64>, states: &[JobState]| {
        let before = before.map(JobId);
        bench.ids(JobListParams { states: states.to_vec(), before, limit: Some(3) })
    };
    assert_eq!(page(None, &[]), (vec![8, 7, 6], Some(6)));
    assert_eq!(page(Some(6), &[]), (vec![5, 4, 3], Some(3)));
    assert_eq!(page(Some(3), &[]), (vec![2, 1], None));
    assert_eq!(page(None, &[JobState::Queued]), (vec![7, 5, 4], Some(4)));
    assert_eq!(page(Some(4), &[JobState::Queued]), (vec![2, 1], None));
    let some = [JobState::Cancelled, JobState::Done, JobState::Running, JobState::Done];
    assert_eq!(page(None, &some), (vec![8, 6, 3], None));
    assert_eq!(bench.ids(JobListParams { limit: Some(0), ..JobListParams::default() }).0, [8]);
}

#[test]
fn queued_jobs_know_their_position_and_running_ones_their_progress() {
    let mut bench = Bench::new();
    let mut jobs: Vec<Job> = (1..=6).map(|id| bench.job(id)).collect();
    jobs[0].start(0);
    jobs[1].class = Class::Batch;
    jobs[3].class = Class::Watch;
    jobs[5].class = Class::Watch;
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    let progress = Progress { stage: "decode".to_owned(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
    let view = View { progress: [(JobId(1), progress.clone())].into(), ..View::default() };

    let reader = bench.store.reader();
    let page = reader.jobs(&JobListParams::default(), &view).unwrap();
    let positions: Vec<_> = page.jobs.iter().map(|job| (job.id.0, job.position)).collect();
    // Interactive 3, 5, then watch 4, 6, then batch 2.
    let expected = [(6, Some(3)), (5, Some(1)), (4, Some(2)), (3, Some(0)), (2, Some(4)), (1, None)];
    assert_eq!(positions, expected);
    assert_eq!(page.jobs[5].progress, Some(progress));
    for (id, position) in expected {
        assert_eq!(reader.job(JobId(id), &view).unwrap().unwrap().position, position);
    }
}

#[test]
fn an_asset_is_found_by_id_output_and_source_newest_first() {
    let mut bench = Bench::new();
    let mut again = bench.done(2);
    again.output = Some("/out/1.png".into());
    let mut swapped = bench.done(3);
    swapped.source_path = Some("/out/1.png".into());
    let (first, other) = (bench.done(1), bench.job(4));
    bench.insert(&[&first, &again, &swapped, &other]).unwrap();

    let reader = bench.store.reader();
    let by_path = |path: &str| {
        let asset = AssetRef { id: None, path: Some(path.to_owned()) };
        reader.asset(&asset).unwrap().map(|asset| asset.id.0)
    };
    assert_eq!(by_path("/out/1.png"), Some(3));
    assert_eq!(by_path("/in/1.png"), Some(1));
    assert_eq!(by_path("/in/4.png"), None, "job 4 is not done");
    let by_id = |id| reader.asset(&AssetRef { id: Some(JobId(id)), path: None }).unwrap();
    assert_eq!(by_id(4), None);
    let asset = by_id(1).unwrap();
    assert_eq!((asset.sha256.as_str(), asset.bytes, asset.path.as_deref()), ("asset 1", 7, Some("/out/1.png")));

    let page = reader.assets(&AssetListParams { before: None, limit: Some(2) }).unwrap();
    assert_eq!((page.assets.iter().map(|a| a.id.0).collect::<Vec<_>>(), page.next), (vec![3, 2], Some(JobId(2))));
    assert_eq!(reader.submission(JobId(1)).unwrap().unwrap().plan, bench.plan.plan);
}

#[test]
fn event_numbers_rise_over_restarts_and_gaps_are_told() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    let told = Event { seq: 2, time_ms: 2, body: EventBody::Job { job: Box::new(job.wire()) } };
    let progress = Progress { stage: "decode".to_owned(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
    let fleeting = Event { seq: 3, time_ms: 3, body: EventBody::Progress { id: JobId(1), progress } };
    let events = [queue_event(1), told.clone(), fleeting, queue_event(4)];
    let changes = Changes { new_jobs: [JobId(1)].into(), ..Changes::default() };
    bench.write(changes, &[&job], &events, &[]).unwrap();

    let reader = bench.store.reader();
    let seqs = |since, limit, job: Option<u64>| {
        let page = reader.events(since, limit, job.map(JobId)).unwrap();
        (page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), page.next, page.lost)
    };
    assert_eq!(seqs(0, 10, None), (vec![1, 2, 4], 4, false));
    assert_eq!(seqs(0, 2, None), (vec![1, 2], 2, false));
    assert_eq!(seqs(0, 10, Some(1)), (vec![2], 2, false));
    assert_eq!(seqs(7, 10, None), (vec![], 7, false));
    assert_eq!(reader.events(1, 1, None).unwrap().events, [told]);

    assert_eq!(bench.store.trim_events(1, 1).unwrap(), 1);
    assert_eq!(seqs(0, 10, None), (vec![2, 4], 4, true));
    assert_eq!(seqs(1, 10, None), (vec![2, 4], 4, false));
    assert_eq!(bench.store.trim_events(1, 5).unwrap(), 1);
    assert_eq!(bench.store.trim_events(1, 5).unwrap(), 0);

    // Killed: numbers that may have been told are not told again.
    let mut bench = bench.reopen();
    assert!(bench.store.was_unclean());
    let after_crash = bench.store.last_seq();
    assert!(after_crash >= 4);
    bench.write(Changes::default(), &[], &[queue_event(after_crash + 1)], &[]).unwrap();
    let Bench { folder, store, .. } = bench;
    store.stop(after_crash + 1).unwrap();
    let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
    let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
    assert!(!store.was_unclean());
    assert_eq!(store.last_seq(), after_crash + 1, "a clean stop wastes no number");
}

#[test]
fn a_log_keeps_its_last_lines_and_goes_with_its_job() {
    let mut bench = Bench::new();
    let done = bench.done(1);
    bench.insert(&[&done, &bench.job(2)]).unwrap();
    let lines: Vec<_> = (0..250).map(|n| (JobId(1), format!("line {n}"))).collect();
    bench.write(Changes::default(), &[], &[], &lines).unwrap();
    bench.write(Changes::default(), &[], &[], &[(JobId(9), "no such job".to_owned())]).unwrap();
    let log = bench.store.reader().log(JobId(1)).unwrap().unwrap();
    assert_eq!(log.lines.len(), 200);
    assert_eq!((log.lines[0].text.as_str(), log.lines[199].text.as_str()), ("line 50", "line 249"));
    assert_eq!(bench.store.reader().log(JobId(2)).unwrap().unwrap().lines, []);

    let changes = Changes { clear: vec![JobState::Done, JobState::Failed], ..Changes::default() };
    assert_eq!(bench.store.count(&changes.clear, &BTreeSet::new()), 1);
    assert_eq!(bench.store.count(&changes.clear, &[JobId(1)].into()), 0);
    bench.write(changes, &[], &[], &[]).unwrap();
    assert_eq!(bench.store.reader().log(JobId(1)).unwrap(), None);
    let left: i64 = bench.store.conn.query_row("SELECT count(*) FROM logs", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    assert!(bench.store.job(JobId(2)).is_some());
}

#[test]
fn results_are_kept_replaced_and_forgotten() {
    let mut bench = Bench::new();
    bench.result("k", &[("image", "a", 5), ("mesh", "b", 6)], 1);
    bench.result("k", &[("image", "c", 7)], 2);
    let outputs = Outputs::from([("image".to_owned(), Output { sha256: "c".to_owned(), bytes: 7 })]);
    assert_eq!(Stored::result(&bench.store, "k"), Some(outputs));
    assert!(!bench.store.refers_to("a").unwrap());
    let changes = Changes { forgotten: ["k".to_owned()].into(), ..Changes::default() };
    bench.write(changes, &[], &[], &[]).unwrap();
    assert_eq!(Stored::result(&bench.store, "k"), None);

    bench.usual.learn("decode", "built-in", 100);
    bench.usual.learn("decode", "built-in", 200);
    let usual = [("decode".to_owned(), "built-in".to_owned())].into();
    bench.write(Changes { usual, queue_paused: Some(true), ..Changes::default() }, &[], &[], &[]).unwrap();
    let loaded = bench.store.load(false).unwrap();
    assert_eq!(loaded.usual.of("decode", "built-in"), Some(120.0));
    assert!(loaded.queue_paused);
}

#[test]
fn the_least_recently_used_results_go_first_down_to_nine_tenths() {
    let mut bench = Bench::new();
    for n in 0..10 {
        bench.result(&format!("k{n}"), &[("image", &format!("b{n}"), 10)], n);
    }
    let touched = Changes { touched: ["k0".to_owned()].into(), ..Changes::default() };
    bench.write(touched, &[], &[], &[]).unwrap();
    assert_eq!(bench.store.evict_results(100, 50).unwrap(), Vec::<String>::new());
    assert_eq!(bench.store.evict_results(99, 1).unwrap(), ["b1"]);
    assert_eq!(bench.store.evict_results(99, 50).unwrap(), ["b2"]);
    assert_eq!(bench.store.evict_results(99, 50).unwrap(), Vec::<String>::new());
    assert_eq!(bench.store.result_bytes(), 80);
    bench.store.recount_results().unwrap();
    assert_eq!(bench.store.result_bytes(), 80);
    assert!(Stored::result(&bench.store, "k0").is_some());
}

#[test]
fn old_jobs_are_forgotten_by_age_and_by_number_and_their_plans_with_them() {
    let mut bench = Bench::new();
    let done: Vec<Job> = (1..=6).map(|id| bench.done(id)).collect();
    bench.insert(&done.iter().chain([&bench.job(7)]).collect::<Vec<_>>()).unwrap();
    assert_eq!(bench.store.forget_jobs(100, 3003, 1).unwrap(), 1);
    assert_eq!(bench.store.forget_jobs(100, 3003, 10).unwrap(), 1);
    assert_eq!(bench.store.forget_jobs(100, 3003, 10).unwrap(), 0);
    assert_eq!(bench.store.forget_jobs(1, 0, 2).unwrap(), 2);
    assert_eq!(bench.store.forget_jobs(1, 0, 9).unwrap(), 1);
    assert_eq!(bench.ids(JobListParams::default()).0, [7, 6]);

    let plans = |bench: &Bench| -> i64 {
        bench.store.conn.query_row("SELECT count(*) FROM plans", [], |row| row.get(0)).unwrap()
    };
    bench.store.forget_plans().unwrap();
    assert_eq!(plans(&bench), 1);
    bench.store.conn.execute("DELETE FROM jobs", []).unwrap();
    bench.store.forget_plans().unwrap();
    assert_eq!(plans(&bench), 0);
}

#[test]
fn a_full_disk_refuses_the_turn_and_nothing_else() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.done(1)]).unwrap();
    let pages: i64 = bench.store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    bench.store.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();

    let jobs: Vec<Job> = (2..200).map(|id| bench.job(id)).collect();
    let error = bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(&error, StoreError::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)));
    assert!(!error.is_fatal());
    assert!(bench.store.probe().is_err());
    assert_eq!(bench.ids(JobListParams::default()).0, [1], "reads go on, and nothing of the turn is there");

    bench.store.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    bench.store.probe().unwrap();
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(bench.store.load(false).unwrap().jobs.len(), 198);
}

#[test]
fn only_a_disk_that_lies_ends_the_daemon() {
    let fatal = |code| {
        let error = ffi::Error::new(code);
        StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, None)).is_fatal()
    };
    assert!(fatal(ffi::SQLITE_IOERR_FSYNC));
    assert!(fatal(ffi::SQLITE_IOERR_DIR_FSYNC));
    assert!(fatal(ffi::SQLITE_IOERR_READ));
    assert!(fatal(ffi::SQLITE_CORRUPT));
    assert!(!fatal(ffi::SQLITE_FULL));
    assert!(!fatal(ffi::SQLITE_IOERR_WRITE));
    assert!(!fatal(ffi::SQLITE_IOERR_SHMSIZE));
    assert!(!fatal(ffi::SQLITE_BUSY));
    assert!(!fatal(ffi::SQLITE_READONLY));
}

#[test]
fn whatever_was_committed_is_there_after_a_crash_at_any_moment() {
    let mut bench = Bench::new();
    let copies = tempfile::tempdir().unwrap();
    for id in 1..=20 {
        bench.insert(&[&bench.job(id)]).unwrap();
        // As the disk would be found: main file and log, without the shared memory.
        let copy = copies.path().join(format!("{id}.db"));
        fs::copy(bench.path(), &copy).unwrap();
        fs::copy(with_suffix(&bench.path(), "-wal"), with_suffix(&copy, "-wal")).unwrap();
    }
    for id in 1..=20 {
        let blobs = BlobStore::open(copies.path().join("blobs")).unwrap();
        let path = copies.path().join(format!("{id}.db"));
        let store = Store::open(&path, blobs).unwrap();
        assert!(store.was_unclean());
        assert_eq!(store.load(true).unwrap().jobs.len(), id);
        assert_eq!(damage(&path), None);
    }
}

#[test]
fn a_torn_log_loses_only_what_was_not_committed() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1)]).unwrap();
    let durable = fs::metadata(with_suffix(&bench.path(), "-wal")).unwrap().len();
    bench.insert(&[&bench.job(2)]).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let log = fs::read(with_suffix(&bench.path(), "-wal")).unwrap();
    for cut in [durable as usize + 1, (durable as usize + log.len()) / 2, log.len() - 1] {
        let copy = copies.path().join(format!("{cut}.db"));
        fs::copy(bench.path(), &copy).unwrap();
        fs::write(with_suffix(&copy, "-wal"), &log[..cut]).unwrap();
        let store = Store::open(&copy, BlobStore::open(copies.path().join("blobs")).unwrap()).unwrap();
        let jobs = store.load(true).unwrap().jobs;
        assert_eq!(jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [1], "cut at {cut}");
    }
}

#[test]
fn damage_is_found() {
    let mut bench = Bench::new();
    let jobs: Vec<Job> = (1..2000).map(|id| bench.job(id)).collect();
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    bench.store.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let path = bench.path();
    drop(bench.store);
    assert_eq!(damage(&path), None);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    assert!(damage(&path).unwrap().contains("is damaged"));
}

#[test]
fn a_database_from_the_future_is_left_alone() {
    let bench = Bench::new();
    bench.store.conn.pragma_update(None, "user_version", 99).unwrap();
    let path = bench.path();
    drop(bench.store);
    let blobs = BlobStore::open(bench.folder.path().join("blobs")).unwrap();
    match Store::open(&path, blobs) {
        Err(StoreError::Newer { found: 99, known }) => assert!(known < 99),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn the_settings_are_those_that_survive_a_power_cut() {
    let bench = Bench::new();
    let text = |pragma| bench.store.conn.pragma_query_value(None, pragma, |row| row.get::<_, String>(0)).unwrap();
    let number = |pragma| bench.store.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("journal_mode"), "wal");
    assert_eq!(number("synchronous"), 2, "FULL");
    assert_eq!(number("foreign_keys"), 1);
    assert_eq!(number("trusted_schema"), 0);
    assert_eq!(number("mmap_size"), 0);
    assert_eq!(number("journal_size_limit"), 64 << 20);
}

#[test]
fn a_plan_this_version_does_not_know_is_said_so() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1), &bench.done(2)]).unwrap();
    bench.store.conn.execute("UPDATE plans SET json = replace(json, 'cutout', 'cutuot')", []).unwrap();
    let loaded = bench.store.load(false).unwrap();
    assert_eq!(loaded.jobs.len(), 0);
    assert_eq!(loaded.unreadable[0].0.id, JobId(1));
    assert!(loaded.unreadable[0].1.message.contains("cutuot"), "{}", loaded.unreadable[0].1);
    // Still shown, still an asset.
    let wire = bench.store.reader().job(JobId(2), &View::default()).unwrap().unwrap();
    assert_eq!(wire.recipe, "cutout");
    let pending = StageRun {
        stage: "decode".to_owned(),
        engine: "built-in".to_owned(),
        state: StageState::Pending,
        elapsed_ms: None,
    };
    assert_eq!(wire.stages[0], pending);
    assert!(matches!(bench.store.reader().submission(JobId(2)), Err(StoreError::Plan(_))));
}

#[test]
fn readers_do_not_wait_for_the_writer() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1)]).unwrap();
    let reader = bench.store.reader();
    let tx = Transaction::new(&mut bench.store.conn, TransactionBehavior::Immediate).unwrap();
    tx.execute("DELETE FROM jobs", []).unwrap();
    let start = std::time::Instant::now();
    assert!(reader.job(JobId(1), &View::default()).unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(2));
    tx.commit().unwrap();
    assert!(reader.job(JobId(1), &View::default()).unwrap().is_none());
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Not UTF-8 where that is possible.
fn odd_path() -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(b"/in/caf\xe9.png").into()
    }
    #[cfg(not(unix))]
    "C:\\in\\caf\u{e9}.png".into()
}
