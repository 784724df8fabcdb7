//! Each target and format: what is in the file, and that it comes back.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value as Json, json};

use super::{
    archive,
    content::Content,
    file::{Options, file_stem, read, with_report, write},
    format::{Format, TextureFormat},
    ownership::{is_ours, record},
    preset::{self, PRESETS},
    texture,
};
use crate::{
    StageErrorKind,
    mesh::{FrontView, Maps, Mesh, shapes, topology::topology},
};

fn content() -> Content {
    let wave = |v: u32| ((v as f32 / 5.0).sin() * 50.0 + 120.0) as u8;
    let maps = Maps {
        base_color: RgbaImage::from_fn(32, 32, |x, y| Rgba([wave(x), wave(y), 80, 255])),
        normal: Some(RgbImage::from_fn(32, 32, |_, y| Rgb([128, (100 + y) as u8, 250]))),
        orm: Some(RgbImage::from_fn(32, 32, |x, y| Rgb([wave(x + y), 150, wave(y)]))),
        roughness: 1.0,
        metallic: 1.0,
        ..Maps::default()
    };
    let front = Some(FrontView { metres_per_pixel: 0.01, origin: glam::Vec2::new(5.0, 9.0) });
    let shape = |mesh: Mesh| Mesh { normals: Vec::new(), uvs: Vec::new(), ..mesh };
    Content {
        mesh: Mesh { front, ..shapes::torus(12, 0.3) },
        maps,
        lods: vec![shapes::torus(6, 0.3)],
        collider: vec![shape(shapes::cube())],
        name: "lamp 灯".to_owned(),
        meshkiln: json!({ "name": "lamp 灯", "seed": 0 }),
    }
}

fn options(target: &str) -> Options {
    Options::of(preset::find(target).unwrap())
}

/// Files of an archive by name.
fn parts(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    archive::read(bytes).unwrap().into_iter().map(|part| (part.name, part.bytes)).collect()
}

#[test]
fn maps_that_gltf_has_no_place_for_lie_beside_it_when_asked_for() {
    let mut content = content();
    let ramp = RgbImage::from_fn(32, 32, |x, _| Rgb([(x * 8) as u8; 3]));
    content.maps.extra.insert("curvature".to_owned(), ramp.clone());
    let asked = Options { extra_maps: true, ..options("generic") };
    assert_eq!((options("generic").extension(), asked.extension()), (".glb", ".zip"));

    let alone = write(&content.scene(), &options("generic")).unwrap();
    let notes = record(&alone).unwrap()["export"]["notes"].to_string();
    assert!(notes.contains("left out: curvature") && notes.contains("export.extra-maps=true"), "{notes}");

    for options in [asked, Options { format: Format::Obj, ..options("generic") }, options("fallout4")] {
        let bytes = write(&content.scene(), &options).unwrap();
        assert!(is_ours(&bytes));
        let parts = parts(&bytes);
        let map = image::load_from_memory(&parts["lamp_灯_curvature.png"]).unwrap().into_rgb8();
        assert_eq!(map, ramp);
        let back = read(&bytes).unwrap();
        assert_eq!(back.mesh.triangles.len(), content.mesh.triangles.len());
    }
    let parts = parts(&write(&content.scene(), &asked).unwrap());
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["lamp_灯.glb", "lamp_灯.meshkiln.json", "lamp_灯_curvature.png"]);
}

#[test]
fn every_target_and_format_is_ours_and_comes_back() {
    let content = content();
    for preset in PRESETS {
        for format in Format::ALL {
            let options = Options { format: *format, ..Options::of(preset) };
            let bytes = write(&content.scene(), &options).unwrap();
            let case = format!("{} {}", preset.id, format.id());
            assert_eq!(write(&content.scene(), &options).unwrap(), bytes, "{case}: equal bytes");
            let begins: &[u8] = match options.extension() {
                ".glb" => b"glTF",
                ".zip" => b"PK",
                ".ply" => b"ply",
                _ => b"Meshkiln",
            };
            assert!(bytes.starts_with(begins), "{case}");
            let back = read(&bytes).unwrap();
            assert_eq!(back.mesh.triangles.len(), content.mesh.triangles.len(), "{case}");
            let reported = with_report(&bytes, &json!({ "passed": true })).unwrap();
            assert!(is_ours(&bytes) && is_ours(&reported), "{case}");
            if *format != Format::Stl {
                assert_eq!(back.mesh.front, content.mesh.front, "{case}");
                assert_eq!((back.name.as_str(), &back.meshkiln["seed"]), ("lamp 灯", &json!(0)), "{case}");
                assert_eq!(back.meshkiln["export"]["target"], preset.id, "{case}");
                assert_eq!(record(&reported).unwrap()["report"]["passed"], true, "{case}");
                assert_eq!(read(&reported).unwrap().mesh, back.mesh, "{case}");
            }
        }
    }
}

