//! A world for testing nets and devices: workers with pretended memory, on a
//! clock that nobody waits for. net_scripts.rs tells it stories, net_model.rs
//! throws dice.
//!
//! A load takes `load_time`, a stage `run_time` or until a script ends it. What
//! does not fit physically runs out of memory. Readings may be late or wrong, let
//! go memory may stay behind, workers may die or fall silent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use meshkiln_models::recipe::{Plan, Recipe};
use meshkiln_protocol::{job::JobId, net::DeviceMemory};

use super::{
    Counters, Loaded, Setup, State, Time,
    policy::{Devices, Policy},
    scripts::{Memory, WALL, outputs_of},
};
use crate::{
    catalogue::{Listed, Needed, NetId, NetRow},
    main_loop::{Call, CallId, Device, Effect, Event, WorkerEnd, WorkerId},
    worker::frames::{self, Command, Failure, FailureKind, Looked, Report},
};

pub const GB: u64 = 1_000_000_000;

/// No stage is called so.
pub const ASK: &str = "ask";

/// What is pretended about a net.
#[derive(Debug, Clone)]
pub struct Spec {
    pub bytes: u64,
    /// On top, while a stage uses it.
    pub working: u64,
    pub stage: &'static str,
}

/// The device and its worker process, as they are.
#[derive(Debug, Default)]
pub struct Card {
    pub total: u64,
    pub others: u64,
    pub worker: Option<WorkerId>,
    /// By load.
    pub nets: BTreeMap<u64, (NetId, u64)>,
    pub leaked: u64,
    /// An ask as a run of `ASK`.
    pub run: Option<frames::Run>,
    /// Pictures, each by the load of the net that has looked at it.
    pub seen: BTreeSet<(u64, String)>,
    /// A load or an unload goes on.
    pub task: bool,
    /// The next unload leaves so much behind.
    pub leak: u64,
    pub late: Duration,
    /// Readings claim so much more, or less, to be free.
    pub wrong: i64,
    /// Neither heartbeats nor obedience.
    pub mute: bool,
    /// What the next loads come to, before they succeed.
    pub load_failures: VecDeque<FailureKind>,
    pub run_failures: VecDeque<FailureKind>,
    /// Used by the worker, over time.
    history: VecDeque<(Instant, u64)>,
    /// What it said last.
    pub told: Option<DeviceMemory>,
}

/// On its way to the daemon.
enum Mail {
    Report(WorkerId, Report),
    /// The stage may end now.
    RunEnds(WorkerId, u64),
    Gone(WorkerId, WorkerEnd),
}

pub struct World {
    pub state: State,
    pub memory: Memory,
    pub start: Instant,
    pub now: Instant,
    pub setup: Setup,
    pub nets: BTreeMap<NetId, Spec>,
    pub cards: BTreeMap<Device, Card>,
    pub load_time: Duration,
    /// Stages end by themselves after so long.
    pub run_time: Option<Duration>,
    pub n_loads: usize,
    /// The daemon has not been told: what it did is for whoever watches.
    pub seen: Vec<(Instant, Effect)>,
    mail: BTreeMap<(Instant, u64), Mail>,
    next_mail: u64,
    next_call: u64,
}

