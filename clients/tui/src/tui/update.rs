//! `update`: what a message does to the model. No I/O; what is wanted from
//! outside is left in `asks`.

use meshkiln_protocol::{
    event::{Event, EventBody},
    job::{JobId, JobState},
    net::Net,
};
use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::Size,
};

use super::{
    act, clicks,
    dialog::{Dialog, Prompt, Purpose},
    dialogs,
    keys::{self, Cmd, Meaning},
    model::{Drawn, Link, Model, Page, View},
    msg::{Ask, Msg},
    pictures::Which,
    words,
};

/// Asks for older assets when so few rows are left below.
const NEAR_END: usize = 20;

/// Everything that happens comes through here.
pub fn update(model: &mut Model, msg: Msg) {
    match msg {
        Msg::Tick => return tick(model),
        Msg::Key(key) if key.kind == KeyEventKind::Release => return,
        Msg::Key(key) => press(model, key),
        Msg::Mouse(mouse) => clicks::mouse(model, mouse),
        Msg::Paste(text) => dialogs::paste(model, text),
        Msg::Redraw => {}
        Msg::Quit => model.quit = true,
        Msg::Suspend => model.ask(Ask::Suspend),
        Msg::Retake => model.ask(Ask::Retake),

        Msg::Connected { hello, afresh } => {
            if matches!(model.link, Link::Lost(_) | Link::Stopped) {
                model.say(format!("the daemon is back ({})", hello.version));
            }
            model.tell(format!("connected to daemon {}", hello.version));
            model.link = Link::Up;
            model.pictures.try_again();
            model.sight.shown = None;
            if afresh {
                model.seq = hello.seq;
                model.jobs.clear();
                model.jobs.loading = true;
                model.assets.clear();
            }
            model.hello = Some(*hello);
            for ask in [Ask::Status, Ask::Nets, Ask::Watches] {
                model.ask(ask);
            }
        }
        Msg::Lost(trouble) => {
            if !matches!(model.link, Link::Lost(_)) {
                model.tell(format!("the daemon is gone: {}", trouble.message));
            }
            model.link = Link::Lost(trouble);
        }
        Msg::Stopped => model.link = Link::Stopped,
        Msg::Events { events, strange } => {
            model.strange += strange;
            for event in events {
                hear(model, event);
            }
        }
        Msg::Jobs(page) => {
            model.jobs.loading = page.next.is_some();
            page.jobs.into_iter().for_each(|job| model.jobs.put(job));
        }
        Msg::Assets { page, more } => {
            // The first page says whether there are more; older ones are kept.
            if more || model.older_assets.is_none() && model.assets.len() <= page.assets.len() {
                model.older_assets = page.next;
            }
            model.assets.extend(page.assets.into_iter().map(|asset| (asset.id, asset)));
        }
        Msg::Watches(watches) => model.watches = watches,
        Msg::Nets(nets) => model.nets = nets,
        Msg::Status(status) => {
            if model.status.as_ref() == Some(&*status) {
                return;
            }
            if model.jobs.queue.paused && !status.queue.paused {
                model.jobs.wait_no_more();
            }
            model.jobs.queue = status.queue.clone();
            model.status = Some(*status);
        }
        Msg::Recipes(recipes) => model.recipes = recipes,
        Msg::Stages(stages) => model.stages = stages,

        Msg::Job(job) => model.jobs.told(*job),
        Msg::Asset(asset) => act::told(model, *asset),
        Msg::JobLog(log) => model.job_log = Some(log),
        Msg::Cleared(n) => {
            model.jobs.forget_ended();
            model.say(format!("{n} jobs forgotten"));
        }
        Msg::Done(text) => model.say(text),
        Msg::Trouble { doing, mut trouble } => {
            trouble.message = format!("{doing}: {}", trouble.message);
            model.complain(trouble);
        }
        Msg::Plan { form, plan } => dialogs::planned(model, form, plan),
        Msg::Sent { form, answer } => dialogs::sent(model, form, answer),
        Msg::Candidates { text, found } => dialogs::candidates(model, &text, found),
        Msg::Dropped { there, missing } => dialogs::dropped(model, there, &missing),
        Msg::Picture { which, picture } => {
            if let Which::Mesh(_) = which {
                model.sight.shown = model.sight.asked.take();
            }
            model.pictures.put(which, picture);
        }
        Msg::LogLines(lines) => {
            if model.log == lines {
                return;
            }
            model.log = lines;
        }
    }
    settle(model);
    model.dirty = true;
}

