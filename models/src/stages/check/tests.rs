//! The gate on sound and unsound files, and the report it writes.

use expect_test::expect;
use glam::{Vec2, Vec3};
use image::{Rgba, RgbaImage};

use super::*;
use crate::{
    export::{glb, ownership},
    mesh::{FrontView, Maps, Mesh, shapes},
    stages::testing,
};

/// A ball of radius 1 seen as a disc of radius 100 in the middle of 256 pixels.
fn ball() -> Mesh {
    let front = FrontView { metres_per_pixel: 0.01, origin: Vec2::splat(128.0) };
    Mesh { front: Some(front), ..shapes::sphere(48) }
}

fn asset(mesh: &Mesh) -> Asset {
    let cutout = RgbaImage::from_fn(256, 256, |x, y| {
        let distance = Vec2::new(x as f32 - 127.5, y as f32 - 127.5).length();
        Rgba([90, 90, 90, ((100.5 - distance).clamp(0.0, 1.0) * 255.0) as u8])
    });
    let base_color = RgbaImage::from_pixel(32, 32, Rgba([9, 8, 7, 255]));
    let maps = Maps { base_color, roughness: 0.9, metallic: 0.0, ..Maps::default() };
    let mut asset = Asset::default();
    asset.set_image(Slot::Cutout, cutout);
    let glb = glb::write(mesh, &maps, "ball", &json!({ "name": "ball" })).unwrap();
    asset.set(Slot::Asset, Value::Bytes(glb.into()));
    asset
}

fn checked(mesh: &Mesh, set: &[(&str, Json)]) -> Result<Asset, StageError> {
    let mut asset = asset(mesh);
    testing::run(&STAGE, set, &mut asset)?;
    Ok(asset)
}

/// What the failed gate says, and what the report says with `on-fail = warn`.
fn refused(mesh: &Mesh, set: &[(&str, Json)]) -> (String, Json) {
    let error = checked(mesh, set).expect_err("the gate must fail");
    assert_eq!(error.kind, StageErrorKind::GateFailed);
    let warn = [set, &[("on-fail", json!("warn"))]].concat();
    let report = checked(mesh, &warn).unwrap().json(Slot::Report).unwrap();
    assert_eq!(report["passed"], json!(false));
    (format!("{error}\nhint: {}", error.hint), (*report).clone())
}

