//! The thread that listens to the daemon: finds or starts it, lists what there is,
//! then hears every event once and in order, over any number of daemons.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    api::{AssetList, JobList, Method, NoParams, RecipeListAll, StageListAll},
    asset::{AssetListParams, AssetPage},
    daemon::HelloResult,
    event::{Event, EventBody, PollParams},
    job::{JobId, JobListParams, JobPage},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value as Json;

use super::msg::{Msg, Trouble};
use crate::{client::Client, error::Failure};

/// Longest an answer with events is waited for.
const WAIT_MS: u64 = 50_000;
/// Two looks at events that come without a pause are so far apart at least.
const BREATH: Duration = Duration::from_millis(50);
/// Of one look at events, and of one list.
const PAGE: u32 = 1000;
const LIST_PAGE: u32 = 500;
/// Between tries to find or start a daemon.
const TRIES: [u64; 4] = [200, 1000, 3000, 8000];

/// What the threads share.
#[derive(Default)]
pub struct Shared {
    client: OnceLock<Client>,
    /// A daemon is to be started, though the last one was told to stop.
    pub start: AtomicBool,
}

impl Shared {
    /// None before the first daemon was found.
    pub fn client(&self) -> Option<&Client> {
        self.client.get()
    }
}

/// Runs until nobody listens.
pub fn run(shared: &Arc<Shared>, out: &Sender<Msg>) {
    let mut feed = Feed { shared, out, since: None, jobs_before: None };
    let mut tries = 0;
    loop {
        let ended = feed.connect().and_then(|hello| {
            tries = 0;
            feed.begin(hello)?;
            feed.follow()
        });
        match ended {
            Ok(End::NobodyListens) => return,
            Ok(End::Stopping) => {
                if feed.out.send(Msg::Stopped).is_err() {
                    return;
                }
                feed.wait_for_start();
            }
            Err(failure) => {
                if feed.out.send(Msg::Lost(trouble(failure))).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(TRIES[tries.min(TRIES.len() - 1)]));
                tries += 1;
            }
        }
    }
}

enum End {
    /// The daemon said that it stops.
    Stopping,
    NobodyListens,
}

struct Feed<'a> {
    shared: &'a Shared,
    out: &'a Sender<Msg>,
    /// Of the last event that was passed on.
    since: Option<u64>,
    /// Jobs before this one are still to be listed.
    jobs_before: Option<JobId>,
}

/// A page whose events may be of kinds that this client does not know.
#[derive(Deserialize)]
struct Page<E> {
    events: Vec<E>,
    next: u64,
    lost: bool,
}

impl Feed<'_> {
    fn client(&self) -> Result<&Client, Failure> {
        self.shared.client().ok_or_else(|| Failure::unreachable("no daemon was found yet", ""))
    }

    /// Finds a daemon, or starts one.
    fn connect(&self) -> Result<HelloResult, Failure> {
        match self.shared.client() {
            Some(client) => client.revive()?,
            None => {
                let _ = self.shared.client.set(Client::connect()?);
            }
        }
        self.client()?.hello()
    }

    /// Lists what there is, unless events will tell all that has changed.
    fn begin(&mut self, hello: HelloResult) -> Result<(), Failure> {
        let afresh = self.since.is_none_or(|since| since > hello.seq);
        if afresh {
            self.since = Some(hello.seq);
        }
        self.pass(Msg::Connected { hello: Box::new(hello), afresh });
        if afresh {
            self.list()?;
        }
        let client = self.client()?;
        // An older daemon may not know these; forms are poorer then.
        if let Ok(list) = client.call::<RecipeListAll>(&NoParams {}) {
            self.pass(Msg::Recipes(list.recipes));
        }
        if let Ok(list) = client.call::<StageListAll>(&NoParams {}) {
            self.pass(Msg::Stages(list.stages));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Failure> {
        self.jobs_before = None;
        self.list_jobs(None)?;
        let params = AssetListParams { before: None, limit: Some(50) };
        // They come again when they are looked at; an older daemon may have none.
        if let Ok(page) = self.client()?.ask::<Json>(AssetList::NAME, &params) {
            let (assets, next, strange) = understood(page, "assets");
            self.pass(Msg::Assets { page: AssetPage { assets, next }, more: true });
            self.pass_strange(strange);
        }
        Ok(())
    }

    /// A page of jobs. Events that come before the next one are older than it.
    fn list_jobs(&mut self, before: Option<JobId>) -> Result<(), Failure> {
        let limit = if before.is_none() { 100 } else { LIST_PAGE };
        let params = JobListParams { states: Vec::new(), before, limit: Some(limit) };
        let page = self.client()?.ask::<Json>(JobList::NAME, &params)?;
        let (jobs, next, strange) = understood(page, "jobs");
        self.jobs_before = next;
        self.pass(Msg::Jobs(JobPage { jobs, next }));
        self.pass_strange(strange);
        Ok(())
    }

    /// Hears events until there are no more.
    fn follow(&mut self) -> Result<End, Failure> {
        loop {
            let started = Instant::now();
            let wait_ms = if self.jobs_before.is_some() { 0 } else { WAIT_MS };
            let params = PollParams { since: self.since, wait_ms, limit: Some(PAGE), job: None };
            let (page, strange) = read(self.client()?.ask::<Json>("events.poll", &params)?)?;
            self.since = Some(page.next);
            if page.lost {
                // Some are no longer known: what they told is listed.
                let hello = self.client()?.hello()?;
                self.since = None;
                self.begin(hello)?;
                continue;
            }
            let n = page.events.len();
            let is_stopping = page.events.iter().any(|event| matches!(event.body, EventBody::Stopping));
            let events = without_stale_progress(page.events);
            if (!events.is_empty() || strange > 0) && !self.pass(Msg::Events { events, strange }) {
                return Ok(End::NobodyListens);
            }
            if is_stopping {
                return Ok(End::Stopping);
            }
            if let Some(before) = self.jobs_before {
                self.list_jobs(Some(before))?;
            } else if n < PAGE as usize {
                thread::sleep(BREATH.saturating_sub(started.elapsed()));
            }
        }
    }

    /// A daemon that was told to stop is not started behind the user's back.
    fn wait_for_start(&self) {
        loop {
            thread::sleep(Duration::from_millis(500));
            let another = match (Client::running(), self.shared.client()) {
                (Ok(Some(now)), Some(old)) => !now.is_same(old),
                (Ok(Some(_)), None) => true,
                (Ok(None), _) => self.shared.start.swap(false, Ordering::Relaxed),
                (Err(_), _) => false,
            };
            if another {
                return;
            }
        }
    }

    /// Says that there were things of another version.
    fn pass_strange(&self, strange: usize) {
        if strange > 0 {
            self.pass(Msg::Events { events: Vec::new(), strange });
        }
    }

    fn pass(&self, msg: Msg) -> bool {
        self.out.send(msg).is_ok()
    }
}

/// A page of things, one by one: how many are of another version, and not understood.
fn understood<T: DeserializeOwned>(mut page: Json, list: &str) -> (Vec<T>, Option<JobId>, usize) {
    let mut take = |name: &str| page.get_mut(name).map(Json::take).unwrap_or_default();
    let next = serde_json::from_value(take("next")).unwrap_or_default();
    let Json::Array(all) = take(list) else { return (Vec::new(), next, 0) };
    let n = all.len();
    let known: Vec<T> = all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
    let strange = n - known.len();
    (known, next, strange)
}

/// Event by event where one of them is not understood; how many were not.
fn read(page: Json) -> Result<(Page<Event>, usize), Failure> {
    let odd = |e: serde_json::Error| {
        Failure::unreachable(format!("the daemon's events are not understood: {e}"), "use a client of its version")
    };
    let page: Page<Json> = serde_json::from_value(page).map_err(odd)?;
    let all = page.events.len();
    let events: Vec<Event> = page.events.into_iter().filter_map(|event| serde_json::from_value(event).ok()).collect();
    let strange = all - events.len();
    Ok((Page { events, next: page.next, lost: page.lost }, strange))
}

/// Of the progress of each job only the last: the rest would be drawn over at once.
fn without_stale_progress(events: Vec<Event>) -> Vec<Event> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<Event> = events
        .into_iter()
        .rev()
        .filter(|event| match &event.body {
            EventBody::Progress { id, .. } => seen.insert(*id),
            _ => true,
        })
        .collect();
    kept.reverse();
    kept
}

