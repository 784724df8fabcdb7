//! Foreign hosts and origins, on every way in. Whatever is refused is refused
//! before a handler runs.

use serde_json::json;

use crate::support::{ORIGIN, TOKEN, TestServer, UPGRADE, request};

/// Every way in: head and body.
fn ways(server: &TestServer) -> Vec<(&'static str, Way)> {
    let blob = server.daemon.blobs.put(b"hello").unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "job.list"});
    let json = ("Content-Type".to_owned(), "application/json".to_owned());
    let upgrade = UPGRADE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let path = format!("/blob/{}", blob.sha256);
    vec![
        ("call", Way { method: "POST", path: "/".into(), more: vec![json.clone()], body: call.to_string() }),
        ("batch", Way { method: "POST", path: "/".into(), more: vec![json], body: json!([call]).to_string() }),
        ("upgrade", Way { method: "GET", path: "/".into(), more: upgrade, body: String::new() }),
        ("blob", Way { method: "GET", path, more: vec![], body: String::new() }),
        ("put", Way { method: "PUT", path: format!("/blob/{}", blob.sha256), more: vec![], body: "hello".into() }),
    ]
}

struct Way {
    method: &'static str,
    path: String,
    more: Vec<(String, String)>,
    body: String,
}

impl Way {
    /// `target` replaces the path when given.
    fn send(&self, server: &TestServer, target: Option<&str>, headers: &[(String, String)]) -> u16 {
        let mut all: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(self.more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let bytes = request(self.method, target.unwrap_or(&self.path), &all, self.body.as_bytes());
        server.send(&bytes).status
    }
}

fn header(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn token() -> (String, String) {
    header("Authorization", format!("Bearer {TOKEN}"))
}

#[test]
fn foreign_hosts_are_refused_on_every_way() {
    let server = TestServer::start();
    let port = server.port;
    let other = port ^ 1;
    let foreign = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil.example.localhost:{port}"),
        format!("127.0.0.1.:{port}"),
        format!("localhost.:{port}"),
        format!("LOCALHOST:{port}"),
        format!("Localhost:{port}"),
        format!("127.0.0.1:{other}"),
        format!("localhost:{other}"),
        "127.0.0.1".to_owned(),
        "localhost".to_owned(),
        "[::1]".to_owned(),
        format!("::1:{port}"),
        format!("[::]:{port}"),
        format!("[0:0:0:0:0:0:0:1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("127.1:{port}"),
        format!("127.0.0.2:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("127.0.0.1:0{port}"),
        format!("127.0.0.1:{port}:80"),
        format!("127.0.0.1:{port},evil.example"),
        format!("user@127.0.0.1:{port}"),
        format!("127.0.0.1@evil.example:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("127.0.0.1:{port}/"),
        format!("127.0.0.1 :{port}"),
        format!("127.0.0.1:{port} evil"),
        format!("192.168.0.1:{port}"),
        format!("host.docker.internal:{port}"),
        format!("meshkiln.local:{port}"),
        "null".to_owned(),
        "*".to_owned(),
        String::new(),
    ];
    for (way, request) in ways(&server) {
        for host in &foreign {
            for more in [vec![], vec![header("Origin", ORIGIN)]] {
                let headers = [vec![header("Host", host), token()], more].concat();
                let status = request.send(&server, None, &headers);
                assert!(matches!(status, 400 | 403), "{way} with {headers:?}: {status}");
            }
        }
        // None, two, and a target that outranks the header.
        let good = header("Host", server.host());
        assert_eq!(request.send(&server, None, &[token()]), 403, "{way} without host");
        let two = [good.clone(), header("Host", "evil.example"), token()];
        assert!(matches!(request.send(&server, None, &two), 400 | 403), "{way} with two hosts");
        let twice = [good.clone(), good.clone(), token()];
        assert!(matches!(request.send(&server, None, &twice), 400 | 403), "{way} with its host twice");
        for target in
            ["http://evil.example/".to_owned(), format!("http://127.0.0.1:{port}/"), format!("//evil.example:{port}/")]
        {
            let status = request.send(&server, Some(&target), &[good.clone(), token()]);
            assert!(matches!(status, 400 | 403 | 404), "{way} with target {target}: {status}");
        }
    }
    assert_eq!(server.queue.n_calls(), 0, "a refused request reached a handler");
}

#[test]
fn foreign_origins_are_refused_on_every_way() {
    let server = TestServer::start();
    let port = server.port;
    let foreign = [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        "file://".to_owned(),
        "file:///".to_owned(),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        "http://127.0.0.1".to_owned(),
        "http://localhost:3000".to_owned(),
        "vscode-webview://".to_owned(),
        "vscode-webview://other".to_owned(),
        format!("{ORIGIN}.evil.example"),
        format!("{ORIGIN}/"),
        format!("{ORIGIN}:80"),
        ORIGIN.to_uppercase(),
        format!("{ORIGIN} https://evil.example"),
        "chrome-extension://abcdef".to_owned(),
        "app://obsidian.md".to_owned(),
        "*".to_owned(),
        String::new(),
    ];
    let good = header("Host", server.host());
    for (way, request) in ways(&server) {
        for origin in &foreign {
            let status = request.send(&server, None, &[good.clone(), token(), header("Origin", origin)]);
            assert_eq!(status, 403, "{way} with origin {origin:?}");
        }
        let two = [good.clone(), token(), header("Origin", ORIGIN), header("Origin", "https://evil.example")];
        assert_eq!(request.send(&server, None, &two), 403, "{way} with two origins");
    }
    assert_eq!(server.queue.n_calls(), 0, "a refused request reached a handler");
}

#[test]
fn our_clients_are_let_in_on_every_way() {
    let server = TestServer::start();
    let port = server.port;
    for (way, request) in ways(&server) {
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
            for origin in [None, Some(ORIGIN)] {
                let mut headers = vec![header("Host", &host), token()];
                headers.extend(origin.map(|origin| header("Origin", origin)));
                headers.push(header("User-Agent", "Python-urllib/3.11"));
                let status = request.send(&server, None, &headers);
                let expected = if way == "upgrade" { 101 } else { 200 };
                assert_eq!(status, expected, "{way} to {host} from {origin:?}");
            }
        }
        let lower = [header("host", server.host()), header("authorization", format!("bearer {TOKEN}"))];
        assert!(matches!(request.send(&server, None, &lower), 200 | 101), "{way} with lower-case names");
    }
}

#[test]
fn forms_cannot_call() {
    let server = TestServer::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "job.list"}).to_string();
    let post = |content_type: Option<&str>| {
        let more: Vec<_> = content_type.map(|value| ("Content-Type", value)).into_iter().collect();
        server.good("POST", "/", &more, body.as_bytes()).status
    };
    for refused in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json-patch+json"),
        Some("text/plain; application/json"),
        Some("application/json; charset=utf-16"),
        Some(""),
    ] {
        assert_eq!(post(refused), 415, "{refused:?}");
    }
    assert_eq!(server.queue.n_calls(), 0);
    for taken in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert_eq!(post(Some(taken)), 200, "{taken}");
    }
}

