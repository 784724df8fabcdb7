//! A mesh file and the files it refers to, as one source.
//!
//! What else is read lies in the mesh's folder or below it, is a regular file,
//! and is not reached through a link (import/path.rs refuses every other name).

use std::{fs::File, io::Read, path::Path};

use meshkiln_models::{
    image::sniff::{Kind, sniff as sniff_picture},
    import::{self, Bundle, Limits},
};
use meshkiln_protocol::error::ErrorKind;

use super::{
    convert::{self, CallError},
    limits, source,
};
use crate::watch::scan::open_beneath;

/// Names under which meshes go. A file that is neither a picture nor known by its
/// content is taken for one, so that it is told why it cannot be read.
const MESHES: &[&str] = &["glb", "gltf", "obj", "ply", "stl", "3mf", "fbx", "dae", "usd", "usdz", "blend"];

/// The mesh at `path` with its buffers, materials and textures. `None` where
/// something else is there.
pub fn mesh(path: &Path) -> Result<Option<Bundle>, CallError> {
    let mut file = source::open_any_size(path)?;
    let mut head = Vec::new();
    read(&mut file, path, 64, &mut head)?;
    if matches!(sniff_picture(&head), Kind::Picture(_)) {
        return Ok(None);
    }
    let bytes = file.metadata().map_or(0, |found| found.len());
    if bytes > limits::MESH_BYTES {
        return Err(convert::refused(
            ErrorKind::TooLarge,
            format!("{} has {bytes} bytes, more than {}", path.display(), limits::MESH_BYTES),
            "simplify or split the mesh in a modelling program and export it again",
        ));
    }
    let mut main = head;
    read(&mut file, path, limits::MESH_BYTES, &mut main)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if import::sniff(&main).is_none() {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_called_mesh = MESHES.contains(&extension.as_str());
        return Ok(is_called_mesh.then(|| Bundle::single(name, main)));
    }
    let folder = path.parent().unwrap_or(path);
    let bounds = Limits { bytes: limits::MESH_BYTES, ..Limits::default() };
    let gathered = Bundle::gather(name, main, &bounds, |rel, room| {
        let (file, _) = open_beneath(folder, Path::new(rel))?;
        let mut bytes = Vec::new();
        // One more than there is room for is over the limit, and told as such.
        file.take(room + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    });
    Ok(Some(gathered?))
}

fn read(file: &mut File, path: &Path, most: u64, into: &mut Vec<u8>) -> Result<(), CallError> {
    let done = file.take(most).read_to_end(into);
    done.map(|_| ()).map_err(|e| {
        convert::invalid(format!("{} cannot be read: {e}", path.display()), "check the file and its drive")
    })
}
