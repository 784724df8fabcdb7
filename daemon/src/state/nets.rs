//! Nets in the workers: loaded when jobs need them, let go when others need the
//! room, and what follows when that fails.
//!
//! residency.rs says what to do next, this file tells the workers and takes their
//! answers. A load belongs to no job: a cancelled job leaves it going on, and a
//! failed load fails whoever waits for the net, without a crash to anybody's account.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    error::{ErrorKind, JobError},
    event::EventBody,
    job::{Class, JobId},
    net::{DeviceMemory, DeviceStatus, Net, NetState},
};

use super::{
    State, Stored, Time,
    workers::{Canary, Phase},
};
use crate::{
    catalogue::NetId,
    jobs::{Remedy, judge},
    main_loop::{Device, Effect, Refusal},
    residency::{Chore, Cost, Loaded, Refused, Residency, Step, Why},
    scheduler::{Outlook, Pick},
    worker::frames::{Command, Failure, FailureKind},
};

/// The nets of one device, as the scheduler sees them.
struct Here<'a> {
    residency: &'a Residency,
    device: &'a Device,
    coming: BTreeSet<(Class, NetId)>,
}

impl Outlook for Here<'_> {
    fn cost(&self, net: &NetId) -> Cost {
        self.residency.cost(self.device, net)
    }

    fn is_coming(&self, class: Class, net: &NetId) -> bool {
        self.coming.contains(&(class, net.clone()))
    }

    fn unused(&self) -> Option<&NetId> {
        self.residency.unused(self.device)
    }
}

impl State {
    pub(super) fn pick(&mut self, device: &Device, time: Time) -> Pick {
        if self.residency.unused(device).is_some_and(|net| self.ready.waiting_for(device, net).is_empty()) {
            self.residency.not_used(device);
        }
        let coming = self.coming_from_elsewhere(device);
        let here = Here { residency: &self.residency, device, coming };
        self.ready.pick(device, time.now, &here)
    }

    /// Whatever an idle device has to do before it may work. Says whether it has been told to.
    pub(super) fn do_chore(&mut self, device: &Device, time: Time) -> bool {
        self.residency.stop_settling(device, time.now);
        match self.residency.chore(device, time.now, &|net| self.is_needed(device, net)) {
            Some(Chore::Unload(net, why)) => self.unload(device, &net, why, time),
            Some(Chore::Recycle) => self.recycle(device, time),
            None => false,
        }
    }

    /// One step towards a warm net for which jobs wait. Says whether anything was done.
    pub(super) fn bring(&mut self, device: &Device, net: &NetId, time: Time) -> bool {
        let step = self.residency.towards(device, net, time.now);
        self.take_step(device, net, step, time)
    }

    /// The same for nets that are to be warm without a job.
    pub(super) fn warm_up(&mut self, device: &Device, time: Time) -> bool {
        match self.residency.wish(device, time.now) {
            Some((net, step)) => self.take_step(device, &net, step, time),
            None => false,
        }
    }

    /// There has been no room for the net for too long.
    pub(super) fn give_up(&mut self, device: &Device, net: &NetId, time: Time) {
        let need = self.residency.need(device, net);
        let memory = self.residency.memory(device).unwrap_or_default();
        let others = memory.total_bytes.saturating_sub(memory.free_bytes + memory.used_bytes);
        let message = format!(
            "`{net}` needs {} on `{device}`, and others use {} of {}",
            gigabytes(need),
            gigabytes(others),
            gigabytes(memory.total_bytes)
        );
        let error = out_of_memory(message, "close other programs that use the device, then retry");
        self.fail_waiting(device, net, &error, time);
    }

    pub(super) fn take_step(&mut self, device: &Device, net: &NetId, step: Step, time: Time) -> bool {
        match step {
            Step::Ready | Step::Wait => false,
            Step::Load => self.load(device, net, time),
            Step::Unload(victim) => self.unload(device, &victim, Why::Room, time),
            Step::Refuse(refused) => {
                self.refuse_net(device, net, refused, time);
                true
            }
        }
    }

    fn load(&mut self, device: &Device, net: &NetId, time: Time) -> bool {
        let until = time.now + self.load_patience(device, net);
        let Some(worker) = self.workers.get_mut(device) else { return false };
        let load = self.counters.next_run;
        self.counters.next_run += 1;
        worker.phase = Phase::Loading { load, net: net.clone(), until };
        let command = Command::Load { load, net: net.to_string() };
        self.out.push(Effect::Send { worker: worker.id, command });
        self.residency.begin_load(device, net, load);
        self.tell_net(net, time.now);
        true
    }