impl World {
    pub fn new(policy: Policy, devices: Devices, nets: BTreeMap<NetId, Spec>, total: u64) -> World {
        let start = Instant::now();
        let mut listed = Listed::default();
        for (id, spec) in &nets {
            let declared_bytes = spec.bytes + spec.working;
            listed.nets.push(NetRow { id: id.clone(), doc: "Pretended.".to_owned(), declared_bytes });
            let stage = meshkiln_models::stage::find(spec.stage).unwrap();
            let needed = |engine: &meshkiln_models::stage::Engine| Needed {
                stage: stage.id,
                engine: engine.id,
                net: id.clone(),
            };
            listed.needed.extend(stage.engines.iter().map(needed));
        }
        let cards = devices.all().map(|device| (device.clone(), Card { total, ..Card::default() })).collect();
        let setup =
            Setup { policy, devices, catalogue: Arc::new(listed), generator: "meshkilnd test".to_owned(), seed: 1 };
        let counters = Counters { next_run: 1, next_worker: 1 };
        let state = State::new(setup.clone(), Loaded::default(), counters, Time { now: start, wall: WALL });
        let mut world = World {
            state,
            memory: Memory::default(),
            start,
            now: start,
            setup,
            nets,
            cards,
            load_time: Duration::from_secs(1),
            run_time: None,
            n_loads: 0,
            seen: Vec::new(),
            mail: BTreeMap::new(),
            next_mail: 0,
            next_call: 1,
        };
        world.handle(Event::Tick);
        world
    }

    pub fn time(&self) -> Time {
        Time { now: self.now, wall: WALL + self.now.duration_since(self.start).as_millis() as u64 }
    }

    pub fn call(&mut self, call: Call) {
        self.asked(call);
    }

