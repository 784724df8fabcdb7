//! Finished files from solids with known answers, also left in `target/tmp/shapes`
//! and, one for each target, format and compression, in `target/tmp/variants`, for
//! `tests/validate/run`.

use std::path::PathBuf;

use glam::{Vec2, Vec3};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use meshkiln_models::{
    cx::CancelToken,
    export::{
        self, Options, archive,
        content::Scene,
        format::{Format, TextureFormat},
        glb, ownership,
        preset::PRESETS,
    },
    mesh::{FrontView, Maps, Mesh, shapes},
    recipe::Recipe,
    run::run_plan,
    slot::{Asset, Slot, Value},
};
use serde_json::json;

/// Exports and checks `mesh` as a recipe does, against its own outline.
fn finished(mesh: Mesh, name: &str, texture: u32) -> Vec<u8> {
    let mut plan = Recipe::built_in("prop").expect("recipe").plan(&|_| false).expect("plan");
    plan.steps.retain(|step| matches!(step.stage, "export" | "check"));

    let (low, high) = mesh.bounds().expect("vertices");
    let metres_per_pixel = (high - low).max_element() / 400.0;
    let origin =
        Vec2::new(256.0 - (low.x + high.x) / 2.0 / metres_per_pixel, 256.0 + (low.y + high.y) / 2.0 / metres_per_pixel);
    let front = FrontView { metres_per_pixel, origin };
    let outline = meshkiln_models::mesh::raster::silhouette(&mesh, &front, 512, 512);
    let cutout = RgbaImage::from_fn(512, 512, |x, y| Rgba([90, 90, 90, outline[(y * 512 + x) as usize]]));
    let base_color = RgbaImage::from_fn(texture, texture, |x, y| Rgba([(x * 3) as u8, (y * 7) as u8, 60, 255]));

    let mut asset = Asset::default();
    asset.set_image(Slot::Cutout, cutout);
    asset.set_mesh(Mesh { front: Some(front), ..mesh });
    asset.set(Slot::Maps, Value::Maps(Maps { base_color, roughness: 0.7, metallic: 0.1, ..Maps::default() }.into()));
    asset.set(Slot::Provenance, Value::Json(json!({ "name": name, "plan": plan.to_json() }).into()));
    run_plan(&plan, &mut asset, &CancelToken::default(), &|_, _| {}).unwrap_or_else(|e| panic!("{name}: {e}"));
    asset.bytes(Slot::Asset).expect("asset").to_vec()
}

#[test]
fn solids_of_all_sizes_and_names_pass_the_gate() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shapes");
    std::fs::create_dir_all(&folder).unwrap();
    let moved = |mut mesh: Mesh, scale: f32, by: Vec3| {
        for p in &mut mesh.positions {
            *p = *p * scale + by;
        }
        mesh
    };
    let long = "ü".repeat(127) + "x";
    let cases = [
        ("cube", moved(shapes::cube(), 0.5, Vec3::new(3.1, -2.7, 0.9)), 64),
        ("Ä 灯籠 🏮", moved(shapes::sphere(24), 0.013, Vec3::ONE), 64),
        ("a\"b\\c/d</script>", moved(shapes::torus(40, 0.35), 40.0, Vec3::new(0.0, 1000.0, 0.0)), 256),
        ("\u{0}\u{1}\n\t\u{7f}\u{2028}", shapes::sphere(5), 2),
        (long.as_str(), shapes::torus(190, 0.2), 512),
    ];
    for (i, (name, mesh, texture)) in cases.into_iter().enumerate() {
        let bytes = finished(mesh, name, texture);
        assert!(ownership::is_ours(&bytes), "{name:?}");
        let content = glb::read(&bytes).unwrap();
        assert_eq!(content.name, name);
        assert_eq!(content.meshkiln["report"]["passed"], json!(true));
        std::fs::write(folder.join(format!("{i}.glb")), bytes).unwrap();
    }
}

/// A ring with all maps, coarser rings and a box to collide with, standing on the ground.
#[test]
fn every_target_format_and_compression_is_written_for_independent_readers() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("variants");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let standing = |mut mesh: Mesh, up: f32| {
        mesh.positions.iter_mut().for_each(|p| p.y += up);
        mesh
    };
    let rings = [40, 20, 10].map(|n| standing(shapes::torus(n, 0.3), 0.3));
    let boxes = [Mesh { normals: Vec::new(), uvs: Vec::new(), ..standing(shapes::cube(), 1.0) }];
    let wave = |v: u32, n: f32| ((v as f32 / n).sin() * 60.0 + 128.0) as u8;
    let maps = Maps {
        base_color: RgbaImage::from_fn(128, 128, |x, y| Rgba([wave(x, 9.0), wave(y, 7.0), wave(x + y, 15.0), 255])),
        normal: Some(RgbImage::from_fn(128, 128, |x, y| {
            let n = Vec3::new((x as f32 / 9.0).sin() * 0.4, (y as f32 / 7.0).cos() * 0.4, 1.0).normalize();
            Rgb(n.to_array().map(|v| (v * 127.5 + 127.5).round() as u8))
        })),
        orm: Some(RgbImage::from_fn(128, 128, |x, y| Rgb([255 - wave(y, 20.0) / 4, wave(x, 12.0), wave(y, 30.0)]))),
        emissive: Some(RgbImage::from_fn(128, 128, |x, _| Rgb([if x < 16 { 200 } else { 0 }, 0, 0]))),
        roughness: 1.0,
        metallic: 1.0,
        ..Maps::default()
    };
    let record = json!({ "name": "ring" });
    let scene =
        Scene { mesh: &rings[0], maps: &maps, lods: &rings[1..], collider: &boxes, name: "ring", meshkiln: &record };
    for preset in PRESETS {
        for format in Format::ALL {
            for texture in TextureFormat::ALL {
                // The formats without textures need no files for each texture format.
                let first = *texture == TextureFormat::Png;
                if !format.holds_textures() && !first || preset.id != "generic" && *texture != preset.texture {
                    continue;
                }
                for compress in [false, true] {
                    let options = Options { preset, format: *format, texture: *texture, compress, extra_maps: false };
                    if compress && options.extension() != ".glb" {
                        continue;
                    }
                    let bytes = export::write(&scene, &options).unwrap();
                    let packed = if compress { "-compressed" } else { "" };
                    let case = format!("{}-{}-{}{packed}", preset.id, format.id(), texture.id());
                    assert!(ownership::is_ours(&bytes), "{case}");
                    assert_eq!(export::read(&bytes).unwrap().mesh.triangles.len(), rings[0].triangles.len(), "{case}");
                    if options.extension() == ".zip" {
                        std::fs::create_dir_all(folder.join(&case)).unwrap();
                        for part in archive::read(&bytes).unwrap() {
                            std::fs::write(folder.join(&case).join(part.name), part.bytes).unwrap();
                        }
                    }
                    std::fs::write(folder.join(format!("{case}{}", options.extension())), bytes).unwrap();
                }
            }
        }
    }
}
