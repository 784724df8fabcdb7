//! Jobs: one recipe applied to one source.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{Sha256, UnixMs, error::JobError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `done`, `failed`, `cancelled` and `dead` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    /// Held back until resumed.
    Paused,
    Running,
    Done,
    Failed,
    Cancelled,
    /// Its worker crashed too often.
    Dead,
}

impl JobState {
    pub const ALL: &[JobState] = &[
        JobState::Queued,
        JobState::Paused,
        JobState::Running,
        JobState::Done,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Dead,
    ];

    pub fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Dead)
    }

    pub fn id(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Paused => "paused",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Dead => "dead",
        }
    }
}

/// What goes first. Within a class: oldest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody is waiting for it.
    #[default]
    Interactive,
    /// It landed in a watched folder.
    Watch,
    /// Whenever there is time.
    Batch,
}

impl Class {
    /// First to last.
    pub const ALL: [Class; 3] = [Class::Interactive, Class::Watch, Class::Batch];

    /// As on the wire.
    pub fn id(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Watch => "watch",
            Class::Batch => "batch",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitParams {
    pub source: SourceParams,
    /// A second file, for recipes that hold one against the other, as `compare` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<SourceParams>,
    /// Name of a recipe. Unless given: `prop` for a picture, `optimize` for a mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// `stage.param=value`, applied in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Absolute path of the finished file, or of a folder for it (one that is
    /// there, or a path ending in `/`). Unless given: beside the source, with the
    /// recipe's extension; nowhere for a source without a path and for a recipe
    /// that only reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default)]
    pub class: Class,
    /// Who asks, for people to read: `blender`, `cli`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A submit repeated with the same key returns the first one's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Exactly one of `path` and `blob`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceParams {
    /// Absolute path of a file on this machine. It is copied before the call returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Digest of a blob uploaded with `PUT /blob/<sha256>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Sha256>,
    /// Name of the asset; unless given, the file name without its extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefireParams {
    pub asset: AssetRef,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Unless given, the asset's own path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default)]
    pub class: Class,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// Exactly one field: names an asset by id, or by a path on this machine (the
/// finished file or its source image).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobGetParams {
    pub id: JobId,
}

/// A call that changes one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobReclassParams {
    pub id: JobId,
    pub class: Class,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobChangeParams {
    pub id: JobId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobWaitParams {
    pub id: JobId,
    /// At most 60,000; the answer may be a job that has not ended.
    #[serde(default = "default_wait_ms")]
    pub timeout_ms: u64,
}

fn default_wait_ms() -> u64 {
    30_000
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobListParams {
    /// Empty means every state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<JobState>,
    /// Only jobs with a smaller id: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<JobId>,
    /// 1 to 500; 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// Pass as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobClearParams {
    /// Which final states; all four unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<JobState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobClearResult {
    pub cleared: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    pub id: JobId,
    pub state: JobState,
    pub class: Class,
    /// Name of the asset.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_path: Option<String>,
    pub source_sha256: Sha256,
    pub recipe: String,
    /// Where the finished file goes, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub submitted_ms: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<UnixMs>,
    /// Tries so far.
    pub attempt: u32,
    /// How often its worker crashed.
    pub crashes: u32,
    /// In recipe order.
    pub stages: Vec<StageRun>,
    /// While running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// While queued: jobs before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// While queued or between its stages: what it waits for, when that is not its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why it failed or died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// The finished file as a blob, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_sha256: Option<Sha256>,
    /// What the gate measured, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Json>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRun {
    pub stage: String,
    pub engine: String,
    pub state: StageState,
    /// Time in the worker; 0 when it came from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// The picture it made, a PNG unless it moves, as a blob; for as long as the cache has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_sha256: Option<Sha256>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    Pending,
    Running,
    Done,
    /// Done before, for this or another job.
    Cached,
    Failed,
}

/// Counted work of the running stage, and where that leaves the whole job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    pub stage: String,
    pub done: u32,
    pub total: u32,
    /// Of the whole job, 0 to 1, weighted by how long its stages usually take.
    pub fraction: f32,
    /// From history; absent until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobLog {
    pub id: JobId,
    pub lines: Vec<LogLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    pub time_ms: UnixMs,
    pub text: String,
}