/// Rows are as they are listed, and the cursor on one of them.
fn settle(model: &mut Model) {
    model.jobs.refresh();
    model.follow();
    if model.view == View::Assets && model.page.is_none() {
        let near_end = model.cursor().at + NEAR_END >= model.rows();
        if near_end && let Some(before) = model.older_assets.take() {
            model.ask(Ask::Assets { before: Some(before) });
        }
    }
}

fn tick(model: &mut Model) {
    if model.notice.as_ref().is_some_and(|notice| notice.until <= model.now) {
        model.notice = None;
        model.dirty = true;
    }
    if model.jobs.is_anything_running() {
        model.dirty = true;
    }
    if !model.is_connected() {
        return;
    }
    // What no event tells of is looked at while it is shown.
    match (model.view, model.page) {
        (View::Log, None) if !model.show_told => model.ask(Ask::LogLines),
        (View::Nets, None) => {
            model.ask(Ask::Status);
            model.ask(Ask::Nets);
        }
        (View::Assets, _) if std::mem::take(&mut model.assets_stale) => model.ask(Ask::Assets { before: None }),
        _ => {}
    }
}

/// How soon something must be looked at again without being told, in milliseconds.
pub fn patience_ms(model: &Model) -> u64 {
    let is_live = model.jobs.is_anything_running() || model.notice.is_some() || model.assets_stale;
    match (model.view, model.page) {
        (View::Log, None) if !model.show_told => 1000,
        (View::Nets, None) => 3000,
        _ if is_live => 1000,
        // Only `3 min ago` changes.
        _ => 20_000,
    }
}

/// Each event once, in order.
fn hear(model: &mut Model, event: Event) {
    if event.seq <= model.seq {
        return;
    }
    model.seq = event.seq;
    model.n_events += 1;
    if let Some(text) = words::event(&event.body) {
        model.tell(text);
    }
    match event.body {
        EventBody::Job { job } => {
            model.assets_stale |= job.state == JobState::Done;
            let id = job.id;
            let ended = job.state.is_final();
            model.jobs.put(*job);
            if model.page == Some(Page::Job(id)) && model.has("job.log") {
                model.ask(Ask::JobLog(id));
                // The report comes with the job, not with the event.
                if ended {
                    model.ask(Ask::Job(id));
                }
            }
        }
        EventBody::Progress { id, progress } => model.jobs.progress(id, progress),
        EventBody::Watch { watch } => match model.watches.iter_mut().find(|known| known.id == watch.id) {
            Some(known) => *known = watch,
            None => model.watches.push(watch),
        },
        EventBody::WatchRemoved { watch } => model.watches.retain(|known| known.id != watch.id),
        EventBody::Queue { queue } => {
            if model.jobs.queue.paused && !queue.paused {
                model.jobs.wait_no_more();
            }
            model.jobs.queue = queue;
        }
        EventBody::Net { net } => hear_net(model, *net),
        EventBody::Pull { pull } => {
            if let Some(net) = model.nets.iter_mut().find(|net| net.id == pull.net) {
                net.pull = Some(pull.clone());
            }
            match &pull.problem {
                Some(problem) => model.complain(super::msg::Trouble {
                    message: format!("pull of {}: {problem}", pull.net),
                    hint: pull.hint.clone().unwrap_or_default(),
                }),
                None if pull.state == meshkiln_protocol::net::PullState::Done => {
                    model.say(format!("{} is here", pull.net));
                    model.ask(Ask::Nets);
                }
                None => {}
            }
        }
        EventBody::Yield { yielded } => {
            model.jobs.wait_no_more();
            if let Some(status) = &mut model.status {
                status.yielded = yielded;
            }
        }
        EventBody::Stopping => model.say("the daemon is stopping; queued jobs go on at its next start"),
    }
}

