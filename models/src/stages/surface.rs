//! Make a mesh of the field: closed, upright, standing on y = 0, front to +Z. Where there is no
//! field the mesh that `reconstruct` made goes on as it is.

use std::sync::Arc;

use glam::Vec3;

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    field::{Field, Placement},
    mesh::{
        iso_surface::{Inside, IsoOptions, iso_surface},
        place::place,
    },
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "surface",
    version: 1,
    doc: "Make a mesh of the field; a mesh that is there already goes on as it is.",
    reads: &[],
    may_read: &[Slot::Field, Slot::Mesh],
    writes: &[Slot::Mesh],
    // Knowing where the mesh stands in it.
    may_write: &[Slot::Field],
    engines: &[Engine {
        id: "marching-cubes",
        doc: "Coarse to fine, vertices moved onto the surface.",
        net: None,
        params: &[],
    }],
    params: &[
        Param {
            id: "resolution",
            doc: "Cells along the side of the field; 0 for what `reconstruct.quality` says.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 1024 },
        },
        Param {
            id: "projection-steps",
            doc: "Steps that move vertices onto the surface; 0 leaves them where values interpolated in a line cross.",
            unit: "",
            kind: ParamKind::Int { default: 3, min: 0, max: 16 },
        },
        Param {
            id: "dense",
            doc: "Look at every point of the grid: slow, and it finds pieces smaller than eight cells wherever they are.",
            unit: "",
            kind: ParamKind::Flag { default: false },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let Some(field) = asset.field() else {
        let mesh = asset.mesh()?;
        asset.set(Slot::Mesh, Value::Mesh(mesh));
        return Ok(());
    };
    let resolution = match cx.int("resolution") {
        0 => field.wishes.resolution,
        given => given as u32,
    };
    // In the cube, wherever the field stands.
    let mut field = Field::clone(&field);
    field.placement = Placement::IDENTITY;
    let options = IsoOptions {
        dense: cx.flag("dense"),
        edge_steps: cx.int("projection-steps") as u32,
        ..IsoOptions::new(field.bounds(), resolution, field.scales.threshold.ln(), Inside::Above)
    };
    let logs = |points: &[Vec3]| Ok(field.log_densities(points));
    let (mut mesh, _) = iso_surface(&logs, &options, &|done, total| cx.step(done, total))?;
    let (low, high) = mesh.bounds().ok_or_else(|| {
        StageError::new(
            StageErrorKind::NoObject,
            "the field has no surface: it is empty or full everywhere",
            "give a picture that shows the object whole and clearly, or set reconstruct.engine to inflate",
        )
    })?;
    place(&mut mesh, field.wishes.height)?;
    let origin = Vec3::new((low.x + high.x) / 2.0, low.y, (low.z + high.z) / 2.0);
    field.placement = Placement { scale: field.wishes.height / (high.y - low.y), origin };
    asset.set(Slot::Field, Value::Field(Arc::new(field)));
    asset.set_mesh(mesh);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        field::{self, Wishes},
        mesh::{shapes, topology::topology},
        stages::testing,
    };

    fn asset(radius: f32) -> Asset {
        let mut field = field::tests::ball(radius);
        field.wishes = Wishes { height: 2.0, resolution: 64, texture: 512 };
        let mut asset = Asset::default();
        asset.set(Slot::Field, Value::Field(Arc::new(field)));
        asset
    }

    #[test]
    fn a_field_becomes_a_closed_mesh_on_the_ground_and_knows_where_it_stands() {
        let mut asset = asset(0.5);
        testing::run(&STAGE, &[], &mut asset).unwrap();
        let (mesh, field) = (asset.mesh().unwrap(), asset.field().unwrap());
        let t = topology(&mesh.positions, &mesh.triangles);
        assert!(t.is_watertight() && t.is_manifold(), "{t:?}");
        let (low, high) = mesh.bounds().unwrap();
        assert!(low.y.abs() < 1e-6 && (high.y - 2.0).abs() < 1e-6, "{low} {high}");
        assert!((low.x + high.x).abs() < 1e-6 && (low.z + high.z).abs() < 1e-6);
        // Where the mesh says the surface is, the field says so too: a density of a few percent is
        // less than a hundredth of a cell of this field.
        for density in field.densities(&mesh.positions) {
            assert!((density / 25.0 - 1.0).abs() < 0.05, "{density}");
        }
    }

    #[test]
    fn dense_and_unprojected_surfaces_are_there_too() {
        let triangles = |set: &[(&str, serde_json::Value)]| {
            let mut asset = asset(0.5);
            testing::run(&STAGE, set, &mut asset).unwrap();
            asset.mesh().unwrap().triangles.len()
        };
        let sparse = triangles(&[("resolution", json!(32))]);
        assert_eq!(triangles(&[("resolution", json!(32)), ("dense", json!(true))]), sparse);
        assert_eq!(triangles(&[("resolution", json!(32)), ("projection-steps", json!(0))]), sparse);
        assert!(triangles(&[]) > 3 * sparse);
    }

    #[test]
    fn an_empty_field_shows_no_object() {
        let mut asset = asset(0.5);
        let field = asset.field().unwrap();
        let mut field = Field::clone(&field);
        field.scales.threshold = 1e9;
        asset.set(Slot::Field, Value::Field(Arc::new(field)));
        let error = testing::run(&STAGE, &[], &mut asset).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::NoObject);
    }

    #[test]
    fn a_mesh_without_a_field_goes_on() {
        let mut asset = Asset::default();
        asset.set_mesh(shapes::cube());
        asset.forget_writes();
        testing::run(&STAGE, &[], &mut asset).unwrap();
        assert_eq!(*asset.mesh().unwrap(), shapes::cube());
        assert!(asset.is_written(Slot::Mesh) && !asset.is_written(Slot::Field));
        assert!(testing::run(&STAGE, &[], &mut Asset::default()).is_err());
    }
}
