//! A small language for testing the policy: what happens goes in, what the daemon
//! does comes out, on a clock that nobody waits for.
//!
//! ```text
//! 0s submit a cutout [class batch] [from CLIENT] [key K] [source S] [out]
//! 1s done | progress 3/10 | fail KIND | gone | not-started      what the worker says
//! 1s deliver ok|KIND | deliver-late       about this attempt, or about the one before
//! 2s cancel a | retry a | pause a | resume a | pause-queue | resume-queue | clear | shutdown [now]
//! 3s silent | hang        no heartbeat, no obedience from now on
//! 4s lose SLOT of SOURCE  its blob is gone from the store
//! 5s restart [unclean]    another life of the daemon
//! 6s disk-full | disk-works
//! 7s view                 what readers are shown
//! ```
//!
//! Workers come up by themselves, give a heartbeat each second and stop when told
//! to, unless the script says otherwise. Recipes: the built-in ones, and `one`,
//! which only decodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use expect_test::Expect;
use meshkiln_models::recipe::{Plan, Recipe};
use meshkiln_protocol::{
    error::{ErrorKind, JobError},
    event::EventBody,
    job::{Class, JobId, JobState},
};
use serde_json::{Value as Json, json};

use super::{Counters, Loaded, Outputs, Setup, State, Stored, Time, policy::Policy};
use crate::{
    catalogue::Listed,
    jobs::Job,
    main_loop::{Answer, Call, CallId, Effect, Event, Submission, WorkerEnd, WorkerId},
    state::policy::Devices,
    worker::frames::{self, Command, Failure, FailureKind, Output, Report},
};

pub fn check(script: &str, expected: Expect) {
    expected.assert_eq(&trace(script, &[]));
}

/// With `progress`, `log` and `queue` lines as asked for.
pub fn check_with(show: &[&str], script: &str, expected: Expect) {
    expected.assert_eq(&trace(script, show));
}

pub fn setup() -> Setup {
    // Without jitter, so that traces show round numbers; the jitter has a test of its own.
    let policy = Policy { jitter: 0.0, ..Policy::default() };
    let catalogue = Arc::new(Listed::default());
    Setup { policy, devices: Devices::only("cpu"), catalogue, generator: "meshkilnd test".to_owned(), seed: 1 }
}

/// The database as a few maps: what was committed, and nothing else.
#[derive(Default)]
pub struct Memory {
    pub jobs: BTreeMap<JobId, Job>,
    pub results: BTreeMap<String, Outputs>,
    pub lost: BTreeSet<String>,
    pub queue_paused: bool,
    pub usual: super::UsualTimes,
    pub measures: super::Measures,
}

impl Stored for Memory {
    fn result(&self, key: &str) -> Option<Outputs> {
        self.results.get(key).cloned()
    }

    fn job(&self, id: JobId) -> Option<Job> {
        self.jobs.get(&id).cloned()
    }

    fn job_with_key(&self, key: &str) -> Option<JobId> {
        self.jobs.values().find(|job| job.idempotency_key.as_deref() == Some(key)).map(|job| job.id)
    }

    fn count(&self, states: &[JobState], except: &BTreeSet<JobId>) -> u64 {
        self.jobs.values().filter(|job| states.contains(&job.state) && !except.contains(&job.id)).count() as u64
    }

    fn has_blob(&self, sha256: &str) -> bool {
        !self.lost.contains(sha256)
    }

    fn json(&self, sha256: &str) -> Option<Json> {
        Some(json!({ "read": sha256 }))
    }
}

impl Memory {
    pub fn commit(&mut self, state: &mut State) {
        let changes = state.changes();
        let except = &changes.jobs;
        self.jobs.retain(|id, job| except.contains(id) || !changes.clear.contains(&job.state));
        for key in &changes.forgotten {
            self.results.remove(key);
        }
        for (key, made) in &changes.results {
            self.results.insert(key.clone(), made.outputs.clone());
            self.lost.retain(|sha256| made.outputs.values().all(|blob| blob.sha256 != *sha256));
        }
        for &id in &changes.jobs {
            let job = state.job(id).expect("a changed job is there until it is committed");
            self.jobs.insert(id, job.clone());
        }
        self.queue_paused = changes.queue_paused.unwrap_or(self.queue_paused);
        self.usual = state.usual().clone();
        self.measures = state.measures().clone();
        state.committed();
    }

    pub fn load(&self, unclean: bool) -> Loaded {
        Loaded {
            jobs: self.jobs.values().filter(|job| !job.state.is_final()).cloned().collect(),
            unreadable: Vec::new(),
            queue_paused: self.queue_paused,
            next_job: self.jobs.keys().next_back().map_or(1, |id| id.0 + 1),
            usual: self.usual.clone(),
            measures: self.measures.clone(),
            unclean,
        }
    }
}

