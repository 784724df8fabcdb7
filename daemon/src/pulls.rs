//! Weights on their way to this machine: a thread each, told to clients as they come.

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
    },
};
use meshkiln_protocol::{
    event::EventBody,
    net::{Pull, PullState},
};

use crate::{catalogue::Installed, system};

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

    /// Starts to fetch `net`, from the folder `from` or else from the hub; one that is going on
    /// already goes on. `None` for a net that nothing knows.
    pub fn start(&self, net: &str, from: Option<&Path>) -> std::io::Result<Option<Pull>> {
        let Some(net) = catalogue::find(net) else { return Ok(None) };
        let mut active = self.lock();
        if let Some(going) = active.get(net.id) {
            return Ok(Some(going.pull.clone()));
        }
        let pull = Pull {
            net: net.id.to_owned(),
            state: PullState::Fetching,
            file: None,
            done_bytes: 0,
            total_bytes: (net.known_bytes() > 0).then(|| net.known_bytes()),
            problem: None,
            hint: None,
        };
        let cancel = CancelToken::default();
        let source = match from {
            Some(folder) => Source::Folder(folder.to_owned()),
            None => Source::Hub(hub()),
        };
        let (here, token, began) = (self.clone(), cancel.clone(), pull.clone());
        thread::Builder::new()
            .name(format!("pull-{}", net.id))
            .spawn(move || here.fetch(net, &source, &token, began))?;
        active.insert(net.id.to_owned(), Active { pull: pull.clone(), cancel });
        Ok(Some(pull))
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

    fn fetch(&self, net: &catalogue::Net, source: &Source, cancel: &CancelToken, mut pull: Pull) {
        let told = Mutex::new((None::<Instant>, pull.clone()));
        let progress = |progress: fetch::Progress| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let (at, pull) = &mut *told;
            let state = match progress.phase {
                Phase::Fetch => PullState::Fetching,
                Phase::Convert => PullState::Converting,
            };
            let is_news = pull.state != state || pull.file.as_deref() != Some(progress.file);
            pull.state = state;
            pull.file = Some(progress.file.to_owned());
            (pull.done_bytes, pull.total_bytes) = (progress.done, progress.total);
            if is_news || at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                *at = Some(Instant::now());
                self.update(pull.clone());
            }
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
        self.installed.look(net.id);
        pull = told.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        match done {
            Ok(_) => pull.state = PullState::Done,
            Err(WeightsError::Cancelled) => pull.state = PullState::Cancelled,
            Err(error) => {
                tracing::warn!("`{}` was not fetched: {error}", net.id);
                pull.state = PullState::Failed;
                pull.problem = Some(error.to_string());
                pull.hint = Some(error.hint().to_owned());
            }
        }
        self.lock().remove(net.id);
        (self.tell)(EventBody::Pull { pull });
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
