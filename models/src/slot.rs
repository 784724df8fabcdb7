//! Slots: the closed set of values an asset in the making can hold, and the
//! standard format each is stored in.
//!
//! Encoding is deterministic: equal values give equal bytes, so a blob's
//! SHA-256 identifies the value.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::image::RgbaImage;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::{
    error::StageError,
    field::Field,
    image::{depth_map::DepthMap, png_io},
    mesh::{Maps, Mesh, textured::TexturedMesh},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The user's file, byte for byte.
    Source,
    /// Who asked for what: name, source digest, recipe, settings, versions. JSON.
    Provenance,
    /// The picture upright in sRGB. PNG.
    Image,
    /// The object alone: straight alpha, colours meaningful under the whole edge. PNG.
    Cutout,
    /// How far what the picture shows is away. 16-bit PNG, see `DepthMap::to_bytes`.
    Depth,
    /// Density and colour everywhere, before there is a mesh. safetensors, see `Field::to_bytes`.
    Field,
    /// What details are taken from when the mesh is simpler. safetensors, see `TexturedMesh::to_bytes`.
    High,
    /// Geometry. safetensors, see `Mesh::to_bytes`.
    Mesh,
    /// Textures of the mesh. safetensors, see `Maps::to_bytes`.
    Maps,
    /// Coarser meshes on the same texture, finest first. safetensors, see `Mesh::list_to_bytes`.
    Lods,
    /// Convex pieces that physics collides with. safetensors, see `Mesh::list_to_bytes`.
    Collider,
    /// The finished file: GLB, or PNG for recipes that end in a picture.
    Asset,
    /// What stages have to say about their work, by stage. JSON.
    Notes,
    /// What the gate measured. JSON.
    Report,
    /// A picture of the asset. PNG, or what `preview.format` says of one that turns.
    Preview,
}

impl Slot {
    pub const ALL: &[Slot] = &[
        Slot::Source,
        Slot::Provenance,
        Slot::Image,
        Slot::Cutout,
        Slot::Depth,
        Slot::Field,
        Slot::High,
        Slot::Mesh,
        Slot::Maps,
        Slot::Lods,
        Slot::Collider,
        Slot::Asset,
        Slot::Notes,
        Slot::Report,
        Slot::Preview,
    ];

    pub fn id(self) -> &'static str {
        match self {
            Slot::Source => "source",
            Slot::Provenance => "provenance",
            Slot::Image => "image",
            Slot::Cutout => "cutout",
            Slot::Depth => "depth",
            Slot::Field => "field",
            Slot::High => "high",
            Slot::Mesh => "mesh",
            Slot::Maps => "maps",
            Slot::Lods => "lods",
            Slot::Collider => "collider",
            Slot::Asset => "asset",
            Slot::Notes => "notes",
            Slot::Report => "report",
            Slot::Preview => "preview",
        }
    }

    pub fn find(id: &str) -> Option<Slot> {
        Slot::ALL.iter().copied().find(|slot| slot.id() == id)
    }

    /// Whether what is stored is a picture that any program shows.
    pub fn is_picture(self) -> bool {
        matches!(self, Slot::Image | Slot::Cutout | Slot::Depth | Slot::Preview)
    }

    /// The value stored in `bytes`.
    pub fn decode(self, bytes: &[u8]) -> Result<Value, StageError> {
        Ok(match self {
            Slot::Source | Slot::Asset | Slot::Preview => Value::Bytes(bytes.into()),
            Slot::Provenance | Slot::Notes | Slot::Report => Value::Json(Arc::new(
                serde_json::from_slice(bytes)
                    .map_err(|e| StageError::internal(format!("{} blob is not JSON: {e}", self.id())))?,
            )),
            Slot::Image | Slot::Cutout => Value::Image(Arc::new(png_io::decode_rgba(bytes)?)),
            Slot::Depth => Value::Depth(Arc::new(DepthMap::from_bytes(bytes)?)),
            Slot::Mesh => Value::Mesh(Arc::new(Mesh::from_bytes(bytes)?)),
            Slot::Field => Value::Field(Arc::new(Field::from_bytes(bytes)?)),
            Slot::High => Value::High(Arc::new(TexturedMesh::from_bytes(bytes)?)),
            Slot::Maps => Value::Maps(Arc::new(Maps::from_bytes(bytes)?)),
            Slot::Lods | Slot::Collider => Value::Meshes(Mesh::list_from_bytes(bytes)?.into()),
        })
    }
}

/// Cheap to clone: large values are shared.
#[derive(Debug, Clone)]
pub enum Value {
    Bytes(Arc<[u8]>),
    /// Straight alpha, sRGB, 8 bits.
    Image(Arc<RgbaImage>),
    Depth(Arc<DepthMap>),
    Field(Arc<Field>),
    Mesh(Arc<Mesh>),
    Meshes(Arc<[Mesh]>),
    High(Arc<TexturedMesh>),
    Maps(Arc<Maps>),
    Json(Arc<Json>),
}

