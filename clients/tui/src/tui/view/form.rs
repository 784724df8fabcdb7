//! A form: fields by stage, what the one in hand means, and what is wrong.

use ratatui::{
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Canvas, centred, cut_bottom, overlay, wrapped};
use crate::tui::{
    form::{Field, Form, Kind, Purpose},
    model::{Model, Target},
    text,
};

/// Cells of the names.
const NAMES: usize = 22;

/// The form, over what is there.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect, form: &Form) {
    let look = model.look;
    let place = centred(area, area.width.saturating_sub(2).min(110), area.height.saturating_sub(1));
    let inner = canvas.boxed(place, &title(form));
    let width = usize::from(inner.width);
    let (rest, keys) = cut_bottom(inner, 1);
    let verb = match form.purpose {
        Purpose::Watch { .. } => "watch",
        _ => "fire",
    };
    let words = match (form.sent, &form.edit) {
        (true, _) => "sent ...".to_owned(),
        (false, Some(_)) => "Enter takes it, Esc leaves it as it was".to_owned(),
        (false, None) if width < 80 => format!("Enter {verb}  Left/Right choose  / find  Esc close"),
        (false, None) => {
            format!("Enter {verb}  Left/Right choose  type to change  Del as it was  / find a field  Esc close")
        }
    };
    match &form.find {
        Some(find) => overlay::input(canvas, keys, "find ", find),
        None => canvas.line(keys, Line::styled(text::fit(&words, width, look), look.accent())),
    }
    if form.edit.is_none() && form.find.is_none() {
        canvas.hit(Rect { width: keys.width.min(6 + verb.len() as u16), ..keys }, Target::Yes);
    }
    let notes = notes(model, form, width);
    let (list, about) = cut_bottom(rest, (notes.len() as u16).min(rest.height / 2).max(2));
    // One row free between.
    let (list, _) = cut_bottom(list, u16::from(list.height > 6));
    canvas.lines(about, notes);
    fields(canvas, list, form);
}

fn title(form: &Form) -> String {
    match &form.purpose {
        Purpose::Fire { paths } => match paths.as_slice() {
            [path] => format!("Fire {}", path.rsplit('/').next().unwrap_or(path)),
            paths => format!("Fire {} files", paths.len()),
        },
        Purpose::Refire { name, id, .. } => format!("Refire {name} (job {id})"),
        Purpose::Watch { folder } => format!("Watch {folder}"),
    }
}

/// Trouble first, then what the field means.
fn notes(model: &Model, form: &Form, width: usize) -> Vec<Line<'static>> {
    let look = model.look;
    let mut lines = Vec::new();
    if let Some(trouble) = &form.problem {
        lines.extend(wrapped(&trouble.message, width, 0, look.bad()));
        if !trouble.hint.is_empty() {
            lines.extend(wrapped(&trouble.hint, width, 2, Style::new()));
        }
        return lines;
    }
    let Some(field) = form.fields.get(form.at) else { return lines };
    let mut doc = form.doc(&model.recipes).to_owned();
    match &field.kind {
        Kind::Number { range } => {
            let unit = if field.unit.is_empty() { String::new() } else { format!(" {}", field.unit) };
            doc += &format!(" ({range}{unit})");
        }
        Kind::Choice(options) => doc += &format!(" ({})", options.join(", ")),
        Kind::Text => doc += " (Right to type it)",
        Kind::Flag => {}
    }
    lines.extend(wrapped(&doc, width, 0, look.dim()));
    if !form.missing_nets.is_empty() {
        let nets = form.missing_nets.join(", ");
        lines.extend(wrapped(&format!("better with {nets}, not here yet: pull in Nets"), width, 0, look.warn()));
    }
    lines
}

/// Rows: a name of each stage before its fields.
fn fields(canvas: &mut Canvas, area: Rect, form: &Form) {
    let look = canvas.look;
    let mut rows: Vec<(Option<usize>, &Field)> = Vec::new();
    for (at, field) in form.fields.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| form.fields.get(before));
        if before.is_some_and(|before| before.group != field.group) {
            rows.push((None, field));
        }
        rows.push((Some(at), field));
    }
    let height = usize::from(area.height);
    let here = rows.iter().position(|(at, _)| *at == Some(form.at)).unwrap_or(0);
    let top = here.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    canvas.drawn.page = height.max(1);
    let width = usize::from(area.width);
    for (place, (at, field)) in super::rows(area).zip(rows.into_iter().skip(top)) {
        let Some(at) = at else {
            canvas.line(place, Line::styled(field.group.clone(), look.title()));
            continue;
        };
        canvas.hit(place, Target::Field(at));
        let indent = if field.group.is_empty() { "" } else { "  " };
        let name = text::pad(&format!("{indent}{}", field.id), NAMES.min(width / 2), look);
        if at == form.at
            && let Some(edit) = &form.edit
        {
            overlay::input(canvas, place, &name, edit);
            continue;
        }
        let (mark, style) =
            if form.is_set(field) { (look.sign("●", "*"), look.accent()) } else { (" ", Style::new()) };
        let unit = if field.unit.is_empty() { String::new() } else { format!(" {}", field.unit) };
        let value = text::fit_end(&format!("{}{unit}", form.value(field)), width.saturating_sub(NAMES + 2), look);
        canvas.line(place, Line::from(vec![Span::raw(name), Span::styled(format!("{mark} {value}"), style)]));
        if at == form.at {
            canvas.paint(place, look.selected());
        }
    }
}
