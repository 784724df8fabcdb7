//! What can happen to the model, and what it asks for.

use meshkiln_protocol::{
    Sha256, UnixMs,
    asset::{Asset, AssetPage, ViewMode},
    daemon::{HelloResult, Status},
    event::Event,
    job::{Class, Job, JobId, JobLog, JobPage, JobState, RefireParams, SubmitParams},
    net::Net,
    recipe::{RecipeInfo, RecipeText, StageInfo},
    watch::{Watch, WatchAddParams, WatchId},
};
use ratatui::crossterm::event::{KeyEvent, MouseEvent};

use super::pictures::{Picture, Which};

/// Why something did not work, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub message: String,
    pub hint: String,
}

/// What came of a form.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sent {
    /// In words.
    pub text: String,
    /// Queued for it.
    pub jobs: Vec<Job>,
}

/// Everything that can happen.
#[derive(Debug)]
pub enum Msg {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    /// The terminal has another size, or must be drawn afresh.
    Redraw,
    /// Time has passed.
    Tick,
    /// A signal says that it is over, or that it is to stop for a while.
    Quit,
    Suspend,
    /// It was stopped and goes on: the terminal is another's, and has to be taken again.
    Retake,

    /// A daemon answers; `afresh` when what is shown must be listed again.
    Connected {
        hello: Box<HelloResult>,
        afresh: bool,
    },
    /// It does not, for this reason; the next try comes by itself.
    Lost(Trouble),
    /// It said that it stops; it is not started again until asked for.
    Stopped,
    /// In order, each once; `strange` more are of kinds this client does not know.
    Events {
        events: Vec<Event>,
        strange: usize,
    },
    Jobs(JobPage),
    Assets {
        page: AssetPage,
        more: bool,
    },
    Watches(Vec<Watch>),
    Nets(Vec<Net>),
    Status(Box<Status>),
    Recipes(Vec<RecipeInfo>),
    Stages(Vec<StageInfo>),

    /// An answer about one job.
    Job(Box<Job>),
    Asset(Box<Asset>),
    JobLog(JobLog),
    /// So many jobs are forgotten.
    Cleared(u64),
    /// Something was done, in words.
    Done(String),
    Trouble {
        doing: &'static str,
        trouble: Trouble,
    },
    Plan {
        form: u64,
        plan: Result<Box<RecipeText>, Trouble>,
    },
    Sent {
        form: u64,
        answer: Result<Sent, Trouble>,
    },
    Candidates {
        text: String,
        found: Vec<String>,
    },
    Dropped {
        there: Vec<String>,
        missing: Vec<String>,
    },
    Picture {
        which: Which,
        picture: Result<Picture, String>,
    },
    /// The last lines of the daemon's log.
    LogLines(Vec<String>),
}

/// What the model wants done outside of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Cancel(JobId),
    Retry(JobId),
    Pause(JobId),
    Resume(JobId),
    Clear(Vec<JobState>),
    PauseQueue,
    ResumeQueue,
    Yield,
    TakeBack,
    Pull(String),
    CancelPull(String),
    Warm(String),
    Unload(String),
    RemoveNet(String),
    RemoveWatch(WatchId),
    Rescan(WatchId),

    Submit {
        form: u64,
        jobs: Vec<SubmitParams>,
    },
    Refire {
        form: u64,
        params: RefireParams,
    },
    AddWatch {
        form: u64,
        params: WatchAddParams,
    },
    /// A recipe with every setting, changed like this.
    Plan {
        form: u64,
        recipe: Option<String>,
        set: Vec<String>,
    },

    Job(JobId),
    Asset(JobId),
    JobLog(JobId),
    Assets {
        before: Option<JobId>,
    },
    Nets,
    Watches,
    Status,
    Blob {
        which: Which,
        sha256: Sha256,
    },
    Turn(Turn),
    LogLines,

    Complete {
        text: String,
        folders_only: bool,
    },
    /// Which of these files are there?
    Dropped(String),
    /// With the system's program.
    Open(String),
    Reclass(JobId, Class),
    StartDaemon,
    StopDaemon,
    Suspend,
    /// The screen, afresh.
    Redraw,
    /// The terminal, after somebody else had it.
    Retake,
}

/// How a mesh is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    pub id: JobId,
    pub yaw_deg: f32,
    pub pitch_deg: f32,
    pub zoom: f32,
    pub mode: ViewMode,
    /// Of a square, in pixels.
    pub size: u32,
}

/// A moment, as the model knows it.
pub type Now = UnixMs;
