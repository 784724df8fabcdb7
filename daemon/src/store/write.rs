//! One turn of the loop, in one transaction.

use meshkiln_protocol::{
    UnixMs,
    event::{Event, EventBody},
    job::{self as wire, JobId},
};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::{
    Store, StoreError,
    rows::{class_number, path_bytes, stages_text},
};
use crate::{
    jobs::{Job, SharedPlan},
    residency::Measures,
    state::{Changes, view::UsualTimes},
};

/// Lines kept of one job.
const LOG_LINES: i64 = 200;

/// Everything of one turn that must be durable before its effects leave.
pub struct Writes<'a> {
    pub now_ms: UnixMs,
    pub changes: &'a Changes,
    /// Those that `changes.jobs` names.
    pub jobs: Vec<&'a Job>,
    pub next_job: u64,
    pub usual: &'a UsualTimes,
    pub measures: &'a Measures,
    /// Progress events among them get a number, but no row.
    pub events: &'a [Event],
    pub logs: &'a [(JobId, String)],
}

impl Store {
    /// All or nothing. A turn that changed nothing costs nothing.
    pub fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let last_seq = writes.events.last().map_or(0, |event| event.seq);
        if writes.is_empty() && last_seq <= self.seq_reserved {
            return Ok(());
        }
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate)?;
        let reserved = reserve_seq(&tx, last_seq, self.seq_reserved)?;
        clear(&tx, writes.changes)?;
        for job in &writes.jobs {
            if writes.changes.new_jobs.contains(&job.id) {
                insert_job(&tx, job)?;
            } else {
                update_job(&tx, job, writes.changes.retried.contains(&job.id))?;
            }
        }
        if !writes.changes.new_jobs.is_empty() {
            set_meta(&tx, "next_job", writes.next_job as i64)?;
        }
        if let Some(paused) = writes.changes.queue_paused {
            set_meta(&tx, "queue_paused", i64::from(paused))?;
        }
        write_results(&tx, writes)?;
        write_events(&tx, writes.events)?;
        write_logs(&tx, writes)?;
        tx.commit()?;
        self.seq_reserved = reserved;
        self.result_bytes += added_bytes(writes);
        Ok(())
    }

    /// Whether there is room to write: tries with 64 KiB.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        self.conn
            .execute_batch(
                "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS probe (filler BLOB);
             INSERT INTO probe VALUES (zeroblob(65536));
             COMMIT;",
            )
            .and_then(|()| self.conn.execute_batch("DROP TABLE probe"))
            .map_err(|e| {
                // The failed statement may have left the transaction open.
                let _ = self.conn.execute_batch("ROLLBACK");
                e.into()
            })
    }

    /// The daemon ends by itself: nothing was running, no number is wasted.
    pub fn stop(mut self, last_seq: u64) -> Result<(), StoreError> {
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate)?;
        set_meta(&tx, "seq_reserved", last_seq as i64)?;
        set_meta(&tx, "clean", 1)?;
        tx.commit()?;
        Ok(())
    }
}

impl Writes<'_> {
    fn is_empty(&self) -> bool {
        let changes = self.changes;
        self.jobs.is_empty()
            && self.logs.is_empty()
            && changes.results.is_empty()
            && changes.touched.is_empty()
            && changes.forgotten.is_empty()
            && changes.usual.is_empty()
            && changes.measured.is_empty()
            && changes.queue_paused.is_none()
            && changes.clear.is_empty()
            && !self.events.iter().any(has_row)
    }
}

pub(super) fn set_meta(tx: &Transaction, name: &str, value: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute(params![name, value])?;
    Ok(())
}

/// Numbers are reserved in blocks, so that those of progress events, which have
/// no row, are not given twice after a crash.
fn reserve_seq(tx: &Transaction, last: u64, reserved: u64) -> rusqlite::Result<u64> {
    const BLOCK: u64 = 10_000;
    if last <= reserved {
        return Ok(reserved);
    }
    set_meta(tx, "seq_reserved", (last + BLOCK) as i64)?;
    Ok(last + BLOCK)
}

