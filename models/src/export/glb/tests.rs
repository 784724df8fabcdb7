//! What is written can be read back, by us and by others; what is hostile is refused.

use image::{Rgba, RgbaImage};
use serde_json::{Value as Json, json};

use super::{GlbContent, is_sealed, join, read, split, with_report, write};
use crate::{
    StageErrorKind,
    export::ownership::{is_ours, record},
    mesh::{FrontView, Maps, Mesh, shapes},
};

fn maps(size: u32) -> Maps {
    let base_color = RgbaImage::from_fn(size, size, |x, y| Rgba([(x * 9) as u8, (y * 5) as u8, 80, 255]));
    Maps { base_color, roughness: 0.8, metallic: 0.0, ..Maps::default() }
}

fn ball() -> Mesh {
    Mesh {
        front: Some(FrontView { metres_per_pixel: 0.01, origin: glam::Vec2::new(50.5, 101.0) }),
        ..shapes::sphere(6)
    }
}

fn glb() -> Vec<u8> {
    write(&ball(), &maps(8), "lantern", &json!({ "name": "lantern", "seed": 0 })).unwrap()
}

#[test]
fn everything_survives() {
    for (mesh, size) in [(ball(), 8), (shapes::torus(20, 0.3), 64), (shapes::cube(), 1)] {
        let bytes = write(&mesh, &maps(size), "lantern", &json!({ "name": "lantern" })).unwrap();
        let GlbContent { mesh: read_mesh, maps: read_maps, name, meshkiln, .. } = read(&bytes).unwrap();
        assert_eq!(read_mesh, mesh);
        assert_eq!(read_maps, maps(size));
        assert_eq!((name.as_str(), &meshkiln["name"]), ("lantern", &json!("lantern")));
    }
}

#[test]
fn equal_input_gives_equal_bytes() {
    assert_eq!(glb(), glb());
}

/// The structure, seen by a reader that is not ours.
#[test]
fn one_of_each_named_after_the_file_with_bounds_and_targets() {
    let gltf = gltf::Gltf::from_slice(&glb()).unwrap();
    let root = gltf.document.as_json();
    assert_eq!(root.asset.generator.as_deref(), Some("Meshkiln"));
    let names = [&root.nodes[0].name, &root.meshes[0].name, &root.materials[0].name];
    assert!(names.iter().all(|name| name.as_deref() == Some("lantern")));
    let counts = [root.nodes.len(), root.meshes.len(), root.materials.len(), root.images.len(), root.buffers.len()];
    assert_eq!(counts, [1; 5]);

    let document = &gltf.document;
    let primitive = document.meshes().next().unwrap().primitives().next().unwrap();
    let bounds = primitive.bounding_box();
    assert_eq!((bounds.min[1], bounds.max[1]), (-1.0, 1.0));
    let blob = gltf.blob.as_deref().unwrap();
    let reader = primitive.reader(|_| Some(blob));
    assert!(reader.read_positions().unwrap().eq(ball().positions.iter().map(|p| p.to_array())));
    assert!(reader.read_normals().unwrap().eq(ball().normals.iter().map(|n| n.to_array())));
    assert!(reader.read_tex_coords(0).unwrap().into_f32().eq(ball().uvs.iter().map(|uv| uv.to_array())));
    assert!(reader.read_indices().unwrap().into_u32().eq(ball().triangles.into_iter().flatten()));
    let targets: Vec<_> = document.views().map(|view| view.target().map(|t| t as u32)).collect();
    assert_eq!(targets, [Some(1), Some(1), Some(1), Some(2), None]);
    assert!(document.views().all(|view| view.offset() % 4 == 0));
    assert_eq!(primitive.material().pbr_metallic_roughness().roughness_factor(), 0.8);
    assert_eq!(primitive.material().pbr_metallic_roughness().metallic_factor(), 0.0);
}

