//! Textures of a simple mesh, taken from a detailed one, from a picture or from
//! a function on points.
//!
//! In: the low mesh with texture coordinates, a `BakeSource`, `BakeOptions`. Out:
//! `Maps`: base colour, tangent-space normals, occlusion packed with roughness and
//! metallic, and more on request.
//!
//! `layout` says which points of the low surface each texel shows, `search` finds
//! the point of the high surface that belongs to each, `mesh::textured::details` reads the
//! material there, `occlusion` sends rays over the high surface, `extra` makes the
//! maps on request, `planes` collects it all into pictures.

mod extra;
mod layout;
mod occlusion;
#[cfg(test)]
mod optimize_tests;
mod planes;
mod search;
#[cfg(test)]
mod tests;

use ::image::{RgbImage, Rgba, RgbaImage};
use glam::Vec3;

pub use self::extra::Extra;
use self::{layout::Layout, planes::Bake, planes::Kind, search::Search};
use super::{FrontView, Maps, Mesh, project::project, textured::TexturedMesh};
use crate::error::StageError;

/// What the maps are taken from.
pub struct BakeSource<'a> {
    /// The surface with the details; where absent, the low mesh stands in for it
    /// and there is no normal map to make.
    pub high: Option<&'a TexturedMesh>,
    pub color: ColorSource<'a>,
}

/// Where the base colour comes from.
pub enum ColorSource<'a> {
    /// The high mesh: materials, textures, vertex colours. White without a high mesh.
    High,
    /// The cutout seen from the front, see `project`.
    Picture { cutout: &'a RgbaImage, front: FrontView },
    /// A function on points of the high surface, in metres, and their unit normals:
    /// gives as many linear RGBA colours, 0..=1, straight alpha (which is not kept).
    /// Called from several threads with up to about `size` * 8 * `supersample`^2 points.
    Points(&'a PointColors<'a>),
}

/// Colours of points with normals, see `ColorSource::Points`.
pub type PointColors<'a> = dyn Fn(&[Vec3], &[Vec3]) -> Vec<[f32; 4]> + Sync + 'a;

