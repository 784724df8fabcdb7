//! GLB bytes back into a mesh, its maps and their record.
//!
//! The `gltf` crate parses the JSON. Its importer and accessors are not used,
//! because they trust offsets and follow URIs, nor is its validation, because it
//! panics on an index out of range. Here every index and range is checked before
//! it is used, and nothing outside the file is ever touched.

use glam::{Vec2, Vec3};
use gltf::{
    Gltf, Semantic,
    json::{
        self, Root,
        accessor::{ComponentType, Type},
        mesh::Mode,
        validation::Checked,
    },
};
use image::RgbaImage;
use serde_json::Value as Json;

use super::{GlbContent, damaged, split};
use crate::{
    error::{StageError, StageErrorKind},
    image::png_io,
    mesh::{FrontView, Maps, Mesh},
};

/// Largest texture read, in pixels: that of the largest `bake.size`.
const MAX_TEXTURE_PIXELS: u64 = 8192 * 8192;

/// Reads a GLB shaped like those `write` makes: one untransformed node, one
/// mesh, one triangle list with normals, UVs and one PNG, all embedded. Other
/// shapes are `Unsupported`; damage is `InvalidInput` or `Truncated`.
pub fn read(bytes: &[u8]) -> Result<GlbContent, StageError> {
    let chunks = split(bytes)?;
    let gltf =
        Gltf::from_slice_without_validation(bytes).map_err(|e| damaged(shorten(format!("not a valid glTF: {e}"))))?;
    let root = gltf.document.as_json();
    let file = File { root, bin: chunks.bin };

    if let Some(extension) = root.extensions_required.first() {
        return Err(unsupported(format!("the GLB needs extension `{extension}`")));
    }
    let node = only("node", &root.nodes)?;
    if node.matrix.is_some() || node.translation.is_some() || node.rotation.is_some() || node.scale.is_some() {
        return Err(unsupported("the GLB's node is transformed"));
    }
    let primitive = only("primitive", &only("mesh", &root.meshes)?.primitives)?;
    if !matches!(primitive.mode, Checked::Valid(Mode::Triangles)) {
        return Err(unsupported("the GLB's primitive is not a triangle list"));
    }
    let meshkiln = record(root)?;
    let mesh = Mesh {
        positions: file.vectors(primitive, Semantic::Positions)?,
        normals: file.vectors(primitive, Semantic::Normals)?,
        uvs: file.uvs(primitive)?,
        triangles: file.triangles(primitive)?,
        front: front(&meshkiln)?,
    };
    let n = mesh.positions.len();
    if mesh.normals.len() != n || mesh.uvs.len() != n {
        let (normals, uvs) = (mesh.normals.len(), mesh.uvs.len());
        return Err(damaged(format!("the GLB has {n} positions, {normals} normals and {uvs} UVs")));
    }
    if let Some(i) = mesh.triangles.iter().flatten().find(|&&i| i as usize >= n) {
        return Err(damaged(format!("the GLB names vertex {i} of {n}")));
    }
    let maps = file.maps(primitive)?;
    Ok(GlbContent { mesh, maps, name: node.name.clone().unwrap_or_default(), meshkiln })
}

fn record(root: &Root) -> Result<Json, StageError> {
    let Some(extras) = &root.asset.extras else { return Ok(Json::Null) };
    let mut extras: Json = serde_json::from_str(extras.get())
        .map_err(|e| damaged(shorten(format!("extras of the GLB cannot be read: {e}"))))?;
    Ok(extras.get_mut("meshkiln").map(Json::take).unwrap_or_default())
}

fn front(meshkiln: &Json) -> Result<Option<FrontView>, StageError> {
    let Some(front) = meshkiln.get("front") else { return Ok(None) };
    let number = |json: &Json| json.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
    let metres_per_pixel = number(&front["metres_per_pixel"]).filter(|&m| m > 0.0);
    match (metres_per_pixel, number(&front["origin"][0]), number(&front["origin"][1])) {
        (Some(metres_per_pixel), Some(x), Some(y)) => Ok(Some(FrontView { metres_per_pixel, origin: Vec2::new(x, y) })),
        _ => Err(damaged(shorten(format!("`front` of the GLB is {front}")))),
    }
}

