//! Shapes with known answers, and thousands of random fields.

use std::{f64::consts::PI, sync::Mutex};

use glam::{DVec3, Vec3};

use super::*;
use crate::{
    StageErrorKind,
    mesh::topology::{Topology, topology},
};

const UNIT: (Vec3, Vec3) = (Vec3::NEG_ONE, Vec3::ONE);

fn surface(field: impl Fn(Vec3) -> f32 + Sync, options: &IsoOptions) -> (Mesh, IsoStats) {
    iso_surface(&|points| Ok(points.iter().map(|&p| field(p)).collect()), options, &|_, _| Ok(())).unwrap()
}

/// Of a signed distance, negative inside.
fn options(resolution: u32) -> IsoOptions {
    IsoOptions { edge_steps: 0, ..IsoOptions::new(UNIT, resolution, 0.0, Inside::Below) }
}

fn check_closed(mesh: &Mesh, what: &str) -> Topology {
    let t = topology(&mesh.positions, &mesh.triangles);
    let ok = t.n_border_edges == 0 && t.is_manifold() && t.n_degenerate == 0 && t.n_vertices == mesh.positions.len();
    assert!(ok, "{what}: {t:?} of {} vertices", mesh.positions.len());
    t
}

fn euler(t: &Topology) -> i64 {
    t.n_vertices as i64 - t.n_triangles as i64 / 2
}

fn volume_and_area(mesh: &Mesh) -> (f64, f64) {
    let origin = mesh.positions.first().copied().unwrap_or_default();
    mesh.triangles.iter().fold((0.0, 0.0), |(volume, area), &t| {
        let [a, b, c] = mesh.corners(t).map(|p| (p - origin).as_dvec3());
        (volume + a.dot(b.cross(c)) / 6.0, area + (b - a).cross(c - a).length() / 2.0)
    })
}

fn sphere(p: Vec3) -> f32 {
    p.length() - 0.7
}

fn torus(p: Vec3) -> f32 {
    Vec3::new(p.truncate().length() - 0.6, p.z, 0.0).length() - 0.23
}

/// Noise with values -1..1, the same for the same seed and index.
fn noise(seed: u64, index: u64) -> f32 {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9) ^ index.wrapping_mul(0x85eb_ca6b));
    random.f32() * 2.0 - 1.0
}

#[test]
fn sphere_has_its_area_and_volume() {
    for newton_steps in [0, 2] {
        let (mesh, stats) = surface(sphere, &IsoOptions { newton_steps, ..options(64) });
        assert_eq!(euler(&check_closed(&mesh, "sphere")), 2);
        let (volume, area) = volume_and_area(&mesh);
        let r = 0.7f64;
        // Chords within cells of diagonal sqrt(3) h fall short of the sphere by 3 h^2 / (8 r) at most.
        let h = 2.0 / 64.0;
        let short = 3.0 * h * h / (8.0 * r) / r;
        assert!((volume / (4.0 / 3.0 * PI * r.powi(3)) - 1.0).abs() < 3.0 * short, "volume {volume}");
        assert!((area / (4.0 * PI * r * r) - 1.0).abs() < 2.0 * short, "area {area}");
        assert_eq!(stats.n_triangles as usize, mesh.triangles.len());
        assert!(stats.n_points < stats.n_dense_points / 8, "{stats:?}");
        if newton_steps > 0 {
            let off = mesh.positions.iter().map(|&p| sphere(p).abs()).fold(0.0, f32::max);
            assert!((off as f64) < 1e-3 * h, "{off} m off the sphere");
        }
    }
}

#[test]
fn torus_has_one_handle() {
    let (mesh, _) = surface(torus, &options(48));
    let t = check_closed(&mesh, "torus");
    assert_eq!((euler(&t), t.n_components), (0, 1));
}

#[test]
fn inside_above_gives_the_same_solid_as_inside_below_of_the_negative() {
    let (below, _) = surface(torus, &options(24));
    let (above, _) = surface(|p| -torus(p), &IsoOptions { inside: Inside::Above, ..options(24) });
    assert_eq!(below, above);
    assert!(volume_and_area(&below).0 > 0.0);
}

#[test]
fn blobs_that_touch_in_ambiguous_cells_are_manifold() {
    for shift in 0..40 {
        let centre = Vec3::new(0.31, 0.29, 0.3 + shift as f32 * 0.002);
        let blobs = |p: Vec3| {
            let bump = |c: Vec3| (-(p - c).length_squared() * 12.0).exp();
            bump(centre) + bump(-centre)
        };
        let (mesh, _) = surface(blobs, &IsoOptions { level: 0.22, inside: Inside::Above, ..options(12) });
        check_closed(&mesh, &format!("blobs {shift}"));
    }
}

