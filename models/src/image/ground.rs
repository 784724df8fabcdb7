//! Where a plain background shows: in the light, in soft shadow, and through holes.
//!
//! Colour alone cannot tell a white object from a white background. Edges can:
//! the background is what can be reached from the border without crossing a sharp
//! edge. A soft shadow has no sharp edge, a pale object has one all around.

use super::{
    border::place,
    components::{components, select},
    oklab::Lab,
    plane::Plane,
    surface::{Surface, distance},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Reached from the border, of the background's colour.
    Open,
    /// Reached from the border, darker than the background, of its hue.
    Shadow,
    /// Not reached, but flat, of the background's colour, and with a sharp edge around.
    Hole,
    /// Of the background's colour, but neither reached nor a hole: a pale part of the object.
    Enclosed,
    /// Of another colour than the background.
    Other,
}

/// A shadow leaves at least this much of the background's lightness (OKLab).
const DARKEST: f32 = 0.4;
const LIGHTEST: f32 = 1.03;
/// An edge is sharp when at least this much of the change over six pixels happens within two.
const SHARP: f32 = 0.6;
/// Smallest change of an edge (OKLab distance), and of a steep slope that no shadow has.
const FAINTEST_EDGE: f32 = 0.008;
const STEEPEST_SHADOW: f32 = 0.12;
/// Edges of fewer pixels are noise.
const SHORTEST_EDGE: usize = 10;
/// A hole has sharp edges along at least this share of its outline.
const HOLE_OUTLINE: f32 = 0.6;

/// Sorts the pixels of a picture of a few hundred pixels a side. `seeds` are
/// pixels of the background.
pub fn ground(lab: &Plane<Lab>, surface: &Surface, seeds: &Plane<bool>) -> Plane<Ground> {
    let (width, height) = (lab.width, lab.height);
    let edges = sharp_edges(lab, (5.0 * surface.sigma).max(FAINTEST_EDGE));
    let hue_limit = 0.015 + 2.0 * surface.sigma;
    let reach = surface.reach();
    let kinds = Plane::from_fn(width, height, |x, y| {
        let (colour, plain) = (lab.at(x, y), surface.at(place(x, y, width, height)));
        let off = distance(&colour, &plain);
        let light = dot(&colour, &plain) / dot(&plain, &plain).max(1e-6);
        let off_hue = distance(&colour, &plain.map(|v| v * light));
        if off < reach {
            Ground::Enclosed
        } else if (DARKEST..LIGHTEST).contains(&light) && off_hue < hue_limit {
            Ground::Shadow
        } else {
            Ground::Other
        }
    });
    let passable =
        Plane::from_fn(width, height, |x, y| kinds.at(x, y) != Ground::Other && !edges.at(x, y) || seeds.at(x, y));
    let reached = flood(&passable, seeds);
    let holes = holes(&kinds, &reached, &edges);
    Plane::from_fn(width, height, |x, y| match (kinds.at(x, y), reached.at(x, y)) {
        (Ground::Enclosed, true) => Ground::Open,
        (Ground::Enclosed, false) if holes.at(x, y) => Ground::Hole,
        (Ground::Enclosed, false) => Ground::Enclosed,
        (Ground::Shadow, true) => Ground::Shadow,
        _ => Ground::Other,
    })
}

fn dot(a: &Lab, b: &Lab) -> f32 {
    (0..3).map(|c| a[c] * b[c]).sum()
}

/// Pixels on edges whose change happens at once rather than over a stretch.
fn sharp_edges(lab: &Plane<Lab>, faintest: f32) -> Plane<bool> {
    let (width, height) = (lab.width as isize, lab.height as isize);
    let at = |x: isize, y: isize| lab.at(x.clamp(0, width - 1) as usize, y.clamp(0, height - 1) as usize);
    let edges = Plane::from_fn(lab.width, lab.height, |x, y| {
        let (x, y) = (x as isize, y as isize);
        [(1, 0), (0, 1), (1, 1), (1, -1)].iter().any(|(dx, dy)| {
            let across = |k: isize| distance(&at(x + k * dx, y + k * dy), &at(x - k * dx, y - k * dy));
            let near = across(1);
            near > faintest && (near > SHARP * across(3) || near > STEEPEST_SHADOW)
        })
    });
    let (runs, found) = components(&edges);
    select(edges.width, edges.height, &runs, |id| found[id].label && found[id].area >= SHORTEST_EDGE)
}

