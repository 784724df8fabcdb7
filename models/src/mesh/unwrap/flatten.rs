//! Charts out of faces, and places for charts: the border to the `uvunwrap` crate.
//!
//! The crate grows charts after xatlas' costs, flattens them with least squares
//! conformal maps (Levy et al. 2002) and as-rigid-as-possible steps (Liu et al.
//! 2008), splits what folds, and packs by shape. It takes v upwards; here and in
//! `Chart` v runs down.

use std::collections::HashMap;

use glam::DVec2;
use uvunwrap::{Atlas, Density, Error, MeshInput, Options, Packing, Stage, generate_with_progress};

use super::{Chart, Surface};
use crate::error::{StageError, StageErrorKind};

/// Whether the caller wants no result any more.
pub type IsCancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// Largest angle between a face and the mean of its chart, in degrees. Wider
/// cones make fewer charts, of which more fold and are split again.
const CONE: f32 = 70.0;

/// Largest ratio between the share of texture and of surface that a face gets
/// within its chart; charts above it are split.
const MAX_AREA_RATIO: f32 = 2.0;

/// A page that charts are only measured on.
const ROUGH_PAGE: u32 = 1024;

/// Cuts the surface into charts and flattens them. Faces thinner than a
/// millionth of the surface's extents get none.
pub fn segment(surface: &Surface, is_cancelled: IsCancelled) -> Result<Vec<Chart>, StageError> {
    let positions: Vec<[f32; 3]> = surface.positions.iter().map(|p| p.to_array()).collect();
    let indices = surface.faces.as_flattened();
    let atlas = generate_with_progress(&[MeshInput::new(&positions, indices)], &rough(), |_| !is_cancelled())
        .map_err(stage_error)?;
    let all: Vec<u32> = (0..surface.faces.len() as u32).collect();
    Ok(charts_of(&atlas, &all))
}

/// The faces as one chart, or `None` where they cannot be flattened without
/// folds, overlaps or too much distortion.
pub fn as_one_chart(surface: &Surface, faces: Vec<u32>, is_cancelled: IsCancelled) -> Option<Chart> {
    let part = Part::new(surface, faces.iter().map(|&f| (f, 0)));
    // Texture coordinates without area make the crate take the faces as one
    // island and flatten it anew.
    let uvs = vec![[0.0; 2]; part.positions.len()];
    let input = MeshInput { existing_uvs: Some(&uvs), ..MeshInput::new(&part.positions, &part.indices) };
    // The first chart that is done tells whether it is the only one.
    let is_whole = |done: usize, total: Option<usize>| total.is_none_or(|total| done >= total);
    let atlas = generate_with_progress(&[input], &rough(), |progress| {
        let split = progress.stage == Stage::Parameterizing && !is_whole(progress.done, progress.total);
        !split && !is_cancelled()
    })
    .ok()?;
    let n_faces = faces.len();
    charts_of(&atlas, &faces).pop().filter(|chart| atlas.chart_count == 1 && chart.faces.len() == n_faces)
}

