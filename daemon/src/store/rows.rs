//! Rows to jobs and back: the one place that knows how a column is written.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::recipe::{Plan, RecipeError};
use meshkiln_protocol::{
    Sha256,
    asset::Asset,
    job::{self as wire, Class, JobId, JobState, StageRun, StageState},
    watch::WatchId,
};
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{Type, ValueRef},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    jobs::{Finished, Job, SharedPlan},
    worker::frames::Output,
};

/// Selects what `Columns` reads.
pub(super) const SELECT_JOB: &str = "SELECT j.*, p.recipe, p.pending FROM jobs j JOIN plans p ON p.id = j.plan";

pub(super) fn class_number(class: Class) -> i64 {
    match class {
        Class::Interactive => 0,
        Class::Watch => 1,
        Class::Batch => 2,
    }
}

fn class_of(number: i64) -> Class {
    match number {
        0 => Class::Interactive,
        1 => Class::Watch,
        _ => Class::Batch,
    }
}

fn state_of(text: &str) -> Option<JobState> {
    JobState::ALL.iter().copied().find(|state| state.id() == text)
}

/// A path as bytes; on systems where paths are not bytes, as UTF-8.
pub(super) fn path_bytes(path: &Path) -> Vec<u8> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        path.as_os_str().as_bytes().to_vec()
    }
    #[cfg(not(unix))]
    path.to_string_lossy().into_owned().into_bytes()
}

pub(super) fn path_from(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        std::ffi::OsString::from_vec(bytes).into()
    }
    #[cfg(not(unix))]
    String::from_utf8_lossy(&bytes).into_owned().into()
}

pub(super) fn json_of<T: DeserializeOwned>(row: &Row, column: &str) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| malformed(column, e))
}

