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

const CLEAN_SIGMA: f32 = 0.012;
const CLEAN_SHARE: f32 = 0.8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Object,
    Background,
    /// Not to be learnt from.
    Unused,
}

pub struct Model {
    /// A plain background.
    pub surface: Option<Surface>,
    /// Of colours minus the surface, if there is one.
    background: Mixture,
    object: Mixture,
}

impl Model {
    /// Learns from the pixels of `lab` inside `frame`. `plain` is what is known of
    /// the surface so far, if the background is plain. `None` when one side is empty.
    pub fn learn(lab: &Plane<Lab>, labels: &Plane<Label>, frame: &Frame, plain: Option<&Surface>) -> Option<Model> {
        let object: Vec<Lab> = samples(lab, labels, frame, Label::Object).into_iter().map(|s| s.1).collect();
        let background = samples(lab, labels, frame, Label::Background);
        let surface = plain.map(|plain| {
            let refitted = background.as_slice().first().and_then(|_| plain.refit(&background));
            refitted.filter(|s| s.sigma <= plain.sigma * 1.5 + 0.003).unwrap_or_else(|| plain.clone())
        });
        let (n_gaussians, blur) = match &surface {
            Some(surface) => (3, surface.sigma.max(0.006)),
            None => (6, 0.012),
        };
        let background: Vec<Lab> = background.iter().map(|(place, c)| without(&surface, c, *place)).collect();
        Some(Model {
            background: Mixture::fit(&background, &Fit { n_gaussians, blur, outliers: 0.001 })?,
            object: Mixture::fit(&object, &Fit { n_gaussians: 6, blur: 0.015, outliers: 0.05 })?,
            surface,
        })
    }

    /// Whether the background is so plain that whatever differs from it is something else.
    pub fn background_is_clean(&self) -> bool {
        self.surface.as_ref().is_some_and(|s| s.sigma < CLEAN_SIGMA && s.inliers > CLEAN_SHARE)
    }

    /// Log of how many times likelier a colour is the object's than the
    /// background's, in nats.
    pub fn evidence(&self, colour: &Lab, place: Place) -> f32 {
        let background = self.background.log_density(&without(&self.surface, colour, place));
        (self.object.log_density(colour) - background).clamp(-EVIDENCE_LIMIT, EVIDENCE_LIMIT)
    }
}

fn without(surface: &Option<Surface>, colour: &Lab, place: Place) -> Lab {
    let Some(surface) = surface else { return *colour };
    let plain = surface.at(place);
    [colour[0] - plain[0], colour[1] - plain[1], colour[2] - plain[2]]
}

fn samples(lab: &Plane<Lab>, labels: &Plane<Label>, frame: &Frame, wanted: Label) -> Vec<(Place, Lab)> {
    let inside = || {
        let rows = frame.top..frame.bottom;
        rows.flat_map(|y| (frame.left..frame.right).map(move |x| (x, y))).filter(|(x, y)| labels.at(*x, *y) == wanted)
    };
    let step = inside().count().div_ceil(N_SAMPLES).max(1);
    inside().step_by(step).map(|(x, y)| (place(x, y, lab.width, lab.height), lab.at(x, y))).collect()
}
