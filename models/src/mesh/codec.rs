//! Meshes and maps as safetensors: little-endian arrays with named shapes.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use ::image::{RgbImage, RgbaImage};
use glam::{Vec2, Vec3, Vec4};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{FrontView, Maps, Mesh, textured::TexturedMesh};
use crate::error::StageError;

impl Mesh {
    /// Tensors `positions` [n, 3] f32, `triangles` [m, 3] u32 and, where
    /// present, `normals` [n, 3], `uvs` [n, 2], `front` [3] (metres per pixel,
    /// origin x, origin y).
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let mut out = Writer::default();
        self.write(&mut out, "");
        out.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Mesh, StageError> {
        Mesh::read(&open(bytes)?, "")
    }

    /// Several meshes in one blob: their tensors under `0.`, `1.`, ...
    pub fn list_to_bytes(meshes: &[Mesh]) -> Result<Vec<u8>, StageError> {
        let mut out = Writer::default();
        out.add("count", vec![1], [meshes.len() as u32]);
        for (i, mesh) in meshes.iter().enumerate() {
            mesh.write(&mut out, &format!("{i}."));
        }
        out.finish()
    }

    pub fn list_from_bytes(bytes: &[u8]) -> Result<Vec<Mesh>, StageError> {
        let file = open(bytes)?;
        let [n] = words::<1>(&file, "count")?[..] else {
            return Err(StageError::internal("tensor `count` does not hold 1 number"));
        };
        (0..n[0]).map(|i| Mesh::read(&file, &format!("{i}."))).collect()
    }

    fn write(&self, out: &mut Writer, under: &str) {
        let name = |name: &str| format!("{under}{name}");
        out.add(name("positions"), vec![self.positions.len(), 3], self.positions.iter().flat_map(|v| v.to_array()));
        out.add(name("triangles"), vec![self.triangles.len(), 3], self.triangles.iter().flatten().copied());
        if !self.normals.is_empty() {
            out.add(name("normals"), vec![self.normals.len(), 3], self.normals.iter().flat_map(|v| v.to_array()));
        }
        if !self.uvs.is_empty() {
            out.add(name("uvs"), vec![self.uvs.len(), 2], self.uvs.iter().flat_map(|v| v.to_array()));
        }
        if !self.colors.is_empty() {
            out.add(name("vertex_colors"), vec![self.colors.len(), 3], self.colors.iter().flat_map(|v| v.to_array()));
        }
        if let Some(front) = self.front {
            out.add(name("front"), vec![3], [front.metres_per_pixel, front.origin.x, front.origin.y]);
        }
    }