#[test]
fn surfaces_that_leave_the_bounds_are_capped() {
    let bounds = (Vec3::new(-0.4, -0.5, -0.3), Vec3::new(0.5, 0.4, 0.47));
    let (mesh, _) = surface(sphere, &IsoOptions { bounds, ..options(20) });
    let t = check_closed(&mesh, "cut sphere");
    assert_eq!(euler(&t), 2);
    // The bounds lie within the sphere, but for their corners.
    let (low, high) = mesh.bounds().unwrap();
    let h = 0.9 / 20.0;
    assert!((low - bounds.0).abs().max_element() < h / 512.0 && (high - bounds.1).max_element() < 1.01 * h);
    let (whole, _) = surface(|_| -1.0, &IsoOptions { bounds: UNIT, ..options(10) });
    let (volume, area) = volume_and_area(&whole);
    assert_eq!(euler(&check_closed(&whole, "full box")), 2);
    assert!((volume - 8.0).abs() < 0.02 && (area - 24.0).abs() < 0.05, "{volume} {area}");
}

#[test]
fn random_grids_are_always_closed_and_manifold() {
    for seed in 0..4000 {
        let n = [2 + seed as usize % 4, 2 + seed as usize / 4 % 3, 2 + seed as usize / 12 % 3];
        let mut values: Vec<f32> = (0..n.iter().product::<usize>() as u64).map(|i| noise(seed, i)).collect();
        // Values at the level, of one size and huge ones are what breaks ties and divisions.
        match seed % 5 {
            1 => values.iter_mut().for_each(|v| *v = v.signum()),
            2 => values.iter_mut().for_each(|v| *v = (*v * 2.0).round()),
            3 => values.iter_mut().for_each(|v| *v *= if *v > 0.5 { 1e37 } else { 1e-37 }),
            _ => {}
        }
        let grid = Grid { values: &values, n_points: n, origin: Vec3::new(0.3, -0.7, 0.1), cell: 0.01 };
        let mesh = marching_cubes(&grid, 0.0, Inside::Above).unwrap();
        check_closed(&mesh, &format!("seed {seed}"));
        assert!(mesh.triangles.is_empty() || volume_and_area(&mesh).0 > 0.0, "seed {seed}");
    }
}

#[test]
fn large_random_grid_is_closed_across_bricks() {
    let n = [27, 19, 34];
    let values: Vec<f32> = (0..27 * 19 * 34).map(|i| noise(7, i)).collect();
    let grid = Grid { values: &values, n_points: n, origin: Vec3::ZERO, cell: 0.01 };
    check_closed(&marching_cubes(&grid, 0.1, Inside::Below).unwrap(), "noise");
}

/// The reference is a flood fill of the trilinear field on 25^3 points; only near
/// a saddle whose value is close to the level may the two differ.
#[test]
fn topology_within_cells_is_that_of_the_trilinear_field() {
    let (mut n_cells, mut n_tunnels, mut n_wrong) = (0, 0, 0);
    for seed in 0..8000u64 {
        let d: [f32; 8] = std::array::from_fn(|c| noise(seed, c as u64));
        let grid = Grid { values: &d, n_points: [2, 2, 2], origin: Vec3::ZERO, cell: 1.0 };
        let case = polygonize::case_of(&d);
        if case.loops.len() < 2 {
            continue;
        }
        n_cells += 1;
        let tunnel = polygonize::tunnel_of(case, &d).is_some();
        n_tunnels += tunnel as u32;
        let expected = case.loops.len() + 1 - tunnel as usize;
        n_wrong += (regions(d.map(f64::from), 24) != expected) as u32;
        check_closed(&marching_cubes(&grid, 0.0, Inside::Above).unwrap(), "cell");
    }
    assert!(n_cells > 500 && n_tunnels > 10, "{n_cells} cells, {n_tunnels} tunnels");
    assert!(n_wrong * 100 < n_cells, "{n_wrong} of {n_cells} cells, {n_tunnels} tunnels");
}

