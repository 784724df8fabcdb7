//! GrabCut: tells an object from its background by iterated graph cuts.
//!
//! Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using
//! iterated graph cuts", 2004, started from the border and the barrier distance
//! instead of a user's rectangle; refined to larger sizes in a band around the
//! first result as in Lombaert et al., "A multilevel banded graph cuts method for
//! fast image segmentation", 2005.

use super::{
    barrier::barrier_distance,
    border::{Border, place},
    graph_cut::{DIRECTIONS, GridGraph},
    mixture::{Fit, Mixture},
    oklab::Lab,
    plane::Plane,
    shadow::soft_shadow,
    surface::{Place, Surface, distance},
};
use crate::error::StageError;

const ROUNDS: usize = 5;
/// Evidence (log likelihood ratio) is cut off here, in nats.
const EVIDENCE_LIMIT: f32 = 24.0;
/// Cost of cutting between two equal pixels, in nats.
const SMOOTHNESS: f32 = 14.0;
/// Capacity of one nat.
const SCALE: f32 = 256.0;
/// Evidence of pixels in soft shadow, in nats.
const SHADOW_EVIDENCE: f32 = -6.0;
/// Half the width of the band that is cut again at a larger size, in pixels of it.
const BAND: usize = 3;

pub struct Segmentation {
    /// Whether a pixel is the object.
    pub labels: Plane<bool>,
    pub model: Model,
    pub shadow: Plane<bool>,
}

pub struct Model {
    surface: Option<Surface>,
    /// Of colours minus the surface, if there is one.
    background: Mixture,
    object: Mixture,
}

impl Model {
    /// Log of how many times likelier a colour is the object's than the background's.
    pub fn evidence(&self, colour: &Lab, place: Place) -> f32 {
        let seen = match &self.surface {
            Some(surface) => minus(colour, &surface.at(place)),
            None => *colour,
        };
        let evidence = self.object.log_density(colour) - self.background.log_density(&seen);
        evidence.clamp(-EVIDENCE_LIMIT, EVIDENCE_LIMIT)
    }

    /// `None` when there is nothing on one of the sides.
    fn learn(lab: &Plane<Lab>, border: &Border, labels: &Plane<bool>, skip: &Plane<bool>) -> Option<Model> {
        let (mut object, mut background) = (Vec::new(), Vec::new());
        let mut samples = Vec::new();
        for y in border.frame.top..border.frame.bottom {
            for x in border.frame.left..border.frame.right {
                let at = y * lab.width + x;
                match (labels.data[at], skip.data[at]) {
                    (true, _) => object.push(lab.data[at]),
                    (false, false) => {
                        background.push(lab.data[at]);
                        samples.push((place(x, y, lab.width, lab.height), lab.data[at]));
                    }
                    (false, true) => {}
                }
            }
        }
        let surface = match &border.surface {
            Some(before) => {
                let step = (samples.len() / 4096).max(1);
                let some: Vec<(Place, Lab)> = samples.iter().step_by(step).copied().collect();
                Some(Surface::fit(&some).filter(|s| s.sigma <= before.sigma * 1.5 + 0.005).unwrap_or(before.clone()))
            }
            None => None,
        };
        if let Some(surface) = &surface {
            for (residual, (place, colour)) in background.iter_mut().zip(&samples) {
                *residual = minus(colour, &surface.at(*place));
            }
        }
        let blur = surface.as_ref().map_or(0.012, |s| s.sigma.max(0.006));
        let n_gaussians = if surface.is_some() { 3 } else { 6 };
        Some(Model {
            background: Mixture::fit(&background, &Fit { n_gaussians, blur, outliers: 0.001 })?,
            object: Mixture::fit(&object, &Fit { n_gaussians: 6, blur: 0.015, outliers: 0.05 })?,
            surface,
        })
    }
}

