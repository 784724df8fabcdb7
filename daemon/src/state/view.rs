//! What the loop shows to readers after each turn, and how far a job has got.

use std::{collections::BTreeMap, time::Instant};

use meshkiln_protocol::{
    daemon::{QueueStatus, WorkerState, WorkerStatus},
    job::{JobId, Progress, StageState},
    net::{DeviceStatus, Net, YieldStatus},
};

use super::{Active, Doing, State, usage::Usage, workers::Phase};
use crate::jobs::Job;

/// A snapshot; never waits for the loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    pub queue: QueueStatus,
    pub workers: Vec<WorkerStatus>,
    /// Of running jobs.
    pub progress: BTreeMap<JobId, Progress>,
    pub devices: Vec<DeviceStatus>,
    pub nets: Vec<Net>,
    pub yielded: Option<YieldStatus>,
    pub usage: Usage,
    /// What running jobs wait for, when that is not their turn.
    pub waits: BTreeMap<JobId, String>,
    /// What every queued job waits for.
    pub hold: Option<String>,
    /// Why health is not `ok`; empty when it is.
    pub problems: Vec<String>,
    /// Number of the last event.
    pub seq: u64,
    /// Bytes in the blob store, as far as they have been counted.
    pub blob_bytes: u64,
    pub blob_limit_bytes: u64,
}

/// How long stages take, learnt from those that ran: by stage and engine, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsualTimes(pub BTreeMap<(String, String), f64>);

/// Weight of the newest duration in the moving average.
const NEWEST: f64 = 0.2;
impl UsualTimes {
    pub fn of(&self, stage: &str, engine: &str) -> Option<f64> {
        self.0.get(&(stage.to_owned(), engine.to_owned())).copied()
    }

    pub fn learn(&mut self, stage: &str, engine: &str, elapsed_ms: u64) {
        let newest = elapsed_ms as f64;
        self.0
            .entry((stage.to_owned(), engine.to_owned()))
            .and_modify(|usual| *usual += NEWEST * (newest - *usual))
            .or_insert(newest);
    }
}

impl State {
    pub fn view(&self, now: Instant) -> View {
        let mut problems: Vec<String> = self.damage.iter().chain(&self.storage_problem).cloned().collect();
        problems.extend(self.workers.iter().filter_map(|(device, worker)| worker.problem(device)));
        View {
            queue: self.queue(),
            workers: self.workers.iter().map(|(device, worker)| self.worker_status(device, worker)).collect(),
            progress: self.active.keys().filter_map(|&id| Some((id, self.progress(id, now)?))).collect(),
            devices: self.workers.keys().map(|device| self.device_status(device)).collect(),
            nets: self.residency.ids().filter_map(|id| self.net_wire(id, now)).collect(),
            yielded: self.yield_status(),
            usage: self.usage.clone(),
            waits: self.waits(),
            hold: self.hold_queue().or_else(|| self.hold(&self.setup.devices.built_in)),
            problems,
            ..View::default()
        }
    }

    /// Counted work of the running stage; the whole job is weighted by how long
    /// its stages usually take, or all stages alike while one of them has never
    /// run: a stage that has just become known must not set the job back. Stages
    /// that came from the cache weigh nothing.
    pub(super) fn progress(&self, id: JobId, now: Instant) -> Option<Progress> {
        let (job, active) = (self.jobs.get(&id)?, self.active.get(&id)?);
        let steps = job.plan.steps();
        let current = active.next_step.min(steps.len().checked_sub(1)?);
        let run = match active.doing {
            Doing::Waiting(run) => self.runs.get(&run),
            Doing::Ready | Doing::Delivering => None,
        };
        let (done, total) = match (run, &active.doing) {
            (Some(run), _) => (run.done, run.total),
            (None, Doing::Delivering) => (1, 1),
            (None, _) => (0, 0),
        };

        let usual: Option<Vec<f64>> = steps.iter().map(|step| self.usual.of(step.stage, step.engine)).collect();
        let weight = |idx: usize| usual.as_ref().map_or(1.0, |usual| usual[idx].max(1.0));
        let part = if total == 0 { 0.0 } else { (f64::from(done) / f64::from(total)).min(1.0) };
        let (mut behind, mut ahead) = (0.0, 0.0);
        for idx in 0..steps.len() {
            match job.stages.get(idx).map(|stage| stage.state) {
                Some(StageState::Cached) => {}
                Some(StageState::Done) => behind += weight(idx),
                _ if idx == active.next_step => {
                    behind += weight(idx) * part;
                    ahead += weight(idx) * (1.0 - part);
                }
                _ => ahead += weight(idx),
            }
        }
        let whole = behind + ahead;
        Some(Progress {
            stage: steps[current].stage.to_owned(),
            done,
            total,
            fraction: if whole == 0.0 { 1.0 } else { (behind / whole) as f32 },
            eta_ms: self.eta_ms(job, active, now, part),
        })
    }