    /// The same, with the name under which the answer comes.
    pub fn asked(&mut self, call: Call) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.handle(Event::Call { id, call });
        id
    }

    /// Time passes: heartbeats each second, mail and ticks when they are due.
    pub fn advance(&mut self, to: Instant) {
        let mut at_once = 0;
        while let Some(next) = self.next_moment().filter(|next| *next <= to) {
            at_once = if next == self.now { at_once + 1 } else { 0 };
            assert!(at_once < 1000, "a deadline that no tick satisfies: {:?}", self.state.next_deadline());
            self.moment(next);
        }
        self.now = to;
    }

    /// When something happens next by itself.
    pub fn next_moment(&self) -> Option<Instant> {
        let mail = self.mail.keys().next().map(|(at, _)| *at);
        let tick = self.state.next_deadline().map(|at| at.max(self.now));
        mail.into_iter().chain(tick).chain([self.next_beat()]).min()
    }

    pub fn moment(&mut self, at: Instant) {
        let beat = self.next_beat();
        self.now = at;
        if at == beat {
            for device in self.cards.keys().cloned().collect::<Vec<_>>() {
                let memory = self.read(&device);
                let card = &self.cards[&device];
                if let Some(worker) = card.worker.filter(|_| !card.mute) {
                    self.handle(Event::Worker { worker, report: Report::Heartbeat { rss_bytes: 1, memory } });
                }
            }
        }
        while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= at) {
            let mail = entry.remove();
            self.deliver(mail);
        }
        if self.state.next_deadline().is_some_and(|deadline| deadline <= at) {
            self.handle(Event::Tick);
        }
    }

    fn next_beat(&self) -> Instant {
        self.start + Duration::from_secs(self.now.duration_since(self.start).as_secs() + 1)
    }

    /// The worker of `device` says that its stage has ended, well or as it was told to fail.
    pub fn end_run(&mut self, device: &Device) -> bool {
        let Some(card) = self.cards.get_mut(device) else { return false };
        let (Some(worker), Some(run)) = (card.worker, card.run.take()) else { return false };
        let failure = card.run_failures.pop_front();
        let working: u64 = run.nets.iter().map(|net| self.nets[net.as_str()].working).sum();
        let fits = card.used() + working + card.others <= card.total;
        let kind = failure.or((!fits && working > 0).then_some(FailureKind::OutOfMemory));
        let memory = self.read(device);
        let report = match kind {
            Some(kind) => Report::Failed { run: run.run, failure: failure_of(kind) },
            None if run.stage == ASK => Report::Answered {
                run: run.run,
                looked: self.look(device, &run),
                elapsed_ms: 1000,
                working_bytes: working,
                memory,
            },
            None => Report::Done {
                run: run.run,
                outputs: outputs_of(&run),
                elapsed_ms: 1000,
                peak_rss_bytes: 1,
                working_bytes: working,
                memory,
            },
        };
        self.handle(Event::Worker { worker, report });
        if kind == Some(FailureKind::DeviceFault) {
            self.die(device, WorkerEnd::Exit(70));
        }
        true
    }

    /// A picture is seen as long as its net is there.
    fn look(&mut self, device: &Device, run: &frames::Run) -> Looked {
        let Some(card) = self.cards.get_mut(device) else { panic!("no device `{device}`") };
        let load = card.nets.iter().find(|(_, (net, _))| run.nets.contains(&net.to_string())).map(|(load, _)| *load);
        let picture = (load.expect("its net is loaded"), run.inputs["source"].clone());
        let embedded = card.seen.insert(picture);
        Looked { width: 300, height: 200, embedded, mask_width: 300, mask_height: 200, masks: Vec::new() }
    }

    /// The process is gone, and with it whatever it held.
    pub fn die(&mut self, device: &Device, how: WorkerEnd) {
        let Some(card) = self.cards.get_mut(device) else { return };
        let Some(worker) = card.worker.take() else { return };
        card.nets.clear();
        (card.leaked, card.run, card.task, card.mute) = (0, None, false, false);
        card.changed(self.now);
        self.handle(Event::WorkerGone { worker, how });
    }

    pub fn restart(&mut self, unclean: bool) {
        for card in self.cards.values_mut() {
            (card.worker, card.leaked, card.run, card.task, card.mute) = (None, 0, None, false, false);
            card.nets.clear();
            card.changed(self.now);
        }
        self.mail.clear();
        let (loaded, counters) = (self.memory.load(unclean), self.state.counters());
        self.state = State::new(self.setup.clone(), loaded, counters, self.time());
        self.handle(Event::Tick);
    }

    /// As the worker reads its device.
    pub fn read(&mut self, device: &Device) -> Option<DeviceMemory> {
        let card = self.cards.get_mut(device)?;
        let used_bytes = card.used_before(self.now, card.late);
        let free = card.total.saturating_sub(used_bytes + card.others);
        let free_bytes = free.saturating_add_signed(card.wrong).min(card.total);
        Some(DeviceMemory { used_bytes, free_bytes, total_bytes: card.total })
    }

    pub fn handle(&mut self, event: Event) {
        if let Event::Worker { worker, report } = &event {
            self.note_reading(*worker, report);
        }
        let effects = self.state.handle(event, self.time(), &self.memory);
        self.memory.commit(&mut self.state);
        for effect in effects {
            self.play(effect);
        }
    }

    fn note_reading(&mut self, worker: WorkerId, report: &Report) {
        let told = match report {
            Report::Ready { memory, .. }
            | Report::Heartbeat { memory, .. }
            | Report::Loaded { memory, .. }
            | Report::LoadFailed { memory, .. }
            | Report::Unloaded { memory, .. }
            | Report::Answered { memory, .. }
            | Report::Done { memory, .. } => *memory,
            Report::Progress { .. } | Report::Failed { .. } => None,
        };
        if let Some(card) = self.cards.values_mut().find(|card| card.worker == Some(worker)) {
            card.told = told.or(card.told);
        }
    }

    fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Report(worker, report) => {
                let Some(device) = self.device_of(worker) else { return };
                let (now, spec) = (self.now, &self.nets);
                let Some(card) = self.cards.get_mut(&device) else { return };
                if card.mute {
                    return;
                }
                let report = match report {
                    Report::Loaded { load, .. } => card.load(load, spec, now),
                    Report::Unloaded { load, .. } => {
                        card.unload(load, now);
                        Report::Unloaded { load, memory: None }
                    }
                    other => other,
                };
                card.told = card.told.filter(|_| !matches!(report, Report::Ready { .. }));
                let memory = self.read(&device);
                let report = with_memory(report, memory);
                let fault =
                    matches!(&report, Report::LoadFailed { failure, .. } if failure.kind == FailureKind::DeviceFault);
                self.handle(Event::Worker { worker, report });
                if fault {
                    self.die(&device, WorkerEnd::Exit(70));
                }
            }
            Mail::RunEnds(worker, run) => {
                let Some(device) = self.device_of(worker) else { return };
                let card = &self.cards[&device];
                if !card.mute && card.run.as_ref().is_some_and(|own| own.run == run) {
                    self.end_run(&device);
                }
            }
            Mail::Gone(worker, how) => {
                if let Some(device) = self.device_of(worker) {
                    self.die(&device, how);
                }
            }
        }
    }

    /// What the world does about it.
    fn play(&mut self, effect: Effect) {
        let now = self.now;
        match &effect {
            Effect::Spawn { worker, device } => {
                let card = self.cards.get_mut(device).expect("a device of the setup");
                assert_eq!(card.worker, None, "two workers on `{device}`");
                card.worker = Some(*worker);
                let ready = Report::Ready { pid: worker.0 as u32, version: String::new(), memory: None };
                self.post(now, Mail::Report(*worker, ready));
            }
            Effect::Send { worker, command } => {
                let (worker, command) = (*worker, command.clone());
                self.obey(worker, command);
            }
            Effect::Kill { worker } => self.post(now, Mail::Gone(*worker, WorkerEnd::Signal(9))),
            Effect::Deliver { job, attempt, .. } => {
                let event = Event::Delivered { job: *job, attempt: *attempt, result: Ok(()) };
                self.seen.push((now, effect));
                return self.handle(event);
            }
            _ => {}
        }
        self.seen.push((now, effect));
    }

    fn obey(&mut self, worker: WorkerId, command: Command) {
        let now = self.now;
        let device = self.device_of(worker).expect("a command for a process that is gone");
        let card = self.cards.get_mut(&device).expect("it was just found");
        let is_busy = card.task || card.run.is_some();
        match command {
            Command::Run(run) => {
                assert!(!is_busy, "a stage beside something else");
                for net in &run.nets {
                    assert!(card.nets.values().any(|(loaded, _)| **loaded == **net), "`{net}` is not loaded");
                }
                let id = run.run;
                card.run = Some(run);
                if let Some(time) = self.run_time {
                    self.post(now + time, Mail::RunEnds(worker, id));
                }
            }
            Command::Ask(ask) => {
                let inputs = [("source".to_owned(), ask.source_sha256)].into();
                let (stage, nets) = (ASK.to_owned(), vec![ask.net]);
                let (engine, settings, inline) = (String::new(), BTreeMap::new(), BTreeMap::new());
                self.obey(
                    worker,
                    Command::Run(frames::Run { run: ask.run, stage, engine, settings, inputs, inline, nets }),
                );
            }
            Command::Load { load, net } => {
                assert!(!is_busy, "a load beside something else");
                assert!(!card.nets.values().any(|(loaded, _)| **loaded == *net), "`{net}` is loaded twice");
                // No net is loaded beyond what is known to be free beside the reserve.
                let reserve = self.setup.policy.nets.reserve_bytes;
                if let Some(told) = card.told {
                    let bytes = self.nets[net.as_str()].bytes;
                    let books: u64 = card.nets.values().map(|(_, bytes)| bytes).sum();
                    assert!(books + bytes + reserve <= told.total_bytes, "over-committed by the books: {card:?}");
                    assert!(bytes + reserve <= told.free_bytes, "over-committed by what was told: {card:?}");
                }
                self.n_loads += 1;
                card.task = true;
                card.nets.insert(load, (net.as_str().into(), 0));
                let loaded = Report::Loaded { load, bytes: 0, peak_bytes: 0, elapsed_ms: 0, memory: None };
                self.post(now + self.load_time, Mail::Report(worker, loaded));
            }
            Command::Unload { load, net } => {
                assert!(!is_busy, "an unload beside something else");
                assert!(card.nets.get(&load).is_some_and(|(loaded, _)| **loaded == *net), "`{net}` is not there");
                card.task = true;
                self.post(now, Mail::Report(worker, Report::Unloaded { load, memory: None }));
            }
            Command::Cancel { run } => {
                if !card.mute && card.run.as_ref().is_some_and(|own| own.run == run) {
                    card.run = None;
                    let failure = failure_of(FailureKind::Cancelled);
                    self.post(now, Mail::Report(worker, Report::Failed { run, failure }));
                }
            }
            Command::Exit if !card.mute => self.post(now, Mail::Gone(worker, WorkerEnd::Exit(0))),
            Command::Exit | Command::Trim => {}
        }
    }

    fn post(&mut self, at: Instant, mail: Mail) {
        self.next_mail += 1;
        self.mail.insert((at, self.next_mail), mail);
    }

    pub fn device_of(&self, worker: WorkerId) -> Option<Device> {
        self.cards.iter().find(|(_, card)| card.worker == Some(worker)).map(|(device, _)| device.clone())
    }

    pub fn job_is_over(&self, id: JobId) -> bool {
        self.memory.jobs.get(&id).is_some_and(|job| job.state.is_final())
    }
}

