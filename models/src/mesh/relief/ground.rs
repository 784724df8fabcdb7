//! Heights of a relief from a depth: clipped, without the steps of 8 bits, smoothed, with a border.

use ::image::RgbaImage;
use glam::Vec2;
use rayon::prelude::*;

use super::{Border, Relief, sheet::Sheet};
use crate::image::{
    depth_map::DepthMap,
    plane::{Plane, averaged},
};

/// Radii of the means that take steps out of 8 bits, in pixels: wide ones for gentle slopes first.
const RADII: [usize; 5] = [24, 12, 6, 3, 1];
/// How often each is taken.
const ROUNDS: usize = 4;
/// Pixels at an outline that show partly what is behind.
const MIXED: usize = 2;
/// How far heights are continued beyond an outline, in values.
const FILL: usize = 6;
/// Share of a frame's width over which it falls to what it frames.
const BEVEL: f32 = 0.35;

pub struct Ground {
    /// 0 lowest, 1 highest.
    heights: Plane<f32>,
}

impl Ground {
    /// `cell` is the side of a cell of the sheet, relative to the picture's longer side.
    pub fn new(depth: &DepthMap, outline: Option<&RgbaImage>, cell: f32, how: &Relief) -> Ground {
        let nearness = depth.nearness();
        let sign = if how.invert { -1.0 } else { 1.0 };
        let raw = nearness.map(|v| sign * v);
        let [low, high] = bounds(&raw, outline, how.clip);
        let range = high - low;
        let scaled = |v: f32| if range > 0.0 { ((v - low) / range).clamp(0.0, 1.0) } else { 0.0 };
        let mut heights = raw.map(scaled);
        if let Some(step) = depth.coarse_step()
            && range > 0.0
        {
            heights = without_steps(&heights, step / range);
        }
        // Cells see the mean of what they cover, or fine patterns would turn into coarse ones.
        let pixels = cell * heights.width.max(heights.height) as f32;
        let shrink = |plane: Plane<f32>| {
            let side = |n: usize| ((n as f32 / pixels).ceil() as usize).clamp(1, n);
            if pixels > 1.0 { averaged(&plane, side(plane.width), side(plane.height)) } else { plane }
        };
        let smoothed = |plane: Plane<f32>| blurred(&shrink(plane), how.smooth);
        let Some(cutout) = outline else { return Ground { heights: smoothed(heights) } };
        // What is around the object does not bleed into its rim.
        let known = eroded(&Plane::from_fn(heights.width, heights.height, |x, y| shows(cutout, &heights, x, y)));
        let weights = known.map(|known| f32::from(u8::from(known)));
        heights.data.iter_mut().zip(&weights.data).for_each(|(height, weight)| *height *= weight);
        Ground { heights: filled(&smoothed(heights), &smoothed(weights)) }
    }

    /// Of each point of `sheet`, 0..=1; `size` is that of the picture, in pixels.
    pub fn heights(&self, sheet: &Sheet, size: Vec2, how: &Relief) -> Vec<f32> {
        let (low, high) = sheet.bounds();
        let width = how.border_width * (high - low).min_element();
        let border: Vec<(Vec2, Vec2)> = match how.border {
            Border::Plain => Vec::new(),
            Border::Frame | Border::Taper => segments(sheet),
        };
        let of = |p: &Vec2| {
            let height = self.at(*p / size);
            let bevel = BEVEL * width;
            match how.border {
                Border::Plain => height,
                Border::Frame => {
                    let beyond = distance(*p, &border, width) - (width - bevel);
                    1.0 + (height - 1.0) * ease(beyond / bevel)
                }
                Border::Taper => height * ease(distance(*p, &border, width) / width),
            }
        };
        sheet.points.par_iter().map(of).collect()
    }

