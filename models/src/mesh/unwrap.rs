//! Texture coordinates: a mesh in, the same surface cut into charts out.
//!
//! `planar` serves solids that are one height field seen from the front and one
//! from the back. It cuts along the outline (`sides`), lays each half out flat
//! (`relax`), and packs the charts (`pack`). `atlas` serves any surface.

mod adjacency;
pub mod atlas;
mod flatten;
mod merge;
mod overlap;
mod pack;
mod relax;
mod sides;

use glam::{DVec2, DVec3, Vec2, Vec3};

use super::{Mesh, topology};

/// How to lay out a mesh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanarOptions {
    /// Free space between charts and around them, relative to the texture's side.
    /// At most 1/16; halved while thousands of charts would not fit otherwise.
    pub padding: f64,
    /// How much texture the steep rim gets. At 0 charts are what the front view
    /// shows: the picture's pixels map one to one, and the texture is stretched
    /// over the rim by one over the cosine of its slope. At 1 texels are spread
    /// as evenly over the true surface as the fixed outline allows.
    pub spread: f64,
}

/// The mesh is not two height fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotTwoHeightFields {
    /// Share of the surface that hides behind other parts of its own side, 0..=1.
    pub hidden: f64,
}

/// Largest share of the surface that may hide behind its own side. Simplified
/// outlines have slivers that fold over; these get small charts of their own.
pub const MAX_HIDDEN: f64 = 0.02;

/// A direction to look from.
struct View {
    /// From the surface to the eye.
    towards: Vec3,
    right: Vec3,
    down: Vec3,
}

/// Front and back first.
static VIEWS: [View; 6] = [
    View { towards: Vec3::Z, right: Vec3::X, down: Vec3::NEG_Y },
    View { towards: Vec3::NEG_Z, right: Vec3::NEG_X, down: Vec3::NEG_Y },
    View { towards: Vec3::X, right: Vec3::NEG_Z, down: Vec3::NEG_Y },
    View { towards: Vec3::NEG_X, right: Vec3::Z, down: Vec3::NEG_Y },
    View { towards: Vec3::Y, right: Vec3::X, down: Vec3::Z },
    View { towards: Vec3::NEG_Y, right: Vec3::X, down: Vec3::NEG_Z },
];

/// A mesh without doubled vertices, and what is known about it.
struct Surface<'a> {
    positions: &'a [Vec3],
    faces: &'a [[u32; 3]],
    /// See `adjacency::neighbours`.
    neighbours: &'a [[u32; 3]],
    /// Of each face, as long as twice its area.
    normals: &'a [DVec3],
}

/// Faces on one piece of the texture.
struct Chart {
    /// Indices of triangles.
    faces: Vec<u32>,
    /// For each face its corners, in chart coordinates: metres, v down.
    corners: Vec<[DVec2; 3]>,
}

/// The mesh with texture coordinates: a front and a back chart at the same
/// texel density, the back as seen from behind. Vertices along the cut are
/// doubled with bit-equal positions and normals; triangles keep their order.
///
/// No triangle is flipped or flat in the texture unless it is flat in space,
/// none overlaps another, and all lie within 0..=1 less the padding.
pub fn planar(mesh: &Mesh, options: &PlanarOptions) -> Result<Mesh, NotTwoHeightFields> {
    let weld = topology::weld_map(&mesh.positions);
    let faces: Vec<[u32; 3]> = mesh.triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
    let surface = Surface {
        positions: &mesh.positions,
        faces: &faces,
        neighbours: &adjacency::neighbours(&faces),
        normals: &mesh.triangles.iter().map(|t| doubled_area(mesh.corners(*t))).collect::<Vec<_>>(),
    };
    let front = sides::split(&surface);
    let side = |view: &View, is_front: bool| {
        let members = (0..faces.len() as u32).filter(|&f| front[f as usize] == is_front).collect();
        let mut chart = relax::lay_out(&surface, members, view, options.spread);
        let detached = overlap::take_bad_faces(&mut chart, &surface);
        (chart, detached)
    };
    let ((front, mut detached), (back, more)) = rayon::join(|| side(&VIEWS[0], true), || side(&VIEWS[1], false));
    detached.extend(more);
    let total: f64 = surface.normals.iter().map(|n| n.length()).sum();
    // Walls are no fault: they are seen edge on.
    let hidden: f64 = detached.iter().map(|f| surface.normals[*f as usize].z.abs()).sum();
    if hidden > MAX_HIDDEN * total {
        return Err(NotTwoHeightFields { hidden: hidden / total });
    }

    let mut charts = vec![front, back];
    for (view, members) in sides::group_by_view(&surface, &detached) {
        let mut chart = relax::lay_out(&surface, members, view, 0.0);
        let alone = overlap::take_bad_faces(&mut chart, &surface);
        charts.push(chart);
        charts.extend(alone.iter().map(|&f| own_chart(mesh, f)));
    }
    charts.retain(|chart| !chart.faces.is_empty());
    pack::pack(&mut charts, options.padding);
    Ok(rebuild(mesh, &weld, &charts))
}

