//! Thousands of random lives of the daemon against a small model of what a client
//! may rely on: each call is answered exactly once, an ended job stays as it
//! ended, a cancelled one is cancelled, and in the end every job has ended.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    error::ErrorKind,
    event::EventBody,
    job::{Class, JobId, JobState},
};

use super::{
    Counters, Loaded, Setup, State, Time,
    scripts::{Memory, WALL, delivery_error, done, outputs_of, setup, submission},
};
use crate::{
    main_loop::{Answer, Call, CallId, Effect, Event, WorkerEnd, WorkerId},
    worker::frames::{self, Command, Failure, FailureKind, Report},
};

#[test]
fn ten_thousand_races_of_submit_cancel_finish_and_crash() {
    let race = |seed| {
        let mut race = Race::new(seed);
        race.run(30);
        race.settle();
        race.model.into_values().collect::<Vec<_>>()
    };
    let halves = [0..5_000, 5_000..10_000];
    let ends: Vec<JobState> = std::thread::scope(|scope| {
        let halves = halves.map(|seeds| scope.spawn(move || seeds.flat_map(race).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    // The races are worth something only if every end is reached often.
    for state in JobState::ALL.iter().filter(|state| state.is_final()) {
        let n = ends.iter().filter(|end| *end == state).count();
        assert!(n > 200, "{n} of {} jobs ended {}", ends.len(), state.id());
    }
}

/// What a client knows.
type Model = BTreeMap<JobId, JobState>;

struct Race {
    seed: u64,
    rng: fastrand::Rng,
    state: State,
    memory: Memory,
    model: Model,
    start: Instant,
    now: Instant,
    calls: u64,
    /// Not answered yet.
    open: BTreeMap<CallId, &'static str>,
    worker: Option<WorkerId>,
    /// What the worker has in hand.
    run: Option<frames::Run>,
    /// Reports of the living worker still on their way.
    mail: Vec<Report>,
    deliveries: Vec<(JobId, u32)>,
    obeys: bool,
    steps: Vec<String>,
}

impl Race {
    fn new(seed: u64) -> Race {
        let start = Instant::now();
        let setup = Setup { seed, ..setup() };
        let counters = Counters { next_run: 1, next_worker: 1 };
        let mut race = Race {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            state: State::new(setup, Loaded::default(), counters, Time { now: start, wall: WALL }),
            memory: Memory::default(),
            model: Model::new(),
            start,
            now: start,
            calls: 0,
            open: BTreeMap::new(),
            worker: None,
            run: None,
            mail: Vec::new(),
            deliveries: Vec::new(),
            obeys: true,
            steps: Vec::new(),
        };
        race.handle(Event::Tick);
        race
    }

    fn run(&mut self, n_steps: usize) {
        for _ in 0..n_steps {
            match self.rng.u8(0..24) {
                0..4 => self.submit(),
                4..7 => self.call_about_a_job("cancel", Call::Cancel),
                7 => self.call_about_a_job("retry", Call::Retry),
                8 => self.call_about_a_job("pause", Call::Pause),
                9 => self.resume_or_reclass(),
                10..15 => self.work(),
                15 => self.deliver(),
                16 => self.crash(),
                17..20 => self.read_mail(),
                20..22 => self.pass(),
                22 => self.obeys = self.rng.bool(),
                _ => self.rare(),
            }
        }
    }

    /// Lets everything come to its end; nothing may be left hanging.
    fn settle(&mut self) {
        self.obeys = true;
        self.call("resume queue", Call::ResumeQueue);
        for (id, state) in self.model.clone() {
            if state == JobState::Paused {
                self.call("resume", Call::Resume(id));
            }
        }
        for _ in 0..2000 {
            if self.model.values().all(|state| state.is_final()) && self.run.is_none() && self.mail.is_empty() {
                break;
            }
            self.read_mail();
            self.work_well();
            self.read_mail();
            while let Some((job, attempt)) = self.deliveries.pop() {
                self.handle(Event::Delivered { job, attempt, result: Ok(()) });
            }
            self.pass();
        }
        self.assert(self.model.values().all(|state| state.is_final()), "a job never ends");
        self.assert(self.open.is_empty(), "a call was never answered");
        self.assert(self.state.queue().queued + self.state.queue().running == 0, "ended jobs are counted as live");
        self.assert(self.state.pinned().is_empty(), "ended jobs hold blobs");
        for (id, job) in &self.memory.jobs {
            self.assert(self.model[id] == job.state, "the database disagrees with what was told");
        }
    }

    fn submit(&mut self) {
        let n = self.rng.usize(1..3);
        let submissions: Vec<_> = (0..n)
            .map(|_| {
                let recipe = if self.rng.bool() { "one" } else { "cutout" };
                // Few sources, so that jobs often share stages.
                let mut submission = submission(["a", "b", "c"][self.rng.usize(0..3)], recipe);
                submission.output = self.rng.bool().then(|| "/out".into());
                submission.idempotency_key = (self.rng.u8(0..4) == 0).then(|| self.rng.u8(0..4).to_string());
                submission
            })
            .map(|mut submission| {
                // A recipe that makes no file cannot be put anywhere.
                if submission.plan.recipe == "one" {
                    submission.output = None;
                }
                submission
            })
            .collect();
        self.call("submit", Call::Submit(submissions));
    }

    fn call_about_a_job(&mut self, name: &'static str, call: fn(JobId) -> Call) {
        let id = JobId(self.rng.u64(1..self.state.next_job() + 1));
        self.call(name, call(id));
        if name == "cancel" && self.model.contains_key(&id) {
            self.assert(self.model[&id].is_final(), "a cancelled job goes on");
        }
    }

    fn resume_or_reclass(&mut self) {
        if self.rng.bool() {
            return self.call_about_a_job("resume", Call::Resume);
        }
        let classes: [fn(JobId) -> Call; 3] = [
            |id| Call::Reclass(id, Class::Interactive),
            |id| Call::Reclass(id, Class::Watch),
            |id| Call::Reclass(id, Class::Batch),
        ];
        let class = self.rng.usize(0..3);
        self.call_about_a_job("reclass", classes[class]);
    }

    fn rare(&mut self) {
        match self.rng.u8(0..5) {
            0 => self.call("pause queue", Call::PauseQueue),
            1 => self.call("resume queue", Call::ResumeQueue),
            2 => self.lose_a_blob(),
            _ => self.restart(),
        }
    }

    fn lose_a_blob(&mut self) {
        let made: Vec<String> =
            self.memory.results.values().flat_map(|o| o.values()).map(|b| b.sha256.clone()).collect();
        if !made.is_empty() {
            self.memory.lost.insert(made[self.rng.usize(0..made.len())].clone());
        }
    }

    /// The daemon dies between two turns and starts again.
    fn restart(&mut self) {
        self.steps.push("restart".to_owned());
        let loaded = self.memory.load(false);
        let (counters, time) = (self.state.counters(), self.time());
        self.state = State::new(Setup { seed: self.seed, ..setup() }, loaded, counters, time);
        (self.worker, self.run) = (None, None);
        self.mail.clear();
        self.deliveries.clear();
        // Told, but unheard: what clients know is what the database says.
        for (id, job) in &self.memory.jobs {
            self.model.insert(*id, job.state);
        }
        self.handle(Event::Tick);
    }

    fn work(&mut self) {
        match self.rng.u8(0..10) {
            0..6 => self.work_well(),
            6 => self.work_badly(FailureKind::NoObject),
            7 => self.work_badly(FailureKind::Storage),
            8 => self.work_badly(FailureKind::Panicked),
            _ => {
                let lost =
                    self.run.as_ref().is_some_and(|run| run.inputs.values().any(|i| self.memory.lost.contains(i)));
                if lost {
                    self.work_badly(FailureKind::InputLost);
                }
            }
        }
    }

    fn work_well(&mut self) {
        let Some(run) = self.run.take() else { return };
        if run.inputs.values().any(|input| self.memory.lost.contains(input)) {
            self.run = Some(run);
            return self.work_badly(FailureKind::InputLost);
        }
        let outputs = outputs_of(&run);
        self.mail.push(done(run.run, outputs, 10));
    }

    fn work_badly(&mut self, kind: FailureKind) {
        let Some(run) = self.run.take() else { return };
        let failure = Failure { kind, message: format!("{kind:?}"), hint: String::new() };
        self.mail.push(Report::Failed { run: run.run, failure });
    }

    fn deliver(&mut self) {
        let Some((job, attempt)) = self.deliveries.pop() else { return };
        let result = match self.rng.u8(0..6) {
            0 => Err(delivery_error("exists")),
            1 => Err(delivery_error("storage")),
            2 => {
                let asset = self.memory.results.values().find_map(|outputs| outputs.get("asset"));
                self.memory.lost.extend(asset.map(|asset| asset.sha256.clone()));
                Err(delivery_error("storage"))
            }
            _ => Ok(()),
        };
        self.handle(Event::Delivered { job, attempt, result });
    }

    fn crash(&mut self) {
        // What it said before its end is still read.
        self.read_mail();
        let Some(worker) = self.worker.take() else { return };
        (self.run, self.obeys) = (None, true);
        self.mail.clear();
        self.handle(Event::WorkerGone { worker, how: WorkerEnd::Signal(11) });
    }

    fn read_mail(&mut self) {
        let Some(worker) = self.worker else { return };
        for report in std::mem::take(&mut self.mail) {
            self.handle(Event::Worker { worker, report });
        }
    }

    /// Up to the next deadline; the worker is heard of meanwhile.
    fn pass(&mut self) {
        if let Some(worker) = self.worker {
            self.handle(Event::Worker { worker, report: Report::Heartbeat { rss_bytes: 1, memory: None } });
        }
        if let Some(at) = self.state.next_deadline() {
            self.now = self.now.max(at);
            self.handle(Event::Tick);
        }
    }

    fn call(&mut self, name: &'static str, call: Call) {
        self.calls += 1;
        let id = CallId(self.calls);
        self.open.insert(id, name);
        self.handle(Event::Call { id, call });
        self.assert(!self.open.contains_key(&id), "a call was not answered in its turn");
    }

    fn time(&self) -> Time {
        let passed: Duration = self.now.duration_since(self.start);
        Time { now: self.now, wall: WALL + passed.as_millis() as u64 }
    }

    fn handle(&mut self, event: Event) {
        self.steps.push(match &event {
            Event::Call { call: Call::Submit(submissions), .. } => format!("submit {}", submissions.len()),
            Event::Call { call, .. } => format!("{call:?}"),
            Event::Worker { report: Report::Heartbeat { .. }, .. } => "heartbeat".to_owned(),
            Event::Worker { report: Report::Done { run, .. }, .. } => format!("run {run} done"),
            other => format!("{other:?}"),
        });
        let effects = self.state.handle(event, self.time(), &self.memory);
        self.memory.commit(&mut self.state);
        for effect in &effects {
            self.check(effect);
        }
        for effect in effects {
            self.play(effect);
        }
    }

    fn check(&mut self, effect: &Effect) {
        match effect {
            Effect::Reply { id, answer } => {
                let name = self.open.remove(id);
                self.assert(name.is_some(), "a call was answered twice, or nobody asked");
                if let Answer::Refused(refusal) = answer {
                    let fits = matches!(refusal.kind, ErrorKind::NotFound | ErrorKind::WrongState);
                    self.assert(fits, "refused for a reason that cannot be");
                }
            }
            Effect::Publish(EventBody::Job { job }) => {
                let before = self.model.insert(job.id, job.state);
                let reclassed =
                    self.steps.last().is_some_and(|step| step.starts_with(&format!("Reclass({:?},", job.id)));
                let allowed = match (before, job.state) {
                    (None, state) => state == JobState::Queued,
                    (Some(before @ (JobState::Queued | JobState::Paused)), state) if before == state => reclassed,
                    (Some(JobState::Queued), state) => {
                        matches!(state, JobState::Running | JobState::Paused | JobState::Cancelled)
                    }
                    (Some(JobState::Paused), state) => matches!(state, JobState::Queued | JobState::Cancelled),
                    (Some(JobState::Running), state) => state == JobState::Queued || state.is_final(),
                    // Only `retry`, which was asked for.
                    (Some(JobState::Failed | JobState::Dead | JobState::Cancelled), state) => {
                        state == JobState::Queued
                            && self.steps.last().is_some_and(|step| *step == format!("{:?}", Call::Retry(job.id)))
                    }
                    (Some(JobState::Done), _) => false,
                };
                self.assert(allowed, "an arrow that does not exist");
                if job.state == JobState::Dead {
                    self.assert(job.crashes == 3, "dead, but not after three crashes");
                }
            }
            _ => {}
        }
    }

    fn play(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { worker, .. } => {
                self.worker = Some(worker);
                self.mail = vec![Report::Ready { pid: 1, version: String::new(), memory: None }];
            }
            Effect::Send { worker, command } => {
                self.assert(self.worker == Some(worker), "a command for a process that is gone");
                match command {
                    Command::Run(run) => {
                        self.assert(self.run.is_none(), "two runs at once");
                        self.run = Some(run);
                    }
                    Command::Cancel { run }
                        if self.obeys && self.run.as_ref().is_some_and(|known| known.run == run) =>
                    {
                        self.work_badly(FailureKind::Cancelled);
                    }
                    _ => {}
                }
            }
            Effect::Kill { worker } if self.worker == Some(worker) => {
                (self.worker, self.run, self.obeys) = (None, None, true);
                self.mail.clear();
                self.handle(Event::WorkerGone { worker, how: WorkerEnd::Signal(9) });
            }
            Effect::Deliver { job, attempt, .. } => self.deliveries.push((job, attempt)),
            _ => {}
        }
    }

    fn assert(&self, holds: bool, what: &str) {
        assert!(holds, "seed {}: {what}\n{}\n{:?}", self.seed, self.steps.join("\n"), self.model);
    }
}
