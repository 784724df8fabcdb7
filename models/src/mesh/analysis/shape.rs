//! The shapes of a mesh's triangles.

use glam::{DVec3, Vec3};

use crate::mesh::Mesh;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shape {
    /// In square metres.
    pub area: f64,
    /// In cubic metres; negative when the surface is inside out. Means something
    /// where it is closed.
    pub volume: f64,
    /// Smallest and largest corner of what triangles use and is finite.
    pub bounds: (Vec3, Vec3),
    /// Triangles with a corner that is infinite or not a number. They have no part in the rest.
    pub n_not_finite: usize,
    /// Means over triangles with area: longest edge over the height of an
    /// equilateral triangle of the same inscribed circle. 1 for equilateral ones.
    pub mean_aspect: f64,
    pub max_aspect: f64,
    /// Triangles with a larger aspect than allowed, those without area included.
    pub n_slivers: usize,
    /// In metres.
    pub mean_edge: f64,
    pub max_edge: f64,
}

/// `max_aspect`: triangles up to that are no slivers.
pub fn shape(mesh: &Mesh, max_aspect: f64) -> Shape {
    let (area, volume) = area_and_volume(mesh);
    let mut shape = Shape { area, volume, ..Shape::default() };
    let (mut low, mut high) = (Vec3::splat(f32::INFINITY), Vec3::splat(f32::NEG_INFINITY));
    let (mut sum, mut n_with_area, mut edges) = (0.0, 0usize, 0.0);
    for &triangle in &mesh.triangles {
        let corners = mesh.corners(triangle);
        if !corners.iter().all(|p| p.is_finite()) {
            shape.n_not_finite += 1;
            continue;
        }
        for p in corners {
            low = low.min(p);
            high = high.max(p);
        }
        let [a, b, c] = corners.map(Vec3::as_dvec3);
        let lengths = [(b - a).length(), (c - b).length(), (a - c).length()];
        let perimeter: f64 = lengths.iter().sum();
        let longest = lengths.into_iter().fold(0.0, f64::max);
        edges += perimeter;
        shape.max_edge = shape.max_edge.max(longest);
        let double_area = (b - a).cross(c - a).length();
        // Inscribed radius: twice the area over the perimeter.
        let aspect = longest * perimeter / (double_area * 2.0 * 3f64.sqrt());
        if aspect.is_finite() {
            sum += aspect;
            n_with_area += 1;
            shape.max_aspect = shape.max_aspect.max(aspect);
        }
        // NaN, from a triangle that is a point, is a sliver too.
        if aspect.is_nan() || aspect > max_aspect {
            shape.n_slivers += 1;
        }
    }
    let n_finite = mesh.triangles.len() - shape.n_not_finite;
    if n_finite > 0 {
        shape.bounds = (low, high);
        shape.mean_edge = edges / (3 * n_finite) as f64;
    }
    shape.mean_aspect = sum / n_with_area.max(1) as f64;
    shape
}

/// Area in square metres and signed volume in cubic metres; the volume means
/// something where the surface is closed. Corners that are not finite count as
/// nothing. Sums run in f64 around the first vertex, in the order of the mesh.
pub fn area_and_volume(mesh: &Mesh) -> (f64, f64) {
    let origin = mesh.positions.iter().find(|p| p.is_finite()).copied().unwrap_or_default().as_dvec3();
    let (mut area, mut volume) = (0.0, 0.0);
    for &triangle in &mesh.triangles {
        let [a, b, c]: [DVec3; 3] = mesh.corners(triangle).map(|p| p.as_dvec3() - origin);
        let double = (b - a).cross(c - a);
        if double.is_finite() {
            area += double.length() / 2.0;
            volume += a.dot(b.cross(c)) / 6.0;
        }
    }
    (area, volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::shapes;

    fn one(corners: [Vec3; 3]) -> Shape {
        shape(&Mesh { positions: corners.to_vec(), triangles: vec![[0, 1, 2]], ..Mesh::default() }, 10.0)
    }

    #[test]
    fn aspect_is_one_for_equilateral_triangles_and_grows_with_thinness() {
        let equilateral = one([Vec3::ZERO, Vec3::X, Vec3::new(0.5, 0.75f32.sqrt(), 0.0)]);
        assert!((equilateral.mean_aspect - 1.0).abs() < 1e-6, "{equilateral:?}");
        // Legs 3 and 4: inscribed radius 1, longest edge 5.
        let right = one([Vec3::ZERO, Vec3::X * 3.0, Vec3::Y * 4.0]);
        assert!((right.mean_aspect - 5.0 / (2.0 * 3f64.sqrt())).abs() < 1e-6, "{right:?}");
        assert!((right.area - 6.0).abs() < 1e-9 && (right.mean_edge - 4.0).abs() < 1e-9 && right.max_edge == 5.0);
        let thin = one([Vec3::ZERO, Vec3::X, Vec3::new(0.5, 0.01, 0.0)]);
        assert!(thin.max_aspect > 50.0 && thin.n_slivers == 1, "{thin:?}");
    }

    #[test]
    fn triangles_without_area_or_numbers_stay_apart() {
        let flat = one([Vec3::ZERO, Vec3::X, Vec3::X * 2.0]);
        assert_eq!((flat.n_slivers, flat.max_aspect, flat.mean_aspect), (1, 0.0, 0.0));
        assert_eq!(one([Vec3::ONE; 3]).n_slivers, 1);
        let mut ball = shapes::sphere(16);
        let sound = shape(&ball, 10.0);
        ball.positions.push(Vec3::new(f32::NAN, 1.0, 1.0));
        ball.triangles.push([0, 1, ball.positions.len() as u32 - 1]);
        assert_eq!(shape(&ball, 10.0), Shape { n_not_finite: 1, ..sound });
        assert_eq!(sound.bounds, (-Vec3::ONE, Vec3::ONE));
        let exact = 4.0 * std::f64::consts::PI / 3.0;
        assert!(sound.volume < exact && sound.volume > 0.97 * exact, "{}", sound.volume);
    }
}
