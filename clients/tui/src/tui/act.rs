//! What the commands of `keys` do.

use meshkiln_protocol::{
    Sha256,
    asset::{Asset, ViewMode},
    job::{JobId, JobState},
};

use super::{
    dialog::{Confirm, Dialog, Purpose},
    form::{self, Form},
    keys::Cmd,
    model::{Cursor, Model, Page, Sight, View},
    msg::Ask,
    pictures::Which,
    update::prompt,
};

/// A step of a key that turns, in degrees.
const STEP_DEG: f32 = 15.0;
/// What the daemon draws.
const PITCH_DEG: f32 = 80.0;
const ZOOM: std::ops::RangeInclusive<f32> = 1.0..=16.0;

pub fn act(model: &mut Model, cmd: Cmd) {
    match cmd {
        Cmd::See(view) => see(model, view),
        Cmd::NextView | Cmd::PreviousView => {
            let step = if cmd == Cmd::NextView { 1 } else { 4 };
            see(model, View::ALL[(model.view as usize + step) % 5]);
        }
        Cmd::Up | Cmd::Down | Cmd::PageUp | Cmd::PageDown | Cmd::Top | Cmd::Bottom => go(model, cmd),
        Cmd::Open => open(model),
        Cmd::Back => back(model),
        Cmd::Search => {
            model.searching = true;
        }
        Cmd::Filter => {
            let view = model.view as usize;
            model.filters[view] = (model.filters[view] + 1) % Model::filter_names(model.view).len();
            filtered(model);
        }
        Cmd::Help => model.dialog = Some(Dialog::Help { scroll: 0 }),
        Cmd::Quit => model.quit = true,
        Cmd::Suspend => model.ask(Ask::Suspend),
        Cmd::Redraw => model.ask(Ask::Redraw),
        Cmd::Fire => prompt(model, Purpose::Fire, ""),
        Cmd::AddWatch => prompt(model, Purpose::Watch, ""),
        Cmd::Refire => refire(model),
        Cmd::Cancel => cancel(model),
        Cmd::Retry => on_job(model, Ask::Retry),
        Cmd::PauseJob => on_job(model, Ask::Pause),
        Cmd::ResumeJob => on_job(model, Ask::Resume),
        Cmd::Sooner => reclass(model, -1),
        Cmd::Later => reclass(model, 1),
        Cmd::ClearEnded => confirm(
            model,
            "Forget all jobs that have ended?".to_owned(),
            "Finished files stay where they are.",
            Ask::Clear(Vec::new()),
        ),
        Cmd::ShowAsset => {
            if let Some(id) = model.job().map(|job| job.id) {
                show_asset(model, id);
            }
        }
        Cmd::OpenFile => {
            let file = model.file();
            model.asks.extend(file.map(Ask::Open));
        }
        Cmd::OpenFolder => {
            let folder = model.folder();
            model.asks.extend(folder.map(Ask::Open));
        }
        Cmd::PauseQueue => model.ask(Ask::PauseQueue),
        Cmd::ResumeQueue => model.ask(Ask::ResumeQueue),
        Cmd::Yield => model.ask(Ask::Yield),
        Cmd::TakeBack => model.ask(Ask::TakeBack),
        Cmd::StartDaemon => model.ask(Ask::StartDaemon),
        Cmd::StopDaemon => confirm(
            model,
            "Stop the daemon?".to_owned(),
            "The running stage is finished first; queued jobs go on at the next start.",
            Ask::StopDaemon,
        ),
        Cmd::TurnLeft => turn(model, STEP_DEG, 0.0),
        Cmd::TurnRight => turn(model, -STEP_DEG, 0.0),
        Cmd::TurnUp => turn(model, 0.0, -STEP_DEG),
        Cmd::TurnDown => turn(model, 0.0, STEP_DEG),
        Cmd::ZoomIn => zoom(model, 1.25),
        Cmd::ZoomOut => zoom(model, 0.8),
        Cmd::Upright => model.sight = Sight { large: model.sight.large, asked: model.sight.asked, ..Sight::front() },
        Cmd::Wireframe => mode(model, ViewMode::Wireframe),
        Cmd::Normals => mode(model, ViewMode::Normals),
        Cmd::Enlarge => model.sight.large = !model.sight.large,
        Cmd::NextAsset => neighbour(model, 1),
        Cmd::PreviousAsset => neighbour(model, -1),
        Cmd::Pull => on_net(model, Ask::Pull),
        Cmd::CancelPull => on_net(model, Ask::CancelPull),
        Cmd::Warm => on_net(model, Ask::Warm),
        Cmd::Unload => on_net(model, Ask::Unload),
        Cmd::RemoveNet => {
            if let Some(id) = model.net().map(|net| net.id.clone()) {
                let question = format!("Delete the weights of {id} from this machine?");
                confirm(model, question, "They can be pulled again.", Ask::RemoveNet(id));
            }
        }
        Cmd::RemoveWatch => {
            if let Some((id, path)) = model.watch().map(|watch| (watch.id, watch.path.clone())) {
                let question = format!("Watch {path} no more?");
                confirm(model, question, "Files and assets stay.", Ask::RemoveWatch(id));
            }
        }
        Cmd::Rescan => {
            let id = model.watch().map(|watch| watch.id);
            model.asks.extend(id.map(Ask::Rescan));
        }
        Cmd::LogSource => {
            model.show_told = !model.show_told;
            model.log_up = 0;
        }
    }
}

