//! The list of finished assets, with a picture and the verdict of what is chosen.

use meshkiln_protocol::asset::Asset;
use ratatui::{layout::Rect, style::Style, text::Line};

use super::{
    Canvas, cut_left, cut_top, detail, overlay,
    table::{self, Align, Column, column},
};
use crate::{
    show,
    tui::{
        model::{Model, View},
        pictures::Which,
        text,
    },
};

const COLUMNS: &[Column] = &[
    column("NAME", 12, 2, Align::Left, 0),
    column("CHECKS", 9, 0, Align::Left, 1),
    column("TRIANGLES", 9, 0, Align::Right, 3),
    column("SIZE", 8, 0, Align::Right, 4),
    column("RECIPE", 9, 0, Align::Left, 5),
    column("WHEN", 11, 0, Align::Left, 2),
    column("FILE", 24, 3, Align::End, 6),
];

/// The list, and what is chosen of it.
pub fn draw(model: &Model, canvas: &mut Canvas, area: Rect) {
    let assets = model.asset_rows();
    if assets.is_empty() {
        let is_narrowed = !model.search().is_empty() || model.filters[View::Assets as usize] != 0;
        let lines = match is_narrowed {
            true => ["No asset is like that.", "Esc shows all again."],
            false => ["No assets yet.", "Press f to fire a picture, or drop files onto this terminal."],
        };
        return overlay::empty(canvas, area, &lines.map(str::to_owned));
    }
    let (list, pane) = cut_left(area, area.width * 3 / 5);
    table::draw(canvas, list, COLUMNS, assets.len(), model.cursor(), |at| {
        assets.get(at).map_or_else(Vec::new, |asset| row(model, asset))
    });
    if let Some(asset) = model.asset() {
        let (picture, words) = cut_top(pane, (pane.height * 3 / 5).max(pane.height.min(8)));
        canvas.picture(model, Which::Preview(asset.id), picture, "no preview");
        let name = text::fit(&asset.name, words.width.into(), model.look);
        let mut lines = vec![Line::styled(name, model.look.title())];
        if let Some(report) = &asset.report {
            lines.extend(detail::report_lines(model, report, words.width.into()));
        }
        canvas.lines(words, lines);
    }
}

fn row(model: &Model, asset: &Asset) -> Vec<(String, Style)> {
    let look = model.look;
    let plain = Style::new();
    let figure = |key: &str| asset.report.as_ref().and_then(|report| report[key].as_u64());
    let failed = asset.report.as_ref().and_then(|report| report["gate"].as_array());
    let failed = failed.into_iter().flatten().filter(|check| check["passed"] == false).count();
    let verdict = match (&asset.report, failed) {
        (None, _) => (String::new(), plain),
        (Some(_), 0) => (format!("{} passed", look.sign("✓", "+")), look.good()),
        (Some(_), n) => (format!("{} {n} failed", look.sign("✗", "!")), look.bad()),
    };
    vec![
        (asset.name.clone(), look.title()),
        verdict,
        (figure("triangles").map(show::count).unwrap_or_default(), plain),
        (show::bytes(asset.bytes), plain),
        (asset.recipe.clone(), plain),
        (show::ago(asset.created_ms, model.now), look.dim()),
        (asset.path.clone().unwrap_or_default(), look.dim()),
    ]
}
