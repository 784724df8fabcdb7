//! What the object and its background look like, learnt from a labelled picture.

use super::{
    border::{Frame, place},
    mixture::{Fit, Mixture},
    oklab::Lab,
    plane::Plane,
    surface::{Place, Surface},
};

/// Evidence is cut off here, in nats.
const EVIDENCE_LIMIT: f32 = 24.0;
/// About how many samples of each side are looked at, evenly taken.
const N_SAMPLES: usize = 6000;
/// A plain background is clean when its colours scatter less than this (OKLab) and
/// at least this share of what was not cut out belongs to it.
const CLEAN_SIGMA: f32 = 0.012;
const CLEAN_SHARE: f32 = 0.8;
/// Log of the density of colours that are equally likely over the sRGB gamut,
/// whose volume in OKLab is about 0.055.
const LOG_UNIFORM: f32 = 2.9;
/// Share of the object's and of the background's colours that resemble no others of it.
const OBJECT_OUTLIERS: f32 = 0.05;
const BACKGROUND_OUTLIERS: f32 = 0.001;
/// Half the picture's width weighs as much as this distance between colours.
const PLACE_SCALE: f32 = 0.05;
/// Places closer than this (in half widths of the picture) are about the same.
const PLACE_BLUR: f32 = 1.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Object,
    Background,
    /// Not to be learnt from.
    Unused,
}

pub enum Model {
    /// Colours before a smooth background; the background's are differences from it.
    Plain { surface: Surface, background: Mixture<3>, object: Mixture<3> },
    /// Colours and where they are.
    Busy { background: Mixture<5>, object: Mixture<5> },
}

impl Model {
    /// Learns from the pixels of `lab` inside `frame`. `plain` is what is known of
    /// the surface so far, if the background is plain. `None` when one side is empty.
    pub fn learn(lab: &Plane<Lab>, labels: &Plane<Label>, frame: &Frame, plain: Option<&Surface>) -> Option<Model> {
        let object = samples(lab, labels, frame, Label::Object);
        let background = samples(lab, labels, frame, Label::Background);
        let Some(plain) = plain else {
            let blur = [0.012, 0.012, 0.012, PLACE_BLUR * PLACE_SCALE, PLACE_BLUR * PLACE_SCALE];
            let log_uniform = LOG_UNIFORM - (4.0 * PLACE_SCALE * PLACE_SCALE).ln();
            let fit = |samples: &[(Place, Lab)], outliers: f32| {
                let samples: Vec<[f32; 5]> = samples.iter().map(|(place, c)| with_place(c, *place)).collect();
                Mixture::fit(&samples, &Fit { n_gaussians: 8, blur, log_outlier: log_uniform + outliers.ln() })
            };
            return Some(Model::Busy {
                background: fit(&background, BACKGROUND_OUTLIERS)?,
                object: fit(&object, OBJECT_OUTLIERS)?,
            });
        };
        let refitted = plain.refit(&background).filter(|s| s.sigma <= plain.sigma * 1.5 + 0.003);
        let surface = refitted.unwrap_or_else(|| plain.clone());
        let fit = |samples: &[Lab], n_gaussians: usize, blur: f32, outliers: f32| {
            Mixture::fit(samples, &Fit { n_gaussians, blur: [blur; 3], log_outlier: LOG_UNIFORM + outliers.ln() })
        };
        let object: Vec<Lab> = object.iter().map(|s| s.1).collect();
        let background: Vec<Lab> = background.iter().map(|(place, c)| without(&surface, c, *place)).collect();
        Some(Model::Plain {
            background: fit(&background, 3, surface.sigma.max(0.006), BACKGROUND_OUTLIERS)?,
            object: fit(&object, 6, 0.015, OBJECT_OUTLIERS)?,
            surface,
        })
    }

    pub fn surface(&self) -> Option<&Surface> {
        match self {
            Model::Plain { surface, .. } => Some(surface),
            Model::Busy { .. } => None,
        }
    }

    /// Whether the background is so plain that whatever differs from it is something else.
    pub fn background_is_clean(&self) -> bool {
        self.surface().is_some_and(|s| s.sigma < CLEAN_SIGMA && s.inliers > CLEAN_SHARE)
    }

    /// Log of how many times likelier a colour is the object's than the
    /// background's, in nats.
    pub fn evidence(&self, colour: &Lab, place: Place) -> f32 {
        let evidence = match self {
            Model::Plain { surface, background, object } => {
                object.log_density(colour) - background.log_density(&without(surface, colour, place))
            }
            Model::Busy { background, object } => {
                let sample = with_place(colour, place);
                object.log_density(&sample) - background.log_density(&sample)
            }
        };
        evidence.clamp(-EVIDENCE_LIMIT, EVIDENCE_LIMIT)
    }
}

fn without(surface: &Surface, colour: &Lab, place: Place) -> Lab {
    let plain = surface.at(place);
    [colour[0] - plain[0], colour[1] - plain[1], colour[2] - plain[2]]
}

fn with_place([l, a, b]: &Lab, (u, v): Place) -> [f32; 5] {
    [*l, *a, *b, u * PLACE_SCALE, v * PLACE_SCALE]
}

fn samples(lab: &Plane<Lab>, labels: &Plane<Label>, frame: &Frame, wanted: Label) -> Vec<(Place, Lab)> {
    let inside = || {
        let rows = frame.top..frame.bottom;
        rows.flat_map(|y| (frame.left..frame.right).map(move |x| (x, y))).filter(|(x, y)| labels.at(*x, *y) == wanted)
    };
    let step = inside().count().div_ceil(N_SAMPLES).max(1);
    inside().step_by(step).map(|(x, y)| (place(x, y, lab.width, lab.height), lab.at(x, y))).collect()
}
