//! Tests of `clean` on soups with known faults.

use glam::{Vec2, Vec3};

use super::{
    super::{
        Mesh, shapes,
        test_support::{draw, inflated, test_data},
        topology::{Topology, topology},
    },
    CleanOptions, CleanReport, clean, clean_with, test_files,
};

fn cube(at: Vec3, size: f32) -> Mesh {
    let corner = |i: u32| Vec3::new((i & 1) as f32, (i >> 1 & 1) as f32, (i >> 2) as f32);
    let faces = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]];
    Mesh {
        positions: (0..8).map(|i| at + corner(i) * size).collect(),
        triangles: faces.iter().flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]).collect(),
        ..Mesh::default()
    }
}

fn joined(meshes: &[Mesh]) -> Mesh {
    let mut all = Mesh::default();
    for mesh in meshes {
        let first = all.positions.len() as u32;
        all.positions.extend(&mesh.positions);
        all.triangles.extend(mesh.triangles.iter().map(|t| t.map(|v| v + first)));
    }
    all
}

fn unindexed(mesh: &Mesh) -> Mesh {
    Mesh {
        positions: mesh.triangles.iter().flat_map(|&t| mesh.corners(t)).collect(),
        triangles: (0..mesh.triangles.len() as u32).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect(),
        ..Mesh::default()
    }
}

fn cleaned(mesh: &Mesh) -> (Mesh, Topology) {
    let clean = clean(mesh, 0.001).unwrap();
    let t = topology(&clean.positions, &clean.triangles);
    assert!(t.is_manifold() && t.n_degenerate == 0, "{t:?}");
    assert_eq!(t.n_vertices, clean.positions.len());
    assert_eq!(clean.normals.len(), clean.positions.len());
    (clean, t)
}

fn volume(mesh: &Mesh) -> f32 {
    mesh.triangles.iter().map(|&t| mesh.corners(t)).map(|[a, b, c]| a.dot(b.cross(c)) / 6.0).sum()
}

#[test]
fn an_inflated_solid_passes_unchanged() {
    let mesh = inflated(&draw(80, 80, |p| (10.0..30.0).contains(&p.distance(glam::Vec2::splat(40.0)))), &[]).unwrap();
    let (clean, _) = cleaned(&mesh);
    assert!(clean.positions == mesh.positions && clean.triangles == mesh.triangles && clean.front == mesh.front);
}

#[test]
fn a_soup_of_single_triangles_is_welded() {
    let (clean, t) = cleaned(&unindexed(&cube(Vec3::ONE, 2.0)));
    assert!(t.is_watertight());
    assert_eq!((clean.positions.len(), clean.triangles.len()), (8, 12));
}

#[test]
fn turned_faces_are_turned_back_and_inside_out_is_put_right() {
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let mut soup = cube(Vec3::splat(-3.0), 1.5);
        for face in &mut soup.triangles {
            if rng.bool() {
                face.swap(0, 1);
            }
        }
        let (clean, t) = cleaned(&soup);
        assert!(t.is_watertight());
        assert!((volume(&clean) - 1.5f32.powi(3)).abs() < 1e-4);
    }
}

#[test]
fn a_cavity_stays_a_cavity() {
    let mut hollow = cube(Vec3::splat(0.5), 1.0);
    hollow.triangles.iter_mut().for_each(|face| face.swap(0, 1));
    let (clean, _) = cleaned(&joined(&[cube(Vec3::ZERO, 2.0), hollow]));
    assert!((volume(&clean) - 7.0).abs() < 1e-4);
}

