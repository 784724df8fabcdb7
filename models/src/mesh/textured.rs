//! A mesh as others make them: several materials, textures that repeat, colours
//! on vertices. What a mesh file holds, and what `bake` takes details from.

use std::sync::Arc;

use ::image::RgbaImage;
use glam::{Vec2, Vec4};
use serde::{Deserialize, Serialize};

use super::Mesh;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct TexturedMesh {
    pub mesh: Mesh,
    /// Linear RGBA, 0..=1; empty or one entry a vertex. Multiplies the base colour.
    pub colors: Vec<Vec4>,
    /// glTF: unit tangent and the bitangent's sign; empty or one entry a vertex.
    /// Where empty, a normal texture is read with MikkTSpace tangents.
    pub tangents: Vec<Vec4>,
    /// Index into `materials` for each triangle; empty: all have the first, or the default one.
    pub face_materials: Vec<u32>,
    pub materials: Vec<Material>,
    /// Shared by the materials; straight alpha, 8 bits, encoded as the map's use says.
    pub textures: Vec<Arc<RgbaImage>>,
}

/// glTF's metallic-roughness material. Factors multiply textures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Material {
    pub name: String,
    /// Linear RGBA, 0..=1.
    pub base_color: Vec4,
    /// sRGB with linear alpha.
    pub base_color_texture: Option<TextureUse>,
    /// 0..=1.
    pub metallic: f32,
    /// 0..=1.
    pub roughness: f32,
    /// Linear; roughness in G, metallic in B.
    pub metallic_roughness_texture: Option<TextureUse>,
    /// Linear; in R.
    pub occlusion_texture: Option<TextureUse>,
    /// 0..=1: how much of the occlusion texture counts.
    pub occlusion_strength: f32,
    /// Linear, tangent space.
    pub normal_texture: Option<TextureUse>,
    /// Multiplies x and y of the normal texture.
    pub normal_scale: f32,
    /// Linear RGB, 0 and up.
    pub emissive: [f32; 3],
    /// sRGB.
    pub emissive_texture: Option<TextureUse>,
    pub alpha: AlphaMode,
    pub double_sided: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextureUse {
    /// Index into `TexturedMesh::textures`.
    pub texture: usize,
    /// What lies beyond 0..1, in u and v.
    pub wrap: [Wrap; 2],
    /// `KHR_texture_transform`: uv * scale, rotated, plus offset. Identity where absent.
    pub offset: Vec2,
    /// Radians, counter-clockwise.
    pub rotation: f32,
    pub scale: Vec2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrap {
    Repeat,
    Mirror,
    Clamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum AlphaMode {
    Opaque,
    /// Seen where alpha is at least this.
    Mask(f32),
    Blend,
}

impl Default for Material {
    /// glTF's default material, but not metallic.
    fn default() -> Material {
        Material {
            name: String::new(),
            base_color: Vec4::ONE,
            base_color_texture: None,
            metallic: 0.0,
            roughness: 1.0,
            metallic_roughness_texture: None,
            occlusion_texture: None,
            occlusion_strength: 1.0,
            normal_texture: None,
            normal_scale: 1.0,
            emissive: [0.0; 3],
            emissive_texture: None,
            alpha: AlphaMode::Opaque,
            double_sided: false,
        }
    }
}

impl Material {
    /// Every texture it uses.
    pub fn textures_mut(&mut self) -> impl Iterator<Item = &mut TextureUse> {
        let all = [
            &mut self.base_color_texture,
            &mut self.metallic_roughness_texture,
            &mut self.occlusion_texture,
            &mut self.normal_texture,
            &mut self.emissive_texture,
        ];
        all.into_iter().flatten()
    }
}

impl TextureUse {
    /// The whole texture, repeated.
    pub fn of(texture: usize) -> TextureUse {
        TextureUse { texture, wrap: [Wrap::Repeat; 2], offset: Vec2::ZERO, rotation: 0.0, scale: Vec2::ONE }
    }
}

impl TexturedMesh {
    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        let textures: usize = self.textures.iter().map(|texture| texture.as_raw().len()).sum();
        self.mesh.size() + (self.colors.len() + self.tangents.len()) * 16 + self.face_materials.len() * 4 + textures
    }
}

impl From<Mesh> for TexturedMesh {
    fn from(mesh: Mesh) -> TexturedMesh {
        TexturedMesh { mesh, ..TexturedMesh::default() }
    }
}
