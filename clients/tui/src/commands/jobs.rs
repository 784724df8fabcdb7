//! `jobs`, `job` and `assets`.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
};

use meshkiln_protocol::{
    api::{
        AssetGet, AssetList, JobCancel, JobClear, JobGet, JobList, JobLogGet, JobPause, JobReclass, JobResume, JobRetry,
    },
    asset::{AssetGetParams, AssetListParams},
    job::{
        AssetRef, Class, Job, JobChangeParams, JobClearParams, JobGetParams, JobId, JobListParams, JobReclassParams,
        JobState,
    },
};
use serde_json::json;

use super::follow;
use crate::{
    Outcome,
    args::{Assets, Job as JobArgs, JobWhat, Jobs},
    client::Client,
    error::Failure,
    show,
};

pub fn parse_state(text: &str) -> Result<JobState, String> {
    let states: Vec<&str> = JobState::ALL.iter().map(|s| s.id()).collect();
    let found = JobState::ALL.iter().copied().find(|state| state.id() == text);
    found.ok_or_else(|| format!("not a state; one of {}", states.join(", ")))
}

pub fn parse_class(text: &str) -> Result<Class, String> {
    let found = Class::ALL.into_iter().find(|class| class.id() == text);
    found.ok_or_else(|| format!("not a class; one of {}", Class::ALL.map(Class::id).join(", ")))
}

pub fn jobs(args: Jobs, json: bool) -> Outcome {
    let client = Client::connect()?;
    if args.clear {
        let result = client.call::<JobClear>(&JobClearParams { states: args.states })?;
        return if json { show::json(&result) } else { show::line(format!("{} jobs forgotten", result.cleared)) };
    }
    let params = JobListParams { states: args.states, before: None, limit: Some(args.limit.clamp(1, 500)) };
    let page = client.call::<JobList>(&params)?;
    if json {
        return show::json(&page);
    }
    if page.jobs.is_empty() {
        return show::line("no jobs; `meshkiln fire IMAGE` makes one");
    }
    let now = show::now();
    let rows: Vec<Vec<String>> = page
        .jobs
        .iter()
        .map(|job| {
            let when = job.finished_ms.or(job.started_ms).unwrap_or(job.submitted_ms);
            vec![job.id.to_string(), state(job), job.name.clone(), job.recipe.clone(), show::ago(when, now), note(job)]
        })
        .collect();
    show::table(&["ID", "STATE", "NAME", "RECIPE", "WHEN", ""], &rows)?;
    if page.next.is_some() {
        show::line("... more with --limit")?;
    }
    Ok(())
}

fn state(job: &Job) -> String {
    match &job.progress {
        Some(progress) => format!("{} {:.0}%", job.state.id(), progress.fraction * 100.0),
        None => job.state.id().to_owned(),
    }
}

fn note(job: &Job) -> String {
    match (&job.error, &job.output, job.position) {
        (Some(error), ..) => error.message.clone(),
        (None, _, Some(n)) if n > 0 => format!("{} before it", show::count(n as u64)),
        (None, Some(output), _) if job.state == JobState::Done => output.clone(),
        _ => String::new(),
    }
}

pub fn job(args: JobArgs, json: bool) -> Outcome {
    let client = Client::connect()?;
    let id = JobId(args.id);
    let change = JobChangeParams { id };
    let job = match args.what {
        None => client.call::<JobGet>(&JobGetParams { id })?,
        Some(JobWhat::Cancel) => client.call::<JobCancel>(&change)?,
        Some(JobWhat::Retry) => client.call::<JobRetry>(&change)?,
        Some(JobWhat::Pause) => client.call::<JobPause>(&change)?,
        Some(JobWhat::Resume) => client.call::<JobResume>(&change)?,
        Some(JobWhat::Class { class }) => client.call::<JobReclass>(&JobReclassParams { id, class })?,
        Some(JobWhat::Log) => return log(&client, id, json),
        Some(JobWhat::Preview { out }) => return preview(&client, id, out, json),
        Some(JobWhat::Wait) => {
            let seq = client.hello()?.seq;
            let job = client.call::<JobGet>(&JobGetParams { id })?;
            return follow::to_the_end(&client, vec![job], seq, json);
        }
    };
    if json { show::json(&json!({ "job": job })) } else { print(&job) }
}

