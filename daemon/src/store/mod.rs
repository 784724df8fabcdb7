//! What the daemon keeps on disk: jobs, results, events and logs in SQLite, bytes
//! in the blob store.
//!
//! One `Store` writes, in the loop's thread. Any number of `Reader`s read beside
//! it, each from a consistent snapshot, and never wait for it.

pub mod blobs;
pub mod reader;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod trim;
pub mod write;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use meshkiln_models::recipe::RecipeError;
use meshkiln_protocol::{
    error::ErrorKind,
    job::{JobId, JobState},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, ffi};
use serde_json::Value as Json;

use crate::{
    jobs::Job,
    main_loop::Refusal,
    residency::{Measured, Measures},
    state::{Loaded, Outputs, Stored, view::UsualTimes},
    worker::frames::Output,
};
use blobs::BlobStore;
pub use reader::Reader;
pub use write::Writes;

/// 3.51.3: the first SQLite without the bug that could corrupt a database when two
/// connections wrote or checkpointed at once.
const OLDEST_SQLITE: i32 = 3_051_003;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;
/// A report is a few kilobytes; nothing larger is read whole into a row.
const LONGEST_REPORT: u64 = 1 << 20;

pub struct Store {
    conn: Connection,
    path: PathBuf,
    blobs: BlobStore,
    /// The daemon before did not stop by itself.
    unclean: bool,
    /// Event numbers up to here may be given out without asking.
    seq_reserved: u64,
    /// Last event number that may have been given out before.
    first_seq: u64,
    /// Sum over all results, for the collector.
    result_bytes: u64,
    /// Results were over their limit and are not yet far enough below it.
    evicting: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("SQLite {found} is too old: {OLDEST_SQLITE} is the oldest without a known corruption bug")]
    OldSqlite { found: i32 },
    #[error("the database has version {found}, this program knows up to {known}")]
    Newer { found: usize, known: usize },
    #[error("job {job} has ended or is in a later attempt than {attempt}")]
    Fenced { job: JobId, attempt: u32 },
    #[error("this version cannot run the job's recipe: {0}")]
    Plan(#[from] RecipeError),
}

impl StoreError {
    /// The disk lies or is broken: after a failed sync nobody knows what is on it,
    /// so the only safe thing is to stop and start from what is there.
    pub fn is_fatal(&self) -> bool {
        let StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        let spared = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP];
        match error.extended_code & 0xff {
            // A failed write, unlike a failed sync, has been rolled back and may work later.
            ffi::SQLITE_IOERR => !spared.contains(&error.extended_code),
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => true,
            _ => false,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let (kind, hint) = match &error {
            StoreError::Plan(problem) => (ErrorKind::InvalidInput, problem.hint.clone()),
            _ => (ErrorKind::Storage, "`meshkiln doctor` looks for the cause".to_owned()),
        };
        Refusal { kind, message: error.to_string(), hint }
    }
}

impl Store {
    /// Creates or upgrades the database, and marks it as in use until `stop`.
    pub fn open(path: &Path, blobs: BlobStore) -> Result<Store, StoreError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(StoreError::OldSqlite { found: rusqlite::version_number() });
        }
        let mut conn = Connection::open(path)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        if cfg!(target_os = "macos") {
            conn.pragma_update(None, "fullfsync", true)?;
            conn.pragma_update(None, "checkpoint_fullfsync", true)?;
        }
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        conn.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
        conn.set_prepared_statement_cache_capacity(64);
        schema::migrate(&mut conn)?;

        let clean = meta(&conn, "clean")?;
        let seq = meta(&conn, "seq_reserved")?.unwrap_or(0) as u64;
        let result_bytes: i64 = conn.query_row("SELECT coalesce(sum(bytes), 0) FROM results", [], |row| row.get(0))?;
        let tx = Transaction::new(&mut conn, TransactionBehavior::Immediate)?;
        write::set_meta(&tx, "clean", 0)?;
        tx.commit()?;
        Ok(Store {
            conn,
            path: path.to_owned(),
            blobs,
            unclean: clean == Some(0),
            seq_reserved: seq,
            first_seq: seq,
            result_bytes: result_bytes as u64,
            evicting: false,
        })
    }

    pub fn reader(&self) -> Reader {
        Reader::new(&self.path)
    }

    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(crate) fn set_busy_timeout(&mut self, timeout: Duration) {
        self.conn.busy_timeout(timeout).expect("an open connection takes a timeout");
    }

    /// The daemon before did not stop by itself: the file wants a check.
    pub fn was_unclean(&self) -> bool {
        self.unclean
    }

    /// Numbers of events go on from here.
    pub fn last_seq(&self) -> u64 {
        self.first_seq
    }

    /// Bytes of everything that stages made and that is still known.
    pub fn result_bytes(&self) -> u64 {
        self.result_bytes
    }

    /// Live jobs and what else the state needs at start. `unclean`: they were left
    /// by a daemon that did not stop by itself.
    pub fn load(&self, unclean: bool) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded { unclean, ..Loaded::default() };
        let mut plans = rows::Plans::default();
        let live = "WHERE j.state IN ('queued', 'paused', 'running') ORDER BY j.id";
        let mut select = self.conn.prepare(&format!("{} {live}", rows::SELECT_JOB))?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            match rows::full_job(&self.conn, row, &mut plans)? {
                (job, None) => loaded.jobs.push(job),
                (job, Some(problem)) => loaded.unreadable.push((job, problem)),
            }
        }
        loaded.queue_paused = meta(&self.conn, "queue_paused")? == Some(1);
        loaded.next_job = meta(&self.conn, "next_job")?.unwrap_or(1) as u64;
        let mut times = self.conn.prepare("SELECT stage, engine, usual_ms FROM stage_times")?;
        let times = times.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        loaded.usual = UsualTimes(times.collect::<rusqlite::Result<_>>()?);
        let mut measures =
            self.conn.prepare("SELECT device, net, resident_bytes, working_bytes, load_ms FROM net_measures")?;
        let measures = measures.query_map([], |row| {
            let key = (row.get(0)?, row.get::<_, String>(1)?.into());
            let [resident_bytes, working_bytes, load_ms] = [2, 3, 4].map(|at| row.get::<_, i64>(at));
            let measured = Measured {
                resident_bytes: resident_bytes? as u64,
                working_bytes: working_bytes? as u64,
                load_ms: load_ms? as u64,
            };
            Ok((key, measured))
        })?;
        loaded.measures = Measures(measures.collect::<rusqlite::Result<_>>()?);
        Ok(loaded)
    }
}

