//! The loop and the store, as handlers see them.

use std::{pin::Pin, sync::Arc};

use meshkiln_protocol::{
    asset::{Asset, AssetListParams, AssetPage},
    event::EventPage,
    job::{AssetRef, Job, JobId, JobListParams, JobLog, JobPage},
};

use crate::{
    main_loop::{Answer, Call, LoopHandle, Refusal, Submission},
    state::view::View,
};

/// A second one, in memory, stands behind the tests of the server.
pub trait Backend: Send + Sync + 'static {
    /// Asks the loop for a change; answers once it is durable.
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

    /// What the loop published last. Never waits.
    fn view(&self) -> Arc<View>;

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

impl Backend for LoopHandle {
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>> {
        let handle = self.clone();
        Box::pin(async move { LoopHandle::call(&handle, call).await })
    }

    fn view(&self) -> Arc<View> {
        LoopHandle::view(self)
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, Refusal> {
        Ok(self.reader().job(id, &LoopHandle::view(self))?)
    }

    fn jobs(&self, params: &JobListParams) -> Result<JobPage, Refusal> {
        Ok(self.reader().jobs(params, &LoopHandle::view(self))?)
    }

    fn log(&self, id: JobId) -> Result<Option<JobLog>, Refusal> {
        Ok(self.reader().log(id)?)
    }

    fn submission(&self, id: JobId) -> Result<Option<Submission>, Refusal> {
        Ok(self.reader().submission(id)?)
    }

    fn asset(&self, asset: &AssetRef) -> Result<Option<Asset>, Refusal> {
        Ok(self.reader().asset(asset)?)
    }

    fn assets(&self, params: &AssetListParams) -> Result<AssetPage, Refusal> {
        Ok(self.reader().assets(params)?)
    }

    fn events(&self, since: u64, limit: u32, job: Option<JobId>) -> Result<EventPage, Refusal> {
        Ok(self.reader().events(since, limit, job)?)
    }
}
