//! How clients reach the daemon: JSON-RPC 2.0 and blobs on one loopback port.
//!
//! ```text
//!   server.rs  sockets, routes         gate.rs   who may speak       calls.rs  size, number, panics
//!   methods.rs name -> handler         submit.rs refire.rs jobs.rs assets.rs watches.rs about.rs events.rs
//!   nets.rs    nets and devices         metrics.rs  counters for Prometheus   views.rs  assets from any side
//!   cutouts.rs pictures that clients point at
//!   convert.rs errors to the wire      blobs.rs  bytes               limits.rs every number
//! ```
//!
//! Handlers ask the loop for changes and the store for what is (`backend.rs`); they
//! hold no state and no policy.

pub mod server;

pub mod connections;
pub mod gate;
pub mod socket;

pub mod blobs;
pub mod calls;
pub mod methods;
pub mod reply;

pub mod about;
pub mod assets;
pub mod cutouts;
pub mod events;
pub mod gather;
pub mod jobs;
pub mod metrics;
pub mod nets;
pub mod refire;
pub mod source;
pub mod submit;
pub mod views;
pub mod watches;

pub mod backend;
pub mod convert;
pub mod limits;

use std::{sync::Arc, time::Duration};

use meshkiln_protocol::{UnixMs, runtime::Folders};

pub use backend::Backend;

use crate::{
    catalogue::Catalogue, events::Hub, pulls::Pulls, recipes::Recipes, store::blobs::BlobStore, viewer::Viewer,
    watch::WatchHandle,
};

/// Of the daemon, as clients see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What handlers work with.
pub struct Daemon {
    pub backend: Arc<dyn Backend>,
    pub blobs: BlobStore,
    pub watch: WatchHandle,
    pub hub: Hub,
    pub recipes: Recipes,
    pub catalogue: Arc<dyn Catalogue>,
    pub pulls: Pulls,
    pub viewer: Arc<Viewer>,
    pub folders: Folders,
    pub started_ms: UnixMs,
    /// Jobs that may wait at once.
    pub queue_limit: usize,
    /// How long a subscriber may take nothing before its subscription ends.
    pub subscriber_patience: Duration,
}
