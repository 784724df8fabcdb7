//! Which points of the low surface each texel shows.
//!
//! In: the low mesh, the size of the maps. Out: for a band of rows the samples of
//! its texels. Texels that the mesh covers have `supersample`^2 samples; those beside
//! a chart have one, on the chart's surface continued beyond its edge. So what
//! filtering mixes at the edge of one chart is what the next one shows there.

use std::ops::Range;

use glam::{Vec2, Vec3, Vec4};

use super::BAND;
use crate::mesh::{
    Mesh,
    normals::smooth_normals,
    raster::{Camera, Cull, NOTHING, Projection},
    tangents::vertex_tangents,
};

pub struct Layout<'a> {
    pub mesh: &'a Mesh,
    /// Unit length, one a vertex.
    normals: Vec<Vec3>,
    tangents: Vec<Vec4>,
    pub size: u32,
    supersample: u32,
    projection: Projection,
    /// Pieces of the projection in each band.
    bands: Vec<Vec<u32>>,
    /// For each triangle the side of a sample in metres.
    footprints: Vec<f32>,
}

/// A point of the low mesh.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Counted from the band's first.
    pub texel: u32,
    pub face: u32,
    /// Weights of the triangle's corners, sum 1; negative beyond its edges.
    pub barycentric: Vec3,
}

/// The surface there.
#[derive(Debug, Clone, Copy)]
pub struct LowPoint {
    pub position: Vec3,
    /// Unit length, interpolated.
    pub normal: Vec3,
    /// Unit length, interpolated, and the bitangent's sign.
    pub tangent: Vec4,
    /// Side of what a sample stands for, in metres.
    pub footprint: f32,
}

impl<'a> Layout<'a> {
    pub fn new(mesh: &'a Mesh, size: u32, supersample: u32) -> Self {
        let corners: Vec<Vec3> = mesh.uvs.iter().map(|uv| uv.extend(0.0)).collect();
        let side = size * supersample;
        let projection = Projection::new(&corners, &mesh.triangles, &Camera::texture(), side, side, Cull::Nothing);
        let normals = if mesh.normals.len() == mesh.positions.len() {
            mesh.normals.clone()
        } else {
            smooth_normals(&mesh.positions, &mesh.triangles)
        };
        let footprint = |triangle: &[u32; 3]| {
            let [a, b, c] = mesh.corners(*triangle);
            let [p, q, r] = triangle.map(|v| mesh.uvs[v as usize] * side as f32);
            ((b - a).cross(c - a).length() / (q - p).perp_dot(r - p).abs().max(1e-6)).sqrt()
        };
        Self {
            mesh,
            tangents: vertex_tangents(mesh),
            normals,
            size,
            supersample,
            bands: projection.bands(BAND * supersample),
            projection,
            footprints: mesh.triangles.iter().map(footprint).collect(),
        }
    }

    pub fn n_bands(&self) -> usize {
        self.bands.len()
    }

    /// Rows of texels of a band.
    pub fn rows(&self, band: usize) -> Range<u32> {
        let first = band as u32 * BAND;
        first..(first + BAND).min(self.size)
    }

