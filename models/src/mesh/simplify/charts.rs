//! The charts of a texture layout, and where a reduced mesh does them harm.

use std::collections::BTreeSet;

use glam::{DVec2, Vec2};

use super::super::{Mesh, raster::scan::ScanTriangle, topology::DisjointSets};

/// Texels along a side of the grid on which charts are kept apart.
const SIZE: u32 = 1024;
/// A layout whose charts are meant to be apart may reach this far out of the
/// texture, and have this share of its triangles on others.
const OUTSIDE: f32 = 0.1;
const MAX_DOUBLED: f64 = 0.01;

pub(super) struct Charts {
    /// For each vertex its chart: vertices that triangles connect.
    chart_of: Vec<u32>,
    /// For each chart, by its first vertex, which way its triangles turn in the
    /// texture: 1, -1, or 0 where they do not agree.
    way_round: Vec<i8>,
    /// Vertices on the rim of their chart.
    on_rim: Vec<bool>,
    /// Whether texels have one chart at most and all lie within the texture: what
    /// is laid out several times on purpose cannot be kept apart.
    is_single: bool,
}

impl Charts {
    /// `triangles`: those of `mesh`, on vertices that are one where they agree.
    pub fn of(mesh: &Mesh, triangles: &[[u32; 3]]) -> Charts {
        let n = mesh.positions.len();
        let mut sets = DisjointSets::new(n);
        for &[a, b, c] in triangles {
            sets.join(a, b);
            sets.join(b, c);
        }
        let chart_of: Vec<u32> = (0..n as u32).map(|v| sets.find(v)).collect();
        // Triangles that turn left, right, and neither way.
        let mut n_turns = vec![[0u32; 3]; n];
        for &t in triangles {
            let area = turn(t.map(|v| mesh.uvs[v as usize]));
            let kind = if area > 0.0 {
                0
            } else if area < 0.0 {
                1
            } else {
                2
            };
            n_turns[chart_of[t[0] as usize] as usize][kind] += 1;
        }
        let way = |n_turns: &[u32; 3]| match n_turns {
            [_, 0, 0] => 1,
            [0, _, 0] => -1,
            _ => 0,
        };
        let way_round = n_turns.iter().map(way).collect();
        let mut on_rim = vec![false; n];
        let edges = super::super::topology::EdgeTable::new(n, triangles);
        for users in edges.iter().filter(|users| users.len() == 1) {
            let face = triangles[users[0].face() as usize];
            on_rim[face[users[0].side()] as usize] = true;
            on_rim[face[(users[0].side() + 1) % 3] as usize] = true;
        }
        let inside = |uv: &Vec2| uv.min_element() >= -OUTSIDE && uv.max_element() <= 1.0 + OUTSIDE;
        let mut charts = Charts { chart_of, way_round, on_rim, is_single: true };
        let n_doubled = || Charts::doubled(triangles, &|v| mesh.uvs[v as usize]).len();
        charts.is_single = mesh.uvs.iter().all(inside) && n_doubled() as f64 <= MAX_DOUBLED * triangles.len() as f64;
        charts
    }

    /// Vertices of `before` to hold so that no triangle of `after` turns over in
    /// the texture or lies on another. Both have vertices of the input.
    pub fn trouble(
        &self,
        after: &[[u32; 3]],
        uv_after: impl Fn(u32) -> Vec2,
        before: &[[u32; 3]],
        uv_before: impl Fn(u32) -> Vec2,
    ) -> BTreeSet<u32> {
        let mut bad = BTreeSet::new();
        for (t, &triangle) in after.iter().enumerate() {
            let way = f32::from(self.way_round[self.chart_of[triangle[0] as usize] as usize]);
            if way != 0.0 && turn(triangle.map(&uv_after)) * way <= 0.0 {
                bad.insert(t);
            }
        }
        if self.is_single {
            bad.extend(Charts::doubled(after, &uv_after));
        }
        let mut held = BTreeSet::new();
        if bad.is_empty() {
            return held;
        }
        let boxes: Vec<(u32, Vec2, Vec2)> = bad
            .iter()
            .map(|&t| {
                let corners = after[t].map(&uv_after);
                let low = corners[0].min(corners[1]).min(corners[2]);
                let high = corners[0].max(corners[1]).max(corners[2]);
                let more = (high - low).max_element() * 0.1;
                (self.chart_of[after[t][0] as usize], low - more, high + more)
            })
            .collect();
        let corners: BTreeSet<u32> = bad.iter().flat_map(|&t| after[t]).collect();
        for triangle in before {
            let touches = triangle.iter().any(|v| corners.contains(v));
            for &v in triangle {
                let near = |(chart, low, high): &(u32, Vec2, Vec2)| {
                    let uv = uv_before(v);
                    self.chart_of[v as usize] == *chart && uv.cmpge(*low).all() && uv.cmple(*high).all()
                };
                // A rim that was cut short comes back between the corners of what it cut.
                if touches || (self.on_rim[v as usize] && boxes.iter().any(near)) {
                    held.insert(v);
                }
            }
        }
        held
    }

    /// Triangles that have a texel with another one.
    fn doubled(triangles: &[[u32; 3]], uv: &impl Fn(u32) -> Vec2) -> BTreeSet<usize> {
        let mut owner = vec![u32::MAX; (SIZE * SIZE) as usize];
        let mut doubled = BTreeSet::new();
        for (t, triangle) in triangles.iter().enumerate() {
            let corners = triangle.map(|v| uv(v).as_dvec2() * f64::from(SIZE));
            let Some(scan) = ScanTriangle::new(corners.map(|c: DVec2| c.clamp(DVec2::splat(-1e6), DVec2::splat(1e6))))
            else {
                continue;
            };
            scan.for_each_run(SIZE, scan.rows(SIZE), |y, xs| {
                let row = (y * SIZE) as usize;
                for texel in &mut owner[row + xs.start as usize..row + xs.end as usize] {
                    if *texel == u32::MAX {
                        *texel = t as u32;
                    } else {
                        doubled.extend([*texel as usize, t]);
                    }
                }
            });
        }
        doubled
    }
}

/// Twice the signed area.
fn turn([a, b, c]: [Vec2; 3]) -> f32 {
    (b - a).perp_dot(c - a)
}
