//! The pieces of a mesh file become one `TexturedMesh` that keeps its promises.
//!
//! In: parts as a format gives them, indices in range, values as found. Out: no
//! unused vertices, positions finite, normals and tangents of unit length,
//! colours within 0..=1, every attribute there for all vertices or for none.

use glam::{Vec2, Vec3, Vec4};

use super::{Limits, damaged, shorten, too_large};
use crate::{
    error::StageError,
    mesh::{
        Mesh,
        normals::smooth_normals,
        textured::{Material, TexturedMesh},
    },
};

/// A piece of a mesh file. Attributes are empty or hold one entry a vertex.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub mesh: Mesh,
    pub colors: Vec<Vec4>,
    pub tangents: Vec<Vec4>,
    /// Index into the materials, one a triangle.
    pub face_materials: Vec<u32>,
}

/// Sentences for the user, each once, at most `Notes::MAX`.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    const MAX: usize = 50;

    pub fn add(&mut self, note: impl Into<String>) {
        let note = shorten(note.into());
        if self.0.len() < Notes::MAX && !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub fn finish(self) -> Vec<String> {
        self.0
    }
}

pub(super) struct Assembly<'a> {
    limits: &'a Limits,
    parts: Vec<Part>,
    n_vertices: usize,
    n_triangles: usize,
}

