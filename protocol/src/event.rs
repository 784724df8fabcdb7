//! What can happen. Whatever can be subscribed can be polled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    UnixMs,
    daemon::QueueStatus,
    job::{Job, JobId, Progress},
    net::{Net, Pull, YieldStatus},
    watch::Watch,
};

/// Sequence numbers rise by one from event to event and go on over restarts of
/// the daemon; numbers of progress events that fell out of memory may be skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub seq: u64,
    pub time_ms: UnixMs,
    #[serde(flatten)]
    pub body: EventBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// A job was queued or changed its state. Never dropped within the history.
    Job { job: Box<Job> },
    /// A running job got on. Old ones are dropped when a client is slow.
    Progress { id: JobId, progress: Progress },
    /// A watched folder changed its mode, counts or problem.
    Watch { watch: Watch },
    /// A watched folder is watched no more.
    WatchRemoved { watch: Watch },
    /// The queue was paused, resumed, or changed its length.
    Queue { queue: QueueStatus },
    /// A net was loaded or let go, or could not be loaded.
    Net { net: Box<Net> },
    /// Weights came nearer, are here, or will not come.
    Pull { pull: Pull },
    /// The devices that run nets were given away, are free now, or are back.
    Yield {
        /// Absent when they are ours again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        yielded: Option<YieldStatus>,
    },
    /// The daemon is about to stop.
    Stopping,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollParams {
    /// Events after this one. Absent: from now on, nothing is returned but `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Wait this long for the first event; at most 60,000.
    #[serde(default)]
    pub wait_ms: u64,
    /// 1 to 1,000; 200 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only events of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

/// Of `events.subscribe`: every event after `since` is sent once, as a notification
/// `events.event` whose `result` is an `Event`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// Events after this one; from now on unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// The `error` of the last notification of a subscription that the daemon ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionEnd {
    pub message: String,
    /// What to do, as an action.
    pub hint: String,
    /// Subscribe again with this.
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// Pass as `since` in the next call.
    pub next: u64,
    /// Events between `since` and the first one returned are no longer known:
    /// list what you show again.
    pub lost: bool,
}
