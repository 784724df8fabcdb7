//! One client that wants too much, many that do nothing, some that never read:
//! the others notice little of it. `MESHKILN_FLOOD_SECONDS` makes it longer.

#![allow(clippy::unwrap_used)] // all of it is test

#[allow(dead_code)] // the other test uses the rest
#[path = "../rpc/support.rs"]
mod support;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::job::JobState;
use meshkilnd::rpc::limits;
use serde_json::json;

use support::{Frame, Held, TestServer, frame};

const FLOOD: u64 = 10_000;

/// Memory is that of the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_flood_is_held_back_and_others_are_served() {
    let _alone = alone();
    let seconds = std::env::var("MESHKILN_FLOOD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let held = Held::new();
    let server = TestServer::start_with(|module| held.add(module));
    let server = &server;
    let rss_before = rss_bytes();
    let idle: Vec<_> = (0..500)
        .map(|i| {
            let mut stream = server.connect();
            if i % 2 == 0 {
                std::io::Write::write_all(&mut stream, b"POST / HTTP/1.1\r\nHost: 127").unwrap();
            }
            stream
        })
        .collect();
    let deaf: Vec<_> = (0..5)
        .map(|_| {
            let mut socket = server.web_socket();
            assert!(socket.call(1, "events.subscribe", json!({}))["result"].is_number());
            socket
        })
        .collect();

    let over = AtomicBool::new(false);
    let (calm, pings, busy, n_jobs) = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::SeqCst) {
                let id = server.queue.add(None);
                server.queue.set_state(id, JobState::Done);
                n += 1;
                for done in 0..20 {
                    server.queue.progress(id.0, done);
                }
                thread::park_timeout(Duration::from_millis(2));
            }
            n
        });
        let mut socket = server.web_socket();
        let mut ping = || {
            thread::park_timeout(Duration::from_millis(2));
            let start = Instant::now();
            assert!(socket.call(1, "session.hello", json!({}))["result"].is_object());
            start.elapsed()
        };
        let calm: Vec<Duration> = (0..200).map(|_| ping()).collect();
        let flood = scope.spawn(|| flood(server));
        let mut pings = Vec::new();
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end || !flood.is_finished() {
            pings.push(ping());
        }
        let busy = flood.join().unwrap();
        over.store(true, Ordering::SeqCst);
        (calm, pings, busy, publisher.join().unwrap())
    });
    assert_eq!(busy, FLOOD - limits::CALLS_IN_FLIGHT as u64, "calls beyond the bound were not told so");
    assert!(held.most.load(Ordering::SeqCst) <= limits::CALLS_IN_FLIGHT);

    let (p50, p99) = (percentile(&pings, 50), percentile(&pings, 99));
    let grown = rss_bytes().saturating_sub(rss_before) >> 20;
    println!("flood: {} pings, p50 {p50:?}, p99 {p99:?}; {grown} MiB more; {n_jobs} jobs", pings.len());
    // On a machine with other work the calm pings are slow as well.
    let bound = Duration::from_millis(50).max(3 * percentile(&calm, 99));
    assert!(p99 <= bound, "pings of others: p50 {p50:?}, p99 {p99:?}");
    assert!(grown <= 50, "{grown} MiB more");
    drop((idle, deaf));

    // Whoever read nothing asks again and misses no end of a job.
    let (mut since, mut ends) = (0, 0);
    loop {
        let page = server.call("events.poll", json!({"since": since, "limit": 1000})).unwrap();
        assert_eq!(page["lost"], false);
        let events = page["events"].as_array().unwrap();
        ends += events.iter().filter(|event| event["job"]["state"] == "done").count();
        since = page["next"].as_u64().unwrap();
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(ends, n_jobs);
}

/// All calls at once; returns how many were told to come back later.
fn flood(server: &TestServer) -> u64 {
    let mut socket = server.web_socket();
    let mut writer = socket.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..FLOOD {
                let call = json!({"jsonrpc": "2.0", "id": id, "method": "test.holds"}).to_string();
                std::io::Write::write_all(&mut writer, &frame(1, call.as_bytes())).unwrap();
            }
        });
        let mut busy = 0;
        while busy + (limits::CALLS_IN_FLIGHT as u64) < FLOOD {
            let answer = socket.receive_json();
            assert_eq!(answer["error"]["data"]["kind"], "busy", "{answer}");
            busy += 1;
        }
        busy
    })
}

#[test]
fn a_client_that_never_reads_is_not_read_from() {
    let _alone = alone();
    let server = TestServer::start();
    let rss_before = rss_bytes();
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
    let grown = rss_bytes().saturating_sub(rss_before) >> 20;
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

/// Of this process, clients included; 0 where the system does not say.
fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}