impl<'a> Assembly<'a> {
    pub fn new(limits: &'a Limits) -> Assembly<'a> {
        Assembly { limits, parts: Vec::new(), n_vertices: 0, n_triangles: 0 }
    }

    /// Is there room for that many more? Asked before memory is.
    pub fn check_room(&self, n_vertices: usize, n_triangles: usize) -> Result<(), StageError> {
        let (vertices, triangles) = (self.n_vertices + n_vertices, self.n_triangles + n_triangles);
        if vertices > self.limits.vertices {
            return Err(too_large("vertices", vertices, self.limits.vertices));
        }
        if triangles > self.limits.triangles {
            return Err(too_large("triangles", triangles, self.limits.triangles));
        }
        Ok(())
    }

    /// Takes a part in. A part without triangles is passed over.
    pub fn push(&mut self, mut part: Part, notes: &mut Notes) -> Result<(), StageError> {
        if part.mesh.triangles.is_empty() {
            return Ok(());
        }
        drop_unused(&mut part);
        self.check_room(part.mesh.positions.len(), part.mesh.triangles.len())?;
        check(&mut part, notes)?;
        self.n_vertices += part.mesh.positions.len();
        self.n_triangles += part.mesh.triangles.len();
        self.parts.push(part);
        Ok(())
    }

    /// All parts as one. `InvalidInput` without a triangle.
    ///
    /// Where only some parts have an attribute the others get smooth normals, UVs
    /// at (0, 0), white. Tangents are kept when all parts that need them have them,
    /// those whose material has a normal texture.
    pub fn finish(self, materials: Vec<Material>) -> Result<TexturedMesh, StageError> {
        let has = |attribute: fn(&Part) -> bool| self.parts.iter().any(attribute);
        let (normals, uvs, colors) =
            (has(|p| !p.mesh.normals.is_empty()), has(|p| !p.mesh.uvs.is_empty()), has(|p| !p.colors.is_empty()));
        let bumpy = |i: &u32| materials.get(*i as usize).is_some_and(|m| m.normal_texture.is_some());
        let tangents = has(|p| !p.tangents.is_empty())
            && self.parts.iter().all(|p| !p.tangents.is_empty() || !p.face_materials.iter().any(bumpy));

        let mut out = TexturedMesh::default();
        for mut part in self.parts {
            let n = part.mesh.positions.len();
            if normals && part.mesh.normals.is_empty() {
                part.mesh.normals = smooth_normals(&part.mesh.positions, &part.mesh.triangles);
            }
            let first = out.mesh.positions.len() as u32;
            out.mesh.triangles.extend(part.mesh.triangles.iter().map(|t| t.map(|v| v + first)));
            out.mesh.positions.append(&mut part.mesh.positions);
            out.mesh.normals.append(&mut part.mesh.normals);
            extend(&mut out.mesh.uvs, part.mesh.uvs, uvs, n, Vec2::ZERO);
            extend(&mut out.colors, part.colors, colors, n, Vec4::ONE);
            extend(&mut out.tangents, part.tangents, tangents, n, Vec4::new(1.0, 0.0, 0.0, 1.0));
            out.face_materials.append(&mut part.face_materials);
        }
        if out.mesh.triangles.is_empty() {
            return Err(StageError::invalid(
                "the mesh file has no triangles",
                "export a surface: points and lines have none",
            ));
        }
        out.materials = materials;
        if out.materials.len() <= 1 {
            out.face_materials.clear();
        }
        Ok(out)
    }
}

fn extend<T: Copy>(all: &mut Vec<T>, mut own: Vec<T>, wanted: bool, n: usize, missing: T) {
    if wanted && own.is_empty() {
        all.resize(all.len() + n, missing);
    } else if wanted {
        all.append(&mut own);
    }
}

/// Drops vertices that no triangle names; the others keep their order.
fn drop_unused(part: &mut Part) {
    let mut used = vec![false; part.mesh.positions.len()];
    part.mesh.triangles.iter().flatten().for_each(|&v| used[v as usize] = true);
    if used.iter().all(|&used| used) {
        return;
    }
    let mut n = 0;
    let places: Vec<u32> = used
        .iter()
        .map(|&used| {
            n += u32::from(used);
            n.wrapping_sub(1)
        })
        .collect();
    part.mesh.triangles.iter_mut().flatten().for_each(|v| *v = places[*v as usize]);
    keep(&mut part.mesh.positions, &used);
    keep(&mut part.mesh.normals, &used);
    keep(&mut part.mesh.uvs, &used);
    keep(&mut part.colors, &used);
    keep(&mut part.tangents, &used);
}

fn keep<T>(values: &mut Vec<T>, used: &[bool]) {
    let mut used = used.iter();
    values.retain(|_| used.next() == Some(&true));
}

/// Makes good what can be: only a vertex that is nowhere is an error.
fn check(part: &mut Part, notes: &mut Notes) -> Result<(), StageError> {
    let mesh = &mut part.mesh;
    if let Some((i, p)) = mesh.positions.iter().enumerate().find(|(_, p)| !is_sane(**p)) {
        return Err(damaged(format!("the mesh file has vertex {i} at {p}")));
    }
    if mesh.uvs.iter().any(|uv| !uv.is_finite()) {
        notes.add("texture coordinates that are not numbers were set to 0");
        mesh.uvs.iter_mut().filter(|uv| !uv.is_finite()).for_each(|uv| *uv = Vec2::ZERO);
    }
    if part.colors.iter().any(|color| !color.is_finite()) {
        notes.add("vertex colours that are not numbers were set to white");
        part.colors.iter_mut().filter(|color| !color.is_finite()).for_each(|color| *color = Vec4::ONE);
    }
    part.colors.iter_mut().for_each(|color| *color = color.clamp(Vec4::ZERO, Vec4::ONE));

    let mut n_bad = 0;
    for normal in &mut mesh.normals {
        *normal = unit(*normal).unwrap_or_else(|| {
            n_bad += 1;
            Vec3::ZERO
        });
    }
    if n_bad > 0 {
        notes.add("normals without a direction were made from the faces");
        let smooth = smooth_normals(&mesh.positions, &mesh.triangles);
        let bad = mesh.normals.iter_mut().zip(smooth).filter(|(normal, _)| **normal == Vec3::ZERO);
        bad.for_each(|(normal, smooth)| *normal = smooth);
    }
    let tangents: Option<Vec<Vec4>> =
        part.tangents.iter().map(|t| Some(unit(t.truncate())?.extend(sign(t.w)))).collect();
    part.tangents = tangents.unwrap_or_default();
    if mesh.normals.is_empty() {
        // A tangent alone says nothing.
        part.tangents.clear();
    }
    Ok(())
}

/// Beyond this, in any unit, areas and volumes are no numbers any more.
const FARTHEST: f32 = 1e12;

fn is_sane(p: Vec3) -> bool {
    p.abs().max_element() <= FARTHEST && p.is_finite()
}

/// `v` at length 1; exactly as it is when it is that already, to a rounding.
fn unit(v: Vec3) -> Option<Vec3> {
    if (v.length_squared() - 1.0).abs() < 1e-6 { Some(v) } else { v.try_normalize() }
}

fn sign(w: f32) -> f32 {
    if w < 0.0 { -1.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::textured::TextureUse;

    fn triangle() -> Part {
        let mesh = Mesh {
            positions: vec![Vec3::NAN, Vec3::ZERO, Vec3::X, Vec3::Y],
            triangles: vec![[1, 2, 3]],
            ..Mesh::default()
        };
        Part { mesh, face_materials: vec![0], ..Part::default() }
    }

    fn assembled(parts: Vec<Part>, materials: Vec<Material>) -> (TexturedMesh, Vec<String>) {
        let (limits, mut notes) = (Limits::default(), Notes::default());
        let mut assembly = Assembly::new(&limits);
        parts.into_iter().for_each(|part| assembly.push(part, &mut notes).unwrap());
        (assembly.finish(materials).unwrap(), notes.finish())
    }

    #[test]
    fn unused_vertices_go_and_parts_are_joined() {
        let (out, _) = assembled(vec![triangle(), triangle()], Vec::new());
        assert_eq!(out.mesh.positions, [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::ZERO, Vec3::X, Vec3::Y]);
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [3, 4, 5]]);
        assert!(out.mesh.normals.is_empty() && out.colors.is_empty() && out.face_materials.is_empty());
    }

