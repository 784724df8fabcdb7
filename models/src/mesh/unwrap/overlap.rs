//! Faces that must leave a chart so that no texel belongs to two.
//!
//! A connected chart of upright triangles covers nothing twice unless its
//! outline crosses itself or turns back on itself in a corner. Parts that lie
//! over one another without crossing are found by drawing them; the smallest,
//! which drawing may miss, always go.

use std::collections::{BTreeSet, HashMap};

use glam::{DVec2, DVec3};

use super::{Chart, Surface, adjacency::NONE, bounds, relax, signed_area};
use crate::mesh::{raster::scan::ScanTriangle, topology::DisjointSets};

/// Rounds of removing faces at crossings; each uncovers new outline.
const ROUNDS: usize = 16;

/// Faces of the smallest part that may stay beside others.
const ISLET: u32 = 8;

/// Texels along the longer side of the chart when looking for parts over parts,
/// for as many faces as a game asset's half has; fewer for fewer.
const RESOLUTION: u32 = 1024;

/// Removes from the chart the faces that are flipped or flat in it, or that lie
/// over others, and returns them in ascending order. Of two the smaller goes.
/// Faces without area in space stay: nowhere would they cover anything.
pub fn take_bad_faces(chart: &mut Chart, surface: &Surface) -> Vec<u32> {
    let all: Vec<DVec2> = chart.corners.iter().flatten().copied().collect();
    let (low, high) = bounds(&all);
    let size = (high - low).max_element();
    let mut taken = take(chart, |face, corners| {
        let flat_in_space = surface.normals[face as usize] == DVec3::ZERO;
        !relax::is_upright(corners, size) && !flat_in_space
    });
    let mut is_member = vec![false; surface.faces.len()];
    chart.faces.iter().for_each(|&f| is_member[f as usize] = true);
    for _ in 0..ROUNDS {
        let borders = borders(chart, surface, &is_member);
        let mut folded = faces_at_crossings(&borders, low, size);
        folded.extend(faces_at_folds(chart, &borders));
        if folded.is_empty() {
            break;
        }
        folded.iter().for_each(|&f| is_member[f as usize] = false);
        taken.extend(take(chart, |face, _| folded.contains(&face)));
    }
    let islets = faces_on_islets(chart, surface, &is_member);
    taken.extend(take(chart, |face, _| islets.contains(&face)));
    let covered = covered_faces(chart, low, size);
    taken.extend(take(chart, |face, _| covered.contains(&face)));
    taken.sort_unstable();
    taken
}

fn take(chart: &mut Chart, is_bad: impl Fn(u32, [DVec2; 3]) -> bool) -> Vec<u32> {
    let (faces, corners) = (std::mem::take(&mut chart.faces), std::mem::take(&mut chart.corners));
    let mut taken = Vec::new();
    for (face, corners) in faces.into_iter().zip(corners) {
        if is_bad(face, corners) {
            taken.push(face);
        } else {
            chart.faces.push(face);
            chart.corners.push(corners);
        }
    }
    taken
}

/// One edge of the chart's outline.
struct Border {
    from: DVec2,
    to: DVec2,
    face: u32,
    area: f64,
}

/// Of each two faces whose outline edges cross, the smaller one.
fn faces_at_crossings(borders: &[Border], low: DVec2, size: f64) -> BTreeSet<u32> {
    // Cells along the chart's longer side, so that an edge is in few of them.
    let n_cells = (borders.len() as f64 / 4.0).clamp(1.0, 256.0);
    let cell = |p: DVec2| ((p - low) / size * n_cells).floor().as_ivec2();
    let mut cells: HashMap<[i32; 2], Vec<u32>> = HashMap::new();
    let mut found = BTreeSet::new();
    for (i, a) in borders.iter().enumerate() {
        let (first, last) = (cell(a.from.min(a.to)), cell(a.from.max(a.to)));
        for (x, y) in (first.x..=last.x).flat_map(|x| (first.y..=last.y).map(move |y| (x, y))) {
            let here = cells.entry([x, y]).or_default();
            for b in here.iter().map(|&j| &borders[j as usize]) {
                let touch = [a.from, a.to].iter().any(|p| [b.from, b.to].contains(p));
                if !touch && cross(a, b) {
                    found.insert(if a.area <= b.area { a.face } else { b.face });
                }
            }
            here.push(i as u32);
        }
    }
    found
}

