//! A mesh, its maps and their record as GLB bytes.

use serde_json::{Value as Json, json};

use super::{
    UNSEALED,
    bin::Bin,
    compress::{self, COMPRESSION, QUANTIZATION},
    join, material,
};
use crate::{
    error::StageError,
    export::{
        content::Scene,
        format::TextureFormat,
        preset::{self, Place, Preset},
    },
    mesh::{Maps, Mesh},
    slot::sha256_hex,
};

/// How a GLB is written.
#[derive(Clone, Copy)]
pub struct Style {
    /// Names and places of nodes.
    pub preset: &'static Preset,
    /// Of the textures inside; DDS is not possible.
    pub texture: TextureFormat,
    /// Quantise and compress meshes; see compress.rs.
    pub compress: bool,
}

impl Default for Style {
    /// Plain glTF that every reader understands.
    fn default() -> Style {
        Style { preset: preset::generic(), texture: TextureFormat::Png, compress: false }
    }
}

/// One node, one mesh, one primitive, one material, all called `name`, with
/// everything embedded. `mesh` needs triangles, a unit normal and a UV for each
/// vertex, and finite numbers; `meshkiln` must be an object: it goes to
/// `asset.extras.meshkiln`, with `front` where the mesh has one, and the digests.
/// Equal arguments give equal bytes.
pub fn write(mesh: &Mesh, maps: &Maps, name: &str, meshkiln: &Json) -> Result<Vec<u8>, StageError> {
    write_scene(&Scene::of(mesh, maps, name, meshkiln), &Style::default())
}

/// Like `write`, with levels of detail, colliders and all maps, in the style of a target.
pub fn write_scene(scene: &Scene, style: &Style) -> Result<Vec<u8>, StageError> {
    scene.check()?;
    if style.texture == TextureFormat::Dds {
        return Err(StageError::internal("a GLB cannot hold DDS textures"));
    }
    let mut bin = Bin::default();
    let mut nodes = Nodes { tangents: scene.maps.normal.is_some(), ..Nodes::default() };
    let names = &style.preset.names;
    let object = names.object(scene.name, scene.lods.len());
    nodes.add_textured(&mut bin, scene.mesh, &object, style)?;
    let material = material::add(&mut bin, scene.maps, scene.name, style.texture)?;
    nodes.place(0, Place::WithObject, scene.name);
    if style.preset.lods != Place::LeftOut {
        for (i, lod) in scene.lods.iter().enumerate() {
            let name = names.lod(scene.name, i + 1);
            let node = nodes.add_textured(&mut bin, lod, &name, style)?;
            nodes.nodes[node]["extras"] = json!({ "lod": i + 1 });
            nodes.place(node, style.preset.lods, &name);
        }
    }
    if style.preset.collider != Place::LeftOut {
        for (i, piece) in scene.collider.iter().enumerate() {
            let name = names.collider(scene.name, i + 1);
            let node = nodes.add_shape(&mut bin, piece, &name)?;
            nodes.nodes[node]["extras"] = json!({ "collider": i + 1 });
            nodes.place(node, style.preset.collider, &name);
        }
    }
    bin.begin();

    let mut record = scene.record()?;
    record.insert("bin_sha256".to_owned(), json!(sha256_hex(&bin.bytes)));
    record.insert("json_sha256".to_owned(), json!(UNSEALED));
    let mut document = json!({
        "asset": { "version": "2.0", "generator": "Meshkiln", "extras": { "meshkiln": record } },
        "scene": 0,
        "scenes": nodes.scenes,
        "nodes": nodes.nodes,
        "meshes": nodes.meshes,
        "materials": [material.material],
        "textures": material.textures,
        "samplers": [material.sampler],
        "images": material.images,
        "accessors": bin.accessors,
        "bufferViews": bin.views,
        "buffers": [{ "byteLength": bin.bytes.len() }],
    });
    let mut extensions = material.extensions;
    if style.compress {
        extensions.extend([COMPRESSION, QUANTIZATION]);
        let unpacked = json!({ "byteLength": bin.unpacked, "extensions": { COMPRESSION: { "fallback": true } } });
        document["buffers"] = json!([document["buffers"][0], unpacked]);
    }
    if !extensions.is_empty() {
        document["extensionsUsed"] = json!(extensions);
        document["extensionsRequired"] = json!(extensions);
    }
    join(document.to_string().into_bytes(), &bin.bytes)
}

/// Nodes with their meshes, one primitive each, and the scenes that hold them.
#[derive(Default)]
struct Nodes {
    /// Readers need them with a normal map, and do not agree on their own.
    tangents: bool,
    nodes: Vec<Json>,
    meshes: Vec<Json>,
    scenes: Vec<Json>,
}

impl Nodes {
    /// Index of the new node.
    fn add_textured(&mut self, bin: &mut Bin, mesh: &Mesh, name: &str, style: &Style) -> Result<usize, StageError> {
        if style.compress {
            let mut packed = compress::add(bin, mesh)?;
            if self.tangents {
                packed.attributes["TANGENT"] = json!(compress::add_tangents(bin, mesh)?);
            }
            let primitive = json!({ "attributes": packed.attributes, "indices": packed.indices, "material": 0 });
            let node = self.add(name, primitive);
            self.nodes[node]["translation"] = json!(packed.translation);
            self.nodes[node]["scale"] = json!([packed.scale, packed.scale, packed.scale]);
            return Ok(node);
        }
        let mut attributes =
            json!({ "POSITION": bin.positions(mesh)?, "NORMAL": bin.normals(mesh), "TEXCOORD_0": bin.uvs(mesh) });
        if self.tangents {
            attributes["TANGENT"] = json!(bin.tangents(mesh));
        }
        let primitive = json!({ "attributes": attributes, "indices": bin.indices(mesh), "material": 0 });
        Ok(self.add(name, primitive))
    }

    fn add_shape(&mut self, bin: &mut Bin, mesh: &Mesh, name: &str) -> Result<usize, StageError> {
        let attributes = json!({ "POSITION": bin.positions(mesh)? });
        let primitive = json!({ "attributes": attributes, "indices": bin.indices(mesh) });
        Ok(self.add(name, primitive))
    }

    fn add(&mut self, name: &str, primitive: Json) -> usize {
        self.meshes.push(json!({ "name": name, "primitives": [primitive] }));
        self.nodes.push(json!({ "name": name, "mesh": self.meshes.len() - 1 }));
        self.nodes.len() - 1
    }

    fn place(&mut self, node: usize, place: Place, name: &str) {
        match (place, self.scenes.first_mut().and_then(|scene| scene["nodes"].as_array_mut())) {
            (Place::WithObject, Some(nodes)) => nodes.push(json!(node)),
            _ => self.scenes.push(json!({ "name": name, "nodes": [node] })),
        }
    }
}
