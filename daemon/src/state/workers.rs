//! The worker processes: started, listened to, watched, started again.
//!
//! A worker that dies or hangs in a stage costs its jobs a crash and is started
//! again at once. One that does not start is tried again later and later; after
//! a few failures in a row the breaker opens and health says so.
//!
//! A device fault ends the process at once and counts as such a failure. The job
//! in hand is to blame only while no other job has met the fault as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use meshkiln_protocol::job::JobId;

use super::{Doing, Run, State, Stored, Time, calls::stopping, policy::Policy, view::UsualTimes};
use crate::{
    catalogue::NetId,
    main_loop::{Device, Effect, WorkerEnd, WorkerId},
    residency::Loaded,
    worker::frames::{Command, Failure, FailureKind, Report},
};

#[derive(Debug)]
pub(super) struct Worker {
    /// Of the latest process.
    pub id: WorkerId,
    pub phase: Phase,
    pub pid: Option<u32>,
    pub rss_bytes: Option<u64>,
    pub restarts: u32,
    started_before: bool,
    /// When it last said anything.
    heard: Instant,
    /// Within the breaker's window; forgotten when a stage ends well.
    failed_starts: Vec<Instant>,
    last_failure: String,
    /// What last went wrong with it; forgotten when as much goes well.
    trouble: Option<(Canary, String)>,
    /// Jobs that met a device fault since something went well.
    faulted: BTreeSet<JobId>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// No process; started at that time.
    Down {
        until: Instant,
    },
    /// No process; the breaker is open until then.
    Broken {
        until: Instant,
    },
    Starting {
        since: Instant,
    },
    Idle {
        since: Instant,
        trimmed: bool,
    },
    Busy {
        run: u64,
    },
    Loading {
        load: u64,
        net: NetId,
        /// It has taken too long then.
        until: Instant,
    },
    Unloading {
        load: u64,
        net: NetId,
        since: Instant,
    },
    /// It has been told to leave, so that a fresh one with all the memory can start.
    Recycling {
        since: Instant,
    },
    /// It has been told to leave, or to die: its device is given away.
    Freeing {
        since: Instant,
    },
    /// No process, and none is started: its device is given away.
    Away,
    /// It has been told to die; nothing it says counts any more.
    Killed {
        since: Instant,
        why: String,
        run: Option<u64>,
        doing: Doomed,
    },
    /// It has been told to leave, at shutdown.
    Leaving,
}

/// What has to go well before an earlier trouble is over: each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Canary {
    /// A stage without a net.
    Stage,
    Load,
    NetStage,
}

/// What a killed worker was doing beside runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Doomed {
    Loading,
    /// Its device had failed.
    Faulty,
    Other,
}

/// A killed process that is not gone after this long never will be: go on without it.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);

impl Phase {
    /// Its end now would be the fault of the net that is being loaded.
    pub fn is_at_fault(&self) -> bool {
        matches!(self, Phase::Loading { .. } | Phase::Killed { doing: Doomed::Loading, .. })
    }
}

impl Worker {
    pub fn new(now: Instant) -> Worker {
        Worker {
            id: WorkerId(0),
            phase: Phase::Down { until: now },
            pid: None,
            rss_bytes: None,
            restarts: 0,
            started_before: false,
            heard: now,
            failed_starts: Vec::new(),
            last_failure: String::new(),
            trouble: None,
            faulted: BTreeSet::new(),
        }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle { .. })
    }

    pub fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Down { .. } | Phase::Broken { .. } | Phase::Away)
    }

    pub fn problem(&self, device: &str) -> Option<String> {
        let Phase::Broken { .. } = self.phase else {
            return self.trouble.as_ref().map(|(_, trouble)| format!("worker `{device}`: {trouble}"));
        };
        let n = self.failed_starts.len();
        let what = if self.faulted.is_empty() { "did not start" } else { "failed" };
        Some(format!("worker `{device}` {what} {n} times in a row, the last time: {}", self.last_failure))
    }

    /// When something has to be done about it though it says nothing.
    pub fn deadline(&self, policy: &Policy, runs: &BTreeMap<u64, Run>, usual: &UsualTimes) -> Option<Instant> {
        let silent = self.heard + policy.heartbeat_timeout;
        match &self.phase {
            Phase::Down { until } | Phase::Broken { until } => Some(*until),
            Phase::Starting { since } => Some(*since + policy.start_timeout),
            Phase::Idle { trimmed: true, .. } => Some(silent),
            Phase::Idle { since, trimmed: false } => Some(silent.min(*since + policy.trim_after)),
            Phase::Busy { run } => match runs.get(run) {
                Some(run) => {
                    let stuck = run.progressed + patience(policy, usual, run);
                    Some(silent.min(run.cancel_by.unwrap_or(stuck)))
                }
                None => Some(silent),
            },
            Phase::Loading { until, .. } => Some(silent.min(*until)),
            Phase::Unloading { since, .. } => Some(silent.min(*since + policy.nets.load_timeout)),
            Phase::Recycling { since } | Phase::Freeing { since } => Some(*since + policy.leave_grace),
            Phase::Killed { since, .. } => Some(*since + GONE_TIMEOUT),
            Phase::Leaving | Phase::Away => None,
        }
    }
}

