//! Levels of detail, colliders, all maps, and every way to compress them.

use glam::Vec3;
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value as Json, json};

use super::{Style, read, split, with_report, write_scene};
use crate::{
    StageErrorKind,
    export::{
        content::{Content, Scene},
        format::TextureFormat,
        ownership::is_ours,
        preset,
    },
    mesh::{Maps, Mesh, shapes},
};

/// A ring with all maps, two coarser rings and two boxes to collide with.
fn content() -> Content {
    let wave = |v: u32| ((v as f32 / 5.0).sin() * 50.0 + 120.0) as u8;
    let maps = Maps {
        base_color: RgbaImage::from_fn(32, 32, |x, y| Rgba([wave(x), wave(y), 80, 255])),
        normal: Some(RgbImage::from_fn(32, 32, |x, _| Rgb([(120 + x / 4) as u8, 128, 254]))),
        orm: Some(RgbImage::from_fn(32, 32, |x, y| Rgb([wave(x + y), 150, wave(y)]))),
        emissive: Some(RgbImage::from_pixel(32, 32, Rgb([10, 0, 0]))),
        roughness: 0.8,
        metallic: 0.5,
        ..Maps::default()
    };
    let shape = |mesh: Mesh| Mesh { normals: Vec::new(), uvs: Vec::new(), ..mesh };
    Content {
        mesh: shapes::torus(24, 0.3),
        maps,
        lods: vec![shapes::torus(12, 0.3), shapes::torus(6, 0.3)],
        collider: vec![shape(shapes::cube()), shape(shapes::sphere(4))],
        name: "lantern".to_owned(),
        meshkiln: json!({ "name": "lantern" }),
    }
}

fn style(target: &str) -> Style {
    Style { preset: preset::find(target).unwrap(), ..Style::default() }
}

