//! Every key, once: the dispatcher, the help, the line at the bottom and the
//! mouse all read this table.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Model, View};
use meshkiln_protocol::{job::JobState, net::NetState};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmd {
    See(View),
    NextView,
    PreviousView,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Open,
    Back,
    Search,
    Filter,
    Help,
    Quit,
    Suspend,
    Redraw,
    Fire,
    Refire,
    Cancel,
    Retry,
    PauseJob,
    ResumeJob,
    Sooner,
    Later,
    ClearEnded,
    ShowAsset,
    OpenFile,
    OpenFolder,
    PauseQueue,
    ResumeQueue,
    Yield,
    TakeBack,
    StartDaemon,
    StopDaemon,
    TurnLeft,
    TurnRight,
    TurnUp,
    TurnDown,
    ZoomIn,
    ZoomOut,
    Upright,
    Wireframe,
    Normals,
    Enlarge,
    NextAsset,
    PreviousAsset,
    Pull,
    CancelPull,
    Warm,
    Unload,
    RemoveNet,
    AddWatch,
    RemoveWatch,
    Rescan,
    LogSource,
}

/// Where one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Jobs,
    Job,
    Assets,
    Asset,
    Nets,
    Watches,
    Log,
}

/// One line of the table.
pub struct Key {
    pub cmd: Cmd,
    /// Any of these, by name, as they are shown.
    pub keys: &'static str,
    /// A word or two.
    pub name: &'static str,
    pub doc: &'static str,
    pub places: &'static [Place],
    /// The method of the daemon that it needs, if any.
    pub needs: &'static str,
    /// What must be there, in words, and whether it is.
    pub when: (&'static str, fn(&Model) -> bool),
    /// It is named in the line at the bottom.
    pub foot: bool,
}

use Place::{Asset, Assets, Job, Jobs, Log, Nets, Watches};

const ALL: &[Place] = &[Jobs, Job, Assets, Asset, Nets, Watches, Log];
const OF_JOBS: &[Place] = &[Jobs, Job];
const MADE: &[Place] = &[Jobs, Job, Assets, Asset];
const LISTS: &[Place] = &[Jobs, Job, Assets, Nets, Watches, Log];

const ALWAYS: (&str, fn(&Model) -> bool) = ("", |_| true);

const fn key(cmd: Cmd, keys: &'static str, name: &'static str, doc: &'static str, places: &'static [Place]) -> Key {
    Key { cmd, keys, name, doc, places, needs: "", when: ALWAYS, foot: false }
}

impl Key {
    const fn needs(self, method: &'static str) -> Key {
        Key { needs: method, ..self }
    }

    const fn when(self, what: &'static str, holds: fn(&Model) -> bool) -> Key {
        Key { when: (what, holds), ..self }
    }

    const fn foot(self) -> Key {
        Key { foot: true, ..self }
    }