#[test]
fn indices_are_short_until_the_restart_value_would_be_needed() {
    // A grid has (2 n + 1) (n + 1) vertices: just under and just over 65535.
    for (n, bytes_each) in [(180, 2), (181, 4)] {
        let mesh = shapes::torus(n, 0.3);
        let bytes = write(&mesh, &maps(1), "torus", &json!({})).unwrap();
        let gltf = gltf::Gltf::from_slice(&bytes).unwrap();
        let indices = gltf.accessors().nth(3).unwrap();
        assert_eq!(indices.size(), bytes_each, "{} vertices", mesh.positions.len());
        assert_eq!(read(&bytes).unwrap().mesh, mesh);
    }
}

#[test]
fn a_report_changes_nothing_but_the_record() {
    let bytes = glb();
    let report = json!({ "passed": true, "silhouette_iou": 0.987654 });
    let reported = with_report(&bytes, &report).unwrap();
    assert_eq!(split(&reported).unwrap().bin, split(&bytes).unwrap().bin);
    assert!(is_ours(&reported));
    let (before, after) = (read(&bytes).unwrap(), read(&reported).unwrap());
    assert_eq!((&after.mesh, &after.maps), (&before.mesh, &before.maps));
    assert_eq!(after.meshkiln["report"], report);
    assert_eq!(after.meshkiln["bin_sha256"], before.meshkiln["bin_sha256"]);

    // A second report replaces the first, and removing nothing is stable.
    let again = with_report(&reported, &json!({})).unwrap();
    assert_eq!(with_report(&again, &report).unwrap(), reported);
    assert!(with_report(b"glTF", &report).is_err());
}

#[test]
fn names_of_all_kinds_are_kept() {
    let long = "ü".repeat(127) + "x";
    for name in ["lantern", "", "Ä 灯籠 🏮", "a\"b\\c/d", "\u{0}\u{1}\n\t\u{7f}\u{2028}", "</script>", long.as_str()]
    {
        let bytes = write(&ball(), &maps(2), name, &json!({ "name": name })).unwrap();
        assert_eq!(read(&bytes).unwrap().name, name);
        assert!(is_ours(&with_report(&bytes, &json!({ "name": name })).unwrap()), "{name:?}");
        assert_eq!(record(&bytes).unwrap()["name"], name);
    }
}

#[test]
fn what_the_format_forbids_is_not_written() {
    let broken: [fn(&mut Mesh); 6] = [
        |mesh| mesh.triangles.clear(),
        |mesh| mesh.normals.clear(),
        |mesh| mesh.uvs.truncate(3),
        |mesh| mesh.triangles[0][0] = 100_000,
        |mesh| mesh.positions[5].x = f32::NAN,
        |mesh| mesh.normals[5] *= 1.1,
    ];
    for (i, spoil) in broken.iter().enumerate() {
        let mut mesh = ball();
        spoil(&mut mesh);
        let error = write(&mesh, &maps(2), "x", &json!({})).expect_err("spoilt");
        assert_eq!(error.kind, StageErrorKind::Internal, "{i}: {error}");
    }
    assert!(write(&ball(), &maps(2), "x", &json!([])).is_err());
}

#[test]
fn one_changed_byte_makes_the_file_somebody_elses() {
    let bytes = glb();
    assert!(is_ours(&bytes));
    for at in 0..bytes.len() {
        let mut touched = bytes.clone();
        touched[at] ^= 1;
        assert!(!is_ours(&touched), "byte {at}");
    }
}

#[test]
fn cut_files_are_truncated_and_not_ours() {
    let bytes = glb();
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        assert!(!is_ours(cut), "cut to {length}");
        let error = read(cut).expect_err("cut");
        let expected = if length < 4 { StageErrorKind::InvalidInput } else { StageErrorKind::Truncated };
        assert_eq!(error.kind, expected, "cut to {length}: {error}");
        let _ = record(cut);
    }
    assert!(!is_ours(&[bytes.as_slice(), b"    "].concat()));
}

