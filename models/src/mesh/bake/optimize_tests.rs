//! The whole recipe `optimize`: the textures of what goes in, as seen on what comes out.

use std::sync::Arc;

use glam::{Vec2, Vec3};
use serde_json::json;

use super::tests::{VIEWS, checker, globe, psnr};
use crate::{
    cx::CancelToken,
    export::{self, Options, content::Scene, preset, provenance::provenance},
    mesh::{Maps, Mesh},
    recipe::Recipe,
    run::run_plan,
    slot::{Asset, Slot, Value, sha256_hex},
};

/// The mesh with its middle at the origin.
fn centred(mesh: &Mesh) -> Mesh {
    let (low, high) =
        mesh.positions.iter().fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(l, h), p| (l.min(*p), h.max(*p)));
    let middle = (low + high) / 2.0;
    Mesh { positions: mesh.positions.iter().map(|p| *p - middle).collect(), ..mesh.clone() }
}

fn optimized(source: Vec<u8>, triangles: i64) -> export::content::Content {
    let mut recipe = Recipe::built_in("optimize").unwrap();
    recipe.set("simplify", "triangles", &json!(triangles)).unwrap();
    let plan = recipe.plan(&|_| false).unwrap();
    let record = provenance("test", "globe", &sha256_hex(&source), &plan);
    let mut asset = Asset::default();
    asset.set(Slot::Source, Value::Bytes(source.into()));
    asset.set(Slot::Provenance, Value::Json(Arc::new(record)));
    run_plan(&plan, &mut asset, &CancelToken::default(), &|_, _| {}).unwrap();
    export::read(&asset.bytes(Slot::Asset).unwrap()).unwrap()
}

#[test]
fn a_checker_looks_the_same_after_optimize() {
    // 36,480 triangles down to 10,000. Old texture coordinates are sheared and mirrored.
    let ball = globe(96);
    let uvs =
        ball.uvs.iter().map(|uv| Vec2::new(0.05 + 0.6 * uv.y + 0.3 * uv.x, 0.05 + 0.6 * uv.x + 0.3 * uv.y)).collect();
    let ball = Mesh { uvs, ..ball };
    let texture = checker(1024, 64);
    let maps = Maps { base_color: texture.clone(), roughness: 1.0, ..Maps::default() };
    let record = json!({});
    let scene = Scene::of(&ball, &maps, "globe", &record);
    let source = export::write(&scene, &Options::of(preset::generic())).unwrap();

    let made = optimized(source, 10_000);
    assert!((9_900..=10_000).contains(&made.mesh.triangles.len()), "{} triangles", made.mesh.triangles.len());
    let psnr = psnr((&centred(&made.mesh), &made.maps.base_color), (&centred(&ball), &texture), &VIEWS[..2]);
    assert!(psnr >= 35.0, "{psnr} dB");
}
