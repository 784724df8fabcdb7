//! Whole recipes: pictures and height maps to finished files that pass the gate.

use std::{fs, io::Cursor, path::Path};

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgba, RgbaImage};
use serde_json::{Value as Json, json};

use super::*;
use crate::{cx::CancelToken, recipe::Recipe, run::run_plan};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/images");

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The finished asset and its report; the gate of the recipe has passed.
fn made(recipe: &str, source: Vec<u8>, set: &[(&str, &str, Json)]) -> Result<(Asset, Json), StageError> {
    let mut recipe = Recipe::built_in(recipe).unwrap();
    for (stage, param, value) in set {
        recipe.set(stage, param, value).unwrap();
    }
    let plan = recipe.plan(&|_| false).unwrap();
    let mut asset = Asset::default();
    asset.set(Slot::Source, Value::Bytes(source.into()));
    asset.set(Slot::Provenance, Value::Json(json!({ "name": "relief", "plan": plan.to_json() }).into()));
    run_plan(&plan, &mut asset, &CancelToken::default(), &|_, _| {}).map_err(|error| error.source)?;
    let report = Json::clone(&*asset.json(Slot::Report)?);
    Ok((asset, report))
}

fn quick(more: &[(&'static str, &'static str, Json)]) -> Vec<(&'static str, &'static str, Json)> {
    let mut set = vec![
        ("relief", "subdivisions", json!(96)),
        ("simplify", "triangles", json!(4000)),
        ("bake", "size", json!(256)),
        ("preview", "size", json!(128)),
    ];
    set.extend_from_slice(more);
    set
}

/// Hills, 16 bits deep.
fn hills() -> Vec<u8> {
    png(ImageBuffer::<Luma<u16>, _>::from_fn(240, 160, |x, y| {
        let (x, y) = (x as f32 / 40.0, y as f32 / 40.0);
        Luma([((x.sin() * y.cos() + 1.0) * 30_000.0) as u16])
    }))
}

#[test]
fn a_height_map_becomes_terrain_a_block_and_a_relief_that_pass_the_gate() {
    for (recipe, form, is_closed) in
        [("terrain", "terrain", false), ("relief", "block", true), ("relief", "relief", true)]
    {
        let (asset, report) = made(recipe, hills(), &quick(&[("relief", "form", json!(form))])).unwrap();
        assert_eq!(report["passed"], true, "{report}");
        assert_eq!(report["watertight"], is_closed, "{recipe} {form}: {}", report["watertight"]);
        let mesh = asset.mesh().unwrap();
        assert!((3000..=4000).contains(&mesh.triangles.len()), "{}", mesh.triangles.len());
        let maps = asset.maps().unwrap();
        assert!(maps.normal.is_some() && maps.orm.is_some());
    }
}

#[test]
fn a_coin_has_the_outline_of_its_picture() {
    let coin = RgbaImage::from_fn(256, 256, |x, y| {
        let (dx, dy) = (x as f32 - 127.5, y as f32 - 127.5);
        let radius = dx.hypot(dy);
        let grey = if radius > 95.0 { 220 } else { 120 + (60.0 * (dx / 9.0).sin() * (dy / 9.0).sin()) as u8 };
        Rgba([grey, grey, (f32::from(grey) * 0.6) as u8, if radius < 110.0 { 255 } else { 0 }])
    });
    let (asset, report) = made("coin", png(coin), &quick(&[])).unwrap();
    assert!(report["passed"] == true && report["silhouette_iou"].as_f64().unwrap() > 0.98, "{report}");
    let (low, high) = asset.mesh().unwrap().bounds().unwrap();
    assert!((high.y - 0.03).abs() < 1e-4 && low.y.abs() < 1e-6 && (high.x - low.x - 0.03).abs() < 1e-3);
    // The texture shows the picture's colours.
    let colors = &asset.maps().unwrap().base_color;
    let yellowish = colors.pixels().filter(|p| p.0[2] < p.0[0]).count();
    assert!(yellowish * 2 > (colors.width() * colors.height()) as usize);
}

#[test]
fn an_outline_needs_a_cutout() {
    let error = made("relief", hills(), &quick(&[("relief", "outline", json!("cutout"))])).map(|_| ()).unwrap_err();
    assert!(error.message.contains("no cutout") && error.hint.contains("relief.outline=picture"), "{error}");
}

#[test]
fn photographs_become_reliefs_that_pass_the_gate() {
    let mut n = 0;
    for name in ["hopper.jpg", "flower2.webp", "icc_profile_big.jpg"] {
        let Ok(source) = fs::read(Path::new(DATA).join("odd").join(name)) else { continue };
        for border in ["plain", "frame", "taper"] {
            let (_, report) = made("relief", source.clone(), &quick(&[("relief", "border", json!(border))])).unwrap();
            assert!(report["passed"] == true && report["watertight"] == true, "{name} {border}: {report}");
        }
        n += 1;
    }
    if n == 0 {
        eprintln!("skipped: ../shared/data is absent");
    }
}
