//! Render a lit picture of the asset, or one that turns.
//!
//! In: the GLB as it was written. Out: a PNG; with `turntable` frames a moving
//! picture or a sheet, as `format` says. An animated PNG is a PNG, too: what
//! knows nothing of animation shows its first frame.

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    export::{self, glb::GlbContent},
    image::png_io,
    mesh::{
        render::{Background, Look, render},
        turntable::{self, Format, MAX_PIXELS},
    },
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "preview",
    version: 2,
    doc: "Render a lit picture of the asset, still or turning.",
    reads: &[Slot::Asset],
    may_read: &[],
    writes: &[Slot::Preview],
    may_write: &[],
    engines: &[Engine { id: "raster", doc: "Software rasteriser.", net: None, params: &[] }],
    params: &[
        Param {
            id: "size",
            doc: "Width and height of the picture.",
            unit: "px",
            kind: ParamKind::Int { default: 512, min: 64, max: 4096 },
        },
        Param {
            id: "background",
            doc: "What is behind the asset; transparent keeps only its shadow.",
            unit: "",
            kind: ParamKind::Choice { default: "studio", options: &["studio", "transparent"] },
        },
        Param {
            id: "azimuth",
            doc: "How far the camera stands to the right of the asset's front.",
            unit: "degrees",
            kind: ParamKind::Float { default: 30.0, min: -180.0, max: 180.0 },
        },
        Param {
            id: "elevation",
            doc: "How steeply the camera looks down.",
            unit: "degrees",
            kind: ParamKind::Float { default: 14.0, min: -80.0, max: 80.0 },
        },
        Param {
            id: "turntable",
            doc: "Frames of one turn, 0 for a still.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 360 },
        },
        Param {
            id: "format",
            doc: "What a turntable is: apng exact, webp small, gif for everywhere, sheet one PNG of all frames.",
            unit: "",
            kind: ParamKind::Choice { default: "apng", options: &["apng", "webp", "gif", "sheet"] },
        },
        Param {
            id: "turn",
            doc: "How long one turn takes.",
            unit: "s",
            kind: ParamKind::Float { default: 4.0, min: 0.1, max: 60.0 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let content = export::read(&asset.bytes(Slot::Asset)?)?;
    cx.step(1, cx.int("turntable") as u32 + 3)?;
    let look = Look {
        size: cx.int("size") as u32,
        background: match cx.choice("background") {
            "transparent" => Background::Transparent,
            _ => Background::Studio,
        },
        azimuth: cx.float("azimuth") as f32,
        elevation: cx.float("elevation") as f32,
        ..Look::default()
    };
    let n = cx.int("turntable") as u32;
    let bytes = match n {
        0 => {
            let picture = render(&content.mesh, &content.maps, &look);
            cx.step(2, 3)?;
            png_io::encode_rgba(&picture)?
        }
        _ => turning(cx, &content, &look, n)?,
    };
    asset.set(Slot::Preview, Value::Bytes(bytes.into()));
    cx.step(n + 3, n + 3)
}

fn turning(cx: &StageCx, content: &GlbContent, look: &Look, n: u32) -> Result<Vec<u8>, StageError> {
    let (wanted, side) = (u64::from(n) * u64::from(look.size).pow(2), look.size);
    if wanted > MAX_PIXELS {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("a turntable of {n} frames of {side}x{side} has {wanted} pixels, {MAX_PIXELS} are the most"),
            "lower preview.turntable or preview.size",
        ));
    }
    let format = match cx.choice("format") {
        "webp" => Format::WebP,
        "gif" => Format::Gif,
        "sheet" => Format::Sheet,
        _ => Format::Apng,
    };
    let frames = turntable::frames(&content.mesh, &content.maps, look, n).enumerate();
    let frames = frames.map(|(i, frame)| cx.step(i as u32 + 2, n + 3).map(|()| frame));
    turntable::encode(frames, (cx.float("turn") * 1000.0).round() as u32, format)
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{
        mesh::{Maps, test_shapes::lens},
        stages::testing,
    };

    fn shown(asset_bytes: &[u8], set: &[(&str, Json)]) -> Result<Vec<u8>, StageError> {
        let mut asset = Asset::default();
        asset.set(Slot::Asset, Value::Bytes(asset_bytes.into()));
        testing::run(&STAGE, &[&[("size", json!(64))], set].concat(), &mut asset)?;
        Ok(asset.bytes(Slot::Preview)?.to_vec())
    }

    fn preview(asset_bytes: &[u8], background: &str) -> Result<RgbaImage, StageError> {
        png_io::decode_rgba(&shown(asset_bytes, &[("background", json!(background))])?)
    }

    fn green_lens() -> Vec<u8> {
        let mut mesh = lens([0.4, 0.5].into(), 0.2, 8);
        mesh.uvs = mesh.positions.iter().map(|p| p.truncate() + 0.5).collect();
        let base_color = RgbaImage::from_pixel(8, 8, Rgba([30, 160, 60, 255]));
        let maps = Maps { base_color, roughness: 0.8, metallic: 0.0, ..Maps::default() };
        export::glb::write(&mesh, &maps, "lens", &json!({})).unwrap()
    }

    #[test]
    fn a_written_asset_is_drawn_from_its_own_bytes() {
        let glb = green_lens();
        let studio = preview(&glb, "studio").unwrap();
        assert_eq!(studio.dimensions(), (64, 64));
        let [r, g, b, _] = studio.get_pixel(32, 32).0;
        assert!(g > r.max(b) + 40, "the middle is green: {:?}", studio.get_pixel(32, 32));
        assert!(studio.pixels().all(|p| p.0[3] == 255));
        let cut = preview(&glb, "transparent").unwrap();
        assert_eq!((cut.get_pixel(0, 0).0[3], cut.get_pixel(32, 32).0[3]), (0, 255));
    }

    #[test]
    fn a_turntable_has_the_format_that_is_asked_for() {
        let glb = green_lens();
        for (format, starts, holds) in [
            ("apng", &b"\x89PNG"[..], &b"acTL"[..]),
            ("sheet", b"\x89PNG", b"IDAT"),
            ("webp", b"RIFF", b"ANIM"),
            ("gif", b"GIF89a", b"NETSCAPE2.0"),
        ] {
            let bytes = shown(&glb, &[("turntable", json!(4)), ("format", json!(format))]).unwrap();
            assert!(bytes.starts_with(starts), "{format}");
            assert!(bytes.windows(holds.len()).any(|window| window == holds), "{format}");
        }
        let sheet = shown(&glb, &[("turntable", json!(4)), ("format", json!("sheet"))]).unwrap();
        assert_eq!(png_io::decode_rgba(&sheet).unwrap().dimensions(), (128, 128));
    }

    #[test]
    fn a_turntable_too_large_is_refused_with_both_figures() {
        let error = shown(&green_lens(), &[("turntable", json!(360)), ("size", json!(4096))]).expect_err("large");
        assert_eq!(error.kind, StageErrorKind::TooLarge);
        assert!(error.message.ends_with("has 6039797760 pixels, 33554432 are the most"), "{error}");
    }

    #[test]
    fn what_is_no_asset_is_refused() {
        assert!(preview(b"not a glb", "studio").is_err());
    }
}