/// Finds the object in a picture of a few hundred pixels a side. `None` when there
/// is nothing but background. `poll` is called every few milliseconds.
pub fn segment(
    lab: &Plane<Lab>,
    border: &Border,
    poll: &dyn Fn(usize) -> Result<(), StageError>,
) -> Result<Option<Segmentation>, StageError> {
    let (width, height) = (lab.width, lab.height);
    let nothing = Plane::filled(width, height, false);
    let shadow = border.surface.as_ref().map_or(nothing, |surface| soft_shadow(lab, surface, &border.seeds));
    let mut labels = first_guess(lab, border, &shadow);
    let fixed = Plane::from_fn(width, height, |x, y| border.seeds.at(x, y) || !border.frame.contains(x, y));
    let mut model = None;
    for round in 0..ROUNDS {
        poll(round)?;
        let Some(learnt) = Model::learn(lab, border, &labels, &shadow) else { return Ok(None) };
        let evidence = Plane::from_fn(width, height, |x, y| match (fixed.at(x, y), shadow.at(x, y)) {
            (true, _) => f32::NEG_INFINITY,
            (_, true) => SHADOW_EVIDENCE,
            _ => learnt.evidence(&lab.at(x, y), place(x, y, width, height)),
        });
        let next = cut(lab, &evidence, &|| poll(round))?;
        let n_changed = next.data.iter().zip(&labels.data).filter(|(a, b)| a != b).count();
        labels = next;
        model = Some(learnt);
        if n_changed * 2000 < width * height {
            break;
        }
    }
    Ok(model.map(|model| Segmentation { labels, model, shadow }))
}

fn first_guess(lab: &Plane<Lab>, border: &Border, shadow: &Plane<bool>) -> Plane<bool> {
    let inside = |x: usize, y: usize| border.frame.contains(x, y) && !border.seeds.at(x, y);
    if let Some(surface) = &border.surface {
        let limit = surface.reach() * 1.3;
        return Plane::from_fn(lab.width, lab.height, |x, y| {
            let off = distance(&lab.at(x, y), &surface.at(place(x, y, lab.width, lab.height)));
            inside(x, y) && off > limit && !shadow.at(x, y)
        });
    }
    let barrier = barrier_distance(lab, &border.seeds);
    let central = Plane::from_fn(lab.width, lab.height, |x, y| {
        let (u, v) = place(x, y, lab.width, lab.height);
        barrier.at(x, y) * (-0.8 * (u * u + v * v)).exp()
    });
    let threshold = otsu(central.data.iter().copied());
    Plane::from_fn(lab.width, lab.height, |x, y| inside(x, y) && central.at(x, y) > threshold)
}

/// The threshold between two groups of values that differ most (Otsu, 1979).
fn otsu(values: impl Iterator<Item = f32> + Clone) -> f32 {
    const BINS: usize = 128;
    let top = values.clone().fold(0.0f32, f32::max).max(1e-6);
    let mut histogram = [0.0f64; BINS];
    values.for_each(|v| histogram[((v / top * BINS as f32) as usize).min(BINS - 1)] += 1.0);
    let total: f64 = histogram.iter().sum();
    let mean: f64 = histogram.iter().enumerate().map(|(i, n)| i as f64 * n).sum::<f64>() / total;
    let (mut best, mut below, mut sum_below) = ((0.0, 0), 0.0, 0.0);
    for (i, n) in histogram.iter().enumerate() {
        below += n;
        sum_below += i as f64 * n;
        let difference = mean * below - sum_below;
        let between = difference * difference / (below * (total - below)).max(1.0);
        if between > best.0 {
            best = (between, i + 1);
        }
    }
    top * best.1 as f32 / BINS as f32
}

