//! The object of a picture that nobody pointed at.
//!
//! Points on a grid are asked for one after another, three masks each. Masks that the network
//! doubts, that change a lot when the threshold does, and that are too small or the ground around
//! things are dropped; of those that cover nearly the same (non-maximum suppression) the best
//! stays. What is left is ranked by quality, size, place, and by how many of the points in a
//! mask led to it.
//!
//! Paper: Segment Anything, 2023, appendix B, for quality, stability and suppression; size and
//! place are ours, since one object is wanted, not all.

use crate::{
    error::StageError,
    nets::{
        Watch,
        sam::{Embedding, Fit, Point, Prompt, Sam, Wanted},
    },
};

/// Overlap over union that the network has to expect.
const LEAST_IOU: f32 = 0.7;
/// Of the masks at a logit `MARGIN` above and below 0: overlap over union.
const LEAST_STABILITY: f32 = 0.75;
const MARGIN: f32 = 1.0;
/// Shares of the picture.
const LEAST_AREA: f32 = 0.004;
const MOST_AREA: f32 = 0.95;
/// Masks that overlap more than so are one.
const SAME: f32 = 0.8;
/// At this share of the picture an object counts half of one that fills it.
const HALF_AREA: f32 = 0.08;

/// A mask that may be the object.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// [side, side]
    pub logits: Vec<f32>,
    pub score: f32,
    /// As the network expects.
    pub iou: f32,
}

/// The best, or nothing where nothing is sure enough. `step` hears how many points are done.
pub fn find(
    net: &Sam,
    embedding: &Embedding,
    grid: usize,
    step: &dyn Fn(u32) -> Result<(), StageError>,
) -> Result<Option<Candidate>, StageError> {
    let mut found = Vec::new();
    let fit = embedding.fit;
    let at = |i: usize, size: usize| (i as f32 + 0.5) / grid as f32 * size as f32;
    for i in 0..grid * grid {
        let point = Point { x: at(i % grid, fit.width), y: at(i / grid, fit.height), is_object: true };
        let prompt = Prompt { points: vec![point], ..Prompt::default() };
        let masks = net.masks(embedding, &prompt, Wanted::Three, &Watch::nobody())?;
        let side = masks.side;
        found
            .extend(masks.logits.into_iter().zip(masks.iou).filter_map(|(logits, iou)| rated(logits, iou, side, &fit)));
        step(i as u32 + 1)?;
    }
    Ok(best(found, grid * grid))
}

/// A candidate before it was compared with the others.
struct Rated {
    logits: Vec<f32>,
    iou: f32,
    quality: f32,
    shape: Shape,
}

/// Which pixels are set, in the part of the square where the picture is.
struct Shape {
    bits: Vec<u64>,
    area: u32,
    /// Share of the picture.
    share: f32,
}

impl Shape {
    /// Overlap over union.
    fn overlap(&self, other: &Shape) -> f32 {
        let both: u32 = self.bits.iter().zip(&other.bits).map(|(a, b)| (a & b).count_ones()).sum();
        both as f32 / (self.area + other.area - both).max(1) as f32
    }
}