impl Card {
    pub fn used(&self) -> u64 {
        self.nets.values().map(|(_, bytes)| bytes).sum::<u64>() + self.leaked
    }

    fn used_before(&self, now: Instant, age: Duration) -> u64 {
        if age.is_zero() {
            return self.used();
        }
        let known = self.history.iter().rev().find(|(at, _)| *at + age <= now);
        known.map_or(0, |(_, used)| *used)
    }

    pub fn changed(&mut self, now: Instant) {
        self.history.push_back((now, self.used()));
        if self.history.len() > 100 {
            self.history.pop_front();
        }
    }

    fn load(&mut self, load: u64, specs: &BTreeMap<NetId, Spec>, now: Instant) -> Report {
        self.task = false;
        let net = self.nets.get(&load).map(|(net, _)| net.clone()).expect("a load that was begun");
        let bytes = specs[&net].bytes;
        let fits = self.used() + bytes + self.others <= self.total;
        let failure = self.load_failures.pop_front().or((!fits).then_some(FailureKind::OutOfMemory));
        if let Some(kind) = failure {
            self.nets.remove(&load);
            return Report::LoadFailed { load, failure: failure_of(kind), memory: None };
        }
        self.nets.insert(load, (net, bytes));
        self.changed(now);
        Report::Loaded { load, bytes, peak_bytes: bytes, elapsed_ms: 1000, memory: None }
    }

