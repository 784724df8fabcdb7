//! Walking jobs through their plans: what the cache has is skipped, what another
//! job is making is waited for, the rest goes to a worker.

use std::collections::BTreeMap;

use meshkiln_models::{
    export::provenance::provenance,
    recipe::PlannedStep,
    slot::{Slot, sha256_hex},
    stage::{self, Stage},
};
use meshkiln_protocol::{
    error::{ErrorKind, JobError},
    event::EventBody,
    job::{JobId, JobState, StageState},
};
use serde_json::{Value as Json, json};

use super::{Active, Doing, Outputs, Run, State, Stored, Time, workers::Phase};
use crate::{
    jobs::{Finished, Job},
    main_loop::{Device, Effect},
    scheduler::Place,
    worker::frames::{self, Command},
};

/// Whether the scheduler has chosen the job for the device it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// It has to wait for its turn.
    Later,
}

/// A step that has to be run.
pub(super) struct Need {
    key: String,
    device: Device,
    inputs: BTreeMap<String, String>,
    inline: BTreeMap<String, Json>,
}

impl State {
    /// A queued job that may start: joins a run that makes just what it needs
    /// first, or waits for its turn.
    pub(super) fn enqueue(&mut self, id: JobId, time: Time, stored: &dyn Stored) {
        self.ready_fresh(id, time.now);
        let Some(job) = self.jobs.get(&id) else { return };
        let step = &job.plan.steps()[0];
        let similar = |run: &Run| {
            run.cancel_by.is_none()
                && (run.stage, run.engine) == (step.stage, step.engine)
                && run.source_sha256 == job.source_sha256
        };
        if !self.may_run() || !self.runs.values().any(similar) {
            return;
        }
        let nothing_yet = Active::new();
        let same = self.need(job, &nothing_yet).is_ok_and(|need| self.in_flight.contains_key(&need.key));
        if same && self.ready.remove(id) {
            self.start(id, Turn::Later, time, stored);
        }
    }

    /// Gives work to every free worker.
    pub(super) fn schedule(&mut self, time: Time, stored: &dyn Stored) {
        self.more = None;
        if !self.may_run() {
            return;
        }
        let mut starts = 0;
        for device in self.workers.keys().cloned().collect::<Vec<_>>() {
            while self.workers[&device].is_idle() {
                if starts == self.setup.policy.starts_per_turn {
                    self.more = Some(time.now);
                    return;
                }
                let Some(id) = self.ready.pick(&device, time.now) else { break };
                starts += 1;
                if self.active.contains_key(&id) {
                    self.go_on(id, Turn::Now, time, stored);
                } else {
                    self.start(id, Turn::Now, time, stored);
                }
            }
        }
    }

    /// After a step, or when its turn has come: on until a worker is needed.
    fn go_on(&mut self, id: JobId, turn: Turn, time: Time, stored: &dyn Stored) {
        let Some(need) = self.advance(id, time, stored) else { return };
        if let Some(&run) = self.in_flight.get(&need.key) {
            self.join(id, run);
        } else if turn == Turn::Now && self.workers.get(&need.device).is_some_and(|worker| worker.is_idle()) {
            self.dispatch(id, need, time);
        } else if let Some(job) = self.jobs.get(&id) {
            let place = Place { device: need.device, class: job.class, client: job.client.clone(), started: true };
            self.ready.push(id, place, time.now);
        }
    }

    /// Out of every place where a queued or running job waits.
    pub(super) fn forget_places(&mut self, id: JobId) {
        self.ready.remove(id);
        self.delayed.remove(id);
        self.active.remove(&id);
    }

    /// A job that waits for a run wants it no more. The run goes on while others do.
    pub(super) fn leave_run(&mut self, id: JobId, time: Time) {
        let Some(Doing::Waiting(run_id)) = self.active.get(&id).map(|active| active.doing) else { return };
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        run.jobs.retain(|&job| job != id);
        if !run.jobs.is_empty() || run.cancel_by.is_some() {
            return;
        }
        run.cancel_by = Some(time.now + self.setup.policy.cancel_grace);
        self.in_flight.remove(&run.key);
        let busy_with_it = |phase: &Phase| matches!(phase, Phase::Busy { run } if *run == run_id);
        if let Some(worker) = self.workers.values().find(|worker| busy_with_it(&worker.phase)) {
            self.out.push(Effect::Send { worker: worker.id, command: Command::Cancel { run: run_id } });
        }
    }

    /// One more step is behind the job.
    pub(super) fn step_done(&mut self, id: JobId, key: &str, outputs: &Outputs, state: StageState, elapsed_ms: u64) {
        let (Some(job), Some(active)) = (self.jobs.get_mut(&id), self.active.get_mut(&id)) else { return };
        if let Some(stage) = job.stages.get_mut(active.next_step) {
            stage.state = state;
            stage.elapsed_ms = Some(elapsed_ms);
        }
        if state == StageState::Done {
            job.daemon_deaths = 0;
        }
        active.slots.extend(outputs.iter().filter_map(|(slot, blob)| Some((Slot::find(slot)?, blob.clone()))));
        active.keys.push(key.to_owned());
        active.next_step += 1;
        active.doing = Doing::Ready;
        self.changes.jobs.insert(id);
    }

