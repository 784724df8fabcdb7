//! What a textured mesh looks like at a point of its surface.
//!
//! In: a mesh with materials and textures, a point on one of its triangles and how
//! large a piece around it counts. Out: the material there, factors multiplied in,
//! and the normal with the normal texture's bumps.

use std::collections::BTreeMap;

use glam::{Vec2, Vec3, Vec4};

use super::{
    AlphaMode, Material, TextureUse, TexturedMesh,
    texture::{Encoding, Texture},
};
use crate::{
    error::StageError,
    mesh::{normals::smooth_normals, tangents::corner_tangents},
};

/// Surface values at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detail {
    /// Linear RGBA, straight alpha, 0..=1.
    pub base_color: Vec4,
    /// 0..=1: how much light from around arrives, by the occlusion texture.
    pub occlusion: f32,
    /// 0..=1.
    pub roughness: f32,
    /// 0..=1.
    pub metallic: f32,
    /// Linear RGB, 0 and up.
    pub emissive: Vec3,
    /// Unit length, with the bumps of the normal texture; in the space of the mesh.
    pub normal: Vec3,
    /// Index of the material; 0 where there are none.
    pub material: u32,
}

/// Textured meshes, prepared to be read at many points.
pub struct Details<'a> {
    high: &'a TexturedMesh,
    materials: Vec<Material>,
    textures: BTreeMap<(usize, Encoding), Texture<'a>>,
    /// The mesh's own normals, or smooth ones where it has none.
    normals: Vec<Vec3>,
    /// Texture units to a metre, for each face; empty without texture coordinates.
    densities: Vec<f32>,
    /// For each corner; empty unless a normal texture needs them.
    tangents: Vec<[Vec4; 3]>,
}

impl<'a> Details<'a> {
    /// Reads coarser versions of all textures in use: a third more memory than
    /// they have, twice that for a texture used as colour and as data. Refuses
    /// indices and counts that do not fit together.
    pub fn new(high: &'a TexturedMesh) -> Result<Self, StageError> {
        check(high)?;
        let mesh = &high.mesh;
        let materials = if high.materials.is_empty() { vec![Material::default()] } else { high.materials.clone() };
        let mut textures = BTreeMap::new();
        if !mesh.uvs.is_empty() {
            for (how, encoding) in materials.iter().flat_map(uses) {
                textures
                    .entry((how.texture, encoding))
                    .or_insert_with(|| Texture::new(&high.textures[how.texture], encoding));
            }
        }
        let normals = if mesh.normals.len() == mesh.positions.len() {
            mesh.normals.clone()
        } else {
            smooth_normals(&mesh.positions, &mesh.triangles)
        };
        let has_bumps = !mesh.uvs.is_empty() && materials.iter().any(|m| m.normal_texture.is_some());
        let tangents = match (has_bumps, high.tangents.len() == mesh.positions.len()) {
            (false, _) => Vec::new(),
            (true, true) => mesh.triangles.iter().map(|t| t.map(|v| high.tangents[v as usize])).collect(),
            (true, false) => corner_tangents(mesh),
        };
        let density = |triangle: &[u32; 3]| {
            let [a, b, c] = mesh.corners(*triangle);
            let [p, q, r] = triangle.map(|v| mesh.uvs[v as usize]);
            ((q - p).perp_dot(r - p).abs() / (b - a).cross(c - a).length().max(f32::MIN_POSITIVE)).sqrt()
        };
        let densities = if textures.is_empty() { Vec::new() } else { mesh.triangles.iter().map(density).collect() };
        Ok(Self { high, materials, textures, normals, densities, tangents })
    }

    /// At a point of triangle `face`; a piece of `footprint` metres across is averaged.
    pub fn at(&self, face: u32, barycentric: Vec3, footprint: f32) -> Detail {
        let mesh = &self.high.mesh;
        let triangle = mesh.triangles[face as usize].map(|v| v as usize);
        let index = self.material(face);
        let material = &self.materials[index as usize];
        let normal = self.smooth_normal(face, barycentric);
        let mut detail = Detail {
            base_color: material.base_color,
            occlusion: 1.0,
            roughness: material.roughness,
            metallic: material.metallic,
            emissive: Vec3::from_array(material.emissive),
            normal,
            material: index,
        };
        if !self.high.colors.is_empty() {
            detail.base_color *= mix(triangle.map(|v| self.high.colors[v]), barycentric);
        }
        if !self.textures.is_empty() {
            let uv = mix(triangle.map(|v| mesh.uvs[v]), barycentric);
            let size = self.densities[face as usize] * footprint;
            self.add_textures(&mut detail, material, uv, size, || mix(self.tangents[face as usize], barycentric));
        }
        match material.alpha {
            AlphaMode::Opaque => detail.base_color.w = 1.0,
            AlphaMode::Mask(least) => detail.base_color.w = if detail.base_color.w >= least { 1.0 } else { 0.0 },
            AlphaMode::Blend => {}
        }
        detail.base_color = detail.base_color.clamp(Vec4::ZERO, Vec4::ONE);
        detail
    }

