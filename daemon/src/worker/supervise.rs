//! The daemon's side of its workers: starts them, hears them, ends them.
//!
//! `spawn`, `send` and `kill` never wait. Everything a worker says comes into the
//! inbox as `Event::Worker`, its end as exactly one `Event::WorkerGone`, and a
//! failure to start as `Event::WorkerNotStarted`; nothing comes after these two.
//!
//! Each worker has three threads here. Its owner starts the process, reads its
//! reports and waits for its end; it lives as long as the process, because Linux
//! ends a child with the *thread* that started it. The others write commands and
//! log stderr.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command as Program, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    frames::{Command, Report, read_frame, write_frame},
    process,
};
use crate::main_loop::{Device, Event, WorkerEnd, WorkerId};

/// Commands on their way to one worker. It gets one run at a time, so a full
/// queue means that it has stopped reading, and it is killed.
const COMMANDS: usize = 64;
/// From the end of a worker's stdout, or its last command, to its end.
const TIME_TO_LEAVE: Duration = Duration::from_secs(2);
/// Longest line of stderr that is logged in one piece, in bytes.
const LONGEST_LINE: u64 = 8 << 10;

pub struct Workers {
    exe: PathBuf,
    blobs: PathBuf,
    /// Folder of all weights.
    nets: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    inbox: SyncSender<Event>,
    workers: Mutex<BTreeMap<WorkerId, Worker>>,
    /// Where the processes are written down for the next daemon.
    record: Mutex<Option<PathBuf>>,
}

struct Worker {
    commands: SyncSender<Command>,
    state: State,
}

enum State {
    Starting,
    /// Killed before it was there.
    Unwanted,
    Running {
        process: Arc<Mutex<Child>>,
        recorded: Option<Recorded>,
    },
}

/// A process, so that it can be told from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Recorded {
    pid: u32,
    started: String,
}

impl Workers {
    /// `exe` is started as `exe worker --device DEVICE --blobs DIR --nets DIR`. A full inbox
    /// slows the workers' reports down, never the caller of these methods.
    pub fn new(exe: PathBuf, blobs_dir: PathBuf, nets_dir: PathBuf, inbox: SyncSender<Event>) -> Workers {
        let shared = Shared { inbox, workers: Mutex::default(), record: Mutex::default() };
        Workers { exe, blobs: blobs_dir, nets: nets_dir, shared: Arc::new(shared) }
    }

    /// Kills what an earlier daemon that died left running, and from now on writes
    /// this one's workers down in `record`. Says how many it killed.
    pub fn reap_orphans(&self, record: &Path) -> io::Result<usize> {
        let orphans: Vec<Recorded> = match fs::read(record) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let orphans = orphans.iter().filter(|it| process::started(it.pid).as_ref() == Some(&it.started));
        let killed = orphans.inspect(|orphan| process::kill_group(orphan.pid)).count();
        *lock(&self.shared.record) = Some(record.to_owned());
        self.shared.write_record(&lock(&self.shared.workers))?;
        Ok(killed)
    }

    pub fn spawn(&self, id: WorkerId, device: &Device) {
        let (commands, queue) = sync_channel(COMMANDS);
        lock(&self.shared.workers).insert(id, Worker { commands, state: State::Starting });
        let mut program = Program::new(&self.exe);
        program.args(["worker", "--device", device, "--blobs"]).arg(&self.blobs).arg("--nets").arg(&self.nets);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        // Out of the terminal's reach: Ctrl-C is the daemon's affair.
        std::os::unix::process::CommandExt::process_group(&mut program, 0);
        let (shared, name) = (self.shared.clone(), format!("{device}-{}", id.0));
        let owner = thread::Builder::new().name(format!("worker-{name}"));
        let owned = self.shared.clone();
        if let Err(e) = owner.spawn(move || owned.own(id, &name, program, queue)) {
            shared.not_started(id, &e);
        }
    }

    /// Never waits; a worker that has ended, or does not read, gets nothing.
    pub fn send(&self, id: WorkerId, command: Command) {
        let workers = lock(&self.shared.workers);
        let Some(worker) = workers.get(&id) else { return };
        if let Err(TrySendError::Full(_)) = worker.commands.try_send(command) {
            tracing::error!("worker {} does not read its commands and is killed", id.0);
            worker.kill();
        }
    }

    /// `WorkerGone` follows.
    pub fn kill(&self, id: WorkerId) {
        let mut workers = lock(&self.shared.workers);
        if let Some(worker) = workers.get_mut(&id) {
            worker.kill();
            if matches!(worker.state, State::Starting) {
                worker.state = State::Unwanted;
            }
        }
    }

