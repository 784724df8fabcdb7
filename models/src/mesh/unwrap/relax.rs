//! Lays one side of a solid out flat.
//!
//! Starts from the projection along the view axis, whose outline stays fixed,
//! and moves inner vertices to the mean of their neighbours, weighted by mean
//! value coordinates (Floater, "Mean value coordinates", 2003). The lengths that
//! the weights are taken from blend the projection (which these weights leave
//! as it is) and the true surface (which spreads texels evenly over it).

use std::collections::{BTreeMap, HashMap};

use glam::{DVec2, Vec3};

use super::{Chart, View, bounds, signed_area};

/// Gauss-Seidel sweeps, over-relaxed: enough for the bulk of the change at
/// game budgets, and nothing depends on full convergence.
const SWEEPS: usize = 40;
const OVER_RELAXATION: f64 = 1.7;

/// Rounds of taking vertices back towards the projection where triangles fold.
const REPAIRS: usize = 12;

/// The chart of the given faces, seen along the view's axis. Triangles may still
/// be flipped in it where they are no height field in that view.
pub fn lay_out(positions: &[Vec3], faces: &[[u32; 3]], side: Vec<u32>, view: &View, spread: f64) -> Chart {
    let mut local = HashMap::new();
    let mut vertices = Vec::new();
    let triangles: Vec<[u32; 3]> = side
        .iter()
        .map(|&f| {
            faces[f as usize].map(|v| {
                *local.entry(v).or_insert_with(|| {
                    vertices.push(v);
                    vertices.len() as u32 - 1
                })
            })
        })
        .collect();
    let points: Vec<Vec3> = vertices.iter().map(|&v| positions[v as usize]).collect();
    let projected: Vec<DVec2> = points
        .iter()
        .map(|p| p.as_dvec3())
        .map(|p| DVec2::new(view.right.as_dvec3().dot(p), view.down.as_dvec3().dot(p)))
        .collect();

    let flat = if spread > 0.0 { relaxed(&points, &projected, &triangles, spread) } else { projected };
    let corners = triangles.iter().map(|t| t.map(|v| flat[v as usize])).collect();
    Chart { faces: side, corners }
}

/// Whether a triangle is neither flipped nor flat in a chart of the given size.
/// A millionth of the chart is what f32 texture coordinates still resolve.
pub fn is_upright(corners: [DVec2; 3], chart_size: f64) -> bool {
    let [a, b, c] = corners;
    let longest = (b - a).length().max((c - b).length()).max((a - c).length());
    signed_area(corners) > 1e-6 * chart_size * longest
}

fn relaxed(points: &[Vec3], projected: &[DVec2], triangles: &[[u32; 3]], spread: f64) -> Vec<DVec2> {
    let inner = inner_vertices(points.len(), triangles);
    let neighbours = weights(points, projected, triangles, spread);
    let mut moved = projected.to_vec();
    for _ in 0..SWEEPS {
        for v in (0..moved.len()).filter(|&v| inner[v]) {
            let mut mean = DVec2::ZERO;
            for &(n, weight) in &neighbours[v] {
                mean += moved[n as usize] * weight;
            }
            let step = (mean - moved[v]) * OVER_RELAXATION;
            moved[v] += step;
        }
    }
    repair(projected, moved, triangles)
}

/// Takes vertices of folded triangles back towards where they came from.
fn repair(projected: &[DVec2], moved: Vec<DVec2>, triangles: &[[u32; 3]]) -> Vec<DVec2> {
    let (low, high) = bounds(projected);
    let size = (high - low).max_element();
    let mut share = vec![1.0f64; moved.len()];
    let mut at = moved.clone();
    for round in 0..REPAIRS {
        let mut folded = vec![false; moved.len()];
        for triangle in triangles {
            let was_upright = is_upright(triangle.map(|v| projected[v as usize]), size);
            if was_upright && !is_upright(triangle.map(|v| at[v as usize]), size) {
                triangle.iter().for_each(|&v| folded[v as usize] = true);
            }
        }
        if !folded.contains(&true) {
            break;
        }
        for v in (0..moved.len()).filter(|&v| folded[v]) {
            share[v] = if round + 1 < REPAIRS { share[v] / 2.0 } else { 0.0 };
            at[v] = projected[v].lerp(moved[v], share[v]);
        }
    }
    at
}

/// Vertices all around which the side goes on.
fn inner_vertices(n_vertices: usize, triangles: &[[u32; 3]]) -> Vec<bool> {
    let mut n_faces: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let edges = |&[a, b, c]: &[u32; 3]| [(a, b), (b, c), (c, a)];
    for (a, b) in triangles.iter().flat_map(edges) {
        *n_faces.entry((a.min(b), a.max(b))).or_default() += 1;
    }
    let mut inner = vec![true; n_vertices];
    for ((a, b), _) in n_faces.into_iter().filter(|(_, n)| *n != 2) {
        inner[a as usize] = false;
        inner[b as usize] = false;
    }
    inner
}

/// For each vertex its neighbours and their weights, which sum to 1.
fn weights(points: &[Vec3], projected: &[DVec2], triangles: &[[u32; 3]], spread: f64) -> Vec<Vec<(u32, f64)>> {
    let (low, high) = bounds(projected);
    let shortest = (high - low).max_element() * 1e-9;
    let length = |a: u32, b: u32| {
        let (a, b) = (a as usize, b as usize);
        let flat = (projected[b] - projected[a]).length();
        let true_length = (points[b] - points[a]).as_dvec3().length();
        (flat + (true_length - flat) * spread).max(shortest)
    };
    let mut neighbours: Vec<Vec<(u32, f64)>> = vec![Vec::new(); points.len()];
    for &[a, b, c] in triangles {
        let (bc, ca, ab) = (length(b, c), length(c, a), length(a, b));
        for (v, next, last, opposite, to_next, to_last) in
            [(a, b, c, bc, ab, ca), (b, c, a, ca, bc, ab), (c, a, b, ab, ca, bc)]
        {
            let half_tan = half_angle_tangent(opposite, to_next, to_last);
            add(&mut neighbours[v as usize], next, half_tan / to_next);
            add(&mut neighbours[v as usize], last, half_tan / to_last);
        }
    }
    for list in &mut neighbours {
        let sum: f64 = list.iter().map(|(_, w)| w).sum();
        list.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    neighbours
}

fn add(list: &mut Vec<(u32, f64)>, neighbour: u32, weight: f64) {
    match list.iter_mut().find(|(n, _)| *n == neighbour) {
        Some((_, sum)) => *sum += weight,
        None => list.push((neighbour, weight)),
    }
}

/// Tangent of half the angle between the sides `b` and `c`, across from `a`.
/// Bounded, so that needles do not drown their neighbours.
fn half_angle_tangent(a: f64, b: f64, c: f64) -> f64 {
    let s = (a + b + c) / 2.0;
    let squared = ((s - b) * (s - c)).max(0.0) / (s * (s - a)).max(f64::MIN_POSITIVE);
    squared.sqrt().clamp(1e-4, 1e4)
}
