//! A picture as a relief: its depth raises a sheet that is closed with walls and a flat back, or
//! lies open as terrain.
//!
//! In: depth and picture, and the cutout where its outline is wanted. Out: the mesh with a layout of
//! its own, and the same surface with the picture on it for `bake` (engine `transfer`). A stage of
//! its own and no engine of `reconstruct`: it needs a depth, not a cutout, and nothing is guessed.

use std::sync::Arc;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::relief::{Border, Form, Paint, Relief, relief},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "relief",
    version: 1,
    doc: "Raise the picture by its depth: a closed relief, or terrain.",
    reads: &[Slot::Depth, Slot::Image],
    may_read: &[Slot::Cutout],
    // Undecimated, with the picture on it: what details and colours are baked from.
    writes: &[Slot::Mesh, Slot::High],
    may_write: &[],
    engines: &[Engine {
        id: "displace",
        doc: "A grid over the picture, or over what the cutout shows, moved by the depth.",
        net: None,
        params: &[],
    }],
    params: &[
        Param {
            id: "form",
            doc: "relief stands upright and is closed; terrain lies flat, open below; block lies flat and is closed.",
            unit: "",
            kind: ParamKind::Choice { default: "relief", options: &["relief", "terrain", "block"] },
        },
        Param {
            id: "outline",
            doc: "What the relief covers: all of the picture, or what the cutout shows, where there is one.",
            unit: "",
            kind: ParamKind::Choice { default: "picture", options: &["picture", "cutout"] },
        },
        metres("width", "Width of the relief; 0 as the picture's shape and `height` say."),
        metres("height", "Height of the relief as it is seen; 0 as the picture's shape and `width` say; both 0: 1 m."),
        share("depth", "From the lowest to the highest point, relative to the shorter side.", 0.1, 2.0),
        share("base", "Thickness under the lowest point, relative to the shorter side.", 0.04, 1.0),
        Param {
            id: "subdivisions",
            doc: "Cells along the longer side, before `simplify`.",
            unit: "",
            kind: ParamKind::Int { default: 384, min: 16, max: 1024 },
        },
        Param {
            id: "border",
            doc: "plain ends as the picture does, frame has a flat rim as high as the highest point, taper runs out low.",
            unit: "",
            kind: ParamKind::Choice { default: "plain", options: &["plain", "frame", "taper"] },
        },
        share("border-width", "Width of frame or taper, relative to the shorter side.", 0.05, 0.5),
        Param {
            id: "invert",
            doc: "What is near, or light in a height map, lies deep.",
            unit: "",
            kind: ParamKind::Flag { default: false },
        },
        Param {
            id: "smooth",
            doc: "Standard deviation of the blur that takes noise and jagged edges out of the heights, in cells, or pixels \
                  of the depth where they are larger.",
            unit: "cells",
            kind: ParamKind::Float { default: 1.0, min: 0.0, max: 32.0 },
        },
        percent("clip-far", "Farthest, or darkest, pixels that all count as the lowest point."),
        percent("clip-near", "Nearest, or lightest, pixels that all count as the highest point."),
        Param {
            id: "paint",
            doc: "What is on it: the picture, or one plain grey.",
            unit: "",
            kind: ParamKind::Choice { default: "picture", options: &["picture", "plain"] },
        },
    ],
    run,
};

const fn metres(id: &'static str, doc: &'static str) -> Param {
    Param { id, doc, unit: "m", kind: ParamKind::Float { default: 0.0, min: 0.0, max: 100_000.0 } }
}

const fn share(id: &'static str, doc: &'static str, default: f64, max: f64) -> Param {
    Param { id, doc, unit: "", kind: ParamKind::Float { default, min: 0.001, max } }
}

const fn percent(id: &'static str, doc: &'static str) -> Param {
    Param { id, doc, unit: "%", kind: ParamKind::Float { default: 0.2, min: 0.0, max: 45.0 } }
}

const N_STEPS: u32 = 2;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, N_STEPS)?;
    let (depth, image) = (asset.depth()?, asset.image(Slot::Image)?);
    let outline = match cx.choice("outline") {
        "cutout" => Some(asset.image(Slot::Cutout).map_err(|_| {
            StageError::invalid(
                "there is no cutout whose outline the relief could have",
                "put stage cutout before relief, or set relief.outline=picture",
            )
        })?),
        _ => None,
    };
    let made = relief(&depth, &image, outline.as_deref(), &how(cx), &|| cx.check_cancel())?;
    cx.step(1, N_STEPS)?;
    asset.set_mesh(made.mesh);
    asset.set(Slot::High, Value::High(Arc::new(made.high)));
    cx.step(N_STEPS, N_STEPS)
}

fn how(cx: &StageCx) -> Relief {
    Relief {
        form: match cx.choice("form") {
            "terrain" => Form::Terrain,
            "block" => Form::Block,
            _ => Form::Relief,
        },
        width: cx.float("width") as f32,
        height: cx.float("height") as f32,
        depth: cx.float("depth") as f32,
        base: cx.float("base") as f32,
        subdivisions: cx.int("subdivisions") as usize,
        border: match cx.choice("border") {
            "frame" => Border::Frame,
            "taper" => Border::Taper,
            _ => Border::Plain,
        },
        border_width: cx.float("border-width") as f32,
        invert: cx.flag("invert"),
        smooth: cx.float("smooth") as f32,
        clip: ["clip-far", "clip-near"].map(|id| cx.float(id) as f32 / 100.0),
        paint: if cx.choice("paint") == "plain" { Paint::Plain } else { Paint::Picture },
    }
}

#[cfg(test)]
mod tests;
