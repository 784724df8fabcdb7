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
    may_read: &[],
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cx::CancelToken,
        mesh::{Mesh, test_shapes::lens, uv::measure},
        stage::Settings,
    };

    fn unwrap(mesh: Mesh, cancel: CancelToken) -> Result<Asset, StageError> {
        let settings = Settings::from([
            ("padding".to_owned(), json!(8.0)),
            ("size".to_owned(), json!(1024)),
            ("spread".to_owned(), json!(0.5)),
        ]);
        let cx = StageCx { engine: "planar", settings: &settings, cancel, progress: &|_| {} };
        let mut asset = Asset::default();
        asset.set_mesh(mesh);
        run(&cx, &mut asset).map(|()| asset)
    }

    #[test]
    fn equal_meshes_get_equal_layouts() {
        let [a, b] = [(); 2].map(|()| {
            let asset = unwrap(lens([0.4, 0.5].into(), 0.2, 20), CancelToken::default()).unwrap();
            asset.mesh().unwrap().to_bytes().unwrap()
        });
        assert!(a == b);
        let mesh = Mesh::from_bytes(&a).unwrap();
        assert_eq!(measure(&mesh.uvs, &mesh.triangles, 1024).overlap, 0.0);
    }

    #[test]
    fn what_is_no_pillow_is_refused_with_figures() {
        let mut mesh = lens([0.4, 0.5].into(), 0.2, 8);
        let n = mesh.positions.len() as u32;
        mesh.positions.extend(mesh.positions.clone().iter().map(|p| *p - glam::Vec3::Z));
        mesh.normals.extend(mesh.normals.clone());
        mesh.triangles.extend(mesh.triangles.clone().iter().map(|t| t.map(|v| v + n)));
        let error = unwrap(mesh, CancelToken::default()).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::Unsupported);
        assert!(error.message.contains("% of the surface"), "{error}");
    }

    #[test]
    fn a_cancelled_job_stops() {
        let cancel = CancelToken::default();
        cancel.cancel();
        assert_eq!(unwrap(Mesh::default(), cancel).unwrap_err().kind, StageErrorKind::Cancelled);
    }
}