struct File<'a> {
    root: &'a Root,
    bin: &'a [u8],
}

impl File<'_> {
    fn vectors(&self, primitive: &json::mesh::Primitive, semantic: Semantic) -> Result<Vec<Vec3>, StageError> {
        let accessor = attribute(primitive, semantic)?;
        let floats = self.elements::<12>(accessor, ComponentType::F32, Type::Vec3)?;
        floats.iter().map(|bytes| finite::<3>(bytes).map(Vec3::from_array)).collect()
    }

    fn uvs(&self, primitive: &json::mesh::Primitive) -> Result<Vec<Vec2>, StageError> {
        let accessor = attribute(primitive, Semantic::TexCoords(0))?;
        let floats = self.elements::<8>(accessor, ComponentType::F32, Type::Vec2)?;
        floats.iter().map(|bytes| finite::<2>(bytes).map(Vec2::from_array)).collect()
    }

    fn triangles(&self, primitive: &json::mesh::Primitive) -> Result<Vec<[u32; 3]>, StageError> {
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

    fn maps(&self, primitive: &json::mesh::Primitive) -> Result<Maps, StageError> {
        let material = primitive.material.and_then(|i| self.root.materials.get(i.value()));
        let material = material.ok_or_else(|| unsupported("the GLB's mesh has no material"))?;
        let pbr = &material.pbr_metallic_roughness;
        let texture = pbr.base_color_texture.as_ref().and_then(|info| self.root.textures.get(info.index.value()));
        let texture = texture.ok_or_else(|| unsupported("the GLB has no base colour texture"))?;
        let image = self.root.images.get(texture.source.value()).ok_or_else(|| damaged("the GLB has no image"))?;
        if image.uri.is_some() {
            return Err(unsupported("the GLB's image is outside the file"));
        }
        let view = image.buffer_view.ok_or_else(|| damaged("the GLB's image has no data"))?;
        let (png, _) = self.view(view.value())?;
        Ok(Maps {
            base_color: decode_png(png)?,
            roughness: pbr.roughness_factor.0.clamp(0.0, 1.0),
            metallic: pbr.metallic_factor.0.clamp(0.0, 1.0),
            ..Maps::default()
        })
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
    fn view(&self, index: usize) -> Result<(&[u8], Option<usize>), StageError> {
        let view = self.root.buffer_views.get(index);
        let view = view.ok_or_else(|| damaged(format!("the GLB has no buffer view {index}")))?;
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
        Ok((&self.bin[offset as usize..end as usize], view.byte_stride.map(|stride| stride.0)))
    }
}

fn attribute(primitive: &json::mesh::Primitive, semantic: Semantic) -> Result<usize, StageError> {
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

/// Looks at the header first: memory is only asked for when the size is sane.
fn decode_png(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    let header = bytes.first_chunk::<26>().filter(|h| h.starts_with(b"\x89PNG\r\n\x1a\n") && &h[12..16] == b"IHDR");
    let header = header.ok_or_else(|| unsupported("the GLB's image is not a PNG"))?;
    let [width, height] =
        [16, 20].map(|at| header[at..at + 4].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
    if width * height > MAX_TEXTURE_PIXELS {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("the GLB's image of {width}x{height} has more than {MAX_TEXTURE_PIXELS} pixels"),
            "lower bake.size",
        ));
    }
    let (depth, color) = (header[24], header[25]);
    if depth != 8 || !matches!(color, 2 | 6) {
        return Err(unsupported(format!("the GLB's image has bit depth {depth} and colour type {color}, not 8 RGB")));
    }
    png_io::decode_rgba(bytes).map_err(|e| damaged(shorten(format!("image of the GLB: {}", e.message))))
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
