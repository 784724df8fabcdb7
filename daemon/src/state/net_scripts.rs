//! Stories about nets: what happens goes in, what the daemon does comes out.
//!
//! ```text
//! device 10G | a 4G cutout | b 7G export-image      memory; nets, what they hold, the stage that needs them
//! device 10G beside cpu | a 4G+1G cutout            a device for nets alone; 1 GB more while it works
//! 0s submit j cutout [class batch] [x 5]            five jobs j1 ... j5
//! 0s auto 1s | manual                               stages end by themselves after a second
//! 1s done [DEVICE] | fail KIND                      or are ended by the story
//! 2s cancel j | gone | mute
//! 3s loads-take 5s | load-fails KIND                about the loads from now on, and the next one
//! 4s others 6G | late 2s | wrong -3G | leak 2G      what somebody else uses; readings; the next unload
//! 5s warm a [pin | unpin] [keep 60s | keep forever] | stop a | release a
//! 6s yield [for 60s] [now] | take-back | pause-queue | resume-queue
//! 7s open p a | click p | close p                   a picture for clicks, with net a
//! 7s loads                                          how many there were
//! 7s why j | nets | health                          what clients are shown
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use expect_test::Expect;
use meshkiln_protocol::{
    cutout::{CutoutId, CutoutPoint},
    event::EventBody,
    job::{Class, JobId, JobState},
    net::{KeepAlive, NetState},
};
use serde_json::json;

use super::{
    policy::{Devices, Policy},
    world::{GB, Spec, World, plan},
};
use crate::{
    catalogue::NetId,
    main_loop::{Answer, Call, Effect, Submission, WorkerEnd, WorkerId},
    residency::NetPolicy,
    worker::frames::{Command, FailureKind, Prompt},
};

pub fn check(script: &str, expected: Expect) {
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut story = Story::new(lines.next().expect("the device comes first"));
    for line in lines {
        let (at, what) = line.split_once(' ').unwrap();
        let at = story.world.start + seconds(at);
        story.advance(at);
        story.perform(what);
        story.tell();
    }
    expected.assert_eq(&story.trace);
}

struct Story {
    world: World,
    names: BTreeMap<String, JobId>,
    /// Open ones, in the order in which they were opened.
    pictures: BTreeMap<String, CutoutId>,
    /// Devices of workers, also of those that are gone.
    workers: BTreeMap<WorkerId, String>,
    told: BTreeMap<JobId, JobState>,
    trace: String,
}

/// Round numbers for traces: 1 GB in reserve, no jitter.
pub fn policy() -> Policy {
    let nets = NetPolicy { reserve_bytes: GB, reserve_part: 0.0, shared_reserve_part: 0.0, ..NetPolicy::default() };
    Policy { jitter: 0.0, nets, ..Policy::default() }
}

impl Story {
    fn new(head: &str) -> Story {
        let mut parts = head.split('|').map(str::trim);
        let device: Vec<&str> = parts.next().unwrap().split_whitespace().collect();
        let devices = match device.get(2) {
            Some(&"beside") => Devices { built_in: device[3].to_owned(), nets: "gpu".to_owned() },
            _ => Devices::only("gpu"),
        };
        let nets = parts.map(|net| {
            let words: Vec<&str> = net.split_whitespace().collect();
            let (bytes, working) = words[1].split_once('+').unwrap_or((words[1], "0G"));
            let stage = meshkiln_models::stage::find(words[2]).unwrap().id;
            (NetId::from(words[0]), Spec { bytes: gigabytes(bytes), working: gigabytes(working), stage })
        });
        let world = World::new(policy(), devices, nets.collect(), gigabytes(device[1]));
        let mut story = Story {
            world,
            names: BTreeMap::new(),
            pictures: BTreeMap::new(),
            workers: BTreeMap::new(),
            told: BTreeMap::new(),
            trace: String::new(),
        };
        story.tell();
        story
    }

    fn advance(&mut self, to: Instant) {
        self.world.advance(to);
        self.tell();
    }

