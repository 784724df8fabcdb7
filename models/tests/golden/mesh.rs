//! Fixtures of kind `triposr_mesh`: the surface of a grid of densities.

use glam::Vec3;
use meshkiln_models::{
    field::from_decoder_axes,
    mesh::{
        Mesh,
        iso_surface::{Grid, Inside, marching_cubes},
    },
};

use crate::fixture::{Comparison, Fixture};

/// Cracks in the reference's surface and diagonals chosen otherwise change area, volume and number
/// of triangles by this much at most, relative.
const AREA: f64 = 1e-3;
const VOLUME: f64 = 1e-3;
const TRIANGLES: f64 = 5e-3;

/// Vertices, number of triangles, area and volume; order is nobody's. Our surfaces are closed and
/// keep vertices 1/1024 of an edge away from its ends, so that no triangle vanishes. The reference
/// snaps them to the end, and has open edges and triangles without area there (32 edges in `blob`,
/// 40 and 64 triangles in `wavy`): vertices at ends have 1/1024 of an edge as tolerance, all others
/// the fixture's.
pub fn compare(fixture: &Fixture) -> Vec<Comparison> {
    let radius = fixture.config["radius"].as_f64().expect("radius") as f32;
    let level = fixture.config["threshold"].as_f64().expect("threshold") as f32;
    let mut compared = Vec::new();
    for name in fixture.outputs.keys().filter_map(|output| output.strip_suffix(".vertices")) {
        let (shape, values) = fixture.input(name);
        let n = shape[0];
        // The reference's last axis runs fastest, ours the first.
        let turned: Vec<f32> = (0..n * n * n).map(|i| values[(i % n * n + i / n % n) * n + i / n / n]).collect();
        let cell = 2.0 * radius / (n - 1) as f32;
        let grid = Grid { values: &turned, n_points: [n; 3], origin: Vec3::splat(-radius), cell };
        let mesh = marching_cubes(&grid, level, Inside::Above).expect("surface");

        let golden = vectors(&fixture.golden(&format!("{name}.vertices")).1);
        let is_at_end = |p: Vec3| {
            let along = ((p + radius) / cell).to_array().map(|t| (t - t.round()).abs());
            along.iter().all(|t| *t < 1.5 / 1024.0)
        };
        let atol = fixture.outputs[&format!("{name}.vertices")].atol as f32;
        let tolerance = |p: Vec3| if is_at_end(p) { cell / 1024.0 + atol } else { atol };
        compared.push(nearest(&format!("{name}.vertices"), &golden, &mesh.positions, &tolerance));
        compared.push(nearest(&format!("{name}.vertices (ours)"), &mesh.positions, &golden, &tolerance));

        let n_triangles = fixture.outputs[&format!("{name}.faces")].shape[0] as f64;
        compared.push(one(&format!("{name}.faces"), mesh.triangles.len() as f64, n_triangles, TRIANGLES * n_triangles));
        for (what, got, share) in [("signed_volume", volume(&mesh), VOLUME), ("area", area(&mesh), AREA)] {
            let output = format!("{name}.{what}");
            let golden = f64::from(fixture.golden(&output).1[0]);
            compared.push(one(&output, got, golden, share * golden.abs()));
        }

        // The reference's demo turns its mesh upright too, but front to -z: ours is half a turn from it.
        let turned = vectors(&fixture.golden(&format!("{name}.gradio_vertices")).1);
        let half_turn: Vec<Vec3> = turned.iter().map(|p| Vec3::new(-p.x, p.y, -p.z)).collect();
        let upright: Vec<Vec3> = golden.iter().map(|p| from_decoder_axes(*p)).collect();
        compared.push(nearest(&format!("{name}.gradio_vertices"), &half_turn, &upright, &|_| atol));
    }
    compared
}

/// How far each point is from the nearest of `others`.
fn nearest(name: &str, points: &[Vec3], others: &[Vec3], tolerance: &dyn Fn(Vec3) -> f32) -> Comparison {
    let mut found = Comparison { name: name.to_owned(), n: points.len(), max_error: 0.0, share: 0.0, first_bad: None };
    for (i, p) in points.iter().enumerate() {
        let near = others.iter().copied().min_by(|a, b| a.distance(*p).total_cmp(&b.distance(*p))).expect("points");
        let error = (near - *p).abs().max_element();
        found.max_error = found.max_error.max(f64::from(error));
        found.share = found.share.max(f64::from(error / tolerance(*p)));
        if error > tolerance(*p) && found.first_bad.is_none() {
            found.first_bad = Some((i, near.x, p.x));
        }
    }
    found
}

fn one(name: &str, got: f64, golden: f64, tolerance: f64) -> Comparison {
    let error = (got - golden).abs();
    let first_bad = (error > tolerance).then_some((0, got as f32, golden as f32));
    Comparison { name: name.to_owned(), n: 1, max_error: error, share: error / tolerance, first_bad }
}

fn vectors(values: &[f32]) -> Vec<Vec3> {
    values.as_chunks::<3>().0.iter().map(|v| Vec3::from_array(*v)).collect()
}

fn volume(mesh: &Mesh) -> f64 {
    let det = |t: &[u32; 3]| {
        let [a, b, c] = mesh.corners(*t).map(|p| p.as_dvec3());
        a.dot(b.cross(c)) / 6.0
    };
    mesh.triangles.iter().map(det).sum()
}

fn area(mesh: &Mesh) -> f64 {
    let of = |t: &[u32; 3]| {
        let [a, b, c] = mesh.corners(*t).map(|p| p.as_dvec3());
        (b - a).cross(c - a).length() / 2.0
    };
    mesh.triangles.iter().map(of).sum()
}