/// One triangle on its own, true to size and seen from outside.
fn own_chart(mesh: &Mesh, face: u32) -> Chart {
    let [a, b, c] = mesh.corners(mesh.triangles[face as usize]).map(|p| p.as_dvec3());
    let along = (b - a).normalize_or_zero();
    let foot = along * along.dot(c - a);
    let corners =
        [DVec2::ZERO, DVec2::new((b - a).length(), 0.0), DVec2::new(along.dot(c - a), -(c - a - foot).length())];
    Chart { faces: vec![face], corners: vec![corners] }
}

/// Mesh with the charts' corners as texture coordinates. A vertex is shared
/// where position, normal, colour and texture coordinate agree.
fn rebuild(mesh: &Mesh, weld: &[u32], charts: &[Chart]) -> Mesh {
    let mut out = Mesh { front: mesh.front, triangles: vec![[0; 3]; mesh.triangles.len()], ..Mesh::default() };
    let mut corner_uvs = vec![[Vec2::ZERO; 3]; mesh.triangles.len()];
    for chart in charts {
        for (&face, corners) in chart.faces.iter().zip(&chart.corners) {
            corner_uvs[face as usize] = corners.map(|c| c.as_vec2());
        }
    }
    // For each position the vertices made of it so far.
    let mut made: Vec<Vec<u32>> = vec![Vec::new(); mesh.positions.len()];
    for (face, uvs) in corner_uvs.into_iter().enumerate() {
        for (k, uv) in uvs.into_iter().enumerate() {
            let v = mesh.triangles[face][k] as usize;
            let normal = mesh.normals.get(v);
            let made = &mut made[weld[v] as usize];
            let same = |&&m: &&u32| {
                let m = m as usize;
                out.uvs[m] == uv && out.normals.get(m) == normal && out.colors.get(m) == mesh.colors.get(v)
            };
            out.triangles[face][k] = made.iter().find(same).copied().unwrap_or_else(|| {
                let vertex = out.positions.len() as u32;
                out.positions.push(mesh.positions[weld[v] as usize]);
                out.normals.extend(normal);
                out.colors.extend(mesh.colors.get(v));
                out.uvs.push(uv);
                made.push(vertex);
                vertex
            });
        }
    }
    out
}

/// Area in a chart: positive for triangles that are seen from outside (v runs down).
fn signed_area([a, b, c]: [DVec2; 3]) -> f64 {
    (c - a).perp_dot(b - a) / 2.0
}

/// The normal, as long as twice the area.
fn doubled_area(corners: [Vec3; 3]) -> DVec3 {
    let [a, b, c] = corners.map(|p| p.as_dvec3());
    (b - a).cross(c - a)
}

