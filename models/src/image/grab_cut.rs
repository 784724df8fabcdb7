//! GrabCut: tells an object from its background by iterated graph cuts.
//!
//! Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using
//! iterated graph cuts", 2004, started from the border and the barrier distance
//! instead of a user's rectangle; refined to larger sizes in a band around the
//! first result as in Lombaert et al., "A multilevel banded graph cuts method for
//! fast image segmentation", 2005.

use super::{
    barrier::barrier_distance,
    border::{Border, Frame, place},
    graph_cut::{DIRECTIONS, GridGraph},
    ground::{Ground, ground},
    model::{Label, Model},
    oklab::{self, Lab},
    plane::{Plane, shrink},
    surface::distance,
};
use crate::error::StageError;

/// Cuts at half size while the models settle.
pub const ROUNDS: usize = 4;
/// Cost of cutting between two equal pixels, in nats. Among many things the
/// outline should rather be short, on a plain background rather be exact.
const SMOOTHNESS_PLAIN: f32 = 14.0;
const SMOOTHNESS_BUSY: f32 = 22.0;
/// Capacity of one nat.
const SCALE: f32 = 256.0;
const SMALLEST_CONTRAST: f32 = 4e-4;
/// Gaps in the first guess narrower than twice this part of the picture's longer
/// side are closed.
const GAP: usize = 40;
/// Evidence of pixels in soft shadow, in nats.
const SHADOW_EVIDENCE: f32 = -6.0;
/// Least evidence of what a plain background does not explain, in nats.
const UNEXPLAINED_EVIDENCE: f32 = 2.0;
/// What speaks for the object in narrow bays of it among many things, in nats: parts of the object
/// that look like what is behind it, such as an iron hoop before a stone wall, are cut out as bays.
const BAY_EVIDENCE: f32 = 2.0;
/// A bay is narrower than twice this part of the side of a square as large as the object.
const BAY: f32 = 18.0;
/// Half the width of the band that is cut again at a larger size, in pixels of it.
const BAND: usize = 3;
/// Pixels further than this many times a plain background's reach from it are
/// cut again wherever they are: thin parts are lost at smaller sizes.
const CLEARLY_OFF: f32 = 4.0;

pub struct Segmentation {
    /// Whether a pixel is the object.
    pub labels: Plane<bool>,
    pub model: Model,
    /// What a plain background shows; `Other` everywhere when it is not plain.
    pub ground: Plane<Ground>,
    price: Price,
}

/// What cutting between neighbours costs.
#[derive(Clone, Copy)]
struct Price {
    /// Between equal pixels, in nats.
    of_equals: f32,
    /// Squared OKLab distance at which it falls to three fifths.
    contrast: f32,
}

/// A picture at one size, and what is fixed of it.
struct Level<'a> {
    lab: &'a Plane<Lab>,
    ground: Plane<Ground>,
    /// Surely background.
    fixed: Plane<bool>,
    frame: Frame,
    price: Price,
}

/// Finds the object in a picture of a few hundred pixels a side. `None` when there
/// is nothing but background. `poll` is called with the number of cuts done, every
/// few milliseconds.
pub fn segment(
    lab: &Plane<Lab>,
    border: &Border,
    poll: &dyn Fn(usize) -> Result<(), StageError>,
) -> Result<Option<Segmentation>, StageError> {
    let (width, height) = (lab.width, lab.height);
    let full = Level {
        lab,
        ground: match &border.surface {
            Some(surface) => ground(lab, surface, &border.seeds),
            None => Plane::filled(width, height, Ground::Other),
        },
        fixed: Plane::from_fn(width, height, |x, y| border.seeds.at(x, y) || !border.frame.contains(x, y)),
        frame: border.frame,
        price: price(lab, border),
    };
    poll(0)?;
    let (mut labels, n_done) = if border.surface.is_some() {
        (unlike_ground(&full), ROUNDS - 1)
    } else {
        let Some(labels) = settle(&full, border, poll)? else { return Ok(None) };
        (labels, ROUNDS)
    };
    let mut model = None;
    for round in n_done..=ROUNDS {
        let Some(learnt) = learn(&full, &labels, border) else { return Ok(None) };
        labels = cut_all(&full, &learnt, None, &|| poll(round + 1))?;
        model = Some(learnt);
    }
    if let (None, Some(model)) = (&border.surface, &model) {
        let area = labels.data.iter().filter(|label| **label).count() as f32;
        let closed = closed(&labels, ((area.sqrt() / BAY) as usize).min(width.max(height) / GAP));
        let bays = Plane::from_fn(width, height, |x, y| closed.at(x, y) && !labels.at(x, y));
        labels = cut_all(&full, model, Some(&bays), &|| poll(ROUNDS + 1))?;
    }
    Ok(model.map(|model| Segmentation { labels, model, ground: full.ground, price: price(lab, border) }))
}

