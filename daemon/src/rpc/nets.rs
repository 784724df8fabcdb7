//! `net.*`, and the devices given away and taken back.

use std::{sync::Arc, time::Duration};

use meshkiln_protocol::{
    api::NoParams,
    daemon::Status,
    error::ErrorKind,
    net::{Net, NetIdParams, NetList, NetState, NetWarmParams, YieldParams},
};

use super::{
    Daemon, about,
    convert::{self, CallError},
    methods::blocking,
};
use crate::main_loop::{Answer, Call};

pub async fn list(daemon: Arc<Daemon>, _: NoParams) -> Result<NetList, CallError> {
    Ok(NetList { nets: daemon.backend.view().nets.clone() })
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