    /// The samples of a band's texels, texel by texel.
    pub fn samples(&self, band: usize) -> Vec<Sample> {
        let rows = self.rows(band);
        let around = rows.start.saturating_sub(1)..(rows.end + 1).min(self.size);
        let n = self.supersample;
        let width = self.projection.width as usize;
        let mut faces = vec![NOTHING; (around.end - around.start) as usize * n as usize * width];
        let mut depth = vec![0.0; faces.len()];
        for bin in &self.bands[band.saturating_sub(1)..(band + 2).min(self.bands.len())] {
            self.projection.draw_rows(bin, around.start * n..around.end * n, &mut depth, &mut faces);
        }
        // Place (x, y) of the supersampled texture, which lies within `around`.
        let face_at = |x: u32, y: u32| faces[(y - around.start * n) as usize * width + x as usize];

        let mut samples = Vec::new();
        for (y, x) in rows.clone().flat_map(|y| (0..self.size).map(move |x| (y, x))) {
            let texel = (y - rows.start) * self.size + x;
            let places = (0..n * n).map(|i| (x * n + i % n, y * n + i / n));
            let covered = places.clone().find(|&(x, y)| face_at(x, y) != NOTHING);
            if let Some(first) = covered {
                let mut last = face_at(first.0, first.1);
                for (x, y) in places {
                    let face = face_at(x, y);
                    last = if face == NOTHING { last } else { face };
                    samples.push(self.sample(texel, last, face != NOTHING, Vec2::new(x as f32, y as f32) + 0.5));
                }
                continue;
            }
            // Sides before corners, and of a neighbour its sample nearest to this texel.
            let neighbours = [(0, -1), (-1, 0), (1, 0), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)];
            let beside = neighbours.iter().find_map(|&(dx, dy)| {
                let (u, v) = (x.checked_add_signed(dx)?, y.checked_add_signed(dy)?);
                if u >= self.size || !around.contains(&v) {
                    return None;
                }
                let away = |d: i32, i: u32| if d < 0 { n - 1 - i } else { i };
                (0..n * n)
                    .map(|i| face_at(u * n + away(dx, i % n), v * n + away(dy, i / n)))
                    .find(|&face| face != NOTHING)
            });
            if let Some(face) = beside {
                let centre = (Vec2::new(x as f32, y as f32) + 0.5) * n as f32;
                samples.push(self.sample(texel, face, false, centre));
            }
        }
        samples
    }

    /// `place` in samples from the texture's corner.
    fn sample(&self, texel: u32, face: u32, is_inside: bool, place: Vec2) -> Sample {
        let hit = self.projection.hit(face, place);
        let barycentric = match is_inside {
            true => hit.barycentric,
            false => self.continued(hit.triangle, place).unwrap_or(hit.barycentric),
        };
        Sample { texel, face: hit.triangle, barycentric }
    }

    /// Weights of a place beyond the triangle's edges, unless the triangle is so thin
    /// in the texture that they would lead far away.
    fn continued(&self, face: u32, place: Vec2) -> Option<Vec3> {
        let triangle = self.mesh.triangles[face as usize];
        let [a, b, c] = triangle.map(|v| (self.mesh.uvs[v as usize] * self.projection.width as f32 - place).as_dvec2());
        let area = (b - a).perp_dot(c - a);
        let weights = (glam::DVec3::new(b.perp_dot(c), c.perp_dot(a), a.perp_dot(b)) / area).as_vec3();
        let [p, q, r] = self.mesh.corners(triangle);
        let inside = weights.clamp(Vec3::ZERO, Vec3::ONE);
        let moved = weights - inside / inside.element_sum();
        let distance = (p * moved.x + q * moved.y + r * moved.z).length();
        let most = 4.0 * self.footprints[face as usize] * self.supersample as f32;
        (weights.is_finite() && distance <= most).then_some(weights)
    }

    pub fn point(&self, sample: &Sample) -> LowPoint {
        let triangle = self.mesh.triangles[sample.face as usize].map(|v| v as usize);
        let w = sample.barycentric;
        let [a, b, c] = triangle;
        let normal = self.normals[a] * w.x + self.normals[b] * w.y + self.normals[c] * w.z;
        let tangents = triangle.map(|v| self.tangents[v]);
        let tangent = tangents[0] * w.x + tangents[1] * w.y + tangents[2] * w.z;
        let [p, q, r] = triangle.map(|v| self.mesh.positions[v]);
        let normal = normal.try_normalize().unwrap_or_else(|| (q - p).cross(r - p).normalize_or(Vec3::Z));
        let along = tangent.truncate().try_normalize().unwrap_or_else(|| normal.any_orthonormal_vector());
        LowPoint {
            position: p * w.x + q * w.y + r * w.z,
            normal,
            tangent: along.extend(tangents[0].w),
            footprint: self.footprints[sample.face as usize],
        }
    }

    /// For each triangle the number of its chart: triangles of one chart share vertices.
    pub fn charts(&self) -> Vec<u32> {
        let mut parents: Vec<u32> = (0..self.mesh.positions.len() as u32).collect();
        fn root(parents: &mut [u32], mut v: u32) -> u32 {
            while parents[v as usize] != v {
                parents[v as usize] = parents[parents[v as usize] as usize];
                v = parents[v as usize];
            }
            v
        }
        for triangle in &self.mesh.triangles {
            let first = root(&mut parents, triangle[0]);
            for &v in &triangle[1..] {
                let other = root(&mut parents, v);
                parents[other as usize] = first;
            }
        }
        self.mesh.triangles.iter().map(|t| root(&mut parents, t[0])).collect()
    }
}