    pub(super) fn device_of(&self, job: &Job, step: usize) -> &Device {
        let engine = job.plan.steps().get(step).and_then(|step| find_stage(step).engine(step.engine));
        engine.map_or(&self.setup.devices.built_in, |engine| self.setup.devices.of(engine))
    }

    /// Tells clients how far it has got, unless they heard a moment ago.
    pub(super) fn tell_progress(&mut self, id: JobId, time: Time) {
        let interval = self.setup.policy.progress_interval;
        let Some(active) = self.active.get_mut(&id) else { return };
        let step = active.next_step;
        if active.told_progress.is_some_and(|(at, told)| told == step && time.now < at + interval) {
            return;
        }
        active.told_progress = Some((time.now, step));
        if let Some(progress) = self.progress(id, time.now) {
            self.out.push(Effect::Publish(EventBody::Progress { id, progress }));
        }
    }

    /// The report with the time of each stage in this job. The file's own report
    /// holds no times: equal work gives equal bytes.
    fn with_times(&self, id: JobId, mut report: Json) -> Json {
        let stages = self.jobs.get(&id).map(|job| job.stages.as_slice()).unwrap_or_default();
        let times = stages.iter().map(|run| (run.stage.clone(), json!(run.elapsed_ms))).collect();
        if let Some(report) = report.as_object_mut() {
            report.insert("stage_ms".to_owned(), Json::Object(times));
        }
        report
    }

    pub(super) fn finish(&mut self, id: JobId, time: Time, stored: &dyn Stored) {
        let Some(active) = self.active.get(&id) else { return };
        let report = active.slots.get(&Slot::Report).and_then(|blob| stored.json(&blob.sha256));
        let finished = Finished {
            asset: active.slots.get(&Slot::Asset).cloned(),
            preview_sha256: active.slots.get(&Slot::Preview).map(|blob| blob.sha256.clone()),
            report: report.map(|report| self.with_times(id, report)),
        };
        if self.change(id, |job| job.finish(finished, time.wall)) {
            self.forget_places(id);
            self.log(id, "done".to_owned());
        }
    }

    fn may_run(&self) -> bool {
        let writable = self.storage_problem.is_none() && self.damage.is_none();
        writable && !self.queue_paused && self.stopping.is_none()
    }

    fn start(&mut self, id: JobId, turn: Turn, time: Time, stored: &dyn Stored) {
        if self.change(id, |job| job.start(time.wall)) {
            self.active.insert(id, Active::new());
            let attempt = self.jobs[&id].attempt;
            self.log(id, format!("attempt {attempt} started"));
            self.go_on(id, turn, time, stored);
        }
    }

    /// Takes a running job as far as it gets without a worker. What it then
    /// needs; nothing when it has ended, or its file is being put.
    fn advance(&mut self, id: JobId, time: Time, stored: &dyn Stored) -> Option<Need> {
        let first = self.active.get(&id)?.next_step;
        let mut cached = Vec::new();
        let need = loop {
            let (job, active) = (self.jobs.get(&id)?, self.active.get(&id)?);
            if active.next_step == job.plan.steps().len() {
                break Ok(None);
            }
            let need = match self.need(job, active) {
                Ok(need) => need,
                Err(error) => break Err(error),
            };
            let outputs = match self.changes.results.get(&need.key) {
                Some(made) => Some(made.outputs.clone()),
                None if self.changes.forgotten.contains(&need.key) => None,
                None => stored.result(&need.key),
            };
            let Some(outputs) = outputs else { break Ok(Some(need)) };
            cached.push(job.plan.steps()[active.next_step].stage);
            self.changes.touched.insert(need.key.clone());
            self.step_done(id, &need.key, &outputs, StageState::Cached, 0);
        };
        if !cached.is_empty() {
            self.log(id, format!("{}: from the cache", cached.join(", ")));
        }
        match need {
            Ok(Some(need)) => {
                if self.active.get(&id)?.next_step != first {
                    self.tell_progress(id, time);
                }
                Some(need)
            }
            Ok(None) => {
                self.after_last_step(id, time, stored);
                None
            }
            Err(error) => {
                self.fail(id, error, time);
                None
            }
        }
    }

    fn after_last_step(&mut self, id: JobId, time: Time, stored: &dyn Stored) {
        let (Some(job), Some(active)) = (self.jobs.get(&id), self.active.get_mut(&id)) else { return };
        let (output, attempt) = (job.output.clone(), job.attempt);
        match (output, active.slots.get(&Slot::Asset)) {
            (None, _) => self.finish(id, time, stored),
            (Some(output), Some(asset)) => {
                active.doing = Doing::Delivering;
                let asset_sha256 = asset.sha256.clone();
                self.out.push(Effect::Deliver { job: id, attempt, asset_sha256, output });
            }
            (Some(_), None) => {
                let error = JobError {
                    kind: ErrorKind::InvalidInput,
                    stage: None,
                    message: "the recipe makes no file to put at the output path".to_owned(),
                    hint: "end the recipe with `export` or `export-image`".to_owned(),
                    retryable: false,
                };
                self.fail(id, error, time);
            }
        }
    }

