//! Mesh files of others: GLB, glTF, OBJ, PLY and STL, by content.
//!
//! In: a `Bundle`, which is a file and what it refers to. Out: `Imported`, one
//! `TexturedMesh` in the file's own axes and units, and notes on what was passed
//! over. Nothing here opens files; every count, index and reference of a file is
//! checked before it is used, and memory follows what a file holds, not what it
//! claims.

mod assembly;
pub mod axes;
pub mod bundle;
mod gltf;
#[cfg(test)]
mod hostile_tests;
mod obj;
pub mod pair;
pub mod path;
mod ply;
mod polygon;
pub mod sniff;
mod stl;
#[cfg(test)]
mod tests;
mod text;
mod textures;

use crate::{
    error::{StageError, StageErrorKind},
    image,
    mesh::textured::TexturedMesh,
};

pub use self::{
    axes::Axes,
    bundle::Bundle,
    sniff::{MeshFormat, sniff},
};

/// What is read at most. Beyond it is `TooLarge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub vertices: usize,
    pub triangles: usize,
    /// Pixels of all textures together.
    pub texture_pixels: u64,
    /// Bytes of all files together, and of what they unpack to.
    pub bytes: u64,
    /// Files in a bundle.
    pub files: usize,
}

impl Default for Limits {
    /// 20 million vertices and triangles, 1 GiB of decoded textures, 1 GiB of files.
    fn default() -> Limits {
        Limits { vertices: 20_000_000, triangles: 20_000_000, texture_pixels: 256 << 20, bytes: 1 << 30, files: 1024 }
    }
}

/// A mesh as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub format: MeshFormat,
    /// In the file's own axes and units, see `Axes`.
    pub textured: TexturedMesh,
    /// What was passed over, missing or made good; a sentence each.
    pub notes: Vec<String>,
}

/// Reads the main file of `bundle`, with the other files as its buffers,
/// materials and textures.
///
/// The result has at least one triangle; every index is in range, every position
/// finite, every normal of unit length, and no vertex is unused. Textures that
/// are missing or damaged are left out with a note.
///
/// Errors: `Unsupported` for other formats and for required extensions,
/// `TooLarge` over `limits`, `Truncated` where the file ends too early,
/// `InvalidInput` for damage, for references of a glTF that are refused, and for
/// files without triangles.
pub fn read(bundle: &Bundle, limits: &Limits) -> Result<Imported, StageError> {
    bundle.check_size(limits)?;
    let main = bundle.main();
    let format = format_of(bundle.main_name(), main)?;
    let (textured, notes) = match format {
        MeshFormat::Glb | MeshFormat::Gltf => gltf::read(bundle, limits)?,
        MeshFormat::Obj => obj::read(bundle, limits)?,
        MeshFormat::Ply => ply::read(bundle, limits)?,
        MeshFormat::Stl => stl::read(main, limits)?,
    };
    Ok(Imported { format, textured, notes })
}

/// Paths of the files that `main` refers to, relative to its folder, in order of
/// appearance and without repetition: buffers and images of a glTF, material
/// files of an OBJ, textures of a PLY. Those of an OBJ's material file are given
/// by `material_references`. OBJ, MTL and PLY can do without what they refer to:
/// references that are refused, see `path`, are left out here and told by `read`.
///
/// Errors: a reference of a glTF that is refused; a file that cannot be parsed far
/// enough.
pub fn references(main: &[u8], format: MeshFormat) -> Result<Vec<String>, StageError> {
    match format {
        MeshFormat::Glb | MeshFormat::Gltf => gltf::references(main),
        MeshFormat::Obj => Ok(obj::references(main)),
        MeshFormat::Ply => ply::references(main),
        MeshFormat::Stl => Ok(Vec::new()),
    }
}

/// Paths of the textures that a material file (.mtl) of an OBJ refers to.
pub fn material_references(mtl: &[u8]) -> Vec<String> {
    obj::material_references(mtl)
}

/// The format by content. A file that says nothing is taken for an STL when its
/// name says so: a cut binary STL cannot be told by content.
fn format_of(name: &str, bytes: &[u8]) -> Result<MeshFormat, StageError> {
    if let Some(format) = sniff(bytes) {
        return Ok(format);
    }
    if bytes.is_empty() {
        return Err(truncated("the file is empty"));
    }
    let (kind, hint) = match image::sniff::sniff(bytes) {
        image::sniff::Kind::Picture(_) => ("a picture".to_owned(), "give it to a recipe that begins with `decode`"),
        image::sniff::Kind::Refused { name, hint } => (name.to_owned(), hint),
        image::sniff::Kind::Unknown => match sniff::refused(bytes) {
            Some(name) => (name.to_owned(), "export it as GLB"),
            None if name.to_ascii_lowercase().ends_with(".stl") => return Ok(MeshFormat::Stl),
            None => {
                let message = "this is not a mesh format that is read";
                return Err(StageError::new(
                    StageErrorKind::Unsupported,
                    message,
                    "give a GLB, glTF, OBJ, PLY or STL file",
                ));
            }
        },
    };
    let message = format!("{kind} is not read as a mesh: GLB, glTF, OBJ, PLY and STL are");
    Err(StageError::new(StageErrorKind::Unsupported, message, hint))
}

fn damaged(message: impl Into<String>) -> StageError {
    StageError::invalid(shorten(message.into()), "export the mesh again, as GLB where possible")
}

fn truncated(message: impl Into<String>) -> StageError {
    StageError::new(
        StageErrorKind::Truncated,
        message,
        "copy the file again; if it is still being written, it is tried again when it has changed",
    )
}

fn too_large(what: &str, found: impl std::fmt::Display, limit: impl std::fmt::Display) -> StageError {
    StageError::new(
        StageErrorKind::TooLarge,
        format!("the mesh file has {found} {what}, more than {limit}"),
        "simplify or split the mesh in a modelling program and export it again",
    )
}

/// Light of an sRGB value, both 0..=1 (IEC 61966-2-1). Colours on vertices of OBJ
/// and PLY are sRGB, as in Blender's and MeshLab's files.
fn linear(v: f32) -> f32 {
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

/// Text from a stranger's file, cut to a length that fits a message.
fn shorten(text: String) -> String {
    const MAX: usize = 300;
    if text.chars().count() <= MAX { text } else { text.chars().take(MAX).chain("...".chars()).collect() }
}
