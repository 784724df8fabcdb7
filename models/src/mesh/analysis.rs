//! What is good and what is wrong with a mesh, in numbers: counts that can be
//! checked against any other program, and scores from 0 to 100 made of them.
//!
//! In: a mesh, the size of its texture, limits. Out: `Analysis`. It never fails:
//! positions and texture coordinates that are not finite are counted and left
//! out of the rest; triangle indices must be within the vertices, as in every
//! `Mesh`. Same mesh and limits, same numbers, whatever the number of threads.
//!
//! Memory: about 400 bytes a triangle. Time grows with the number of triangles,
//! a few hundred milliseconds for 500,000; looking for self-intersections takes
//! several times that, and is cut short by `AnalysisLimits::max_intersection_tests`
//! where there are many.

pub mod connectivity;
pub mod intersect;
pub mod layout;
mod score;
pub mod shape;
#[cfg(test)]
mod tests;

use glam::Vec3;
use serde_json::{Value as Json, json};

use self::{
    connectivity::{Connectivity, Welded},
    intersect::Intersections,
    layout::Layout,
    shape::Shape,
};
use super::{
    Mesh,
    topology::{self, Topology},
    uv::{self, UvUse},
};

pub use score::Scores;

/// Texels a side on which the use of the texture is measured.
pub const UV_GRID: u32 = 1024;

/// From where on something counts as a defect.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisLimits {
    /// A vertex with more edges is a pole.
    pub max_valence: usize,
    /// A triangle with a larger aspect is a sliver; an equilateral one has 1.
    pub max_aspect: f64,
    /// A piece with a smaller share of the area is a floater.
    pub floater: f64,
    /// Pairs of triangles that are held against each other before the search for
    /// self-intersections is cut short; 0 leaves the search out.
    pub max_intersection_tests: u64,
    pub budget: Budget,
}

/// What the asset may use; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    pub triangles: u64,
    /// Longer side of the texture, in pixels.
    pub texture: u64,
}

