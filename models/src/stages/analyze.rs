//! Analyse a mesh: in the geometry, out the report with its counts and scores.
//!
//! `check` measures a finished file the same way; the limits below are its too.

use std::sync::Arc;

use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::analysis::{AnalysisLimits, Budget, analyze},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "analyze",
    version: 1,
    doc: "Count what is good and bad about a mesh, and score it.",
    reads: &[Slot::Mesh],
    may_read: &[],
    writes: &[Slot::Report],
    engines: &[Engine {
        id: "built-in",
        doc: "Topology, geometry, UVs and budget, from 0 to 100, and the counts behind them.",
        net: None,
        params: LIMITS,
    }],
    params: &[Param {
        id: "texture",
        doc: "Width and height of the texture that texel densities are stated for.",
        unit: "px",
        kind: ParamKind::Int { default: 1024, min: 1, max: 16384 },
    }],
    run,
};

/// From where on something counts as a defect.
pub const LIMITS: &[Param] = &[
    Param {
        id: "max-valence",
        doc: "A vertex with more edges is a pole.",
        unit: "",
        kind: ParamKind::Int { default: 12, min: 3, max: 10_000 },
    },
    Param {
        id: "max-aspect",
        doc: "A triangle with a larger aspect is a sliver; an equilateral one has 1.",
        unit: "",
        kind: ParamKind::Float { default: 15.0, min: 1.0, max: 1e9 },
    },
    Param {
        id: "floater",
        doc: "A piece with a smaller share of the whole area is a floater.",
        unit: "",
        kind: ParamKind::Float { default: 0.001, min: 0.0, max: 1.0 },
    },
    Param {
        id: "max-intersection-tests",
        doc: "Pairs of triangles tried before the search for self-intersections is cut short, 0 for no search.",
        unit: "",
        kind: ParamKind::Int { default: 20_000_000, min: 0, max: 1_000_000_000 },
    },
    Param {
        id: "budget-triangles",
        doc: "Triangles the asset may have, 0 for no budget; only scored, see check.max-triangles.",
        unit: "",
        kind: ParamKind::Int { default: 0, min: 0, max: 10_000_000 },
    },
    Param {
        id: "budget-texture",
        doc: "Longer side that the texture may have, 0 for no budget; only scored.",
        unit: "px",
        kind: ParamKind::Int { default: 0, min: 0, max: 16384 },
    },
];

/// What `LIMITS` are set to.
pub fn limits(cx: &StageCx) -> AnalysisLimits {
    AnalysisLimits {
        max_valence: cx.int("max-valence") as usize,
        max_aspect: cx.float("max-aspect"),
        floater: cx.float("floater"),
        max_intersection_tests: cx.int("max-intersection-tests") as u64,
        budget: Budget { triangles: cx.int("budget-triangles") as u64, texture: cx.int("budget-texture") as u64 },
    }
}

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let mesh = asset.mesh()?;
    let side = cx.int("texture") as u32;
    let mut report = analyze(&mesh, (side, side), &limits(cx)).to_json();
    report["texture_px"] = json!(side);
    asset.set(Slot::Report, Value::Json(Arc::new(report)));
    cx.step(1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mesh::shapes, stages::testing};

    #[test]
    fn a_mesh_becomes_a_report_and_limits_are_heard() {
        let mut asset = Asset::default();
        asset.set_mesh(shapes::sphere(24));
        testing::run(&STAGE, &[("max-valence", json!(47))], &mut asset).unwrap();
        let strict = asset.json(Slot::Report).unwrap();
        assert_eq!((&strict["poles"], &strict["triangles"], &strict["genus"]), (&json!(2), &json!(2208), &json!(0)));
        assert!(strict["scores"].get("budget").is_none());
        testing::run(&STAGE, &[("max-valence", json!(48)), ("budget-triangles", json!(1000))], &mut asset).unwrap();
        let lenient = asset.json(Slot::Report).unwrap();
        assert_eq!(lenient["poles"], json!(0));
        assert!(lenient["scores"]["budget"].as_f64().unwrap() < 50.0, "{lenient}");
    }

    #[test]
    fn densities_are_those_of_the_stated_texture() {
        let mean = |side: u32| {
            let mut asset = Asset::default();
            asset.set_mesh(shapes::cube());
            testing::run(&STAGE, &[("texture", json!(side))], &mut asset).unwrap();
            asset.json(Slot::Report).unwrap()["texel_density_per_m"]["mean"].as_f64().unwrap()
        };
        assert!((mean(2048) / mean(512) - 4.0).abs() < 1e-6);
    }
}
