//! Paint the texture: front from the picture, back mirrored.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "bake",
    version: 1,
    doc: "Paint the texture: front from the picture, back mirrored.",
    reads: &[Slot::Cutout, Slot::Mesh],
    writes: &[Slot::Maps],
    engines: &[Engine { id: "project", doc: "Projects the cutout along the view axis.", net: None, params: &[] }],
    params: &[Param {
        id: "size",
        doc: "Width and height of the texture.",
        unit: "px",
        kind: ParamKind::Int { default: 1024, min: 64, max: 8192 },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
