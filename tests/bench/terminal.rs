//! The full-screen client under load: ten thousand jobs and five thousand events a
//! second, told by a stand-in for the daemon; then nothing at all.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::{PROTOCOL_VERSION, api::METHODS, runtime::RuntimeFile};
use meshkiln_tests::{PROP, program};
use serde_json::{Value as Json, json};

const JOBS: u64 = 10_000;
const EVENTS_PER_S: u64 = 5_000;
/// Of which are about a state rather than progress: one in so many.
const STATES: u64 = 10;
const RUNNING: u64 = 50;
const SIZE: (u16, u16) = (200, 60);
const WINDOW: Duration = Duration::from_secs(10);

/// Measures and prints.
pub fn measure() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Arc::new(StandIn::default());
    serve(&daemon, home.path());
    let mut terminal = Terminal::open(home.path());
    terminal.until("queued", Duration::from_secs(20));
    // Until all are listed.
    thread::sleep(Duration::from_secs(3));
    let pid = terminal.child.id();

    let idle = cpu(pid, WINDOW);
    daemon.begin();
    thread::sleep(Duration::from_secs(1));
    let busy = cpu(pid, WINDOW);
    let mut times: Vec<f64> = (0..100)
        .map(|_| {
            let time = terminal.press(b"?", "What you can do now");
            terminal.press(b"?", "");
            thread::sleep(Duration::from_millis(fastrand::u64(130..330)));
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let told = daemon.end();
    thread::sleep(Duration::from_secs(2));
    let after = cpu(pid, WINDOW);
    println!(
        "terminal client, {JOBS} jobs, {told} events told, {}x{}: input to screen p50 {:.0} ms, worst {:.0} ms (to reach: 50); \
         CPU {busy:.1} % of a core at {EVENTS_PER_S} events a second (to reach: 20), {idle:.2} % idle before, {after:.2} % after (to reach: 0.5); {} MB",
        SIZE.0,
        SIZE.1,
        times[times.len() / 2],
        times[times.len() - 1],
        memory_mb(pid)
    );
}

/// A program in a terminal that remembers what was written.
struct Terminal {
    child: Child,
    keys: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open(home: &std::path::Path) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize { ws_row: SIZE.1, ws_col: SIZE.0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both are written before they are read; no name and no settings are asked for.
        let opened = unsafe {
            libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), std::ptr::null(), &raw const size)
        };
        assert_eq!(opened, 0, "no terminal");
        // SAFETY: openpty gave them to us.
        let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let mut command = Command::new(program("meshkiln"));
        command
            .env("MESHKILN_HOME", home)
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave));
        // SAFETY: both calls are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let mut screen = File::from(master.try_clone().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let write = seen.clone();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                write.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Terminal { child, keys: File::from(master), seen }
    }

    /// Milliseconds until these words are written.
    fn press(&mut self, key: &[u8], words: &str) -> f64 {
        self.seen.lock().unwrap().clear();
        let start = Instant::now();
        self.keys.write_all(key).unwrap();
        self.until(words, Duration::from_secs(10));
        start.elapsed().as_secs_f64() * 1000.0
    }

    fn until(&self, words: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        let has = |seen: &[u8]| words.is_empty() || seen.windows(words.len()).any(|part| part == words.as_bytes());
        while !has(&self.seen.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "`{words}` was never shown: {}",
                String::from_utf8_lossy(&self.seen.lock().unwrap()[..])
                    .chars()
                    .take(3000)
                    .collect::<String>()
                    .escape_debug()
            );
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Per cent of a core over a while.
fn cpu(pid: u32, window: Duration) -> f64 {
    // SAFETY: takes no pointer.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let ticks = || -> f64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    let (before, start) = (ticks(), Instant::now());
    thread::sleep(window);
    (ticks() - before) / ticks_per_s / start.elapsed().as_secs_f64() * 100.0
}

fn memory_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Answers like a daemon with many jobs.
#[derive(Default)]
struct StandIn {
    begun: Mutex<Option<Instant>>,
    before: Mutex<u64>,
}

impl StandIn {
    fn begin(&self) {
        *self.begun.lock().unwrap() = Some(Instant::now());
    }

    /// Events that have happened.
    fn seq(&self) -> u64 {
        let before = *self.before.lock().unwrap();
        let since =
            self.begun.lock().unwrap().map_or(0, |at| (at.elapsed().as_secs_f64() * EVENTS_PER_S as f64) as u64);
        before + since
    }

    fn end(&self) -> u64 {
        let seq = self.seq();
        *self.begun.lock().unwrap() = None;
        *self.before.lock().unwrap() = seq;
        seq
    }

    fn answer(&self, method: &str, params: &Json) -> Json {
        match method {
            "session.hello" => json!({
                "version": "stand-in", "protocol_version": PROTOCOL_VERSION, "seq": self.seq(),
                "methods": METHODS.iter().map(|method| method.name).collect::<Vec<_>>(),
                "limits": {"request_bytes": 1, "blob_bytes": 1, "batch_calls": 1, "calls_in_flight": 1, "connections": 1, "queued_jobs": 1},
            }),
            "daemon.status" => sample("daemon.status"),
            "job.list" => {
                let limit = params["limit"].as_u64().unwrap();
                let last = params["before"].as_u64().unwrap_or(JOBS + 1);
                let first = last.saturating_sub(limit).max(1);
                let jobs: Vec<Json> =
                    (first..last).rev().map(|id| job(id, if id <= RUNNING { "running" } else { "queued" })).collect();
                if first > 1 { json!({ "jobs": jobs, "next": first }) } else { json!({ "jobs": jobs }) }
            }
            "events.poll" => {
                let since = params["since"].as_u64().unwrap();
                let limit = params["limit"].as_u64().unwrap();
                let deadline = Instant::now() + Duration::from_millis(params["wait_ms"].as_u64().unwrap());
                while self.seq() <= since && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                let next = self.seq().min(since + limit);
                let events: Vec<Json> = (since + 1..=next).map(event).collect();
                json!({ "events": events, "next": next, "lost": false })
            }
            "asset.list" => json!({ "assets": [] }),
            "net.list" => json!({ "nets": [] }),
            "watch.list" => json!({ "watches": [] }),
            "recipe.list" => json!({ "recipes": [] }),
            "stage.list" => json!({ "stages": [] }),
            _ => json!({}),
        }
    }
}

/// The wire's own sample of an answer.
fn sample(method: &str) -> Json {
    let path = format!("{}/../protocol/snapshots/{method}.result.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn job(id: u64, state: &str) -> Json {
    let stages: Vec<Json> =
        PROP.iter().map(|stage| json!({ "stage": stage, "engine": "standard", "state": "pending" })).collect();
    json!({
        "id": id, "state": state, "class": "batch", "name": format!("lantern number {id}"),
        "source_path": format!("/home/ada/props/lantern-{id}.png"), "source_sha256": "9f86d081884c7d65",
        "recipe": "prop", "output": format!("/home/ada/props/lantern-{id}.glb"), "client": "bench",
        "submitted_ms": 1_790_000_000_000_u64, "attempt": 1, "crashes": 0, "stages": stages,
    })
}

/// Progress of what runs, and now and then a job that changes its state.
fn event(seq: u64) -> Json {
    let time_ms = 1_790_000_000_000_u64 + seq;
    if seq.is_multiple_of(STATES) {
        let (id, states) = (1 + seq / STATES % JOBS, ["queued", "running", "done", "failed"]);
        let state = states[(seq / STATES / 3 % 4) as usize];
        return json!({ "seq": seq, "time_ms": time_ms, "event": "job", "job": job(id, state) });
    }
    let progress =
        json!({ "stage": "bake", "done": seq % 8, "total": 8, "fraction": (seq % 100) as f32 / 100.0, "eta_ms": 900 });
    json!({ "seq": seq, "time_ms": time_ms, "event": "progress", "id": 1 + seq % RUNNING, "progress": progress })
}

fn serve(daemon: &Arc<StandIn>, home: &std::path::Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let runtime =
        RuntimeFile { url, token: "token".to_owned(), pid: std::process::id(), version: "stand-in".to_owned() };
    fs::create_dir_all(home.join("runtime")).unwrap();
    fs::write(home.join("runtime/daemon.json"), serde_json::to_vec(&runtime).unwrap()).unwrap();
    let daemon = daemon.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let daemon = daemon.clone();
            thread::spawn(move || talk(&daemon, stream));
        }
    });
}

/// One connection: request after request.
fn talk(daemon: &StandIn, stream: TcpStream) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).ok()?;
        let request: Json = serde_json::from_slice(&body).ok()?;
        let result = daemon.answer(request["method"].as_str()?, &request["params"]);
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
        write!(
            write,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )
        .ok()?;
    }
}