#[test]
fn doubled_flat_and_damaged_faces_and_specks_go() {
    let mut soup = joined(&[cube(Vec3::ZERO, 1.0), cube(Vec3::splat(3.0), 0.01)]);
    let n = soup.positions.len() as u32;
    soup.positions.extend([Vec3::NAN, Vec3::splat(f32::INFINITY), Vec3::splat(9.0)]);
    soup.triangles.extend([soup.triangles[0], soup.triangles[5], [0, 1, n], [0, n + 1, 2], [4, 4, 5]]);
    let [a, b, c] = soup.triangles[2];
    soup.triangles.push([b, a, c]); // the other way round
    let (clean, t) = cleaned(&soup);
    assert!(t.is_watertight());
    assert_eq!((t.n_components, clean.triangles.len(), clean.positions.len()), (1, 12, 8));
}

#[test]
fn a_fin_on_a_closed_surface_goes() {
    let mut finned = cube(Vec3::ZERO, 1.0);
    finned.positions.push(Vec3::new(0.5, 2.0, 0.5));
    finned.triangles.extend([[2, 3, 8], [3, 2, 8]]);
    let (clean, t) = cleaned(&finned);
    assert!(t.is_watertight());
    assert_eq!(clean.triangles.len(), 12);
}

#[test]
fn a_flat_face_along_an_edge_goes_without_opening_a_gap() {
    // The edge from 0 to 2 of one face meets two edges, over a vertex in its
    // middle, and a triangle without area fills the slit.
    let positions = vec![Vec3::ZERO, Vec3::X, Vec3::X * 2.0, Vec3::new(1.0, 2.0, 0.0), Vec3::new(1.0, 1.0, 2.0)];
    let triangles = vec![[0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [0, 2, 1]];
    let soup = Mesh { positions, triangles, ..Mesh::default() };
    assert_eq!(topology(&soup.positions, &soup.triangles).n_degenerate, 1);
    let (clean, t) = cleaned(&soup);
    assert!(t.is_watertight(), "{t:?}");
    assert_eq!(clean.triangles.len(), 6);
}

#[test]
fn solids_that_touch_in_a_corner_or_along_an_edge_come_apart() {
    for (offset, n_shared) in [(Vec3::ONE, 1), (Vec3::new(1.0, 1.0, 0.0), 2)] {
        let touching = joined(&[cube(Vec3::ZERO, 1.0), cube(offset, 1.0)]);
        let before = topology(&touching.positions, &touching.triangles);
        assert!(!before.is_manifold());
        assert_eq!(before.n_vertices, 16 - n_shared);
        let (clean, t) = cleaned(&touching);
        assert!(t.is_watertight());
        assert_eq!((t.n_components, clean.positions.len()), (2, 16));
        assert!((volume(&clean) - 2.0).abs() < 0.01);
    }
}

#[test]
fn a_moebius_strip_is_cut_where_it_cannot_be_oriented() {
    let n = 12;
    let mut strip = Mesh::default();
    for i in 0..n {
        let angle = i as f32 / n as f32 * std::f32::consts::TAU;
        let turn = glam::Quat::from_rotation_y(angle);
        let across = turn * (glam::Quat::from_rotation_z(angle / 2.0) * Vec3::X) * 0.3;
        let centre = turn * Vec3::X;
        strip.positions.extend([centre - across, centre + across]);
        let [a, b] = [2 * i, 2 * i + 1];
        let [c, d] = if i + 1 < n { [2 * i + 2, 2 * i + 3] } else { [1, 0] };
        strip.triangles.extend([[a, b, d], [a, d, c]]);
    }
    let (clean, t) = cleaned(&strip);
    assert_eq!((clean.triangles.len(), t.n_components), (24, 1));
}

/// Everything on: nothing may be left that the report does not own up to.
fn repaired(mesh: &Mesh, options: &CleanOptions) -> (Mesh, CleanReport) {
    let (clean, report) = clean_with(mesh, options).unwrap();
    let t = topology(&clean.positions, &clean.triangles);
    assert_eq!(report.is_closed_manifold(), t.is_watertight() && t.is_manifold(), "{report:?} {t:?}");
    assert_eq!((report.n_open_edges, report.n_pieces), (t.n_border_edges, t.n_components));
    assert_eq!((t.n_degenerate, t.n_non_manifold_edges, t.n_non_manifold_vertices), (0, 0, 0), "{report:?}");
    assert_eq!(clean.normals.len(), clean.positions.len());
    (clean, report)
}

const WIDE: CleanOptions =
    CleanOptions { weld: 1e-5, speck: 0.001, hole: 3.0, hole_edges: 1000, smooth: 0, keep_uvs: false };

#[test]
fn a_missing_side_is_filled_and_large_holes_stay_open_with_a_word() {
    let mut open = cube(Vec3::ZERO, 1.0);
    open.triangles.drain(4..6);
    let (whole, report) = repaired(&open, &WIDE);
    assert_eq!((report.n_holes_filled, report.is_closed_manifold(), whole.triangles.len()), (1, true, 12));
    assert!((volume(&whole) - 1.0).abs() < 1e-6);
    let (still_open, report) = repaired(&open, &CleanOptions::default());
    assert_eq!((report.n_holes_filled, report.n_open_loops, report.n_open_edges), (0, 1, 4));
    assert_eq!(still_open.triangles.len(), 10);
}

#[test]
fn a_sheet_is_not_taken_for_a_hole() {
    let mut sheet = cube(Vec3::ZERO, 1.0);
    sheet.triangles.truncate(2);
    let (clean, report) = repaired(&sheet, &WIDE);
    assert_eq!((clean.triangles.len(), report.n_open_loops, report.n_holes_filled), (2, 1, 0));
    let single = Mesh { triangles: vec![[0, 1, 2]], ..cube(Vec3::ZERO, 1.0) };
    assert_eq!(repaired(&single, &WIDE).0.triangles.len(), 1);
}

#[test]
fn holes_of_many_edges_are_filled_in_the_shape_around_them() {
    // A ball without its cap, once with few enough edges for the best filling and once with more.
    for n in [20, 60] {
        let mut ball = shapes::sphere(n);
        let n_all = ball.triangles.len();
        let positions = ball.positions.clone();
        ball.triangles.retain(|t| t.iter().any(|&v| positions[v as usize].y < 0.97));
        assert!(ball.triangles.len() < n_all);
        let (whole, report) = repaired(&ball, &WIDE);
        assert!(report.is_closed_manifold() && report.n_holes_filled == 1, "{report:?}");
        // What is missing is the cap, 0.0028 of 4.19.
        assert!((volume(&whole) / volume(&shapes::sphere(n)) - 1.0).abs() < 2e-3);
    }
}

#[test]
fn a_patch_in_a_ball_bulges_like_the_ball() {
    // Triangles around one vertex go, so that holes of 8 to 20 edges are left, the widest
    // of them 40 degrees across.
    for (rings, direction) in [(1, Vec3::new(0.3, 0.2, 0.9)), (2, Vec3::new(0.7, -0.4, 0.5)), (3, Vec3::X)] {
        let ball = clean(&shapes::sphere(24), 0.0).unwrap();
        let middle = direction.normalize();
        let apart = |v: u32| ball.positions[v as usize].normalize().dot(middle);
        let limit = (rings as f32 * 0.13).cos();
        let mut open = ball.clone();
        open.triangles.retain(|t| t.iter().any(|&v| apart(v) < limit));
        let (whole, report) = repaired(&open, &WIDE);
        assert!(report.n_holes_filled == 1 && report.is_closed_manifold(), "{report:?}");
        let flat = {
            let cap = ball.triangles.len() - open.triangles.len();
            (cap, whole.triangles.len() - open.triangles.len())
        };
        // The patch lies on the ball to within a fiftieth of what a flat one would be off by, at least
        // where it is deepest, and turns nowhere.
        let depth = 1.0 - limit;
        for &t in &whole.triangles {
            let [a, b, c] = whole.corners(t);
            assert!((b - a).cross(c - a).dot(a + b + c) > 0.0, "{rings}: a fold");
        }
        for p in &whole.positions {
            assert!((p.length() - 1.0).abs() < 0.15 * depth, "{rings}: {} {depth} {flat:?}", p.length());
        }
        let change = (volume(&whole) / volume(&ball) - 1.0).abs();
        assert!(change < 2e-4, "{rings}: {change} {flat:?}");
    }
}

#[test]
fn an_open_bowl_that_is_inside_out_is_turned() {
    let mut bowl = shapes::sphere(16);
    let positions = bowl.positions.clone();
    bowl.triangles.retain(|t| t.iter().all(|&v| positions[v as usize].y < 0.3));
    bowl.triangles.iter_mut().for_each(|t| t.swap(0, 1));
    let (clean, report) = repaired(&bowl, &CleanOptions::default());
    assert_eq!(report.n_turned, bowl.triangles.len());
    let outwards = |t: [u32; 3]| {
        let [a, b, c] = clean.corners(t);
        (b - a).cross(c - a).dot(a + b + c) > 0.0
    };
    assert!(clean.triangles.iter().all(|&t| outwards(t)));
}

#[test]
fn gaps_below_the_tolerance_close_and_closed_surfaces_keep_their_vertices() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut soup = unindexed(&shapes::torus(12, 0.3));
    for p in &mut soup.positions {
        *p += Vec3::new(rng.f32(), rng.f32(), rng.f32()) * 1e-5;
    }
    let (clean, report) = repaired(&soup, &WIDE);
    assert!(report.is_closed_manifold(), "{report:?}");
    assert_eq!((clean.positions.len(), clean.triangles.len()), (24 * 12, 24 * 12 * 2));
    // A closed ball far smaller than the tolerance beside a large one.
    let mut tiny = shapes::sphere(6);
    tiny.positions.iter_mut().for_each(|p| *p = *p * 1e-5 + Vec3::splat(3.0));
    let pair = joined(&[tiny, shapes::sphere(6)]);
    let (clean, report) = repaired(&pair, &CleanOptions { speck: 0.0, weld: 0.01, ..WIDE });
    assert_eq!((report.n_welded, report.n_pieces, clean.triangles.len()), (0, 2, pair.triangles.len()));
}

