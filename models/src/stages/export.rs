//! Write the finished file: in mesh, maps, provenance and, where there are any,
//! levels of detail and a collider; out the file, in the format of the target.
//!
//! Whatever the stages before did, the asset stands on y = 0, is centred in x and
//! z, and holds no vertex that no triangle uses. Levels of detail and collider
//! move along.

use glam::{Vec2, Vec3};

use crate::{
    cx::StageCx,
    error::StageError,
    export::{
        self, Options,
        content::Scene,
        format::{Format, TextureFormat},
        preset,
    },
    mesh::Mesh,
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Settings, Stage},
};

pub const STAGE: Stage = Stage {
    id: "export",
    version: 3,
    doc: "Write the finished file.",
    reads: &[Slot::Mesh, Slot::Maps, Slot::Provenance],
    may_read: &[Slot::Lods, Slot::Collider],
    writes: &[Slot::Asset],
    may_write: &[],
    // Finished files record this id, so it outlives the days when GLB was all there was.
    engines: &[Engine { id: "glb", doc: "Writers of GLB, OBJ, PLY and STL.", net: None, params: &[] }],
    params: &[
        Param {
            id: "target",
            doc: "Which engine the file is for: chooses format, names, limits and what goes in.",
            unit: "",
            kind: ParamKind::Choice {
                default: "generic",
                options: &["generic", "unreal", "unity", "godot", "web", "fallout4"],
            },
        },
        Param {
            id: "format",
            doc: "Format of the file; auto is what the target wants. OBJ comes as a ZIP with its textures.",
            unit: "",
            kind: ParamKind::Choice { default: AUTO, options: &[AUTO, "glb", "obj", "ply", "stl"] },
        },
        Param {
            id: "texture",
            doc: "Format of the textures; auto is what the target wants. DDS lie beside the mesh, in a ZIP.",
            unit: "",
            kind: ParamKind::Choice { default: AUTO, options: &[AUTO, "png", "jpeg", "webp", "ktx2", "dds"] },
        },
        Param {
            id: "compress",
            doc: "Quantise and compress meshes in a GLB (EXT_meshopt_compression); auto is what the target wants.",
            unit: "",
            kind: ParamKind::Choice { default: AUTO, options: &[AUTO, "on", "off"] },
        },
        Param {
            id: "extra-maps",
            doc: "Puts a GLB into a ZIP with those maps that bake made and glTF has no place for, as PNG.",
            unit: "",
            kind: ParamKind::Flag { default: false },
        },
    ],
    run,
};

const AUTO: &str = "auto";

/// What `settings` of this stage mean; settings that are not there mean the default.
/// `Options::extension` then names the extension of the file.
pub fn options(settings: &Settings) -> Options {
    let choice = |id: &str| settings.get(id).and_then(|value| value.as_str()).unwrap_or(AUTO);
    let mut options = Options::of(preset::find(choice("target")).unwrap_or(preset::generic()));
    if let Some(format) = Format::find(choice("format")) {
        options.format = format;
    }
    if let Some(texture) = TextureFormat::find(choice("texture")) {
        options.texture = texture;
    }
    match choice("compress") {
        "on" => options.compress = true,
        "off" => options.compress = false,
        _ => {}
    }
    options.extra_maps = settings.get("extra-maps").and_then(|value| value.as_bool()).unwrap_or(false);
    options
}

/// Work steps: order, write.
const N_STEPS: u32 = 2;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let (mesh, maps) = (asset.mesh()?, asset.maps()?);
    let provenance = asset.json(Slot::Provenance)?;
    if mesh.triangles.is_empty() {
        return Err(StageError::invalid("the mesh has no triangles", "give a picture with a larger object"));
    }
    let name = provenance["name"].as_str().ok_or_else(|| StageError::internal("provenance has no name"))?;
    let foot = foot(&mesh);
    let placed = |mesh: &Mesh| moved(ordered(mesh), foot);
    let others = |slot: Slot| asset.meshes(slot).iter().flat_map(|list| list.iter()).map(placed).collect::<Vec<_>>();
    let (lods, collider) = (others(Slot::Lods), others(Slot::Collider));
    let mesh = placed(&mesh);
    cx.step(1, N_STEPS)?;
    let scene = Scene { mesh: &mesh, maps: &maps, lods: &lods, collider: &collider, name, meshkiln: &provenance };
    let bytes = export::write(&scene, &options(cx.settings))?;
    asset.set(Slot::Asset, Value::Bytes(bytes.into()));
    cx.step(N_STEPS, N_STEPS)
}

