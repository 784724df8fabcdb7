//! Binary PLY: the finest mesh with normals, texture coordinates and colours on
//! the vertices, and the record in comments.
//!
//! Colours are the base colour at each vertex, sRGB. Texture space is PLY's usual
//! one: t counts from the bottom. The record is cut into lines that the oldest
//! readers still take, all ASCII; the seal is in the first comment.

use std::fmt::Write;

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3};
use serde_json::Value as Json;

use super::{
    content::{Content, Scene, front},
    seal::{UNSEALED, is_sealed, seal},
};
use crate::{
    error::{StageError, StageErrorKind},
    mesh::{Maps, Mesh},
};

const BEGIN: &str = "ply\nformat binary_little_endian 1.0\ncomment Meshkiln ";
const RECORD_LINE: &str = "comment meshkiln ";
/// Characters of the record a line; some readers keep no more than 256 a word.
const LINE: usize = 200;
const VERTEX: &str = "property float x\nproperty float y\nproperty float z\n\
    property float nx\nproperty float ny\nproperty float nz\n\
    property float s\nproperty float t\n\
    property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\n";
const FACE: &str = "property list uchar int vertex_indices\nend_header\n";
const VERTEX_BYTES: usize = 8 * 4 + 4;
const FACE_BYTES: usize = 1 + 3 * 4;

/// 36 bytes a vertex, 13 a triangle. `record` goes into the comments.
pub fn write(scene: &Scene, record: &Json) -> Result<Vec<u8>, StageError> {
    scene.check()?;
    let mesh = scene.mesh;
    let mut bytes = header(record, mesh.positions.len(), mesh.triangles.len()).into_bytes();
    for ((p, n), uv) in mesh.positions.iter().zip(&mesh.normals).zip(&mesh.uvs) {
        let floats = [p.x, p.y, p.z, n.x, n.y, n.z, uv.x, 1.0 - uv.y];
        bytes.extend(floats.into_iter().flat_map(f32::to_le_bytes));
        bytes.extend(color_at(&scene.maps.base_color, *uv));
    }
    for triangle in &mesh.triangles {
        bytes.push(3);
        bytes.extend(triangle.iter().flat_map(|v| v.to_le_bytes()));
    }
    seal(&mut bytes, BEGIN.len());
    Ok(bytes)
}

/// Reads a PLY that `write` made. Its maps are one white texel: the colours are on
/// the vertices, which `Mesh` does not have.
pub fn read(bytes: &[u8]) -> Result<Content, StageError> {
    let (record, n_vertices, n_triangles, at) = read_header(bytes)?;
    let body = &bytes[at..];
    let n_bytes =
        n_vertices.checked_mul(VERTEX_BYTES).and_then(|v| v.checked_add(n_triangles.checked_mul(FACE_BYTES)?));
    if n_bytes != Some(body.len()) {
        return Err(damaged(&format!("{n_vertices} vertices and {n_triangles} triangles in {} bytes", body.len())));
    }
    let (vertices, faces) = body.split_at(n_vertices * VERTEX_BYTES);
    let mut mesh = Mesh { front: front(&record)?, ..Mesh::default() };
    for vertex in vertices.as_chunks::<VERTEX_BYTES>().0 {
        let mut floats = [0f32; 8];
        for (float, bytes) in floats.iter_mut().zip(vertex.as_chunks::<4>().0) {
            *float = f32::from_le_bytes(*bytes);
        }
        let [x, y, z, nx, ny, nz, s, t] = floats;
        if !floats.iter().all(|float| float.is_finite()) {
            return Err(damaged(&format!("a vertex is at {x} {y} {z}")));
        }
        mesh.positions.push(Vec3::new(x, y, z));
        mesh.normals.push(Vec3::new(nx, ny, nz));
        mesh.uvs.push(Vec2::new(s, 1.0 - t));
    }
    for face in faces.as_chunks::<FACE_BYTES>().0 {
        let mut triangle = [0u32; 3];
        for (vertex, bytes) in triangle.iter_mut().zip(face[1..].as_chunks::<4>().0) {
            *vertex = u32::from_le_bytes(*bytes);
        }
        if face[0] != 3 || triangle.iter().any(|&v| v as usize >= n_vertices) {
            return Err(damaged(&format!("a face of {} names {triangle:?} of {n_vertices}", face[0])));
        }
        mesh.triangles.push(triangle);
    }
    let maps = Maps { base_color: RgbaImage::from_pixel(1, 1, Rgba([255; 4])), roughness: 1.0, ..Maps::default() };
    let name = record.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok(Content { mesh, maps, name, meshkiln: record, ..Content::default() })
}

pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN.as_bytes()) && is_sealed(bytes, BEGIN.len())
}

/// The record, also when the file was touched since.
pub fn record(bytes: &[u8]) -> Option<Json> {
    Some(read_header(bytes).ok()?.0)
}

/// The same file with the record's `report` set.
pub fn with_report(bytes: &[u8], report: &Json) -> Result<Vec<u8>, StageError> {
    let (mut record, n_vertices, n_triangles, at) = read_header(bytes)?;
    let fields = record.as_object_mut().ok_or_else(|| damaged("record is not an object"))?;
    fields.insert("report".to_owned(), report.clone());
    let mut out = header(&record, n_vertices, n_triangles).into_bytes();
    out.extend(&bytes[at..]);
    seal(&mut out, BEGIN.len());
    Ok(out)
}

pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"ply\n") || bytes.starts_with(b"ply\r")
}