#[test]
fn a_vertex_on_an_edge_splits_the_face_there() {
    // The top of a cube as four triangles around vertices that its sides do not have.
    let mut soup = cube(Vec3::ZERO, 1.0);
    soup.triangles.drain(6..8);
    let top = |x: f32, z: f32| Vec3::new(x, 1.0, z);
    soup.positions.extend([top(0.5, 0.0), top(1.0, 0.25), top(0.5, 1.0), top(0.0, 0.5), top(1.0, 0.75)]);
    let ring: Vec<u32> = vec![2, 8, 3, 9, 12, 7, 10, 6, 11];
    soup.positions.push(top(0.5, 0.5));
    soup.triangles.extend((0..9).map(|i| [13, ring[(i + 1) % 9], ring[i]]));
    let (clean, report) = repaired(&soup, &CleanOptions { hole: 0.0, ..WIDE });
    assert!(report.is_closed_manifold(), "{report:?}");
    assert_eq!(report.n_stitched, 5);
    assert!((volume(&clean) - 1.0).abs() < 1e-6);
}

#[test]
fn smoothing_takes_the_noise_and_leaves_the_volume() {
    let ball = clean(&shapes::sphere(40), 0.0).unwrap();
    let mut rng = fastrand::Rng::with_seed(2);
    let mut rough = ball.clone();
    rough.positions.iter_mut().for_each(|p| *p *= 1.0 + 0.01 * (rng.f32() - 0.5));
    let (smooth, report) = repaired(&rough, &CleanOptions { smooth: 10, ..WIDE });
    assert!(report.is_closed_manifold());
    assert!((volume(&smooth) / volume(&rough) - 1.0).abs() < 1e-4);
    let spread = |mesh: &Mesh| {
        let mean = mesh.positions.iter().map(|p| p.length()).sum::<f32>() / mesh.positions.len() as f32;
        (mesh.positions.iter().map(|p| (p.length() - mean).powi(2)).sum::<f32>() / mesh.positions.len() as f32).sqrt()
    };
    // Rings at the poles have triangles of all sizes: there equal weights bend the shape a little.
    assert!(spread(&smooth) < 0.6 * spread(&rough), "{} {}", spread(&smooth), spread(&rough));
}

