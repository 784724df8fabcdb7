//! What there is: `session.hello`, `daemon.*`, `recipe.*`, `stage.list` and
//! `rpc.discover`.

use std::sync::{Arc, LazyLock};

use jsonrpsee::{RpcModule, types::ErrorObjectOwned};
use meshkiln_models::stage::{self, Param, ParamKind, STAGES};
use meshkiln_protocol::{
    PROTOCOL_VERSION,
    api::{Empty, METHODS, NoParams},
    daemon::{DiskStatus, DoctorReport, Folder, Health, HelloParams, HelloResult, Limits, ShutdownParams, Status},
    openrpc,
    recipe::{
        EngineInfo, ParamInfo, ParamKindInfo, RecipeGetParams, RecipeList, RecipeText, RecipeValidateParams,
        RecipeVerdict, StageInfo, StageList,
    },
};
use serde_json::value::{RawValue, to_raw_value};

use super::{Daemon, VERSION, convert::CallError, limits, methods::blocking};
use crate::{
    catalogue::Installed,
    doctor,
    main_loop::{Answer, Call},
    recipes, system,
};

/// With less than this, no source and no result can be stored.
const FULL_DISK_BYTES: u64 = 1 << 20;

pub async fn hello(daemon: Arc<Daemon>, params: HelloParams) -> Result<HelloResult, CallError> {
    if let Some(client) = params.client {
        tracing::debug!("hello from {}", client.chars().take(64).collect::<String>().escape_debug());
    }
    Ok(HelloResult {
        version: VERSION.to_owned(),
        protocol_version: PROTOCOL_VERSION,
        methods: METHODS.iter().map(|method| method.name.to_owned()).collect(),
        limits: Limits {
            request_bytes: limits::REQUEST_BYTES as u64,
            blob_bytes: limits::BLOB_BYTES,
            batch_calls: limits::BATCH_CALLS,
            calls_in_flight: limits::CALLS_IN_FLIGHT as u32,
            connections: limits::CONNECTIONS as u32,
            queued_jobs: u32::try_from(daemon.queue_limit).unwrap_or(u32::MAX),
        },
        seq: daemon.hub.last_seq(),
    })
}

pub async fn status(daemon: Arc<Daemon>, _: NoParams) -> Result<Status, CallError> {
    let watches = daemon.watch.list().await?;
    let view = daemon.backend.view();
    let mut problems = view.problems.clone();
    problems.extend(watches.iter().filter_map(|watch| Some(format!("{}: {}", watch.path, watch.problem.as_ref()?))));
    let cache = daemon.folders.cache.clone();
    let free_bytes = blocking(move || Ok(system::free_bytes(&cache).ok())).await?;
    if let Some(free) = free_bytes.filter(|free| *free < FULL_DISK_BYTES) {
        problems.push(format!("the disk is full: {free} bytes are free at {}", daemon.folders.cache.display()));
    }
    Ok(Status {
        version: VERSION.to_owned(),
        pid: std::process::id(),
        started_ms: daemon.started_ms,
        health: if problems.is_empty() { Health::Ok } else { Health::Degraded },
        problems,
        queue: view.queue.clone(),
        workers: view.workers.clone(),
        devices: view.devices.clone(),
        yielded: view.yielded.clone(),
        stages: view.usage.wire(),
        watches: watches.len() as u32,
        disk: DiskStatus {
            blob_bytes: view.blob_bytes,
            blob_limit_bytes: view.blob_limit_bytes,
            free_bytes: free_bytes.unwrap_or(0),
        },
        folders: folders(&daemon),
    })
}

pub async fn doctor(daemon: Arc<Daemon>, _: NoParams) -> Result<DoctorReport, CallError> {
    let watches = daemon.watch.list().await?;
    blocking(move || Ok(doctor::examine(&daemon, &watches))).await
}

