//! Reliefs: a picture's depth as a displaced sheet, closed with walls and a flat back, or open.
//!
//! In: depth, picture, and the cutout where its outline is to be followed. Out: a mesh with a
//! layout of its own (the front as the picture, walls and back beside it), and the same surface
//! with the picture on it, which details and colours are baked from.
//!
//! `sheet` makes triangles over the picture, `ground` their heights, `solid` the surface, `layout`
//! its place on the texture.

mod ground;
mod layout;
mod sheet;
mod solid;

use std::sync::Arc;

use ::image::RgbaImage;
use glam::{Vec2, Vec4};

use self::{
    ground::Ground,
    sheet::Sheet,
    solid::{Side, Solid},
};
use super::{
    Mesh,
    textured::{Material, TextureUse, TexturedMesh, Wrap},
};
use crate::{
    error::StageError,
    image::{depth_map::DepthMap, srgb},
};

/// What a relief is to be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Relief {
    pub form: Form,
    /// Metres; 0: as the picture's shape says. Both 0: 1 m high.
    pub width: f32,
    pub height: f32,
    /// From the lowest to the highest point, relative to the shorter side.
    pub depth: f32,
    /// Under the lowest point, relative to the shorter side.
    pub base: f32,
    /// Cells along the longer side.
    pub subdivisions: usize,
    pub border: Border,
    /// Of the border, relative to the shorter side.
    pub border_width: f32,
    /// What is near lies deep.
    pub invert: bool,
    /// Standard deviation of a blur, in cells or pixels of the depth, whichever are larger.
    pub smooth: f32,
    /// Share of the pixels that is cut off at the far and at the near end, 0..=1.
    pub clip: [f32; 2],
    pub paint: Paint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Upright, front to +Z, closed.
    Relief,
    /// Lying, up is +Y, open below.
    Terrain,
    /// Lying and closed.
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// The picture's heights up to the edge.
    Plain,
    /// A flat rim as high as the highest point.
    Frame,
    /// Heights run out to the lowest point.
    Taper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Picture,
    Plain,
}

/// A relief, and what its textures are baked from.
pub struct Made {
    pub mesh: Mesh,
    pub high: TexturedMesh,
}

/// Colour of what is not painted, sRGB.
const PLAIN: f32 = 0.72;
/// How dull reliefs are.
const ROUGHNESS: f32 = 0.8;

/// `outline` is the cutout whose outline the relief gets, at the size of `picture`; without it the
/// relief is a rectangle. Memory: about 500 bytes a cell.
///
/// Errors: an outline that shows nothing, cancelled by `poll`.
pub fn relief(
    depth: &DepthMap,
    picture: &RgbaImage,
    outline: Option<&RgbaImage>,
    how: &Relief,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Made, StageError> {
    let size = Vec2::new(picture.width() as f32, picture.height() as f32);
    let mut sheet = match outline {
        Some(cutout) => Sheet::of_outline(cutout, how.subdivisions)?,
        None => Sheet::rectangle(size, how.subdivisions),
    };
    sheet.shake();
    poll()?;
    let ground = Ground::new(depth, outline, sheet.cell / size.max_element(), how);
    let heights = ground.heights(&sheet, size, how);
    sheet.turn_diagonals(&heights);
    poll()?;
    let solid = Solid::new(&sheet, &heights, how);
    poll()?;
    Ok(Made { mesh: solid.mesh(), high: painted(&solid, outline.unwrap_or(picture), how.paint) })
}

/// The surface with the picture on front and walls; the back has the picture's mean colour.
fn painted(solid: &Solid, picture: &RgbaImage, paint: Paint) -> TexturedMesh {
    let size = Vec2::new(picture.width() as f32, picture.height() as f32);
    let plain = |color: Vec4| Material { base_color: color, roughness: ROUGHNESS, ..Material::default() };
    let grey = srgb::to_linear(PLAIN);
    let is_painted = paint == Paint::Picture;
    let (front, back) = if is_painted {
        let clamped = TextureUse { wrap: [Wrap::Clamp; 2], ..TextureUse::of(0) };
        (Material { base_color_texture: Some(clamped), ..plain(Vec4::ONE) }, plain(mean(picture)))
    } else {
        let grey = Vec4::new(grey, grey, grey, 1.0);
        (plain(grey), plain(grey))
    };
    let opaque = RgbaImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, _] = picture.get_pixel(x, y).0;
        ::image::Rgba([r, g, b, 255])
    });
    let mesh = solid.mesh();
    TexturedMesh {
        mesh: Mesh { uvs: solid.pixels.iter().map(|pixel| *pixel / size).collect(), ..mesh },
        face_materials: solid.sides.iter().map(|side| u32::from(*side == Side::Back)).collect(),
        materials: vec![front, back],
        textures: if is_painted { vec![Arc::new(opaque)] } else { Vec::new() },
        ..TexturedMesh::default()
    }
}

/// Linear mean of what is seen.
fn mean(picture: &RgbaImage) -> Vec4 {
    let mut sum = [0.0f64; 4];
    for pixel in picture.pixels() {
        let [r, g, b, a] = pixel.0.map(|v| f32::from(v) / 255.0);
        for (sum, v) in sum.iter_mut().zip([r, g, b].map(srgb::to_linear).into_iter().chain([1.0])) {
            *sum += f64::from(v * a);
        }
    }
    let weight = sum[3].max(1e-9);
    Vec4::new((sum[0] / weight) as f32, (sum[1] / weight) as f32, (sum[2] / weight) as f32, 1.0)
}

#[cfg(test)]
mod tests;
