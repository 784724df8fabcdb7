//! One watched folder: when it is listed, what its files turn out to be, and how
//! it is described to clients.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc::SyncSender,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use meshkiln_models::{
    export::ownership,
    image::{complete, decode::MAX_FILE_BYTES},
    recipe::{Networks, Plan},
};
use meshkiln_protocol::{
    UnixMs,
    watch::{Watch, WatchCounts, WatchEvent, WatchMode},
};

use super::{
    Input,
    notice::{Hint, Notice, is_remote},
    reconcile::{Found, Known, KnownState, Reconciler},
    rules::{FindRecipe, Rules, output_for},
    scan::{Listing, Scope, Stat, folder_identity, list, open_beneath},
    table::WatchRow,
};
use crate::store::blobs::Digest;

/// Times of the watching thread.
#[derive(Debug, Clone)]
pub struct Times {
    /// A local file is ready when it stands still this long and nobody said it was closed.
    pub quiet: Duration,
    /// The same on network drives.
    pub remote_quiet: Duration,
    /// Between a hint and the scan it asks for.
    pub settle: Duration,
    /// Between scans of a folder whose changes are not reported.
    pub poll: Duration,
    /// Between full scans of one whose changes are; spread by a quarter either way.
    pub full: Duration,
    /// Poll also where changes would be reported.
    pub always_poll: bool,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(500),
            remote_quiet: Duration::from_secs(5),
            settle: Duration::from_millis(50),
            poll: Duration::from_secs(5),
            full: Duration::from_secs(15 * 60),
            always_poll: false,
        }
    }
}

pub(super) struct Watched {
    pub(super) row: WatchRow,
    pub(super) reconciler: Reconciler,
    pub(super) rules: Rules,
    pub(super) notice: Option<Notice>,
    pub(super) mode: WatchMode,
    /// Why it is polled or missing, or what could not be read.
    pub(super) trouble: Option<String>,
    /// Scans asked for, and when they are due.
    pub(super) dirty: BTreeMap<Scope, Instant>,
    pub(super) next_full: Instant,
    /// How long the last scan took: scans take a tenth of the time at most.
    pub(super) scan_cost: Duration,
    pub(super) last_scan: Instant,
    pub(super) last_scan_ms: Option<UnixMs>,
    last_event: Option<WatchEvent>,
    /// Of the root at the last scan that found anything.
    pub(super) identity: Option<(u64, u64)>,
    /// Which picture's asset is where: no two share a place.
    pub(super) outputs: HashMap<PathBuf, PathBuf>,
    /// What has been said about files that cannot be opened: once each.
    pub(super) complaints: BTreeMap<PathBuf, String>,
    /// Counts or mode may have changed since the clients were told.
    pub(super) untold: bool,
    /// As last told to the clients.
    pub(super) told: Option<Watch>,
    pub(super) told_at: Instant,
}

impl Watched {
    /// `known` is what is remembered of its files. The first scan is due at once.
    pub(super) fn new(row: WatchRow, known: BTreeMap<PathBuf, Known>, times: &Times) -> Watched {
        let quiet = if is_remote(&row.path) { times.remote_quiet } else { times.quiet };
        let outputs = known.iter().filter_map(|(rel, k)| Some((k.output.clone()?, rel.clone()))).collect();
        let now = Instant::now();
        Watched {
            reconciler: Reconciler::new(known, quiet),
            rules: Rules::default(),
            notice: None,
            mode: WatchMode::Missing,
            trouble: None,
            dirty: BTreeMap::new(),
            next_full: now,
            scan_cost: Duration::ZERO,
            last_scan: now,
            last_scan_ms: None,
            last_event: None,
            identity: None,
            outputs,
            complaints: BTreeMap::new(),
            untold: true,
            told: None,
            told_at: now,
            row,
        }
    }

    pub(super) fn hint(&mut self, hint: Hint, due: Instant) {
        let relative = |path: &Path| path.strip_prefix(&self.row.path).ok().map(Path::to_owned);
        match hint {
            Hint::Closed(path) => {
                if let Some(rel) = relative(&path) {
                    self.reconciler.closed(rel);
                }
            }
            Hint::Folder(path) => match relative(&path) {
                Some(folder) => self.ask_scan(Scope { folder, recursive: false }, due),
                // The root itself was moved, removed or replaced.
                None => self.next_full = self.next_full.min(due),
            },
            Hint::Tree(path) => {
                if let Some(folder) = relative(&path).filter(|_| self.row.recursive) {
                    // Files put there before the system watched the new folder are
                    // reported by nobody: list it now, and once more a little later.
                    let scope = Scope { folder, recursive: true };
                    self.ask_scan(scope, due);
                    self.next_full = self.next_full.min(due + Duration::from_secs(1));
                }
            }
        }
    }

    fn ask_scan(&mut self, scope: Scope, due: Instant) {
        if self.row.recursive || scope.folder.as_os_str().is_empty() {
            let at = self.dirty.entry(scope).or_insert(due);
            *at = due.min(*at);
        }
    }

