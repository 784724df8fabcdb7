//! The whole policy of the daemon as plain data: no channel, lock, thread, clock
//! or database inside.
//!
//! `handle(event, time, stored)` takes what happened and returns what to do about
//! it; `next_deadline` says when to be woken; `changes` names what must be written
//! before any of it leaves. What the database knows beyond live jobs is asked of
//! `Stored`.
//!
//! calls.rs answers clients, steps.rs walks jobs through their plans, outcomes.rs
//! deals with what came of it, workers.rs keeps the worker processes, nets.rs what
//! is loaded into them, yielding.rs gives devices away and takes them back, view.rs
//! shows it all to readers, usage.rs counts, policy.rs holds the numbers. sessions.rs is for
//! clients who point at pictures and wait.

mod calls;
mod nets;
mod outcomes;
pub mod policy;
pub mod sessions;
mod steps;
pub mod usage;
pub mod view;
mod workers;
mod yielding;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod net_model;
#[cfg(test)]
mod net_scripts;
#[cfg(test)]
pub(crate) mod scripts;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use meshkiln_models::{
    recipe::{Plan, RecipeError},
    slot::Slot,
};
use meshkiln_protocol::{
    Sha256, UnixMs,
    daemon::QueueStatus,
    event::EventBody,
    job::{JobId, JobState},
};
use serde_json::Value as Json;

use crate::{
    catalogue::{Catalogue, Needs, NetId},
    jobs::{Job, SharedPlan},
    main_loop::{Device, Effect, Event, WorkerId},
    residency::{Measures, Residency},
    scheduler::{Place, Ready},
    worker::frames::Output,
};
use policy::{Devices, Policy};
use sessions::{Pending, Sessions};
use usage::Usage;
use view::UsualTimes;
use workers::Worker;
use yielding::Yielded;

/// One moment on both clocks: `now` for waiting, `wall` for people and the database.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    pub now: Instant,
    pub wall: UnixMs,
}

/// Blobs by slot id.
pub type Outputs = BTreeMap<String, Output>;

/// What the database and the blob store know.
pub trait Stored {
    /// What a stage made, by cache key.
    fn result(&self, key: &str) -> Option<Outputs>;
    /// Also ended ones.
    fn job(&self, id: JobId) -> Option<Job>;
    fn job_with_key(&self, idempotency_key: &str) -> Option<JobId>;
    /// How many jobs in these states `Changes::clear` would remove, apart from `except`.
    fn count(&self, states: &[JobState], except: &BTreeSet<JobId>) -> u64;
    fn has_blob(&self, sha256: &str) -> bool;
    /// A small blob that holds JSON.
    fn json(&self, sha256: &str) -> Option<Json>;
}

/// What does not change while the daemon lives.
#[derive(Debug, Clone)]
pub struct Setup {
    pub policy: Policy,
    pub devices: Devices,
    /// The nets there are.
    pub catalogue: Arc<dyn Catalogue>,
    /// Name and version of the daemon, for provenance.
    pub generator: String,
    /// Of the jitter.
    pub seed: u64,
}

/// What the database holds at start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Not ended, any order.
    pub jobs: Vec<Job>,
    /// Not ended, with a plan that this version cannot run.
    pub unreadable: Vec<(Job, RecipeError)>,
    pub queue_paused: bool,
    /// Larger than any id ever given.
    pub next_job: u64,
    pub usual: UsualTimes,
    pub measures: Measures,
    /// The daemon did not stop by itself.
    pub unclean: bool,
}

/// Numbers that go on when the state is built anew within one life of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// Of runs and loads alike.
    pub next_run: u64,
    pub next_worker: u64,
}

