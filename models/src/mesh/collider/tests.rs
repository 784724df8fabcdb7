//! Solids with known hulls, inputs without thickness, and shapes with holes.

use glam::{Vec2, Vec3};

use super::*;
use crate::mesh::{test_shapes, topology::topology};

/// Signed distance of the point furthest outside a convex piece, in metres.
fn furthest_outside(piece: &Mesh, points: &[Vec3]) -> f64 {
    points.iter().map(|&p| outside(piece, p)).fold(f64::NEG_INFINITY, f64::max)
}

fn outside(piece: &Mesh, p: Vec3) -> f64 {
    let planes = piece.triangles.iter().map(|&t| {
        let [a, b, c] = piece.corners(t).map(|p| p.as_dvec3());
        (p.as_dvec3() - a).dot((b - a).cross(c - a).normalize())
    });
    planes.fold(f64::NEG_INFINITY, f64::max)
}

fn volume(mesh: &Mesh) -> f64 {
    let corners = |t: &[u32; 3]| mesh.corners(*t).map(|p| (p - mesh.positions[0]).as_dvec3());
    mesh.triangles.iter().map(corners).map(|[a, b, c]| a.dot(b.cross(c)) / 6.0).sum()
}

fn check_convex(piece: &Mesh, what: &str) {
    let t = topology(&piece.positions, &piece.triangles);
    assert!(t.is_watertight() && t.is_manifold() && t.n_components == 1 && t.n_degenerate == 0, "{what}: {t:?}");
    assert_eq!(t.n_vertices, piece.positions.len(), "{what}");
    assert_eq!(piece.triangles.len(), 2 * piece.positions.len() - 4, "{what}: not a sphere");
    assert!(volume(piece) > 0.0, "{what}: volume {}", volume(piece));
    // Planes are normalised in f64: what is left is rounding.
    let size = {
        let (low, high) = piece.bounds().unwrap();
        (high - low).length() as f64
    };
    let dent = furthest_outside(piece, &piece.positions);
    assert!(dent <= 1e-6 * size, "{what}: {dent} m dent");
}

fn random_points(n: usize, seed: u64, place: impl Fn(&mut fastrand::Rng) -> Vec3) -> Vec<Vec3> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| place(&mut random)).collect()
}

fn in_cube(random: &mut fastrand::Rng) -> Vec3 {
    Vec3::new(random.f32(), random.f32(), random.f32()) * 2.0 - 1.0
}

#[test]
fn hull_of_a_subdivided_cube_is_its_eight_corners() {
    let grid: Vec<Vec3> =
        (0..1000).map(|i| Vec3::new((i % 10) as f32, (i / 10 % 10) as f32, (i / 100) as f32)).collect();
    let hull = convex_hull(&grid).unwrap();
    check_convex(&hull, "grid");
    assert_eq!((hull.positions.len(), volume(&hull)), (8, 729.0));
}

#[test]
fn hulls_of_awkward_points_are_convex_and_hold_them_all() {
    for seed in 0..60 {
        let rounded = |random: &mut fastrand::Rng| (in_cube(random) * 3.0).round() / 3.0;
        let on_sphere = |random: &mut fastrand::Rng| in_cube(random).normalize_or(Vec3::X);
        let on_cylinder = |random: &mut fastrand::Rng| {
            let angle = (random.f32() * 16.0).floor() / 16.0 * std::f32::consts::TAU;
            Vec3::new(angle.cos(), random.f32().round(), angle.sin())
        };
        let sets = [
            random_points(4 + seed as usize, seed, in_cube),
            random_points(300, seed, rounded),
            random_points(300, seed, on_sphere),
            random_points(200, seed, on_cylinder),
            random_points(200, seed, |random| Vec3::splat(1000.0) + in_cube(random)),
        ];
        for (i, points) in sets.iter().enumerate() {
            let hull = convex_hull(points).unwrap();
            check_convex(&hull, &format!("set {i} of seed {seed}"));
            let left_out = furthest_outside(&hull, points);
            assert!(left_out < 1e-5, "set {i} of seed {seed}: {left_out} m");
        }
    }
}

#[test]
fn points_without_thickness_get_a_little() {
    let plane = random_points(50, 1, |random| {
        let p = in_cube(random);
        Vec3::new(p.x, p.y, 0.5 * p.x - 0.3 * p.y)
    });
    let line: Vec<Vec3> = (0..5).map(|i| Vec3::new(1.0, 2.0, 3.0) * i as f32).collect();
    for (points, thickness) in [(plane, 0.0025), (line, 0.015), (vec![Vec3::ONE], 1e-4), (vec![Vec3::ZERO; 9], 1e-4)] {
        let hull = convex_hull(&points).unwrap();
        check_convex(&hull, &format!("{} points", points.len()));
        assert!(furthest_outside(&hull, &points) <= 1e-5);
        let depth = points.iter().map(|&p| -outside(&hull, p)).fold(0.0, f64::max);
        assert!((0.3..0.7).contains(&(depth / thickness)), "{depth} m below the faces");
    }
}

