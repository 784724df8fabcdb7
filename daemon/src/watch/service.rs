//! The watching thread: hears hints and requests, lists, takes snapshots, queues jobs.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    error::ErrorKind,
    event::EventBody,
    job::{Class, JobId},
    watch::{Watch, WatchAddParams, WatchId, WatchIdParams},
};

use super::{
    Input, Request, WatchHandle,
    reconcile::{Known, KnownState, Verdict},
    rules::FindRecipe,
    scan::Stat,
    table::{Table, WatchRow},
    watched::{Times, Watched},
};
use crate::{
    main_loop::{Refusal, Submission},
    recipes::Nets,
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

struct Service {
    inbox: Receiver<Input>,
    sender: SyncSender<Input>,
    table: Table,
    blobs: BlobStore,
    queue: Box<dyn Queue>,
    find: FindRecipe,
    nets: Nets,
    times: Times,
    watches: BTreeMap<WatchId, Watched>,
}

/// Starts the thread; watches of an earlier run are scanned at once.
pub fn start(
    table: Table,
    blobs: BlobStore,
    queue: Box<dyn Queue>,
    find: FindRecipe,
    nets: Nets,
    times: Times,
) -> io::Result<(WatchHandle, JoinHandle<()>)> {
    let (sender, inbox) = sync_channel(INBOX);
    let handle = WatchHandle::new(sender.clone());
    let mut service = Service { inbox, sender, table, blobs, queue, find, nets, times, watches: BTreeMap::new() };
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
        let found = (self.find)(&recipe).ok_or_else(|| Refusal {
            kind: ErrorKind::NotFound,
            message: format!("there is no recipe `{recipe}`"),
            hint: "`meshkiln recipes` lists them".to_owned(),
        })?;
        if found.steps.first().is_none_or(|step| step.stage != "decode") {
            return Err(Refusal {
                kind: ErrorKind::InvalidInput,
                message: format!("recipe `{recipe}` is not for pictures, which is what is watched for"),
                hint: "name a recipe that begins with `decode`".to_owned(),
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
        self.watches.insert(row.id, Watched::new(row, known, &self.times));
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
            let plan = match watched.plan_for(rel, &self.find, &*self.nets) {
                Ok(plan) => plan,
                Err(e) => {
                    watched.complain(rel, format!("is not fired: {e}; it is tried again"));
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
            watched.note(&rel, "fired");
            kept.push(rel);
        }
        Ok(())
    }

    fn take_back_vanished(&mut self, watched: &mut Watched) {
        let vanished = watched.reconciler.vanished(Instant::now());
        if vanished.is_empty() {
            return;
        }
        for (rel, known) in &vanished {
            watched.note(rel, "is gone");
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
