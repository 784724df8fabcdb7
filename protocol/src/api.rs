//! Everything a client may ask: one line a method.
//!
//! The list feeds the server's registration, typed clients, the OpenRPC
//! description and the tests that walk it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{
    asset::{self, Asset, AssetGetParams, AssetListParams, AssetPage, AssetViewParams},
    cutout::{CutoutClickParams, CutoutCloseParams, CutoutMasks, CutoutOpenParams, CutoutSession},
    daemon::{DoctorReport, HelloParams, HelloResult, ShutdownParams, Status},
    event::{EventPage, PollParams},
    job::{
        Job, JobChangeParams, JobClearParams, JobClearResult, JobGetParams, JobListParams, JobLog, JobPage,
        JobReclassParams, JobWaitParams, RefireParams, SubmitParams,
    },
    net::{Guide, GuideParams, Net, NetIdParams, NetList, NetPullParams, NetWarmParams, Pull, YieldParams},
    recipe::{RecipeGetParams, RecipeList, RecipeText, RecipeValidateParams, RecipeVerdict, StageList},
    watch::{Watch, WatchAddParams, WatchIdParams, WatchList, WatchRescanResult},
};

/// One thing a client may ask.
pub trait Method {
    /// `namespace.verb`.
    const NAME: &'static str;
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    type Result: Serialize + DeserializeOwned + JsonSchema + Send + Clone + 'static;
}

/// A method as the OpenRPC description needs it.
pub struct MethodInfo {
    pub name: &'static str,
    /// First sentence is the summary.
    pub doc: &'static str,
    pub params: fn(&mut SchemaGenerator) -> Schema,
    pub result: fn(&mut SchemaGenerator) -> Schema,
    /// Parameters as these types read and write them: what is unknown, missing or
    /// of another type is an error.
    pub read_params: fn(Json) -> serde_json::Result<Json>,
    pub read_result: fn(Json) -> serde_json::Result<Json>,
}

/// No parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Nothing to say beyond success.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