    fn read(file: &SafeTensors, under: &str) -> Result<Mesh, StageError> {
        let name = |name: &str| format!("{under}{name}");
        let mesh = Mesh {
            positions: floats(file, &name("positions"))?.into_iter().map(Vec3::from_array).collect(),
            normals: optional(file, &name("normals"), floats)?.into_iter().map(Vec3::from_array).collect(),
            uvs: optional(file, &name("uvs"), floats)?.into_iter().map(Vec2::from_array).collect(),
            colors: optional(file, &name("vertex_colors"), floats)?.into_iter().map(Vec3::from_array).collect(),
            triangles: words(file, &name("triangles"))?,
            front: match optional(file, &name("front"), floats::<3>)?[..] {
                [] => None,
                [[metres_per_pixel, x, y], ..] => Some(FrontView { metres_per_pixel, origin: Vec2::new(x, y) }),
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
    /// Tensors `base_color` [h, w, 4] u8, `factors` [2] f32 (roughness, metallic)
    /// and, where present, `normal`, `orm`, `emissive`, `extra.NAME` [h, w, 3] u8.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let mut out = Writer::default();
        let (w, h) = self.base_color.dimensions();
        out.add_bytes("base_color", vec![h as usize, w as usize, 4], self.base_color.as_raw().as_slice());
        out.add("factors", vec![2], [self.roughness, self.metallic]);
        let named = [("normal", &self.normal), ("orm", &self.orm), ("emissive", &self.emissive)];
        let named = named.into_iter().filter_map(|(name, image)| Some((name.to_owned(), image.as_ref()?)));
        for (name, image) in named.chain(self.extra.iter().map(|(name, image)| (format!("{EXTRA}{name}"), image))) {
            out.add_bytes(name, vec![image.height() as usize, image.width() as usize, 3], image.as_raw().as_slice());
        }
        out.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Maps, StageError> {
        let file = open(bytes)?;
        let [[roughness, metallic]] = floats(&file, "factors")?[..] else {
            return Err(StageError::internal("tensor `factors` does not hold 2 numbers"));
        };
        let (w, h, color) = texels::<4>(&file, "base_color")?;
        let rgb = |name: &str| -> Result<RgbImage, StageError> {
            let (w, h, texels) = texels::<3>(&file, name)?;
            RgbImage::from_raw(w, h, texels).ok_or_else(|| StageError::internal(format!("tensor `{name}` is short")))
        };
        let given = |name: &str| file.tensor(name).is_ok().then(|| rgb(name)).transpose();
        let extra = file.names().into_iter().filter_map(|name| Some((name, name.strip_prefix(EXTRA)?)));
        Ok(Maps {
            base_color: RgbaImage::from_raw(w, h, color)
                .ok_or_else(|| StageError::internal("tensor `base_color` is short"))?,
            normal: given("normal")?,
            orm: given("orm")?,
            emissive: given("emissive")?,
            extra: extra.map(|(name, short)| Ok((short.to_owned(), rgb(name)?))).collect::<Result<_, StageError>>()?,
            roughness,
            metallic,
        })
    }
}

const EXTRA: &str = "extra.";

impl TexturedMesh {
    /// The tensors of `Mesh::to_bytes` and, where present, `colors` [n, 4] f32,
    /// `tangents` [n, 4] f32, `face_materials` [m, 1] u32, `materials` (JSON as u8)
    /// and `texture.0`, ... [h, w, 4] u8.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let mut out = Writer::default();
        self.mesh.write(&mut out, "");
        for (name, vectors) in [("colors", &self.colors), ("tangents", &self.tangents)] {
            if !vectors.is_empty() {
                out.add(name, vec![vectors.len(), 4], vectors.iter().flat_map(|v| v.to_array()));
            }
        }
        if !self.face_materials.is_empty() {
            out.add("face_materials", vec![self.face_materials.len(), 1], self.face_materials.iter().copied());
        }
        if !self.materials.is_empty() {
            let json = serde_json::to_vec(&self.materials).map_err(|e| StageError::internal(e.to_string()))?;
            out.add_bytes("materials", vec![json.len()], json);
        }
        for (i, texture) in self.textures.iter().enumerate() {
            let (w, h) = texture.dimensions();
            out.add_bytes(format!("texture.{i}"), vec![h as usize, w as usize, 4], texture.as_raw().as_slice());
        }
        out.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<TexturedMesh, StageError> {
        let file = open(bytes)?;
        let mesh = Mesh::read(&file, "")?;
        let n_textures = (0..).take_while(|i| file.tensor(&format!("texture.{i}")).is_ok()).count();
        let texture = |i: usize| {
            let (w, h, texels) = texels::<4>(&file, &format!("texture.{i}"))?;
            let image = RgbaImage::from_raw(w, h, texels);
            Ok(Arc::new(image.ok_or_else(|| StageError::internal(format!("tensor `texture.{i}` is short")))?))
        };
        Ok(TexturedMesh {
            mesh,
            colors: optional(&file, "colors", floats)?.into_iter().map(Vec4::from_array).collect(),
            tangents: optional(&file, "tangents", floats)?.into_iter().map(Vec4::from_array).collect(),
            face_materials: optional(&file, "face_materials", words::<1>)?.into_iter().map(|[i]| i).collect(),
            materials: match file.tensor("materials") {
                Ok(json) => serde_json::from_slice(json.data())
                    .map_err(|e| StageError::internal(format!("tensor `materials` cannot be read: {e}")))?,
                Err(_) => Vec::new(),
            },
            textures: (0..n_textures).map(texture).collect::<Result<_, StageError>>()?,
        })
    }
}

/// Numbers that have little-endian bytes.
pub(crate) trait Number: Copy {
    const DTYPE: Dtype;
    fn to_le(self) -> [u8; 4];
}

impl Number for f32 {
    const DTYPE: Dtype = Dtype::F32;
    fn to_le(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

impl Number for u32 {
    const DTYPE: Dtype = Dtype::U32;
    fn to_le(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

/// A blob in the making.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    tensors: Vec<Tensor<'a>>,
}

struct Tensor<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl<'a> Writer<'a> {
    pub(crate) fn add<T: Number>(
        &mut self,
        name: impl Into<String>,
        shape: Vec<usize>,
        values: impl IntoIterator<Item = T>,
    ) {
        let bytes: Vec<u8> = values.into_iter().flat_map(T::to_le).collect();
        self.tensors.push(Tensor { name: name.into(), dtype: T::DTYPE, shape, data: bytes.into() });
    }

    fn add_bytes(&mut self, name: impl Into<String>, shape: Vec<usize>, bytes: impl Into<Cow<'a, [u8]>>) {
        self.tensors.push(Tensor { name: name.into(), dtype: Dtype::U8, shape, data: bytes.into() });
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, StageError> {
        let internal = |e: safetensors::SafeTensorError| StageError::internal(e.to_string());
        let mut views = Vec::with_capacity(self.tensors.len());
        for Tensor { name, dtype, shape, data } in &self.tensors {
            views.push((name, TensorView::new(*dtype, shape.clone(), data).map_err(internal)?));
        }
        safetensors::serialize(views, None::<HashMap<String, String>>).map_err(internal)
    }
}

pub(crate) fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, StageError> {
    SafeTensors::deserialize(bytes).map_err(|e| StageError::internal(format!("blob is not safetensors: {e}")))
}

pub(crate) fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<TensorView<'a>, StageError> {
    let tensor = file.tensor(name).map_err(|e| StageError::internal(e.to_string()))?;
    if tensor.dtype() != dtype {
        return Err(StageError::internal(format!("tensor `{name}` is {:?}, not {dtype:?}", tensor.dtype())));
    }
    Ok(tensor)
}

fn floats<const N: usize>(file: &SafeTensors, name: &str) -> Result<Vec<[f32; N]>, StageError> {
    let flat = tensor(file, name, Dtype::F32)?;
    let flat: Vec<f32> = flat.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(flat.as_chunks::<N>().0.to_vec())
}

pub(crate) fn words<const N: usize>(file: &SafeTensors, name: &str) -> Result<Vec<[u32; N]>, StageError> {
    let flat = tensor(file, name, Dtype::U32)?;
    let flat: Vec<u32> = flat.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Ok(flat.as_chunks::<N>().0.to_vec())
}

/// Width, height and bytes of a picture of `N` channels.
fn texels<const N: usize>(file: &SafeTensors, name: &str) -> Result<(u32, u32, Vec<u8>), StageError> {
    let tensor = tensor(file, name, Dtype::U8)?;
    match *tensor.shape() {
        [h, w, n] if n == N => Ok((w as u32, h as u32, tensor.data().to_vec())),
        _ => Err(StageError::internal(format!("tensor `{name}` is {:?}, not [h, w, {N}]", tensor.shape()))),
    }
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
    use crate::mesh::textured::{AlphaMode, Material, TextureUse};

    #[test]
    fn mesh_and_maps_survive_their_blobs() {
        let mesh = Mesh {
            positions: vec![Vec3::ZERO, Vec3::X, Vec3::Y],
            normals: vec![Vec3::Z; 3],
            uvs: vec![Vec2::ZERO, Vec2::X, Vec2::Y],
            colors: vec![Vec3::X, Vec3::ONE, Vec3::splat(0.25)],
            triangles: vec![[0, 1, 2]],
            front: Some(FrontView { metres_per_pixel: 0.5, origin: Vec2::new(3.0, 4.0) }),
        };
        assert_eq!(Mesh::from_bytes(&mesh.to_bytes().unwrap()).unwrap(), mesh);
        assert_eq!(Mesh::from_bytes(&Mesh::default().to_bytes().unwrap()).unwrap(), Mesh::default());

        let meshes = [mesh.clone(), Mesh::default()];
        assert_eq!(Mesh::list_from_bytes(&Mesh::list_to_bytes(&meshes).unwrap()).unwrap(), meshes);

        let mut maps = Maps { base_color: RgbaImage::new(3, 2), roughness: 0.5, metallic: 0.1, ..Maps::default() };
        assert_eq!(Maps::from_bytes(&maps.to_bytes().unwrap()).unwrap(), maps);
        maps.normal = Some(RgbImage::from_pixel(3, 2, [128, 128, 255].into()));
        maps.orm = Some(RgbImage::from_pixel(3, 2, [1, 2, 3].into()));
        maps.emissive = Some(RgbImage::new(3, 2));
        maps.extra.insert("height".to_owned(), RgbImage::from_pixel(3, 2, [9, 9, 9].into()));
        assert_eq!(Maps::from_bytes(&maps.to_bytes().unwrap()).unwrap(), maps);

        let textured = TexturedMesh {
            colors: vec![Vec4::ONE; 3],
            tangents: vec![Vec4::X; 3],
            face_materials: vec![1],
            materials: vec![
                Material::default(),
                Material {
                    name: "brass".to_owned(),
                    base_color_texture: Some(TextureUse::of(0)),
                    alpha: AlphaMode::Mask(0.25),
                    ..Material::default()
                },
            ],
            textures: vec![Arc::new(RgbaImage::from_pixel(2, 5, [1, 2, 3, 4].into()))],
            ..TexturedMesh::from(mesh)
        };
        assert_eq!(TexturedMesh::from_bytes(&textured.to_bytes().unwrap()).unwrap(), textured);
    }

    #[test]
    fn a_triangle_that_names_no_vertex_is_refused() {
        let mesh = Mesh { positions: vec![Vec3::ZERO; 2], triangles: vec![[0, 1, 2]], ..Mesh::default() };
        assert!(Mesh::from_bytes(&mesh.to_bytes().unwrap()).is_err());
    }
}
