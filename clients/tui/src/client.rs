//! Finds the daemon, starts it if need be, and asks it.

use std::{
    env, fs,
    io::ErrorKind,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    Sha256,
    api::{Hello, Method},
    daemon::{HelloParams, HelloResult},
    error::CallErrorData,
    runtime::{EXIT_ALREADY_RUNNING, Folders, RuntimeFile},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};
use ureq::{Agent, http::StatusCode};

use crate::error::Failure;

/// A freshly started daemon is ready within this, also on a slow disk after a crash.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longest a call may take; `job.wait` and `events.poll` ask for less.
const CALL_LIMIT: Duration = Duration::from_secs(90);

pub struct Client {
    agent: Agent,
    /// As last read; a daemon that was started anew has another one.
    runtime: Mutex<RuntimeFile>,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Response<R> {
    result: Option<R>,
    error: Option<CallError>,
}

#[derive(Deserialize)]
struct CallError {
    message: String,
    data: Option<Json>,
}

impl Client {
    /// The running daemon, or one started now.
    pub fn connect() -> Result<Client, Failure> {
        match Client::running()? {
            Some(client) => Ok(client),
            None => start(&folders()?),
        }
    }

    /// The running daemon, `None` when there is none.
    pub fn running() -> Result<Option<Client>, Failure> {
        // A file of a daemon that was killed: nobody answers, and the next one replaces it.
        let Some(runtime) = announced(&folders()?) else { return Ok(None) };
        let client = Client::new(runtime);
        match client.hello() {
            Ok(_) => Ok(Some(client)),
            Err(Failure::Unreachable { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn new(runtime: RuntimeFile) -> Client {
        let agent = Agent::config_builder()
            .timeout_global(Some(CALL_LIMIT))
            .timeout_connect(Some(Duration::from_secs(2)))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Client { agent, runtime: Mutex::new(runtime), next_id: AtomicU64::new(1) }
    }

    /// Finds a daemon again, or starts one, after this one died.
    pub fn revive(&self) -> Result<(), Failure> {
        let found = Client::connect()?.runtime.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Both reach the same daemon, rather than one and its successor.
    pub fn is_same(&self, other: &Client) -> bool {
        let runtime = |client: &Client| client.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone();
        runtime(self) == runtime(other)
    }

    pub fn hello(&self) -> Result<HelloResult, Failure> {
        let client = Some(format!("meshkiln {}", env!("CARGO_PKG_VERSION")));
        self.call::<Hello>(&HelloParams { client })
    }

    fn post(&self, runtime: &RuntimeFile, request: &str) -> Result<(StatusCode, String), ureq::Error> {
        let mut response = self
            .agent
            .post(&runtime.url)
            .header("authorization", format!("Bearer {}", runtime.token))
            .content_type("application/json")
            .send(request)?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok((response.status(), body))
    }

    /// A file that the daemon keeps, by the SHA-256 of its bytes.
    pub fn blob(&self, sha256: &Sha256) -> Result<Vec<u8>, Failure> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = self.agent.get(format!("{}/blob/{sha256}", runtime.url));
        let mut response = request.header("authorization", format!("Bearer {}", runtime.token)).call().map_err(lost)?;
        if !response.status().is_success() {
            return Err(Failure::unreachable(
                format!("the daemon no longer keeps this file ({})", response.status()),
                "run `meshkiln job ID retry`, or fire the source again",
            ));
        }
        response.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(lost)
    }

    /// A daemon that was started anew meanwhile is found again, as long as the
    /// old one cannot have taken the call.
    pub fn call<M: Method>(&self, params: &M::Params) -> Result<M::Result, Failure> {
        self.ask(M::NAME, params)
    }

    /// The same with an answer of another shape, where a daemon of another version may say more.
    pub fn ask<R: DeserializeOwned>(&self, method: &str, params: &impl Serialize) -> Result<R, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (status, body) = loop {
            let answer = self.post(&runtime, &request);
            let was_not_heard = match &answer {
                Ok((status, _)) => was_refused(*status),
                Err(ureq::Error::Io(e)) => e.kind() == ErrorKind::ConnectionRefused,
                Err(_) => false,
            };
            let other = if was_not_heard { announced(&folders()?).filter(|now| *now != runtime) } else { None };
            if let Some(now) = other {
                *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
                runtime = now;
                continue;
            }
            break answer.map_err(lost)?;
        };
        if was_refused(status) {
            return Err(Failure::unreachable(
                format!("{} belongs to another program or another daemon ({status})", runtime.url),
                "run `meshkiln up`; if that does not help, remove daemon.json from the runtime folder",
            ));
        }
        // At once into what is asked for: pages of events are long.
        if let Ok(Response { result: Some(result), error: None }) = serde_json::from_str(&body) {
            return Ok(result);
        }
        let response: Response<Json> = serde_json::from_str(&body)
            .map_err(|_| Failure::unreachable(format!("the daemon answered {status}"), "see `meshkiln log`"))?;
        match (response.error, response.result) {
            (Some(error), _) => Err(Failure::Refused {
                message: error.message,
                data: error.data.and_then(|data| serde_json::from_value::<CallErrorData>(data).ok()),
            }),
            (None, result) => serde_json::from_value(result.unwrap_or(Json::Null)).map_err(|e| {
                Failure::unreachable(
                    format!("the daemon's answer to {method} is not understood: {e}"),
                    "`meshkiln --version` and the daemon's version should be the same; run `meshkiln down`",
                )
            }),
        }
    }
}

fn lost(e: ureq::Error) -> Failure {
    Failure::unreachable(format!("the daemon does not answer: {e}"), "see `meshkiln status` and `meshkiln log`")
}

fn was_refused(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403)
}

/// What the last daemon to start wrote of itself.
fn announced(folders: &Folders) -> Option<RuntimeFile> {
    serde_json::from_str(&fs::read_to_string(folders.runtime_file()).ok()?).ok()
}

pub fn folders() -> Result<Folders, Failure> {
    Folders::from_env().ok_or_else(|| {
        Failure::unreachable("this user has no home folder", "set MESHKILN_HOME to a folder Meshkiln may use")
    })
}

/// The daemon's program: beside this one, else wherever PATH finds it.
pub fn daemon_program() -> PathBuf {
    let name = format!("meshkilnd{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(&name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

fn start(folders: &Folders) -> Result<Client, Failure> {
    let program = daemon_program();
    let said = folders.runtime.join("start.log");
    let mut child = spawn(&program, folders, &said)?;
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        if let Some(client) = Client::running()? {
            return Ok(client);
        }
        match child.try_wait() {
            // Another one was faster and will answer, or an old one is about to be gone.
            Ok(Some(status)) if status.code() == Some(EXIT_ALREADY_RUNNING) => {
                thread::sleep(Duration::from_millis(100));
                child = spawn(&program, folders, &said)?;
            }
            Ok(Some(status)) => {
                let said = fs::read_to_string(&said).unwrap_or_default();
                let reason = said.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(Failure::unreachable(
                    format!("the daemon ended while starting ({status}): {reason}"),
                    "run `meshkiln doctor`",
                ));
            }
            _ => {}
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::unreachable(
        format!("the daemon was started but does not answer within {} s", START_LIMIT.as_secs()),
        "run `meshkiln doctor`, and see `meshkiln log`",
    ))
}

fn spawn(program: &PathBuf, folders: &Folders, said: &PathBuf) -> Result<Child, Failure> {
    let cannot = |what: String| Failure::unreachable(what, "run `meshkiln doctor`");
    create_private(&folders.runtime)
        .map_err(|e| cannot(format!("cannot create {}: {e}", folders.runtime.display())))?;
    let errors = fs::File::create(said).map_err(|e| cannot(format!("cannot write {}: {e}", said.display())))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    detach(&mut command);
    command.spawn().map_err(|e| {
        Failure::unreachable(
            format!("cannot start {}: {e}", program.display()),
            "keep meshkilnd beside meshkiln, or on the PATH",
        )
    })
}

#[cfg(unix)]
fn create_private(folder: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_private(folder: &PathBuf) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

/// The daemon outlives this terminal and does not get its Ctrl-C.
#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

#[cfg(not(any(unix, windows)))]
fn detach(_command: &mut Command) {}