    fn need(&self, job: &Job, active: &Active) -> Result<Need, JobError> {
        let step = &job.plan.steps()[active.next_step];
        let stage = find_stage(step);
        let mut read = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        let mut inline = BTreeMap::new();
        for slot in stage.sees() {
            if slot == Slot::Provenance {
                let value = provenance(&self.setup.generator, &job.name, &job.source_sha256, &job.plan.plan);
                read.insert(slot, sha256_hex(value.to_string().as_bytes()));
                inline.insert(slot.id().to_owned(), value);
                continue;
            }
            let sha256 = match active.slots.get(&slot) {
                _ if slot == Slot::Source => job.source_sha256.clone(),
                Some(blob) => blob.sha256.clone(),
                None if stage.may_read.contains(&slot) => continue,
                None => {
                    return Err(JobError {
                        kind: ErrorKind::Internal,
                        stage: Some(step.stage.to_owned()),
                        message: format!("no stage wrote `{}`, which `{}` reads", slot.id(), step.stage),
                        hint: "report this with `meshkiln job ID log`".to_owned(),
                        retryable: false,
                    });
                }
            };
            read.insert(slot, sha256.clone());
            inputs.insert(slot.id().to_owned(), sha256);
        }
        // No engine has a network yet: weights will be asked of the catalogue here.
        let key = stage.cache_key(step.engine, &step.settings, &[], &read);
        Ok(Need { key, device: self.device_of(job, active.next_step).clone(), inputs, inline })
    }

    fn join(&mut self, id: JobId, run_id: u64) {
        let (Some(run), Some(active)) = (self.runs.get_mut(&run_id), self.active.get_mut(&id)) else { return };
        run.jobs.push(id);
        active.doing = Doing::Waiting(run_id);
        let leader = run.jobs[0];
        let stage = run.stage;
        self.mark_running(id);
        self.log(id, format!("{stage}: shared with job {leader}"));
    }

    fn dispatch(&mut self, id: JobId, need: Need, time: Time) {
        let (Some(job), Some(active)) = (self.jobs.get(&id), self.active.get_mut(&id)) else { return };
        let Some(worker) = self.workers.get_mut(&need.device) else { return };
        let step = &job.plan.steps()[active.next_step];
        let run_id = self.counters.next_run;
        self.counters.next_run += 1;
        let command = Command::Run(frames::Run {
            run: run_id,
            stage: step.stage.to_owned(),
            engine: step.engine.to_owned(),
            settings: step.settings.clone(),
            inputs: need.inputs,
            inline: need.inline,
        });
        let run = Run {
            key: need.key.clone(),
            stage: step.stage,
            engine: step.engine,
            source_sha256: job.source_sha256.clone(),
            jobs: vec![id],
            started: time.now,
            progressed: time.now,
            done: 0,
            total: 0,
            cancel_by: None,
        };
        worker.phase = Phase::Busy { run: run_id };
        active.doing = Doing::Waiting(run_id);
        let worker = worker.id;
        self.in_flight.insert(need.key, run_id);
        self.runs.insert(run_id, run);
        self.mark_running(id);
        self.out.push(Effect::Send { worker, command });
        self.tell_progress(id, time);
    }

    fn mark_running(&mut self, id: JobId) {
        let (Some(job), Some(active)) = (self.jobs.get_mut(&id), self.active.get(&id)) else { return };
        if let Some(stage) = job.stages.get_mut(active.next_step) {
            stage.state = StageState::Running;
        }
        self.changes.jobs.insert(id);
    }

    /// Ready again whose wait is over.
    pub(super) fn wake_delayed(&mut self, time: Time, stored: &dyn Stored) {
        while let Some(id) = self.delayed.pop_due(time.now) {
            if self.jobs.get(&id).is_some_and(|job| job.state == JobState::Queued) {
                self.enqueue(id, time, stored);
            }
        }
    }

    /// Takes the run out; the jobs that waited for it.
    pub(super) fn end_run(&mut self, run_id: u64) -> Option<Run> {
        let run = self.runs.remove(&run_id)?;
        if self.in_flight.get(&run.key) == Some(&run_id) {
            self.in_flight.remove(&run.key);
        }
        Some(run)
    }

    /// Makes the jobs of an ended run ready again, as they were.
    pub(super) fn go_on_all(&mut self, jobs: &[JobId], time: Time, stored: &dyn Stored) {
        for &id in jobs {
            if let Some(active) = self.active.get_mut(&id) {
                active.doing = Doing::Ready;
                self.go_on(id, Turn::Later, time, stored);
            }
        }
    }
}

impl Active {
    pub(super) fn new() -> Active {
        Active {
            next_step: 0,
            slots: BTreeMap::new(),
            keys: Vec::new(),
            doing: Doing::Ready,
            losses: 0,
            told_progress: None,
        }
    }
}

pub(super) fn find_stage(step: &PlannedStep) -> &'static Stage {
    stage::find(step.stage).unwrap_or_else(|| panic!("plan names stage `{}`, which is not in STAGES", step.stage))
}
