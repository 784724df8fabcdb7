//! What the client knows and shows. Changed by `update`, shown by `view`.

use std::collections::{BTreeMap, VecDeque};

use super::{
    dialog::Dialog,
    form::Form,
    input::Input,
    jobs::Jobs,
    keys::Place,
    look::Look,
    msg::{Ask, Now, Trouble},
    pictures::Pictures,
};
use meshkiln_protocol::{
    asset::Asset,
    daemon::{HelloResult, Status},
    job::{Class, Job, JobId, JobLog, JobState},
    net::{Net, NetState, Pull, PullState, YieldStatus},
    recipe::{RecipeInfo, StageInfo},
    watch::Watch,
};

pub use super::parts::{Cursor, Drawn, Link, Notice, Page, Sight, Target, View};

/// Everything.
pub struct Model {
    pub look: Look,
    pub now: Now,
    pub link: Link,
    pub hello: Option<HelloResult>,
    pub status: Option<Status>,
    pub recipes: Vec<RecipeInfo>,
    pub stages: Vec<StageInfo>,
    pub view: View,
    pub page: Option<Page>,
    pub jobs: Jobs,
    pub assets: BTreeMap<JobId, Asset>,
    /// There are older ones, and they are not on their way.
    pub older_assets: Option<JobId>,
    /// A job has ended since assets were listed.
    pub assets_stale: bool,
    pub nets: Vec<Net>,
    pub watches: Vec<Watch>,
    pub log: Vec<String>,
    /// What the client was told, in words.
    pub told: VecDeque<(Now, String)>,
    pub job_log: Option<JobLog>,
    pub sight: Sight,
    /// Lines that a page of text is scrolled by.
    pub scroll: usize,
    pub cursors: [Cursor; 5],
    /// A word per list.
    pub filters: [usize; 5],
    pub searches: [Input; 5],
    pub searching: bool,
    /// Lines that the log is scrolled up by.
    pub log_up: usize,
    pub show_told: bool,
    pub dialog: Option<Dialog>,
    pub notice: Option<Notice>,
    pub pictures: Pictures,
    pub drawn: Drawn,
    /// Of the last event, so that none is taken twice.
    pub seq: u64,
    pub n_events: u64,
    /// Events of kinds that this client does not know.
    pub strange: usize,
    /// Numbers for forms: an answer to a closed one is dropped.
    pub forms: u64,
    pub quit: bool,
    pub asks: Vec<Ask>,
    /// Something that is shown has changed.
    pub dirty: bool,
    /// Where the mouse was pressed on an object.
    pub drag: Option<(u16, u16)>,
}

/// Told lines that are kept.
pub const MOST_TOLD: usize = 2000;

impl Model {
    pub fn new(look: Look, pictures: Pictures) -> Model {
        Model {
            look,
            now: 0,
            link: Link::Starting,
            hello: None,
            status: None,
            recipes: Vec::new(),
            stages: Vec::new(),
            view: View::Jobs,
            page: None,
            jobs: Jobs::default(),
            assets: BTreeMap::new(),
            older_assets: None,
            assets_stale: false,
            nets: Vec::new(),
            watches: Vec::new(),
            log: Vec::new(),
            told: VecDeque::new(),
            job_log: None,
            sight: Sight::front(),
            scroll: 0,
            cursors: Default::default(),
            filters: [0; 5],
            searches: Default::default(),
            searching: false,
            log_up: 0,
            show_told: false,
            dialog: None,
            notice: None,
            pictures,
            drawn: Drawn::default(),
            seq: 0,
            n_events: 0,
            strange: 0,
            forms: 0,
            quit: false,
            asks: Vec::new(),
            dirty: true,
            drag: None,
        }
    }

