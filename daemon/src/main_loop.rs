//! What can happen to the daemon and what it does about it.
//!
//! `State::handle(event, now)` is the whole policy: plain data in, effects out.
//! turn.rs gives it time, makes each turn durable and performs the effects;
//! handle.rs is how the rest of the daemon talks to the loop.

mod handle;
#[cfg(test)]
mod tests;
mod turn;

use std::{path::PathBuf, time::Duration};

use meshkiln_models::recipe::Plan;
use meshkiln_protocol::{
    Sha256,
    cutout::CutoutId,
    daemon::QueueStatus,
    error::{ErrorKind, JobError},
    event::EventBody,
    job::{Class, JobId, JobState},
    net::KeepAlive,
    watch::WatchId,
};

use crate::worker::frames::{Command, Looked, Prompt, Report};

pub use handle::{Inbox, LoopHandle, inbox};
pub use turn::{EXIT_DISK_BROKEN, LoopConfig, LoopEnd, Outside, start};

/// Names a waiting caller; the effects layer holds its reply channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Which start of which device's worker: reports of an earlier one are stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// `cpu`, `cuda:0`, `metal`, `fake`, ...
pub type Device = String;

#[derive(Debug)]
pub enum Event {
    Call {
        id: CallId,
        call: Call,
    },
    Worker {
        worker: WorkerId,
        report: Report,
    },
    /// The process has ended, however.
    WorkerGone {
        worker: WorkerId,
        how: WorkerEnd,
    },
    /// The process could not be started.
    WorkerNotStarted {
        worker: WorkerId,
        error: String,
    },
    /// The finished file has been put, or not.
    Delivered {
        job: JobId,
        attempt: u32,
        result: Result<(), JobError>,
    },
    /// The check after an unclean stop found the database damaged.
    StoreDamaged(String),
    /// Somebody outside the loop has something to tell all clients.
    Note(EventBody),
    /// `next_deadline` has passed.
    Tick,
}

/// What a client, or the watcher, asks of the queue.
#[derive(Debug)]
pub enum Call {
    /// All of them in one transaction.
    Submit(Vec<Submission>),
    Cancel(JobId),
    Retry(JobId),
    Pause(JobId),
    Resume(JobId),
    Reclass(JobId, Class),
    /// Forget ended jobs in these states.
    Clear(Vec<JobState>),
    PauseQueue,
    ResumeQueue,
    /// Load it when its device is free. What is not given stays as it is.
    WarmNet {
        net: String,
        keep_alive: Option<KeepAlive>,
        pin: Option<bool>,
    },
    /// Let it go from memory, and unpin it.
    StopNet(String),
    /// The same, for its files are about to be deleted. Refused while it is in use.
    ReleaseNet(String),
    /// Give the devices that run nets away.
    Yield {
        time_limit: Option<Duration>,
        now: bool,
    },
    /// Take them back.
    TakeBack,
    /// Look at a picture, to cut out of it by clicks. Answered when that is done.
    OpenCutout {
        engine: &'static str,
        net: String,
        source_sha256: Sha256,
    },
    /// What is meant on an open picture. Answered when it is known.
    Click {
        session: CutoutId,
        prompt: Prompt,
    },
    CloseCutout(CutoutId),
    Shutdown {
        now: bool,
    },
}

/// A job to be: everything needed to run it, now or after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub source_sha256: Sha256,
    pub source_path: Option<PathBuf>,
    pub name: String,
    pub plan: Plan,
    pub output: Option<PathBuf>,
    pub class: Class,
    pub client: Option<String>,
    /// A second submission with the same key answers with the first one's job.
    pub idempotency_key: Option<String>,
    pub watch: Option<WatchId>,
}

/// The answer to a `Call`, after it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One id a submission, in order.
    Jobs(Vec<JobId>),
    Cleared(u64),
    Queue(QueueStatus),
    /// To `OpenCutout` and `Click`.
    Cutout(Opened, Looked),
    Done,
    Refused(Refusal),
}

/// A picture that is open for clicks.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub session: CutoutId,
    pub engine: &'static str,
    pub net: String,
}

/// Why a call failed. Nothing was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub kind: ErrorKind,
    pub message: String,
    pub hint: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WorkerEnd {
    Exit(i32),
    Signal(i32),
}

/// What the loop does about it, in order. Everything that must be durable
/// comes first: the effects of one turn are committed in one transaction before
/// any reply, command or delivery of that turn leaves.
#[derive(Debug)]
pub enum Effect {
    Reply {
        id: CallId,
        answer: Answer,
    },
    Spawn {
        worker: WorkerId,
        device: Device,
    },
    Send {
        worker: WorkerId,
        command: Command,
    },
    Kill {
        worker: WorkerId,
    },
    /// Copy the asset's blob to `output`, atomically, never over a foreign file.
    Deliver {
        job: JobId,
        attempt: u32,
        asset_sha256: Sha256,
        output: PathBuf,
    },
    Publish(EventBody),
    Log {
        job: JobId,
        text: String,
    },
    Stop,
}
