//! GLB bytes back into meshes, their maps and their record.
//!
//! The `gltf` crate parses the JSON. Its importer and accessors are not used,
//! because they trust offsets and follow URIs, nor is its validation, because it
//! panics on an index out of range. Here every index and range is checked before
//! it is used, and nothing outside the file is ever touched.

use std::borrow::Cow;

use glam::{Vec2, Vec3};
use gltf::{
    Gltf, Semantic,
    json::{
        self, Root,
        accessor::{ComponentType, Type},
        mesh::{Mode, Primitive},
        validation::Checked,
    },
};
use serde_json::Value as Json;

use super::{
    GlbContent,
    compress::{self, COMPRESSION, QUANTIZATION},
    damaged, split,
};
use crate::{
    error::{StageError, StageErrorKind},
    export::{content::front, texture},
    mesh::{Maps, Mesh},
};

/// Extensions that `write_scene` uses; each may be required.
const KNOWN: &[&str] = &[COMPRESSION, QUANTIZATION, "EXT_texture_webp", "KHR_texture_basisu"];

/// Reads a GLB shaped like those `write_scene` makes: the first node is the asset,
/// all others say in `extras` that they are levels of detail or collider pieces;
/// one primitive a mesh, triangle lists, everything embedded; nodes moved and
/// scaled only where positions are quantised. Other shapes are `Unsupported`;
/// damage is `InvalidInput` or `Truncated`.
pub fn read(bytes: &[u8]) -> Result<GlbContent, StageError> {
    let chunks = split(bytes)?;
    let gltf =
        Gltf::from_slice_without_validation(bytes).map_err(|e| damaged(shorten(format!("not a valid glTF: {e}"))))?;
    let root = gltf.document.as_json();
    if let Some(extension) = root.extensions_required.iter().find(|required| !KNOWN.contains(&required.as_str())) {
        return Err(unsupported(shorten(format!("the GLB needs extension `{extension}`"))));
    }
    // The crate drops extensions that it does not know.
    let extended = !root.extensions_required.is_empty();
    let document = if extended { serde_json::from_slice(chunks.json).unwrap_or_default() } else { Json::Null };
    let quantized = root.extensions_required.iter().any(|required| required == QUANTIZATION);
    let file = File { root, document, bin: chunks.bin, quantized };

    let (node, others) = root.nodes.split_first().ok_or_else(|| unsupported("the GLB has no nodes"))?;
    let primitive = file.primitive(node)?;
    let meshkiln = record(root)?;
    let mesh = Mesh { front: front(&meshkiln)?, ..file.mesh(node, primitive, true)? };
    let maps = file.maps(primitive)?;
    let (mut lods, mut collider) = (Vec::new(), Vec::new());
    for node in others {
        let extras = node.extras.as_ref().and_then(|extras| serde_json::from_str::<Json>(extras.get()).ok());
        let is = |key: &str| extras.as_ref().is_some_and(|extras| extras.get(key).is_some_and(Json::is_u64));
        match (is("lod"), is("collider")) {
            (true, _) => lods.push(file.mesh(node, file.primitive(node)?, true)?),
            (_, true) => collider.push(file.mesh(node, file.primitive(node)?, false)?),
            _ => return Err(unsupported(format!("the GLB has {} nodes, not 1", root.nodes.len()))),
        }
    }
    // The node of an asset with levels of detail may have a suffix; the record has the name.
    let name = match meshkiln.get("name").and_then(Json::as_str) {
        Some(name) if !lods.is_empty() => name.to_owned(),
        _ => node.name.clone().unwrap_or_default(),
    };
    Ok(GlbContent { mesh, maps, lods, collider, name, meshkiln })
}

fn record(root: &Root) -> Result<Json, StageError> {
    let Some(extras) = &root.asset.extras else { return Ok(Json::Null) };
    let mut extras: Json = serde_json::from_str(extras.get())
        .map_err(|e| damaged(shorten(format!("extras of the GLB cannot be read: {e}"))))?;
    Ok(extras.get_mut("meshkiln").map(Json::take).unwrap_or_default())
}

struct File<'a> {
    root: &'a Root,
    /// The whole JSON where extensions matter, else null.
    document: Json,
    bin: &'a [u8],
    quantized: bool,
}

