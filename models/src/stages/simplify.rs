//! Reduce to an exact triangle budget.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "simplify",
    version: 1,
    doc: "Reduce to an exact triangle budget.",
    reads: &[Slot::Mesh],
    writes: &[Slot::Mesh],
    engines: &[Engine { id: "meshopt", doc: "meshoptimizer's quadric edge collapse.", net: None, params: &[] }],
    params: &[Param {
        id: "triangles",
        doc: "At most this many triangles.",
        unit: "",
        kind: ParamKind::Int { default: 10000, min: 64, max: 1000000 },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
