//! Cutting out by colours and edges, without a network: a model of the background from the border,
//! a graph cut, and a soft edge at the picture's full size.

use ::image::RgbaImage;

use super::{
    border,
    components::{Keep, keep_object},
    grab_cut, judge,
    matte::matte,
    oklab,
    plane::{Plane, fit, shrink, shrink_rgb},
};
use crate::error::{StageError, StageErrorKind};

/// Longest side at which outlines are cut; beyond it the guided filter takes over.
pub const FINE_SIDE: usize = 1280;
/// What belongs to an object before a plain background, and among other things.
pub const KEEP_PLAIN: Keep = Keep { smallest_part: 0.01, pinhole: 0.0004 };
const KEEP_BUSY: Keep = Keep { smallest_part: 0.06, pinhole: 0.002 };

/// Steps that `cut` counts.
pub const N_STEPS: u32 = 10;

/// Alpha of the object in `image`, 0 to 255. The object is found at `working_side` pixels, its
/// outline at up to `FINE_SIDE`. `step` hears how many of `N_STEPS` steps are done; its error
/// ends the work. Errors: `no clear object`.
pub fn cut(
    image: &RgbaImage,
    working_side: usize,
    step: &(dyn Fn(u32) -> Result<(), StageError> + Sync),
) -> Result<Plane<u8>, StageError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (fine_width, fine_height) = fit(width, height, FINE_SIDE);
    let rgb = shrink_rgb(image, fine_width, fine_height);
    let (coarse_width, coarse_height) = fit(fine_width, fine_height, working_side);
    let coarse = oklab::from_srgb_plane(&shrink(&rgb, coarse_width, coarse_height));
    step(1)?;

    let border = border::examine(&coarse);
    step(2)?;
    let poll = |n_cuts: usize| step(2 + n_cuts as u32);
    let mut segmentation = grab_cut::segment(&coarse, &border, &poll)?.ok_or_else(no_object)?;
    let keep = if border.surface.is_some() { KEEP_PLAIN } else { KEEP_BUSY };
    let object = keep_object(&segmentation.labels, &keep);
    let measures = judge::measure(&coarse, &border, &segmentation, &object);
    if let Some(objection) = measures.objection(border.surface.is_some()) {
        tracing::debug!(objection, ?measures, "no clear object");
        return Err(no_object());
    }
    segmentation.labels = object;
    step(8)?;

    let mut side = coarse_width.max(coarse_height);
    while side < fine_width.max(fine_height) {
        side *= 2;
        let (level_width, level_height) = fit(fine_width, fine_height, side);
        let level = shrink(&rgb, level_width, level_height);
        // Thin parts seen at the first larger size are in the band at the next.
        let first = side / 2 == coarse_width.max(coarse_height);
        segmentation.labels = grab_cut::refine(&level, &segmentation, first, &|| step(8))?;
    }
    let mask = keep_object(&segmentation.labels, &keep);
    step(9)?;
    Ok(matte(image, &rgb, &mask))
}

/// There is nothing that could be told from its background.
pub fn no_object() -> StageError {
    StageError::new(StageErrorKind::NoObject, "no clear object", "give a picture with alpha or a plain background")
}
