//! What JSON-RPC libraries get wrong: panics, batches, sizes, calls in flight.

use std::sync::atomic::Ordering;

use jsonrpsee::RpcModule;
use meshkiln_protocol::api::{Method, NoParams};
use meshkilnd::rpc::{Daemon, limits, methods};
use serde_json::{Value as Json, json};

use crate::support::{Held, TestServer, wait_until};

/// A method of a test, without parameters.
macro_rules! test_method {
    ($type:ident $name:literal $result:ty) => {
        pub struct $type;
        impl Method for $type {
            const NAME: &'static str = $name;
            type Params = NoParams;
            type Result = $result;
        }
    };
}

test_method!(PanicsAtOnce "test.panics_at_once" u64);
test_method!(PanicsLater "test.panics_later" u64);
test_method!(PanicsBlocking "test.panics_blocking" u64);
test_method!(Large "test.large" String);

const PANICS: &[&str] = &["test.panics_at_once", "test.panics_later", "test.panics_blocking", "test.panics_sync"];

pub fn add_panics(module: &mut RpcModule<Daemon>) {
    methods::register::<PanicsAtOnce, _, _>(module, |_, _| {
        if std::hint::black_box(true) {
            panic!("on purpose")
        }
        async { Ok(1) }
    });
    methods::register::<PanicsLater, _, _>(module, |_, _| async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    });
    methods::register::<PanicsBlocking, _, _>(module, |_, _| methods::blocking(|| panic!("on purpose")));
    module.register_method("test.panics_sync", |_, _, _| -> Option<u64> { panic!("on purpose") }).unwrap();
}

#[test]
fn a_panic_is_answered_and_harms_nobody() {
    let held = Held::new();
    let server = TestServer::start_with(|module| {
        add_panics(module);
        held.add(module);
    });
    let mut socket = server.web_socket();
    socket.send_call(1, "test.holds", json!({}));
    for (id, method) in (10..).zip(PANICS) {
        let answer = socket.call(id, method, json!({}));
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(id), &json!(-32603)),
            "{method} over a WebSocket"
        );
        assert_eq!(answer["error"]["data"]["kind"], "internal");
        let answer = server.post(&json!({"jsonrpc": "2.0", "id": id, "method": method}));
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32603)), "{method} over HTTP");
        let batch = json!([
            {"jsonrpc": "2.0", "id": 1, "method": method},
            {"jsonrpc": "2.0", "method": method},
            {"jsonrpc": "2.0", "id": 2, "method": "job.list"},
        ]);
        let answers = server.post(&batch);
        assert_eq!(answers.as_array().unwrap().len(), 2);
        assert_eq!(answers[0]["error"]["code"], -32603, "{method} in a batch");
        assert!(answers[1]["result"]["jobs"].is_array());
    }
    held.gate.add_permits(1);
    assert_eq!(socket.receive_json(), json!({"jsonrpc": "2.0", "id": 1, "result": 7}), "a bystander was harmed");
}

#[test]
fn batches_are_short_and_every_entry_is_looked_at() {
    let server = TestServer::start();
    let call = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "job.list"});
    let of = |n: u64| Json::Array((0..n).map(call).collect());
    assert_eq!(server.post(&of(16)).as_array().unwrap().len(), 16);
    let before = server.queue.n_calls();
    assert!(server.post(&of(17))["error"]["code"].is_number());
    assert_eq!(server.queue.n_calls(), before, "part of a batch that is too long was done");

    let answers = server.post(&json!([
        {"jsonrpc": "2.0", "id": 1, "method": "no.such"},
        {"jsonrpc": "2.0", "id": 2, "method": "events.subscribe"},
        {"jsonrpc": "2.0", "id": 3, "method": "events.poll", "params": {}},
        {"jsonrpc": "2.0", "id": "four"},
        5,
    ]));
    assert_eq!(answers[0]["error"]["code"], -32601);
    assert_eq!(answers[0]["error"]["data"]["kind"], "not_found");
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["result"]["next"], 0);
    assert_eq!((&answers[3]["id"], &answers[3]["error"]["code"]), (&json!("four"), &json!(-32600)));
    assert_eq!(answers[4]["error"]["code"], -32600);
    assert_eq!(server.post(&json!([{"jsonrpc": "2.0", "method": "job.list"}])), Json::Null, "notifications alone");
    assert_eq!(server.post(&json!([]))["error"]["code"], -32600);
}