    fn perform(&mut self, what: &str) {
        let words: Vec<&str> = what.split_whitespace().collect();
        let after = |word: &str| words.iter().position(|w| *w == word).map(|at| words[at + 1]);
        let gpu = self.world.setup.devices.nets.clone();
        let card = self.world.cards.get_mut(&gpu).unwrap();
        match words[0] {
            "submit" => self.submit(&words, after("class"), after("x")),
            "cancel" => self.world.call(Call::Cancel(self.names[words[1]])),
            "auto" => {
                let time = seconds(words[1]);
                self.world.run_time = Some(time);
                for device in self.world.cards.keys().cloned().collect::<Vec<_>>() {
                    self.world.end_run(&device);
                }
            }
            "manual" => self.world.run_time = None,
            "done" => {
                let device = words.get(1).map_or(gpu, |device| (*device).to_owned());
                assert!(self.world.end_run(&device), "nothing runs on `{device}`");
            }
            "fail" => {
                card.run_failures.push_back(kind(words[1]));
                assert!(self.world.end_run(&gpu), "nothing runs");
            }
            "gone" => self.world.die(&gpu, WorkerEnd::Signal(11)),
            "mute" => card.mute = true,
            "loads-take" => self.world.load_time = seconds(words[1]),
            "load-fails" => card.load_failures.push_back(kind(words[1])),
            "others" => card.others = gigabytes(words[1]),
            "late" => card.late = seconds(words[1]),
            "leak" => card.leak = gigabytes(words[1]),
            "wrong" => {
                let (sign, size) = words[1].strip_prefix('-').map_or((1, words[1]), |size| (-1, size));
                card.wrong = sign * gigabytes(size) as i64;
            }
            "warm" => {
                let pin = words.contains(&"pin").then_some(true).or(words.contains(&"unpin").then_some(false));
                let keep_alive = after("keep").map(|keep| match keep {
                    "forever" => KeepAlive::Forever,
                    time => KeepAlive::Ms(seconds(time).as_millis() as u64),
                });
                self.world.call(Call::WarmNet { net: words[1].to_owned(), keep_alive, pin });
            }
            "stop" => self.world.call(Call::StopNet(words[1].to_owned())),
            "release" => self.world.call(Call::ReleaseNet(words[1].to_owned())),
            "yield" => {
                let time_limit = after("for").map(seconds);
                self.world.call(Call::Yield { time_limit, now: words.contains(&"now") });
            }
            "take-back" => self.world.call(Call::TakeBack),
            "pause-queue" => self.world.call(Call::PauseQueue),
            "resume-queue" => self.world.call(Call::ResumeQueue),
            "open" => {
                let id = CutoutId(self.pictures.len() as u64 + 1);
                self.pictures.insert(words[1].to_owned(), id);
                self.world.call(Call::OpenCutout {
                    engine: "mobile-sam",
                    net: words[2].to_owned(),
                    source_sha256: format!("picture {}", words[1]),
                });
            }
            "click" => {
                let prompt = Prompt { points: vec![CutoutPoint { x: 1.0, y: 2.0, object: true }], frame: None };
                self.world.call(Call::Click { session: self.pictures[words[1]], prompt });
            }
            "close" => self.world.call(Call::CloseCutout(self.pictures[words[1]])),
            "loads" => self.note(&format!("{} loads", self.world.n_loads)),
            "why" => {
                let view = self.world.state.view(self.world.now);
                let id = self.names[words[1]];
                let why = match self.world.memory.jobs[&id].state {
                    JobState::Queued => view.hold.clone(),
                    _ => view.waits.get(&id).cloned(),
                };
                self.note(&format!("{} waits: {}", words[1], why.unwrap_or_else(|| "for its turn".to_owned())));
            }
            "nets" => {
                let view = self.world.state.view(self.world.now);
                for net in &view.nets {
                    let left = net.expires_in_ms.map(|ms| format!(" for {} s", ms / 1000)).unwrap_or_default();
                    let state = if net.in_use { "in use".to_owned() } else { word(net.state) };
                    let pinned = if net.pinned { " pinned" } else { "" };
                    let problem = net.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
                    self.note(&format!("{} {state}{left}{pinned}{problem}", net.id));
                }
            }
            "health" => {
                let problems = self.world.state.view(self.world.now).problems;
                self.note(&if problems.is_empty() { "health ok".to_owned() } else { problems.join("; ") });
            }
            other => panic!("verb {other}"),
        }
    }