/// A stage in a column: its state, time and picture, since the plan knows its name.
#[derive(Serialize, Deserialize)]
struct ShortStage(StageState, Option<u64>, #[serde(default, skip_serializing_if = "Option::is_none")] Option<Sha256>);

pub(super) fn stages_text(stages: &[StageRun]) -> String {
    let short = |stage: &StageRun| ShortStage(stage.state, stage.elapsed_ms, stage.picture_sha256.clone());
    let short: Vec<ShortStage> = stages.iter().map(short).collect();
    serde_json::to_string(&short).expect("plain data becomes JSON")
}

/// The stages of a row with the columns `stages` and `pending`.
pub(super) fn stages_in(row: &Row) -> rusqlite::Result<Vec<StageRun>> {
    let mut stages: Vec<StageRun> = json_of(row, "pending")?.unwrap_or_default();
    let short: Vec<ShortStage> = json_of(row, "stages")?.unwrap_or_default();
    for (stage, ShortStage(state, elapsed_ms, picture_sha256)) in stages.iter_mut().zip(short) {
        (stage.state, stage.elapsed_ms, stage.picture_sha256) = (state, elapsed_ms, picture_sha256);
    }
    Ok(stages)
}

/// A row as clients see it; position and progress are not in the table.
pub(super) fn wire_job(row: &Row) -> rusqlite::Result<wire::Job> {
    let path = |column| Ok::<_, rusqlite::Error>(path_in(row, column)?.map(|path| path.to_string_lossy().into_owned()));
    Ok(wire::Job {
        id: JobId(number(row, "id")?),
        state: state_in(row)?,
        class: class_of(row.get("class")?),
        name: row.get("name")?,
        source_path: path("source_path")?,
        source_sha256: row.get("source_sha256")?,
        recipe: row.get("recipe")?,
        output: path("output")?,
        client: row.get("client")?,
        submitted_ms: number(row, "submitted_ms")?,
        started_ms: maybe_number(row, "started_ms")?,
        finished_ms: maybe_number(row, "finished_ms")?,
        attempt: row.get("attempt")?,
        crashes: row.get("crashes")?,
        stages: stages_in(row)?,
        progress: None,
        position: None,
        waits_for: None,
        error: json_of(row, "error")?,
        asset_sha256: row.get("asset_sha256")?,
        report: json_of(row, "report")?,
    })
}

/// Only for rows with an asset.
pub(super) fn wire_asset(row: &Row) -> rusqlite::Result<Asset> {
    let job = wire_job(row)?;
    Ok(Asset {
        id: job.id,
        name: job.name,
        recipe: job.recipe,
        source_path: job.source_path,
        source_sha256: job.source_sha256,
        path: job.output,
        sha256: job.asset_sha256.unwrap_or_default(),
        bytes: maybe_number(row, "asset_bytes")?.unwrap_or_default(),
        preview_sha256: row.get("preview_sha256")?,
        report: job.report,
        plan: None,
        created_ms: job.finished_ms.unwrap_or_default(),
    })
}

/// Plans by their row, read once.
#[derive(Default)]
pub(super) struct Plans(BTreeMap<i64, ReadPlan>);

/// A plan that this version cannot run is a stub without steps, and the reason.
type ReadPlan = Result<Arc<SharedPlan>, (Arc<SharedPlan>, RecipeError)>;

/// A whole job, and what is wrong with its plan, which then has no steps.
pub(super) fn full_job(
    conn: &Connection,
    row: &Row,
    plans: &mut Plans,
) -> rusqlite::Result<(Job, Option<RecipeError>)> {
    let (plan, problem) = match plans.get(conn, row.get("plan")?)? {
        Ok(plan) => (plan.clone(), None),
        Err((stub, problem)) => (stub.clone(), Some(problem.clone())),
    };
    let state = state_in(row)?;
    let asset_sha256: Option<String> = row.get("asset_sha256")?;
    let finished = match state {
        JobState::Done => Some(Finished {
            asset: match asset_sha256 {
                Some(sha256) => Some(Output { sha256, bytes: maybe_number(row, "asset_bytes")?.unwrap_or_default() }),
                None => None,
            },
            preview_sha256: row.get("preview_sha256")?,
            report: json_of(row, "report")?,
        }),
        _ => None,
    };
    let job = Job {
        id: JobId(number(row, "id")?),
        state,
        class: class_of(row.get("class")?),
        client: row.get::<_, Option<String>>("client")?.map(Arc::from),
        name: row.get("name")?,
        source_sha256: row.get("source_sha256")?,
        source_path: path_in(row, "source_path")?,
        output: path_in(row, "output")?,
        watch: maybe_number(row, "watch")?.map(WatchId),
        idempotency_key: row.get("idempotency_key")?,
        plan,
        submitted_ms: number(row, "submitted_ms")?,
        started_ms: maybe_number(row, "started_ms")?,
        finished_ms: maybe_number(row, "finished_ms")?,
        attempt: row.get("attempt")?,
        crashes: row.get("crashes")?,
        errors: row.get("errors")?,
        daemon_deaths: row.get("daemon_deaths")?,
        not_before_ms: maybe_number(row, "not_before_ms")?,
        stages: match row.get_ref("stages")? {
            ValueRef::Null => Vec::new(),
            _ => stages_in(row)?,
        },
        error: json_of(row, "error")?,
        finished,
    };
    Ok((job, problem))
}

pub(super) fn one_job(conn: &Connection, id: JobId) -> rusqlite::Result<Option<(Job, Option<RecipeError>)>> {
    let mut select = conn.prepare_cached(&format!("{SELECT_JOB} WHERE j.id = ?1"))?;
    select.query_row([id.0 as i64], |row| full_job(conn, row, &mut Plans::default())).optional()
}

impl Plans {
    fn get(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<&ReadPlan> {
        match self.0.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert(read_plan(conn, id)?)),
        }
    }
}

fn read_plan(conn: &Connection, id: i64) -> rusqlite::Result<ReadPlan> {
    let (sha256, recipe, json): (String, String, String) = conn
        .prepare_cached("SELECT sha256, recipe, json FROM plans WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(SharedPlan::read(&json).map(Arc::new).map_err(|problem| {
        let plan = Plan { recipe, steps: Vec::new() };
        (Arc::new(SharedPlan { sha256, json, plan }), problem)
    }))
}

fn state_in(row: &Row) -> rusqlite::Result<JobState> {
    let text: String = row.get("state")?;
    state_of(&text).ok_or_else(|| malformed("state", format!("there is no state `{text}`")))
}

fn path_in(row: &Row, column: &str) -> rusqlite::Result<Option<PathBuf>> {
    Ok(row.get::<_, Option<Vec<u8>>>(column)?.map(path_from))
}

fn number(row: &Row, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

fn maybe_number(row: &Row, column: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|n| n as u64))
}

fn malformed(column: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    let error = error.into();
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column `{column}`: {error}").into())
}
