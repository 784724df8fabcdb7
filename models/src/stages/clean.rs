//! Weld, drop degenerate faces and floating specks, fix winding.

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{clean::clean, place::place},
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "clean",
    version: 1,
    doc: "Weld, drop degenerate faces and floating specks, fix winding.",
    reads: &[Slot::Mesh],
    may_read: &[],
    writes: &[Slot::Mesh],
    engines: &[Engine { id: "built-in", doc: "Topology repair on the index.", net: None, params: &[] }],
    params: &[Param {
        id: "speck",
        doc: "Pieces with less than this share of the largest piece's area are dropped.",
        unit: "",
        kind: ParamKind::Float { default: 0.001, min: 0.0, max: 0.5 },
    }],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let before = asset.mesh()?;
    let mut mesh = clean(&before, cx.float("speck") as f32)?;
    // What stood on the ground still does when a piece it stood on was a speck.
    if let Some((low, high)) = before.bounds()
        && low.y == 0.0
        && mesh.bounds() != before.bounds()
    {
        place(&mut mesh, high.y)?;
    }
    asset.set_mesh(mesh);
    cx.step(1, 1)
}

#[cfg(test)]
mod tests {
    use glam::Vec2;

    use super::*;
    use crate::mesh::test_support::{draw, inflated, run_stage};

    #[test]
    fn without_the_speck_below_it_an_object_still_stands_on_the_ground() {
        let near = |p: Vec2, x: f32, y: f32, radius: f32| p.distance(Vec2::new(x, y)) < radius;
        let cutout = draw(100, 100, |p| near(p, 50.0, 45.0, 40.0) || near(p, 20.0, 95.0, 3.0));
        let mut asset = Asset::default();
        asset.set_mesh(inflated(&cutout, &[("height", 2.0)]).unwrap());
        run_stage("clean", &mut asset, &[("speck", 0.02)]).unwrap();
        let mesh = asset.mesh().unwrap();
        let (low, high) = mesh.bounds().unwrap();
        assert!(low.y == 0.0 && (high.y - 2.0).abs() < 1e-6 && (low.x + high.x).abs() < 1e-6, "{low} {high}");
        let centre = mesh.front.unwrap().to_pixel(glam::Vec3::Y);
        assert!(centre.distance(Vec2::new(50.0, 45.0)) < 0.1, "{centre}");
    }
}
