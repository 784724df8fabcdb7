//! The wire between Meshkiln's daemon and its clients: what can be asked
//! (api.rs), what can happen (event.rs) and what can go wrong (error.rs).
//!
//! JSON-RPC 2.0, parameters by name. No I/O, no tensors.

pub mod api;
pub mod asset;
pub mod cutout;
pub mod daemon;
pub mod error;
pub mod event;
pub mod job;
pub mod net;
pub mod openrpc;
pub mod recipe;
pub mod runtime;
pub mod watch;

/// Raised when a message changes in a way an older client would misread.
pub const PROTOCOL_VERSION: u32 = 1;

/// Text fields are UTF-8; paths that are not are shown with replacement characters.
pub type Sha256 = String;

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMs = u64;
