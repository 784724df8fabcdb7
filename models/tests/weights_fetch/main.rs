//! Pulling nets from servers that cut, lie and stall, and from folders.

#![allow(clippy::unwrap_used)] // all of it is test

mod lies;
mod resume;
mod server;
#[path = "../../src/weights/pickle/test_pickles.rs"]
#[allow(dead_code)]
mod test_pickles;
mod whole;

use std::{
    cell::{Cell, RefCell},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_models::{
    cx::CancelToken,
    weights::{
        WeightsError,
        catalogue::{License, MemoryClass, Need, Net, NetFile, Role, Runs},
        fetch::{self, Installed, Phase, Presence, Progress, Pull, Source},
    },
};
use server::{Reply, Server, Then, file};
use sha2::{Digest, Sha256};

const ETAG: &str = "\"v1\"";
/// Published name of the one file of most nets here.
const NAME: &str = "model.safetensors";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random_bytes(n: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(n).collect()
}

/// A net of these files; `pinned` ones have size and sum in the catalogue.
fn net(files: &[(&'static str, &[u8], Role)], pinned: bool) -> &'static Net {
    let files = files.iter().map(|(path, bytes, role)| NetFile {
        path,
        bytes: pinned.then_some(bytes.len() as u64),
        sha256: pinned.then(|| &*sha256(bytes).leak()),
        role: *role,
    });
    Box::leak(Box::new(Net {
        id: "toy",
        doc: "A toy.",
        serves: &[Need::Image],
        engines: &[Runs { stage: "cutout", engine: "toy" }],
        repository: "owner/toy",
        revision: None,
        files: files.collect::<Vec<_>>().leak(),
        license: License { id: "MIT", says: "Anything." },
        memory: MemoryClass::Gb2To4,
        cpu_viable: true,
        speed: "Fast.",
        quality: "None.",
    }))
}

fn one(content: &[u8]) -> &'static Net {
    net(&[(NAME, content, Role::Safetensors)], true)
}

/// A world to pull in: everything that a test may want to change.
struct World {
    folder: tempfile::TempDir,
    retries: u32,
    stall: Duration,
    free: u64,
    cancel: CancelToken,
    heard: RefCell<Vec<(Phase, u64, Option<u64>)>>,
    /// Cancels when this many bytes are there.
    cancel_at: Cell<Option<u64>>,
}

fn world() -> World {
    World {
        folder: tempfile::tempdir().unwrap(),
        retries: 8,
        stall: Duration::from_secs(20),
        free: u64::MAX,
        cancel: CancelToken::default(),
        heard: RefCell::default(),
        cancel_at: Cell::default(),
    }
}

impl World {
    fn pull(&self, net: &Net, source: &Source) -> Result<Installed, WeightsError> {
        let free_bytes = |_: &Path| -> io::Result<u64> { Ok(self.free) };
        let progress = |progress: Progress| {
            self.heard.borrow_mut().push((progress.phase, progress.done, progress.total));
            if self.cancel_at.get().is_some_and(|at| progress.done >= at) {
                self.cancel.cancel();
            }
        };
        fetch::pull(
            net,
            &Pull {
                source,
                folder: self.folder.path(),
                retries: self.retries,
                stall: self.stall,
                free_bytes: &free_bytes,
                pause: &|_| {},
                cancel: &self.cancel,
                progress: &progress,
            },
        )
    }

    fn from(&self, net: &Net, server: &Server) -> Result<Installed, WeightsError> {
        self.pull(net, &Source::Hub(server.base.clone()))
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join("toy").join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.home(name).exists()
    }
}

#[test]
fn mirrors_may_have_a_prefix_and_redirect() {
    let content = random_bytes(100_000, 4);
    let (net, served) = (one(&content), content.clone());
    let server = Server::start(move |request| match request.path.as_str() {
        "/a/mirror/owner/toy/resolve/main/model.safetensors" => {
            Reply::status("302 Found\r\nLocation: /blobs/1?sig=x\r\nX-Linked-Size: 100000")
        }
        "/blobs/1?sig=x" => file(request, &served, ETAG),
        _ => Reply::status("404 Not Found"),
    });
    let world = world();
    let installed = world.pull(net, &Source::Hub(format!("{}/a/mirror/", server.base))).unwrap();
    assert_eq!(fs::read(&installed.files[0].path).unwrap(), content);
    assert_eq!(server.requests()[0].headers["accept-encoding"], "identity");
}

#[test]
fn only_secure_hubs_are_asked() {
    let world = world();
    for base in ["http://mirror.example", "ftp://mirror.example", "mirror.example"] {
        let error = world.pull(one(b"x"), &Source::Hub(base.to_owned())).unwrap_err();
        assert!(matches!(error, WeightsError::Address { .. }), "{base}: {error:?}");
    }
}

#[test]
fn cancel_stops_within_a_chunk_and_can_be_resumed() {
    let content = random_bytes(8 << 20, 5);
    let (net, served) = (one(&content), content.clone());
    let server = Server::start(move |request| file(request, &served, ETAG));
    let first = world();
    first.cancel_at.set(Some(1 << 20));
    assert_eq!(first.from(net, &server).unwrap_err(), WeightsError::Cancelled);
    let last = first.heard.borrow().last().unwrap().1;
    assert!(((1 << 20)..=(1 << 20) + (256 << 10)).contains(&last), "{last} bytes");
    assert!(!first.has(NAME));
    assert_eq!(fetch::presence(net, first.folder.path()), Presence::Partial { bytes: last });
    let again = World { cancel: CancelToken::default(), cancel_at: Cell::new(None), ..first };
    again.heard.borrow_mut().clear();
    assert!(again.from(net, &server).is_ok());
    assert_eq!(again.heard.borrow()[0], (Phase::Fetch, last, Some(8 << 20)));
}

#[test]
fn cancel_leaves_a_silent_server_at_once_and_a_stalled_one_is_left_in_time() {
    let content = random_bytes(300_000, 6);
    let (net, served) = (one(&content), content.clone());
    let server = Server::start(move |request| Reply { then: Then::Stall, ..file(request, &served, ETAG).cut(100_000) });
    let quiet = World { stall: Duration::from_secs(300), ..world() };
    let (cancel, started) = (quiet.cancel.clone(), Instant::now());
    let asked = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !asked.load(Ordering::Relaxed) && server.sent() < 100_000 {
                thread::yield_now();
            }
            cancel.cancel();
        });
        assert_eq!(quiet.from(net, &server).unwrap_err(), WeightsError::Cancelled);
        asked.store(true, Ordering::Relaxed);
    });
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let stalled = World { stall: Duration::from_millis(300), retries: 1, ..world() };
    assert!(matches!(stalled.from(net, &server), Err(WeightsError::Network { .. })));
    assert_eq!(server.requests().last().unwrap().headers["range"], "bytes=100000-");
}