fn document(bytes: &[u8]) -> Json {
    serde_json::from_slice(split(bytes).unwrap().json).unwrap()
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn levels_colliders_and_maps_survive() {
    let content = content();
    let bytes = write_scene(&content.scene(), &Style::default()).unwrap();
    assert!(is_ours(&bytes));
    let mut back = read(&bytes).unwrap();
    assert_eq!(back.meshkiln["name"], "lantern");
    back.meshkiln = content.meshkiln.clone();
    assert_eq!(back, content);
    assert_eq!(write_scene(&content.scene(), &Style::default()).unwrap(), bytes, "equal bytes");
    assert!(is_ours(&with_report(&bytes, &json!({ "passed": true })).unwrap()));
}

#[test]
fn only_the_object_is_in_the_default_scene_and_all_share_a_material() {
    let bytes = write_scene(&content().scene(), &Style::default()).unwrap();
    let document = document(&bytes);
    let expected = ["lantern", "lantern_LOD1", "lantern_LOD2", "lantern_COL_01", "lantern_COL_02"];
    for list in ["nodes", "meshes", "scenes"] {
        assert_eq!(names(&document[list]), expected, "{list}");
    }
    assert_eq!(document["scene"], 0);
    for (i, scene) in document["scenes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(scene["nodes"], json!([i]));
    }
    assert_eq!(document["materials"].as_array().unwrap().len(), 1);
    for (i, mesh) in document["meshes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(mesh["primitives"][0].get("material"), (i < 3).then_some(&json!(0)));
    }
    assert_eq!(document["nodes"][2]["extras"], json!({ "lod": 2 }));
    assert_eq!(document["nodes"][3]["extras"], json!({ "collider": 1 }));
}

#[test]
fn occlusion_and_roughness_share_a_picture() {
    let bytes = write_scene(&content().scene(), &Style::default()).unwrap();
    let document = document(&bytes);
    let material = &document["materials"][0];
    assert_eq!(document["images"].as_array().unwrap().len(), 4);
    assert_eq!(material["occlusionTexture"], material["pbrMetallicRoughness"]["metallicRoughnessTexture"]);
    assert_eq!(material["emissiveFactor"], json!([1.0, 1.0, 1.0]));
    assert_eq!(material.get("alphaMode"), None);
}

#[test]
fn engines_find_colliders_beside_the_object() {
    for (target, expected, in_default) in [
        (
            "unreal",
            vec!["lantern", "lantern_LOD1", "lantern_LOD2", "UCX_lantern_01", "UCX_lantern_02"],
            json!([0, 3, 4]),
        ),
        ("godot", vec!["lantern", "lantern_01-convcolonly", "lantern_02-convcolonly"], json!([0, 1, 2])),
        (
            "unity",
            vec!["lantern_LOD0", "lantern_LOD1", "lantern_LOD2", "lantern_Collider_01", "lantern_Collider_02"],
            json!([0]),
        ),
    ] {
        let bytes = write_scene(&content().scene(), &style(target)).unwrap();
        let document = document(&bytes);
        assert_eq!(names(&document["nodes"]), expected, "{target}");
        assert_eq!(document["scenes"][0]["nodes"], in_default, "{target}");
        let back = read(&bytes).unwrap();
        assert_eq!(back.name, "lantern", "{target}");
        assert_eq!(back.lods.len(), if target == "godot" { 0 } else { 2 });
        assert_eq!(back.collider.len(), 2);
    }
}

#[test]
fn transparent_colours_make_a_mask_or_a_blend() {
    for (alpha, mode) in [(0, "MASK"), (90, "BLEND")] {
        let mut content = content();
        content.maps.base_color.put_pixel(3, 3, Rgba([1, 2, 3, alpha]));
        let bytes = write_scene(&content.scene(), &Style::default()).unwrap();
        assert_eq!(document(&bytes)["materials"][0]["alphaMode"], mode);
        assert_eq!(read(&bytes).unwrap().maps, content.maps);
    }
}

#[test]
fn compressed_meshes_are_small_and_the_same_within_the_grid() {
    let mut content = content();
    for p in &mut content.mesh.positions {
        *p = *p * 0.37 + Vec3::new(3.0, 0.5, -7.0);
    }
    let plain = write_scene(&content.scene(), &Style::default()).unwrap();
    let bytes = write_scene(&content.scene(), &Style { compress: true, ..Style::default() }).unwrap();
    assert!(is_ours(&bytes));
    let geometry = |bytes: &[u8]| {
        let document = document(bytes);
        let pictures: Vec<u64> =
            document["images"].as_array().unwrap().iter().filter_map(|i| i["bufferView"].as_u64()).collect();
        let views = document["bufferViews"].as_array().unwrap().iter().enumerate();
        let views = views.filter(|(i, _)| !pictures.contains(&(*i as u64)));
        let stored = |view: &Json| view["extensions"]["EXT_meshopt_compression"]["byteLength"].as_u64();
        views.map(|(_, view)| stored(view).or(view["byteLength"].as_u64()).unwrap()).sum::<u64>()
    };
    println!("{} bytes of meshes, {} compressed", geometry(&plain), geometry(&bytes));
    assert!(geometry(&bytes) * 3 < geometry(&plain));

    let back = read(&bytes).unwrap();
    assert_eq!(back.maps, content.maps);
    assert_eq!(back.collider, content.collider);
    for (found, given) in back.lods.iter().chain([&back.mesh]).zip(content.lods.iter().chain([&content.mesh])) {
        let (low, high) = given.bounds().unwrap();
        let size = (high - low).max_element();
        // Half a step of the grid, and the rounding of f32 this far from the origin.
        let near = size / 131_070.0 * 1.01 + 1e-6;
        for (i, (a, b)) in found.positions.iter().zip(&given.positions).enumerate() {
            assert!((*a - *b).abs().max_element() <= near, "vertex {i}: {a} {b}");
        }
        assert!(found.normals.iter().zip(&given.normals).all(|(a, b)| a.angle_between(*b) < 0.2f32.to_radians()));
        assert!(found.uvs.iter().zip(&given.uvs).all(|(a, b)| (*a - *b).abs().max_element() <= 0.5001 / 65_535.0));
        // Corners of a triangle may rotate, winding stays.
        let turned = |[a, b, c]: [u32; 3]| [[a, b, c], [b, c, a], [c, a, b]].into_iter().min().unwrap();
        assert!(found.triangles.iter().zip(&given.triangles).all(|(a, b)| turned(*a) == turned(*b)));
    }
}

#[test]
fn every_texture_format_is_read_back() {
    let content = content();
    for texture in TextureFormat::ALL {
        let style = Style { texture: *texture, compress: true, ..Style::default() };
        if *texture == TextureFormat::Dds {
            assert_eq!(write_scene(&content.scene(), &style).unwrap_err().kind, StageErrorKind::Internal);
            continue;
        }
        let bytes = write_scene(&content.scene(), &style).unwrap();
        let back = read(&bytes).unwrap().maps;
        assert_eq!(back.base_color.dimensions(), (32, 32));
        let near = |a: &[u8], b: &[u8]| {
            let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            sum as f32 / (a.len() as f32)
        };
        // Mean difference of a channel: lossy formats stay near, swapped maps would not.
        assert!(near(back.base_color.as_raw(), content.maps.base_color.as_raw()) < 6.0, "{texture:?}");
        for (found, given) in [
            (&back.normal, &content.maps.normal),
            (&back.orm, &content.maps.orm),
            (&back.emissive, &content.maps.emissive),
        ] {
            assert!(near(found.as_ref().unwrap().as_raw(), given.as_ref().unwrap().as_raw()) < 6.0, "{texture:?}");
        }
    }
}

#[test]
fn hostile_compressed_files_get_typed_answers() {
    let style = Style { compress: true, texture: TextureFormat::Webp, ..Style::default() };
    let bytes = write_scene(&Scene::of(&shapes::cube(), &content().maps, "x", &json!({})), &style).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut n_read = 0;
    for _ in 0..1500 {
        let mut hostile = bytes.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(20..hostile.len());
            hostile[at] = if random.bool() { random.u8(..) } else { b'9' };
        }
        assert!(!is_ours(&hostile) || hostile == bytes);
        match read(&hostile) {
            Ok(content) => {
                n_read += 1;
                let n = content.mesh.positions.len();
                assert!(content.mesh.triangles.iter().flatten().all(|&i| (i as usize) < n));
                assert!(content.mesh.positions.iter().all(|p| p.is_finite()));
            }
            Err(error) => assert!(!error.message.is_empty() && error.message.len() < 2000),
        }
    }
    assert!(n_read > 0);
}
