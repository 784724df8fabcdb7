//! Reads for clients: jobs, assets, logs and events, each from one snapshot of the
//! database, with what only the loop knows laid over it from its `View`.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use meshkiln_protocol::{
    UnixMs,
    asset::{Asset, AssetListParams, AssetPage},
    event::{Event, EventBody, EventPage},
    job::{AssetRef, Class, Job, JobId, JobListParams, JobLog, JobPage, JobState, LogLine},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, meta, open_read_only, rows};
use crate::{main_loop::Submission, state::view::View};

const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 500;
/// Connections kept for the next reader; more are opened when many read at once.
const IDLE_CONNECTIONS: usize = 8;

/// Cheap to clone; readers do not wait for each other.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    pub(super) fn new(path: &Path) -> Reader {
        Reader { path: path.to_owned(), idle: Arc::default() }
    }

    pub fn job(&self, id: JobId, view: &View) -> Result<Option<Job>, StoreError> {
        self.read(|conn| {
            let mut select = conn.prepare_cached(&format!("{} WHERE j.id = ?1", rows::SELECT_JOB))?;
            let Some(job) = select.query_row([id.0 as i64], rows::wire_job).optional()? else { return Ok(None) };
            let mut jobs = [job];
            overlay(conn, &mut jobs, view)?;
            let [job] = jobs;
            Ok(Some(job))
        })
    }

    /// Newest first. A limit outside 1 to 500 is brought into it.
    pub fn jobs(&self, params: &JobListParams, view: &View) -> Result<JobPage, StoreError> {
        let limit = page_length(params.limit);
        self.read(|conn| {
            let before = params.before.map_or(i64::MAX, |id| id.0.min(i64::MAX as u64) as i64);
            let mut ids: Vec<i64> = Vec::new();
            if params.states.is_empty() {
                let mut select = conn.prepare_cached("SELECT id FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
                ids.extend(numbers(&mut select, params![before, limit + 1])?);
            } else {
                // One walk of the index a state: a rare state is found without reading the others.
                let mut select =
                    conn.prepare_cached("SELECT id FROM jobs WHERE state = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2")?;
                let states = JobState::ALL.iter().filter(|state| params.states.contains(state));
                for state in states {
                    ids.extend(numbers(&mut select, params![before, limit + 1, state.id()])?);
                }
                ids.sort_unstable_by(|a, b| b.cmp(a));
            }
            let more = ids.len() > limit as usize;
            ids.truncate(limit as usize);

            let mut select = conn.prepare_cached(&format!("{} WHERE j.id = ?1", rows::SELECT_JOB))?;
            let mut jobs =
                ids.iter().map(|id| select.query_row([id], rows::wire_job)).collect::<rusqlite::Result<Vec<Job>>>()?;
            overlay(conn, &mut jobs, view)?;
            let next = jobs.last().filter(|_| more).map(|job| job.id);
            Ok(JobPage { jobs, next })
        })
    }

    /// The newest asset with this id, or with this path as its output or source.
    pub fn asset(&self, asset: &AssetRef) -> Result<Option<Asset>, StoreError> {
        self.read(|conn| {
            let id = match (asset.id, &asset.path) {
                (Some(id), _) => Some(id.0 as i64),
                (None, Some(path)) => {
                    let path = rows::path_bytes(Path::new(path));
                    let newest = |column: &str| {
                        conn.prepare_cached(&format!(
                            "SELECT max(id) FROM jobs WHERE {column} = ?1 AND asset_sha256 IS NOT NULL"
                        ))?
                        .query_row([&path], |row| row.get::<_, Option<i64>>(0))
                    };
                    newest("output")?.max(newest("source_path")?)
                }
                (None, None) => None,
            };
            let Some(id) = id else { return Ok(None) };
            let select = format!("{} WHERE j.id = ?1 AND j.asset_sha256 IS NOT NULL", rows::SELECT_JOB);
            Ok(conn.prepare_cached(&select)?.query_row([id], rows::wire_asset).optional()?)
        })
    }

    /// Newest first. A limit outside 1 to 500 is brought into it.
    pub fn assets(&self, params: &AssetListParams) -> Result<AssetPage, StoreError> {
        let limit = page_length(params.limit);
        self.read(|conn| {
            let before = params.before.map_or(i64::MAX, |id| id.0.min(i64::MAX as u64) as i64);
            let mut select = conn.prepare_cached(&format!(
                "{} WHERE j.asset_sha256 IS NOT NULL AND j.id < ?1 ORDER BY j.id DESC LIMIT ?2",
                rows::SELECT_JOB
            ))?;
            let mut assets = select
                .query_map(params![before, limit + 1], rows::wire_asset)?
                .collect::<rusqlite::Result<Vec<Asset>>>()?;
            let more = assets.len() > limit as usize;
            assets.truncate(limit as usize);
            let next = assets.last().filter(|_| more).map(|asset| asset.id);
            Ok(AssetPage { assets, next })
        })
    }

    /// None when there is no such job.
    pub fn log(&self, id: JobId) -> Result<Option<JobLog>, StoreError> {
        self.read(|conn| {
            let known = conn.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?.exists([id.0 as i64])?;
            if !known {
                return Ok(None);
            }
            let mut select = conn.prepare_cached("SELECT time_ms, text FROM logs WHERE job = ?1 ORDER BY id")?;
            let lines = select
                .query_map([id.0 as i64], |row| {
                    Ok(LogLine { time_ms: row.get::<_, i64>(0)? as UnixMs, text: row.get(1)? })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(JobLog { id, lines }))
        })
    }

    /// Kept events after `since`, oldest first; progress events are never among them.
    /// A job that is no longer kept is told without its stages and report.
    pub fn events(&self, since: u64, limit: u32, job: Option<JobId>) -> Result<EventPage, StoreError> {
        self.read(|conn| {
            let condition = if job.is_some() { "AND e.job = ?3" } else { "AND ?3 IS NULL" };
            let mut select = conn.prepare_cached(&format!(
                "SELECT e.seq, e.time_ms, e.body, j.state, j.attempt, j.report, j.stages, p.pending
                 FROM events e LEFT JOIN jobs j ON j.id = e.job LEFT JOIN plans p ON p.id = j.plan
                 WHERE e.seq > ?1 {condition} ORDER BY e.seq LIMIT ?2"
            ))?;
            let since_row = since.min(i64::MAX as u64) as i64;
            let events = select
                .query_map(params![since_row, limit, job.map(|id| id.0 as i64)], event_in)?
                .collect::<rusqlite::Result<Vec<Event>>>()?;
            let trimmed = meta(conn, "events_trimmed")?.unwrap_or(0) as u64;
            let next = events.last().map_or(since, |event| event.seq);
            Ok(EventPage { events, next, lost: since < trimmed })
        })
    }

    /// What was submitted, to fire it again with other settings.
    pub fn submission(&self, id: JobId) -> Result<Option<Submission>, StoreError> {
        self.read(|conn| match rows::one_job(conn, id)? {
            None => Ok(None),
            Some((_, Some(problem))) => Err(problem.into()),
            Some((job, None)) => Ok(Some(Submission {
                source_sha256: job.source_sha256,
                source_path: job.source_path,
                name: job.name,
                plan: job.plan.plan.clone(),
                output: job.output,
                class: job.class,
                client: job.client.as_deref().map(str::to_owned),
                idempotency_key: None,
                watch: job.watch,
            })),
        })
    }

    /// One snapshot: what `read` asks is answered as of one moment.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let pool = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = pool().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => open_read_only(&self.path)?,
        };
        let tx = conn.unchecked_transaction()?;
        let result = read(tx.deref());
        drop(tx);
        let mut idle = pool();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(conn);
        }
        result
    }
}