/// Passable pixels connected to the seeds by ways three pixels wide: leaks through
/// a broken outline are narrower.
fn flood(passable: &Plane<bool>, seeds: &Plane<bool>) -> Plane<bool> {
    let (width, height) = (passable.width, passable.height);
    let wide = Plane::from_fn(width, height, |x, y| {
        let rows = y.saturating_sub(1)..(y + 2).min(height);
        rows.clone().all(|row| passable.row(row)[x.saturating_sub(1)..(x + 2).min(width)].iter().all(|p| *p))
    });
    let mut reached = seeds.clone();
    let mut stack: Vec<usize> = (0..seeds.data.len()).filter(|i| seeds.data[*i]).collect();
    while let Some(at) = stack.pop() {
        for_neighbours(at, width, height, |next| {
            if wide.data[next] && !reached.data[next] {
                reached.data[next] = true;
                stack.push(next);
            }
        });
    }
    let mut grown = reached.clone();
    for at in (0..reached.data.len()).filter(|i| reached.data[*i] && wide.data[*i]) {
        for_neighbours(at, width, height, |next| grown.data[next] |= passable.data[next]);
    }
    grown
}

fn for_neighbours(at: usize, width: usize, height: usize, mut visit: impl FnMut(usize)) {
    let (x, y) = (at % width, at / width);
    if x > 0 {
        visit(at - 1);
    }
    if x + 1 < width {
        visit(at + 1);
    }
    if y > 0 {
        visit(at - width);
    }
    if y + 1 < height {
        visit(at + width);
    }
}

/// Parts of the background's colour that were not reached and end at sharp edges.
fn holes(kinds: &Plane<Ground>, reached: &Plane<bool>, edges: &Plane<bool>) -> Plane<bool> {
    let (width, height) = (kinds.width, kinds.height);
    let candidate = |i: usize| kinds.data[i] == Ground::Enclosed && !reached.data[i];
    let mut seen = Plane::filled(width, height, false);
    let mut holes = Plane::filled(width, height, false);
    for start in 0..kinds.data.len() {
        if seen.data[start] || !candidate(start) {
            continue;
        }
        seen.data[start] = true;
        let mut part = vec![start];
        let (mut n_outline, mut n_sharp, mut next_index) = (0, 0, 0);
        while let Some(at) = part.get(next_index).copied() {
            next_index += 1;
            for_neighbours(at, width, height, |next| {
                if !candidate(next) {
                    n_outline += 1;
                    n_sharp += u32::from(edges.data[next] || edges.data[at]);
                } else if !seen.data[next] {
                    seen.data[next] = true;
                    part.push(next);
                }
            });
        }
        if n_sharp as f32 >= HOLE_OUTLINE * n_outline as f32 {
            part.iter().for_each(|i| holes.data[*i] = true);
        }
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grey, with: a white box with a dent of the background's colour at a soft edge
    /// (left), a ring around a hole (right), and a soft shadow (bottom).
    #[test]
    fn sorts_light_shadow_hole_and_pale_parts() {
        let grey = 0.7f32;
        let lab = Plane::from_fn(160, 120, |x, y| {
            let (fx, fy) = (x as f32, y as f32);
            let in_box = (20..70).contains(&x) && (20..70).contains(&y);
            let to_ring = ((fx - 115.0).powi(2) + (fy - 45.0).powi(2)).sqrt();
            let to_shadow = ((fx - 80.0) / 50.0).powi(2) + ((fy - 95.0) / 14.0).powi(2);
            let to_dent = ((fx - 45.0).powi(2) + (fy - 45.0).powi(2)).sqrt();
            let l = if in_box {
                grey + 0.15 * ((to_dent - 3.0) / 16.0).clamp(0.0, 1.0)
            } else if (14.0..22.0).contains(&to_ring) {
                0.3
            } else {
                grey * (1.0 - 0.3 * (-to_shadow).exp())
            };
            [l, 0.0, 0.0]
        });
        let seeds = Plane::from_fn(160, 120, |x, y| x == 0 || y == 0 || x == 159 || y == 119);
        let samples: Vec<_> = (0..160).map(|x| (place(x, 0, 160, 120), lab.at(x, 0))).collect();
        let surface = Surface::fit(&samples).unwrap();
        let ground = ground(&lab, &surface, &seeds);
        assert_eq!(ground.at(10, 10), Ground::Open);
        assert_eq!(ground.at(80, 95), Ground::Shadow);
        assert_eq!(ground.at(115, 45), Ground::Hole);
        assert_eq!(ground.at(45, 45), Ground::Enclosed);
        assert_eq!(ground.at(115, 27), Ground::Other);
    }
}
