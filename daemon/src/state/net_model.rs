//! A million random steps of loading, evicting, submitting, cancelling, yielding,
//! dying, and readings that are late or wrong, against what must always hold:
//!
//! - no net is loaded beyond what was known to be free beside the reserve,
//! - a device does one thing at a time, and nobody is told what it does not have
//!   (world.rs asserts both),
//! - whoever points at a picture is answered once,
//! - no step waits longer than three times what is fair while its device can work,
//! - when all trouble is over every job ends, and no process is left that the
//!   state does not know.
//!
//! `MESHKILN_STEPS` says how many steps; the usual number takes a few seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    cutout::CutoutId,
    event::EventBody,
    job::{Class, JobId, JobState},
    net::KeepAlive,
};

use super::{
    Doing, Setup,
    net_scripts::policy,
    policy::{Devices, Policy},
    world::{GB, Spec, World, plan},
};
use crate::{
    catalogue::NetId,
    main_loop::{Answer, Call, CallId, Device, Effect, Submission, WorkerEnd},
    worker::frames::{Command, FailureKind, Prompt},
};

const USUAL_STEPS: usize = 20_000;
/// Steps of one world.
const LIFE: usize = 2_000;
/// Live jobs in a world; more are not submitted.
const LIVE: usize = 40;
const RUN: Duration = Duration::from_millis(2000);
const LOAD: Duration = Duration::from_millis(3000);

#[test]
fn random_lives_never_overcommit_never_deadlock_and_starve_nobody() {
    let n_steps = env::var("MESHKILN_STEPS").map_or(USUAL_STEPS, |n| n.parse().expect("a number of steps"));
    let n_worlds = n_steps.div_ceil(LIFE);
    let live = |seeds: Vec<usize>| {
        let mut sum = Figures::default();
        for seed in seeds {
            let mut dice = Dice::new(seed as u64);
            dice.live(LIFE.min(n_steps - seed * LIFE));
            dice.settle();
            sum.add(&dice.figures);
        }
        sum
    };
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..n_worlds).partition(|seed| seed % 2 == 0);
    let figures = std::thread::scope(|scope| {
        let other = scope.spawn(move || live(odd));
        let mut sum = live(even);
        sum.add(&other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        sum
    });
    println!("figure: {n_steps} steps: {figures:?}");
    // Worth something only if everything happens often.
    let least = n_steps / 1000;
    let often = [
        ("loads", figures.loads),
        ("unloads", figures.unloads),
        ("asks", figures.asks * 4),
        ("ends", figures.ended),
        ("failed jobs", figures.failed),
        ("yields", figures.yields),
        ("deaths", figures.deaths),
        ("recycled workers", figures.recycles * 4),
        ("jobs cancelled", figures.cancelled),
    ];
    for (what, n) in often {
        assert!(n > least, "only {n} {what} in {n_steps} steps");
    }
}

#[derive(Debug, Default)]
struct Figures {
    loads: usize,
    unloads: usize,
    runs: usize,
    asks: usize,
    answers: usize,
    ended: usize,
    failed: usize,
    cancelled: usize,
    yields: usize,
    deaths: usize,
    recycles: usize,
    /// Longest wait of a step, in parts of what is fair.
    longest_wait: f64,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.loads += other.loads;
        self.unloads += other.unloads;
        self.runs += other.runs;
        self.asks += other.asks;
        self.answers += other.answers;
        self.ended += other.ended;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.yields += other.yields;
        self.deaths += other.deaths;
        self.recycles += other.recycles;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

struct Dice {
    seed: u64,
    rng: fastrand::Rng,
    world: World,
    figures: Figures,
    /// Since when a step has waited, on the clock that stands still in trouble.
    waiting: BTreeMap<JobId, (usize, Duration, Duration)>,
    /// Time without trouble.
    calm: Duration,
    last: Instant,
    steps: Vec<String>,
    /// Who points at pictures and is not answered yet.
    pointing: BTreeSet<CallId>,
    n_pictures: u64,
}

impl Dice {
    fn new(seed: u64) -> Dice {
        let mut rng = fastrand::Rng::with_seed(seed);
        let net = |bytes: u64, working: u64, stage| Spec { bytes: bytes * GB / 2, working: working * GB / 2, stage };
        let nets = BTreeMap::from([
            (NetId::from("a"), net(6, 2, "cutout")),
            (NetId::from("b"), net(10, 3, "reconstruct")),
            (NetId::from("c"), net(5, 0, "preview")),
            (NetId::from("d"), net(8, 1, "export-image")),
        ]);
        let devices = match rng.bool() {
            true => Devices::only("gpu"),
            false => Devices { built_in: "cpu".to_owned(), nets: "gpu".to_owned() },
        };
        let s = Duration::from_secs;
        let policy = Policy {
            patience: s(120),
            net_patience: s(30),
            open_jobs: 8,
            memory_patience: s(120),
            jitter: 0.2,
            ..policy()
        };
        let mut world = World::new(policy, devices, nets, 10 * GB);
        world.setup = Setup { seed, ..world.setup.clone() };
        (world.load_time, world.run_time) = (LOAD, Some(RUN));
        let now = world.now;
        Dice {
            seed,
            rng,
            world,
            figures: Figures::default(),
            waiting: BTreeMap::new(),
            calm: Duration::ZERO,
            last: now,
            steps: Vec::new(),
            pointing: BTreeSet::new(),
            n_pictures: 0,
        }
    }

