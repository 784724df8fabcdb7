//! A client that writes bytes: what a library would refuse to send must reach
//! the server too.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value as Json, json};

/// Where a server listens on this machine, and what opens its door.
pub struct Door {
    pub port: u16,
    pub token: String,
}

impl Door {
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes on a new connection and reads one answer.
    pub fn send(&self, bytes: &[u8]) -> HttpAnswer {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        read_answer(&mut stream, false).unwrap()
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
        let mut stream = self.connect();
        let _ = stream.write_all(&request(method, path, headers, body));
        read_answer(&mut stream, method == "HEAD").unwrap()
    }

    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![("Host", self.host()), ("Authorization", format!("Bearer {}", self.token))]
    }

    /// A request of a well-behaved client.
    pub fn good(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
        let own = self.headers();
        let mut headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend(more);
        self.request(method, path, &headers, body)
    }

    pub fn post(&self, body: &Json) -> Json {
        let answer = self.good("POST", "/", &[("Content-Type", "application/json")], body.to_string().as_bytes());
        let expected = if answer.body.is_empty() { 204 } else { 200 };
        assert_eq!(answer.status, expected, "{}", String::from_utf8_lossy(&answer.body));
        if answer.body.is_empty() { Json::Null } else { answer.json() }
    }

    pub fn call(&self, method: &str, params: Json) -> Result<Json, Json> {
        let answer = self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    pub fn web_socket(&self) -> WebSocket {
        let own = self.headers();
        let headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (answer, socket) = self.upgrade("/", &headers);
        assert_eq!(answer.status, 101);
        socket
    }

    pub fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> (HttpAnswer, WebSocket) {
        let mut stream = self.connect();
        let mut all = headers.to_vec();
        all.extend(UPGRADE);
        stream.write_all(&request("GET", path, &all, b"")).unwrap();
        let answer = read_answer(&mut stream, false).unwrap();
        (answer, WebSocket { stream })
    }
}

pub const UPGRADE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    if !body.is_empty() {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

pub fn read_answer(stream: &mut TcpStream, is_head: bool) -> io::Result<HttpAnswer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { length }];
    stream.read_exact(&mut body)?;
    Ok(HttpAnswer { status, headers, body })
}

pub struct WebSocket {
    pub stream: TcpStream,
}

#[derive(Debug, PartialEq)]
pub enum Frame {
    Text(String),
    Closed,
}

impl WebSocket {
    pub fn send(&mut self, text: &str) {
        self.stream.write_all(&frame(1, text.as_bytes())).unwrap();
    }

    pub fn send_call(&mut self, id: u64, method: &str, params: Json) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    }

    /// The bytes of many frames at once.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next message; pings are answered on the way.
    pub fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let mut head = [0; 2];
            match self.stream.read_exact(&mut head) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Frame::Closed),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Frame::Closed),
                other => other?,
            }
            let length = match head[1] & 0x7f {
                126 => {
                    let mut long = [0; 2];
                    self.stream.read_exact(&mut long)?;
                    u16::from_be_bytes(long) as usize
                }
                127 => {
                    let mut long = [0; 8];
                    self.stream.read_exact(&mut long)?;
                    u64::from_be_bytes(long) as usize
                }
                short => short as usize,
            };
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            match head[0] & 0x0f {
                1 => return Ok(Frame::Text(String::from_utf8(body).unwrap())),
                8 => return Ok(Frame::Closed),
                9 => self.stream.write_all(&frame(10, &body))?,
                _ => {}
            }
        }
    }

    pub fn receive_json(&mut self) -> Json {
        match self.receive().unwrap() {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            Frame::Closed => panic!("the connection was closed"),
        }
    }

    pub fn call(&mut self, id: u64, method: &str, params: Json) -> Json {
        self.send_call(id, method, params);
        self.receive_json()
    }
}

/// A whole client frame.
pub fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match body.len() {
        n @ ..126 => bytes.push(0x80 | n as u8),
        n @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(body.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    bytes
}
