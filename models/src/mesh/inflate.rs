//! Inflates a silhouette into a closed, smooth solid, mirrored about z = 0.
//!
//! In: the alpha of a cutout. Out: a `Mesh` in pixels of the cutout (x to the
//! right, y up, so that pixel (x, y) is at (x, -y)), front to +Z.
//!
//! The profile is the square root of a soap film over the silhouette: a disc
//! becomes an ellipsoid, thin parts stay thin, and the surface meets z = 0
//! upright. Front and back share exactly the vertices of the outline, whose
//! loops are disjoint (outline.rs), so the solid is closed and manifold, and a
//! hole of the silhouette is a hole through it.

use std::collections::HashMap;

use ::image::RgbaImage;
use glam::{DVec2, Vec2, Vec3};

use super::{
    FrontView, Mesh,
    lattice_tiling::tile,
    normals::smooth_normals,
    outline::{Sheet, cut},
    poisson::Film,
    silhouette::Silhouette,
};
use crate::{cx::StageCx, error::StageError};

pub struct Inflation {
    /// Largest depth relative to the diameter of the largest circle in the silhouette.
    pub thickness: f32,
    /// Cells along the longer side of the silhouette.
    pub resolution: usize,
}

/// Extra vertices on the edges that rise from the outline, as shares of the
/// edge: the profile is steepest there. Even steps in height are squares.
const RIM_ROWS: [f32; 1] = [0.25];
const N_STEPS: u32 = 5;

/// Reports `N_STEPS` steps to `cx`. Fails when the cutout shows nothing.
pub fn inflate(cx: &StageCx, cutout: &RgbaImage, how: &Inflation) -> Result<Mesh, StageError> {
    cx.step(0, N_STEPS)?;
    let silhouette = Silhouette::of(cutout, how.resolution)?;
    cx.step(1, N_STEPS)?;
    let film = Film::over(&silhouette, || cx.check_cancel())?;
    cx.step(2, N_STEPS)?;
    // Where the picture shows more than `resolution`, straight outlines get larger cells.
    let outline_level = (silhouette.extent as f32 / how.resolution as f32 * 1.2).log2().max(0.0) as u8;
    let tiling = tile(&silhouette, &film.heights, outline_level);
    cx.step(3, N_STEPS)?;
    let sheet = cut(&silhouette, &tiling);
    cx.step(4, N_STEPS)?;
    let relief = raise(&silhouette, &film, sheet, how.thickness);
    let mesh = mirror(&silhouette, &relief);
    cx.step(N_STEPS, N_STEPS)?;
    Ok(mesh)
}

/// Triangles over the silhouette with their height, all in lattice units.
struct Relief {
    points: Vec<Vec2>,
    /// 0 exactly on the outline, positive elsewhere.
    heights: Vec<f32>,
    triangles: Vec<[u32; 3]>,
}

fn raise(silhouette: &Silhouette, film: &Film, sheet: Sheet, thickness: f32) -> Relief {
    let highest = sheet.nodes.iter().flatten().map(|&node| film.heights[node as usize]).fold(0.0, f32::max);
    let scale = thickness * inscribed_radius(silhouette, &sheet) / highest.sqrt();
    let heights = sheet.nodes.iter().map(|node| node.map_or(0.0, |node| scale * film.heights[node as usize].sqrt()));
    let heights = heights.collect();
    let mut rows = RimRows {
        film,
        scale,
        nodes: &sheet.nodes,
        relief: Relief { points: sheet.points, heights, triangles: Vec::with_capacity(sheet.triangles.len() * 2) },
        chains: HashMap::new(),
    };
    for triangle in sheet.triangles {
        rows.push(triangle);
    }
    rows.relief
}

/// Cuts the triangles that touch the outline into rows.
struct RimRows<'a> {
    film: &'a Film<'a>,
    scale: f32,
    nodes: &'a [Option<u32>],
    relief: Relief,
    /// First extra vertex on each edge from an outline vertex to an inner one.
    chains: HashMap<(u32, u32), u32>,
}

