//! Tests of `clean` on soups with known faults.

use glam::Vec3;

use super::{
    Mesh,
    clean::clean,
    test_support::{draw, inflated},
    topology::{Topology, topology},
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
        match clean(&soup, 0.0) {
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
