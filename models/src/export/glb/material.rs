//! The material of a GLB and the textures in it.

use serde_json::{Value as Json, json};

use super::bin::Bin;
use crate::{
    error::StageError,
    export::{
        format::TextureFormat,
        texture::{self, Encoded, MapKind},
    },
    mesh::Maps,
};

const LINEAR: u32 = 9729;
const LINEAR_MIPMAP_LINEAR: u32 = 9987;
const CLAMP_TO_EDGE: u32 = 33071;

/// Parts of the document.
pub struct Material {
    pub material: Json,
    pub textures: Vec<Json>,
    pub images: Vec<Json>,
    /// UVs stay within 0..1: clamping keeps mip levels of opposite edges apart.
    pub sampler: Json,
    /// Extensions without which the textures cannot be read.
    pub extensions: Vec<&'static str>,
}

/// Adds each map that there is to `bin`.
pub fn add(bin: &mut Bin, maps: &Maps, name: &str, format: TextureFormat) -> Result<Material, StageError> {
    let mut out = Material {
        material: json!({ "name": name }),
        textures: Vec::new(),
        images: Vec::new(),
        sampler: json!({
            "magFilter": LINEAR,
            "minFilter": LINEAR_MIPMAP_LINEAR,
            "wrapS": CLAMP_TO_EDGE,
            "wrapT": CLAMP_TO_EDGE,
        }),
        extensions: Vec::new(),
    };
    let mut texture = |map: MapKind| -> Result<Option<Json>, StageError> {
        let Some(texels) = map.of(maps) else { return Ok(None) };
        let encoded = texture::encode(map, &texels, format)?;
        Ok(Some(json!({ "index": out.add_texture(bin, &encoded) })))
    };
    let base_color = texture(MapKind::BaseColor)?;
    let orm = texture(MapKind::Orm)?;
    let normal = texture(MapKind::Normal)?;
    let emissive = texture(MapKind::Emissive)?;

    let mut pbr = json!({ "roughnessFactor": maps.roughness, "metallicFactor": maps.metallic });
    for (key, texture) in [("baseColorTexture", &base_color), ("metallicRoughnessTexture", &orm)] {
        if let Some(texture) = texture {
            pbr[key] = texture.clone();
        }
    }
    out.material["pbrMetallicRoughness"] = pbr;
    for (key, texture) in [("occlusionTexture", &orm), ("normalTexture", &normal), ("emissiveTexture", &emissive)] {
        if let Some(texture) = texture {
            out.material[key] = texture.clone();
        }
    }
    if emissive.is_some() {
        out.material["emissiveFactor"] = json!([1.0, 1.0, 1.0]);
    }
    if let Some(mode) = alpha_mode(maps) {
        out.material["alphaMode"] = json!(mode);
    }
    Ok(out)
}

impl Material {
    fn add_texture(&mut self, bin: &mut Bin, encoded: &Encoded) -> usize {
        let view = bin.add(encoded.bytes.iter().copied(), None);
        self.images.push(json!({ "bufferView": view, "mimeType": encoded.mime() }));
        let source = self.images.len() - 1;
        self.textures.push(match extension(encoded.format) {
            None => json!({ "sampler": 0, "source": source }),
            Some(extension) => {
                if !self.extensions.contains(&extension) {
                    self.extensions.push(extension);
                }
                json!({ "sampler": 0, "extensions": { extension: { "source": source } } })
            }
        });
        self.textures.len() - 1
    }
}

/// Extension that names a texture of this format, where glTF itself does not.
pub fn extension(format: TextureFormat) -> Option<&'static str> {
    match format {
        TextureFormat::Webp => Some("EXT_texture_webp"),
        TextureFormat::Ktx2 => Some("KHR_texture_basisu"),
        _ => None,
    }
}

/// Opaque is the default. Cut-outs sort right in every renderer, glass does not,
/// so alpha that is all or nothing is a mask.
fn alpha_mode(maps: &Maps) -> Option<&'static str> {
    if texture::is_opaque(&maps.base_color) {
        None
    } else if maps.base_color.pixels().all(|texel| matches!(texel.0[3], 0 | 255)) {
        Some("MASK")
    } else {
        Some("BLEND")
    }
}
