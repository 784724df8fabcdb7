//! Render a lit picture of the asset.

use crate::{
    cx::StageCx,
    error::StageError,
    export::glb,
    image::png_io,
    mesh::render::{Background, Look, render},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "preview",
    version: 1,
    doc: "Render a lit picture of the asset.",
    reads: &[Slot::Asset],
    may_read: &[],
    writes: &[Slot::Preview],
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
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let content = glb::read(&asset.bytes(Slot::Asset)?)?;
    cx.step(1, 3)?;
    let look = Look {
        size: cx.int("size") as u32,
        background: match cx.choice("background") {
            "transparent" => Background::Transparent,
            _ => Background::Studio,
        },
        azimuth: cx.float("azimuth") as f32,
        elevation: cx.float("elevation") as f32,
    };
    let picture = render(&content.mesh, &content.maps, &look);
    cx.step(2, 3)?;
    asset.set(Slot::Preview, Value::Bytes(png_io::encode_rgba(&picture)?.into()));
    cx.step(3, 3)
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};
    use serde_json::json;

    use super::*;
    use crate::{
        cx::CancelToken,
        mesh::{Maps, test_shapes::lens},
        stage::Settings,
    };

    fn preview(asset_bytes: &[u8], background: &str) -> Result<RgbaImage, StageError> {
        let mut settings: Settings = STAGE.params.iter().map(|p| (p.id.to_owned(), p.default())).collect();
        settings.insert("size".to_owned(), json!(64));
        settings.insert("background".to_owned(), json!(background));
        let cx = StageCx { engine: "raster", settings: &settings, cancel: CancelToken::default(), progress: &|_| {} };
        let mut asset = Asset::default();
        asset.set(Slot::Asset, Value::Bytes(asset_bytes.into()));
        run(&cx, &mut asset)?;
        png_io::decode_rgba(&asset.bytes(Slot::Preview)?)
    }

    #[test]
    fn a_written_asset_is_drawn_from_its_own_bytes() {
        let mut mesh = lens([0.4, 0.5].into(), 0.2, 8);
        mesh.uvs = mesh.positions.iter().map(|p| p.truncate() + 0.5).collect();
        let base_color = RgbaImage::from_pixel(8, 8, Rgba([30, 160, 60, 255]));
        let maps = Maps { base_color, roughness: 0.8, metallic: 0.0, ..Maps::default() };
        let glb = glb::write(&mesh, &maps, "lens", &json!({})).unwrap();

        let studio = preview(&glb, "studio").unwrap();
        assert_eq!(studio.dimensions(), (64, 64));
        let [r, g, b, _] = studio.get_pixel(32, 32).0;
        assert!(g > r.max(b) + 40, "the middle is green: {:?}", studio.get_pixel(32, 32));
        assert!(studio.pixels().all(|p| p.0[3] == 255));
        let cut = preview(&glb, "transparent").unwrap();
        assert_eq!((cut.get_pixel(0, 0).0[3], cut.get_pixel(32, 32).0[3]), (0, 255));
    }

    #[test]
    fn what_is_no_asset_is_refused() {
        assert!(preview(b"not a glb", "studio").is_err());
    }
}