    fn unload(&mut self, device: &Device, net: &NetId, why: Why, time: Time) -> bool {
        let Some(worker) = self.workers.get_mut(device) else { return false };
        let Some(load) = self.residency.begin_unload(device, net) else { return false };
        worker.phase = Phase::Unloading { load, net: net.clone(), since: time.now };
        let command = Command::Unload { load, net: net.to_string() };
        self.out.push(Effect::Send { worker: worker.id, command });
        tracing::info!("`{net}` leaves `{device}`: {}", reason(why));
        self.tell_net(net, time.now);
        true
    }

    fn recycle(&mut self, device: &Device, time: Time) -> bool {
        let Some(worker) = self.workers.get_mut(device) else { return false };
        tracing::warn!("worker `{device}` is started afresh: its memory does not come back");
        worker.phase = Phase::Recycling { since: time.now };
        self.out.push(Effect::Send { worker: worker.id, command: Command::Exit });
        self.residency.recycled(device);
        true
    }

    pub(super) fn loaded(&mut self, device: &Device, loaded: &Loaded, time: Time) {
        if !self.answered(
            device,
            time.now,
            |phase| matches!(phase, Phase::Loading { load, .. } if *load == loaded.load),
        ) {
            return;
        }
        let Some(net) = self.residency.loaded(device, loaded, time.now) else { return };
        let count = self.usage.net(&net);
        count.loads += 1;
        count.load_ms += loaded.elapsed_ms;
        self.changes.measured.insert((device.clone(), net.clone()));
        self.works(device, Canary::Load);
        self.tell_net(&net, time.now);
    }

    pub(super) fn load_failed(
        &mut self,
        device: &Device,
        load: u64,
        failure: &Failure,
        memory: Option<DeviceMemory>,
        time: Time,
        stored: &dyn Stored,
    ) {
        if !self.answered(device, time.now, |phase| matches!(phase, Phase::Loading { load: own, .. } if *own == load)) {
            return;
        }
        let Some(net) = self.residency.load_failed(device, load, memory) else { return };
        self.usage.net(&net).load_failures += 1;
        match failure.kind {
            FailureKind::DeviceFault => self.device_failed(device, &failure.message, Canary::Load, time),
            FailureKind::OutOfMemory => self.no_room(device, &net, failure, time),
            FailureKind::Storage => {
                let (error, _) = judge(failure, "");
                let JobError { kind, message, hint, .. } = error.clone();
                self.refuse_asks_of(&net, &Refusal { kind, message, hint });
                for id in self.ready.waiting_for(device, &net) {
                    let error = JobError { stage: self.stage_of(id), ..error.clone() };
                    self.ready.remove(id);
                    self.try_later(id, error, time, stored);
                }
                self.set_problem(&net, &failure.message, None);
            }
            _ => {
                let (error, remedy) = judge(failure, "");
                let kind = if remedy == Remedy::Fail { error.kind } else { ErrorKind::Internal };
                let error = JobError { kind, retryable: kind.retryable(), ..error };
                self.set_problem(&net, &failure.message, None);
                self.fail_waiting(device, &net, &error, time);
            }
        }
        self.tell_net(&net, time.now);
    }

    pub(super) fn unloaded(&mut self, device: &Device, load: u64, memory: Option<DeviceMemory>, time: Time) {
        if !self.answered(device, time.now, |phase| matches!(phase, Phase::Unloading { load: own, .. } if *own == load))
        {
            return;
        }
        let Some(net) = self.residency.unloaded(device, load, memory, time.now) else { return };
        self.usage.net(&net).unloads += 1;
        self.tell_net(&net, time.now);
    }

    /// The worker has ended, and with it whatever was in it.
    pub(super) fn nets_lost(&mut self, device: &Device, how: &str, time: Time) {
        let lost = self.residency.gone(device);
        if let Some(net) = &lost.loading {
            self.usage.net(net).load_failures += 1;
            let (most, pause) = (self.residency.policy().load_crashes, self.residency.policy().problem_pause);
            let until = time.now + pause;
            // Killed on purpose is no crash.
            let is_to_blame = self.workers.get(device).is_some_and(|worker| worker.phase.is_at_fault());
            if is_to_blame {
                self.set_trouble(device, format!("loading `{net}` ended it: {how}"), Canary::Load);
            }
            let crashes = self.residency.net_mut(net).map_or(0, |net| {
                net.crashes += u32::from(is_to_blame);
                net.crashes
            });
            if is_to_blame && crashes >= most {
                let message = format!("loading `{net}` ended the worker {crashes} times, the last time: {how}");
                self.set_problem(net, &message, Some(until));
                self.fail_waiting(device, net, &worker_lost(message), time);
            }
        }
        for net in lost.loading.iter().chain(&lost.warm) {
            self.tell_net(net, time.now);
        }
    }