/// A job's stages and report come from its row, if that is still there: as they
/// are when it is in the state it was in, as they were before the start otherwise.
fn event_in(row: &Row) -> rusqlite::Result<Event> {
    let mut body: EventBody = rows::json_of(row, "body")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    if let EventBody::Job { job } = &mut body {
        let state: Option<String> = row.get("state")?;
        let same =
            state.as_deref() == Some(job.state.id()) && row.get::<_, Option<u32>>("attempt")? == Some(job.attempt);
        if same && job.state.is_final() {
            job.stages = rows::stages_in(row)?;
            job.report = rows::json_of(row, "report")?;
        } else {
            job.stages = rows::json_of(row, "pending")?.unwrap_or_default();
        }
    }
    Ok(Event { seq: row.get::<_, i64>("seq")? as u64, time_ms: row.get::<_, i64>("time_ms")? as UnixMs, body })
}

/// Progress from the view; position by counting who is queued before, neighbour by
/// neighbour, so that a page costs one walk of the queue at most.
fn overlay(conn: &Connection, jobs: &mut [Job], view: &View) -> rusqlite::Result<()> {
    for job in jobs.iter_mut().filter(|job| job.state == JobState::Running) {
        job.progress = view.progress.get(&job.id).cloned();
        job.waits_for = view.waits.get(&job.id).cloned();
    }
    for job in jobs.iter_mut().filter(|job| job.state == JobState::Queued) {
        job.waits_for = view.hold.clone();
    }
    if jobs.iter().all(|job| job.state != JobState::Queued) {
        return Ok(());
    }
    let mut count = conn
        .prepare_cached("SELECT count(*) FROM jobs WHERE state = 'queued' AND class = ?1 AND id >= ?2 AND id < ?3")?;
    let mut count = |class: Class, from: u64, to: u64| {
        count.query_row(params![rows::class_number(class), from as i64, to.min(i64::MAX as u64) as i64], |row| {
            row.get::<_, i64>(0)
        })
    };
    let mut better = 0;
    for class in [Class::Interactive, Class::Watch, Class::Batch] {
        let mut queued: Vec<&mut Job> =
            jobs.iter_mut().filter(|job| job.state == JobState::Queued && job.class == class).collect();
        queued.sort_by_key(|job| job.id);
        let (mut before, mut from) = (better, 0);
        for job in queued {
            before += count(class, from, job.id.0)?;
            from = job.id.0;
            job.position = Some(before as u32);
        }
        better += count(class, 0, u64::MAX)?;
    }
    Ok(())
}

fn page_length(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE)
}

fn numbers(select: &mut rusqlite::CachedStatement, params: impl rusqlite::Params) -> rusqlite::Result<Vec<i64>> {
    select.query_map(params, |row| row.get(0))?.collect()
}
