//! The object of an asset as the daemon draws it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;

use super::{
    msg::{Drawn, Turn},
    pictures::{self, Picture},
};
use crate::{client::Client, error::Failure};

#[derive(Deserialize)]
struct View {
    png_base64: String,
}

/// The picture, or why it cannot be shown.
pub fn draw(client: &Client, turn: &Turn) -> Result<Result<Picture, String>, Failure> {
    let mode = match turn.mode {
        Drawn::Shaded => "shaded",
        Drawn::Wireframe => "wireframe",
        Drawn::Normals => "normals",
    };
    let view: View = client.ask(
        "asset.view",
        &json!({
            "id": turn.id, "yaw_deg": turn.yaw_deg, "pitch_deg": turn.pitch_deg, "zoom": turn.zoom,
            "size": turn.size, "mode": mode,
        }),
    )?;
    let bytes = STANDARD.decode(view.png_base64).map_err(|e| format!("cannot be shown: {e}"));
    Ok(bytes.and_then(|bytes| pictures::decode(&bytes)))
}