    /// Unit normal without the bumps of textures.
    pub fn smooth_normal(&self, face: u32, barycentric: Vec3) -> Vec3 {
        let triangle = self.high.mesh.triangles[face as usize];
        mix(triangle.map(|v| self.normals[v as usize]), barycentric).try_normalize().unwrap_or_else(|| {
            let [a, b, c] = self.high.mesh.corners(triangle);
            (b - a).cross(c - a).normalize_or(Vec3::Z)
        })
    }

    /// One a vertex: the mesh's own, or smooth ones where it has none.
    pub fn normals(&self) -> &[Vec3] {
        &self.normals
    }

    /// Index of a triangle's material.
    pub fn material(&self, face: u32) -> u32 {
        self.high.face_materials.get(face as usize).copied().unwrap_or(0)
    }

    pub fn is_double_sided(&self, face: u32) -> bool {
        self.materials[self.material(face) as usize].double_sided
    }

    /// `size`: of the piece to be averaged, in texture units.
    fn add_textures(&self, detail: &mut Detail, material: &Material, uv: Vec2, size: f32, tangent: impl Fn() -> Vec4) {
        let read = |how: &Option<TextureUse>, encoding: Encoding| {
            let how = how.as_ref()?;
            let texture = &self.textures[&(how.texture, encoding)];
            let texels = size * texture.side() * (how.scale.x * how.scale.y).abs().sqrt();
            Some(texture.sample(uv, how, texels.max(1.0).log2()))
        };
        if let Some(color) = read(&material.base_color_texture, Encoding::Srgb) {
            detail.base_color *= color;
        }
        if let Some(color) = read(&material.metallic_roughness_texture, Encoding::Linear) {
            detail.roughness *= color.y;
            detail.metallic *= color.z;
        }
        if let Some(color) = read(&material.occlusion_texture, Encoding::Linear) {
            detail.occlusion = 1.0 + material.occlusion_strength * (color.x - 1.0);
        }
        if let Some(color) = read(&material.emissive_texture, Encoding::Srgb) {
            detail.emissive *= color.truncate();
        }
        if let Some(color) = read(&material.normal_texture, Encoding::Linear) {
            let bump = (color.truncate() * 2.0 - 1.0) * Vec3::new(material.normal_scale, material.normal_scale, 1.0);
            let tangent = tangent();
            let along = tangent.truncate().normalize_or_zero();
            let bitangent = detail.normal.cross(along) * tangent.w.signum();
            let bumpy = along * bump.x + bitangent * bump.y + detail.normal * bump.z;
            detail.normal = bumpy.try_normalize().unwrap_or(detail.normal);
        }
    }
}

fn mix<T: std::ops::Mul<f32, Output = T> + std::ops::Add<Output = T>>([a, b, c]: [T; 3], weights: Vec3) -> T {
    a * weights.x + b * weights.y + c * weights.z
}

/// The textures of a material and how each is encoded.
fn uses(material: &Material) -> impl Iterator<Item = (TextureUse, Encoding)> {
    [
        (material.base_color_texture, Encoding::Srgb),
        (material.metallic_roughness_texture, Encoding::Linear),
        (material.occlusion_texture, Encoding::Linear),
        (material.normal_texture, Encoding::Linear),
        (material.emissive_texture, Encoding::Srgb),
    ]
    .into_iter()
    .filter_map(|(how, encoding)| Some((how?, encoding)))
}

