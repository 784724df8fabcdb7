//! The loop itself: waits, lets the state decide, makes the turn durable, and only
//! then lets its effects out.
//!
//! One turn takes whatever waits in the inbox, up to `BATCH` events, so that many
//! submits share one commit. When the database cannot be written, nobody hears of
//! what the turn decided: its calls are refused, the state is built anew from what
//! is durable, the workers start afresh, and a small write is tried every few
//! seconds until it works. After a failed sync there is no such way back: the loop
//! ends, and the program with `EXIT_DISK_BROKEN`.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use meshkiln_protocol::{
    Sha256,
    error::ErrorKind,
    event::{self, EventBody},
    job::JobId,
};
use tokio::sync::watch;

use super::{Answer, Call, CallId, Device, Effect, Event, Inbox, LoopHandle, Refusal, WorkerId, handle::Calls};
use crate::{
    collect::{Collector, Limits},
    state::{Counters, Setup, State, Time, view::View},
    store::{self, Store, StoreError, Writes},
    worker::frames::Command,
};

/// The program's exit code after `LoopEnd::Broken` (EX_IOERR in sysexits.h).
pub const EXIT_DISK_BROKEN: i32 = 74;

const BATCH: usize = 256;
/// Wakes up this often even when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// A tick is put off while events wait, for a heartbeat may be among them, but not
/// for longer than this.
const LONGEST_WITHOUT_TICK: Duration = Duration::from_secs(1);
/// Events told while nothing can be written; older ones are dropped.
const HELD: usize = 10_000;

pub struct LoopConfig {
    pub store: Store,
    pub setup: Setup,
    pub limits: Limits,
    pub outside: Box<dyn Outside>,
    pub inbox: Inbox,
}

/// What the loop does to the world. Nothing here may wait; what comes of it is
/// told by events.
pub trait Outside: Send {
    fn spawn(&mut self, worker: WorkerId, device: &Device);
    fn send(&mut self, worker: WorkerId, command: Command);
    /// A worker that is gone or was never spawned is no error.
    fn kill(&mut self, worker: WorkerId);
    fn deliver(&mut self, job: JobId, attempt: u32, asset_sha256: Sha256, output: PathBuf);
    fn publish(&mut self, event: event::Event);
}

/// Why the loop has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum LoopEnd {
    /// It was told to.
    Stopped,
    /// The disk or the database cannot be trusted; exit with `EXIT_DISK_BROKEN`.
    Broken(String),
}

/// Loads the queue and starts the loop in a thread of its own.
pub fn start(config: LoopConfig) -> Result<(LoopHandle, JoinHandle<LoopEnd>), StoreError> {
    let LoopConfig { store, setup, limits, outside, inbox } = config;
    let time = now();
    let counters = Counters { next_run: 1, next_worker: 1 };
    let state = State::new(setup.clone(), store.load(store.was_unclean())?, counters, time);
    let calls = Arc::new(Calls::default());
    let (view, view_receiver) = watch::channel(Arc::new(View { seq: store.last_seq(), ..state.view(time.now) }));
    let (ended, ended_receiver) = watch::channel(None);
    let handle = LoopHandle {
        inbox: inbox.sender.clone(),
        calls: calls.clone(),
        view: view_receiver,
        ended: ended_receiver,
        reader: store.reader(),
    };
    if store.was_unclean() {
        check_database(store.path().to_owned(), inbox.sender);
    }
    let main_loop = MainLoop {
        seq: store.last_seq(),
        collector: Collector::new(limits, time.now),
        store,
        setup,
        state,
        inbox: inbox.receiver,
        closing: CloseCalls(calls.clone()),
        outside,
        calls,
        view,
        last_tick: time.now,
        blocked: None,
    };
    let thread = thread::Builder::new().name("loop".to_owned()).spawn(move || {
        let end = main_loop.run();
        let _ = ended.send(Some(end.clone()));
        end
    });
    let thread = thread.unwrap_or_else(|e| panic!("the loop's thread cannot be started: {e}"));
    Ok((handle, thread))
}

struct MainLoop {
    store: Store,
    setup: Setup,
    state: State,
    inbox: Receiver<Event>,
    /// After the inbox, also when the loop panics.
    closing: CloseCalls,
    outside: Box<dyn Outside>,
    calls: Arc<Calls>,
    view: watch::Sender<Arc<View>>,
    collector: Collector,
    /// Number of the last event.
    seq: u64,
    last_tick: Instant,
    /// Nothing can be written.
    blocked: Option<Blocked>,
}

/// Nobody waits for a loop that has ended.
struct CloseCalls(Arc<Calls>);

impl Drop for CloseCalls {
    fn drop(&mut self) {
        self.0.close_all();
    }
}

struct Blocked {
    probe_at: Instant,
    /// Told meanwhile; given numbers when they can be kept.
    held: VecDeque<Effect>,
}

