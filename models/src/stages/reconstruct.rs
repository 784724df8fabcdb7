//! Make geometry from the cutout, in metres, upright, standing on y = 0, front to +Z.

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{
        inflate::{Inflation, inflate},
        place::place,
    },
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "reconstruct",
    version: 1,
    doc: "Make geometry from the cutout, in metres, upright, standing on y = 0, front to +Z.",
    reads: &[Slot::Cutout],
    may_read: &[],
    writes: &[Slot::Mesh],
    engines: &[Engine {
        id: "inflate",
        doc: "A closed, symmetric solid swelling from the silhouette.",
        net: None,
        params: &[
            Param {
                id: "thickness",
                doc: "Largest depth, relative to the widest part of the silhouette; 1 is round.",
                unit: "",
                kind: ParamKind::Float { default: 0.6, min: 0.02, max: 2.0 },
            },
            Param {
                id: "resolution",
                doc: "Cells along the longer side of the silhouette; curved and thin parts get finer ones.",
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

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let cutout = asset.image(Slot::Cutout)?;
    let mut mesh = match cx.engine {
        "inflate" => {
            let how = Inflation { thickness: cx.float("thickness") as f32, resolution: cx.int("resolution") as usize };
            inflate(cx, &cutout, &how)?
        }
        other => return Err(StageError::internal(format!("unknown engine `{other}`"))),
    };
    place(&mut mesh, cx.float("height") as f32)?;
    asset.set_mesh(mesh);
    Ok(())
}