impl RimRows<'_> {
    fn push(&mut self, triangle: [u32; 3]) {
        let on_outline = triangle.map(|v| self.nodes[v as usize].is_none());
        let turned = |first: usize| [0, 1, 2].map(|i| triangle[(first + i) % 3]);
        match on_outline.iter().filter(|&&on| on).count() {
            0 => self.relief.triangles.push(triangle),
            1 => {
                let [rim, a, b] = turned(on_outline.iter().position(|&on| on).unwrap_or(0));
                let (first_a, first_b) = (self.chain(rim, a), self.chain(rim, b));
                self.relief.triangles.push([rim, first_a, first_b]);
                self.ladder((first_a, a), (first_b, b));
            }
            2 => {
                let [inner, r, s] = turned(on_outline.iter().position(|&on| !on).unwrap_or(0));
                let (first_r, first_s) = (self.chain(r, inner), self.chain(s, inner));
                self.quad([r, s, first_s, first_r]);
                let last = RIM_ROWS.len() as u32 - 1;
                for i in 0..last {
                    self.quad([first_r + i, first_s + i, first_s + i + 1, first_r + i + 1]);
                }
                self.relief.triangles.push([first_r + last, first_s + last, inner]);
            }
            // Every triangle of a sheet has an inner corner.
            _ => self.relief.triangles.push(triangle),
        }
    }

    /// Quads between two chains that start at the same outline vertex.
    fn ladder(&mut self, (first_a, a): (u32, u32), (first_b, b): (u32, u32)) {
        let n = RIM_ROWS.len() as u32;
        let rung = |first: u32, end: u32, i: u32| if i < n { first + i } else { end };
        for i in 0..n {
            self.quad([rung(first_a, a, i), rung(first_a, a, i + 1), rung(first_b, b, i + 1), rung(first_b, b, i)]);
        }
    }

    /// Cut along its shorter diagonal.
    fn quad(&mut self, [a, b, c, d]: [u32; 4]) {
        let p = |v: u32| self.relief.points[v as usize].extend(self.relief.heights[v as usize]);
        if p(a).distance_squared(p(c)) <= p(b).distance_squared(p(d)) {
            self.relief.triangles.extend([[a, b, c], [a, c, d]]);
        } else {
            self.relief.triangles.extend([[a, b, d], [b, c, d]]);
        }
    }

    /// The extra vertices between an outline vertex and an inner one, consecutive; the first is returned.
    fn chain(&mut self, rim: u32, inner: u32) -> u32 {
        let RimRows { film, scale, nodes, relief, chains } = self;
        *chains.entry((rim, inner)).or_insert_with(|| {
            let Some(node) = nodes[inner as usize] else { return rim };
            let (from, to) = (relief.points[rim as usize], relief.points[inner as usize]);
            // The film along the edge is a parabola: 0 at the outline, height and
            // slope at the node are known. It neither sags nor rises above the node.
            let end = film.heights[node as usize];
            let slope = film.slope(node as usize).dot(to - from).clamp(0.0, end);
            let first = relief.points.len() as u32;
            for t in RIM_ROWS {
                relief.points.push(from.lerp(to, t));
                let film_height = (2.0 * end - slope) * t + (slope - end) * t * t;
                relief.heights.push(*scale * film_height.sqrt());
            }
            first
        })
    }
}

/// Radius of about the largest circle inside the silhouette, in lattice units.
fn inscribed_radius(silhouette: &Silhouette, sheet: &Sheet) -> f32 {
    // Its centre by the 3-4 chamfer distance (Borgefors 1986), within a few per cent ...
    let (width, height) = (silhouette.width, silhouette.height);
    let mut distance: Vec<u16> = silhouette.values.iter().map(|&v| if v > 0.0 { u16::MAX } else { 0 }).collect();
    let mut lower = |i: usize, neighbours: [(usize, u16); 4]| {
        for (neighbour, step) in neighbours {
            distance[i] = distance[i].min(distance[neighbour].saturating_add(step));
        }
    };
    // The outermost nodes are outside, hence all neighbours exist.
    let inner = || (1..height - 1).flat_map(|y| (1..width - 1).map(move |x| y * width + x));
    for i in inner() {
        lower(i, [(i - 1, 3), (i - width, 3), (i - width - 1, 4), (i - width + 1, 4)]);
    }
    for i in inner().rev() {
        lower(i, [(i + 1, 3), (i + width, 3), (i + width + 1, 4), (i + width - 1, 4)]);
    }
    let furthest = distance.iter().max().copied().unwrap_or(0);
    let centre = distance.iter().position(|&d| d == furthest).unwrap_or(0);
    let centre = Vec2::new((centre % width) as f32, (centre / width) as f32);
    // ... and its radius exactly.
    let outline = sheet.points.iter().zip(&sheet.nodes).filter(|(_, node)| node.is_none());
    outline.map(|(p, _)| p.distance(centre)).fold(f32::INFINITY, f32::min)
}

fn mirror(silhouette: &Silhouette, relief: &Relief) -> Mesh {
    let n = relief.points.len();
    let mut positions = Vec::with_capacity(2 * n);
    let mut behind: Vec<u32> = (0..n as u32).collect();
    for (p, &height) in relief.points.iter().zip(&relief.heights) {
        let pixel = silhouette.origin + DVec2::new(p.x as f64, p.y as f64) * silhouette.spacing;
        positions.push(Vec3::new(pixel.x as f32, -pixel.y as f32, height * silhouette.spacing as f32));
    }
    for i in 0..n {
        if relief.heights[i] > 0.0 {
            behind[i] = positions.len() as u32;
            positions.push(positions[i] * Vec3::new(1.0, 1.0, -1.0));
        }
    }
    let mut triangles = relief.triangles.clone();
    triangles.extend(relief.triangles.iter().map(|&[a, b, c]| [a, c, b].map(|v| behind[v as usize])));
    let normals = smooth_normals(&positions, &triangles);
    let front = Some(FrontView { metres_per_pixel: 1.0, origin: Vec2::ZERO });
    Mesh { positions, normals, triangles, front, ..Mesh::default() }
}
