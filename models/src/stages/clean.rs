//! Weld, drop degenerate faces and floating specks, fix winding.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "clean",
    version: 1,
    doc: "Weld, drop degenerate faces and floating specks, fix winding.",
    reads: &[Slot::Mesh],
    writes: &[Slot::Mesh],
    engines: &[Engine { id: "built-in", doc: "Topology repair on the index.", net: None, params: &[] }],
    params: &[],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
