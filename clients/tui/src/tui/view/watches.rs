//! Watched folders: what came of what landed in them.

use meshkiln_protocol::watch::{Watch, WatchMode};
use ratatui::{layout::Rect, style::Style, text::Line};

use super::{
    Canvas, cut_bottom, overlay,
    table::{self, Align, Column, column},
    wrapped,
};
use crate::{show, tui::model::Model};

const COLUMNS: &[Column] = &[
    column("", 10, 0, Align::Left, 0),
    column("FOLDER", 16, 3, Align::End, 0),
    column("RECIPE", 9, 0, Align::Left, 3),
    column("FILES", 6, 0, Align::Right, 2),
    column("WAITING", 7, 0, Align::Right, 2),
    column("FIRED", 6, 0, Align::Right, 1),
    column("REFUSED", 7, 0, Align::Right, 1),
    column("LAST", 24, 2, Align::Left, 4),
];

/// The list, and what is chosen of it.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    let watches = model.watch_rows();
    if watches.is_empty() {
        let lines = match model.watches.is_empty() {
            true => ["No folder is watched.", "Press a to add one: every picture that lands in it is fired."],
            false => ["No folder is like that.", "Esc shows all again."],
        };
        return overlay::empty(canvas, area, &lines.map(str::to_owned));
    }
    let (list, about) = cut_bottom(area, if area.height >= 18 { 7 } else { 4 });
    table::draw(canvas, list, COLUMNS, watches.len(), model.cursor(), |at| {
        watches.get(at).map_or_else(Vec::new, |watch| row(model, watch))
    });
    if let Some(watch) = model.watch() {
        canvas.lines(about, describe(model, watch, area.width.into()));
    }
}

fn row(model: &Model, watch: &Watch) -> Vec<(String, Style)> {
    let look = model.look;
    let plain = Style::new();
    let counts = &watch.counts;
    let mode = match (watch.mode, &watch.problem) {
        (WatchMode::Missing, _) => (format!("{} missing", look.sign("✗", "!")), look.bad()),
        (_, Some(_)) => (format!("{} trouble", look.sign("✗", "!")), look.bad()),
        (WatchMode::Events, _) => (format!("{} watched", look.sign("●", "*")), look.good()),
        (WatchMode::Polling, _) => (format!("{} listed", look.sign("●", "*")), look.warn()),
    };
    let folder = if watch.recursive { format!("{}/**", watch.path) } else { watch.path.clone() };
    let refused = if counts.refused > 0 { look.bad() } else { plain };
    vec![
        mode,
        (folder, look.title()),
        (watch.recipe.clone(), plain),
        (show::count(counts.files), plain),
        (show::count(counts.waiting), plain),
        (show::count(counts.fired), plain),
        (show::count(counts.refused), refused),
        (last(model, watch).unwrap_or_default(), look.dim()),
    ]
}

/// What happened last in it.
fn last(model: &Model, watch: &Watch) -> Option<String> {
    if let Some(event) = &watch.last_event {
        return Some(format!("{} {}", event.what, show::ago(event.time_ms, model.now)));
    }
    let job = model.jobs.newest_in(&watch.path)?;
    Some(format!(
        "{} {} {}",
        job.name,
        job.state.id(),
        show::ago(job.finished_ms.unwrap_or(job.submitted_ms), model.now)
    ))
}

fn describe(model: &Model, watch: &Watch, width: usize) -> Vec<Line<'static>> {
    let look = model.look;
    let mut lines = Vec::new();
    if let Some(problem) = &watch.problem {
        lines.extend(wrapped(problem, width, 0, look.bad()));
    }
    let out = watch.out.as_ref().map_or_else(|| "beside the pictures".to_owned(), |out| format!("to {out}"));
    let scan = watch.last_scan_ms.map(|at| format!(", compared {}", show::ago(at, model.now))).unwrap_or_default();
    let how = match watch.mode {
        WatchMode::Events => "the system tells of changes",
        WatchMode::Polling => "listed every few seconds",
        WatchMode::Missing => "not there now, looked for every few seconds",
    };
    lines.extend(wrapped(
        &format!("{}: recipe {}, files go {out}; {how}{scan}", watch.path, watch.recipe),
        width,
        0,
        Style::new(),
    ));
    if let Some(last) = last(model, watch) {
        lines.extend(wrapped(&format!("last: {last}"), width, 0, look.dim()));
    }
    lines
}
