//! What came of a stage or a delivery, and what follows for the jobs that waited
//! for it: on to the next step, again later, or the end.

use std::time::Duration;

use meshkiln_models::{recipe::RecipeError, slot::Slot, stage::Stage};
use meshkiln_protocol::{
    error::{ErrorKind, JobError},
    job::{JobId, StageState},
};

use super::{Doing, Made, Outputs, Run, State, Stored, Time, steps::find_stage, workers::Canary};
use crate::{
    jobs::{Remedy, judge},
    main_loop::Device,
    residency::Why,
    worker::frames::{Failure, FailureKind},
};

impl State {
    pub(super) fn run_done(&mut self, run_id: u64, outputs: Outputs, elapsed_ms: u64, time: Time, stored: &dyn Stored) {
        let Some(run) = self.end_run(run_id) else { return };
        self.usual.learn(run.stage, run.engine, elapsed_ms);
        self.changes.usual.insert((run.stage.to_owned(), run.engine.to_owned()));
        for &id in &run.jobs {
            self.step_done(id, &run.key, &outputs, StageState::Done, elapsed_ms);
            self.log(id, format!("{}: {elapsed_ms} ms", run.stage));
        }
        // A run that nobody wants any more has made something worth keeping all the same.
        self.changes.results.insert(run.key, Made { stage: run.stage.to_owned(), outputs });
        self.go_on_all(&run.jobs, time, stored);
    }

    pub(super) fn run_failed(
        &mut self,
        run_id: u64,
        device: &Device,
        failure: &Failure,
        time: Time,
        stored: &dyn Stored,
    ) {
        let Some(run) = self.end_run(run_id) else { return };
        if let Some(ask) = run.ask {
            return self.ask_failed(ask, run.net.as_ref(), device, failure);
        }
        if let Some(net) = &run.net {
            self.residency.used(device, net, time.now);
            if failure.kind == FailureKind::Panicked {
                self.residency.let_go(net, Why::Doubt);
            }
        }
        if failure.kind == FailureKind::OutOfMemory && run.net.is_some() {
            return self.run_out_of_memory(&run, device, failure, time, stored);
        }
        let (error, remedy) = judge(failure, run.stage);
        match remedy {
            Remedy::Fail => run.jobs.iter().for_each(|&id| self.fail(id, error.clone(), time)),
            Remedy::TryLater => run.jobs.iter().for_each(|&id| self.try_later(id, error.clone(), time, stored)),
            Remedy::CountCrash => self.crashed(&run.jobs, run.stage, &failure.message, time, stored),
            Remedy::Remake => run.jobs.iter().for_each(|&id| self.remake(id, &error, time, stored)),
            Remedy::Drop => self.go_on_all(&run.jobs, time, stored),
        }
    }

    /// A stage with a net: everything is let go and it runs once more, then it is an error.
    fn run_out_of_memory(&mut self, run: &Run, device: &Device, failure: &Failure, time: Time, stored: &dyn Stored) {
        if self.once_more_with_room(device, &run.jobs) {
            for &id in &run.jobs {
                self.log(id, format!("{}: {}; trying once more with an empty device", run.stage, failure.message));
            }
            return self.go_on_all(&run.jobs, time, stored);
        }
        self.residency.let_all_go(device, true);
        let trouble = format!("{} ran out of memory: {}", run.stage, failure.message);
        self.set_trouble(device, trouble, Canary::NetStage);
        let (error, _) = judge(failure, run.stage);
        run.jobs.iter().for_each(|&id| self.fail(id, error.clone(), time));
    }

    /// The worker died, hung or panicked in the run of these jobs.
    pub(super) fn crashed(&mut self, jobs: &[JobId], stage: &str, how: &str, time: Time, stored: &dyn Stored) {
        for &id in jobs {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.crashes += 1;
            let crashes = job.crashes;
            self.log(id, format!("{stage}: crash {crashes}: {how}"));
            if crashes < self.setup.policy.crashes {
                let delay = self.jittered(self.setup.policy.crash_delay * crashes);
                self.requeue(id, Some(delay), time, stored);
                continue;
            }
            let error = JobError {
                kind: ErrorKind::WorkerLost,
                stage: Some(stage.to_owned()),
                message: format!("the worker was lost {crashes} times, the last time: {how}"),
                hint: "try another picture or other settings, and report this with `meshkiln job ID log`".to_owned(),
                retryable: ErrorKind::WorkerLost.retryable(),
            };
            if self.change(id, |job| job.die(error, time.wall)) {
                self.forget_places(id);
            }
        }
    }