fn clear(tx: &Transaction, changes: &Changes) -> rusqlite::Result<()> {
    for state in &changes.clear {
        let ids: Vec<i64> = tx
            .prepare_cached("SELECT id FROM jobs WHERE state = ?1")?
            .query_map([state.id()], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut delete = tx.prepare_cached("DELETE FROM jobs WHERE id = ?1")?;
        for id in ids.into_iter().filter(|&id| !changes.jobs.contains(&JobId(id as u64))) {
            delete.execute([id])?;
        }
    }
    Ok(())
}

fn insert_job(tx: &Transaction, job: &Job) -> rusqlite::Result<()> {
    let plan = plan_row(tx, &job.plan)?;
    tx.prepare_cached(
        "INSERT INTO jobs (id, state, class, attempt, crashes, errors, daemon_deaths, not_before_ms,
             submitted_ms, started_ms, finished_ms, asset_sha256, asset_bytes, preview_sha256, name, client,
             idempotency_key, watch, source_sha256, source_path, output, plan, stages, error, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
             ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
    )?
    .execute(params![
        job.id.0 as i64,
        job.state.id(),
        class_number(job.class),
        job.attempt,
        job.crashes,
        job.errors,
        job.daemon_deaths,
        job.not_before_ms.map(|ms| ms as i64),
        job.submitted_ms as i64,
        job.started_ms.map(|ms| ms as i64),
        job.finished_ms.map(|ms| ms as i64),
        asset(job).map(|(sha256, _)| sha256),
        asset(job).map(|(_, bytes)| bytes),
        job.finished.as_ref().and_then(|f| f.preview_sha256.as_deref()),
        job.name,
        job.client.as_deref(),
        job.idempotency_key,
        job.watch.map(|id| id.0 as i64),
        job.source_sha256,
        job.source_path.as_deref().map(path_bytes),
        job.output.as_deref().map(path_bytes),
        plan,
        stages(job),
        job.error.as_ref().map(json),
        job.finished.as_ref().and_then(|f| f.report.as_ref()).map(json),
    ])?;
    Ok(())
}

/// The attempt is the fence: a row that ended, or is in a later attempt, stays as
/// it is, and the turn that tried to change it is void.
fn update_job(tx: &Transaction, job: &Job, retried: bool) -> Result<(), StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE jobs SET state = ?2, attempt = ?3, crashes = ?4, errors = ?5, daemon_deaths = ?6,
                 not_before_ms = ?7, started_ms = ?8, finished_ms = ?9, asset_sha256 = ?10, asset_bytes = ?11,
                 preview_sha256 = ?12, stages = ?13, error = ?14, report = ?15, class = ?17
             WHERE id = ?1 AND attempt <= ?3
                 AND (?16 OR state NOT IN ('done', 'failed', 'cancelled', 'dead'))",
        )?
        .execute(params![
            job.id.0 as i64,
            job.state.id(),
            job.attempt,
            job.crashes,
            job.errors,
            job.daemon_deaths,
            job.not_before_ms.map(|ms| ms as i64),
            job.started_ms.map(|ms| ms as i64),
            job.finished_ms.map(|ms| ms as i64),
            asset(job).map(|(sha256, _)| sha256),
            asset(job).map(|(_, bytes)| bytes),
            job.finished.as_ref().and_then(|f| f.preview_sha256.as_deref()),
            stages(job),
            job.error.as_ref().map(json),
            job.finished.as_ref().and_then(|f| f.report.as_ref()).map(json),
            retried,
            class_number(job.class),
        ])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Fenced { job: job.id, attempt: job.attempt }) }
}

