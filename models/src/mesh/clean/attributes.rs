//! Texture coordinates, normals and colours of the corners that survived cleaning.

use glam::{Vec2, Vec3};

use super::{
    super::{Mesh, colors, normals::smooth_normals},
    faces::keep,
};

/// How the faces of a cleaned mesh hang together with the input.
pub(super) struct Corners {
    /// The input's triangle that each face of the surface was, or was a part of.
    pub origin: Vec<u32>,
    /// Whether the face was turned.
    pub turned: Vec<bool>,
    /// For each vertex of the input the one that stands for it and all it was welded with.
    pub weld: Vec<u32>,
    /// The vertex of the input that each vertex is, or `u32::MAX`.
    pub vertex_from: Vec<u32>,
    /// The face of the surface that each face is, or is a part of.
    pub face_from: Vec<u32>,
}

/// What makes a vertex of the result: where it is, what it was in the input
/// (or which face it is new in), and whether it is seen from the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Vertex {
    is_new: bool,
    from: u32,
    at: u32,
    turned: bool,
}

/// Colours of the vertices of the surface, as far as they were in the input: of all that were
/// welded the mean. `None` where the input has no colours.
pub(super) fn colors_of(mesh: &Mesh, corners: &Corners) -> Option<Vec<Option<Vec3>>> {
    if mesh.colors.is_empty() || mesh.colors.len() != mesh.positions.len() {
        return None;
    }
    let joined = colors::joined(&mesh.colors, &corners.weld);
    Some(corners.vertex_from.iter().map(|&v| joined.get(v as usize).copied()).collect())
}

/// `solid` with the texture coordinates and colours of `mesh`, and its normals if
/// `keep_normals`. Vertices that were in the input come in its order; new ones
/// follow and lie between the corners of the triangle they are in.
pub(super) fn carry_over(mesh: &Mesh, solid: Mesh, corners: &Corners, keep_normals: bool) -> Mesh {
    let keep_normals = keep_normals && mesh.normals.len() == mesh.positions.len();
    let vertex_of = |f: usize, at: u32| {
        let face = corners.face_from[f] as usize;
        let (triangle, turned) = (corners.origin[face], corners.turned[face] && keep_normals);
        let was = corners.vertex_from[at as usize];
        let corner = mesh.triangles[triangle as usize].into_iter().find(|&v| corners.weld[v as usize] == was);
        match corner {
            Some(from) => Vertex { is_new: false, from, at, turned },
            None => Vertex { is_new: true, from: triangle, at, turned },
        }
    };
    let vertices_of = |(f, face): (usize, &[u32; 3])| face.map(|at| vertex_of(f, at));
    let mut vertices: Vec<Vertex> = solid.triangles.iter().enumerate().flat_map(vertices_of).collect();
    vertices.sort_unstable();
    vertices.dedup();
    let index = |vertex: &Vertex| vertices.binary_search(vertex).unwrap_or_default() as u32;
    let triangles = solid.triangles.iter().enumerate().map(vertices_of).map(|face| face.map(|v| index(&v))).collect();
    let has_colors = mesh.colors.len() == mesh.positions.len();
    let mut all = Mesh { triangles, front: solid.front, ..Mesh::default() };
    for vertex in &vertices {
        let position = solid.positions[vertex.at as usize];
        all.positions.push(position);
        let (uv, normal, color) = if vertex.is_new {
            within(mesh, mesh.triangles[vertex.from as usize], position)
        } else {
            let from = vertex.from as usize;
            let [normal, color] = [&mesh.normals, &mesh.colors].map(|of| of.get(from).copied().unwrap_or_default());
            (mesh.uvs[from], normal, color)
        };
        if has_colors {
            all.colors.push(color);
        }
        all.uvs.push(uv);
        if keep_normals {
            all.normals.push(if vertex.turned { -normal } else { normal });
        }
    }
    if !keep_normals {
        all.normals = smooth_normals(&all.positions, &all.triangles);
    }
    all
}

/// `mesh` without the vertices that no triangle has, normals afresh where there were none.
pub(super) fn without_unused(mesh: &Mesh) -> Mesh {
    let mut used = vec![false; mesh.positions.len()];
    mesh.triangles.iter().flatten().for_each(|&v| used[v as usize] = true);
    let mut n = 0;
    let index: Vec<u32> = used
        .iter()
        .map(|&used| {
            n += u32::from(used);
            n.saturating_sub(1)
        })
        .collect();
    let mut all = Mesh {
        positions: keep(&mesh.positions, &used),
        normals: keep(&mesh.normals, &used),
        uvs: keep(&mesh.uvs, &used),
        colors: keep(&mesh.colors, &used),
        triangles: mesh.triangles.iter().map(|t| t.map(|v| index[v as usize])).collect(),
        front: mesh.front,
    };
    if all.normals.len() != all.positions.len() {
        all.normals = smooth_normals(&all.positions, &all.triangles);
    }
    all
}

/// Texture coordinate, normal and colour at the point of a triangle nearest to `p` on its plane.
fn within(mesh: &Mesh, triangle: [u32; 3], p: Vec3) -> (Vec2, Vec3, Vec3) {
    let [a, b, c] = mesh.corners(triangle);
    let normal = (b - a).cross(c - a);
    let area = normal.length_squared();
    let weights = [(b, c), (c, a), (a, b)].map(|(u, v)| ((v - u).cross(p - u).dot(normal) / area).clamp(0.0, 1.0));
    let sum: f32 = weights.iter().sum();
    let share = |i: usize| if sum.is_finite() && sum > 0.0 { weights[i] / sum } else { 1.0 / 3.0 };
    let corner = |i: usize| triangle[i] as usize;
    let uv = (0..3).map(|i| mesh.uvs[corner(i)] * share(i)).sum();
    let normal: Vec3 = (0..3).map(|i| mesh.normals.get(corner(i)).copied().unwrap_or(normal) * share(i)).sum();
    let color = (0..3).map(|i| mesh.colors.get(corner(i)).copied().unwrap_or_default() * share(i)).sum();
    (uv, normal.normalize_or(Vec3::Z), color)
}