#[test]
fn few_vertices_hold_a_sphere_nearly() {
    let ball = random_points(5000, 3, |random| in_cube(random).normalize_or(Vec3::X));
    let mesh = Mesh { positions: ball.clone(), triangles: convex_hull(&ball).unwrap().triangles, ..Mesh::default() };
    let options = ColliderOptions { kind: ColliderKind::Hull, max_pieces: 1, max_vertices_per_piece: 64, error: 0.0 };
    let [hull] = collider(&mesh, &options).unwrap().try_into().unwrap();
    check_convex(&hull, "sphere");
    assert_eq!((hull.positions.len(), hull.triangles.len()), (64, 124));
    // 64 points spread over a sphere leave caps of 0.06 radii; greedy spreading is within twice that.
    assert!(furthest_outside(&hull, &ball) < 0.12);
    let [rough] = collider(&mesh, &ColliderOptions { error: 0.15, ..options }).unwrap().try_into().unwrap();
    assert!(rough.positions.len() < 64 && furthest_outside(&rough, &ball) <= 0.15);
}

#[test]
fn a_ring_is_decomposed_around_its_hole() {
    let ring = test_shapes::ring(0.5, 0.15, 8);
    let options =
        ColliderOptions { kind: ColliderKind::Decomposition, max_pieces: 12, max_vertices_per_piece: 128, error: 0.01 };
    let pieces = collider(&ring, &options).unwrap();
    assert!((4..=12).contains(&pieces.len()), "{} pieces", pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        check_convex(piece, &format!("piece {i}"));
        assert!(piece.positions.len() <= 128);
        assert!(outside(piece, Vec3::ZERO) > 0.1, "piece {i} fills the hole");
    }
    for &p in &ring.positions {
        let nearest = pieces.iter().map(|piece| outside(piece, p)).fold(f64::INFINITY, f64::min);
        assert!(nearest < 0.0101, "{p} is {nearest} m outside");
    }
    assert!(collider(&ring, &options).unwrap() == pieces, "not reproducible");
}

#[test]
fn pieces_stay_within_the_budget() {
    let ring = test_shapes::ring(0.5, 0.1, 6);
    for max_pieces in [1, 2, 3, 7] {
        let options =
            ColliderOptions { kind: ColliderKind::Decomposition, max_pieces, max_vertices_per_piece: 16, error: 0.001 };
        let pieces = collider(&ring, &options).unwrap();
        assert!(!pieces.is_empty() && pieces.len() <= max_pieces);
        pieces.iter().for_each(|piece| check_convex(piece, &format!("{max_pieces} pieces")));
    }
}

#[test]
fn a_convex_mesh_is_one_piece() {
    let cube = test_shapes::cuboid(Vec3::new(5.0, 1.0, 0.0), Vec3::new(1.0, 0.5, 2.0));
    let options =
        ColliderOptions { kind: ColliderKind::Decomposition, max_pieces: 8, max_vertices_per_piece: 64, error: 0.02 };
    let [piece] = collider(&cube, &options).unwrap().try_into().unwrap();
    check_convex(&piece, "cube");
    assert!((volume(&piece) - 8.0).abs() < 1e-3 && furthest_outside(&piece, &cube.positions) < 1e-5);
}

#[test]
fn flat_and_tiny_meshes_become_thin_boxes() {
    let lens = test_shapes::lens(Vec2::new(1.0, 0.5), 0.0, 4);
    let tiny = test_shapes::cuboid(Vec3::ONE, Vec3::splat(1e-6));
    for kind in [ColliderKind::Hull, ColliderKind::Decomposition] {
        let options = ColliderOptions { kind, max_pieces: 8, max_vertices_per_piece: 64, error: 0.0 };
        for mesh in [&lens, &tiny] {
            let [piece] = collider(mesh, &options).unwrap().try_into().unwrap();
            check_convex(&piece, "thin");
        }
    }
}

#[test]
fn refuses_what_has_no_collider() {
    let cube = test_shapes::cuboid(Vec3::ZERO, Vec3::ONE);
    let options = ColliderOptions { kind: ColliderKind::Hull, max_pieces: 1, max_vertices_per_piece: 64, error: 0.0 };
    let message = |mesh: &Mesh, options: &ColliderOptions| collider(mesh, options).unwrap_err().message;
    assert_eq!(message(&Mesh::default(), &options), "0 points have no hull");
    assert!(message(&Mesh { triangles: vec![], ..cube.clone() }, &options).contains("0 triangles"));
    assert!(message(&Mesh { triangles: vec![[0, 1, 99]], ..cube.clone() }, &options).contains("corner 99"));
    let mut holey = cube.clone();
    holey.positions[3].y = f32::NAN;
    assert!(message(&holey, &options).contains("vertex 3"));
    assert!(message(&cube, &ColliderOptions { max_pieces: 0, ..options }).contains("0 pieces"));
    assert!(message(&cube, &ColliderOptions { max_vertices_per_piece: 3, ..options }).contains("3 vertices"));
    assert!(message(&cube, &ColliderOptions { error: f32::NAN, ..options }).contains("NaN m"));
}
