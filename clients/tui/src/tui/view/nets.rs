//! Nets: which there are, which are in memory, and the memory of each device.

use meshkiln_protocol::net::{DeviceStatus, KeepAlive, Net, NetState, Pull, PullState};
use ratatui::{
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    Canvas, cut_bottom, cut_top, overlay,
    table::{self, Align, Column, column},
    wrapped,
};
use crate::{
    show,
    tui::{model::Model, text},
};

const COLUMNS: &[Column] = &[
    column("NET", 14, 1, Align::Left, 0),
    column("STATE", 24, 1, Align::Left, 0),
    column("MEMORY", 8, 0, Align::Right, 1),
    column("STAYS", 13, 0, Align::Left, 3),
    column("LICENCE", 12, 0, Align::Left, 4),
    column("WHAT FOR", 30, 4, Align::Left, 5),
];
/// Lines on the chosen one, where there is room.
const ABOUT: u16 = 8;

/// Memory, the list, and what is chosen of it.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    let devices = model.status.as_ref().map_or(&[][..], |status| &status.devices);
    let (top, rest) = cut_top(area, devices.len().min(4) as u16);
    let width = area.width.into();
    canvas.lines(top, devices.iter().map(|device| memory(model, device, width)));
    let (list, about) = cut_bottom(rest, if rest.height >= 18 { ABOUT } else { rest.height.min(10).saturating_sub(7) });
    let nets = model.net_rows();
    if nets.is_empty() {
        let words =
            if model.nets.is_empty() { "No nets are known." } else { "No net is like that. Esc shows all again." };
        return overlay::empty(canvas, rest, &[words.to_owned()]);
    }
    table::draw(canvas, list, COLUMNS, nets.len(), model.cursor(), |at| {
        nets.get(at).map_or_else(Vec::new, |net| row(model, net))
    });
    if let Some(net) = model.net() {
        canvas.lines(about, describe(model, net, width));
    }
}

/// Ours, others' and free, as a bar and in figures.
fn memory(model: &Model, device: &DeviceStatus, width: usize) -> Line<'static> {
    let look = model.look;
    let name = text::pad(&device.device, 8, look);
    let Some(memory) = device.memory else {
        let words = if device.yielded { "given away" } else { "not measured yet" };
        return Line::from(vec![Span::styled(name, look.title()), Span::styled(words, look.dim())]);
    };
    let others = memory.total_bytes.saturating_sub(memory.used_bytes + memory.free_bytes);
    let away = if device.yielded { ", given away" } else { "" };
    let figures = format!(
        " {} ours, {} others', {} free{away}",
        show::bytes(memory.used_bytes),
        show::bytes(others),
        show::bytes(memory.free_bytes)
    );
    let cells = width.saturating_sub(8 + figures.len() + 1).clamp(4, 60);
    let share = |bytes: u64| (bytes as f64 / memory.total_bytes.max(1) as f64 * cells as f64).round() as usize;
    let ours = share(memory.used_bytes).min(cells);
    let theirs = share(others).min(cells - ours);
    Line::from(vec![
        Span::styled(name, look.title()),
        Span::styled(look.sign("█", "#").repeat(ours), look.accent()),
        Span::styled(look.sign("▒", "=").repeat(theirs), look.dim()),
        Span::styled(look.sign("░", ".").repeat(cells - ours - theirs), look.dim()),
        Span::raw(figures),
    ])
}

fn row(model: &Model, net: &Net) -> Vec<(String, Style)> {
    let look = model.look;
    let plain = Style::new();
    let bytes = net.resident_bytes.or(net.peak_bytes).unwrap_or(net.declared_bytes);
    let about = net.about.as_ref();
    let own = net.own.as_ref().map(|own| own.license.clone().unwrap_or_else(|| "yours".to_owned()));
    let (state, style) = state(model, net);
    vec![
        (net.id.clone(), look.title()),
        (state, style),
        (show::bytes(bytes), plain),
        (stays(net), look.dim()),
        (about.map(|about| about.license.clone()).or(own).unwrap_or_default(), look.dim()),
        (net.doc.clone(), look.dim()),
    ]
}