    /// A stage ran out of memory: everything goes and it is tried once more. Says whether it is.
    pub(super) fn once_more_with_room(&mut self, device: &Device, jobs: &[JobId]) -> bool {
        let again = jobs.iter().filter_map(|id| self.active.get(id)).all(|active| !active.ran_out);
        if again {
            self.residency.let_all_go(device, true);
            for id in jobs {
                if let Some(active) = self.active.get_mut(id) {
                    active.ran_out = true;
                }
            }
        }
        again
    }

    /// When an idle device has something to do though nothing happens.
    pub(super) fn nets_deadline(&self) -> Option<Instant> {
        if self.stopping.is_some() {
            return None;
        }
        let idle = self.workers.iter().filter(|(_, worker)| worker.is_idle());
        idle.filter_map(|(device, _)| self.residency.deadline(device, &|net| self.is_needed(device, net))).min()
    }

    /// Too much wanted to expire.
    fn is_needed(&self, device: &Device, net: &NetId) -> bool {
        self.may_run() && self.ready.needs(device, net)
    }

    /// How long a load may take.
    fn load_patience(&self, device: &Device, net: &NetId) -> Duration {
        let policy = self.residency.policy();
        let last = self.residency.measures().of(device, net).map_or(0, |measured| measured.load_ms);
        policy.load_timeout.max(Duration::from_millis(last).mul_f64(policy.load_factor))
    }

    pub(super) fn tell_net(&mut self, net: &NetId, now: Instant) {
        if let Some(net) = self.net_wire(net, now) {
            self.out.push(Effect::Publish(EventBody::Net { net: Box::new(net) }));
        }
    }

    /// A net as clients see it.
    pub(super) fn net_wire(&self, id: &NetId, now: Instant) -> Option<Net> {
        let net = self.residency.net(id)?;
        let home = self.residency.home(id);
        let on_its_way = self.workers.iter().find_map(|(device, worker)| match &worker.phase {
            Phase::Loading { net, .. } if net == id => Some((device, NetState::Loading)),
            Phase::Unloading { net, .. } if net == id => Some((device, NetState::Unloading)),
            _ => None,
        });
        let state = match (on_its_way, home) {
            (Some((_, state)), _) => state,
            (None, Some(_)) => NetState::Warm,
            (None, None) if self.setup.catalogue.is_here(id) => NetState::Cold,
            (None, None) => NetState::Absent,
        };
        let device = on_its_way.map(|(device, _)| device).or(home);
        let measured = self.residency.measures().of(&self.setup.devices.nets, id);
        let in_use = home.is_some() && self.net_in_use(id);
        let expires = self.residency.expires(id).filter(|_| state == NetState::Warm && !in_use);
        Some(Net {
            id: id.to_string(),
            doc: net.doc.clone(),
            state,
            device: device.cloned(),
            in_use,
            declared_bytes: net.declared,
            resident_bytes: measured.map(|measured| measured.resident_bytes),
            peak_bytes: measured.map(|measured| measured.peak_bytes()),
            keep_alive: net.keep,
            pinned: net.pinned,
            expires_in_ms: expires.map(|at| at.saturating_duration_since(now).as_millis() as u64),
            loads: net.loads,
            load_ms: net.load_ms,
            problem: net.problem.clone(),
            about: None,
            own: None,
            pull: None,
        })
    }

    pub(super) fn device_status(&self, device: &Device) -> DeviceStatus {
        DeviceStatus {
            device: device.clone(),
            memory: self.residency.memory(device),
            reserve_bytes: self.residency.reserve_bytes(device),
            nets: self.residency.warm(device).map(|net| net.to_string()).collect(),
            yielded: self.is_held(device),
            recycles: self.residency.recycles(device),
        }
    }

    /// A running stage needs it.
    pub(super) fn net_in_use(&self, net: &NetId) -> bool {
        self.runs.values().any(|run| run.net.as_ref() == Some(net))
    }

    /// What a started job waits for, in words, when that is not its turn.
    pub(super) fn wait_in_words(&self, device: &Device, net: Option<&NetId>) -> Option<String> {
        let hold = self.hold_queue().or_else(|| self.hold(device));
        hold.or_else(|| Some(self.net_wait(device, net?)))
    }

    fn net_wait(&self, device: &Device, net: &NetId) -> String {
        match self.workers.get(device).map(|worker| &worker.phase) {
            Some(Phase::Loading { net: loading, .. }) if loading == net => format!("`{net}` is being loaded"),
            _ => match self.residency.cost(device, net) {
                Cost::Blocked => format!("`{net}` waits for memory on `{device}`"),
                Cost::Nothing => format!("`{net}` is at work for others"),
                Cost::Load | Cost::Swap(_) => format!("`{net}` is not loaded yet"),
            },
        }
    }

