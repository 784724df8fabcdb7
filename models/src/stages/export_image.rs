//! Write a picture as a PNG: in the depth where one was seen, else the cutout, else the picture, and
//! provenance; out the finished file, with the record of where it comes from.

use crate::{
    cx::StageCx,
    error::StageError,
    export::png_record,
    image::png_io,
    slot::{Asset, Slot, Value},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "export-image",
    version: 1,
    doc: "Write the depth, or else the cutout, or else the picture, as a PNG.",
    reads: &[Slot::Image, Slot::Provenance],
    may_read: &[Slot::Cutout, Slot::Depth],
    writes: &[Slot::Asset],
    may_write: &[],
    engines: &[Engine {
        id: "png",
        doc: "PNG with straight alpha; depths have 16 bits and say their unit and range.",
        net: None,
        params: &[],
    }],
    params: &[],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let provenance = asset.json(Slot::Provenance)?;
    let png = match asset.depth() {
        Ok(depth) => depth.to_bytes()?,
        Err(_) => {
            let slot = if asset.get(Slot::Cutout).is_some() { Slot::Cutout } else { Slot::Image };
            png_io::encode_rgba(&*asset.image(slot)?)?
        }
    };
    cx.step(1, 2)?;
    let bytes = png_record::insert(&png, &provenance)?;
    asset.set(Slot::Asset, Value::Bytes(bytes.into()));
    cx.step(2, 2)
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};
    use serde_json::json;

    use super::*;
    use crate::{
        export::ownership,
        image::{
            depth_map::{DepthMap, Unit},
            plane::Plane,
        },
        stages::testing,
    };

    #[test]
    fn the_picture_keeps_its_size_and_says_where_it_comes_from() {
        let cutout = RgbaImage::from_fn(33, 21, |x, y| Rgba([x as u8, y as u8, 7, if x > 9 { 255 } else { 0 }]));
        let mut asset = Asset::default();
        asset.set_image(Slot::Cutout, cutout.clone());
        asset.set(Slot::Provenance, Value::Json(json!({ "name": "灯籠", "seed": 0 }).into()));
        testing::run(&STAGE, &[], &mut asset).unwrap();
        let bytes = asset.bytes(Slot::Asset).unwrap();
        assert_eq!(png_io::decode_rgba(&bytes).unwrap(), cutout);
        assert!(ownership::is_ours(&bytes));
        assert_eq!(ownership::record(&bytes).unwrap()["name"], "灯籠");
    }

    #[test]
    fn a_depth_is_written_with_all_its_bits_and_what_they_mean() {
        let values = Plane::from_fn(40, 30, |x, y| 2.0 + (x * 30 + y) as f32 * 0.001);
        let depth = DepthMap::of(&values, Unit::Metres, Some(60.0)).unwrap();
        let mut asset = Asset::default();
        asset.set_image(Slot::Cutout, RgbaImage::new(40, 30));
        asset.set(Slot::Depth, Value::Depth(depth.clone().into()));
        asset.set(Slot::Provenance, Value::Json(json!({ "name": "wall" }).into()));
        testing::run(&STAGE, &[], &mut asset).unwrap();
        let bytes = asset.bytes(Slot::Asset).unwrap();
        assert!(ownership::is_ours(&bytes));
        assert_eq!(DepthMap::from_bytes(&bytes).unwrap(), depth);
    }
}