impl State {
    pub(super) fn hear(&mut self, worker: WorkerId, report: Report, time: Time, stored: &dyn Stored) {
        let Some(device) = self.device_with(worker) else { return };
        let Some(found) = self.workers.get_mut(&device) else { return };
        if matches!(
            found.phase,
            Phase::Killed { .. } | Phase::Leaving | Phase::Recycling { .. } | Phase::Freeing { .. } | Phase::Away
        ) {
            return;
        }
        found.heard = time.now;
        match report {
            Report::Ready { pid, version: _, memory } => {
                found.pid = Some(pid);
                if let Phase::Starting { .. } = found.phase {
                    found.phase = Phase::Idle { since: time.now, trimmed: false };
                    self.residency.ready(&device, memory);
                }
            }
            Report::Heartbeat { rss_bytes, memory } => {
                found.rss_bytes = Some(rss_bytes);
                match found.phase {
                    Phase::Idle { .. } => self.residency.idle_reading(&device, memory),
                    _ => self.residency.busy_reading(&device, memory),
                }
            }
            Report::Loaded { load, bytes, peak_bytes, elapsed_ms, memory } => {
                self.loaded(&device, &Loaded { load, bytes, peak_bytes, elapsed_ms, memory }, time);
            }
            Report::LoadFailed { load, failure, memory } => {
                self.load_failed(&device, load, &failure, memory, time, stored);
            }
            Report::Unloaded { load, memory } => self.unloaded(&device, load, memory, time),
            Report::Progress { run, done, total } => self.run_progressed(run, done, total, time),
            Report::Done { run, outputs, elapsed_ms, peak_rss_bytes: _, working_bytes, memory } => {
                if self.set_idle(&device, run, time.now) {
                    let had_net = self.runs.get(&run).is_some_and(|run| run.net.is_some());
                    self.works(&device, if had_net { Canary::NetStage } else { Canary::Stage });
                    self.residency.idle_reading(&device, memory);
                    self.measure_run(&device, run, elapsed_ms, working_bytes, time.now);
                    self.run_done(run, outputs, elapsed_ms, time, stored);
                }
            }
            Report::Answered { run, looked, elapsed_ms, working_bytes, memory } => {
                if self.set_idle(&device, run, time.now) {
                    self.works(&device, Canary::NetStage);
                    self.residency.idle_reading(&device, memory);
                    // A click takes next to nothing, and should not wait for the disk.
                    if looked.embedded {
                        self.measure_run(&device, run, elapsed_ms, working_bytes, time.now);
                    }
                    self.answered_ask(run, looked, time);
                }
            }
            Report::Failed { run, failure } => {
                if self.set_idle(&device, run, time.now) {
                    self.ended_badly(&device, run, &failure, time, stored);
                }
            }
        }
    }

    pub(super) fn worker_gone(&mut self, worker: WorkerId, how: &WorkerEnd, time: Time, stored: &dyn Stored) {
        let Some(device) = self.device_with(worker) else { return };
        let how = match how {
            WorkerEnd::Exit(code) => format!("it left with exit code {code}"),
            WorkerEnd::Signal(signal) => format!("it was ended by signal {signal}"),
        };
        self.lost(&device, &how, time, stored);
    }

    pub(super) fn worker_not_started(&mut self, worker: WorkerId, error: String, time: Time) {
        if let Some(device) = self.device_with(worker) {
            self.start_failed(&device, error, time.now);
        }
    }