/// Smallest and largest coordinates; zero without points.
fn bounds(points: &[DVec2]) -> (DVec2, DVec2) {
    let first = points.first().copied().unwrap_or_default();
    points.iter().fold((first, first), |(low, high), p| (low.min(*p), high.max(*p)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{
        test_shapes::{cuboid, lens, ring},
        topology::topology,
        uv::measure,
    };

    const OPTIONS: PlanarOptions = PlanarOptions { padding: 8.0 / 1024.0, spread: 0.5 };

    fn uv_area(mesh: &Mesh, t: [u32; 3]) -> f64 {
        signed_area(t.map(|v| mesh.uvs[v as usize].as_dvec2()))
    }

    /// What every unwrapped mesh must be.
    pub(super) fn check(before: &Mesh, after: &Mesh, padding: f32) {
        assert_eq!(before.triangles.len(), after.triangles.len());
        for (a, b) in before.triangles.iter().zip(&after.triangles) {
            assert_eq!(before.corners(*a), after.corners(*b));
            if !before.normals.is_empty() {
                assert_eq!(a.map(|v| before.normals[v as usize]), b.map(|v| after.normals[v as usize]));
            }
        }
        let (was, is) = [before, after].map(|m| topology(&m.positions, &m.triangles)).into();
        assert_eq!(was, is);
        assert_eq!(after.uvs.len(), after.positions.len());
        assert!(after.uvs.iter().all(|uv| uv.min_element() >= padding && uv.max_element() <= 1.0 - padding));
        let n_flipped = after.triangles.iter().filter(|t| uv_area(after, **t) <= 0.0).count();
        assert_eq!(n_flipped, 0, "flipped triangles");
        for size in [512, 2048] {
            assert_eq!(measure(&after.uvs, &after.triangles, size).overlap, 0.0, "at {size}");
        }
    }

    fn stretch(mesh: &Mesh) -> (f64, f64) {
        let mut ratios: Vec<f64> =
            mesh.triangles.iter().map(|t| doubled_area(mesh.corners(*t)).length() / uv_area(mesh, *t)).collect();
        ratios.sort_by(f64::total_cmp);
        (ratios[ratios.len() / 2], ratios[ratios.len() - 1])
    }

    #[test]
    fn a_lens_becomes_two_charts_without_flips_or_overlap() {
        let solid = lens(Vec2::new(0.3, 0.5), 0.2, 24);
        let flat = planar(&solid, &PlanarOptions { spread: 0.0, ..OPTIONS }).unwrap();
        check(&solid, &flat, 0.0078);
        let relaxed = planar(&solid, &OPTIONS).unwrap();
        check(&solid, &relaxed, 0.0078);
        // Only the rim is doubled.
        assert_eq!(relaxed.positions.len(), solid.positions.len() + 6 * 24);
        let ((_, flat), (_, relaxed)) = (stretch(&flat), stretch(&relaxed));
        assert!(relaxed < flat / 2.0, "largest stretch {flat} fell only to {relaxed}");
    }

    #[test]
    fn a_ring_keeps_its_hole() {
        let solid = ring(0.35, 0.1, 10);
        let unwrapped = planar(&solid, &OPTIONS).unwrap();
        check(&solid, &unwrapped, 0.0078);
        let covered = measure(&unwrapped.uvs, &unwrapped.triangles, 512).coverage;
        // Two annuli in a square of 2 by 1, half of which is free.
        let (outer, inner) = (0.45, 0.25);
        let share = std::f64::consts::PI * (outer * outer - inner * inner) / (4.0 * outer * outer) / 2.0;
        assert!((covered / share - 1.0).abs() < 0.06, "{covered}");
    }

    #[test]
    fn walls_get_texture_too() {
        let solid = cuboid(Vec3::new(0.0, 0.5, 0.0), Vec3::new(0.5, 0.5, 0.1));
        let unwrapped = planar(&solid, &OPTIONS).unwrap();
        check(&solid, &unwrapped, 0.0078);
    }

    #[test]
    fn wide_and_tall_objects_use_the_texture_alike() {
        let covered = |half_axes| {
            let unwrapped = planar(&lens(half_axes, 0.1, 16), &OPTIONS).unwrap();
            measure(&unwrapped.uvs, &unwrapped.triangles, 512).coverage
        };
        let (tall, wide) = (covered(Vec2::new(0.25, 0.5)), covered(Vec2::new(0.5, 0.25)));
        assert!((tall - wide).abs() < 0.02 && tall > 0.7, "{tall}, {wide}");
    }

    #[test]
    fn a_surface_in_front_of_itself_is_refused() {
        let mut mesh = lens(Vec2::splat(0.5), 0.1, 8);
        let n = mesh.positions.len() as u32;
        let behind = lens(Vec2::splat(0.4), 0.1, 8);
        mesh.positions.extend(behind.positions.iter().map(|p| *p - Vec3::Z));
        mesh.normals.extend(&behind.normals);
        mesh.triangles.extend(behind.triangles.iter().map(|t| t.map(|v| v + n)));
        let refused = planar(&mesh, &OPTIONS).unwrap_err();
        assert!(refused.hidden > 0.2, "{refused:?}");
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert_eq!(planar(&Mesh::default(), &OPTIONS).unwrap(), Mesh::default());
    }
}
