//! Text in cells: some characters take two, some none.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::look::Look;

/// Cells that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Control characters of names and messages must not reach the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_directional(c) { '\u{fffd}' } else { c }).collect()
}

/// Turns what follows around: a name could pose as another.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning that fits into `cells`, marked where something is left out.
pub fn fit(text: &str, cells: usize, look: Look) -> String {
    let text = clean(text);
    if text.width() <= cells {
        return text;
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > cells {
            break;
        }
        out.push(c);
        used += w;
    }
    if cells > 0 { out + look.ellipsis() } else { out }
}

/// The end that fits: of paths, whose last part tells most.
pub fn fit_end(text: &str, cells: usize, look: Look) -> String {
    let text = clean(text);
    if text.width() <= cells {
        return text;
    }
    let (mut out, mut used) = (Vec::new(), 0);
    for c in text.chars().rev() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > cells {
            break;
        }
        out.push(c);
        used += w;
    }
    let end: String = out.into_iter().rev().collect();
    if cells > 0 { look.ellipsis().to_owned() + &end } else { end }
}

/// Exactly so many cells.
pub fn pad(text: &str, cells: usize, look: Look) -> String {
    let mut text = fit(text, cells, look);
    text.extend(std::iter::repeat_n(' ', cells.saturating_sub(text.width())));
    text
}

/// The same, at the right.
pub fn pad_left(text: &str, cells: usize, look: Look) -> String {
    let text = fit(text, cells, look);
    " ".repeat(cells.saturating_sub(text.width())) + &text
}

/// Lines of at most `cells`, broken between words where that can be.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in clean(text).split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.width() + 1 + word.width() > cells {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > cells {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::look::Depth;
    use super::*;

    const LOOK: Look = Look { ascii: false, colour: Depth::None, light: false };

    #[test]
    fn wide_characters_never_overflow_their_cells() {
        for cells in 0..14 {
            for text in ["灯籠の絵ランタン", "lantern", "e\u{301}tude", "a灯b"] {
                assert!(width(&fit(text, cells, LOOK)) <= cells, "{text} in {cells}");
                assert!(width(&fit_end(text, cells, LOOK)) <= cells, "{text} in {cells}");
                assert_eq!(width(&pad(text, cells, LOOK)), cells, "{text} in {cells}");
                assert!(wrap(text, cells.max(2)).iter().all(|line| width(line) <= cells.max(2)), "{text} in {cells}");
            }
        }
        assert_eq!(fit("灯籠の絵", 5, LOOK), "灯籠…");
        assert_eq!(fit_end("/home/ada/lantern.png", 12, LOOK), "…lantern.png");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
    }

    #[test]
    fn words_are_kept_whole_where_they_fit() {
        assert_eq!(wrap("give a picture with alpha", 10), ["give a", "picture", "with alpha"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    }
}
