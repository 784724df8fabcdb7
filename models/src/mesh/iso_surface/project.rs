//! Moves vertices from where linear interpolation put them onto the true surface.
//!
//! Newton steps along a numerical gradient, from four probes at the corners of a
//! tetrahedron. A step that does not bring the value nearer to the level is taken
//! back and halved. No vertex leaves the ball of half a cell around its start, and
//! those of triangles that would turn over or vanish go back to it.

use glam::Vec3;

use super::{lattice::Lattice, sample::Sampler};
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

/// Vertices outside the bounds, which close the surface there, stay where they are.
pub fn project(mesh: &mut Mesh, lattice: &Lattice, steps: u32, sampler: &mut Sampler) -> Result<(), StageError> {
    let (low, high) = lattice.bounds();
    let cell = lattice.cell as f32;
    let starts = mesh.positions.clone();
    let movable: Vec<u32> = (0u32..)
        .zip(&starts)
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
