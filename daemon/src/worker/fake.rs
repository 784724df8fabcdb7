//! The device `fake`: a worker whose trouble is written in the picture.
//!
//! The source is text instead of a picture. Each line says what happens at a
//! stage; without any, every stage answers at once:
//!
//! ```text
//! # lines like this make sources differ
//! decode sleep 50ms
//! simplify progress 100 x 2ms     steps, time of each
//! cutout error no_object          any `FailureKind`
//! reconstruct crash segv          or abort, kill, exit
//! bake crash segv once            only the first time, also across restarts
//! clean panic
//! export oom                      allocates until the process ends
//! decode pretend-memory 2GiB      until trimmed
//! cutout hang                     until cancelled
//! cutout hang ignore-cancel       until killed
//! cutout mute                     hangs, also without a heartbeat
//! cutout freeze                   the whole process stands still
//! bake lie missing                says it is done, without a blob
//! bake lie digest                 names something that is no digest
//! bake lie stale                  answers a run that was not asked for
//! bake lie silent                 does not answer
//! bake garbage                    bytes that are no frame
//! bake close                      ends its stdout and hangs
//! bake chatter                    prints to stdout, as a library might
//! * sleep 5ms                     at every stage
//! ```
//!
//! Several lines for one stage are done in order. Text may also follow a real
//! picture, after a line `meshkiln-fake`. Outputs hold what they were made from
//! and the directives, so they are deterministic, cached like real ones, and the
//! next stage reads its trouble there.
//!
//! `MESHKILN_FAKE_DIR` names a folder that keeps what happened `once`. Its file
//! `worker`, where there is one, holds such lines without a stage (`sleep 500ms`,
//! `crash exit`, `garbage`) for the start of the process. Its file `nets` says what
//! memory the device pretends to have, and which nets: see fake/nets.rs.

mod nets;
mod script;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::abort,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use meshkiln_models::{
    cx::{CancelToken, Progress},
    slot::sha256_hex,
    stage,
};
use serde_json::json;

use super::{
    child::{Asking, Pipe, Runner, Running, internal},
    execute::{digest, read_input, slot, write_outputs},
    frames::{Failure, FailureKind, Looked, Output, Report},
};
use crate::store::blobs::BlobStore;
pub use nets::{FakeMemory, catalogue};
use script::{Action, Crash, Directive, Lie, Script, is_directive};

/// `fake`, or `fake:0` beside a `fake` that does what needs no net.
pub fn is_fake(device: &str) -> bool {
    device == "fake" || device.starts_with("fake:")
}

pub struct Fake {
    blobs: BlobStore,
    pipe: Arc<Pipe>,
    memory: Option<PathBuf>,
    pretended: Arc<FakeMemory>,
    lie: Option<Lie>,
}

impl Fake {
    pub fn start(blobs: BlobStore, pipe: Arc<Pipe>, pretended: Arc<FakeMemory>) -> io::Result<Fake> {
        let memory = env::var_os("MESHKILN_FAKE_DIR").map(PathBuf::from);
        let start = memory.as_ref().and_then(|dir| fs::read_to_string(dir.join("worker")).ok()).unwrap_or_default();
        let mut fake = Fake { blobs, pipe, memory, pretended, lie: None };
        for line in start.lines().filter(|line| is_directive(line)) {
            let directive = Directive::parse(line).map_err(io::Error::other)?;
            let happened = fake.happened(&directive, "worker", line).map_err(|e| io::Error::other(e.message))?;
            if !happened {
                fake.act(&directive, &CancelToken::default(), &|_| ()).map_err(|e| io::Error::other(e.message))?;
            }
        }
        Ok(fake)
    }

    /// Whether a `once` has been; from now on it has.
    fn happened(&self, directive: &Directive, source: &str, line: &str) -> Result<bool, Failure> {
        if !directive.once {
            return Ok(false);
        }
        let dir = self.memory.as_ref().ok_or_else(|| invalid("`once` needs MESHKILN_FAKE_DIR".to_owned()))?;
        let mark = dir.join(format!("once-{}", sha256_hex(format!("{source} {line}").as_bytes())));
        match fs::File::create_new(mark) {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(e) => Err(invalid(format!("MESHKILN_FAKE_DIR cannot be written: {e}"))),
        }
    }

