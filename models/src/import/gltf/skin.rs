//! Skinned primitives in their rest pose: as the joints stand in the file.

use glam::{Mat3, Mat4, Vec3};
use gltf::json::{
    accessor::Type,
    mesh::{Primitive, Semantic},
};

use super::{
    super::{assembly::Notes, damaged},
    data::Data,
    normal_transform,
    primitive::{Read, attribute},
    turned_tangent,
};
use crate::error::StageError;

/// Most sets of four joints that are read of a vertex.
const MAX_SETS: u32 = 4;

/// Moves each vertex by the weighted mean of its joints (glTF 2.0, section 3.7.3.1):
/// their place in the world times their inverse bind matrix. The place of the
/// skinned node itself does not count.
pub fn pose(
    skin: usize,
    primitive: &Primitive,
    read: &mut Read,
    transforms: &[Mat4],
    data: &Data,
    notes: &mut Notes,
) -> Result<(), StageError> {
    notes.add("the skinned mesh is in its rest pose");
    let matrices = matrices(skin, transforms, data)?;
    let n = read.used.len();
    let mut sums = vec![Mat4::ZERO; n];
    let mut totals = vec![0.0; n];
    for set in 0..MAX_SETS {
        let accessors = attribute(primitive, Semantic::Joints(set)).zip(attribute(primitive, Semantic::Weights(set)));
        let Some((joints, weights)) = accessors else { break };
        let joints = data.numbers::<4>(joints, Type::Vec4, &read.used)?;
        let weights = data.numbers::<4>(weights, Type::Vec4, &read.used)?;
        for (i, (joints, weights)) in joints.into_iter().zip(weights).enumerate() {
            for (joint, weight) in joints.into_iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
                let matrix = matrices.get(joint as usize);
                let matrix = matrix.ok_or_else(|| {
                    damaged(format!("the glTF names joint {joint} of skin {skin}, which has {}", matrices.len()))
                })?;
                sums[i] += *matrix * weight;
                totals[i] += weight;
            }
        }
    }
    let part = &mut read.part;
    let mut n_mirrored = 0;
    for (i, (sum, total)) in sums.into_iter().zip(totals).enumerate() {
        // Without weights nothing holds the vertex: it stays where it was modelled.
        let matrix = if total > 0.0 { sum * (1.0 / total) } else { Mat4::IDENTITY };
        let linear = Mat3::from_mat4(matrix);
        let mirrors = linear.determinant() < 0.0;
        n_mirrored += usize::from(mirrors);
        part.mesh.positions[i] = matrix.transform_point3(part.mesh.positions[i]);
        if let Some(normal) = part.mesh.normals.get_mut(i) {
            *normal = (normal_transform(linear) * *normal).try_normalize().unwrap_or(Vec3::ZERO);
        }
        if let Some(tangent) = part.tangents.get_mut(i) {
            *tangent = turned_tangent(linear, *tangent, mirrors);
        }
    }
    if 2 * n_mirrored > n {
        part.mesh.triangles.iter_mut().for_each(|t| t.swap(1, 2));
    }
    Ok(())
}

fn matrices(skin: usize, transforms: &[Mat4], data: &Data) -> Result<Vec<Mat4>, StageError> {
    let found = data.document.skins.get(skin).ok_or_else(|| damaged(format!("the glTF has no skin {skin}")))?;
    let n = found.joints.len() as u32;
    let inverse: Vec<Mat4> = match found.inverse_bind_matrices {
        Some(accessor) => {
            let all: Vec<u32> = (0..n).collect();
            let numbers = data.numbers::<16>(accessor.value(), Type::Mat4, &all)?;
            numbers.iter().map(Mat4::from_cols_array).collect()
        }
        None => vec![Mat4::IDENTITY; n as usize],
    };
    let place = |joint: usize| {
        transforms
            .get(joint)
            .ok_or_else(|| damaged(format!("skin {skin} of the glTF names node {joint} of {}", transforms.len())))
    };
    found.joints.iter().zip(inverse).map(|(joint, inverse)| Ok(*place(joint.value())? * inverse)).collect()
}