    /// At a place in 0..=1 of the picture, between the centres of the nearest values.
    fn at(&self, place: Vec2) -> f32 {
        let Plane { width, height, .. } = self.heights;
        let axis = |share: f32, n: usize| {
            let at = (share * n as f32 - 0.5).clamp(0.0, (n - 1) as f32);
            (at as usize, (at as usize + 1).min(n - 1), at - at.floor())
        };
        let (left, right, across) = axis(place.x, width);
        let (above, below, down) = axis(place.y, height);
        let mix = |y: usize| self.heights.at(left, y) * (1.0 - across) + self.heights.at(right, y) * across;
        mix(above) * (1.0 - down) + mix(below) * down
    }
}

/// Values between which all but `clip` of the pixels lie, of those that the outline has.
fn bounds(raw: &Plane<f32>, outline: Option<&RgbaImage>, clip: [f32; 2]) -> [f32; 2] {
    let shows = |x: usize, y: usize| outline.is_none_or(|cutout| shows(cutout, raw, x, y));
    let pixels = (0..raw.height).flat_map(|y| (0..raw.width).map(move |x| (x, y)));
    let mut seen: Vec<f32> = pixels.filter(|(x, y)| shows(*x, *y)).map(|(x, y)| raw.at(x, y)).collect();
    if seen.is_empty() {
        seen = raw.data.clone();
    }
    seen.sort_unstable_by(f32::total_cmp);
    let last = seen.len().saturating_sub(1) as f32;
    let value = |share: f32| seen.get((share * last).round() as usize).copied().unwrap_or(0.0);
    [value(clip[0]), value(1.0 - clip[1]).max(value(clip[0]))]
}

/// Whether the cutout shows something where `plane`, of any size, has the value at `x`, `y`.
fn shows(cutout: &RgbaImage, plane: &Plane<f32>, x: usize, y: usize) -> bool {
    let at = |i: usize, n: usize, of: u32| (((2 * i + 1) * of as usize / (2 * n)) as u32).min(of - 1);
    cutout.get_pixel(at(x, plane.width, cutout.width()), at(y, plane.height, cutout.height())).0[3] >= 128
}

/// Without what lies within `MIXED` pixels of something else, unless nothing is left.
fn eroded(known: &Plane<bool>) -> Plane<bool> {
    let (width, height) = (known.width, known.height);
    let inner = Plane::from_fn_parallel(width, height, |x, y| {
        let span = |i: usize, n: usize| i.saturating_sub(MIXED)..(i + MIXED + 1).min(n);
        span(y, height).all(|y| span(x, width).all(|x| known.at(x, y)))
    });
    if inner.data.contains(&true) { inner } else { known.clone() }
}

/// `sums` over `weights`; where nothing weighs, the mean of what is around, again and again outwards.
fn filled(sums: &Plane<f32>, weights: &Plane<f32>) -> Plane<f32> {
    let (width, height) = (sums.width, sums.height);
    let share = |(sum, weight): (&f32, &f32)| if *weight > 1e-3 { Some(sum / weight) } else { None };
    let data: Vec<Option<f32>> = sums.data.iter().zip(&weights.data).map(share).collect();
    let mut found = Plane { width, height, data };
    for _ in 0..FILL {
        let before = found.clone();
        found = Plane::from_fn_parallel(width, height, |x, y| {
            let around = |i: usize, n: usize| i.saturating_sub(1)..(i + 2).min(n);
            let near = || around(y, height).flat_map(|y| around(x, width).map(move |x| (x, y)));
            before.at(x, y).or_else(|| {
                let (sum, n) = near().filter_map(|(x, y)| before.at(x, y)).fold((0.0, 0), |(s, n), v| (s + v, n + 1));
                (n > 0).then(|| sum / n as f32)
            })
        });
    }
    found.map(|height| height.unwrap_or(0.0))
}

/// Smoothed as far as no value leaves the step that it was rounded to: of all surfaces that 8 bits
/// would show so, one of the smoothest. Means and bounds take turns, from wide to narrow.
fn without_steps(heights: &Plane<f32>, step: f32) -> Plane<f32> {
    let mut smooth = heights.clone();
    for radius in RADII.into_iter().flat_map(|radius| [radius; ROUNDS]) {
        let mean = box_mean(&smooth, radius);
        let rounded = mean.data.par_iter().zip(&heights.data);
        smooth.data = rounded.map(|(v, was)| v.clamp(was - step / 2.0, was + step / 2.0)).collect();
    }
    smooth
}