/// Cuts at half the size until little changes. Labels are of the full size.
fn settle(
    full: &Level,
    border: &Border,
    poll: &dyn Fn(usize) -> Result<(), StageError>,
) -> Result<Option<Plane<bool>>, StageError> {
    let (width, height) = (full.lab.width, full.lab.height);
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let small_lab = shrink(full.lab, half_width, half_height);
    let small = Level {
        lab: &small_lab,
        ground: full.ground.nearest(half_width, half_height),
        fixed: full.fixed.nearest(half_width, half_height),
        frame: border.frame.halved(),
        price: price(&small_lab, border),
    };
    let mut labels = beyond_barriers(&small);
    for round in 0..ROUNDS {
        let Some(model) = learn(&small, &labels, border) else { return Ok(None) };
        let next = cut_all(&small, &model, None, &|| poll(round + 1))?;
        let n_changed = next.data.iter().zip(&labels.data).filter(|(a, b)| a != b).count();
        labels = next;
        if n_changed * 1000 < half_width * half_height {
            break;
        }
    }
    Ok(Some(labels.nearest(width, height)))
}

/// First guess on a plain background: all that is not the background's.
fn unlike_ground(level: &Level) -> Plane<bool> {
    Plane::from_fn(level.lab.width, level.lab.height, |x, y| {
        !level.fixed.at(x, y) && matches!(level.ground.at(x, y), Ground::Enclosed | Ground::Other)
    })
}

/// First guess on any other background: what is behind high barriers, preferably
/// in the middle.
fn beyond_barriers(level: &Level) -> Plane<bool> {
    let (width, height) = (level.lab.width, level.lab.height);
    let barrier = barrier_distance(level.lab, &level.fixed);
    let central = Plane::from_fn(width, height, |x, y| {
        let (u, v) = place(x, y, width, height);
        barrier.at(x, y) * (-0.8 * (u * u + v * v)).exp()
    });
    let threshold = otsu(&central.data);
    let closed = closed(&central.map(|value| value > threshold), width.max(height) / GAP);
    Plane::from_fn(width, height, |x, y| closed.at(x, y) && !level.fixed.at(x, y))
}

/// Also what lies in gaps up to twice `radius` wide.
fn closed(mask: &Plane<bool>, radius: usize) -> Plane<bool> {
    shrunk(&grown(mask, radius), radius)
}

/// Pixels within `radius` (a square) of a set one.
fn grown(mask: &Plane<bool>, radius: usize) -> Plane<bool> {
    let (width, height) = (mask.width, mask.height);
    let mut out = Plane::filled(width, height, false);
    for y in 0..height {
        for x in (0..width).filter(|x| mask.at(*x, y)) {
            for row in y.saturating_sub(radius)..(y + radius + 1).min(height) {
                let from = row * width;
                out.data[from + x.saturating_sub(radius)..from + (x + radius + 1).min(width)].fill(true);
            }
        }
    }
    out
}

/// Pixels further than `radius` from every unset one.
fn shrunk(mask: &Plane<bool>, radius: usize) -> Plane<bool> {
    grown(&mask.map(|set| !set), radius).map(|set| !set)
}