#[test]
fn an_obj_archive_holds_all_that_it_names() {
    let content = content();
    let bytes = write(&content.scene(), &Options { format: Format::Obj, ..options("generic") }).unwrap();
    let files = parts(&bytes);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "lamp_灯.meshkiln.json",
            "lamp_灯.mtl",
            "lamp_灯.obj",
            "lamp_灯_COL_01.obj",
            "lamp_灯_LOD1.obj",
            "lamp_灯_basecolor.png",
            "lamp_灯_metallic.png",
            "lamp_灯_normal.png",
            "lamp_灯_occlusion.png",
            "lamp_灯_roughness.png",
        ]
    );
    let material = String::from_utf8(files["lamp_灯.mtl"].clone()).unwrap();
    for named in material.split_whitespace().filter(|word| word.contains('.') && word.parse::<f32>().is_err()) {
        assert!(files.contains_key(named), "{named}");
    }
    let back = read(&bytes).unwrap();
    assert_eq!(back.maps, content.maps);
    let solid = |mesh: &Mesh| topology(&mesh.positions, &mesh.triangles);
    assert_eq!(solid(&back.collider[0]), solid(&content.collider[0]));
    assert_eq!(back.lods[0].positions, content.lods[0].positions);
}

#[test]
fn fallout_gets_dds_with_directx_normals_and_plain_formats() {
    let content = content();
    let bytes = write(&content.scene(), &options("fallout4")).unwrap();
    let files = parts(&bytes);
    let dxgi = |name: &str| u32::from_le_bytes(*files[name][128..].first_chunk().unwrap());
    assert_eq!(dxgi("lamp_灯_d.dds"), 71, "BC1 UNORM");
    assert_eq!(dxgi("lamp_灯_n.dds"), 83, "BC5 UNORM");
    assert!(!files.keys().any(|name| name.contains("roughness")));
    // Green goes up to 131 with y in glTF, so it goes down here.
    let normal = texture::decode(&files["lamp_灯_n.dds"]).unwrap();
    assert!(normal.get_pixel(9, 0).0[1].abs_diff(155) < 5, "{:?}", normal.get_pixel(9, 0));
    let back = read(&bytes).unwrap();
    assert!(back.maps.normal.unwrap().get_pixel(9, 0).0[1].abs_diff(100) < 5);
}

#[test]
fn limits_of_a_target_are_errors_that_say_what_to_do() {
    let mut content = content();
    content.maps.normal = None;
    let error = write(&content.scene(), &options("fallout4")).unwrap_err();
    assert_eq!((error.kind, error.message.contains("normal")), (StageErrorKind::InvalidInput, true), "{error}");

    let content = Content { mesh: shapes::torus(182, 0.3), ..self::content() };
    let error = write(&content.scene(), &options("fallout4")).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::TooLarge);
    assert!(error.message.contains("132496 triangles") && error.message.contains("65535"), "{error}");
    let budget: usize = error.hint.rsplit('=').next().unwrap().parse().unwrap();
    assert!(budget <= 65_535 && budget > 20_000, "{}", error.hint);
}

#[test]
fn textures_of_odd_sizes_are_resized_and_the_record_says_so() {
    let mut content = content();
    content.maps.base_color = RgbaImage::from_pixel(50, 20, Rgba([200, 100, 50, 255]));
    let notes = |bytes: &[u8]| record(bytes).unwrap()["export"]["notes"].clone();
    let bytes = write(&content.scene(), &options("unreal")).unwrap();
    assert_eq!(read(&bytes).unwrap().maps.base_color.dimensions(), (64, 16));
    assert_eq!(notes(&bytes), json!(["base colour texture resized from 50x20 to 64x16"]));
    let bytes = write(&content.scene(), &options("generic")).unwrap();
    assert_eq!((read(&bytes).unwrap().maps, notes(&bytes)), (content.maps.clone(), Json::Null));
    let ktx2 = Options { texture: TextureFormat::Ktx2, ..options("generic") };
    let bytes = write(&content.scene(), &ktx2).unwrap();
    assert_eq!(read(&bytes).unwrap().maps.base_color.dimensions(), (52, 20));
}

#[test]
fn what_a_format_cannot_hold_is_noted() {
    let content = content();
    let bytes = write(&content.scene(), &Options { format: Format::Ply, ..options("generic") }).unwrap();
    assert!(record(&bytes).unwrap()["export"]["notes"][0].as_str().unwrap().contains("levels of detail"));
    let bytes = write(&content.scene(), &options("godot")).unwrap();
    assert!(record(&bytes).unwrap()["export"]["notes"][0].as_str().unwrap().contains("godot"));
}

#[test]
fn a_glb_with_dds_beside_it_shows_right_by_itself() {
    let content = content();
    let bytes = write(&content.scene(), &Options { texture: TextureFormat::Dds, ..options("unreal") }).unwrap();
    let files = parts(&bytes);
    let inner = read(&files["lamp_灯.glb"]).unwrap();
    assert_eq!(inner.maps, content.maps);
    assert!(is_ours(&files["lamp_灯.glb"]));
    assert!(files["lamp_灯_basecolor.dds"].starts_with(b"DDS "));
    assert_eq!(read(&bytes).unwrap().lods, content.lods);
}

#[test]
fn file_names_are_safe_everywhere() {
    for (name, stem) in [
        ("lantern", "lantern"),
        ("a b/c\\d:e*f?g\"h<i>j|k\n", "a_b_c_d_e_f_g_h_i_j_k_"),
        ("..", "asset"),
        ("", "asset"),
        ("灯籠", "灯籠"),
    ] {
        assert_eq!(file_stem(name), stem);
    }
    assert!(file_stem(&"ü".repeat(200)).len() <= 100);
}