macro_rules! methods {
    ($( $(#[doc = $doc:literal])+ $name:literal $ty:ident($params:ty) -> $result:ty; )+) => {
        $(
            $(#[doc = $doc])+
            pub struct $ty;
            impl Method for $ty {
                const NAME: &'static str = $name;
                type Params = $params;
                type Result = $result;
            }
        )+

        /// Every method but `events.subscribe`, which only WebSocket clients have.
        pub static METHODS: &[MethodInfo] = &[$(
            MethodInfo {
                name: $name,
                doc: concat!($($doc),+),
                params: |generator| generator.subschema_for::<$params>(),
                result: |generator| generator.subschema_for::<$result>(),
                read_params: read_again::<$params>,
                read_result: read_again::<$result>,
            },
        )+];
    };
}

fn read_again<T: Serialize + DeserializeOwned>(json: Json) -> serde_json::Result<Json> {
    serde_json::to_value(serde_json::from_value::<T>(json)?)
}

methods! {
    /// Versions, capabilities and limits. Ask this first.
    "session.hello" Hello(HelloParams) -> HelloResult;

    /// What the daemon is doing now.
    "daemon.status" DaemonStatus(NoParams) -> Status;
    /// Looks for what commonly goes wrong and says the fix.
    "daemon.doctor" Doctor(NoParams) -> DoctorReport;
    /// Gives the devices that run nets away: nets are unloaded, jobs that need them wait.
    "daemon.yield" Yield(YieldParams) -> Status;
    /// Takes the yielded devices back and warms up again. A paused queue stays paused.
    "daemon.resume" TakeBack(NoParams) -> Status;
    /// Stops the daemon after the running stage, or at once with `now`.
    "daemon.shutdown" Shutdown(ShutdownParams) -> Empty;

    /// Queues one recipe for one source. Returns after the durable commit.
    "job.submit" Submit(SubmitParams) -> Job;
    /// Runs an earlier asset again with other settings; unchanged stages come from the cache.
    "job.refire" Refire(RefireParams) -> Job;
    /// One job.
    "job.get" JobGet(JobGetParams) -> Job;
    /// Jobs, newest first, a page at a time.
    "job.list" JobList(JobListParams) -> JobPage;
    /// Answers when the job has ended or `timeout_ms` is over, whichever is first.
    "job.wait" JobWait(JobWaitParams) -> Job;
    /// Cancels a queued, paused or running job. Ended jobs are left as they are.
    "job.cancel" JobCancel(JobChangeParams) -> Job;
    /// Queues a failed, dead or cancelled job again; finished stages are kept.
    "job.retry" JobRetry(JobChangeParams) -> Job;
    /// Holds one queued job back.
    "job.pause" JobPause(JobChangeParams) -> Job;
    /// Lets a paused job go on.
    "job.resume" JobResume(JobChangeParams) -> Job;
    /// Moves a queued or paused job to another class: interactive ones go first.
    "job.reclass" JobReclass(JobReclassParams) -> Job;
    /// What happened to a job, line by line.
    "job.log" JobLogGet(JobGetParams) -> JobLog;
    /// Forgets ended jobs.
    "job.clear" JobClear(JobClearParams) -> JobClearResult;

    /// Stops starting jobs; running stages finish.
    "queue.pause" QueuePause(NoParams) -> Status;
    /// Starts jobs again.
    "queue.resume" QueueResume(NoParams) -> Status;

    /// Finished assets, newest first, a page at a time.
    "asset.list" AssetList(AssetListParams) -> AssetPage;
    /// The newest asset with this id, source path or output path.
    "asset.get" AssetGet(AssetGetParams) -> Asset;
    /// A picture of a finished asset from any side, drawn now.
    "asset.view" AssetView(AssetViewParams) -> asset::AssetView;

    /// Looks at a picture, so that clicks on it are answered at once. Its net is loaded where it is not warm.
    "cutout.open" CutoutOpen(CutoutOpenParams) -> CutoutSession;
    /// What is meant by points and a frame on an open picture: masks, best first.
    "cutout.click" CutoutClick(CutoutClickParams) -> CutoutMasks;
    /// Forgets an open picture. Unused ones are forgotten after ten minutes anyway.
    "cutout.close" CutoutClose(CutoutCloseParams) -> Empty;

    /// Watches a folder: what lands in it is fired.
    "watch.add" WatchAdd(WatchAddParams) -> Watch;
    /// Watched folders with counts and errors.
    "watch.list" WatchListAll(NoParams) -> WatchList;
    /// Stops watching a folder. Files and assets stay.
    "watch.remove" WatchRemove(WatchIdParams) -> Watch;
    /// Compares a folder with what is known about it, now.
    "watch.rescan" WatchRescan(WatchIdParams) -> WatchRescanResult;

    /// Recipes by name, built in and the user's.
    "recipe.list" RecipeListAll(NoParams) -> RecipeList;
    /// One recipe as text and with every setting spelled out.
    "recipe.get" RecipeGet(RecipeGetParams) -> RecipeText;
    /// Checks the text of a recipe without keeping it.
    "recipe.validate" RecipeValidate(RecipeValidateParams) -> RecipeVerdict;
    /// The stage table with engines and parameters: clients draw their forms from it.
    "stage.list" StageListAll(NoParams) -> StageList;

    /// Nets with what is in memory and what it takes.
    "net.list" NetListAll(NoParams) -> NetList;
    /// Which nets and built-in tools suit a need.
    "net.guide" NetGuide(GuideParams) -> Guide;
    /// Fetches a net's weights, resuming where an earlier pull stopped. Answers at once; events tell of its progress.
    "net.pull" NetPull(NetPullParams) -> Pull;
    /// Stops fetching a net's weights; what has come is kept for the next pull.
    "net.cancel_pull" NetCancelPull(NetIdParams) -> Pull;
    /// Loads a net as soon as its device is free; says at once how far that is.
    "net.warm" NetWarm(NetWarmParams) -> Net;
    /// Lets a net go from memory, after the running stage if that uses it. Unpins it too.
    "net.stop" NetStop(NetIdParams) -> Net;
    /// Deletes a net's weights from this machine. Refused while it is in use.
    "net.remove" NetRemove(NetIdParams) -> Net;

    /// Events after a sequence number; waits up to `wait_ms` for the first.
    "events.poll" EventsPoll(PollParams) -> EventPage;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_namespaced() {
        let mut names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METHODS.len());
        for method in METHODS {
            assert_eq!(method.name.matches('.').count(), 1, "{}", method.name);
            assert!(method.doc.trim().ends_with('.'), "{} has no doc sentence", method.name);
        }
    }
}