impl Stored for Store {
    fn result(&self, key: &str) -> Option<Outputs> {
        let outputs = logged("result", || {
            let mut select = self.conn.prepare_cached("SELECT slot, sha256, bytes FROM outputs WHERE key = ?1")?;
            let rows = select.query_map([key], |row| {
                Ok((row.get(0)?, Output { sha256: row.get(1)?, bytes: row.get::<_, i64>(2)? as u64 }))
            })?;
            rows.collect::<rusqlite::Result<Outputs>>()
        })?;
        (!outputs.is_empty()).then_some(outputs)
    }

    fn job(&self, id: JobId) -> Option<Job> {
        Some(logged("job", || rows::one_job(&self.conn, id))??.0)
    }

    fn job_with_key(&self, key: &str) -> Option<JobId> {
        logged("idempotency key", || {
            let mut select = self.conn.prepare_cached("SELECT id FROM jobs WHERE idempotency_key = ?1")?;
            select.query_row([key], |row| Ok(JobId(row.get::<_, i64>(0)? as u64))).optional()
        })?
    }

    fn count(&self, states: &[JobState], except: &BTreeSet<JobId>) -> u64 {
        let count = || {
            let mut all = self.conn.prepare_cached("SELECT count(*) FROM jobs WHERE state = ?1")?;
            let mut one = self.conn.prepare_cached("SELECT count(*) FROM jobs WHERE state = ?1 AND id = ?2")?;
            let mut n = 0;
            for state in states {
                n += all.query_row([state.id()], |row| row.get::<_, i64>(0))?;
                for id in except {
                    n -= one.query_row((state.id(), id.0 as i64), |row| row.get::<_, i64>(0))?;
                }
            }
            Ok(n as u64)
        };
        logged("count", count).unwrap_or(0)
    }

    fn has_blob(&self, sha256: &str) -> bool {
        sha256.parse().is_ok_and(|digest| self.blobs.contains(digest))
    }

    fn json(&self, sha256: &str) -> Option<Json> {
        let digest = sha256.parse().ok()?;
        if self.blobs.len(digest)? > LONGEST_REPORT {
            return None;
        }
        serde_json::from_slice(&self.blobs.get(digest).ok()?).ok()
    }
}

/// What is wrong with the database, in words; nothing when it is sound. Reads all
/// of it on a connection of its own.
pub fn damage(path: &Path) -> Option<String> {
    let check = || {
        let conn = open_read_only(path)?;
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(verdict) if verdict == "ok" => None,
        Ok(verdict) => Some(format!("the database {} is damaged: {verdict}", path.display())),
        Err(e) => Some(format!("the database {} cannot be checked: {e}", path.display())),
    }
}

fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn meta(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// The state asks questions that have no place for an error: what cannot be read
/// is as good as absent, and the turn's commit will meet the same trouble.
fn logged<T>(what: &str, read: impl FnOnce() -> rusqlite::Result<T>) -> Option<T> {
    read().inspect_err(|e| tracing::error!("{what} cannot be read from the database: {e}")).ok()
}