/// Connected regions of one sign, inside and outside, of the trilinear field in a cell.
fn regions(d: [f64; 8], n: usize) -> usize {
    let side = n + 1;
    let mut sets = crate::mesh::topology::DisjointSets::new(side * side * side);
    let signs: Vec<bool> = (0..side * side * side)
        .map(|i| {
            let at = DVec3::new((i % side) as f64, (i / side % side) as f64, (i / side / side) as f64) / n as f64;
            tunnel::value_at(d, at) > 0.0
        })
        .collect();
    for i in 0..signs.len() {
        for step in [1, side, side * side] {
            if i / step % side + 1 < side && signs[i] == signs[i + step] {
                sets.join(i as u32, (i + step) as u32);
            }
        }
    }
    (0..signs.len() as u32).filter(|&i| sets.find(i) == i).count()
}

#[test]
fn coarse_to_fine_is_bit_for_bit_the_dense_result() {
    let wobbly = |p: Vec3| torus(p) + 0.04 * (p.x * 11.0).sin() * (p.y * 13.0).cos() * (p.z * 12.0).sin();
    let leaving = |p: Vec3| (p.x * 4.0).sin() * (p.y * 4.0).cos() + (p.y * 4.0).sin() * (p.z * 4.0).cos() + 0.3;
    let fields: [&(dyn Fn(Vec3) -> f32 + Sync); 4] = [&sphere, &torus, &wobbly, &leaving];
    for (i, field) in fields.into_iter().enumerate() {
        for (resolution, coarse_step) in [(45, 8), (33, 4), (16, 16), (50, 7)] {
            let sparse = IsoOptions { coarse_step, ..options(resolution) };
            let (few, few_stats) = surface(field, &sparse);
            let (all, all_stats) = surface(field, &IsoOptions { dense: true, ..sparse });
            check_closed(&few, &format!("field {i}"));
            assert!(few == all, "field {i} at {resolution} by {coarse_step} differs");
            assert_eq!(few_stats.n_cells, all_stats.n_cells);
            assert_eq!(all_stats.n_points, all_stats.n_dense_points);
        }
    }
}

#[test]
fn marching_cubes_of_a_grid_is_the_dense_result() {
    let sparse = options(20);
    let (mesh, _) = surface(torus, &sparse);
    let lattice = Lattice::over(UNIT, 20).unwrap();
    let values: Vec<f32> =
        (0..21u16.pow(3)).map(|i| torus(lattice.position([1 + i % 21, 1 + i / 21 % 21, 1 + i / 441]))).collect();
    let grid = Grid { values: &values, n_points: [21; 3], origin: Vec3::NEG_ONE, cell: 0.1 };
    let same = marching_cubes(&grid, 0.0, Inside::Below).unwrap();
    assert_eq!(mesh.triangles, same.triangles);
    let off = mesh.positions.iter().zip(&same.positions).map(|(a, b)| a.distance(*b)).fold(0.0, f32::max);
    assert!(off < 1e-6, "{off}: 0.1 as f32 is not a tenth, nothing else differs");
}

#[test]
fn lipschitz_guard_finds_what_no_coarse_sample_sees() {
    // A bead between coarse samples, a quarter of a metre apart, and a large ball.
    let field = |p: Vec3| ((p - Vec3::new(0.88, 0.86, 0.87)).length() - 0.06).min((p + 0.2).length() - 0.5);
    let blind = IsoOptions { coarse_step: 16, guard: Guard::SignChange, ..options(128) };
    let (mesh, _) = surface(field, &blind);
    assert_eq!(check_closed(&mesh, "ball").n_components, 1);
    let (mesh, stats) = surface(field, &IsoOptions { guard: Guard::Lipschitz(1.0), ..blind.clone() });
    assert_eq!(check_closed(&mesh, "ball and bead").n_components, 2);
    assert!(stats.n_points < stats.n_dense_points / 4, "{stats:?}");
    assert!(mesh == surface(field, &IsoOptions { dense: true, ..blind }).0);
}

#[test]
fn newton_steps_reach_the_surface_and_turn_no_triangle_over() {
    // Steep outside, flat inside: linear interpolation is far off.
    let density = |p: Vec3| (-10.0 * torus(p)).exp();
    let linear = IsoOptions { level: 1.0, inside: Inside::Above, ..options(24) };
    let off = |mesh: &Mesh| mesh.positions.iter().map(|&p| torus(p).abs()).fold(0.0, f32::max);
    let (before, _) = surface(density, &linear);
    let (after, stats) = surface(density, &IsoOptions { newton_steps: 3, ..linear });
    check_closed(&after, "after");
    let h = 2.0 / 24.0;
    // What is left is the curvature that probes h / 8 away average over.
    assert!(off(&before) > 0.03 * h && off(&after) < 1e-3 * h, "{} then {}", off(&before) / h, off(&after) / h);
    assert_eq!(before.triangles, after.triangles);
    assert!(stats.n_refining_points > 0);
    for &t in &after.triangles {
        let normal = |m: &Mesh| {
            let [a, b, c] = m.corners(t);
            (b - a).cross(c - a)
        };
        assert!(normal(&before).dot(normal(&after)) > 0.0);
    }
}

