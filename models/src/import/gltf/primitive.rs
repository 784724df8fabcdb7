//! One primitive of a glTF mesh: its triangles and the vertices they name.

use glam::{Vec2, Vec3, Vec4};
use gltf::json::{
    accessor::Type,
    mesh::{Mode, Primitive, Semantic},
    validation::Checked,
};

use super::{
    super::{
        assembly::{Notes, Part},
        damaged,
    },
    data::Data,
};
use crate::error::StageError;

/// Where a primitive's corners come from.
pub struct Indices {
    mode: Mode,
    /// Accessor of positions.
    positions: usize,
    /// Accessor of indices; `None`: vertices in their order.
    accessor: Option<usize>,
    count: u64,
}

/// A primitive and which vertices of its accessors it uses, sorted.
pub struct Read {
    pub part: Part,
    pub used: Vec<u32>,
}

impl Indices {
    /// `None`, with a note, for points, lines and primitives without positions.
    pub fn of(primitive: &Primitive, data: &Data, notes: &mut Notes) -> Result<Option<Indices>, StageError> {
        let mode = match primitive.mode {
            Checked::Valid(mode @ (Mode::Triangles | Mode::TriangleStrip | Mode::TriangleFan)) => mode,
            Checked::Valid(_) => {
                notes.add("points and lines were passed over");
                return Ok(None);
            }
            Checked::Invalid => return Err(damaged("a primitive of the glTF has a mode that does not exist")),
        };
        let Some(positions) = attribute(primitive, Semantic::Positions) else {
            notes.add("primitives without positions were passed over");
            return Ok(None);
        };
        if primitive.targets.as_ref().is_some_and(|targets| !targets.is_empty()) {
            notes.add("morph targets were passed over: the mesh is in its base shape");
        }
        let accessor = primitive.indices.map(|indices| indices.value());
        let count = data.count(accessor.unwrap_or(positions))?;
        Ok(Some(Indices { mode, positions, accessor, count }))
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    fn triangles(&self, data: &Data) -> Result<Vec<[u32; 3]>, StageError> {
        let list = match self.accessor {
            Some(accessor) => data.indices(accessor)?,
            None => {
                // Sees to it that there are so many.
                let last = self.count.checked_sub(1).map(|last| last as u32);
                data.numbers::<3>(self.positions, Type::Vec3, last.as_slice())?;
                (0..self.count as u32).collect()
            }
        };
        // Strips are joined by corners that repeat; the triangles between are none.
        let is_one = |t: &[u32; 3]| t[0] != t[1] && t[1] != t[2] && t[2] != t[0];
        Ok(match self.mode {
            Mode::TriangleStrip => {
                let corners = list.windows(3).enumerate();
                corners
                    .map(|(i, c)| if i % 2 == 0 { [c[0], c[1], c[2]] } else { [c[1], c[0], c[2]] })
                    .filter(is_one)
                    .collect()
            }
            Mode::TriangleFan => {
                let rim = list.get(1..).unwrap_or_default();
                rim.windows(2).map(|c| [list[0], c[0], c[1]]).filter(is_one).collect()
            }
            _ => list.as_chunks::<3>().0.to_vec(),
        })
    }
}

/// Triangles and the attributes of the vertices they name. Normals and tangents
/// may be of any length still. `None` without triangles.
pub fn read(
    primitive: &Primitive,
    indices: &Indices,
    uv_set: u32,
    data: &Data,
    notes: &mut Notes,
) -> Result<Option<Read>, StageError> {
    let mut triangles = indices.triangles(data)?;
    if triangles.is_empty() {
        return Ok(None);
    }
    let mut used: Vec<u32> = triangles.iter().flatten().copied().collect();
    used.sort_unstable();
    used.dedup();
    // Where nothing is left out, vertices keep their numbers.
    if used.last().is_some_and(|&last| last as usize + 1 != used.len()) {
        for vertex in triangles.iter_mut().flatten() {
            *vertex = used.binary_search(vertex).unwrap_or_default() as u32;
        }
    }
    let mut part = Part::default();
    part.mesh.triangles = triangles;
    part.mesh.positions = vectors(data.numbers(indices.positions, Type::Vec3, &used)?);
    if let Some(accessor) = attribute(primitive, Semantic::Normals) {
        part.mesh.normals = vectors(data.numbers(accessor, Type::Vec3, &used)?);
    }
    if let Some(accessor) = attribute(primitive, Semantic::Tangents) {
        part.tangents = data.numbers(accessor, Type::Vec4, &used)?.into_iter().map(Vec4::from_array).collect();
    }
    if let Some(accessor) = attribute(primitive, Semantic::TexCoords(uv_set)) {
        part.mesh.uvs = data.numbers(accessor, Type::Vec2, &used)?.into_iter().map(Vec2::from_array).collect();
    }
    if let Some(accessor) = attribute(primitive, Semantic::Colors(0)) {
        part.colors = match data.shape(accessor)? {
            Some(Type::Vec3) => {
                let colors: Vec<Vec3> = vectors(data.numbers(accessor, Type::Vec3, &used)?);
                colors.into_iter().map(|color| color.extend(1.0)).collect()
            }
            _ => data.numbers(accessor, Type::Vec4, &used)?.into_iter().map(Vec4::from_array).collect(),
        };
    }
    if attribute(primitive, Semantic::Colors(1)).is_some() {
        notes.add("second vertex colours were passed over");
    }
    Ok(Some(Read { part, used }))
}

fn vectors(numbers: Vec<[f32; 3]>) -> Vec<Vec3> {
    numbers.into_iter().map(Vec3::from_array).collect()
}

pub fn attribute(primitive: &Primitive, semantic: Semantic) -> Option<usize> {
    primitive.attributes.get(&Checked::Valid(semantic)).map(|accessor| accessor.value())
}
