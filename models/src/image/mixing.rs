//! How colours mix along an outline.
//!
//! A pixel on the edge shows `alpha * object + (1 - alpha) * background`. With the
//! colours a little further in and a little further out, alpha follows from the
//! pixel's own colour, however soft the edge is. The background's part may be
//! darker than it should: by a shadow, or by a soft edge once put on black, as
//! careless cut-outs have it.

use super::{
    guided_filter::{Line, apply},
    plane::{Plane, Rgb},
};

/// How far from the outline colours are looked at, in pixels.
const DEPTH: i8 = 8;
/// Widest edge that is believed, in pixels.
const WIDEST: i8 = 5;
/// An edge ends where colours are this far from the background's, relative to further in.
const PURE: f32 = 0.85;
/// Colours of the two sides that differ by less than the first (sRGB-encoded) say
/// nothing about alpha, by more than the second all.
const FAINT: f32 = 0.05;
const CLEAR: f32 = 0.15;
/// How far from the plane of the two colours a mixture of them may be.
const OFF_LINE: f32 = 0.08;
/// Mixtures that have lost more light than the first are none, all that have kept
/// the second may be. A soft edge put on black loses a quarter at most.
const DARK: f32 = 0.62;
const DIM: f32 = 0.74;
/// How strongly the two shares are drawn to a sum of 1.
const SUM: f32 = 0.02;

/// What is known along the outline of a mask.
pub struct Mixing {
    /// Pixels from the outline: 1 and more inside, -1 and less outside, 0 beyond `DEPTH`.
    pub depth: Plane<i8>,
    /// How far inside the outline colours are still mixed, in pixels.
    pub width: i8,
    /// Index into `lines` of the pixels near the outline.
    index: Plane<u32>,
    lines: Vec<(Line, f32)>,
}

impl Mixing {
    /// `rgb` is sRGB-encoded, of the mask's size.
    pub fn along(rgb: &Plane<Rgb>, mask: &Plane<bool>) -> Mixing {
        let layers = Layers::around(mask);
        let mut background = Colours::new(mask);
        background.seed(rgb, &layers, -4..=-2);
        background.extend(mask, &layers, (-1..=-1).chain(1..=DEPTH));
        let width = edge_width(rgb, &layers, &background);
        let mut object = Colours::new(mask);
        object.seed(rgb, &layers, width + 1..=width + 3);
        object.extend(mask, &layers, (1..=width).rev().chain([-1, -2]));

        let mut index = Plane::filled(mask.width, mask.height, u32::MAX);
        let mut lines = Vec::new();
        for depth in (-2..=width).filter(|d| *d != 0) {
            for pixel in layers.at(depth) {
                let pixel = *pixel as usize;
                if let (Some(front), Some(back)) = (object.get(pixel), background.get(pixel)) {
                    index.data[pixel] = lines.len() as u32;
                    lines.push(line(front, back, rgb.data[pixel]));
                }
            }
        }
        Mixing { depth: layers.depth, width, index, lines }
    }

    /// Alpha of a pixel of the mask as a line in its colour, and how far it is to
    /// be trusted, 0 to 1.
    pub fn line(&self, x: usize, y: usize) -> Option<(Line, f32)> {
        self.lines.get(self.index.at(x, y) as usize).copied()
    }
}

/// The share `x` of the object in `colour = x * front + z * back`, by least
/// squares with `x + z` drawn to 1.
fn line(front: Rgb, back: Rgb, colour: Rgb) -> (Line, f32) {
    let dot = |a: &Rgb, b: &Rgb| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let (ff, fb, bb) = (dot(&front, &front) + SUM, dot(&front, &back) + SUM, dot(&back, &back) + SUM);
    let determinant = (ff * bb - fb * fb).max(1e-6);
    let solve = |own: f32, other: &Rgb, shared: f32, this: &Rgb| -> Line {
        let a: Rgb = std::array::from_fn(|c| (own * this[c] - shared * other[c]) / determinant);
        [a[0], a[1], a[2], SUM * (own - shared) / determinant]
    };
    let (x, z) = (solve(bb, &back, fb, &front), solve(ff, &front, fb, &back));
    let (alpha, rest) = (apply(x, colour).clamp(0.0, 1.0), apply(z, colour).clamp(0.0, 1.0));

    let off: Rgb = std::array::from_fn(|c| colour[c] - alpha * front[c] - rest * back[c]);
    let apart: Rgb = std::array::from_fn(|c| front[c] - back[c]);
    let clear = rise(dot(&apart, &apart).sqrt(), FAINT, CLEAR);
    let light = rise(alpha + rest, DARK, DIM);
    (x, clear * light * (-dot(&off, &off) / (OFF_LINE * OFF_LINE)).exp())
}