    fn act(
        &mut self,
        directive: &Directive,
        cancel: &CancelToken,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Failure> {
        let check = || match cancel.is_cancelled() && !directive.ignore_cancel {
            true => Err(cancelled()),
            false => Ok(()),
        };
        let sleep = |time: Duration| {
            let end = Instant::now() + time;
            loop {
                check()?;
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                thread::sleep(left.min(Duration::from_millis(5)));
            }
        };
        match &directive.action {
            Action::Sleep(time) => sleep(*time)?,
            Action::Progress { steps, each } => {
                for done in 1..=*steps {
                    sleep(*each)?;
                    progress(Progress { done, total: *steps });
                }
            }
            Action::Error(kind) => {
                let message = format!("the fake was told to fail: {}", json!(kind).as_str().unwrap_or_default());
                return Err(Failure { kind: *kind, message, hint: "tell it something else".to_owned() });
            }
            Action::Crash(crash) => crash_now(*crash),
            Action::Panic => panic!("the fake was told to panic"),
            Action::OutOfMemory => {
                // Reserved, not touched: the limit of worker/process.rs ends it.
                let mut held = Vec::new();
                loop {
                    held.push(std::hint::black_box(Vec::<u8>::with_capacity(1 << 30)));
                }
            }
            Action::PretendMemory(bytes) => self.pipe.pretended_bytes.store(*bytes, Ordering::Relaxed),
            Action::Hang => loop {
                sleep(Duration::from_secs(3600))?;
            },
            Action::Mute => {
                self.pipe.muted.store(true, Ordering::Relaxed);
                loop {
                    thread::park();
                }
            }
            Action::Freeze => freeze(),
            Action::Lie(lie) => self.lie = Some(lie.clone()),
            Action::Close => {
                let nowhere = tempfile::tempfile().map_err(|e| invalid(e.to_string()))?;
                *self.pipe.raw() = nowhere;
                loop {
                    thread::park();
                }
            }
            Action::Garbage => {
                let _ = self.pipe.raw().write_all(b"Segmentation fault (core dumped)\n");
            }
            Action::Chatter => println!("a library says hello on stdout"),
        }
        check()
    }

    /// What the source says about this stage, and what it then leaves.
    fn run_script(&mut self, running: &Running, script: Option<Script>) -> Result<BTreeMap<String, Output>, Failure> {
        let Running { run, stage, cancel, progress } = running;
        let script = script.ok_or_else(|| internal(format!("stage `{}` was given nothing to read", stage.id)))?;
        for line in &script.directives {
            let (at, rest) = line.split_once(' ').unwrap_or((line, ""));
            if at != "*" && stage::find(at).is_none() {
                return Err(invalid(format!("directive `{line}` names no stage")));
            }
            // All are read at the first stage, so that a slip of the pen shows.
            let directive = Directive::parse(rest).map_err(invalid)?;
            if (at == "*" || at == stage.id) && !self.happened(&directive, &script.source, line)? {
                self.act(&directive, cancel, *progress)?;
            }
        }
        if cancel.is_cancelled() && self.lie.is_none() && !script.ignores_cancel(stage.id) {
            return Err(cancelled());
        }
        // A stage that writes one thing or another writes the first.
        let slots = if stage.writes.is_empty() { stage.may_write.get(..1).unwrap_or_default() } else { stage.writes };
        let outputs = slots.iter().map(|&slot| Ok((slot, script.output(run, slot)?)));
        write_outputs(&self.blobs, &outputs.collect::<Result<Vec<_>, Failure>>()?)
    }
}

impl Runner for Fake {
    fn run(&mut self, running: &Running) -> Result<BTreeMap<String, Output>, Failure> {
        let Running { run, stage, .. } = running;
        self.lie = None;
        let mut script = None;
        for read in stage.sees() {
            if let Some(sha256) = run.inputs.get(read.id()) {
                let bytes = read_input(&self.blobs, read, digest(sha256)?)?;
                script = script.or_else(|| Some(Script::find(sha256, &bytes)));
            }
        }
        for id in run.inputs.keys() {
            slot(id)?;
        }
        self.pretended.begin_run(&run.nets)?;
        let done = self.run_script(running, script);
        self.pretended.end_run();
        done
    }

    fn load(&mut self, load: u64, net: &str) -> Result<(), Failure> {
        for line in self.pretended.at_load(net) {
            let directive = Directive::parse(&line).map_err(invalid)?;
            if !self.happened(&directive, net, &line)? {
                self.act(&directive, &CancelToken::default(), &|_| ())?;
            }
        }
        self.pretended.load(load, net)
    }

    fn unload(&mut self, load: u64, _: &str) {
        self.pretended.unload(load);
    }

    fn ask(&mut self, _: &Asking) -> Result<Looked, Failure> {
        let (message, hint) = ("the device `fake` has no eyes".to_owned(), "start the daemon on another".to_owned());
        Err(Failure { kind: FailureKind::Unsupported, message, hint })
    }

    fn trim(&mut self) {
        self.pipe.pretended_bytes.store(0, Ordering::Relaxed);
    }

    fn last_word(&mut self, report: Report) -> Option<Report> {
        let Report::Done { run, outputs, elapsed_ms, peak_rss_bytes, working_bytes, memory } = report else {
            return Some(report);
        };
        let lied =
            |run, outputs| Some(Report::Done { run, outputs, elapsed_ms, peak_rss_bytes, working_bytes, memory });
        match self.lie.take() {
            None => lied(run, outputs),
            Some(Lie::Silent) => None,
            Some(Lie::Stale) => lied(run.wrapping_sub(1), outputs),
            Some(Lie::Missing) => {
                let missing = |(slot, mut output): (String, Output)| {
                    output.sha256 = sha256_hex(output.sha256.as_bytes());
                    (slot, output)
                };
                lied(run, outputs.into_iter().map(missing).collect())
            }
            Some(Lie::Digest) => {
                let wrong = |(slot, output): (String, Output)| {
                    (slot, Output { sha256: output.sha256.to_uppercase(), bytes: output.bytes + 1 })
                };
                lied(run, outputs.into_iter().map(wrong).collect())
            }
        }
    }
}

fn crash_now(crash: Crash) -> ! {
    match crash {
        Crash::Exit => std::process::exit(3),
        Crash::Abort => abort(),
        #[cfg(unix)]
        Crash::Segv => raise(libc::SIGSEGV),
        #[cfg(unix)]
        Crash::Kill => raise(libc::SIGKILL),
        #[cfg(not(unix))]
        Crash::Segv | Crash::Kill => {}
    }
    abort()
}

#[cfg(unix)]
fn raise(signal: i32) {
    // Twice: Rust's own handler lets a SIGSEGV pass that no access raised.
    for _ in 0..2 {
        // SAFETY: ends the process, which is what was asked for.
        unsafe { libc::raise(signal) };
    }
}

fn freeze() {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::STOP);
    }
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::InvalidInput, message, hint: "see the directives in worker/fake.rs".to_owned() }
}

fn cancelled() -> Failure {
    Failure { kind: FailureKind::Cancelled, message: "cancelled".to_owned(), hint: String::new() }
}
