//! Lay the surface out on a texture.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "unwrap",
    version: 1,
    doc: "Lay the surface out on a texture.",
    reads: &[Slot::Mesh],
    writes: &[Slot::Mesh],
    engines: &[Engine {
        id: "planar",
        doc: "Front and back as two charts, seen along the view axis.",
        net: None,
        params: &[],
    }],
    params: &[],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
