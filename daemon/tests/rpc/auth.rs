//! Nothing without the token: every registered method, by every way.

use meshkiln_protocol::api::METHODS;
use meshkilnd::rpc::methods;
use serde_json::{Value as Json, json};

use crate::support::{TOKEN, TestServer};

#[test]
fn the_list_of_methods_is_what_is_registered() {
    let server = TestServer::start();
    let module = methods::module(server.daemon.clone());
    let mut registered: Vec<&str> = module.method_names().collect();
    registered.sort_unstable();
    let mut listed: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    listed.extend(["rpc.discover", "events.subscribe", "events.unsubscribe"]);
    listed.sort_unstable();
    assert_eq!(registered, listed);
}

#[test]
fn no_method_answers_without_the_token() {
    let server = TestServer::start();
    let module = methods::module(server.daemon.clone());
    let host = server.host();
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(TOKEN.to_owned()),
        Some(format!("Basic {TOKEN}")),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {}", &TOKEN[1..])),
        Some(format!("Bearer {}", TOKEN.to_uppercase())),
        Some(format!("Bearer  {TOKEN}")),
        Some(format!("Bearer {TOKEN}, Bearer {TOKEN}")),
    ];
    for name in module.method_names() {
        let sample = json!({"jsonrpc": "2.0", "id": 1, "method": name, "params": {}});
        let notification = json!({"jsonrpc": "2.0", "method": name, "params": {}});
        for (i, body) in [sample.clone(), notification.clone(), json!([sample, notification])].iter().enumerate() {
            // Every wrong token once a method is enough; each way sees all of them.
            for authorization in wrong.iter().skip(i).step_by(3) {
                let mut headers = vec![("Host", host.as_str()), ("Content-Type", "application/json")];
                headers.extend(authorization.as_ref().map(|value| ("Authorization", value.as_str())));
                let answer = server.request("POST", "/", &headers, body.to_string().as_bytes());
                assert_eq!(answer.status, 401, "{name} with {authorization:?}");
            }
        }
    }
    for authorization in &wrong {
        let mut headers = vec![("Host", host.as_str())];
        headers.extend(authorization.as_ref().map(|value| ("Authorization", value.as_str())));
        assert_eq!(server.upgrade("/", &headers).0.status, 401, "upgrade with {authorization:?}");
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            for path in ["/", "/x", &format!("/blob/{}", "0".repeat(64))] {
                let status = server.request(method, path, &headers, b"").status;
                assert_eq!(status, 401, "{method} {path} with {authorization:?}");
            }
        }
    }
    let token = format!("Bearer {TOKEN}");
    let two = [("Host", host.as_str()), ("Authorization", &token), ("Authorization", "Bearer x")];
    assert_eq!(server.request("GET", "/", &two, b"").status, 401, "two tokens");
    assert_eq!(server.queue.n_calls(), 0, "a refused request reached a handler");
}

#[test]
fn the_refusal_says_where_the_token_is_but_not_what_it_is() {
    let server = TestServer::start();
    let answer = server.request("GET", "/", &[("Host", &server.host()), ("Authorization", "Bearer wrong")], b"");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let body = answer.json();
    assert_eq!(body["message"], "the token is wrong");
    assert!(body["hint"].as_str().unwrap().contains("/run/daemon.json"), "{body}");
    assert!(!body.to_string().contains(TOKEN));
}

#[test]
fn the_token_does_not_open_by_other_ways() {
    let server = TestServer::start();
    let host = server.host();
    for path in [format!("/?token={TOKEN}"), format!("/?access_token={TOKEN}"), format!("/{TOKEN}")] {
        assert_eq!(server.request("GET", &path, &[("Host", &host)], b"").status, 401, "{path}");
    }
    let cookie = format!("token={TOKEN}");
    assert_eq!(server.request("GET", "/", &[("Host", &host), ("Cookie", &cookie)], b"").status, 401);
    let protocol = [("Host", host.as_str()), ("Sec-WebSocket-Protocol", TOKEN)];
    assert_eq!(server.upgrade("/", &protocol).0.status, 401);
}

#[test]
fn the_description_is_served() {
    let server = TestServer::start();
    let document = server.call("rpc.discover", Json::Null).unwrap();
    assert_eq!(document["openrpc"], "1.3.2");
    assert_eq!(document["methods"].as_array().unwrap().len(), METHODS.len() + 1);
}
