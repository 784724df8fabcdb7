//! Moves vertices from where linear interpolation put them onto the true surface.
//!
//! `refine` goes along the lattice's edges, where the crossing is bracketed. `project`
//! goes anywhere: Newton steps along a numerical gradient, from four probes at the corners of a
//! tetrahedron. A step that does not bring the value nearer to the level is taken
//! back and halved. No vertex leaves the ball of half a cell around its start, and
//! those of triangles that would turn over or vanish go back to it.

use glam::Vec3;

use super::{
    lattice::{Lattice, OUTSIDE},
    polygonize::EdgeVertex,
    sample::Sampler,
};
use crate::{
    error::StageError,
    mesh::{Mesh, topology::weld_map},
};

/// Distance of the probes along each axis, in cells: small against what one
/// cell can show, large against the rounding of f32.
const PROBE: f32 = 0.125;
/// Furthest from its start that a vertex may go, in cells.
const REACH: f32 = 0.5;
const TETRAHEDRON: [Vec3; 4] =
    [Vec3::new(1.0, 1.0, 1.0), Vec3::new(1.0, -1.0, -1.0), Vec3::new(-1.0, 1.0, -1.0), Vec3::new(-1.0, -1.0, 1.0)];

/// Moves vertices along their edges to where the field is at the level, by `steps` of
/// the Illinois method (Dowell and Jarratt, 1971): the crossing stays bracketed, so
/// that no triangle can turn over. `mesh.positions` starts with `on_edges`.
pub fn refine(
    mesh: &mut Mesh,
    on_edges: &[EdgeVertex],
    lattice: &Lattice,
    steps: u32,
    sampler: &mut Sampler,
) -> Result<(), StageError> {
    let is_capping = |vertex: &EdgeVertex| vertex.ends.contains(&OUTSIDE);
    let movable: Vec<usize> = (0..on_edges.len()).filter(|&v| !is_capping(&on_edges[v])).collect();
    let mut brackets: Vec<Bracket> = movable.iter().map(|&v| Bracket::of(on_edges[v].ends)).collect();
    for _ in 0..steps {
        let shares: Vec<f64> = brackets.iter().map(Bracket::guess).collect();
        let points: Vec<Vec3> =
            movable.iter().zip(&shares).map(|(&v, &share)| on_edges[v].position(lattice, share)).collect();
        let values = sampler.at_points(&points)?;
        for ((bracket, share), value) in brackets.iter_mut().zip(shares).zip(values) {
            bracket.narrow(share, value as f64);
        }
    }
    for (&vertex, bracket) in movable.iter().zip(&brackets) {
        mesh.positions[vertex] = on_edges[vertex].position(lattice, bracket.best());
    }
    Ok(())
}

/// Two places on an edge with values of different sign.
struct Bracket {
    shares: [f64; 2],
    values: [f64; 2],
    /// The values as the next guess weighs them.
    weights: [f64; 2],
    /// The end that was replaced last, and how often in a row.
    replaced: (usize, u32),
}

impl Bracket {
    fn of(ends: [f32; 2]) -> Bracket {
        let values = ends.map(f64::from);
        Bracket { shares: [0.0, 1.0], values, weights: values, replaced: (0, 0) }
    }

    fn guess(&self) -> f64 {
        let ([low, high], [a, b]) = (self.shares, self.weights);
        // An end that stays put: the field is steep there, and halving is faster.
        if self.replaced.1 > 2 || a == b { (low + high) / 2.0 } else { low + (high - low) * a / (a - b) }
    }

    fn narrow(&mut self, share: f64, value: f64) {
        let end = if (value > 0.0) == (self.values[0] > 0.0) { 0 } else { 1 };
        let n_in_a_row = if self.replaced.0 == end { self.replaced.1 + 1 } else { 1 };
        // A smaller weight brings the next guess nearer to the end that stays put.
        self.weights[1 - end] *= if n_in_a_row > 1 { 0.5 } else { 1.0 };
        (self.shares[end], self.values[end], self.weights[end]) = (share, value, value);
        self.replaced = (end, n_in_a_row);
    }

    fn best(&self) -> f64 {
        if self.values[0].abs() < self.values[1].abs() { self.shares[0] } else { self.shares[1] }
    }
}

/// Moves vertex `first` and those after it. Vertices outside the bounds, which close
/// the surface there, stay where they are.
pub fn project(
    mesh: &mut Mesh,
    first: usize,
    lattice: &Lattice,
    steps: u32,
    sampler: &mut Sampler,
) -> Result<(), StageError> {
    let (low, high) = lattice.bounds();
    let cell = lattice.cell as f32;
    let starts = mesh.positions.clone();
    let movable: Vec<u32> = (0u32..)
        .zip(&starts)
        .skip(first)
        .filter(|(_, p)| p.cmpge(low).all() && p.cmple(high).all())
        .map(|(vertex, _)| vertex)
        .collect();
    let mut points: Vec<Vec3> = movable.iter().map(|&v| starts[v as usize]).collect();
    let mut values = sampler.at_points(&points)?;
    let mut share = vec![1.0f32; points.len()];
    for _ in 0..steps {
        let probes: Vec<Vec3> =
            points.iter().flat_map(|&p| TETRAHEDRON.map(|corner| p + corner * (PROBE * cell))).collect();
        let around = sampler.at_points(&probes)?;
        let tried: Vec<Vec3> = (0..points.len())
            .map(|i| {
                let sum: Vec3 = (0..4).map(|k| TETRAHEDRON[k] * around[4 * i + k]).sum();
                let gradient = sum / (4.0 * PROBE * cell);
                let step = gradient * (-values[i] * share[i] / gradient.length_squared());
                let start = starts[movable[i] as usize];
                let moved = start + (points[i] + step - start).clamp_length_max(REACH * cell);
                // A flat field gives no direction.
                if moved.is_finite() { moved.clamp(low, high) } else { points[i] }
            })
            .collect();
        let found = sampler.at_points(&tried)?;
        for i in 0..points.len() {
            if found[i].abs() < values[i].abs() {
                (points[i], values[i]) = (tried[i], found[i]);
            } else {
                share[i] *= 0.5;
            }
        }
    }
    for (&vertex, point) in movable.iter().zip(points) {
        mesh.positions[vertex as usize] = point;
    }
    undo_flips(mesh, &starts);
    Ok(())
}

/// Puts vertices back until no triangle has turned over and no two vertices coincide.
/// Ends, because each round puts at least one more vertex back.
fn undo_flips(mesh: &mut Mesh, starts: &[Vec3]) {
    loop {
        let mut back = Vec::new();
        for triangle in &mesh.triangles {
            let normal = |positions: &[Vec3]| {
                let [a, b, c] = triangle.map(|v| positions[v as usize].as_dvec3());
                (b - a).cross(c - a)
            };
            if normal(&mesh.positions).dot(normal(starts)) <= 0.0 {
                back.extend(triangle.map(|v| v as usize));
            }
        }
        for (vertex, first) in weld_map(&mesh.positions).into_iter().enumerate() {
            if first as usize != vertex {
                back.extend([vertex, first as usize]);
            }
        }
        back.retain(|&v| mesh.positions[v] != starts[v]);
        if back.is_empty() {
            return;
        }
        back.into_iter().for_each(|v| mesh.positions[v] = starts[v]);
    }
}
