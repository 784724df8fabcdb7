//! Reduce to an exact triangle budget.

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::simplify::simplify,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "simplify",
    version: 1,
    doc: "Reduce to an exact triangle budget.",
    reads: &[Slot::Mesh],
    may_read: &[],
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

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let mesh = simplify(&*asset.mesh()?, cx.int("triangles") as usize)?;
    asset.set_mesh(mesh);
    cx.step(1, 1)
}