    fn submit(&mut self, words: &[&str], class: Option<&str>, times: Option<&str>) {
        let times: usize = times.map_or(1, |n| n.parse().unwrap());
        let submissions = (1..=times).map(|n| {
            let name = if times == 1 { words[1].to_owned() } else { format!("{}{n}", words[1]) };
            self.names.insert(name.clone(), JobId(self.world.state.next_job() + n as u64 - 1));
            Submission {
                source_sha256: format!("source of {name}"),
                source_path: None,
                name,
                plan: plan(words[2]),
                output: None,
                class: match class {
                    Some("batch") => Class::Batch,
                    Some("watch") => Class::Watch,
                    _ => Class::Interactive,
                },
                client: None,
                idempotency_key: None,
                watch: None,
            }
        });
        let submissions = submissions.collect();
        self.world.call(Call::Submit(submissions));
    }

    /// Writes down what has been done since the last time.
    fn tell(&mut self) {
        for (at, effect) in std::mem::take(&mut self.world.seen) {
            if let Effect::Spawn { worker, device } = &effect {
                self.workers.insert(*worker, device.clone());
            }
            let on = |worker: &WorkerId| &self.workers[worker];
            let text = match &effect {
                Effect::Spawn { device, .. } => format!("{device} spawn"),
                Effect::Kill { worker } => format!("{} kill", on(worker)),
                Effect::Send { worker, command } => match command {
                    Command::Run(run) => format!("{} run {}", on(worker), run.stage),
                    Command::Ask(ask) => {
                        let what = if ask.prompt.is_some() { "ask about" } else { "look at" };
                        format!("{} {what} {} with {}", on(worker), ask.source_sha256, ask.net)
                    }
                    Command::Load { net, .. } => format!("{} load {net}", on(worker)),
                    Command::Unload { net, .. } => format!("{} unload {net}", on(worker)),
                    Command::Cancel { .. } => format!("{} cancel", on(worker)),
                    Command::Exit => format!("{} exit", on(worker)),
                    Command::Trim => continue,
                },
                Effect::Reply { answer: Answer::Refused(refusal), .. } => {
                    format!("refused {:?}: {}", refusal.kind, refusal.message)
                }
                Effect::Reply { answer: Answer::Cutout(opened, looked), .. } => {
                    let again = if looked.embedded { ", looked at for it" } else { "" };
                    format!("answered for {}{again}", opened.session.0)
                }
                Effect::Publish(EventBody::Job { job }) => {
                    let before = self.told.insert(job.id, job.state);
                    if before == Some(job.state) || job.state == JobState::Queued && before.is_none() {
                        continue;
                    }
                    let error = job.error.as_ref().map(|error| format!(": {:?}: {}", error.kind, error.message));
                    format!("{} {}{}", self.name(job.id), job.state.id(), error.unwrap_or_default())
                }
                Effect::Publish(EventBody::Yield { yielded }) => match yielded {
                    Some(yielded) if yielded.freed => "given away".to_owned(),
                    Some(_) => "about to be given away".to_owned(),
                    None => "taken back".to_owned(),
                },
                _ => continue,
            };
            let seconds = at.duration_since(self.world.start).as_secs_f64();
            self.trace += &format!("{seconds}s {text}\n");
        }
    }

    fn note(&mut self, text: &str) {
        self.tell();
        let seconds = self.world.now.duration_since(self.world.start).as_secs_f64();
        self.trace += &format!("{seconds}s {text}\n");
    }

    fn name(&self, id: JobId) -> &str {
        self.names.iter().find(|(_, known)| **known == id).map_or("?", |(name, _)| name)
    }
}

fn word(state: NetState) -> String {
    json!(state).as_str().unwrap().to_owned()
}

fn kind(text: &str) -> FailureKind {
    serde_json::from_value(json!(text)).unwrap_or_else(|e| panic!("kind {text}: {e}"))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap())
}

fn gigabytes(text: &str) -> u64 {
    (text.trim_end_matches('G').parse::<f64>().unwrap() * GB as f64) as u64
}
