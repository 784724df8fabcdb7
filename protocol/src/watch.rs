//! Watched folders.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WatchId(pub u64);

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchAddParams {
    /// Absolute path of a folder.
    pub path: String,
    /// `prop` unless given; a `.meshkiln.toml` in the folder comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Folder for finished files, sub-folders kept; beside the source unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Sub-folders too.
    #[serde(default)]
    pub recursive: bool,
}

/// Exactly one field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchIdParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WatchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    pub id: WatchId,
    pub path: String,
    pub recipe: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    pub recursive: bool,
    pub mode: WatchMode,
    pub counts: WatchCounts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan_ms: Option<UnixMs>,
    /// The last thing that happened to a file there, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<WatchEvent>,
    /// What is wrong with the folder or its `.meshkiln.toml`, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchEvent {
    pub time_ms: UnixMs,
    /// A line to show: `lamp.png fired`.
    pub what: String,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchMode {
    /// The system reports changes.
    Events,
    /// The folder is listed every few seconds: a network drive, or the system's watch limit is reached.
    Polling,
    /// The folder is not there now; looked for every few seconds.
    Missing,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchCounts {
    /// Picture files seen.
    pub files: u64,
    /// Still being written, or not looked at yet.
    pub waiting: u64,
    /// Handed to the queue, in all.
    pub fired: u64,
    /// Not readable, with a line in the log.
    pub refused: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchList {
    pub watches: Vec<Watch>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchRescanResult {
    pub watches: Vec<Watch>,
}