    /// Scans may take a tenth of the time.
    pub(super) fn earliest_scan(&self) -> Instant {
        self.last_scan + self.scan_cost * 10
    }

    /// Scans what is due, and starts or stops the system's notices as the folder comes and goes.
    pub(super) fn look(&mut self, sender: &SyncSender<Input>, times: &Times, find: &FindRecipe) {
        let now = Instant::now();
        if self.notice.as_ref().is_some_and(Notice::take_overflow) {
            self.next_full = now;
        }
        if now < self.earliest_scan() {
            return;
        }
        if self.next_full <= now {
            self.full_scan(sender, times, find);
            return;
        }
        // Many dirty folders cost more than the whole tree.
        let due: Vec<Scope> = self.dirty.iter().filter(|(_, at)| **at <= now).map(|(scope, _)| scope.clone()).collect();
        if due.len() > 64 {
            self.full_scan(sender, times, find);
            return;
        }
        for scope in due {
            self.dirty.remove(&scope);
            self.scan(&scope, find);
        }
    }

    fn full_scan(&mut self, sender: &SyncSender<Input>, times: &Times, find: &FindRecipe) {
        self.dirty.clear();
        let now = Instant::now();
        let identity = match folder_identity(&self.row.path) {
            Ok(identity) => identity,
            Err(e) => {
                return self.missing(format!("the folder cannot be read: {e}; looked for every few seconds"), times);
            }
        };
        // Notices first, then the list: what comes between the two is in one of them.
        if self.mode == WatchMode::Missing || self.identity.is_some_and(|known| known != identity) {
            self.notice = None;
            self.start_notice(sender, times);
        }
        let whole = Scope { folder: PathBuf::new(), recursive: self.row.recursive };
        match list(&self.row.path, &whole) {
            // Something else is mounted here, or nothing is: not everybody's file was deleted.
            Ok(listing)
                if listing.files.is_empty()
                    && self.identity.is_some_and(|known| known != identity)
                    && self.reconciler.known().values().any(|k| k.state == KnownState::Fired) =>
            {
                self.missing("the folder is empty and not the one it was; is its drive mounted?".to_owned(), times);
            }
            Ok(listing) => {
                self.identity = Some(identity);
                self.took(listing, &whole, now, find);
            }
            Err(e) => self.missing(format!("the folder cannot be read: {e}; looked for every few seconds"), times),
        }
        self.schedule_full(times);
    }

    fn scan(&mut self, scope: &Scope, find: &FindRecipe) {
        let now = Instant::now();
        match list(&self.row.path, scope) {
            Ok(listing) => self.took(listing, scope, now, find),
            Err(_) => self.next_full = now,
        }
    }

    fn took(&mut self, listing: Listing, scope: &Scope, started: Instant, find: &FindRecipe) {
        let now = Instant::now();
        self.rules.listed(&self.row.path, scope, &listing.rules, find);
        self.reconciler.listed(scope, &listing.files, now);
        self.complaints.retain(|rel, _| !scope.contains(rel) || listing.files.contains_key(rel));
        self.last_scan = now;
        self.scan_cost = now.saturating_duration_since(started);
        self.last_scan_ms = Some(unix_ms());
        self.untold = true;
        let unreadable = listing.unreadable.first();
        if self.mode == WatchMode::Events {
            self.trouble = unreadable.map(|(folder, e)| {
                format!("{} cannot be read: {e}; give yourself permission to read it", folder.display())
            });
        }
    }

    fn start_notice(&mut self, sender: &SyncSender<Input>, times: &Times) {
        self.trouble = None;
        self.mode = WatchMode::Polling;
        if times.always_poll {
            return;
        }
        if is_remote(&self.row.path) {
            self.trouble = Some("a network drive: it is listed every few seconds".to_owned());
            return;
        }
        match Notice::start(self.row.id, &self.row.path, self.row.recursive, sender.clone()) {
            Ok(notice) => {
                self.notice = Some(notice);
                self.mode = WatchMode::Events;
            }
            Err(none) => {
                tracing::warn!("{}: {}", self.row.path.display(), none.message);
                self.trouble = Some(none.message);
            }
        }
    }

    fn missing(&mut self, why: String, times: &Times) {
        if self.mode != WatchMode::Missing || self.trouble.is_none() {
            tracing::warn!("{}: {why}", self.row.path.display());
        }
        self.mode = WatchMode::Missing;
        self.untold = true;
        self.notice = None;
        self.trouble = Some(why);
        self.reconciler.lost_sight();
        self.last_scan = Instant::now();
        self.schedule_full(times);
    }

    fn schedule_full(&mut self, times: &Times) {
        let wait = match self.mode {
            WatchMode::Events => times.full.mul_f64(0.75 + 0.5 * fastrand::f64()),
            WatchMode::Polling => times.poll.max(self.scan_cost * 100),
            WatchMode::Missing => times.poll,
        };
        self.next_full = Instant::now() + wait;
    }

