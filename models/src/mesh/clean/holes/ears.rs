//! Triangulation of a large hole by cutting off ears, the roundest first.

use glam::Vec3;

use super::{Rim, normal};

/// Triangles as indices into the rim; `None` when no ear is left that is neither
/// flat nor folded nor needs an edge that is taken. Time n^2.
pub(super) fn triangulate(rim: &Rim) -> Option<Vec<[usize; 3]>> {
    let n = rim.points.len();
    // Twice the area over which the rim goes round, as seen along its normal (Newell).
    let around: Vec3 =
        (0..n).map(|i| (rim.points[i] - rim.points[0]).cross(rim.points[(i + 1) % n] - rim.points[0])).sum();
    let up = around.normalize_or_zero();
    let (mut before, mut after): (Vec<usize>, Vec<usize>) =
        ((0..n).map(|i| (i + n - 1) % n).collect(), (0..n).map(|i| (i + 1) % n).collect());
    let score = |before: &[usize], after: &[usize], i: usize| ear_score(rim, up, [before[i], i, after[i]]);
    let mut scores: Vec<f32> = (0..n).map(|i| score(&before, &after, i)).collect();
    let mut left: Vec<usize> = (0..n).collect();
    let mut faces = Vec::with_capacity(n - 2);
    while left.len() > 3 {
        let &ear = left.iter().max_by(|&&i, &&j| scores[i].total_cmp(&scores[j]).then(j.cmp(&i)))?;
        if scores[ear] <= 0.0 {
            return None;
        }
        let (from, to) = (before[ear], after[ear]);
        if rim.is_taken(from, to)
            || left.iter().any(|&v| ![from, ear, to].contains(&v) && lies_in(rim, up, [from, ear, to], v))
        {
            // Tried again once a neighbour has gone.
            scores[ear] = 0.0;
            continue;
        }
        faces.push([from, ear, to]);
        left.retain(|&v| v != ear);
        (after[from], before[to]) = (to, from);
        for v in [from, to] {
            scores[v] = score(&before, &after, v);
        }
    }
    let last = [left[0], left[1], left[2]];
    normal(rim.points[last[0]], rim.points[last[1]], rim.points[last[2]])?;
    faces.push(last);
    Some(faces)
}

/// How round the ear is, 0..=1, and how little it leans; 0 for ears that are
/// flat or face the other way.
fn ear_score(rim: &Rim, up: Vec3, ear: [usize; 3]) -> f32 {
    let [a, b, c] = ear.map(|v| rim.points[v]);
    let Some(face) = normal(a, b, c) else { return 0.0 };
    let sides = a.distance_squared(b) + b.distance_squared(c) + c.distance_squared(a);
    let round = 2.0 * 3f32.sqrt() * (b - a).cross(c - a).length() / sides;
    round * face.dot(up).max(0.0)
}

/// Whether `v` lies in the triangle as seen along `up`.
fn lies_in(rim: &Rim, up: Vec3, triangle: [usize; 3], v: usize) -> bool {
    let corners = triangle.map(|i| rim.points[i]);
    let p = rim.points[v];
    (0..3).all(|i| (corners[(i + 1) % 3] - corners[i]).cross(p - corners[i]).dot(up) > 0.0)
}