    fn unload(&mut self, load: u64, now: Instant) {
        self.task = false;
        if let Some((_, bytes)) = self.nets.remove(&load) {
            self.leaked += self.leak.min(bytes);
            self.leak = 0;
        }
        self.changed(now);
    }
}

fn with_memory(report: Report, memory: Option<DeviceMemory>) -> Report {
    match report {
        Report::Ready { pid, version, .. } => Report::Ready { pid, version, memory },
        Report::Loaded { load, bytes, peak_bytes, elapsed_ms, .. } => {
            Report::Loaded { load, bytes, peak_bytes, elapsed_ms, memory }
        }
        Report::LoadFailed { load, failure, .. } => Report::LoadFailed { load, failure, memory },
        Report::Unloaded { load, .. } => Report::Unloaded { load, memory },
        other => other,
    }
}

pub fn failure_of(kind: FailureKind) -> Failure {
    Failure { kind, message: format!("{kind:?}"), hint: "do something".to_owned() }
}

/// Built-in recipes, and `one`, which only decodes.
pub fn plan(recipe: &str) -> Plan {
    let built_in = |name| Recipe::built_in(name).unwrap().plan(&|_| false).unwrap();
    match recipe {
        "one" => Plan { recipe: "one".to_owned(), steps: built_in("cutout").steps[..1].to_vec() },
        name => built_in(name),
    }
}
