//! Comparisons with known answers.

use super::*;
use crate::mesh::{shapes, test_shapes::cuboid};

fn moved(mesh: &Mesh, scale: f32, by: Vec3) -> Mesh {
    Mesh { positions: mesh.positions.iter().map(|p| *p * scale + by).collect(), ..mesh.clone() }
}

/// A square of side 1 in the plane z = 0.
fn square() -> Mesh {
    Mesh {
        positions: vec![Vec3::ZERO, Vec3::X, Vec3::new(1.0, 1.0, 0.0), Vec3::Y],
        triangles: vec![[0, 1, 2], [0, 2, 3]],
        ..Mesh::default()
    }
}

#[test]
fn a_mesh_is_no_distance_from_itself() {
    let found = compare(&shapes::torus(20, 0.3), &shapes::torus(20, 0.3), 2000, 1).unwrap();
    // Samples are rounded to f32: 1e-7 of a metre.
    assert!(found.distances.max < 2e-7 && found.distances.f_score == [1.0; 3], "{found:?}");
    assert!(found.distances.normal_consistency > 0.9999, "{found:?}");
    assert_eq!((found.silhouette_iou, found.area_ratio, found.volume_ratio), (1.0, 1.0, Some(1.0)));
}

#[test]
fn a_shifted_plane_is_off_by_its_shift_and_f_scores_jump_at_it() {
    let a = square();
    let diagonal = 2f64.sqrt();
    for (shift, f_score) in [(0.005, [1.0, 1.0, 1.0]), (0.015, [0.0, 1.0, 1.0]), (0.03, [0.0, 0.0, 1.0])] {
        let shift = (shift * diagonal) as f32;
        let found = distances(&a, &moved(&a, 1.0, Vec3::Z * shift), 500, 3).unwrap();
        let exact = f64::from(shift);
        assert!((found.chamfer() - exact).abs() < 1e-8 && (found.max - exact).abs() < 1e-8, "{found:?}");
        assert_eq!(found.f_score, f_score);
        assert_eq!(found.normal_consistency, 1.0);
    }
}

#[test]
fn balls_of_two_sizes_are_off_by_the_difference_of_their_radii() {
    let (a, b) = (shapes::sphere(64), moved(&shapes::sphere(64), 1.1, Vec3::ZERO));
    let found = compare(&a, &b, 5000, 1).unwrap();
    // The sheets of the two polyhedra are parallel, between vertices slightly nearer.
    let d = found.distances;
    assert!((d.chamfer() - 0.1).abs() < 3e-4 && (d.max - 0.1).abs() < 3e-4, "{d:?}");
    assert!(d.normal_consistency > 0.999, "{d:?}");
    assert!((found.area_ratio - 1.21).abs() < 1e-5 && (found.volume_ratio.unwrap() - 1.331).abs() < 1e-5);
    assert!((found.silhouette_iou - 1.0 / 1.21).abs() < 2e-3, "{found:?}");
}

#[test]
fn what_is_missing_shows_in_one_direction_only() {
    // A box and the same box with a second one far off.
    let one = cuboid(Vec3::ZERO, Vec3::ONE);
    let mut two = one.clone();
    let far = cuboid(Vec3::new(10.0, 0.0, 0.0), Vec3::splat(0.5));
    two.triangles.extend(far.triangles.iter().map(|t| t.map(|v| v + 8)));
    two.positions.extend(far.positions);
    let found = distances(&one, &two, 4000, 1).unwrap();
    assert!(found.mean_forth < 1e-7, "{found:?}");
    // A fifth of the area lies 9 away in the mean; Hausdorff's is to a far corner.
    assert!((found.mean_back - 9.0 / 5.0).abs() < 0.05, "{found:?}");
    assert!((found.max - 9.5).abs() < 1e-6, "{found:?}");
    // Precision 1, recall 4/5.
    assert!((found.f_score[0] - 1.6 / 1.8).abs() < 1e-3, "{found:?}");
}

#[test]
fn right_angles_have_no_normals_in_common() {
    let upright = Mesh { positions: square().positions.iter().map(|p| Vec3::new(0.5, p.x, p.y)).collect(), ..square() };
    assert_eq!(distances(&square(), &upright, 300, 1).unwrap().normal_consistency, 0.0);
    let turned = Mesh { triangles: square().triangles.iter().map(|&[a, b, c]| [a, c, b]).collect(), ..square() };
    assert_eq!(distances(&square(), &turned, 300, 1).unwrap().normal_consistency, 1.0, "winding does not count");
}

#[test]
fn nothing_cannot_be_compared_and_threads_do_not_matter() {
    assert_eq!(compare(&square(), &Mesh::default(), 10, 1), None);
    assert_eq!(compare(&Mesh::default(), &square(), 10, 1), None);
    let point = Mesh { positions: vec![Vec3::ONE; 3], triangles: vec![[0, 1, 2]], ..Mesh::default() };
    assert_eq!(compare(&square(), &point, 10, 1), None);
    let mut broken = shapes::sphere(12);
    broken.positions[30] = Vec3::NAN;
    let on = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| compare(&shapes::torus(12, 0.5), &broken, 3000, 5))
    };
    let alone = on(1);
    assert!(alone.unwrap().distances.chamfer() > 0.1);
    assert_eq!(alone, on(3));
}
