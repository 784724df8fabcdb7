//! Lay the surface out on a texture.

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    mesh::unwrap::{MAX_HIDDEN, NotTwoHeightFields, PlanarOptions, planar},
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
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
        params: &[Param {
            id: "spread",
            doc: "How evenly texels lie on the surface: 0 maps the picture one to one and stretches it over the rim, \
                  1 gives the steep rim its full share.",
            unit: "",
            kind: ParamKind::Float { default: 0.5, min: 0.0, max: 1.0 },
        }],
    }],
    params: &[
        Param {
            id: "padding",
            doc: "Free texels between charts and around them.",
            unit: "px",
            kind: ParamKind::Float { default: 8.0, min: 0.0, max: 64.0 },
        },
        Param {
            id: "size",
            doc: "Width and height of the texture that padding is counted in.",
            unit: "px",
            kind: ParamKind::Int { default: 1024, min: 64, max: 8192 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let mesh = asset.mesh()?;
    cx.step(0, 1)?;
    let options = PlanarOptions { padding: cx.float("padding") / cx.int("size") as f64, spread: cx.float("spread") };
    let unwrapped = planar(&mesh, &options).map_err(|NotTwoHeightFields { hidden }| {
        StageError::new(
            StageErrorKind::Unsupported,
            format!(
                "{:.1} % of the surface hides behind its own side, the planar layout allows {:.1} %",
                hidden * 100.0,
                MAX_HIDDEN * 100.0
            ),
            "reconstruct with engine inflate, whose solids have one front and one back",
        )
    })?;
    asset.set_mesh(unwrapped);
    cx.step(1, 1)
}