    fn live(&mut self, n_steps: usize) {
        for _ in 0..n_steps {
            let gpu = self.world.setup.devices.nets.clone();
            match self.rng.u8(0..40) {
                0..6 => self.submit(),
                6 | 7 => self.cancel(),
                8 => self.ask("warm", |net| Call::WarmNet { net, keep_alive: None, pin: None }),
                9 => self.set_keep(),
                10 => self.ask("stop", Call::StopNet),
                11 => self.trouble("others", |card, rng| card.others = rng.u64(0..10) * GB),
                12 | 13 => self.trouble("others go", |card, _| card.others = 0),
                14 => self.trouble("late", |card, rng| card.late = Duration::from_millis(rng.u64(500..5000))),
                15 => self.trouble("in time", |card, _| card.late = Duration::ZERO),
                16 => self.trouble("wrong", |card, rng| card.wrong = rng.i64(-3..3) * GB as i64),
                17 => self.trouble("right", |card, _| card.wrong = 0),
                18 => self.trouble("leak", |card, rng| card.leak = rng.u64(0..5) * GB),
                19 => self.fail(),
                20 if self.rng.u8(0..4) == 0 => self.die(&gpu),
                21 if self.rng.u8(0..4) == 0 => self.trouble("mute", |card, _| card.mute = card.worker.is_some()),
                22 if self.rng.u8(0..2) == 0 => self.give_away(),
                23 => self.call("take back", Call::TakeBack),
                24 if self.rng.u8(0..20) == 0 => self.restart(),
                25 if self.rng.bool() => self.point(),
                _ => self.pass(),
            }
            self.look();
        }
    }

    /// All trouble ends; so must every job, and without a wait beyond the fair one.
    fn settle(&mut self) {
        self.call("take back", Call::TakeBack);
        self.call("unpin", Call::StopNet("a".to_owned()));
        for net in ["b", "c", "d"] {
            self.call("unpin", Call::StopNet(net.to_owned()));
        }
        for card in self.world.cards.values_mut() {
            (card.others, card.wrong, card.leak, card.late, card.mute) = (0, 0, 0, Duration::ZERO, false);
            card.load_failures.clear();
            card.run_failures.clear();
        }
        let start = self.world.now;
        let patience = Duration::from_secs(3600 * 4);
        while !self.live_jobs().is_empty() {
            self.assert(self.world.now < start + patience, "deadlock: jobs are left and nothing ends them");
            self.pass();
            self.look();
        }
        while !self.world.state.pinned().is_empty() || !self.pointing.is_empty() {
            self.assert(
                self.world.now < start + patience,
                "somebody who points is not answered, or a picture stays open",
            );
            self.pass();
            self.look();
        }
        for (device, card) in &self.world.cards {
            let known = self.world.state.worker_ids();
            self.assert(card.worker.is_none_or(|worker| known.contains(&worker)), "a process that nobody knows");
            let warm: Vec<&NetId> = self.world.state.residency.warm(device).collect();
            let held: Vec<&NetId> = card.nets.values().map(|(net, _)| net).collect();
            self.assert(held.iter().all(|net| warm.contains(net)) || card.task, "a net that nobody knows");
        }
        let queue = self.world.state.queue();
        self.assert(queue.queued + queue.running == 0, "ended jobs are counted as live");
        self.assert(self.world.state.pinned().is_empty(), "ended jobs hold blobs");
    }

