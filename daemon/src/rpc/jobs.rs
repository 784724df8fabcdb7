//! `job.*` but submitting, and `queue.*`.

use std::sync::Arc;

use meshkiln_protocol::{
    api::NoParams,
    daemon::Status,
    event::EventBody,
    job::{
        Job, JobChangeParams, JobClearParams, JobClearResult, JobGetParams, JobId, JobListParams, JobLog, JobPage,
        JobReclassParams, JobState, JobWaitParams,
    },
};
use tokio::time::{Duration, Instant, timeout_at};

use super::{
    Daemon, about,
    convert::{self, CallError},
    limits,
    methods::blocking,
};
use crate::main_loop::{Answer, Call};

/// Longest page of anything, and the usual one.
pub const PAGE: (u32, u32) = (500, 50);

pub async fn get(daemon: Arc<Daemon>, params: JobGetParams) -> Result<Job, CallError> {
    read(daemon, params.id).await
}

pub async fn list(daemon: Arc<Daemon>, mut params: JobListParams) -> Result<JobPage, CallError> {
    params.limit = Some(page_size(params.limit)?);
    blocking(move || Ok(daemon.backend.jobs(&params)?)).await
}

pub async fn log(daemon: Arc<Daemon>, params: JobGetParams) -> Result<JobLog, CallError> {
    let id = params.id;
    blocking(move || daemon.backend.log(id)?.ok_or_else(|| no_such_job(id))).await
}

/// Holds no thread while it waits.
pub async fn wait(daemon: Arc<Daemon>, params: JobWaitParams) -> Result<Job, CallError> {
    let deadline = Instant::now() + Duration::from_millis(params.timeout_ms).min(limits::LONGEST_WAIT);
    let mut changes = daemon.hub.changes();
    // Marked as seen before looking, so that no end is missed.
    let mut since = changes.borrow_and_update().last_seq;
    let mut closed = false;
    let mut job = read(daemon.clone(), params.id).await?;
    while !job.state.is_final() && !closed {
        match timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => closed = changes.borrow_and_update().closed,
            Ok(Err(_)) | Err(_) => break,
        }
        let recent = daemon.hub.recent(since, usize::MAX, Some(params.id));
        let is_touched = recent.events.iter().any(|event| matches!(event.body, EventBody::Job { .. }));
        // After a jump over what memory holds, only the store knows.
        if is_touched || recent.from > since + 1 {
            job = read(daemon.clone(), params.id).await?;
        }
        since = recent.to;
    }
    Ok(job)
}

pub async fn cancel(daemon: Arc<Daemon>, params: JobChangeParams) -> Result<Job, CallError> {
    change(daemon, params.id, Call::Cancel(params.id)).await
}

pub async fn retry(daemon: Arc<Daemon>, params: JobChangeParams) -> Result<Job, CallError> {
    change(daemon, params.id, Call::Retry(params.id)).await
}

pub async fn pause(daemon: Arc<Daemon>, params: JobChangeParams) -> Result<Job, CallError> {
    change(daemon, params.id, Call::Pause(params.id)).await
}

pub async fn resume(daemon: Arc<Daemon>, params: JobChangeParams) -> Result<Job, CallError> {
    change(daemon, params.id, Call::Resume(params.id)).await
}

pub async fn reclass(daemon: Arc<Daemon>, params: JobReclassParams) -> Result<Job, CallError> {
    change(daemon, params.id, Call::Reclass(params.id, params.class)).await
}

pub async fn clear(daemon: Arc<Daemon>, params: JobClearParams) -> Result<JobClearResult, CallError> {
    let is_given = !params.states.is_empty();
    if let Some(state) = params.states.iter().find(|state| !state.is_final()) {
        let message = format!("jobs that are {} have not ended", state.id());
        return Err(convert::invalid(message, "clear done, failed, cancelled or dead jobs; cancel the others first"));
    }
    let all = || JobState::ALL.iter().copied().filter(|state| state.is_final()).collect();
    let states = if is_given { params.states } else { all() };
    match daemon.backend.call(Call::Clear(states)).await? {
        Answer::Cleared(cleared) => Ok(JobClearResult { cleared }),
        other => Err(unexpected(other)),
    }
}

pub async fn pause_queue(daemon: Arc<Daemon>, _: NoParams) -> Result<Status, CallError> {
    change_queue(daemon, Call::PauseQueue).await
}

pub async fn resume_queue(daemon: Arc<Daemon>, _: NoParams) -> Result<Status, CallError> {
    change_queue(daemon, Call::ResumeQueue).await
}

/// One job as it is now.
pub async fn read(daemon: Arc<Daemon>, id: JobId) -> Result<Job, CallError> {
    blocking(move || daemon.backend.job(id)?.ok_or_else(|| no_such_job(id))).await
}

pub fn no_such_job(id: JobId) -> CallError {
    convert::not_found(format!("there is no job {id}"), "`meshkiln jobs` lists them")
}

/// The loop answered something that does not belong to the call.
pub fn unexpected(answer: Answer) -> CallError {
    match answer {
        Answer::Refused(refusal) => refusal.into(),
        answer => {
            tracing::error!("the loop answered {answer:?}");
            CallError::Panicked
        }
    }
}

pub fn page_size(limit: Option<u32>) -> Result<u32, CallError> {
    let (longest, usual) = PAGE;
    match limit {
        None => Ok(usual),
        Some(n) if (1..=longest).contains(&n) => Ok(n),
        Some(n) => Err(CallError::Params {
            message: format!("`limit`: expected 1 to {longest}, not {n}"),
            hint: "ask for the next page with `before`".to_owned(),
        }),
    }
}

async fn change(daemon: Arc<Daemon>, id: JobId, call: Call) -> Result<Job, CallError> {
    match daemon.backend.call(call).await? {
        Answer::Refused(refusal) => Err(refusal.into()),
        _ => read(daemon, id).await,
    }
}

async fn change_queue(daemon: Arc<Daemon>, call: Call) -> Result<Status, CallError> {
    match daemon.backend.call(call).await? {
        // Newer than what the loop has published.
        Answer::Queue(queue) => Ok(Status { queue, ..about::status(daemon, NoParams {}).await? }),
        other => Err(unexpected(other)),
    }
}
