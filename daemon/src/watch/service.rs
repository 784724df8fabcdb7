//! The watching thread: hears hints and requests, lists, takes snapshots, queues jobs.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use meshkiln_models::{export::ownership, image::complete, image::decode::MAX_FILE_BYTES, recipe::Plan};
use meshkiln_protocol::{
    UnixMs,
    error::ErrorKind,
    event::EventBody,
    job::{Class, JobId},
    watch::{Watch, WatchAddParams, WatchCounts, WatchId, WatchIdParams, WatchMode},
};

use super::{
    Input, Request, WatchHandle,
    notice::{Hint, Notice, is_remote},
    reconcile::{Found, Known, KnownState, Reconciler, Verdict},
    rules::{FindRecipe, Rules, output_for},
    scan::{Listing, Scope, Stat, folder_identity, list, open_beneath},
    table::{Table, WatchRow},
};
use crate::{
    main_loop::{Refusal, Submission},
    store::blobs::{BlobStore, Digest},
};

/// Hints waiting for the thread. When it is full the whole folder is scanned instead.
const INBOX: usize = 16_384;
/// Files read, stored and queued together.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 64 << 20;
/// Clients hear of changed counts at most this often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How the queue is reached; tests put their own in its place.
pub trait Queue: Send {
    /// All of them, durably, or none.
    fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<JobId>, Refusal>;
    fn cancel(&self, job: JobId);
    fn note(&self, body: EventBody);
}

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

struct Watched {
    row: WatchRow,
    reconciler: Reconciler,
    rules: Rules,
    notice: Option<Notice>,
    mode: WatchMode,
    /// Why it is polled or missing, or what could not be read.
    trouble: Option<String>,
    /// Scans asked for, and when they are due.
    dirty: BTreeMap<Scope, Instant>,
    next_full: Instant,
    /// How long the last scan took: scans take a tenth of the time at most.
    scan_cost: Duration,
    last_scan: Instant,
    last_scan_ms: Option<UnixMs>,
    /// Of the root at the last scan that found anything.
    identity: Option<(u64, u64)>,
    /// Which picture's asset is where: no two share a place.
    outputs: HashMap<PathBuf, PathBuf>,
    /// What has been said about files that cannot be opened: once each.
    complaints: BTreeMap<PathBuf, String>,
    /// Counts or mode may have changed since the clients were told.
    untold: bool,
    /// As last told to the clients.
    told: Option<Watch>,
    told_at: Instant,
}

struct Service {
    inbox: Receiver<Input>,
    sender: SyncSender<Input>,
    table: Table,
    blobs: BlobStore,
    queue: Box<dyn Queue>,
    find: FindRecipe,
    times: Times,
    watches: BTreeMap<WatchId, Watched>,
}

/// Starts the thread; watches of an earlier run are scanned at once.
pub fn start(
    table: Table,
    blobs: BlobStore,
    queue: Box<dyn Queue>,
    find: FindRecipe,
    times: Times,
) -> io::Result<(WatchHandle, JoinHandle<()>)> {
    let (sender, inbox) = sync_channel(INBOX);
    let handle = WatchHandle::new(sender.clone());
    let mut service = Service { inbox, sender, table, blobs, queue, find, times, watches: BTreeMap::new() };
    let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
        match service.table.watches() {
            Ok(rows) => rows.into_iter().for_each(|row| service.open(row)),
            Err(e) => tracing::error!("watched folders cannot be read: {e}"),
        }
        service.run();
    })?;
    Ok((handle, thread))
}

