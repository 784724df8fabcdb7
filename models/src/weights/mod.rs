//! Weights of networks: which there are, how they come here, how they are read.
//!
//! `catalogue` says what can be loaded and where it comes from. `fetch` brings
//! the files of one net into a folder and verifies every byte. `pickle` reads
//! torch checkpoints without executing anything, `convert` turns one into
//! safetensors once, `open` maps the result into memory. `yaml` reads the
//! configuration published beside a checkpoint. `own` are networks that a
//! user put beside those of the catalogue.
//!
//! Nothing here knows a tensor library, a clock or the daemon: time, free disk
//! space and pauses between retries are passed in.

pub mod catalogue;
pub mod convert;
pub mod dtype;
pub mod error;
pub mod fetch;
pub mod open;
pub mod own;
pub mod pickle;
pub mod yaml;

mod digest;
mod save;

pub use error::WeightsError;

pub type Result<T, E = WeightsError> = std::result::Result<T, E>;
