//! Shows jobs until they have ended; Ctrl-C cancels them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use meshkiln_protocol::{
    api::{EventsPoll, JobCancel, JobGet},
    event::{EventBody, PollParams},
    job::{Job, JobChangeParams, JobGetParams, JobId, JobState, Progress, StageState},
};
use serde_json::{Value as Json, json};

use crate::{Outcome, client::Client, error::Failure, show};

/// Steps of a bar: fractions are shown by thousandths.
const STEPS: u64 = 1000;
/// How soon Ctrl-C is noticed.
const POLL_MS: u64 = 250;
/// A daemon that dies more often is not started again.
const REVIVALS: u32 = 3;

/// What is said when the daemon died under a command.
pub const GONE: &str = "the daemon is gone; starting it again";

/// Shows jobs until they have ended, and what became of them. `seq` is a
/// sequence number from before they were submitted.
pub fn to_the_end(client: &Client, jobs: Vec<Job>, seq: u64, json: bool) -> Outcome {
    let jobs = until_ended(client, jobs, seq, json)?;
    if json {
        show::json(&json!({ "jobs": jobs }))?;
    } else {
        jobs.iter().try_for_each(print_end)?;
        note_missing_nets(&jobs);
    }
    if jobs.iter().all(|job| job.state == JobState::Done) { Ok(()) } else { Err(Failure::JobsFailed) }
}

/// The same without the last word on them. `Interrupted` after Ctrl-C, with that
/// word said.
pub fn until_ended(client: &Client, jobs: Vec<Job>, seq: u64, json: bool) -> Result<Vec<Job>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // A second Ctrl-C finds the handler there already and only sets the flag again.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));

    let mut board = Board::new(json);
    for job in jobs {
        board.update(job);
    }
    let mut since = seq;
    let mut cancelled = false;
    let mut is_stopping = false;
    let mut revivals = 0;
    while board.open().next().is_some() {
        if interrupted.load(Ordering::Relaxed) && !cancelled {
            cancelled = true;
            for id in board.open().collect::<Vec<_>>() {
                board.update(client.call::<JobCancel>(&JobChangeParams { id })?);
            }
            continue;
        }
        let poll = PollParams { since: Some(since), wait_ms: POLL_MS, limit: None, job: None };
        let page = match client.call::<EventsPoll>(&poll) {
            // It died. The jobs and the numbers of events live on in the next one.
            Err(Failure::Unreachable { .. }) if !is_stopping && revivals < REVIVALS => {
                revivals += 1;
                board.note(GONE);
                client.revive()?;
                continue;
            }
            page => page?,
        };
        since = page.next;
        if page.lost {
            for id in board.open().collect::<Vec<_>>() {
                board.update(client.call::<JobGet>(&JobGetParams { id })?);
            }
        }
        for event in page.events {
            match event.body {
                EventBody::Job { job } => board.heard(*job),
                EventBody::Progress { id, progress } => board.progress(id, &progress),
                EventBody::Stopping => {
                    is_stopping = true;
                    board.note("the daemon is stopping; queued jobs go on at its next start");
                }
                _ => {}
            }
        }
    }
    // Events carry the state; the report is read once, at the end.
    let ids: Vec<JobId> = board.jobs.keys().copied().collect();
    let jobs: Vec<Job> =
        ids.into_iter().map(|id| client.call::<JobGet>(&JobGetParams { id })).collect::<Result<_, _>>()?;
    board.close();
    if !cancelled {
        return Ok(jobs);
    }
    if json {
        show::json(&json!({ "jobs": jobs }))?;
    } else {
        jobs.iter().try_for_each(print_end)?;
    }
    Err(Failure::Interrupted)
}

/// One bar a job on a terminal; nothing elsewhere.
struct Board {
    jobs: BTreeMap<JobId, Job>,
    bars: BTreeMap<JobId, ProgressBar>,
    screen: Option<MultiProgress>,
}

impl Board {
    fn new(json: bool) -> Board {
        let screen = (!json && stderr().is_terminal()).then(MultiProgress::new);
        Board { jobs: BTreeMap::new(), bars: BTreeMap::new(), screen }
    }

    fn open(&self) -> impl Iterator<Item = JobId> {
        self.jobs.values().filter(|job| !job.state.is_final()).map(|job| job.id)
    }

    fn update(&mut self, job: Job) {
        if let Some(screen) = &self.screen {
            let bar = self.bars.entry(job.id).or_insert_with(|| {
                let bar = screen.add(ProgressBar::new(STEPS));
                bar.set_style(style());
                bar.set_prefix(shorten(&job.name, 24));
                bar.enable_steady_tick(Duration::from_millis(250));
                bar
            });
            bar.set_message(doing(&job));
            if job.state.is_final() {
                bar.finish_and_clear();
            }
        }
        self.jobs.insert(job.id, job);
    }