#[test]
fn sums_nobody_knew_are_recorded_and_hold() {
    let (old, new) = (random_bytes(50_000, 8), random_bytes(50_000, 9));
    let net = net(&[(NAME, &old, Role::Safetensors)], false);
    let changed = Arc::new(AtomicBool::new(false));
    let now = changed.clone();
    let server = Server::start(move |request| match now.load(Ordering::Relaxed) {
        false => file(request, &old, ETAG),
        true => file(request, &new, "\"v2\""),
    });
    let world = world();
    assert!(world.from(net, &server).is_ok());
    fetch::remove(net, world.folder.path()).unwrap();
    assert!(!world.has(NAME) && fetch::presence(net, world.folder.path()) == Presence::Absent);
    assert!(world.from(net, &server).is_ok());
    fetch::remove(net, world.folder.path()).unwrap();
    changed.store(true, Ordering::Relaxed);
    let error = world.from(net, &server).unwrap_err();
    assert!(matches!(error, WeightsError::WrongBytes { what: "SHA-256", .. }), "{error:?}");
    assert!(!world.has(NAME));
}

#[test]
fn the_hubs_own_sum_counts_where_the_catalogue_has_none() {
    let content = random_bytes(50_000, 10);
    let other = sha256(b"something else");
    let (net, served) = (net(&[(NAME, &content, Role::Safetensors)], false), content.clone());
    let server = Server::start(move |request| match request.path.starts_with("/owner") {
        true => Reply::status(&format!("302 Found\r\nLocation: /blob\r\nX-Linked-ETag: \"{other}\"")),
        false => file(request, &served, ETAG),
    });
    let world = world();
    let error = world.from(net, &server).unwrap_err();
    assert!(matches!(error, WeightsError::WrongBytes { .. }), "{error:?}");
    assert!(!world.has(NAME));
}

#[test]
fn one_net_is_pulled_by_one_at_a_time() {
    let content = random_bytes(300_000, 11);
    let (net, served) = (one(&content), content.clone());
    let server = Server::start(move |request| Reply { then: Then::Stall, ..file(request, &served, ETAG).cut(100_000) });
    let first = World { stall: Duration::from_secs(300), ..world() };
    let (folder, cancel) = (first.folder.path().to_owned(), first.cancel.clone());
    thread::scope(|scope| {
        scope.spawn(|| {
            while server.sent() < 100_000 {
                thread::yield_now();
            }
            let busy = WeightsError::Busy { net: "toy".to_owned() };
            let nowhere = Source::Folder(folder.clone());
            let pull = Pull {
                source: &nowhere,
                folder: &folder,
                retries: 0,
                stall: Duration::from_secs(1),
                free_bytes: &|_| Ok(u64::MAX),
                pause: &|_| {},
                cancel: &CancelToken::default(),
                progress: &|_| {},
            };
            let results = (fetch::pull(net, &pull), fetch::remove(net, &folder));
            cancel.cancel();
            assert_eq!(results, (Err(busy.clone()), Err(busy)));
        });
        assert_eq!(first.from(net, &server).unwrap_err(), WeightsError::Cancelled);
    });
    assert!(fetch::remove(net, &folder).is_ok());
}
