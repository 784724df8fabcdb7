//! `Mesh` and `Maps` as safetensors: little-endian arrays with named shapes.

use std::collections::HashMap;

use ::image::RgbaImage;
use glam::{Vec2, Vec3};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{FrontView, Maps, Mesh};
use crate::error::StageError;

impl Mesh {
    /// Tensors `positions` [n, 3] f32, `triangles` [m, 3] u32 and, where
    /// present, `normals` [n, 3], `uvs` [n, 2], `front` [3] (metres per pixel,
    /// origin x, origin y).
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let positions: Vec<u8> = self.positions.iter().flat_map(|v| v.to_array()).flat_map(f32::to_le_bytes).collect();
        let normals: Vec<u8> = self.normals.iter().flat_map(|v| v.to_array()).flat_map(f32::to_le_bytes).collect();
        let uvs: Vec<u8> = self.uvs.iter().flat_map(|v| v.to_array()).flat_map(f32::to_le_bytes).collect();
        let triangles: Vec<u8> = self.triangles.iter().flatten().flat_map(|i| i.to_le_bytes()).collect();
        let front: Option<Vec<u8>> = self
            .front
            .map(|f| [f.metres_per_pixel, f.origin.x, f.origin.y].into_iter().flat_map(f32::to_le_bytes).collect());

        let mut tensors = vec![
            ("positions", view(Dtype::F32, vec![self.positions.len(), 3], &positions)?),
            ("triangles", view(Dtype::U32, vec![self.triangles.len(), 3], &triangles)?),
        ];
        if !self.normals.is_empty() {
            tensors.push(("normals", view(Dtype::F32, vec![self.normals.len(), 3], &normals)?));
        }
        if !self.uvs.is_empty() {
            tensors.push(("uvs", view(Dtype::F32, vec![self.uvs.len(), 2], &uvs)?));
        }
        if let Some(front) = &front {
            tensors.push(("front", view(Dtype::F32, vec![3], front)?));
        }
        serialize(tensors)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Mesh, StageError> {
        let file = open(bytes)?;
        let vec3 = |[x, y, z]: [f32; 3]| Vec3::new(x, y, z);
        let mesh = Mesh {
            positions: floats::<3>(&file, "positions")?.into_iter().map(vec3).collect(),
            normals: optional(&file, "normals", floats::<3>)?.into_iter().map(vec3).collect(),
            uvs: optional(&file, "uvs", floats::<2>)?.into_iter().map(|[u, v]| Vec2::new(u, v)).collect(),
            triangles: words(&file, "triangles")?,
            front: match file.tensor("front") {
                Err(_) => None,
                Ok(t) => match le_floats(t.data())[..] {
                    [metres_per_pixel, x, y] => Some(FrontView { metres_per_pixel, origin: Vec2::new(x, y) }),
                    _ => {
                        return Err(StageError::internal("tensor `front` does not hold 3 numbers"));
                    }
                },
            },
        };
        let n = mesh.positions.len();
        if mesh.triangles.iter().flatten().any(|&i| i as usize >= n) {
            return Err(StageError::internal(format!("mesh blob names a vertex beyond its {n}")));
        }
        Ok(mesh)
    }
}

impl Maps {
    /// Tensors `base_color` [h, w, 4] u8 and `factors` [2] f32 (roughness, metallic).
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let (w, h) = self.base_color.dimensions();
        let factors: Vec<u8> = [self.roughness, self.metallic].into_iter().flat_map(f32::to_le_bytes).collect();
        serialize(vec![
            ("base_color", view(Dtype::U8, vec![h as usize, w as usize, 4], self.base_color.as_raw())?),
            ("factors", view(Dtype::F32, vec![2], &factors)?),
        ])
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Maps, StageError> {
        let file = open(bytes)?;
        let color = tensor(&file, "base_color", Dtype::U8)?;
        let &[h, w, 4] = color.shape() else {
            return Err(StageError::internal("tensor `base_color` is not [h, w, 4]"));
        };
        let base_color = RgbaImage::from_raw(w as u32, h as u32, color.data().to_vec())
            .ok_or_else(|| StageError::internal("tensor `base_color` is too short"))?;
        match le_floats(tensor(&file, "factors", Dtype::F32)?.data())[..] {
            [roughness, metallic] => Ok(Maps { base_color, roughness, metallic }),
            _ => Err(StageError::internal("tensor `factors` does not hold 2 numbers")),
        }
    }
}

fn view(dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> Result<TensorView<'_>, StageError> {
    TensorView::new(dtype, shape, data).map_err(|e| StageError::internal(e.to_string()))
}

fn serialize(tensors: Vec<(&str, TensorView)>) -> Result<Vec<u8>, StageError> {
    safetensors::serialize(tensors, None::<HashMap<String, String>>).map_err(|e| StageError::internal(e.to_string()))
}

fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, StageError> {
    SafeTensors::deserialize(bytes).map_err(|e| StageError::internal(format!("blob is not safetensors: {e}")))
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<TensorView<'a>, StageError> {
    let tensor = file.tensor(name).map_err(|e| StageError::internal(e.to_string()))?;
    if tensor.dtype() != dtype {
        return Err(StageError::internal(format!("tensor `{name}` is {:?}, not {dtype:?}", tensor.dtype())));
    }
    Ok(tensor)
}

fn le_floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn floats<const N: usize>(file: &SafeTensors, name: &str) -> Result<Vec<[f32; N]>, StageError> {
    Ok(le_floats(tensor(file, name, Dtype::F32)?.data()).as_chunks::<N>().0.to_vec())
}

fn words(file: &SafeTensors, name: &str) -> Result<Vec<[u32; 3]>, StageError> {
    let data = tensor(file, name, Dtype::U32)?;
    let flat: Vec<u32> = data.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Ok(flat.as_chunks::<3>().0.to_vec())
}

fn optional<T>(
    file: &SafeTensors,
    name: &str,
    read: fn(&SafeTensors, &str) -> Result<Vec<T>, StageError>,
) -> Result<Vec<T>, StageError> {
    if file.tensor(name).is_ok() { read(file, name) } else { Ok(Vec::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesh_and_maps_survive_their_blobs() {
        let mesh = Mesh {
            positions: vec![Vec3::ZERO, Vec3::X, Vec3::Y],
            normals: vec![Vec3::Z; 3],
            uvs: vec![Vec2::ZERO, Vec2::X, Vec2::Y],
            triangles: vec![[0, 1, 2]],
            front: Some(FrontView { metres_per_pixel: 0.5, origin: Vec2::new(3.0, 4.0) }),
        };
        assert_eq!(Mesh::from_bytes(&mesh.to_bytes().unwrap()).unwrap(), mesh);
        assert_eq!(Mesh::from_bytes(&Mesh::default().to_bytes().unwrap()).unwrap(), Mesh::default());

        let maps = Maps { base_color: RgbaImage::new(3, 2), roughness: 0.5, metallic: 0.0 };
        assert_eq!(Maps::from_bytes(&maps.to_bytes().unwrap()).unwrap(), maps);
    }

    #[test]
    fn a_triangle_that_names_no_vertex_is_refused() {
        let mesh = Mesh { positions: vec![Vec3::ZERO; 2], triangles: vec![[0, 1, 2]], ..Mesh::default() };
        assert!(Mesh::from_bytes(&mesh.to_bytes().unwrap()).is_err());
    }
}
