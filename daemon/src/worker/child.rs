//! The worker process: `meshkilnd worker --device DEVICE --blobs DIR --nets DIR`.
//!
//! In come `Command`s on stdin, out go `Report`s on stdout and nothing else.
//! Three threads: this one reads commands, so that a cancel is seen while a
//! stage runs; one runs stages, one at a time; one says each second that the
//! process is alive. The end of stdin is the end of the process, so that no
//! worker outlives its daemon.

use std::{
    any::Any,
    collections::BTreeMap,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{self as std_process, ExitCode},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_models::{
    cx::{CancelToken, Progress},
    stage::{self, Stage},
};

use super::{
    execute::Stages,
    fake::{self, Fake, FakeMemory},
    frames::{Ask, Command, Failure, FailureKind, Looked, Output, Report, Run, read_frame, write_frame},
    memory::{self, Gauge, Measuring},
    process,
    stored::Stored,
};
use crate::store::blobs::BlobStore;

const HEARTBEAT: Duration = Duration::from_secs(1);
/// At most one progress report in this time, besides a run's first and last.
const PROGRESS_GAP: Duration = Duration::from_millis(50);
/// The daemon sends one run at a time; a few more may cross a report on its way.
const WAITING_RUNS: usize = 8;
/// Geometry recurses; the default for threads is 2 MiB.
const STAGE_STACK: usize = 16 << 20;

/// What a device does with runs: the real stages, or the fake of fake.rs.
pub trait Runner: Send {
    /// Outputs by slot id, durable in the blob store.
    fn run(&mut self, running: &Running) -> Result<BTreeMap<String, Output>, Failure>;

    /// Brings a net into the device's memory, under the name of this load.
    fn load(&mut self, load: u64, net: &str) -> Result<(), Failure>;

    /// Lets go of what this load brought, if it is there.
    fn unload(&mut self, load: u64, net: &str);

    /// What is seen in a picture.
    fn ask(&mut self, asking: &Asking) -> Result<Looked, Failure>;

    /// Lets go of whatever is only kept to be quicker.
    fn trim(&mut self);

    /// What is said about the run that just ended. The fake lies here.
    fn last_word(&mut self, report: Report) -> Option<Report> {
        Some(report)
    }
}

/// Of a worker whose device failed (EX_SOFTWARE in sysexits.h).
const EXIT_DEVICE_FAULT: i32 = 70;

/// One run, and its ties to the outside.
pub struct Running<'a> {
    pub run: &'a Run,
    pub stage: &'static Stage,
    pub cancel: CancelToken,
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// One ask, and its ties to the outside.
pub struct Asking<'a> {
    pub ask: &'a Ask,
    pub cancel: CancelToken,
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// The way out: whole frames, from any thread.
pub struct Pipe {
    frames: Mutex<File>,
    gauge: Arc<dyn Gauge>,
    /// The fake stops its heartbeat, or pretends to use memory.
    pub muted: AtomicBool,
    pub pretended_bytes: AtomicU64,
}

/// `nets` is the folder of all weights.
pub fn main(device: &str, blobs: &Path, nets: &Path) -> ExitCode {
    match serve(device, blobs, nets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("worker for {device} cannot go on: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(device: &str, blobs: &Path, nets: &Path) -> io::Result<()> {
    process::leave_with_parent()?;
    process::guard_memory(device);
    let pretended = fake::is_fake(device).then(|| Arc::new(FakeMemory::from_env()));
    let pipe = Arc::new(Pipe {
        frames: Mutex::new(process::take_stdout()?),
        gauge: match &pretended {
            Some(pretended) => pretended.clone(),
            None => memory::gauge(device),
        },
        muted: AtomicBool::new(false),
        pretended_bytes: AtomicU64::new(0),
    });
    let blobs = BlobStore::open(blobs)?;
    let mut runner: Box<dyn Runner> = match (device, pretended) {
        (_, None) => Box::new(Stages::new(blobs, Box::new(Stored::on(device, nets)?))),
        (_, Some(pretended)) => Box::new(Fake::start(blobs, pipe.clone(), pretended)?),
    };
    pipe.send(&Report::Ready {
        pid: std_process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        memory: pipe.gauge.read(),
    });

    let beating = pipe.clone();
    thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
        loop {
            thread::sleep(HEARTBEAT);
            beating.beat();
        }
    })?;

    let tokens = Tokens::default();
    // Full: the daemon has lost count; the run is refused and said so.
    let (waiting, work) = sync_channel(WAITING_RUNS);
    let (stage_pipe, stage_tokens) = (pipe.clone(), tokens.clone());
    thread::Builder::new().name("stage".to_owned()).stack_size(STAGE_STACK).spawn(move || {
        run_stages(&mut *runner, work, &stage_pipe, &stage_tokens);
    })?;
    obey(&waiting, &pipe, &tokens)
}

/// Reads commands until told to leave, or until the daemon is gone.
fn obey(waiting: &SyncSender<Work>, pipe: &Pipe, tokens: &Tokens) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    while let Some(command) = read_frame(&mut stdin)? {
        match command {
            Command::Run(run) => {
                let id = run.run;
                tokens.add(id);
                if let Err(TrySendError::Full(_)) = waiting.try_send(Work::Run(run)) {
                    let message = format!("{WAITING_RUNS} runs are waiting already");
                    pipe.send(&Report::Failed { run: id, failure: internal(message) });
                    tokens.remove(id);
                }
            }
            Command::Ask(ask) => {
                let id = ask.run;
                tokens.add(id);
                if let Err(TrySendError::Full(_)) = waiting.try_send(Work::Ask(ask)) {
                    let message = format!("{WAITING_RUNS} runs are waiting already");
                    pipe.send(&Report::Failed { run: id, failure: internal(message) });
                    tokens.remove(id);
                }
            }
            Command::Load { load, net } => {
                if let Err(TrySendError::Full(_)) = waiting.try_send(Work::Load { load, net }) {
                    let failure = internal(format!("{WAITING_RUNS} runs are waiting already"));
                    pipe.send(&Report::LoadFailed { load, failure, memory: None });
                }
            }
            // One that is not answered: the daemon loses its patience.
            Command::Unload { load, net } => drop(waiting.try_send(Work::Unload { load, net })),
            Command::Cancel { run } => tokens.cancel(run),
            // Nothing to give back while work is waiting.
            Command::Trim => drop(waiting.try_send(Work::Trim)),
            Command::Exit => break,
        }
    }
    // Not by returning: a stage may be running on the other thread.
    std_process::exit(0)
}