#[test]
fn files_of_others_are_read_or_refused_but_never_ours() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/meshes");
    if !std::path::Path::new(folder).exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    for file in ["box_textured", "box_vertex_colors", "cesium_milk_truck", "monkey", "broken_or_odd/AlphaBlendModeTest"]
    {
        let bytes = std::fs::read(format!("{folder}/{file}.glb")).unwrap();
        assert!(!is_ours(&bytes), "{file}");
        assert_eq!(record(&bytes), None, "{file}");
        assert_eq!(read(&bytes).expect_err(file).kind, StageErrorKind::Unsupported, "{file}");
    }
}

/// The same file with its JSON changed and the seal renewed.
fn edited(edit: impl Fn(&mut Json)) -> Vec<u8> {
    let bytes = glb();
    let chunks = split(&bytes).unwrap();
    let mut json: Json = serde_json::from_slice(chunks.json).unwrap();
    edit(&mut json);
    json["asset"]["extras"]["meshkiln"]["json_sha256"] = json!(super::UNSEALED);
    join(json.to_string().into_bytes(), chunks.bin).unwrap()
}

#[test]
fn lies_about_offsets_counts_and_places_are_refused() {
    use StageErrorKind::{InvalidInput, Unsupported};
    assert!(is_sealed(split(&edited(|_| {})).unwrap().json) && read(&edited(|_| {})).is_ok());
    let set = |path: &'static str, value: Json| {
        move |json: &mut Json| *json.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.clone()
    };
    let cases: Vec<(StageErrorKind, Vec<u8>)> = vec![
        (InvalidInput, edited(set("/accessors/0/count", json!(u64::MAX)))),
        (InvalidInput, edited(set("/accessors/0/count", json!(4_000_000_000u32)))),
        (InvalidInput, edited(set("/accessors/0/count", json!(0)))),
        (InvalidInput, edited(set("/accessors/0/count", json!(3)))),
        (InvalidInput, edited(set("/accessors/3/count", json!(4)))),
        (InvalidInput, edited(|json| json["accessors"][0]["byteOffset"] = json!(u64::MAX))),
        (InvalidInput, edited(|json| json["accessors"][0]["byteOffset"] = json!(8))),
        (InvalidInput, edited(set("/bufferViews/0/byteOffset", json!(u64::MAX)))),
        (InvalidInput, edited(set("/bufferViews/0/byteLength", json!(u64::MAX)))),
        (InvalidInput, edited(set("/bufferViews/4/byteLength", json!(1 << 30)))),
        (InvalidInput, edited(set("/bufferViews/4/byteLength", json!(60)))),
        (Unsupported, edited(set("/bufferViews/0/buffer", json!(7)))),
        (InvalidInput, edited(|json| json["bufferViews"][1]["byteStride"] = json!(8))),
        (InvalidInput, edited(|json| json["bufferViews"][1]["byteStride"] = json!(252))),
        (InvalidInput, edited(|json| json["bufferViews"][1]["byteStride"] = json!(u64::MAX))),
        (InvalidInput, edited(set("/meshes/0/primitives/0/indices", json!(99)))),
        (Unsupported, edited(set("/meshes/0/primitives/0/material", json!(99)))),
        (InvalidInput, edited(set("/textures/0/source", json!(u32::MAX)))),
        (InvalidInput, edited(set("/asset/extras/meshkiln/front", json!({ "metres_per_pixel": 0 })))),
        (InvalidInput, edited(set("/asset/extras/meshkiln/front", json!("1e999")))),
        (Unsupported, edited(set("/meshes/0/primitives/0/indices", json!(2)))),
        (Unsupported, edited(set("/meshes/0/primitives/0/attributes/POSITION", json!(2)))),
        (Unsupported, edited(set("/images/0/bufferView", json!(0)))),
        (Unsupported, edited(|json| json["nodes"] = json!([{ "children": [1] }, { "children": [0], "mesh": 0 }]))),
        (Unsupported, edited(|json| json["nodes"][0]["scale"] = json!([1e30, 1, 1]))),
        (Unsupported, edited(|json| json["meshes"][0]["primitives"][0]["mode"] = json!(5))),
        (Unsupported, edited(|json| json["extensionsRequired"] = json!(["KHR_draco_mesh_compression"]))),
    ];
    for (i, (kind, bytes)) in cases.iter().enumerate() {
        let error = read(bytes).expect_err("hostile");
        assert_eq!(error.kind, *kind, "case {i}: {error}");
        assert!(error.message.len() < 1000, "case {i}: {error}");
    }
}

