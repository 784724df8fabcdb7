//! Watched folders: what lands in them is fired, every file exactly once.
//!
//! Events are hints, the scan is the truth: `notice.rs` marks folders dirty,
//! `scan.rs` lists them, `reconcile.rs` (pure) compares the list with what is
//! known and says what is ready, `service.rs` takes snapshots and queues jobs,
//! `table.rs` remembers over restarts.

pub mod names;
pub mod notice;
pub mod reconcile;
pub mod rules;
pub mod scan;
pub mod service;
pub mod table;
pub mod watched;

use std::sync::mpsc::{SyncSender, TrySendError};

use meshkiln_protocol::{
    error::ErrorKind,
    watch::{Watch, WatchAddParams, WatchId, WatchIdParams},
};
use tokio::sync::oneshot;

use self::notice::Hint;
use crate::main_loop::Refusal;

/// What the watching thread hears.
pub enum Input {
    Request(Request),
    Hint(WatchId, Hint),
    Stop,
}

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

pub enum Request {
    Add(WatchAddParams, Reply<Watch>),
    List(Reply<Vec<Watch>>),
    Remove(WatchIdParams, Reply<Watch>),
    /// All watches when neither id nor path is given.
    Rescan(WatchIdParams, Reply<Vec<Watch>>),
}

/// How the rest of the daemon talks to the watching thread.
#[derive(Clone)]
pub struct WatchHandle {
    /// Bounded: when the watcher is behind, callers are told to come back.
    inbox: SyncSender<Input>,
}

impl WatchHandle {
    pub fn new(inbox: SyncSender<Input>) -> Self {
        Self { inbox }
    }

    pub async fn add(&self, params: WatchAddParams) -> Result<Watch, Refusal> {
        self.ask(|reply| Request::Add(params, reply)).await
    }

    pub async fn list(&self) -> Result<Vec<Watch>, Refusal> {
        self.ask(Request::List).await
    }

    pub async fn remove(&self, params: WatchIdParams) -> Result<Watch, Refusal> {
        self.ask(|reply| Request::Remove(params, reply)).await
    }

    pub async fn rescan(&self, params: WatchIdParams) -> Result<Vec<Watch>, Refusal> {
        self.ask(|reply| Request::Rescan(params, reply)).await
    }

    /// Nothing is queued any more once the thread has seen this.
    pub fn stop(&self) {
        // A full inbox is being worked off, so this waits for a moment at most.
        let _already_gone = self.inbox.send(Input::Stop);
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal {
            kind: ErrorKind::ShuttingDown,
            message: "the watcher has stopped".to_owned(),
            hint: "start the daemon again with `meshkiln up`".to_owned(),
        };
        self.inbox.try_send(Input::Request(request(reply))).map_err(|e| match e {
            TrySendError::Disconnected(_) => stopped(),
            TrySendError::Full(_) => Refusal {
                kind: ErrorKind::Busy,
                message: "the watcher is working off a large drop".to_owned(),
                hint: "try again in a few seconds".to_owned(),
            },
        })?;
        answer.await.map_err(|_| stopped())?
    }
}
