//! What clients and the watcher ask of the queue, each call answered at once.

use std::collections::BTreeSet;

use meshkiln_protocol::{
    error::ErrorKind,
    event::EventBody,
    job::{Class, JobId, JobState},
    net::KeepAlive,
};

use super::{State, Stopping, Stored, Time, workers::Phase};
use crate::{
    catalogue::NetId,
    jobs::Job,
    main_loop::{Answer, Call, CallId, Effect, Refusal, Submission},
    residency::Why,
};

impl State {
    /// The answer, unless it comes later.
    pub(super) fn call(&mut self, id: CallId, call: Call, time: Time, stored: &dyn Stored) -> Option<Answer> {
        if let Some(refusal) = self.no_calls(&call) {
            return Some(refusal);
        }
        match call {
            Call::OpenCutout { engine, net, source_sha256 } => self.open_cutout(id, engine, &net, source_sha256, time),
            Call::Click { session, prompt } => self.click(id, session, prompt, time),
            other => Some(self.answer(other, time, stored)),
        }
    }

    /// Why nothing can be asked for now, but to stop.
    fn no_calls(&self, call: &Call) -> Option<Answer> {
        if let Call::Shutdown { .. } = call {
            return None;
        }
        if self.stopping.is_some() {
            return Some(Answer::Refused(stopping()));
        }
        if let Some(problem) = &self.damage {
            let hint = "stop the daemon, move the database away or repair it with sqlite3's .recover, start again";
            return Some(refuse(ErrorKind::Storage, problem, hint));
        }
        let problem = self.storage_problem.as_ref()?;
        Some(refuse(ErrorKind::Storage, problem, "free some disk space; the call will work again by itself"))
    }

    fn answer(&mut self, call: Call, time: Time, stored: &dyn Stored) -> Answer {
        match call {
            Call::Submit(submissions) => self.submit(submissions, time, stored),
            Call::Cancel(id) => self.cancel(id, time, stored),
            Call::Retry(id) => self.retry(id, time, stored),
            Call::Pause(id) => self.pause(id, stored),
            Call::Resume(id) => self.resume(id, time, stored),
            Call::Reclass(id, class) => self.reclass(id, class, time, stored),
            Call::Clear(states) => self.clear(states, stored),
            Call::PauseQueue => self.pause_queue(true),
            Call::ResumeQueue => self.pause_queue(false),
            Call::WarmNet { net, keep_alive, pin } => self.warm_net(&net, keep_alive, pin, time),
            Call::StopNet(net) => self.stop_net(&net, time),
            Call::ReleaseNet(net) => self.release_net(&net, time),
            Call::Yield { time_limit, now } => self.give_away(time_limit, now, time, stored),
            Call::TakeBack => self.take_back(time),
            Call::CloseCutout(session) => self.close_cutout(session),
            Call::Shutdown { now } => self.shutdown(now),
            Call::OpenCutout { .. } | Call::Click { .. } => unreachable!("answered later"),
        }
    }

