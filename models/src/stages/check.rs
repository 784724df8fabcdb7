//! Measure the asset and hold it against the gate.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "check",
    version: 1,
    doc: "Measure the asset and hold it against the gate.",
    reads: &[Slot::Asset, Slot::Cutout],
    writes: &[Slot::Report, Slot::Asset],
    engines: &[Engine {
        id: "built-in",
        doc: "Topology, UVs, silhouette and size, measured on the written file.",
        net: None,
        params: &[],
    }],
    params: &[Param {
        id: "on-fail",
        doc: "What a failed gate does to the job.",
        unit: "",
        kind: ParamKind::Choice { default: "fail", options: &["fail", "warn"] },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
