//! Finished files from solids with known answers, also left in `target/tmp/shapes`
//! for `tests/validate/run target/tmp/shapes`.

use std::path::PathBuf;

use glam::{Vec2, Vec3};
use image::{Rgba, RgbaImage};
use meshkiln_models::{
    cx::CancelToken,
    export::{glb, ownership},
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
