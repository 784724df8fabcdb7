//! Tests of `simplify` on inflated and on other closed meshes.

use glam::{Vec2, Vec3};

use super::super::{
    FrontView, Mesh,
    clean::clean,
    mirror::{FrontHalf, with_mirror_image},
    shapes,
    simplify::{SimplifyOptions, SimplifyTarget, simplify, simplify_with},
    test_support::{cutouts, draw, inflated, random_blob, silhouette_iou},
    topology::topology,
};

fn check(mesh: &Mesh, budget: usize, what: &str) -> Mesh {
    let reduced = simplify(mesh, budget).unwrap();
    let n = reduced.triangles.len();
    let t = topology(&reduced.positions, &reduced.triangles);
    assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{what} to {budget}: {t:?}");
    assert_eq!(t.n_vertices, reduced.positions.len(), "{what}: unused or doubled vertices");
    assert!(n <= budget, "{what}: {n} triangles are more than {budget}");
    // One collapse more or less is two triangles, or four in a mirrored mesh.
    assert!(n + 4 >= mesh.triangles.len().min(budget) * 99 / 100, "{what}: {n} triangles waste the budget of {budget}");
    assert!(reduced.normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-4));
    assert_eq!((reduced.front, reduced.bounds()), (mesh.front, mesh.bounds()), "{what}");
    reduced
}

