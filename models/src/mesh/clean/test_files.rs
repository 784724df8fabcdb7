//! Just enough of OBJ, STL and PLY to get at the geometry of the test data.

use glam::{Vec2, Vec3};

use super::super::Mesh;

/// `None` for what is none of the three. Damaged lines give damaged faces.
pub fn read(path: &std::path::Path) -> Option<Mesh> {
    let bytes = std::fs::read(path).unwrap();
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "obj" => Some(obj(&String::from_utf8_lossy(&bytes))),
        "stl" => Some(stl(&bytes)),
        "ply" => Some(ply(&bytes)),
        _ => None,
    }
}

/// One vertex for each corner that differs; polygons as fans.
fn obj(text: &str) -> Mesh {
    let (mut positions, mut uvs) = (Vec::new(), Vec::new());
    let mut mesh = Mesh::default();
    let mut index = std::collections::HashMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let numbers: Vec<f32> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(f32::NAN)).collect();
        match keyword {
            Some("v") => positions.push(Vec3::from_slice(&numbers[..3])),
            Some("vt") => uvs.push(Vec2::new(numbers[0], 1.0 - numbers[1])),
            Some("f") => {
                let mut corner = |word: &str| {
                    let at = |word: Option<&str>, n: usize| match word.and_then(|w| w.parse::<i64>().ok()) {
                        Some(i) if i < 0 => (n as i64 + i) as usize,
                        Some(i) => i as usize - 1,
                        None => usize::MAX,
                    };
                    let mut parts = word.split('/');
                    let key = (at(parts.next(), positions.len()), at(parts.next(), uvs.len()));
                    *index.entry(key).or_insert_with(|| {
                        mesh.positions.push(positions.get(key.0).copied().unwrap_or(Vec3::NAN));
                        mesh.uvs.push(uvs.get(key.1).copied().unwrap_or_default());
                        mesh.positions.len() as u32 - 1
                    })
                };
                let corners: Vec<u32> = words.map(&mut corner).collect();
                mesh.triangles.extend((2..corners.len()).map(|i| [corners[0], corners[i - 1], corners[i]]));
            }
            _ => {}
        }
    }
    if uvs.is_empty() {
        mesh.uvs.clear();
    }
    mesh
}

fn stl(bytes: &[u8]) -> Mesh {
    let n = bytes.get(80..84).map_or(0, |n| u32::from_le_bytes(n.try_into().unwrap()) as usize);
    let positions: Vec<Vec3> = if bytes.len() == 84 + 50 * n {
        let floats = bytes[84..].chunks(50).flat_map(|face| face[12..48].chunks(4));
        let floats: Vec<f32> = floats.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        floats.chunks(3).map(Vec3::from_slice).collect()
    } else {
        let lines = std::str::from_utf8(bytes).unwrap_or("").lines();
        let vertices = lines.filter_map(|line| line.trim().strip_prefix("vertex"));
        vertices
            .map(|line| {
                let numbers: Vec<f32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
                Vec3::from_slice(&numbers)
            })
            .collect()
    };
    let triangles = (0..positions.len() as u32 / 3).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
    Mesh { positions, triangles, ..Mesh::default() }
}

/// Binary, little-endian, with properties of fixed size and lists of bytes counted by a byte.
fn ply(bytes: &[u8]) -> Mesh {
    let end = bytes.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    if !header.contains("binary_little_endian") {
        return Mesh::default();
    }
    let size = |kind: &str| match kind {
        "char" | "uchar" => 1,
        "short" | "ushort" => 2,
        "double" => 8,
        _ => 4,
    };
    let mut mesh = Mesh::default();
    let mut at = end;
    for element in header.split("element ").skip(1) {
        let mut lines = element.lines();
        let first: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let properties: Vec<Vec<&str>> =
            lines.filter(|l| l.starts_with("property")).map(|l| l.split_whitespace().collect()).collect();
        for _ in 0..first[1].parse::<usize>().unwrap() {
            if first[0] == "vertex" {
                let float = |i: usize| f32::from_le_bytes(bytes[at + 4 * i..at + 4 * i + 4].try_into().unwrap());
                mesh.positions.push(Vec3::new(float(0), float(1), float(2)));
            }
            for property in &properties {
                if property[1] != "list" {
                    at += size(property[1]);
                    continue;
                }
                let n = bytes[at] as usize;
                at += 1;
                if property[4] == "vertex_indices" {
                    let index = |i: usize| u32::from_le_bytes(bytes[at + 4 * i..at + 4 * i + 4].try_into().unwrap());
                    mesh.triangles.extend((2..n).map(|i| [index(0), index(i - 1), index(i)]));
                }
                at += n * size(property[3]);
            }
        }
    }
    mesh
}
