//! The tables, and how an older database becomes a newer one.
//!
//! What changes often stands apart from what is long: rows of live jobs are small,
//! plans are kept once, progress is not kept at all.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::StoreError;

/// Each entry takes a database from version `index` to `index + 1`. Entries are
/// only ever appended.
const MIGRATIONS: &[&str] = &[V1, V2];

const V1: &str = "
-- Numbers by name: next_job, seq_reserved, events_trimmed, queue_paused, clean.
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE plans (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    recipe TEXT NOT NULL,
    pending TEXT NOT NULL,          -- its stages before they have run, as JSON
    json TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    class INTEGER NOT NULL,         -- 0 interactive, 1 watch, 2 batch
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    daemon_deaths INTEGER NOT NULL,
    not_before_ms INTEGER,
    submitted_ms INTEGER NOT NULL,
    started_ms INTEGER,
    finished_ms INTEGER,
    asset_sha256 TEXT,
    asset_bytes INTEGER,
    preview_sha256 TEXT,
    name TEXT NOT NULL,
    client TEXT,
    idempotency_key TEXT,
    watch INTEGER,
    source_sha256 TEXT NOT NULL,
    source_path BLOB,               -- paths as the system's bytes
    output BLOB,
    plan INTEGER NOT NULL REFERENCES plans (id),
    stages TEXT,                    -- JSON: state and time of each; null while all are pending
    error TEXT,                     -- JSON
    report TEXT                     -- JSON
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_queued ON jobs (class, id) WHERE state = 'queued';
CREATE INDEX jobs_ended ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_plan ON jobs (plan);
CREATE INDEX jobs_by_source ON jobs (source_sha256);
CREATE INDEX assets ON jobs (id) WHERE asset_sha256 IS NOT NULL;
CREATE INDEX assets_by_blob ON jobs (asset_sha256) WHERE asset_sha256 IS NOT NULL;
CREATE INDEX assets_by_preview ON jobs (preview_sha256) WHERE preview_sha256 IS NOT NULL;
CREATE INDEX assets_by_output ON jobs (output, id) WHERE asset_sha256 IS NOT NULL;
CREATE INDEX assets_by_source ON jobs (source_path, id) WHERE asset_sha256 IS NOT NULL;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    time_ms INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX logs_by_job ON logs (job, id);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    job INTEGER,
    body TEXT NOT NULL              -- JSON, a job without its stages and report
) STRICT;
CREATE INDEX events_by_time ON events (time_ms); -- small, hence quick to count
CREATE INDEX events_by_job ON events (job, seq) WHERE job IS NOT NULL;

-- What stages made, by cache key.
CREATE TABLE results (
    key TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX results_by_use ON results (used_ms, bytes);
CREATE TABLE outputs (
    key TEXT NOT NULL REFERENCES results (key) ON DELETE CASCADE,
    slot TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (key, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX outputs_by_blob ON outputs (sha256);

CREATE TABLE stage_times (
    stage TEXT NOT NULL,
    engine TEXT NOT NULL,
    usual_ms REAL NOT NULL,
    PRIMARY KEY (stage, engine)
) STRICT, WITHOUT ROWID;
";

const V2: &str = "
-- What nets were measured to take.
CREATE TABLE net_measures (
    device TEXT NOT NULL,
    net TEXT NOT NULL,
    resident_bytes INTEGER NOT NULL,
    working_bytes INTEGER NOT NULL,
    load_ms INTEGER NOT NULL,
    PRIMARY KEY (device, net)
) STRICT, WITHOUT ROWID;
";

pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let found: usize = conn.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize;
    if found > MIGRATIONS.len() {
        return Err(StoreError::Newer { found, known: MIGRATIONS.len() });
    }
    for (version, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let tx = Transaction::new(conn, TransactionBehavior::Immediate)?;
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "user_version", version as u32 + 1)?;
        tx.commit()?;
    }
    Ok(())
}