    pub(super) fn delivered(
        &mut self,
        id: JobId,
        attempt: u32,
        result: Result<(), JobError>,
        time: Time,
        stored: &dyn Stored,
    ) {
        let Some(active) = self.active.get(&id).filter(|active| active.doing == Doing::Delivering) else { return };
        if self.jobs.get(&id).is_none_or(|job| job.attempt != attempt) {
            return;
        }
        let kept = active.slots.get(&Slot::Asset).is_some_and(|asset| stored.has_blob(&asset.sha256));
        match result {
            Ok(()) => self.finish(id, time, stored),
            Err(error) if !kept => self.remake(id, &error, time, stored),
            Err(error) if error.retryable => self.try_later(id, error, time, stored),
            Err(error) => self.fail(id, error, time),
        }
    }

    pub(super) fn fail(&mut self, id: JobId, error: JobError, time: Time) {
        let text = match &error.stage {
            Some(stage) => format!("failed in {stage}: {}", error.message),
            None => format!("failed: {}", error.message),
        };
        if self.change(id, |job| job.fail(error, time.wall)) {
            self.forget_places(id);
            self.log(id, text);
        }
    }

    /// Ends the running attempt; the job starts again from what the cache has.
    pub(super) fn requeue(&mut self, id: JobId, delay: Option<Duration>, time: Time, stored: &dyn Stored) {
        let not_before = delay.map(|delay| time.wall + delay.as_millis() as u64);
        if !self.change(id, |job| job.requeue(not_before)) {
            return;
        }
        self.forget_places(id);
        match delay {
            Some(delay) => self.delayed.push(id, time.now + delay),
            None => self.enqueue(id, time, stored),
        }
    }

    /// An error that may pass: a few more tries, further and further apart.
    pub(super) fn try_later(&mut self, id: JobId, error: JobError, time: Time, stored: &dyn Stored) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.errors += 1;
        let Some(&delay) = self.setup.policy.retry_delays.get(job.errors as usize - 1) else {
            return self.fail(id, error, time);
        };
        let delay = self.jittered(delay);
        self.log(id, format!("{}; trying again in {:.0} s", error.message, delay.as_secs_f64()));
        self.requeue(id, Some(delay), time, stored);
    }

    /// Something the job read is lost: forget the results that named it, and walk
    /// the plan again from the start; what is still there comes from the cache.
    fn remake(&mut self, id: JobId, error: &JobError, time: Time, stored: &dyn Stored) {
        let (Some(job), Some(active)) = (self.jobs.get_mut(&id), self.active.get_mut(&id)) else { return };
        let steps = job.plan.steps();
        // A worker may have found damage that `has_blob` cannot see, so whoever
        // made what this step reads is suspected in any case.
        let read: Vec<Slot> = match steps.get(active.next_step) {
            Some(step) => find_stage(step).sees().collect(),
            None => vec![Slot::Asset],
        };
        let lost = |slot: &Slot| {
            read.contains(slot) || active.slots.get(slot).is_some_and(|blob| !stored.has_blob(&blob.sha256))
        };
        let suspects: Vec<usize> = (0..active.next_step)
            .filter(|&idx| steps.get(idx).is_some_and(|step| made_by(find_stage(step)).iter().any(lost)))
            .collect();
        active.losses += 1;
        // Each round goes at least one step further back.
        let hopeless = active.losses > steps.len() || !stored.has_blob(&job.source_sha256);
        if hopeless || suspects.is_empty() {
            let error = JobError {
                hint: "fire the source file again".to_owned(),
                stage: error.stage.clone(),
                message: format!("something this job needs is no longer kept: {}", error.message),
                kind: ErrorKind::Storage,
                retryable: false,
            };
            return self.fail(id, error, time);
        }

        for idx in suspects {
            let key = &active.keys[idx];
            self.changes.results.remove(key);
            self.changes.touched.remove(key);
            self.changes.forgotten.insert(key.clone());
        }
        active.next_step = 0;
        active.slots.clear();
        active.keys.clear();
        job.stages = job.plan.pending_stages();
        self.changes.jobs.insert(id);
        self.log(id, format!("{}; making it again", error.message));
        self.go_on_all(&[id], time, stored);
    }

    fn jittered(&mut self, delay: Duration) -> Duration {
        let jitter = self.setup.policy.jitter * (2.0 * self.rng.f64() - 1.0);
        delay.mul_f64(1.0 + jitter)
    }
}

pub(super) fn unreadable_plan(problem: &RecipeError) -> JobError {
    JobError {
        kind: ErrorKind::InvalidInput,
        stage: None,
        message: format!("this version cannot run the job's recipe: {problem}"),
        hint: format!("{}, or fire the source file again", problem.hint),
        retryable: false,
    }
}

/// What a stage is there for: what it always writes, or else any of what it may.
fn made_by(stage: &Stage) -> &'static [Slot] {
    if stage.writes.is_empty() { stage.may_write } else { stage.writes }
}