#[derive(Debug, Clone, PartialEq)]
pub struct BakeOptions {
    /// Width and height of the maps in texels, 16..=8192.
    pub size: u32,
    /// Samples in a texel, each way: 1..=4.
    pub supersample: u32,
    /// How far from the low surface the high one is looked for along the normal, each
    /// way, relative to the diagonal of the low mesh's bounding box. Beyond it the closest point counts.
    pub cage: f32,
    /// Whether to make a normal map; needs a high mesh.
    pub normal: bool,
    /// Whether and how to compute ambient occlusion.
    pub occlusion: Option<Occlusion>,
    pub extras: Vec<Extra>,
    /// Rays from each texel for `Extra::Thickness`, as in `Occlusion`.
    pub thickness_samples: u32,
    /// 0..=1, of sources without materials.
    pub roughness: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occlusion {
    /// Rays from each texel, 1..=64, rounded up to a power of two. Texels share the
    /// rays of the 16 around them, so 4 make 64.
    pub samples: u32,
    /// What is farther away darkens nothing; relative to the diagonal of the high
    /// mesh's bounding box, and may be infinite.
    pub distance: f32,
}

impl Default for BakeOptions {
    fn default() -> Self {
        Self {
            size: 1024,
            supersample: 2,
            cage: 0.02,
            normal: true,
            occlusion: Some(Occlusion::default()),
            extras: Vec::new(),
            thickness_samples: 4,
            roughness: 0.8,
        }
    }
}

impl Default for Occlusion {
    fn default() -> Self {
        Self { samples: 4, distance: 0.25 }
    }
}

/// Rows of texels that are worked on together, and how many such bands before
/// progress is reported.
const BAND: u32 = 8;
const BANDS_AT_ONCE: usize = 16;

/// Bakes. Each texel takes the mean of its samples; of a sample the nearest point
/// of the high surface along the low one's smooth normal counts, among those that
/// face the same way. Texels within one of a chart continue the chart's surface,
/// all others are filled by push-pull, so that no mip level mixes in anything foreign.
///
/// The source's roughness and metallic values are in `orm`, with factors of 1, where
/// they vary; else they are the factors. Occlusion textures of the source count where its
/// material has one, rays elsewhere. Emitted light above 1 is clipped. Alpha is kept
/// where a material of the source is see-through.
///
/// Memory beside the meshes: 200 bytes a triangle of the high one, the maps, and at most
/// about 20 bytes a texel beside them (1.3 GB at 8192). `step` hears how much of how much is done, and an error
/// from it ends the work. Errors: the low mesh has no layout or no triangles, the high
/// one has no surface or is inconsistent, options out of range.
pub fn bake(
    low: &Mesh,
    source: &BakeSource,
    options: &BakeOptions,
    step: &dyn Fn(u32, u32) -> Result<(), StageError>,
) -> Result<Maps, StageError> {
    check(low, options)?;
    let own;
    let high = match source.high {
        Some(high) => high,
        None => {
            own = TexturedMesh::from(low.clone());
            &own
        }
    };
    let search = Search::new(low, high, source.high.is_some(), options)?;
    let layout = Layout::new(low, options.size, options.supersample);
    let mut baked = Bake::new(&layout, &search, source, options).run(step)?;

    let flat = baked.material;
    let side = options.size;
    let base_color = match (&source.color, baked.take(Kind::BaseColor)) {
        (ColorSource::Picture { cutout, front }, _) => project(cutout, low, front, side),
        (_, colors) => with_alpha(&colors.unwrap_or_default(), baked.take(Kind::Alpha).as_deref(), side),
    };
    Ok(Maps {
        base_color,
        normal: baked.take(Kind::Normal).map(|pixels| picture(pixels, side)),
        orm: baked.take(Kind::Orm).map(|pixels| picture(pixels, side)),
        emissive: baked.take(Kind::Emissive).map(|pixels| picture(pixels, side)),
        extra: options
            .extras
            .iter()
            .filter_map(|&extra| Some((extra.id().to_owned(), picture(baked.take(Kind::Extra(extra))?, side))))
            .collect(),
        roughness: flat.roughness,
        metallic: flat.metallic,
    })
}

fn check(low: &Mesh, options: &BakeOptions) -> Result<(), StageError> {
    let n_vertices = low.positions.len();
    if low.uvs.len() != n_vertices || low.triangles.is_empty() {
        return Err(StageError::invalid(
            format!("{} texture coordinates for {n_vertices} vertices", low.uvs.len()),
            "put stage unwrap before bake",
        ));
    }
    if let Some(v) = low.triangles.iter().flatten().find(|v| **v as usize >= n_vertices) {
        return Err(StageError::internal(format!("a triangle uses vertex {v} of {n_vertices}")));
    }
    let wrong = |what: String, hint: &str| Err(StageError::invalid(what, hint));
    if !(16..=8192).contains(&options.size) {
        return wrong(format!("maps of {} texels are not within 16 to 8192", options.size), "set size to 1024");
    }
    if !(1..=4).contains(&options.supersample) {
        return wrong(format!("{} samples a side are not within 1 to 4", options.supersample), "set supersample to 2");
    }
    if !(options.cage > 0.0 && options.cage.is_finite()) {
        return wrong(format!("a cage of {} is not above 0", options.cage), "set cage to 0.02");
    }
    if !(1..=64).contains(&options.thickness_samples) {
        return wrong(format!("{} rays are not within 1 to 64", options.thickness_samples), "set samples to 8");
    }
    match options.occlusion {
        Some(Occlusion { samples, distance }) if !((1..=64).contains(&samples) && distance > 0.0) => {
            wrong(format!("{samples} rays of length {distance} are not 1 to 64 above 0"), "set samples to 8")
        }
        _ => Ok(()),
    }
}

fn picture(pixels: Vec<[u8; 3]>, side: u32) -> RgbImage {
    RgbImage::from_raw(side, side, pixels.into_flattened()).unwrap_or_default()
}

fn with_alpha(colors: &[[u8; 3]], alphas: Option<&[[u8; 3]]>, side: u32) -> RgbaImage {
    RgbaImage::from_fn(side, side, |x, y| {
        let i = (y * side + x) as usize;
        let [r, g, b] = colors[i];
        Rgba([r, g, b, alphas.map_or(255, |alphas| alphas[i][0])])
    })
}
