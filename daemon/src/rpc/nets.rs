//! `net.*`, and the devices given away and taken back.

use std::{path::Path, sync::Arc, time::Duration};

use meshkiln_models::weights::{
    catalogue::{self, Need, Used},
    own::{Own, Problem},
};
use meshkiln_protocol::{
    api::NoParams,
    daemon::Status,
    error::ErrorKind,
    net::{
        Guide, GuideParams, KeepAlive, Net, NetAbout, NetFile, NetIdParams, NetList, NetPullParams, NetState,
        NetWarmParams, OwnNet, Pull, Tool, YieldParams,
    },
};

use super::{
    Daemon, about,
    convert::{self, CallError},
    methods::blocking,
    source,
};
use crate::main_loop::{Answer, Call};

pub async fn list(daemon: Arc<Daemon>, _: NoParams) -> Result<NetList, CallError> {
    let view = daemon.backend.view();
    let memory = view.devices.iter().filter_map(|device| device.memory).map(|memory| memory.total_bytes).max();
    let installed = daemon.pulls.installed();
    let told = |net: &Net| {
        let (own, pull) = (installed.find_own(&net.id), daemon.pulls.of(&net.id));
        let unread = own.is_some() && pull.is_none() && !net.is_here();
        let unread = unread.then(|| format!("its files could not be read; `meshkiln pull {}` says why", net.id));
        Net {
            problem: net.problem.clone().or(unread),
            about: catalogue::find(&net.id).map(|net| describe(net, memory)),
            own: own.map(own_net),
            pull,
            ..net.clone()
        }
    };
    let broken = installed.problems().iter().map(|problem| broken_net(problem, installed.root()));
    Ok(NetList { nets: view.nets.iter().map(told).chain(broken).collect() })
}

fn own_net(own: &Own) -> OwnNet {
    OwnNet {
        folder: own.folder.display().to_string(),
        kind: Some(own.kind_id().to_owned()),
        license: own.license.clone(),
        used_by: Some(format!("{}.net={}", own.runs().stage, own.id)),
        hint: None,
    }
}

/// A folder of the user that is no net, among those that are.
fn broken_net(problem: &Problem, root: &Path) -> Net {
    Net {
        id: problem.id.clone(),
        doc: "A network of your own that cannot be used.".to_owned(),
        state: NetState::Absent,
        device: None,
        in_use: false,
        declared_bytes: 0,
        resident_bytes: None,
        peak_bytes: None,
        keep_alive: KeepAlive::Ms(0),
        pinned: false,
        expires_in_ms: None,
        loads: 0,
        load_ms: None,
        problem: Some(problem.message.clone()),
        about: None,
        own: Some(OwnNet {
            folder: root.join(&problem.id).display().to_string(),
            kind: None,
            license: None,
            used_by: None,
            hint: Some(problem.hint.clone()),
        }),
        pull: None,
    }
}

pub async fn guide(daemon: Arc<Daemon>, params: GuideParams) -> Result<Guide, CallError> {
    let Some(need) = Need::find(&params.need) else {
        let needs = Need::ALL.map(Need::id).join(", ");
        return Err(convert::invalid(format!("`need`: there is no need `{}`", params.need), format!("one of {needs}")));
    };
    let found = catalogue::guide(need);
    let asked_for = |stage: &str, engine: &str| format!("{stage}.engine={engine}");
    let net = |net: &&catalogue::Net| Tool {
        id: net.id.to_owned(),
        doc: net.doc.to_owned(),
        used_by: net.engines.iter().map(|runs| asked_for(runs.stage, runs.engine)).collect::<Vec<_>>().join(", "),
        suits: net.quality.to_owned(),
        is_net: true,
        here: daemon.catalogue.is_here(net.id),
    };
    let built_in = |tool: &&catalogue::BuiltIn| Tool {
        id: tool.id.to_owned(),
        doc: tool.doc.to_owned(),
        used_by: match tool.used_by {
            Used::Engine(runs) => asked_for(runs.stage, runs.engine),
            Used::Recipe(recipe) => format!("--recipe {recipe}"),
        },
        suits: tool.suits.to_owned(),
        is_net: false,
        here: true,
    };
    let tools = found.nets.iter().map(net).chain(found.built_in.iter().map(built_in)).collect();
    Ok(Guide { need: need.id().to_owned(), tools })
}

