//! Make a small picture large enough for the texture it becomes.
//!
//! In: the picture, or the cutout where there is one. Out: the same, larger; or nothing new, and a
//! note that says why. A picture that is large enough is never touched.

mod enlarge;

use std::num::NonZeroU32;

use ::image::RgbaImage;
use serde_json::{Value as Json, json};

pub use self::enlarge::Enlarger;
use crate::{
    cx::StageCx,
    error::StageError,
    recipe::PlannedStep,
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage, net_param},
    stages::quality::{self, Quality},
};

pub const STAGE: Stage = Stage {
    id: "upscale",
    version: 1,
    doc: "Make a small picture large enough for the texture it becomes.",
    reads: &[Slot::Image],
    may_read: &[Slot::Cutout, Slot::Notes],
    writes: &[],
    may_write: &[Slot::Image, Slot::Cutout, Slot::Notes],
    engines: ENGINES,
    params: &[
        Param {
            id: "factor",
            doc: "How many times wider and higher; auto is the smallest that reaches the target, and 1 without a network.",
            unit: "",
            kind: ParamKind::Choice { default: "auto", options: &["auto", "1", "2", "4"] },
        },
        Param {
            id: TARGET,
            doc: "Longer side that the object should have; 0 for the size of the texture of the recipe.",
            unit: "px",
            kind: ParamKind::Int { default: 0, min: 0, max: 8192 },
        },
        Param {
            id: "max-side",
            doc: "No picture becomes larger than this on its longer side.",
            unit: "px",
            kind: ParamKind::Int { default: 8192, min: 64, max: 16384 },
        },
        quality::PRECISION,
    ],
    run,
};

const TARGET: &str = "target";
/// The engine without a network.
pub const LANCZOS: &str = "lanczos";

const fn engine(id: &'static str, doc: &'static str, params: &'static [Param]) -> Engine {
    Engine { id, doc, net: Some(id), params }
}

/// Networks for drawings come last: a photograph is what they ruin, so that nobody gets them
/// unasked.
pub const ENGINES: &[Engine] = &[
    engine(
        "realesrgan-x4plus",
        "Real-ESRGAN's large network: sharp, slow without a GPU.",
        &[net_param("realesrgan-x4plus")],
    ),
    engine(
        "realesr-general-x4v3",
        "Real-ESRGAN's light network: nearly as sharp, a fourteenth of the work.",
        &[net_param("realesr-general-x4v3")],
    ),
    engine("realesrgan-x2plus", "Real-ESRGAN's large network for twice the size.", &[net_param("realesrgan-x2plus")]),
    Engine { id: LANCZOS, doc: "Resampling without a network: nothing is invented.", net: None, params: &[] },
    engine(
        "realesrgan-x4plus-anime",
        "Real-ESRGAN for drawings, a quarter of the work.",
        &[net_param("realesrgan-x4plus-anime")],
    ),
    engine(
        "realesr-animevideov3",
        "Real-ESRGAN's lightest network, for drawings.",
        &[net_param("realesr-animevideov3")],
    ),
];

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let slot = if asset.get(Slot::Cutout).is_some() { Slot::Cutout } else { Slot::Image };
    let picture = asset.image(slot)?;
    let side = object_side(&picture);
    let longer = picture.width().max(picture.height());
    let target = match cx.int(TARGET) {
        0 => Quality::find("auto").texture,
        target => target as u32,
    };
    let (mut factor, mut why) = match cx.choice("factor") {
        "auto" => wanted(side, target, cx.engine),
        given => (given.parse().unwrap_or(1), ""),
    };
    let most = cx.int("max-side") as u32;
    if factor > 1 && longer * factor > most {
        why = "it would become larger than max-side";
        factor = if factor == 4 && longer * 2 <= most { 2 } else { 1 };
    }
    let mut note = json!({ "object_px": side, "wanted_px": target, "factor": factor });
    if !why.is_empty() {
        note["why"] = json!(why);
    }
    let factor = NonZeroU32::new(factor).filter(|factor| factor.get() > 1);
    let Some(factor) = factor else {
        asset.note("upscale", note);
        return cx.step(1, 1);
    };
    let enlarger = Enlarger::new(cx, Quality::find("auto").precision)?;
    let larger = enlarger.picture(&picture, factor, &|done, total| cx.step(done, total))?;
    asset.set_image(slot, larger);
    asset.note("upscale", note);
    Ok(())
}

/// The smallest factor that makes an object of `side` pixels one of `target`, or nearly, and why it
/// is 1.
fn wanted(side: u32, target: u32, engine: &str) -> (u32, &'static str) {
    /// Missing pixels that nobody sees.
    const NEARLY: f32 = 1.2;
    let missing = target as f32 / side.max(1) as f32 / NEARLY;
    if missing <= 1.0 {
        (1, "the object is large enough")
    } else if engine == LANCZOS {
        (1, "no network is here, and resampling adds nothing")
    } else {
        (if missing <= 2.0 { 2 } else { 4 }, "")
    }
}

/// Longer side of what is not transparent.
fn object_side(picture: &RgbaImage) -> u32 {
    let (mut low, mut high) = ((u32::MAX, u32::MAX), (0, 0));
    for (x, y, _) in picture.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[3] > 0) {
        low = (low.0.min(x), low.1.min(y));
        high = (high.0.max(x + 1), high.1.max(y + 1));
    }
    high.0.saturating_sub(low.0).max(high.1.saturating_sub(low.1))
}

/// Fills in what follows from other steps of a plan: the side of the texture as target.
pub fn settle(steps: &mut [PlannedStep]) {
    let setting =
        |stage: &str, param: &str| steps.iter().find(|step| step.stage == stage)?.settings.get(param).cloned();
    let Some(target) = texture_side(setting) else { return };
    for step in steps.iter_mut().filter(|step| step.stage == STAGE.id) {
        if let Some(open) = step.settings.get_mut(TARGET).filter(|target| **target == json!(0)) {
            *open = json!(target);
        }
    }
}

/// Whether a setting of a stored plan is what `settle` filled in: it is found anew when the plan is
/// changed. `setting` looks up what the plan says, by stage and parameter.
pub fn is_settled(stage: &str, param: &str, value: &Json, setting: impl Fn(&str, &str) -> Option<Json>) -> bool {
    stage == STAGE.id && param == TARGET && texture_side(setting).is_some_and(|side| *value == json!(side))
}

/// Side of the texture that the steps make.
fn texture_side(setting: impl Fn(&str, &str) -> Option<Json>) -> Option<i64> {
    match setting("bake", "size")?.as_i64()? {
        0 => {
            let quality = setting("reconstruct", quality::PARAM.id);
            let quality = quality.as_ref().and_then(Json::as_str).unwrap_or_default();
            Some(i64::from(Quality::find(quality).texture))
        }
        size => Some(size),
    }
}

#[cfg(test)]
mod tests;