impl MainLoop {
    fn run(mut self) -> LoopEnd {
        let mut events = vec![Event::Tick];
        let end = loop {
            if let Some(end) = self.turn(events).or_else(|| self.unblock()).or_else(|| self.collect()) {
                break end;
            }
            events = match self.wait() {
                Some(events) => events,
                None => break LoopEnd::Stopped,
            };
        };
        match &end {
            LoopEnd::Broken(why) => tracing::error!("the loop ends: {why}"),
            LoopEnd::Stopped => {
                if let Err(e) = self.store.stop(self.seq) {
                    tracing::warn!("the database could not be closed in order: {e}");
                }
            }
        }
        // In this order: whoever asks after this finds nobody, whoever asked before is told.
        drop(self.inbox);
        drop(self.closing);
        end
    }

    /// What has happened, or a tick when something is due. None when nobody is left to talk to.
    fn wait(&mut self) -> Option<Vec<Event>> {
        let now = Instant::now();
        let probe = self.blocked.as_ref().map(|blocked| blocked.probe_at);
        let collect = self.blocked.is_none().then(|| self.collector.due(&self.store, now));
        let due = self.state.next_deadline().into_iter().chain(probe).chain(collect).min();
        let wait = due.map_or(IDLE, |at| at.saturating_duration_since(now).min(IDLE));
        let first = match self.inbox.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let mut events: Vec<Event> = first.into_iter().collect();
        events.extend(self.inbox.try_iter().take(BATCH - 1));

        let now = Instant::now();
        let drained = events.len() < BATCH || now >= self.last_tick + LONGEST_WITHOUT_TICK;
        if drained && self.state.next_deadline().is_some_and(|at| at <= now) {
            self.last_tick = now;
            events.push(Event::Tick);
        }
        Some(events)
    }

    fn turn(&mut self, events: Vec<Event>) -> Option<LoopEnd> {
        if events.is_empty() {
            return None;
        }
        let time = now();
        let mut asked = Vec::new();
        let mut effects = Vec::new();
        for event in events {
            if let Event::Call { id, call } = &event {
                asked.push((*id, matches!(call, Call::Shutdown { now: true }), matches!(call, Call::Shutdown { .. })));
            }
            if let Event::StoreDamaged(problem) = &event {
                tracing::error!("{problem}");
            }
            effects.extend(self.state.handle(event, time, &self.store));
        }
        if self.blocked.is_some() {
            return self.perform_blocked(effects, time);
        }
        // Calls of earlier turns, answered in this one.
        for effect in &effects {
            match effect {
                Effect::Reply { id, .. } if asked.iter().all(|(known, ..)| known != id) => {
                    asked.push((*id, false, false));
                }
                _ => {}
            }
        }
        match self.commit(effects, time) {
            Ok(effects) => self.perform(effects, time),
            Err(e) if e.is_fatal() => Some(LoopEnd::Broken(e.to_string())),
            Err(e) => self.block(&e, asked, time),
        }
    }

    /// Makes the turn durable; what may leave now, with every event numbered.
    fn commit(&mut self, effects: Vec<Effect>, time: Time) -> Result<Vec<Ready>, StoreError> {
        let mut logs = Vec::new();
        let mut events = Vec::new();
        let mut ready = Vec::new();
        // Of several lengths of the queue in one turn only the last is news.
        let last_queue = effects.iter().rposition(|effect| matches!(effect, Effect::Publish(EventBody::Queue { .. })));
        let mut seq = self.seq;
        for (idx, effect) in effects.into_iter().enumerate() {
            match effect {
                Effect::Log { job, text } => logs.push((job, text)),
                Effect::Publish(EventBody::Queue { .. }) if Some(idx) != last_queue => {}
                Effect::Publish(body) => {
                    seq += 1;
                    events.push(event::Event { seq, time_ms: time.wall, body });
                }
                other => ready.push(Ready::Effect(other)),
            }
        }
        let changes = self.state.changes();
        self.store.commit(&Writes {
            now_ms: time.wall,
            changes,
            jobs: changes.jobs.iter().filter_map(|&id| self.state.job(id)).collect(),
            next_job: self.state.next_job(),
            usual: self.state.usual(),
            measures: self.state.measures(),
            events: &events,
            logs: &logs,
        })?;
        self.seq = seq;
        self.state.committed();
        ready.extend(events.into_iter().map(Ready::Event));
        Ok(ready)
    }

    fn perform(&mut self, ready: Vec<Ready>, time: Time) -> Option<LoopEnd> {
        self.show(time);
        let mut end = None;
        for ready in ready {
            match ready {
                Ready::Event(event) => self.outside.publish(event),
                Ready::Effect(effect) => end = self.perform_one(effect).or(end),
            }
        }
        end
    }

    fn perform_one(&mut self, effect: Effect) -> Option<LoopEnd> {
        match effect {
            Effect::Reply { id, answer } => self.calls.answer(id, answer),
            Effect::Spawn { worker, device } => self.outside.spawn(worker, &device),
            Effect::Send { worker, command } => self.outside.send(worker, command),
            Effect::Kill { worker } => self.outside.kill(worker),
            Effect::Deliver { job, attempt, asset_sha256, output } => {
                self.outside.deliver(job, attempt, asset_sha256, output);
            }
            Effect::Stop => return Some(LoopEnd::Stopped),
            Effect::Publish(_) | Effect::Log { .. } => unreachable!("kept back until they are durable"),
        }
        None
    }