    /// Kills all and returns when they are gone, or cannot be had in two seconds.
    pub fn kill_all(&self) {
        let ids: Vec<WorkerId> = lock(&self.shared.workers).keys().copied().collect();
        ids.iter().for_each(|&id| self.kill(id));
        let late = Instant::now() + TIME_TO_LEAVE;
        for id in ids {
            // One that is just being started is killed by its owner.
            while lock(&self.shared.workers).get(&id).is_some_and(Worker::is_alive) && Instant::now() < late {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Processes of this daemon, running or starting.
    pub fn count(&self) -> usize {
        lock(&self.shared.workers).len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl Worker {
    fn is_alive(&self) -> bool {
        match &self.state {
            State::Starting | State::Unwanted => true,
            State::Running { process, .. } => matches!(lock(process).try_wait(), Ok(None)),
        }
    }

    fn kill(&self) {
        if let State::Running { process, .. } = &self.state {
            kill(process);
        }
    }
}

impl Shared {
    /// The life of one worker, on its own thread.
    fn own(&self, id: WorkerId, name: &str, mut program: Program, queue: Receiver<Command>) {
        let mut child = match program.spawn() {
            Ok(child) => child,
            Err(e) => return self.not_started(id, &e),
        };
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three were asked for");
        };
        let pid = child.id();
        let process = Arc::new(Mutex::new(child));
        self.started(id, pid, &process);

        let logged = name.to_owned();
        let helpers = [
            thread::Builder::new().name(format!("tell-{name}")).spawn(move || write_commands(stdin, queue)),
            thread::Builder::new().name(format!("log-{name}")).spawn(move || log_lines(stderr, &logged)),
        ];
        if let Some(e) = helpers.into_iter().find_map(Result::err) {
            tracing::error!("worker {name} cannot be served and is killed: {e}");
            kill(&process);
        }
        if !self.hear(id, name, stdout) {
            kill(&process);
        }
        let end = match wait_until(&process, Instant::now() + TIME_TO_LEAVE) {
            Some(status) => end_of(status),
            None => {
                tracing::error!("worker {name} closed its pipe but did not end, and is killed");
                kill(&process);
                // Bound to come, if slowly: a driver may hold a killed process for a while.
                loop {
                    if let Some(status) = wait_until(&process, Instant::now() + TIME_TO_LEAVE) {
                        break end_of(status);
                    }
                }
            }
        };
        self.forget(id);
        let _ = self.inbox.send(Event::WorkerGone { worker: id, how: end });
    }

    /// Passes on reports until the pipe ends. `false` when what came is no report,
    /// or nobody is there to hear it.
    fn hear(&self, id: WorkerId, name: &str, stdout: ChildStdout) -> bool {
        let mut stdout = BufReader::new(stdout);
        loop {
            match read_frame::<Report>(&mut stdout) {
                Ok(Some(report)) => {
                    if self.inbox.send(Event::Worker { worker: id, report }).is_err() {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(e) => {
                    tracing::error!("worker {name} said something that is no report and is killed: {e}");
                    return false;
                }
            }
        }
    }

    fn started(&self, id: WorkerId, pid: u32, process: &Arc<Mutex<Child>>) {
        let recorded = process::started(pid).map(|started| Recorded { pid, started });
        let mut workers = lock(&self.workers);
        if let Some(worker) = workers.get_mut(&id) {
            let unwanted = matches!(worker.state, State::Unwanted);
            worker.state = State::Running { process: process.clone(), recorded };
            if unwanted {
                worker.kill();
            }
        }
        self.record_or_warn(&workers);
    }

    fn forget(&self, id: WorkerId) {
        let mut workers = lock(&self.workers);
        workers.remove(&id);
        self.record_or_warn(&workers);
    }

    fn not_started(&self, id: WorkerId, error: &io::Error) {
        lock(&self.workers).remove(&id);
        let _ = self.inbox.send(Event::WorkerNotStarted { worker: id, error: error.to_string() });
    }

    /// Workers also leave by themselves when their daemon is gone, so a record
    /// that cannot be written stops nothing.
    fn record_or_warn(&self, workers: &BTreeMap<WorkerId, Worker>) {
        if let Err(e) = self.write_record(workers) {
            tracing::warn!("the list of worker processes cannot be written: {e}");
        }
    }

    fn write_record(&self, workers: &BTreeMap<WorkerId, Worker>) -> io::Result<()> {
        let record = lock(&self.record);
        let Some(record) = &*record else { return Ok(()) };
        let recorded = |worker: &Worker| match &worker.state {
            State::Running { recorded, .. } => recorded.clone(),
            _ => None,
        };
        let list: Vec<Recorded> = workers.values().filter_map(recorded).collect();
        let folder = record.parent().unwrap_or(Path::new("."));
        // Not synced: after a power cut there are no processes.
        let mut temp = tempfile::NamedTempFile::new_in(folder)?;
        temp.write_all(&serde_json::to_vec(&list)?)?;
        temp.persist(record)?;
        Ok(())
    }
}

fn write_commands(mut stdin: ChildStdin, queue: Receiver<Command>) {
    for command in queue {
        // The owner sees the end of the process and tells.
        if write_frame(&mut stdin, &command).is_err() {
            return;
        }
    }
}

fn log_lines(stderr: ChildStderr, name: &str) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while matches!((&mut stderr).take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        tracing::warn!(worker = name, "{}", text.trim_end());
        line.clear();
    }
}

/// Under its lock a process that has not been waited for keeps its number, so
/// the signal reaches nobody else.
fn kill(process: &Mutex<Child>) {
    let mut child = lock(process);
    if let Ok(None) = child.try_wait() {
        process::kill_group(child.id());
        // Where there are no groups.
        let _ = child.kill();
    }
}

/// The end of a process that should be near.
fn wait_until(process: &Mutex<Child>, late: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        // Does not wait under the lock: `kill` needs it.
        if let Ok(Some(status)) = lock(process).try_wait() {
            return Some(status);
        }
        if Instant::now() >= late {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn end_of(status: ExitStatus) -> WorkerEnd {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return WorkerEnd::Signal(signal);
    }
    WorkerEnd::Exit(status.code().unwrap_or(-1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
