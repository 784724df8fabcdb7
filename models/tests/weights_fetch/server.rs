//! A file server on this machine that does what a test wants, faults included.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
}

/// What is answered: a head without its empty line, a body, and what comes then.
pub struct Reply {
    pub head: String,
    pub body: Vec<u8>,
    pub then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    /// Neither send nor close, until the client goes.
    Stall,
    /// Chunks for ever, until the client goes.
    Endless,
}

pub struct Server {
    pub base: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    /// Bytes of bodies.
    sent: AtomicU64,
    ends: AtomicBool,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let answer = Arc::new(answer);
        let also = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if also.ends.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared, answer) = (stream.unwrap(), also.clone(), answer.clone());
                thread::spawn(move || serve(&stream, &shared, &*answer));
            }
        });
        Self { base, shared }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.base.trim_start_matches("http://"));
    }
}

fn serve(stream: &TcpStream, shared: &Shared, answer: &dyn Fn(&Request) -> Reply) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines.by_ref().take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let request = Request { path, headers: headers.collect() };
    shared.requests.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut out = stream;
    let _ = write!(out, "HTTP/1.1 {}\r\nConnection: close\r\n\r\n", reply.head);
    for chunk in reply.body.chunks(16 << 10) {
        if out.write_all(chunk).is_err() {
            return;
        }
        shared.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    match reply.then {
        Then::Close => {}
        Then::Stall => drop(lines.next()),
        Then::Endless => while write!(out, "1000\r\n{}\r\n", "x".repeat(0x1000)).is_ok() {},
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// As a good server answers: ranges, validators, lengths.
pub fn file(request: &Request, content: &[u8], etag: &str) -> Reply {
    let range =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let fresh = request.headers.get("if-range").is_none_or(|known| known == etag);
    let n = content.len();
    match range {
        Some(from) if fresh && from < n => Reply {
            head: format!(
                "206 Partial Content\r\nETag: {etag}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{n}",
                n - from,
                n - 1
            ),
            body: content[from..].to_vec(),
            then: Then::Close,
        },
        _ => Reply {
            head: format!("200 OK\r\nETag: {etag}\r\nContent-Length: {n}"),
            body: content.to_vec(),
            then: Then::Close,
        },
    }
}

impl Reply {
    pub fn status(head: &str) -> Self {
        Self { head: format!("{head}\r\nContent-Length: 0"), body: Vec::new(), then: Then::Close }
    }

    /// The connection breaks after `n` bytes of the body.
    pub fn cut(mut self, n: usize) -> Self {
        self.body.truncate(n);
        self
    }
}
