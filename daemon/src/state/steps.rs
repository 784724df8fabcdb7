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
    catalogue::NetId,
    jobs::{Finished, Job},
    main_loop::{Device, Effect},
    residency::Cost,
    scheduler::{Pick, Place},
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
    net: Option<NetId>,
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
        if self.stopping.is_some() {
            return;
        }
        self.refuse_hopeless_asks();
        let mut starts = 0;
        for device in self.workers.keys().cloned().collect::<Vec<_>>() {
            if self.is_held(&device) {
                self.free(&device, time);
                continue;
            }
            while self.workers[&device].is_idle() && !self.do_chore(&device, time) {
                if self.serve_ask(&device, time) {
                    continue;
                }
                if starts == self.setup.policy.starts_per_turn {
                    self.more = Some(time.now);
                    return;
                }
                let pick = if self.may_run() { self.pick(&device, time) } else { Pick::Nothing };
                match pick {
                    Pick::Job(id) if self.active.contains_key(&id) => self.go_on(id, Turn::Now, time, stored),
                    Pick::Job(id) => self.start(id, Turn::Now, time, stored),
                    Pick::Load(net) => {
                        if !self.bring(&device, &net, time) {
                            break;
                        }
                    }
                    Pick::GiveUp(net) => self.give_up(&device, &net, time),
                    Pick::Wait(until) => {
                        self.more = Some(self.more.map_or(until, |at| at.min(until)));
                        break;
                    }
                    Pick::Nothing => {
                        if !self.warm_up(&device, time) {
                            break;
                        }
                    }
                }
                starts += 1;
            }
        }
    }

    /// After a step, or when its turn has come: on until a worker is needed.
    fn go_on(&mut self, id: JobId, turn: Turn, time: Time, stored: &dyn Stored) {
        let Some(need) = self.advance(id, time, stored) else { return };
        if let Some(&run) = self.in_flight.get(&need.key) {
            self.join(id, run);
        } else if turn == Turn::Now && self.can_dispatch(&need) {
            self.dispatch(id, need, time);
        } else if let (Some(job), Some(active)) = (self.jobs.get(&id), self.active.get(&id)) {
            let heading = self.heading(job, active.next_step);
            let (class, client) = (job.class, job.client.clone());
            let place = Place { device: need.device, class, client, started: true, net: need.net, heading };
            self.ready.push(id, place, time.now);
        }
    }

    fn can_dispatch(&self, need: &Need) -> bool {
        let is_idle = self.workers.get(&need.device).is_some_and(|worker| worker.is_idle());
        is_idle && need.net.as_ref().is_none_or(|net| self.residency.cost(&need.device, net) == Cost::Nothing)
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
            let is_picture = |slot: &str| Slot::find(slot).is_some_and(Slot::is_picture);
            stage.picture_sha256 =
                outputs.iter().find(|(slot, _)| is_picture(slot)).map(|(_, blob)| blob.sha256.clone());
        }
        if state == StageState::Done {
            job.daemon_deaths = 0;
        }
        active.slots.extend(outputs.iter().filter_map(|(slot, blob)| Some((Slot::find(slot)?, blob.clone()))));
        active.keys.push(key.to_owned());
        active.next_step += 1;
        active.ran_out = false;
        active.doing = Doing::Ready;
        self.changes.jobs.insert(id);
    }

    pub(super) fn device_of(&self, job: &Job, step: usize) -> &Device {
        self.setup.devices.of(self.net_of(job, step).is_some())
    }

    /// What this step of its plan needs.
    pub(super) fn net_of(&self, job: &Job, step: usize) -> Option<&NetId> {
        self.needs.of(job.plan.steps().get(step)?)
    }

    /// The nets of its plan as its asset names them: with what their weights may be used for.
    fn nets_of(&self, job: &Job) -> Json {
        let catalogue = &self.setup.catalogue;
        let mut named: Vec<&NetId> = job.plan.steps().iter().filter_map(|step| self.needs.of(step)).collect();
        named.sort_unstable();
        named.dedup();
        let of =
            |net: &NetId| json!({ "id": **net, "license": catalogue.license(net), "sha256": catalogue.weights(net) });
        named.into_iter().map(of).collect()
    }

    /// The first net that this step or one after it needs.
    pub(super) fn heading(&self, job: &Job, step: usize) -> Option<NetId> {
        (step..job.plan.steps().len()).find_map(|step| self.net_of(job, step)).cloned()
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
            let missing = self.jobs.get(&id).map(|job| job.plan.plan.missing_nets()).unwrap_or_default();
            if !missing.is_empty() {
                report.insert("missing_nets".to_owned(), json!(missing));
            }
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

    pub(super) fn may_run(&self) -> bool {
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
            let step = &job.plan.steps()[active.next_step];
            self.usage.stage(step.stage, step.engine).cached += 1;
            cached.push(step.stage);
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
        if let Some(net) = self.needs.missing(step) {
            return Err(JobError {
                kind: ErrorKind::WeightsMissing,
                stage: Some(step.stage.to_owned()),
                message: format!("there is no network `{net}` any more"),
                hint: "put its folder back and restart the daemon; `meshkiln nets` lists what is there".to_owned(),
                retryable: false,
            });
        }
        let mut read = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        let mut inline = BTreeMap::new();
        for slot in stage.sees() {
            if slot == Slot::Provenance {
                let mut value = provenance(&self.setup.generator, &job.name, &job.source_sha256, &job.plan.plan);
                value["nets"] = self.nets_of(job);
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
        let net = self.net_of(job, active.next_step).cloned();
        let weights = net.as_ref().map_or(Vec::new(), |net| self.setup.catalogue.weights(net));
        let key = stage.cache_key(step.engine, &step.settings, &weights, &read);
        Ok(Need { key, device: self.device_of(job, active.next_step).clone(), net, inputs, inline })
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
            nets: need.net.iter().map(|net| net.to_string()).collect(),
        });
        let run = Run {
            key: need.key.clone(),
            stage: step.stage,
            engine: step.engine,
            net: need.net.clone(),
            source_sha256: job.source_sha256.clone(),
            jobs: vec![id],
            ask: None,
            started: time.now,
            progressed: time.now,
            done: 0,
            total: 0,
            cancel_by: None,
        };
        worker.phase = Phase::Busy { run: run_id };
        if let Some(net) = &need.net {
            self.residency.used(&need.device, net, time.now);
        }
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
            ran_out: false,
            told_progress: None,
        }
    }
}

pub(super) fn find_stage(step: &PlannedStep) -> &'static Stage {
    stage::find(step.stage).unwrap_or_else(|| panic!("plan names stage `{}`, which is not in STAGES", step.stage))
}
