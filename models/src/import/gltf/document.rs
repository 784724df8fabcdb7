//! The JSON of a glTF and the binary chunk beside it.
//!
//! The element types are those of the `gltf` crate. Its reader is not used: it
//! follows URIs and trusts offsets. Nor is its root, which fails on animations
//! and cameras that do not concern us.

use gltf::json::{self, Index};
use serde::Deserialize;

use super::super::{damaged, shorten, sniff::without_mark, text::text, too_large, truncated};
use crate::error::{StageError, StageErrorKind};

/// Most objects and most separators in the JSON: each takes memory many times
/// its text. Content in data URIs has neither.
const MAX_OBJECTS: usize = 2_000_000;
const MAX_SEPARATORS: usize = 20_000_000;

/// Extensions that may be required: they are read, or leave the shape as it is.
const KNOWN: &[&str] = &[
    "EXT_meshopt_compression",
    "EXT_texture_webp",
    "KHR_animation_pointer",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission",
    "KHR_materials_dispersion",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
    "KHR_materials_variants",
    "KHR_materials_volume",
    "KHR_mesh_quantization",
    "KHR_meshopt_compression",
    "KHR_texture_transform",
    "KHR_xmp_json_ld",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    asset: Asset,
    #[serde(default)]
    extensions_required: Vec<String>,
    #[serde(default)]
    pub accessors: Vec<json::Accessor>,
    #[serde(default)]
    pub buffers: Vec<json::Buffer>,
    #[serde(default)]
    pub buffer_views: Vec<json::buffer::View>,
    #[serde(default)]
    pub images: Vec<json::Image>,
    #[serde(default)]
    pub materials: Vec<json::Material>,
    #[serde(default)]
    pub meshes: Vec<json::Mesh>,
    #[serde(default)]
    pub nodes: Vec<json::Node>,
    #[serde(default)]
    pub samplers: Vec<json::texture::Sampler>,
    pub scene: Option<usize>,
    #[serde(default)]
    pub scenes: Vec<Scene>,
    #[serde(default)]
    pub skins: Vec<json::Skin>,
    #[serde(default)]
    pub textures: Vec<json::Texture>,
}

#[derive(Deserialize)]
struct Asset {
    version: String,
}

#[derive(Deserialize)]
pub struct Scene {
    #[serde(default)]
    pub nodes: Vec<Index<json::Node>>,
}

impl Document {
    /// The document of a GLB or a glTF, and the GLB's binary chunk.
    pub fn parse(bytes: &[u8]) -> Result<(Document, Option<&[u8]>), StageError> {
        let (json, bin) = match bytes.starts_with(b"glTF") {
            true => split(bytes)?,
            false => (without_mark(bytes), None),
        };
        for (sign, limit, what) in [(b'{', MAX_OBJECTS, "objects"), (b',', MAX_SEPARATORS, "values")] {
            let n = json.iter().filter(|&&c| c == sign).count();
            if n > limit {
                return Err(too_large(what, n, limit));
            }
        }
        let document: Document =
            serde_json::from_slice(json).map_err(|error| match error.is_eof() && bin.is_none() {
                true => truncated("the glTF ends within its JSON"),
                false => damaged(format!("the glTF's JSON is not valid: {error}")),
            })?;
        let version = &document.asset.version;
        if !version.starts_with("2.") {
            return Err(unsupported(format!("glTF version `{version}` is not read"), "export it as glTF 2.0"));
        }
        let unknown = document.extensions_required.iter().find(|name| !KNOWN.contains(&&***name));
        if let Some(name) = unknown {
            return Err(unsupported(
                format!("the glTF needs the extension `{name}`"),
                "export it without that extension",
            ));
        }
        Ok((document, bin))
    }
}

pub(super) fn unsupported(message: String, hint: &str) -> StageError {
    StageError::new(StageErrorKind::Unsupported, shorten(message), hint)
}

/// JSON and binary chunk of a GLB; other chunks are skipped, as the specification
/// (glTF 2.0, section 4.4) wants it.
fn split(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), StageError> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let cut = |expected: usize| truncated(format!("the GLB ends after {} of {expected} bytes", bytes.len()));
    let (Some(version), Some(length)) = (word(4), word(8)) else { return Err(cut(20)) };
    if version != 2 {
        return Err(unsupported(format!("GLB version {version} is not read"), "export it as glTF 2.0"));
    }
    let length = length as usize;
    if length > bytes.len() {
        return Err(cut(length));
    }
    let (mut json, mut bin) = (None, None);
    let mut at = 12;
    while at + 8 <= length {
        let (n, kind) = (word(at).unwrap_or(0) as usize, &bytes[at + 4..at + 8]);
        let content = bytes.get(at + 8..).and_then(|rest| rest.get(..n)).ok_or_else(|| cut(at + 8 + n))?;
        match kind {
            b"JSON" if json.is_none() => json = Some(content),
            b"BIN\0" if bin.is_none() => bin = Some(content),
            _ if json.is_none() => {
                return Err(damaged(format!("the GLB begins with a chunk `{}`, not with JSON", text(kind))));
            }
            _ => {}
        }
        at += 8 + n.next_multiple_of(4);
    }
    Ok((json.ok_or_else(|| damaged("the GLB has no JSON"))?, bin))
}