pub struct State {
    setup: Setup,
    /// Live ones, and those that ended since the last commit.
    jobs: BTreeMap<JobId, Job>,
    /// The running ones among them.
    active: BTreeMap<JobId, Active>,
    ready: Ready,
    delayed: Delayed,
    runs: BTreeMap<u64, Run>,
    /// Cache key to run. A cancelled run is not listed: its result may never come.
    in_flight: BTreeMap<String, u64>,
    workers: BTreeMap<Device, Worker>,
    needs: Needs,
    residency: Residency,
    yielded: Option<Yielded>,
    sessions: Sessions,
    usual: UsualTimes,
    usage: Usage,
    plans: BTreeMap<Sha256, Weak<SharedPlan>>,
    queued: u64,
    running: u64,
    paused: u64,
    queue_paused: bool,
    told: QueueStatus,
    stopping: Option<Stopping>,
    /// Why nothing can be written; no job is started and no call accepted meanwhile.
    storage_problem: Option<String>,
    /// The database is damaged. Nothing is written any more in this life.
    damage: Option<String>,
    next_job: u64,
    /// Idempotency keys the database does not know yet.
    new_keys: BTreeMap<String, JobId>,
    counters: Counters,
    rng: fastrand::Rng,
    /// There was more to start than one turn should.
    more: Option<Instant>,
    changes: Changes,
    /// Of the event in hand.
    out: Vec<Effect>,
}

/// What must be written before the effects may leave.
#[derive(Debug, Default)]
pub struct Changes {
    /// Their rows are new.
    pub new_jobs: BTreeSet<JobId>,
    /// Their rows have changed. Includes the new ones.
    pub jobs: BTreeSet<JobId>,
    /// Allowed out of a final state.
    pub retried: BTreeSet<JobId>,
    pub results: BTreeMap<String, Made>,
    /// Results that were used.
    pub touched: BTreeSet<String>,
    /// Results whose blobs are lost.
    pub forgotten: BTreeSet<String>,
    /// Stage and engine.
    pub usual: BTreeSet<(String, String)>,
    /// Device and net.
    pub measured: BTreeSet<(Device, NetId)>,
    pub queue_paused: Option<bool>,
    /// Ended jobs in these states are to go, apart from those in `jobs`.
    pub clear: Vec<JobState>,
}

/// A stage's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    pub stage: String,
    pub outputs: Outputs,
}

/// A running job between its steps.
#[derive(Debug)]
struct Active {
    next_step: usize,
    slots: BTreeMap<Slot, Output>,
    /// Cache key of each step behind.
    keys: Vec<String>,
    doing: Doing,
    /// How often something it read was lost.
    losses: usize,
    /// Memory ran out in the step in hand: once more, then it is an error.
    ran_out: bool,
    told_progress: Option<(Instant, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Waits for a free device.
    Ready,
    /// For the result of a run, its own or another job's.
    Waiting(u64),
    Delivering,
}

/// One stage in a worker, for one job or several that need the same.
#[derive(Debug)]
struct Run {
    key: String,
    stage: &'static str,
    engine: &'static str,
    net: Option<NetId>,
    source_sha256: Sha256,
    /// Empty once cancelled, and for an ask.
    jobs: Vec<JobId>,
    /// A client waits for it, and no job.
    ask: Option<Pending>,
    started: Instant,
    progressed: Instant,
    done: u32,
    total: u32,
    /// When its worker is killed for not stopping.
    cancel_by: Option<Instant>,
}

#[derive(Debug)]
struct Stopping {
    now: bool,
    /// Since when the workers have been told to leave.
    leaving: Option<Instant>,
    told: bool,
}

impl State {
    /// Jobs that an earlier life left running go back to the queue.
    pub fn new(setup: Setup, loaded: Loaded, counters: Counters, time: Time) -> State {
        let mut state = State {
            ready: Ready::new(setup.policy.rules()),
            rng: fastrand::Rng::with_seed(setup.seed),
            workers: setup.devices.all().map(|device| (device.clone(), Worker::new(time.now))).collect(),
            needs: Needs::new(&*setup.catalogue),
            residency: Residency::new(
                setup.policy.nets.clone(),
                setup.catalogue.nets(),
                vec![setup.devices.nets.clone()],
                loaded.measures,
            ),
            yielded: None,
            sessions: Sessions::default(),
            usage: Usage::default(),
            setup,
            jobs: BTreeMap::new(),
            active: BTreeMap::new(),
            delayed: Delayed::default(),
            runs: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            usual: loaded.usual,
            plans: BTreeMap::new(),
            queued: 0,
            running: 0,
            paused: 0,
            queue_paused: loaded.queue_paused,
            told: QueueStatus::default(),
            stopping: None,
            storage_problem: None,
            damage: None,
            next_job: loaded.next_job.max(1),
            new_keys: BTreeMap::new(),
            counters,
            more: Some(time.now),
            changes: Changes::default(),
            out: Vec::new(),
        };
        for job in loaded.jobs {
            state.adopt(job, loaded.unclean, time);
        }
        for (job, problem) in loaded.unreadable {
            state.give_up_unreadable(job, &problem, time);
        }
        state
    }