impl File<'_> {
    fn primitive(&self, node: &json::Node) -> Result<&Primitive, StageError> {
        let moved = node.translation.is_some() || node.scale.is_some();
        if node.matrix.is_some() || node.rotation.is_some() || (moved && !self.quantized) {
            return Err(unsupported("the GLB's node is transformed"));
        }
        let mesh = node.mesh.and_then(|mesh| self.root.meshes.get(mesh.value()));
        let mesh = mesh.ok_or_else(|| unsupported("the GLB's node has no mesh"))?;
        let primitive = only("primitive", &mesh.primitives)?;
        if !matches!(primitive.mode, Checked::Valid(Mode::Triangles)) {
            return Err(unsupported("the GLB's primitive is not a triangle list"));
        }
        Ok(primitive)
    }

    fn mesh(&self, node: &json::Node, primitive: &Primitive, textured: bool) -> Result<Mesh, StageError> {
        let mut mesh = Mesh {
            positions: self.positions(node, primitive)?,
            triangles: self.triangles(primitive)?,
            ..Mesh::default()
        };
        let n = mesh.positions.len();
        if textured {
            mesh.normals = self.normals(primitive)?;
            mesh.uvs = self.uvs(primitive)?;
            if mesh.normals.len() != n || mesh.uvs.len() != n {
                let (normals, uvs) = (mesh.normals.len(), mesh.uvs.len());
                return Err(damaged(format!("the GLB has {n} positions, {normals} normals and {uvs} UVs")));
            }
        }
        if let Some(i) = mesh.triangles.iter().flatten().find(|&&i| i as usize >= n) {
            return Err(damaged(format!("the GLB names vertex {i} of {n}")));
        }
        Ok(mesh)
    }

    fn positions(&self, node: &json::Node, primitive: &Primitive) -> Result<Vec<Vec3>, StageError> {
        let accessor = attribute(primitive, Semantic::Positions)?;
        if self.component(accessor)? == Some(ComponentType::U16) {
            let words = self.elements::<6>(accessor, ComponentType::U16, Type::Vec3)?;
            let move_by = Vec3::from_array(node.translation.unwrap_or_default());
            let scale = Vec3::from_array(node.scale.unwrap_or([1.0; 3]));
            if !(move_by.is_finite() && scale.is_finite() && scale == Vec3::splat(scale.x) && scale.x > 0.0) {
                return Err(unsupported(format!("the GLB's node is scaled by {scale} and moved by {move_by}")));
            }
            return Ok(words
                .iter()
                .map(|bytes| unsigned::<3>(bytes))
                .map(|p| Vec3::from_array(p) * scale + move_by)
                .collect());
        }
        if node.translation.is_some() || node.scale.is_some() {
            return Err(unsupported("the GLB's node is transformed"));
        }
        let floats = self.elements::<12>(accessor, ComponentType::F32, Type::Vec3)?;
        floats.iter().map(|bytes| finite::<3>(bytes).map(Vec3::from_array)).collect()
    }

    fn normals(&self, primitive: &Primitive) -> Result<Vec<Vec3>, StageError> {
        let accessor = attribute(primitive, Semantic::Normals)?;
        if self.component(accessor)? == Some(ComponentType::I16) {
            let words = self.elements::<6>(accessor, ComponentType::I16, Type::Vec3)?;
            let normal = |bytes: &[u8; 6]| Vec3::from_array(signed(bytes)).try_normalize();
            return words
                .iter()
                .map(|bytes| normal(bytes).ok_or_else(|| damaged("the GLB has a normal of length 0")))
                .collect();
        }
        let floats = self.elements::<12>(accessor, ComponentType::F32, Type::Vec3)?;
        floats.iter().map(|bytes| finite::<3>(bytes).map(Vec3::from_array)).collect()
    }

    fn uvs(&self, primitive: &Primitive) -> Result<Vec<Vec2>, StageError> {
        let accessor = attribute(primitive, Semantic::TexCoords(0))?;
        if self.component(accessor)? == Some(ComponentType::U16) {
            let words = self.elements::<4>(accessor, ComponentType::U16, Type::Vec2)?;
            return Ok(words.iter().map(|bytes| Vec2::from_array(unsigned(bytes))).collect());
        }
        let floats = self.elements::<8>(accessor, ComponentType::F32, Type::Vec2)?;
        floats.iter().map(|bytes| finite::<2>(bytes).map(Vec2::from_array)).collect()
    }

    /// Component type where it matters: only quantised files have other than floats.
    fn component(&self, accessor: usize) -> Result<Option<ComponentType>, StageError> {
        let accessor = self.accessor(accessor)?;
        Ok(match accessor.component_type {
            Checked::Valid(component) if self.quantized && accessor.normalized => Some(component.0),
            _ => None,
        })
    }

    fn triangles(&self, primitive: &Primitive) -> Result<Vec<[u32; 3]>, StageError> {
        let index = primitive.indices.ok_or_else(|| unsupported("the GLB's triangles are not indexed"))?.value();
        let indices: Vec<u32> = match self.accessor(index)?.component_type {
            Checked::Valid(json::accessor::GenericComponentType(ComponentType::U8)) => {
                let bytes = self.elements::<1>(index, ComponentType::U8, Type::Scalar)?;
                bytes.iter().map(|[i]| u32::from(*i)).collect()
            }
            Checked::Valid(json::accessor::GenericComponentType(ComponentType::U16)) => {
                let words = self.elements::<2>(index, ComponentType::U16, Type::Scalar)?;
                words.iter().map(|i| u32::from(u16::from_le_bytes(*i))).collect()
            }
            _ => {
                let words = self.elements::<4>(index, ComponentType::U32, Type::Scalar)?;
                words.iter().map(|i| u32::from_le_bytes(*i)).collect()
            }
        };
        match indices.as_chunks::<3>() {
            (triangles, []) => Ok(triangles.to_vec()),
            _ => Err(damaged(format!("{} indices are not a multiple of 3", indices.len()))),
        }
    }

    fn maps(&self, primitive: &Primitive) -> Result<Maps, StageError> {
        let material = primitive.material.and_then(|i| self.root.materials.get(i.value()));
        let material = material.ok_or_else(|| unsupported("the GLB's mesh has no material"))?;
        let pbr = &material.pbr_metallic_roughness;
        let base_color = pbr.base_color_texture.as_ref().map(|info| info.index.value());
        let base_color = base_color.ok_or_else(|| unsupported("the GLB has no base colour texture"))?;
        let normal = material.normal_texture.as_ref().map(|texture| texture.index.value());
        let orm = pbr.metallic_roughness_texture.as_ref().map(|info| info.index.value());
        let emissive = material.emissive_texture.as_ref().map(|info| info.index.value());
        let rgb = |texture: Option<usize>| -> Result<_, StageError> {
            texture.map(|texture| Ok(texture::without_alpha(&self.texture(texture)?))).transpose()
        };
        Ok(Maps {
            base_color: self.texture(base_color)?,
            normal: rgb(normal)?,
            orm: rgb(orm)?,
            emissive: rgb(emissive)?,
            roughness: pbr.roughness_factor.0.clamp(0.0, 1.0),
            metallic: pbr.metallic_factor.0.clamp(0.0, 1.0),
            ..Maps::default()
        })
    }

    fn texture(&self, index: usize) -> Result<image::RgbaImage, StageError> {
        let texture =
            self.root.textures.get(index).ok_or_else(|| unsupported(format!("the GLB has no texture {index}")))?;
        let extensions = &self.document["textures"][index]["extensions"];
        let extended = ["EXT_texture_webp", "KHR_texture_basisu"]
            .iter()
            .find_map(|extension| usize::try_from(extensions[extension]["source"].as_u64()?).ok());
        let source = extended.unwrap_or(texture.source.value());
        let image = self.root.images.get(source).ok_or_else(|| damaged("the GLB has no image"))?;
        if image.uri.is_some() {
            return Err(unsupported("the GLB's image is outside the file"));
        }
        let view = image.buffer_view.ok_or_else(|| damaged("the GLB's image has no data"))?;
        let (bytes, _) = self.view(view.value())?;
        texture::decode(&bytes)
    }

    /// Elements of `N` bytes each; memory used is bounded by the file's size.
    fn elements<const N: usize>(
        &self,
        index: usize,
        component: ComponentType,
        shape: Type,
    ) -> Result<Vec<[u8; N]>, StageError> {
        let accessor = self.accessor(index)?;
        if accessor.sparse.is_some() {
            return Err(unsupported(format!("accessor {index} of the GLB is sparse")));
        }
        let found = match (&accessor.component_type, &accessor.type_) {
            (Checked::Valid(component), Checked::Valid(shape)) => (component.0, *shape),
            _ => return Err(damaged(format!("accessor {index} of the GLB has no type"))),
        };
        if found != (component, shape) {
            let (found, expected) = (format!("{found:?}"), format!("{:?}", (component, shape)));
            return Err(unsupported(format!("accessor {index} of the GLB is {found}, not {expected}")));
        }
        let view = accessor.buffer_view.ok_or_else(|| damaged(format!("accessor {index} of the GLB has no data")))?;
        let (data, stride) = self.view(view.value())?;
        let stride = stride.unwrap_or(N);
        let count = accessor.count.0;
        let offset = accessor.byte_offset.map_or(0, |offset| offset.0);
        let end = count
            .saturating_sub(1)
            .checked_mul(stride as u64)
            .and_then(|last| last.checked_add(offset)?.checked_add(N as u64))
            .filter(|&end| end <= data.len() as u64 && count > 0 && stride >= N);
        if end.is_none() {
            return Err(damaged(format!(
                "accessor {index} of the GLB wants {count} elements from byte {offset}, {stride} apart, of {} bytes",
                data.len()
            )));
        }
        let elements = data[offset as usize..].chunks(stride).take(count as usize);
        Ok(elements.filter_map(|element| element.first_chunk().copied()).collect())
    }

    fn accessor(&self, index: usize) -> Result<&json::Accessor, StageError> {
        self.root.accessors.get(index).ok_or_else(|| damaged(format!("the GLB has no accessor {index}")))
    }

    /// Bytes of a buffer view, and its stride when it states one.
    fn view(&self, index: usize) -> Result<(Cow<'_, [u8]>, Option<usize>), StageError> {
        let view = self.root.buffer_views.get(index);
        let view = view.ok_or_else(|| damaged(format!("the GLB has no buffer view {index}")))?;
        let stride = view.byte_stride.map(|stride| stride.0);
        let packing = &self.document["bufferViews"][index]["extensions"][COMPRESSION];
        if packing.is_object() {
            let unpacked = compress::unpack(self.bin, packing);
            let unpacked =
                unpacked.ok_or_else(|| damaged(format!("buffer view {index} of the GLB cannot be unpacked")))?;
            return Ok((Cow::Owned(unpacked), stride));
        }
        let buffer = self.root.buffers.get(view.buffer.value());
        if view.buffer.value() != 0 || buffer.is_none_or(|buffer| buffer.uri.is_some()) {
            return Err(unsupported(format!("buffer view {index} of the GLB is outside the file")));
        }
        let (offset, length) = (view.byte_offset.map_or(0, |offset| offset.0), view.byte_length.0);
        let range = offset.checked_add(length).filter(|&end| end <= self.bin.len() as u64);
        let end = range.ok_or_else(|| {
            let have = self.bin.len();
            damaged(format!("buffer view {index} of the GLB wants {length} bytes from {offset} of {have}"))
        })?;
        Ok((Cow::Borrowed(&self.bin[offset as usize..end as usize]), stride))
    }
}