#[test]
fn what_is_clean_keeps_its_layout_bit_by_bit() {
    let keep = CleanOptions { keep_uvs: true, ..CleanOptions::default() };
    for mesh in [shapes::sphere(12), shapes::torus(10, 0.3), shapes::cube()] {
        let (clean, report) = clean_with(&mesh, &keep).unwrap();
        // The meridian of the ball leaves corners at the poles unused.
        assert!(report.changed_nothing() && report.uvs_kept, "{report:?}");
        assert_eq!(clean.triangles.len(), mesh.triangles.len());
        let corners = |mesh: &Mesh| -> Vec<_> {
            let corner = |v: u32| (mesh.positions[v as usize], mesh.normals[v as usize], mesh.uvs[v as usize]);
            mesh.triangles.iter().map(|t| t.map(corner)).collect()
        };
        assert!(corners(&clean) == corners(&mesh));
        let (without, report) = clean_with(&mesh, &CleanOptions::default()).unwrap();
        assert!(without.uvs.is_empty() && !report.uvs_kept);
    }
}

#[test]
fn corners_that_survive_keep_their_layout_and_new_ones_get_one() {
    let keep = CleanOptions { keep_uvs: true, ..CleanOptions::default() };
    let whole = shapes::torus(10, 0.3);
    let mut broken = joined(&[whole.clone(), cube(Vec3::splat(5.0), 0.001)]);
    broken.uvs = whole.uvs.clone();
    broken.uvs.resize(broken.positions.len(), Vec2::ZERO);
    broken.normals.clear();
    for t in broken.triangles.iter_mut().step_by(3) {
        t.swap(1, 2);
    }
    broken.triangles.push(broken.triangles[4]);
    let (clean, report) = clean_with(&broken, &keep).unwrap();
    assert!(report.is_closed_manifold() && report.uvs_kept && report.n_specks == 1, "{report:?}");
    assert_eq!((report.n_turned, report.n_doubled), (broken.triangles.len().div_ceil(3), 1));
    let uv_of: std::collections::BTreeSet<_> = whole
        .positions
        .iter()
        .zip(&whole.uvs)
        .map(|(p, uv)| (p.to_array().map(f32::to_bits), uv.to_array().map(f32::to_bits)))
        .collect();
    for (p, uv) in clean.positions.iter().zip(&clean.uvs) {
        assert!(uv_of.contains(&(p.to_array().map(f32::to_bits), uv.to_array().map(f32::to_bits))), "{p} {uv}");
    }
    assert_eq!(clean.positions.len(), whole.positions.len());

    // A vertex of a neighbour splits an edge in its middle: there the layout is halfway.
    let positions = vec![Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::ZERO, Vec3::X * 0.5, Vec3::X, -Vec3::Y];
    let uvs = positions.iter().map(|p| p.truncate() + Vec2::splat(2.0)).collect();
    let sheet = Mesh { positions, uvs, triangles: vec![[0, 1, 2], [4, 3, 6], [5, 4, 6]], ..Mesh::default() };
    let (clean, report) = clean_with(&sheet, &keep).unwrap();
    assert_eq!((report.n_stitched, clean.triangles.len(), report.n_pieces), (1, 4, 1));
    for (p, uv) in clean.positions.iter().zip(&clean.uvs) {
        assert!(uv.distance(p.truncate() + Vec2::splat(2.0)) < 1e-6);
    }
}

