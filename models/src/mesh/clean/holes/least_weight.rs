//! The flattest triangulation of a small hole, by dynamic programming.

use glam::Vec3;

use super::{Rim, normal};

/// 1 minus the cosine at the sharpest edge, then area: least is best.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Weight(f32, f32);

const NEVER: Weight = Weight(f32::INFINITY, f32::INFINITY);

/// The best way to fill the part of the rim from i to k.
#[derive(Clone, Copy)]
struct Best {
    weight: Weight,
    /// Third corner of the triangle at the chord from i to k, and its normal.
    corner: usize,
    normal: Vec3,
}

/// Triangles as indices into the rim; `None` when every way has a flat triangle
/// or an edge that is taken. Time n^3, memory n^2.
pub(super) fn triangulate(rim: &Rim) -> Option<Vec<[usize; 3]>> {
    let n = rim.points.len();
    let mut best = vec![Best { weight: NEVER, corner: 0, normal: Vec3::ZERO }; n * n];
    for i in 0..n - 1 {
        best[i * n + i + 1] = Best { weight: Weight(0.0, 0.0), corner: i, normal: rim.outside[i] };
    }
    for span in 2..n {
        for i in 0..n - span {
            let k = i + span;
            let is_whole = span == n - 1;
            if !is_whole && rim.is_taken(i, k) {
                continue;
            }
            for j in i + 1..k {
                let (first, second) = (best[i * n + j], best[j * n + k]);
                if first.weight == NEVER || second.weight == NEVER {
                    continue;
                }
                let [a, b, c] = [i, j, k].map(|v| rim.points[v]);
                let Some(face) = normal(a, b, c) else { continue };
                let bend = |other: Vec3| 1.0 - face.dot(other);
                let mut sharpest = first.weight.0.max(second.weight.0).max(bend(first.normal)).max(bend(second.normal));
                if is_whole {
                    sharpest = sharpest.max(bend(rim.outside[n - 1]));
                }
                let area = first.weight.1 + second.weight.1 + (b - a).cross(c - a).length();
                let weight = Weight(sharpest, area);
                if weight < best[i * n + k].weight {
                    best[i * n + k] = Best { weight, corner: j, normal: face };
                }
            }
        }
    }
    if best[n - 1].weight == NEVER {
        return None;
    }
    let mut faces = Vec::with_capacity(n - 2);
    let mut open = vec![(0, n - 1)];
    while let Some((i, k)) = open.pop() {
        if k - i >= 2 {
            let j = best[i * n + k].corner;
            faces.push([i, j, k]);
            open.extend([(i, j), (j, k)]);
        }
    }
    Some(faces)
}
