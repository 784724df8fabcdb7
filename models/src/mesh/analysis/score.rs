//! Scores from 0 to 100: what the counts mean for a game.
//!
//! Each score starts at 100. A defect multiplies it by `1 - presence` as soon as
//! it is there at all, and by one half for every `half` of its measure, mostly
//! the share of the elements that have it: 100 * (1 - presence) * 0.5^(share / half).
//! So scores only fall when a count rises, and no defect hides behind another.
//! The tables below are the whole formula.

use super::{Analysis, AnalysisLimits};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    pub topology: f64,
    pub geometry: f64,
    /// 0 without texture coordinates.
    pub uvs: f64,
    /// `None` when no budget was given.
    pub budget: Option<f64>,
    /// Weighted mean of those there are: topology 35, geometry 30, UVs 25, budget 10.
    pub overall: f64,
}

/// What a defect costs.
struct Cost {
    /// How much of it there is: mostly a share, 0 for none.
    measure: f64,
    /// Share of the score that is lost for its being there at all.
    presence: f64,
    /// Measure that halves the score.
    half: f64,
}

impl Scores {
    /// `a`'s own scores are not looked at.
    pub fn of(a: &Analysis, limits: &AnalysisLimits) -> Scores {
        if a.topology.n_triangles == a.shape.n_not_finite {
            // Nothing to see, or nothing that can be seen.
            return Scores { topology: 0.0, geometry: 0.0, uvs: 0.0, budget: None, overall: 0.0 };
        }
        let (topology, geometry, uvs) = (topology(a), geometry(a), uvs(a));
        let budget = budget(a, limits);
        let parts = [(Some(topology), 35.0), (Some(geometry), 30.0), (Some(uvs), 25.0), (budget, 10.0)];
        let there = parts.iter().filter_map(|(score, weight)| score.map(|score| (score, *weight)));
        let (sum, weights) = there.fold((0.0, 0.0), |(sum, all), (score, weight)| (sum + score * weight, all + weight));
        Scores { topology, geometry, uvs, budget, overall: sum / weights }
    }
}

fn topology(a: &Analysis) -> f64 {
    let (t, c) = (&a.topology, &a.connectivity);
    let edges = |n: usize| share(n, c.n_edges);
    let faces = |n: usize| share(n, t.n_triangles);
    let vertices = |n: usize| share(n, t.n_vertices);
    // `topology` counts edges whose two triangles disagree as non-manifold, too.
    let joined_by_more = t.n_non_manifold_edges.saturating_sub(c.n_flipped_edges);
    score(&[
        Cost { measure: edges(t.n_border_edges), presence: 0.15, half: 0.10 },
        Cost { measure: edges(joined_by_more), presence: 0.20, half: 0.10 },
        Cost { measure: vertices(t.n_non_manifold_vertices), presence: 0.10, half: 0.10 },
        Cost { measure: edges(c.n_flipped_edges), presence: 0.15, half: 0.15 },
        Cost { measure: faces(c.n_duplicate_faces), presence: 0.10, half: 0.05 },
        Cost { measure: share(c.n_loose_vertices, a.n_stored_vertices), presence: 0.02, half: 0.20 },
        Cost { measure: c.n_floaters as f64, presence: 0.05, half: 20.0 },
        // Three edges at a vertex are right at a corner; the count alone says so.
        Cost { measure: vertices(c.n_high_valence), presence: 0.0, half: 0.20 },
    ])
}

fn geometry(a: &Analysis) -> f64 {
    let (t, s) = (&a.topology, &a.shape);
    let faces = |n: usize| share(n, t.n_triangles);
    let inside_out = f64::from(u8::from(a.connectivity.n_inverted > 0));
    score(&[
        Cost { measure: faces(s.n_not_finite), presence: 0.50, half: 0.05 },
        Cost { measure: faces(t.n_degenerate), presence: 0.10, half: 0.05 },
        // Those without area are among the slivers; they pay twice, rightly.
        Cost { measure: faces(s.n_slivers), presence: 0.0, half: 0.30 },
        Cost { measure: faces(a.intersections.n_faces), presence: 0.08, half: 0.20 },
        Cost { measure: inside_out, presence: 0.50, half: f64::INFINITY },
    ])
}

fn uvs(a: &Analysis) -> f64 {
    let Some(layout) = &a.layout else { return 0.0 };
    let faces = |n: usize| share(n, a.topology.n_triangles);
    // An atlas is filled to about two thirds by a good packer.
    let unused = (1.0 - a.uv_use.coverage / 0.65).clamp(0.0, 1.0);
    score(&[
        // Charts that touch share a few texels on the measuring grid.
        Cost { measure: (a.uv_use.overlap - 0.001).max(0.0), presence: 0.10, half: 0.15 },
        Cost { measure: share(a.uv_use.n_outside, a.n_stored_vertices), presence: 0.05, half: 0.30 },
        Cost { measure: (layout.stretch_l2 - 1.05).max(0.0), presence: 0.0, half: 0.80 },
        Cost { measure: (layout.density.deviation - 0.05).max(0.0), presence: 0.0, half: 0.60 },
        Cost { measure: faces(layout.n_flipped), presence: 0.05, half: 0.10 },
        Cost { measure: faces(layout.n_collapsed), presence: 0.10, half: 0.10 },
        // A box takes six, and so does whatever is made like one.
        Cost { measure: faces(layout.n_charts.saturating_sub(6 * a.topology.n_components)), presence: 0.0, half: 0.15 },
        Cost { measure: unused, presence: 0.0, half: 0.90 },
    ])
}

fn budget(a: &Analysis, limits: &AnalysisLimits) -> Option<f64> {
    let over = |n: f64, budget: u64| (n / budget as f64 - 1.0).max(0.0);
    let mut costs = Vec::new();
    if limits.budget.triangles > 0 {
        let over = over(a.topology.n_triangles as f64, limits.budget.triangles);
        costs.push(Cost { measure: over, presence: 0.05, half: 0.50 });
    }
    if limits.budget.texture > 0 && a.layout.is_some() {
        let side = f64::from(a.texture_size.0.max(a.texture_size.1));
        costs.push(Cost { measure: over(side, limits.budget.texture), presence: 0.05, half: 1.0 });
    }
    if costs.is_empty() {
        return None;
    }
    // What the graphics card works through are stored vertices: about half as
    // many as triangles where the surface is smooth, six times that in a soup.
    let per_triangle = share(a.n_stored_vertices, a.topology.n_triangles);
    costs.push(Cost { measure: (per_triangle - 1.0).max(0.0), presence: 0.0, half: 2.0 });
    Some(score(&costs))
}

fn share(n: usize, all: usize) -> f64 {
    n as f64 / all.max(1) as f64
}

fn score(costs: &[Cost]) -> f64 {
    let left = costs.iter().filter(|cost| cost.measure > 0.0);
    100.0 * left.map(|cost| (1.0 - cost.presence) * 0.5f64.powf(cost.measure / cost.half)).product::<f64>()
}
