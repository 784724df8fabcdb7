//! Lay the surface out on a texture.
//!
//! In: the mesh. Out: the mesh with texture coordinates. A usable layout that it
//! came with stays; solids that are two height fields get one chart a side, on
//! which the picture lies as it is; everything else gets an atlas.

use serde_json::json;

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    mesh::{
        Mesh,
        unwrap::{
            MAX_HIDDEN, NotTwoHeightFields, PlanarOptions,
            atlas::{AtlasOptions, atlas_unless},
            planar,
        },
        uv::{self, layout},
    },
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage},
    stages::quality,
};

pub const STAGE: Stage = Stage {
    id: "unwrap",
    version: 3,
    doc: "Lay the surface out on a texture.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::Notes, Slot::Field],
    writes: &[Slot::Mesh],
    may_write: &[Slot::Notes],
    engines: &[
        Engine {
            id: "fitting",
            doc: "What fits the shape: planar for solids with one front and one back, else atlas.",
            net: None,
            params: &[SPREAD],
        },
        Engine {
            id: "planar",
            doc: "Front and back as two charts, seen along the view axis.",
            net: None,
            params: &[SPREAD],
        },
        Engine { id: "atlas", doc: "Few large charts at one texel density, for any surface.", net: None, params: &[] },
    ],
    params: &[
        Param {
            id: "padding",
            doc: "Free texels between charts and around them.",
            unit: "px",
            kind: ParamKind::Float { default: 8.0, min: 0.0, max: 64.0 },
        },
        quality::texture_param("Width and height of the texture that padding is counted in; 0 as for `bake.size`."),
        Param {
            id: "keep",
            doc: "Keep the layout that the mesh came with if it lies inside the texture, overlaps nowhere and is even.",
            unit: "",
            kind: ParamKind::Flag { default: true },
        },
    ],
    run,
};

const SPREAD: Param = Param {
    id: "spread",
    doc: "How evenly texels lie on the surface of planar charts: 0 maps the picture one to one and stretches it \
          over the rim, 1 gives the steep rim its full share.",
    unit: "",
    kind: ParamKind::Float { default: 0.5, min: 0.0, max: 1.0 },
};

/// Largest deviation of texel density in a layout that is kept, see `Layout`.
/// Artists give faces twice the texels of a back, not five times.
const MAX_KEPT_DEVIATION: f64 = 0.5;

/// Largest share of the triangles that may lie mirrored or flat in a kept layout:
/// rounding in files turns some needles over.
const MAX_KEPT_BAD: f64 = 0.001;

/// Largest share of covered texels that two triangles may share in a kept layout:
/// rounded corners of neighbours.
const MAX_KEPT_OVERLAP: f64 = 0.0005;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let mesh = asset.mesh()?;
    let size = quality::texture_size(cx, asset)?;
    cx.step(0, 1)?;
    if cx.flag("keep") && is_usable(&mesh, size) {
        asset.note(STAGE.id, json!({ "kept": true }));
        return cx.step(1, 1);
    }
    let unwrapped = match cx.engine {
        "planar" => on_two_sides(cx, &mesh, size).map_err(refusal)?,
        "atlas" => on_atlas(cx, &mesh, size)?,
        // Without a front view nobody will project a picture along it.
        _ if mesh.front.is_none() => on_atlas(cx, &mesh, size)?,
        _ => match on_two_sides(cx, &mesh, size) {
            Ok(unwrapped) => unwrapped,
            Err(NotTwoHeightFields { .. }) => on_atlas(cx, &mesh, size)?,
        },
    };
    asset.set_mesh(unwrapped);
    cx.step(1, 1)
}

fn on_two_sides(cx: &StageCx, mesh: &Mesh, size: u32) -> Result<Mesh, NotTwoHeightFields> {
    let options = PlanarOptions { padding: cx.float("padding") / f64::from(size), spread: cx.float("spread") };
    planar(mesh, &options)
}

fn on_atlas(cx: &StageCx, mesh: &Mesh, size: u32) -> Result<Mesh, StageError> {
    let options = AtlasOptions { size, padding: cx.float("padding").ceil() as u32 };
    let (unwrapped, stats) = atlas_unless(mesh, &options, &|| cx.cancel.is_cancelled())?;
    tracing::debug!(?stats, "atlas");
    Ok(unwrapped)
}

fn refusal(NotTwoHeightFields { hidden }: NotTwoHeightFields) -> StageError {
    StageError::new(
        StageErrorKind::Unsupported,
        format!(
            "{:.1} % of the surface hides behind its own side, the planar layout allows {:.1} %",
            hidden * 100.0,
            MAX_HIDDEN * 100.0
        ),
        "set unwrap.engine to fitting or atlas",
    )
}