#[test]
fn routes_are_few_and_answers_cannot_be_sniffed() {
    let server = TestServer::start();
    for path in ["/x", "/blob", "/rpc", "/index.html", "/favicon.ico", "//", "/?token=x", "/?", "/./", "/blob/../"] {
        assert_eq!(server.good("GET", path, &[], b"").status, 404, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let answer = server.good(method, "/", &[], b"");
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "POST"), "{method}");
    }
    let preflight = [
        ("Host", server.host()),
        ("Origin", "https://evil.example".to_owned()),
        ("Access-Control-Request-Method", "POST".to_owned()),
    ];
    let preflight: Vec<(&str, &str)> = preflight.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answers = [
        server.request("OPTIONS", "/", &preflight, b""),
        server.good("POST", "/", &[("Content-Type", "application/json")], b"{}"),
        server.good("GET", "/x", &[], b""),
        server.request("GET", "/", &[("Host", &server.host())], b""),
    ];
    for answer in answers {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")), "{:?}", answer.headers);
    }
    let mut broken = server.headers();
    broken.extend([("Connection", "Upgrade".to_owned()), ("Upgrade", "websocket".to_owned())]);
    let broken: Vec<(&str, &str)> = broken.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(server.request("GET", "/", &broken, b"").status, 400, "a handshake without key");
}