#[test]
fn no_uri_is_followed() {
    let secret = std::env::temp_dir().join(format!("meshkiln-glb-uri-{}", std::process::id()));
    std::fs::write(&secret, [0; 64]).unwrap();
    let here = secret.to_str().unwrap().to_owned();
    for uri in [
        format!("file://{here}"),
        here.clone(),
        format!("../../../../../../../../..{here}"),
        "http://127.0.0.1:1/x.bin".to_owned(),
        "data:application/octet-stream;base64,AAAA".to_owned(),
        "\\\\host\\share\\x".to_owned(),
    ] {
        let buffer = edited(|json| json["buffers"][0]["uri"] = json!(uri));
        assert_eq!(read(&buffer).expect_err("buffer").kind, StageErrorKind::Unsupported, "{uri}");
        let image = edited(|json| json["images"][0] = json!({ "uri": uri }));
        assert_eq!(read(&image).expect_err("image").kind, StageErrorKind::Unsupported, "{uri}");
    }
    std::fs::remove_file(secret).unwrap();
}

#[test]
fn a_png_that_claims_to_be_huge_is_refused_before_memory_is_asked_for() {
    let bytes = glb();
    let at = bytes.windows(4).position(|window| window == b"IHDR").unwrap();
    for (offset, change) in [(4, [0x7f, 0xff, 0xff, 0xff]), (4, [0, 1, 0, 0]), (0, *b"JUNK")] {
        let mut hostile = bytes.clone();
        hostile[at + offset..at + offset + 4].copy_from_slice(&change);
        assert!(read(&hostile).is_err());
    }
}

#[test]
fn thousands_of_mutations_give_typed_answers() {
    let bytes = glb();
    let mut random = fastrand::Rng::with_seed(7);
    let json_end = 20 + split(&bytes).unwrap().json.len();
    let mut n_read = 0;
    for round in 0..6000 {
        let mut hostile = bytes.clone();
        for _ in 0..random.usize(1..6) {
            // Half of the hits in the JSON, where they hurt.
            let end = if random.bool() { json_end } else { hostile.len() };
            let at = random.usize(0..end.min(hostile.len()));
            match random.u8(0..5) {
                0 => hostile[at] ^= 1 << random.u8(0..8),
                1 => hostile[at] = random.u8(..),
                2 => hostile[at] = *random.choice(b"0123456789-.e{}[],\":".as_slice()).unwrap(),
                3 if hostile[at].is_ascii_digit() => hostile[at] = b'9',
                _ => {
                    let to = (at + random.usize(1..9)).min(hostile.len());
                    hostile[at..to].fill(*random.choice([0, 0xff, b'9'].as_slice()).unwrap());
                }
            }
        }
        if round % 3 == 0 {
            // Changes of length, with a header that agrees.
            let at = random.usize(20..hostile.len());
            let tail = hostile.split_off(at);
            hostile.extend_from_slice(&tail[random.usize(0..tail.len().min(16))..]);
            let length = hostile.len() as u32;
            hostile[8..12].copy_from_slice(&length.to_le_bytes());
        }
        assert!(!is_ours(&hostile) || hostile == bytes, "round {round}");
        let _ = record(&hostile);
        let _ = with_report(&hostile, &json!({ "round": round }));
        match read(&hostile) {
            Ok(content) => {
                n_read += 1;
                let n = content.mesh.positions.len();
                assert!(content.mesh.triangles.iter().flatten().all(|&i| (i as usize) < n));
            }
            Err(error) => assert!(!error.message.is_empty() && error.message.len() < 2000),
        }
    }
    assert!(n_read > 0, "mutations in the BIN chunk often leave a readable file");
}
