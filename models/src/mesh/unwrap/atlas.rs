//! A texture atlas for any surface: closed or open, of any genus.
//!
//! In: a mesh. Out: the same triangles with texture coordinates, cut into few
//! large charts at one texel density. Surfaces are cut where they turn away
//! (`flatten`), charts are joined again where the whole lies flat enough (`merge`),
//! then packed by shape.

use glam::{DVec2, DVec3, Vec2};

use super::{
    Chart, Surface, adjacency, doubled_area,
    flatten::{self, IsCancelled},
    merge, rebuild,
};
use crate::{
    error::{StageError, StageErrorKind},
    mesh::{
        Mesh, topology,
        uv::{
            self,
            layout::{self, Layout},
        },
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtlasOptions {
    /// Width and height of the texture in texels, 16..=16384.
    pub size: u32,
    /// Free texels between charts and around them, 0..=1024; rounded up to an even
    /// number. Halved while the charts would not fit otherwise.
    pub padding: u32,
}

/// What the layout is like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AtlasStats {
    pub layout: Layout,
    /// Share of the texture that charts cover, 0..=1.
    pub coverage: f64,
    /// Share of the covered texels that more than one triangle covers, 0..=1.
    pub overlap: f64,
    /// Free texels between charts in fact, at most one more than asked for.
    pub padding: u32,
}

/// More triangles are refused: they would take minutes and gigabytes.
pub const MAX_TRIANGLES: usize = 2_000_000;

/// Lays out a mesh. Vertices along cuts are doubled with bit-equal positions and
/// normals; triangles keep their order; existing texture coordinates are ignored.
///
/// No triangle overlaps another, all are upright, and all lie within 0..=1 less
/// the padding. Density is even: `Layout::density_deviation` stays below 0.1 on
/// surfaces without folds finer than their triangles. Triangles thinner than a
/// millionth of the mesh's extents lie in a point. Equal input gives equal bytes
/// on one kind of processor, whatever the number of threads.
///
/// Errors: not a number, a vertex that is not there, more than `MAX_TRIANGLES`, or
/// more charts than the texture has room for. Time some 50 us a triangle plus at
/// most some seconds for joining charts; memory about 1 kB a triangle.
pub fn atlas(mesh: &Mesh, options: &AtlasOptions) -> Result<(Mesh, AtlasStats), StageError> {
    atlas_unless(mesh, options, &|| false)
}

/// As `atlas`; `is_cancelled` is asked between charts, from any thread.
pub fn atlas_unless(
    mesh: &Mesh,
    options: &AtlasOptions,
    is_cancelled: IsCancelled,
) -> Result<(Mesh, AtlasStats), StageError> {
    check(mesh)?;
    if mesh.triangles.is_empty() {
        return Ok((Mesh { uvs: vec![Vec2::ZERO; mesh.positions.len()], ..mesh.clone() }, AtlasStats::default()));
    }
    let weld = topology::weld_map(&mesh.positions);
    let faces: Vec<[u32; 3]> = mesh.triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
    let normals: Vec<DVec3> = mesh.triangles.iter().map(|t| doubled_area(mesh.corners(*t))).collect();
    let surface = Surface {
        positions: &mesh.positions,
        faces: &faces,
        neighbours: &adjacency::neighbours(&faces),
        normals: &normals,
    };
    let charts = flatten::segment(&surface, is_cancelled)?;
    let charts = merge::merge(&surface, charts, is_cancelled)?;

    let size = options.size.clamp(16, 16384);
    let (placed, padding) = pack(&surface, &charts, size, options.padding.min(1024), is_cancelled)?;
    let out = rebuild(mesh, &weld, &with_thin_faces(placed, &surface, size));
    let used = uv::measure(&out.uvs, &out.triangles, size.min(4096));
    let layout = layout::measure(&out);
    Ok((out, AtlasStats { layout, coverage: used.coverage, overlap: used.overlap, padding }))
}

fn check(mesh: &Mesh) -> Result<(), StageError> {
    let (n_triangles, n_vertices) = (mesh.triangles.len(), mesh.positions.len());
    if n_triangles > MAX_TRIANGLES {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("{n_triangles} triangles, an atlas is made for at most {MAX_TRIANGLES}"),
            "simplify before unwrap",
        ));
    }
    if let Some(v) = mesh.triangles.iter().flatten().find(|v| **v as usize >= n_vertices) {
        return Err(StageError::invalid(
            format!("a triangle names vertex {v}, the mesh has {n_vertices}"),
            "run stage clean before unwrap",
        ));
    }
    Ok(())
}

/// Packs with the largest padding that leaves room for all charts.
fn pack(
    surface: &Surface,
    charts: &[Chart],
    size: u32,
    padding: u32,
    is_cancelled: IsCancelled,
) -> Result<(Vec<Chart>, u32), StageError> {
    let mut half = padding.div_ceil(2);
    loop {
        if let Some(placed) = flatten::pack(surface, charts, size, half, is_cancelled)? {
            return Ok((placed, 2 * half));
        }
        if half == 0 {
            return Err(StageError::new(
                StageErrorKind::TooLarge,
                format!("{} charts do not fit a texture of {size} x {size} texels", charts.len()),
                "raise unwrap.size, or run stage clean before unwrap to join the surface",
            ));
        }
        half /= 2;
    }
}

/// The charts in 0..=1, and one more for the faces that are in none: each lies in
/// a point of a chart beside it, so that no triangle reaches across the texture.
fn with_thin_faces(mut charts: Vec<Chart>, surface: &Surface, size: u32) -> Vec<Chart> {
    let mut place = vec![None; surface.positions.len()];
    let mut is_placed = vec![false; surface.faces.len()];
    for chart in &mut charts {
        for (&face, corners) in chart.faces.iter().zip(&mut chart.corners) {
            is_placed[face as usize] = true;
            for (v, corner) in surface.faces[face as usize].into_iter().zip(corners) {
                *corner = (*corner / f64::from(size)).clamp(DVec2::ZERO, DVec2::ONE);
                place[v as usize].get_or_insert(*corner);
            }
        }
    }
    let faces: Vec<u32> = (0..surface.faces.len() as u32).filter(|&f| !is_placed[f as usize]).collect();
    let beside = |f: &u32| surface.faces[*f as usize].iter().find_map(|v| place[*v as usize]);
    let corners = faces.iter().map(|f| [beside(f).unwrap_or(DVec2::splat(0.5)); 3]).collect();
    charts.push(Chart { faces, corners });
    charts
}

#[cfg(test)]
mod tests;