#[test]
fn calls_in_flight_are_bounded_and_the_rest_are_told() {
    let held = Held::new();
    let server = TestServer::start_with(|module| held.add(module));
    let mut socket = server.web_socket();
    let n = limits::CALLS_IN_FLIGHT as u64;
    for id in 0..n + 6 {
        socket.send_call(id, "test.holds", json!({}));
    }
    for _ in 0..6 {
        let answer = socket.receive_json();
        assert_eq!(answer["error"]["code"], 1003, "{answer}");
        assert_eq!(
            answer["error"]["data"],
            json!({"kind": "busy", "hint": "wait for an answer, then call again", "retryable": true})
        );
    }
    let mut other = server.web_socket();
    assert!(other.call(1, "job.list", json!({}))["result"].is_object(), "another connection has to wait");
    held.gate.add_permits(n as usize);
    let mut answered: Vec<u64> = (0..n).map(|_| socket.receive_json()).map(|a| a["id"].as_u64().unwrap()).collect();
    answered.sort_unstable();
    answered.dedup();
    assert_eq!(answered.len(), n as usize);
    assert_eq!(held.most.load(Ordering::SeqCst), n as usize);
    assert!(socket.call(99, "job.list", json!({}))["result"].is_object(), "places were not given back");
}

#[test]
fn calls_of_a_client_that_leaves_end() {
    let held = Held::new();
    let server = TestServer::start_with(|module| held.add(module));
    let mut socket = server.web_socket();
    for id in 0..8 {
        socket.send_call(id, "test.holds", json!({}));
    }
    socket.call(9, "job.list", json!({}));
    drop(socket);
    wait_until(|| server.server.as_ref().unwrap().n_connections() == 0);
}

#[test]
fn too_much_is_refused_with_its_id_and_the_connection_lives() {
    let server = TestServer::start_with(|module| {
        methods::register::<Large, _, _>(module, |_, _| async { Ok("x".repeat(limits::RESPONSE_BYTES as usize)) });
    });
    let long = "x".repeat(limits::REQUEST_BYTES + 1);
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "recipe.validate", "params": {"text": long}});
    let mut socket = server.web_socket();
    socket.send(&call.to_string());
    let answer = socket.receive_json();
    assert_eq!((&answer["id"], &answer["error"]["data"]["kind"]), (&json!(5), &json!("too_large")));
    assert_eq!(server.post(&call)["error"]["data"]["kind"], "too_large");
    assert_eq!(server.post(&json!([call]))[0]["error"]["data"]["kind"], "too_large");

    let huge = json!({"jsonrpc": "2.0", "id": 6, "method": "x", "params": {"text": "x".repeat(limits::READ_BYTES)}});
    socket.send(&huge.to_string());
    assert_eq!(socket.receive_json()["id"], Json::Null);
    let own = server.headers();
    let mut headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("Content-Type", "application/json"));
    assert_eq!(server.request("POST", "/", &headers, huge.to_string().as_bytes()).status, 413);

    let answer = socket.call(7, "test.large", json!({}));
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32008)));
    assert!(socket.call(8, "job.list", json!({}))["result"].is_object());
}

#[test]
fn parameters_come_by_name() {
    let server = TestServer::start();
    let refused = |params: Json| server.call("job.get", params).unwrap_err();
    let error = refused(json!([1]));
    assert_eq!((&error["code"], &error["data"]["kind"]), (&json!(-32602), &json!("invalid_input")));
    assert_eq!(refused(json!({}))["message"], "missing field `id`");
    assert_eq!(refused(json!({"id": "x"}))["message"], "`id`: invalid type: string \"x\", expected u64");
    assert!(refused(json!({"id": 1, "x": 2}))["message"].as_str().unwrap().contains("unknown field `x`"));
    let unknown = refused(json!({"id": 77}));
    assert_eq!((&unknown["code"], &unknown["message"]), (&json!(1002), &json!("there is no job 77")));
    assert!(server.call("job.list", Json::Null).is_ok());
}

#[test]
fn notifications_do_nothing_and_get_nothing() {
    let server = TestServer::start();
    let mut socket = server.web_socket();
    socket.send(r#"{"jsonrpc":"2.0","method":"queue.pause"}"#);
    assert_eq!(socket.call(1, "session.hello", json!({}))["id"], 1);
    assert_eq!(server.queue.n_calls(), 0);
    assert_eq!(server.call("events.subscribe", json!({})).unwrap_err()["code"], -32600, "over HTTP");
}

#[test]
fn stopping_waits_for_calls_in_flight_but_not_forever() {
    let held = Held::new();
    let mut server = TestServer::start_with(|module| held.add(module));
    let mut socket = server.web_socket();
    socket.send_call(1, "test.holds", json!({}));
    wait_until(|| held.running.load(Ordering::SeqCst) == 1);
    let inner = server.server.take().unwrap();
    let stopping = server.runtime.spawn(inner.stop(std::time::Duration::from_secs(10)));
    held.gate.add_permits(1);
    assert_eq!(socket.receive_json()["result"], 7, "the answer of a call in flight was lost");
    server.runtime.block_on(stopping).unwrap();

    let held = Held::new();
    let mut server = TestServer::start_with(|module| held.add(module));
    let mut socket = server.web_socket();
    socket.send_call(1, "test.holds", json!({}));
    wait_until(|| held.running.load(Ordering::SeqCst) == 1);
    let inner = server.server.take().unwrap();
    let start = std::time::Instant::now();
    server.runtime.block_on(inner.stop(std::time::Duration::from_millis(200)));
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}
