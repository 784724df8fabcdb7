//! How the rest of the daemon talks to the loop: calls and notes in, answers and
//! the latest `View` out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use meshkiln_protocol::{error::ErrorKind, event::EventBody, job::JobId};
use tokio::sync::{oneshot, watch};

use super::{Answer, Call, CallId, Event, LoopEnd, Refusal, Submission};
use crate::{state::view::View, store::Reader, watch::service::Queue};

/// Events waiting for the loop. When it is full, calls are refused as busy, notes
/// are dropped (the next one says the same or better), and the threads that read
/// from workers wait.
const INBOX: usize = 4096;

pub struct Inbox {
    pub sender: SyncSender<Event>,
    pub receiver: Receiver<Event>,
}

/// Made before the loop, because the workers' threads need the sender.
pub fn inbox() -> Inbox {
    let (sender, receiver) = sync_channel(INBOX);
    Inbox { sender, receiver }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LoopHandle {
    pub(super) inbox: SyncSender<Event>,
    pub(super) calls: Arc<Calls>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) ended: watch::Receiver<Option<LoopEnd>>,
    pub(super) reader: Reader,
}

/// Callers who wait, by the id of their call. Each is answered exactly once, or
/// finds its channel closed when the loop has ended.
#[derive(Default)]
pub(super) struct Calls {
    next: AtomicU64,
    waiting: Mutex<HashMap<CallId, oneshot::Sender<Answer>>>,
}

impl LoopHandle {
    /// Answers after the durable commit.
    pub async fn call(&self, call: Call) -> Result<Answer, Refusal> {
        settle(self.ask(call)?.await)
    }

    /// The same for threads outside the async runtime.
    pub fn blocking_call(&self, call: Call) -> Result<Answer, Refusal> {
        settle(self.ask(call)?.blocking_recv())
    }

    /// Tells all clients something.
    pub fn note(&self, body: EventBody) {
        if let Err(TrySendError::Full(_)) = self.inbox.try_send(Event::Note(body)) {
            tracing::warn!("a note was dropped: the loop has more than {INBOX} events to handle");
        }
    }

    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits until the loop has ended and says why.
    pub async fn ended(&self) -> LoopEnd {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(LoopEnd::Stopped),
            Err(_) => LoopEnd::Broken("the loop's thread panicked".to_owned()),
        }
    }

    fn ask(&self, call: Call) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let (id, answer) = self.calls.open();
        self.inbox.try_send(Event::Call { id, call }).map_err(|e| {
            self.calls.close(id);
            match e {
                TrySendError::Full(_) => Refusal {
                    kind: ErrorKind::Busy,
                    message: format!("more than {INBOX} requests wait already"),
                    hint: "try again in a moment".to_owned(),
                },
                TrySendError::Disconnected(_) => stopped(),
            }
        })?;
        Ok(answer)
    }
}

/// The watcher's thread submits and cancels like everybody else.
impl Queue for LoopHandle {
    fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<JobId>, Refusal> {
        match self.blocking_call(Call::Submit(submissions))? {
            Answer::Jobs(ids) => Ok(ids),
            other => unreachable!("a submit is answered with jobs, not {other:?}"),
        }
    }

    /// A job that has ended, or is no longer known, needs no cancel.
    fn cancel(&self, job: JobId) {
        if let Err(refusal) = self.blocking_call(Call::Cancel(job)) {
            tracing::warn!("job {job} could not be cancelled: {}", refusal.message);
        }
    }

    fn note(&self, body: EventBody) {
        LoopHandle::note(self, body);
    }
}

impl Calls {
    fn open(&self) -> (CallId, oneshot::Receiver<Answer>) {
        let id = CallId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.lock().insert(id, reply);
        (id, answer)
    }

    fn close(&self, id: CallId) -> Option<oneshot::Sender<Answer>> {
        self.lock().remove(&id)
    }

    /// A caller who has given up meanwhile is no error.
    pub(super) fn answer(&self, id: CallId, answer: Answer) {
        match self.close(id) {
            Some(reply) => drop(reply.send(answer)),
            None => tracing::error!("an answer to call {} that nobody waits for", id.0),
        }
    }

    /// Everybody still waiting learns that the loop has ended.
    pub(super) fn close_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CallId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settle(answer: Result<Answer, oneshot::error::RecvError>) -> Result<Answer, Refusal> {
    match answer {
        Ok(Answer::Refused(refusal)) => Err(refusal),
        Ok(answer) => Ok(answer),
        Err(_) => Err(stopped()),
    }
}

fn stopped() -> Refusal {
    Refusal {
        kind: ErrorKind::ShuttingDown,
        message: "the daemon has stopped".to_owned(),
        hint: "start it again with `meshkiln up`".to_owned(),
    }
}
