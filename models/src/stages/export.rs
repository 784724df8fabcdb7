//! Write the GLB.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "export",
    version: 1,
    doc: "Write the GLB.",
    reads: &[Slot::Mesh, Slot::Maps, Slot::Provenance],
    writes: &[Slot::Asset],
    engines: &[Engine { id: "glb", doc: "glTF 2.0 binary.", net: None, params: &[] }],
    params: &[],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
