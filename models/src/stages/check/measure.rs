//! The figures of a finished asset.

use glam::Vec3;
use image::RgbaImage;
use serde_json::{Value as Json, json};

use crate::{
    export::glb::GlbContent,
    mesh::{
        Mesh, fit,
        topology::{self, Topology},
        uv::{self, UvUse},
    },
};

/// Texels a side on which UV use is measured.
const UV_GRID: u32 = 1024;

pub struct Measured {
    pub topology: Topology,
    /// Vertices as stored: those along texture seams count more than once.
    pub n_stored_vertices: usize,
    /// Vertices - edges + faces, where doubled vertices count once.
    pub euler: i64,
    pub bounds: (Vec3, Vec3),
    pub uv: UvUse,
    pub texture_size: (u32, u32),
    pub silhouette_iou: f64,
}

impl Measured {
    /// All but the silhouette.
    pub fn surface(content: &GlbContent) -> Measured {
        let mesh = &content.mesh;
        Measured {
            topology: topology::topology(&mesh.positions, &mesh.triangles),
            n_stored_vertices: mesh.positions.len(),
            euler: euler(mesh),
            bounds: mesh.bounds().unwrap_or_default(),
            uv: uv::measure(&mesh.uvs, &mesh.triangles, UV_GRID),
            texture_size: content.maps.base_color.dimensions(),
            silhouette_iou: 0.0,
        }
    }

    pub fn with_silhouette(mut self, mesh: &Mesh, cutout: &RgbaImage) -> Measured {
        self.silhouette_iou = fit::silhouette_iou(mesh, cutout);
        self
    }

    /// Number of handles, over all pieces; `None` when the surface is not a closed manifold.
    pub fn genus(&self) -> Option<i64> {
        let closed = self.topology.is_watertight() && self.topology.is_manifold();
        closed.then_some(self.topology.n_components as i64 - self.euler / 2)
    }

    pub fn to_json(&self) -> Json {
        let t = &self.topology;
        let (low, high) = self.bounds;
        let metres = |v: Vec3| v.to_array().map(|x| rounded(f64::from(x)));
        json!({
            "triangles": t.n_triangles,
            "vertices": self.n_stored_vertices,
            "watertight": t.is_watertight(),
            "manifold": t.is_manifold(),
            "components": t.n_components,
            "degenerate": t.n_degenerate,
            "border_edges": t.n_border_edges,
            "non_manifold_edges": t.n_non_manifold_edges,
            "non_manifold_vertices": t.n_non_manifold_vertices,
            "euler": self.euler,
            "genus": self.genus(),
            "bounds_m": { "min": metres(low), "max": metres(high) },
            "uv_coverage": rounded(self.uv.coverage),
            "uv_overlap": rounded(self.uv.overlap),
            "uv_outside": self.uv.n_outside,
            "textures": [{ "map": "base_color", "width": self.texture_size.0, "height": self.texture_size.1 }],
            "silhouette_iou": rounded(self.silhouette_iou),
        })
    }
}

/// Six decimals: a micrometre, a millionth.
pub fn rounded(value: f64) -> f64 {
    // + 0.0: no negative zero.
    (value * 1e6).round() / 1e6 + 0.0
}

fn euler(mesh: &Mesh) -> i64 {
    let weld = topology::weld_map(&mesh.positions);
    let faces = mesh.triangles.iter().map(|triangle| triangle.map(|v| weld[v as usize]));
    let faces: Vec<[u32; 3]> = faces.filter(|[a, b, c]| a != b && b != c && c != a).collect();
    let count = |mut all: Vec<(u32, u32)>| {
        all.sort_unstable();
        all.dedup();
        all.len() as i64
    };
    let vertices = faces.iter().flatten().map(|&v| (v, v)).collect();
    let edges = faces.iter().flat_map(|&[a, b, c]| [(a, b), (b, c), (c, a)]).map(|(a, b)| (a.min(b), a.max(b)));
    count(vertices) - count(edges.collect()) + faces.len() as i64
}
