//! `load`: a mesh file to a mesh that stands on the ground.

use std::sync::Arc;

use glam::Vec3;
use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    import::{self, Axes, Bundle, Limits},
    mesh::{Mesh, textured::TexturedMesh},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "load",
    version: 2,
    doc: "Read a mesh file, upright, in metres, on the ground.",
    reads: &[Slot::Source],
    may_read: &[],
    writes: &[Slot::High, Slot::Mesh],
    may_write: &[Slot::Notes],
    engines: &[Engine {
        id: "built-in",
        doc: "GLB, glTF, OBJ, PLY and STL by content, within limits.",
        net: None,
        params: &[],
    }],
    params: &[
        Param {
            id: "axes",
            doc: "Which way is up in the file; auto: y for GLB, glTF and OBJ, z for PLY and STL.",
            unit: "",
            kind: ParamKind::Choice { default: "auto", options: &["auto", "y-up", "z-up"] },
        },
        Param {
            id: "scale",
            doc: "Metres to a unit of the file; without effect where a height is given.",
            unit: "m",
            kind: ParamKind::Float { default: 1.0, min: 1e-6, max: 1e6 },
        },
        Param {
            id: "height",
            doc: "The mesh is scaled to this height; 0 keeps its size.",
            unit: "m",
            kind: ParamKind::Float { default: 0.0, min: 0.0, max: 1e4 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 2)?;
    let source = asset.bytes(Slot::Source)?;
    let imported = import::read(&Bundle::from_bytes(&source), &Limits::default())?;
    asset.note(STAGE.id, json!({ "format": imported.format.id(), "passed_over": imported.notes }));
    cx.step(1, 2)?;
    let axes = Axes::from_choice(cx.choice("axes"), imported.format);
    let mut high = imported.textured;
    axes.turn_y_up(&mut high);
    stand(&mut high, cx.float("scale") as f32, cx.float("height") as f32)?;
    let colors = high.colors.iter().map(|color| color.truncate()).collect();
    asset.set_mesh(Mesh { colors, ..high.mesh.clone() });
    asset.set(Slot::High, Value::High(Arc::new(high)));
    cx.step(2, 2)
}

/// Scales the mesh to `height` metres, or by `scale` where that is 0, moves its
/// lowest point to y = 0 and the centre of its bounding box to x = z = 0.
///
/// Unlike `place`, it lets flat meshes lie. Fails when a height is asked of them,
/// and when the size cannot be told in numbers any more.
fn stand(high: &mut TexturedMesh, scale: f32, height: f32) -> Result<(), StageError> {
    let empty = || StageError::internal("the mesh file gave no vertices");
    let (low, top) = high.mesh.bounds().ok_or_else(empty)?;
    let scale = if height > 0.0 { height / (top.y - low.y) } else { scale };
    if !(scale.is_finite() && ((top - low) * scale).is_finite()) {
        let message = format!("the mesh is {} units high and cannot be scaled to {height} m", top.y - low.y);
        return Err(StageError::invalid(message, "set load.height to 0, or load.axes to the other way up"));
    }
    let foot = Vec3::new(low.x / 2.0 + top.x / 2.0, low.y, low.z / 2.0 + top.z / 2.0);
    high.mesh.positions.iter_mut().for_each(|p| *p = (*p - foot) * scale);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::stages::testing;

    /// A tent: 2 wide, 4 deep, 1 high with +Z up.
    const STL: &str = "solid a
        facet normal 0 0 0 outer loop vertex 1 1 3 vertex 3 1 3 vertex 2 3 4 endloop endfacet
        facet normal 0 0 0 outer loop vertex 1 5 3 vertex 2 3 4 vertex 3 5 3 endloop endfacet
        endsolid a";

    fn load(file: &str, set: &[(&str, Json)]) -> Result<Asset, StageError> {
        let mut asset = Asset::default();
        asset.set(Slot::Source, Value::Bytes(file.as_bytes().into()));
        testing::run(&STAGE, set, &mut asset)?;
        Ok(asset)
    }

    fn bounds(file: &str, set: &[(&str, Json)]) -> (Vec3, Vec3) {
        let asset = load(file, set).unwrap();
        let mesh = asset.mesh().unwrap();
        assert_eq!(asset.high().unwrap().mesh, *mesh, "both are placed alike");
        mesh.bounds().unwrap()
    }

    #[test]
    fn the_mesh_stands_upright_on_the_ground() {
        assert_eq!(bounds(STL, &[]), (Vec3::new(-1.0, 0.0, -2.0), Vec3::new(1.0, 1.0, 2.0)));
        let lying = bounds(STL, &[("axes", json!("y-up"))]);
        assert_eq!(lying, (Vec3::new(-1.0, 0.0, -0.5), Vec3::new(1.0, 4.0, 0.5)));
    }

    #[test]
    fn scale_and_height_set_the_size() {
        assert_eq!(bounds(STL, &[("scale", json!(0.5))]).1, Vec3::new(0.5, 0.5, 1.0));
        assert_eq!(bounds(STL, &[("scale", json!(0.5)), ("height", json!(3.0))]).1, Vec3::new(3.0, 3.0, 6.0));
    }

    #[test]
    fn a_flat_mesh_may_lie_but_has_no_height() {
        let flat = "v 0 0 0\nv 0 0 2\nv 2 0 0\nf 1 2 3\n";
        assert_eq!(bounds(flat, &[]).1, Vec3::new(1.0, 0.0, 1.0));
        assert!(load(flat, &[("height", json!(1.0))]).unwrap_err().hint.contains("load.height"));
        assert!(load("v 0 0 0\n", &[]).is_err());
        assert!(load("", &[]).is_err());
    }
}
