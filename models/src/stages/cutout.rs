//! Cut the object out of its background.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "cutout",
    version: 1,
    doc: "Cut the object out of its background.",
    reads: &[Slot::Image],
    writes: &[Slot::Cutout],
    engines: &[Engine {
        id: "classic",
        doc: "Background model from the border, graph cut, guided filter; the picture's own alpha when it has one.",
        net: None,
        params: &[],
    }],
    params: &[],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
