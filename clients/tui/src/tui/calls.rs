//! The threads that do what the model asks for: calls to the daemon, pictures, and
//! the little that is done on this machine.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
};

use meshkiln_protocol::{
    api::{
        AssetGet, AssetList, DaemonStatus, JobCancel, JobClear, JobGet, JobLogGet, JobPause, JobReclass, JobResume,
        JobRetry, NetCancelPull, NetListAll, NetPull, NetRemove, NetStop, NetWarm, NoParams, QueuePause, QueueResume,
        RecipeGet, Refire, Shutdown, Submit, TakeBack, WatchAdd, WatchListAll, WatchRemove, WatchRescan, Yield,
    },
    asset::{AssetGetParams, AssetListParams},
    daemon::ShutdownParams,
    job::{AssetRef, Job, JobChangeParams, JobClearParams, JobGetParams, JobId, JobReclassParams},
    net::{NetIdParams, NetPullParams, NetWarmParams, YieldParams},
    recipe::RecipeGetParams,
    watch::{WatchId, WatchIdParams},
};

use super::{
    feed::{Shared, trouble},
    msg::{Ask, Msg, Sent, Trouble},
    paths,
    pictures::{self, Which},
};
use crate::{
    client::{Client, folders},
    error::Failure,
};

/// Of the daemon's log: more than a screen shows, less than a file holds.
const LOG_BYTES: u64 = 256 << 10;
/// Assets of one page.
const ASSETS: u32 = 50;

/// Takes orders for the threads.
pub struct Calls {
    words: mpsc::Sender<Ask>,
    pictures: mpsc::Sender<Ask>,
    here: mpsc::Sender<Ask>,
}

impl Calls {
    /// One thread for calls, one for pictures, one for this machine's files: none of
    /// them waits for another.
    pub fn start(shared: &Arc<Shared>, out: &mpsc::Sender<Msg>) -> Calls {
        let worker = || {
            let (sender, orders) = mpsc::channel::<Ask>();
            let (shared, out) = (shared.clone(), out.clone());
            thread::spawn(move || {
                for ask in orders {
                    if let Some(msg) = perform(&shared, ask)
                        && out.send(msg).is_err()
                    {
                        return;
                    }
                }
            });
            sender
        };
        Calls { words: worker(), pictures: worker(), here: worker() }
    }

    /// Hands an order to the thread that it is for.
    pub fn send(&self, ask: Ask) {
        let to = match &ask {
            Ask::Blob { .. } | Ask::Turn(_) => &self.pictures,
            Ask::Complete { .. } | Ask::Dropped(_) | Ask::Open(_) | Ask::LogLines | Ask::StartDaemon => &self.here,
            _ => &self.words,
        };
        // Only at the end is nobody there.
        let _ = to.send(ask);
    }
}

fn perform(shared: &Shared, ask: Ask) -> Option<Msg> {
    match ask {
        Ask::Complete { text, folders_only } => {
            let found = paths::complete(&text, folders_only);
            return Some(Msg::Candidates { text, found });
        }
        Ask::Dropped(text) => {
            let (there, missing) = paths::dropped(&text);
            return Some(Msg::Dropped { there, missing });
        }
        Ask::Open(path) => return Some(open(&path)),
        Ask::LogLines => return log_lines().map(Msg::LogLines),
        Ask::StartDaemon => {
            shared.start.store(true, Ordering::Relaxed);
            return None;
        }
        // These are the loop's own.
        Ask::Suspend | Ask::Redraw | Ask::Retake => return None,
        _ => {}
    }
    let doing = doing(&ask);
    let Some(client) = shared.client() else {
        let trouble =
            Trouble { message: "there is no daemon yet".to_owned(), hint: "try again in a moment".to_owned() };
        return Some(refused(ask, doing, trouble));
    };
    match call(client, &ask) {
        Ok(msg) => Some(msg),
        Err(failure) => Some(refused(ask, doing, trouble(failure))),
    }
}

