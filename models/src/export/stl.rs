//! Binary STL: the finest mesh alone, for printers and old tools.
//!
//! Space is that of printing: millimetres, +Z up. The header of 80 bytes holds the
//! seal and nothing else fits, so an STL carries no record.
//!
//! Source: 3D Systems, StereoLithography Interface Specification, 1989.

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3};

use super::{
    content::{Content, Scene},
    seal::{UNSEALED, is_sealed, seal},
};
use crate::{
    error::{StageError, StageErrorKind},
    mesh::{Maps, Mesh},
};

/// Must not begin with `solid`, which is how the text form begins.
const BEGIN: &[u8] = b"Meshkiln ";
const HEADER: usize = 80;
const FACE: usize = 50;

/// 84 bytes and 50 a triangle.
pub fn write(scene: &Scene) -> Result<Vec<u8>, StageError> {
    scene.check()?;
    let mesh = scene.mesh;
    let n_triangles = u32::try_from(mesh.triangles.len())
        .map_err(|_| StageError::internal(format!("STL of {} triangles", mesh.triangles.len())))?;
    let mut bytes = [BEGIN, UNSEALED.as_bytes()].concat();
    bytes.resize(HEADER, b' ');
    bytes.extend(n_triangles.to_le_bytes());
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle).map(to_print_space);
        let normal = (b - a).cross(c - a).normalize_or_zero();
        for vector in [normal, a, b, c] {
            bytes.extend(vector.to_array().into_iter().flat_map(f32::to_le_bytes));
        }
        bytes.extend([0; 2]);
    }
    seal(&mut bytes, BEGIN.len());
    Ok(bytes)
}

/// Reads an STL that `write` made. Corners are vertices of their own with the
/// normal of their triangle; there is no texture, so UVs are all zero.
pub fn read(bytes: &[u8]) -> Result<Content, StageError> {
    let count = bytes.get(HEADER..HEADER + 4).and_then(|word| word.first_chunk()).map(|word| u32::from_le_bytes(*word));
    let body = bytes.get(HEADER + 4..).unwrap_or_default();
    if !bytes.starts_with(BEGIN) || count.map(|n| n as usize) != Some(body.len() / FACE) || body.len() % FACE != 0 {
        return Err(unsupported(format!("{} bytes, {count:?} triangles", bytes.len())));
    }
    let mut mesh = Mesh::default();
    for face in body.as_chunks::<FACE>().0 {
        let mut floats = [0f32; 12];
        for (float, bytes) in floats.iter_mut().zip(face.as_chunks::<4>().0) {
            *float = f32::from_le_bytes(*bytes);
        }
        if !floats.iter().all(|float| float.is_finite()) {
            return Err(unsupported("a triangle is not finite".to_owned()));
        }
        let first = mesh.positions.len() as u32;
        let corners = floats[3..].as_chunks::<3>().0.iter().map(|corner| from_print_space(Vec3::from_array(*corner)));
        mesh.positions.extend(corners);
        let [x, y, z] = [floats[0], floats[1], floats[2]];
        let normal = Vec3::new(x, z, -y).try_normalize().unwrap_or(Vec3::Y);
        mesh.normals.extend([normal; 3]);
        mesh.triangles.push([first, first + 1, first + 2]);
    }
    mesh.uvs = vec![Vec2::ZERO; mesh.positions.len()];
    let maps = Maps { base_color: RgbaImage::from_pixel(1, 1, Rgba([255; 4])), roughness: 1.0, ..Maps::default() };
    Ok(Content { mesh, maps, ..Content::default() })
}

pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN) && is_sealed(bytes, BEGIN.len())
}

pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN)
}

/// glTF's space in metres to that of printers: +Y up becomes +Z up, the front
/// faces -Y, metres become millimetres.
fn to_print_space(p: Vec3) -> Vec3 {
    Vec3::new(p.x, -p.z, p.y) * 1000.0
}

fn from_print_space(p: Vec3) -> Vec3 {
    Vec3::new(p.x, p.z, -p.y) / 1000.0
}

fn unsupported(what: String) -> StageError {
    StageError::new(
        StageErrorKind::Unsupported,
        format!("the STL is not one that Meshkiln wrote: {what}"),
        "give a file that Meshkiln wrote",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::{shapes, topology::topology};

    #[test]
    fn the_surface_comes_back_and_stays_closed() {
        let (mesh, maps) = (shapes::torus(10, 0.3), shapes::grey());
        let bytes = write(&Scene::of(&mesh, &maps, "x", &json!({}))).unwrap();
        assert_eq!(bytes.len(), 84 + 50 * mesh.triangles.len());
        assert!(is_ours(&bytes) && !bytes.starts_with(b"solid"));
        let back = read(&bytes).unwrap().mesh;
        for (found, given) in back.triangles.iter().zip(&mesh.triangles) {
            for (a, b) in back.corners(*found).into_iter().zip(mesh.corners(*given)) {
                assert!((a - b).length() < 1e-6);
            }
        }
        let (found, given) = (topology(&back.positions, &back.triangles), topology(&mesh.positions, &mesh.triangles));
        assert_eq!((found.is_watertight(), found.is_manifold()), (given.is_watertight(), given.is_manifold()));
        assert!(found.is_watertight());
    }

    #[test]
    fn up_is_z_and_millimetres() {
        assert_eq!(to_print_space(Vec3::new(1.0, 2.0, 3.0)), Vec3::new(1000.0, -3000.0, 2000.0));
        assert_eq!(from_print_space(Vec3::new(1000.0, -3000.0, 2000.0)), Vec3::new(1.0, 2.0, 3.0));
    }

    #[test]
    fn touched_and_cut_files_are_not_ours() {
        let (mesh, maps) = (shapes::cube(), shapes::grey());
        let bytes = write(&Scene::of(&mesh, &maps, "x", &json!({}))).unwrap();
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert!(!is_ours(&touched), "byte {at}");
            let _ = read(&touched);
            assert_eq!(read(&bytes[..at]).unwrap_err().kind, StageErrorKind::Unsupported);
        }
    }
}
