//! Cut and altered files: an error or a mesh that keeps its promises, never a
//! panic, within a time that any machine makes.

use std::{collections::BTreeMap, time::Instant};

use super::{Bundle, Limits, MeshFormat, material_references, read, references, sniff, tests::files};
use crate::mesh::{Maps, shapes};

/// Small, so that claims beyond them are refused and the rest is quick.
fn limits() -> Limits {
    Limits { vertices: 200_000, triangles: 200_000, texture_pixels: 4 << 20, bytes: 64 << 20, files: 64 }
}

/// Everything that looks at a stranger's bytes.
fn try_all(name: &str, bytes: &[u8]) {
    let started = Instant::now();
    sniff(bytes);
    for format in [MeshFormat::Glb, MeshFormat::Gltf, MeshFormat::Obj, MeshFormat::Ply, MeshFormat::Stl] {
        let _ = references(bytes, format);
    }
    let _ = material_references(bytes);
    let bundle = Bundle::from_bytes(bytes);
    // A name that says STL has even what is unknown read as one.
    for bundle in [bundle, Bundle::single("a.stl", bytes.to_vec())] {
        let Ok(imported) = read(&bundle, &limits()) else { continue };
        let (mesh, n) = (&imported.textured.mesh, imported.textured.mesh.positions.len());
        assert!(!mesh.triangles.is_empty() && mesh.triangles.iter().flatten().all(|&v| (v as usize) < n), "{name}");
        assert!(mesh.positions.iter().all(|p| p.is_finite()), "{name}");
        assert!(
            mesh.normals.is_empty() || mesh.normals.len() == n && mesh.normals.iter().all(|v| v.is_normalized()),
            "{name}"
        );
        assert!(mesh.uvs.is_empty() || mesh.uvs.len() == n && mesh.uvs.iter().all(|uv| uv.is_finite()), "{name}");
        let textured = &imported.textured;
        assert!(textured.colors.is_empty() || textured.colors.len() == n, "{name}");
        assert!(textured.tangents.is_empty() || textured.tangents.len() == n, "{name}");
        let n_materials = textured.materials.len() as u32;
        assert!(textured.face_materials.iter().all(|&m| m < n_materials), "{name}");
        assert!(textured.face_materials.is_empty() || textured.face_materials.len() == mesh.triangles.len(), "{name}");
        for used in textured.materials.clone().iter_mut().flat_map(|m| m.textures_mut()) {
            assert!(used.texture < textured.textures.len(), "{name}");
        }
    }
    assert!(started.elapsed().as_secs() < 20, "{name} takes {:?}", started.elapsed());
}

/// A few kilobytes of each format, and the small files of the test data.
fn seeds() -> BTreeMap<String, Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let maps = Maps { base_color: image::RgbaImage::from_pixel(4, 4, [9, 99, 199, 255].into()), ..shapes::grey() };
    let glb = crate::export::glb::write(&shapes::cube(), &maps, "cube", &serde_json::json!({})).unwrap();
    seeds.insert("own glb".to_owned(), glb);
    let obj = "mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 1 1 0\nv 0.5 0.2 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\nusemtl m\n\
               f 1/1/1 2/1/1 3/1/1 4/1/1 5/1/1\nf -1 -2 -3\n";
    let mtl = "newmtl m\nKd 1 0 0\nmap_Kd -o 1 2 -s 1 1 a.png\nmap_Bump b.png\n";
    let bundle = Bundle::gather("a.obj", obj.into(), &limits(), |path, _| Ok((path == "a.mtl").then(|| mtl.into())));
    seeds.insert("obj".to_owned(), obj.into());
    seeds.insert("mtl".to_owned(), mtl.into());
    seeds.insert("obj bundle".to_owned(), bundle.unwrap().to_bytes().unwrap().into_owned());
    let ply = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\n\
               property uchar green\nproperty uchar blue\nelement face 1\nproperty list uchar int vertex_indices\n\
               property list uchar float texcoord\nelement tristrips 1\nproperty list int int vertex_indices\nend_header\n\
               0 0 0 1 2 3\n1 0 0 4 5 6\n0 1 0 7 8 9\n3 0 1 2 6 0 0 1 0 0 1\n5 0 1 2 -1 0\n";
    seeds.insert("ply".to_owned(), ply.into());
    for path in files("meshes") {
        let bytes = std::fs::read(&path).unwrap();
        if bytes.len() < 60_000 {
            seeds.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), bytes);
        }
    }
    seeds
}

#[test]
fn cut_files_end_in_errors_or_meshes() {
    for (name, bytes) in seeds() {
        let step = bytes.len() / 24 + 1;
        for n in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(3)..bytes.len()) {
            try_all(&format!("{name} cut to {n}"), &bytes[..n]);
        }
    }
}

