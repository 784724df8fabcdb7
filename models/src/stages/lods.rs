//! Make coarser meshes on the same texture, for objects far away.

use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::lods::{Level, lods_with_report},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

const RATIOS: [&str; 3] = ["ratio-1", "ratio-2", "ratio-3"];

pub const STAGE: Stage = Stage {
    id: "lods",
    version: 2,
    doc: "Make coarser meshes on the same texture, for objects far away.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::Notes],
    writes: &[Slot::Lods],
    may_write: &[Slot::Notes],
    engines: &[Engine { id: "meshopt", doc: "meshoptimizer's quadric edge collapse.", net: None, params: &[] }],
    params: &[ratio(RATIOS[0], 0.5), ratio(RATIOS[1], 0.25), ratio(RATIOS[2], 0.1)],
    run,
};

const fn ratio(id: &'static str, default: f64) -> Param {
    Param {
        id,
        doc: "Share of the triangles that a level has; 0 leaves it out.",
        unit: "",
        kind: ParamKind::Float { default, min: 0.0, max: 1.0 },
    }
}

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let (meshes, levels) = lods_with_report(&*asset.mesh()?, &RATIOS.map(|id| cx.float(id)))?;
    let level = |level: &Level| {
        json!({
            "ratio": level.ratio, "budget": level.budget, "triangles": level.triangles, "error_m": level.error_m,
            "left_out": level.is_left_out, "reason": level.reason,
        })
    };
    asset.note(STAGE.id, levels.iter().map(level).collect());
    asset.set(Slot::Lods, Value::Meshes(meshes.into()));
    cx.step(1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{shapes, test_support::run_stage};

    #[test]
    fn levels_are_written_finest_first_and_zero_is_none() {
        let mut asset = Asset::default();
        asset.set_mesh(shapes::sphere(24));
        run_stage("lods", &mut asset, &[("ratio-2", 0.0)]).unwrap();
        let levels = asset.meshes(Slot::Lods).unwrap();
        let n = asset.mesh().unwrap().triangles.len();
        let counts: Vec<usize> = levels.iter().map(|level| level.triangles.len()).collect();
        assert_eq!(counts.len(), 2);
        assert!(counts[0].abs_diff(n / 2) <= n / 100 && counts[1].abs_diff(n / 10) <= n / 100, "{counts:?} of {n}");
    }
}