    /// Opens a ready file and judges it: its stat when opened, what it is, and its bytes.
    pub(super) fn look_into(&mut self, rel: &Path, listed: Stat, find: &FindRecipe) -> (Stat, Found, Vec<u8>) {
        let (mut file, stat) = match open_beneath(&self.row.path, rel) {
            Ok(opened) => opened,
            Err(e) => {
                self.complain(rel, format!("cannot be opened: {e}; it is tried again"));
                return (listed, Found::Later, Vec::new());
            }
        };
        if stat.bytes > MAX_FILE_BYTES {
            self.complain(rel, format!("has {} bytes, more than {MAX_FILE_BYTES}: not fired", stat.bytes));
            return (stat, Found::Refused, Vec::new());
        }
        if self.plan_for(rel, find, &|_: &str| false).is_err() {
            return (stat, Found::Later, Vec::new());
        }
        let mut bytes = Vec::with_capacity(stat.bytes as usize);
        if let Err(e) = (&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
            self.complain(rel, format!("cannot be read: {e}; it is tried again"));
            return (stat, Found::Later, Vec::new());
        }
        let after = file.metadata().map(|m| super::scan::stat(&m));
        if after.is_ok_and(|after| after != stat) || bytes.len() as u64 != stat.bytes {
            return (stat, Found::Moving, Vec::new());
        }
        if ownership::is_ours(&bytes) {
            self.note(rel, "was made by Meshkiln: not fired");
            return (stat, Found::Refused, Vec::new());
        }
        let sha256 = Digest::of(&bytes).to_string();
        self.complaints.remove(rel);
        let found = match complete::completeness(&bytes) {
            complete::Completeness::Truncated => Found::Short(sha256),
            complete::Completeness::Complete | complete::Completeness::Unknown => Found::Whole(sha256),
        };
        (stat, found, bytes)
    }

    pub(super) fn plan_for(&self, rel: &Path, find: &FindRecipe, nets: &dyn Networks) -> Result<Plan, String> {
        let recipe = self.rules.recipe_for(rel, &self.row.recipe, find)?;
        recipe.plan_with(nets).map_err(|e| e.to_string())
    }

    /// The place of the picture's asset, from now on its own.
    pub(super) fn take_output(&mut self, rel: &Path, plan: &Plan) -> PathBuf {
        let place = |taken: &dyn Fn(&Path) -> bool| {
            output_for(&self.row.path, self.row.out.as_deref(), rel, plan.extension(), taken)
        };
        // A picture that has an asset keeps its place.
        let long = place(&|_| true);
        let output = if self.outputs.get(&long).is_some_and(|owner| owner == rel) {
            long
        } else {
            place(&|output| self.outputs.get(output).is_some_and(|owner| owner != rel))
        };
        self.outputs.insert(output.clone(), rel.to_owned());
        output
    }

    /// One line a file, however often it is tried.
    pub(super) fn complain(&mut self, rel: &Path, what: String) {
        if self.complaints.get(rel) != Some(&what) {
            tracing::warn!("{}: {what}", self.row.path.join(rel).display());
            self.note(rel, &what);
            self.complaints.insert(rel.to_owned(), what);
        }
    }

    /// What happened to a file, for people who watch.
    pub(super) fn note(&mut self, rel: &Path, what: &str) {
        self.last_event = Some(WatchEvent { time_ms: unix_ms(), what: format!("{} {what}", rel.display()) });
        self.untold = true;
    }

    pub(super) fn describe(&self) -> Watch {
        let known = self.reconciler.known();
        let files = known.values().filter(|k| k.state != KnownState::Vanished).count() as u64;
        let waiting = self.reconciler.n_waiting() as u64;
        let refused = known.values().filter(|k| k.state == KnownState::Refused).count() as u64;
        Watch {
            id: self.row.id,
            path: self.row.path.to_string_lossy().into_owned(),
            recipe: self.row.recipe.clone(),
            out: self.row.out.as_ref().map(|out| out.to_string_lossy().into_owned()),
            recursive: self.row.recursive,
            mode: self.mode,
            counts: WatchCounts { files, waiting, fired: self.row.fired, refused },
            last_scan_ms: self.last_scan_ms,
            last_event: self.last_event.clone(),
            problem: self
                .trouble
                .clone()
                .or_else(|| self.rules.problem().map(str::to_owned))
                .or_else(|| self.complaint()),
        }
    }

    /// About the first of the files that cannot be had.
    fn complaint(&self) -> Option<String> {
        let (rel, what) = self.complaints.first_key_value()?;
        let more = self.complaints.len() - 1;
        let others = if more > 0 { format!(", and {more} more files") } else { String::new() };
        Some(format!("{} {what}{others}", rel.display()))
    }
}

fn unix_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
