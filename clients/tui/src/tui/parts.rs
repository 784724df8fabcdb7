//! Parts of the model: where one is, what is chosen, how an object is seen, and
//! what a drawing leaves behind.

use meshkiln_protocol::{asset::ViewMode, job::JobId};
use ratatui::layout::{Rect, Size};

use super::{
    keys::Cmd,
    msg::{Now, Trouble, Turn},
    pictures::Which,
};

/// The five lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Jobs,
    Assets,
    Nets,
    Watches,
    Log,
}

impl View {
    /// In the order of their keys.
    pub const ALL: [View; 5] = [View::Jobs, View::Assets, View::Nets, View::Watches, View::Log];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            View::Jobs => "Jobs",
            View::Assets => "Assets",
            View::Nets => "Nets",
            View::Watches => "Watches",
            View::Log => "Log",
        }
    }
}

/// A page over a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Job(JobId),
    Asset(JobId),
}

/// Whether there is a daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// Looked for or started, for the first time.
    Starting,
    Up,
    /// It died: the next one is looked for or started.
    Lost(Trouble),
    /// It was told to stop.
    Stopped,
}

/// What is chosen in a list, by what it is rather than where: rows move.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cursor {
    pub at: usize,
    /// Of the first row shown.
    pub top: usize,
    pub id: Option<String>,
}

/// One line about what was just done.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub text: String,
    pub hint: String,
    pub bad: bool,
    pub until: Now,
}

/// How the object of an asset is seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    pub yaw_deg: f32,
    pub pitch_deg: f32,
    pub zoom: f32,
    pub mode: ViewMode,
    /// Alone and large.
    pub large: bool,
    /// On its way: one at a time, so that the last wish is what comes next.
    pub asked: Option<Turn>,
    pub shown: Option<Turn>,
}

impl Sight {
    /// From the front, a little from above.
    pub fn front() -> Sight {
        Sight { yaw_deg: 30.0, pitch_deg: 15.0, zoom: 1.0, ..Sight::default() }
    }
}

/// Something that can be clicked, and what that does. Everything has a key too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    Do(Cmd),
    /// A row of the list, counted from its first.
    Row(usize),
    /// Dragging turns it.
    Object,
    Field(usize),
    Candidate(usize),
    Yes,
    No,
    /// Lies over others.
    Nothing,
}

/// What a drawing leaves behind: where things are, and which pictures it lacked.
#[derive(Debug, Default)]
pub struct Drawn {
    pub hits: Vec<(Rect, Target)>,
    pub wants: Vec<(Which, Size)>,
    /// Rows of the list, or lines of the page, that fit.
    pub page: usize,
    /// First row shown.
    pub top: usize,
    /// How far a page of text can be scrolled.
    pub deepest: usize,
}