fn state(model: &Model, net: &Net) -> (String, Style) {
    let look = model.look;
    if let Some(pull) = net.pull.as_ref().filter(|_| model.is_pulled(net)) {
        return (pulling(model, pull), look.accent());
    }
    let device = net.device.as_ref().map(|device| format!(" on {device}")).unwrap_or_default();
    let problem = net.problem.is_some();
    match net.state {
        _ if problem => (format!("{} in trouble", look.sign("✗", "!")), look.bad()),
        NetState::Absent => (format!("{} not here", look.sign("○", "-")), look.dim()),
        NetState::Cold => (format!("{} here", look.sign("●", "o")), Style::new()),
        NetState::Loading => (format!("{} loading{device}", look.sign("▶", ">")), look.accent()),
        NetState::Warm if net.in_use => (format!("{} in use{device}", look.sign("▶", ">")), look.accent()),
        NetState::Warm => (format!("{} warm{device}", look.sign("●", "*")), look.good()),
        NetState::Unloading => (format!("{} leaving", look.sign("·", ".")), look.dim()),
    }
}

fn pulling(model: &Model, pull: &Pull) -> String {
    let verb = if pull.state == PullState::Converting { "converting" } else { "fetching" };
    match pull.total_bytes.filter(|total| *total > 0) {
        Some(total) => {
            let fraction = pull.done_bytes as f32 / total as f32;
            format!("{} {:.0}% {verb}", model.look.bar(fraction, 8), fraction * 100.0)
        }
        None => format!("{verb} {}", show::bytes(pull.done_bytes)),
    }
}

fn stays(net: &Net) -> String {
    match (net.pinned, net.expires_in_ms, net.keep_alive) {
        (true, ..) => "pinned".to_owned(),
        (false, Some(ms), _) => format!("{} more", show::duration(ms)),
        (false, None, KeepAlive::Forever) => "forever".to_owned(),
        (false, None, KeepAlive::Ms(ms)) => format!("{} idle", show::duration(ms)),
    }
}

fn describe(model: &Model, net: &Net, width: usize) -> Vec<Line<'static>> {
    let look = model.look;
    let mut lines = Vec::new();
    if let Some(problem) = &net.problem {
        lines.extend(wrapped(problem, width, 0, look.bad()));
    }
    if let Some(pull) = net.pull.as_ref().filter(|pull| pull.state == PullState::Failed) {
        let words = [&pull.problem, &pull.hint].into_iter().flatten().cloned().collect::<Vec<_>>().join(" - ");
        lines.extend(wrapped(&words, width, 0, look.bad()));
    }
    lines.extend(wrapped(&format!("{}: {}", net.id, net.doc), width, 0, Style::new()));
    if let Some(own) = &net.own {
        let used = own.used_by.as_ref().map(|used_by| format!(", asked for with {used_by}")).unwrap_or_default();
        lines.extend(wrapped(&format!("yours, in {}{used}", own.folder), width, 0, look.dim()));
        lines.extend(own.hint.iter().flat_map(|hint| wrapped(hint, width, 2, look.warn())));
    }
    let Some(about) = &net.about else { return lines };
    let bytes: u64 = about.files.iter().filter_map(|file| file.bytes).sum();
    let cpu = if about.cpu_viable { "runs on a CPU too" } else { "needs a GPU" };
    let fit = if about.recommended { ", fits this machine" } else { "" };
    for line in [
        format!("{} from {}, memory {}, {cpu}{fit}", show::bytes(bytes), about.repository, about.memory_class),
        format!("used by {}; {} {}", about.engines.join(", "), about.speed, about.quality),
        format!("licence {}: {}", about.license, about.license_says),
    ] {
        lines.extend(wrapped(&line, width, 0, look.dim()));
    }
    lines
}
