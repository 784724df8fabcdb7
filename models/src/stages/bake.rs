//! Paint the texture: front from the picture, back mirrored.

use std::sync::Arc;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{Maps, project::project},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "bake",
    version: 1,
    doc: "Paint the texture: front from the picture, back mirrored.",
    reads: &[Slot::Cutout, Slot::Mesh],
    writes: &[Slot::Maps],
    engines: &[Engine { id: "project", doc: "Projects the cutout along the view axis.", net: None, params: &[] }],
    params: &[
        Param {
            id: "size",
            doc: "Width and height of the texture; a power of two suits every engine.",
            unit: "px",
            kind: ParamKind::Int { default: 1024, min: 64, max: 8192 },
        },
        Param {
            id: "roughness",
            doc: "How dull the surface is: 0 mirrors, 1 is chalk.",
            unit: "",
            kind: ParamKind::Float { default: 0.8, min: 0.0, max: 1.0 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let (cutout, mesh) = (asset.image(Slot::Cutout)?, asset.mesh()?);
    let front = mesh.front.ok_or_else(|| {
        StageError::invalid(
            "the mesh does not know where the cutout lies on it",
            "bake a mesh that was reconstructed from this cutout",
        )
    })?;
    if mesh.uvs.len() != mesh.positions.len() || mesh.triangles.is_empty() {
        return Err(StageError::invalid(
            format!("{} texture coordinates for {} vertices", mesh.uvs.len(), mesh.positions.len()),
            "put stage unwrap before bake",
        ));
    }
    cx.step(0, 1)?;
    let base_color = project(&cutout, &mesh, &front, cx.int("size") as u32);
    asset.set(
        Slot::Maps,
        Value::Maps(Arc::new(Maps { base_color, roughness: cx.float("roughness") as f32, metallic: 0.0 })),
    );
    cx.step(1, 1)
}