/// As it is told to people.
pub fn trouble(failure: Failure) -> Trouble {
    let (message, hint) = match failure {
        Failure::Unreachable { message, hint } | Failure::Usage { message, hint } => (message, hint),
        Failure::Refused { message, data } => (message, data.map_or_else(String::new, |data| data.hint)),
        Failure::JobsFailed => ("a job failed".to_owned(), String::new()),
        Failure::Interrupted | Failure::OutputClosed => ("interrupted".to_owned(), String::new()),
    };
    Trouble { message, hint }
}

#[cfg(test)]
mod tests {
    use meshkiln_protocol::{daemon::QueueStatus, job::Progress};
    use serde_json::json;

    use super::*;

    fn progress(seq: u64, id: u64) -> Event {
        let progress = Progress { stage: "bake".into(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
        Event { seq, time_ms: 0, body: EventBody::Progress { id: JobId(id), progress } }
    }

    #[test]
    fn only_the_last_progress_of_a_job_is_passed_on_and_order_stays() {
        let queue = |seq| Event { seq, time_ms: 0, body: EventBody::Queue { queue: QueueStatus::default() } };
        let events = vec![progress(1, 1), progress(2, 2), queue(3), progress(4, 1), queue(5)];
        let kept: Vec<u64> = without_stale_progress(events).iter().map(|event| event.seq).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
    }

    #[test]
    fn events_of_a_later_version_are_counted_and_the_others_heard() {
        let known = serde_json::to_value(progress(7, 1)).unwrap();
        let page = json!({ "events": [known, {"seq": 8, "time_ms": 0, "event": "eclipse", "moon": 1}], "next": 8, "lost": false, "more": 1 });
        let (page, strange) = read(page).unwrap();
        assert_eq!((page.events.len(), page.next, strange), (1, 8, 1));
        assert!(read(json!({"events": 3})).is_err());
    }

    #[test]
    fn a_job_in_a_state_of_a_later_version_hides_no_other() {
        let known =
            serde_json::to_value(super::super::samples::job(4, meshkiln_protocol::job::JobState::Done)).unwrap();
        let mut other = known.clone();
        (other["id"], other["state"]) = (json!(5), json!("postponed"));
        let (jobs, next, strange) =
            understood::<meshkiln_protocol::job::Job>(json!({"jobs": [other, known], "next": 4}), "jobs");
        assert_eq!((jobs.len(), jobs[0].id, next, strange), (1, JobId(4), Some(JobId(4)), 1));
        assert_eq!(understood::<meshkiln_protocol::job::Job>(json!([3]), "jobs"), (vec![], None, 0));
    }
}
