//! Read the picture: any common format, upright, in sRGB.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "decode",
    version: 1,
    doc: "Read the picture: any common format, upright, in sRGB.",
    reads: &[Slot::Source],
    writes: &[Slot::Image],
    engines: &[Engine { id: "built-in", doc: "Safe decoders with limits.", net: None, params: &[] }],
    params: &[Param {
        id: "max-side",
        doc: "Larger pictures are scaled down to this on their longer side.",
        unit: "px",
        kind: ParamKind::Int { default: 4096, min: 64, max: 16384 },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