    /// An event about a job. Some are older than the answer to its submission.
    fn heard(&mut self, job: Job) {
        if self.jobs.get(&job.id).is_some_and(|known| job.attempt > known.attempt || how_far(&job) >= how_far(known)) {
            self.update(job);
        }
    }

    fn progress(&self, id: JobId, progress: &Progress) {
        if let Some(bar) = self.bars.get(&id) {
            bar.set_position((progress.fraction.clamp(0.0, 1.0) * STEPS as f32) as u64);
            let eta = progress.eta_ms.map(|ms| format!(", {} left", show::duration(ms))).unwrap_or_default();
            bar.set_message(format!("{}{eta}", progress.stage));
        }
    }

    fn note(&self, text: &str) {
        match &self.screen {
            Some(screen) => {
                let _ = screen.println(text);
            }
            None => eprintln!("{text}"),
        }
    }

    fn close(&self) {
        if let Some(screen) = &self.screen {
            let _ = screen.clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:24} [{bar:30}] {percent:>3}%  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn doing(job: &Job) -> String {
    match (job.state, job.position) {
        (JobState::Queued, Some(n)) if n > 0 => format!("queued, {} before it", show::count(n as u64)),
        (JobState::Running, _) => {
            let running = job.stages.iter().find(|s| s.state == StageState::Running);
            running.map_or("running".to_owned(), |s| s.stage.clone())
        }
        (state, _) => state.id().to_owned(),
    }
}

/// Grows within one attempt.
fn how_far(job: &Job) -> usize {
    match job.state {
        JobState::Queued | JobState::Paused => 0,
        JobState::Running => 1 + job.stages.iter().filter(|stage| stage.state != StageState::Pending).count(),
        JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Dead => usize::MAX,
    }
}

fn shorten(name: &str, width: usize) -> String {
    match name.chars().count() <= width {
        true => name.to_owned(),
        false => name.chars().take(width - 3).chain("...".chars()).collect(),
    }
}

/// The last word on a job: where the file is, or why there is none.
pub fn print_end(job: &Job) -> Outcome {
    let took = match (job.started_ms, job.finished_ms) {
        (Some(start), Some(end)) => format!(" in {}", show::duration(end.saturating_sub(start))),
        _ => String::new(),
    };
    if job.state == JobState::Done {
        let place = job.output.clone().unwrap_or_else(|| format!("asset {}", job.id));
        let report = job.report.as_ref().map(summary).filter(|text| !text.is_empty());
        let report = report.map(|text| format!("  ({text})")).unwrap_or_default();
        show::line(format!("{place}{took}{report}"))?;
        return warnings(job);
    }
    eprintln!("{}: {}", job.source_path.as_deref().unwrap_or(&job.name), job.state.id());
    if let Some(error) = &job.error {
        let stage = error.stage.as_ref().map(|stage| format!(" (in {stage})")).unwrap_or_default();
        eprintln!("  {}{stage}", error.message);
        if !error.hint.is_empty() {
            eprintln!("  hint: {}", error.hint);
        }
    }
    Ok(())
}

/// What people look for first in a report.
fn summary(report: &Json) -> String {
    let mut parts = Vec::new();
    if let Some(n) = report["triangles"].as_u64() {
        parts.push(format!("{} triangles", show::count(n)));
    }
    if let Some(n) = report["file_bytes"].as_u64() {
        parts.push(show::bytes(n));
    }
    parts.join(", ")
}

/// Gate checks that failed without failing the job.
fn warnings(job: &Job) -> Outcome {
    let gate = job.report.as_ref().and_then(|report| report["gate"].as_array());
    for check in gate.into_iter().flatten().filter(|check| check["passed"] == false) {
        let word = |key: &str| match &check[key] {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        eprintln!("  warning: {} is {}, the limit is {}", word("what"), word("value"), word("limit"));
    }
    Ok(())
}

/// Networks that recipes would have used, each once however many jobs went without it.
fn note_missing_nets(jobs: &[Job]) {
    let reports = jobs.iter().filter_map(|job| job.report.as_ref()?["missing_nets"].as_array());
    for net in reports.flatten().filter_map(Json::as_str).collect::<BTreeSet<_>>() {
        eprintln!("note: made without network `{net}`, whose weights are not here; `meshkiln pull {net}` fetches them");
    }
}