fn plan_row(tx: &Transaction, plan: &SharedPlan) -> rusqlite::Result<i64> {
    let known = tx
        .prepare_cached("SELECT id FROM plans WHERE sha256 = ?1")?
        .query_row([&plan.sha256], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => tx
            .prepare_cached("INSERT INTO plans (sha256, recipe, pending, json) VALUES (?1, ?2, ?3, ?4) RETURNING id")?
            .query_row(params![plan.sha256, plan.plan.recipe, json(&plan.pending_stages()), plan.json], |row| {
                row.get(0)
            }),
    }
}

fn write_results(tx: &Transaction, writes: &Writes) -> rusqlite::Result<()> {
    let (changes, now) = (writes.changes, writes.now_ms as i64);
    for key in &changes.forgotten {
        tx.prepare_cached("DELETE FROM results WHERE key = ?1")?.execute([key])?;
    }
    for (key, made) in &changes.results {
        let bytes: u64 = made.outputs.values().map(|blob| blob.bytes).sum();
        tx.prepare_cached("INSERT OR REPLACE INTO results VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            key,
            made.stage,
            bytes as i64,
            now
        ])?;
        for (slot, blob) in &made.outputs {
            tx.prepare_cached("INSERT OR REPLACE INTO outputs VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                key,
                slot,
                blob.sha256,
                blob.bytes as i64
            ])?;
        }
    }
    for key in &changes.touched {
        tx.prepare_cached("UPDATE results SET used_ms = ?2 WHERE key = ?1 AND used_ms < ?2")?
            .execute(params![key, now])?;
    }
    for (stage, engine) in &changes.usual {
        let usual = writes.usual.of(stage, engine);
        tx.prepare_cached("INSERT OR REPLACE INTO stage_times VALUES (?1, ?2, ?3)")?
            .execute(params![stage, engine, usual])?;
    }
    for (device, net) in &changes.measured {
        let Some(measured) = writes.measures.of(device, net) else { continue };
        tx.prepare_cached("INSERT OR REPLACE INTO net_measures VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            device,
            &**net,
            measured.resident_bytes as i64,
            measured.working_bytes as i64,
            measured.load_ms as i64
        ])?;
    }
    Ok(())
}

fn write_events(tx: &Transaction, events: &[Event]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
    for event in events.iter().filter(|event| has_row(event)) {
        let (job, body) = match &event.body {
            EventBody::Job { job } => (Some(job.id.0 as i64), json(&without_details(job))),
            body => (None, json(body)),
        };
        insert.execute(params![event.seq as i64, event.time_ms as i64, job, body])?;
    }
    Ok(())
}

fn write_logs(tx: &Transaction, writes: &Writes) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO logs (job, time_ms, text) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ?1)",
    )?;
    let mut trim = tx.prepare_cached(
        "DELETE FROM logs WHERE job = ?1
             AND id <= (SELECT id FROM logs WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    for (job, text) in writes.logs {
        insert.execute(params![job.0 as i64, writes.now_ms as i64, text])?;
        trim.execute(params![job.0 as i64, LOG_LINES])?;
    }
    Ok(())
}

/// Most of a job's bytes are its stages and its report, which its own row has too.
fn without_details(job: &wire::Job) -> EventBody {
    let job = wire::Job { stages: Vec::new(), report: None, ..job.clone() };
    EventBody::Job { job: Box::new(job) }
}

fn has_row(event: &Event) -> bool {
    !matches!(event.body, EventBody::Progress { .. })
}

fn added_bytes(writes: &Writes) -> u64 {
    writes.changes.results.values().flat_map(|made| made.outputs.values()).map(|blob| blob.bytes).sum()
}

fn asset(job: &Job) -> Option<(&str, i64)> {
    let asset = job.finished.as_ref()?.asset.as_ref()?;
    Some((&asset.sha256, asset.bytes as i64))
}

fn stages(job: &Job) -> Option<String> {
    (!job.stages.is_empty()).then(|| stages_text(&job.stages))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}