enum Work {
    Run(Run),
    Ask(Ask),
    Load { load: u64, net: String },
    Unload { load: u64, net: String },
    Trim,
}

fn run_stages(runner: &mut dyn Runner, work: Receiver<Work>, pipe: &Pipe, tokens: &Tokens) {
    for work in work {
        match work {
            Work::Trim => {
                runner.trim();
                process::give_memory_back();
            }
            Work::Load { load, net } => pipe.send_last(&load_one(runner, load, &net, pipe)),
            Work::Unload { load, net } => {
                runner.unload(load, &net);
                process::give_memory_back();
                pipe.send(&Report::Unloaded { load, memory: pipe.gauge.read() });
            }
            Work::Ask(ask) => {
                let report = ask_one(runner, &ask, pipe, tokens.token(ask.run));
                tokens.remove(ask.run);
                pipe.send_last(&report);
            }
            Work::Run(run) => {
                let report = run_one(runner, &run, pipe, tokens.token(run.run));
                tokens.remove(run.run);
                if let Some(report) = runner.last_word(report) {
                    pipe.send_last(&report);
                }
            }
        }
    }
}

fn load_one(runner: &mut dyn Runner, load: u64, net: &str, pipe: &Pipe) -> Report {
    let started = Instant::now();
    // What earlier work left behind would go meanwhile and be taken off what the net holds.
    process::give_memory_back();
    let measuring = Measuring::begin(&*pipe.gauge);
    let result = catch_unwind(AssertUnwindSafe(|| runner.load(load, net))).unwrap_or_else(|panic| {
        runner.unload(load, net);
        let message = format!("loading `{net}` panicked: {}", panic_text(&*panic));
        Err(Failure { kind: FailureKind::Panicked, ..internal(message) })
    });
    match result {
        Ok(()) => {
            process::give_memory_back();
            let taken = measuring.end();
            Report::Loaded {
                load,
                bytes: taken.bytes,
                peak_bytes: taken.peak_bytes,
                elapsed_ms: millis(started),
                memory: pipe.gauge.read(),
            }
        }
        Err(failure) => {
            process::give_memory_back();
            Report::LoadFailed { load, failure, memory: pipe.gauge.read() }
        }
    }
}

