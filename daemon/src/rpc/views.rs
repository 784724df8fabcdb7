//! `asset.view`: pictures of finished assets, drawn as they are turned (viewer.rs).

use std::sync::Arc;

use meshkiln_protocol::{
    asset::{AssetView, AssetViewParams},
    error::ErrorKind,
    job::AssetRef,
};

use super::{Daemon, assets::no_such_asset, convert, convert::CallError, methods::blocking};
use crate::viewer::{Answer, MAX_SIZE, Order, PATIENCE};

pub async fn view(daemon: Arc<Daemon>, params: AssetViewParams) -> Result<AssetView, CallError> {
    let viewer = daemon.viewer.clone();
    let drawn = tokio::time::timeout(PATIENCE, blocking(move || draw(&daemon, &params)));
    let Ok(drawn) = drawn.await else {
        // Whoever waits for it gets an error; the next picture is drawn by another process.
        viewer.stop();
        return Err(failed(&format!("it was not drawn within {} s", PATIENCE.as_secs())));
    };
    let (view, n) = drawn?;
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        viewer.rest(n);
    });
    Ok(view)
}

fn draw(daemon: &Daemon, params: &AssetViewParams) -> Result<(AssetView, u64), CallError> {
    let mut order = order(params)?;
    let wanted = AssetRef { id: Some(params.id), path: None };
    let asset = daemon.backend.asset(&wanted)?.ok_or_else(|| no_such_asset(&wanted))?;
    order.asset = asset.sha256;
    let (answer, n) = daemon.viewer.draw(&order).map_err(|e| failed(&e.to_string()))?;
    match answer {
        Answer::Picture(png_base64) => Ok((AssetView { png_base64 }, n)),
        Answer::Gone(why) => Err(convert::not_found(
            format!("the finished file of `{}` is no longer kept: {why}", asset.name),
            "make it again with `meshkiln refire`",
        )),
        Answer::NoMesh(why) => Err(convert::refused(
            ErrorKind::Unsupported,
            format!("`{}` cannot be drawn: {why}", asset.name),
            "only assets with a mesh can be looked at from all sides",
        )),
    }
}

/// With defaults for what is not given, and without an asset.
fn order(params: &AssetViewParams) -> Result<Order, CallError> {
    let number = |name: &str, given: Option<f32>, default: f32, low: f32, high: f32| {
        let value = given.unwrap_or(default);
        if (low..=high).contains(&value) { Ok(value) } else { Err(outside(name, value, low, high)) }
    };
    Ok(Order {
        asset: String::new(),
        size: number("size", params.size.map(|size| size as f32), 512.0, 16.0, MAX_SIZE as f32)? as u32,
        azimuth: number("yaw_deg", params.yaw_deg, 30.0, -360.0, 360.0)?,
        elevation: number("pitch_deg", params.pitch_deg, 14.0, -80.0, 80.0)?,
        zoom: number("zoom", params.zoom, 1.0, 1.0, 16.0)?,
        mode: params.mode,
    })
}

fn outside(name: &str, value: f32, low: f32, high: f32) -> CallError {
    CallError::Params {
        message: format!("`{name}`: {value} is not between {low} and {high}"),
        hint: "`rpc.discover` describes the parameters of every method".to_owned(),
    }
}

fn failed(what: &str) -> CallError {
    tracing::warn!("an asset is not drawn: {what}");
    convert::refused(
        ErrorKind::Internal,
        format!("the asset cannot be drawn now: {what}"),
        "try again; see `meshkiln log`",
    )
}