impl Value {
    pub fn encode(&self) -> Result<Vec<u8>, StageError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            Value::Image(image) => png_io::encode_rgba(image),
            Value::Depth(depth) => depth.to_bytes(),
            Value::Field(field) => field.to_bytes(),
            Value::Mesh(mesh) => mesh.to_bytes(),
            Value::Meshes(meshes) => Mesh::list_to_bytes(meshes),
            Value::High(high) => high.to_bytes(),
            Value::Maps(maps) => maps.to_bytes(),
            Value::Json(json) => Ok(json.to_string().into_bytes()),
        }
    }

    /// Approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Value::Bytes(bytes) => bytes.len(),
            Value::Image(image) => image.as_raw().len(),
            Value::Depth(depth) => depth.size(),
            Value::Field(field) => field.size(),
            Value::Mesh(mesh) => mesh.size(),
            Value::Meshes(meshes) => meshes.iter().map(Mesh::size).sum(),
            Value::High(high) => high.size(),
            Value::Maps(maps) => maps.size(),
            Value::Json(_) => 1024,
        }
    }
}

/// The slots of one asset in the making that the current stage may see.
#[derive(Debug, Clone, Default)]
pub struct Asset {
    slots: BTreeMap<Slot, Value>,
    /// Those set since `forget_writes`.
    written: BTreeSet<Slot>,
}

impl Asset {
    pub fn get(&self, slot: Slot) -> Option<&Value> {
        self.slots.get(&slot)
    }

    pub fn set(&mut self, slot: Slot, value: Value) {
        self.slots.insert(slot, value);
        self.written.insert(slot);
    }

    /// From now on what is there counts as given.
    pub fn forget_writes(&mut self) {
        self.written.clear();
    }

    pub fn is_written(&self, slot: Slot) -> bool {
        self.written.contains(&slot)
    }

    pub fn set_image(&mut self, slot: Slot, image: RgbaImage) {
        self.set(slot, Value::Image(Arc::new(image)));
    }

    pub fn set_mesh(&mut self, mesh: Mesh) {
        self.set(Slot::Mesh, Value::Mesh(Arc::new(mesh)));
    }

    /// Adds what `stage` has to say to what the stages before it said. Every stage
    /// that does so may read and may write `notes`.
    pub fn note(&mut self, stage: &str, said: Json) {
        let mut notes = match self.get(Slot::Notes) {
            Some(Value::Json(notes)) => Json::clone(notes),
            _ => json!({}),
        };
        notes[stage] = said;
        self.set(Slot::Notes, Value::Json(notes.into()));
    }

    pub fn bytes(&self, slot: Slot) -> Result<Arc<[u8]>, StageError> {
        match self.get(slot) {
            Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
            _ => Err(missing(slot)),
        }
    }

    pub fn image(&self, slot: Slot) -> Result<Arc<RgbaImage>, StageError> {
        match self.get(slot) {
            Some(Value::Image(image)) => Ok(image.clone()),
            _ => Err(missing(slot)),
        }
    }

    pub fn depth(&self) -> Result<Arc<DepthMap>, StageError> {
        match self.get(Slot::Depth) {
            Some(Value::Depth(depth)) => Ok(depth.clone()),
            _ => Err(missing(Slot::Depth)),
        }
    }

    /// `None` where no stage made one.
    pub fn field(&self) -> Option<Arc<Field>> {
        match self.get(Slot::Field) {
            Some(Value::Field(field)) => Some(field.clone()),
            _ => None,
        }
    }

    pub fn mesh(&self) -> Result<Arc<Mesh>, StageError> {
        match self.get(Slot::Mesh) {
            Some(Value::Mesh(mesh)) => Ok(mesh.clone()),
            _ => Err(missing(Slot::Mesh)),
        }
    }

    /// Coarser meshes or convex pieces; `None` where no stage made any.
    pub fn meshes(&self, slot: Slot) -> Option<Arc<[Mesh]>> {
        match self.get(slot) {
            Some(Value::Meshes(meshes)) => Some(meshes.clone()),
            _ => None,
        }
    }

    pub fn high(&self) -> Result<Arc<TexturedMesh>, StageError> {
        match self.get(Slot::High) {
            Some(Value::High(high)) => Ok(high.clone()),
            _ => Err(missing(Slot::High)),
        }
    }

    pub fn maps(&self) -> Result<Arc<Maps>, StageError> {
        match self.get(Slot::Maps) {
            Some(Value::Maps(maps)) => Ok(maps.clone()),
            _ => Err(missing(Slot::Maps)),
        }
    }

    pub fn json(&self, slot: Slot) -> Result<Arc<Json>, StageError> {
        match self.get(slot) {
            Some(Value::Json(json)) => Ok(json.clone()),
            _ => Err(missing(slot)),
        }
    }
}

fn missing(slot: Slot) -> StageError {
    StageError::internal(format!("slot `{}` is empty", slot.id()))
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
