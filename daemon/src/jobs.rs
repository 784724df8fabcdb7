//! The job: one recipe applied to one source, and the arrows between its states.
//!
//! ```text
//!           pause         start           finish
//!   paused <------ queued ------> running ------> done
//!          ------>   ^    <------    |  fail  --> failed
//!           resume   |    requeue    |  die   --> dead
//!                    +---- retry ---- failed, dead, cancelled
//!                                   cancel: queued, paused, running --> cancelled
//! ```
//!
//! One method an arrow. Each says whether it was allowed; if not, nothing has
//! changed, so a late report about an ended job is harmless. Nothing leaves a
//! final state but `retry`, which only a person asks for.

use std::{path::PathBuf, sync::Arc};

use meshkiln_models::{
    recipe::{Plan, PlannedStep, RecipeError},
    slot::sha256_hex,
};
use meshkiln_protocol::{
    Sha256, UnixMs,
    error::{ErrorKind, JobError},
    job::{self as wire, Class, JobId, JobState, StageRun, StageState},
    watch::WatchId,
};
use serde_json::Value as Json;

use crate::{
    main_loop::Submission,
    worker::frames::{Failure, FailureKind, Output},
};

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub state: JobState,
    pub class: Class,
    pub client: Option<Arc<str>>,
    pub name: String,
    pub source_sha256: Sha256,
    pub source_path: Option<PathBuf>,
    pub output: Option<PathBuf>,
    pub watch: Option<WatchId>,
    pub idempotency_key: Option<String>,
    pub plan: Arc<SharedPlan>,
    pub submitted_ms: UnixMs,
    /// Of the latest attempt.
    pub started_ms: Option<UnixMs>,
    pub finished_ms: Option<UnixMs>,
    /// Starts so far. Fences out whatever an earlier one still has to say.
    pub attempt: u32,
    /// How often its worker died, hung or panicked.
    pub crashes: u32,
    /// How often it was turned back for a reason that may pass.
    pub errors: u32,
    /// Unclean ends of the daemon in a row while it was running and no stage of it finished.
    pub daemon_deaths: u32,
    /// While queued: not to be started before.
    pub not_before_ms: Option<UnixMs>,
    /// One a step of the plan; empty means that all are pending.
    pub stages: Vec<StageRun>,
    pub error: Option<JobError>,
    pub finished: Option<Finished>,
}

/// What a finished job leaves. A recipe may end without a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finished {
    pub asset: Option<Output>,
    pub preview_sha256: Option<Sha256>,
    pub report: Option<Json>,
}

/// A plan, kept once for all jobs that have it.
#[derive(Debug, PartialEq)]
pub struct SharedPlan {
    /// Of `json`.
    pub sha256: Sha256,
    pub json: String,
    pub plan: Plan,
}

impl SharedPlan {
    pub fn new(plan: Plan) -> SharedPlan {
        let json = plan.to_json().to_string();
        SharedPlan { sha256: sha256_hex(json.as_bytes()), json, plan }
    }

    /// A stored plan. An error when this version can no longer run it.
    pub fn read(json: &str) -> Result<SharedPlan, RecipeError> {
        let value: Json = serde_json::from_str(json).unwrap_or_default();
        // Stored plans name their engines, so nobody asks which weights are here.
        let plan = Plan::recipe_from_json(&value)?.plan(&|_| false)?;
        Ok(SharedPlan { sha256: sha256_hex(json.as_bytes()), json: json.to_owned(), plan })
    }

    pub fn steps(&self) -> &[PlannedStep] {
        &self.plan.steps
    }

    pub fn pending_stages(&self) -> Vec<StageRun> {
        self.steps().iter().map(pending_stage).collect()
    }
}

impl Job {
    pub fn new(id: JobId, submission: Submission, plan: Arc<SharedPlan>, now_ms: UnixMs) -> Job {
        Job {
            id,
            state: JobState::Queued,
            class: submission.class,
            client: submission.client.map(Arc::from),
            name: submission.name,
            source_sha256: submission.source_sha256,
            source_path: submission.source_path,
            output: submission.output,
            watch: submission.watch,
            idempotency_key: submission.idempotency_key,
            plan,
            submitted_ms: now_ms,
            started_ms: None,
            finished_ms: None,
            attempt: 0,
            crashes: 0,
            errors: 0,
            daemon_deaths: 0,
            not_before_ms: None,
            stages: Vec::new(),
            error: None,
            finished: None,
        }
    }

    pub fn start(&mut self, now_ms: UnixMs) -> bool {
        let allowed = self.state == JobState::Queued;
        if allowed {
            self.state = JobState::Running;
            self.attempt += 1;
            self.started_ms = Some(now_ms);
            self.not_before_ms = None;
            self.stages = self.plan.pending_stages();
        }
        allowed
    }

    /// Back to the queue, to be started again, not before `not_before_ms`.
    pub fn requeue(&mut self, not_before_ms: Option<UnixMs>) -> bool {
        let allowed = self.state == JobState::Running;
        if allowed {
            self.state = JobState::Queued;
            self.not_before_ms = not_before_ms;
            self.stages.clear();
        }
        allowed
    }

    pub fn pause(&mut self) -> bool {
        let allowed = self.state == JobState::Queued;
        if allowed {
            self.state = JobState::Paused;
        }
        allowed
    }

    pub fn reclass(&mut self, class: Class) -> bool {
        let allowed = matches!(self.state, JobState::Queued | JobState::Paused);
        if allowed {
            self.class = class;
        }
        allowed
    }

