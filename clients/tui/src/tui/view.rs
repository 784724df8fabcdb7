//! `view`: the model on the screen. Nothing is changed here; what the drawing
//! found out (where things are, which pictures it lacked) is returned.

mod asset;
mod assets;
mod detail;
mod form;
mod frame;
mod help;
mod jobs;
mod log;
mod nets;
mod overlay;
mod table;
mod watches;

use ratatui::{
    Frame,
    layout::{Rect, Size},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use super::{
    dialog::Dialog,
    look::Look,
    model::{Drawn, Model, Page, Target, View},
    pictures::Which,
    text,
};

/// Draws everything.
pub fn view(model: &Model, frame: &mut Frame) -> Drawn {
    let area = frame.area();
    let mut canvas = Canvas { frame, look: model.look, drawn: Drawn::default() };
    canvas.drawn.top = model.cursor().top;
    if area.width < 20 || area.height < 6 {
        canvas.line(area, Line::raw("too small"));
        return canvas.drawn;
    }
    let body = frame::draw(model, &mut canvas, area);
    match (model.page, model.view) {
        (Some(Page::Job(id)), _) => detail::page(model, &mut canvas, body, id),
        (Some(Page::Asset(id)), _) => asset::draw(model, &mut canvas, body, id),
        (None, View::Jobs) => jobs::draw(model, &mut canvas, body),
        (None, View::Assets) => assets::draw(model, &mut canvas, body),
        (None, View::Nets) => nets::draw(model, &mut canvas, body),
        (None, View::Watches) => watches::draw(model, &mut canvas, body),
        (None, View::Log) => log::draw(model, &mut canvas, body),
    }
    match &model.dialog {
        Some(Dialog::Help { scroll }) => help::draw(model, &mut canvas, area, *scroll),
        Some(Dialog::Confirm(confirm)) => overlay::confirm(&mut canvas, area, confirm),
        Some(Dialog::Prompt(prompt)) => overlay::prompt(&mut canvas, area, prompt),
        Some(Dialog::Form(form)) => form::draw(model, &mut canvas, area, form),
        None => {}
    }
    canvas.drawn
}

/// Where things are drawn.
pub struct Canvas<'a, 'b> {
    frame: &'a mut Frame<'b>,
    look: Look,
    drawn: Drawn,
}

impl Canvas<'_, '_> {
    /// On the first row of the area, cut at its end.
    fn line(&mut self, area: Rect, line: Line<'_>) {
        if area.height > 0 {
            self.frame.buffer_mut().set_line(area.x, area.y, &line, area.width);
        }
    }

    /// From the top, as many as fit.
    fn lines(&mut self, area: Rect, lines: impl IntoIterator<Item = Line<'static>>) {
        for (row, line) in rows(area).zip(lines) {
            self.line(row, line);
        }
    }

    /// Lines that can be scrolled through.
    fn scrolled(&mut self, area: Rect, lines: Vec<Line<'static>>, scroll: usize) {
        let deepest = lines.len().saturating_sub(area.height.into());
        self.drawn.deepest = deepest;
        self.drawn.page = usize::from(area.height).saturating_sub(1);
        let more = deepest > scroll.min(deepest);
        self.lines(area, lines.into_iter().skip(scroll.min(deepest)));
        if more && area.height > 0 && area.width > 4 {
            let corner = Rect { x: area.right() - 1, y: area.bottom() - 1, width: 1, height: 1 };
            let sign = self.look.sign("▼", "v");
            self.line(corner, Line::styled(sign, self.look.accent()));
        }
    }

    fn hit(&mut self, area: Rect, target: Target) {
        if !area.is_empty() {
            self.drawn.hits.push((area, target));
        }
    }

    /// Of the whole area, over what is there.
    fn paint(&mut self, area: Rect, style: Style) {
        self.frame.buffer_mut().set_style(area, style);
    }

    /// A frame over what is there; what lies in it.
    fn boxed(&mut self, area: Rect, title: &str) -> Rect {
        let block =
            Block::bordered().border_set(self.look.border()).border_style(self.look.accent()).title(Line::styled(
                format!(" {} ", text::fit(title, usize::from(area.width).saturating_sub(6), self.look)),
                self.look.title(),
            ));
        Clear.render(area, self.frame.buffer_mut());
        let inner = block.inner(area);
        block.render(area, self.frame.buffer_mut());
        // A click beside what is in it does nothing to what lies below.
        self.hit(area, Target::Nothing);
        Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
    }

    fn picture(&mut self, model: &Model, which: Which, area: Rect, absent: &str) {
        if area.is_empty() {
            return;
        }
        self.drawn.wants.push((which, Size::new(area.width, area.height)));
        model.pictures.draw(which, area, self.frame.buffer_mut(), absent);
    }
}

/// Each row of an area.
fn rows(area: Rect) -> impl Iterator<Item = Rect> {
    (area.y..area.bottom()).map(move |y| Rect { y, height: 1, ..area })
}

/// The area without its first so many rows, and those.
fn cut_top(area: Rect, n: u16) -> (Rect, Rect) {
    let n = n.min(area.height);
    (Rect { height: n, ..area }, Rect { y: area.y + n, height: area.height - n, ..area })
}

fn cut_bottom(area: Rect, n: u16) -> (Rect, Rect) {
    let n = n.min(area.height);
    (Rect { height: area.height - n, ..area }, Rect { y: area.bottom() - n, height: n, ..area })
}

/// With a column free between.
fn cut_left(area: Rect, n: u16) -> (Rect, Rect) {
    let n = n.min(area.width);
    let rest = area.width.saturating_sub(n + 1);
    (Rect { width: n, ..area }, Rect { x: area.right() - rest, width: rest, ..area })
}

/// In the middle, at most as large as the area.
fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// Text wrapped into lines of one style, each after an indent.
fn wrapped(content: &str, width: usize, indent: usize, style: Style) -> Vec<Line<'static>> {
    let lines = text::wrap(content, width.saturating_sub(indent));
    lines.into_iter().map(|line| Line::from(vec![Span::raw(" ".repeat(indent)), Span::styled(line, style)])).collect()
}

#[cfg(test)]
mod tests;
