//! `decode`: the user's file to an upright sRGB picture.

use std::sync::Arc;

use crate::{
    cx::StageCx,
    error::StageError,
    image::{decode, resize},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "decode",
    version: 1,
    doc: "Read the picture: any common format, upright, in sRGB.",
    reads: &[Slot::Source],
    may_read: &[],
    writes: &[Slot::Image],
    engines: &[Engine {
        id: "built-in",
        doc: "PNG, JPEG, WebP, BMP, TIFF and GIF by content, within limits.",
        net: None,
        params: &[],
    }],
    params: &[Param {
        id: "max-side",
        doc: "Larger pictures are scaled down to this on their longer side.",
        unit: "px",
        kind: ParamKind::Int { default: 4096, min: 64, max: decode::MAX_SIDE as i64 },
    }],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let source = asset.bytes(Slot::Source)?;
    cx.step(0, 2)?;
    let decoded = decode::decode(&source)?;
    for note in &decoded.notes {
        tracing::warn!("{note}");
    }
    cx.step(1, 2)?;
    let image = resize::fit_within(decoded.image, cx.int("max-side") as u32);
    asset.set(Slot::Image, Value::Image(Arc::new(image)));
    cx.step(2, 2)
}