    pub fn place(&self) -> Place {
        match (self.page, self.view) {
            (Some(Page::Job(_)), _) => Place::Job,
            (Some(Page::Asset(_)), _) => Place::Asset,
            (None, View::Jobs) => Place::Jobs,
            (None, View::Assets) => Place::Assets,
            (None, View::Nets) => Place::Nets,
            (None, View::Watches) => Place::Watches,
            (None, View::Log) => Place::Log,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether the daemon answers this method; none is always answered. Before it has
    /// said, nothing is held against it.
    pub fn has(&self, method: &str) -> bool {
        let known = self.hello.as_ref().is_none_or(|hello| hello.methods.iter().any(|known| known == method));
        method.is_empty() || known
    }

    pub fn lacks(&self, method: &str) -> String {
        let version = self.hello.as_ref().map_or("", |hello| &hello.version);
        format!("the daemon ({version}) does not know {method}; it is of another version")
    }

    pub fn cursor(&self) -> &Cursor {
        &self.cursors[self.view as usize]
    }

    pub fn filter(&self) -> usize {
        self.filters[self.view as usize]
    }

    /// Names of the filters of a list, the first lets everything through.
    pub fn filter_names(view: View) -> &'static [&'static str] {
        match view {
            View::Jobs => &["all", "open", "failed", "done"],
            View::Assets => &["all", "with failed checks"],
            View::Nets => &["all", "here", "in memory"],
            View::Watches => &["all"],
            View::Log => &["all", "warnings"],
        }
    }

    pub fn search(&self) -> &str {
        self.searches[self.view as usize].text()
    }

    /// What a search of the list in view finds in these texts.
    fn finds(&self, view: View, texts: &[&str]) -> bool {
        let search = self.searches[view as usize].text().to_lowercase();
        search.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&search))
    }

    /// Assets that are listed, newest first.
    pub fn asset_rows(&self) -> Vec<&Asset> {
        let flawed = |asset: &Asset| asset.report.as_ref().is_some_and(|report| report["passed"] == false);
        let shown = |asset: &&Asset| {
            (self.filters[View::Assets as usize] == 0 || flawed(asset))
                && self.finds(View::Assets, &[&asset.name, &asset.recipe, asset.source_path.as_deref().unwrap_or("")])
        };
        self.assets.values().rev().filter(shown).collect()
    }

    pub fn net_rows(&self) -> Vec<&Net> {
        let shown = |net: &&Net| {
            (match self.filters[View::Nets as usize] {
                0 => true,
                1 => net.is_here(),
                _ => !matches!(net.state, NetState::Absent | NetState::Cold),
            }) && self.finds(View::Nets, &[&net.id, &net.doc])
        };
        self.nets.iter().filter(shown).collect()
    }

    pub fn watch_rows(&self) -> Vec<&Watch> {
        self.watches.iter().filter(|watch| self.finds(View::Watches, &[&watch.path, &watch.recipe])).collect()
    }

    /// Lines of the log that is shown, oldest first.
    pub fn log_rows(&self) -> Vec<String> {
        let is_warning = |line: &str| ["WARN", "ERROR", "fail", "trouble"].iter().any(|word| line.contains(word));
        let shown = |line: &String| {
            (self.filters[View::Log as usize] == 0 || is_warning(line)) && self.finds(View::Log, &[line])
        };
        if self.show_told {
            self.told.iter().map(|(at, text)| format!("{} {text}", super::words::clock(*at))).filter(shown).collect()
        } else {
            self.log.iter().filter(|line| shown(line)).cloned().collect()
        }
    }

    /// Rows of the list in view.
    pub fn rows(&self) -> usize {
        match self.view {
            View::Jobs => self.jobs.rows().len(),
            View::Assets => self.asset_rows().len(),
            View::Nets => self.net_rows().len(),
            View::Watches => self.watch_rows().len(),
            View::Log => self.log_rows().len(),
        }
    }

    /// What names a row of the list in view.
    pub fn row_id(&self, at: usize) -> Option<String> {
        match self.view {
            View::Jobs => self.jobs.rows().get(at).map(ToString::to_string),
            View::Assets => self.asset_rows().get(at).map(|asset| asset.id.to_string()),
            View::Nets => self.net_rows().get(at).map(|net| net.id.clone()),
            View::Watches => self.watch_rows().get(at).map(|watch| watch.id.to_string()),
            View::Log => None,
        }
    }

    /// Puts the cursor back onto what was chosen; to the top while nothing was.
    pub fn follow(&mut self) {
        let view = self.view as usize;
        if self.cursors[view].id.is_none() {
            self.cursors[view].at = 0;
            return;
        }
        let Cursor { at, id, .. } = self.cursors[view].clone();
        if self.row_id(at) == id {
            return;
        }
        let found = match self.view {
            View::Jobs => {
                let id = id.and_then(|id| id.parse().ok()).map(JobId);
                self.jobs.rows().iter().position(|row| Some(*row) == id)
            }
            _ => (0..self.rows()).find(|at| self.row_id(*at) == id),
        };
        self.choose(found.unwrap_or(at));
    }

    /// Puts the cursor onto a row; the last one if there are fewer.
    pub fn choose(&mut self, at: usize) {
        let at = at.min(self.rows().saturating_sub(1));
        let id = self.row_id(at);
        let cursor = &mut self.cursors[self.view as usize];
        (cursor.at, cursor.id) = (at, id);
    }

    /// The job that keys act on.
    pub fn job(&self) -> Option<&Job> {
        match (self.page, self.view) {
            (Some(Page::Job(id) | Page::Asset(id)), _) => self.jobs.get(id),
            (None, View::Jobs) => self.jobs.get(*self.jobs.rows().get(self.cursor().at)?),
            (None, View::Assets) => self.jobs.get(self.asset()?.id),
            _ => None,
        }
    }

    pub fn asset(&self) -> Option<&Asset> {
        match (self.page, self.view) {
            (Some(Page::Asset(id) | Page::Job(id)), _) => self.assets.get(&id),
            (None, View::Assets) => self.asset_rows().get(self.cursor().at).copied(),
            _ => self.job().and_then(|job| self.assets.get(&job.id)),
        }
    }

    pub fn net(&self) -> Option<&Net> {
        (self.view == View::Nets).then(|| self.net_rows().get(self.cursor().at).copied()).flatten()
    }

    pub fn watch(&self) -> Option<&Watch> {
        (self.view == View::Watches).then(|| self.watch_rows().get(self.cursor().at).copied()).flatten()
    }

    pub fn is_pulled(&self, net: &Net) -> bool {
        let going = |pull: &Pull| matches!(pull.state, PullState::Fetching | PullState::Converting);
        net.pull.as_ref().is_some_and(going)
    }

    pub fn yielded(&self) -> Option<&YieldStatus> {
        self.status.as_ref()?.yielded.as_ref()
    }

    /// What a refire would start from: id, name and recipe.
    pub fn refireable(&self) -> Option<(JobId, String, String)> {
        if let Some(asset) = self.asset() {
            return Some((asset.id, asset.name.clone(), asset.recipe.clone()));
        }
        let job = self.job().filter(|job| job.state.is_final())?;
        Some((job.id, job.name.clone(), job.recipe.clone()))
    }

    /// The finished file.
    pub fn file(&self) -> Option<String> {
        let of_job = || self.job().filter(|job| job.state == JobState::Done).and_then(|job| job.output.clone());
        self.asset().and_then(|asset| asset.path.clone()).or_else(of_job)
    }

    /// The folder of what is chosen.
    pub fn folder(&self) -> Option<String> {
        if let Some(watch) = self.watch() {
            return Some(watch.path.clone());
        }
        let source = || self.job().and_then(|job| job.source_path.clone());
        let file = self.file().or_else(source)?;
        Some(std::path::Path::new(&file).parent()?.to_str()?.to_owned())
    }

    /// The class that a waiting job would come into, one step up (-1) or down.
    pub fn job_class(&self, step: isize) -> Option<(JobId, Class)> {
        let job = self.job().filter(|job| matches!(job.state, JobState::Queued | JobState::Paused))?;
        let at = Class::ALL.iter().position(|class| *class == job.class)?;
        Some((job.id, *Class::ALL.get(at.checked_add_signed(step)?)?))
    }

    pub fn can_go_back(&self) -> bool {
        self.page.is_some() || self.searching || !self.search().is_empty() || self.filter() != 0
    }

    pub fn form(&mut self) -> Option<&mut Form> {
        match &mut self.dialog {
            Some(Dialog::Form(form)) => Some(form),
            _ => None,
        }
    }

    pub fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.put_notice(text.into(), String::new(), false);
    }

    pub fn complain(&mut self, trouble: Trouble) {
        self.tell(format!("trouble: {} ({})", trouble.message, trouble.hint));
        self.put_notice(trouble.message, trouble.hint, true);
    }

    fn put_notice(&mut self, text: String, hint: String, bad: bool) {
        let time = if bad { 12_000 } else { 5_000 };
        self.notice = Some(Notice { text, hint, bad, until: self.now + time });
        self.dirty = true;
    }

    /// A line for the log of what was heard.
    pub fn tell(&mut self, text: String) {
        if self.told.len() >= MOST_TOLD {
            self.told.pop_front();
        }
        self.told.push_back((self.now, text));
    }
}