/// The loop stops when it may, and the server with it.
pub async fn shutdown(daemon: Arc<Daemon>, params: ShutdownParams) -> Result<Empty, CallError> {
    match daemon.backend.call(Call::Shutdown { now: params.now }).await? {
        Answer::Refused(refusal) => Err(refusal.into()),
        _ => Ok(Empty {}),
    }
}

pub async fn recipe_list(daemon: Arc<Daemon>, _: NoParams) -> Result<RecipeList, CallError> {
    blocking(move || Ok(RecipeList { recipes: daemon.recipes.list() })).await
}

pub async fn recipe_get(daemon: Arc<Daemon>, params: RecipeGetParams) -> Result<RecipeText, CallError> {
    blocking(move || Ok(daemon.recipes.get(params.name.as_deref().unwrap_or(recipes::DEFAULT), &params.set)?)).await
}

pub async fn recipe_validate(daemon: Arc<Daemon>, params: RecipeValidateParams) -> Result<RecipeVerdict, CallError> {
    blocking(move || Ok(daemon.recipes.validate(&params.text))).await
}

pub async fn stage_list(daemon: Arc<Daemon>, _: NoParams) -> Result<StageList, CallError> {
    Ok(StageList { stages: STAGES.iter().map(|stage| stage_info(stage, daemon.pulls.installed())).collect() })
}

pub fn register_discover(module: &mut RpcModule<Daemon>) {
    // The same for every call, and long.
    static DOCUMENT: LazyLock<Option<Box<RawValue>>> = LazyLock::new(|| to_raw_value(&openrpc::document(VERSION)).ok());
    let registered = module
        .register_method("rpc.discover", |_, _, _| -> Result<Option<Box<RawValue>>, ErrorObjectOwned> {
            Ok(DOCUMENT.clone())
        });
    registered.unwrap_or_else(|e| panic!("rpc.discover: {e}"));
}

fn folders(daemon: &Daemon) -> Vec<Folder> {
    let folders = &daemon.folders;
    [("config", &folders.config), ("state", &folders.state), ("cache", &folders.cache), ("runtime", &folders.runtime)]
        .map(|(what, path)| Folder { what: what.to_owned(), path: path.display().to_string() })
        .into()
}

fn stage_info(stage: &stage::Stage, installed: &Installed) -> StageInfo {
    let nets = |engine: &str| installed.fitting(stage.id, engine);
    let slots = |slots: &[meshkiln_models::slot::Slot]| slots.iter().map(|slot| slot.id().to_owned()).collect();
    StageInfo {
        id: stage.id.to_owned(),
        doc: stage.doc.to_owned(),
        reads: slots(stage.reads),
        may_read: slots(stage.may_read),
        writes: slots(stage.writes),
        may_write: slots(stage.may_write),
        engines: stage
            .engines
            .iter()
            .map(|engine| EngineInfo {
                id: engine.id.to_owned(),
                doc: engine.doc.to_owned(),
                net: engine.net.map(str::to_owned),
                params: engine.params.iter().map(|param| param_info(param, &nets(engine.id))).collect(),
            })
            .collect(),
        params: stage.params.iter().map(|param| param_info(param, &[])).collect(),
    }
}

/// `nets` are those that may be named.
fn param_info(param: &Param, nets: &[String]) -> ParamInfo {
    ParamInfo {
        id: param.id.to_owned(),
        doc: param.doc.to_owned(),
        unit: param.unit.to_owned(),
        default: param.default(),
        kind: match param.kind {
            ParamKind::Int { min, max, .. } => ParamKindInfo::Int { min, max },
            ParamKind::Float { min, max, .. } => ParamKindInfo::Float { min, max },
            ParamKind::Flag { .. } => ParamKindInfo::Flag,
            ParamKind::Choice { options, .. } => {
                ParamKindInfo::Choice { options: options.iter().map(|option| (*option).to_owned()).collect() }
            }
            ParamKind::Text { form, .. } => ParamKindInfo::Text { form: form.to_owned() },
            ParamKind::Net { .. } => ParamKindInfo::Choice { options: nets.to_vec() },
        },
    }
}
