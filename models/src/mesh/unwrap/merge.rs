//! Joins charts that lie flat together, so that there are few and large ones.
//!
//! In: charts as grown. Out: fewer charts over the same faces. Of all neighbours
//! those that share the largest part of the smaller one's outline are tried first;
//! a pair is joined where the whole flattens as evenly as `MAX_DEVIATION` says.

use std::collections::{BTreeMap, BTreeSet};

use glam::DVec2;
use rayon::prelude::*;

use super::{
    Chart, Surface,
    adjacency::NONE,
    bounds,
    flatten::{self, IsCancelled},
    signed_area,
};
use crate::error::StageError;

/// Largest deviation of texel density within a joined chart: less than the 10 %
/// that an atlas promises, which also counts what charts were from the start.
const MAX_DEVIATION: f64 = 0.06;

/// Largest mean ratio between the longest and the shortest image of a unit length.
const MAX_SHEAR: f64 = 1.2;

/// Smallest share of the smaller chart's outline along which charts are joined.
/// Less makes long arms that pack badly.
const MIN_SHARED: f64 = 0.15;

/// Smallest share of its bounding box that a joined chart fills: less wastes texture.
const MIN_FILL: f64 = 0.4;

/// Largest total curvature of a joined chart, in radians: more never lies flat.
const MAX_CURVATURE: f64 = 2.5;

/// Faces that are flattened in trials, all together: bounds the time to seconds.
const BUDGET: usize = 300_000;

/// What a trial costs whatever its size, in faces.
const TRIAL: usize = 50;

/// Charts of at most this many faces go to a large neighbour first, all at once.
const SMALL: usize = 24;

/// Joins charts until no pair is left that fits, or the budget is used up.
pub fn merge(surface: &Surface, charts: Vec<Chart>, is_cancelled: IsCancelled) -> Result<Vec<Chart>, StageError> {
    let mut graph = Graph::new(surface, charts);
    let mut failed: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut budget = BUDGET;
    let stars = graph.stars(&mut budget);
    graph.try_all(stars, is_cancelled)?;
    loop {
        let pairs = graph.next_pairs(&mut failed, &mut budget);
        if pairs.is_empty() {
            return Ok(graph.charts.into_iter().flatten().collect());
        }
        let refused = graph.try_all(pairs, is_cancelled)?;
        failed.extend(refused.iter().map(|pair| (pair[0], pair[1])));
    }
}

/// Charts and who borders on whom. A joined chart gets a new number, so that a
/// pair of numbers is tried once.
struct Graph<'a> {
    surface: &'a Surface<'a>,
    /// `None` once joined into another.
    charts: Vec<Option<Chart>>,
    chart_of: Vec<u32>,
    outlines: Vec<f64>,
    /// Length of the border between two charts, both ways.
    borders: Vec<BTreeMap<u32, f64>>,
    /// For each vertex what its angles lack of a full turn.
    deficits: Vec<f64>,
}

