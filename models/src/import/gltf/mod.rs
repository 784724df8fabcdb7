//! glTF 2.0, as GLB or as JSON with files beside it.
//!
//! Read are all meshes of the default scene in their places: triangles, strips
//! and fans, every component type (`KHR_mesh_quantization`), sparse and packed
//! data (meshopt.rs), colours, tangents, skins in their rest pose (skin.rs), and
//! materials (material.rs). Morph targets are left at their base, animations are
//! not read. Extensions are named in document.rs.

mod data;
mod document;
mod material;
mod meshopt;
mod primitive;
mod skin;

use glam::{Mat3, Mat4, Quat, Vec3, Vec4};
use gltf::json;

use self::{data::Data, document::Document, material::Materials, primitive::Indices};
use super::{
    Bundle, Limits, MeshFormat,
    assembly::{Assembly, Notes, Part},
    damaged,
    path::{Reference, resolve_uri},
    textures::Textures,
    too_large,
};
use crate::{error::StageError, mesh::textured::TexturedMesh};

pub(super) fn references(main: &[u8]) -> Result<Vec<String>, StageError> {
    let (document, _) = Document::parse(main)?;
    let uris = document.buffers.iter().map(|buffer| &buffer.uri).chain(document.images.iter().map(|image| &image.uri));
    files(uris.flatten())
}

/// Paths of the files that `main` cannot do without.
pub(super) fn buffers(main: &[u8], format: MeshFormat) -> Result<Vec<String>, StageError> {
    match format {
        MeshFormat::Glb | MeshFormat::Gltf => {
            files(Document::parse(main)?.0.buffers.iter().filter_map(|buffer| buffer.uri.as_ref()))
        }
        _ => Ok(Vec::new()),
    }
}

