//! Watched folders and what was fired from them, over restarts.
//!
//! A database of its own with one writer, the watching thread. Losing its last
//! moments is harmless: a file fired again carries the same idempotency key.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use meshkiln_protocol::{job::JobId, watch::WatchId};
use rusqlite::{Connection, Row, params};

use super::{
    reconcile::{Known, KnownState},
    scan::Stat,
};

pub struct Table {
    db: Connection,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WatchRow {
    pub id: WatchId,
    pub path: PathBuf,
    pub recipe: String,
    pub out: Option<PathBuf>,
    pub recursive: bool,
    /// Handed to the queue, in all.
    pub fired: u64,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS watches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL UNIQUE,
        recipe TEXT NOT NULL,
        out BLOB,
        recursive INTEGER NOT NULL,
        fired INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE IF NOT EXISTS files (
        watch INTEGER NOT NULL REFERENCES watches(id) ON DELETE CASCADE,
        rel BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        file INTEGER NOT NULL,
        sha256 TEXT,
        generation INTEGER NOT NULL,
        job INTEGER,
        output BLOB,
        state INTEGER NOT NULL,
        PRIMARY KEY (watch, rel)
    ) STRICT, WITHOUT ROWID;
";

impl Table {
    pub fn open(path: &Path) -> rusqlite::Result<Table> {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "journal_size_limit", 16 << 20)?;
        db.execute_batch(SCHEMA)?;
        Ok(Table { db })
    }

    pub fn watches(&self) -> rusqlite::Result<Vec<WatchRow>> {
        let mut query = self.db.prepare("SELECT id, path, recipe, out, recursive, fired FROM watches ORDER BY id")?;
        let rows = query.query_map([], |row| {
            Ok(WatchRow {
                id: WatchId(row.get::<_, i64>(0)? as u64),
                path: path_from(row.get(1)?),
                recipe: row.get(2)?,
                out: row.get::<_, Option<Vec<u8>>>(3)?.map(path_from),
                recursive: row.get(4)?,
                fired: row.get::<_, i64>(5)? as u64,
            })
        })?;
        rows.collect()
    }

    pub fn add(
        &mut self,
        path: &Path,
        recipe: &str,
        out: Option<&Path>,
        recursive: bool,
    ) -> rusqlite::Result<WatchRow> {
        self.db.execute(
            "INSERT INTO watches (path, recipe, out, recursive) VALUES (?1, ?2, ?3, ?4)",
            params![bytes_of(path), recipe, out.map(bytes_of), recursive],
        )?;
        let id = WatchId(self.db.last_insert_rowid() as u64);
        let (path, out) = (path.to_owned(), out.map(Path::to_owned));
        Ok(WatchRow { id, path, recipe: recipe.to_owned(), out, recursive, fired: 0 })
    }

    pub fn remove(&mut self, id: WatchId) -> rusqlite::Result<()> {
        self.db.execute("DELETE FROM watches WHERE id = ?1", [id.0 as i64]).map(|_| ())
    }

    pub fn files(&self, watch: WatchId) -> rusqlite::Result<BTreeMap<PathBuf, Known>> {
        let mut query = self.db.prepare(
            "SELECT rel, bytes, modified, changed, file, sha256, generation, job, output, state
             FROM files WHERE watch = ?1",
        )?;
        let rows = query.query_map([watch.0 as i64], |row| Ok((path_from(row.get(0)?), known(row)?)))?;
        rows.collect()
    }

    /// Remembers and forgets files of a watch and its count, in one transaction.
    pub fn update(
        &mut self,
        watch: WatchId,
        kept: &[(PathBuf, Known)],
        forgotten: &[PathBuf],
        fired: u64,
    ) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO files
                 (watch, rel, bytes, modified, changed, file, sha256, generation, job, output, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?;
            for (rel, known) in kept {
                put.execute(params![
                    watch.0 as i64,
                    bytes_of(rel),
                    known.stat.bytes as i64,
                    known.stat.modified,
                    known.stat.changed,
                    known.stat.file as i64,
                    known.sha256,
                    known.generation as i64,
                    known.job.map(|job| job.0 as i64),
                    known.output.as_deref().map(bytes_of),
                    state_number(known.state),
                ])?;
            }
            let mut forget = transaction.prepare_cached("DELETE FROM files WHERE watch = ?1 AND rel = ?2")?;
            for rel in forgotten {
                forget.execute(params![watch.0 as i64, bytes_of(rel)])?;
            }
            transaction
                .prepare_cached("UPDATE watches SET fired = ?2 WHERE id = ?1")?
                .execute(params![watch.0 as i64, fired as i64])?;
        }
        transaction.commit()
    }
}

fn known(row: &Row) -> rusqlite::Result<Known> {
    Ok(Known {
        stat: Stat {
            bytes: row.get::<_, i64>(1)? as u64,
            modified: row.get(2)?,
            changed: row.get(3)?,
            file: row.get::<_, i64>(4)? as u64,
        },
        sha256: row.get(5)?,
        generation: row.get::<_, i64>(6)? as u64,
        job: row.get::<_, Option<i64>>(7)?.map(|job| JobId(job as u64)),
        output: row.get::<_, Option<Vec<u8>>>(8)?.map(path_from),
        state: match row.get::<_, i64>(9)? {
            1 => KnownState::Refused,
            2 => KnownState::Vanished,
            _ => KnownState::Fired,
        },
    })
}

fn state_number(state: KnownState) -> i64 {
    match state {
        KnownState::Fired => 0,
        KnownState::Refused => 1,
        KnownState::Vanished => 2,
    }
}

/// Names need not be UTF-8 on every system; their own bytes are kept.
fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(unix)]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_a_restart_and_go_with_their_watch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.sqlite");
        let known = Known {
            stat: Stat { bytes: 1, modified: 2, changed: 3, file: u64::MAX },
            sha256: Some("x".into()),
            generation: 4,
            job: Some(JobId(5)),
            output: Some("/o.glb".into()),
            state: KnownState::Vanished,
        };
        let id = {
            let mut table = Table::open(&path).unwrap();
            let row = table.add(Path::new("/in"), "prop", None, true).unwrap();
            assert!(table.add(Path::new("/in"), "prop", None, true).is_err());
            table.update(row.id, &[("a.png".into(), known.clone()), ("b.png".into(), known.clone())], &[], 2).unwrap();
            table.update(row.id, &[], &["b.png".into()], 2).unwrap();
            row.id
        };
        let mut table = Table::open(&path).unwrap();
        assert_eq!(table.watches().unwrap()[0].fired, 2);
        assert_eq!(table.files(id).unwrap(), BTreeMap::from([("a.png".into(), known)]));
        table.remove(id).unwrap();
        assert!(table.files(id).unwrap().is_empty());
    }
}
