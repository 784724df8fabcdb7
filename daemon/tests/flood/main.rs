//! One client that wants too much, many that do nothing, some that never read:
//! the others notice little of it. `MESHKILN_FLOOD_SECONDS` makes it longer.

#![allow(clippy::unwrap_used)] // all of it is test

#[allow(dead_code)] // the other test uses the rest
#[path = "../rpc/support.rs"]
mod support;
#[allow(dead_code)]
#[path = "../rpc/wire.rs"]
mod wire;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::runtime::{HOME_VARIABLE, RuntimeFile};
use meshkilnd::rpc::limits;
use serde_json::{Value as Json, json};

use support::TestServer;
use wire::{Door, Frame, WebSocket, frame};

const FLOOD: u64 = 10_000;

/// Memory and time are those of the machine: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole daemon as a process of its own, so that its memory is not that of
/// its clients. Stages run on the fake device.
struct Daemon {
    process: Child,
    door: Door,
    home: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshkilnd"));
        command.args(["--device", "fake"]).env(HOME_VARIABLE, home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon =
            Daemon { process: command.spawn().unwrap(), door: Door { port: 0, token: String::new() }, home };
        let announced = daemon.home.path().join("runtime").join("daemon.json");
        let deadline = Instant::now() + Duration::from_secs(20);
        let file = loop {
            let file = fs::read(&announced).ok().and_then(|bytes| serde_json::from_slice::<RuntimeFile>(&bytes).ok());
            if let Some(file) = file {
                break file;
            }
            assert!(Instant::now() < deadline, "the daemon does not serve");
            thread::park_timeout(Duration::from_millis(5));
        };
        daemon.door = Door { port: file.url.rsplit_once(':').unwrap().1.parse().unwrap(), token: file.token };
        daemon
    }

    /// A job of its own kind, so that nothing of it is known already; its stages
    /// report their progress in steps.
    fn submit(&self, socket: &mut WebSocket, n: u64) -> u64 {
        let path = self.home.path().join("picture.txt");
        fs::write(&path, format!("# {n}\ncutout progress 20 x 1ms\n")).unwrap();
        let answer = socket.call(n, "job.submit", json!({"source": {"path": path}, "recipe": "cutout"}));
        answer["result"]["id"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// A job that stays until somebody resumes it.
    fn submit_paused(&self, socket: &mut WebSocket) -> u64 {
        assert!(socket.call(1, "queue.pause", json!({}))["result"].is_object());
        let id = self.submit(socket, 0);
        assert_eq!(socket.call(2, "job.pause", json!({"id": id}))["result"]["state"], "paused");
        assert!(socket.call(3, "queue.resume", json!({}))["result"].is_object());
        id
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for(socket: &mut WebSocket, id: u64) -> Json {
    socket.call(1, "job.wait", json!({"id": id, "timeout_ms": 20_000}))["result"]["state"].clone()
}

#[test]
fn a_flood_is_held_back_and_others_are_served() {
    let _alone = alone();
    let seconds = std::env::var("MESHKILN_FLOOD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let daemon = &Daemon::start();
    let door = &daemon.door;
    let mut socket = door.web_socket();
    let first = daemon.submit(&mut socket, 1);
    assert_eq!(wait_for(&mut socket, first), "done");
    let stays = daemon.submit_paused(&mut socket);
    let rss_before = rss_bytes(Some(daemon.process.id()));

    let idle: Vec<_> = (0..500)
        .map(|i| {
            let mut stream = door.connect();
            if i % 2 == 0 {
                std::io::Write::write_all(&mut stream, b"POST / HTTP/1.1\r\nHost: 127").unwrap();
            }
            stream
        })
        .collect();
    let deaf: Vec<_> = (0..5)
        .map(|_| {
            let mut socket = door.web_socket();
            assert!(socket.call(1, "events.subscribe", json!({}))["result"].is_number());
            socket
        })
        .collect();

    let over = AtomicBool::new(false);
    let (calm, pings, busy, n_jobs) = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut socket = door.web_socket();
            let mut n = 1;
            while !over.load(Ordering::SeqCst) {
                n += 1;
                let id = daemon.submit(&mut socket, n);
                assert_eq!(wait_for(&mut socket, id), "done");
            }
            n
        });
        let mut ping = || {
            thread::park_timeout(Duration::from_millis(2));
            let start = Instant::now();
            assert!(socket.call(1, "session.hello", json!({}))["result"].is_object());
            start.elapsed()
        };
        let calm: Vec<Duration> = (0..200).map(|_| ping()).collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        let flood = scope.spawn(move || flood(door, stays, end));
        let mut pings = Vec::new();
        while !flood.is_finished() {
            pings.push(ping());
        }
        let busy = flood.join().unwrap();
        over.store(true, Ordering::SeqCst);
        (calm, pings, busy, publisher.join().unwrap())
    });
    assert_eq!(busy, FLOOD - limits::CALLS_IN_FLIGHT as u64, "calls beyond the bound were not told so");

    let (p50, p99) = (percentile(&pings, 50), percentile(&pings, 99));
    let grown = rss_bytes(Some(daemon.process.id())).saturating_sub(rss_before) >> 20;
    println!("flood: {} pings, p50 {p50:?}, p99 {p99:?}; {grown} MiB more; {n_jobs} jobs", pings.len());
    // On a machine with other work the calm pings are slow as well.
    let bound = Duration::from_millis(50).max(3 * percentile(&calm, 99));
    assert!(p99 <= bound, "pings of others: p50 {p50:?}, p99 {p99:?}");
    assert!(grown <= 50, "{grown} MiB more");
    drop((idle, deaf));

    // Whoever read nothing asks again and misses no end of a job.
    let (mut since, mut ends) = (0, 0);
    loop {
        let page = &socket.call(1, "events.poll", json!({"since": since, "limit": 1000}))["result"];
        assert_eq!(page["lost"], false);
        let events = page["events"].as_array().unwrap();
        ends += events.iter().filter(|event| event["job"]["state"] == "done").count();
        since = page["next"].as_u64().unwrap();
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(ends, n_jobs as usize);
}

/// Ten thousand calls at once that all wait for one job, kept up until `end`;
/// returns how many of them were told to come back later.
fn flood(door: &Door, job: u64, end: Instant) -> u64 {
    let mut socket = door.web_socket();
    let mut writer = socket.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..FLOOD {
                let params = json!({"id": job, "timeout_ms": 60_000});
                let call = json!({"jsonrpc": "2.0", "id": id, "method": "job.wait", "params": params}).to_string();
                std::io::Write::write_all(&mut writer, &frame(1, call.as_bytes())).unwrap();
            }
        });
        let mut busy = 0;
        while busy + (limits::CALLS_IN_FLIGHT as u64) < FLOOD {
            let answer = socket.receive_json();
            assert_eq!(answer["error"]["data"]["kind"], "busy", "{answer}");
            busy += 1;
        }
        while Instant::now() < end {
            thread::park_timeout(end - Instant::now());
        }
        busy
    })
}