/// Means over squares of `2 radius + 1` pixels, of what of them is in the picture.
fn box_mean(plane: &Plane<f32>, radius: usize) -> Plane<f32> {
    turned(&row_means(&turned(&row_means(plane, radius)), radius))
}

/// Running sums: the work does not grow with the radius.
fn row_means(plane: &Plane<f32>, radius: usize) -> Plane<f32> {
    let n = plane.width;
    let mut data = vec![0.0; plane.data.len()];
    data.par_chunks_exact_mut(n).zip(plane.data.par_chunks_exact(n)).for_each(|(to, row)| {
        let mut sums = Vec::with_capacity(n + 1);
        sums.push(0.0f64);
        for v in row {
            sums.push(sums[sums.len() - 1] + f64::from(*v));
        }
        for (i, to) in to.iter_mut().enumerate() {
            let (start, end) = (i.saturating_sub(radius), (i + radius + 1).min(n));
            *to = ((sums[end] - sums[start]) / (end - start) as f64) as f32;
        }
    });
    Plane { width: n, height: plane.height, data }
}

/// Rows as columns.
fn turned(plane: &Plane<f32>) -> Plane<f32> {
    Plane::from_fn_parallel(plane.height, plane.width, |x, y| plane.at(y, x))
}

/// Gauss's blur of `sigma` pixels.
fn blurred(plane: &Plane<f32>, sigma: f32) -> Plane<f32> {
    if sigma < 0.05 {
        return plane.clone();
    }
    let radius = (3.0 * sigma).ceil() as i32;
    let weights: Vec<f32> = (-radius..=radius).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    filtered(plane, &weights.iter().map(|w| w / sum).collect::<Vec<_>>())
}

/// Both ways with one kernel of odd length, borders repeated.
fn filtered(plane: &Plane<f32>, kernel: &[f32]) -> Plane<f32> {
    let radius = kernel.len() / 2;
    let place = |i: usize, k: usize, n: usize| (i + k).saturating_sub(radius).min(n - 1);
    let across = Plane::from_fn_parallel(plane.width, plane.height, |x, y| {
        let row = plane.row(y);
        kernel.iter().enumerate().map(|(k, w)| w * row[place(x, k, plane.width)]).sum::<f32>()
    });
    Plane::from_fn_parallel(plane.width, plane.height, |x, y| {
        kernel.iter().enumerate().map(|(k, w)| w * across.at(x, place(y, k, plane.height))).sum::<f32>()
    })
}

fn segments(sheet: &Sheet) -> Vec<(Vec2, Vec2)> {
    let point = |v: u32| sheet.points[v as usize];
    let of = |row: &Vec<u32>| {
        let row = row.clone();
        (0..row.len()).map(move |i| (point(row[i]), point(row[(i + 1) % row.len()]))).collect::<Vec<_>>()
    };
    // Straight runs, as along a rectangle, are one segment.
    let merge = |mut runs: Vec<(Vec2, Vec2)>, (a, b): (Vec2, Vec2)| {
        match runs.last_mut() {
            Some((start, end)) if *end == a && (*end - *start).perp_dot(b - a).abs() < 1e-4 * (b - a).length() => {
                *end = b;
            }
            _ => runs.push((a, b)),
        }
        runs
    };
    sheet.loops.iter().flat_map(of).fold(Vec::new(), merge)
}

/// From `p` to the nearest segment; `enough` where it is farther than that.
fn distance(p: Vec2, segments: &[(Vec2, Vec2)], enough: f32) -> f32 {
    let to = |(a, b): &(Vec2, Vec2)| {
        let along = *b - *a;
        let share = ((p - *a).dot(along) / along.length_squared().max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        p.distance_squared(*a + along * share)
    };
    segments.iter().map(to).fold(enough * enough, f32::min).sqrt()
}

/// 0 up to 0, 1 from 1 on, smooth between.
fn ease(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
