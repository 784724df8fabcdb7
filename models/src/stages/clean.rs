//! Mend the surface: weld, fill small holes, drop degenerate faces and specks, fix winding.

use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::{
        clean::{CleanOptions, clean_with},
        place::place,
    },
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "clean",
    version: 4,
    doc: "Mend the surface: weld, fill small holes, drop degenerate faces and specks, fix winding.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::Notes],
    writes: &[Slot::Mesh],
    may_write: &[Slot::Notes],
    engines: &[Engine { id: "built-in", doc: "Topology repair on the index.", net: None, params: &[] }],
    params: &[
        Param {
            id: "speck",
            doc: "Pieces with less than this share of the largest piece's area are dropped.",
            unit: "",
            kind: ParamKind::Float { default: 0.001, min: 0.0, max: 0.5 },
        },
        Param {
            id: "weld",
            doc: "Open edges this near to each other are joined, relative to the size of the mesh.",
            unit: "",
            kind: ParamKind::Float { default: 1e-5, min: 0.0, max: 0.01 },
        },
        Param {
            id: "hole",
            doc: "Holes with at most this perimeter, relative to the size of the mesh, are filled; 0 fills none.",
            unit: "",
            kind: ParamKind::Float { default: 0.5, min: 0.0, max: 10.0 },
        },
        Param {
            id: "smooth",
            doc: "Passes of smoothing that keeps the volume; 0 is off.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 100 },
        },
        Param {
            id: "keep-uvs",
            doc: "Keep texture coordinates and normals, unless holes had to be filled.",
            unit: "",
            kind: ParamKind::Flag { default: false },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let before = asset.mesh()?;
    let options = CleanOptions {
        speck: cx.float("speck") as f32,
        weld: cx.float("weld") as f32,
        hole: cx.float("hole") as f32,
        smooth: cx.int("smooth") as u32,
        keep_uvs: cx.flag("keep-uvs"),
        ..CleanOptions::default()
    };
    let (mut mesh, report) = clean_with(&before, &options)?;
    if !report.changed_nothing() || !report.is_closed_manifold() {
        asset.note(
            STAGE.id,
            json!({
                "faces_dropped": { "invalid": report.n_invalid, "flat": report.n_flat, "doubled": report.n_doubled },
                "faces_turned": report.n_turned,
                "vertices_welded": report.n_welded,
                "vertices_stitched": report.n_stitched,
                "vertices_split": report.n_split,
                "specks_dropped": report.n_specks,
                "holes_filled": report.n_holes_filled,
                "holes_left": report.n_open_loops,
                "open_edges_left": report.n_open_edges,
                "non_manifold_left": report.n_non_manifold_edges + report.n_non_manifold_vertices,
            }),
        );
    }
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
