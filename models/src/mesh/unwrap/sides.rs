//! Which faces belong to the front and which to the back.

use std::collections::BTreeMap;

use glam::DVec3;

use super::{Surface, VIEWS, View, adjacency::NONE};
use crate::mesh::topology::DisjointSets;

/// Faces whose normal leans less than this out of the picture plane are steep:
/// rounding decides its sign, so they follow their neighbours instead.
const STEEP: f64 = 0.02;

/// For each face whether it is on the front.
///
/// Where the normal has a clear direction it decides, so that the cut runs along
/// the outline as the front view shows it. Steep faces join the nearer side,
/// counted in faces; walls are therefore cut along their middle.
pub fn split(surface: &Surface) -> Vec<bool> {
    let leaning: Vec<f64> = surface.normals.iter().map(|n| n.try_normalize().unwrap_or(DVec3::ZERO).z).collect();
    let mut side: Vec<Option<bool>> = leaning.iter().map(|&z| (z.abs() > STEEP).then_some(z > 0.0)).collect();
    let mut open: Vec<u32> = (0..leaning.len() as u32).filter(|&f| side[f as usize].is_none()).collect();
    if open.is_empty() {
        return leaning.iter().map(|&z| z > 0.0).collect();
    }

    while !open.is_empty() {
        let decided: Vec<(u32, bool)> = open
            .iter()
            .filter_map(|&f| {
                let votes = |is_front| {
                    let around = surface.neighbours[f as usize]
                        .iter()
                        .filter(|n| **n != NONE && side[**n as usize] == Some(is_front));
                    around.count()
                };
                match (votes(true), votes(false)) {
                    (0, 0) => None,
                    (n, m) if n == m => Some((f, leaning[f as usize] >= 0.0)),
                    (n, m) => Some((f, n > m)),
                }
            })
            .collect();
        if decided.is_empty() {
            break;
        }
        for &(f, is_front) in &decided {
            side[f as usize] = Some(is_front);
        }
        open.retain(|&f| side[f as usize].is_none());
    }
    side.iter().zip(&leaning).map(|(side, &z)| side.unwrap_or(z >= 0.0)).collect()
}

/// Groups of connected faces that are best seen from the same side.
pub fn group_by_view(surface: &Surface, members: &[u32]) -> Vec<(&'static View, Vec<u32>)> {
    let view_of = |f: u32| {
        let turned = |view: &View| view.towards.as_dvec3().dot(surface.normals[f as usize]);
        // The first of equals.
        (0..VIEWS.len()).rev().max_by(|&a, &b| turned(&VIEWS[a]).total_cmp(&turned(&VIEWS[b]))).expect("six views")
    };
    let views: BTreeMap<u32, usize> = members.iter().map(|&f| (f, view_of(f))).collect();
    let mut sets = DisjointSets::new(surface.faces.len());
    for (&f, view) in &views {
        for &n in surface.neighbours[f as usize].iter().filter(|n| views.get(n) == Some(view)) {
            sets.join(n, f);
        }
    }
    let mut groups: BTreeMap<u32, (&View, Vec<u32>)> = BTreeMap::new();
    for (&f, &view) in &views {
        groups.entry(sets.find(f)).or_insert((&VIEWS[view], Vec::new())).1.push(f);
    }
    groups.into_values().collect()
}