impl<'a> Graph<'a> {
    fn new(surface: &'a Surface<'a>, charts: Vec<Chart>) -> Graph<'a> {
        let mut chart_of = vec![NONE; surface.faces.len()];
        for (c, chart) in charts.iter().enumerate() {
            chart.faces.iter().for_each(|&f| chart_of[f as usize] = c as u32);
        }
        let mut outlines = vec![0.0; charts.len()];
        let mut borders = vec![BTreeMap::new(); charts.len()];
        let at = |v: u32| surface.positions[v as usize].as_dvec3();
        for (f, face) in surface.faces.iter().enumerate().filter(|(f, _)| chart_of[*f] != NONE) {
            for k in 0..3 {
                let own = chart_of[f];
                let neighbour = surface.neighbours[f][k];
                let other = if neighbour == NONE { NONE } else { chart_of[neighbour as usize] };
                if other == own {
                    continue;
                }
                let length = at(face[k]).distance(at(face[(k + 1) % 3]));
                outlines[own as usize] += length;
                if other != NONE {
                    *borders[own as usize].entry(other).or_insert(0.0) += length;
                }
            }
        }
        let deficits = deficits(surface);
        Graph { surface, charts: charts.into_iter().map(Some).collect(), chart_of, outlines, borders, deficits }
    }

    fn faces_of(&self, chart: u32) -> impl Iterator<Item = u32> {
        self.charts[chart as usize].iter().flat_map(|chart| chart.faces.iter().copied())
    }

    fn n_faces(&self, chart: u32) -> usize {
        self.charts[chart as usize].as_ref().map_or(0, |chart| chart.faces.len())
    }

    /// Joins each group that lies flat together; returns the others.
    fn try_all(&mut self, groups: Vec<Vec<u32>>, is_cancelled: IsCancelled) -> Result<Vec<Vec<u32>>, StageError> {
        let joined: Vec<Option<Chart>> = groups
            .par_iter()
            .map(|group| {
                let faces = group.iter().flat_map(|&chart| self.faces_of(chart)).collect();
                flatten::as_one_chart(self.surface, faces, is_cancelled).filter(|chart| is_good(self.surface, chart))
            })
            .collect();
        if is_cancelled() {
            return Err(StageError::cancelled());
        }
        let mut refused = Vec::new();
        for (group, chart) in groups.into_iter().zip(joined) {
            match chart {
                Some(chart) => self.join(&group, chart),
                None => refused.push(group),
            }
        }
        Ok(refused)
    }

    /// Large charts, each with the small ones that border on it most.
    fn stars(&self, budget: &mut usize) -> Vec<Vec<u32>> {
        let mut stars: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for small in (0..self.charts.len() as u32).filter(|&chart| self.n_faces(chart) <= SMALL) {
            let large = self.borders[small as usize].iter().filter(|(other, _)| self.n_faces(**other) > SMALL);
            // The first of equals.
            let best = large.reduce(|best, next| if next.1 > best.1 { next } else { best });
            if let Some((&large, _)) = best.filter(|best| *best.1 >= MIN_SHARED * self.outlines[small as usize]) {
                stars.entry(large).or_insert_with(|| vec![large]).push(small);
            }
        }
        let affordable = stars.into_values().filter(|star| {
            let cost = star.iter().map(|&chart| self.n_faces(chart)).sum::<usize>() + TRIAL;
            let is_affordable = cost <= *budget && self.curvature(star) <= MAX_CURVATURE;
            *budget -= if is_affordable { cost } else { 0 };
            is_affordable
        });
        affordable.collect()
    }

    /// The most promising pairs, each chart in one of them at most.
    fn next_pairs(&self, failed: &mut BTreeSet<(u32, u32)>, budget: &mut usize) -> Vec<Vec<u32>> {
        let mut candidates: Vec<(f64, u32, u32)> = Vec::new();
        for (a, others) in self.borders.iter().enumerate() {
            let a = a as u32;
            for (&b, &length) in others.range(a + 1..) {
                let share = length / self.outlines[a as usize].min(self.outlines[b as usize]);
                if share >= MIN_SHARED && !failed.contains(&(a, b)) {
                    candidates.push((share, a, b));
                }
            }
        }
        candidates.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2).cmp(&(y.1, y.2))));
        let mut taken = vec![false; self.charts.len()];
        let mut pairs = Vec::new();
        for (_, a, b) in candidates {
            let cost = self.n_faces(a) + self.n_faces(b) + TRIAL;
            if taken[a as usize] || taken[b as usize] || cost > *budget {
                continue;
            }
            if self.curvature(&[a, b]) > MAX_CURVATURE {
                failed.insert((a, b));
                continue;
            }
            *budget -= cost;
            (taken[a as usize], taken[b as usize]) = (true, true);
            pairs.push(vec![a, b]);
        }
        pairs
    }

    /// Total curvature inside the charts together, in radians.
    fn curvature(&self, group: &[u32]) -> f64 {
        let is_own = |face: u32| face != NONE && group.contains(&self.chart_of[face as usize]);
        let mut inside: BTreeMap<u32, bool> = BTreeMap::new();
        for f in group.iter().flat_map(|&chart| self.faces_of(chart)) {
            let face = self.surface.faces[f as usize];
            for k in 0..3 {
                let is_inner = is_own(self.surface.neighbours[f as usize][k]);
                for v in [face[k], face[(k + 1) % 3]] {
                    *inside.entry(v).or_insert(true) &= is_inner;
                }
            }
        }
        inside.iter().filter(|(_, is_inside)| **is_inside).map(|(&v, _)| self.deficits[v as usize]).sum::<f64>().abs()
    }

    fn join(&mut self, group: &[u32], chart: Chart) {
        let new = self.charts.len() as u32;
        chart.faces.iter().for_each(|&f| self.chart_of[f as usize] = new);
        group.iter().for_each(|&old| self.charts[old as usize] = None);
        self.charts.push(Some(chart));
        let mut merged: BTreeMap<u32, f64> = BTreeMap::new();
        let mut shared = 0.0;
        for &old in group {
            for (other, length) in std::mem::take(&mut self.borders[old as usize]) {
                if group.contains(&other) {
                    shared += length;
                } else {
                    *merged.entry(other).or_insert(0.0) += length;
                    self.borders[other as usize].remove(&old);
                }
            }
        }
        for (&other, &length) in &merged {
            self.borders[other as usize].insert(new, length);
        }
        let outlines: f64 = group.iter().map(|&old| self.outlines[old as usize]).sum();
        self.outlines.push(outlines - shared);
        self.borders.push(merged);
    }
}

