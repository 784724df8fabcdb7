//! A mesh, its maps and their record as GLB bytes.

use glam::{Vec2, Vec3};
use serde_json::{Value as Json, json};

use super::{UNSEALED, join};
use crate::{
    error::StageError,
    image::png_io,
    mesh::{Maps, Mesh},
    slot::sha256_hex,
};

/// One node, one mesh, one primitive, one material, all called `name`, with
/// everything embedded. `mesh` needs triangles, a unit normal and a UV for each
/// vertex, and finite numbers; `meshkiln` must be an object: it goes to
/// `asset.extras.meshkiln`, with `front` where the mesh has one, and the digests.
/// Equal arguments give equal bytes.
pub fn write(mesh: &Mesh, maps: &Maps, name: &str, meshkiln: &Json) -> Result<Vec<u8>, StageError> {
    check(mesh)?;
    let (low, high) = mesh.bounds().ok_or_else(|| StageError::internal("mesh without vertices"))?;
    let texture = png_io::encode_rgba(&maps.base_color)?;

    let mut bin = Bin::default();
    bin.add(mesh.positions.iter().flat_map(|p| vec3(*p)), Some(ARRAY_BUFFER));
    bin.add(mesh.normals.iter().flat_map(|n| vec3(*n)), Some(ARRAY_BUFFER));
    bin.add(mesh.uvs.iter().flat_map(|uv| vec2(*uv)), Some(ARRAY_BUFFER));
    let indices = mesh.triangles.iter().flatten();
    // The largest u16 restarts primitives, so no vertex may have that number.
    let index_type = if mesh.positions.len() <= usize::from(u16::MAX) {
        bin.add(indices.flat_map(|&i| (i as u16).to_le_bytes()), Some(ELEMENT_ARRAY_BUFFER));
        UNSIGNED_SHORT
    } else {
        bin.add(indices.flat_map(|i| i.to_le_bytes()), Some(ELEMENT_ARRAY_BUFFER));
        UNSIGNED_INT
    };
    bin.add(texture.into_iter(), None);
    bin.pad();

    let mut record = meshkiln.clone();
    let fields =
        record.as_object_mut().ok_or_else(|| StageError::internal(format!("record {meshkiln} is not an object")))?;
    if let Some(front) = mesh.front {
        let front = json!({ "metres_per_pixel": front.metres_per_pixel, "origin": front.origin.to_array() });
        fields.insert("front".to_owned(), front);
    }
    fields.insert("bin_sha256".to_owned(), json!(sha256_hex(&bin.bytes)));
    fields.insert("json_sha256".to_owned(), json!(UNSEALED));

    let n_vertices = mesh.positions.len();
    let document = json!({
        "asset": { "version": "2.0", "generator": "Meshkiln", "extras": { "meshkiln": record } },
        "scene": 0,
        "scenes": [{ "nodes": [0] }],
        "nodes": [{ "name": name, "mesh": 0 }],
        "meshes": [{
            "name": name,
            "primitives": [{
                "attributes": { "POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2 },
                "indices": 3,
                "material": 0,
            }],
        }],
        "materials": [{
            "name": name,
            "pbrMetallicRoughness": {
                "baseColorTexture": { "index": 0 },
                "roughnessFactor": maps.roughness,
                "metallicFactor": maps.metallic,
            },
        }],
        "textures": [{ "sampler": 0, "source": 0 }],
        // UVs stay within 0..1: clamping keeps mip levels of opposite edges apart.
        "samplers": [{
            "magFilter": LINEAR,
            "minFilter": LINEAR_MIPMAP_LINEAR,
            "wrapS": CLAMP_TO_EDGE,
            "wrapT": CLAMP_TO_EDGE,
        }],
        "images": [{ "bufferView": 4, "mimeType": "image/png" }],
        "accessors": [
            {
                "bufferView": 0, "componentType": FLOAT, "count": n_vertices, "type": "VEC3",
                "min": low.to_array(), "max": high.to_array(),
            },
            { "bufferView": 1, "componentType": FLOAT, "count": n_vertices, "type": "VEC3" },
            { "bufferView": 2, "componentType": FLOAT, "count": n_vertices, "type": "VEC2" },
            { "bufferView": 3, "componentType": index_type, "count": mesh.triangles.len() * 3, "type": "SCALAR" },
        ],
        "bufferViews": bin.views,
        "buffers": [{ "byteLength": bin.bytes.len() }],
    });
    join(document.to_string().into_bytes(), &bin.bytes)
}

const ARRAY_BUFFER: u32 = 34962;
const ELEMENT_ARRAY_BUFFER: u32 = 34963;
const UNSIGNED_SHORT: u32 = 5123;
const UNSIGNED_INT: u32 = 5125;
const FLOAT: u32 = 5126;
const LINEAR: u32 = 9729;
const LINEAR_MIPMAP_LINEAR: u32 = 9987;
const CLAMP_TO_EDGE: u32 = 33071;

/// The BIN chunk in the making, with its buffer views.
#[derive(Default)]
struct Bin {
    bytes: Vec<u8>,
    views: Vec<Json>,
}

impl Bin {
    fn add(&mut self, data: impl Iterator<Item = u8>, target: Option<u32>) {
        self.pad();
        let start = self.bytes.len();
        self.bytes.extend(data);
        let mut view = json!({ "buffer": 0, "byteOffset": start, "byteLength": self.bytes.len() - start });
        if let Some(target) = target {
            view["target"] = json!(target);
        }
        self.views.push(view);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// What the format forbids must not leave the stages before.
fn check(mesh: &Mesh) -> Result<(), StageError> {
    let n = mesh.positions.len();
    let wrong = |message: String| Err(StageError::internal(message));
    if mesh.triangles.is_empty() {
        return wrong("mesh without triangles".to_owned());
    }
    if mesh.normals.len() != n || mesh.uvs.len() != n {
        return wrong(format!("mesh of {n} vertices has {} normals and {} UVs", mesh.normals.len(), mesh.uvs.len()));
    }
    if let Some(i) = mesh.triangles.iter().flatten().find(|&&i| i as usize >= n) {
        return wrong(format!("a triangle names vertex {i} of {n}"));
    }
    if let Some(i) = (0..n).find(|&i| !mesh.positions[i].is_finite() || !mesh.uvs[i].is_finite()) {
        return wrong(format!("vertex {i} is at {} with UV {}", mesh.positions[i], mesh.uvs[i]));
    }
    if let Some((i, normal)) = mesh.normals.iter().enumerate().find(|(_, normal)| !is_unit(**normal)) {
        return wrong(format!("normal {i} has length {}, not 1", normal.length()));
    }
    Ok(())
}

fn is_unit(normal: Vec3) -> bool {
    (normal.length_squared() - 1.0).abs() < 1e-3
}

fn vec3(v: Vec3) -> impl Iterator<Item = u8> {
    v.to_array().into_iter().flat_map(f32::to_le_bytes)
}

fn vec2(v: Vec2) -> impl Iterator<Item = u8> {
    v.to_array().into_iter().flat_map(f32::to_le_bytes)
}
