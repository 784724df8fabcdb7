//! Cutouts by clicks: pictures that clients have opened, and what they ask of them.
//!
//! An ask is no job: nothing of it is kept, and it waits behind no job, only for the stage that
//! runs and for its net, which is loaded as for a job. Its caller is answered when it is done, or
//! is told why it is not. A worker that dies is asked once more; it has to look at the picture
//! again, as after the net was let go. Sessions that nobody uses are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use meshkiln_protocol::{Sha256, cutout::CutoutId, error::ErrorKind};

use super::{Run, State, Time, workers::Phase};
use crate::{
    catalogue::NetId,
    jobs::judge,
    main_loop::{Answer, CallId, Device, Effect, Opened, Refusal},
    residency::{Refused, Step, Why},
    worker::frames::{Ask, Command, Failure, FailureKind, Looked, Prompt},
};

/// Pictures open at once. One more takes the place of the one that was not used for longest.
const MOST_OPEN: usize = 16;
/// One that was used since then keeps its place.
const AT_WORK: Duration = Duration::from_secs(60);
/// An unused one is forgotten.
pub const LIFE: Duration = Duration::from_secs(600);
/// Asks that wait at once.
const MOST_WAITING: usize = 64;
/// A worker that dies while it answers is asked once more.
const MOST_TRIES: u32 = 2;
/// There has been no room for the net for so long.
const MEMORY_PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<CutoutId, Session>,
    /// Oldest first.
    waiting: VecDeque<Pending>,
    last: u64,
}

#[derive(Debug)]
struct Session {
    engine: &'static str,
    net: NetId,
    source_sha256: Sha256,
    used: Instant,
}

/// Something a client waits for.
#[derive(Debug)]
pub(super) struct Pending {
    call: CallId,
    session: CutoutId,
    /// `None`: the picture is opened.
    prompt: Option<Prompt>,
    since: Instant,
    tries: u32,
}

impl State {
    /// Answered when the picture has been looked at, unless it is refused at once.
    pub(super) fn open_cutout(
        &mut self,
        call: CallId,
        engine: &'static str,
        net: &str,
        source_sha256: Sha256,
        time: Time,
    ) -> Option<Answer> {
        if let Some(refusal) = self.no_asks() {
            return Some(Answer::Refused(refusal));
        }
        if self.sessions.open.len() >= MOST_OPEN {
            match self.unasked().map(|(id, session)| (session.used, id)).min() {
                Some((used, id)) if used + AT_WORK <= time.now => drop(self.sessions.open.remove(&id)),
                _ => {
                    let message = format!("{MOST_OPEN} pictures are open for cutouts already");
                    return Some(refuse(ErrorKind::Busy, message, "close one with `cutout.close`, or wait a minute"));
                }
            }
        }
        let sessions = &mut self.sessions;
        sessions.last += 1;
        let id = CutoutId(sessions.last);
        sessions.open.insert(id, Session { engine, net: net.into(), source_sha256, used: time.now });
        sessions.waiting.push_back(Pending { call, session: id, prompt: None, since: time.now, tries: 0 });
        None
    }

    /// Answered when it is known what is meant, unless it is refused at once. Of several clicks of
    /// one session that wait, only the last is worth an answer.
    pub(super) fn click(&mut self, call: CallId, session: CutoutId, prompt: Prompt, time: Time) -> Option<Answer> {
        let Some(found) = self.sessions.open.get_mut(&session) else { return Some(not_open(session)) };
        found.used = time.now;
        if let Some(refusal) = self.no_asks() {
            return Some(Answer::Refused(refusal));
        }
        self.refuse_asks(
            |pending| pending.session == session && pending.prompt.is_some(),
            &refusal(
                ErrorKind::Busy,
                "a later click took the place of this one",
                "wait for the answer to the later one",
            ),
        );
        self.sessions.waiting.push_back(Pending { call, session, prompt: Some(prompt), since: time.now, tries: 0 });
        None
    }

    pub(super) fn close_cutout(&mut self, session: CutoutId) -> Answer {
        if self.sessions.open.remove(&session).is_none() {
            return not_open(session);
        }
        self.refuse_asks(|pending| pending.session == session, &closed(session));
        Answer::Done
    }