fn files<'a>(uris: impl Iterator<Item = &'a String>) -> Result<Vec<String>, StageError> {
    let mut paths = Vec::new();
    for uri in uris {
        if let Reference::File(path) = resolve_uri(uri)?
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    Ok(paths)
}

pub(super) fn read(bundle: &Bundle, limits: &Limits) -> Result<(TexturedMesh, Vec<String>), StageError> {
    let (document, bin) = Document::parse(bundle.main())?;
    let mut notes = Notes::default();
    let data = Data::new(&document, bin, bundle, limits);
    let transforms = transforms(&document);
    let mut assembly = Assembly::new(limits);
    let mut textures = Textures::new(bundle, limits);
    let mut materials = Materials::default();
    let mut n_indices = 0;
    for (node_idx, transform) in placed_meshes(&document)? {
        let node = &document.nodes[node_idx];
        let Some(mesh_idx) = node.mesh.map(|mesh| mesh.value()) else { continue };
        let mesh = document.meshes.get(mesh_idx);
        let mesh = mesh.ok_or_else(|| damaged(format!("the glTF has no mesh {mesh_idx}")))?;
        for primitive in &mesh.primitives {
            let Some(indices) = Indices::of(primitive, &data, &mut notes)? else { continue };
            // Counted as they are read, whatever becomes of them.
            n_indices += indices.count();
            let (most, n) = (limits.triangles.saturating_mul(3) as u64, n_indices);
            if n > most {
                return Err(too_large("indices", n, most));
            }
            let uv_set = material::uv_set(&document, primitive);
            let Some(mut part) = primitive::read(primitive, &indices, uv_set, &data, &mut notes)? else { continue };
            assembly.check_room(part.part.mesh.positions.len(), part.part.mesh.triangles.len())?;
            match node.skin {
                Some(skin) => skin::pose(skin.value(), primitive, &mut part, &transforms, &data, &mut notes)?,
                None => place(&mut part.part, transform),
            }
            let mut part = part.part;
            let material = materials.index(primitive.material.map(|m| m.value()), &data, &mut textures, &mut notes)?;
            part.face_materials = vec![material; part.mesh.triangles.len()];
            assembly.push(part, &mut notes)?;
        }
    }
    let mut textured = assembly.finish(materials.finish())?;
    textured.textures = textures.finish(&mut textured.materials);
    Ok((textured, notes.finish()))
}

/// Nodes of the default scene in the order of the file, depth first, with their
/// place in the world. Without scenes these are all nodes that have no parent.
fn placed_meshes(document: &Document) -> Result<Vec<(usize, Mat4)>, StageError> {
    let n = document.nodes.len();
    let roots: Vec<usize> = match document.scenes.get(document.scene.unwrap_or(0)) {
        Some(scene) => scene.nodes.iter().map(|node| node.value()).collect(),
        None => roots(document),
    };
    let mut open: Vec<(usize, Mat4)> = roots.into_iter().rev().map(|node| (node, Mat4::IDENTITY)).collect();
    let mut seen = vec![false; n];
    let mut placed = Vec::new();
    while let Some((idx, parent)) = open.pop() {
        let node = document.nodes.get(idx).ok_or_else(|| damaged(format!("the glTF has no node {idx}")))?;
        if std::mem::replace(&mut seen[idx], true) {
            return Err(damaged(format!("node {idx} of the glTF is in the scene twice")));
        }
        let transform = parent * local(node);
        placed.push((idx, transform));
        open.extend(children(node).rev().map(|child| (child, transform)));
    }
    Ok(placed)
}

/// Every node's place in the world; the identity for those in a circle.
fn transforms(document: &Document) -> Vec<Mat4> {
    let mut transforms = vec![Mat4::IDENTITY; document.nodes.len()];
    let mut seen = vec![false; document.nodes.len()];
    let mut open: Vec<(usize, Mat4)> = roots(document).into_iter().map(|node| (node, Mat4::IDENTITY)).collect();
    while let Some((idx, parent)) = open.pop() {
        let Some(node) = document.nodes.get(idx) else { continue };
        if !std::mem::replace(&mut seen[idx], true) {
            transforms[idx] = parent * local(node);
            open.extend(children(node).map(|child| (child, transforms[idx])));
        }
    }
    transforms
}

fn roots(document: &Document) -> Vec<usize> {
    let mut is_child = vec![false; document.nodes.len()];
    for child in document.nodes.iter().flat_map(children) {
        if let Some(is_child) = is_child.get_mut(child) {
            *is_child = true;
        }
    }
    (0..is_child.len()).filter(|&node| !is_child[node]).collect()
}

fn children(node: &json::Node) -> impl DoubleEndedIterator<Item = usize> {
    node.children.iter().flatten().map(|child| child.value())
}

fn local(node: &json::Node) -> Mat4 {
    match node.matrix {
        Some(matrix) => Mat4::from_cols_array(&matrix),
        None => Mat4::from_scale_rotation_translation(
            node.scale.map_or(Vec3::ONE, Vec3::from),
            node.rotation.map_or(Quat::IDENTITY, |q| Quat::from_array(q.0)).normalize(),
            node.translation.map_or(Vec3::ZERO, Vec3::from),
        ),
    }
}

/// Moves a part to its place. A transform that mirrors turns the winding around.
fn place(part: &mut Part, transform: Mat4) {
    if transform == Mat4::IDENTITY {
        return;
    }
    let linear = Mat3::from_mat4(transform);
    let mirrors = linear.determinant() < 0.0;
    let normals = normal_transform(linear);
    part.mesh.positions.iter_mut().for_each(|p| *p = transform.transform_point3(*p));
    part.mesh.normals.iter_mut().for_each(|n| *n = (normals * *n).normalize_or_zero());
    part.tangents.iter_mut().for_each(|t| *t = turned_tangent(linear, *t, mirrors));
    if mirrors {
        part.mesh.triangles.iter_mut().for_each(|t| t.swap(1, 2));
    }
}

/// The bitangent's sign changes with the winding.
fn turned_tangent(linear: Mat3, tangent: Vec4, mirrors: bool) -> Vec4 {
    let sign = if mirrors { -tangent.w } else { tangent.w };
    (linear * tangent.truncate()).normalize_or_zero().extend(sign)
}

/// Inverse transpose, up to a positive factor; right for mirrors and for
/// transforms that flatten, too.
fn normal_transform(linear: Mat3) -> Mat3 {
    let [x, y, z] = [linear.x_axis, linear.y_axis, linear.z_axis];
    let cofactors = Mat3::from_cols(y.cross(z), z.cross(x), x.cross(y));
    if linear.determinant() < 0.0 { cofactors * -1.0 } else { cofactors }
}