/// What is good about a mask; nothing when it is out of the question.
fn rated(logits: Vec<f32>, iou: f32, side: usize, fit: &Fit) -> Option<Rated> {
    let inner = |of: usize| (of * side).div_ceil(fit.side).clamp(1, side);
    let (width, height) = (inner(fit.inner_width), inner(fit.inner_height));
    let (mut inside, mut outside, mut area, mut on_border) = (0u32, 0u32, 0u32, 0u32);
    let (mut sum_x, mut sum_y) = (0.0f32, 0.0f32);
    let mut bits = vec![0u64; (width * height).div_ceil(64)];
    for y in 0..height {
        for (x, logit) in logits[y * side..][..width].iter().enumerate() {
            inside += u32::from(*logit > MARGIN);
            outside += u32::from(*logit > -MARGIN);
            if *logit > 0.0 {
                bits[(y * width + x) / 64] |= 1 << ((y * width + x) % 64);
                area += 1;
                on_border += u32::from(x == 0 || y == 0 || x + 1 == width || y + 1 == height);
                (sum_x, sum_y) = (sum_x + x as f32, sum_y + y as f32);
            }
        }
    }
    let share = area as f32 / (width * height) as f32;
    let stability = inside as f32 / outside.max(1) as f32;
    if iou < LEAST_IOU || stability < LEAST_STABILITY || !(LEAST_AREA..=MOST_AREA).contains(&share) {
        return None;
    }
    let off = |sum: f32, size: usize| (sum / area as f32 + 0.5) / size as f32 - 0.5;
    let (x, y) = (off(sum_x, width), off(sum_y, height));
    let centre = (-4.0 * (x * x + y * y)).exp();
    // Half of the border is a floor that a thing stands on and leaves by, all of it is the ground.
    let border = on_border as f32 / (2 * (width + height)).saturating_sub(4).max(1) as f32;
    let free = (1.0 - border).powi(2);
    let size = share / (share + HALF_AREA);
    let quality = iou.min(1.0) * stability * size * centre * free;
    Some(Rated { logits, iou, quality, shape: Shape { bits, area, share } })
}

/// Of masks found from `n_points` points.
fn best(mut found: Vec<Rated>, n_points: usize) -> Option<Candidate> {
    found.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let mut kept: Vec<(Rated, u32)> = Vec::new();
    for rated in found {
        match kept.iter_mut().find(|(other, _)| other.shape.overlap(&rated.shape) > SAME) {
            Some((_, times)) => *times += 1,
            None => kept.push((rated, 1)),
        }
    }
    let scored = kept.into_iter().map(|(rated, times)| {
        // About so many points lie in it; each could have led to it once.
        let could = (rated.shape.share * n_points as f32).max(1.0);
        let score = rated.quality * (0.5 + 0.5 * (times as f32 / could).min(1.0));
        Candidate { logits: rated.logits, iou: rated.iou, score }
    });
    scored.max_by(|a, b| a.score.total_cmp(&b.score))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 64;

    /// A disc of logits, in shares of the square.
    fn disc(x: f32, y: f32, radius: f32, height: f32) -> Vec<f32> {
        let at = |i: usize| (i as f32 + 0.5) / SIDE as f32;
        let logit = |i: usize| {
            let away = ((at(i % SIDE) - x).powi(2) + (at(i / SIDE) - y).powi(2)).sqrt();
            ((radius - away) * height).clamp(-height, height)
        };
        (0..SIDE * SIDE).map(logit).collect()
    }

    fn choose(masks: &[(Vec<f32>, f32)]) -> Option<usize> {
        let fit = Fit::new(200, 200, 256);
        let rated = masks.iter().filter_map(|(logits, iou)| rated(logits.clone(), *iou, SIDE, &fit)).collect();
        let best = best(rated, 64)?;
        masks.iter().position(|(logits, _)| *logits == best.logits)
    }

    #[test]
    fn a_large_thing_in_the_middle_wins() {
        let (middle, corner) = (disc(0.5, 0.5, 0.25, 80.0), disc(0.15, 0.15, 0.12, 80.0));
        let speck = disc(0.5, 0.5, 0.02, 80.0);
        let ground: Vec<f32> = middle.iter().map(|v| -v).collect();
        let masks = [(corner, 0.95), (ground, 0.97), (middle.clone(), 0.9), (speck, 0.99)];
        assert_eq!(choose(&masks), Some(2));
        // The same thing again, seen from elsewhere, takes nothing away.
        assert_eq!(choose(&[masks.as_slice(), &[(disc(0.5, 0.5, 0.24, 80.0), 0.7)]].concat()), Some(2));
    }

    #[test]
    fn what_is_doubtful_is_not_taken() {
        assert_eq!(choose(&[(disc(0.5, 0.5, 0.25, 80.0), 0.5)]), None, "the network doubts it");
        assert_eq!(choose(&[(disc(0.5, 0.5, 0.25, 3.0), 0.9)]), None, "its edge is anywhere");
        assert_eq!(choose(&[(disc(0.5, 0.5, 2.0, 80.0), 0.9)]), None, "it is everything");
        assert_eq!(choose(&[]), None);
    }
}
