//! Maps that no material needs, made on request for texturing tools and shaders.

use glam::Vec3;

use crate::mesh::{Mesh, topology::weld_map};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Mean curvature of the high surface: 0.5 flat, brighter on ridges, darker in
    /// grooves; a sphere of 1/40 of the diagonal's radius is white.
    Curvature,
    /// How far the high surface is above the low one along its normal: 0.5 none, white
    /// one cage above, black one cage below.
    Height,
    /// Mean distance through the body against the normal, by the cosine law;
    /// white is the longest side of the high mesh's bounding box.
    Thickness,
    /// Where the high surface is within the low mesh's bounding box, from its lowest corner, in
    /// units of its longest side: x, y, z in R, G, B.
    Position,
    /// (n + 1) / 2 of the high surface's normal in the space of the mesh.
    ObjectNormal,
    /// A colour for each material of the high mesh: hues as far apart as can be, in the order of the
    /// golden angle. Between charts colours are mixed.
    MaterialId,
}

impl Extra {
    pub const ALL: &[Extra] =
        &[Extra::Curvature, Extra::Height, Extra::Thickness, Extra::Position, Extra::ObjectNormal, Extra::MaterialId];

    /// Its name in `Maps::extra`.
    pub fn id(self) -> &'static str {
        match self {
            Extra::Curvature => "curvature",
            Extra::Height => "height",
            Extra::Thickness => "thickness",
            Extra::Position => "position",
            Extra::ObjectNormal => "object-normal",
            Extra::MaterialId => "material-id",
        }
    }

    pub(super) fn needs_rays(self) -> bool {
        matches!(self, Extra::Thickness)
    }
}

/// Radius, relative to the mesh's diagonal, of the sphere whose curvature is white.
pub const SHARPEST: f32 = 1.0 / 40.0;

/// Mean curvature at each vertex, in 1/metre, positive where the surface bulges: how fast
/// the normal turns along each edge, averaged. Vertices without edges have 0.
pub fn curvatures(mesh: &Mesh, normals: &[Vec3]) -> Vec<f32> {
    let weld = weld_map(&mesh.positions);
    let mut sums = vec![(0.0f32, 0u32); mesh.positions.len()];
    for triangle in &mesh.triangles {
        for k in 0..3 {
            let [a, b] = [triangle[k] as usize, triangle[(k + 1) % 3] as usize];
            let edge = mesh.positions[b] - mesh.positions[a];
            let turn = (normals[b] - normals[a]).dot(edge) / edge.length_squared();
            if turn.is_finite() {
                for v in [a, b] {
                    let (sum, n) = &mut sums[weld[v] as usize];
                    *sum += turn;
                    *n += 1;
                }
            }
        }
    }
    weld.iter().map(|&v| sums[v as usize]).map(|(sum, n)| sum / n.max(1) as f32).collect()
}

/// The colour, 0..=1, of a material's index.
pub fn material_color(index: u32) -> Vec3 {
    // The golden angle, as a share of the circle, keeps any number of hues apart.
    let hue = (f64::from(index) * 0.618_033_988_749_895).fract() as f32 * 6.0;
    let channel = |offset: f32| ((hue + offset).rem_euclid(6.0) - 3.0).abs() - 1.0;
    Vec3::new(channel(0.0), channel(4.0), channel(2.0)).clamp(Vec3::ZERO, Vec3::ONE)
}

#[cfg(test)]
mod tests {
    use glam::Vec2;

    use super::*;
    use crate::mesh::test_shapes::lens;

    #[test]
    fn a_sphere_curves_by_one_over_its_radius() {
        let ball = lens(Vec2::splat(0.4), 0.4, 32);
        let normals: Vec<Vec3> = ball.positions.iter().map(|p| p.normalize()).collect();
        for curvature in curvatures(&ball, &normals) {
            assert!((curvature - 2.5).abs() < 0.01, "{curvature}");
        }
        let inwards: Vec<Vec3> = normals.iter().map(|n| -*n).collect();
        assert!(curvatures(&ball, &inwards).iter().all(|c| (c + 2.5).abs() < 0.01));
    }

    #[test]
    fn the_first_materials_have_colours_that_can_be_told_apart() {
        let colors: Vec<Vec3> = (0..8).map(material_color).collect();
        for (i, a) in colors.iter().enumerate() {
            assert!(colors[..i].iter().all(|b| a.distance(*b) > 0.25), "{i}: {colors:?}");
        }
    }
}
