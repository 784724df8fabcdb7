//! Events by poll and by subscription: all of them, once, in order.

use std::time::{Duration, Instant};

use meshkiln_protocol::job::{JobId, JobState};
use serde_json::{Value as Json, json};

use crate::support::{Frame, TestServer, WebSocket, wait_until};

fn seqs(page: &Json) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// Sequence number of the next notification; `Err` is the end of the subscription.
fn next(socket: &mut WebSocket) -> Result<u64, Json> {
    let message = socket.receive_json();
    assert_eq!(message["method"], "events.event", "{message}");
    let params = &message["params"];
    match params.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(params["result"]["seq"].as_u64().unwrap()),
    }
}

fn subscribe(socket: &mut WebSocket, params: Json) -> Json {
    let answer = socket.call(1, "events.subscribe", params);
    assert!(answer.get("error").is_none(), "{answer}");
    answer["result"].clone()
}

#[test]
fn polling_gives_what_followed() {
    let server = TestServer::start();
    let poll = |params: Json| server.call("events.poll", params).unwrap();
    assert_eq!(poll(json!({})), json!({"events": [], "next": 0, "lost": false}));
    for done in 0..10 {
        server.queue.progress(1 + u64::from(done % 2), done);
    }
    assert_eq!(seqs(&poll(json!({"since": 3}))), [4, 5, 6, 7, 8, 9, 10]);
    let page = poll(json!({"since": 0, "limit": 4}));
    assert_eq!((seqs(&page), &page["next"]), (vec![1, 2, 3, 4], &json!(4)));
    let page = poll(json!({"since": 8, "job": 1}));
    assert_eq!((seqs(&page), &page["next"]), (vec![9], &json!(10)));
    let future = poll(json!({"since": 99}));
    assert_eq!(future, json!({"events": [], "next": 10, "lost": true}), "numbers of another life");
    for limit in [0, 1001] {
        assert_eq!(server.call("events.poll", json!({"limit": limit})).unwrap_err()["code"], -32602);
    }
    let start = Instant::now();
    assert_eq!(seqs(&poll(json!({"since": 10, "wait_ms": 60}))), [0; 0]);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_waiting_poll_wakes_for_its_job() {
    let server = TestServer::start();
    let mut socket = server.web_socket();
    socket.send_call(1, "events.poll", json!({"since": 0, "wait_ms": 20_000, "job": 2}));
    assert!(socket_is_quiet(&server, 1), "another job's event answered");
    server.queue.progress(2, 1);
    let page = socket.receive_json()["result"].clone();
    assert_eq!((seqs(&page), &page["next"]), (vec![2], &json!(2)));
}

/// Publishes progress of `job` and lets the server look at it.
fn socket_is_quiet(server: &TestServer, job: u64) -> bool {
    server.queue.progress(job, 1);
    server.call("session.hello", json!({})).is_ok()
}

#[test]
fn what_fell_out_of_memory_comes_from_the_store() {
    let server = TestServer::start();
    let first = server.queue.add(None);
    for _ in 0..10_100 {
        server.queue.progress(1, 1);
    }
    server.queue.set_state(first, JobState::Done);
    let page = server.call("events.poll", json!({"since": 0, "limit": 1000})).unwrap();
    assert_eq!(page["lost"], false);
    assert_eq!(seqs(&page)[..2], [1, 103], "the job's event from the store, then progress from memory");
    let mut since = page["next"].as_u64().unwrap();
    let mut last = 1102;
    while last < 10_102 {
        let page = server.call("events.poll", json!({"since": since, "limit": 1000})).unwrap();
        for seq in seqs(&page) {
            last = if last == 1102 { seq } else { last + 1 };
            assert_eq!(seq, last);
        }
        since = page["next"].as_u64().unwrap();
    }
    server.queue.stored.lock().unwrap().remove(0);
    assert_eq!(server.call("events.poll", json!({"since": 0})).unwrap()["lost"], true, "history is bounded");
}

#[test]
fn a_subscriber_that_comes_back_misses_and_doubles_nothing() {
    let server = TestServer::start();
    let mut seen = Vec::new();
    let mut published = 0;
    for round in 0..5 {
        let mut socket = server.web_socket();
        subscribe(&mut socket, json!({"since": seen.last().copied().unwrap_or(0)}));
        for n in 0..200 {
            if n % 10 == 0 {
                server.queue.add(None);
            } else {
                server.queue.progress(1, n);
            }
            published += 1;
        }
        // The last round reads to the end, the others are cut off in the middle.
        let until = if round == 4 { published } else { published - 77 };
        while seen.last().copied().unwrap_or(0) < until {
            seen.push(next(&mut socket).unwrap());
        }
    }
    let jobs: Vec<u64> = server.queue.stored.lock().unwrap().iter().map(|event| event.seq).collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "an event came twice or out of order");
    assert!(jobs.iter().all(|seq| seen.binary_search(seq).is_ok()), "a job's event was lost");
    assert_eq!(*seen.last().unwrap(), published);
}

