//! The list of jobs; beside it what is chosen, where there is room.

use meshkiln_protocol::job::{Class, Job, JobState, StageState};
use ratatui::{layout::Rect, style::Style};

use super::{
    Canvas, cut_left, detail, overlay,
    table::{self, Align, Column, column},
};
use crate::{
    show,
    tui::{model::Model, words},
};

const COLUMNS: &[Column] = &[
    column("STATE", 11, 0, Align::Left, 0),
    column("JOB", 5, 0, Align::Right, 1),
    column("NAME", 12, 2, Align::Left, 0),
    column("", 22, 4, Align::Left, 0),
    column("RECIPE", 9, 0, Align::Left, 4),
    column("FROM", 8, 0, Align::Left, 5),
    column("WHEN", 11, 0, Align::Left, 3),
    column("SOURCE", 24, 3, Align::End, 6),
];

/// The list, and what is chosen of it.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    if model.rows() == 0 {
        return overlay::empty(canvas, area, &nothing(model));
    }
    // A pane is worth it where the list keeps its columns.
    let (list, pane) = if area.width >= 100 { cut_left(area, area.width * 3 / 5) } else { (area, Rect::default()) };
    let rows = model.jobs.rows();
    table::draw(canvas, list, COLUMNS, rows.len(), model.cursor(), |at| {
        rows.get(at).and_then(|id| model.jobs.get(*id)).map_or_else(Vec::new, |job| row(model, job))
    });
    if let Some(job) = model.job().filter(|_| !pane.is_empty()) {
        let lines = detail::lines(model, job, pane.width.into());
        canvas.lines(pane, lines);
    }
}

fn nothing(model: &Model) -> Vec<String> {
    if model.jobs.len() > 0 {
        return vec!["No job is like that.".to_owned(), "Esc shows all again.".to_owned()];
    }
    if model.jobs.loading || !model.is_connected() {
        return vec!["No jobs are known yet.".to_owned()];
    }
    vec![
        "No jobs yet.".to_owned(),
        "Press f to fire a picture, or drop files onto this terminal.".to_owned(),
        "Press 4 then a to watch a folder, ? for everything else.".to_owned(),
    ]
}

fn row(model: &Model, job: &Job) -> Vec<(String, Style)> {
    let look = model.look;
    let (sign, style) = look.of_job(job.state);
    let plain = Style::new();
    let when = job.finished_ms.or(job.started_ms).unwrap_or(job.submitted_ms);
    let from = match (&job.client, job.class) {
        (Some(client), _) => client.clone(),
        (None, Class::Watch) => "watch".to_owned(),
        (None, _) => String::new(),
    };
    let (what, tone) = doing(model, job);
    vec![
        (format!("{sign} {}", job.state.id()), style),
        (job.id.to_string(), look.dim()),
        (job.name.clone(), if job.state.is_final() { plain } else { look.title() }),
        (what, tone),
        (job.recipe.clone(), plain),
        (from, look.dim()),
        (show::ago(when, model.now), look.dim()),
        (job.source_path.clone().unwrap_or_default(), look.dim()),
    ]
}

/// How far it is, what it waits for, or what became of it.
fn doing(model: &Model, job: &Job) -> (String, Style) {
    let look = model.look;
    match (job.state, &job.progress) {
        (JobState::Running, Some(progress)) => {
            let bar = look.bar(progress.fraction, 8);
            let left = progress.eta_ms.map(|ms| format!(", {} left", show::duration(ms))).unwrap_or_default();
            (format!("{bar} {:.0}% {}{left}", progress.fraction * 100.0, progress.stage), look.accent())
        }
        (JobState::Running, None) => {
            let stage = job.stages.iter().find(|run| run.state == StageState::Running);
            let text = stage.map_or_else(|| "running".to_owned(), |run| run.stage.clone());
            (job.waits_for.clone().unwrap_or(text), look.accent())
        }
        (JobState::Queued, _) => {
            let before = model.jobs.position(job);
            let class = match job.class {
                Class::Batch => ", when there is time",
                Class::Interactive | Class::Watch => "",
            };
            let text = match (&job.waits_for, before) {
                (Some(what), _) => what.clone(),
                (None, 0) => format!("next{class}"),
                (None, n) => format!("{} before it{class}", show::count(n as u64)),
            };
            (text, look.dim())
        }
        (JobState::Failed | JobState::Dead, _) => (words::outcome(job), look.bad()),
        _ => (words::outcome(job), look.dim()),
    }
}