/// Too short for a recipe, which must make a file; long enough for most rules.
static ONE: LazyLock<Plan> = LazyLock::new(|| Plan { recipe: "one".to_owned(), steps: CUTOUT.steps[..1].to_vec() });
static CUTOUT: LazyLock<Plan> = LazyLock::new(|| Recipe::built_in("cutout").unwrap().plan(&|_| false).unwrap());

pub fn submission(name: &str, recipe: &str) -> Submission {
    let plan = match recipe {
        "one" => ONE.clone(),
        "cutout" => CUTOUT.clone(),
        name => Recipe::built_in(name).unwrap().plan(&|_| false).unwrap(),
    };
    Submission {
        source_sha256: format!("source of {name}"),
        source_path: None,
        name: name.to_owned(),
        plan,
        output: None,
        class: Class::Interactive,
        client: None,
        idempotency_key: None,
        watch: None,
    }
}

/// A stage that ended well and took no memory.
pub fn done(run: u64, outputs: Outputs, elapsed_ms: u64) -> Report {
    Report::Done { run, outputs, elapsed_ms, peak_rss_bytes: 1, working_bytes: 0, memory: None }
}

/// Outputs that depend on nothing but the run's inputs.
pub fn outputs_of(run: &frames::Run) -> Outputs {
    let stage = meshkiln_models::stage::find(&run.stage).unwrap();
    let made = |slot: &meshkiln_models::slot::Slot| {
        let inputs: Vec<&str> = run.inputs.values().map(String::as_str).collect();
        let sha256 = format!("{} from {}", slot.id(), inputs.join(" + "));
        (slot.id().to_owned(), Output { sha256, bytes: 100 })
    };
    stage.writes.iter().map(made).collect()
}

fn class(text: &str) -> Class {
    Class::ALL.into_iter().find(|class| class.id() == text).expect("a class")
}

fn trace(script: &str, show: &[&str]) -> String {
    let mut stage = Theatre::new(show);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (at, what) = line.split_once(' ').unwrap();
        let seconds: f64 = at.trim_end_matches('s').parse().unwrap();
        stage.advance(stage.start + Duration::from_secs_f64(seconds));
        stage.perform(what);
    }
    stage.trace
}

struct Theatre<'a> {
    show: &'a [&'a str],
    state: State,
    memory: Memory,
    start: Instant,
    now: Instant,
    names: BTreeMap<String, JobId>,
    next_call: u64,
    /// The one worker, while its process lives.
    worker: Option<WorkerId>,
    run: Option<frames::Run>,
    delivering: Option<(JobId, u32)>,
    starts: bool,
    beats: bool,
    obeys: bool,
    /// The loop has ended; nobody ticks.
    stopped: bool,
    trace: String,
}