#[test]
fn a_client_that_never_reads_is_not_read_from() {
    let _alone = alone();
    let server = TestServer::start();
    let rss_before = rss_bytes(None);
    let mut socket = server.web_socket();
    socket.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).to_string();
    let calls: Vec<u8> = (0..100).flat_map(|_| frame(1, call.as_bytes())).collect();
    let mut sent = 0;
    // Each call asks for tens of kilobytes. Soon nothing more must be taken.
    while std::io::Write::write_all(&mut socket.stream, &calls).is_ok() {
        sent += 100;
        assert!(sent < 2_000_000, "the server goes on reading from a client that takes nothing");
    }
    let grown = rss_bytes(None).saturating_sub(rss_before) >> 20;
    println!("deaf: {sent} calls before the socket was full, {grown} MiB more");
    assert!(grown <= 50, "{grown} MiB more");
    assert!(server.call("session.hello", json!({})).is_ok());
}

#[test]
fn strangers_cannot_lock_out_those_with_the_token() {
    let _alone = alone();
    let server = TestServer::start();
    let mut trusted = server.web_socket();
    let strangers: Vec<_> = (0..limits::CONNECTIONS + 200)
        .filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", server.port)).ok())
        .collect();
    assert!(server.call("session.hello", json!({})).is_ok(), "a new client was locked out");
    assert!(trusted.call(1, "session.hello", json!({}))["result"].is_object(), "a client was pushed out");
    // Those who are told to leave do so in their own time.
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.server.as_ref().unwrap().n_connections() > limits::CONNECTIONS {
        assert!(Instant::now() < deadline, "the pushed out do not leave");
        thread::park_timeout(Duration::from_millis(5));
    }
    drop(strangers);
    drop(trusted.stream.shutdown(std::net::Shutdown::Both));
    assert_eq!(trusted.receive().unwrap(), Frame::Closed);
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Of a process, or of this one with its clients; 0 where the system does not say.
fn rss_bytes(pid: Option<u32>) -> u64 {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let statm = fs::read_to_string(Path::new("/proc").join(process).join("statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}
