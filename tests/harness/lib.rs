//! A real daemon in a folder of its own, for tests: started, asked, killed.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

pub mod ask;
pub mod nets;
pub mod sams;
pub mod system;
pub mod tmux;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    api::{JobWait, Method, Submit},
    job::{Class, Job, JobId, JobWaitParams, SourceParams, SubmitParams},
    runtime::{HOME_VARIABLE, RuntimeFile},
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use ureq::Agent;

pub use ask::{PATIENCE, pass, stages_in};
pub use system::{SmallDisk, figure, percentile, processes_mentioning, say};

/// Folder with real pictures, beside the project; `None`, loudly, where it is absent.
pub fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.is_dir() {
        return folder.canonicalize().ok();
    }
    say("skipped: ../shared/data is absent");
    None
}

/// A program of this workspace, as built for this profile.
pub fn program(name: &str) -> PathBuf {
    let this = env::current_exe().unwrap();
    // Tests are one folder below the programs, benchmarks beside them.
    let places = this.ancestors().skip(1).take(2);
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    let program = places.map(|folder| folder.join(&file)).find(|path| path.is_file());
    program.unwrap_or_else(|| panic!("{file} is not built: run `cargo build --workspace` first"))
}

/// Waits until `done` holds, looking every few milliseconds.
pub fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A home folder and the daemons that live in it, one at a time. Everything is
/// killed and removed when it is dropped.
pub struct Home {
    /// Before the folder it is mounted on, so that it goes first.
    pub disk: Option<SmallDisk>,
    pub dir: TempDir,
    /// Device every stage runs on: `cpu`, or `fake`.
    pub device: &'static str,
    /// Folder in which the fake device remembers.
    pub fake_dir: TempDir,
    /// Keep the daemon from reading what its user is not permitted to, also when that is root. Linux.
    pub is_mortal: bool,
    child: Option<Child>,
}

