//! Cleans any triangle soup as far as its index and positions allow.
//!
//! In: a mesh with whatever is wrong with it. Out: bit-equal vertices welded,
//! open edges that nearly meet joined, no non-finite, degenerate or doubled
//! faces, no specks, no unused vertices, faces wound consistently and outwards,
//! no edge with more than two faces, no vertex where surfaces meet in a point
//! only, small holes filled, on request smoother. `front` stays. What could not
//! be mended is in the report.
//!
//! Texture coordinates go unless asked for: what is welded here is unwrapped
//! later. Asked for, they and the normals stay at every corner that survives,
//! so that a mesh that needs nothing passes bit by bit; where holes were filled
//! no layout covers the new faces, and all of it goes. Colours of vertices always stay:
//! of welded ones the mean, and new ones take their neighbours'.

mod attributes;
mod faces;
mod holes;
mod pieces;
mod smooth;
mod stitch;
#[cfg(test)]
pub(super) mod test_files;
#[cfg(test)]
mod tests;

use glam::Vec3;

use self::{attributes::Corners, faces::Soup, holes::Limits};
use super::{
    Mesh, colors,
    normals::smooth_normals,
    surface::{Separated, Surface, separate},
    topology::topology,
};
use crate::error::StageError;

pub(super) use self::faces::doubled_faces;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanOptions {
    /// Open edges this near to each other are joined, relative to the diagonal
    /// of the bounding box, 0..=0.01. Closed surfaces are not touched. Vertices
    /// on an open edge (T-vertices) split the face there.
    pub weld: f32,
    /// Pieces with less than this share of the largest piece's area are
    /// dropped, 0..=1.
    pub speck: f32,
    /// Holes with at most this perimeter, relative to the diagonal of the
    /// bounding box, are filled where the patch has at most half of its piece's
    /// area; 0: none.
    pub hole: f32,
    /// Holes with more edges than this are left open.
    pub hole_edges: usize,
    /// Passes of Taubin smoothing; 0: none. Closed pieces keep their volume.
    pub smooth: u32,
    /// Texture coordinates and normals stay where a corner survives.
    pub keep_uvs: bool,
}

impl Default for CleanOptions {
    fn default() -> Self {
        CleanOptions { weld: 1e-5, speck: 0.001, hole: 0.5, hole_edges: 1000, smooth: 0, keep_uvs: false }
    }
}

/// What was done, in counts, and what could not be mended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CleanReport {
    /// Faces with a corner that is not finite or does not exist.
    pub n_invalid: usize,
    /// Vertices joined with another that was near but not bit-equal.
    pub n_welded: usize,
    /// Faces without area, and those that welding left with two corners.
    pub n_flat: usize,
    /// Faces with the same corners as another, and both sides of fins.
    pub n_doubled: usize,
    /// Vertices on the open edge of a face, which was split there.
    pub n_stitched: usize,
    /// Faces whose winding was turned.
    pub n_turned: usize,
    /// Pieces dropped for their small area.
    pub n_specks: usize,
    /// Vertices added where surfaces touched in a point or along an edge.
    pub n_split: usize,
    pub n_holes_filled: usize,
    /// Whether texture coordinates came through.
    pub uvs_kept: bool,

    /// Left as they are: holes that are too large, or the border of what is no solid.
    pub n_open_loops: usize,
    pub n_open_edges: usize,
    /// Left as they are: 0 for all inputs seen so far.
    pub n_non_manifold_edges: usize,
    pub n_non_manifold_vertices: usize,
    pub n_pieces: usize,
}

impl CleanReport {
    /// Every edge has exactly two faces that agree, every vertex one fan.
    pub fn is_closed_manifold(&self) -> bool {
        self.n_open_edges == 0 && self.n_non_manifold_edges == 0 && self.n_non_manifold_vertices == 0
    }

    /// Whether the surface came as it left.
    pub fn changed_nothing(&self) -> bool {
        let done = [self.n_invalid, self.n_welded, self.n_flat, self.n_doubled, self.n_stitched, self.n_turned];
        done.iter().sum::<usize>() + self.n_specks + self.n_split + self.n_holes_filled == 0
    }
}

/// Only what needs no tolerance: nothing near is joined, no hole is filled.
/// `speck`: as in `CleanOptions`.
pub fn clean(mesh: &Mesh, speck: f32) -> Result<Mesh, StageError> {
    let strict = CleanOptions { weld: 0.0, speck, hole: 0.0, ..CleanOptions::default() };
    Ok(clean_with(mesh, &strict)?.0)
}

