//! What is around every page: lists to choose from at the top, the state of
//! things, and the keys at the bottom.

use ratatui::{
    layout::Rect,
    style::Modifier,
    text::{Line, Span},
};

use super::{
    super::keys::{Cmd, KEYS},
    Canvas, cut_bottom, cut_top,
};
use crate::{
    show,
    tui::{
        model::{Link, Model, Target, View},
        text,
    },
};

/// Draws it and returns what is left.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) -> Rect {
    let (head, body) = cut_top(area, 1);
    tabs(model, canvas, head);
    let (body, foot) = cut_bottom(body, 1);
    keys(model, canvas, foot);
    let (body, state) = cut_bottom(body, 1);
    let line = status(model, area.width.into());
    canvas.line(state, line);
    let warnings = warnings(model);
    let (top, body) = cut_top(body, warnings.len() as u16);
    let width = area.width.into();
    let look = model.look;
    canvas.lines(
        top,
        warnings
            .into_iter()
            .map(|text| Line::styled(text::pad(&text, width, look), look.warn().add_modifier(Modifier::REVERSED))),
    );
    body
}

fn tabs(model: &Model, canvas: &mut Canvas, area: Rect) {
    let look = model.look;
    let mut x = area.x;
    for (n, view) in View::ALL.into_iter().enumerate() {
        let label = format!(" {} {} ", n + 1, view.name());
        let place = Rect { x, width: label.len() as u16, ..area }.intersection(area);
        let style = if model.view == view {
            look.accent().add_modifier(Modifier::BOLD | Modifier::REVERSED)
        } else {
            look.title()
        };
        canvas.line(place, Line::styled(label, style));
        canvas.hit(place, Target::Do(Cmd::See(view)));
        x = place.right();
    }
    let room = area.right().saturating_sub(x);
    let text = summary(model, room.into());
    let width = text::width(&text) as u16;
    if width < room {
        let style = if model.jobs.queue.paused || model.yielded().is_some() { look.warn() } else { look.dim() };
        canvas.line(Rect { x: area.right() - width, width, ..area }, Line::styled(text, style));
    }
}

/// The queue in as many words as there is room for.
fn summary(model: &Model, room: usize) -> String {
    if model.hello.is_none() {
        return String::new();
    }
    let queue = &model.jobs.queue;
    let mut parts = Vec::new();
    if model.yielded().is_some() {
        parts.push("device given away".to_owned());
    }
    if queue.paused {
        parts.push("queue paused".to_owned());
    }
    parts.push(format!("{} running", queue.running));
    parts.push(format!("{} queued", show::count(queue.queued)));
    if let Some(hello) = &model.hello {
        parts.push(format!("daemon {}", hello.version));
    }
    while parts.len() > 1 && text::width(&parts.join(", ")) >= room {
        parts.pop();
    }
    parts.join(", ")
}

/// What everybody should know, each on a line of its own.
fn warnings(model: &Model) -> Vec<String> {
    let mut lines = Vec::new();
    match &model.link {
        Link::Up => {}
        Link::Starting => lines.push(" starting the daemon ...".to_owned()),
        Link::Lost(trouble) => {
            lines.push(format!(" no daemon: {} - trying again; what is shown is as it was", trouble.message));
        }
        Link::Stopped => lines.push(" the daemon was stopped; U starts it; what is shown is as it was".to_owned()),
    }
    if let Some(hello) = model.hello.as_ref().filter(|_| model.is_connected()) {
        let ours = meshkiln_protocol::PROTOCOL_VERSION;
        let lacking = KEYS
            .iter()
            .filter(|key| !model.has(key.needs))
            .map(|key| key.needs)
            .collect::<std::collections::BTreeSet<_>>();
        if hello.protocol_version != ours {
            let theirs = hello.protocol_version;
            lines.push(format!(" the daemon ({}) speaks version {theirs} of the protocol, this program {ours}: some things will not be understood", hello.version));
        } else if !lacking.is_empty() {
            lines.push(format!(
                " the daemon ({}) does not know {}",
                hello.version,
                lacking.into_iter().collect::<Vec<_>>().join(", ")
            ));
        } else if model.strange > 0 {
            lines.push(format!(
                " the daemon ({}) told {} things that this program does not know",
                hello.version, model.strange
            ));
        }
    }
    if let Some(problem) =
        model.status.as_ref().and_then(|status| status.problems.first()).filter(|_| model.is_connected())
    {
        lines.push(format!(" {problem}"));
    }
    lines
}

/// What was just done, or what is searched for, or how many rows there are.
fn status(model: &Model, width: usize) -> Line<'static> {
    let look = model.look;
    if model.searching {
        let (before, after) = model.searches[model.view as usize].halves();
        return Line::from(vec![
            Span::styled(" search: ", look.accent()),
            Span::raw(text::clean(before)),
            Span::styled(look.sign("▏", "_"), look.accent()),
            Span::raw(text::clean(after)),
            Span::styled("  Enter keeps it, Esc ends it", look.dim()),
        ]);
    }
    if let Some(notice) = &model.notice {
        let style = if notice.bad { look.bad() } else { look.good() };
        let text = text::fit(&format!(" {}", notice.text), width, look);
        let rest = width.saturating_sub(text::width(&text) + 3);
        let mut spans = vec![Span::styled(text, style)];
        if !notice.hint.is_empty() && rest > 10 {
            spans.push(Span::raw(format!(" - {}", text::fit(&notice.hint, rest, look))));
        }
        return Line::from(spans);
    }
    let mut parts = Vec::new();
    if model.page.is_none() {
        let filter = Model::filter_names(model.view)[model.filter()];
        if model.filter() != 0 {
            parts.push(format!("only {filter} (F)"));
        }
        if !model.search().is_empty() {
            parts.push(format!("with `{}`", text::clean(model.search())));
        }
        let n = model.rows();
        if !matches!(model.view, View::Log) {
            parts.push(if n == 0 {
                "none".to_owned()
            } else {
                format!("{} of {}", model.cursor().at + 1, show::count(n as u64))
            });
        }
        if model.view == View::Jobs && model.jobs.loading {
            parts.push("loading".to_owned());
        }
    }
    Line::styled(format!(" {}", parts.join(", ")), look.dim())
}

/// The keys that do something now, as many as fit; the help has the rest.
fn keys(model: &Model, canvas: &mut Canvas, area: Rect) {
    let look = model.look;
    let possible: Vec<_> = KEYS.iter().filter(|key| key.foot && key.is_possible(model)).collect();
    let label = |key: &super::super::keys::Key| (key.keys.split(' ').next().unwrap_or_default(), key.name);
    let width_of = |key: &super::super::keys::Key| label(key).0.len() + label(key).1.len() + 3;
    let is_last = |cmd: Cmd| matches!(cmd, Cmd::Help | Cmd::Quit | Cmd::Back);
    let reserved: usize = possible.iter().filter(|key| is_last(key.cmd)).map(|key| width_of(key)).sum();
    let mut room = usize::from(area.width).saturating_sub(reserved);
    let mut x = area.x;
    for key in possible {
        if !is_last(key.cmd) {
            if width_of(key) > room {
                continue;
            }
            room -= width_of(key);
        }
        let (name, word) = label(key);
        let place = Rect { x, width: width_of(key) as u16, ..area }.intersection(area);
        let spans = vec![
            Span::styled(format!(" {name}"), look.accent().add_modifier(Modifier::BOLD)),
            Span::raw(format!(" {word} ")),
        ];
        canvas.line(place, Line::from(spans));
        canvas.hit(place, Target::Do(key.cmd));
        x = place.right();
    }
}
