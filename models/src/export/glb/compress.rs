//! Meshes quantised (`KHR_mesh_quantization`) and compressed
//! (`EXT_meshopt_compression`): about a fifth of the size.
//!
//! Positions become 16 bits in the mesh's bounding cube, off by at most 1/131070
//! of its side; the node scales them back. Normals become octahedral with 10 bits
//! a coordinate, off by at most 0.2 degrees; UVs 16 bits, an eighth of a texel at
//! 8192. Vertices keep their order and triangles theirs, but a triangle's corners
//! may rotate.
//!
//! The data itself is in the BIN chunk; the views name a second buffer, which has
//! no data and is only there to say how large the unpacked data is.

use glam::Vec3;
use serde_json::{Value as Json, json};

use super::bin::{
    ARRAY_BUFFER, Bin, ELEMENT_ARRAY_BUFFER, FLOAT, SHORT, UNSIGNED_INT, UNSIGNED_SHORT, has_short_indices,
};
use crate::{
    error::StageError,
    mesh::{Mesh, tangents::vertex_tangents},
};

pub const COMPRESSION: &str = "EXT_meshopt_compression";
pub const QUANTIZATION: &str = "KHR_mesh_quantization";

/// Version 0 of the vertex codec is the one that the extension knows.
const VERTEX_CODEC: i32 = 0;
const LEVEL: i32 = 2;
const NORMAL_BITS: i32 = 10;
const STEPS: f32 = 65_535.0;

/// A mesh in the file, and where its node must put it.
pub struct Compressed {
    pub attributes: Json,
    pub indices: usize,
    pub translation: [f32; 3],
    /// The same along all axes, so that normals stay.
    pub scale: f32,
}

pub fn add(bin: &mut Bin, mesh: &Mesh) -> Result<Compressed, StageError> {
    let (low, high) = mesh.bounds().ok_or_else(|| StageError::internal("mesh without vertices"))?;
    let size = (high - low).max_element();
    let scale = if size > 0.0 { size } else { 1.0 };
    let grid = |p: Vec3| ((p - low) / scale * STEPS).round().to_array().map(|v| v as u16);

    let positions: Vec<[u16; 4]> = mesh.positions.iter().map(|&p| grid(p)).map(|[x, y, z]| [x, y, z, 0]).collect();
    let view = attribute(bin, &positions, None)?;
    let position = bin.accessor(view, UNSIGNED_SHORT, positions.len(), "VEC3");
    let bounds = [low, high].map(grid);
    bin.accessors[position]["normalized"] = json!(true);
    bin.accessors[position]["min"] = json!(bounds[0]);
    bin.accessors[position]["max"] = json!(bounds[1]);

    let normals: Vec<[f32; 4]> = mesh.normals.iter().map(|n| n.extend(0.0).to_array()).collect();
    let normals: Vec<[i16; 4]> = meshopt::encode_filter_oct(&normals, NORMAL_BITS);
    let view = attribute(bin, &normals, Some("OCTAHEDRAL"))?;
    let normal = bin.accessor(view, SHORT, normals.len(), "VEC3");
    bin.accessors[normal]["normalized"] = json!(true);

    let uv = if mesh.uvs.iter().all(|uv| uv.min_element() >= 0.0 && uv.max_element() <= 1.0) {
        let uvs: Vec<[u16; 2]> = mesh.uvs.iter().map(|uv| (*uv * STEPS).round().to_array().map(|v| v as u16)).collect();
        let view = attribute(bin, &uvs, None)?;
        let accessor = bin.accessor(view, UNSIGNED_SHORT, uvs.len(), "VEC2");
        bin.accessors[accessor]["normalized"] = json!(true);
        accessor
    } else {
        // Textures that repeat need numbers beyond 0..1.
        let uvs: Vec<[f32; 2]> = mesh.uvs.iter().map(|uv| uv.to_array()).collect();
        let view = attribute(bin, &uvs, None)?;
        bin.accessor(view, FLOAT, uvs.len(), "VEC2")
    };

    Ok(Compressed {
        attributes: json!({ "POSITION": position, "NORMAL": normal, "TEXCOORD_0": uv }),
        indices: indices(bin, mesh)?,
        translation: low.to_array(),
        scale,
    })
}

/// Tangents like normals; their sign is kept as it is. Index of the accessor.
pub fn add_tangents(bin: &mut Bin, mesh: &Mesh) -> Result<usize, StageError> {
    let tangents: Vec<[f32; 4]> = vertex_tangents(mesh).iter().map(|t| t.to_array()).collect();
    let tangents: Vec<[i16; 4]> = meshopt::encode_filter_oct(&tangents, NORMAL_BITS);
    let view = attribute(bin, &tangents, Some("OCTAHEDRAL"))?;
    let accessor = bin.accessor(view, SHORT, tangents.len(), "VEC4");
    bin.accessors[accessor]["normalized"] = json!(true);
    Ok(accessor)
}

