//! Colours along and beyond an object's edge: the object's own.
//!
//! Half-transparent pixels carry colours mixed with the background, and
//! transparent ones carry anything at all. Both are replaced by the nearest
//! colours that are surely the object's, so that whoever samples the picture near
//! the edge never sees a fringe.

use ::image::RgbaImage;
use rayon::prelude::*;

/// From this alpha on a colour is the object's own.
const SOLID: u8 = 240;
/// Thin parts have no solid pixels: their densest ones stand in, from this alpha on.
const THIN: u8 = 24;
/// How far colours run on beyond the edge, in pixels.
const EXTENT: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Keeps its colour and lends it.
    Own,
    /// Lends its colour after taking half of it from inside.
    Rim,
    /// Has a colour to be found.
    Open,
    Found,
}

/// Sets the colours of all pixels that are not solidly inside the object. Alpha is
/// left alone. Far from the object everything is of the object's mean colour.
pub fn extend_colors(image: &mut RgbaImage) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut states = states(image);
    let raw: &mut [u8] = image.as_mut();
    let mut front: Vec<usize> = (0..states.len())
        .filter(|i| states[*i] != State::Own && neighbours(*i, width, height).any(|n| states[n] == State::Own))
        .collect();

    let mut mean = [0u64; 4];
    for (pixel, state) in raw.chunks_exact(4).zip(&states) {
        if *state == State::Own {
            (0..3).for_each(|c| mean[c] += u64::from(pixel[c]));
            mean[3] += 1;
        }
    }
    let mean = [0, 1, 2].map(|c| ((mean[c] + mean[3] / 2) / mean[3].max(1)) as u8);

    let mut ring = 0;
    while !front.is_empty() {
        // Colours of a ring depend on earlier rings only, not on the order within it.
        let found: Vec<(usize, [u8; 3])> = front
            .iter()
            .map(|at| {
                let (mut sum, mut weight) = ([0u32; 3], 0u32);
                for n in neighbours(*at, width, height).filter(|n| matches!(states[*n], State::Own | State::Found)) {
                    let w = if n % width == at % width || n / width == at / width { 3 } else { 2 };
                    (0..3).for_each(|c| sum[c] += w * u32::from(raw[n * 4 + c]));
                    weight += w;
                }
                (*at, sum.map(|v| ((v + weight / 2) / weight.max(1)) as u8))
            })
            .collect();
        for (at, colour) in &found {
            let own = states[*at] == State::Rim;
            for c in 0..3 {
                let mixed = (u16::from(raw[at * 4 + c]) + u16::from(colour[c])).div_ceil(2) as u8;
                raw[at * 4 + c] = if own { mixed } else { colour[c] };
            }
            states[*at] = State::Found;
        }
        ring += 1;
        let mut next = Vec::new();
        for (at, _) in &found {
            for n in neighbours(*at, width, height) {
                let wanted = ring < EXTENT || raw[n * 4 + 3] > 0;
                if wanted && matches!(states[n], State::Open | State::Rim) {
                    next.push(n);
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        front = next;
    }
    raw.par_chunks_exact_mut(4).zip(&states).for_each(|(pixel, state)| {
        if *state == State::Open {
            pixel[..3].copy_from_slice(&mean);
        }
    });
}

fn states(image: &RgbaImage) -> Vec<State> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let raw = image.as_raw();
    let alpha = |i: usize| raw[i * 4 + 3];
    let mut states: Vec<State> = (0..width * height)
        .into_par_iter()
        .map(|i| {
            if alpha(i) < SOLID {
                return State::Open;
            }
            // A solid pixel beside a transparent one may be mixed all the same.
            let least = neighbours(i, width, height).map(alpha).min().unwrap_or(255);
            if least >= 160 { State::Own } else { State::Rim }
        })
        .collect();
    let thin: Vec<usize> = (0..width * height)
        .into_par_iter()
        .filter(|i| {
            if alpha(*i) < THIN || states[*i] == State::Own {
                return false;
            }
            let (x, y) = (i % width, i / width);
            let mut densest = 0;
            for row in y.saturating_sub(2)..(y + 3).min(height) {
                for column in x.saturating_sub(2)..(x + 3).min(width) {
                    let n = row * width + column;
                    if states[n] == State::Own {
                        return false;
                    }
                    densest = densest.max(alpha(n));
                }
            }
            f32::from(alpha(*i)) >= 0.9 * f32::from(densest)
        })
        .collect();
    thin.into_iter().for_each(|i| states[i] = State::Own);
    states
}

/// Up to eight neighbours of a pixel.
fn neighbours(at: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (at % width, at / width);
    let rows = y.saturating_sub(1)..(y + 2).min(height);
    rows.flat_map(move |row| {
        (x.saturating_sub(1)..(x + 2).min(width)).map(move |column| row * width + column).filter(move |n| *n != at)
    })
}
