//! One asset: what it was made of and the object itself side by side, and the
//! report in words.

use meshkiln_protocol::{asset::ViewMode, job::JobId};
use ratatui::{layout::Rect, text::Line};

use super::{Canvas, cut_bottom, cut_left, cut_top, detail, overlay};
use crate::{
    show,
    tui::{
        act,
        keys::Cmd,
        model::{Model, Target},
        pictures::Which,
        text,
    },
};

/// The page of one asset.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect, id: JobId) {
    let Some(asset) = model.assets.get(&id) else {
        return overlay::empty(canvas, area, &["This asset is not known yet.".to_owned(), "Esc goes back.".to_owned()]);
    };
    let look = model.look;
    let (head, body) = cut_top(area, 1);
    let facts = format!(
        "{}  {}, {}, {}",
        asset.name,
        asset.recipe,
        show::bytes(asset.bytes),
        show::ago(asset.created_ms, model.now)
    );
    canvas.line(head, Line::styled(text::fit(&facts, area.width.into(), look), look.title()));
    if model.sight.large {
        canvas.drawn.page = 1;
        return object(model, canvas, body, id);
    }
    // Beside the pictures where they stay as large as they would be above it.
    let (pictures, report) = if body.width >= 110 {
        cut_left(body, body.width * 2 / 3)
    } else {
        let (pictures, report) = cut_top(body, (body.height * 3 / 5).max(7));
        (pictures, report)
    };
    side_by_side(model, canvas, pictures, id);
    let mut lines = Vec::new();
    if let Some(path) = &asset.path {
        lines.push(Line::styled(text::fit_end(path, report.width.into(), look), look.dim()));
    }
    match &asset.report {
        Some(found) => lines.extend(detail::report_lines(model, found, report.width.into())),
        None => lines.push(Line::styled("its recipe has no checks", look.dim())),
    }
    canvas.scrolled(report, lines, model.scroll);
}

fn side_by_side(model: &Model, canvas: &mut Canvas, area: Rect, id: JobId) {
    let mut panels: Vec<(String, Option<Which>)> =
        act::pictures_of(model, id).into_iter().map(|(name, which)| (name, Some(which))).collect();
    panels.push((String::new(), None));
    // The object gets twice the room where there is height for it.
    let n = panels.len() as u16;
    let is_tall = area.height > area.width / n;
    let parts = if is_tall { n + 1 } else { n };
    for (at, (name, which)) in panels.into_iter().enumerate() {
        let at = at as u16;
        let x = area.x + area.width * at / parts;
        let end = if at + 1 == n { area.right() } else { area.x + area.width * (at + 1) / parts };
        let panel = Rect { x, width: (end - x).saturating_sub(1), ..area };
        match which {
            None => object(model, canvas, panel, id),
            Some(which) => {
                let (picture, caption) = cut_bottom(panel, 1);
                canvas.picture(model, which, picture, "not kept");
                captioned(canvas, caption, &name);
            }
        }
    }
}

/// As the daemon draws it, or its preview where it cannot.
fn object(model: &Model, canvas: &mut Canvas, area: Rect, id: JobId) {
    let (picture, caption) = cut_bottom(area, 1);
    if !model.has("asset.view") {
        canvas.picture(model, Which::Preview(id), picture, "no preview");
        captioned(canvas, caption, "preview");
        return;
    }
    canvas.picture(model, Which::Mesh(id), picture, "waiting for the daemon");
    canvas.hit(picture, Target::Object);
    let sight = &model.sight;
    let mode = match sight.mode {
        ViewMode::Shaded => "shaded",
        ViewMode::Wireframe => "wireframe",
        ViewMode::Normals => "normals",
    };
    let mut words = format!("{mode} {:.0}\u{b0} {:.0}\u{b0}", sight.yaw_deg, sight.pitch_deg);
    if sight.zoom > 1.01 {
        words += &format!(" x{:.1}", sight.zoom);
    }
    if model.look.ascii {
        words = words.replace('\u{b0}', "");
    }
    captioned(canvas, caption, &words);
    canvas.hit(caption, Target::Do(Cmd::Wireframe));
}

fn captioned(canvas: &mut Canvas, area: Rect, words: &str) {
    let look = canvas.look;
    let words = text::fit(words, area.width.into(), look);
    let x = area.x + area.width.saturating_sub(text::width(&words) as u16) / 2;
    canvas.line(Rect { x, width: area.right().saturating_sub(x), ..area }, Line::styled(words, look.dim()));
}