    /// The worker has answered; it is idle again.
    fn answered(&mut self, device: &Device, now: Instant, is_it: impl FnOnce(&Phase) -> bool) -> bool {
        let Some(worker) = self.workers.get_mut(device) else { return false };
        let answered = is_it(&worker.phase);
        if answered {
            worker.phase = Phase::Idle { since: now, trimmed: false };
        }
        answered
    }

    /// A load ran out of memory: once with everything else let go, then it is an error.
    fn no_room(&mut self, device: &Device, net: &NetId, failure: &Failure, time: Time) {
        let first = self.residency.net_mut(net).is_some_and(|net| !std::mem::replace(&mut net.ran_out, true));
        if first {
            tracing::warn!("`{net}` does not fit on `{device}`; trying once more with nothing beside it");
            return self.residency.let_all_go(device, false);
        }
        if let Some(net) = self.residency.net_mut(net) {
            net.ran_out = false;
        }
        let (error, _) = judge(failure, "");
        self.set_problem(net, &failure.message, None);
        self.set_trouble(device, format!("`{net}` could not be loaded: {}", failure.message), Canary::Load);
        self.fail_waiting(device, net, &error, time);
    }

    fn refuse_net(&mut self, device: &Device, net: &NetId, refused: Refused, time: Time) {
        let error = match refused {
            Refused::TooLarge { need_bytes, room_bytes } => {
                let (need, room) = (gigabytes(need_bytes), gigabytes(room_bytes));
                // By a measure that may be wrong.
                self.residency.doubt_measure(device, net);
                out_of_memory(
                    format!("`{net}` needs {need}, and `{device}` has {room} for nets"),
                    "choose another engine, or unpin other nets with `meshkiln stop NET`",
                )
            }
            Refused::Problem(problem) => worker_lost(problem),
        };
        self.set_problem(net, &error.message, self.residency.net(net).and_then(|net| net.problem_until));
        self.fail_waiting(device, net, &error, time);
        self.tell_net(net, time.now);
    }

    fn set_problem(&mut self, net: &NetId, problem: &str, until: Option<Instant>) {
        tracing::error!("net `{net}`: {problem}");
        if let Some(net) = self.residency.net_mut(net) {
            net.problem = Some(problem.to_owned());
            net.problem_until = until;
            net.wanted = false;
        }
    }

    /// Nobody is blamed for a net that does not come.
    fn fail_waiting(&mut self, device: &Device, net: &NetId, error: &JobError, time: Time) {
        let JobError { kind, message, hint, .. } = error.clone();
        self.refuse_asks_of(net, &Refusal { kind, message, hint });
        for id in self.ready.waiting_for(device, net) {
            let error = JobError { stage: self.stage_of(id), ..error.clone() };
            self.fail(id, error, time);
        }
    }

    fn stage_of(&self, id: JobId) -> Option<String> {
        let (job, active) = (self.jobs.get(&id)?, self.active.get(&id)?);
        job.plan.steps().get(active.next_step).map(|step| step.stage.to_owned())
    }

    /// What jobs in other devices' hands will need after the stage they are in.
    fn coming_from_elsewhere(&self, device: &Device) -> BTreeSet<(Class, NetId)> {
        if self.setup.devices.nets != *device || self.setup.devices.built_in == *device {
            return BTreeSet::new();
        }
        let jobs = self.runs.values().filter(|run| run.net.is_none()).flat_map(|run| &run.jobs);
        let coming = jobs.filter_map(|id| {
            let (job, active) = (self.jobs.get(id)?, self.active.get(id)?);
            Some((job.class, self.heading(job, active.next_step + 1)?))
        });
        coming.collect()
    }
}

fn out_of_memory(message: String, hint: &str) -> JobError {
    let kind = ErrorKind::OutOfMemory;
    JobError { kind, stage: None, message, hint: hint.to_owned(), retryable: kind.retryable() }
}

fn worker_lost(message: String) -> JobError {
    let kind = ErrorKind::WorkerLost;
    let hint = "see `meshkiln log`, and fetch the weights again".to_owned();
    JobError { kind, stage: None, message, hint, retryable: kind.retryable() }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Asked => "it was told to",
        Why::Doubt => "a stage panicked while using it",
        Why::OutOfMemory => "memory ran out",
        Why::Pressure => "others need the memory",
        Why::Expired => "nobody has used it for long",
        Why::Room => "another net needs its room",
    }
}

/// `6.1 GB`, powers of ten.
pub(super) fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