    /// It could be pressed now.
    pub fn is_possible(&self, model: &Model) -> bool {
        self.places.contains(&model.place()) && (self.when.1)(model) && model.has(self.needs)
    }
}

/// The first that is possible wins: two lines may share a key.
pub static KEYS: &[Key] = &[
    key(Cmd::Fire, "f", "fire", "make assets of pictures or meshes; asks which, or drop files onto the terminal", ALL)
        .needs("job.submit")
        .foot(),
    key(
        Cmd::Open,
        "Enter",
        "open",
        "what is chosen: the stages of a job and why it failed, pictures and report of an asset",
        &[Jobs, Assets],
    )
    .when("something in the list", |m| m.rows() > 0)
    .foot(),
    key(Cmd::ShowAsset, "a Enter", "asset", "show the asset that the job made", &[Job])
        .when("a job that is done", |m| state(m, &[JobState::Done]))
        .foot(),
    key(Cmd::ShowAsset, "a", "asset", "show the asset that the job made", &[Jobs])
        .when("a job that is done", |m| state(m, &[JobState::Done])),
    key(Cmd::Cancel, "c", "cancel", "stop the job; finished stages are kept", OF_JOBS)
        .needs("job.cancel")
        .when("a job that has not ended", |m| m.job().is_some_and(|job| !job.state.is_final()))
        .foot(),
    key(Cmd::Retry, "t", "try again", "queue the job again; finished stages are kept", OF_JOBS)
        .needs("job.retry")
        .when("a job that failed or was cancelled", |m| {
            state(m, &[JobState::Failed, JobState::Dead, JobState::Cancelled])
        })
        .foot(),
    key(Cmd::Refire, "r", "refire", "make it again with other settings, shown in a form", MADE)
        .needs("job.refire")
        .when("a job that has ended, or an asset", |m| m.refireable().is_some())
        .foot(),
    key(Cmd::PauseJob, "p", "pause", "hold the job back", OF_JOBS)
        .needs("job.pause")
        .when("a queued job", |m| state(m, &[JobState::Queued]))
        .foot(),
    key(Cmd::ResumeJob, "p", "go on", "let the paused job go on", OF_JOBS)
        .needs("job.resume")
        .when("a paused job", |m| state(m, &[JobState::Paused]))
        .foot(),
    key(Cmd::Sooner, "+ =", "sooner", "put the job into a more urgent class", OF_JOBS)
        .needs("job.reclass")
        .when("a waiting job that is not the most urgent already", |m| m.job_class(-1).is_some()),
    key(Cmd::Later, "-", "later", "put the job into a less urgent class", OF_JOBS)
        .needs("job.reclass")
        .when("a waiting job that is not the least urgent already", |m| m.job_class(1).is_some()),
    key(Cmd::ClearEnded, "x", "forget ended", "forget all jobs that have ended; files stay", &[Jobs])
        .needs("job.clear")
        .when("jobs in the list", |m| m.rows() > 0),
    key(Cmd::OpenFile, "o", "file", "open the finished file with the system's program", MADE)
        .when("a finished file", |m| m.file().is_some())
        .foot(),
    key(
        Cmd::OpenFolder,
        "O",
        "folder",
        "open its folder with the system's program",
        &[Jobs, Job, Assets, Asset, Watches],
    )
    .when("something with a folder", |m| m.folder().is_some()),
    key(Cmd::TurnLeft, "Left h", "turn", "turn the object to the left; or drag it with the mouse", &[Asset])
        .needs("asset.view"),
    key(Cmd::TurnRight, "Right l", "turn", "turn it to the right", &[Asset]).needs("asset.view"),
    key(Cmd::TurnUp, "Up k", "turn", "look more from below", &[Asset]).needs("asset.view"),
    key(Cmd::TurnDown, "Down j", "turn", "look more from above", &[Asset]).needs("asset.view"),
    key(Cmd::ZoomIn, "+ =", "nearer", "look from nearer", &[Asset]).needs("asset.view"),
    key(Cmd::ZoomOut, "-", "farther", "look from farther away", &[Asset]).needs("asset.view"),
    key(Cmd::Upright, "0", "front", "look from the front again", &[Asset]).needs("asset.view"),
    key(Cmd::Wireframe, "w", "wireframe", "draw the edges of triangles, or the surface again", &[Asset])
        .needs("asset.view")
        .foot(),
    key(Cmd::Normals, "n", "normals", "draw directions as colours, or the surface again", &[Asset])
        .needs("asset.view")
        .foot(),
    key(Cmd::Enlarge, "z", "enlarge", "the object alone and large, or all pictures", &[Asset]).foot(),
    key(Cmd::PreviousAsset, "[", "newer", "the next newer asset", &[Asset]),
    key(Cmd::NextAsset, "]", "older", "the next older asset", &[Asset]),
    key(Cmd::Pull, "p", "pull", "fetch the weights of the net, resuming where it stopped", &[Nets])
        .needs("net.pull")
        .when("a net whose weights are not here", |m| {
            m.net().is_some_and(|net| net.state == NetState::Absent && net.own.is_none() && !m.is_pulled(net))
        })
        .foot(),
    key(Cmd::CancelPull, "p", "stop pull", "stop fetching; what has come is kept", &[Nets])
        .needs("net.cancel_pull")
        .when("a net that is being fetched", |m| m.net().is_some_and(|net| m.is_pulled(net)))
        .foot(),
    key(Cmd::Warm, "w", "warm", "load the net into memory now", &[Nets])
        .needs("net.warm")
        .when("a net whose weights are here and not in memory", |m| {
            m.net().is_some_and(|net| net.state == NetState::Cold)
        })
        .foot(),
    key(Cmd::Unload, "s", "stop", "let the net go from memory, and unpin it", &[Nets])
        .needs("net.stop")
        .when("a net in memory", |m| m.net().is_some_and(|net| matches!(net.state, NetState::Warm | NetState::Loading)))
        .foot(),
    key(Cmd::RemoveNet, "x", "delete", "delete the net's weights from this machine", &[Nets])
        .needs("net.remove")
        .when("a pulled net", |m| m.net().is_some_and(|net| net.is_here() && net.own.is_none())),
    key(Cmd::AddWatch, "a", "add", "watch a folder: what lands in it is fired", &[Watches]).needs("watch.add").foot(),
    key(Cmd::RemoveWatch, "x", "remove", "watch the folder no more; files stay", &[Watches])
        .needs("watch.remove")
        .when("a watched folder", |m| m.watch().is_some())
        .foot(),
    key(Cmd::Rescan, "s", "scan", "compare the folder with what is known of it, now", &[Watches])
        .needs("watch.rescan")
        .when("a watched folder", |m| m.watch().is_some())
        .foot(),
    key(Cmd::LogSource, "e", "other log", "the daemon's log, or what this client was told", &[Log]).foot(),
    key(Cmd::Search, "/", "search", "list only what has these words", &[Jobs, Assets, Nets, Watches, Log]).foot(),
    key(Cmd::Filter, "F", "filter", "list all, or only some, in turn", &[Jobs, Assets, Nets, Log]),
    key(Cmd::Up, "Up k", "", "up", LISTS),
    key(Cmd::Down, "Down j", "", "down", LISTS),
    key(Cmd::PageUp, "PgUp", "", "a page up", ALL),
    key(Cmd::PageDown, "PgDn", "", "a page down", ALL),
    key(Cmd::Top, "Home g", "", "to the first", LISTS),
    key(Cmd::Bottom, "End G", "", "to the last", LISTS),
    key(Cmd::Back, "Esc", "back", "back to the list; ends a search", ALL)
        .when("a page or a search", Model::can_go_back)
        .foot(),
    key(Cmd::See(View::Jobs), "1", "", "jobs", ALL),
    key(Cmd::See(View::Assets), "2", "", "assets", ALL),
    key(Cmd::See(View::Nets), "3", "", "nets", ALL),
    key(Cmd::See(View::Watches), "4", "", "watched folders", ALL),
    key(Cmd::See(View::Log), "5", "", "log", ALL),
    key(Cmd::NextView, "Tab", "", "the next of these", ALL),
    key(Cmd::PreviousView, "Shift-Tab", "", "the one before", ALL),
    key(Cmd::PauseQueue, "P", "pause queue", "start no more jobs; what runs is finished", ALL)
        .needs("queue.pause")
        .when("a queue that goes on", |m| !m.jobs.queue.paused),
    key(Cmd::ResumeQueue, "P", "resume queue", "start jobs again", ALL)
        .needs("queue.resume")
        .when("a paused queue", |m| m.jobs.queue.paused)
        .foot(),
    key(Cmd::Yield, "Y", "yield", "give the device that runs nets to other programs", ALL)
        .needs("daemon.yield")
        .when("a device of ours", |m| m.yielded().is_none()),
    key(Cmd::TakeBack, "Y", "take back", "take the device back from other programs", ALL)
        .needs("daemon.resume")
        .when("a device that was given away", |m| m.yielded().is_some())
        .foot(),
    key(Cmd::StartDaemon, "U", "start daemon", "start the daemon", ALL).when("no daemon", |m| !m.is_connected()).foot(),
    key(Cmd::StopDaemon, "X", "stop daemon", "stop the daemon after the running stage; queued jobs are kept", ALL)
        .needs("daemon.shutdown")
        .when("a daemon", Model::is_connected),
    key(Cmd::Help, "? F1", "help", "this list", ALL).foot(),
    key(Cmd::Redraw, "Ctrl-L", "", "draw the screen afresh", ALL),
    key(Cmd::Suspend, "Ctrl-Z", "", "to the shell; `fg` comes back", ALL),
    key(Cmd::Quit, "q Ctrl-C", "quit", "leave; the daemon and its jobs go on", ALL).foot(),
];

fn state(model: &Model, states: &[JobState]) -> bool {
    model.job().is_some_and(|job| states.contains(&job.state))
}

/// What a key means here.
pub enum Meaning {
    Do(Cmd),
    /// It means something, and cannot be done now: why.
    NotNow(String),
    Nothing,
}

/// Looks a key up where one is.
pub fn meaning(model: &Model, key: KeyEvent) -> Meaning {
    let place = model.place();
    let mut said = Meaning::Nothing;
    for entry in KEYS.iter().filter(|entry| entry.places.contains(&place) && is_among(entry.keys, key)) {
        if !model.has(entry.needs) {
            said = Meaning::NotNow(model.lacks(entry.needs));
        } else if (entry.when.1)(model) {
            return Meaning::Do(entry.cmd);
        } else if matches!(said, Meaning::Nothing) {
            said = Meaning::NotNow(format!("`{}` needs {}", entry.name, entry.when.0));
        }
    }
    said
}

fn is_among(keys: &str, key: KeyEvent) -> bool {
    keys.split(' ').any(|name| is(name, key))
}

/// By the name that is shown.
fn is(name: &str, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if let Some(letter) = name.strip_prefix("Ctrl-") {
        return control
            && matches!(key.code, KeyCode::Char(c) if letter.eq_ignore_ascii_case(c.encode_utf8(&mut [0; 4])));
    }
    if control || key.modifiers.contains(KeyModifiers::ALT) {
        return false;
    }
    let mut letters = name.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        return key.code == KeyCode::Char(letter);
    }
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "PgUp" => KeyCode::PageUp,
        "PgDn" => KeyCode::PageDown,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "Tab" => KeyCode::Tab,
        "Shift-Tab" => KeyCode::BackTab,
        "F1" => KeyCode::F(1),
        _ => return false,
    };
    key.code == code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn every_name_of_a_key_is_one_that_can_be_pressed() {
        let named = [
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::F(1),
        ];
        for name in KEYS.iter().flat_map(|key| key.keys.split(' ')) {
            let letter = name.strip_prefix("Ctrl-").unwrap_or(name).chars().next().unwrap();
            let mut events: Vec<KeyEvent> = named.iter().map(|code| press(*code)).collect();
            events.push(press(KeyCode::Char(letter)));
            events.push(KeyEvent::new(KeyCode::Char(letter.to_ascii_lowercase()), KeyModifiers::CONTROL));
            assert_eq!(events.into_iter().filter(|event| is(name, *event)).count(), 1, "{name}");
        }
    }

    #[test]
    fn where_two_share_a_key_they_exclude_each_other_by_what_they_need() {
        for place in ALL {
            let here: Vec<&Key> = KEYS.iter().filter(|key| key.places.contains(place)).collect();
            for (at, a) in here.iter().enumerate() {
                for b in &here[at + 1..] {
                    let shared = a.keys.split(' ').find(|name| b.keys.split(' ').any(|other| other == *name));
                    if let Some(name) = shared {
                        assert!(a.when.0 != b.when.0 && !a.when.0.is_empty(), "{name} is two things at {place:?}");
                    }
                }
            }
        }
    }
}