/// Fails when nothing is left. Memory: about 200 bytes a face besides the meshes;
/// time is linear in faces but for filled holes, n^3 for those of up to 64 edges
/// and n^2 above.
pub fn clean_with(mesh: &Mesh, options: &CleanOptions) -> Result<(Mesh, CleanReport), StageError> {
    let mut report = CleanReport::default();
    let positions = &mesh.positions;
    let (soup, mut weld) = faces::weld(positions, &mesh.triangles, &mut report);
    let mut soup = tidy(positions, soup, &mut report);
    let reach = options.weld.clamp(0.0, 0.01) * diagonal(positions, &soup.faces);
    if reach > 0.0 {
        report.n_welded = stitch::join_open_vertices(positions, &mut soup, &mut weld, reach);
        if report.n_welded > 0 {
            soup = tidy(positions, soup, &mut report);
        }
        report.n_stitched = stitch::split_at_open_vertices(positions, &mut soup, reach);
        if report.n_stitched > 0 {
            soup = tidy(positions, soup, &mut report);
        }
    }

    let Soup { faces, mut origin } = soup;
    let mut surface = Surface::of(positions, faces);
    let oriented = surface.orient();
    let turned = pieces::turn_outwards(positions, &mut surface, &oriented);
    let mut turned: Vec<bool> = turned.iter().zip(&oriented).map(|(&turned, &kept)| turned == kept).collect();
    report.n_turned = turned.iter().filter(|&&t| t).count();
    if let Some((kept, n_specks)) = pieces::without_specks(positions, &surface, options.speck) {
        report.n_specks = n_specks;
        surface = Surface::of(positions, faces::keep(&surface.faces, &kept));
        origin = faces::keep(&origin, &kept);
        turned = faces::keep(&turned, &kept);
    }
    let Separated { positions: separated, triangles, vertex_from, face_from } = separate(positions, &surface);
    if triangles.is_empty() {
        return Err(StageError::invalid(
            format!("nothing is left of {} triangles after cleaning", mesh.triangles.len()),
            "give a picture or a mesh with a larger object",
        ));
    }
    let is_open = surface.links.iter().flatten().any(Option::is_none);
    report.n_split = separated.len() - positions.len();
    let mut corners = Corners { origin, turned, weld, vertex_from, face_from };
    let colors = attributes::colors_of(mesh, &corners);
    let mut solid = Mesh { positions: separated, triangles, front: mesh.front, ..Mesh::default() };

    let limits =
        Limits { perimeter: options.hole * diagonal(&solid.positions, &solid.triangles), n_edges: options.hole_edges };
    if limits.perimeter > 0.0 && is_open {
        report.n_holes_filled = holes::fill(&mut solid, &limits);
    }
    if report.n_holes_filled > 0 {
        let mut surface = Surface::of(&solid.positions, solid.triangles);
        let all = vec![true; surface.faces.len()];
        let now = pieces::turn_outwards(&solid.positions, &mut surface, &all);
        report.n_turned += now.iter().filter(|&&t| t).count();
        solid.triangles = surface.faces;
        corners.origin.clear();
    }
    if let Some(known) = colors {
        solid.colors = colors::completed(known, solid.positions.len(), &solid.triangles);
    }
    if options.smooth > 0 {
        smooth::taubin(&mut solid, options.smooth);
    }

    let t = topology(&solid.positions, &solid.triangles);
    report.n_open_edges = t.n_border_edges;
    report.n_open_loops = if t.n_border_edges > 0 { holes::loops(&solid).len() } else { 0 };
    (report.n_non_manifold_edges, report.n_non_manifold_vertices) = (t.n_non_manifold_edges, t.n_non_manifold_vertices);
    report.n_pieces = t.n_components;

    report.uvs_kept = options.keep_uvs && report.n_holes_filled == 0 && mesh.uvs.len() == positions.len();
    let cleaned = if report.uvs_kept && report.changed_nothing() && options.smooth == 0 {
        attributes::without_unused(mesh)
    } else if report.uvs_kept {
        attributes::carry_over(mesh, solid, &corners, options.smooth == 0)
    } else {
        with_fresh_normals(solid)
    };
    Ok((cleaned, report))
}

/// Faces without area and with a double are dropped.
fn tidy(positions: &[Vec3], soup: Soup, report: &mut CleanReport) -> Soup {
    let n = soup.faces.len();
    let soup = faces::resolve_flat_faces(positions, soup);
    report.n_flat += n.saturating_sub(soup.faces.len());
    match doubled_faces(positions.len(), &soup.faces) {
        None => soup,
        Some(kept) => {
            report.n_doubled += kept.iter().filter(|&&kept| !kept).count();
            soup.kept(&kept)
        }
    }
}

/// Drops unused vertices, keeps the order of the others, and makes normals afresh.
fn with_fresh_normals(mut mesh: Mesh) -> Mesh {
    let mut index = vec![u32::MAX; mesh.positions.len()];
    for &v in mesh.triangles.iter().flatten() {
        index[v as usize] = 0;
    }
    let used: Vec<bool> = index.iter().map(|i| *i == 0).collect();
    for (new, i) in index.iter_mut().filter(|i| **i == 0).enumerate() {
        *i = new as u32;
    }
    mesh.positions = faces::keep(&mesh.positions, &used);
    mesh.colors = faces::keep(&mesh.colors, &used);
    for v in mesh.triangles.iter_mut().flatten() {
        *v = index[*v as usize];
    }
    mesh.normals = smooth_normals(&mesh.positions, &mesh.triangles);
    mesh
}

/// Of the bounding box of what the faces use; 0 where that is out of range.
fn diagonal(positions: &[Vec3], faces: &[[u32; 3]]) -> f32 {
    let used = faces.iter().flatten().map(|&v| positions[v as usize]);
    let (low, high) = used.fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(low, high), p| (low.min(p), high.max(p)));
    let length = low.distance(high);
    if length.is_finite() { length } else { 0.0 }
}