/// Whether the mesh has a layout that textures can be baked onto. How far apart
/// its charts lie is not looked at.
fn is_usable(mesh: &Mesh, size: u32) -> bool {
    if mesh.triangles.is_empty() || mesh.uvs.len() != mesh.positions.len() {
        return false;
    }
    let used = uv::measure(&mesh.uvs, &mesh.triangles, size);
    if used.n_outside > 0 || used.overlap > MAX_KEPT_OVERLAP {
        return false;
    }
    let layout = layout::measure(mesh);
    let n_bad = layout.n_flipped + layout.n_flat;
    n_bad as f64 <= MAX_KEPT_BAD * mesh.triangles.len() as f64 && layout.density_deviation <= MAX_KEPT_DEVIATION
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cx::CancelToken,
        mesh::{
            FrontView, shapes,
            test_shapes::{lens, ring},
            uv::measure,
        },
        stage::Settings,
    };

    fn unwrap_with(engine: &str, keep: bool, mesh: Mesh, cancel: CancelToken) -> Result<Asset, StageError> {
        let settings = Settings::from([
            ("padding".to_owned(), json!(8.0)),
            ("size".to_owned(), json!(1024)),
            ("spread".to_owned(), json!(0.5)),
            ("keep".to_owned(), json!(keep)),
        ]);
        let cx = StageCx { engine, settings: &settings, cancel, progress: &|_| {}, nets: &crate::nets::NoNets };
        let mut asset = Asset::default();
        asset.set_mesh(mesh);
        run(&cx, &mut asset).map(|()| asset)
    }

    fn unwrap(engine: &str, mesh: Mesh) -> Result<Mesh, StageError> {
        unwrap_with(engine, true, mesh, CancelToken::default()).map(|asset| Mesh::clone(&asset.mesh().unwrap()))
    }

    fn seen_from_front(mesh: Mesh) -> Mesh {
        let front = FrontView { metres_per_pixel: 0.01, origin: glam::Vec2::splat(50.0) };
        Mesh { front: Some(front), ..mesh }
    }

    /// Two pillows, one behind the other.
    fn two_layers() -> Mesh {
        let mut mesh = lens([0.4, 0.5].into(), 0.2, 8);
        let n = mesh.positions.len() as u32;
        mesh.positions.extend(mesh.positions.clone().iter().map(|p| *p - glam::Vec3::Z));
        mesh.normals.extend(mesh.normals.clone());
        mesh.triangles.extend(mesh.triangles.clone().iter().map(|t| t.map(|v| v + n)));
        mesh
    }

    #[test]
    fn equal_meshes_get_equal_layouts() {
        for engine in ["fitting", "planar", "atlas"] {
            let [a, b] = [(); 2].map(|()| unwrap(engine, lens([0.4, 0.5].into(), 0.2, 12)).unwrap());
            assert!(a.to_bytes().unwrap() == b.to_bytes().unwrap());
            assert_eq!(measure(&a.uvs, &a.triangles, 1024).overlap, 0.0);
        }
    }

    #[test]
    fn planar_refuses_with_figures_what_is_no_pillow() {
        let error = unwrap("planar", two_layers()).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::Unsupported);
        assert!(error.message.contains("% of the surface"), "{error}");
    }

    #[test]
    fn fitting_is_planar_for_pillows_with_a_front_and_an_atlas_for_the_rest() {
        let pillow = seen_from_front(ring(0.35, 0.1, 6));
        assert_eq!(unwrap("fitting", pillow.clone()).unwrap(), unwrap("planar", pillow).unwrap());
        let layers = seen_from_front(two_layers());
        assert_eq!(unwrap("fitting", layers.clone()).unwrap(), unwrap("atlas", layers).unwrap());
        let frontless = lens([0.4, 0.5].into(), 0.2, 8);
        assert_eq!(unwrap("fitting", frontless.clone()).unwrap(), unwrap("atlas", frontless).unwrap());
    }

    #[test]
    fn a_usable_layout_is_kept_unless_asked_otherwise() {
        let cube = shapes::cube();
        assert_eq!(unwrap("fitting", cube.clone()).unwrap(), cube);
        let anew = unwrap_with("fitting", false, cube.clone(), CancelToken::default()).unwrap().mesh().unwrap();
        assert_ne!(anew.uvs, cube.uvs);

        let changed = |change: fn(&mut Mesh)| {
            let mut mesh = shapes::cube();
            change(&mut mesh);
            unwrap("fitting", mesh.clone()).unwrap().uvs != mesh.uvs
        };
        assert!(changed(|mesh| mesh.uvs[0].x = -0.5), "outside");
        assert!(changed(|mesh| (0..4).for_each(|v| mesh.uvs[v] = mesh.uvs[v + 4])), "overlap");
        assert!(changed(|mesh| mesh.uvs.iter_mut().for_each(|uv| uv.x = 1.0 - uv.x)), "mirrored");
        assert!(changed(|mesh| (4..24).for_each(|v| mesh.uvs[v] = mesh.uvs[v] * 0.05 + 0.9)), "uneven");
    }

    #[test]
    fn a_cancelled_job_stops() {
        let cancel = CancelToken::default();
        cancel.cancel();
        assert_eq!(unwrap_with("fitting", true, Mesh::default(), cancel).unwrap_err().kind, StageErrorKind::Cancelled);
    }
}