/// Scales and moves the charts onto the texture: all at the same density,
/// `2 * half_padding` texels apart and away from the border, in texels of a
/// texture of `size` by `size`. `None` where they do not fit.
pub fn pack(
    surface: &Surface,
    charts: &[Chart],
    size: u32,
    half_padding: u32,
    is_cancelled: IsCancelled,
) -> Result<Option<Vec<Chart>>, StageError> {
    let page = size.saturating_sub(2 * half_padding);
    if page <= 2 * half_padding {
        return Ok(None);
    }
    let members = charts.iter().enumerate().flat_map(|(c, chart)| chart.faces.iter().map(move |&f| (f, c as u32)));
    let part = Part::new(surface, members);
    let mut uvs = vec![[0.0f32; 2]; part.positions.len()];
    let corners = charts.iter().flat_map(|chart| chart.corners.as_flattened());
    for (&v, corner) in part.indices.iter().zip(corners) {
        uvs[v as usize] = [corner.x as f32, -corner.y as f32];
    }
    let input = MeshInput {
        existing_uvs: Some(&uvs),
        face_materials: Some(&part.groups),
        ..MeshInput::new(&part.positions, &part.indices)
    };
    let options = Options {
        density: Density::Auto { page_size: page },
        padding: half_padding,
        max_area_distortion: MAX_AREA_RATIO,
        max_chart_angle: CONE,
        ..Options::default()
    };
    let packed = match generate_with_progress(&[input], &options, |_| !is_cancelled()) {
        Ok(atlas) if atlas.page_count == 1 => atlas,
        Ok(_) | Err(Error::ChartTooLarge { .. }) => return Ok(None),
        Err(error) => return Err(stage_error(error)),
    };
    let faces: Vec<u32> = charts.iter().flat_map(|chart| chart.faces.iter().copied()).collect();
    let mut placed = charts_of(&packed, &faces);
    // Measures are metres; back to texels, and from the page into the texture.
    let texels = f64::from(packed.texels_per_unit);
    let down = f64::from(packed.height + half_padding);
    for corner in placed.iter_mut().flat_map(|chart| chart.corners.as_flattened_mut()) {
        *corner = DVec2::new(corner.x * texels + f64::from(half_padding), corner.y * texels + down);
    }
    Ok(Some(placed))
}

fn rough() -> Options {
    Options {
        density: Density::Auto { page_size: ROUGH_PAGE },
        padding: 1,
        packing: Packing::Fast,
        max_area_distortion: MAX_AREA_RATIO,
        max_chart_angle: CONE,
        ..Options::default()
    }
}

/// Some faces of a surface, with vertices of their own for each group.
struct Part {
    positions: Vec<[f32; 3]>,
    indices: Vec<u32>,
    /// For each face the group it is in.
    groups: Vec<u32>,
}

impl Part {
    fn new(surface: &Surface, members: impl Iterator<Item = (u32, u32)>) -> Part {
        let mut part = Part { positions: Vec::new(), indices: Vec::new(), groups: Vec::new() };
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        for (face, group) in members {
            for v in surface.faces[face as usize] {
                let vertex = *known.entry((group, v)).or_insert_with(|| {
                    part.positions.push(surface.positions[v as usize].to_array());
                    part.positions.len() as u32 - 1
                });
                part.indices.push(vertex);
            }
            part.groups.push(group);
        }
        part
    }
}

/// The charts of an atlas in metres, v down. `faces` names its triangles.
fn charts_of(atlas: &Atlas, faces: &[u32]) -> Vec<Chart> {
    let mesh = &atlas.meshes[0];
    let mut charts: Vec<Chart> =
        (0..atlas.chart_count).map(|_| Chart { faces: Vec::new(), corners: Vec::new() }).collect();
    let page = DVec2::new(f64::from(atlas.width), f64::from(atlas.height)) / f64::from(atlas.texels_per_unit);
    for (&face, triangle) in faces.iter().zip(mesh.indices.as_chunks::<3>().0) {
        let corners = triangle.map(|v| &mesh.vertices[v as usize]);
        let [a, b, c] = corners.map(|vertex| vertex.uv);
        // Faces that the crate left out lie in a point.
        let Some(chart) = corners[0].chart.filter(|_| a != b || b != c) else { continue };
        let chart = &mut charts[chart as usize];
        chart.faces.push(face);
        chart.corners.push(corners.map(|vertex| DVec2::new(f64::from(vertex.uv[0]), -f64::from(vertex.uv[1])) * page));
    }
    charts.retain(|chart| !chart.faces.is_empty());
    charts
}

fn stage_error(error: Error) -> StageError {
    match error {
        Error::Cancelled => StageError::cancelled(),
        Error::NonFinitePosition { vertex, .. } => StageError::invalid(
            format!("vertex {vertex} has a position that is not a number"),
            "run stage clean before unwrap",
        ),
        Error::IndexOutOfRange { index, vertex_count, .. } => StageError::invalid(
            format!("a triangle names vertex {index}, the mesh has {vertex_count}"),
            "run stage clean before unwrap",
        ),
        other => StageError::new(
            StageErrorKind::Unsupported,
            format!("the surface cannot be laid out: {other}"),
            "run stage clean before unwrap, or raise unwrap.size",
        ),
    }
}