    /// Readers see the new view before anybody is told that something has changed.
    fn show(&mut self, time: Time) {
        let view = View {
            seq: self.seq,
            blob_bytes: self.collector.blob_bytes(&self.store),
            blob_limit_bytes: self.collector.limits().result_bytes,
            ..self.state.view(time.now)
        };
        self.view.send_replace(Arc::new(view));
    }

    /// The turn could not be written: it has not happened.
    fn block(&mut self, error: &StoreError, asked: Vec<(CallId, bool, bool)>, time: Time) -> Option<LoopEnd> {
        let again = self.setup.policy.write_probe;
        tracing::error!("nothing can be written, trying again every {again:?}: {error}");
        let problem = format!("the database cannot be written: {error}");
        for worker in self.state.worker_ids() {
            self.outside.kill(worker);
        }
        let waiting = self.state.asking();
        let loaded = match self.store.load(false) {
            Ok(loaded) => loaded,
            Err(e) => return Some(LoopEnd::Broken(format!("{problem}; and not read: {e}"))),
        };
        self.state = State::new(self.setup.clone(), loaded, self.state.counters(), time);
        self.state.storage_fails(problem.clone());
        self.blocked = Some(Blocked { probe_at: time.now + again, held: VecDeque::new() });

        let mut effects = self.state.handle(Event::Tick, time, &self.store);
        // Those who asked earlier and are not answered yet.
        let waiting = waiting.into_iter().filter(|id| asked.iter().all(|(new, ..)| new != id));
        let asked: Vec<_> = waiting.map(|id| (id, false, false)).chain(asked.iter().copied()).collect();
        for (id, now, shutdown) in asked {
            if shutdown {
                let call = Call::Shutdown { now };
                effects.extend(self.state.handle(Event::Call { id, call }, time, &self.store));
            } else {
                let hint = "free some disk space; the call will work again by itself".to_owned();
                let refusal = Refusal { kind: ErrorKind::Storage, message: problem.clone(), hint };
                effects.push(Effect::Reply { id, answer: Answer::Refused(refusal) });
            }
        }
        self.perform_blocked(effects, time)
    }

    /// While nothing can be written no job starts and no call changes anything, so
    /// all but events and log lines may leave.
    fn perform_blocked(&mut self, effects: Vec<Effect>, time: Time) -> Option<LoopEnd> {
        self.show(time);
        let mut end = None;
        for effect in effects {
            match (effect, &mut self.blocked) {
                (effect @ (Effect::Publish(_) | Effect::Log { .. }), Some(blocked)) => {
                    blocked.held.push_back(effect);
                    if blocked.held.len() > HELD {
                        blocked.held.pop_front();
                    }
                }
                (effect, _) => end = self.perform_one(effect).or(end),
            }
        }
        end
    }

    /// Tries to write again.
    fn unblock(&mut self) -> Option<LoopEnd> {
        let time = now();
        let blocked = self.blocked.as_mut().filter(|blocked| blocked.probe_at <= time.now)?;
        blocked.probe_at = time.now + self.setup.policy.write_probe;
        let held: Vec<Effect> = blocked.held.iter().map(copy_of_held).collect();
        match self.store.probe().and_then(|()| self.commit(held, time)) {
            Ok(ready) => {
                tracing::info!("the database can be written again");
                self.blocked = None;
                self.state.storage_works(time.now);
                self.perform(ready, time)
            }
            Err(e) if e.is_fatal() => Some(LoopEnd::Broken(e.to_string())),
            Err(_) => None,
        }
    }

    fn collect(&mut self) -> Option<LoopEnd> {
        let time = now();
        if self.blocked.is_some() || self.collector.due(&self.store, time.now) > time.now {
            return None;
        }
        match self.collector.slice(&mut self.store, &self.state.pinned(), time) {
            Err(e) if e.is_fatal() => Some(LoopEnd::Broken(e.to_string())),
            Err(e) => {
                tracing::warn!("nothing could be collected: {e}");
                None
            }
            Ok(()) => None,
        }
    }
}

/// What may leave after the commit.
enum Ready {
    Effect(Effect),
    Event(event::Event),
}

fn copy_of_held(effect: &Effect) -> Effect {
    match effect {
        Effect::Publish(body) => Effect::Publish(body.clone()),
        Effect::Log { job, text } => Effect::Log { job: *job, text: text.clone() },
        _ => unreachable!("only events and log lines are held"),
    }
}

/// Reads the whole file beside the loop; it may take seconds.
fn check_database(path: PathBuf, inbox: std::sync::mpsc::SyncSender<Event>) {
    let check = move || {
        if let Some(problem) = store::damage(&path) {
            let _ = inbox.send(Event::StoreDamaged(problem));
        }
    };
    if let Err(e) = thread::Builder::new().name("check".to_owned()).spawn(check) {
        tracing::warn!("the database could not be checked: {e}");
    }
}

fn now() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Time { now: Instant::now(), wall }
}
