//! How a mesh lies on its texture: charts, seams, stretch, texels per metre.
//!
//! Stretch after Sander, Snyder, Gortler and Hoppe, "Texture Mapping Progressive
//! Meshes", 2001, section 3: of the map from texture to surface, scaled so that
//! the texture has the area of the surface. 1 is best.

use glam::{DVec2, DVec3, Vec2};

use super::connectivity::Welded;
use crate::mesh::{Mesh, topology::DisjointSets};

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Layout {
    /// Pieces of the surface that are connected on the texture too.
    pub n_charts: usize,
    /// Charts that are mirrored on the texture.
    pub n_mirrored_charts: usize,
    /// Triangles that lie the other way round than most of their chart's area.
    pub n_flipped: usize,
    /// Triangles with area that have none on the texture.
    pub n_collapsed: usize,
    /// Length in metres of the edges within the surface along which charts end.
    pub seam_length: f64,
    /// Root mean square, over the surface, of a triangle's mean stretch; 1 and up.
    pub stretch_l2: f64,
    /// Largest stretch of any direction on any triangle.
    pub stretch_max: f64,
    /// Texels per metre: root of texels per square metre.
    pub density: Density,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Density {
    pub min: f64,
    /// Over the surface.
    pub mean: f64,
    pub max: f64,
    /// Standard deviation over the surface, relative to the mean.
    pub deviation: f64,
}

/// Triangles with a smaller share of the whole area count neither for the
/// extremes of density nor for the largest stretch: f32 is too coarse for them.
const CRUMB: f64 = 1e-7;

/// `None` when the mesh has no texture coordinates. `texture` is its width and
/// height in pixels. Triangles with corners or coordinates that are not finite
/// are left out.
pub fn layout(mesh: &Mesh, welded: &Welded, texture: (u32, u32)) -> Option<Layout> {
    if mesh.uvs.is_empty() || mesh.uvs.len() != mesh.positions.len() {
        return None;
    }
    let (mut charts, seam_length) = charts(mesh, welded);
    let patches: Vec<Patch> = welded.face_triangles.iter().map(|&triangle| Patch::new(mesh, triangle)).collect();
    let whole: f64 = patches.iter().map(|patch| patch.area).sum();
    let on_texture: f64 = patches.iter().map(|patch| patch.uv_area.abs()).sum();
    let texels = f64::from(texture.0) * f64::from(texture.1);

    let mut layout = Layout { seam_length, ..Layout::default() };
    // Stretch grows with the square of the surface's size over the texture's.
    let scale = (on_texture / whole.max(f64::MIN_POSITIVE)).sqrt();
    let (mut mean_square, mut sum, mut sum_of_squares, mut counted) = (0.0, 0.0, 0.0, 0.0);
    layout.density.min = f64::INFINITY;
    for patch in patches.iter().filter(|patch| patch.area > 0.0) {
        let Some([small, large]) = patch.stretch else {
            layout.n_collapsed += 1;
            continue;
        };
        counted += patch.area;
        mean_square += (small * small + large * large) / 2.0 * patch.area;
        let density = (patch.uv_area.abs() * texels / patch.area).sqrt();
        sum += density * patch.area;
        sum_of_squares += density * density * patch.area;
        if patch.area > whole * CRUMB {
            layout.stretch_max = layout.stretch_max.max(large * scale);
            layout.density.min = layout.density.min.min(density);
            layout.density.max = layout.density.max.max(density);
        }
    }
    if counted > 0.0 {
        layout.stretch_l2 = (mean_square / counted).sqrt() * scale;
        layout.density.mean = sum / counted;
        let variance = (sum_of_squares / counted - layout.density.mean.powi(2)).max(0.0);
        layout.density.deviation = variance.sqrt() / layout.density.mean;
    }
    if layout.density.min == f64::INFINITY {
        layout.density.min = 0.0;
    }

    // The texture's v runs down: what is not mirrored winds clockwise in (u, v).
    let mut chart_area = vec![0.0; patches.len()];
    for (face_idx, patch) in patches.iter().enumerate() {
        chart_area[charts.find(face_idx as u32) as usize] += patch.uv_area;
    }
    for (face_idx, patch) in patches.iter().enumerate() {
        let root = charts.find(face_idx as u32) as usize;
        if root == face_idx {
            layout.n_charts += 1;
            layout.n_mirrored_charts += usize::from(chart_area[root] > 0.0);
        }
        layout.n_flipped += usize::from(patch.uv_area * chart_area[root] < 0.0);
    }
    Some(layout)
}

/// Charts as sets of faces, and the length of the seams between them.
fn charts(mesh: &Mesh, welded: &Welded) -> (DisjointSets, f64) {
    let Welded { faces, face_triangles, edges, .. } = welded;
    let uv = |corner: u32| {
        let triangle = mesh.triangles[face_triangles[corner as usize / 3] as usize];
        (mesh.uvs[triangle[corner as usize % 3] as usize] + Vec2::ZERO).to_array().map(f32::to_bits)
    };
    let mut charts = DisjointSets::new(faces.len());
    let mut seam_length = 0.0;
    for users in edges.iter() {
        let mut is_seam = false;
        for pair in users.windows(2) {
            let [(low, high), (other_low, other_high)] = [pair[0].corners(faces), pair[1].corners(faces)];
            if uv(low) == uv(other_low) && uv(high) == uv(other_high) {
                charts.join(pair[0].face(), pair[1].face());
            } else {
                is_seam = true;
            }
        }
        if is_seam {
            let (low, high) = users[0].corners(faces);
            let [p, q] = [low, high].map(|c| mesh.positions[faces[c as usize / 3][c as usize % 3] as usize].as_dvec3());
            let length = p.distance(q);
            seam_length += if length.is_finite() { length } else { 0.0 };
        }
    }
    (charts, seam_length)
}

/// One triangle on the surface and on the texture.
struct Patch {
    area: f64,
    /// Signed, of the unit square.
    uv_area: f64,
    /// Smallest and largest metres per unit of texture; `None` without area on the texture.
    stretch: Option<[f64; 2]>,
}

impl Patch {
    /// Without any area when something is not finite.
    fn new(mesh: &Mesh, triangle: u32) -> Patch {
        let triangle = mesh.triangles[triangle as usize];
        let [a, b, c]: [DVec3; 3] = mesh.corners(triangle).map(|p| p.as_dvec3());
        let [ua, ub, uc]: [DVec2; 3] = triangle.map(|v| mesh.uvs[v as usize].as_dvec2());
        let (e1, e2, u1, u2) = (b - a, c - a, ub - ua, uc - ua);
        let (area, uv_area) = (e1.cross(e2).length() / 2.0, u1.perp_dot(u2) / 2.0);
        if !area.is_finite() || !uv_area.is_finite() {
            return Patch { area: 0.0, uv_area: 0.0, stretch: None };
        }
        // Columns of the Jacobian: the surface's move for a step in u and in v.
        let (su, sv) = ((e1 * u2.y - e2 * u1.y) / (2.0 * uv_area), (e2 * u1.x - e1 * u2.x) / (2.0 * uv_area));
        let (uu, uv, vv) = (su.dot(su), su.dot(sv), sv.dot(sv));
        let root = ((uu - vv).powi(2) + 4.0 * uv * uv).sqrt();
        let stretch = [((uu + vv - root) / 2.0).max(0.0).sqrt(), ((uu + vv + root) / 2.0).sqrt()];
        Patch { area, uv_area, stretch: stretch.iter().all(|s| s.is_finite()).then_some(stretch) }
    }
}

#[cfg(test)]
mod tests {
    use glam::Vec3;

    use super::*;
    use crate::mesh::shapes;

    fn measured(mesh: &Mesh) -> Layout {
        layout(mesh, &Welded::new(mesh), (1024, 1024)).unwrap()
    }

    /// A flat strip of unit quads; `uv` places each corner.
    fn strip(n: u32, uv: impl Fn(f32, f32) -> Vec2) -> Mesh {
        let places = (0..=n).flat_map(|x| [(x as f32, 0.0), (x as f32, 1.0)]);
        let (positions, uvs) = places.map(|(x, y)| (Vec3::new(x, y, 0.0), uv(x, y))).unzip();
        let triangles = (0..n).flat_map(|x| [[2 * x, 2 * x + 2, 2 * x + 3], [2 * x, 2 * x + 3, 2 * x + 1]]).collect();
        Mesh { positions, uvs, triangles, ..Mesh::default() }
    }

    #[test]
    fn an_even_layout_has_no_stretch_and_its_density() {
        let even = measured(&strip(4, |x, y| Vec2::new(x / 4.0, 1.0 - y / 4.0)));
        assert_eq!((even.n_charts, even.n_mirrored_charts, even.n_flipped, even.n_collapsed), (1, 0, 0, 0));
        assert!((even.stretch_l2 - 1.0).abs() < 1e-12 && (even.stretch_max - 1.0).abs() < 1e-12, "{even:?}");
        let Density { min, mean, max, deviation } = even.density;
        // 256 texels for each metre, both ways.
        assert!([min, mean, max].iter().all(|d| (d - 256.0).abs() < 1e-9) && deviation < 1e-6, "{even:?}");
    }

    #[test]
    fn stretch_of_a_squeezed_layout_is_that_of_the_paper() {
        // Half as wide as it should be: singular values a 2 and b 1 times 4; scaled by root 1/2.
        let squeezed = measured(&strip(4, |x, y| Vec2::new(x / 8.0, 1.0 - y / 4.0)));
        assert!((squeezed.stretch_max - 2.0 / 2f64.sqrt()).abs() < 1e-12, "{squeezed:?}");
        assert!((squeezed.stretch_l2 - (2.5f64 / 2.0).sqrt()).abs() < 1e-12, "{squeezed:?}");
        // One quad of four twice as large on the texture as the others, each way.
        let uneven = measured(&strip(4, |x, y| Vec2::new(if x < 4.0 { x } else { 7.0 } / 8.0, 1.0 - y / 4.0)));
        assert!((uneven.density.max / uneven.density.min - 2.0).abs() < 1e-9, "{uneven:?}");
    }

    #[test]
    fn mirrored_flipped_collapsed_and_cut_charts_are_counted() {
        let mirrored = measured(&strip(4, |x, y| Vec2::new(x / 4.0, y / 4.0)));
        assert_eq!((mirrored.n_mirrored_charts, mirrored.n_flipped), (1, 0));
        let folded = measured(&strip(4, |x, y| Vec2::new((if x < 4.0 { x } else { 2.0 }) / 4.0, 1.0 - y / 4.0)));
        assert_eq!((folded.n_mirrored_charts, folded.n_flipped), (0, 2));
        let collapsed = measured(&strip(4, |x, y| Vec2::new(x.min(3.0) / 4.0, 1.0 - y / 4.0)));
        assert_eq!((collapsed.n_collapsed, collapsed.n_flipped), (2, 0));

        let box_ = measured(&shapes::cube());
        // Six faces of side 2 with 12 edges between them.
        assert_eq!((box_.n_charts, box_.n_mirrored_charts), (6, 0));
        assert!((box_.seam_length - 24.0).abs() < 1e-9);
        let ball = measured(&shapes::sphere(32));
        assert_eq!((ball.n_charts, ball.n_mirrored_charts, ball.n_collapsed), (1, 0, 0));
        // One meridian of 32 edges, and the 63 others that end in each pole.
        let seams = 158.0 * 2.0 * (std::f64::consts::PI / 64.0).sin();
        assert!((ball.seam_length - seams).abs() < 1e-4, "{} is not {seams}", ball.seam_length);
    }

    #[test]
    fn no_layout_and_an_unreadable_one_are_told_apart() {
        let mut mesh = strip(2, |_, _| Vec2::NAN);
        let unreadable = measured(&mesh);
        assert_eq!((unreadable.stretch_l2, unreadable.density.mean, unreadable.density.min), (0.0, 0.0, 0.0));
        mesh.uvs.clear();
        assert_eq!(layout(&mesh, &Welded::new(&mesh), (1024, 1024)), None);
    }
}