fn header(record: &Json, n_vertices: usize, n_triangles: usize) -> String {
    let mut text = format!("{BEGIN}{UNSEALED}\n");
    for line in ascii(&record.to_string()).as_bytes().chunks(LINE) {
        text.push_str(RECORD_LINE);
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("element vertex {n_vertices}\n{VERTEX}element face {n_triangles}\n{FACE}"));
    text
}

/// JSON whose every other character is written as an escape.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// Record, vertices, triangles, and where the body begins.
fn read_header(bytes: &[u8]) -> Result<(Json, usize, usize, usize), StageError> {
    if !bytes.starts_with(BEGIN.as_bytes()) {
        return Err(damaged("it begins otherwise"));
    }
    let end = bytes.windows(END.len()).position(|window| window == END).map(|at| at + END.len());
    let end = end.ok_or_else(|| damaged("its header does not end"))?;
    let text = str::from_utf8(&bytes[..end]).map_err(|_| damaged("its header is no text"))?;
    let (mut record, mut counts) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(part) = line.strip_prefix(RECORD_LINE) {
            record.push_str(part);
        } else if let Some(element) = line.strip_prefix("element ") {
            let count = element.split_once(' ').and_then(|(_, count)| count.parse::<usize>().ok());
            counts.push(count.ok_or_else(|| damaged(line))?);
        }
    }
    let record: Json = serde_json::from_str(&record).map_err(|e| damaged(&format!("record: {e}")))?;
    let [n_vertices, n_triangles] = counts[..] else { return Err(damaged("it has other elements")) };
    // Other properties would make other bytes of the body.
    if !text.ends_with(&format!("element vertex {n_vertices}\n{VERTEX}element face {n_triangles}\n{FACE}")) {
        return Err(damaged("it has other properties"));
    }
    Ok((record, n_vertices, n_triangles, end))
}

const END: &[u8] = b"\nend_header\n";

/// Bilinear between the four nearest texels, clamped at the border.
fn color_at(image: &RgbaImage, uv: Vec2) -> [u8; 4] {
    let (w, h) = image.dimensions();
    if w == 0 || h == 0 {
        return [255; 4];
    }
    let at = (uv * Vec2::new(w as f32, h as f32) - 0.5).clamp(Vec2::ZERO, Vec2::new((w - 1) as f32, (h - 1) as f32));
    let (x, y) = (at.x as u32, at.y as u32);
    let (right, below) = ((x + 1).min(w - 1), (y + 1).min(h - 1));
    let mix = at.fract();
    let texel = |x, y| image.get_pixel(x, y).0.map(f32::from);
    let (a, b, c, d) = (texel(x, y), texel(right, y), texel(x, below), texel(right, below));
    std::array::from_fn(|i| {
        let above = a[i] + (b[i] - a[i]) * mix.x;
        let under = c[i] + (d[i] - c[i]) * mix.x;
        (above + (under - above) * mix.y).round() as u8
    })
}

fn damaged(what: &str) -> StageError {
    let what: String = what.chars().take(200).collect();
    StageError::new(
        StageErrorKind::Unsupported,
        format!("the PLY is not one that Meshkiln wrote: {what}"),
        "give a file that Meshkiln wrote",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::shapes;

    fn file() -> (Mesh, Vec<u8>) {
        let mesh = shapes::torus(8, 0.3);
        let maps = shapes::grey();
        let record = json!({ "name": "灯籠 \u{1F3EE} \"x\"\n", "long": "y".repeat(500) });
        let bytes = write(&Scene::of(&mesh, &maps, "x", &record), &record).unwrap();
        (mesh, bytes)
    }

    #[test]
    fn mesh_and_record_come_back() {
        let (mesh, bytes) = file();
        let back = read(&bytes).unwrap();
        assert_eq!((&back.mesh.positions, &back.mesh.normals), (&mesh.positions, &mesh.normals));
        assert_eq!(back.mesh.triangles, mesh.triangles);
        assert_eq!(back.name, "灯籠 \u{1F3EE} \"x\"\n");
        assert!(is_ours(&bytes));
        let header = &bytes[..bytes.windows(END.len()).position(|w| w == END).unwrap()];
        assert!(header.is_ascii() && header.split(|b| *b == b'\n').all(|line| line.len() < 256));

        let reported = with_report(&bytes, &json!({ "passed": true })).unwrap();
        assert!(is_ours(&reported));
        assert_eq!(record(&reported).unwrap()["report"]["passed"], true);
        assert_eq!(read(&reported).unwrap().mesh, back.mesh);
    }

    #[test]
    fn vertices_have_the_colour_of_the_texture() {
        let image = RgbaImage::from_fn(2, 1, |x, _| Rgba([x as u8 * 200, 10, 20, 255]));
        assert_eq!(color_at(&image, Vec2::new(0.25, 0.5)), [0, 10, 20, 255]);
        assert_eq!(color_at(&image, Vec2::new(0.5, 0.5)), [100, 10, 20, 255]);
        assert_eq!(color_at(&image, Vec2::new(7.0, -3.0)), [200, 10, 20, 255]);
    }

    #[test]
    fn touched_and_cut_files_are_not_ours_and_get_typed_errors() {
        let (_, bytes) = file();
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert!(!is_ours(&touched), "byte {at}");
            let _ = read(&touched);
            let _ = record(&touched);
            assert!(!is_ours(&bytes[..at]));
            assert_eq!(read(&bytes[..at]).unwrap_err().kind, StageErrorKind::Unsupported);
        }
    }
}
