//! The object of an asset as the daemon draws it.

use base64::{Engine, engine::general_purpose::STANDARD};
use meshkiln_protocol::{api::AssetView, asset::AssetViewParams};

use super::{
    msg::Turn,
    pictures::{self, Picture},
};
use crate::{client::Client, error::Failure};

/// The picture, or why it cannot be shown.
pub fn draw(client: &Client, turn: &Turn) -> Result<Result<Picture, String>, Failure> {
    let view = client.call::<AssetView>(&AssetViewParams {
        id: turn.id,
        yaw_deg: Some(turn.yaw_deg),
        pitch_deg: Some(turn.pitch_deg),
        zoom: Some(turn.zoom),
        size: Some(turn.size),
        mode: turn.mode,
    })?;
    let bytes = STANDARD.decode(view.png_base64).map_err(|e| format!("cannot be shown: {e}"));
    Ok(bytes.and_then(|bytes| pictures::decode(&bytes)))
}
