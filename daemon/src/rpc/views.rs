//! `asset.view`: pictures of finished assets, drawn as they are turned.
//!
//! The asset that was looked at last stays decoded for a while, so that turning it costs a picture
//! each and no more. One picture is drawn at a time, on all cores.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use meshkiln_models::{
    StageError,
    export::{self, content::Content},
    image::png_io,
    mesh::render::{Background, Look, Paint, render},
};
use meshkiln_protocol::{
    asset::{AssetView, AssetViewParams, ViewMode},
    error::ErrorKind,
    job::AssetRef,
};

use super::{Daemon, assets::no_such_asset, convert, convert::CallError, methods::blocking};
use crate::store::blobs::Digest;

/// How long an asset that nobody turns stays decoded: tens of megabytes.
const KEPT: Duration = Duration::from_secs(30);

/// The asset that is being looked at.
#[derive(Clone, Default)]
pub struct Views(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    asset: Option<(Digest, Arc<Content>)>,
    /// Pictures so far.
    n: u64,
}

impl Views {
    /// Draws; one picture after the other. `read` is asked for assets other than the last one.
    fn draw(
        &self,
        digest: Digest,
        look: &Look,
        read: impl FnOnce() -> Result<Content, CallError>,
    ) -> Result<(Vec<u8>, u64), CallError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let content = match &seen.asset {
            Some((known, content)) if *known == digest => content.clone(),
            _ => {
                seen.asset = None;
                let content = Arc::new(read()?);
                seen.asset = Some((digest, content.clone()));
                content
            }
        };
        seen.n += 1;
        let picture = render(&content.mesh, &content.maps, look);
        Ok((png_io::encode_rgba(&picture)?, seen.n))
    }

    /// Lets the asset go if no picture was drawn since the `n`th.
    fn forget_after(&self, n: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.n == n {
            seen.asset = None;
        }
    }
}

pub async fn view(daemon: Arc<Daemon>, params: AssetViewParams) -> Result<AssetView, CallError> {
    let look = look(&params)?;
    let views = daemon.views.clone();
    let (png, n) = blocking(move || {
        let wanted = AssetRef { id: Some(params.id), path: None };
        let found = daemon.backend.asset(&wanted)?;
        let known = found.and_then(|asset| Some((asset.sha256.as_str().parse::<Digest>().ok()?, asset)));
        let (digest, asset) = known.ok_or_else(|| no_such_asset(&wanted))?;
        daemon.views.draw(digest, &look, || {
            let bytes = daemon.blobs.get(digest).map_err(|e| gone(&asset.name, &e))?;
            export::read(&bytes).map_err(|e| no_mesh(&asset.name, e))
        })
    })
    .await?;
    tokio::spawn(async move {
        tokio::time::sleep(KEPT).await;
        views.forget_after(n);
    });
    Ok(AssetView { png_base64: BASE64_STANDARD.encode(&png) })
}

fn look(params: &AssetViewParams) -> Result<Look, CallError> {
    let standard = Look::default();
    let number = |name: &str, given: Option<f32>, default: f32, low: f32, high: f32| {
        let value = given.unwrap_or(default);
        if (low..=high).contains(&value) { Ok(value) } else { Err(outside(name, value, low, high)) }
    };
    Ok(Look {
        size: number("size", params.size.map(|size| size as f32), standard.size as f32, 16.0, 1024.0)? as u32,
        background: Background::Transparent,
        azimuth: number("yaw_deg", params.yaw_deg, standard.azimuth, -360.0, 360.0)?,
        elevation: number("pitch_deg", params.pitch_deg, standard.elevation, -80.0, 80.0)?,
        zoom: number("zoom", params.zoom, standard.zoom, 1.0, 16.0)?,
        paint: match params.mode {
            ViewMode::Shaded => Paint::Lit,
            ViewMode::Wireframe => Paint::Wires,
            ViewMode::Normals => Paint::Normals,
        },
    })
}

fn outside(name: &str, value: f32, low: f32, high: f32) -> CallError {
    CallError::Params {
        message: format!("`{name}`: {value} is not between {low} and {high}"),
        hint: "`rpc.discover` describes the parameters of every method".to_owned(),
    }
}

fn gone(name: &str, e: &io::Error) -> CallError {
    convert::refused(
        ErrorKind::NotFound,
        format!("the finished file of `{name}` is no longer kept: {e}"),
        "make it again with `meshkiln refire`",
    )
}

fn no_mesh(name: &str, error: StageError) -> CallError {
    convert::refused(
        ErrorKind::Unsupported,
        format!("`{name}` cannot be drawn: {}", error.message),
        "only assets with a mesh can be looked at from all sides",
    )
}