fn see(model: &mut Model, view: View) {
    model.view = view;
    model.page = None;
    model.searching = false;
    match view {
        View::Assets if model.assets.is_empty() => model.assets_stale = true,
        View::Nets => {
            model.ask(Ask::Nets);
            model.ask(Ask::Status);
        }
        View::Watches => model.ask(Ask::Watches),
        View::Log => model.ask(Ask::LogLines),
        _ => {}
    }
    if view == View::Assets && std::mem::take(&mut model.assets_stale) {
        model.ask(Ask::Assets { before: None });
    }
}

fn go(model: &mut Model, cmd: Cmd) {
    let page = model.drawn.page.max(1);
    let step = match cmd {
        Cmd::Up => -1,
        Cmd::Down => 1,
        Cmd::PageUp => -(page as isize),
        Cmd::PageDown => page as isize,
        Cmd::Top => isize::MIN / 2,
        _ => isize::MAX / 2,
    };
    if model.page.is_some() {
        let deepest = model.drawn.deepest;
        model.scroll = model.scroll.saturating_add_signed(step).min(deepest);
    } else if model.view == View::Log {
        // Counted from the end, so that it follows the newest.
        model.log_up = model.log_up.saturating_add_signed(-step).min(model.drawn.deepest);
    } else if cmd == Cmd::Top {
        // It stays there, whatever comes.
        model.cursors[model.view as usize] = Cursor::default();
    } else {
        let at = model.cursor().at.saturating_add_signed(step);
        model.choose(at);
    }
}

fn open(model: &mut Model) {
    match model.view {
        View::Jobs => {
            if let Some(id) = model.job().map(|job| job.id) {
                model.page = Some(Page::Job(id));
                model.scroll = 0;
                model.job_log = None;
                model.ask(Ask::Job(id));
                if model.has("job.log") {
                    model.ask(Ask::JobLog(id));
                }
            }
        }
        View::Assets => {
            if let Some(id) = model.asset().map(|asset| asset.id) {
                show_asset(model, id);
            }
        }
        _ => {}
    }
}

/// Its page, with what it was made of.
pub fn show_asset(model: &mut Model, id: JobId) {
    model.page = Some(Page::Asset(id));
    model.scroll = 0;
    model.sight = Sight { large: model.sight.large, asked: model.sight.asked, ..Sight::front() };
    model.ask(Ask::Asset(id));
    model.ask(Ask::Job(id));
}

/// One step: page, search, filter.
fn back(model: &mut Model) {
    let view = model.view as usize;
    if model.page.is_some() {
        model.page = None;
    } else if !model.search().is_empty() {
        model.searches[view] = Default::default();
        filtered(model);
    } else if model.filters[view] != 0 {
        model.filters[view] = 0;
        filtered(model);
    }
}

fn filtered(model: &mut Model) {
    if model.view == View::Jobs {
        let shows = super::jobs::Show::ALL;
        model.jobs.set_show(shows[model.filter()]);
        let search = model.search().to_owned();
        model.jobs.set_search(&search);
    }
    model.cursors[model.view as usize] = Cursor::default();
    model.log_up = 0;
}

fn neighbour(model: &mut Model, step: isize) {
    let rows: Vec<JobId> = model.asset_rows().iter().map(|asset| asset.id).collect();
    let Some(Page::Asset(id)) = model.page else { return };
    let at = rows.iter().position(|row| *row == id).and_then(|at| at.checked_add_signed(step));
    match at.and_then(|at| rows.get(at)) {
        Some(id) => {
            show_asset(model, *id);
            if model.view == View::Assets {
                model.cursors[View::Assets as usize].id = Some(id.to_string());
            }
        }
        None => model.say(if step < 0 { "this is the newest" } else { "this is the oldest of the list" }),
    }
}

