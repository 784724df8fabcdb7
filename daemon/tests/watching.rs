//! The watching thread on real folders, with a queue that only remembers.
//!
//! The files are true PNGs, so that an unfinished one can be told from a whole one.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    event::EventBody,
    job::JobId,
    watch::{Watch, WatchAddParams, WatchIdParams, WatchMode},
};
use meshkilnd::{
    main_loop::{Refusal, Submission},
    store::blobs::{BlobStore, Digest},
    watch::{
        WatchHandle,
        service::{Queue, start},
        table::Table,
        watched::Times,
    },
};

#[derive(Default)]
struct Heard {
    /// Digests fired for each path, in order.
    fired: BTreeMap<PathBuf, Vec<String>>,
    outputs: BTreeSet<PathBuf>,
    keys: BTreeMap<String, JobId>,
    cancelled: Vec<JobId>,
    paths: BTreeMap<JobId, PathBuf>,
    stalled: bool,
    n_jobs: u64,
}

#[derive(Clone, Default)]
struct Memory(Arc<(Mutex<Heard>, Condvar)>);

impl Queue for Memory {
    fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<JobId>, Refusal> {
        let (lock, wake) = &*self.0;
        let mut heard = wake.wait_while(lock.lock().unwrap(), |heard| heard.stalled).unwrap();
        let mut ids = Vec::new();
        for submission in submissions {
            let key = submission.idempotency_key.clone().unwrap();
            if let Some(id) = heard.keys.get(&key) {
                ids.push(*id);
                continue;
            }
            heard.n_jobs += 1;
            let id = JobId(heard.n_jobs);
            let path = submission.source_path.unwrap();
            heard.keys.insert(key, id);
            heard.paths.insert(id, path.clone());
            heard.outputs.insert(submission.output.unwrap());
            heard.fired.entry(path).or_default().push(submission.source_sha256);
            ids.push(id);
        }
        Ok(ids)
    }

    fn cancel(&self, job: JobId) {
        self.0.0.lock().unwrap().cancelled.push(job);
    }

    fn note(&self, _body: EventBody) {}
}

struct Bench {
    queue: Memory,
    handle: WatchHandle,
    thread: Option<std::thread::JoinHandle<()>>,
    times: Times,
    state: tempfile::TempDir,
    root: tempfile::TempDir,
}

fn quick() -> Times {
    Times { quiet: Duration::from_millis(100), poll: Duration::from_millis(300), ..Times::default() }
}

impl Bench {
    fn new(times: Times) -> Bench {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let queue = Memory::default();
        let (handle, thread) = Bench::start(&state, &queue, &times);
        Bench { queue, handle, thread: Some(thread), times, state, root }
    }

    fn start(state: &tempfile::TempDir, queue: &Memory, times: &Times) -> (WatchHandle, std::thread::JoinHandle<()>) {
        let table = Table::open(&state.path().join("watches.sqlite")).unwrap();
        let blobs = BlobStore::open(state.path().join("blobs")).unwrap();
        start(
            table,
            blobs,
            Box::new(queue.clone()),
            Box::new(Recipe::built_in),
            Arc::new(|_: &str| false),
            times.clone(),
        )
        .unwrap()
    }

    fn restart(&mut self) {
        self.stop();
        let (handle, thread) = Bench::start(&self.state, &self.queue, &self.times);
        (self.handle, self.thread) = (handle, Some(thread));
    }

    fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn root(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap()
    }

    fn ask<T>(&self, question: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(question)
    }

    fn watch(&self) -> Watch {
        let path = self.root().to_str().unwrap().to_owned();
        self.ask(self.handle.add(WatchAddParams { path, recipe: None, out: None, recursive: true })).unwrap()
    }

    fn listed(&self) -> Watch {
        self.ask(self.handle.list()).unwrap().remove(0)
    }

    fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.queue.0.0.lock().unwrap())
    }

    /// Waits until `done` holds; fails with what was heard after `limit`.
    fn until(&self, what: &str, limit: Duration, done: impl Fn(&Heard) -> bool) {
        let deadline = Instant::now() + limit;
        while !self.heard(&done) {
            let n: usize = self.heard(|h| h.fired.values().map(Vec::len).sum());
            assert!(Instant::now() < deadline, "{what}: not within {limit:?}; {n} fired, watch {:?}", self.listed());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until nothing is waiting and a rescan finds nothing new.
    fn quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let before: usize = self.heard(|h| h.fired.values().map(Vec::len).sum());
            let watch = self.ask(self.handle.rescan(WatchIdParams::default())).unwrap().remove(0);
            std::thread::park_timeout(Duration::from_millis(250));
            let after: usize = self.heard(|h| h.fired.values().map(Vec::len).sum());
            if watch.counts.waiting == 0 && before == after {
                return;
            }
            assert!(Instant::now() < deadline, "never quiet: {watch:?}");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// A whole PNG that differs for every `n`.
fn png(n: u64) -> Vec<u8> {
    let image = image::RgbImage::from_fn(4, 4, |x, y| {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(x * 16 + y * 3);
        image::Rgb([mixed as u8, (mixed >> 8) as u8, (mixed >> 16) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// How bytes get into a file.
enum Put {
    Anew,
    Behind,
    Renamed,
}

fn sha(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

fn assert_each_once(heard: &Heard, expected: &BTreeMap<PathBuf, String>) {
    let missed = expected.keys().filter(|path| !heard.fired.contains_key(*path)).count();
    let doubled = heard.fired.values().filter(|digests| digests.len() > 1).count();
    assert_eq!((missed, doubled), (0, 0), "missed and doubled of {}", expected.len());
    for (path, digest) in expected {
        assert_eq!(heard.fired[path], std::slice::from_ref(digest), "{}", path.display());
    }
    assert_eq!(heard.outputs.len(), expected.len(), "two assets share a place");
}

/// 10,000 pictures by `place(i)`, written by `put`: each is one job, soon.
fn mass_drop(place: impl Fn(&Path, u64) -> PathBuf, put: impl Fn(&Path, &[u8])) {
    const N: u64 = 10_000;
    let bench = Bench::new(Times::default());
    let root = bench.root();
    bench.watch();
    let mut expected = BTreeMap::new();
    for i in 0..N {
        let path = place(&root, i);
        let bytes = png(i);
        put(&path, &bytes);
        expected.insert(path, sha(&bytes));
    }
    let start = Instant::now();
    bench.until("mass drop", Duration::from_secs(60), |heard| heard.n_jobs >= N);
    println!("10,000 pictures queued {:.1} s after the last was written", start.elapsed().as_secs_f64());
    bench.quiet();
    bench.heard(|heard| assert_each_once(heard, &expected));
}

#[test]
fn ten_thousand_into_one_folder_are_ten_thousand_jobs() {
    mass_drop(|root, i| root.join(format!("{i}.png")), |path, bytes| fs::write(path, bytes).unwrap());
}

#[test]
fn ten_thousand_in_a_new_tree_are_ten_thousand_jobs() {
    mass_drop(
        |root, i| root.join(format!("d{}/{i}.png", i / 10)),
        |path, bytes| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        },
    );
}

#[test]
fn ten_thousand_renamed_into_place_are_ten_thousand_jobs() {
    mass_drop(
        |root, i| root.join(format!("{i}.png")),
        |path, bytes| {
            let temp = path.with_extension("png.tmp");
            fs::write(&temp, bytes).unwrap();
            fs::rename(temp, path).unwrap();
        },
    );
}

#[test]
fn an_overflow_while_the_thread_is_stalled_misses_nothing() {
    const N: u64 = 30_000;
    let bench = Bench::new(quick());
    let root = bench.root();
    bench.watch();
    bench.queue.0.0.lock().unwrap().stalled = true;
    let mut expected = BTreeMap::new();
    for i in 0..N {
        let path = root.join(format!("{i}.png"));
        let bytes = png(i);
        fs::write(&path, &bytes).unwrap();
        expected.insert(path, sha(&bytes));
    }
    bench.queue.0.0.lock().unwrap().stalled = false;
    bench.queue.0.1.notify_all();
    bench.until("after the stall", Duration::from_secs(120), |heard| heard.n_jobs >= N);
    bench.quiet();
    bench.heard(|heard| assert_each_once(heard, &expected));
}

#[test]
fn unfinished_pictures_are_never_fired_and_finished_ones_once() {
    // At full length with MESHKILN_UNFINISHED=1: 500 of each kind, pauses of up to 3 s.
    let is_full = std::env::var_os("MESHKILN_UNFINISHED").is_some();
    let (n_files, longest_pause_ms) = if is_full { (1500, 3000) } else { (600, 400) };
    let bench = Bench::new(Times { quiet: quick().quiet * if is_full { 5 } else { 1 }, ..quick() });
    let root = bench.root();
    bench.watch();
    let mut random = fastrand::Rng::with_seed(11);
    let mut expected = BTreeMap::new();
    // Each file is a list of (time, chunk); pauses are longer than `quiet`.
    let mut steps: Vec<(Duration, PathBuf, Vec<u8>, Put)> = Vec::new();
    for i in 0..n_files {
        let path = root.join(format!("{i}.png"));
        let bytes = png(i);
        let mut at = Duration::from_millis(random.u64(0..500));
        if i % 3 == 2 {
            // Written under another name and renamed, as most programs save.
            steps.push((at, path.clone(), bytes.clone(), Put::Renamed));
            expected.insert(path, sha(&bytes));
            continue;
        }
        if i % 3 == 1 {
            // Written whole, truncated and written anew: two contents, both whole.
            let first = png(i + 1_000_000);
            steps.push((at, path.clone(), first, Put::Anew));
            at += Duration::from_millis(random.u64(0..longest_pause_ms));
            steps.push((at, path.clone(), Vec::new(), Put::Anew));
        }
        for (k, chunk) in bytes.chunks(bytes.len().div_ceil(10)).enumerate() {
            at += Duration::from_millis(random.u64(0..longest_pause_ms));
            let put = if k == 0 { Put::Anew } else { Put::Behind };
            steps.push((at, path.clone(), chunk.to_vec(), put));
        }
        expected.insert(path, sha(&bytes));
    }
    steps.sort_by_key(|(at, ..)| *at);
    let start = Instant::now();
    for (at, path, chunk, put) in steps {
        while start.elapsed() < at {
            std::thread::park_timeout(at.saturating_sub(start.elapsed()));
        }
        match put {
            Put::Anew => fs::write(&path, chunk).unwrap(),
            Put::Behind => fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&chunk).unwrap(),
            Put::Renamed => {
                fs::write(path.with_extension("tmp"), chunk).unwrap();
                fs::rename(path.with_extension("tmp"), path).unwrap();
            }
        }
    }
    bench.until("all finished", Duration::from_secs(30), |heard| {
        expected.iter().all(|(path, digest)| heard.fired.get(path).and_then(|d| d.last()) == Some(digest))
    });
    bench.quiet();
    bench.heard(|heard| {
        for (path, digests) in &heard.fired {
            let n: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let whole = [sha(&png(n)), sha(&png(n + 1_000_000))];
            assert!(digests.iter().all(|d| whole.contains(d)), "{} was fired unfinished", path.display());
            let mut once = digests.clone();
            once.dedup();
            assert_eq!(&once, digests, "{} was fired twice", path.display());
        }
    });
}

#[test]
fn without_notices_everything_is_found_by_listing() {
    let bench = Bench::new(Times { always_poll: true, ..quick() });
    let root = bench.root();
    for i in 0..500 {
        fs::write(root.join(format!("{i}.png")), png(i)).unwrap();
    }
    assert_eq!(bench.watch().mode, WatchMode::Polling);
    bench.until("standing files", Duration::from_secs(20), |heard| heard.n_jobs == 500);
    for i in 500..600 {
        fs::write(root.join(format!("{i}.png")), png(i)).unwrap();
    }
    bench.until("new files", Duration::from_secs(20), |heard| heard.n_jobs == 600);
}

#[test]
fn a_restart_fires_what_is_new_and_nothing_twice() {
    let mut bench = Bench::new(quick());
    let root = bench.root();
    bench.watch();
    fs::write(root.join("a.png"), png(1)).unwrap();
    bench.until("first", Duration::from_secs(10), |heard| heard.n_jobs == 1);
    bench.quiet();
    bench.stop();
    fs::write(root.join("a.png"), png(1)).unwrap();
    fs::write(root.join("b.png"), png(2)).unwrap();
    bench.restart();
    bench.until("second", Duration::from_secs(10), |heard| heard.n_jobs == 2);
    bench.quiet();
    assert_eq!(bench.heard(|heard| heard.n_jobs), 2);
    assert_eq!(bench.listed().counts.fired, 2);
}

#[test]
fn a_vanished_picture_takes_its_job_back_and_an_unmounted_root_takes_back_nothing() {
    let bench = Bench::new(quick());
    let root = bench.root();
    bench.watch();
    fs::write(root.join("a.png"), png(1)).unwrap();
    fs::write(root.join("b.png"), png(2)).unwrap();
    bench.until("both", Duration::from_secs(10), |heard| heard.n_jobs == 2);
    fs::remove_file(root.join("a.png")).unwrap();
    bench.until("taken back", Duration::from_secs(10), |heard| heard.cancelled.len() == 1);
    assert!(bench.heard(|heard| heard.paths[&heard.cancelled[0]].ends_with("a.png")));

    // As when a drive is unmounted: another, empty folder is there instead.
    let aside = bench.state.path().join("aside");
    fs::rename(&root, &aside).unwrap();
    fs::create_dir(&root).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.ask(bench.handle.rescan(WatchIdParams::default())).unwrap()[0].mode != WatchMode::Missing {
        assert!(Instant::now() < deadline, "the empty folder is taken for the real one");
    }
    fs::remove_dir(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    fs::write(root.join("c.png"), png(3)).unwrap();
    bench.until("it is back", Duration::from_secs(10), |heard| heard.n_jobs == 3);
    bench.quiet();
    assert_eq!(bench.heard(|heard| (heard.n_jobs, heard.cancelled.len())), (3, 1));
}

#[test]
fn broken_folder_rules_hold_their_folder_back_and_nobody_else() {
    let bench = Bench::new(quick());
    let root = bench.root();
    bench.watch();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("sub/.meshkiln.toml"), "recipe = \"porp\"").unwrap();
    fs::write(root.join("sub/a.png"), png(1)).unwrap();
    fs::write(root.join("b.png"), png(2)).unwrap();
    bench.until("the other", Duration::from_secs(10), |heard| heard.n_jobs == 1);
    let problem = bench.listed().problem.unwrap();
    assert!(problem.contains("sub/.meshkiln.toml: line 1") && problem.contains("porp"), "{problem}");
    fs::write(root.join("sub/.meshkiln.toml"), "recipe = \"cutout\"").unwrap();
    bench.until("mended", Duration::from_secs(10), |heard| heard.n_jobs == 2);
    assert!(bench.heard(|heard| heard.outputs.contains(&root.join("sub/a.cutout.png"))));
    bench.quiet();
    assert_eq!(bench.listed().problem, None);
}

#[test]
fn seeded_chaos_ends_as_a_model_of_the_folder_says() {
    for seed in 0..5 {
        let bench = Bench::new(quick());
        let root = bench.root();
        bench.watch();
        let mut random = fastrand::Rng::with_seed(seed);
        let folders = ["", "x", "x/y", "z"];
        let mut model: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        let mut n = seed * 100_000;
        for _ in 0..400 {
            let folder = root.join(folders[random.usize(0..folders.len())]);
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{}.png", random.u8(0..20)));
            match random.u8(0..10) {
                0..5 => {
                    n += 1;
                    fs::write(&path, png(n)).unwrap();
                    model.insert(path, png(n));
                }
                5..7 => {
                    n += 1;
                    let temp = folder.join(".new");
                    fs::write(&temp, png(n)).unwrap();
                    fs::rename(temp, &path).unwrap();
                    model.insert(path, png(n));
                }
                7 => {
                    if model.remove(&path).is_some() {
                        fs::remove_file(&path).unwrap();
                    }
                }
                8 => {
                    let to = folder.join(format!("{}.png", random.u8(0..20)));
                    if let Some(bytes) = model.remove(&path) {
                        fs::rename(&path, &to).unwrap();
                        model.insert(to, bytes);
                    }
                }
                _ => {
                    // The whole folder is moved away and back under another name.
                    let (from, to) = (root.join("z"), root.join("w"));
                    if from.exists() && !to.exists() {
                        fs::rename(&from, &to).unwrap();
                        let moved: Vec<PathBuf> = model.keys().filter(|p| p.starts_with(&from)).cloned().collect();
                        for old in moved {
                            let bytes = model.remove(&old).unwrap();
                            model.insert(to.join(old.strip_prefix(&from).unwrap()), bytes);
                        }
                    }
                }
            }
            if random.u8(0..40) == 0 {
                std::thread::park_timeout(Duration::from_millis(random.u64(0..150)));
            }
        }
        bench.until(&format!("seed {seed}"), Duration::from_secs(20), |heard| {
            model.iter().all(|(path, bytes)| heard.fired.get(path).and_then(|d| d.last()) == Some(&sha(bytes)))
        });
    }
}