/// A torus, which is no mirror image of itself along z when tilted.
fn torus(n: u32) -> Mesh {
    let at = |i: u32, n: u32| (i % n) as f32 / n as f32 * std::f32::consts::TAU;
    let tilt = glam::Quat::from_rotation_x(0.7);
    let mut mesh = Mesh::default();
    for i in 0..n {
        for j in 0..n {
            let (ring, tube) = (Vec2::from_angle(at(i, n)), Vec2::from_angle(at(j, n)));
            let r = 1.0 + 0.35 * tube.x;
            mesh.positions.push(tilt * Vec3::new(r * ring.x, r * ring.y, 0.35 * tube.y));
            let v = |i: u32, j: u32| i % n * n + j % n;
            let [a, b, c, d] = [v(i, j), v(i + 1, j), v(i + 1, j + 1), v(i, j + 1)];
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh.normals = super::super::normals::smooth_normals(&mesh.positions, &mesh.triangles);
    mesh
}

#[test]
fn random_blobs_come_down_to_their_budget_and_stay_sound() {
    for seed in 100..130 {
        let blob = random_blob(&mut fastrand::Rng::with_seed(seed));
        let mesh = clean(&inflated(&blob, &[("resolution", 128.0)]).unwrap(), 0.001).unwrap();
        for budget in [6000, 2000, 500] {
            let reduced = check(&mesh, budget, &format!("seed {seed}"));
            let half = FrontHalf::of(&reduced);
            let half = half.unwrap_or_else(|| panic!("seed {seed} to {budget}: no longer a mirror image")).mesh;
            let normal = |[a, b, c]: [Vec3; 3]| (b - a).cross(c - a);
            // Upright ones may lean back by rounding.
            let turned = |t: [u32; 3]| normal(half.corners(t)).normalize().z < -1e-3;
            let n_turned = half.triangles.iter().filter(|&&t| turned(t)).count();
            assert_eq!(n_turned, 0, "seed {seed} to {budget}: triangles turn away from the front");
            if budget >= 2000 {
                let shape = |mesh: &Mesh| {
                    let t = topology(&mesh.positions, &mesh.triangles);
                    (t.n_components, t.n_vertices as i64 - t.n_triangles as i64 / 2)
                };
                assert_eq!(shape(&reduced), shape(&mesh), "seed {seed} to {budget}: lost a piece or a hole");
            }
        }
    }
}

#[test]
fn other_solids_are_reduced_as_a_whole() {
    let torus = torus(80);
    assert!(FrontHalf::of(&torus).is_none());
    for budget in [5000, 1000, 200] {
        let reduced = check(&torus, budget, "torus");
        let t = topology(&reduced.positions, &reduced.triangles);
        assert_eq!(t.n_vertices as i64 - t.n_triangles as i64 / 2, 0, "the torus lost its hole");
    }
}

#[test]
fn a_mesh_within_its_budget_keeps_its_triangles() {
    let torus = torus(10);
    let same = check(&torus, 200, "small torus");
    let corners = |mesh: &Mesh| {
        let mut all: Vec<[u32; 3]> =
            mesh.triangles.iter().flat_map(|&t| mesh.corners(t)).map(|p| p.to_array().map(f32::to_bits)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(corners(&same), corners(&torus));
}

#[test]
fn the_depth_of_thin_strips_survives() {
    // Few triangles along a strip tend to connect its two sides directly.
    let grid = draw(200, 200, |p| p.x % 40.0 < 5.0 || p.y % 40.0 < 5.0);
    let mesh = inflated(&grid, &[]).unwrap();
    let reduced = check(&mesh, 1500, "grid");
    let depth = |mesh: &Mesh| mesh.bounds().unwrap().1.z;
    assert!(depth(&reduced) > 0.8 * depth(&mesh), "{} of {}", depth(&reduced), depth(&mesh));
    assert!(silhouette_iou(&reduced, &grid) > 0.95, "{}", silhouette_iou(&reduced, &grid));
}

#[test]
fn flat_spots_of_a_front_half_are_lifted() {
    let positions = vec![Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::new(1.0, 1.0, 0.0), Vec3::new(0.5, 0.5, 0.3)];
    let (a, b, c, d, top) = (0, 1, 2, 3, 4);
    let front = [[a, b, top], [b, d, top], [d, c, top], [c, a, top]];
    let (all, triangles) = with_mirror_image(&positions, &front);
    let solid = Mesh { positions: all, triangles, ..Mesh::default() };
    let half = FrontHalf::of(&solid).unwrap();
    // The same square from two flat triangles, and a lone flat triangle.
    for (flat, n) in [(vec![[a, b, d], [a, d, c]], 4), (vec![[a, b, d]], 3)] {
        let (raised, triangles) = half.lift_flat_spots(positions.clone(), flat);
        assert_eq!(triangles.len(), n);
        let (raised, triangles) = with_mirror_image(&raised, &triangles);
        let t = topology(&raised, &triangles);
        assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{t:?}");
        assert!(raised.iter().any(|p| p.z == 0.3));
    }
}

#[test]
fn silhouettes_of_real_cutouts_survive_small_budgets() {
    for (name, cutout) in cutouts("images/object") {
        let mesh = clean(&inflated(&cutout, &[]).unwrap(), 0.001).unwrap();
        for (budget, least) in [(10000, 0.99), (3000, 0.98)] {
            let reduced = check(&mesh, budget, &name);
            let iou = silhouette_iou(&reduced, &cutout);
            println!("{name} to {budget}: IoU {iou:.4}");
            assert!(iou >= least, "{name} to {budget}: IoU {iou}");
        }
    }
}

#[test]
fn equal_meshes_give_equal_bytes_and_the_front_view_stays() {
    let mut mesh = torus(40);
    mesh.front = Some(FrontView { metres_per_pixel: 0.1, origin: Vec2::ONE });
    let bytes = || check(&mesh, 800, "torus").to_bytes().unwrap();
    assert_eq!(bytes(), bytes());
}

/// Pieces, and vertices minus edges plus faces, of a closed mesh.
fn shape(mesh: &Mesh) -> (usize, i64) {
    let t = topology(&mesh.positions, &mesh.triangles);
    assert!(t.is_watertight() && t.is_manifold(), "{t:?}");
    (t.n_components, t.n_vertices as i64 - t.n_triangles as i64 / 2)
}

#[test]
fn preserved_topology_costs_the_budget_and_not_a_piece_or_a_handle() {
    // A ring, and beside it a ball that any budget would rather do without.
    let mut mesh = torus(40);
    let ball = clean(&shapes::sphere(8), 0.0).unwrap();
    let first = mesh.positions.len() as u32;
    mesh.positions.extend(ball.positions.iter().map(|p| *p * 0.02 + Vec3::new(3.0, 0.1, 0.2)));
    mesh.triangles.extend(ball.triangles.iter().map(|t| t.map(|v| v + first)));
    mesh.normals.clear();
    assert_eq!(shape(&mesh), (2, 2));
    let at = |budget: usize, preserve_topology: bool| {
        let options = SimplifyOptions { target: SimplifyTarget::Triangles(budget), preserve_topology };
        simplify_with(&mesh, &options).unwrap()
    };
    let (lost, report) = at(16, false);
    // The ring has come open, or the ball is gone.
    let t = topology(&lost.positions, &lost.triangles);
    assert!(report.triangles <= 16 && !(t.is_watertight() && shape(&lost) == (2, 2)), "{report:?}");
    let (kept, report) = at(16, true);
    assert_eq!(shape(&kept), (2, 2));
    // As few as the small ball survives: it goes before the ring gets coarse.
    assert!((17..=300).contains(&report.triangles), "{report:?}");
    assert!(report.reason.unwrap().contains("lose a piece, a handle or a hole"));
}

/// Largest distance of two surfaces, by points on each and the other's nearest triangle.
fn largest_distance(a: &Mesh, b: &Mesh) -> f64 {
    super::super::compare::distances(a, b, 20_000, 1).unwrap().max
}

#[test]
fn vertices_end_up_where_the_surfaces_are_near_each_other() {
    let mut bumpy = torus(160);
    for p in &mut bumpy.positions {
        *p += Vec3::new((p.y * 9.0).sin(), (p.z * 8.0).sin(), (p.x * 7.0).sin()) * 0.03;
    }
    let rough = super::collapse::reduce(
        &bumpy,
        false,
        super::outline_locks(&bumpy),
        &SimplifyOptions { target: SimplifyTarget::Triangles(1000), preserve_topology: false },
    );
    let fitted = check(&bumpy, 1000, "bumpy ring");
    let (before, after) = (largest_distance(&bumpy, &rough.0), largest_distance(&bumpy, &fitted));
    // Sampled.
    assert!(after < 0.85 * before, "{after} was {before}");
}

// ---------------------------------------------------------------- colours

/// Columns and rows of `plate`.
const CELLS: u32 = 60;
/// Where the plate changes its colour, at each height: a wave that no row of its vertices follows.
fn border(y: f32) -> f32 {
    0.5 + 0.12 * (y * 9.0).sin()
}

/// A flat square of side 1, red to the left of `border` and blue to the right.
fn plate(has_layout: bool) -> Mesh {
    let n = CELLS + 1;
    let mut mesh = Mesh::default();
    for i in 0..n * n {
        let (x, y) = ((i % n) as f32 / CELLS as f32, (i / n) as f32 / CELLS as f32);
        mesh.positions.push(Vec3::new(x, y, 0.25));
        mesh.normals.push(Vec3::Z);
        mesh.colors.push(if x < border(y) { Vec3::new(0.8, 0.1, 0.1) } else { Vec3::new(0.1, 0.1, 0.8) });
        if has_layout {
            mesh.uvs.push(Vec2::new(x, 1.0 - y));
        }
    }
    for cell in (0..CELLS * CELLS).map(|c| c / CELLS * n + c % CELLS) {
        mesh.triangles.extend([[cell, cell + 1, cell + n + 1], [cell, cell + n + 1, cell + n]]);
    }
    mesh
}

/// The share of the plate that shows the other side's colour.
fn wrong_side(mesh: &Mesh) -> f32 {
    const SIDE: usize = 200;
    let at = |i: usize| (i as f32 + 0.5) / SIDE as f32;
    let mut n_wrong = 0;
    for p in (0..SIDE * SIDE).map(|i| Vec2::new(at(i % SIDE), at(i / SIDE))) {
        let blueness = mesh.triangles.iter().find_map(|&t| {
            let [a, b, c] = mesh.corners(t).map(|p| p.truncate());
            let area = (b - a).perp_dot(c - a);
            let weights = [(b, c), (c, a), (a, b)].map(|(u, v)| (v - u).perp_dot(p - u) / area);
            let is_inside = area != 0.0 && weights.iter().all(|w| *w >= -1e-5);
            is_inside.then(|| (0..3).map(|k| weights[k] * mesh.colors[t[k] as usize].z).sum::<f32>())
        });
        let is_blue = blueness.unwrap() > 0.45;
        n_wrong += usize::from(is_blue != (p.x >= border(p.y)));
    }
    n_wrong as f32 / (SIDE * SIDE) as f32
}

/// With colours as weights; and without them, each vertex then taking the colour of the plate there.
#[test]
fn borders_of_colour_keep_their_place() {
    for has_layout in [false, true] {
        let plate = plate(has_layout);
        let coloured = simplify(&plate, 150).unwrap();
        let mut plain = simplify(&Mesh { colors: Vec::new(), ..plate.clone() }, 150).unwrap();
        assert!(plain.colors.is_empty());
        let nearest = |p: &Vec3| {
            let order = |q: &usize| plate.positions[*q].distance_squared(*p);
            (0..plate.positions.len()).min_by(|a, b| order(a).total_cmp(&order(b))).unwrap()
        };
        plain.colors = plain.positions.iter().map(|p| plate.colors[nearest(p)]).collect();
        let [whole, coloured_off, plain_off] = [&plate, &coloured, &plain].map(wrong_side);
        let n = [&coloured, &plain].map(|mesh| mesh.triangles.len());
        println!("layout {has_layout}: {whole} of {coloured_off} with, {plain_off} without; {n:?} triangles");
        assert_eq!(coloured.colors.len(), coloured.positions.len());
        assert!(coloured.triangles.len() <= 150);
        assert!(coloured_off < 0.02 && plain_off > 3.0 * coloured_off, "{has_layout}: {coloured_off} {plain_off}");
    }
}
