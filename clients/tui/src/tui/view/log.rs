//! The daemon's log, or what this client was told; the newest at the bottom.

use ratatui::{layout::Rect, style::Style, text::Line};

use super::{Canvas, cut_top, overlay};
use crate::tui::{look::Look, model::Model, text};

/// The lines that fit, from the end.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    let look = model.look;
    let (head, body) = cut_top(area, 1);
    let width = usize::from(area.width);
    let lines: Vec<(String, Style)> =
        model.log_rows().into_iter().flat_map(|line| folded(&line, width, look)).collect();
    let height = usize::from(body.height);
    let deepest = lines.len().saturating_sub(height);
    (canvas.drawn.page, canvas.drawn.deepest) = (height.max(1), deepest);
    let what = if model.show_told { "what this client was told" } else { "the daemon's log" };
    let up = model.log_up.min(deepest);
    let place = if up > 0 { format!(", {up} lines from the end (End follows it again)") } else { String::new() };
    canvas.line(head, Line::styled(format!("{what}{place}; e shows the other"), look.dim()));
    if lines.is_empty() {
        return overlay::empty(canvas, body, &["Nothing to show.".to_owned()]);
    }
    let from = deepest - up;
    canvas.lines(body, lines.into_iter().skip(from).map(|(line, style)| Line::styled(line, style)));
}

/// As many lines as it needs, those after the first further in.
fn folded(line: &str, width: usize, look: Look) -> Vec<(String, Style)> {
    let style = match () {
        () if line.contains("ERROR") || line.contains("failed") || line.contains("trouble") => look.bad(),
        () if line.contains("WARN") => look.warn(),
        () => Style::new(),
    };
    if text::width(line) <= width {
        return vec![(text::clean(line), style)];
    }
    let mut parts = text::wrap(line, width.saturating_sub(4).max(1)).into_iter();
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| format!("    {part}"));
    std::iter::once(first).chain(rest).map(|part| (part, style)).collect()
}