/// Labels at the size of `lab`, a larger version of the segmented picture: a band
/// around the known outline is cut again, and so are places whose colour speaks
/// clearly against their label.
pub fn refine(
    lab: &Plane<Lab>,
    coarse: &Segmentation,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Plane<bool>, StageError> {
    let (width, height) = (lab.width, lab.height);
    let labels = coarse.labels.nearest(width, height);
    let shadow = coarse.shadow.nearest(width, height);
    let band = outline_band(&labels, BAND);
    let evidence = Plane::from_fn(width, height, |x, y| match (band.at(x, y), labels.at(x, y)) {
        (true, _) if shadow.at(x, y) => SHADOW_EVIDENCE,
        (true, _) => coarse.model.evidence(&lab.at(x, y), place(x, y, width, height)),
        (false, true) => f32::INFINITY,
        (false, false) => f32::NEG_INFINITY,
    });
    cut(lab, &evidence, poll)
}

/// Pixels within `radius` (a square) of a change of label.
pub fn outline_band(labels: &Plane<bool>, radius: usize) -> Plane<bool> {
    let (width, height) = (labels.width, labels.height);
    let mut band = Plane::filled(width, height, false);
    let mut mark = |x: usize, y: usize| {
        for row in y.saturating_sub(radius)..(y + radius + 1).min(height) {
            let from = row * width;
            band.data[from + x.saturating_sub(radius)..from + (x + radius + 1).min(width)].fill(true);
        }
    };
    for y in 0..height {
        for x in 0..width {
            let label = labels.at(x, y);
            if (x + 1 < width && labels.at(x + 1, y) != label) || (y + 1 < height && labels.at(x, y + 1) != label) {
                mark(x, y);
            }
        }
    }
    band
}

/// Minimum cut for the evidence of each pixel, in nats for the object; infinite
/// evidence fixes a label.
fn cut(
    lab: &Plane<Lab>,
    evidence: &Plane<f32>,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Plane<bool>, StageError> {
    let (width, height) = (lab.width, lab.height);
    let contrast = 0.5 / mean_square_step(lab).max(4e-4);
    let mut graph = GridGraph::new(width, height);
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            let here = evidence.data[at];
            if here.is_finite() {
                let capacity = (here.abs() * SCALE) as i32;
                if here > 0.0 { graph.add_terminals(x, y, capacity, 0) } else { graph.add_terminals(x, y, 0, capacity) }
            }
            for direction in [0, 2, 4, 6] {
                let (dx, dy) = DIRECTIONS[direction];
                let (Some(nx), ny) = (x.checked_add_signed(dx as isize), y + dy as usize) else { continue };
                if nx >= width || ny >= height {
                    continue;
                }
                let there = evidence.at(nx, ny);
                if here.is_infinite() && there.is_infinite() {
                    continue;
                }
                let d = distance(&lab.data[at], &lab.at(nx, ny));
                let length = if direction >= 4 { std::f32::consts::SQRT_2 } else { 1.0 };
                let capacity = (SCALE * SMOOTHNESS / length * (-contrast * d * d).exp()) as i32;
                match (here.is_infinite(), there.is_infinite()) {
                    (false, false) => graph.set_edge(x, y, direction, capacity),
                    (true, _) if here > 0.0 => graph.add_terminals(nx, ny, capacity, 0),
                    (true, _) => graph.add_terminals(nx, ny, 0, capacity),
                    (_, true) if there > 0.0 => graph.add_terminals(x, y, capacity, 0),
                    (_, true) => graph.add_terminals(x, y, 0, capacity),
                }
            }
        }
    }
    graph.cut(poll)?;
    Ok(Plane::from_fn(width, height, |x, y| match evidence.at(x, y) {
        f32::INFINITY => true,
        f32::NEG_INFINITY => false,
        _ => graph.is_source(x, y),
    }))
}

fn mean_square_step(lab: &Plane<Lab>) -> f32 {
    let mut sum = 0.0f64;
    let mut n = 0u32;
    for y in 1..lab.height {
        for x in 1..lab.width {
            let d = distance(&lab.at(x, y), &lab.at(x - 1, y));
            let e = distance(&lab.at(x, y), &lab.at(x, y - 1));
            sum += f64::from(d * d + e * e);
            n += 2;
        }
    }
    (sum / f64::from(n.max(1))) as f32
}

fn minus(a: &Lab, b: &Lab) -> Lab {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
