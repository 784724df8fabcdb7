//! Materials of a glTF, those that are used, with their textures.
//!
//! - A primitive without one has `Material::default`, which is not metallic.
//! - `KHR_materials_pbrSpecularGlossiness` counts where there is nothing in
//!   metallic-roughness beside it: its diffuse colour is the base colour, roughness
//!   is 1 - glossiness, and nothing is metallic; its specular colours are not read.
//! - `KHR_materials_unlit` is read as a rough material of that colour.
//! - `KHR_texture_transform` is kept, `KHR_materials_emissive_strength` multiplied in.
//! - A mesh has one set of UVs here. It is that of the base colour texture, or else of
//!   the first that there is; textures on other sets are passed over with a note.

use std::collections::BTreeMap;

use glam::{Vec2, Vec4};
use gltf::json::{
    self, Index,
    mesh::Primitive,
    texture::{Info, WrappingMode},
    validation::Checked,
};

use super::{
    super::{
        assembly::Notes,
        damaged,
        path::{Reference, resolve_uri},
        shorten,
        textures::Textures,
    },
    data::Data,
    document::Document,
};
use crate::{
    error::StageError,
    mesh::textured::{AlphaMode, Material, TextureUse, Wrap},
};

/// Materials in order of first use.
#[derive(Default)]
pub struct Materials {
    known: BTreeMap<Option<usize>, u32>,
    list: Vec<Material>,
}

impl Materials {
    /// Place in the list of the glTF's material `index`.
    pub fn index(
        &mut self,
        index: Option<usize>,
        data: &Data,
        textures: &mut Textures,
        notes: &mut Notes,
    ) -> Result<u32, StageError> {
        if let Some(known) = self.known.get(&index) {
            return Ok(*known);
        }
        let material = match index {
            None => Material::default(),
            Some(index) => {
                let material = data.document.materials.get(index);
                let material = material.ok_or_else(|| damaged(format!("the glTF has no material {index}")))?;
                Reader { data, textures, notes, uv_set: uv_set_of(material) }.material(material)?
            }
        };
        let place = self.list.len() as u32;
        self.known.insert(index, place);
        self.list.push(material);
        Ok(place)
    }

    pub fn finish(self) -> Vec<Material> {
        self.list
    }
}

/// Which UVs a primitive's textures lie on.
pub fn uv_set(document: &Document, primitive: &Primitive) -> u32 {
    primitive.material.and_then(|material| document.materials.get(material.value())).map_or(0, uv_set_of)
}

fn uv_set_of(material: &json::Material) -> u32 {
    let pbr = &material.pbr_metallic_roughness;
    let all = [
        pbr.base_color_texture.as_ref().map(Place::of),
        specular_glossiness(material).and_then(|old| old.diffuse_texture.as_ref()).map(Place::of),
        pbr.metallic_roughness_texture.as_ref().map(Place::of),
        material.normal_texture.as_ref().map(Place::of_normal),
        material.occlusion_texture.as_ref().map(Place::of_occlusion),
        material.emissive_texture.as_ref().map(Place::of),
    ];
    all.into_iter().flatten().next().map_or(0, |place| place.uv_set)
}

/// The old extension, unless the material also says it in the new way.
fn specular_glossiness(material: &json::Material) -> Option<&json::extensions::material::PbrSpecularGlossiness> {
    let pbr = &material.pbr_metallic_roughness;
    let is_plain = pbr.base_color_texture.is_none() && pbr.metallic_roughness_texture.is_none();
    material.extensions.as_ref()?.pbr_specular_glossiness.as_ref().filter(|_| is_plain)
}

/// A texture and how it lies on the mesh.
struct Place {
    texture: usize,
    uv_set: u32,
    offset: Vec2,
    rotation: f32,
    scale: Vec2,
}

impl Place {
    fn of(info: &Info) -> Place {
        let transform = info.extensions.as_ref().and_then(|all| all.texture_transform.as_ref());
        Place {
            texture: info.index.value(),
            uv_set: transform.and_then(|t| t.tex_coord).unwrap_or(info.tex_coord),
            offset: transform.map_or(Vec2::ZERO, |t| Vec2::from(t.offset.0)),
            rotation: transform.map_or(0.0, |t| t.rotation.0),
            scale: transform.map_or(Vec2::ONE, |t| Vec2::from(t.scale.0)),
        }
    }

    fn of_normal(info: &json::material::NormalTexture) -> Place {
        Place::with(info.index, info.tex_coord, info.extensions.as_ref().map(|all| &all.others))
    }

    fn of_occlusion(info: &json::material::OcclusionTexture) -> Place {
        Place::with(info.index, info.tex_coord, info.extensions.as_ref().map(|all| &all.others))
    }

    /// The transform of these two is not among the `gltf` crate's types.
    fn with(
        index: Index<json::Texture>,
        tex_coord: u32,
        extensions: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Place {
        let transform = extensions.and_then(|all| all.get("KHR_texture_transform"));
        let number = |value: Option<&serde_json::Value>, default: f32| {
            value.and_then(|v| v.as_f64()).map_or(default, |v| v as f32)
        };
        let pair = |key: &str, default: f32| {
            let pair = transform.and_then(|t| t.get(key));
            Vec2::from([0, 1].map(|i| number(pair.and_then(|pair| pair.get(i)), default)))
        };
        let other = transform.and_then(|t| t.get("texCoord")).and_then(|v| v.as_u64());
        Place {
            texture: index.value(),
            uv_set: other.map_or(tex_coord, |set| set.min(u64::from(u32::MAX)) as u32),
            offset: pair("offset", 0.0),
            rotation: number(transform.and_then(|t| t.get("rotation")), 0.0),
            scale: pair("scale", 1.0),
        }
    }
}

struct Reader<'a, 'b, 'c> {
    data: &'a Data<'b>,
    textures: &'a mut Textures<'c>,
    notes: &'a mut Notes,
    uv_set: u32,
}

