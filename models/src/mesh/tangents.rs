//! Tangents as MikkTSpace computes them and as glTF stores them.
//!
//! In: a mesh with normals and texture coordinates. Out: unit tangent along +u
//! and the sign w for which w * cross(normal, tangent) points along -v, upwards
//! in the texture: glTF's +Y convention. Reference: mmikk/MikkTSpace
//! (`mikktspace.c`), through the crate `bevy_mikktspace`, whose results are the same bytes.

use bevy_mikktspace::{Geometry, TangentSpace, generate_tangents};
use glam::{Vec2, Vec3, Vec4};

use super::{Mesh, normals::smooth_normals};

/// One tangent a vertex. Where the corners of a vertex have tangents that differ
/// (texture coordinates mirrored along a line without a seam, triangles without
/// area in the texture), it gets their mean and the sign of most; for charts
/// laid out without folding that is MikkTSpace's own result. Without texture
/// coordinates tangents are perpendicular to the normal and otherwise arbitrary.
pub fn vertex_tangents(mesh: &Mesh) -> Vec<Vec4> {
    let mut sums = vec![(Vec3::ZERO, 0); mesh.positions.len()];
    for (triangle, corners) in mesh.triangles.iter().zip(corner_tangents(mesh)) {
        for (&vertex, tangent) in triangle.iter().zip(corners) {
            let (sum, signs) = &mut sums[vertex as usize];
            *sum += tangent.truncate();
            *signs += if tangent.w < 0.0 { -1 } else { 1 };
        }
    }
    let tangents = sums.iter().enumerate().map(|(vertex, &(sum, signs))| {
        let normal = mesh.normals.get(vertex).copied().unwrap_or(Vec3::Z);
        let tangent = sum.try_normalize().unwrap_or_else(|| across(normal));
        tangent.extend(if signs < 0 { -1.0 } else { 1.0 })
    });
    tangents.collect()
}

/// One tangent for each corner of each triangle. Missing normals are smooth ones.
/// Corners for which MikkTSpace finds no direction (no texture coordinates, or no
/// area in the texture all around) get one perpendicular to the normal.
pub fn corner_tangents(mesh: &Mesh) -> Vec<[Vec4; 3]> {
    let smooth;
    let normals = if mesh.normals.len() == mesh.positions.len() {
        &mesh.normals
    } else {
        smooth = smooth_normals(&mesh.positions, &mesh.triangles);
        &smooth
    };
    let fallback = |triangle: &[u32; 3]| triangle.map(|v| across(normals[v as usize]).extend(1.0));
    let mut tangents: Vec<[Vec4; 3]> = mesh.triangles.iter().map(fallback).collect();
    if mesh.uvs.len() == mesh.positions.len() && !mesh.triangles.is_empty() {
        // The only error there is, more corners than 32 bits can count, leaves what stands there.
        let _ = generate_tangents(&mut Corners { mesh, normals, tangents: &mut tangents });
    }
    tangents
}

struct Corners<'a> {
    mesh: &'a Mesh,
    normals: &'a [Vec3],
    tangents: &'a mut [[Vec4; 3]],
}

impl Corners<'_> {
    fn vertex(&self, face: usize, corner: usize) -> usize {
        self.mesh.triangles[face][corner] as usize
    }
}

impl Geometry for Corners<'_> {
    fn num_faces(&self) -> usize {
        self.mesh.triangles.len()
    }

    fn num_vertices_of_face(&self, _face: usize) -> usize {
        3
    }

    fn position(&self, face: usize, corner: usize) -> [f32; 3] {
        self.mesh.positions[self.vertex(face, corner)].to_array()
    }

    fn normal(&self, face: usize, corner: usize) -> [f32; 3] {
        self.normals[self.vertex(face, corner)].to_array()
    }

    fn tex_coord(&self, face: usize, corner: usize) -> [f32; 2] {
        let Vec2 { x, y } = self.mesh.uvs[self.vertex(face, corner)];
        [x, y]
    }

    fn set_tangent(&mut self, space: Option<TangentSpace>, face: usize, corner: usize) {
        let Some([x, y, z, sign]) = space.map(|space| space.tangent_encoded()) else { return };
        // glTF's v runs down, MikkTSpace's up: the bitangent turns round.
        if let Some(tangent) = Vec3::new(x, y, z).try_normalize() {
            self.tangents[face][corner] = tangent.extend(-sign);
        }
    }
}

