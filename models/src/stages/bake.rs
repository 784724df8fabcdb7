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
    may_read: &[],
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
        Value::Maps(Arc::new(Maps {
            base_color,
            roughness: cx.float("roughness") as f32,
            metallic: 0.0,
            ..Maps::default()
        })),
    );
    cx.step(1, 1)
}

#[cfg(test)]
mod tests {
    use glam::Vec2;
    use image::{Rgba, RgbaImage};
    use serde_json::json;

    use super::*;
    use crate::{
        cx::CancelToken,
        error::StageErrorKind,
        mesh::{FrontView, Mesh},
        stage::Settings,
    };

    fn bake(mesh: Mesh) -> Result<Asset, StageError> {
        let settings = Settings::from([("size".to_owned(), json!(64)), ("roughness".to_owned(), json!(0.7))]);
        let cx = StageCx { engine: "project", settings: &settings, cancel: CancelToken::default(), progress: &|_| {} };
        let mut asset = Asset::default();
        asset.set_mesh(mesh);
        asset.set_image(Slot::Cutout, RgbaImage::from_pixel(8, 8, Rgba([1, 2, 3, 255])));
        run(&cx, &mut asset).map(|()| asset)
    }

    fn triangle() -> Mesh {
        let corners = [Vec2::ZERO, Vec2::X, Vec2::ONE];
        Mesh {
            positions: corners.map(|c| c.extend(0.0)).to_vec(),
            uvs: corners.to_vec(),
            triangles: vec![[0, 1, 2]],
            front: Some(FrontView { metres_per_pixel: 0.125, origin: Vec2::new(0.0, 8.0) }),
            ..Mesh::default()
        }
    }

    #[test]
    fn maps_have_the_size_and_roughness_asked_for() {
        let maps = bake(triangle()).unwrap().maps().unwrap();
        assert_eq!((maps.base_color.dimensions(), maps.roughness, maps.metallic), ((64, 64), 0.7, 0.0));
        assert!(maps.base_color.pixels().all(|p| p.0 == [1, 2, 3, 255]));
    }

    #[test]
    fn meshes_without_layout_or_front_are_refused() {
        for mesh in [Mesh { uvs: Vec::new(), ..triangle() }, Mesh { front: None, ..triangle() }, Mesh::default()] {
            assert_eq!(bake(mesh).unwrap_err().kind, StageErrorKind::InvalidInput);
        }
    }
}
