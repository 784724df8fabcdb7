//! Weights on their way to this machine, and those of the user's own networks being read: a thread
//! each, told to clients as they come.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use meshkiln_models::{
    cx::CancelToken,
    weights::{
        WeightsError, catalogue,
        fetch::{self, Phase, Source},
        own::{Own, taken},
    },
};
use meshkiln_protocol::{
    event::EventBody,
    net::{Pull, PullState},
};

use crate::{
    catalogue::{Catalogue, Installed},
    system,
};

/// Where weights come from, unless the user says otherwise.
pub const HUB_VARIABLE: &str = "MESHKILN_HUB";

/// Connections that may fail, for each file, before a pull gives up.
const RETRIES: u32 = 8;
/// Longest silence of a server.
const STALL: Duration = Duration::from_secs(30);
/// Before the n-th retry: one second, doubled each time, this at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Progress events of one pull are at least this far apart.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Tells clients.
pub type Tell = Arc<dyn Fn(EventBody) + Send + Sync>;

#[derive(Clone)]
pub struct Pulls {
    installed: Arc<Installed>,
    tell: Tell,
    active: Arc<Mutex<BTreeMap<String, Active>>>,
}

struct Active {
    pull: Pull,
    cancel: CancelToken,
}

impl Pulls {
    pub fn new(installed: Arc<Installed>, tell: Tell) -> Pulls {
        Pulls { installed, tell, active: Arc::default() }
    }

    /// What is on this machine.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Starts to fetch `net`, from the folder `from` or else from the hub, or to read one of the
    /// user's own; one that is going on already goes on. `None` for a net that nothing knows.
    pub fn start(&self, net: &str, from: Option<&Path>) -> std::io::Result<Option<Pull>> {
        if let Some(own) = self.installed.find_own(net).cloned() {
            let bytes = own.bytes();
            return self.begin(net, bytes, move |here, token, began| here.take_in(&own, token, began)).map(Some);
        }
        let Some(net) = catalogue::find(net) else { return Ok(None) };
        let source = match from {
            Some(folder) => Source::Folder(folder.to_owned()),
            None => Source::Hub(hub()),
        };
        let work = move |here: &Pulls, token: &CancelToken, began| here.fetch(net, &source, token, began);
        self.begin(net.id, net.known_bytes(), work).map(Some)
    }

    /// Reads those of the user's own networks that are not as they were.
    pub fn take_in_own(&self) {
        let changed = self.installed.own().iter().filter(|own| !self.installed.is_here(&own.id));
        for own in changed {
            if let Err(e) = self.start(&own.id, None) {
                tracing::warn!("`{}` is not read: no thread can be started: {e}", own.id);
            }
        }
    }

    fn begin(
        &self,
        net: &str,
        bytes: u64,
        work: impl FnOnce(&Pulls, &CancelToken, Pull) + Send + 'static,
    ) -> std::io::Result<Pull> {
        let mut active = self.lock();
        if let Some(going) = active.get(net) {
            return Ok(going.pull.clone());
        }
        let pull = Pull {
            net: net.to_owned(),
            state: PullState::Fetching,
            file: None,
            done_bytes: 0,
            total_bytes: (bytes > 0).then_some(bytes),
            problem: None,
            hint: None,
        };
        let cancel = CancelToken::default();
        let (here, token, began) = (self.clone(), cancel.clone(), pull.clone());
        thread::Builder::new().name(format!("pull-{net}")).spawn(move || work(&here, &token, began))?;
        active.insert(net.to_owned(), Active { pull: pull.clone(), cancel });
        Ok(pull)
    }

    /// `None` when nothing of it is going on.
    pub fn cancel(&self, net: &str) -> Option<Pull> {
        let active = self.lock();
        let going = active.get(net)?;
        going.cancel.cancel();
        Some(going.pull.clone())
    }

    pub fn of(&self, net: &str) -> Option<Pull> {
        self.lock().get(net).map(|going| going.pull.clone())
    }

    /// At the end of the daemon: what has come stays for the next pull.
    pub fn stop(&self) {
        self.lock().values().for_each(|going| going.cancel.cancel());
    }

    fn fetch(&self, net: &catalogue::Net, source: &Source, cancel: &CancelToken, pull: Pull) {
        let telling = Telling { pulls: self, told: Mutex::new((None, pull)) };
        let progress = |progress: fetch::Progress| {
            let state = match progress.phase {
                Phase::Fetch => PullState::Fetching,
                Phase::Convert => PullState::Converting,
            };
            telling.progress(state, progress.file, progress.done, progress.total);
        };
        let done = fetch::pull(
            net,
            &fetch::Pull {
                source,
                folder: self.installed.root(),
                retries: RETRIES,
                stall: STALL,
                free_bytes: &system::free_bytes,
                pause: &|n| pause(n, cancel),
                cancel,
                progress: &progress,
            },
        );
        telling.end(done.map(drop));
    }

    fn take_in(&self, own: &Own, cancel: &CancelToken, pull: Pull) {
        let telling = Telling { pulls: self, told: Mutex::new((None, pull)) };
        let done = own.take_in(cancel, &mut |phase, file, done, total| {
            let state = match phase {
                taken::Phase::Read => PullState::Fetching,
                taken::Phase::Convert => PullState::Converting,
            };
            telling.progress(state, file, done, Some(total));
        });
        telling.end(done.map(drop));
    }

    fn update(&self, pull: Pull) {
        if let Some(going) = self.lock().get_mut(&pull.net) {
            going.pull = pull.clone();
        }
        (self.tell)(EventBody::Pull { pull });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What clients are told of one pull.
struct Telling<'a> {
    pulls: &'a Pulls,
    /// When last, and what.
    told: Mutex<(Option<Instant>, Pull)>,
}

impl Telling<'_> {
    fn progress(&self, state: PullState, file: &str, done: u64, total: Option<u64>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, pull) = &mut *told;
        let is_news = pull.state != state || pull.file.as_deref() != Some(file);
        pull.state = state;
        pull.file = Some(file.to_owned());
        (pull.done_bytes, pull.total_bytes) = (done, total);
        if is_news || at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *at = Some(Instant::now());
            self.pulls.update(pull.clone());
        }
    }

    fn end(self, done: Result<(), WeightsError>) {
        let mut pull = self.told.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        self.pulls.installed.look(&pull.net);
        match done {
            Ok(()) => pull.state = PullState::Done,
            Err(WeightsError::Cancelled) => pull.state = PullState::Cancelled,
            Err(error) => {
                tracing::warn!("`{}` was not fetched: {error}", pull.net);
                pull.state = PullState::Failed;
                pull.problem = Some(error.to_string());
                pull.hint = Some(error.hint().to_owned());
            }
        }
        self.pulls.lock().remove(&pull.net);
        (self.pulls.tell)(EventBody::Pull { pull });
    }
}

fn hub() -> String {
    std::env::var(HUB_VARIABLE).ok().filter(|hub| !hub.is_empty()).unwrap_or_else(|| fetch::HUB.to_owned())
}

/// Sleeps before the n-th retry, from 1, unless cancelled.
fn pause(n: u32, cancel: &CancelToken) {
    let wait = Duration::from_secs(1 << n.saturating_sub(1).min(5)).min(LONGEST_PAUSE);
    let until = Instant::now() + wait;
    while Instant::now() < until && !cancel.is_cancelled() {
        thread::sleep(Duration::from_millis(50));
    }
}