/// The same surface: triangles in the order that suits a vertex cache, vertices
/// in the order of their first use, unused ones left out.
/// Source: meshoptimizer, `meshopt_optimizeVertexCache`.
fn ordered(mesh: &Mesh) -> Mesh {
    let n = mesh.positions.len();
    let mut indices = meshopt::optimize_vertex_cache(mesh.triangles.as_flattened(), n);
    let mut new_index = vec![u32::MAX; n];
    let mut old_index = Vec::with_capacity(n);
    for index in &mut indices {
        let old = *index as usize;
        if new_index[old] == u32::MAX {
            new_index[old] = old_index.len() as u32;
            old_index.push(old);
        }
        *index = new_index[old];
    }
    let pick3 = |of: &[Vec3]| old_index.iter().filter_map(|&old| of.get(old).copied()).collect();
    Mesh {
        positions: pick3(&mesh.positions),
        normals: pick3(&mesh.normals),
        uvs: old_index.iter().filter_map(|&old| mesh.uvs.get(old).copied()).collect(),
        colors: pick3(&mesh.colors),
        triangles: indices.as_chunks::<3>().0.to_vec(),
        front: mesh.front,
    }
}

/// The point under the middle of the asset, on the height of its lowest vertex.
fn foot(mesh: &Mesh) -> Vec3 {
    // Vertices that no triangle uses are left out of the file.
    let used = mesh.triangles.iter().flatten().map(|&v| mesh.positions[v as usize]);
    let (low, high) = used.fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(low, high), p| (low.min(p), high.max(p)));
    if low.x > high.x {
        return Vec3::ZERO;
    }
    Vec3::new((low.x + high.x) / 2.0, low.y, (low.z + high.z) / 2.0)
}