    /// Takes what happened, returns what to do about it, in order.
    pub fn handle(&mut self, event: Event, time: Time, stored: &dyn Stored) -> Vec<Effect> {
        match event {
            Event::Call { id, call } => {
                // Some are answered later.
                if let Some(answer) = self.call(id, call, time, stored) {
                    self.out.push(Effect::Reply { id, answer });
                }
            }
            Event::Worker { worker, report } => self.hear(worker, report, time, stored),
            Event::WorkerGone { worker, how } => self.worker_gone(worker, &how, time, stored),
            Event::WorkerNotStarted { worker, error } => self.worker_not_started(worker, error, time),
            Event::Delivered { job, attempt, result } => self.delivered(job, attempt, result, time, stored),
            Event::Note(body) => self.out.push(Effect::Publish(body)),
            Event::StoreDamaged(problem) => self.damage = Some(problem),
            Event::Tick => self.expire(time, stored),
        }
        self.schedule(time, stored);
        self.stop_when_quiet(time);
        let queue = self.queue();
        if queue != self.told {
            self.told = queue.clone();
            self.out.push(Effect::Publish(EventBody::Queue { queue }));
        }
        mem::take(&mut self.out)
    }

    /// When to call `handle(Tick)` though nothing has happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        let policy = &self.setup.policy;
        let workers = self
            .workers
            .values()
            // Nobody is started any more while stopping.
            .filter(|worker| worker.is_alive() || self.stopping.is_none())
            .filter_map(|worker| worker.deadline(policy, &self.runs, &self.usual));
        let leaving = self.stopping.as_ref().and_then(|s| s.leaving).map(|since| since + policy.leave_grace);
        let yielded = self.yielded.as_ref().and_then(|yielded| yielded.until);
        workers
            .chain(self.nets_deadline())
            .chain(self.delayed.first())
            .chain(self.more)
            .chain(leaving)
            .chain(yielded)
            .chain(self.sessions_deadline())
            .min()
    }