#[test]
fn odd_files_come_out_closed_or_with_an_honest_report() {
    let Some(folder) = test_data("meshes/broken_or_odd") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let Some(mesh) = test_files::read(&file) else { continue };
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        match clean_with(&mesh, &WIDE) {
            Ok((clean, report)) => {
                println!("{name}: {} to {} triangles, {report:?}", mesh.triangles.len(), clean.triangles.len());
                repaired(&mesh, &WIDE);
            }
            Err(error) => {
                println!("{name}: {error}");
                assert!(error.message.starts_with("nothing is left of"), "{name}: {error}");
            }
        }
    }
}

#[test]
fn twenty_thousand_random_triangles_are_taken_as_they_are() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut point = || Vec3::new(rng.f32(), rng.f32(), rng.f32());
    let positions: Vec<Vec3> = (0..60_000).map(|_| point()).collect();
    let triangles = (0..20_000).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
    let soup = Mesh { positions, triangles, ..Mesh::default() };
    let (_, report) = repaired(&soup, &WIDE);
    assert!(report.n_open_edges > 40_000, "{report:?}");
}

#[test]
fn random_soups_never_panic() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let n = rng.u32(1..12);
        // Few different coordinates, so that much coincides.
        let mut coordinate = || rng.u32(0..3) as f32;
        let positions: Vec<Vec3> = (0..n).map(|_| Vec3::new(coordinate(), coordinate(), coordinate())).collect();
        let triangles = (0..rng.usize(0..60)).map(|_| [rng.u32(0..n), rng.u32(0..n), rng.u32(0..n)]).collect();
        let soup = Mesh { positions, triangles, ..Mesh::default() };
        let wide = clean_with(&soup, &CleanOptions { smooth: 1, ..WIDE });
        match wide.and_then(|(wide, _)| {
            let t = topology(&wide.positions, &wide.triangles);
            assert_eq!(t.n_non_manifold_edges, 0, "seed {seed}: {t:?}");
            clean(&soup, 0.0)
        }) {
            Ok(clean) => {
                let t = topology(&clean.positions, &clean.triangles);
                assert_eq!((t.n_degenerate, t.n_non_manifold_edges), (0, 0), "seed {seed}: {t:?}");
            }
            Err(error) => assert!(error.message.starts_with("nothing is left of"), "{error}"),
        }
    }
}

