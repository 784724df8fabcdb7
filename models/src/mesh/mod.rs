//! Geometry: slices in, `Mesh` out, no tensors.
//!
//! Space is glTF's: right-handed, +Y up, front to +Z, metres. Seen from the
//! front, the picture's right is +X. Triangles wind counter-clockwise from outside.

pub mod analysis;
pub mod bake;
pub mod bvh;
pub mod clean;
pub mod codec;
pub mod collider;
mod colors;
pub mod compare;
mod fairing;
pub mod fit;
pub mod inflate;
#[cfg(test)]
mod inflate_tests;
pub mod iso_surface;
mod lattice_tiling;
pub mod lods;
pub mod mirror;
pub mod normals;
mod outline;
pub mod place;
mod poisson;
pub mod project;
pub mod raster;
pub mod relief;
pub mod render;
pub mod shapes;
mod silhouette;
pub mod simplify;
mod surface;
pub mod tangents;
#[cfg(test)]
pub mod test_shapes;
#[cfg(test)]
pub(crate) mod test_support;
pub mod textured;
pub mod topology;
pub mod turntable;

mod unfold;
pub mod unwrap;
pub mod uv;

use std::collections::BTreeMap;

use ::image::{RgbImage, RgbaImage};
use glam::{Vec2, Vec3};

/// Indexed triangles. `normals`, `uvs` and `colors` are empty or hold one entry a vertex.
/// A surface is closed in the sense of its positions: along texture seams
/// vertices are doubled with bit-equal positions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mesh {
    pub positions: Vec<Vec3>,
    /// Unit length.
    pub normals: Vec<Vec3>,
    /// glTF convention: (0, 0) is the top left corner of the texture.
    pub uvs: Vec<Vec2>,
    /// Linear RGB, 0..=1, of a mesh that came with colours. Textures show them; here they tell where
    /// the surface changes its colour, which `simplify` keeps in its place.
    pub colors: Vec<Vec3>,
    pub triangles: Vec<[u32; 3]>,
    /// How the cutout maps onto this mesh, while that is known.
    pub front: Option<FrontView>,
}

/// Orthographic view along -Z that shows the mesh as the cutout shows the object.
/// World point (x, y, *) is at pixel (x / m + origin.x, origin.y - y / m) with
/// m = `metres_per_pixel`; pixel (0, 0) is the top left corner of the top left pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrontView {
    pub metres_per_pixel: f32,
    /// Where the world's x = y = 0 lies, in pixels of the cutout.
    pub origin: Vec2,
}

/// Textures of a mesh, all of the same size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Maps {
    /// sRGB; alpha 255 everywhere unless the material is see-through.
    pub base_color: RgbaImage,
    /// Tangent-space normals, linear: (n + 1) / 2, +Y up as in glTF, tangents by MikkTSpace.
    pub normal: Option<RgbImage>,
    /// Linear: ambient occlusion, roughness, metallic. The factors below multiply the last two.
    pub orm: Option<RgbImage>,
    /// sRGB light that the surface gives off.
    pub emissive: Option<RgbImage>,
    /// Maps that no material needs, made on request, by name: `curvature`, `height`, ...
    pub extra: BTreeMap<String, RgbImage>,
    /// 0..=1.
    pub roughness: f32,
    /// 0..=1.
    pub metallic: f32,
}

impl FrontView {
    pub fn to_pixel(&self, p: Vec3) -> Vec2 {
        Vec2::new(p.x / self.metres_per_pixel + self.origin.x, self.origin.y - p.y / self.metres_per_pixel)
    }
}

impl Mesh {
    /// Smallest and largest corner, `None` without vertices.
    pub fn bounds(&self) -> Option<(Vec3, Vec3)> {
        let first = *self.positions.first()?;
        Some(self.positions.iter().fold((first, first), |(lo, hi), &p| (lo.min(p), hi.max(p))))
    }

    pub fn corners(&self, triangle: [u32; 3]) -> [Vec3; 3] {
        triangle.map(|v| self.positions[v as usize])
    }

    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        (self.positions.len() + self.normals.len() + self.colors.len() + self.triangles.len()) * 12 + self.uvs.len() * 8
    }
}

impl Maps {
    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        let more = [&self.normal, &self.orm, &self.emissive].into_iter().flatten().chain(self.extra.values());
        self.base_color.as_raw().len() + more.map(|image| image.as_raw().len()).sum::<usize>()
    }
}
