//! Weld, drop degenerate faces and floating specks, fix winding.

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::clean::clean,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "clean",
    version: 1,
    doc: "Weld, drop degenerate faces and floating specks, fix winding.",
    reads: &[Slot::Mesh],
    writes: &[Slot::Mesh],
    engines: &[Engine { id: "built-in", doc: "Topology repair on the index.", net: None, params: &[] }],
    params: &[Param {
        id: "speck",
        doc: "Pieces with less than this share of the largest piece's area are dropped.",
        unit: "",
        kind: ParamKind::Float { default: 0.001, min: 0.0, max: 0.5 },
    }],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let mesh = clean(&*asset.mesh()?, cx.float("speck") as f32)?;
    asset.set_mesh(mesh);
    cx.step(1, 1)
}
