//! Render a lit picture of the asset.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "preview",
    version: 1,
    doc: "Render a lit picture of the asset.",
    reads: &[Slot::Asset],
    writes: &[Slot::Preview],
    engines: &[Engine { id: "raster", doc: "Software rasteriser.", net: None, params: &[] }],
    params: &[Param {
        id: "size",
        doc: "Width and height of the picture.",
        unit: "px",
        kind: ParamKind::Int { default: 512, min: 64, max: 4096 },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
