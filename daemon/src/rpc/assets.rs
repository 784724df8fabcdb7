//! `asset.*`.

use std::sync::Arc;

use meshkiln_protocol::{
    asset::{Asset, AssetGetParams, AssetListParams, AssetPage},
    job::AssetRef,
};

use super::{
    Daemon,
    convert::{self, CallError},
    jobs,
    methods::blocking,
    source,
};

pub async fn list(daemon: Arc<Daemon>, mut params: AssetListParams) -> Result<AssetPage, CallError> {
    params.limit = Some(jobs::page_size(params.limit)?);
    blocking(move || Ok(daemon.backend.assets(&params)?)).await
}

pub async fn get(daemon: Arc<Daemon>, params: AssetGetParams) -> Result<Asset, CallError> {
    check(&params.asset)?;
    blocking(move || {
        let mut asset = daemon.backend.asset(&params.asset)?.ok_or_else(|| no_such_asset(&params.asset))?;
        // Plans of other versions may be unreadable here; the asset is there all the same.
        asset.plan = daemon.backend.submission(asset.id).ok().flatten().map(|made| made.plan.to_json());
        Ok(asset)
    })
    .await
}

/// Exactly one field, and a path that may be looked at.
pub fn check(asset: &AssetRef) -> Result<(), CallError> {
    match (asset.id, &asset.path) {
        (Some(_), None) => Ok(()),
        (None, Some(path)) => source::check_path("asset.path", path).map(|_| ()),
        _ => Err(CallError::Params {
            message: "`asset`: expected exactly one of `id` and `path`".to_owned(),
            hint: "name the asset by id, by its file or by its source image".to_owned(),
        }),
    }
}

pub fn no_such_asset(asset: &AssetRef) -> CallError {
    let which = match (asset.id, &asset.path) {
        (Some(id), _) => format!("there is no asset {id}"),
        (None, path) => format!("no asset is known by {}", path.as_deref().unwrap_or_default()),
    };
    convert::not_found(which, "`meshkiln assets` lists them")
}
