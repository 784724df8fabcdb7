//! Finer textures from baked ones: colours by a network that makes pictures larger, all other maps
//! resampled.

use std::{num::NonZeroU32, sync::Arc};

use ::image::{RgbImage, Rgba, RgbaImage};

use crate::{
    cx::StageCx,
    error::StageError,
    image::pil_resize::{Filter, resize},
    mesh::Maps,
    slot::{Asset, Slot, Value},
    stage::{Param, ParamKind, Stage},
    stages::{
        quality,
        upscale::{ENGINES, Enlarger},
    },
};

pub const STAGE: Stage = Stage {
    id: "texture",
    version: 1,
    doc: "Make baked textures finer: colours by a network, other maps resampled.",
    reads: &[Slot::Maps],
    may_read: &[],
    writes: &[Slot::Maps],
    may_write: &[],
    engines: ENGINES,
    params: &[
        Param {
            id: "factor",
            doc: "How many times wider and higher; less where max-size would be passed.",
            unit: "",
            kind: ParamKind::Choice { default: "2", options: &["1", "2", "4"] },
        },
        Param {
            id: "max-size",
            doc: "No map becomes larger than this.",
            unit: "px",
            kind: ParamKind::Int { default: 4096, min: 256, max: 8192 },
        },
        quality::PRECISION,
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let maps = asset.maps()?;
    let (width, height) = maps.base_color.dimensions();
    let wanted: u32 = cx.choice("factor").parse().unwrap_or(1);
    let most = cx.int("max-size") as u32;
    let factor = [4, 2].into_iter().find(|f| *f <= wanted && width.max(height) * f <= most);
    let Some(factor) = factor.and_then(NonZeroU32::new) else {
        asset.set(Slot::Maps, Value::Maps(maps));
        return cx.step(1, 1);
    };
    let enlarger = Enlarger::new(cx, None)?;
    let n_parts = 1 + u32::from(maps.emissive.is_some());
    let base_color = enlarger.picture(&maps.base_color, factor, &|done, total| cx.step(done, n_parts * total))?;
    let emissive = match &maps.emissive {
        Some(map) => Some(enlarger.colors(map, factor, &|done, total| cx.step(total + done, n_parts * total))?),
        None => None,
    };
    let (width, height) = (width * factor.get(), height * factor.get());
    let larger = |map: &RgbImage| resize(map, width, height, Filter::Bicubic);
    let finer = Maps {
        base_color: opaque_where(&maps.base_color, base_color),
        normal: maps.normal.as_ref().map(|map| unit_normals(larger(map))),
        orm: maps.orm.as_ref().map(larger),
        emissive,
        extra: maps.extra.iter().map(|(name, map)| (name.clone(), larger(map))).collect(),
        ..Maps::clone(&maps)
    };
    asset.set(Slot::Maps, Value::Maps(Arc::new(finer)));
    Ok(())
}

/// A texture that was opaque stays so: rounding must not make a material see-through.
fn opaque_where(before: &RgbaImage, mut after: RgbaImage) -> RgbaImage {
    if before.pixels().all(|pixel| pixel.0[3] == u8::MAX) {
        after.pixels_mut().for_each(|Rgba(pixel)| pixel[3] = u8::MAX);
    }
    after
}

/// Between two normals is a shorter one.
fn unit_normals(mut map: RgbImage) -> RgbImage {
    for pixel in map.pixels_mut() {
        let v = glam::Vec3::from_array(pixel.0.map(|v| f32::from(v) / 127.5 - 1.0));
        let n = v.try_normalize().unwrap_or(glam::Vec3::Z);
        pixel.0 = ((n + 1.0) * 127.5).to_array().map(|v| v.round() as u8);
    }
    map
}

#[cfg(test)]
mod tests {
    use ::image::Rgb;
    use serde_json::json;

    use super::*;
    use crate::{cx::CancelToken, nets::NoNets, stage::Settings};

    fn textured(engine: &str, factor: &str, max: i64) -> Maps {
        let maps = Maps {
            base_color: RgbaImage::from_fn(256, 256, |x, y| Rgba([x as u8, y as u8, 9, 255])),
            normal: Some(RgbImage::from_fn(256, 256, |x, _| {
                Rgb(if x < 128 { [255, 128, 128] } else { [128, 128, 255] })
            })),
            orm: Some(RgbImage::from_pixel(256, 256, Rgb([10, 20, 30]))),
            emissive: None,
            extra: Default::default(),
            roughness: 0.7,
            metallic: 0.2,
        };
        let mut asset = Asset::default();
        asset.set(Slot::Maps, Value::Maps(Arc::new(maps)));
        let settings = Settings::from([
            ("factor".to_owned(), json!(factor)),
            ("max-size".to_owned(), json!(max)),
            ("precision".to_owned(), json!("auto")),
        ]);
        let cx =
            StageCx { engine, settings: &settings, cancel: CancelToken::default(), progress: &|_| {}, nets: &NoNets };
        run(&cx, &mut asset).unwrap();
        Maps::clone(&asset.maps().unwrap())
    }

    #[test]
    fn all_maps_grow_alike_and_normals_stay_units() {
        let maps = textured("lanczos", "2", 4096);
        let normal = maps.normal.unwrap();
        assert_eq!((maps.base_color.dimensions(), normal.dimensions()), ((512, 512), (512, 512)));
        assert_eq!(maps.orm.unwrap().get_pixel(300, 17).0, [10, 20, 30]);
        for pixel in normal.pixels() {
            let v = glam::Vec3::from_array(pixel.0.map(|v| f32::from(v) / 127.5 - 1.0));
            assert!((v.length() - 1.0).abs() < 0.02, "{pixel:?}");
        }
        assert!(maps.base_color.pixels().all(|pixel| pixel.0[3] == 255));
        assert_eq!((maps.roughness, maps.metallic), (0.7, 0.2));
    }

    #[test]
    fn no_map_grows_beyond_the_limit() {
        assert_eq!(textured("lanczos", "4", 600).base_color.width(), 512);
        assert_eq!(textured("lanczos", "4", 300).base_color.width(), 256);
    }
}