    fn submit(&mut self) {
        if self.live_jobs().len() >= LIVE {
            return self.pass();
        }
        let n = self.rng.usize(1..5);
        let recipe = ["one", "cutout", "cutout", "draft"][self.rng.usize(0..4)];
        let class = [Class::Interactive, Class::Watch, Class::Watch, Class::Batch][self.rng.usize(0..4)];
        let submissions = (0..n).map(|_| {
            // Mostly different, so that little comes from the cache.
            let source = self.rng.u32(0..100_000);
            Submission {
                source_sha256: format!("source {source}"),
                source_path: None,
                name: format!("{source}"),
                plan: plan(recipe),
                output: None,
                class,
                client: [None, Some("x"), Some("y")][self.rng.usize(0..3)].map(str::to_owned),
                idempotency_key: None,
                watch: None,
            }
        });
        let submissions = submissions.collect();
        self.call(recipe, Call::Submit(submissions));
    }

    fn cancel(&mut self) {
        let live = self.live_jobs();
        if !live.is_empty() {
            let id = live[self.rng.usize(0..live.len())];
            self.call("cancel", Call::Cancel(id));
            self.figures.cancelled += 1;
        }
    }

    fn ask(&mut self, name: &str, call: fn(String) -> Call) {
        let net = self.any_net();
        self.call(name, call(net));
    }

    fn set_keep(&mut self) {
        let keep_alive = match self.rng.u8(0..4) {
            0 => Some(KeepAlive::Forever),
            n => Some(KeepAlive::Ms(u64::from(n - 1) * 20_000)),
        };
        // Seldom: a pinned net may well be in everybody's way.
        let pin = (self.rng.u8(0..4) == 0).then(|| self.rng.u8(0..3) == 0);
        let net = self.any_net();
        self.call("keep", Call::WarmNet { net, keep_alive, pin });
    }

    fn any_net(&mut self) -> String {
        ["a", "b", "c", "d", "e"][self.rng.usize(0..5)].to_owned()
    }

    fn trouble(&mut self, name: &str, how: fn(&mut super::world::Card, &mut fastrand::Rng)) {
        self.steps.push(name.to_owned());
        let gpu = self.world.setup.devices.nets.clone();
        if let Some(card) = self.world.cards.get_mut(&gpu) {
            how(card, &mut self.rng);
        }
    }

    fn fail(&mut self) {
        let load =
            [FailureKind::OutOfMemory, FailureKind::WeightsMissing, FailureKind::DeviceFault, FailureKind::Panicked];
        let run = [FailureKind::OutOfMemory, FailureKind::NoObject, FailureKind::DeviceFault, FailureKind::Panicked];
        let (which, at_load) = (self.rng.usize(0..4), self.rng.bool());
        let gpu = self.world.setup.devices.nets.clone();
        let Some(card) = self.world.cards.get_mut(&gpu) else { return };
        self.steps.push(format!("fail {which} {at_load}"));
        match at_load {
            true => card.load_failures.push_back(load[which]),
            false => card.run_failures.push_back(run[which]),
        }
    }

    fn die(&mut self, device: &Device) {
        if self.world.cards[device].worker.is_some() {
            self.steps.push("die".to_owned());
            self.figures.deaths += 1;
            self.world.die(device, WorkerEnd::Signal(11));
        }
    }

    fn give_away(&mut self) {
        let time_limit = self.rng.bool().then(|| Duration::from_secs(self.rng.u64(1..30)));
        let now = self.rng.bool();
        self.figures.yields += 1;
        self.call("yield", Call::Yield { time_limit, now });
    }

    /// Opens a picture, clicks on one or closes one.
    fn point(&mut self) {
        let session = CutoutId(self.rng.u64(1..=self.n_pictures + 1));
        let call = match self.rng.u8(0..8) {
            0 | 1 => {
                self.n_pictures += 1;
                let net = ["a", "b", "c", "d"][self.rng.usize(0..4)].to_owned();
                let source_sha256 = format!("picture {}", self.n_pictures);
                Call::OpenCutout { engine: "mobile-sam", net, source_sha256 }
            }
            2 => Call::CloseCutout(session),
            _ => Call::Click { session, prompt: Prompt { points: Vec::new(), frame: None } },
        };
        self.steps.push("point".to_owned());
        let id = self.world.asked(call);
        self.pointing.insert(id);
    }

    fn restart(&mut self) {
        self.pointing.clear();
        self.n_pictures = 0;
        self.steps.push("restart".to_owned());
        self.world.restart(false);
        self.waiting.clear();
    }