/// The threshold between two groups of values that differ most (Otsu, 1979).
fn otsu(values: &[f32]) -> f32 {
    const BINS: usize = 128;
    let top = values.iter().copied().fold(0.0f32, f32::max).max(1e-6);
    let mut histogram = [0.0f64; BINS];
    values.iter().for_each(|v| histogram[((v / top * BINS as f32) as usize).min(BINS - 1)] += 1.0);
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

fn learn(level: &Level, labels: &Plane<bool>, border: &Border) -> Option<Model> {
    let labels = Plane::from_fn(labels.width, labels.height, |x, y| match (labels.at(x, y), level.ground.at(x, y)) {
        (true, _) => Label::Object,
        (false, Ground::Shadow) => Label::Unused,
        (false, _) => Label::Background,
    });
    Model::learn(level.lab, &labels, &level.frame, border.surface.as_ref())
}

/// Cuts all of a level. In `bays` something speaks for the object.
fn cut_all(
    level: &Level,
    model: &Model,
    bays: Option<&Plane<bool>>,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Plane<bool>, StageError> {
    let (width, height) = (level.lab.width, level.lab.height);
    let unexplained = if model.background_is_clean() { UNEXPLAINED_EVIDENCE } else { f32::NEG_INFINITY };
    let evidence = Plane::from_fn_parallel(width, height, |x, y| match level.fixed.at(x, y) {
        true => f32::NEG_INFINITY,
        false => weigh(level.ground.at(x, y), unexplained, || {
            let in_bay = bays.is_some_and(|bays| bays.at(x, y));
            model.evidence(&level.lab.at(x, y), place(x, y, width, height)) + if in_bay { BAY_EVIDENCE } else { 0.0 }
        }),
    });
    cut(level.lab, &evidence, level.price, poll)
}

/// Evidence of a pixel, given what it is of a plain background. What the
/// background does not explain speaks for the object at least by `unexplained`.
fn weigh(ground: Ground, unexplained: f32, of_colour: impl Fn() -> f32) -> f32 {
    match ground {
        Ground::Shadow => SHADOW_EVIDENCE,
        Ground::Enclosed | Ground::Other => of_colour().max(unexplained),
        Ground::Open | Ground::Hole => of_colour(),
    }
}

/// Labels at the size of `rgb` (sRGB-encoded), a larger version of the segmented
/// picture: a band around the known outline is cut again. With `find_thin_parts`
/// so is, on a plain background, all that is clearly no background.
pub fn refine(
    rgb: &Plane<[f32; 3]>,
    coarse: &Segmentation,
    find_thin_parts: bool,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Plane<bool>, StageError> {
    let (width, height) = (rgb.width, rgb.height);
    let labels = coarse.labels.nearest(width, height);
    let ground = coarse.ground.nearest(width, height);
    let band = outline_band(&labels, BAND);
    let thin_parts_on = coarse.model.surface().filter(|_| find_thin_parts);
    let lab = match thin_parts_on {
        Some(_) => oklab::from_srgb_plane(rgb),
        None => oklab::from_srgb_where(rgb, &outline_band(&labels, BAND + 1)),
    };
    poll()?;
    // The coarse pixels reach across the edge: their word is no more than neutral here.
    let unexplained = if coarse.model.background_is_clean() { 0.0 } else { f32::NEG_INFINITY };
    let clearly_off = |x: usize, y: usize| match thin_parts_on {
        Some(surface) if ground.at(x, y) != Ground::Shadow => {
            distance(&lab.at(x, y), &surface.at(place(x, y, width, height))) > CLEARLY_OFF * surface.reach()
        }
        _ => false,
    };
    let evidence = Plane::from_fn_parallel(width, height, |x, y| match labels.at(x, y) {
        label if band.at(x, y) || (!label && clearly_off(x, y)) => {
            weigh(ground.at(x, y), unexplained, || coarse.model.evidence(&lab.at(x, y), place(x, y, width, height)))
        }
        true => f32::INFINITY,
        false => f32::NEG_INFINITY,
    });
    cut(&lab, &evidence, coarse.price, poll)
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
        let row = labels.row(y);
        let below = labels.row((y + 1).min(height - 1));
        for x in 0..width {
            if row[x] != below[x] || row[x] != row[(x + 1).min(width - 1)] {
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
    price: Price,
    poll: &dyn Fn() -> Result<(), StageError>,
) -> Result<Plane<bool>, StageError> {
    let (width, height) = (lab.width, lab.height);
    let members: Vec<u32> =
        (0..evidence.data.len() as u32).filter(|i| evidence.data[*i as usize].is_finite()).collect();
    let mut graph = GridGraph::new(width, height, &members);
    poll()?;
    for pixel in &members {
        let (x, y) = (*pixel as usize % width, *pixel as usize / width);
        let here = evidence.at(x, y);
        let capacity = (here.abs() * SCALE) as i32;
        let (mut from_source, mut to_sink) = if here > 0.0 { (capacity, 0) } else { (0, capacity) };
        for (direction, (dx, dy)) in DIRECTIONS.iter().enumerate() {
            let (Some(nx), Some(ny)) = (x.checked_add_signed(*dx as isize), y.checked_add_signed(*dy as isize)) else {
                continue;
            };
            if nx >= width || ny >= height {
                continue;
            }
            let there = evidence.at(nx, ny);
            // Every edge between two members is met from both of them.
            if there.is_finite() && direction % 2 == 1 {
                continue;
            }
            let d = distance(&lab.at(x, y), &lab.at(nx, ny));
            let length = if direction >= 4 { std::f32::consts::SQRT_2 } else { 1.0 };
            let capacity = (SCALE * price.of_equals / length * (-0.5 / price.contrast * d * d).exp()) as i32;
            match there {
                f32::INFINITY => from_source += capacity,
                f32::NEG_INFINITY => to_sink += capacity,
                _ => graph.set_edge(x, y, direction, capacity),
            }
        }
        graph.add_terminals(x, y, from_source, to_sink);
    }
    graph.cut(poll)?;
    let mut labels = evidence.map(|e| e == f32::INFINITY);
    for pixel in &members {
        let (x, y) = (*pixel as usize % width, *pixel as usize / width);
        labels.data[*pixel as usize] = graph.is_source(x, y);
    }
    Ok(labels)
}

/// The contrast is the mean, over the picture, of the squared distance between
/// colours side by side, no less than what is seen with the naked eye.
fn price(lab: &Plane<Lab>, border: &Border) -> Price {
    let (mut sum, mut n) = (0.0f64, 0u32);
    for y in 0..lab.height {
        for pair in lab.row(y).windows(2) {
            sum += f64::from(distance(&pair[0], &pair[1]).powi(2));
            n += 1;
        }
    }
    Price {
        of_equals: if border.surface.is_some() { SMOOTHNESS_PLAIN } else { SMOOTHNESS_BUSY },
        contrast: ((sum / f64::from(n.max(1))) as f32).max(SMALLEST_CONTRAST),
    }
}