    pub fn resume(&mut self) -> bool {
        let allowed = self.state == JobState::Paused;
        if allowed {
            self.state = JobState::Queued;
            self.not_before_ms = None;
            self.daemon_deaths = 0;
        }
        allowed
    }

    pub fn finish(&mut self, finished: Finished, now_ms: UnixMs) -> bool {
        let allowed = self.state == JobState::Running;
        if allowed {
            self.end(JobState::Done, now_ms);
            self.finished = Some(finished);
        }
        allowed
    }

    pub fn fail(&mut self, error: JobError, now_ms: UnixMs) -> bool {
        let allowed = self.state == JobState::Running;
        if allowed {
            self.stop_stage(StageState::Failed);
            self.end(JobState::Failed, now_ms);
            self.error = Some(error);
        }
        allowed
    }

    pub fn die(&mut self, error: JobError, now_ms: UnixMs) -> bool {
        let allowed = self.fail(error, now_ms);
        if allowed {
            self.state = JobState::Dead;
        }
        allowed
    }

    pub fn cancel(&mut self, now_ms: UnixMs) -> bool {
        let allowed = !self.state.is_final();
        if allowed {
            self.stop_stage(StageState::Pending);
            self.end(JobState::Cancelled, now_ms);
        }
        allowed
    }

    pub fn retry(&mut self) -> bool {
        let allowed = matches!(self.state, JobState::Failed | JobState::Dead | JobState::Cancelled);
        if allowed {
            self.state = JobState::Queued;
            self.finished_ms = None;
            self.crashes = 0;
            self.errors = 0;
            self.daemon_deaths = 0;
            self.not_before_ms = None;
            self.stages.clear();
            self.error = None;
        }
        allowed
    }

    /// As clients see it, without position and progress, which are not the job's own.
    pub fn wire(&self) -> wire::Job {
        let finished = self.finished.as_ref();
        wire::Job {
            id: self.id,
            state: self.state,
            class: self.class,
            name: self.name.clone(),
            source_path: self.source_path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            source_sha256: self.source_sha256.clone(),
            recipe: self.plan.plan.recipe.clone(),
            output: self.output.as_ref().map(|path| path.to_string_lossy().into_owned()),
            client: self.client.as_deref().map(str::to_owned),
            submitted_ms: self.submitted_ms,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            attempt: self.attempt,
            crashes: self.crashes,
            stages: if self.stages.is_empty() { self.plan.pending_stages() } else { self.stages.clone() },
            progress: None,
            position: None,
            waits_for: None,
            error: self.error.clone(),
            asset_sha256: finished.and_then(|f| f.asset.as_ref()).map(|asset| asset.sha256.clone()),
            report: finished.and_then(|f| f.report.clone()),
        }
    }

    fn end(&mut self, state: JobState, now_ms: UnixMs) {
        self.state = state;
        self.finished_ms = Some(now_ms);
        self.not_before_ms = None;
    }

    fn stop_stage(&mut self, state: StageState) {
        for stage in self.stages.iter_mut().filter(|stage| stage.state == StageState::Running) {
            stage.state = state;
        }
    }
}

/// What to do with a job whose stage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same input will fail again: tell the user.
    Fail,
    /// It may pass: try again, a few times, later.
    TryLater,
    /// The worker is to blame, or the job is poison: count it as a crash.
    CountCrash,
    /// Make what is lost again.
    Remake,
    /// Nobody wants it any more.
    Drop,
}

/// A worker's failure as the job's error, and what follows from it.
pub fn judge(failure: &Failure, stage: &str) -> (JobError, Remedy) {
    let (kind, remedy) = match failure.kind {
        FailureKind::InvalidInput => (ErrorKind::InvalidInput, Remedy::Fail),
        FailureKind::Truncated => (ErrorKind::Truncated, Remedy::Fail),
        FailureKind::Unsupported => (ErrorKind::Unsupported, Remedy::Fail),
        FailureKind::TooLarge => (ErrorKind::TooLarge, Remedy::Fail),
        FailureKind::NoObject => (ErrorKind::NoObject, Remedy::Fail),
        FailureKind::GateFailed => (ErrorKind::GateFailed, Remedy::Fail),
        FailureKind::Internal => (ErrorKind::Internal, Remedy::Fail),
        FailureKind::OutOfMemory => (ErrorKind::OutOfMemory, Remedy::TryLater),
        FailureKind::WeightsMissing => (ErrorKind::WeightsMissing, Remedy::Fail),
        FailureKind::WeightsDamaged => (ErrorKind::WeightsDamaged, Remedy::Fail),
        FailureKind::DeviceFault => (ErrorKind::WorkerLost, Remedy::CountCrash),
        FailureKind::Storage => (ErrorKind::Storage, Remedy::TryLater),
        FailureKind::Panicked => (ErrorKind::WorkerLost, Remedy::CountCrash),
        FailureKind::InputLost => (ErrorKind::Storage, Remedy::Remake),
        FailureKind::Cancelled => (ErrorKind::Internal, Remedy::Drop),
    };
    let error = JobError {
        kind,
        stage: Some(stage.to_owned()),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
        retryable: kind.retryable(),
    };
    (error, remedy)
}

fn pending_stage(step: &PlannedStep) -> StageRun {
    StageRun {
        stage: step.stage.to_owned(),
        engine: step.engine.to_owned(),
        state: StageState::Pending,
        elapsed_ms: None,
        picture_sha256: None,
    }
}
