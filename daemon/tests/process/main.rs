//! The daemon as a process: one at a time, private, found by its clients, stopped
//! in order, and back after being killed.

#![allow(clippy::unwrap_used)] // all of it is test

mod nets;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use meshkiln_protocol::runtime::{EXIT_ALREADY_RUNNING, HOME_VARIABLE, RuntimeFile};
use serde_json::{Value as Json, json};

/// A daemon whose process ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(home: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshkilnd"));
    command.args(["--device", "fake"]).args(arguments).env(HOME_VARIABLE, home).env("MESHKILN_FAKE_DIR", home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Process(command.spawn().unwrap())
}

/// Starts one and waits until it is announced.
fn start(home: &Path) -> (Process, RuntimeFile) {
    let process = spawn(home, &[]);
    let file = announced(home, process.0.id());
    (process, file)
}

fn announced(home: &Path, pid: u32) -> RuntimeFile {
    let path = home.join("runtime").join("daemon.json");
    let mut found = None;
    until("the daemon is announced", || {
        let file = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<RuntimeFile>(&bytes).ok());
        found = file.filter(|file| file.pid == pid);
        found.is_some()
    });
    found.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn call(file: &RuntimeFile, method: &str, params: Json) -> Json {
    let answer = try_call(file, method, params);
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

fn try_call(file: &RuntimeFile, method: &str, params: Json) -> Json {
    let host = file.url.strip_prefix("http://").unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        file.token,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn submit(file: &RuntimeFile, home: &Path, name: &str, text: &str) -> Json {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    call(file, "job.submit", json!({"source": {"path": path}, "recipe": "cutout"}))
}

#[test]
fn one_of_fifty_serves_and_the_others_say_so() {
    let home = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut all: Vec<Process> = (0..50).map(|_| spawn(home.path(), &[])).collect();
    let spawned = begun.elapsed();
    let mut codes = Vec::new();
    until("49 have given up", || {
        all.retain_mut(|process| match process.0.try_wait().unwrap() {
            Some(status) => {
                let mut said = String::new();
                process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                codes.push((status.code(), said));
                false
            }
            None => true,
        });
        codes.len() >= 49
    });
    println!("50 started in {spawned:?}, 49 had given up after {:?}", begun.elapsed());
    for (code, said) in &codes {
        assert_eq!(*code, Some(EXIT_ALREADY_RUNNING), "{said}");
        assert!(said.contains("another daemon serves") && said.ends_with("`meshkiln down`\n"), "{said}");
    }
    let file = announced(home.path(), all[0].0.id());
    assert_eq!(call(&file, "session.hello", json!({}))["version"], env!("CARGO_PKG_VERSION"));
    // Once it stands, the next one is told who has it.
    let start = Instant::now();
    let mut late = spawn(home.path(), &[]);
    assert_eq!(late.0.wait().unwrap().code(), Some(EXIT_ALREADY_RUNNING));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let mut said = String::new();
    late.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(cfg!(windows) || said.contains(&format!("(process {})", file.pid)), "{said}");
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way() {
    let home = tempfile::tempdir().unwrap();
    let mut slowest = Duration::ZERO;
    let mut tokens = Vec::new();
    let rounds = 15;
    for _ in 0..rounds {
        let begun = Instant::now();
        let (mut process, file) = start(home.path());
        slowest = slowest.max(begun.elapsed());
        tokens.push(file.token);
        process.0.kill().unwrap();
        process.0.wait().unwrap();
        assert!(home.path().join("runtime").join("daemon.json").exists(), "a kill cannot tidy up");
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), rounds, "a token was used twice");
    println!("slowest of {rounds} starts: {slowest:?}");
}

#[test]
#[cfg(unix)]
fn a_signal_stops_it_in_order() {
    for signal in ["TERM", "INT"] {
        let home = tempfile::tempdir().unwrap();
        let (mut process, file) = start(home.path());
        let done = submit(&file, home.path(), "a.png", "# a\n");
        assert_eq!(call(&file, "job.wait", json!({"id": done["id"], "timeout_ms": 20_000}))["state"], "done");
        // Somebody waits for a job while its stage runs.
        let job = submit(&file, home.path(), "b.png", "decode sleep 1500ms\n");
        until("the stage runs", || call(&file, "job.get", json!({"id": job["id"]}))["state"] == "running");
        let waiting = {
            let (file, id) = (file.clone(), job["id"].clone());
            std::thread::spawn(move || call(&file, "job.wait", json!({"id": id, "timeout_ms": 60_000})))
        };
        let begun = Instant::now();
        let kill = Command::new("kill").args([&format!("-{signal}"), &process.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = process.0.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        println!("{signal}: stopped after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(9));
        assert_ne!(waiting.join().unwrap()["state"], "failed", "the waiting call was not answered");
        assert!(!home.path().join("runtime").join("daemon.json").exists());
        let log = fs::read_to_string(home.path().join("state").join("log").join("meshkilnd.log")).unwrap();
        assert!(log.trim_end().ends_with("stopped"), "{log}");

        // What was running goes on in the next life, from the stage that had finished.
        let (_process, file) = start(home.path());
        let job = call(&file, "job.wait", json!({"id": job["id"], "timeout_ms": 20_000}));
        assert_eq!(job["state"], "done", "{job}");
    }
}

#[test]
fn shutting_down_by_call_answers_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let (mut process, file) = start(home.path());
    let job = submit(&file, home.path(), "a.png", "decode hang\n");
    until("the stage runs", || call(&file, "job.get", json!({"id": job["id"]}))["state"] == "running");
    let begun = Instant::now();
    call(&file, "daemon.shutdown", json!({"now": true}));
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn events_go_on_over_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (process, file) = start(home.path());
    let job = submit(&file, home.path(), "a.png", "# a\n");
    call(&file, "job.wait", json!({"id": job["id"], "timeout_ms": 20_000}));
    let all = |file: &RuntimeFile, since: u64| call(file, "events.poll", json!({"since": since, "limit": 1000}));
    let before = all(&file, 0);
    drop(process);

    let (_process, file) = start(home.path());
    let after = all(&file, 0);
    let of_job = |page: &Json| -> Vec<(u64, String)> {
        let events = page["events"].as_array().unwrap().iter();
        let jobs = events.filter(|event| event["event"] == "job" && event["job"]["id"] == job["id"]);
        jobs.map(|event| (event["seq"].as_u64().unwrap(), event["job"]["state"].as_str().unwrap().to_owned())).collect()
    };
    assert!(of_job(&before).iter().any(|(_, state)| state == "done"));
    assert_eq!(of_job(&before), of_job(&after), "history is not what it was");
    let next = before["next"].as_u64().unwrap();
    let job = submit(&file, home.path(), "b.png", "# b\n");
    call(&file, "job.wait", json!({"id": job["id"], "timeout_ms": 20_000}));
    let page = all(&file, next);
    let seqs: Vec<u64> = page["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b) && seqs.iter().all(|seq| *seq > next), "{seqs:?}");
    assert!(
        page["events"].as_array().unwrap().iter().any(|e| e["job"]["id"] == job["id"] && e["job"]["state"] == "done")
    );
}

#[test]
fn the_token_is_nowhere_but_in_its_file() {
    let home = tempfile::tempdir().unwrap();
    let process = spawn(home.path(), &["--log", "trace"]);
    let file = announced(home.path(), process.0.id());
    for method in ["session.hello", "daemon.status", "daemon.doctor", "recipe.list"] {
        call(&file, method, json!({}));
    }
    assert!(file.token.len() == 64 && file.url.starts_with("http://127.0.0.1:"));
    let log = fs::read_to_string(home.path().join("state").join("log").join("meshkilnd.log")).unwrap();
    assert!(log.contains("daemon.status"), "nothing was logged: {log}");
    assert!(!log.contains(&file.token), "the token is in the log");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::PermissionsExt;
        let of_process = |name: &str| fs::read(format!("/proc/{}/{name}", file.pid)).unwrap();
        for name in ["cmdline", "environ"] {
            assert!(!String::from_utf8_lossy(&of_process(name)).contains(&file.token), "the token is in {name}");
        }
        let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("runtime"), mode("runtime/daemon.json"), mode("state/log/meshkilnd.log")),
            (0o700, 0o600, 0o600)
        );
    }
    let status = call(&file, "daemon.status", json!({}));
    assert!(!status.to_string().contains(&file.token));
    drop(process);
}

#[test]
fn folders_and_settings_that_cannot_be_trusted_stop_the_start() {
    let said = |home: &Path| {
        let mut process = spawn(home, &[]);
        assert_eq!(process.0.wait().unwrap().code(), Some(1));
        let mut said = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    };
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("config")).unwrap();
    fs::write(home.path().join("config").join("daemon.toml"), "port = 1\norigin = 2\n").unwrap();
    assert!(said(home.path()).contains("line 2: unknown field `origin`"), "{}", said(home.path()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let runtime = home.path().join("runtime");
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(said(home.path()).contains("may be written by others; remove it, or make it yours alone"));
        fs::remove_dir(&runtime).unwrap();
        symlink(home.path().join("config"), &runtime).unwrap();
        assert!(said(home.path()).contains("is a link"));
    }
}
