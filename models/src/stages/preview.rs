//! Render a lit picture of the asset.

use crate::{
    cx::StageCx,
    error::StageError,
    export::glb,
    image::png_io,
    mesh::render::{Background, Look, render},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "preview",
    version: 1,
    doc: "Render a lit picture of the asset.",
    reads: &[Slot::Asset],
    writes: &[Slot::Preview],
    engines: &[Engine { id: "raster", doc: "Software rasteriser.", net: None, params: &[] }],
    params: &[
        Param {
            id: "size",
            doc: "Width and height of the picture.",
            unit: "px",
            kind: ParamKind::Int { default: 512, min: 64, max: 4096 },
        },
        Param {
            id: "background",
            doc: "What is behind the asset; transparent keeps only its shadow.",
            unit: "",
            kind: ParamKind::Choice { default: "studio", options: &["studio", "transparent"] },
        },
        Param {
            id: "azimuth",
            doc: "How far the camera stands to the right of the asset's front.",
            unit: "degrees",
            kind: ParamKind::Float { default: 30.0, min: -180.0, max: 180.0 },
        },
        Param {
            id: "elevation",
            doc: "How steeply the camera looks down.",
            unit: "degrees",
            kind: ParamKind::Float { default: 14.0, min: -80.0, max: 80.0 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let content = glb::read(&asset.bytes(Slot::Asset)?)?;
    cx.step(1, 3)?;
    let look = Look {
        size: cx.int("size") as u32,
        background: match cx.choice("background") {
            "transparent" => Background::Transparent,
            _ => Background::Studio,
        },
        azimuth: cx.float("azimuth") as f32,
        elevation: cx.float("elevation") as f32,
    };
    let picture = render(&content.mesh, &content.maps, &look);
    cx.step(2, 3)?;
    asset.set(Slot::Preview, Value::Bytes(png_io::encode_rgba(&picture)?.into()));
    cx.step(3, 3)
}
