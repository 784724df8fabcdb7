//! One job: facts, why it failed, its stages, what happened to it.

use meshkiln_protocol::job::{Class, Job, JobId, JobState, StageRun, StageState};
use ratatui::{
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Canvas, overlay, wrapped};
use crate::{
    show,
    tui::{model::Model, text, words},
};

/// Fills the page; the keys scroll it.
pub fn page(model: &Model, canvas: &mut Canvas, area: Rect, id: JobId) {
    let Some(job) = model.jobs.get(id) else {
        return overlay::empty(canvas, area, &["This job is no longer known.".to_owned(), "Esc goes back.".to_owned()]);
    };
    let width = usize::from(area.width);
    let mut lines = lines(model, job, width);
    if let Some(report) = &job.report {
        lines.push(Line::raw(""));
        lines.extend(report_lines(model, report, width));
    }
    if let Some(log) = model.job_log.as_ref().filter(|log| log.id == id) {
        lines.push(Line::raw(""));
        lines.push(Line::styled("What happened", model.look.title()));
        let start = log.lines.first().map_or(0, |line| line.time_ms);
        for line in &log.lines {
            let at = line.time_ms.saturating_sub(start) as f64 / 1000.0;
            lines.extend(wrapped(&format!("{at:>8.2} s  {}", line.text.trim_start()), width, 0, Style::new()));
        }
    }
    canvas.scrolled(area, lines, model.scroll);
}

/// What is known of a job, in lines of this width.
pub fn lines(model: &Model, job: &Job, width: usize) -> Vec<Line<'static>> {
    let look = model.look;
    let (sign, style) = look.of_job(job.state);
    let head = format!("{sign} job {}: {}", job.id, job.state.id());
    let mut lines = vec![Line::from(vec![
        Span::styled(text::fit(&job.name, width.saturating_sub(head.len() + 2).max(8), look), look.title()),
        Span::raw("  "),
        Span::styled(head, style),
    ])];
    if let Some(error) = &job.error {
        let stage = error.stage.as_ref().map(|stage| format!(" (in {stage})")).unwrap_or_default();
        lines.extend(wrapped(&format!("Why: {}{stage}", error.message), width, 0, look.bad()));
        if !error.hint.is_empty() {
            lines.extend(wrapped(&format!("What to do: {}", error.hint), width, 0, Style::new()));
        }
    }
    let took = job.started_ms.zip(job.finished_ms).map(|(start, end)| show::duration(end.saturating_sub(start)));
    let priority = match job.class {
        Class::Interactive => "now",
        Class::Watch => "after what people wait for",
        Class::Batch => "whenever there is time",
    };
    let before = (job.state == JobState::Queued).then(|| match model.jobs.position(job) {
        0 => "next".to_owned(),
        n => format!("{} before it", show::count(n as u64)),
    });
    let left =
        job.progress.as_ref().and_then(|progress| progress.eta_ms).map(|ms| format!("{} left", show::duration(ms)));
    let tries = (job.attempt > 1).then(|| format!("{}, {} crashes", job.attempt, job.crashes));
    for (what, value) in [
        ("waits", job.waits_for.clone()),
        ("queue", before),
        ("estimate", left),
        ("recipe", Some(job.recipe.clone())),
        ("source", job.source_path.clone()),
        ("file", job.output.clone()),
        ("from", job.client.clone()),
        ("priority", (!job.state.is_final()).then(|| priority.to_owned())),
        ("submitted", Some(show::ago(job.submitted_ms, model.now))),
        ("took", took),
        ("tries", tries),
    ] {
        if let Some(value) = value {
            let value = text::fit_end(&value, width.saturating_sub(11), look);
            lines.push(Line::from(vec![Span::styled(format!("{what:<10} "), look.dim()), Span::raw(value)]));
        }
    }
    lines.push(Line::raw(""));
    lines.extend(job.stages.iter().map(|run| stage(model, job, run, width)));
    lines
}

fn stage(model: &Model, job: &Job, run: &StageRun, width: usize) -> Line<'static> {
    let look = model.look;
    let (sign, style) = look.of_stage(run.state);
    let state = match (run.state, run.elapsed_ms) {
        (StageState::Pending, _) => String::new(),
        (StageState::Running, _) => {
            let progress = job.progress.as_ref().filter(|progress| progress.stage == run.stage);
            progress.map_or_else(
                || "running".to_owned(),
                |p| format!("{} {} of {}", look.bar(p.done as f32 / p.total.max(1) as f32, 10), p.done, p.total),
            )
        }
        (StageState::Done, Some(ms)) => show::duration(ms),
        (StageState::Done, None) => "done".to_owned(),
        (StageState::Cached, _) => "kept from before".to_owned(),
        (StageState::Failed, _) => "failed".to_owned(),
    };
    let engine = if width >= 44 { text::pad(&run.engine, 15, look) } else { String::new() };
    Line::from(vec![
        Span::styled(format!("{sign} {} ", text::pad(&run.stage, 12, look)), style),
        Span::styled(engine, look.dim()),
        Span::styled(state, style),
    ])
}

/// A report in words: what failed in red, with what to do.
pub fn report_lines(model: &Model, report: &serde_json::Value, width: usize) -> Vec<Line<'static>> {
    let look = model.look;
    let mut lines = Vec::new();
    for (tone, text) in words::report(report) {
        let (sign, style, indent) = match tone {
            words::Tone::Title => ("", look.title(), 0),
            words::Tone::Plain => ("", Style::new(), 2),
            words::Tone::Good => (look.sign("✓ ", "+ "), look.good(), 0),
            words::Tone::Bad => (look.sign("✗ ", "! "), look.bad(), 0),
            words::Tone::Hint => (look.sign("→ ", "> "), look.warn(), 2),
        };
        lines.extend(wrapped(&format!("{sign}{text}"), width, indent, style));
    }
    lines
}
