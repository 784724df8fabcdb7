//! How clients reach the daemon: JSON-RPC 2.0 and blobs on one loopback port.
//!
//! ```text
//!   server.rs  sockets, routes         gate.rs   who may speak       calls.rs  size, number, panics
//!   methods.rs name -> handler         submit.rs refire.rs jobs.rs assets.rs watches.rs about.rs events.rs
//!   convert.rs errors to the wire      blobs.rs  bytes               limits.rs every number
//! ```
//!
//! Handlers ask the loop for changes and the store for what is; they hold no
//! state and no policy.

pub mod about;
pub mod assets;
pub mod blobs;
pub mod calls;
pub mod connections;
pub mod convert;
pub mod events;
pub mod gate;
pub mod jobs;
pub mod limits;
pub mod methods;
pub mod refire;
pub mod reply;
pub mod server;
pub mod socket;
pub mod source;
pub mod submit;
pub mod watches;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    UnixMs,
    asset::{Asset, AssetListParams, AssetPage},
    daemon::{QueueStatus, WorkerStatus},
    event::EventPage,
    job::{AssetRef, Job, JobId, JobListParams, JobLog, JobPage},
    runtime::Folders,
};

use crate::{
    events::Hub,
    main_loop::{Answer, Call, Refusal, Submission},
    recipes::Recipes,
    store::blobs::BlobStore,
    watch::WatchHandle,
};

/// The loop and the store, as handlers see them.
pub trait Backend: Send + Sync + 'static {
    /// Asks the loop for a change; answers once it is durable.
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

    // What the loop published last. Never waits.
    fn queue(&self) -> QueueStatus;
    fn workers(&self) -> Vec<WorkerStatus>;
    fn problems(&self) -> Vec<String>;

    // Reads of the store, for the blocking threads.
    fn job(&self, id: JobId) -> Result<Option<Job>, Refusal>;
    fn jobs(&self, params: &JobListParams) -> Result<JobPage, Refusal>;
    fn log(&self, id: JobId) -> Result<Option<JobLog>, Refusal>;
    /// What a job was asked to do.
    fn submission(&self, id: JobId) -> Result<Option<Submission>, Refusal>;
    fn asset(&self, asset: &AssetRef) -> Result<Option<Asset>, Refusal>;
    fn assets(&self, params: &AssetListParams) -> Result<AssetPage, Refusal>;
    /// At most `limit` events after `since`, oldest first; progress is not kept.
    fn events(&self, since: u64, limit: u32, job: Option<JobId>) -> Result<EventPage, Refusal>;
}

/// What handlers work with.
pub struct Daemon {
    pub backend: Arc<dyn Backend>,
    pub blobs: BlobStore,
    pub watch: WatchHandle,
    pub hub: Hub,
    pub recipes: Recipes,
    pub folders: Folders,
    pub started_ms: UnixMs,
    /// Jobs that may wait at once, for `session.hello`.
    pub queue_limit: u32,
    /// Bytes that the blob store may take, and takes.
    pub blob_limit_bytes: u64,
    pub blob_bytes: BlobBytes,
    /// How long a subscriber may take nothing before its subscription ends.
    pub subscriber_patience: Duration,
}

/// Size of the blob store, counted anew when the last count is old.
#[derive(Default)]
pub struct BlobBytes(Mutex<Option<(Instant, u64)>>);

impl BlobBytes {
    const FRESH: Duration = Duration::from_secs(30);

    pub fn get(&self, blobs: &BlobStore) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, bytes)) if at.elapsed() < Self::FRESH => bytes,
            _ => {
                let bytes = blobs.iter().filter_map(|entry| Some(entry.ok()?.bytes)).sum();
                *last = Some((Instant::now(), bytes));
                bytes
            }
        }
    }
}

/// Of the daemon, as clients see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
