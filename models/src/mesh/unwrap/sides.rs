//! Which faces belong to the front and which to the back.

use std::collections::{BTreeMap, HashMap};

use glam::{DVec3, Vec3};

use super::{VIEWS, View};
use crate::mesh::topology::DisjointSets;

/// Faces whose normal leans less than this out of the picture plane are steep:
/// rounding decides its sign, so they follow their neighbours instead.
const STEEP: f64 = 0.02;

/// For each face whether it is on the front. `faces` index welded positions.
///
/// Where the normal has a clear direction it decides, so that the cut runs along
/// the outline as the front view shows it. Steep faces join the nearer side,
/// counted in faces; walls are therefore cut along their middle.
pub fn split(positions: &[Vec3], faces: &[[u32; 3]]) -> Vec<bool> {
    let leaning: Vec<f64> = faces
        .iter()
        .map(|f| {
            let [a, b, c] = f.map(|v| positions[v as usize].as_dvec3());
            (b - a).cross(c - a).try_normalize().unwrap_or(DVec3::ZERO).z
        })
        .collect();
    let mut side: Vec<Option<bool>> = leaning.iter().map(|&z| (z.abs() > STEEP).then_some(z > 0.0)).collect();
    let mut open: Vec<u32> = (0..faces.len() as u32).filter(|&f| side[f as usize].is_none()).collect();
    if open.is_empty() {
        return leaning.iter().map(|&z| z > 0.0).collect();
    }

    let neighbours = neighbours(faces);
    while !open.is_empty() {
        let decided: Vec<(u32, bool)> = open
            .iter()
            .filter_map(|&f| {
                let votes = |is_front| {
                    let around = neighbours[f as usize].iter().filter(|n| side[**n as usize] == Some(is_front));
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
pub fn group_by_view(faces: &[[u32; 3]], normals: &[DVec3], mut members: Vec<u32>) -> Vec<(&'static View, Vec<u32>)> {
    members.sort_unstable();
    let view_of = |f: u32| {
        let turned = |view: &View| view.towards.as_dvec3().dot(normals[f as usize]);
        // The first of equals.
        (0..VIEWS.len()).rev().max_by(|&a, &b| turned(&VIEWS[a]).total_cmp(&turned(&VIEWS[b]))).expect("six views")
    };
    let some_faces: Vec<[u32; 3]> = members.iter().map(|&f| faces[f as usize]).collect();
    let views: Vec<usize> = members.iter().map(|&f| view_of(f)).collect();
    let mut sets = DisjointSets::new(members.len());
    for (i, around) in neighbours(&some_faces).iter().enumerate() {
        around.iter().filter(|n| views[**n as usize] == views[i]).for_each(|&n| sets.join(n, i as u32));
    }
    let mut groups: BTreeMap<u32, (&View, Vec<u32>)> = BTreeMap::new();
    for (i, &f) in members.iter().enumerate() {
        let group = groups.entry(sets.find(i as u32)).or_insert((&VIEWS[views[i]], Vec::new()));
        group.1.push(f);
    }
    groups.into_values().collect()
}

/// Faces across each face's edges, ascending.
fn neighbours(faces: &[[u32; 3]]) -> Vec<Vec<u32>> {
    let mut by_edge: HashMap<(u32, u32), Vec<u32>> = HashMap::with_capacity(faces.len() * 2);
    let edges = |&[a, b, c]: &[u32; 3]| [(a, b), (b, c), (c, a)].map(|(a, b)| (a.min(b), a.max(b)));
    for (f, face) in faces.iter().enumerate() {
        for edge in edges(face) {
            by_edge.entry(edge).or_default().push(f as u32);
        }
    }
    faces
        .iter()
        .enumerate()
        .map(|(f, face)| {
            let around = edges(face).into_iter().flat_map(|e| &by_edge[&e]).copied();
            let mut around: Vec<u32> = around.filter(|&n| n != f as u32).collect();
            around.sort_unstable();
            around.dedup();
            around
        })
        .collect()
}