#[test]
fn edge_steps_reach_the_surface_along_the_lattice() {
    let density = |p: Vec3| (-10.0 * torus(p)).exp();
    let linear = IsoOptions { level: 1.0, inside: Inside::Above, ..options(24) };
    let (before, _) = surface(density, &linear);
    let (after, stats) = surface(density, &IsoOptions { edge_steps: 4, ..linear });
    check_closed(&after, "after");
    let off = after.positions.iter().map(|&p| torus(p).abs()).fold(0.0, f32::max);
    // The furthest that a vertex is kept from a point of the lattice, along its edge.
    let h = 2.0 / 24.0;
    assert!(off < 1.01 * h / 1024.0, "{} cells", off / h);
    assert_eq!(before.triangles, after.triangles);
    assert_eq!(stats.n_refining_points, 4 * after.positions.len() as u64);
    for (p, q) in before.positions.iter().zip(&after.positions) {
        let moved = (*p - *q).to_array().map(|d| (d != 0.0) as u32);
        assert!(moved.iter().sum::<u32>() <= 1, "{p} left its edge for {q}");
    }
}

#[test]
fn empty_field_gives_an_empty_mesh() {
    let (mesh, stats) = surface(|_| 1.0, &options(32));
    assert!(mesh.triangles.is_empty() && mesh.positions.is_empty());
    assert_eq!((stats.n_cells, stats.n_points), (0, 9 * 9 * 9));
}

#[test]
fn refuses_what_it_cannot_do() {
    let refusal = |options: &IsoOptions, field: fn(Vec3) -> f32| {
        iso_surface(&|points| Ok(points.iter().map(|&p| field(p)).collect()), options, &|_, _| Ok(())).unwrap_err()
    };
    let far = (Vec3::splat(1e5), Vec3::splat(1e5 + 1.0));
    for (options, field, message) in [
        (options(0), sphere as fn(Vec3) -> f32, "resolution 0 is not in 1 to 1024"),
        (options(1025), sphere, "resolution 1025"),
        (IsoOptions { bounds: (Vec3::ONE, Vec3::ONE), ..options(8) }, sphere, "are empty or not finite"),
        (IsoOptions { bounds: far, ..options(64) }, sphere, "too fine for single precision"),
        (IsoOptions { coarse_step: 0, ..options(8) }, sphere, "coarse step 0 is not in 1 to 64"),
        (options(8), |p| if p.x > 0.9 { f32::NAN } else { p.x }, "field is NaN at [1, -1, -1] m"),
    ] {
        let error = refusal(&options, field);
        assert_eq!(error.kind, StageErrorKind::InvalidInput);
        assert!(error.message.contains(message), "{}", error.message);
    }
    let small = IsoOptions { max_bytes: 40_000, ..options(64) };
    let error = refusal(&small, sphere);
    assert_eq!(error.kind, StageErrorKind::TooLarge, "{}", error.message);
    let error = iso_surface(&|_| Ok(vec![0.0]), &options(8), &|_, _| Ok(())).unwrap_err();
    assert_eq!(error.message, "field gave 1 values for 729 points");
    let grid = Grid { values: &[0.0; 7], n_points: [2, 2, 2], origin: Vec3::ZERO, cell: 1.0 };
    assert!(marching_cubes(&grid, 0.0, Inside::Above).unwrap_err().message.contains("7 values"));
    let grid = Grid { values: &[0.0, f32::INFINITY], n_points: [2, 1, 1], origin: Vec3::ZERO, cell: 1.0 };
    assert_eq!(
        marching_cubes(&grid, 0.0, Inside::Above).unwrap_err().message,
        "field is inf at grid point [1, 0, 0], finite values are needed"
    );
}

#[test]
fn stops_when_cancelled_and_reports_steps_in_order() {
    let seen = Mutex::new(Vec::new());
    let field = |points: &[Vec3]| Ok(points.iter().map(|&p| sphere(p)).collect());
    let on_step = |done: u32, total: u32| {
        seen.lock().unwrap().push((done, total));
        if done == 2 { Err(StageError::cancelled()) } else { Ok(()) }
    };
    let error = iso_surface(&field, &options(32), &on_step).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::Cancelled);
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(2, 5)), "{seen:?}");
}