/// Lists tell more of a net than events do.
fn hear_net(model: &mut Model, net: Net) {
    match model.nets.iter_mut().find(|known| known.id == net.id) {
        Some(known) => {
            let (about, own, pull) = (known.about.take(), known.own.take(), known.pull.take());
            let (about, own, pull) = (net.about.clone().or(about), net.own.clone().or(own), net.pull.clone().or(pull));
            *known = Net { about, own, pull, ..net };
        }
        None => model.nets.push(net),
    }
}

fn press(model: &mut Model, key: KeyEvent) {
    let leaves = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    if leaves {
        model.quit = true;
    } else if model.dialog.is_some() {
        dialogs::press(model, key);
    } else if model.searching {
        press_search(model, key);
    } else {
        match keys::meaning(model, key) {
            Meaning::Do(cmd) => act::act(model, cmd),
            Meaning::NotNow(why) => model.say(why),
            Meaning::Nothing => {}
        }
    }
}

/// Letters go into the search, arrows still move.
fn press_search(model: &mut Model, key: KeyEvent) {
    let view = model.view as usize;
    match key.code {
        KeyCode::Enter => model.searching = false,
        KeyCode::Esc => {
            model.searching = false;
            model.searches[view] = super::input::Input::default();
        }
        KeyCode::Up => act::act(model, Cmd::Up),
        KeyCode::Down => act::act(model, Cmd::Down),
        _ => {
            model.searches[view].press(key);
        }
    }
    if model.view == View::Jobs {
        let search = model.search().to_owned();
        model.jobs.set_search(&search);
    }
}

/// After a drawing: where things are, and which pictures are to be fetched.
pub fn drawn(model: &mut Model, drawn: Drawn) {
    model.cursors[model.view as usize].top = drawn.top;
    model.scroll = model.scroll.min(drawn.deepest);
    for &(which, size) in &drawn.wants {
        match which {
            Which::Mesh(id) => turn(model, id, size),
            _ => {
                if let Some(sha256) = act::blob_of(model, which)
                    && model.is_connected()
                    && model.pictures.ask(which)
                {
                    model.ask(Ask::Blob { which, sha256 });
                }
            }
        }
    }
    model.drawn = drawn;
}

/// One at a time: the daemon draws what is wished for when it has drawn the last.
fn turn(model: &mut Model, id: JobId, size: Size) {
    if model.sight.asked.is_some() || !model.is_connected() || !model.has("asset.view") {
        return;
    }
    let (width, height) = model.pictures.pixels(size);
    let sight = &model.sight;
    let wished = super::msg::Turn {
        id,
        yaw_deg: sight.yaw_deg,
        pitch_deg: sight.pitch_deg,
        zoom: sight.zoom,
        mode: sight.mode,
        size: width.min(height).clamp(16, 768),
    };
    if model.sight.shown != Some(wished) {
        model.sight.asked = Some(wished);
        model.pictures.ask(Which::Mesh(id));
        model.ask(Ask::Turn(wished));
    }
}

/// What a click or a drop opens.
pub fn prompt(model: &mut Model, purpose: Purpose, text: &str) {
    model.dialog = Some(Dialog::Prompt(Prompt::new(purpose, text)));
    let folders_only = purpose == Purpose::Watch;
    model.ask(Ask::Complete { text: text.to_owned(), folders_only });
}

#[cfg(test)]
mod tests;