    /// One step towards an answer on an idle device. Says whether anything was done.
    pub(super) fn serve_ask(&mut self, device: &Device, time: Time) -> bool {
        if self.setup.devices.nets != *device {
            return false;
        }
        let Some(net) = self.sessions.waiting.front().and_then(|ask| self.net_of_session(ask.session)) else {
            // Its session is gone, if there is one.
            return self.sessions.waiting.pop_front().is_some_and(|ask| {
                let answer = not_open(ask.session);
                self.out.push(Effect::Reply { id: ask.call, answer });
                true
            });
        };
        match self.residency.towards(device, &net, time.now) {
            Step::Ready => match self.sessions.waiting.pop_front() {
                Some(ask) => self.ask(device, &net, ask, time),
                None => return false,
            },
            Step::Wait => {
                let until = self.sessions.waiting.front().map_or(time.now, |ask| ask.since + MEMORY_PATIENCE);
                if until > time.now {
                    self.more = Some(self.more.map_or(until, |at| at.min(until)));
                    return false;
                }
                let message = format!("there is no room for `{net}` on `{device}` now");
                let hint = "close other programs that use the device, then click again";
                self.refuse_asks_of(&net, &refusal(ErrorKind::OutOfMemory, &message, hint));
            }
            Step::Refuse(Refused::Problem(problem)) => {
                let hint = "see `meshkiln log`, and fetch the weights again";
                self.refuse_asks_of(&net, &refusal(ErrorKind::WorkerLost, &problem, hint));
            }
            step @ (Step::Load | Step::Unload(_) | Step::Refuse(Refused::TooLarge { .. })) => {
                return self.take_step(device, &net, step, time);
            }
        }
        true
    }

    fn ask(&mut self, device: &Device, net: &NetId, ask: Pending, time: Time) {
        let (Some(session), Some(worker)) = (self.sessions.open.get(&ask.session), self.workers.get_mut(device)) else {
            return;
        };
        let run_id = self.counters.next_run;
        self.counters.next_run += 1;
        let command = Command::Ask(Ask {
            run: run_id,
            net: net.to_string(),
            source_sha256: session.source_sha256.clone(),
            prompt: ask.prompt.clone(),
        });
        let run = Run {
            // Nobody joins it.
            key: String::new(),
            stage: "cutout",
            engine: session.engine,
            net: Some(net.clone()),
            source_sha256: session.source_sha256.clone(),
            jobs: Vec::new(),
            ask: Some(ask),
            started: time.now,
            progressed: time.now,
            done: 0,
            total: 0,
            cancel_by: None,
        };
        worker.phase = Phase::Busy { run: run_id };
        self.out.push(Effect::Send { worker: worker.id, command });
        self.residency.used(device, net, time.now);
        self.runs.insert(run_id, run);
    }

    pub(super) fn answered_ask(&mut self, run: u64, looked: Looked, time: Time) {
        let Some(ask) = self.end_run(run).and_then(|run| run.ask) else { return };
        let Some(session) = self.sessions.open.get_mut(&ask.session) else {
            let answer = Answer::Refused(closed(ask.session));
            return self.out.push(Effect::Reply { id: ask.call, answer });
        };
        session.used = time.now;
        let opened = Opened { session: ask.session, engine: session.engine, net: session.net.to_string() };
        let answer = Answer::Cutout(opened, looked);
        self.out.push(Effect::Reply { id: ask.call, answer });
    }

    /// The worker has failed to answer, and works on.
    pub(super) fn ask_failed(&mut self, ask: Pending, net: Option<&NetId>, device: &Device, failure: &Failure) {
        match failure.kind {
            FailureKind::OutOfMemory | FailureKind::Panicked => {
                match (failure.kind, net) {
                    (FailureKind::Panicked, Some(net)) => drop(self.residency.let_go(net, Why::Doubt)),
                    _ => self.residency.let_all_go(device, true),
                }
                let kind = if net.is_some() { judge(failure, "").0.kind } else { ErrorKind::Internal };
                self.ask_again(ask, &refusal(kind, &failure.message, &failure.hint));
            }
            FailureKind::InputLost => {
                self.sessions.open.remove(&ask.session);
                let hint = "open it again with `cutout.open`";
                self.answer_ask(ask, refusal(ErrorKind::NotFound, "the picture is no longer kept", hint));
            }
            _ => {
                let (error, _) = judge(failure, "");
                self.answer_ask(ask, refusal(error.kind, &error.message, &error.hint));
            }
        }
    }

    /// The worker that was to answer is gone.
    pub(super) fn ask_lost(&mut self, ask: Pending, how: &str) {
        let message = format!("the worker was lost while it looked at the picture: {how}");
        self.ask_again(ask, &refusal(ErrorKind::WorkerLost, &message, "try again; see `meshkiln log`"));
    }

    fn ask_again(&mut self, mut ask: Pending, otherwise: &Refusal) {
        ask.tries += 1;
        match ask.tries < MOST_TRIES {
            true => self.sessions.waiting.push_front(ask),
            false => self.answer_ask(ask, otherwise.clone()),
        }
    }

    fn answer_ask(&mut self, ask: Pending, refusal: Refusal) {
        // A picture that could not be opened is not open.
        if ask.prompt.is_none() {
            self.sessions.open.remove(&ask.session);
        }
        self.out.push(Effect::Reply { id: ask.call, answer: Answer::Refused(refusal) });
    }