/// 0 up to `from`, 1 from `to` on.
fn rise(value: f32, from: f32, to: f32) -> f32 {
    ((value - from) / (to - from)).clamp(0.0, 1.0)
}

/// Median, at each depth, of the distance from the background's colour: where it
/// stops rising the edge ends.
fn edge_width(rgb: &Plane<Rgb>, layers: &Layers, background: &Colours) -> i8 {
    let medians: Vec<f32> = (1..=DEPTH)
        .map(|depth| {
            let mut distances: Vec<f32> = layers
                .at(depth)
                .iter()
                .filter_map(|pixel| {
                    let (colour, back) = (rgb.data[*pixel as usize], background.get(*pixel as usize)?);
                    Some((0..3).map(|c| (colour[c] - back[c]).powi(2)).sum::<f32>().sqrt())
                })
                .collect();
            if distances.is_empty() {
                return 0.0;
            }
            let middle = distances.len() / 2;
            *distances.select_nth_unstable_by(middle, f32::total_cmp).1
        })
        .collect();
    let most = medians.iter().copied().fold(0.0, f32::max);
    let pure = medians.iter().position(|m| *m >= PURE * most).unwrap_or(0) as i8 + 1;
    pure.clamp(1, WIDEST)
}

/// Pixels by their distance from the outline.
struct Layers {
    depth: Plane<i8>,
    inside: Vec<Vec<u32>>,
    outside: Vec<Vec<u32>>,
}

impl Layers {
    fn around(mask: &Plane<bool>) -> Layers {
        let mut depth = Plane::filled(mask.width, mask.height, 0i8);
        let mut side = |wanted: bool| {
            let mut layers: Vec<Vec<u32>> = Vec::new();
            let mut layer: Vec<u32> = Vec::new();
            for y in 0..mask.height {
                for x in 0..mask.width {
                    if mask.at(x, y) == wanted && beside_other(mask, x, y) {
                        layer.push((y * mask.width + x) as u32);
                    }
                }
            }
            for k in 1..=DEPTH {
                layer.iter().for_each(|pixel| depth.data[*pixel as usize] = if wanted { k } else { -k });
                let mut next = Vec::new();
                // Straight and diagonal steps in turn: layers are octagons.
                let diagonal = k % 2 == 0;
                for pixel in &layer {
                    for_neighbours(*pixel as usize, mask, diagonal, |n| {
                        if mask.data[n] == wanted && depth.data[n] == 0 {
                            depth.data[n] = i8::MAX;
                            next.push(n as u32);
                        }
                    });
                }
                layers.push(std::mem::replace(&mut layer, next));
            }
            layer.iter().for_each(|pixel| depth.data[*pixel as usize] = 0);
            layers
        };
        let (inside, outside) = (side(true), side(false));
        Layers { depth, inside, outside }
    }

    /// Pixels at a depth other than 0, up to `DEPTH` on either side.
    fn at(&self, depth: i8) -> &[u32] {
        let layers = if depth > 0 { &self.inside } else { &self.outside };
        &layers[usize::from(depth.unsigned_abs()) - 1]
    }
}

fn beside_other(mask: &Plane<bool>, x: usize, y: usize) -> bool {
    let label = mask.at(x, y);
    (x > 0 && mask.at(x - 1, y) != label)
        || (x + 1 < mask.width && mask.at(x + 1, y) != label)
        || (y > 0 && mask.at(x, y - 1) != label)
        || (y + 1 < mask.height && mask.at(x, y + 1) != label)
}

fn for_neighbours(at: usize, mask: &Plane<bool>, diagonal: bool, mut visit: impl FnMut(usize)) {
    let (x, y) = (at % mask.width, at / mask.width);
    for row in y.saturating_sub(1)..(y + 2).min(mask.height) {
        for column in x.saturating_sub(1)..(x + 2).min(mask.width) {
            if (row != y || column != x) && (diagonal || row == y || column == x) {
                visit(row * mask.width + column);
            }
        }
    }
}

/// Colours of one side, carried across the outline.
struct Colours {
    index: Vec<u32>,
    colours: Vec<Rgb>,
}

impl Colours {
    fn new(mask: &Plane<bool>) -> Colours {
        Colours { index: vec![u32::MAX; mask.data.len()], colours: Vec::new() }
    }

    fn get(&self, pixel: usize) -> Option<Rgb> {
        self.colours.get(self.index[pixel] as usize).copied()
    }

