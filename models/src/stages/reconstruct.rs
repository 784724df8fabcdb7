//! Make geometry from the cutout: a mesh in metres, upright, standing on y = 0, front to +Z, or a
//! field of which `surface` makes one.

use std::sync::Arc;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{
        inflate::{Inflation, inflate},
        place::place,
    },
    nets::{
        Watch,
        triposr::{TripoSr, preprocess},
    },
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage, net_param},
    stages::quality::{self, Quality},
};

pub const STAGE: Stage = Stage {
    id: "reconstruct",
    version: 1,
    doc: "Make geometry from the cutout: a mesh, upright, on the ground, front to +Z, or a field for `surface`.",
    reads: &[Slot::Cutout],
    may_read: &[],
    writes: &[],
    may_write: &[Slot::Mesh, Slot::Field],
    engines: &[
        Engine {
            id: "triposr",
            doc: "The whole object from one picture, its back imagined, as a field of density and colour.",
            net: Some("triposr"),
            params: &[quality::PARAM, quality::PRECISION, net_param("triposr")],
        },
        Engine {
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
        },
    ],
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
    let height = cx.float("height") as f32;
    match cx.engine {
        "triposr" => {
            let quality = Quality::find(cx.choice(quality::PARAM.id));
            let precision = quality::precision(cx.choice(quality::PRECISION.id)).or(quality.precision);
            let picture = preprocess::composite(&preprocess::foreground(&cutout, preprocess::RATIO)?);
            let net = cx.net::<TripoSr>("triposr", precision)?;
            let mut field = net.field(&picture, &Watch { step: &|done, total| cx.step(done, total), tap: None })?;
            field.wishes = quality.wishes(height);
            asset.set(Slot::Field, Value::Field(Arc::new(field)));
        }
        "inflate" => {
            let how = Inflation { thickness: cx.float("thickness") as f32, resolution: cx.int("resolution") as usize };
            let mut mesh = inflate(cx, &cutout, &how)?;
            place(&mut mesh, height)?;
            asset.set_mesh(mesh);
        }
        other => return Err(StageError::internal(format!("unknown engine `{other}`"))),
    }
    Ok(())
}
