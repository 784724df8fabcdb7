//! Lays one side of a solid out flat.
//!
//! Starts from the projection along the view axis, whose outline stays fixed,
//! and moves inner vertices to the mean of their neighbours, weighted by mean
//! value coordinates (Floater, "Mean value coordinates", 2003). The lengths that
//! the weights are taken from blend the projection (which these weights leave
//! as it is) and the true surface (which spreads texels evenly over it).

use glam::{DVec2, Vec3};

use super::{Chart, Surface, View, adjacency::NONE, bounds, signed_area};

/// Gauss-Seidel sweeps. They even out the rim and reach some dozen triangles
/// inwards; the middle of the picture stays as sharp as it is.
const SWEEPS: usize = 40;

/// Rounds of taking vertices back towards the projection where triangles fold.
const REPAIRS: usize = 12;

/// The chart of the given faces, seen along the view's axis. Triangles may still
/// be flipped in it where they are no height field in that view.
pub fn lay_out(surface: &Surface, members: Vec<u32>, view: &View, spread: f64) -> Chart {
    let mut local = vec![u32::MAX; surface.positions.len()];
    let mut vertices = Vec::new();
    let mut triangles = Vec::with_capacity(members.len());
    for &f in &members {
        triangles.push(surface.faces[f as usize].map(|v| {
            let known = &mut local[v as usize];
            if *known == u32::MAX {
                *known = vertices.len() as u32;
                vertices.push(v);
            }
            *known
        }));
    }
    let points: Vec<Vec3> = vertices.iter().map(|&v| surface.positions[v as usize]).collect();
    let projected: Vec<DVec2> = points
        .iter()
        .map(|p| p.as_dvec3())
        .map(|p| DVec2::new(view.right.as_dvec3().dot(p), view.down.as_dvec3().dot(p)))
        .collect();

    let flat = if spread > 0.0 {
        let mut inner = vec![true; points.len()];
        for v in outline(surface, &members) {
            inner[local[v as usize] as usize] = false;
        }
        relaxed(&points, projected, &triangles, &inner, spread)
    } else {
        projected
    };
    let corners = triangles.iter().map(|t| t.map(|v| flat[v as usize])).collect();
    Chart { faces: members, corners }
}

/// Whether a triangle is neither flipped nor flat in a chart of the given size.
/// A millionth of the chart is what f32 texture coordinates still resolve.
pub fn is_upright(corners: [DVec2; 3], chart_size: f64) -> bool {
    let [a, b, c] = corners;
    let longest = (b - a).length().max((c - b).length()).max((a - c).length());
    signed_area(corners) > 1e-5 * chart_size * longest
}

fn relaxed(points: &[Vec3], projected: Vec<DVec2>, triangles: &[[u32; 3]], inner: &[bool], spread: f64) -> Vec<DVec2> {
    let neighbours = weights(points, &projected, triangles, spread);
    let mut moved = projected.clone();
    for _ in 0..SWEEPS {
        for v in (0..moved.len()).filter(|&v| inner[v]) {
            let mut mean = DVec2::ZERO;
            for &(n, weight) in &neighbours[v] {
                mean += moved[n as usize] * weight;
            }
            moved[v] = mean;
        }
    }
    repair(&projected, moved, triangles)
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

/// Vertices at which the faces end.
fn outline(surface: &Surface, members: &[u32]) -> Vec<u32> {
    let mut is_member = vec![false; surface.faces.len()];
    members.iter().for_each(|&f| is_member[f as usize] = true);
    let mut outline = Vec::new();
    for &f in members {
        for (k, &n) in surface.neighbours[f as usize].iter().enumerate() {
            if n == NONE || !is_member[n as usize] {
                let face = surface.faces[f as usize];
                outline.extend([face[k], face[(k + 1) % 3]]);
            }
        }
    }
    outline
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