impl<'a> Theatre<'a> {
    fn new(show: &'a [&'a str]) -> Theatre<'a> {
        let start = Instant::now();
        let time = Time { now: start, wall: WALL };
        let counters = Counters { next_run: 1, next_worker: 1 };
        Theatre {
            show,
            state: State::new(setup(), Loaded::default(), counters, time),
            memory: Memory::default(),
            start,
            now: start,
            names: BTreeMap::new(),
            next_call: 1,
            worker: None,
            run: None,
            delivering: None,
            starts: true,
            beats: true,
            obeys: true,
            stopped: false,
            trace: String::new(),
        }
    }

    fn time(&self) -> Time {
        Time { now: self.now, wall: WALL + self.now.duration_since(self.start).as_millis() as u64 }
    }

    /// Ticks when the state wants it, heartbeats each second.
    fn advance(&mut self, to: Instant) {
        let mut ticks_at_once = 0;
        loop {
            let beat = self.start + Duration::from_secs(self.now.duration_since(self.start).as_secs() + 1);
            let deadline = self.state.next_deadline().filter(|_| !self.stopped).map(|at| at.max(self.now));
            let next = deadline.map_or(beat, |at| at.min(beat));
            if next > to {
                break;
            }
            ticks_at_once = if next == self.now { ticks_at_once + 1 } else { 0 };
            assert!(ticks_at_once < 100, "a deadline that no tick satisfies:\n{}", self.trace);
            self.now = next;
            if next == beat
                && let Some(worker) = self.worker.filter(|_| self.beats)
            {
                self.handle(Event::Worker { worker, report: Report::Heartbeat { rss_bytes: 1, memory: None } });
            }
            if deadline.is_some_and(|at| at <= self.now) {
                self.handle(Event::Tick);
            }
        }
        self.now = to;
    }

    fn perform(&mut self, what: &str) {
        let words: Vec<&str> = what.split_whitespace().collect();
        let job = |idx: usize| self.names[words[idx]];
        match words[0] {
            "submit" => {
                let submission = self.submission(&words);
                let before = self.state.next_job();
                self.names.insert(words[1].to_owned(), JobId(before));
                self.call(Call::Submit(vec![submission]));
            }
            "cancel" => self.call(Call::Cancel(job(1))),
            "retry" => self.call(Call::Retry(job(1))),
            "pause" => self.call(Call::Pause(job(1))),
            "resume" => self.call(Call::Resume(job(1))),
            "reclass" => self.call(Call::Reclass(job(1), class(words[2]))),
            "clear" => self.call(Call::Clear(Vec::new())),
            "pause-queue" => self.call(Call::PauseQueue),
            "resume-queue" => self.call(Call::ResumeQueue),
            "shutdown" => self.call(Call::Shutdown { now: words.contains(&"now") }),
            "done" => {
                let run = self.run.take().expect("a run is going on");
                let outputs = outputs_of(&run);
                let elapsed_ms = words.get(1).map_or(1000, |ms| ms.parse().unwrap());
                self.report(done(run.run, outputs, elapsed_ms));
            }
            "progress" => {
                let run = self.run.as_ref().expect("a run is going on").run;
                let (done, total) = words[1].split_once('/').unwrap();
                self.report(Report::Progress { run, done: done.parse().unwrap(), total: total.parse().unwrap() });
            }
            "fail" => {
                let run = self.run.take().expect("a run is going on").run;
                let kind = failure_kind(words[1]);
                let failure = Failure { kind, message: words[1].to_owned(), hint: "do something".to_owned() };
                self.report(Report::Failed { run, failure });
            }
            "gone" => self.gone(WorkerEnd::Signal(11)),
            "not-started" => self.starts = false,
            "starts" => self.starts = true,
            "silent" => self.beats = false,
            "hang" => self.obeys = false,
            "deliver" => {
                let (job, attempt) = self.delivering.take().expect("something is being put");
                let result = if words[1] == "ok" { Ok(()) } else { Err(delivery_error(words[1])) };
                self.handle(Event::Delivered { job, attempt, result });
            }
            "deliver-late" => {
                let (job, attempt) = self.delivering.expect("something is being put");
                self.handle(Event::Delivered { job, attempt: attempt - 1, result: Ok(()) });
            }
            "lose" if words[1] == "source" => {
                self.memory.lost.insert(format!("source of {}", words[3]));
            }
            "lose" => {
                let run_slots = self.memory.results.values().flatten();
                let lost: Vec<String> = run_slots
                    .filter(|(slot, blob)| {
                        *slot == words[1] && blob.sha256.contains(&format!("source of {}", words[3]))
                    })
                    .map(|(_, blob)| blob.sha256.clone())
                    .collect();
                assert!(!lost.is_empty(), "nothing to lose");
                self.memory.lost.extend(lost);
            }
            "restart" => {
                self.note(&format!("-- {what} --"));
                let loaded = self.memory.load(words.contains(&"unclean"));
                let counters = self.state.counters();
                self.state = State::new(setup(), loaded, counters, self.time());
                (self.worker, self.run, self.delivering) = (None, None, None);
                (self.beats, self.obeys, self.stopped) = (true, true, false);
                self.handle(Event::Tick);
            }
            "disk-full" => self.state.storage_fails("the disk is full".to_owned()),
            "disk-works" => {
                self.state.storage_works(self.now);
                self.handle(Event::Tick);
            }
            "view" => {
                let view = self.state.view(self.now);
                let progress: BTreeMap<_, _> = view.progress.iter().map(|(id, p)| (self.name(*id), p)).collect();
                self.note(&format!("{:?} {:?} {progress:?} {:?}", view.queue, view.workers, view.problems));
            }
            other => panic!("verb {other}"),
        }
    }

    fn submission(&self, words: &[&str]) -> Submission {
        let mut submission = submission(words[1], words[2]);
        let after = |word: &str| words.iter().position(|w| *w == word).map(|idx| words[idx + 1]);
        if let Some(source) = after("source") {
            submission.source_sha256 = format!("source of {source}");
            submission.name = source.to_owned();
        }
        submission.client = after("from").map(str::to_owned);
        submission.idempotency_key = after("key").map(str::to_owned);
        submission.output = words.contains(&"out").then(|| format!("/out/{}", words[1]).into());
        submission.class = after("class").map_or(Class::Interactive, class);
        submission
    }

    fn call(&mut self, call: Call) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.handle(Event::Call { id, call });
    }

    fn report(&mut self, report: Report) {
        let worker = self.worker.expect("the worker is alive");
        self.handle(Event::Worker { worker, report });
    }

    fn gone(&mut self, how: WorkerEnd) {
        self.run = None;
        self.beats = true;
        self.obeys = true;
        let worker = self.worker.take().expect("the worker is alive");
        self.handle(Event::WorkerGone { worker, how });
    }

    fn handle(&mut self, event: Event) {
        let time = self.time();
        let effects = self.state.handle(event, time, &self.memory);
        self.memory.commit(&mut self.state);
        effects.iter().for_each(|effect| self.show(effect));
        effects.into_iter().for_each(|effect| self.play(effect));
    }

    /// What the world does about it.
    fn play(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { worker, .. } => {
                if self.starts {
                    self.worker = Some(worker);
                    self.report(Report::Ready { pid: 100 + worker.0 as u32, version: "test".to_owned(), memory: None });
                } else {
                    self.handle(Event::WorkerNotStarted { worker, error: "no such program".to_owned() });
                }
            }
            Effect::Send { command: Command::Run(run), .. } => self.run = Some(run),
            Effect::Send { command: Command::Cancel { run }, .. } if self.obeys => {
                self.run = None;
                let failure =
                    Failure { kind: FailureKind::Cancelled, message: "cancelled".to_owned(), hint: String::new() };
                self.report(Report::Failed { run, failure });
            }
            Effect::Send { command: Command::Exit, .. } if self.obeys => self.gone(WorkerEnd::Exit(0)),
            Effect::Kill { worker } if self.worker == Some(worker) => self.gone(WorkerEnd::Signal(9)),
            Effect::Stop => self.stopped = true,
            Effect::Deliver { job, attempt, .. } => self.delivering = Some((job, attempt)),
            _ => {}
        }
    }

    fn show(&mut self, effect: &Effect) {
        let text = match effect {
            Effect::Reply { answer: Answer::Jobs(ids), .. } => {
                format!("reply {}", ids.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(" "))
            }
            Effect::Reply { answer: Answer::Refused(refusal), .. } => {
                format!("refused {:?}: {}", refusal.kind, refusal.message)
            }
            Effect::Reply { answer: Answer::Queue(_) | Answer::Done, .. } => return,
            Effect::Reply { answer, .. } => format!("reply {answer:?}"),
            Effect::Spawn { worker, device } => format!("spawn {device} w{}", worker.0),
            Effect::Send { worker, command: Command::Run(run) } => format!("w{} run {}", worker.0, run.stage),
            Effect::Send { worker, command } => format!("w{} {command:?}", worker.0),
            Effect::Kill { worker } => format!("w{} kill", worker.0),
            Effect::Deliver { job, asset_sha256, output, .. } => {
                format!("{} put `{asset_sha256}` at {}", self.name(*job), output.display())
            }
            Effect::Publish(EventBody::Job { job }) => {
                let mut text = format!("{} {}", self.name(job.id), job.state.id());
                if let Some(error) = &job.error {
                    text += &format!(": {:?}: {}", error.kind, error.message);
                }
                text
            }
            Effect::Publish(EventBody::Progress { id, progress }) if self.show.contains(&"progress") => {
                let eta = progress.eta_ms.map_or("?".to_owned(), |ms| ms.to_string());
                let (stage, done, total, fraction) =
                    (&progress.stage, progress.done, progress.total, progress.fraction);
                format!("{} {stage} {done}/{total} {fraction:.2} eta {eta}", self.name(*id))
            }
            Effect::Publish(EventBody::Queue { queue }) if self.show.contains(&"queue") => format!("{queue:?}"),
            Effect::Publish(EventBody::Stopping) => "stopping".to_owned(),
            Effect::Publish(_) => return,
            Effect::Log { job, text } if self.show.contains(&"log") => format!("{} log: {text}", self.name(*job)),
            Effect::Log { .. } => return,
            Effect::Stop => "stop".to_owned(),
        };
        self.note(&text);
    }

    fn note(&mut self, text: &str) {
        let at = self.now.duration_since(self.start).as_secs_f64();
        self.trace += &format!("{at}s {text}\n");
    }

    fn name(&self, id: JobId) -> String {
        self.names.iter().find(|(_, known)| **known == id).map_or(format!("job {id}"), |(name, _)| name.clone())
    }
}

/// 2020-01-01, in milliseconds.
pub const WALL: u64 = 1_577_836_800_000;

pub fn delivery_error(kind: &str) -> JobError {
    let kind = match kind {
        "exists" => ErrorKind::OutputExists,
        "storage" => ErrorKind::Storage,
        other => panic!("kind {other}"),
    };
    JobError {
        kind,
        stage: None,
        message: format!("could not put it: {kind:?}"),
        hint: String::new(),
        retryable: kind.retryable(),
    }
}

fn failure_kind(text: &str) -> FailureKind {
    serde_json::from_value(json!(text)).unwrap_or_else(|e| panic!("kind {text}: {e}"))
}