    fn set(&mut self, pixel: usize, colour: Rgb) {
        self.index[pixel] = self.colours.len() as u32;
        self.colours.push(colour);
    }

    /// Takes the picture's colours at some depths.
    fn seed(&mut self, rgb: &Plane<Rgb>, layers: &Layers, depths: std::ops::RangeInclusive<i8>) {
        for pixel in depths.flat_map(|depth| layers.at(depth)) {
            self.set(*pixel as usize, rgb.data[*pixel as usize]);
        }
    }

    /// Carries colours on to further depths, one after the other, each pixel taking
    /// the mean of its neighbours'.
    fn extend(&mut self, mask: &Plane<bool>, layers: &Layers, depths: impl Iterator<Item = i8>) {
        for depth in depths {
            let found: Vec<(usize, Rgb)> = layers
                .at(depth)
                .iter()
                .filter_map(|pixel| {
                    let (mut sum, mut n) = ([0.0f32; 3], 0.0);
                    for_neighbours(*pixel as usize, mask, true, |neighbour| {
                        if let Some(colour) = self.get(neighbour) {
                            (0..3).for_each(|c| sum[c] += colour[c]);
                            n += 1.0;
                        }
                    });
                    (n > 0.0).then(|| (*pixel as usize, sum.map(|v| v / n)))
                })
                .collect();
            found.into_iter().for_each(|(pixel, colour)| self.set(pixel, colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vertical edge that takes `width` pixels, of a mask that has all of it.
    fn ramp(width: usize) -> (Plane<Rgb>, Plane<bool>, impl Fn(usize) -> f32) {
        let alpha = move |x: usize| ((x as f32 - 19.5) / width as f32).clamp(0.0, 1.0);
        let rgb = Plane::from_fn(60, 30, |x, _| [0.9, 0.2, 0.1].map(|v| v * alpha(x) + 0.5 * (1.0 - alpha(x))));
        let mask = Plane::from_fn(60, 30, |x, _| x >= 20);
        (rgb, mask, alpha)
    }

    #[test]
    fn finds_alpha_and_width_of_soft_edges() {
        for width in [1, 2, 4] {
            let (rgb, mask, alpha) = ramp(width);
            let mixing = Mixing::along(&rgb, &mask);
            assert!((1..=width as i8 + 1).contains(&mixing.width), "{} for {width}", mixing.width);
            for x in 18..20 + mixing.width as usize {
                let (line, trust) = mixing.line(x, 15).unwrap();
                let found = apply(line, rgb.at(x, 15));
                assert!((found - alpha(x)).abs() < 0.12, "width {width} at {x}: {found}, not {}", alpha(x));
                assert!(trust > 0.8);
            }
        }
    }

    #[test]
    fn does_not_trust_sides_of_one_colour_nor_foreign_colours() {
        let (rgb, mask, _) = ramp(1);
        let flat = Plane::filled(60, 30, [0.5f32; 3]);
        assert!(Mixing::along(&flat, &mask).line(20, 15).unwrap().1 < 0.01);
        let mut outlined = rgb;
        (0..30).for_each(|y| outlined.data[y * 60 + 20] = [0.0, 0.0, 0.9]);
        assert!(Mixing::along(&outlined, &mask).line(20, 15).is_none_or(|(_, trust)| trust < 0.1));
    }

    #[test]
    fn sees_through_edges_put_on_black() {
        let (rgb, mask, alpha) = ramp(4);
        let premultiplied = Plane::from_fn(60, 30, |x, _| {
            [0.9, 0.2, 0.1].map(|v: f32| v * alpha(x) * alpha(x) + 0.5 * (1.0 - alpha(x)))
        });
        assert_ne!(rgb, premultiplied);
        let mixing = Mixing::along(&premultiplied, &mask);
        for x in 20..24 {
            let (line, trust) = mixing.line(x, 15).unwrap();
            let found = apply(line, premultiplied.at(x, 15));
            assert!((found - alpha(x).powi(2)).abs() < 0.1 && trust > 0.6, "{x}: {found} {trust}");
        }
    }

    #[test]
    fn depth_counts_from_the_outline() {
        let mask = Plane::from_fn(40, 40, |x, y| (10..30).contains(&x) && (10..30).contains(&y));
        let mixing = Mixing::along(&Plane::filled(40, 40, [0.5; 3]), &mask);
        let depths: Vec<i8> = (0..20).map(|x| mixing.depth.at(x, 20)).collect();
        assert_eq!(depths, [0, 0, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    }
}