fn attribute<T>(bin: &mut Bin, vertices: &[T], filter: Option<&str>) -> Result<usize, StageError> {
    let packed = meshopt::encode_vertex_buffer_level(vertices, LEVEL, Some(VERTEX_CODEC)).map_err(failed)?;
    let stride = size_of::<T>();
    let mut packing = json!({ "byteStride": stride, "count": vertices.len(), "mode": "ATTRIBUTES" });
    if let Some(filter) = filter {
        packing["filter"] = json!(filter);
    }
    let view = add_view(bin, &packed, size_of_val(vertices), packing);
    bin.views[view]["byteStride"] = json!(stride);
    bin.views[view]["target"] = json!(ARRAY_BUFFER);
    Ok(view)
}

fn indices(bin: &mut Bin, mesh: &Mesh) -> Result<usize, StageError> {
    let indices = mesh.triangles.as_flattened();
    let packed = meshopt::encode_index_buffer(indices, mesh.positions.len()).map_err(failed)?;
    let (stride, component) = if has_short_indices(mesh) { (2, UNSIGNED_SHORT) } else { (4, UNSIGNED_INT) };
    let packing = json!({ "byteStride": stride, "count": indices.len(), "mode": "TRIANGLES" });
    let view = add_view(bin, &packed, stride * indices.len(), packing);
    bin.views[view]["target"] = json!(ELEMENT_ARRAY_BUFFER);
    Ok(bin.accessor(view, component, indices.len(), "SCALAR"))
}

fn add_view(bin: &mut Bin, packed: &[u8], n_unpacked: usize, mut packing: Json) -> usize {
    let start = bin.begin();
    bin.bytes.extend(packed);
    let unpacked_at = bin.unpacked.next_multiple_of(4);
    bin.unpacked = unpacked_at + n_unpacked;
    packing["buffer"] = json!(0);
    packing["byteOffset"] = json!(start);
    packing["byteLength"] = json!(packed.len());
    bin.views.push(json!({
        "buffer": 1,
        "byteOffset": unpacked_at,
        "byteLength": n_unpacked,
        "extensions": { COMPRESSION: packing },
    }));
    bin.views.len() - 1
}

/// Largest view unpacked, in bytes: 10 million triangles with long indices.
const MAX_UNPACKED: usize = 120_000_000;

/// The unpacked bytes of a view whose extension is `packing`; `None` when it is
/// damaged or of a kind that `add` does not write.
pub fn unpack(bin: &[u8], packing: &Json) -> Option<Vec<u8>> {
    let number = |key: &str| usize::try_from(packing.get(key)?.as_u64()?).ok();
    let (start, length) = (number("byteOffset").unwrap_or(0), number("byteLength")?);
    let (count, stride) = (number("count")?, number("byteStride")?);
    let packed = bin.get(start..start.checked_add(length)?)?;
    if count.checked_mul(stride)? > MAX_UNPACKED {
        return None;
    }
    match (packing.get("mode")?.as_str()?, packing.get("filter").and_then(Json::as_str), stride) {
        ("ATTRIBUTES", None | Some("NONE"), 4) => flat::<4>(packed, count),
        ("ATTRIBUTES", None | Some("NONE"), 8) => flat::<8>(packed, count),
        ("ATTRIBUTES", Some("OCTAHEDRAL"), 8) => {
            let mut normals = meshopt::decode_vertex_buffer::<[i16; 4]>(packed, count).ok()?;
            meshopt::decode_filter_oct(&mut normals);
            Some(normals.into_iter().flatten().flat_map(i16::to_le_bytes).collect())
        }
        ("TRIANGLES", None | Some("NONE"), 2) if count.is_multiple_of(3) => {
            let indices = meshopt::decode_index_buffer::<u16>(packed, count).ok()?;
            Some(indices.into_iter().flat_map(u16::to_le_bytes).collect())
        }
        ("TRIANGLES", None | Some("NONE"), 4) if count.is_multiple_of(3) => {
            let indices = meshopt::decode_index_buffer::<u32>(packed, count).ok()?;
            Some(indices.into_iter().flat_map(u32::to_le_bytes).collect())
        }
        _ => None,
    }
}

fn flat<const N: usize>(packed: &[u8], count: usize) -> Option<Vec<u8>>
where
    [u8; N]: Default,
{
    Some(meshopt::decode_vertex_buffer::<[u8; N]>(packed, count).ok()?.concat())
}

fn failed(error: meshopt::Error) -> StageError {
    StageError::internal(format!("cannot compress the mesh: {error}"))
}
