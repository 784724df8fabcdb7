//! Closed solids with known answers, normals and a one-to-one UV layout, for
//! tests and benches.

use std::f32::consts::TAU;

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3};

use super::{Maps, Mesh};

/// Plain grey, rough, four pixels wide.
pub fn grey() -> Maps {
    Maps {
        base_color: RgbaImage::from_pixel(4, 4, Rgba([128, 128, 128, 255])),
        roughness: 1.0,
        metallic: 0.0,
        ..Maps::default()
    }
}

/// Ball of radius 1 around the origin from `n` rings of `2 n` quads, `n` >= 2.
/// Euler number 2. Along one meridian and at the poles vertices are doubled.
pub fn sphere(n: u32) -> Mesh {
    let mut mesh = grid(2 * n, n, |u, v| {
        let (sin, cos) = (v * TAU / 2.0).sin_cos();
        let ring = if v == 0.0 || v == 1.0 { 0.0 } else { sin };
        let (x, z) = (u * TAU).sin_cos();
        let p = Vec3::new(ring * x, cos, ring * z);
        (p, p.normalize())
    });
    // Quads at the poles are triangles.
    let flat = |[a, b, c]: [u32; 3]| {
        let [a, b, c] = [a, b, c].map(|v| mesh.positions[v as usize]);
        a == b || b == c || c == a
    };
    mesh.triangles = mesh.triangles.iter().copied().filter(|&t| !flat(t)).collect();
    mesh
}

/// Ring around the Y axis, radius 1, tube of radius `tube` < 1, from `2 n` by `n`
/// quads. Euler number 0. Vertices are doubled along two circles.
pub fn torus(n: u32, tube: f32) -> Mesh {
    grid(2 * n, n, |u, v| {
        let (x, z) = (u * TAU).sin_cos();
        let (up, out) = (v * TAU).sin_cos();
        let normal = Vec3::new(out * x, up, out * z);
        (Vec3::new(x, 0.0, z) + normal * tube, normal)
    })
}

/// Cube of side 2 around the origin, 24 vertices, a sixth of the texture a side.
pub fn cube() -> Mesh {
    let mut mesh = Mesh::default();
    for (side, normal) in [Vec3::X, -Vec3::X, Vec3::Y, -Vec3::Y, Vec3::Z, -Vec3::Z].into_iter().enumerate() {
        let right = if normal.y == 0.0 { Vec3::Y.cross(normal) } else { Vec3::X };
        let up = normal.cross(right);
        let first = mesh.positions.len() as u32;
        let cell = Vec2::new((side % 3) as f32 / 3.0, (side / 3) as f32 / 2.0);
        for (x, y) in [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)] {
            mesh.positions.push(normal + right * x + up * y);
            mesh.normals.push(normal);
            mesh.uvs.push(cell + Vec2::new((x + 1.0) / 6.0, (1.0 - y) / 4.0));
        }
        mesh.triangles.extend([[first, first + 1, first + 2], [first, first + 2, first + 3]]);
    }
    mesh
}

/// `columns` by `rows` quads over the unit square of UVs; where u or v comes
/// round to 1 the position of 0 is taken, bit by bit, unless v is a pole.
fn grid(columns: u32, rows: u32, surface: impl Fn(f32, f32) -> (Vec3, Vec3)) -> Mesh {
    let closes = surface(0.0, 0.0).0.distance(surface(0.0, 1.0).0) < 1e-3;
    let mut mesh = Mesh::default();
    for row in 0..=rows {
        for column in 0..=columns {
            let wrapped_row = if closes { row % rows } else { row };
            let (u, v) = ((column % columns) as f32 / columns as f32, wrapped_row as f32 / rows as f32);
            let (position, normal) = surface(u, v);
            mesh.positions.push(position);
            mesh.normals.push(normal);
            mesh.uvs.push(Vec2::new(column as f32 / columns as f32, row as f32 / rows as f32));
        }
    }
    let facing_out = |[a, b, c]: [u32; 3]| {
        let [pa, pb, pc] = mesh.corners([a, b, c]);
        let face = (pb - pa).cross(pc - pa);
        if face.dot(mesh.normals[b as usize]) < 0.0 { [a, c, b] } else { [a, b, c] }
    };
    let mut triangles = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let at = row * (columns + 1) + column;
            let below = at + columns + 1;
            triangles.extend([facing_out([at, below, below + 1]), facing_out([at, below + 1, at + 1])]);
        }
    }
    mesh.triangles = triangles;
    mesh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::topology::topology;

    #[test]
    fn shapes_are_closed_and_have_their_volume() {
        for (mesh, volume) in [(sphere(32), TAU * 2.0 / 3.0), (torus(32, 0.4), TAU * TAU / 2.0 * 0.16), (cube(), 8.0)] {
            let t = topology(&mesh.positions, &mesh.triangles);
            assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{t:?}");
            let six: f32 = mesh.triangles.iter().map(|&t| mesh.corners(t)).map(|[a, b, c]| a.dot(b.cross(c))).sum();
            assert!((six / 6.0 - volume).abs() < volume * 0.02, "{} is not {volume}", six / 6.0);
        }
    }
}