/// What was tried, in words that come before what went wrong.
fn doing(ask: &Ask) -> &'static str {
    match ask {
        Ask::Cancel(_) => "not cancelled",
        Ask::Retry(_) => "not tried again",
        Ask::Pause(_) | Ask::PauseQueue => "not paused",
        Ask::Resume(_) | Ask::ResumeQueue => "not resumed",
        Ask::Clear(_) => "not forgotten",
        Ask::Reclass(..) => "not moved",
        Ask::Yield => "not given away",
        Ask::TakeBack => "not taken back",
        Ask::Pull(_) => "not pulled",
        Ask::CancelPull(_) => "not stopped",
        Ask::Warm(_) => "not warmed",
        Ask::Unload(_) => "not let go",
        Ask::RemoveNet(_) => "not deleted",
        Ask::RemoveWatch(_) => "not removed",
        Ask::Rescan(_) => "not compared",
        Ask::StopDaemon => "not stopped",
        _ => "not told",
    }
}

/// Where a trouble belongs.
fn refused(ask: Ask, doing: &'static str, trouble: Trouble) -> Msg {
    match ask {
        Ask::Submit { form, .. } | Ask::Refire { form, .. } | Ask::AddWatch { form, .. } => {
            Msg::Sent { form, answer: Err(trouble) }
        }
        Ask::Plan { form, .. } => Msg::Plan { form, plan: Err(trouble) },
        Ask::Blob { which, .. } => Msg::Picture { which, picture: Err(trouble.message) },
        Ask::Turn(turn) => Msg::Picture { which: Which::Mesh(turn.id), picture: Err(trouble.message) },
        _ => Msg::Trouble { doing, trouble },
    }
}

