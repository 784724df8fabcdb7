//! What has happened lately, for everybody who asks. In go events from the loop,
//! out comes whatever followed a sequence number.
//!
//! There is no queue a subscriber: each asks for what follows the last event it
//! got, so that a slow one costs nothing and misses nothing. Older events than
//! those in memory come from the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use meshkiln_protocol::{
    event::{Event, EventBody},
    job::JobId,
};
use tokio::sync::watch;

/// Events kept in memory: so many, or so many bytes, whichever is less.
const RING_EVENTS: usize = 10_000;
const RING_BYTES: usize = 8 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    ring: Arc<Mutex<Ring>>,
    /// Wakes whoever waits.
    changed: Arc<watch::Sender<Change>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub last_seq: u64,
    /// No more events will come: waiting calls should answer with what they have.
    pub closed: bool,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Last one published, also when none is in memory.
    last_seq: u64,
}

/// Events after a sequence number, as far as they are in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent {
    pub events: Vec<Arc<Event>>,
    /// Everything from this one on was looked at; what was before is in the store.
    pub from: u64,
    /// Everything up to this one was looked at.
    pub to: u64,
}

impl Hub {
    /// `last_seq` is the last sequence number that was ever used.
    pub fn new(last_seq: u64) -> Hub {
        let ring = Ring { events: VecDeque::new(), bytes: 0, last_seq };
        let (changed, _) = watch::channel(Change { last_seq, closed: false });
        Hub { ring: Arc::new(Mutex::new(ring)), changed: Arc::new(changed) }
    }

    /// Sequence numbers must rise.
    pub fn publish(&self, event: Event) {
        let last_seq = event.seq;
        self.lock().push(event);
        self.changed.send_modify(|change| change.last_seq = last_seq);
    }

    pub fn last_seq(&self) -> u64 {
        self.changed.borrow().last_seq
    }

    /// Lets waiting calls answer: the daemon stops.
    pub fn close(&self) {
        self.changed.send_modify(|change| change.closed = true);
    }

    /// Mark as seen before looking for events, then wait: nothing can slip through.
    pub fn changes(&self) -> watch::Receiver<Change> {
        self.changed.subscribe()
    }

    /// Subscriptions and calls that wait for something to happen.
    pub fn n_waiting(&self) -> usize {
        self.changed.receiver_count()
    }

    /// Events after `since`, oldest first, at most `limit`, of one job if given.
    pub fn recent(&self, since: u64, limit: usize, job: Option<JobId>) -> Recent {
        let ring = self.lock();
        let from = ring.events.front().map_or(ring.last_seq + 1, |oldest| oldest.seq);
        let start = ring.events.partition_point(|event| event.seq <= since);
        let mut events = Vec::new();
        let mut to = ring.last_seq;
        for event in ring.events.range(start..) {
            if job.is_some_and(|job| job_of(&event.body) != Some(job)) {
                continue;
            }
            if events.len() == limit {
                to = events.last().map_or(since, |last: &Arc<Event>| last.seq);
                break;
            }
            events.push(event.clone());
        }
        Recent { events, from, to }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, event: Event) {
        self.last_seq = event.seq;
        self.bytes += weight(&event.body);
        self.events.push_back(Arc::new(event));
        while self.events.len() > RING_EVENTS || self.bytes > RING_BYTES {
            match self.events.pop_front() {
                Some(oldest) => self.bytes -= weight(&oldest.body),
                None => break,
            }
        }
    }
}

/// The job an event is about.
pub fn job_of(body: &EventBody) -> Option<JobId> {
    match body {
        EventBody::Job { job } => Some(job.id),
        EventBody::Progress { id, .. } => Some(*id),
        EventBody::Watch { .. }
        | EventBody::WatchRemoved { .. }
        | EventBody::Queue { .. }
        | EventBody::Net { .. }
        | EventBody::Pull { .. }
        | EventBody::Yield { .. }
        | EventBody::Stopping => None,
    }
}

/// Progress that a later event of the same job makes worthless is left out: the
/// newest stays, and everything else.
pub fn without_stale_progress(events: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
    let mut later = std::collections::BTreeSet::new();
    let mut kept: Vec<Arc<Event>> = events
        .into_iter()
        .rev()
        .filter(|event| {
            let is_newest = job_of(&event.body).is_none_or(|job| later.insert(job));
            is_newest || !matches!(event.body, EventBody::Progress { .. })
        })
        .collect();
    kept.reverse();
    kept
}

/// Bytes an event takes in memory, roughly.
fn weight(body: &EventBody) -> usize {
    match body {
        EventBody::Job { job } => 1024 + 160 * job.stages.len() + if job.report.is_some() { 4096 } else { 0 },
        _ => 256,
    }
}

#[cfg(test)]
mod tests {
    use meshkiln_protocol::{daemon::QueueStatus, job::Progress};

    use super::*;

    fn progress(seq: u64, id: u64) -> Event {
        let progress = Progress { stage: "bake".into(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
        Event { seq, time_ms: 0, body: EventBody::Progress { id: JobId(id), progress } }
    }

    fn queue(seq: u64) -> Event {
        Event { seq, time_ms: 0, body: EventBody::Queue { queue: QueueStatus::default() } }
    }

    fn seqs(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn what_follows_a_number_comes_once_and_in_order() {
        let hub = Hub::new(10);
        for seq in 11..=20 {
            hub.publish(progress(seq, seq % 2));
        }
        let all = hub.recent(10, 100, None);
        assert_eq!((seqs(&all.events), all.from, all.to), ((11..=20).collect(), 11, 20));
        let some = hub.recent(12, 3, None);
        assert_eq!((seqs(&some.events), some.to), (vec![13, 14, 15], 15));
        let odd = hub.recent(12, 2, Some(JobId(1)));
        assert_eq!((seqs(&odd.events), odd.to), (vec![13, 15], 15));
        let rest = hub.recent(15, 9, Some(JobId(1)));
        assert_eq!((seqs(&rest.events), rest.to), (vec![17, 19], 20), "the last number looked at counts");
        assert_eq!(hub.recent(20, 9, None).events, []);
    }

    #[test]
    fn an_empty_memory_sends_to_the_store() {
        let hub = Hub::new(500);
        assert_eq!(hub.recent(3, 9, None), Recent { events: vec![], from: 501, to: 500 });
    }

    #[test]
    fn memory_is_bounded() {
        let hub = Hub::new(0);
        for seq in 1..=(RING_EVENTS as u64 + 500) {
            hub.publish(queue(seq));
        }
        let recent = hub.recent(0, usize::MAX, None);
        assert_eq!((recent.events.len(), recent.from), (RING_EVENTS, 501));
        assert!(hub.lock().bytes <= RING_BYTES);
    }

    #[test]
    fn only_progress_goes_stale() {
        let events = vec![progress(1, 7), queue(2), progress(3, 7), progress(4, 8), progress(5, 7)];
        let kept = without_stale_progress(events.into_iter().map(Arc::new).collect());
        assert_eq!(seqs(&kept), [2, 4, 5]);
    }

    #[test]
    fn publishing_wakes_and_closing_wakes() {
        let hub = Hub::new(0);
        let mut changes = hub.changes();
        assert!(!changes.has_changed().unwrap());
        hub.publish(queue(1));
        assert_eq!(*changes.borrow_and_update(), Change { last_seq: 1, closed: false });
        hub.close();
        assert!(changes.has_changed().unwrap() && changes.borrow().closed);
    }
}