#[test]
fn a_sound_asset_passes_and_carries_its_report() {
    let asset = checked(&ball(), &[]).unwrap();
    let report = asset.json(Slot::Report).unwrap();
    let bytes = asset.bytes(Slot::Asset).unwrap();
    let iou = report["silhouette_iou"].as_f64().unwrap();
    assert!(iou > 0.99, "{iou}");
    assert_eq!(report["file_bytes"], json!(bytes.len()));
    assert_eq!(&glb::read(&bytes).unwrap().meshkiln["report"], &*report);
    assert!(ownership::is_ours(&bytes));

    for (key, value) in [
        ("passed", json!(true)),
        ("triangles", json!(9024)),
        ("vertices", json!(4753)),
        ("watertight", json!(true)),
        ("manifold", json!(true)),
        ("components", json!(1)),
        ("degenerate", json!(0)),
        ("border_edges", json!(0)),
        ("non_manifold_edges", json!(0)),
        ("non_manifold_vertices", json!(0)),
        ("euler", json!(2)),
        ("genus", json!(0)),
        ("uv_outside", json!(0)),
        ("uv_overlap", json!(0.0)),
        ("bounds_m", json!({ "min": [-1.0, -1.0, -1.0], "max": [1.0, 1.0, 1.0] })),
        ("textures", json!([{ "map": "base_color", "width": 32, "height": 32 }])),
        ("self_intersections", json!({ "pairs": 0, "triangles": 0, "complete": true })),
        ("holes", json!(0)),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    assert!(report["scores"]["overall"].as_f64().unwrap() > 80.0, "{}", report["scores"]);
    assert!(report.get("high").is_none(), "nothing to compare with");
    let gate = report["gate"].as_array().unwrap();
    let names: Vec<&str> = gate.iter().filter_map(|check| check["what"].as_str()).collect();
    assert_eq!(names, ["watertight", "manifold", "degenerate", "silhouette_iou", "uv_outside", "uv_overlap"]);
    assert!(gate.iter().all(|check| check["passed"] == json!(true) && check.get("hint").is_none()));
}

#[test]
fn equal_assets_give_equal_reports_and_checking_twice_changes_nothing() {
    let (mut first, second) = (checked(&ball(), &[]).unwrap(), checked(&ball(), &[]).unwrap());
    assert_eq!(first.bytes(Slot::Asset).unwrap(), second.bytes(Slot::Asset).unwrap());
    testing::run(&STAGE, &[], &mut first).unwrap();
    assert_eq!(first.bytes(Slot::Asset).unwrap(), second.bytes(Slot::Asset).unwrap());
}

#[test]
fn a_ring_has_a_handle() {
    let report = checked(&shapes::torus(24, 0.3), &[("on-fail", json!("warn"))]).unwrap().json(Slot::Report).unwrap();
    assert_eq!((&report["euler"], &report["genus"]), (&json!(0), &json!(1)));
}

#[test]
fn a_hole_is_named_with_its_edges() {
    let mut mesh = ball();
    mesh.triangles.truncate(mesh.triangles.len() - 1);
    let (said, report) = refused(&mesh, &[]);
    expect![[r#"
        the surface is not watertight: 3 edges without exactly two triangles, 0 allowed
        hint: set check.watertight=false to accept open surfaces"#]]
    .assert_eq(&said);
    assert_eq!((&report["border_edges"], &report["genus"]), (&json!(3), &Json::Null));
    assert!(checked(&mesh, &[("watertight", json!(false))]).is_ok());
}

#[test]
fn a_bad_fit_is_named_with_both_values() {
    let mut mesh = ball();
    mesh.front = Some(FrontView { metres_per_pixel: 0.02, origin: Vec2::splat(128.0) });
    let (said, report) = refused(&mesh, &[]);
    let iou = report["silhouette_iou"].as_f64().unwrap();
    assert!((iou - 0.25).abs() < 0.01, "{iou}");
    assert_eq!(
        said,
        format!(
            "silhouette IoU {iou} is under the limit of 0.97\nhint: raise simplify.triangles or set check.on-fail=warn"
        )
    );
    assert!(checked(&mesh, &[("min-iou", json!(0.2))]).is_ok());
}

#[test]
fn budgets_are_held_and_the_gravest_failure_comes_first() {
    let (said, _) = refused(&ball(), &[("max-triangles", json!(9023))]);
    assert!(said.starts_with("9024 triangles are over the limit of 9023\n"), "{said}");
    assert!(checked(&ball(), &[("max-triangles", json!(9024))]).is_ok());

    let (said, report) = refused(&ball(), &[("max-bytes", json!(1000)), ("max-triangles", json!(100))]);
    assert!(said.starts_with("9024 triangles are over the limit of 100; 1 more failed\n"), "{said}");
    let bytes = report["file_bytes"].as_i64().unwrap();
    let (said, _) = refused(&ball(), &[("max-bytes", json!(1000))]);
    assert!(said.contains("bytes are over the limit of 1000"), "{said} {bytes}");
}

#[test]
fn overlapping_and_straying_uvs_and_flat_triangles_fail() {
    let mut mesh = ball();
    for uv in &mut mesh.uvs {
        uv.x = (uv.x * 2.0).min(2.0 - uv.x * 2.0);
    }
    let (said, report) = refused(&mesh, &[]);
    assert!(said.starts_with("UV overlap "), "{said}");
    assert!(report["uv_overlap"].as_f64().unwrap() > 0.95, "{report}");

    let mut mesh = ball();
    mesh.uvs[7].x = 1.5;
    assert!(refused(&mesh, &[]).0.starts_with("1 texture coordinates outside 0..1 are over the limit of 0"));

    let mut mesh = ball();
    mesh.triangles.push([5, 5, 6]);
    assert!(refused(&mesh, &[]).0.starts_with("1 triangles without area are over the limit of 0"));
}

#[test]
fn without_a_cutout_nothing_is_demanded_of_the_silhouette() {
    let mut asset = Asset::default();
    asset.set(Slot::Asset, self::asset(&ball()).get(Slot::Asset).unwrap().clone());
    testing::run(&STAGE, &[], &mut asset).unwrap();
    let report = asset.json(Slot::Report).unwrap();
    assert!(report.get("silhouette_iou").is_none());
    assert!(report["gate"].as_array().unwrap().iter().all(|check| check["what"] != json!("silhouette_iou")));
}

#[test]
fn the_asset_is_held_against_its_high_mesh_wherever_export_moved_it() {
    let held = |high: Mesh, set: &[(&str, Json)]| {
        let mut asset = asset(&ball());
        let away = |mut mesh: Mesh| {
            mesh.positions.iter_mut().for_each(|p| *p += Vec3::new(5.0, 7.0, -3.0));
            mesh
        };
        asset.set_mesh(away(ball()));
        asset.set(Slot::High, Value::High(Arc::new(away(high).into())));
        testing::run(&STAGE, set, &mut asset).map(|()| asset.json(Slot::Report).unwrap()["high"].clone())
    };
    let same = held(shapes::sphere(48), &[]).unwrap();
    assert!(same["mean_distance"].as_f64().unwrap() < 1e-6 && same["volume_ratio"] == json!(1.0), "{same}");

    let mut larger = shapes::sphere(48);
    larger.positions.iter_mut().for_each(|p| *p *= 1.05);
    // 0.05 of a diagonal of 2.1 times root 3.
    let near = held(larger.clone(), &[]).unwrap();
    assert!((near["mean_distance"].as_f64().unwrap() - 0.05 / (2.1 * 3f64.sqrt())).abs() < 2e-4, "{near}");
    assert!((near["volume_ratio"].as_f64().unwrap() - 1.05f64.powi(-3)).abs() < 1e-4, "{near}");
    let error = held(larger.clone(), &[("max-volume-change", json!(0.01))]).expect_err("volume");
    assert!(error.message.starts_with("share by which the volume differs from that of the high mesh 0.136"), "{error}");
    let error = held(larger, &[("max-mean-distance", json!(0.01))]).expect_err("distance");
    assert!(error.message.contains("is over the limit of 0.01"), "{error}");
}

#[test]
fn scores_and_layout_are_demanded_where_set() {
    let report = checked(&ball(), &[("min-score", json!(50.0)), ("max-self-intersections", json!(0))]).unwrap();
    let gate = report.json(Slot::Report).unwrap()["gate"].clone();
    let names: Vec<&str> = gate.as_array().unwrap().iter().filter_map(|check| check["what"].as_str()).collect();
    assert!(names.ends_with(&["self_intersections", "score"]), "{names:?}");
    // Texels crowd at the poles of this ball.
    for (param, value, says) in [
        ("min-uvs", 99.0, "the score for UVs of "),
        ("max-stretch", 1.01, "mean UV stretch "),
        ("max-density-deviation", 0.1, "deviation of texels per metre "),
        ("min-topology", 99.999, "the score for topology of "),
    ] {
        let (said, _) = refused(&ball(), &[(param, json!(value))]);
        assert!(said.starts_with(says), "{param}: {said}");
    }
}

#[test]
fn a_damaged_file_is_an_error_not_a_report() {
    let mut asset = asset(&ball());
    let bytes = asset.bytes(Slot::Asset).unwrap();
    asset.set(Slot::Asset, Value::Bytes(bytes[..bytes.len() / 2].into()));
    let error = testing::run(&STAGE, &[("on-fail", json!("warn"))], &mut asset).expect_err("damaged");
    assert_eq!(error.kind, StageErrorKind::Truncated);
}
