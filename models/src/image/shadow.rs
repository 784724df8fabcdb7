//! Soft shadows on a plain background.

use super::{
    border::place,
    oklab::Lab,
    plane::Plane,
    surface::{Surface, distance},
};

/// A shadow leaves at least this much of the background's lightness (OKLab).
const DARKEST: f32 = 0.5;
const LIGHTEST: f32 = 1.03;

/// Pixels that are the background in soft shadow: darker than it, of its hue, and
/// reached from the seeds without crossing an edge. Pixels as light as the
/// background itself are not among them.
pub fn soft_shadow(lab: &Plane<Lab>, surface: &Surface, seeds: &Plane<bool>) -> Plane<bool> {
    let (width, height) = (lab.width, lab.height);
    let step = 0.014 + 2.0 * surface.sigma;
    let hue = 0.015 + 2.0 * surface.sigma;
    let reach = surface.reach();
    let mut seen = seeds.clone();
    let mut shadow = Plane::filled(width, height, false);
    let mut queue: Vec<usize> = (0..seeds.data.len()).filter(|i| seeds.data[*i]).collect();
    while let Some(at) = queue.pop() {
        let (x, y) = (at % width, at / width);
        for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
            let (Some(nx), Some(ny)) = (x.checked_add_signed(dx), y.checked_add_signed(dy)) else { continue };
            if nx >= width || ny >= height {
                continue;
            }
            let next = ny * width + nx;
            if seen.data[next] {
                continue;
            }
            let (colour, plain) = (lab.data[next], surface.at(place(nx, ny, width, height)));
            let dot = |a: &Lab, b: &Lab| (0..3).map(|c| a[c] * b[c]).sum::<f32>();
            let light = dot(&colour, &plain) / dot(&plain, &plain).max(1e-6);
            let off_hue = distance(&colour, &plain.map(|v| v * light));
            if (DARKEST..LIGHTEST).contains(&light) && off_hue < hue && distance(&colour, &lab.data[at]) < step {
                seen.data[next] = true;
                shadow.data[next] = distance(&colour, &plain) > reach;
                queue.push(next);
            }
        }
    }
    shadow
}
