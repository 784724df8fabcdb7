//! The help: what is possible right now, from the table of keys; then what is
//! possible at other times, and why not now.

use ratatui::{
    layout::Rect,
    text::{Line, Span},
};

use super::{Canvas, centred};
use crate::tui::{
    keys::{Cmd, KEYS, Key, Place},
    model::{Model, Target},
    text,
};

/// The help, from the line it is scrolled to.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect, scroll: usize) {
    let look = model.look;
    let frame = centred(area, 96, area.height.saturating_sub(2));
    let inner = canvas.boxed(frame, "What you can do now (Esc closes)");
    let (lines, body) = (content(model, inner.width.into()), inner);
    let deepest = lines.len().saturating_sub(body.height.into());
    let from = scroll.min(deepest);
    for (row, (_, cmd)) in super::rows(body).zip(lines.iter().skip(from)) {
        if let Some(cmd) = cmd {
            canvas.hit(row, Target::Do(*cmd));
        }
    }
    let lines = lines.into_iter().map(|(line, _)| line).collect();
    canvas.scrolled(body, lines, from);
    if deepest > from {
        let hint = format!(" {} ", look.sign("↓ more", "Down: more"));
        let width = text::width(&hint) as u16;
        let x = frame.right().saturating_sub(width + 2);
        canvas.line(Rect { x, y: frame.bottom() - 1, width, height: 1 }, Line::styled(hint, look.accent()));
    }
}

fn content(model: &Model, width: usize) -> Vec<(Line<'static>, Option<Cmd>)> {
    let look = model.look;
    let place = model.place();
    let here: Vec<&Key> = KEYS.iter().filter(|key| key.places.contains(&place)).collect();
    let title = |text: &str| (Line::styled(text.to_owned(), look.title()), None);
    let mut lines = Vec::new();
    let head = match place {
        Place::Jobs => "Jobs",
        Place::Job => "This job",
        Place::Assets => "Assets",
        Place::Asset => "This asset",
        Place::Nets => "Nets",
        Place::Watches => "Watched folders",
        Place::Log => "Log",
    };
    // Firing is what most come for.
    let is_here = |key: &&&Key| key.cmd == Cmd::Fire || key.places.len() < 6;
    let plain: Vec<&&Key> = here.iter().filter(|key| !is_move(key)).collect();
    let possible = |key: &&&&Key| key.is_possible(model);
    let later = |key: &&&&Key| !key.is_possible(model) && model.has(key.needs);
    let here_now = plain.iter().filter(|key| is_here(key)).filter(possible);
    let here_later = plain.iter().filter(|key| is_here(key)).filter(later);
    let now = plain.iter().filter(|key| !is_here(key)).filter(possible);
    let at_other_times = plain.iter().filter(|key| !is_here(key)).filter(later);
    let lacking = plain.iter().filter(|key| !model.has(key.needs));
    let section = |head: &str, keys: Vec<&&&Key>, is_now: bool| {
        let head = (!keys.is_empty()).then(|| title(head));
        let entries = keys.into_iter().flat_map(|key| entry(model, key, width, is_now));
        head.into_iter().chain(entries).collect::<Vec<_>>()
    };
    lines.extend(section(head, here_now.collect(), true));
    lines.extend(section("Here, at other times", here_later.collect(), false));
    lines.extend(section("Everywhere", now.collect(), true));
    lines.extend(moves(model, here.iter().filter(|key| is_move(key) && key.is_possible(model)), width));
    lines.extend(section("Everywhere, at other times", at_other_times.collect(), false));
    lines.extend(section("Not with this daemon, which is of another version", lacking.collect(), false));
    lines
}

/// Moves are many and plain: together they take a few lines.
fn is_move(key: &Key) -> bool {
    key.name.is_empty()
}

fn moves<'a>(
    model: &Model,
    keys: impl Iterator<Item = &'a &'a Key>,
    width: usize,
) -> Vec<(Line<'static>, Option<Cmd>)> {
    let look = model.look;
    let mut lines = Vec::new();
    let (mut spans, mut used) = (Vec::new(), 0);
    for key in keys {
        let (name, doc) = (key.keys.replace(' ', ", "), key.doc);
        let cells = text::width(&name) + text::width(doc) + 4;
        if used > 0 && used + cells > width {
            lines.push((Line::from(std::mem::take(&mut spans)), None));
            used = 0;
        }
        spans.push(Span::styled(name, look.accent()));
        spans.push(Span::raw(format!(" {doc}   ")));
        used += cells;
    }
    lines.push((Line::from(spans), None));
    lines
}

fn entry(model: &Model, key: &Key, width: usize, now: bool) -> Vec<(Line<'static>, Option<Cmd>)> {
    let look = model.look;
    let keys = key.keys.replace(' ', ", ");
    let doc = match (now, key.name) {
        (true, "") => key.doc.to_owned(),
        (true, name) => format!("{name}: {}", key.doc),
        (false, name) => format!("{name}: {} (needs {})", key.doc, what(model, key)),
    };
    let style = if now { ratatui::style::Style::new() } else { look.dim() };
    let cmd = now.then_some(key.cmd);
    let mut lines = Vec::new();
    for (n, line) in text::wrap(&doc, width.saturating_sub(14)).into_iter().enumerate() {
        let name = if n == 0 { text::pad(&keys, 12, look) } else { " ".repeat(12) };
        let name = Span::styled(format!("{name}  "), if now { look.accent() } else { look.dim() });
        lines.push((Line::from(vec![name, Span::styled(line, style)]), cmd));
    }
    lines
}

fn what(model: &Model, key: &Key) -> String {
    if model.has(key.needs) { key.when.0.to_owned() } else { key.needs.to_owned() }
}
