//! The daemon is killed again and again while a client submits: nothing that was
//! acknowledged is lost, and nothing is done twice.
//!
//! 200 kills; `MESHKILN_KILLS=1000` for the long form. The client sends 20 new
//! submits a second, each with an idempotency key, writes down every id that it was
//! told, and repeats with the same key whatever was not acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use meshkiln_models::slot::sha256_hex;
use meshkiln_protocol::{
    api::{Method, Submit},
    job::{Class, Job, JobId, JobState, SubmitParams},
};
use meshkiln_tests::{Daemon, Home, pass, say, submit};
use rusqlite::Connection;
use tempfile::TempDir;

const STAGES: u32 = 3;
/// Deaths in a row without a finished stage after which a job is paused.
const DEATHS: u32 = 3;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let kills: u32 = env::var("MESHKILN_KILLS").map_or(200, |n| n.parse().unwrap());
    let begun = Instant::now();
    let mut home = Home::new("fake");
    let over = AtomicBool::new(false);
    let mut rng = fastrand::Rng::with_seed(kills.into());
    let client = Client::new(home.dir.path(), home.fake_dir.path());

    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| client.run(&over));
        // Also when an assertion fails: the client must not go on for ever.
        let stop = StopOnDrop(&over);
        for n in 1..=kills {
            // Most deaths come while it serves, some while it is still starting.
            if n % 4 == 0 {
                home.start_only()
            } else {
                drop(home.start())
            }
            pass(Duration::from_micros(rng.u64(5_000..=250_000)));
            home.kill();
            if n % 50 == 0 {
                assert_eq!(integrity(&home.database()), "ok", "after {n} kills");
            }
        }
        drop(stop);
        client.join().unwrap()
    });
    let looped = begun.elapsed();

    // One more life, to the end.
    let daemon = home.start();
    let Client { acknowledged, open, pictures, .. } = client.finish(&daemon);
    assert!(open.is_empty(), "{} submits were never acknowledged", open.len());
    // A job whose daemon died too often in a row under it waits to be resumed: it
    // may be what kills the daemon. Here it is not.
    let paused = daemon.jobs(&[JobState::Paused]);
    paused.iter().for_each(|job| drop(daemon.resume(job.id)));
    daemon.until_quiet(Duration::from_secs(240));

    let jobs: BTreeMap<JobId, Job> = daemon.jobs(&[]).into_iter().map(|job| (job.id, job)).collect();
    let ids: BTreeSet<JobId> = acknowledged.values().copied().collect();
    assert_eq!(ids.len(), acknowledged.len(), "two keys share a job");
    assert_eq!(jobs.len(), acknowledged.len(), "a key has made two jobs, or a job was lost");
    for (key, id) in &acknowledged {
        let job = jobs.get(id).unwrap_or_else(|| panic!("acknowledged job {id} is lost"));
        assert!(job.source_path.as_ref().unwrap().ends_with(&format!("{key}.png")), "{key} has another's job");
        assert_eq!(job.state, JobState::Done, "{job:?}");
        let file = fs::read(job.output.as_ref().unwrap()).unwrap();
        assert_eq!(Some(sha256_hex(&file)), job.asset_sha256, "the delivered file of job {id}");
        // No worker died but with its daemon, which is no fault of the job.
        assert_eq!(job.crashes, 0, "{job:?}");
    }
    finished_once(&home.database(), ids.len());
    check_attempts(&jobs, kills);

    // A key is good for ever.
    for (key, id) in acknowledged.iter().step_by(37) {
        assert_eq!(daemon.submit(&order(&pictures, key)).id, *id);
    }
    assert_eq!(integrity(&home.database()), "ok");
    say(&format!(
        "figure: kill loop: {kills} kills in {looped:.0?}, {} jobs, 0 lost, 0 doubled, {} paused and resumed, whole test {:.0?}",
        jobs.len(),
        paused.len(),
        begun.elapsed()
    ));
}