/// Brings `foot` to the origin; the front view follows, so that pixels stay where
/// they are.
fn moved(mut mesh: Mesh, foot: Vec3) -> Mesh {
    for position in &mut mesh.positions {
        *position -= foot;
    }
    if let Some(front) = &mut mesh.front {
        front.origin += Vec2::new(foot.x, -foot.y) / front.metres_per_pixel;
    }
    mesh
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;
    use serde_json::json;

    use super::*;
    use crate::{
        error::StageErrorKind,
        export::{content::Content, ownership},
        mesh::{FrontView, Maps, shapes, topology::topology},
        stages::testing,
    };

    fn asset(mesh: Mesh) -> Asset {
        let mut asset = Asset::default();
        asset.set_mesh(mesh);
        let maps = Maps {
            base_color: RgbaImage::from_pixel(4, 4, image::Rgba([9, 8, 7, 255])),
            roughness: 1.0,
            metallic: 0.0,
            ..Maps::default()
        };
        asset.set(Slot::Maps, Value::Maps(maps.into()));
        asset.set(Slot::Provenance, Value::Json(json!({ "name": "lantern" }).into()));
        asset
    }

    fn exported(mesh: Mesh) -> Content {
        let mut asset = asset(mesh);
        testing::run(&STAGE, &[], &mut asset).unwrap();
        let bytes = asset.bytes(Slot::Asset).unwrap();
        assert!(ownership::is_ours(&bytes));
        export::read(&bytes).unwrap()
    }

    #[test]
    fn levels_and_collider_move_with_the_asset() {
        let away = |mut mesh: Mesh| {
            mesh.positions.iter_mut().for_each(|p| *p += Vec3::new(4.0, 7.0, -2.0));
            mesh
        };
        let mut asset = asset(away(shapes::sphere(12)));
        let lods = [away(shapes::sphere(6))];
        let hull = away(Mesh { normals: Vec::new(), uvs: Vec::new(), ..shapes::cube() });
        asset.set(Slot::Lods, Value::Meshes(lods.into()));
        asset.set(Slot::Collider, Value::Meshes([hull].into()));
        testing::run(&STAGE, &[("target", json!("unreal"))], &mut asset).unwrap();
        let content = export::read(&asset.bytes(Slot::Asset).unwrap()).unwrap();
        let (low, high) = content.lods[0].bounds().unwrap();
        assert!((low - Vec3::new(-1.0, 0.0, -1.0)).length() < 1e-5 && (high.y - 2.0).abs() < 1e-5, "{low} {high}");
        let (low, high) = content.collider[0].bounds().unwrap();
        assert!((low - Vec3::new(-1.0, 0.0, -1.0)).length() < 1e-5 && (high.y - 2.0).abs() < 1e-5, "{low} {high}");
    }

    #[test]
    fn settings_choose_format_texture_and_extension() {
        let options = |set: &[(&str, &str)]| {
            let settings: Settings = set.iter().map(|(id, value)| ((*id).to_owned(), json!(value))).collect();
            super::options(&settings)
        };
        assert_eq!(options(&[]).extension(), ".glb");
        assert_eq!(options(&[("target", "fallout4")]).extension(), ".zip");
        assert_eq!(options(&[("target", "fallout4"), ("format", "glb"), ("texture", "png")]).extension(), ".glb");
        assert_eq!(options(&[("format", "stl")]).extension(), ".stl");
        assert_eq!(options(&[("texture", "dds")]).extension(), ".zip");
        assert!(options(&[("target", "web")]).compress);
        assert!(!options(&[("target", "web"), ("compress", "off")]).compress);
        let mut other = asset(shapes::cube());
        testing::run(&STAGE, &[("format", json!("ply"))], &mut other).unwrap();
        assert!(other.bytes(Slot::Asset).unwrap().starts_with(b"ply"));
    }

    #[test]
    fn the_parameter_offers_every_target() {
        let ParamKind::Choice { options, .. } = STAGE.params[0].kind else { panic!("target is a choice") };
        assert!(preset::PRESETS.iter().map(|preset| preset.id).eq(options.iter().copied()));
    }

    #[test]
    fn the_asset_stands_on_the_ground_and_its_pixels_stay() {
        let mut mesh = shapes::torus(16, 0.3);
        for p in &mut mesh.positions {
            *p = *p * 0.37 + Vec3::new(0.123, 4.567, -8.9);
        }
        mesh.front = Some(FrontView { metres_per_pixel: 0.004, origin: Vec2::new(100.0, 700.0) });
        let top = *mesh.positions.iter().max_by(|a, b| a.x.total_cmp(&b.x)).unwrap();
        let pixel = mesh.front.unwrap().to_pixel(top);

        let content = exported(mesh);
        let (low, high) = content.mesh.bounds().unwrap();
        assert_eq!(low.y, 0.0);
        assert!((low.x + high.x).abs() < 1e-6 && (low.z + high.z).abs() < 1e-6, "{low} {high}");
        let top = *content.mesh.positions.iter().max_by(|a, b| a.x.total_cmp(&b.x)).unwrap();
        let moved = content.mesh.front.unwrap().to_pixel(top);
        assert!((moved - pixel).length() < 1e-3, "{moved} {pixel}");
        assert_eq!(content.name, "lantern");
    }

    #[test]
    fn order_changes_but_neither_the_surface_nor_its_texture() {
        let mut mesh = shapes::sphere(12);
        let before = topology(&mesh.positions, &mesh.triangles);
        mesh.positions.insert(0, Vec3::splat(-99.0));
        mesh.normals.insert(0, Vec3::Y);
        mesh.uvs.insert(0, Vec2::ZERO);
        for triangle in &mut mesh.triangles {
            *triangle = triangle.map(|v| v + 1);
        }
        let corners = |mesh: &Mesh| {
            let mut corners: Vec<String> = mesh
                .triangles
                .iter()
                .map(|t| {
                    let mut corners = t.map(|v| format!("{:?} {:?}", mesh.uvs[v as usize], mesh.normals[v as usize]));
                    corners.sort();
                    corners.concat()
                })
                .collect();
            corners.sort();
            corners
        };
        let expected = corners(&mesh);
        let content = exported(mesh);
        assert_eq!(topology(&content.mesh.positions, &content.mesh.triangles), before);
        assert_eq!(corners(&content.mesh), expected);
        assert!((content.mesh.bounds().unwrap().1.y - 2.0).abs() < 1e-6, "the unused vertex is gone");
    }

    #[test]
    fn an_empty_mesh_is_refused() {
        let error = testing::run(&STAGE, &[], &mut asset(Mesh::default())).expect_err("empty");
        assert_eq!(error.kind, StageErrorKind::InvalidInput);
    }
}