fn attribute(primitive: &Primitive, semantic: Semantic) -> Result<usize, StageError> {
    let name = format!("{semantic:?}");
    let accessor = primitive.attributes.get(&Checked::Valid(semantic));
    Ok(accessor.ok_or_else(|| unsupported(format!("the GLB's mesh has no {name}")))?.value())
}

fn finite<const N: usize>(bytes: &[u8]) -> Result<[f32; N], StageError> {
    let mut numbers = [0.0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *number = f32::from_le_bytes(*bytes);
    }
    if numbers.iter().all(|n| n.is_finite()) {
        Ok(numbers)
    } else {
        Err(damaged(format!("the GLB has a vertex at {numbers:?}")))
    }
}

/// Normalised 16-bit numbers, 0..=1.
fn unsigned<const N: usize>(bytes: &[u8]) -> [f32; N] {
    let mut numbers = [0.0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *number = f32::from(u16::from_le_bytes(*bytes)) / 65_535.0;
    }
    numbers
}

/// Normalised 16-bit numbers, -1..=1.
fn signed<const N: usize>(bytes: &[u8]) -> [f32; N] {
    let mut numbers = [0.0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *number = (f32::from(i16::from_le_bytes(*bytes)) / 32_767.0).max(-1.0);
    }
    numbers
}

fn only<'a, T>(what: &str, list: &'a [T]) -> Result<&'a T, StageError> {
    match list {
        [one] => Ok(one),
        _ => Err(unsupported(format!("the GLB has {} {what}s, not 1", list.len()))),
    }
}

fn unsupported(message: impl Into<String>) -> StageError {
    StageError::new(StageErrorKind::Unsupported, message, "give a GLB that Meshkiln wrote")
}

/// Text from a stranger's file, cut to a length that fits a message.
fn shorten(text: String) -> String {
    const MAX: usize = 300;
    if text.chars().count() <= MAX { text } else { text.chars().take(MAX).chain("...".chars()).collect() }
}