fn turn(model: &mut Model, yaw_deg: f32, pitch_deg: f32) {
    let sight = &mut model.sight;
    sight.yaw_deg = (sight.yaw_deg + yaw_deg) % 360.0;
    sight.pitch_deg = (sight.pitch_deg + pitch_deg).clamp(-PITCH_DEG, PITCH_DEG);
}

/// By a drag of so many cells: the side that is seen goes with the mouse.
pub fn drag(model: &mut Model, columns: i32, rows: i32) {
    turn(model, -columns as f32 * 4.0, rows as f32 * 6.0);
}

fn zoom(model: &mut Model, by: f32) {
    model.sight.zoom = (model.sight.zoom * by).clamp(*ZOOM.start(), *ZOOM.end());
}

fn mode(model: &mut Model, mode: ViewMode) {
    let sight = &mut model.sight;
    sight.mode = if sight.mode == mode { ViewMode::Shaded } else { mode };
}

fn refire(model: &mut Model) {
    let Some((id, name, recipe)) = model.refireable() else { return };
    model.forms += 1;
    let form = Form::new(model.forms, form::Purpose::Refire { id, name, recipe }, &model.recipes);
    // Its own settings come with the asset, where there is one.
    match model.assets.contains_key(&id) || model.job().is_some_and(|job| job.state == JobState::Done) {
        true => model.ask(Ask::Asset(id)),
        false => model.asks.extend(form.plan()),
    }
    model.dialog = Some(Dialog::Form(form));
}

/// An asset as told in full. A form for it that waits for its settings gets them.
pub fn told(model: &mut Model, asset: Asset) {
    let mut ask = None;
    if let Some(form) = model.form()
        && matches!(form.purpose, form::Purpose::Refire { id, .. } if id == asset.id)
        && form.base.is_empty()
    {
        if let Some(plan) = &asset.plan {
            form.start_from(plan);
        }
        ask = form.plan();
    }
    model.asks.extend(ask);
    model.assets.insert(asset.id, asset);
}

fn cancel(model: &mut Model) {
    let Some(job) = model.job() else { return };
    let question = format!("Cancel job {} ({})?", job.id, job.name);
    let ask = Ask::Cancel(job.id);
    confirm(model, question, "Finished stages are kept: trying again goes on from there.", ask);
}

pub fn confirm(model: &mut Model, question: String, detail: &str, yes: Ask) {
    model.dialog = Some(Dialog::Confirm(Confirm { question, detail: detail.to_owned(), yes }));
}

fn on_job(model: &mut Model, ask: impl Fn(JobId) -> Ask) {
    let id = model.job().map(|job| job.id);
    model.asks.extend(id.map(ask));
}

fn on_net(model: &mut Model, ask: impl Fn(String) -> Ask) {
    let id = model.net().map(|net| net.id.clone());
    model.asks.extend(id.map(ask));
}

fn reclass(model: &mut Model, step: isize) {
    let wished = model.job_class(step);
    model.asks.extend(wished.map(|(id, class)| Ask::Reclass(id, class)));
}

/// Digest of a picture, as far as the daemon told it.
pub fn blob_of(model: &Model, which: Which) -> Option<Sha256> {
    match which {
        Which::Source(id) => model.assets.get(&id).map(|asset| asset.source_sha256.clone()),
        Which::Preview(id) => model.assets.get(&id)?.preview_sha256.clone(),
        Which::Stage(id, at) => model.jobs.get(id)?.stages.get(at)?.picture_sha256.clone(),
        Which::Mesh(_) => None,
    }
}

/// Shown beside the object, which is one more.
const PICTURES: usize = 2;

/// What an asset was made of, by the stages that made pictures: the first of them.
/// Without any: its source.
pub fn pictures_of(model: &Model, id: JobId) -> Vec<(String, Which)> {
    let stages = model.jobs.get(id).map_or(&[][..], |job| &job.stages);
    let made = stages.iter().enumerate().filter(|(_, run)| run.picture_sha256.is_some());
    let made: Vec<_> = made.map(|(at, run)| (run.stage.clone(), Which::Stage(id, at))).take(PICTURES).collect();
    match made.is_empty() {
        true => vec![("source".to_owned(), Which::Source(id))],
        false => made,
    }
}

/// Opens the form for files that are there.
pub fn fire(model: &mut Model, paths: Vec<String>) {
    model.forms += 1;
    let form = Form::new(model.forms, form::Purpose::Fire { paths }, &model.recipes);
    model.asks.extend(form.plan());
    model.dialog = Some(Dialog::Form(form));
}
