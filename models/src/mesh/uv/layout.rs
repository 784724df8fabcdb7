//! How well a surface lies on its texture: density, stretch, flips, seams.
//!
//! In: a mesh with texture coordinates. Out: figures that do not depend on how
//! vertices are doubled, only on positions and texture coordinates.
//!
//! Stretch is that of Sander et al., "Texture mapping progressive meshes" (2001):
//! how far one unit of texture reaches on the surface, root mean square (L2) and
//! largest (Linf), both 1 for a map that keeps lengths.

use std::collections::HashMap;

use glam::{DVec2, Vec2};

use crate::mesh::{
    Mesh,
    topology::{DisjointSets, EdgeTable, weld_map},
};

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Layout {
    /// Pieces connected through edges whose texture coordinates agree on both sides.
    pub n_charts: usize,
    /// Charts of at most four triangles.
    pub n_tiny_charts: usize,
    /// Triangles that have an area in space and lie mirrored in the texture.
    pub n_flipped: usize,
    /// Triangles that have an area in space and none in the texture.
    pub n_flat: usize,
    /// Sides of the texture per metre: square root of all area in the texture
    /// over all area in space.
    pub density: f64,
    /// How uneven texels lie: standard deviation over mean of the faces' density
    /// (square root of their area in the texture over that in space), each face
    /// weighted by its area in space. 0 is even, 0.1 is 10 %.
    pub density_deviation: f64,
    /// 1 and up.
    pub stretch_l2: f64,
    /// Largest stretch that 99.9 % of the surface stays below, 1 and up: single needles
    /// say nothing.
    pub stretch_most: f64,
    /// Edges between two faces whose texture coordinates differ, in metres.
    pub seam_length: f64,
}

/// Measures the layout. Triangles thinner than a millionth of the mesh's extents
/// count neither as charts nor for density and stretch: f32 texture coordinates
/// do not resolve them. Without texture coordinates everything is zero.
///
/// Time O(n log n), memory about 100 bytes a triangle.
pub fn measure(mesh: &Mesh) -> Layout {
    if mesh.uvs.len() != mesh.positions.len() {
        return Layout::default();
    }
    let weld = weld_map(&mesh.positions);
    let extents = mesh.bounds().map_or(0.0, |(low, high)| (high - low).as_dvec3().length());
    let faces: Vec<Face> = mesh.triangles.iter().filter_map(|t| Face::new(mesh, *t, extents * MIN_ALTITUDE)).collect();
    let (space, texture) = faces.iter().fold((0.0, 0.0), |(s, t), f| (s + f.area, t + f.uv_area.abs()));
    if space == 0.0 {
        return Layout::default();
    }

    let scale = (texture / space).sqrt();
    let mean = faces.iter().map(|f| f.area * f.density()).sum::<f64>() / space;
    let variance = faces.iter().map(|f| f.area * (f.density() - mean).powi(2)).sum::<f64>() / space;
    let mut stretches: Vec<(f64, f64)> = faces.iter().map(|f| (f.stretch.1 * scale, f.area)).collect();
    stretches.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let squares = faces.iter().map(|f| f.area * f.stretch.0 * scale * scale).sum::<f64>() / space;
    let (n_charts, n_tiny_charts) = charts(mesh, &weld);
    Layout {
        n_charts,
        n_tiny_charts,
        n_flipped: faces.iter().filter(|f| f.uv_area < 0.0).count(),
        n_flat: faces.iter().filter(|f| f.uv_area == 0.0).count(),
        density: scale,
        density_deviation: if mean > 0.0 { variance.sqrt() / mean } else { 0.0 },
        stretch_l2: squares.sqrt(),
        stretch_most: weighted_quantile(&stretches, 0.999),
        seam_length: seam_length(mesh, &weld),
    }
}

/// Triangles thinner than this part of the mesh's extents are not resolved.
const MIN_ALTITUDE: f64 = 1e-6;

/// Triangles up to which a chart is tiny.
const TINY: usize = 4;

struct Face {
    area: f64,
    /// Positive where the texture is seen upright from outside.
    uv_area: f64,
    /// Mean square and largest stretch, before scaling.
    stretch: (f64, f64),
}

