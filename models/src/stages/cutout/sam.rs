//! Cutouts by Segment Anything: of what is pointed at, or of what stands out.
//!
//! The mask comes at a quarter of the size that the network sees; its edge is put where the
//! picture's is by the same guided filter as in the engine `classic`.

pub mod automatic;

use ::image::RgbaImage;

use super::clicks;
use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    image::{
        classic::{FINE_SIDE, KEEP_PLAIN, no_object},
        components::keep_object,
        matte::matte,
        plane::{Plane, fit, shrink_rgb},
    },
    nets::{
        Watch,
        sam::{Embedding, Point, Prompt, Sam, Wanted, picture::colours},
    },
    stage::{Engine, Param, ParamKind, net_param},
};

/// Ids of engines and of their networks.
pub const IDS: [&str; 4] = ["mobile-sam", "sam-vit-b", "sam-vit-l", "sam-vit-h"];

const GRID: Param = Param {
    id: "grid",
    doc: "Points across and down that are tried where nothing is pointed at; more find smaller things, and take longer.",
    unit: "",
    kind: ParamKind::Int { default: 8, min: 2, max: 32 },
};

/// What runs the network `IDS[I]`.
pub const fn engine<const I: usize>(doc: &'static str) -> Engine {
    Engine {
        id: IDS[I],
        doc,
        net: Some(IDS[I]),
        params: &const { [clicks::POINTS, clicks::FRAME, GRID, net_param(IDS[I])] },
    }
}

/// Alpha of the object in `image`, at its size.
///
/// Errors: points outside the picture; nothing is there.
pub fn alpha(cx: &StageCx, image: &RgbaImage) -> Result<Plane<u8>, StageError> {
    let (width, height) = image.dimensions();
    let asked = prompt(cx, width, height)?;
    let net = cx.net::<Sam>(cx.engine, None)?;
    let grid = cx.int(GRID.id) as usize;
    let n_prompts = if asked.is_some() { 1 } else { (grid * grid) as u32 };
    // A tenth is left for the edge.
    let n_embed = net.config.n_steps();
    let total = (n_embed + n_prompts) * 11 / 10 + 1;
    let embed = |done, _| cx.step(done, total);
    let embedding = net.embed(&colours(image), &Watch { step: &embed, tap: None })?;
    let logits = match asked {
        Some(prompt) => pointed_at(&net, &embedding, &prompt)?,
        None => {
            let step = |done| cx.step(n_embed + done, total);
            automatic::find(&net, &embedding, grid, &step)?.ok_or_else(no_object)?.logits
        }
    };
    cx.step(n_embed + n_prompts, total)?;
    let (fine_width, fine_height) = fit(width as usize, height as usize, FINE_SIDE);
    let mask = embedding.fit.enlarged(&logits, net.config.mask_side(), fine_width, fine_height).map(|v| v > 0.0);
    let mask = keep_object(&mask, &KEEP_PLAIN);
    if !mask.data.contains(&true) {
        return Err(no_object());
    }
    Ok(matte(image, &shrink_rgb(image, fine_width, fine_height), &mask))
}

/// What the settings point at, in pixels; nothing where they do not.
fn prompt(cx: &StageCx, width: u32, height: u32) -> Result<Option<Prompt>, StageError> {
    let outside = |what: String| StageError::invalid(what, "give places on the picture, in shares of it or in pixels");
    // Settings were read before, when they were checked.
    let points = clicks::points(cx.text(clicks::POINTS.id)).map_err(outside)?;
    let frame = clicks::frame(cx.text(clicks::FRAME.id)).map_err(outside)?;
    if points.is_empty() && frame.is_none() {
        return Ok(None);
    }
    let points = points.iter().map(|point| point.point(width, height)).collect::<Result<Vec<Point>, _>>();
    let frame = frame.map(|frame| frame.frame(width, height)).transpose();
    Ok(Some(Prompt { points: points.map_err(outside)?, frame: frame.map_err(outside)?, mask: None }))
}

/// Logits of the mask that the network thinks best.
fn pointed_at(net: &Sam, embedding: &Embedding, prompt: &Prompt) -> Result<Vec<f32>, StageError> {
    let mut masks = net.masks(embedding, prompt, Wanted::of(prompt), &Watch::nobody())?;
    let chosen = masks.logits.swap_remove(masks.best());
    if chosen.iter().all(|v| *v <= 0.0) {
        return Err(StageError::new(
            StageErrorKind::NoObject,
            "no clear object at what is pointed at",
            "point at other places of it, or put a frame around it",
        ));
    }
    Ok(chosen)
}