pub async fn pull(daemon: Arc<Daemon>, params: NetPullParams) -> Result<Pull, CallError> {
    let from = params.from.as_deref().map(|from| source::check_path("from", from)).transpose()?;
    if let Some(folder) = from.as_deref().filter(|folder| !folder.is_dir()) {
        let message = format!("`from`: {} is no folder", folder.display());
        return Err(convert::invalid(message, "name the folder that holds the published files"));
    }
    if let Some(problem) = daemon.pulls.installed().problem(&params.id) {
        return Err(convert::invalid(format!("`{}`: {}", params.id, problem.message), problem.hint.clone()));
    }
    if daemon.pulls.installed().find_own(&params.id).is_some() {
        if from.is_some() {
            let message = format!("`from`: `{}` is your own, its files are where they are", params.id);
            return Err(convert::invalid(message, "leave `from` out"));
        }
        // What is in memory is of the files as they were.
        change(&daemon, &params.id, Call::ReleaseNet(params.id.clone())).await?;
    }
    let started = daemon.pulls.start(&params.id, from.as_deref()).map_err(|e| {
        convert::refused(ErrorKind::Busy, format!("no thread can be started: {e}"), "close other programs, then retry")
    })?;
    started.ok_or_else(|| no_such_net(&params.id))
}

pub async fn cancel_pull(daemon: Arc<Daemon>, params: NetIdParams) -> Result<Pull, CallError> {
    daemon.pulls.cancel(&params.id).ok_or_else(|| {
        convert::refused(
            ErrorKind::WrongState,
            format!("`{}` is not being fetched", params.id),
            "`meshkiln nets` says what is",
        )
    })
}

/// `memory_bytes` is that of the largest device, where it is known.
fn describe(net: &catalogue::Net, memory_bytes: Option<u64>) -> NetAbout {
    let file = |file: &catalogue::NetFile| NetFile {
        path: file.path.to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.map(str::to_owned),
    };
    NetAbout {
        repository: net.repository.to_owned(),
        revision: net.revision.map(str::to_owned),
        files: net.files.iter().map(file).collect(),
        license: net.license.id.to_owned(),
        license_says: net.license.says.to_owned(),
        memory_class: net.memory.label().to_owned(),
        cpu_viable: net.cpu_viable,
        speed: net.speed.to_owned(),
        quality: net.quality.to_owned(),
        serves: net.serves.iter().map(|need| need.id().to_owned()).collect(),
        engines: net.engines.iter().map(|runs| format!("{}.{}", runs.stage, runs.engine)).collect(),
        recommended: memory_bytes.is_some_and(|bytes| bytes >= net.memory.wants_bytes()),
    }
}

/// Answers at once; `net.list` and the events say when it is warm.
pub async fn warm(daemon: Arc<Daemon>, params: NetWarmParams) -> Result<Net, CallError> {
    let call = Call::WarmNet { net: params.id.clone(), keep_alive: params.keep_alive, pin: params.pin };
    change(&daemon, &params.id, call).await
}

pub async fn stop(daemon: Arc<Daemon>, params: NetIdParams) -> Result<Net, CallError> {
    change(&daemon, &params.id, Call::StopNet(params.id.clone())).await
}

/// From memory first, then from the disk.
pub async fn remove(daemon: Arc<Daemon>, params: NetIdParams) -> Result<Net, CallError> {
    if let Some(own) = daemon.pulls.installed().find_own(&params.id) {
        let message = format!("`{}` is your own: Meshkiln did not fetch it and does not delete it", params.id);
        let hint = format!("delete {} yourself, then restart the daemon", own.folder.display());
        return Err(convert::invalid(message, hint));
    }
    let released = change(&daemon, &params.id, Call::ReleaseNet(params.id.clone())).await?;
    let (catalogue, id) = (daemon.catalogue.clone(), params.id);
    blocking(move || {
        catalogue.remove(&id).map_err(|e| {
            let message = format!("the weights of `{id}` could not be deleted: {e}");
            convert::refused(ErrorKind::Storage, message, "delete their folder yourself")
        })
    })
    .await?;
    Ok(Net { state: NetState::Absent, device: None, in_use: false, expires_in_ms: None, ..released })
}

pub async fn give_away(daemon: Arc<Daemon>, params: YieldParams) -> Result<Status, CallError> {
    let time_limit = params.for_ms.map(Duration::from_millis);
    change_devices(daemon, Call::Yield { time_limit, now: params.now }).await
}

pub async fn take_back(daemon: Arc<Daemon>, _: NoParams) -> Result<Status, CallError> {
    change_devices(daemon, Call::TakeBack).await
}

async fn change(daemon: &Daemon, id: &str, call: Call) -> Result<Net, CallError> {
    if let Answer::Refused(refusal) = daemon.backend.call(call).await? {
        return Err(refusal.into());
    }
    // The view is newer than the answer.
    let view = daemon.backend.view();
    view.nets.iter().find(|net| net.id == id).cloned().ok_or_else(|| no_such_net(id))
}

async fn change_devices(daemon: Arc<Daemon>, call: Call) -> Result<Status, CallError> {
    match daemon.backend.call(call).await? {
        Answer::Refused(refusal) => Err(refusal.into()),
        _ => about::status(daemon, NoParams {}).await,
    }
}

fn no_such_net(id: &str) -> CallError {
    convert::not_found(format!("there is no net `{id}`"), "`meshkiln nets` lists them")
}
