//! Broken input of every kind. Seeded; `MESHKILN_FUZZ` multiplies the rounds.
//! Nothing panics but what panics on purpose, every request is answered, and the
//! server lives on.

use std::{
    fs,
    io::{Read, Write},
    panic,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use meshkiln_protocol::api::METHODS;
use serde_json::{Map, Value as Json, json};

use crate::support::{TOKEN, TestServer, WebSocket, frame, read_answer, request};

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = info.payload().downcast_ref::<&str>() == Some(&"on purpose");
            let is_test = std::thread::current().name().is_some_and(|name| name.contains("::"));
            if !is_ours && !is_test {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            if !is_ours {
                usual(info);
            }
        }));
    });
}

fn rounds(n: usize) -> usize {
    n * std::env::var("MESHKILN_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A sound request of every method.
fn samples() -> Vec<(&'static str, Json)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/snapshots");
    let sample = |name: &str| {
        let text = fs::read_to_string(format!("{folder}/{name}.params.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    METHODS.iter().map(|method| (method.name, sample(method.name))).collect()
}

#[test]
fn strange_parameters_are_always_answered() {
    count_panics();
    let server = TestServer::start();
    let samples = samples();
    let mut random = Rng::with_seed(0x5eed_0001);
    let mut socket = server.web_socket();
    let start = Instant::now();
    let n = rounds(4_000);
    for id in 0..n as u64 {
        let (method, sample) = &samples[random.usize(..samples.len())];
        let mut params = sample.clone();
        for _ in 0..=random.usize(..3) {
            spoil(&mut params, &mut random);
        }
        let slow = matches!(*method, "job.wait" | "events.poll");
        if slow && let Some(params) = params.as_object_mut() {
            params.retain(|name, _| !name.ends_with("_ms"));
            params.insert(if *method == "job.wait" { "timeout_ms" } else { "wait_ms" }.into(), json!(1));
        }
        let asked = Instant::now();
        let answer = socket.call(id, method, params.clone());
        assert_eq!(answer["id"], id, "{method} {params}: {answer}");
        assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{answer}");
        if let Some(error) = answer.get("error") {
            assert!(error["data"]["kind"].is_string() && error["data"]["hint"].is_string(), "{answer}");
            assert_ne!(error["code"], -32603, "{method} {params}: {answer}");
        }
        assert!(asked.elapsed() < Duration::from_secs(1), "{method} {params} took {:?}", asked.elapsed());
    }
    println!("{n} calls with strange parameters in {:?}", start.elapsed());
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn spoilt_requests_are_always_answered() {
    count_panics();
    let server = TestServer::start();
    let samples = samples();
    let mut random = Rng::with_seed(0x5eed_0002);
    let own = server.headers();
    let mut headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("Content-Type", "application/json"));
    let mut stream = server.connect();
    let mut socket = server.web_socket();
    for round in 0..rounds(3_000) {
        let (method, sample) = &samples[random.usize(..samples.len())];
        let call = json!({"jsonrpc": "2.0", "id": round, "method": method, "params": sample});
        let call = if random.bool() { call } else { json!([call, {"jsonrpc": "2.0", "method": method}]) };
        // Waiting is not what is tried here.
        let text = call.to_string().replace("25000", "1").replace("30000", "1");
        let bytes = spoil_bytes(text.into_bytes(), &mut random);

        stream.write_all(&request("POST", "/", &headers, &bytes)).unwrap();
        let answer = read_answer(&mut stream, false).unwrap();
        assert!(matches!(answer.status, 200 | 204 | 400), "{answer:?}");
        assert!(answer.body.is_empty() || answer.json().is_object() || answer.json().is_array());
        if round % 10 == 0 {
            // Over a WebSocket answers may come in any order, or not at all for what
            // turned into a notification: a sound call must get through all the same.
            socket.send_bytes(&frame(1 + u8::from(random.u8(..) == 0), &bytes));
            ping(&mut socket, 1_000_000 + round as u64);
        }
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn spoilt_frames_and_heads_leave_the_server_alive() {
    count_panics();
    let server = TestServer::start();
    let mut random = Rng::with_seed(0x5eed_0003);
    for _ in 0..rounds(300) {
        let mut socket = server.web_socket();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "session.hello"}).to_string();
        let mut bytes: Vec<u8> = (0..3).flat_map(|_| frame(1, call.as_bytes())).collect();
        for _ in 0..=random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        // The server may hang up in the middle of it.
        let _ = socket.stream.write_all(&bytes);
    }
    for _ in 0..rounds(500) {
        let host = server.host();
        let bearer = format!("Bearer {TOKEN}");
        let head = [("Host", host.as_str()), ("Authorization", &bearer), ("Content-Type", "application/json")];
        let bytes = spoil_bytes(request("POST", "/", &head, b"{}"), &mut random);
        let mut stream = server.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert!(server.call("session.hello", json!({})).is_ok());
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn deep_nesting_and_odd_numbers_are_answered() {
    count_panics();
    let server = TestServer::start();
    let mut socket = server.web_socket();
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    for params in [
        deep("[", "]", 100_000),
        format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)),
        format!(r#"{{"id":{}}}"#, deep("[", "]", 100_000)),
        r#"{"id":-1}"#.into(),
        r#"{"id":1e400}"#.into(),
        r#"{"id":18446744073709551616}"#.into(),
        r#"{"id":1.5}"#.into(),
        r#"{"id":1,"id":2}"#.into(),
        r#"{"id":"\ud800"}"#.into(),
    ] {
        socket.send(&format!(r#"{{"jsonrpc":"2.0","id":7,"method":"job.get","params":{params}}}"#));
        let answer = socket.receive_json();
        assert!(answer["error"].is_object(), "{}: {answer}", &params[..params.len().min(60)]);
    }
    for id in ["null", "\"text\"", "0", "18446744073709551615"] {
        socket.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"session.hello"}}"#));
        assert_eq!(socket.receive_json()["id"], serde_json::from_str::<Json>(id).unwrap());
    }
    for broken in ["", " ", "{", "nul", "7", "\"x\"", r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, "\u{feff}{}"] {
        socket.send(broken);
        assert!(socket.receive_json()["error"].is_object(), "{broken:?}");
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

fn ping(socket: &mut WebSocket, id: u64) {
    socket.send_call(id, "session.hello", json!({}));
    loop {
        let answer = socket.receive_json();
        if answer["id"] == id {
            return assert!(answer["result"].is_object());
        }
    }
}

/// Puts something else somewhere in it.
fn spoil(json: &mut Json, random: &mut Rng) {
    if random.u8(..) < 60 {
        *json = strange(random);
        return;
    }
    match json {
        Json::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(random.usize(..map.len())).cloned().unwrap_or_default();
            match random.u8(..4) {
                0 => _ = map.remove(&key),
                1 => _ = map.insert(format!("{key}x"), strange(random)),
                _ => spoil(&mut map[&key], random),
            }
        }
        Json::Array(list) if !list.is_empty() => {
            let at = random.usize(..list.len());
            spoil(&mut list[at], random);
        }
        other => *other = strange(random),
    }
}

fn strange(random: &mut Rng) -> Json {
    const TEXTS: &[&str] = &[
        "",
        "..",
        "/",
        "//",
        "/dev/null",
        "/proc/self/mem",
        "\\\\?\\x",
        "C:\\x",
        "simplify.triangles=1e99",
        "=",
        "a.b=c",
        "\u{0}",
        "\u{202e}",
        "done",
        "prop",
        "é",
        "recipe = \"prop\"",
        "[[stage]]\nid = 1",
        "-1",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ];
    match random.u8(..10) {
        0 => Json::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..)),
        3 => json!(random.u64(..)),
        4 => json!(random.f64() * 1e300),
        5 => json!([]),
        6 => json!([strange(random), strange(random)]),
        7 => Json::Object(Map::from_iter([("path".to_owned(), strange(random)), ("id".to_owned(), json!(1))])),
        8 => json!("x".repeat(random.usize(..2000))),
        _ => json!(TEXTS[random.usize(..TEXTS.len())]),
    }
}

fn spoil_bytes(mut bytes: Vec<u8>, random: &mut Rng) -> Vec<u8> {
    for _ in 0..=random.usize(..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => _ = bytes.remove(at),
            3 => bytes.insert(at, *random.choice(b"{}[]\",:0\\-e\n").unwrap_or(&b'{')),
            4 => bytes.truncate(at),
            _ => {
                let part: Vec<u8> = bytes[at..(at + 20).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}