#[test]
fn nothing_left_is_an_error() {
    for mesh in [Mesh::default(), Mesh { positions: vec![Vec3::NAN; 3], triangles: vec![[0, 1, 2]], ..Mesh::default() }]
    {
        assert!(clean(&mesh, 0.001).err().unwrap().message.starts_with("nothing is left of"));
    }
}

/// A cube of loose triangles, red and blue in turn, one of them missing: vertices that are welded
/// get the mean of their colours, also around the hole that is filled.
#[test]
fn colours_come_through_welding_and_filling() {
    let mut whole = cube(Vec3::ZERO, 1.0);
    whole.triangles.remove(0);
    let mut soup = unindexed(&whole);
    soup.colors = (0..soup.positions.len()).map(|v| if v / 3 % 2 == 0 { Vec3::X } else { Vec3::Z }).collect();
    let (cleaned, report) = clean_with(&soup, &CleanOptions { hole: 10.0, ..CleanOptions::default() }).unwrap();
    assert_eq!((report.n_holes_filled, cleaned.positions.len(), cleaned.colors.len()), (1, 8, 8));
    for (p, color) in cleaned.positions.iter().zip(&cleaned.colors) {
        let all = || soup.positions.iter().zip(&soup.colors).filter(|(q, _)| *q == p).map(|(_, color)| *color);
        let mean = all().sum::<Vec3>() / all().count() as f32;
        assert!(color.distance(mean) < 1e-6, "{p}: {color}, not {mean}");
    }
}