/// Whether all indices and counts fit together.
pub fn check(high: &TexturedMesh) -> Result<(), StageError> {
    let mesh = &high.mesh;
    let n_vertices = mesh.positions.len();
    let refuse = |what: String| Err(StageError::invalid(what, "export the mesh again from the tool that made it"));
    if let Some(v) = mesh.triangles.iter().flatten().find(|v| **v as usize >= n_vertices) {
        return refuse(format!("a triangle uses vertex {v} of {n_vertices}"));
    }
    for (what, n) in
        [("colors", high.colors.len()), ("tangents", high.tangents.len()), ("texture coordinates", mesh.uvs.len())]
    {
        if n != 0 && n != n_vertices {
            return refuse(format!("{n} {what} for {n_vertices} vertices"));
        }
    }
    let (n, n_faces) = (high.face_materials.len(), mesh.triangles.len());
    if n != 0 && n != n_faces {
        return refuse(format!("{n} materials for {n_faces} triangles"));
    }
    let n_materials = high.materials.len().max(1);
    if let Some(m) = high.face_materials.iter().find(|m| **m as usize >= n_materials) {
        return refuse(format!("a triangle uses material {m} of {n_materials}"));
    }
    let n_textures = high.textures.len();
    match high.materials.iter().flat_map(uses).find(|(how, _)| how.texture >= n_textures) {
        Some((how, _)) => refuse(format!("a material uses texture {} of {n_textures}", how.texture)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::image::{Rgba, RgbaImage};

    use super::*;
    use crate::{error::StageErrorKind, image::srgb::Srgb, mesh::Mesh};

    /// One triangle seen from +Z with its texture upright.
    fn triangle(material: Material, texel: [u8; 4]) -> TexturedMesh {
        let corners = [Vec2::ZERO, Vec2::X, Vec2::Y];
        TexturedMesh {
            mesh: Mesh {
                positions: corners.map(|c| c.extend(0.0)).to_vec(),
                normals: vec![Vec3::Z; 3],
                uvs: corners.map(|c| Vec2::new(c.x, 1.0 - c.y)).to_vec(),
                triangles: vec![[0, 1, 2]],
                ..Mesh::default()
            },
            materials: vec![material],
            textures: vec![Arc::new(RgbaImage::from_pixel(2, 2, Rgba(texel)))],
            ..TexturedMesh::default()
        }
    }

    fn middle(high: &TexturedMesh) -> Detail {
        Details::new(high).unwrap().at(0, Vec3::splat(1.0 / 3.0), 1e-3)
    }

    #[test]
    fn factors_textures_and_vertex_colours_multiply() {
        let every = Some(TextureUse::of(0));
        let material = Material {
            base_color: Vec4::new(0.5, 1.0, 1.0, 0.5),
            base_color_texture: every,
            metallic: 0.5,
            roughness: 0.5,
            metallic_roughness_texture: every,
            occlusion_texture: every,
            occlusion_strength: 0.5,
            emissive: [2.0, 0.0, 1.0],
            emissive_texture: every,
            alpha: AlphaMode::Blend,
            ..Material::default()
        };
        let mut high = triangle(material, [102, 51, 204, 255]);
        high.colors = vec![Vec4::new(1.0, 0.5, 1.0, 0.5); 3];
        let seen = middle(&high);
        let [r, g, b] = [102, 51, 204].map(|v| Srgb::tables().to_linear(v));
        assert!(seen.base_color.distance(Vec4::new(r * 0.5, g * 0.5, b, 0.25)) < 1e-5, "{seen:?}");
        assert!((seen.roughness - 0.5 * 0.2).abs() < 1e-5 && (seen.metallic - 0.5 * 0.8).abs() < 1e-5);
        assert!((seen.occlusion - (1.0 + 0.5 * (0.4 - 1.0))).abs() < 1e-5);
        assert!(seen.emissive.distance(Vec3::new(2.0 * r, 0.0, b)) < 1e-5);
    }

    #[test]
    fn green_of_a_normal_texture_tilts_towards_the_textures_top() {
        let material = Material { normal_texture: Some(TextureUse::of(0)), normal_scale: 0.5, ..Material::default() };
        // x 0.2, y 0.6, z 1 before the scale.
        let seen = middle(&triangle(material.clone(), [153, 204, 255, 255])).normal;
        let want = Vec3::new(0.1, 0.3, 1.0).normalize();
        assert!(seen.distance(want) < 1e-3, "{seen}, not {want}");
        // Given tangents are used as they are: turned round, the bump is too.
        let turned = TexturedMesh {
            tangents: vec![Vec4::new(-1.0, 0.0, 0.0, 1.0); 3],
            ..triangle(material, [153, 204, 255, 255])
        };
        let want = Vec3::new(-0.1, -0.3, 1.0).normalize();
        assert!(middle(&turned).normal.distance(want) < 1e-3);
    }

    #[test]
    fn alpha_follows_its_mode() {
        let alpha_of = |alpha, byte| {
            let material = Material { base_color_texture: Some(TextureUse::of(0)), alpha, ..Material::default() };
            middle(&triangle(material, [9, 9, 9, byte])).base_color.w
        };
        assert_eq!([alpha_of(AlphaMode::Opaque, 3), alpha_of(AlphaMode::Blend, 0)], [1.0, 0.0]);
        assert!((alpha_of(AlphaMode::Blend, 51) - 0.2).abs() < 1e-6);
        assert_eq!([alpha_of(AlphaMode::Mask(0.5), 120), alpha_of(AlphaMode::Mask(0.5), 130)], [0.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let sound = triangle(Material::default(), [0; 4]);
        assert!(Details::new(&sound).is_ok() && Details::new(&TexturedMesh::default()).is_ok());
        let texture = Material { base_color_texture: Some(TextureUse::of(1)), ..Material::default() };
        let spoilt = [
            TexturedMesh { colors: vec![Vec4::ONE], ..sound.clone() },
            TexturedMesh { face_materials: vec![1], ..sound.clone() },
            TexturedMesh { face_materials: vec![0, 0], ..sound.clone() },
            TexturedMesh { materials: vec![texture], ..sound.clone() },
            TexturedMesh { mesh: Mesh { triangles: vec![[0, 1, 3]], ..sound.mesh.clone() }, ..sound.clone() },
        ];
        for high in spoilt {
            assert_eq!(Details::new(&high).err().unwrap().kind, StageErrorKind::InvalidInput);
        }
    }
}