/// Some unit vector perpendicular to `normal`.
fn across(normal: Vec3) -> Vec3 {
    normal.try_normalize().map_or(Vec3::X, Vec3::any_orthonormal_vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit square seen from +Z, its texture upright, or mirrored from left to right.
    fn square(mirrored: bool) -> Mesh {
        let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
        Mesh {
            positions: corners.map(|(x, y)| Vec3::new(x, y, 0.0)).to_vec(),
            normals: vec![Vec3::Z; 4],
            uvs: corners.map(|(x, y)| Vec2::new(if mirrored { 1.0 - x } else { x }, 1.0 - y)).to_vec(),
            triangles: vec![[0, 1, 2], [0, 2, 3]],
            ..Mesh::default()
        }
    }

    #[test]
    fn the_bitangent_points_upwards_in_the_texture() {
        // The texture's right is +X and its top is +Y: (X, Y, Z) is right-handed, so w is 1.
        assert_eq!(vertex_tangents(&square(false)), [Vec4::new(1.0, 0.0, 0.0, 1.0); 4]);
        // The texture's right is -X: cross(Z, -X) points down, so w is -1.
        assert_eq!(vertex_tangents(&square(true)), [Vec4::new(-1.0, 0.0, 0.0, -1.0); 4]);
    }

    #[test]
    fn tangents_of_a_corner_are_weighted_by_angle_and_lie_in_the_surface() {
        // Two faces share an edge along Y; their textures' right is turned against each
        // other. MikkTSpace projects each face's tangent onto the vertex's plane,
        // normalises it and weighs it by the face's angle: 90 and 45 degrees.
        let (a, b) = (Vec2::new(1.0, 0.0), Vec2::new(0.8, 0.6));
        let positions = vec![Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::new(-1.0, 1.0, 0.0)];
        // The second face's texture is such that d position / d u is `b`.
        let uv_of = |p: Vec3, right: Vec2| Vec2::new(p.truncate().dot(right), -p.truncate().dot(right.perp()));
        let first = [0, 1, 2].map(|v: usize| uv_of(positions[v], a));
        let turned = uv_of(positions[3], b) - uv_of(positions[2], b) + first[2];
        let mesh = Mesh {
            normals: vec![Vec3::Z; 4],
            uvs: vec![first[0], first[1], first[2], turned],
            triangles: vec![[0, 1, 2], [0, 2, 3]],
            positions,
            ..Mesh::default()
        };
        let tangent = |[p, q, r]: [usize; 3]| {
            let (e1, e2) = (mesh.positions[q] - mesh.positions[p], mesh.positions[r] - mesh.positions[p]);
            let (t1, t2) = (mesh.uvs[q] - mesh.uvs[p], mesh.uvs[r] - mesh.uvs[p]);
            ((e1 * t2.y - e2 * t1.y) / t1.perp_dot(t2)).normalize()
        };
        let want = (tangent([0, 1, 2]) * 90.0 + tangent([0, 2, 3]) * 45.0).normalize();
        let seen = vertex_tangents(&mesh)[0];
        assert!(want.distance(Vec3::X) > 0.1, "the faces differ: {want}");
        assert!(seen.truncate().distance(want) < 1e-6 && seen.w == 1.0, "{seen}, not {want}");
    }

    #[test]
    fn mirrored_halves_keep_their_own_corners_and_vertices_take_the_majority() {
        // x is mirrored at the middle; the vertices there belong to both halves.
        let positions: Vec<Vec3> = (0..6).map(|i| Vec3::new((i % 3) as f32 - 1.0, (i / 3) as f32, 0.0)).collect();
        let mesh = Mesh {
            normals: vec![Vec3::Z; 6],
            uvs: positions.iter().map(|p| Vec2::new(p.x.abs(), 1.0 - p.y)).collect(),
            triangles: vec![[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]],
            positions,
            ..Mesh::default()
        };
        let corners = corner_tangents(&mesh);
        for (face, want) in [(0, -1.0), (1, -1.0), (2, 1.0), (3, 1.0)] {
            assert_eq!(corners[face], [Vec4::new(want, 0.0, 0.0, want); 3], "face {face}");
        }
        let vertices = vertex_tangents(&mesh);
        assert!([0, 3].iter().all(|&v| vertices[v].w == -1.0) && [2, 5].iter().all(|&v| vertices[v].w == 1.0));
        assert!(vertices.iter().all(|t| (t.truncate().length() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn without_a_layout_tangents_are_still_perpendicular_units() {
        let layouts = [Vec::new(), vec![Vec2::splat(0.5); 4], vec![Vec2::NAN; 4]];
        for mesh in layouts.map(|uvs| Mesh { uvs, ..square(false) }) {
            for tangent in vertex_tangents(&mesh) {
                assert!((tangent.truncate().length() - 1.0).abs() < 1e-6 && tangent.w.abs() == 1.0, "{tangent}");
                assert!(tangent.truncate().dot(Vec3::Z).abs() < 1e-6);
            }
        }
        assert!(vertex_tangents(&Mesh::default()).is_empty());
    }
}