    /// While a device is given away, or cannot be had, nobody is left waiting.
    pub(super) fn refuse_hopeless_asks(&mut self) {
        if !self.sessions.waiting.is_empty()
            && let Some(refusal) = self.no_asks().filter(|refusal| refusal.kind != ErrorKind::Busy || self.is_away())
        {
            self.refuse_asks(|_| true, &refusal);
        }
    }

    /// Those that wait for a net which does not come.
    pub(super) fn refuse_asks_of(&mut self, net: &NetId, refusal: &Refusal) {
        let sessions: Vec<CutoutId> =
            self.sessions.open.iter().filter(|(_, session)| session.net == *net).map(|(id, _)| *id).collect();
        self.refuse_asks(|pending| sessions.contains(&pending.session), refusal);
    }

    fn refuse_asks(&mut self, which: impl Fn(&Pending) -> bool, refusal: &Refusal) {
        let (refused, rest) = std::mem::take(&mut self.sessions.waiting).into_iter().partition(|ask| which(ask));
        self.sessions.waiting = rest;
        let refused: VecDeque<Pending> = refused;
        for ask in refused {
            self.answer_ask(ask, refusal.clone());
        }
    }

    /// The daemon stops, or forgets: everybody who waits is told.
    pub(super) fn end_asks(&mut self, refusal: &Refusal) {
        for ask in self.runs.values_mut().filter_map(|run| run.ask.take()).collect::<Vec<_>>() {
            self.answer_ask(ask, refusal.clone());
        }
        self.refuse_asks(|_| true, refusal);
    }

    pub(super) fn waits_for_ask(&self, net: &NetId) -> bool {
        self.sessions.waiting.iter().any(|ask| self.net_of_session(ask.session).as_ref() == Some(net))
    }

    /// Callers who wait for an answer.
    pub fn asking(&self) -> Vec<CallId> {
        let running = self.runs.values().filter_map(|run| run.ask.as_ref());
        self.sessions.waiting.iter().chain(running).map(|ask| ask.call).collect()
    }

    pub(super) fn expire_sessions(&mut self, time: Time) {
        let over: Vec<CutoutId> =
            self.unasked().filter(|(_, session)| session.used + LIFE <= time.now).map(|(id, _)| id).collect();
        for id in over {
            self.sessions.open.remove(&id);
        }
    }

    pub(super) fn sessions_deadline(&self) -> Option<Instant> {
        self.unasked().map(|(_, session)| session.used + LIFE).min()
    }

    /// Sessions of which nothing is asked now.
    fn unasked(&self) -> impl Iterator<Item = (CutoutId, &Session)> {
        let running = self.runs.values().filter_map(|run| run.ask.as_ref());
        let asked: BTreeSet<CutoutId> = self.sessions.waiting.iter().chain(running).map(|ask| ask.session).collect();
        self.sessions.open.iter().filter(move |(id, _)| !asked.contains(id)).map(|(id, session)| (*id, session))
    }

    /// Sources of open pictures.
    pub(super) fn opened(&self) -> impl Iterator<Item = &str> {
        self.sessions.open.values().map(|session| session.source_sha256.as_str())
    }

    fn net_of_session(&self, session: CutoutId) -> Option<NetId> {
        self.sessions.open.get(&session).map(|session| session.net.clone())
    }

    fn is_away(&self) -> bool {
        self.is_held(&self.setup.devices.nets)
    }

    /// Why nothing can be asked now.
    fn no_asks(&self) -> Option<Refusal> {
        let device = &self.setup.devices.nets;
        if let Some(held) = self.hold(device) {
            return Some(refusal(ErrorKind::Busy, &held, "take it back with `meshkiln resume`"));
        }
        let worker = self.workers.get(device)?;
        if matches!(worker.phase, Phase::Broken { .. }) {
            let problem = worker.problem(device).unwrap_or_default();
            return Some(refusal(ErrorKind::WorkerLost, &problem, "`meshkiln doctor` looks for the reason"));
        }
        let full = self.sessions.waiting.len() >= MOST_WAITING;
        full.then(|| refusal(ErrorKind::Busy, &format!("{MOST_WAITING} clicks wait already"), "try again in a moment"))
    }
}

fn not_open(session: CutoutId) -> Answer {
    let message = format!("there is no open picture {}", session.0);
    refuse(ErrorKind::NotFound, message, "open it again with `cutout.open`: unused ones are forgotten")
}

fn closed(session: CutoutId) -> Refusal {
    refusal(ErrorKind::NotFound, &format!("picture {} was closed", session.0), "open it again with `cutout.open`")
}

fn refuse(kind: ErrorKind, message: String, hint: &str) -> Answer {
    Answer::Refused(refusal(kind, &message, hint))
}

fn refusal(kind: ErrorKind, message: &str, hint: &str) -> Refusal {
    Refusal { kind, message: message.to_owned(), hint: hint.to_owned() }
}