    /// Whatever is due by now.
    pub(super) fn expire(&mut self, time: Time, stored: &dyn Stored) {
        self.expire_yield(time);
        self.expire_sessions(time);
        self.wake_delayed(time, stored);
        for device in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.expire_worker(&device, time, stored);
        }
    }

    /// Once told to stop: when the running stages have ended, or at once, the
    /// workers leave; when they have left, the loop ends.
    pub(super) fn stop_when_quiet(&mut self, time: Time) {
        let Some(stopping) = &self.stopping else { return };
        let busy = self.workers.values().any(|worker| matches!(worker.phase, Phase::Busy { .. }));
        let delivering = self.active.values().any(|active| active.doing == Doing::Delivering);
        match stopping.leaving {
            None if stopping.now || !(busy || delivering) => self.leave(time),
            None => {}
            Some(since) => {
                let alive = self.workers.values().any(Worker::is_alive);
                let over = time.now >= since + self.setup.policy.leave_grace;
                if over {
                    let ids = self.worker_ids();
                    self.out.extend(ids.into_iter().map(|worker| Effect::Kill { worker }));
                }
                if (over || !alive) && !stopping.told {
                    self.out.push(Effect::Stop);
                    if let Some(stopping) = &mut self.stopping {
                        stopping.told = true;
                    }
                }
            }
        }
    }

    fn leave(&mut self, time: Time) {
        if let Some(stopping) = &mut self.stopping {
            stopping.leaving = Some(time.now);
        }
        for id in self.active.keys().copied().collect::<Vec<JobId>>() {
            if self.change(id, |job| job.requeue(None)) {
                self.log(id, "queued again: the daemon stops; what is finished is kept".to_owned());
            }
            self.forget_places(id);
        }
        self.end_asks(&stopping());
        self.runs.clear();
        self.in_flight.clear();
        for worker in self.workers.values_mut() {
            let effect = match worker.phase {
                Phase::Down { .. } | Phase::Broken { .. } | Phase::Away => continue,
                Phase::Idle { .. } => Effect::Send { worker: worker.id, command: Command::Exit },
                _ => Effect::Kill { worker: worker.id },
            };
            worker.phase = Phase::Leaving;
            self.out.push(effect);
        }
        // Nobody to wait for: the tick that ends it all is due at once.
        if !self.workers.values().any(Worker::is_alive) {
            self.stop_when_quiet(time);
        }
    }

    fn expire_worker(&mut self, device: &Device, time: Time, stored: &dyn Stored) {
        let now = time.now;
        let policy = &self.setup.policy;
        let Some(worker) = self.workers.get_mut(device) else { return };
        if worker.deadline(policy, &self.runs, &self.usual).is_none_or(|deadline| deadline > now) {
            return;
        }
        let silent = worker.heard + policy.heartbeat_timeout <= now;
        let why = match &mut worker.phase {
            Phase::Down { .. } | Phase::Broken { .. } => return self.spawn_unless_held(device, now),
            Phase::Killed { why, .. } => {
                let why = why.clone();
                return self.lost(device, &why, time, stored);
            }
            Phase::Recycling { .. } | Phase::Freeing { .. } => return self.kill_leaving(device, now),
            Phase::Idle { trimmed, .. } if !silent => {
                *trimmed = true;
                let trim = Effect::Send { worker: worker.id, command: Command::Trim };
                return self.out.push(trim);
            }
            Phase::Starting { .. } => {
                format!("it said nothing in its first {} s", policy.start_timeout.as_secs())
            }
            _ if silent => format!("it gave no sign of life for {} s", policy.heartbeat_timeout.as_secs()),
            Phase::Busy { run } => match self.runs.get(run) {
                Some(run) if run.cancel_by.is_some() => {
                    format!("it did not stop within {} s of a cancel", policy.cancel_grace.as_secs())
                }
                Some(run) => {
                    let seconds = patience(policy, &self.usual, run).as_secs();
                    format!("`{}` made no progress for {seconds} s", run.stage)
                }
                None => "it works on nothing we know".to_owned(),
            },
            Phase::Loading { net, .. } => format!("loading `{net}` takes too long"),
            Phase::Unloading { net, .. } => format!("it did not let go of `{net}`"),
            Phase::Idle { .. } | Phase::Leaving | Phase::Away => return,
        };
        self.kill(device, why, now);
    }

    fn spawn(&mut self, device: &Device, now: Instant) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        worker.id = WorkerId(self.counters.next_worker);
        self.counters.next_worker += 1;
        worker.restarts += u32::from(worker.started_before);
        worker.started_before = true;
        worker.phase = Phase::Starting { since: now };
        worker.heard = now;
        worker.pid = None;
        worker.rss_bytes = None;
        self.out.push(Effect::Spawn { worker: worker.id, device: device.clone() });
    }

    fn kill(&mut self, device: &Device, why: String, now: Instant) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        let (run, doing) = match worker.phase {
            Phase::Busy { run } => (Some(run), Doomed::Other),
            Phase::Loading { .. } => (None, Doomed::Loading),
            _ => (None, Doomed::Other),
        };
        tracing::warn!("worker `{device}` is killed: {why}");
        // To stop at a cancel, whatever it takes, is no trouble.
        if run.and_then(|run| self.runs.get(&run)).is_none_or(|run| run.cancel_by.is_none()) {
            let canary = match (doing, run.and_then(|run| self.runs.get(&run))) {
                (Doomed::Loading, _) => Canary::Load,
                (_, Some(run)) if run.net.is_some() => Canary::NetStage,
                _ => Canary::Stage,
            };
            worker.trouble = Some((canary, format!("it was killed: {why}")));
        }
        worker.phase = Phase::Killed { since: now, why, run, doing };
        self.out.push(Effect::Kill { worker: worker.id });
    }

    /// Its process is gone: whoever waited for it has crashed, and it is started again.
    fn lost(&mut self, device: &Device, how: &str, time: Time, stored: &dyn Stored) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        let (run, how) = match &worker.phase {
            Phase::Busy { run } => (Some(*run), how.to_owned()),
            Phase::Killed { run: Some(run), why, .. } => (Some(*run), why.clone()),
            Phase::Killed { run: None, why, .. } => (None, why.clone()),
            _ => (None, how.to_owned()),
        };
        worker.pid = None;
        worker.rss_bytes = None;
        self.nets_lost(device, &how, time);
        let Some(worker) = self.workers.get_mut(device) else { return };
        let phase = std::mem::replace(&mut worker.phase, Phase::Down { until: time.now });
        if self.stopping.as_ref().is_some_and(|stopping| stopping.leaving.is_some()) {
            return;
        }
        match phase {
            Phase::Freeing { .. } => {
                worker.phase = Phase::Away;
                if self.yielded.is_none() {
                    worker.phase = Phase::Down { until: time.now };
                }
                return self.tell_yield();
            }
            Phase::Recycling { .. } => return self.spawn_unless_held(device, time.now),
            _ => tracing::warn!("worker `{device}` is gone: {how}"),
        }
        match run.and_then(|run| self.end_run(run)) {
            Some(run) => {
                self.crashed(&run.jobs, run.stage, &how, time, stored);
                if let Some(ask) = run.ask {
                    self.ask_lost(ask, &how);
                }
                self.spawn_unless_held(device, time.now);
            }
            None if phase.is_at_fault() => self.spawn_unless_held(device, time.now),
            None => self.start_failed(device, how, time.now),
        }
    }

    /// Unless it is to be down.
    fn spawn_unless_held(&mut self, device: &Device, now: Instant) {
        if self.stopping.is_none() && !self.is_held(device) {
            self.spawn(device, now);
        }
    }

    /// It was told to leave and has not.
    fn kill_leaving(&mut self, device: &Device, now: Instant) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        if let Phase::Recycling { since } | Phase::Freeing { since } = &mut worker.phase {
            *since = now;
        }
        self.out.push(Effect::Kill { worker: worker.id });
    }

    /// Something went well there.
    pub(super) fn works(&mut self, device: &Device, what: Canary) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        if worker.trouble.as_ref().is_none_or(|(canary, _)| what >= *canary) {
            worker.failed_starts.clear();
            worker.faulted.clear();
            worker.trouble = None;
        }
    }

    pub(super) fn set_trouble(&mut self, device: &Device, trouble: String, canary: Canary) {
        if let Some(worker) = self.workers.get_mut(device) {
            worker.trouble = Some((canary, trouble));
        }
    }

    /// The device cannot be used any more by this process: it has to go.
    pub(super) fn device_failed(&mut self, device: &Device, message: &str, canary: Canary, time: Time) {
        self.kill(device, format!("the device failed: {message}"), time.now);
        self.set_trouble(device, format!("the device failed: {message}"), canary);
        if let Some(worker) = self.workers.get_mut(device)
            && let Phase::Killed { doing, .. } = &mut worker.phase
        {
            *doing = Doomed::Faulty;
        }
    }

    /// A stage has failed, on a device that works or not.
    fn ended_badly(&mut self, device: &Device, run: u64, failure: &Failure, time: Time, stored: &dyn Stored) {
        let mut canary = Canary::Stage;
        if let Some(run) = self.runs.get(&run) {
            self.usage.stage(run.stage, run.engine).failures += 1;
            canary = if run.net.is_some() { Canary::NetStage } else { Canary::Stage };
        }
        if failure.kind != FailureKind::DeviceFault {
            if let Some(worker) = self.workers.get_mut(device).filter(|worker| worker.trouble.is_none()) {
                worker.failed_starts.clear();
            }
            return self.run_failed(run, device, failure, time, stored);
        }
        self.device_failed(device, &failure.message, canary, time);
        let Some(mut run) = self.end_run(run) else { return };
        if let Some(ask) = run.ask.take() {
            self.ask_lost(ask, &failure.message);
        }
        let Some(worker) = self.workers.get_mut(device) else { return };
        worker.faulted.extend(&run.jobs);
        if worker.faulted.len() > run.jobs.len().max(1) {
            for &id in &run.jobs {
                self.log(id, format!("{}: queued again: the device fails for other jobs too", run.stage));
                self.requeue(id, Some(self.setup.policy.crash_delay), time, stored);
            }
        } else {
            self.crashed(&run.jobs, run.stage, &failure.message, time, stored);
        }
    }

    fn measure_run(&mut self, device: &Device, run: u64, elapsed_ms: u64, working_bytes: u64, now: Instant) {
        let Some(run) = self.runs.get(&run) else { return };
        let count = self.usage.stage(run.stage, run.engine);
        count.runs += 1;
        count.run_ms += elapsed_ms;
        count.peak_bytes = count.peak_bytes.max(working_bytes);
        if let Some(net) = &run.net {
            self.residency.used(device, net, now);
            self.residency.worked(device, net, working_bytes);
            self.changes.measured.insert((device.clone(), net.clone()));
        }
    }

    /// It did not start, or died without having been given work.
    fn start_failed(&mut self, device: &Device, why: String, now: Instant) {
        let policy = &self.setup.policy;
        let Some(worker) = self.workers.get_mut(device) else { return };
        worker.failed_starts.retain(|&at| at + policy.breaker_window > now);
        worker.failed_starts.push(now);
        worker.last_failure = why;
        let failures = worker.failed_starts.len();
        worker.phase = if failures >= policy.breaker_starts {
            tracing::error!("worker `{device}` does not start: {}", worker.last_failure);
            Phase::Broken { until: now + policy.breaker_pause }
        } else {
            Phase::Down { until: now + policy.restart_delay * (1 << (failures - 1)) }
        };
    }

    /// The worker has answered for the run it was busy with.
    fn set_idle(&mut self, device: &Device, run: u64, now: Instant) -> bool {
        let Some(worker) = self.workers.get_mut(device) else { return false };
        let answered = worker.phase == Phase::Busy { run };
        if answered {
            worker.phase = Phase::Idle { since: now, trimmed: false };
        }
        answered
    }

    fn run_progressed(&mut self, run_id: u64, done: u32, total: u32, time: Time) {
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        if (run.done, run.total) != (done, total) {
            run.progressed = time.now;
        }
        (run.done, run.total) = (done, total);
        for id in run.jobs.clone() {
            self.tell_progress(id, time);
        }
    }

    /// None for a process that has been replaced: what it says is stale.
    fn device_with(&self, worker: WorkerId) -> Option<Device> {
        self.workers.iter().find(|(_, w)| w.id == worker && w.is_alive()).map(|(device, _)| device.clone())
    }
}

/// How long a stage may go without progress.
fn patience(policy: &Policy, usual: &UsualTimes, run: &Run) -> Duration {
    let usual = usual.of(run.stage, run.engine).unwrap_or(0.0);
    policy.progress_timeout.max(Duration::from_secs_f64(usual / 1000.0 * policy.progress_factor))
}