/// Around places on the outline, of each two faces that overlap the smaller one.
/// Vertices that only depth tells apart are one place.
fn faces_at_folds(chart: &Chart, borders: &[Border]) -> BTreeSet<u32> {
    let place = |p: DVec2| (p + DVec2::ZERO).to_array().map(f64::to_bits);
    let mut fans: HashMap<[u64; 2], Vec<Wedge>> = borders.iter().map(|b| (place(b.from), Vec::new())).collect();
    for (&face, corners) in chart.faces.iter().zip(&chart.corners) {
        for k in 0..3 {
            if let Some(fan) = fans.get_mut(&place(corners[k])) {
                let [at, next, last] = [corners[k], corners[(k + 1) % 3], corners[(k + 2) % 3]];
                fan.push(Wedge { first: last - at, last: next - at, face, area: signed_area(*corners) });
            }
        }
    }
    let mut found = BTreeSet::new();
    for fan in fans.values() {
        for (i, a) in fan.iter().enumerate() {
            for b in fan[..i].iter().filter(|b| a.overlaps(b)) {
                found.insert(if a.area <= b.area { a.face } else { b.face });
            }
        }
    }
    found
}

/// What a face covers around one of its corners: the directions from `first`
/// turning, by less than half a turn, to `last`.
struct Wedge {
    first: DVec2,
    last: DVec2,
    face: u32,
    area: f64,
}

impl Wedge {
    fn overlaps(&self, other: &Wedge) -> bool {
        let within = |w: &Wedge, v: DVec2| w.first.perp_dot(v) > 0.0 && v.perp_dot(w.last) > 0.0;
        within(self, other.first)
            || within(self, other.last)
            || within(other, self.first)
            || within(other, self.last)
            || within(self, other.first + other.last)
    }
}

/// Faces of parts smaller than `ISLET`, all but the largest part.
fn faces_on_islets(chart: &Chart, surface: &Surface, is_member: &[bool]) -> BTreeSet<u32> {
    let mut parts = DisjointSets::new(surface.faces.len());
    for &face in &chart.faces {
        for &n in surface.neighbours[face as usize].iter().filter(|n| **n != NONE && is_member[**n as usize]) {
            parts.join(face, n);
        }
    }
    let mut n_faces = vec![0u32; surface.faces.len()];
    let roots: Vec<u32> = chart.faces.iter().map(|&face| parts.find(face)).collect();
    roots.iter().for_each(|&root| n_faces[root as usize] += 1);
    let largest = roots.iter().copied().max_by_key(|&root| (n_faces[root as usize], std::cmp::Reverse(root)));
    let is_islet = |root: u32| n_faces[root as usize] < ISLET && Some(root) != largest;
    chart.faces.iter().zip(&roots).filter(|(_, root)| is_islet(**root)).map(|(face, _)| *face).collect()
}

/// Edges whose other face is not in the chart.
fn borders(chart: &Chart, surface: &Surface, is_member: &[bool]) -> Vec<Border> {
    let mut borders = Vec::new();
    for (&face, corners) in chart.faces.iter().zip(&chart.corners) {
        for (k, &neighbour) in surface.neighbours[face as usize].iter().enumerate() {
            if neighbour == NONE || !is_member[neighbour as usize] {
                borders.push(Border { from: corners[k], to: corners[(k + 1) % 3], face, area: signed_area(*corners) });
            }
        }
    }
    borders
}

/// Whether two edges have a point inside both in common.
fn cross(a: &Border, b: &Border) -> bool {
    let side = |e: &Border, p: DVec2| (e.to - e.from).perp_dot(p - e.from);
    side(a, b.from) * side(a, b.to) < 0.0 && side(b, a.from) * side(b, a.to) < 0.0
}

/// Faces that cover texels which larger faces cover already.
fn covered_faces(chart: &Chart, low: DVec2, size: f64) -> BTreeSet<u32> {
    let resolution = ((chart.faces.len() as f64).sqrt() * 16.0).clamp(16.0, f64::from(RESOLUTION)) as u32;
    let scale = f64::from(resolution - 1) / size.max(f64::MIN_POSITIVE);
    let mut is_taken = vec![false; (resolution * resolution) as usize];
    let mut order: Vec<usize> = (0..chart.faces.len()).collect();
    let areas: Vec<f64> = chart.corners.iter().map(|&c| signed_area(c)).collect();
    order.sort_by(|&a, &b| areas[b].total_cmp(&areas[a]));
    let mut covered = BTreeSet::new();
    for i in order {
        // Slivers that snapping to the raster may have turned over.
        if areas[i] * scale * scale < 0.02 {
            continue;
        }
        let Some(t) = ScanTriangle::new(chart.corners[i].map(|c| (c - low) * scale)) else { continue };
        t.for_each_run(resolution, t.rows(resolution), |y, xs| {
            let row = (y * resolution) as usize;
            for texel in &mut is_taken[row + xs.start as usize..row + xs.end as usize] {
                if *texel {
                    covered.insert(chart.faces[i]);
                }
                *texel = true;
            }
        });
    }
    covered
}