#[test]
fn altered_files_end_in_errors_or_meshes() {
    let mut rng = fastrand::Rng::with_seed(0x6d65_7368);
    for (name, bytes) in seeds() {
        for round in 0..40 {
            let mut altered = bytes.clone();
            for _ in 0..=round % 5 {
                let at = rng.usize(..altered.len());
                match rng.u8(..6) {
                    0 => altered[at] = rng.u8(..),
                    1 => altered[at] ^= 1 << rng.u8(..8),
                    2 => altered[at] = [0, 0x7f, 0x80, 0xff, b'-', b'/', b'\n'][rng.usize(..7)],
                    3 => {
                        let end = (at + 1 + rng.usize(..8)).min(altered.len());
                        altered[at..end].fill([0, 0xff][rng.usize(..2)]);
                    }
                    4 => drop(altered.drain(at..(at + rng.usize(..16)).min(altered.len()))),
                    _ => {
                        let piece = altered[at..(at + rng.usize(..64)).min(altered.len())].to_vec();
                        altered.splice(at..at, piece);
                    }
                }
                if altered.is_empty() {
                    break;
                }
            }
            try_all(&format!("{name} altered {round}"), &altered);
        }
    }
}

/// Numbers in texts, JSON above all, replaced by ones that overflow and overrun.
#[test]
fn absurd_numbers_end_in_errors_or_meshes() {
    const ABSURD: &[&str] = &[
        "0",
        "-1",
        "2",
        "255",
        "65536",
        "4294967295",
        "18446744073709551615",
        "1e308",
        "-1e-300",
        "99999999999999999999",
        "nan",
    ];
    let mut rng = fastrand::Rng::with_seed(3);
    for (name, bytes) in seeds() {
        let is_digit = |i: usize| bytes[i].is_ascii_digit();
        let starts: Vec<usize> = (0..bytes.len()).filter(|&i| is_digit(i) && (i == 0 || !is_digit(i - 1))).collect();
        if starts.is_empty() {
            continue;
        }
        for round in 0..60 {
            // Early numbers are headers: half of the time one of those.
            let range = if round % 2 == 0 { starts.len() } else { starts.len().min(200) };
            let start = starts[rng.usize(..range)];
            let end = (start..bytes.len()).find(|&i| !is_digit(i)).unwrap_or(bytes.len());
            let number = ABSURD[rng.usize(..ABSURD.len())];
            let mut altered = [&bytes[..start], number.as_bytes(), &bytes[end..]].concat();
            // Lengths in the GLB's header, so that the JSON is read at all.
            if altered.starts_with(b"glTF") && start > 20 && bytes.len() > 20 {
                let grown = altered.len() as i64 - bytes.len() as i64;
                for at in [8, 12] {
                    let word = u32::from_le_bytes(altered[at..at + 4].try_into().unwrap());
                    altered[at..at + 4].copy_from_slice(&((i64::from(word) + grown) as u32).to_le_bytes());
                }
                // Chunks begin at multiples of four.
                let pad = (-grown).rem_euclid(4) as usize;
                let json = u32::from_le_bytes(altered[12..16].try_into().unwrap()) as usize;
                altered.splice(20 + json..20 + json, vec![b' '; pad]);
                for at in [8, 12] {
                    let word = u32::from_le_bytes(altered[at..at + 4].try_into().unwrap());
                    altered[at..at + 4].copy_from_slice(&(word + pad as u32).to_le_bytes());
                }
            }
            try_all(&format!("{name} with {number} at {start}"), &altered);
        }
    }
}

#[test]
fn claims_take_no_memory_and_no_time() {
    let mut stl = vec![0; 84];
    stl[80..].fill(0xff);
    let ply = |body: &str| format!("ply\nformat binary_little_endian 1.0\n{body}end_header\n").into_bytes();
    let json = |more: &str| format!("{{\"asset\":{{\"version\":\"2.0\"}},{more}}}").into_bytes();
    let accessor = r#"{"componentType":5126,"count":18446744073709551615,"type":"VEC3","sparse":{"count":18446744073709551615,"indices":{"bufferView":0,"componentType":5125},"values":{"bufferView":0}}}"#;
    let sparse = format!(
        r#""nodes":[{{"mesh":0}}],"meshes":[{{"primitives":[{{"attributes":{{"POSITION":0}}}}]}}],"accessors":[{accessor}]"#
    );
    let chain: Vec<String> = (0..20_000).map(|i| format!(r#"{{"children":[{}]}}"#, i + 1)).collect();
    let files = [
        stl,
        ply("element vertex 18446744073709551615\nproperty float x\nproperty float y\nproperty float z\n"),
        ply("element face 4294967295\nproperty list uint double vertex_indices\n"),
        ply("element a 18446744073709551615\nelement b 18446744073709551615\n"),
        json(&sparse),
        json(&format!(r#""nodes":[{}]"#, chain.join(","))),
        "[".repeat(1 << 20).into_bytes(),
        json(&format!("\"nodes\":[{}{{}}]", "{},".repeat(3_000_000))),
        format!("v 0 0 0\nf {}\n", "1 ".repeat(300_000)).into_bytes(),
        b"v 1 2 3\\\n".repeat(100_000),
    ];
    files.iter().enumerate().for_each(|(i, bytes)| try_all(&format!("claim {i}"), bytes));
}
