//! `watch.*`: handed on to the watcher.

use std::sync::Arc;

use meshkiln_protocol::{
    api::NoParams,
    watch::{Watch, WatchAddParams, WatchIdParams, WatchList, WatchRescanResult},
};

use super::{Daemon, convert::CallError, methods::blocking, source};

pub async fn add(daemon: Arc<Daemon>, params: WatchAddParams) -> Result<Watch, CallError> {
    source::check_path("path", &params.path)?;
    if let Some(out) = &params.out {
        source::check_path("out", out)?;
    }
    if let Some(name) = params.recipe.clone() {
        let recipes = daemon.recipes.clone();
        blocking(move || Ok(recipes.find(&name)?)).await?;
    }
    Ok(daemon.watch.add(params).await?)
}

pub async fn list(daemon: Arc<Daemon>, _: NoParams) -> Result<WatchList, CallError> {
    Ok(WatchList { watches: daemon.watch.list().await? })
}

pub async fn remove(daemon: Arc<Daemon>, params: WatchIdParams) -> Result<Watch, CallError> {
    if params.id.is_some() == params.path.is_some() {
        return Err(CallError::Params {
            message: "expected exactly one of `id` and `path`".to_owned(),
            hint: "`meshkiln watch list` shows both".to_owned(),
        });
    }
    Ok(daemon.watch.remove(params).await?)
}

/// All watches when neither id nor path is given.
pub async fn rescan(daemon: Arc<Daemon>, params: WatchIdParams) -> Result<WatchRescanResult, CallError> {
    if params.id.is_some() && params.path.is_some() {
        return Err(CallError::Params {
            message: "expected at most one of `id` and `path`".to_owned(),
            hint: "`meshkiln watch list` shows both".to_owned(),
        });
    }
    Ok(WatchRescanResult { watches: daemon.watch.rescan(params).await? })
}
