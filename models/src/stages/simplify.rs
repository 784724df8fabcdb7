//! Reduce to an exact triangle budget, or to an error.

use std::sync::Arc;

use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{
        Mesh,
        simplify::{SimplifyOptions, SimplifyTarget, simplify_with},
        textured::TexturedMesh,
    },
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "simplify",
    version: 5,
    doc: "Reduce to an exact triangle budget, or to an error.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::High, Slot::Notes],
    writes: &[Slot::Mesh],
    // The mesh as it was, unless details are taken from another one anyway.
    may_write: &[Slot::High, Slot::Notes],
    engines: &[Engine {
        id: "meshopt",
        doc: "meshoptimizer's quadric edge collapse, then vertices moved to where the surfaces are nearest.",
        net: None,
        params: &[],
    }],
    params: &[
        Param {
            id: "triangles",
            doc: "At most this many triangles.",
            unit: "",
            kind: ParamKind::Int { default: 10000, min: 64, max: 1000000 },
        },
        Param {
            id: "error",
            doc: "First reduce as far as the surface moves no further than this; 0 goes straight for the budget.",
            unit: "m",
            kind: ParamKind::Float { default: 0.0, min: 0.0, max: 1.0 },
        },
        Param {
            id: "preserve-topology",
            doc: "Rather miss the budget than lose a piece, a handle or a hole.",
            unit: "",
            kind: ParamKind::Flag { default: false },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let preserve_topology = cx.flag("preserve-topology");
    let error = SimplifyTarget::Error(cx.float("error") as f32);
    if asset.get(Slot::High).is_none() {
        let high = TexturedMesh::from(Mesh::clone(&*asset.mesh()?));
        asset.set(Slot::High, Value::High(Arc::new(high)));
    }
    let targets = [error, SimplifyTarget::Triangles(cx.int("triangles") as usize)];
    for (i, target) in targets.into_iter().enumerate() {
        cx.step(i as u32, targets.len() as u32)?;
        if target != SimplifyTarget::Error(0.0) {
            let (mesh, report) = simplify_with(&*asset.mesh()?, &SimplifyOptions { target, preserve_topology })?;
            asset.note(
                STAGE.id,
                json!({ "triangles": report.triangles, "error_m": report.error_m, "reason": report.reason }),
            );
            asset.set_mesh(mesh);
        }
    }
    cx.step(2, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{clean::clean, shapes, test_support::run_stage};

    #[test]
    fn an_error_stops_short_of_the_budget_and_the_budget_holds_whatever_the_error() {
        // Without a layout, whose changes count as errors too, and not its own mirror image.
        let mut ball = clean(&shapes::sphere(48), 0.0).unwrap();
        ball.positions.iter_mut().for_each(|p| *p = glam::Quat::from_rotation_x(0.3) * *p);
        let reduced = |set: &[(&str, f64)]| {
            let mut asset = Asset::default();
            asset.set_mesh(ball.clone());
            run_stage("simplify", &mut asset, set).unwrap();
            asset.mesh().unwrap().triangles.len()
        };
        let by_error = reduced(&[("error", 0.01)]);
        assert!((65..ball.triangles.len() / 2).contains(&by_error), "{by_error}");
        assert!(reduced(&[("error", 0.05)]) < by_error);
        let by_both = reduced(&[("error", 0.01), ("triangles", 64.0)]);
        assert!((60..=64).contains(&by_both), "{by_both}");
    }
}
