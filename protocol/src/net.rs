//! Nets: what can be loaded, what is warm where, and the memory of the devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::UnixMs;

/// Memory of a device as its worker sees it, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceMemory {
    /// By our worker.
    pub used_bytes: u64,
    /// By nobody.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetState {
    /// Its weights are not on this machine.
    Absent,
    /// Its weights are here, it is not in memory.
    Cold,
    Loading,
    /// In memory, ready to be used or in use.
    Warm,
    Unloading,
}

/// How long a net stays in memory after its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepAlive {
    /// Until its memory is needed by another.
    Forever,
    /// So many milliseconds; 0 lets it go at once.
    Ms(u64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Net {
    pub id: String,
    /// What it is for, in a sentence.
    pub doc: String,
    pub state: NetState,
    /// Where it is in memory, or on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// A stage is using it now.
    #[serde(default)]
    pub in_use: bool,
    /// What the catalogue says it needs at its peak.
    pub declared_bytes: u64,
    /// What it was measured to hold when idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// What it was measured to need at its peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    pub keep_alive: KeepAlive,
    /// Never let go to make room, and loaded again when it was lost.
    #[serde(default)]
    pub pinned: bool,
    /// While idle in memory: it is let go after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// How often it was loaded since the daemon started.
    pub loads: u64,
    /// How long the last load took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<u64>,
    /// Why it could not be loaded the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Only in `net.list`, and of the catalogue's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<NetAbout>,
    /// It is the user's own. Only in `net.list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnNet>,
    /// Its weights are being fetched. Only in `net.list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
}

impl Net {
    /// Its weights are on this machine.
    pub fn is_here(&self) -> bool {
        self.state != NetState::Absent
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetList {
    pub nets: Vec<Net>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetIdParams {
    pub id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetWarmParams {
    pub id: String,
    /// From now on; unchanged unless given, 15 minutes at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// Pins the net, or lets it go again; unchanged unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
}

/// A device as far as nets are concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceStatus {
    /// `cpu`, `cuda:0`, ...
    pub device: String,
    /// Absent until its worker has measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<DeviceMemory>,
    /// Kept free of nets: room to work in, and for everybody else.
    pub reserve_bytes: u64,
    /// Ids of the nets in its memory.
    pub nets: Vec<String>,
    /// Given away by `daemon.yield`.
    pub yielded: bool,
    /// Times its worker was started afresh because memory did not come back.
    pub recycles: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YieldParams {
    /// Take the device back after so long; unless given, `daemon.resume` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Do not wait for the running stage: its job is queued again, without blame.
    #[serde(default)]
    pub now: bool,
}

/// The devices that run nets are given away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct YieldStatus {
    pub devices: Vec<String>,
    pub since_ms: UnixMs,
    /// Absent: until `daemon.resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<UnixMs>,
    /// Nothing of ours is left on them.
    pub freed: bool,
}

/// What is known about a net wherever it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetAbout {
    /// `OWNER/NAME` on the hub.
    pub repository: String,
    /// A commit; absent where none is pinned and the main branch is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    pub files: Vec<NetFile>,
    /// As in the SPDX list where it is there.
    pub license: String,
    /// What the licence allows, in a sentence.
    pub license_says: String,
    /// Memory it needs, activations included: `4-8 GB`.
    pub memory_class: String,
    /// Whether a CPU runs it in a time that people wait.
    pub cpu_viable: bool,
    pub speed: String,
    pub quality: String,
    /// `image`, `3d`, `texture`, `depth`, `optimize`.
    pub serves: Vec<String>,
    /// `STAGE.ENGINE` that need it.
    pub engines: Vec<String>,
    /// A good choice for this machine.
    pub recommended: bool,
}

/// What the manifest of a user's own net says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnNet {
    pub folder: String,
    /// What runs it: `triposr`, `torchscript`. Absent where the manifest is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of the weights, as the user states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// How it is asked for: `reconstruct.net=ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
    /// What to do about `problem`, where the manifest is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetFile {
    pub path: String,
    /// Absent where it is not known; the first download records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    Fetching,
    /// A checkpoint is made into what is loaded.
    Converting,
    Done,
    Failed,
    Cancelled,
}

/// Weights on their way to this machine, or the end of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pull {
    pub net: String,
    pub state: PullState,
    /// The file in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of all files of the net while fetching, of this file while converting.
    pub done_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetPullParams {
    pub id: String,
    /// A folder that holds the files already; the hub, or `MESHKILN_HUB` of the daemon, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuideParams {
    /// `image`, `3d`, `texture`, `depth` or `optimize`.
    pub need: String,
}

/// Which tools suit a need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Guide {
    pub need: String,
    pub tools: Vec<Tool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    pub id: String,
    pub doc: String,
    /// How it is asked for: `reconstruct.engine=triposr`, or `--recipe optimize`.
    pub used_by: String,
    /// When it is the right choice.
    pub suits: String,
    /// It is a net, rather than built in.
    pub is_net: bool,
    /// It can be used now.
    pub here: bool,
}