/// What the angles around each vertex lack of a full turn.
fn deficits(surface: &Surface) -> Vec<f64> {
    let mut deficits = vec![std::f64::consts::TAU; surface.positions.len()];
    for face in surface.faces {
        let at = face.map(|v| surface.positions[v as usize].as_dvec3());
        for k in 0..3 {
            let (next, last) = (at[(k + 1) % 3] - at[k], at[(k + 2) % 3] - at[k]);
            deficits[face[k] as usize] -= next.cross(last).length().atan2(next.dot(last));
        }
    }
    deficits
}

/// Whether the chart's texel density and angles are near those of the surface, and
/// whether it packs well.
fn is_good(surface: &Surface, chart: &Chart) -> bool {
    let (mut space, mut sum, mut squares, mut shear) = (0.0, 0.0, 0.0, 0.0);
    for (&f, corners) in chart.faces.iter().zip(&chart.corners) {
        let area = surface.normals[f as usize].length() / 2.0;
        let density = (signed_area(*corners) / area).sqrt();
        space += area;
        sum += area * density;
        squares += area * density * density;
        shear += area * shear_of(surface.faces[f as usize].map(|v| surface.positions[v as usize].as_dvec3()), *corners);
    }
    let mean = sum / space;
    let deviation = (squares / space - mean * mean).max(0.0).sqrt() / mean;
    let (low, high) = bounds(chart.corners.as_flattened());
    let fill = space / ((high - low).x * (high - low).y);
    // Comparisons that are false for what is not a number.
    deviation <= MAX_DEVIATION && shear / space <= MAX_SHEAR && fill >= MIN_FILL
}

/// Longest over shortest image of a unit length.
fn shear_of([a, b, c]: [glam::DVec3; 3], corners: [DVec2; 3]) -> f64 {
    let (along, up) = (b - a, c - a);
    let x = along.length();
    let (foot, height) = (along.dot(up) / x, along.cross(up).length() / x);
    let (s, t) = (corners[1] - corners[0], corners[2] - corners[0]);
    let du = s / x;
    let dv = (t - s * (foot / x)) / height;
    let (trace, det) = (du.length_squared() + dv.length_squared(), du.perp_dot(dv).abs());
    // Singular values l and s: l^2 + s^2 = trace, l s = det.
    let half = trace / (2.0 * det);
    half + (half * half - 1.0).max(0.0).sqrt()
}
