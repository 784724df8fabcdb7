//! Short ways to ask a daemon, and to wait for what it says.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    api::{
        DaemonStatus, JobCancel, JobGet, JobList, JobLogGet, JobPause, JobResume, JobRetry, NoParams, QueuePause,
        QueueResume, Refire, Submit,
    },
    daemon::Status,
    job::{
        AssetRef, Class, Job, JobChangeParams, JobGetParams, JobId, JobListParams, JobState, RefireParams, StageState,
        SubmitParams,
    },
};

use crate::{CallError, Daemon, until};

/// Longest wait for anything that should take a moment: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    pub fn submit(&self, params: &SubmitParams) -> Job {
        self.call::<Submit>(params)
    }

    pub fn submit_refused(&self, params: &SubmitParams) -> CallError {
        self.try_call::<Submit>(params).expect_err("it was taken")
    }

    pub fn refire(&self, asset: &Path, set: &[&str]) -> Job {
        self.call::<Refire>(&RefireParams {
            asset: AssetRef { id: None, path: Some(asset.to_str().unwrap().to_owned()) },
            set: set.iter().map(|set| (*set).to_owned()).collect(),
            output: None,
            class: Class::Interactive,
            client: None,
        })
    }

    pub fn job(&self, id: JobId) -> Job {
        self.call::<JobGet>(&JobGetParams { id })
    }

    /// Every job in these states, all pages, newest first.
    pub fn jobs(&self, states: &[JobState]) -> Vec<Job> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let params = JobListParams { states: states.to_vec(), before, limit: Some(500) };
            let page = self.call::<JobList>(&params);
            all.extend(page.jobs);
            before = page.next;
            if before.is_none() {
                return all;
            }
        }
    }

    pub fn log(&self, id: JobId) -> Vec<String> {
        self.call::<JobLogGet>(&JobGetParams { id }).lines.into_iter().map(|line| line.text).collect()
    }

    pub fn cancel(&self, id: JobId) -> Job {
        self.call::<JobCancel>(&JobChangeParams { id })
    }

    pub fn retry(&self, id: JobId) -> Job {
        self.call::<JobRetry>(&JobChangeParams { id })
    }

    pub fn pause(&self, id: JobId) -> Job {
        self.call::<JobPause>(&JobChangeParams { id })
    }

    pub fn resume(&self, id: JobId) -> Job {
        self.call::<JobResume>(&JobChangeParams { id })
    }

    pub fn pause_queue(&self) -> Status {
        self.call::<QueuePause>(&NoParams {})
    }

    pub fn resume_queue(&self) -> Status {
        self.call::<QueueResume>(&NoParams {})
    }

    pub fn status(&self) -> Status {
        self.call::<DaemonStatus>(&NoParams {})
    }

    /// Process of the one worker, while it has said that it is there.
    pub fn worker_pid(&self) -> Option<u32> {
        self.status().workers[0].pid
    }

    pub fn until_state(&self, id: JobId, state: JobState) -> Job {
        let mut job = self.job(id);
        until(&format!("job {id} is {}", state.id()), PATIENCE, || {
            job = self.job(id);
            assert!(job.state == state || !job.state.is_final(), "job {id} ended otherwise: {job:?}");
            job.state == state
        });
        job
    }

    pub fn until_stage(&self, id: JobId, stage: &str, state: StageState) -> Job {
        let mut job = self.job(id);
        until(&format!("{stage} of job {id} is {state:?}"), PATIENCE, || {
            job = self.job(id);
            let at = job.stages.iter().find(|run| run.stage == stage).map(|run| run.state);
            assert!(at == Some(state) || !job.state.is_final(), "job {id} ended: {job:?}");
            at == Some(state)
        });
        job
    }

    /// Waits until no job is queued or running.
    pub fn until_quiet(&self, limit: Duration) {
        until("the queue is empty", limit, || {
            let queue = self.status().queue;
            queue.queued == 0 && queue.running == 0
        });
    }
}

/// Stages of a job in one state, in recipe order.
pub fn stages_in(job: &Job, state: StageState) -> Vec<&str> {
    job.stages.iter().filter(|run| run.state == state).map(|run| run.stage.as_str()).collect()
}

/// Lets time pass, where time passing is what is tested.
pub fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}
