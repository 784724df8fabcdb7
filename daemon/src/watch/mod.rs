//! Watched folders: what lands in them is fired, every file exactly once.
//!
//! Events are hints, the scan is the truth: events mark folders dirty, one
//! reconciler compares the disk with the table.

use meshkiln_protocol::{
    error::ErrorKind,
    watch::{Watch, WatchAddParams, WatchIdParams},
};
use tokio::sync::{mpsc, oneshot};

use crate::main_loop::Refusal;

/// How the rest of the daemon talks to the watching thread.
#[derive(Clone)]
pub struct WatchHandle {
    /// Bounded: when the watcher is behind, callers wait.
    requests: mpsc::Sender<Request>,
}

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

pub enum Request {
    Add(WatchAddParams, Reply<Watch>),
    List(Reply<Vec<Watch>>),
    Remove(WatchIdParams, Reply<Watch>),
    /// All watches when neither id nor path is given.
    Rescan(WatchIdParams, Reply<Vec<Watch>>),
}

impl WatchHandle {
    pub fn new(requests: mpsc::Sender<Request>) -> Self {
        Self { requests }
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

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal {
            kind: ErrorKind::ShuttingDown,
            message: "the watcher has stopped".to_owned(),
            hint: "start the daemon again with `meshkiln up`".to_owned(),
        };
        self.requests.send(request(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