    #[test]
    fn what_one_part_has_the_others_get() {
        let mut rich = triangle();
        rich.mesh.normals = vec![Vec3::NAN, Vec3::Z * 3.0, Vec3::ZERO, Vec3::X];
        rich.mesh.uvs = vec![Vec2::ONE, Vec2::ONE, Vec2::new(0.0, f32::INFINITY), Vec2::ONE];
        rich.colors = vec![Vec4::splat(2.0), Vec4::splat(0.5), Vec4::NAN, Vec4::splat(-1.0)];
        rich.tangents = vec![Vec4::new(2.0, 0.0, 0.0, -0.3); 4];
        let (out, notes) = assembled(vec![triangle(), rich], Vec::new());
        assert_eq!(out.mesh.normals, [Vec3::Z, Vec3::Z, Vec3::Z, Vec3::Z, Vec3::Z, Vec3::X]);
        assert_eq!(out.mesh.uvs, [Vec2::ZERO, Vec2::ZERO, Vec2::ZERO, Vec2::ONE, Vec2::ZERO, Vec2::ONE]);
        assert_eq!(out.colors[2..], [Vec4::ONE, Vec4::splat(0.5), Vec4::ONE, Vec4::ZERO]);
        assert_eq!(out.tangents[2..4], [Vec4::new(1.0, 0.0, 0.0, 1.0), Vec4::new(1.0, 0.0, 0.0, -1.0)]);
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn tangents_go_when_a_part_that_needs_them_has_none() {
        let with = || {
            let mut part = triangle();
            part.mesh.normals = vec![Vec3::Z; 4];
            part.tangents = vec![Vec4::new(1.0, 0.0, 0.0, 1.0); 4];
            part
        };
        let materials = vec![Material { normal_texture: Some(TextureUse::of(0)), ..Material::default() }];
        assert!(assembled(vec![with(), triangle()], materials.clone()).0.tangents.is_empty());
        assert_eq!(assembled(vec![with(), with()], materials).0.tangents.len(), 6);
    }

    #[test]
    fn nowhere_and_nothing_are_errors() {
        let (limits, mut notes) = (Limits { triangles: 1, ..Limits::default() }, Notes::default());
        let mut bad = triangle();
        bad.mesh.triangles = vec![[0, 1, 2]];
        assert!(Assembly::new(&limits).push(bad, &mut notes).unwrap_err().message.contains("vertex 0"));
        assert!(Assembly::new(&limits).finish(Vec::new()).is_err());
        let mut assembly = Assembly::new(&limits);
        assembly.push(triangle(), &mut notes).unwrap();
        let error = assembly.push(triangle(), &mut notes).unwrap_err();
        assert_eq!(error.message, "the mesh file has 2 triangles, more than 1");
    }
}
