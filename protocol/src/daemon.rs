//! The daemon itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    UnixMs,
    net::{DeviceStatus, YieldStatus},
};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelloParams {
    /// Who asks, for the log: `cli 0.1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HelloResult {
    /// Of the daemon.
    pub version: String,
    pub protocol_version: u32,
    /// Every method this daemon answers.
    pub methods: Vec<String>,
    pub limits: Limits,
    /// Last sequence number so far: start polling events here.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Of one JSON-RPC request.
    pub request_bytes: u64,
    /// Of one uploaded blob, and of one source file.
    pub blob_bytes: u64,
    pub batch_calls: u32,
    pub calls_in_flight: u32,
    pub connections: u32,
    pub queued_jobs: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub started_ms: UnixMs,
    pub health: Health,
    /// Why health is not `ok`.
    pub problems: Vec<String>,
    pub queue: QueueStatus,
    pub workers: Vec<WorkerStatus>,
    pub devices: Vec<DeviceStatus>,
    /// The devices that run nets are given away; jobs that need them wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yielded: Option<YieldStatus>,
    /// What stages have done since the daemon started.
    pub stages: Vec<StageUsage>,
    pub watches: u32,
    pub disk: DiskStatus,
    /// Where configuration, state and cache are.
    pub folders: Vec<Folder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Ok,
    /// Works, but something needs attention.
    Degraded,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    /// No job is started until `queue.resume`.
    pub paused: bool,
    pub queued: u64,
    pub running: u64,
    pub paused_jobs: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// `cpu`, `cuda:0`, ...
    pub device: String,
    pub state: WorkerState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it is doing, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// Times it had to be started again.
    pub restarts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    Starting,
    Idle,
    Busy,
    /// Failed to start too often; tried again later.
    Broken,
    Stopped,
    /// Its device is given away until `daemon.resume`.
    Yielded,
}

/// What one engine of a stage has done since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageUsage {
    pub stage: String,
    pub engine: String,
    /// Runs that ended well.
    pub runs: u64,
    pub failures: u64,
    /// Times a result was there already.
    pub cached: u64,
    /// Of all runs together, in the worker.
    pub run_ms: u64,
    /// Most memory one run took on top of what was there before.
    pub peak_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    pub blob_bytes: u64,
    pub blob_limit_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Folder {
    pub what: String,
    pub path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownParams {
    /// Do not wait for the running stage; its job is queued again at the next start.
    #[serde(default)]
    pub now: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorReport {
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub what: String,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, when something should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Warning,
    Error,
}
