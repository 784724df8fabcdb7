//! Closed shapes with known answers, for tests.

use std::f32::consts::{PI, TAU};

use glam::{Vec2, Vec3};

use super::Mesh;

/// Half extents in metres around `centre`.
pub fn cuboid(centre: Vec3, half: Vec3) -> Mesh {
    let sign = |i: u32, bit: u32| if i >> bit & 1 == 1 { 1.0 } else { -1.0 };
    let positions = (0..8).map(|i| centre + half * Vec3::new(sign(i, 0), sign(i, 1), sign(i, 2))).collect();
    let quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
    let triangles = quads.iter().flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]).collect();
    Mesh { positions, triangles, ..Mesh::default() }
}

/// A pillow over the ellipse with the given half axes, as the inflate engine
/// makes them: circular profile, symmetric about z = 0, rim vertices at z = 0
/// with horizontal normals. `n` rings on each side, 6 `n` vertices on the rim.
pub fn lens(half_axes: Vec2, depth: f32, n: u32) -> Mesh {
    pillow(n, 6 * n, true, |across, along| {
        let (s, c) = (along * TAU).sin_cos();
        (half_axes * Vec2::new(c, s) * across, depth * (1.0 - across * across).max(0.0).sqrt())
    })
}

/// A ring with a hole, `radius` to the middle of its tube.
pub fn ring(radius: f32, tube: f32, n: u32) -> Mesh {
    pillow(n, 12 * n, false, |across, along| {
        let (s, c) = (along * TAU).sin_cos();
        let (ts, tc) = (across * PI).sin_cos();
        (Vec2::new(c, s) * (radius - tube * tc), tube * ts.max(0.0))
    })
}

/// Front and back sheets over (across, along), joined where across is 1, and
/// where across is 0 either shrunk to a point or joined too.
fn pillow(n_across: u32, n_along: u32, pole: bool, at: impl Fn(f32, f32) -> (Vec2, f32)) -> Mesh {
    let mut mesh = Mesh::default();
    let mut index = std::collections::HashMap::new();
    let mut vertex = |mesh: &mut Mesh, i: u32, j: u32, side: f32| {
        let on_rim = i == n_across || (i == 0 && !pole);
        let j = if i == 0 && pole { 0 } else { j % n_along };
        *index.entry((i, j, if on_rim { 0 } else { side as i32 })).or_insert_with(|| {
            let (p, z) = at(i as f32 / n_across as f32, j as f32 / n_along as f32);
            mesh.positions.push(p.extend(if on_rim { 0.0 } else { side * z }));
            mesh.positions.len() as u32 - 1
        })
    };
    for side in [1.0, -1.0] {
        for (i, j) in (0..n_across).flat_map(|i| (0..n_along).map(move |j| (i, j))) {
            let quad = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)].map(|(i, j)| vertex(&mut mesh, i, j, side));
            for [a, b, c] in [[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]] {
                if a != b && b != c && c != a {
                    mesh.triangles.push(if side > 0.0 { [a, b, c] } else { [a, c, b] });
                }
            }
        }
    }
    mesh.normals = smooth_normals(&mesh);
    mesh
}

fn smooth_normals(mesh: &Mesh) -> Vec<Vec3> {
    let mut normals = vec![Vec3::ZERO; mesh.positions.len()];
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle);
        triangle.iter().for_each(|&v| normals[v as usize] += (b - a).cross(c - a));
    }
    normals.into_iter().map(|n| n.normalize_or(Vec3::Z)).collect()
}