fn run_one(runner: &mut dyn Runner, run: &Run, pipe: &Pipe, cancel: CancelToken) -> Report {
    let started = Instant::now();
    process::reset_peak_rss();
    let measuring = Measuring::begin(&*pipe.gauge);
    let Some(stage) = stage::find(&run.stage) else {
        let failure = internal(format!("this worker knows no stage `{}`", run.stage));
        return Report::Failed { run: run.run, failure };
    };
    let throttle = Throttle::new(run.run, pipe);
    let progress = |progress| throttle.progress(progress);
    let running = Running { run, stage, cancel, progress: &progress };
    let result = catch_unwind(AssertUnwindSafe(|| runner.run(&running))).unwrap_or_else(|panic| {
        // What was kept may be what made it panic.
        runner.trim();
        Err(Failure {
            kind: FailureKind::Panicked,
            message: format!("stage `{}` panicked: {}", stage.id, panic_text(&*panic)),
            hint: "report this with `meshkiln job ID log`".to_owned(),
        })
    });
    throttle.flush();
    match result {
        Ok(outputs) => Report::Done {
            run: run.run,
            outputs,
            elapsed_ms: millis(started),
            peak_rss_bytes: process::peak_rss_bytes().saturating_add(pipe.pretended_bytes.load(Ordering::Relaxed)),
            working_bytes: measuring.end().peak_bytes,
            memory: pipe.gauge.read(),
        },
        Err(failure) => Report::Failed { run: run.run, failure },
    }
}

fn ask_one(runner: &mut dyn Runner, ask: &Ask, pipe: &Pipe, cancel: CancelToken) -> Report {
    let started = Instant::now();
    let measuring = Measuring::begin(&*pipe.gauge);
    let throttle = Throttle::new(ask.run, pipe);
    let progress = |progress| throttle.progress(progress);
    let asking = Asking { ask, cancel, progress: &progress };
    let result = catch_unwind(AssertUnwindSafe(|| runner.ask(&asking))).unwrap_or_else(|panic| {
        let message = format!("looking at a picture panicked: {}", panic_text(&*panic));
        Err(Failure { kind: FailureKind::Panicked, ..internal(message) })
    });
    throttle.flush();
    match result {
        Ok(looked) => Report::Answered {
            run: ask.run,
            looked,
            elapsed_ms: millis(started),
            working_bytes: measuring.end().peak_bytes,
            memory: pipe.gauge.read(),
        },
        Err(failure) => Report::Failed { run: ask.run, failure },
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub fn internal(message: String) -> Failure {
    Failure { kind: FailureKind::Internal, message, hint: "report this with `meshkiln job ID log`".to_owned() }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

impl Pipe {
    /// Without a reader there is nobody to work for.
    pub fn send(&self, report: &Report) {
        let mut frames = self.raw();
        if let Err(e) = write_frame(&mut *frames, report) {
            eprintln!("worker cannot report and leaves: {e}");
            std_process::exit(1);
        }
    }

    /// The answer to work. After a device fault it is the last word: nothing more can be done here.
    fn send_last(&self, report: &Report) {
        self.send(report);
        if let Report::Failed { failure, .. } | Report::LoadFailed { failure, .. } = report
            && failure.kind == FailureKind::DeviceFault
        {
            std_process::exit(EXIT_DEVICE_FAULT);
        }
    }

    /// For the fake's tricks: what `send` writes to.
    pub fn raw(&self) -> MutexGuard<'_, File> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        if !self.muted.load(Ordering::Relaxed) {
            let pretended = self.pretended_bytes.load(Ordering::Relaxed);
            let rss_bytes = process::rss_bytes().saturating_add(pretended);
            self.send(&Report::Heartbeat { rss_bytes, memory: self.gauge.read() });
        }
    }
}

/// Cancel tokens of the runs that have come in and not been answered.
#[derive(Clone, Default)]
struct Tokens(Arc<Mutex<BTreeMap<u64, CancelToken>>>);

impl Tokens {
    fn add(&self, run: u64) {
        self.lock().insert(run, CancelToken::default());
    }

    fn token(&self, run: u64) -> CancelToken {
        self.lock().get(&run).cloned().unwrap_or_default()
    }

    /// A cancel that crosses the answer on its way finds nothing, and is no harm.
    fn cancel(&self, run: u64) {
        if let Some(token) = self.lock().get(&run) {
            token.cancel();
        }
    }

    fn remove(&self, run: u64) {
        self.lock().remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, CancelToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on a run's first and last progress and about 20 a second between.
struct Throttle<'a> {
    run: u64,
    pipe: &'a Pipe,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    at: Option<Instant>,
    held_back: Option<Progress>,
}

impl<'a> Throttle<'a> {
    fn new(run: u64, pipe: &'a Pipe) -> Self {
        Self { run, pipe, sent: Mutex::default() }
    }

    fn progress(&self, progress: Progress) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.at.is_none_or(|at| at.elapsed() >= PROGRESS_GAP) {
            self.send(progress);
            *sent = Sent { at: Some(Instant::now()), held_back: None };
        } else {
            sent.held_back = Some(progress);
        }
    }

    fn flush(&self) {
        let held_back = self.sent.lock().unwrap_or_else(PoisonError::into_inner).held_back.take();
        if let Some(progress) = held_back {
            self.send(progress);
        }
    }

    fn send(&self, Progress { done, total }: Progress) {
        self.pipe.send(&Report::Progress { run: self.run, done, total });
    }
}