impl Face {
    fn new(mesh: &Mesh, triangle: [u32; 3], min_altitude: f64) -> Option<Face> {
        let [a, b, c] = mesh.corners(triangle).map(|p| p.as_dvec3());
        let (along, up) = (b - a, c - a);
        let doubled = along.cross(up).length();
        let longest = along.length().max(up.length()).max((c - b).length());
        if doubled <= min_altitude * longest || doubled == 0.0 {
            return None;
        }
        let [ua, ub, uc] = triangle.map(|v| mesh.uvs[v as usize].as_dvec2());
        let (s, t) = (ub - ua, uc - ua);
        let uv_doubled = t.perp_dot(s);
        // Columns of the map from the face's plane to the texture.
        let x = along.length();
        let foot = along.dot(up) / x;
        let du = s / x;
        let dv = (t - s * (foot / x)) / (doubled / x);
        // Its inverse has singular values 1/small and 1/large.
        let (trace, det) = (du.length_squared() + dv.length_squared(), du.perp_dot(dv).powi(2));
        let root = (trace * trace / 4.0 - det).max(0.0).sqrt();
        let small = (trace / 2.0 - root).max(0.0);
        Some(Face {
            area: doubled / 2.0,
            uv_area: uv_doubled / 2.0,
            stretch: (trace / det.max(f64::MIN_POSITIVE) / 2.0, 1.0 / small.max(f64::MIN_POSITIVE).sqrt()),
        })
    }

    fn density(&self) -> f64 {
        (self.uv_area.abs() / self.area).sqrt()
    }
}

/// How many charts there are, and how many of them are tiny.
fn charts(mesh: &Mesh, weld: &[u32]) -> (usize, usize) {
    let mut places: HashMap<(u32, [u32; 2]), u32> = HashMap::with_capacity(mesh.positions.len());
    let place_of: Vec<u32> = (0..mesh.positions.len() as u32)
        .map(|v| *places.entry((weld[v as usize], bits(mesh.uvs[v as usize]))).or_insert(v))
        .collect();
    let mut sides: Vec<(u64, u32)> = Vec::with_capacity(mesh.triangles.len() * 3);
    for (f, t) in mesh.triangles.iter().enumerate() {
        let [a, b, c] = t.map(|v| place_of[v as usize]);
        for (from, to) in [(a, b), (b, c), (c, a)] {
            sides.push((u64::from(from.min(to)) << 32 | u64::from(from.max(to)), f as u32));
        }
    }
    sides.sort_unstable();
    let mut sets = DisjointSets::new(mesh.triangles.len());
    for pair in sides.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        sets.join(pair[0].1, pair[1].1);
    }
    let mut sizes = vec![0usize; mesh.triangles.len()];
    for (f, t) in mesh.triangles.iter().enumerate() {
        // Faces that collapsed to a point are in no chart.
        let [a, b, c] = t.map(|v| place_of[v as usize]);
        if a != b && b != c && c != a {
            sizes[sets.find(f as u32) as usize] += 1;
        }
    }
    (sizes.iter().filter(|&&n| n > 0).count(), sizes.iter().filter(|&&n| n > 0 && n <= TINY).count())
}

fn bits(uv: Vec2) -> [u32; 2] {
    (uv + Vec2::ZERO).to_array().map(f32::to_bits)
}

fn seam_length(mesh: &Mesh, weld: &[u32]) -> f64 {
    let welded = |t: &[u32; 3]| t.map(|v| weld[v as usize]);
    let proper: Vec<[u32; 3]> = mesh
        .triangles
        .iter()
        .copied()
        .filter(|t| {
            let [a, b, c] = welded(t);
            a != b && b != c && c != a
        })
        .collect();
    let faces: Vec<[u32; 3]> = proper.iter().map(welded).collect();
    let uv = |corner: u32| mesh.uvs[proper[corner as usize / 3][corner as usize % 3] as usize];
    let mut length = 0.0;
    for users in EdgeTable::new(mesh.positions.len(), &faces).iter() {
        let [a, b] = users else { continue };
        let ((a_low, a_high), (b_low, b_high)) = (a.corners(&faces), b.corners(&faces));
        if uv(a_low) != uv(b_low) || uv(a_high) != uv(b_high) {
            let at = |corner: u32| mesh.positions[faces[corner as usize / 3][corner as usize % 3] as usize].as_dvec3();
            length += at(a_low).distance(at(a_high));
        }
    }
    length
}