    /// To the next moment at which something happens, or a little beyond.
    fn pass(&mut self) {
        let steps = self.rng.usize(1..6);
        for _ in 0..steps {
            if let Some(at) = self.world.next_moment() {
                self.world.moment(at);
                self.look();
            }
        }
    }

    fn call(&mut self, name: &str, call: Call) {
        self.steps.push(name.to_owned());
        self.world.call(call);
    }

    fn live_jobs(&self) -> Vec<JobId> {
        let live = self.world.memory.jobs.values().filter(|job| !job.state.is_final());
        live.map(|job| job.id).collect()
    }

    /// What has been done must be allowed, and nobody may have waited for too long.
    fn look(&mut self) {
        for (_, effect) in std::mem::take(&mut self.world.seen) {
            self.check(&effect);
        }
        // Whatever has ended is of no further use to the model.
        let over: Vec<JobId> =
            self.world.memory.jobs.keys().copied().filter(|&id| self.world.job_is_over(id)).collect();
        for id in over {
            self.world.memory.jobs.remove(&id);
            self.waiting.remove(&id);
        }
        if self.world.memory.results.len() > 2000 {
            self.world.memory.results.clear();
        }
        self.check_waits();
    }

    fn check(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { command: Command::Load { .. }, .. } => self.figures.loads += 1,
            Effect::Send { command: Command::Unload { .. }, .. } => self.figures.unloads += 1,
            Effect::Send { command: Command::Run(_), .. } => self.figures.runs += 1,
            Effect::Send { command: Command::Ask(_), .. } => self.figures.asks += 1,
            Effect::Reply { id, .. } if self.pointing.remove(id) => self.figures.answers += 1,
            Effect::Reply { answer: Answer::Cutout(..), .. } => self.assert(false, "an answer that nobody waits for"),
            Effect::Publish(EventBody::Job { job }) if job.state.is_final() => {
                self.figures.ended += 1;
                self.figures.failed += usize::from(job.state == JobState::Failed);
                let dead = job.state == JobState::Dead;
                self.assert(!dead || job.crashes >= 3, "dead, but not after three crashes");
            }
            _ => {}
        }
    }

    /// On a clock that stands still while something is wrong.
    fn check_waits(&mut self) {
        let passed = self.world.now.duration_since(self.last);
        self.last = self.world.now;
        let gpu = &self.world.setup.devices.nets;
        let in_trouble = self.world.cards.values().any(|card| {
            card.others > 0 || card.wrong != 0 || card.mute || card.worker.is_none() || !card.late.is_zero()
        }) || self.world.state.yielded.is_some()
            || self.world.cards[gpu].leaked > 0;
        if !in_trouble {
            self.calm += passed;
        }
        let state = &self.world.state;
        let n_live = state.live_jobs() as u32;
        let rules = &self.world.setup.policy;
        // One turn of each that is before it, a class that is passed over, a net that is.
        let fair = rules.patience + rules.net_patience + (RUN + LOAD * 2) * n_live;
        let (mut longest, mut late) = (0.0f64, None);
        for job in self.world.memory.jobs.values() {
            let active = state.active.get(&job.id);
            let is_served = active.is_some_and(|active| active.doing != Doing::Ready);
            let step = active.map_or(0, |active| active.next_step + 1);
            let entry = self.waiting.entry(job.id).or_insert((step, self.calm, fair));
            if entry.0 != step || is_served || job.state == JobState::Queued && job.not_before_ms.is_some() {
                *entry = (step, self.calm, fair);
            }
            entry.2 = entry.2.max(fair);
            let part = (self.calm - entry.1).as_secs_f64() / entry.2.as_secs_f64();
            longest = longest.max(part);
            late = late.or((part > 3.0).then_some(job.id));
        }
        self.figures.longest_wait = self.figures.longest_wait.max(longest);
        self.assert(late.is_none(), &format!("{late:?} has waited {longest:.1} times what is fair"));
        let recycles = self.world.state.residency.recycles(&self.world.setup.devices.nets) as usize;
        self.figures.recycles = self.figures.recycles.max(recycles);
    }

    fn assert(&self, holds: bool, what: &str) {
        let last = self.steps.len().saturating_sub(60);
        let gpu = &self.world.cards[&self.world.setup.devices.nets];
        assert!(holds, "seed {}: {what}\n... {}\n{gpu:?}", self.seed, self.steps[last..].join("\n"));
    }
}