fn print(job: &Job) -> Outcome {
    let now = show::now();
    show::line(format!("job {}: {}, {}", job.id, job.name, state(job)))?;
    let fact = |what: &str, value: Option<String>| match value {
        Some(value) => show::line(format!("  {what:10} {value}")),
        None => Ok(()),
    };
    fact("source", job.source_path.clone())?;
    fact("recipe", Some(job.recipe.clone()))?;
    fact("output", job.output.clone())?;
    fact("client", job.client.clone())?;
    fact("submitted", Some(show::ago(job.submitted_ms, now)))?;
    fact("position", job.position.map(|n| format!("{n} before it")))?;
    fact("attempt", (job.attempt > 1).then(|| format!("{} ({} crashes)", job.attempt, job.crashes)))?;
    if let Some(error) = &job.error {
        fact("error", Some(error.message.clone()))?;
        fact("hint", Some(error.hint.clone()))?;
    }
    for stage in &job.stages {
        let state = format!("{:?}", stage.state).to_lowercase();
        let time = stage.elapsed_ms.filter(|&ms| ms > 0).map(show::duration).unwrap_or_default();
        show::line(format!("  {:14} {:12} {state:8} {time}", stage.stage, stage.engine).trim_end())?;
    }
    Ok(())
}

fn log(client: &Client, id: JobId, json: bool) -> Outcome {
    let log = client.call::<JobLogGet>(&JobGetParams { id })?;
    if json {
        return show::json(&log);
    }
    let start = log.lines.first().map_or(0, |line| line.time_ms);
    log.lines.iter().try_for_each(|line| {
        show::line(format!("{:>9.3} s  {}", line.time_ms.saturating_sub(start) as f64 / 1000.0, line.text))
    })
}

/// Saves the preview in a new file and says where.
fn preview(client: &Client, id: JobId, out: Option<PathBuf>, json: bool) -> Outcome {
    let asset = client.call::<AssetGet>(&AssetGetParams { asset: AssetRef { id: Some(id), path: None } })?;
    let Some(sha256) = &asset.preview_sha256 else {
        return Err(Failure::usage(
            format!("job {id} made no preview"),
            format!("recipe {} has no stage for it; take one that has, for example prop", asset.recipe),
        ));
    };
    let bytes = client.blob(sha256)?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{}-preview.{}", asset.name, extension(&bytes))));
    let written = File::create_new(&path).and_then(|mut file| {
        // Nothing half-written stays, on a full disk for example.
        file.write_all(&bytes).inspect_err(|_| drop(fs::remove_file(&path)))
    });
    written
        .map_err(|e| Failure::usage(format!("cannot write {}: {e}", path.display()), "name another file with --out"))?;
    if json {
        show::json(&json!({ "path": path, "bytes": bytes.len() }))
    } else {
        show::line(path.display().to_string())
    }
}

/// Of a preview, by its first bytes.
fn extension(picture: &[u8]) -> &'static str {
    match picture {
        [b'R', b'I', b'F', b'F', ..] => "webp",
        [b'G', b'I', b'F', ..] => "gif",
        _ => "png",
    }
}

pub fn assets(args: Assets, json: bool) -> Outcome {
    let client = Client::connect()?;
    let params = AssetListParams { before: None, limit: Some(args.limit.clamp(1, 500)) };
    let page = client.call::<AssetList>(&params)?;
    if json {
        return show::json(&page);
    }
    if page.assets.is_empty() {
        return show::line("no assets; `meshkiln fire IMAGE` makes one");
    }
    let now = show::now();
    let rows: Vec<Vec<String>> = page
        .assets
        .iter()
        .map(|asset| {
            let triangles = asset.report.as_ref().and_then(|r| r["triangles"].as_u64());
            vec![
                asset.id.to_string(),
                asset.name.clone(),
                triangles.map(show::count).unwrap_or_default(),
                show::bytes(asset.bytes),
                show::ago(asset.created_ms, now),
                asset.path.clone().unwrap_or_default(),
            ]
        })
        .collect();
    show::table(&["ID", "NAME", "TRIANGLES", "SIZE", "WHEN", "PATH"], &rows)
}
