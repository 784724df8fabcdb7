//! The BIN chunk in the making, with its buffer views and accessors.

use serde_json::{Value as Json, json};

use crate::{
    error::StageError,
    mesh::{Mesh, tangents::vertex_tangents},
};

pub const ARRAY_BUFFER: u32 = 34962;
pub const ELEMENT_ARRAY_BUFFER: u32 = 34963;
pub const SHORT: u32 = 5122;
pub const UNSIGNED_SHORT: u32 = 5123;
pub const UNSIGNED_INT: u32 = 5125;
pub const FLOAT: u32 = 5126;

#[derive(Default)]
pub struct Bin {
    pub bytes: Vec<u8>,
    pub views: Vec<Json>,
    pub accessors: Vec<Json>,
    /// Bytes that compressed views unpack to; 0 when none is compressed.
    pub unpacked: usize,
}

impl Bin {
    /// Index of the new view.
    pub fn add(&mut self, data: impl Iterator<Item = u8>, target: Option<u32>) -> usize {
        let start = self.begin();
        self.bytes.extend(data);
        let mut view = json!({ "buffer": 0, "byteOffset": start, "byteLength": self.bytes.len() - start });
        if let Some(target) = target {
            view["target"] = json!(target);
        }
        self.views.push(view);
        self.views.len() - 1
    }

    /// Index of the new accessor, which begins where its view begins.
    pub fn accessor(&mut self, view: usize, component: u32, count: usize, shape: &str) -> usize {
        let accessor = json!({ "bufferView": view, "componentType": component, "count": count, "type": shape });
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    /// Accessor of the positions, with their bounds.
    pub fn positions(&mut self, mesh: &Mesh) -> Result<usize, StageError> {
        let (low, high) = mesh.bounds().ok_or_else(|| StageError::internal("mesh without vertices"))?;
        let view = self.add(floats(mesh.positions.iter().map(|p| p.to_array())), Some(ARRAY_BUFFER));
        let accessor = self.accessor(view, FLOAT, mesh.positions.len(), "VEC3");
        self.accessors[accessor]["min"] = json!(low.to_array());
        self.accessors[accessor]["max"] = json!(high.to_array());
        Ok(accessor)
    }

    pub fn normals(&mut self, mesh: &Mesh) -> usize {
        let view = self.add(floats(mesh.normals.iter().map(|n| n.to_array())), Some(ARRAY_BUFFER));
        self.accessor(view, FLOAT, mesh.normals.len(), "VEC3")
    }

    /// One tangent a vertex, see mesh/tangents.rs.
    pub fn tangents(&mut self, mesh: &Mesh) -> usize {
        let tangents = vertex_tangents(mesh);
        let view = self.add(floats(tangents.iter().map(|t| t.to_array())), Some(ARRAY_BUFFER));
        self.accessor(view, FLOAT, tangents.len(), "VEC4")
    }

    pub fn uvs(&mut self, mesh: &Mesh) -> usize {
        let view = self.add(floats(mesh.uvs.iter().map(|uv| uv.to_array())), Some(ARRAY_BUFFER));
        self.accessor(view, FLOAT, mesh.uvs.len(), "VEC2")
    }

    pub fn indices(&mut self, mesh: &Mesh) -> usize {
        let indices = mesh.triangles.iter().flatten();
        let (view, component) = if has_short_indices(mesh) {
            let view = self.add(indices.flat_map(|&i| (i as u16).to_le_bytes()), Some(ELEMENT_ARRAY_BUFFER));
            (view, UNSIGNED_SHORT)
        } else {
            (self.add(indices.flat_map(|i| i.to_le_bytes()), Some(ELEMENT_ARRAY_BUFFER)), UNSIGNED_INT)
        };
        self.accessor(view, component, mesh.triangles.len() * 3, "SCALAR")
    }

    /// Where the next part begins: a multiple of four.
    pub fn begin(&mut self) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.len()
    }
}

/// The largest u16 restarts primitives, so no vertex may have that number.
pub fn has_short_indices(mesh: &Mesh) -> bool {
    mesh.positions.len() <= usize::from(u16::MAX)
}

fn floats<const N: usize>(vectors: impl Iterator<Item = [f32; N]>) -> impl Iterator<Item = u8> {
    vectors.flatten().flat_map(f32::to_le_bytes)
}