fn call(client: &Client, ask: &Ask) -> Result<Msg, Failure> {
    let change = |id: &JobId| JobChangeParams { id: *id };
    let job = |job: Job| Msg::Job(Box::new(job));
    let net = |id: &String| NetIdParams { id: id.clone() };
    let watch = |id: &WatchId| WatchIdParams { id: Some(*id), path: None };
    let status = |status| Msg::Status(Box::new(status));
    Ok(match ask {
        Ask::Cancel(id) => job(client.call::<JobCancel>(&change(id))?),
        Ask::Retry(id) => job(client.call::<JobRetry>(&change(id))?),
        Ask::Pause(id) => job(client.call::<JobPause>(&change(id))?),
        Ask::Resume(id) => job(client.call::<JobResume>(&change(id))?),
        Ask::Clear(states) => {
            let done = client.call::<JobClear>(&JobClearParams { states: states.clone() })?;
            Msg::Cleared(done.cleared)
        }
        Ask::Reclass(id, class) => job(client.call::<JobReclass>(&JobReclassParams { id: *id, class: *class })?),
        Ask::PauseQueue => status(client.call::<QueuePause>(&NoParams {})?),
        Ask::ResumeQueue => status(client.call::<QueueResume>(&NoParams {})?),
        Ask::Yield => status(client.call::<Yield>(&YieldParams::default())?),
        Ask::TakeBack => status(client.call::<TakeBack>(&NoParams {})?),
        Ask::Pull(id) => {
            client.call::<NetPull>(&NetPullParams { id: id.clone(), from: None })?;
            Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets)
        }
        Ask::CancelPull(id) => {
            client.call::<NetCancelPull>(&net(id))?;
            Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets)
        }
        Ask::Warm(id) => {
            client.call::<NetWarm>(&NetWarmParams { id: id.clone(), ..NetWarmParams::default() })?;
            Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets)
        }
        Ask::Unload(id) => {
            client.call::<NetStop>(&net(id))?;
            Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets)
        }
        Ask::RemoveNet(id) => {
            client.call::<NetRemove>(&net(id))?;
            Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets)
        }
        Ask::RemoveWatch(id) => {
            client.call::<WatchRemove>(&watch(id))?;
            Msg::Watches(client.call::<WatchListAll>(&NoParams {})?.watches)
        }
        Ask::Rescan(id) => {
            client.call::<WatchRescan>(&watch(id))?;
            Msg::Watches(client.call::<WatchListAll>(&NoParams {})?.watches)
        }
        Ask::StopDaemon => {
            client.call::<Shutdown>(&ShutdownParams { now: false })?;
            Msg::Done("the daemon stops".to_owned())
        }

        Ask::Submit { form, jobs } => {
            let ids = jobs.iter().map(|params| submit(client, params)).collect::<Result<Vec<_>, _>>()?;
            let text = match ids.as_slice() {
                [one] => format!("job {} queued: {}", one.id, one.name),
                many => format!("{} jobs queued", many.len()),
            };
            Msg::Sent { form: *form, answer: Ok(Sent { text, jobs: ids }) }
        }
        Ask::Refire { form, params } => {
            let job = client.call::<Refire>(params)?;
            let text = format!("job {} queued: {} again", job.id, job.name);
            Msg::Sent { form: *form, answer: Ok(Sent { text, jobs: vec![job] }) }
        }
        Ask::AddWatch { form, params } => {
            let watch = client.call::<WatchAdd>(params)?;
            let text = format!("watching {}", watch.path);
            Msg::Sent { form: *form, answer: Ok(Sent { text, jobs: Vec::new() }) }
        }
        Ask::Plan { form, recipe, set } => {
            let params = RecipeGetParams { name: recipe.clone(), set: set.clone() };
            Msg::Plan { form: *form, plan: Ok(Box::new(client.call::<RecipeGet>(&params)?)) }
        }

        Ask::Job(id) => job(client.call::<JobGet>(&JobGetParams { id: *id })?),
        Ask::Asset(id) => {
            let asset = AssetRef { id: Some(*id), path: None };
            Msg::Asset(Box::new(client.call::<AssetGet>(&AssetGetParams { asset })?))
        }
        Ask::JobLog(id) => Msg::JobLog(client.call::<JobLogGet>(&JobGetParams { id: *id })?),
        Ask::Assets { before } => {
            let params = AssetListParams { before: *before, limit: Some(ASSETS) };
            Msg::Assets { page: client.call::<AssetList>(&params)?, more: before.is_some() }
        }
        Ask::Nets => Msg::Nets(client.call::<NetListAll>(&NoParams {})?.nets),
        Ask::Watches => Msg::Watches(client.call::<WatchListAll>(&NoParams {})?.watches),
        Ask::Status => status(client.call::<DaemonStatus>(&NoParams {})?),
        Ask::Blob { which, sha256 } => Msg::Picture { which: *which, picture: pictures::decode(&client.blob(sha256)?) },
        Ask::Turn(turn) => Msg::Picture { which: Which::Mesh(turn.id), picture: super::turned::draw(client, turn)? },
        // Done by `perform`, or by the loop.
        Ask::Complete { .. }
        | Ask::Dropped(_)
        | Ask::Open(_)
        | Ask::LogLines
        | Ask::StartDaemon
        | Ask::Suspend
        | Ask::Redraw
        | Ask::Retake => Msg::Redraw,
    })
}

/// Queues a job once, also when the daemon dies over it: the next one knows by the key.
fn submit(client: &Client, params: &meshkiln_protocol::job::SubmitParams) -> Result<Job, Failure> {
    match client.call::<Submit>(params) {
        Err(Failure::Unreachable { .. }) => {
            client.revive()?;
            client.call::<Submit>(params)
        }
        answer => answer,
    }
}

/// With what the system opens such things with; it goes on without us.
fn open(path: &str) -> Msg {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            // Nobody waits for it but a thread, so that it does not stay as a zombie.
            thread::spawn(move || child.wait());
            Msg::Done(format!("opened {path}"))
        }
        Err(e) => {
            let hint = format!("open it yourself: {path}");
            Msg::Trouble { doing: "not opened", trouble: Trouble { message: format!("{program}: {e}"), hint } }
        }
    }
}

/// The end of the daemon's log, as far as it can be read.
fn log_lines() -> Option<Vec<String>> {
    let mut file = File::open(folders().ok()?.log_file()).ok()?;
    let start = file.metadata().ok()?.len().saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is a part of one, unless it is the first of the file.
    Some(text.lines().skip(usize::from(start > 0)).map(str::to_owned).collect())
}
