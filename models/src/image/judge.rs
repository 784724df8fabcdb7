//! Whether a segmentation shows one clear object.
//!
//! The limits were set on pictures with and without one: cut-outs before plain
//! backgrounds stay far inside them, textures, landscapes and crowds far outside.

use super::{
    border::{Border, place},
    grab_cut::Segmentation,
    oklab::Lab,
    plane::Plane,
    surface::distance,
};

/// What tells an object from rubbish, measured on the segmented picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Share of the picture (inside its frame) that is object.
    pub area: f32,
    /// Share of the frame's outline that is object.
    pub on_border: f32,
    /// Sides of the frame of which the object covers more than a corner.
    pub n_sides: usize,
    pub touches_top: bool,
    /// Share of the object, and of the background, whose colours speak for the other side.
    pub object_doubt: f32,
    pub background_doubt: f32,
    /// Mean change of colour across the outline (OKLab distance), and that change in
    /// relation to changes within the background.
    pub contrast: f32,
    pub relief: f32,
}

impl Measures {
    /// Why this is not one clear object, if it is not.
    pub fn objection(&self, plain: bool) -> Option<&'static str> {
        let doubt = self.object_doubt + self.background_doubt;
        let objections = [
            (self.area < 0.002, "nothing but background"),
            (self.area > 0.85, "nothing but object"),
            (self.on_border > 0.3 || self.n_sides > 2, "the object runs out of the picture"),
            (!plain && (self.n_sides > 1 || self.touches_top), "the object runs out of the picture on several sides"),
            (self.contrast < 0.02, "the object is hardly visible"),
            (self.relief < 3.3, "the outline is no clearer than the texture of the background"),
            (doubt > if plain { 0.4 } else { 0.2 }, "object and background look alike"),
        ];
        objections.into_iter().find(|(holds, _)| *holds).map(|(_, objection)| objection)
    }
}

/// `found` is all that was cut out, `object` what was kept of it.
pub fn measure(lab: &Plane<Lab>, border: &Border, found: &Segmentation, object: &Plane<bool>) -> Measures {
    let (width, height) = (lab.width, lab.height);
    let frame = &border.frame;
    let (mut n_object, mut n_frame) = (0u32, 0u32);
    let mut on_side = [0usize; 4];
    let (mut n_border, mut n_object_border) = (0u32, 0u32);
    let (mut n_object_doubt, mut n_background_doubt) = (0u32, 0u32);
    let (mut n_outline, mut outline_steps, mut n_background_steps, mut background_steps) = (0u32, 0.0f64, 0u32, 0.0f64);
    for y in frame.top..frame.bottom {
        for x in frame.left..frame.right {
            let is_object = object.at(x, y);
            n_frame += 1;
            n_object += u32::from(is_object);
            if x == frame.left || y == frame.top || x + 1 == frame.right || y + 1 == frame.bottom {
                n_border += 1;
                n_object_border += u32::from(is_object);
                if is_object {
                    let sides = [x == frame.left, x + 1 == frame.right, y == frame.top, y + 1 == frame.bottom];
                    sides.iter().zip(&mut on_side).for_each(|(on, n)| *n += usize::from(*on));
                }
            }
            let evidence = found.model.evidence(&lab.at(x, y), place(x, y, width, height));
            n_object_doubt += u32::from(is_object && evidence < 0.0);
            n_background_doubt += u32::from(!is_object && evidence > 0.0);
            for (nx, ny) in [(x + 2, y), (x, y + 2)] {
                if nx >= frame.right || ny >= frame.bottom {
                    continue;
                }
                let step = f64::from(distance(&lab.at(x, y), &lab.at(nx, ny)));
                match (is_object, object.at(nx, ny)) {
                    (false, false) => {
                        n_background_steps += 1;
                        background_steps += step;
                    }
                    (true, true) => {}
                    _ => {
                        n_outline += 1;
                        outline_steps += step;
                    }
                }
            }
        }
    }
    let share = |n: u32, of: u32| n as f32 / of.max(1) as f32;
    let contrast = (outline_steps / f64::from(n_outline.max(1))) as f32;
    let background = (background_steps / f64::from(n_background_steps.max(1))) as f32;
    Measures {
        area: share(n_object, n_frame),
        on_border: share(n_object_border, n_border),
        touches_top: on_side[2] * 40 > width.min(height),
        n_sides: on_side.iter().filter(|n| **n * 40 > width.min(height)).count(),
        object_doubt: share(n_object_doubt, n_object),
        background_doubt: share(n_background_doubt, n_frame - n_object),
        contrast,
        relief: contrast / background.max(0.004),
    }
}
