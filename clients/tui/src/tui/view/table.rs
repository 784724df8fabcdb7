//! Lists: columns that give way when there is no room, and a row that is chosen.

use ratatui::{
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Canvas, cut_top};
use crate::tui::{
    model::{Cursor, Target},
    text,
};

/// A column of a list.
pub struct Column {
    pub head: &'static str,
    pub min: usize,
    /// Share of what is left over.
    pub flex: usize,
    pub align: Align,
    /// The higher, the sooner it is left out; 0 never is.
    pub rank: u8,
}

/// What is kept of a text that is too long, and where a short one goes.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Left,
    Right,
    /// The end is kept, at the left.
    End,
}

/// A column by its parts.
pub const fn column(head: &'static str, min: usize, flex: usize, align: Align, rank: u8) -> Column {
    Column { head, min, flex, align, rank }
}

/// Cells of each column in so many; 0 for those that are left out.
pub fn widths(columns: &[Column], cells: usize) -> Vec<usize> {
    let mut shown = vec![true; columns.len()];
    let needed = |shown: &[bool]| -> usize {
        columns.iter().zip(shown).filter(|(_, is)| **is).map(|(column, _)| column.min + 1).sum::<usize>()
    };
    while needed(&shown) > cells + 1 {
        let worst =
            (0..columns.len()).filter(|&at| shown[at] && columns[at].rank > 0).max_by_key(|&at| columns[at].rank);
        let Some(worst) = worst else { break };
        shown[worst] = false;
    }
    let spare = (cells + 1).saturating_sub(needed(&shown));
    let flex: usize = columns.iter().zip(&shown).filter(|(_, is)| **is).map(|(column, _)| column.flex).sum();
    let last = (0..columns.len()).rev().find(|&at| shown[at] && columns[at].flex > 0);
    let mut given = 0;
    let mut widths: Vec<usize> = columns
        .iter()
        .zip(&shown)
        .map(|(column, is)| {
            let extra = if *is && flex > 0 { spare * column.flex / flex } else { 0 };
            given += extra;
            if *is { column.min + extra } else { 0 }
        })
        .collect();
    if let Some(last) = last {
        widths[last] += spare - given;
    }
    widths
}

/// A list with its head. Only the rows that are shown are asked for.
pub fn draw(
    canvas: &mut Canvas,
    area: Rect,
    columns: &[Column],
    n_rows: usize,
    cursor: &Cursor,
    row: impl Fn(usize) -> Vec<(String, Style)>,
) {
    let look = canvas.look;
    let widths = widths(columns, area.width.into());
    let cell = |content: &str, column: &Column, width: usize| match column.align {
        Align::Left => text::pad(content, width, look),
        Align::Right => text::pad_left(content, width, look),
        Align::End => text::pad(&text::fit_end(content, width, look), width, look),
    };
    let (head, body) = cut_top(area, 1);
    let shown = || columns.iter().zip(&widths).enumerate().filter(|(_, (_, width))| **width > 0);
    let spans = shown().map(|(_, (column, width))| Span::styled(cell(column.head, column, *width) + " ", look.dim()));
    canvas.line(head, Line::from(spans.collect::<Vec<_>>()));

    let height = usize::from(body.height);
    let top = cursor.top.min(n_rows.saturating_sub(height)).min(cursor.at).max((cursor.at + 1).saturating_sub(height));
    (canvas.drawn.top, canvas.drawn.page) = (top, height);
    for (place, at) in super::rows(body).zip(top..n_rows) {
        let cells = row(at);
        let spans: Vec<Span> = shown()
            .filter_map(|(n, (column, width))| {
                let (content, style) = cells.get(n)?;
                Some(Span::styled(cell(content, column, *width) + " ", *style))
            })
            .collect();
        canvas.line(place, Line::from(spans));
        canvas.hit(place, Target::Row(at));
        if at == cursor.at {
            canvas.paint(place, look.selected());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_give_way_by_rank_and_fill_what_there_is() {
        let columns = [
            column("a", 5, 0, Align::Left, 0),
            column("b", 10, 1, Align::Left, 0),
            column("c", 10, 2, Align::Left, 1),
            column("d", 8, 0, Align::Left, 2),
        ];
        assert_eq!(widths(&columns, 40), [5, 11, 13, 8]);
        assert_eq!(widths(&columns, 30), [5, 11, 12, 0]);
        assert_eq!(widths(&columns, 20), [5, 14, 0, 0]);
        assert_eq!(widths(&columns, 3), [5, 10, 0, 0]);
        for cells in 16..200 {
            let widths = widths(&columns, cells);
            let used: usize = widths.iter().filter(|width| **width > 0).map(|width| width + 1).sum();
            assert_eq!(used, cells + 1);
        }
    }
}
