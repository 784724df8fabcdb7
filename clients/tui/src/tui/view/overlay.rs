//! Small things over or in place of a page: a question, a path being typed, and
//! what to do where there is nothing.

use ratatui::{
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Canvas, centred, cut_bottom, cut_top, wrapped};
use crate::tui::{
    dialog::{Confirm, Prompt, Purpose},
    input::Input,
    model::Target,
    text,
};

/// In the middle of an empty page.
pub fn empty(canvas: &mut Canvas, area: Rect, words: &[String]) {
    let width = usize::from(area.width.saturating_sub(4));
    let lines: Vec<String> = words.iter().flat_map(|line| text::wrap(line, width)).collect();
    let place = centred(area, area.width, lines.len() as u16);
    for (row, (n, line)) in super::rows(place).zip(lines.into_iter().enumerate()) {
        let x = row.x + row.width.saturating_sub(text::width(&line) as u16) / 2;
        let style = if n == 0 { canvas.look.title() } else { Style::new() };
        canvas.line(Rect { x, width: row.right() - x, ..row }, Line::styled(line, style));
    }
}

/// A question, over what is there.
pub fn confirm(canvas: &mut Canvas, area: Rect, confirm: &Confirm) {
    let look = canvas.look;
    let width = area.width.saturating_sub(4).min(70);
    let inside = usize::from(width.saturating_sub(4));
    let mut lines = wrapped(&confirm.question, inside, 0, look.title());
    lines.extend(wrapped(&confirm.detail, inside, 0, look.dim()));
    let inner = canvas.boxed(centred(area, width, lines.len() as u16 + 4), "Sure?");
    let (words, keys) = cut_bottom(inner, 1);
    canvas.lines(words, lines);
    let mut x = keys.x;
    for (key, word, target) in [("y", "yes", Target::Yes), ("n", "no", Target::No)] {
        let place = Rect { x, width: 8, ..keys }.intersection(keys);
        canvas.line(place, Line::from(vec![Span::styled(format!("{key} "), look.accent()), Span::raw(word)]));
        canvas.hit(place, target);
        x = place.right();
    }
}

/// A path being typed, with what it could become.
pub fn prompt(canvas: &mut Canvas, area: Rect, prompt: &Prompt) {
    let look = canvas.look;
    let place = centred(area, area.width.saturating_sub(4).min(100), area.height.saturating_sub(4).min(18));
    let inner = canvas.boxed(place, prompt.title());
    let (top, rest) = cut_top(inner, 2);
    let (field, note) = cut_top(top, 1);
    input(canvas, field, "path ", &prompt.input);
    match (&prompt.problem, prompt.purpose) {
        (Some(problem), _) => {
            canvas.line(note, Line::styled(text::fit_end(problem, note.width.into(), look), look.bad()))
        }
        (None, Purpose::Fire) => {
            canvas.line(note, Line::styled("a picture, or a mesh; files can be dropped here too", look.dim()))
        }
        (None, Purpose::Watch) => canvas.line(note, Line::styled("a folder: what lands in it is fired", look.dim())),
    }
    let (list, keys) = cut_bottom(rest, 1);
    let words = if keys.width >= 60 {
        "Tab completes, Up and Down choose, Enter takes it, Esc closes"
    } else {
        "Tab completes, Enter takes it, Esc closes"
    };
    canvas.line(keys, Line::styled(words, look.dim()));
    let chosen = prompt.chosen.unwrap_or(0);
    let top = chosen.saturating_sub(usize::from(list.height).saturating_sub(1));
    for (row, (at, path)) in super::rows(list).zip(prompt.found.iter().enumerate().skip(top)) {
        let is_folder = path.ends_with('/');
        let style = if is_folder { look.accent() } else { Style::new() };
        canvas.line(row, Line::styled(text::fit_end(path, row.width.into(), look), style));
        canvas.hit(row, Target::Candidate(at));
        if prompt.chosen == Some(at) {
            canvas.paint(row, look.selected());
        }
    }
}

/// A line being typed, with its cursor in view.
pub fn input(canvas: &mut Canvas, area: Rect, label: &str, input: &Input) {
    let look = canvas.look;
    let room = usize::from(area.width).saturating_sub(label.len() + 1);
    let (before, after) = input.halves();
    let head = text::fit_end(before, room, look);
    let rest = room.saturating_sub(text::width(&head));
    let (at, tail) = match after.chars().next() {
        Some(c) => (text::clean(c.encode_utf8(&mut [0; 4])), &after[c.len_utf8()..]),
        None => (" ".to_owned(), ""),
    };
    let tail = text::fit(tail, rest, look);
    canvas.line(
        area,
        Line::from(vec![
            Span::styled(label.to_owned(), look.accent()),
            Span::raw(head),
            Span::styled(at, look.selected()),
            Span::raw(tail),
        ]),
    );
}