    fn submit(&mut self, submissions: Vec<Submission>, time: Time, stored: &dyn Stored) -> Answer {
        // First look, then act: a refusal must change nothing.
        let mut keys = BTreeSet::new();
        let mut new = 0;
        for submission in &submissions {
            if let Some(key) = submission.idempotency_key.as_deref()
                && (!keys.insert(key) || self.job_with_key(key, stored).is_some())
            {
                continue;
            }
            new += 1;
            if !stored.has_blob(&submission.source_sha256) {
                let message = format!("blob {} of `{}` is not here", submission.source_sha256, submission.name);
                return refuse(ErrorKind::NotFound, &message, "upload the source again, then submit");
            }
        }
        let live = self.live_jobs();
        let limit = self.setup.policy.live_jobs;
        if live + new > limit {
            let message = format!("{live} jobs wait already, and {new} more would exceed the limit of {limit}");
            return refuse(ErrorKind::Busy, &message, "try again when some have ended");
        }

        let mut last_plan = None;
        let mut ids = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let first = submission.idempotency_key.as_deref().and_then(|key| self.job_with_key(key, stored));
            if let Some(first) = first {
                ids.push(first);
                continue;
            }
            let id = JobId(self.next_job);
            self.next_job += 1;
            if let Some(key) = &submission.idempotency_key {
                self.new_keys.insert(key.clone(), id);
            }
            let plan = self.intern(&submission.plan, &mut last_plan);
            let job = Job::new(id, submission, plan, time.wall);
            self.jobs.insert(id, job);
            self.count(JobState::Queued, 1);
            self.changes.new_jobs.insert(id);
            self.change(id, |_| true);
            self.enqueue(id, time, stored);
            ids.push(id);
        }
        Answer::Jobs(ids)
    }

    fn cancel(&mut self, id: JobId, time: Time, stored: &dyn Stored) -> Answer {
        if !self.jobs.contains_key(&id) && stored.job(id).is_none() {
            return no_such_job(id);
        }
        let was_running = self.jobs.get(&id).is_some_and(|job| job.state == JobState::Running);
        if was_running {
            self.leave_run(id, time);
        }
        if self.change(id, |job| job.cancel(time.wall)) {
            self.forget_places(id);
            self.log(id, "cancelled".to_owned());
        }
        Answer::Done
    }

    fn retry(&mut self, id: JobId, time: Time, stored: &dyn Stored) -> Answer {
        let Some(job) = self.jobs.get(&id).cloned().or_else(|| stored.job(id)) else { return no_such_job(id) };
        if !matches!(job.state, JobState::Failed | JobState::Dead | JobState::Cancelled) {
            return wrong_state(id, job.state, "only a failed, dead or cancelled job can be tried again");
        }
        if !stored.has_blob(&job.source_sha256) {
            return refuse(ErrorKind::NotFound, "the source is no longer kept", "fire the source file again");
        }
        if job.plan.steps().is_empty() {
            let hint = "fire the source file again";
            return refuse(ErrorKind::InvalidInput, "the job's recipe is of another version", hint);
        }
        if self.live_jobs() >= self.setup.policy.live_jobs {
            return refuse(ErrorKind::Busy, "too many jobs wait already", "try again when some have ended");
        }
        self.jobs.insert(id, job);
        self.change(id, Job::retry);
        self.changes.retried.insert(id);
        self.log(id, "queued again on request".to_owned());
        self.enqueue(id, time, stored);
        Answer::Done
    }

    fn pause(&mut self, id: JobId, stored: &dyn Stored) -> Answer {
        if self.change(id, Job::pause) {
            self.forget_places(id);
            self.log(id, "paused".to_owned());
            return Answer::Done;
        }
        match self.state_of(id, stored) {
            None => no_such_job(id),
            Some(JobState::Paused) => Answer::Done,
            Some(state) => wrong_state(id, state, "only a queued job can be paused"),
        }
    }

    fn resume(&mut self, id: JobId, time: Time, stored: &dyn Stored) -> Answer {
        if self.change(id, Job::resume) {
            self.log(id, "resumed".to_owned());
            self.enqueue(id, time, stored);
            return Answer::Done;
        }
        match self.state_of(id, stored) {
            None => no_such_job(id),
            Some(JobState::Queued | JobState::Running) => Answer::Done,
            Some(state) => wrong_state(id, state, "only a paused job can be resumed"),
        }
    }

    fn reclass(&mut self, id: JobId, class: Class, time: Time, stored: &dyn Stored) -> Answer {
        if self.change(id, |job| job.reclass(class)) {
            self.log(id, format!("moved to class {}", class.id()));
            // Paused and delayed ones find their place later.
            if self.ready.remove(id) {
                self.enqueue(id, time, stored);
            }
            return Answer::Done;
        }
        match self.state_of(id, stored) {
            None => no_such_job(id),
            Some(state) => wrong_state(id, state, "only a queued or paused job can be moved"),
        }
    }

    fn clear(&mut self, mut states: Vec<JobState>, stored: &dyn Stored) -> Answer {
        if states.is_empty() {
            states = JobState::ALL.iter().copied().filter(|state| state.is_final()).collect();
        }
        if let Some(state) = states.iter().find(|state| !state.is_final()) {
            let message = format!("`{}` is not a final state", state.id());
            return refuse(ErrorKind::InvalidInput, &message, "choose among done, failed, cancelled and dead");
        }
        states.retain(|state| !self.changes.clear.contains(state));
        let cleared = stored.count(&states, &self.changes.jobs);
        self.changes.clear.extend(states);
        Answer::Cleared(cleared)
    }

    fn pause_queue(&mut self, paused: bool) -> Answer {
        if self.queue_paused != paused {
            self.queue_paused = paused;
            self.changes.queue_paused = Some(paused);
        }
        Answer::Queue(self.queue())
    }

    fn warm_net(&mut self, id: &str, keep_alive: Option<KeepAlive>, pin: Option<bool>, time: Time) -> Answer {
        let is_warm = self.residency.home(id).is_some();
        if !self.setup.catalogue.is_here(id) && self.residency.net(id).is_some() {
            let hint = format!("fetch them with `meshkiln pull {id}`");
            return refuse(ErrorKind::WeightsMissing, &format!("the weights of `{id}` are not here"), &hint);
        }
        let Some(net) = self.residency.net_mut(id) else { return no_such_net(id) };
        net.keep = keep_alive.unwrap_or(net.keep);
        net.pinned = pin.unwrap_or(net.pinned);
        if is_warm {
            let device = self.setup.devices.nets.clone();
            self.residency.touched(&device, id, time.now);
        } else {
            net.wanted = true;
            (net.problem, net.problem_until, net.crashes) = (None, None, 0);
        }
        self.tell_net(&id.into(), time.now);
        Answer::Done
    }

    fn stop_net(&mut self, id: &str, time: Time) -> Answer {
        let Some(net) = self.residency.net_mut(id) else { return no_such_net(id) };
        (net.pinned, net.wanted) = (false, false);
        self.residency.let_go(id, Why::Asked);
        self.tell_net(&id.into(), time.now);
        Answer::Done
    }

    fn release_net(&mut self, id: &str, time: Time) -> Answer {
        let net: NetId = id.into();
        let device = &self.setup.devices.nets;
        let is_loading =
            self.workers.values().any(|worker| matches!(&worker.phase, Phase::Loading { net, .. } if **net == *id));
        if self.net_in_use(&net) || is_loading || self.ready.needs(device, &net) || self.waits_for_ask(&net) {
            let hint = "wait for its jobs, or cancel them; `meshkiln ps` shows nets in use";
            return refuse(ErrorKind::WrongState, &format!("`{id}` is in use"), hint);
        }
        self.stop_net(id, time)
    }

    fn shutdown(&mut self, now: bool) -> Answer {
        match &mut self.stopping {
            Some(stopping) => stopping.now |= now,
            None => {
                self.stopping = Some(Stopping { now, leaving: None, told: false });
                self.out.push(Effect::Publish(EventBody::Stopping));
            }
        }
        Answer::Done
    }

    fn job_with_key(&self, key: &str, stored: &dyn Stored) -> Option<JobId> {
        self.new_keys.get(key).copied().or_else(|| stored.job_with_key(key))
    }

    fn state_of(&self, id: JobId, stored: &dyn Stored) -> Option<JobState> {
        self.jobs.get(&id).map(|job| job.state).or_else(|| Some(stored.job(id)?.state))
    }
}

fn refuse(kind: ErrorKind, message: &str, hint: &str) -> Answer {
    Answer::Refused(Refusal { kind, message: message.to_owned(), hint: hint.to_owned() })
}

pub(super) fn stopping() -> Refusal {
    let hint = "start it again with `meshkiln up`".to_owned();
    Refusal { kind: ErrorKind::ShuttingDown, message: "the daemon is stopping".to_owned(), hint }
}

fn no_such_job(id: JobId) -> Answer {
    refuse(ErrorKind::NotFound, &format!("there is no job {id}"), "`meshkiln jobs` lists them")
}

fn no_such_net(id: &str) -> Answer {
    refuse(ErrorKind::NotFound, &format!("there is no net `{id}`"), "`meshkiln nets` lists them")
}

fn wrong_state(id: JobId, state: JobState, rule: &str) -> Answer {
    refuse(ErrorKind::WrongState, &format!("job {id} is {}", state.id()), rule)
}