    /// What has changed since the last `committed`.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    pub fn usual(&self) -> &UsualTimes {
        &self.usual
    }

    pub fn measures(&self) -> &Measures {
        self.residency.measures()
    }

    pub fn next_job(&self) -> u64 {
        self.next_job
    }

    /// `changes` are durable: ended jobs can be forgotten.
    pub fn committed(&mut self) {
        let changes = mem::take(&mut self.changes);
        self.new_keys.clear();
        for id in changes.jobs {
            if self.jobs.get(&id).is_some_and(|job| job.state.is_final()) {
                self.jobs.remove(&id);
            }
        }
        self.plans.retain(|_, plan| plan.strong_count() > 0);
    }

    /// Nothing can be written: calls are refused and nothing is started until
    /// `storage_works`.
    pub fn storage_fails(&mut self, problem: String) {
        self.storage_problem = Some(problem);
    }

    pub fn storage_works(&mut self, now: Instant) {
        self.storage_problem = None;
        self.more = Some(now);
    }

    pub fn storage_problem(&self) -> Option<&str> {
        self.storage_problem.as_deref()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Every worker process that may be alive.
    pub fn worker_ids(&self) -> Vec<WorkerId> {
        self.workers.values().filter(|worker| worker.is_alive()).map(|worker| worker.id).collect()
    }

    /// Blobs that running jobs and open pictures have in hand and the database may not know of.
    pub fn pinned(&self) -> BTreeSet<&str> {
        let slots = self.active.values().flat_map(|active| active.slots.values());
        slots.map(|blob| blob.sha256.as_str()).chain(self.opened()).collect()
    }

    pub fn queue(&self) -> QueueStatus {
        QueueStatus { paused: self.queue_paused, queued: self.queued, running: self.running, paused_jobs: self.paused }
    }

    fn adopt(&mut self, mut job: Job, unclean: bool, time: Time) {
        let id = job.id;
        let was_running = job.state == JobState::Running;
        self.count(job.state, 1);
        match unclean {
            true => job.daemon_deaths += u32::from(was_running),
            false => job.daemon_deaths = 0,
        }
        let deaths = job.daemon_deaths;
        let not_before = job.not_before_ms;
        let state = job.state;
        self.plans.entry(job.plan.sha256.clone()).or_insert_with(|| Arc::downgrade(&job.plan));
        self.jobs.insert(id, job);
        if was_running {
            self.change(id, |job| job.requeue(None));
            if unclean && deaths >= self.setup.policy.daemon_deaths {
                self.change(id, Job::pause);
                self.log(
                    id,
                    format!("paused: the daemon ended {deaths} times in a row while this job was running; resume it to try again"),
                );
                return;
            }
            self.log(id, "queued again: the daemon ended while this job was running".to_owned());
        }
        match (state, not_before) {
            (JobState::Paused, _) => {}
            (_, Some(at)) if at > time.wall => self.delayed.push(id, time.now + Duration::from_millis(at - time.wall)),
            _ => self.ready_fresh(id, time.now),
        }
    }

    fn give_up_unreadable(&mut self, job: Job, problem: &RecipeError, time: Time) {
        let id = job.id;
        self.count(job.state, 1);
        self.jobs.insert(id, job);
        self.change(id, |job| job.resume() || job.state == JobState::Queued);
        self.change(id, |job| job.start(time.wall) || job.state == JobState::Running);
        let error = outcomes::unreadable_plan(problem);
        self.change(id, |job| job.fail(error, time.wall));
    }

    /// Every change of a job's state goes through here: counted, written, told.
    fn change(&mut self, id: JobId, arrow: impl FnOnce(&mut Job) -> bool) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let before = job.state;
        if !arrow(job) {
            return false;
        }
        let after = job.state;
        let told = EventBody::Job { job: Box::new(job.wire()) };
        self.out.push(Effect::Publish(told));
        self.changes.jobs.insert(id);
        self.count(before, -1);
        self.count(after, 1);
        true
    }

    /// Only live jobs are counted.
    fn count(&mut self, state: JobState, by: i64) {
        let number = match state {
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Paused => &mut self.paused,
            JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Dead => return,
        };
        *number = number.checked_add_signed(by).expect("a job leaves a state it was counted in");
    }

    fn live_jobs(&self) -> usize {
        (self.queued + self.running + self.paused) as usize
    }

    fn log(&mut self, job: JobId, text: String) {
        self.out.push(Effect::Log { job, text });
    }

    /// Puts a queued job where the scheduler sees it.
    fn ready_fresh(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get(&id) else { return };
        let device = self.device_of(job, 0).clone();
        let heading = self.heading(job, 0);
        let place = Place { device, class: job.class, client: job.client.clone(), started: false, net: None, heading };
        self.ready.push(id, place, now);
    }

    /// `last` is the plan of the submission before, mostly the same.
    fn intern(&mut self, plan: &Plan, last: &mut Option<Arc<SharedPlan>>) -> Arc<SharedPlan> {
        if let Some(same) = last.as_ref().filter(|last| last.plan == *plan) {
            return same.clone();
        }
        let plan = SharedPlan::new(plan.clone());
        let shared = match self.plans.get(&plan.sha256).and_then(Weak::upgrade) {
            Some(shared) => shared,
            None => {
                let shared = Arc::new(plan);
                self.plans.insert(shared.sha256.clone(), Arc::downgrade(&shared));
                shared
            }
        };
        *last = Some(shared.clone());
        shared
    }
}

/// Queued jobs that may not start yet.
#[derive(Debug, Default)]
struct Delayed {
    by_time: BTreeSet<(Instant, JobId)>,
    by_job: BTreeMap<JobId, Instant>,
}

impl Delayed {
    fn push(&mut self, job: JobId, until: Instant) {
        self.remove(job);
        self.by_time.insert((until, job));
        self.by_job.insert(job, until);
    }

    fn remove(&mut self, job: JobId) {
        if let Some(until) = self.by_job.remove(&job) {
            self.by_time.remove(&(until, job));
        }
    }

    fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    fn pop_due(&mut self, now: Instant) -> Option<JobId> {
        let (until, job) = *self.by_time.first()?;
        if until > now {
            return None;
        }
        self.remove(job);
        Some(job)
    }
}
