//! What a finished file holds, whatever its format: what the writers take and
//! what the readers give back.

use glam::Vec2;
use serde_json::{Map, Value as Json, json};

use crate::{
    error::StageError,
    mesh::{FrontView, Maps, Mesh},
};

/// What a file is written from. Meshes share the maps; colliders have none.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Triangles, and for each vertex a unit normal and a UV; finite numbers.
    pub mesh: &'a Mesh,
    pub maps: &'a Maps,
    /// Coarser meshes, finest first, each as complete as `mesh`.
    pub lods: &'a [Mesh],
    /// Convex pieces; only positions and triangles are written.
    pub collider: &'a [Mesh],
    pub name: &'a str,
    /// The record of where the asset comes from: a JSON object.
    pub meshkiln: &'a Json,
}

/// Everything a file of ours holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// With `front` when the record has one.
    pub mesh: Mesh,
    pub maps: Maps,
    /// Finest first. Empty in formats that hold one mesh.
    pub lods: Vec<Mesh>,
    /// Positions and triangles only. Empty in formats that hold one mesh.
    pub collider: Vec<Mesh>,
    pub name: String,
    /// The record; null in files of others.
    pub meshkiln: Json,
}

impl<'a> Scene<'a> {
    /// One mesh and its maps, nothing else.
    pub fn of(mesh: &'a Mesh, maps: &'a Maps, name: &'a str, meshkiln: &'a Json) -> Scene<'a> {
        Scene { mesh, maps, lods: &[], collider: &[], name, meshkiln }
    }

    /// The record with `front` where the mesh has one.
    pub fn record(&self) -> Result<Map<String, Json>, StageError> {
        let record = self.meshkiln.as_object();
        let mut record =
            record.ok_or_else(|| StageError::internal(format!("record {} is not an object", self.meshkiln)))?.clone();
        if let Some(front) = self.mesh.front {
            let front = json!({ "metres_per_pixel": front.metres_per_pixel, "origin": front.origin.to_array() });
            record.insert("front".to_owned(), front);
        }
        Ok(record)
    }

    /// What no format can hold must not leave the stages before.
    pub fn check(&self) -> Result<(), StageError> {
        check_textured(self.mesh)?;
        self.lods.iter().try_for_each(check_textured)?;
        self.collider.iter().try_for_each(check_shape)
    }
}

/// How the cutout maps onto the mesh, as `Scene::record` wrote it.
pub fn front(record: &Json) -> Result<Option<FrontView>, StageError> {
    let Some(front) = record.get("front") else { return Ok(None) };
    let number = |json: &Json| json.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
    let metres_per_pixel = number(&front["metres_per_pixel"]).filter(|&m| m > 0.0);
    match (metres_per_pixel, number(&front["origin"][0]), number(&front["origin"][1])) {
        (Some(metres_per_pixel), Some(x), Some(y)) => Ok(Some(FrontView { metres_per_pixel, origin: Vec2::new(x, y) })),
        _ => {
            let text: String = front.to_string().chars().take(300).collect();
            Err(StageError::invalid(format!("`front` of the record is {text}"), "fire the source image again"))
        }
    }
}

fn check_textured(mesh: &Mesh) -> Result<(), StageError> {
    let n = mesh.positions.len();
    let wrong = |message: String| Err(StageError::internal(message));
    check_shape(mesh)?;
    if mesh.normals.len() != n || mesh.uvs.len() != n {
        return wrong(format!("mesh of {n} vertices has {} normals and {} UVs", mesh.normals.len(), mesh.uvs.len()));
    }
    if let Some((i, uv)) = mesh.uvs.iter().enumerate().find(|(_, uv)| !uv.is_finite()) {
        return wrong(format!("vertex {i} has UV {uv}"));
    }
    if let Some((i, normal)) = mesh.normals.iter().enumerate().find(|(_, normal)| !is_unit(normal.length_squared())) {
        return wrong(format!("normal {i} has length {}, not 1", normal.length()));
    }
    Ok(())
}

fn check_shape(mesh: &Mesh) -> Result<(), StageError> {
    let n = mesh.positions.len();
    let wrong = |message: String| Err(StageError::internal(message));
    if mesh.triangles.is_empty() {
        return wrong("mesh without triangles".to_owned());
    }
    if let Some(i) = mesh.triangles.iter().flatten().find(|&&i| i as usize >= n) {
        return wrong(format!("a triangle names vertex {i} of {n}"));
    }
    if let Some((i, position)) = mesh.positions.iter().enumerate().find(|(_, position)| !position.is_finite()) {
        return wrong(format!("vertex {i} is at {position}"));
    }
    Ok(())
}

fn is_unit(length_squared: f32) -> bool {
    (length_squared - 1.0).abs() < 1e-3
}

impl Content {
    /// The same, to be written again.
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            mesh: &self.mesh,
            maps: &self.maps,
            lods: &self.lods,
            collider: &self.collider,
            name: &self.name,
            meshkiln: &self.meshkiln,
        }
    }
}