/// Smallest value that the given share of the weight does not exceed.
fn weighted_quantile(sorted: &[(f64, f64)], share: f64) -> f64 {
    let mut left = sorted.iter().map(|(_, weight)| weight).sum::<f64>() * share;
    for (value, weight) in sorted {
        left -= weight;
        if left <= 0.0 {
            return *value;
        }
    }
    sorted.last().map_or(0.0, |(value, _)| *value)
}

/// Area in the texture, positive where it is seen upright from outside.
pub fn uv_area(mesh: &Mesh, triangle: [u32; 3]) -> f64 {
    let [a, b, c]: [DVec2; 3] = triangle.map(|v| mesh.uvs[v as usize].as_dvec2());
    (c - a).perp_dot(b - a) / 2.0
}

#[cfg(test)]
mod tests {
    use glam::Vec3;

    use super::*;
    use crate::mesh::shapes;

    /// A sheet of `n` by `n` quads facing +Z over 1 m by 1 m, textured by `uv`.
    fn sheet(n: u32, uv: impl Fn(f32, f32) -> Vec2) -> Mesh {
        let mut mesh = Mesh::default();
        for (row, column) in (0..=n).flat_map(|row| (0..=n).map(move |column| (row, column))) {
            let (x, y) = (column as f32 / n as f32, row as f32 / n as f32);
            mesh.positions.push(Vec3::new(x, y, 0.0));
            mesh.uvs.push(uv(x, y));
        }
        for (row, column) in (0..n).flat_map(|row| (0..n).map(move |column| (row, column))) {
            let at = row * (n + 1) + column;
            mesh.triangles.extend([[at, at + 1, at + n + 2], [at, at + n + 2, at + n + 1]]);
        }
        mesh
    }

    #[test]
    fn a_sheet_laid_flat_is_perfect() {
        let layout = measure(&sheet(4, |x, y| Vec2::new(x, 1.0 - y) / 2.0));
        assert_eq!((layout.n_charts, layout.n_flipped, layout.n_flat), (1, 0, 0));
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        near(layout.density, 0.5);
        near(layout.density_deviation, 0.0);
        near(layout.stretch_l2, 1.0);
        near(layout.stretch_most, 1.0);
        near(layout.seam_length, 0.0);
    }

    #[test]
    fn stretch_and_density_have_their_known_values() {
        // Twice as wide as high: singular values sqrt(2) and 1/sqrt(2) of the mean.
        let wide = measure(&sheet(4, |x, y| Vec2::new(x, 1.0 - 0.5 * y)));
        assert!((wide.stretch_l2 - 1.25f64.sqrt()).abs() < 1e-6, "{wide:?}");
        assert!((wide.stretch_most - 2f64.sqrt()).abs() < 1e-6, "{wide:?}");
        assert!(wide.density_deviation < 1e-6);
        // One half has four times the area of the other, hence twice the texels along
        // a line: densities 2 and 1, mean 1.5, deviation 0.5.
        let uneven = measure(&sheet(4, |x, y| Vec2::new(if x <= 0.5 { 4.0 * x } else { x + 1.5 }, 1.0 - y) / 4.0));
        assert!((uneven.density_deviation - 0.5 / 1.5).abs() < 1e-5, "{uneven:?}");
    }

    #[test]
    fn flips_flats_charts_and_seams_are_counted() {
        assert_eq!(measure(&sheet(3, Vec2::new)).n_flipped, 18);
        assert_eq!(measure(&sheet(3, |x, _| Vec2::new(x, 0.0))).n_flat, 18);
        // Six sides of a cube of side 2: twelve edges are cut.
        let cube = measure(&shapes::cube());
        assert_eq!((cube.n_charts, cube.n_tiny_charts, cube.n_flipped), (6, 6, 0));
        assert!((cube.seam_length - 24.0).abs() < 1e-9, "{}", cube.seam_length);
    }

    #[test]
    fn no_coordinates_no_layout() {
        assert_eq!(measure(&Mesh { uvs: Vec::new(), ..shapes::cube() }), Layout::default());
        assert_eq!(measure(&Mesh::default()), Layout::default());
    }
}