impl Service {
    fn run(&mut self) {
        loop {
            let wait = self.next_deadline().saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(input) => {
                    if self.hear(input).is_break() {
                        return;
                    }
                    // What has piled up is heard before the disk is looked at.
                    while let Ok(input) = self.inbox.try_recv() {
                        if self.hear(input).is_break() {
                            return;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let ids: Vec<WatchId> = self.watches.keys().copied().collect();
            for id in ids {
                self.attend(id);
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(60);
        let due = self.watches.values().flat_map(|w| {
            let scans = w.dirty.values().copied().chain([w.next_full]).map(|at| at.max(w.earliest_scan()));
            let untold = w.untold.then_some(w.told_at + TELL_EVERY);
            scans.min().into_iter().chain(w.reconciler.next_deadline()).chain(untold)
        });
        due.min().unwrap_or(idle).min(idle)
    }

    fn hear(&mut self, input: Input) -> std::ops::ControlFlow<()> {
        match input {
            Input::Stop => return std::ops::ControlFlow::Break(()),
            Input::Hint(id, hint) => {
                if let Some(watched) = self.watches.get_mut(&id) {
                    watched.hint(hint, Instant::now() + self.times.settle);
                }
            }
            // A caller who has gone away needs no answer.
            Input::Request(Request::Add(params, reply)) => drop(reply.send(self.add(params))),
            Input::Request(Request::List(reply)) => {
                drop(reply.send(Ok(self.watches.values().map(Watched::describe).collect())))
            }
            Input::Request(Request::Remove(params, reply)) => drop(reply.send(self.remove(params))),
            Input::Request(Request::Rescan(params, reply)) => drop(reply.send(self.rescan(params))),
        }
        std::ops::ControlFlow::Continue(())
    }

    fn add(&mut self, params: WatchAddParams) -> Result<Watch, Refusal> {
        let path = folder_from(&params.path)?;
        let out = params.out.as_deref().map(absolute_from).transpose()?;
        let recipe = params.recipe.unwrap_or_else(|| "prop".to_owned());
        if (self.find)(&recipe).is_none() {
            return Err(Refusal {
                kind: ErrorKind::NotFound,
                message: format!("there is no recipe `{recipe}`"),
                hint: "`meshkiln recipes` lists them".to_owned(),
            });
        }
        if let Some(other) = self.watches.values().find(|w| w.row.path == path) {
            return Err(Refusal {
                kind: ErrorKind::InvalidInput,
                message: format!("{} is watched already", path.display()),
                hint: format!("to change it, first run `meshkiln watch remove {}`", other.row.id),
            });
        }
        if let Some(other) = self.watches.values().find(|w| overlap(&w.row, &path, params.recursive)) {
            return Err(Refusal {
                kind: ErrorKind::InvalidInput,
                message: format!("{} and {} contain each other", path.display(), other.row.path.display()),
                hint: "every file should be fired once: watch the outer folder, with a .meshkiln.toml in the inner one"
                    .to_owned(),
            });
        }
        let row =
            self.table.add(&path, &recipe, out.as_deref(), params.recursive).map_err(|e| storage(&e.to_string()))?;
        let id = row.id;
        self.open(row);
        self.attend(id);
        self.watches.get(&id).map(Watched::describe).ok_or_else(|| storage("the watch was not kept"))
    }

    fn remove(&mut self, params: WatchIdParams) -> Result<Watch, Refusal> {
        let id = self.find_watch(&params)?;
        self.table.remove(id).map_err(|e| storage(&e.to_string()))?;
        let watched = self.watches.remove(&id).ok_or_else(|| storage("the watch is gone already"))?;
        let watch = watched.describe();
        self.queue.note(EventBody::WatchRemoved { watch: watch.clone() });
        Ok(watch)
    }

    fn rescan(&mut self, params: WatchIdParams) -> Result<Vec<Watch>, Refusal> {
        let ids = match params {
            WatchIdParams { id: None, path: None } => self.watches.keys().copied().collect(),
            params => vec![self.find_watch(&params)?],
        };
        for id in &ids {
            if let Some(watched) = self.watches.get_mut(id) {
                watched.next_full = Instant::now();
                watched.scan_cost = Duration::ZERO;
            }
            self.attend(*id);
        }
        Ok(ids.iter().filter_map(|id| self.watches.get(id)).map(Watched::describe).collect())
    }

    fn find_watch(&self, params: &WatchIdParams) -> Result<WatchId, Refusal> {
        let path = params.path.as_deref().map(absolute_from).transpose()?;
        let canonical = path.as_ref().and_then(|p| p.canonicalize().ok());
        let found = self.watches.values().map(|w| &w.row).find(|row| match (&params.id, &path) {
            (Some(id), _) => row.id == *id,
            (None, Some(path)) => row.path == *path || Some(&row.path) == canonical.as_ref(),
            (None, None) => false,
        });
        found.map(|row| row.id).ok_or_else(|| Refusal {
            kind: ErrorKind::NotFound,
            message: "this folder is not watched".to_owned(),
            hint: "`meshkiln watch list` shows what is".to_owned(),
        })
    }

    /// Begins to watch; the first scan is due at once.
    fn open(&mut self, row: WatchRow) {
        let known = self.table.files(row.id).unwrap_or_else(|e| {
            tracing::error!("files of {} cannot be read: {e}", row.path.display());
            BTreeMap::new()
        });
        let quiet = if is_remote(&row.path) { self.times.remote_quiet } else { self.times.quiet };
        let outputs = known.iter().filter_map(|(rel, k)| Some((k.output.clone()?, rel.clone()))).collect();
        let now = Instant::now();
        let watched = Watched {
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
            identity: None,
            outputs,
            complaints: BTreeMap::new(),
            untold: true,
            told: None,
            told_at: now,
            row,
        };
        self.watches.insert(watched.row.id, watched);
    }

    /// Everything that is due for one watch.
    fn attend(&mut self, id: WatchId) {
        let Some(mut watched) = self.watches.remove(&id) else { return };
        watched.look(&self.sender, &self.times, &self.find);
        while self.fire_batch(&mut watched) {}
        self.take_back_vanished(&mut watched);

        let now = Instant::now();
        if watched.untold && (watched.told.is_none() || now >= watched.told_at + TELL_EVERY) {
            let watch = watched.describe();
            if watched.told.as_ref() != Some(&watch) {
                self.queue.note(EventBody::Watch { watch: watch.clone() });
                watched.told = Some(watch);
            }
            watched.told_at = now;
            watched.untold = false;
        }
        self.watches.insert(id, watched);
    }

    /// Looks into files that are ready and queues what is new. Says whether there may be more.
    fn fire_batch(&mut self, watched: &mut Watched) -> bool {
        let ready = watched.reconciler.ready(Instant::now(), BATCH_FILES);
        watched.untold |= !ready.is_empty();
        let mut contents: Vec<(PathBuf, Stat, u64, Vec<u8>)> = Vec::new();
        let mut kept: Vec<PathBuf> = Vec::new();
        let mut bytes_read = 0;
        for (rel, listed) in &ready {
            if bytes_read > BATCH_BYTES {
                break;
            }
            let (stat, found, bytes) = watched.look_into(rel, *listed, &self.find);
            bytes_read += bytes.len() as u64;
            match watched.reconciler.looked_into(rel, stat, &found, Instant::now()) {
                Verdict::Fire { generation } => contents.push((rel.clone(), stat, generation, bytes)),
                Verdict::Nothing => kept.push(rel.clone()),
                Verdict::Wait => {}
            }
        }
        if let Err(refusal) = self.fire(watched, contents, &mut kept) {
            tracing::warn!("{}: {}; tried again", watched.row.path.display(), refusal.message);
            watched.trouble = Some(format!("{}; {}", refusal.message, refusal.hint));
            return false;
        }
        let rows: Vec<(PathBuf, Known)> =
            kept.iter().filter_map(|rel| Some((rel.clone(), watched.reconciler.get(rel)?.clone()))).collect();
        if let Err(e) = self.table.update(watched.row.id, &rows, &[], watched.row.fired) {
            tracing::error!("what was fired from {} cannot be remembered: {e}", watched.row.path.display());
        }
        ready.len() == BATCH_FILES || bytes_read > BATCH_BYTES
    }

    /// Stores and queues these files together; `kept` gains the ones that were.
    fn fire(
        &self,
        watched: &mut Watched,
        contents: Vec<(PathBuf, Stat, u64, Vec<u8>)>,
        kept: &mut Vec<PathBuf>,
    ) -> Result<(), Refusal> {
        if contents.is_empty() {
            return Ok(());
        }
        let mut planned: Vec<(PathBuf, Known, Submission)> = Vec::with_capacity(contents.len());
        for (rel, stat, generation, bytes) in &contents {
            let plan = match watched.plan_for(rel, &self.find) {
                Ok(plan) => plan,
                Err(_) => {
                    watched.reconciler.postpone(rel, Instant::now());
                    continue;
                }
            };
            let output = watched.take_output(rel, &plan);
            let sha256 = Digest::of(bytes).to_string();
            let submission = Submission {
                source_sha256: sha256.clone(),
                source_path: Some(watched.row.path.join(rel)),
                name: rel.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                plan,
                output: Some(output.clone()),
                class: Class::Watch,
                client: Some("watch".to_owned()),
                idempotency_key: Some(format!("watch:{}:{:?}:{generation}:{sha256}", watched.row.id, rel)),
                watch: Some(watched.row.id),
            };
            let known = Known {
                stat: *stat,
                state: KnownState::Fired,
                sha256: Some(sha256),
                generation: *generation,
                job: None,
                output: Some(output),
            };
            planned.push((rel.clone(), known, submission));
        }
        let postpone = |watched: &mut Watched, refusal: Refusal| {
            planned.iter().for_each(|(rel, ..)| watched.reconciler.postpone(rel, Instant::now()));
            refusal
        };
        let bytes = contents.into_iter().map(|(_, _, _, bytes)| bytes);
        self.blobs.put_many(bytes).map_err(|e| postpone(watched, storage(&e.to_string())))?;
        let submissions = planned.iter().map(|(_, _, submission)| submission.clone()).collect();
        let jobs = self.queue.submit(submissions).map_err(|refusal| postpone(watched, refusal))?;
        for ((rel, mut known, _), job) in planned.into_iter().zip(jobs) {
            known.job = Some(job);
            watched.reconciler.fired(&rel, known);
            watched.row.fired += 1;
            kept.push(rel);
        }
        Ok(())
    }

    fn take_back_vanished(&mut self, watched: &mut Watched) {
        let vanished = watched.reconciler.vanished(Instant::now());
        if vanished.is_empty() {
            return;
        }
        watched.untold = true;
        for (rel, known) in &vanished {
            tracing::info!("{} is gone", watched.row.path.join(rel).display());
            if let Some(job) = known.job {
                self.queue.cancel(job);
            }
        }
        let rows: Vec<(PathBuf, Known)> =
            vanished.iter().filter_map(|(rel, _)| Some((rel.clone(), watched.reconciler.get(rel)?.clone()))).collect();
        if let Err(e) = self.table.update(watched.row.id, &rows, &[], watched.row.fired) {
            tracing::error!("files gone from {} cannot be remembered: {e}", watched.row.path.display());
        }
    }
}

impl Watched {
    fn hint(&mut self, hint: Hint, due: Instant) {
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
    fn earliest_scan(&self) -> Instant {
        self.last_scan + self.scan_cost * 10
    }

    /// Scans what is due, and starts or stops the system's notices as the folder comes and goes.
    fn look(&mut self, sender: &SyncSender<Input>, times: &Times, find: &FindRecipe) {
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
    fn look_into(&mut self, rel: &Path, listed: Stat, find: &FindRecipe) -> (Stat, Found, Vec<u8>) {
        let (mut file, stat) = match open_beneath(&self.row.path, rel) {
            Ok(opened) => opened,
            Err(e) => {
                self.complain(rel, format!("cannot be opened: {e}; tried again"));
                return (listed, Found::Later, Vec::new());
            }
        };
        if stat.bytes > MAX_FILE_BYTES {
            self.complain(rel, format!("has {} bytes, more than {MAX_FILE_BYTES}: not fired", stat.bytes));
            return (stat, Found::Refused, Vec::new());
        }
        if self.plan_for(rel, find).is_err() {
            return (stat, Found::Later, Vec::new());
        }
        let mut bytes = Vec::with_capacity(stat.bytes as usize);
        if let Err(e) = (&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
            self.complain(rel, format!("cannot be read: {e}; tried again"));
            return (stat, Found::Later, Vec::new());
        }
        let after = file.metadata().map(|m| super::scan::stat(&m));
        if after.is_ok_and(|after| after != stat) || bytes.len() as u64 != stat.bytes {
            return (stat, Found::Moving, Vec::new());
        }
        if ownership::is_ours(&bytes) {
            return (stat, Found::Refused, Vec::new());
        }
        let sha256 = Digest::of(&bytes).to_string();
        let found = match complete::completeness(&bytes) {
            complete::Completeness::Truncated => Found::Short(sha256),
            complete::Completeness::Complete | complete::Completeness::Unknown => Found::Whole(sha256),
        };
        (stat, found, bytes)
    }

    fn plan_for(&self, rel: &Path, find: &FindRecipe) -> Result<Plan, String> {
        let recipe = self.rules.recipe_for(rel, &self.row.recipe, find)?;
        recipe.plan(&|_| false).map_err(|e| e.to_string())
    }

    /// The place of the picture's asset, from now on its own.
    fn take_output(&mut self, rel: &Path, plan: &Plan) -> PathBuf {
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
    fn complain(&mut self, rel: &Path, what: String) {
        if self.complaints.get(rel) != Some(&what) {
            tracing::warn!("{}: {what}", self.row.path.join(rel).display());
            self.complaints.insert(rel.to_owned(), what);
        }
    }

    fn describe(&self) -> Watch {
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
            problem: self.trouble.clone().or_else(|| self.rules.problem().map(str::to_owned)),
        }
    }
}

/// Whether a file could belong to both.
fn overlap(row: &WatchRow, path: &Path, recursive: bool) -> bool {
    (row.recursive && path.starts_with(&row.path)) || (recursive && row.path.starts_with(path))
}

fn absolute_from(text: &str) -> Result<PathBuf, Refusal> {
    let path = Path::new(text);
    if !path.is_absolute() || text.contains('\0') {
        return Err(Refusal {
            kind: ErrorKind::InvalidInput,
            message: format!("`{text}` is not an absolute path"),
            hint: "give the full path of the folder".to_owned(),
        });
    }
    Ok(path.components().collect())
}

/// The folder by its real name, so that it is not watched twice under two names.
fn folder_from(text: &str) -> Result<PathBuf, Refusal> {
    let path = absolute_from(text)?;
    let refused = |message: String, hint: &str| Refusal { kind: ErrorKind::NotFound, message, hint: hint.to_owned() };
    let real = path
        .canonicalize()
        .map_err(|e| refused(format!("{} cannot be read: {e}", path.display()), "create the folder first"))?;
    if !real.is_dir() {
        return Err(refused(format!("{} is not a folder", path.display()), "watch the folder the file is in"));
    }
    Ok(real)
}

fn storage(what: &str) -> Refusal {
    Refusal {
        kind: ErrorKind::Storage,
        message: format!("cannot be stored: {what}"),
        hint: "free some disk space, then it goes on by itself".to_owned(),
    }
}

fn unix_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