impl Default for AnalysisLimits {
    fn default() -> Self {
        Self {
            max_valence: 12,
            max_aspect: 15.0,
            floater: 0.001,
            max_intersection_tests: 20_000_000,
            budget: Budget::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    pub topology: Topology,
    pub connectivity: Connectivity,
    /// Vertices as stored: those along texture seams count more than once.
    pub n_stored_vertices: usize,
    pub shape: Shape,
    pub intersections: Intersections,
    pub uv_use: UvUse,
    /// `None` without texture coordinates.
    pub layout: Option<Layout>,
    /// Width and height in pixels.
    pub texture_size: (u32, u32),
    pub scores: Scores,
}

/// `texture_size`, width and height in pixels, is what texel density is in terms of.
pub fn analyze(mesh: &Mesh, texture_size: (u32, u32), limits: &AnalysisLimits) -> Analysis {
    let welded = Welded::new(mesh);
    let connections = || connectivity::connectivity(mesh, &welded, limits.max_valence, limits.floater);
    let on_texture = || (uv::measure(&mesh.uvs, &mesh.triangles, UV_GRID), layout::layout(mesh, &welded, texture_size));
    let ((topology, connectivity), ((uv_use, layout), shape)) = rayon::join(
        || (topology::topology(&mesh.positions, &mesh.triangles), connections()),
        || (on_texture(), shape::shape(mesh, limits.max_aspect)),
    );
    let intersections = match limits.max_intersection_tests {
        0 => Intersections { n_pairs: 0, n_faces: 0, complete: false },
        max_tests => intersect::intersections(mesh, &welded.all, max_tests),
    };
    let mut analysis = Analysis {
        topology,
        connectivity,
        n_stored_vertices: mesh.positions.len(),
        shape,
        intersections,
        uv_use,
        layout,
        texture_size,
        scores: Scores { topology: 0.0, geometry: 0.0, uvs: 0.0, budget: None, overall: 0.0 },
    };
    analysis.scores = Scores::of(&analysis, limits);
    analysis
}

impl Analysis {
    /// Number of handles, over all pieces; `None` when the surface is not a closed manifold.
    pub fn genus(&self) -> Option<i64> {
        let closed = self.topology.is_watertight() && self.topology.is_manifold();
        closed.then_some(self.topology.n_components as i64 - self.connectivity.euler / 2)
    }

    /// Signed, in cubic metres; `None` when the surface is not closed.
    pub fn volume(&self) -> Option<f64> {
        self.topology.is_watertight().then_some(self.shape.volume)
    }

    /// Everything, under stable names; lengths in metres, areas in square metres.
    pub fn to_json(&self) -> Json {
        let (t, c, s, i) = (&self.topology, &self.connectivity, &self.shape, &self.intersections);
        let (low, high) = s.bounds;
        let mut json = json!({
            "scores": self.scores.to_json(),
            "triangles": t.n_triangles,
            "vertices": self.n_stored_vertices,
            "welded_vertices": t.n_vertices,
            "edges": c.n_edges,
            "watertight": t.is_watertight(),
            "manifold": t.is_manifold(),
            "components": t.n_components,
            "floaters": c.n_floaters,
            "inverted_components": c.n_inverted,
            "border_edges": t.n_border_edges,
            "holes": c.n_holes,
            "non_manifold_edges": t.n_non_manifold_edges,
            "non_manifold_vertices": t.n_non_manifold_vertices,
            "inconsistent_edges": c.n_flipped_edges,
            "loose_vertices": c.n_loose_vertices,
            "degenerate": t.n_degenerate,
            "duplicate_faces": c.n_duplicate_faces,
            "not_finite": s.n_not_finite,
            "poles": c.n_high_valence + c.n_low_valence,
            "max_valence": c.max_valence,
            "euler": c.euler,
            "genus": self.genus(),
            "self_intersections": {
                "pairs": i.n_pairs, "triangles": i.n_faces, "complete": i.complete,
            },
            "slivers": s.n_slivers,
            "aspect": { "mean": rounded(s.mean_aspect), "max": rounded(s.max_aspect) },
            "edge_m": { "mean": rounded(s.mean_edge), "max": rounded(s.max_edge) },
            "area_m2": rounded(s.area),
            "volume_m3": self.volume().map(rounded),
            "bounds_m": { "min": metres(low), "max": metres(high) },
            "uv_coverage": rounded(self.uv_use.coverage),
            "uv_overlap": rounded(self.uv_use.overlap),
            "uv_outside": self.uv_use.n_outside,
        });
        if let Some(layout) = &self.layout {
            let d = &layout.density;
            json["uv_charts"] = json!(layout.n_charts);
            json["uv_mirrored_charts"] = json!(layout.n_mirrored_charts);
            json["uv_flipped"] = json!(layout.n_flipped);
            json["uv_collapsed"] = json!(layout.n_collapsed);
            json["uv_seam_m"] = json!(rounded(layout.seam_length));
            json["uv_stretch"] = json!({ "l2": rounded(layout.stretch_l2), "max": rounded(layout.stretch_max) });
            json["texel_density_per_m"] = json!({
                "min": rounded(d.min), "mean": rounded(d.mean), "max": rounded(d.max),
                "deviation": rounded(d.deviation),
            });
        }
        json
    }
}

impl Scores {
    pub fn to_json(&self) -> Json {
        let tenths = |score: f64| (score * 10.0).round() / 10.0;
        let mut json = json!({
            "overall": tenths(self.overall),
            "topology": tenths(self.topology),
            "geometry": tenths(self.geometry),
            "uvs": tenths(self.uvs),
        });
        if let Some(budget) = self.budget {
            json["budget"] = json!(tenths(budget));
        }
        json
    }
}

/// Six decimals: a micrometre, a millionth.
pub fn rounded(value: f64) -> f64 {
    // + 0.0: no negative zero.
    (value * 1e6).round() / 1e6 + 0.0
}

fn metres(v: Vec3) -> [f64; 3] {
    v.to_array().map(|x| rounded(f64::from(x)))
}