impl Reader<'_, '_, '_> {
    fn material(&mut self, from: &json::Material) -> Result<Material, StageError> {
        let pbr = &from.pbr_metallic_roughness;
        let extensions = from.extensions.as_ref();
        let strength = extensions.and_then(|all| all.emissive_strength.as_ref()).map_or(1.0, |s| s.emissive_strength.0);
        let normal = from.normal_texture.as_ref();
        let occlusion = from.occlusion_texture.as_ref();
        let mut material = Material {
            name: shorten(from.name.clone().unwrap_or_default()),
            base_color: color(pbr.base_color_factor.0),
            base_color_texture: self.texture(pbr.base_color_texture.as_ref().map(Place::of))?,
            metallic: share(pbr.metallic_factor.0),
            roughness: share(pbr.roughness_factor.0),
            metallic_roughness_texture: self.texture(pbr.metallic_roughness_texture.as_ref().map(Place::of))?,
            occlusion_texture: self.texture(occlusion.map(Place::of_occlusion))?,
            occlusion_strength: occlusion.map_or(1.0, |texture| share(texture.strength.0)),
            normal_texture: self.texture(normal.map(Place::of_normal))?,
            normal_scale: normal.map_or(1.0, |texture| texture.scale),
            emissive: from.emissive_factor.0.map(|v| (v * strength).max(0.0)),
            emissive_texture: self.texture(from.emissive_texture.as_ref().map(Place::of))?,
            alpha: match from.alpha_mode {
                Checked::Valid(json::material::AlphaMode::Mask) => {
                    AlphaMode::Mask(from.alpha_cutoff.map_or(0.5, |cutoff| share(cutoff.0)))
                }
                Checked::Valid(json::material::AlphaMode::Blend) => AlphaMode::Blend,
                _ => AlphaMode::Opaque,
            },
            double_sided: from.double_sided,
        };
        if let Some(old) = specular_glossiness(from) {
            material.base_color = color(old.diffuse_factor.0);
            material.base_color_texture = self.texture(old.diffuse_texture.as_ref().map(Place::of))?;
            material.metallic = 0.0;
            material.roughness = 1.0 - share(old.glossiness_factor.0);
            self.notes.add("specular-glossiness materials were read as materials that are not metallic");
        }
        if extensions.is_some_and(|all| all.unlit.is_some()) {
            material.metallic = 0.0;
            material.roughness = 1.0;
            self.notes.add("unlit materials were read as lit ones");
        }
        Ok(material)
    }

    fn texture(&mut self, place: Option<Place>) -> Result<Option<TextureUse>, StageError> {
        let Some(place) = place else { return Ok(None) };
        if place.uv_set != self.uv_set {
            self.notes.add("textures on a second set of texture coordinates were passed over");
            return Ok(None);
        }
        let document = self.data.document;
        let index = place.texture;
        let texture = document.textures.get(index);
        let texture = texture.ok_or_else(|| damaged(format!("the glTF has no texture {index}")))?;
        let webp = texture.extensions.as_ref().and_then(|all| all.others.get("EXT_texture_webp"));
        let webp = webp.and_then(|webp| webp.get("source")).and_then(|source| source.as_u64());
        let image = webp.map_or(texture.source.value(), |source| source as usize);
        let Some(image) = self.image(image)? else { return Ok(None) };
        let sampler = texture.sampler.and_then(|sampler| document.samplers.get(sampler.value()));
        let is_sane = place.offset.is_finite() && place.scale.is_finite() && place.rotation.is_finite();
        let place =
            if is_sane { place } else { Place { offset: Vec2::ZERO, rotation: 0.0, scale: Vec2::ONE, ..place } };
        Ok(Some(TextureUse {
            texture: image,
            wrap: sampler.map_or([Wrap::Repeat; 2], |s| [wrap(&s.wrap_s), wrap(&s.wrap_t)]),
            offset: place.offset,
            rotation: place.rotation,
            scale: place.scale,
        }))
    }

    fn image(&mut self, index: usize) -> Result<Option<usize>, StageError> {
        let Some(image) = self.data.document.images.get(index) else {
            self.notes.add("textures in a format that is not read were passed over");
            return Ok(None);
        };
        let name = format!("image {index} of the glTF");
        match (&image.uri, image.buffer_view) {
            (Some(uri), _) => match resolve_uri(uri)? {
                Reference::File(path) => self.textures.of_file(&path, self.notes),
                Reference::Data(bytes) => self.textures.of_bytes(&name, &bytes, self.notes),
            },
            (None, Some(view)) => {
                let (bytes, _) = self.data.view(view.value())?;
                self.textures.of_bytes(&name, bytes, self.notes)
            }
            (None, None) => Err(damaged(format!("{name} has no content"))),
        }
    }
}

fn wrap(mode: &Checked<WrappingMode>) -> Wrap {
    match mode {
        Checked::Valid(WrappingMode::ClampToEdge) => Wrap::Clamp,
        Checked::Valid(WrappingMode::MirroredRepeat) => Wrap::Mirror,
        _ => Wrap::Repeat,
    }
}

fn color(factor: [f32; 4]) -> Vec4 {
    Vec4::from(factor.map(share))
}

/// Within 0..=1; what is no number is 1.
fn share(value: f32) -> f32 {
    if value.is_nan() { 1.0 } else { value.clamp(0.0, 1.0) }
}