    /// Sum of what the stages ahead usually take; none when one of them has never run.
    fn eta_ms(&self, job: &Job, active: &Active, now: Instant, part: f64) -> Option<u64> {
        let mut eta = 0.0;
        for (idx, step) in job.plan.steps().iter().enumerate().skip(active.next_step) {
            let usual = self.usual.of(step.stage, step.engine)?;
            let elapsed = match active.doing {
                Doing::Waiting(run) if idx == active.next_step => {
                    self.runs.get(&run).map_or(0.0, |run| now.duration_since(run.started).as_secs_f64() * 1000.0)
                }
                _ => 0.0,
            };
            let by_time = (usual - elapsed).max(0.0);
            // Counted work knows better once there is enough of it.
            eta += if idx == active.next_step && part > 0.1 { elapsed / part * (1.0 - part) } else { by_time };
        }
        Some(eta.round() as u64)
    }

    /// Why nothing is started, in words.
    pub(super) fn hold_queue(&self) -> Option<String> {
        self.queue_paused.then(|| "the queue is paused until `meshkiln resume`".to_owned())
    }

    fn waits(&self) -> BTreeMap<JobId, String> {
        let waiting = self.ready.waiting();
        waiting.filter_map(|(id, device, net)| Some((id, self.wait_in_words(device, net)?))).collect()
    }

    fn worker_status(&self, device: &str, worker: &super::workers::Worker) -> WorkerStatus {
        let (state, doing) = match &worker.phase {
            Phase::Down { .. } => (WorkerState::Stopped, None),
            Phase::Broken { .. } => (WorkerState::Broken, None),
            Phase::Starting { .. } => (WorkerState::Starting, None),
            Phase::Idle { .. } => (WorkerState::Idle, None),
            Phase::Busy { run } => (WorkerState::Busy, self.runs.get(run).map(|run| self.doing(run))),
            Phase::Killed { why, .. } => (WorkerState::Stopped, Some(why.clone())),
            Phase::Loading { net, .. } => (WorkerState::Busy, Some(format!("loading `{net}`"))),
            Phase::Unloading { net, .. } => (WorkerState::Busy, Some(format!("letting go of `{net}`"))),
            Phase::Recycling { .. } => (WorkerState::Stopped, Some("starting afresh".to_owned())),
            Phase::Freeing { .. } => (WorkerState::Yielded, Some("leaving".to_owned())),
            Phase::Away => (WorkerState::Yielded, None),
            Phase::Leaving => (WorkerState::Stopped, Some("leaving".to_owned())),
        };
        WorkerStatus {
            device: device.to_owned(),
            state,
            pid: worker.pid,
            doing,
            restarts: worker.restarts,
            rss_bytes: worker.rss_bytes,
        }
    }

    fn doing(&self, run: &super::Run) -> String {
        match run.jobs.first().and_then(|id| self.jobs.get(id)) {
            Some(job) => format!("{} of `{}` (job {})", run.stage, job.name, job.id),
            None if run.ask.is_some() => "looking at a picture that somebody points at".to_owned(),
            None => format!("stopping {}", run.stage),
        }
    }
}
