//! The daemon's log, or what this client was told; the newest at the bottom.

use ratatui::{layout::Rect, style::Style, text::Line};

use super::{Canvas, cut_top, overlay};
use crate::tui::{model::Model, text};

pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    let look = model.look;
    let lines = model.log_rows();
    let (head, body) = cut_top(area, 1);
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
    let width = area.width.into();
    let shown = lines[from..].iter().map(|line| {
        let style = match () {
            () if line.contains("ERROR") || line.contains("failed") || line.contains("trouble") => look.bad(),
            () if line.contains("WARN") => look.warn(),
            () => Style::new(),
        };
        Line::styled(text::fit(line, width, look), style)
    });
    canvas.lines(body, shown.collect::<Vec<_>>());
}
