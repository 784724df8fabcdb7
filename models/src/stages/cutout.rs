//! Cut the object out of its background.
//!
//! In: the picture. Out: the same picture with the object's alpha, straight, and
//! the object's own colours under and beyond its edge; or `no clear object`.

pub mod clicks;
pub mod sam;

use ::image::RgbaImage;

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    image::{
        border,
        components::{Keep, keep_object},
        edge_color, given_alpha, grab_cut, judge,
        matte::matte,
        oklab,
        plane::{Plane, fit, shrink, shrink_rgb},
    },
    nets::torchscript,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage, net_param},
};

pub const STAGE: Stage = Stage {
    id: "cutout",
    version: 1,
    doc: "Cut the object out of its background.",
    reads: &[Slot::Image],
    may_read: &[],
    writes: &[Slot::Cutout],
    may_write: &[],
    engines: &[
        Engine {
            id: "classic",
            doc: "Background model from the border, graph cut, guided filter; the picture's own alpha when it has one.",
            net: None,
            params: &[Param {
                id: "working-side",
                doc: "Longer side at which the object is found; its edge is refined at the picture's full size.",
                unit: "px",
                kind: ParamKind::Int { default: 320, min: 128, max: 1024 },
            }],
        },
        sam::engine::<0>("MobileSAM: what is pointed at, or what stands out; small and quick."),
        sam::engine::<1>("Segment Anything, ViT-B: what is pointed at, or what stands out."),
        sam::engine::<2>("Segment Anything, ViT-L: what is pointed at, or what stands out; slower, finer."),
        sam::engine::<3>("Segment Anything, ViT-H: what is pointed at, or what stands out; slowest, finest."),
        Engine {
            id: torchscript::ENGINE,
            doc: "A TorchScript module of your own that says how opaque the picture is where.",
            net: None,
            params: &[net_param("")],
        },
    ],
    params: &[Param {
        id: "use-alpha",
        doc: "Take the picture's own alpha when it tells an object from its background.",
        unit: "",
        kind: ParamKind::Flag { default: true },
    }],
    run,
};

/// Smaller pictures show nothing that could be told from a background.
const SMALLEST_SIDE: u32 = 8;
/// Longest side at which outlines are cut; beyond it the guided filter takes over.
const FINE_SIDE: usize = 1280;
/// What belongs to an object before a plain background, and among other things.
const KEEP_PLAIN: Keep = Keep { smallest_part: 0.01, pinhole: 0.0004 };
const KEEP_BUSY: Keep = Keep { smallest_part: 0.06, pinhole: 0.002 };

const N_STEPS: u32 = 11;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let image = asset.image(Slot::Image)?;
    let (width, height) = image.dimensions();
    if width.min(height) < SMALLEST_SIDE {
        return Err(StageError::new(
            StageErrorKind::NoObject,
            format!("no clear object: the picture has {width}x{height} pixels"),
            format!("give a picture of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"),
        ));
    }
    cx.step(0, N_STEPS)?;
    let alpha = if cx.flag("use-alpha") && given_alpha::is_real(&image) {
        given_alpha::cleaned(&image)
    } else if cx.engine == torchscript::ENGINE {
        by_module(cx, asset)?
    } else if sam::IDS.contains(&cx.engine) {
        sam::alpha(cx, &image)?
    } else {
        classic(cx, &image)?
    };
    cx.step(N_STEPS - 1, N_STEPS)?;
    let mut cutout = RgbaImage::clone(&image);
    for (pixel, alpha) in cutout.pixels_mut().zip(&alpha.data) {
        pixel.0[3] = *alpha;
    }
    edge_color::extend_colors(&mut cutout, &|| cx.check_cancel())?;
    asset.set_image(Slot::Cutout, cutout);
    cx.step(N_STEPS, N_STEPS)
}

fn classic(cx: &StageCx, image: &RgbaImage) -> Result<Plane<u8>, StageError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (fine_width, fine_height) = fit(width, height, FINE_SIDE);
    let rgb = shrink_rgb(image, fine_width, fine_height);
    let (coarse_width, coarse_height) = fit(fine_width, fine_height, cx.int("working-side") as usize);
    let coarse = oklab::from_srgb_plane(&shrink(&rgb, coarse_width, coarse_height));
    cx.step(1, N_STEPS)?;

    let border = border::examine(&coarse);
    cx.step(2, N_STEPS)?;
    let poll = |n_cuts: usize| cx.step(2 + n_cuts as u32, N_STEPS);
    let mut segmentation = grab_cut::segment(&coarse, &border, &poll)?.ok_or_else(no_object)?;
    let keep = if border.surface.is_some() { KEEP_PLAIN } else { KEEP_BUSY };
    let object = keep_object(&segmentation.labels, &keep);
    let measures = judge::measure(&coarse, &border, &segmentation, &object);
    if let Some(objection) = measures.objection(border.surface.is_some()) {
        tracing::debug!(objection, ?measures, "no clear object");
        return Err(no_object());
    }
    segmentation.labels = object;
    cx.step(8, N_STEPS)?;

    let mut side = coarse_width.max(coarse_height);
    while side < fine_width.max(fine_height) {
        side *= 2;
        let (level_width, level_height) = fit(fine_width, fine_height, side);
        let level = shrink(&rgb, level_width, level_height);
        // Thin parts seen at the first larger size are in the band at the next.
        let first = side / 2 == coarse_width.max(coarse_height);
        segmentation.labels = grab_cut::refine(&level, &segmentation, first, &|| cx.check_cancel())?;
    }
    let mask = keep_object(&segmentation.labels, &keep);
    cx.step(9, N_STEPS)?;
    Ok(matte(image, &rgb, &mask))
}

/// What the module says of the cutout, at the size of the picture.
fn by_module(cx: &StageCx, asset: &Asset) -> Result<Plane<u8>, StageError> {
    let made = torchscript::run(cx, asset)?;
    let alpha = made.into_iter().find(|(slot, _)| *slot == Slot::Cutout).map(|(_, alpha)| alpha);
    let alpha = alpha.ok_or_else(|| StageError::internal("the module makes no cutout"))?;
    let (width, height) = asset.image(Slot::Image)?.dimensions();
    let alpha = torchscript::resized(&alpha, width as usize, height as usize).map(|v| (v * 255.0).round() as u8);
    // Under half there is nothing that anybody would call an object.
    if alpha.data.iter().all(|v| *v < 128) { Err(no_object()) } else { Ok(alpha) }
}

fn no_object() -> StageError {
    StageError::new(StageErrorKind::NoObject, "no clear object", "give a picture with alpha or a plain background")
}

#[cfg(test)]
mod tests;
