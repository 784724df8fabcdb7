//! Make geometry from the cutout, in metres, upright, standing on y = 0, front to +Z.

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "reconstruct",
    version: 1,
    doc: "Make geometry from the cutout, in metres, upright, standing on y = 0, front to +Z.",
    reads: &[Slot::Cutout],
    writes: &[Slot::Mesh],
    engines: &[Engine {
        id: "inflate",
        doc: "A closed, symmetric solid swelling from the silhouette.",
        net: None,
        params: &[
            Param {
                id: "thickness",
                doc: "Largest depth, relative to the widest part of the silhouette.",
                unit: "",
                kind: ParamKind::Float { default: 0.6, min: 0.02, max: 2.0 },
            },
            Param {
                id: "resolution",
                doc: "Cells along the longer side of the silhouette.",
                unit: "",
                kind: ParamKind::Int { default: 384, min: 32, max: 1024 },
            },
        ],
    }],
    params: &[Param {
        id: "height",
        doc: "Height of the finished asset.",
        unit: "m",
        kind: ParamKind::Float { default: 1.0, min: 0.001, max: 1000.0 },
    }],
    run,
};

fn run(_cx: &StageCx, _asset: &mut Asset) -> Result<(), StageError> {
    Err(StageError::internal("not built yet"))
}
