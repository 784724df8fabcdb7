//! How things look: colours that are legible on any background, or none; lines
//! and signs in Unicode or in ASCII.

use meshkiln_protocol::job::{JobState, StageState};
use ratatui::{
    style::{Color, Modifier, Style},
    symbols::border,
};

/// What the terminal shows, settled at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Nothing beyond ASCII is drawn by us. Names of files stay what they are.
    pub ascii: bool,
    pub colour: Depth,
    /// The background is light.
    pub light: bool,
}

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Depth {
    /// `NO_COLOR`, or a terminal without.
    None,
    /// The 256 of xterm.
    Indexed,
    Full,
}

const ASCII_BORDER: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

impl Look {
    /// Only the foreground is coloured, by the names of the terminal's own palette:
    /// what people chose for themselves is legible to them.
    fn fg(self, on_dark: Color, on_light: Color) -> Style {
        match (self.colour, self.light) {
            (Depth::None, _) => Style::new(),
            (_, false) => Style::new().fg(on_dark),
            (_, true) => Style::new().fg(on_light),
        }
    }

    /// Of keys, running work and what is chosen.
    pub fn accent(self) -> Style {
        self.fg(Color::Cyan, Color::Blue)
    }

    /// Of what is as it should be.
    pub fn good(self) -> Style {
        self.fg(Color::Green, Color::Green)
    }

    /// Bold too: it must be seen without colour.
    pub fn bad(self) -> Style {
        self.fg(Color::LightRed, Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of what somebody should look at.
    pub fn warn(self) -> Style {
        self.fg(Color::Yellow, Color::Magenta)
    }

    /// Of what matters less.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of names and heads.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// All of a row alike, whatever its parts are.
    pub fn selected(self) -> Style {
        let plain = Style::new().remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED);
        if self.colour == Depth::None { plain } else { plain.fg(Color::Reset).bg(Color::Reset) }
    }

    /// Lines of a frame.
    pub fn border(self) -> border::Set<'static> {
        if self.ascii { ASCII_BORDER } else { border::ROUNDED }
    }

    /// One of two signs.
    pub fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }

    /// Stands for what does not fit.
    pub fn ellipsis(self) -> &'static str {
        self.sign("…", "~")
    }

    /// `width` cells, `fraction` of them full.
    pub fn bar(self, fraction: f32, width: usize) -> String {
        let full = (fraction.clamp(0.0, 1.0) * width as f32).round() as usize;
        let (on, off) = (self.sign("█", "#"), self.sign("░", "."));
        on.repeat(full) + &off.repeat(width - full)
    }

    /// Sign and style of a state.
    pub fn of_job(self, state: JobState) -> (&'static str, Style) {
        match state {
            JobState::Queued => (self.sign("·", "."), self.dim()),
            JobState::Paused => (self.sign("‖", "="), self.warn()),
            JobState::Running => (self.sign("▶", ">"), self.accent()),
            JobState::Done => (self.sign("✓", "+"), self.good()),
            JobState::Failed => (self.sign("✗", "!"), self.bad()),
            JobState::Dead => (self.sign("✗", "!"), self.bad()),
            JobState::Cancelled => (self.sign("–", "-"), self.dim()),
        }
    }

    /// Sign and style of a state.
    pub fn of_stage(self, state: StageState) -> (&'static str, Style) {
        match state {
            StageState::Pending => (self.sign("·", "."), self.dim()),
            StageState::Running => (self.sign("▶", ">"), self.accent()),
            StageState::Done => (self.sign("✓", "+"), self.good()),
            StageState::Cached => (self.sign("✓", "+"), self.dim()),
            StageState::Failed => (self.sign("✗", "!"), self.bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_nothing_is_coloured_and_ascii_is_ascii() {
        let look = Look { ascii: true, colour: Depth::None, light: false };
        for state in JobState::ALL {
            let (sign, style) = look.of_job(*state);
            assert!(sign.is_ascii() && style.fg.is_none() && style.bg.is_none(), "{state:?}");
        }
        assert_eq!(look.bar(0.5, 4), "##..");
        assert_eq!(look.bar(f32::NAN, 2), "..");
        assert_eq!(look.bar(7.0, 2), "##");
    }
}
