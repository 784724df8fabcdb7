//! Write the cutout as a PNG.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "export-image",
    version: 1,
    doc: "Write the cutout as a PNG.",
    reads: &[Slot::Cutout, Slot::Provenance],
    writes: &[Slot::Asset],
    engines: &[Engine { id: "png", doc: "PNG with straight alpha.", net: None, params: &[] }],
    params: &[],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