impl Home {
    pub fn new(device: &'static str) -> Home {
        let (dir, fake_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        Home { disk: None, dir, device, fake_dir, is_mortal: false, child: None }
    }

    /// On a disk of its own of a few MiB; `None` where that cannot be had.
    pub fn on_small_disk(device: &'static str, mib: u32) -> Option<Home> {
        let mut home = Home::new(device);
        home.disk = Some(SmallDisk::mount(home.dir.path(), mib)?);
        Some(home)
    }

    pub fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    /// Writes a file outside of the daemon's own folders, for it to read.
    pub fn write(&self, rel: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.fake_dir.path().join(rel);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// How many directives with `once` have been carried out by fake workers.
    pub fn happened(&self) -> usize {
        let marks = fs::read_dir(self.fake_dir.path()).unwrap().flatten();
        marks.filter(|entry| entry.file_name().to_string_lossy().starts_with("once-")).count()
    }

    pub fn database(&self) -> PathBuf {
        self.path("state/queue.sqlite")
    }

    /// Processes of workers of this home, whoever started them.
    pub fn workers(&self) -> Vec<u32> {
        processes_mentioning(self.dir.path().to_str().unwrap())
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.env(HOME_VARIABLE, self.dir.path()).env("MESHKILN_FAKE_DIR", self.fake_dir.path());
        command
    }

    /// Starts a daemon and does not wait for it.
    pub fn start_only(&mut self) {
        self.child = Some(self.spawn());
    }

    /// Starts a daemon and waits until it serves.
    pub fn start(&mut self) -> Daemon {
        let child = self.spawn();
        let pid = child.id();
        self.child = Some(child);
        let mut daemon = None;
        until("the daemon serves", PATIENCE, || {
            assert!(self.is_alive(), "the daemon ended: {}", self.last_log_line());
            let served = runtime_file(self.dir.path()).is_some_and(|file| file.pid == pid);
            daemon = if served { Daemon::find(self.dir.path()) } else { None };
            daemon.is_some()
        });
        daemon.unwrap()
    }

    fn last_log_line(&self) -> String {
        let log = fs::read_to_string(self.path("state/log/meshkilnd.log")).unwrap_or_default();
        log.lines().last().unwrap_or_default().to_owned()
    }

    pub fn spawn(&self) -> Child {
        let mut command = self.command("meshkilnd");
        command.args(["--device", self.device]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if self.is_mortal {
            system::take_omnipotence(&mut command);
        }
        command.spawn().unwrap()
    }

    /// SIGKILL, as a power cut of one process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether the daemon is still the process that was started.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        let child = self.child.as_mut()?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status.code();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        None
    }

    /// Runs `meshkiln` in this home.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.command("meshkiln").args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs `meshkiln --json` and reads what it printed.
    pub fn cli_json(&self, args: &[&str]) -> Json {
        let output = self.cli(&[&["--json"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A daemon that a command started is nobody's child here.
        if self.child.is_none() && Daemon::find(self.dir.path()).is_some() {
            let _ = self.cli(&["down", "--now"]);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running daemon as a client sees it.
pub struct Daemon {
    pub runtime: RuntimeFile,
    agent: Agent,
}

/// An error of a call: code, kind, message, hint. Refused by the gate: the HTTP status,
/// `http`, the body.
#[derive(Debug, Clone, PartialEq)]
pub struct CallError {
    pub code: i64,
    pub kind: String,
    pub message: String,
    pub hint: String,
}

impl Daemon {
    pub fn find(home: &Path) -> Option<Daemon> {
        let runtime = runtime_file(home)?;
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(90)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let daemon = Daemon { runtime, agent };
        daemon.try_call_json("session.hello", json!({})).ok()?.ok().map(|_| daemon)
    }

    /// The connection may break: that is an error of the transport.
    pub fn try_call_json(&self, method: &str, params: Json) -> Result<Result<Json, CallError>, ureq::Error> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = self
            .agent
            .post(&self.runtime.url)
            .header("authorization", format!("Bearer {}", self.runtime.token))
            .content_type("application/json")
            .send(request.to_string())?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        if !status.is_success() {
            let (kind, hint) = ("http".to_owned(), String::new());
            return Ok(Err(CallError { code: status.as_u16().into(), kind, message: text, hint }));
        }
        let mut answer: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method}: {e}: {text}"));
        match answer.get("error") {
            None => Ok(Ok(answer["result"].take())),
            Some(error) => Ok(Err(CallError {
                code: error["code"].as_i64().unwrap(),
                kind: error["data"]["kind"].as_str().unwrap_or_default().to_owned(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                hint: error["data"]["hint"].as_str().unwrap_or_default().to_owned(),
            })),
        }
    }

    pub fn try_call<M: Method>(&self, params: &M::Params) -> Result<M::Result, CallError> {
        let answer = self.try_call_json(M::NAME, serde_json::to_value(params).unwrap()).unwrap();
        answer.map(|json| serde_json::from_value(json).unwrap())
    }

    pub fn call<M: Method>(&self, params: &M::Params) -> M::Result {
        self.try_call::<M>(params).unwrap_or_else(|e| panic!("{}: {e:?}", M::NAME))
    }

    /// A file that the daemon keeps.
    pub fn blob(&self, sha256: &str) -> Vec<u8> {
        let request = self.agent.get(format!("{}/blob/{sha256}", self.runtime.url));
        let mut response = request.header("authorization", format!("Bearer {}", self.runtime.token)).call().unwrap();
        assert!(response.status().is_success(), "blob {sha256}: {}", response.status());
        response.body_mut().with_config().limit(256 << 20).read_to_vec().unwrap()
    }

    /// Fires text at the fake device, or a picture at the real one.
    pub fn fire(&self, source: &Path, key: Option<&str>) -> Job {
        self.call::<Submit>(&submit(source, key))
    }

    pub fn wait(&self, id: JobId) -> Job {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let job = self.call::<JobWait>(&JobWaitParams { id, timeout_ms: 30_000 });
            if job.state.is_final() {
                return job;
            }
            assert!(Instant::now() < deadline, "job {id} never ends: {job:?}");
        }
    }
}

pub fn submit(source: &Path, key: Option<&str>) -> SubmitParams {
    SubmitParams {
        source: SourceParams { path: Some(source.to_str().unwrap().to_owned()), ..SourceParams::default() },
        against: None,
        recipe: None,
        set: vec![],
        output: None,
        class: Class::Interactive,
        client: Some("tests".to_owned()),
        idempotency_key: key.map(str::to_owned),
    }
}

/// What stands in `daemon.json`, also when its daemon is dead.
pub fn runtime_file(home: &Path) -> Option<RuntimeFile> {
    serde_json::from_str(&fs::read_to_string(home.join("runtime/daemon.json")).ok()?).ok()
}

/// Stages of the recipe `prop`, in order.
pub const PROP: [&str; 14] = [
    "decode",
    "cutout",
    "upscale",
    "reconstruct",
    "surface",
    "clean",
    "simplify",
    "unwrap",
    "bake",
    "lods",
    "collider",
    "export",
    "check",
    "preview",
];

/// A picture that comes with the project.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).canonicalize().unwrap()
}