#[test]
fn a_subscriber_that_keeps_up_gets_every_event() {
    let server = TestServer::start();
    server.queue.progress(1, 1);
    let mut socket = server.web_socket();
    subscribe(&mut socket, json!({}));
    for n in 0..300 {
        let seq = server.queue.progress(1, n);
        assert_eq!(next(&mut socket), Ok(seq));
    }
}

#[test]
fn unsubscribing_ends_it() {
    let server = TestServer::start();
    let mut socket = server.web_socket();
    let id = subscribe(&mut socket, json!({}));
    let seq = server.queue.progress(1, 1);
    assert_eq!(next(&mut socket), Ok(seq));
    assert_eq!(socket.call(2, "events.unsubscribe", json!({"subscription": id}))["result"], true);
    server.queue.progress(1, 2);
    assert_eq!(socket.call(3, "events.unsubscribe", json!({"subscription": id}))["result"], false);
    for bad in [json!({"sinc": 1}), json!([1]), json!({"since": "x"})] {
        assert_eq!(socket.call(4, "events.subscribe", bad)["error"]["code"], -32602);
    }
}

#[test]
fn subscriptions_are_few_per_connection() {
    let server = TestServer::start();
    let mut socket = server.web_socket();
    for _ in 0..16 {
        subscribe(&mut socket, json!({}));
    }
    assert!(socket.call(1, "events.subscribe", json!({}))["error"].is_object());
    assert!(socket.call(2, "session.hello", json!({}))["result"].is_object());
}

#[test]
fn a_subscriber_that_takes_nothing_is_told_where_to_go_on() {
    let server = TestServer::start();
    let mut lazy = server.web_socket();
    subscribe(&mut lazy, json!({}));
    // Far more than sockets and buffers hold; the store keeps every one.
    for _ in 0..300 {
        let id = server.queue.add(None);
        server.queue.jobs.lock().unwrap().get_mut(&id).unwrap().0.name = "x".repeat(100_000);
        server.queue.set_state(id, JobState::Done);
    }
    wait_until(|| server.daemon.hub.n_waiting() == 0);
    let mut last = 0;
    let end = loop {
        match next(&mut lazy) {
            Ok(seq) => {
                assert!(seq > last);
                last = seq;
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end["since"], last, "{end}");
    assert_eq!(end["hint"], format!("subscribe again with since = {last}"));
    subscribe(&mut lazy, json!({"since": last}));
    assert_eq!(next(&mut lazy), Ok(last + 1), "the next job's event was lost");
}

#[test]
fn a_subscriber_from_before_the_history_is_told() {
    let server = TestServer::start();
    server.queue.add(None);
    for _ in 0..10_001 {
        server.queue.progress(1, 1);
    }
    server.queue.add(None);
    server.queue.stored.lock().unwrap().remove(0);
    let mut socket = server.web_socket();
    subscribe(&mut socket, json!({"since": 0}));
    let end = next(&mut socket).unwrap_err();
    assert!(end["message"].as_str().unwrap().contains("no longer known"), "{end}");
    subscribe(&mut socket, json!({"since": end["since"]}));
    assert!(next(&mut socket).is_ok());
}

#[test]
fn closing_the_hub_ends_what_waits() {
    let server = TestServer::start();
    let id = server.queue.add(None);
    let mut socket = server.web_socket();
    socket.send_call(1, "events.poll", json!({"since": 1, "wait_ms": 60_000}));
    socket.send_call(2, "job.wait", json!({"id": id, "timeout_ms": 60_000}));
    let mut subscriber = server.web_socket();
    subscribe(&mut subscriber, json!({}));
    server.daemon.hub.close();
    let mut ids = [socket.receive_json()["id"].as_u64(), socket.receive_json()["id"].as_u64()];
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2)]);
    assert_eq!(JobId(1), id);
    let mut server = server;
    server.runtime.block_on(server.server.take().unwrap().stop(Duration::from_secs(10)));
    assert_eq!(subscriber.receive().unwrap(), Frame::Closed);
}