/// Deaths of the daemon are not counted against a job, so at this rate of kills
/// three attempts do not always do. But every attempt after the first needs a kill
/// of its own, few jobs are open at once, and no job is open through more than
/// `DEATHS` in a row without getting on.
fn check_attempts(jobs: &BTreeMap<JobId, Job>, kills: u32) {
    let mut of_attempts: BTreeMap<u32, u32> = BTreeMap::new();
    jobs.values().for_each(|job| *of_attempts.entry(job.attempt).or_default() += 1);
    say(&format!("figure: kill loop: jobs by attempts: {of_attempts:?}"));
    let again: u32 = jobs.values().map(|job| job.attempt - 1).sum();
    assert!(again <= 2 * kills, "{again} attempts had to be repeated for {kills} kills");
    let most = of_attempts.last_key_value().map_or(0, |(n, _)| *n);
    let bound = 1 + DEATHS * (STAGES + 1);
    assert!(most <= bound, "{most} attempts at one job, more than {bound}");
}

/// One end in the log, one event of it: no second result was ever committed.
fn finished_once(database: &Path, n_jobs: usize) {
    let conn = Connection::open(database).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize;
    let ends = "FROM logs WHERE text = 'done'";
    assert_eq!(count(&format!("SELECT count(*) {ends}")), n_jobs);
    assert_eq!(count(&format!("SELECT count(DISTINCT job) {ends}")), n_jobs);
    let ends = r#"FROM events WHERE json_extract(body, '$.job.state') = 'done'"#;
    assert_eq!(count(&format!("SELECT count(*) {ends}")), n_jobs);
    assert_eq!(count(&format!("SELECT count(DISTINCT job) {ends}")), n_jobs);
}

/// Of a copy, so that the next daemon finds the database as the last one left it.
fn integrity(database: &Path) -> String {
    let dir = TempDir::new().unwrap();
    for end in ["", "-wal"] {
        let from = format!("{}{end}", database.display());
        if Path::new(&from).exists() {
            fs::copy(&from, dir.path().join(format!("copy.sqlite{end}"))).unwrap();
        }
    }
    let conn = Connection::open(dir.path().join("copy.sqlite")).unwrap();
    conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Client {
    home: PathBuf,
    pictures: PathBuf,
    acknowledged: BTreeMap<String, JobId>,
    /// Sent, or not yet, but not acknowledged.
    open: VecDeque<String>,
    daemon: Option<Daemon>,
}

impl Client {
    const EVERY: Duration = Duration::from_millis(50);

    fn new(home: &Path, pictures: &Path) -> Client {
        Client {
            home: home.to_owned(),
            pictures: pictures.to_owned(),
            acknowledged: BTreeMap::new(),
            open: VecDeque::new(),
            daemon: None,
        }
    }

    fn run(mut self, over: &AtomicBool) -> Client {
        let mut next = Instant::now();
        for n in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let trouble = ["", "decode sleep 20ms", "cutout progress 5 x 2ms", "export-image sleep 10ms"][n % 4];
            let key = format!("key-{n:05}");
            fs::write(self.pictures.join(format!("{key}.png")), format!("# {n}\n{trouble}\n")).unwrap();
            self.open.push_back(key);
            self.send_open();
            next += Client::EVERY;
            pass(next.saturating_duration_since(Instant::now()));
        }
        self
    }

    /// Until there is nobody to send to.
    fn send_open(&mut self) {
        while let Some(key) = self.open.front().cloned() {
            self.daemon = self.daemon.take().or_else(|| Daemon::find(&self.home));
            let Some(daemon) = &self.daemon else { return };
            let params = serde_json::to_value(order(&self.pictures, &key)).unwrap();
            match daemon.try_call_json(Submit::NAME, params) {
                Ok(Ok(job)) => {
                    let job: Job = serde_json::from_value(job).unwrap();
                    self.acknowledged.insert(key, job.id);
                    self.open.pop_front();
                }
                // The next daemon got the port of the one that we know.
                Ok(Err(refused)) if refused.code == 401 => self.daemon = None,
                Ok(Err(refused)) => panic!("{key}: {refused:?}"),
                Err(_) => self.daemon = None,
            }
        }
    }

    fn finish(mut self, daemon: &Daemon) -> Client {
        self.daemon = Daemon::find(&self.home);
        assert_eq!(self.daemon.as_ref().map(|d| d.runtime.pid), Some(daemon.runtime.pid));
        self.send_open();
        self
    }
}

fn order(pictures: &Path, key: &str) -> SubmitParams {
    SubmitParams {
        recipe: Some("cutout".to_owned()),
        class: Class::Watch,
        ..submit(&pictures.join(format!("{key}.png")), Some(key))
    }
}
