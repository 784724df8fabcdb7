//! See how far what the picture shows is away.
//!
//! In: the picture. Out: a depth for each pixel, at the picture's size up to `max-side`: relative
//! or in metres, as the network has it, with the camera that metres assume. Pictures that are
//! height maps need no network: `height-map` takes their brightness, with all bits of the file.

use std::sync::Arc;

use ::image::{DynamicImage, RgbImage, RgbaImage};

use crate::{
    cx::StageCx,
    error::StageError,
    image::{decode, depth_map::DepthMap, plane},
    nets::{Watch, depth::DepthNet},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
    stages::quality,
};

pub const STAGE: Stage = Stage {
    id: "depth",
    version: 1,
    doc: "See how far what the picture shows is away, or take it as a height map.",
    reads: &[Slot::Image],
    // The file itself, which may be deeper than 8 bits.
    may_read: &[Slot::Source],
    writes: &[Slot::Depth],
    may_write: &[],
    engines: &[
        net("depth-anything-v2-small", "Fine relative depth of any picture, by the smallest Depth Anything V2."),
        net("zoedepth-nk", "Metres, indoors and outdoors: it looks which of the two a picture shows."),
        net("zoedepth-n", "Metres, indoors, up to 10."),
        net("zoedepth-k", "Metres, on streets, up to 80."),
        net("depth-anything-v2-indoor", "Metres, indoors, up to 20, with fine edges."),
        net("depth-anything-v2-outdoor", "Metres, outdoors, up to 80, with fine edges."),
        net("midas", "Relative depth of any picture, by MiDaS 3.1."),
        net("dpt-large", "Relative depth of any picture, by MiDaS 3.0."),
        net("dpt-hybrid", "Relative depth of any picture, by the quicker MiDaS 3.0."),
        net("depth-anything-v2-base", "As the small one, somewhat finer; not for commercial use."),
        net("depth-anything-v2-large", "As the small one, finest; not for commercial use."),
        Engine {
            id: HEIGHT_MAP,
            doc: "The picture's own brightness as height, white highest, from 8 or 16 bits.",
            net: None,
            params: &[],
        },
    ],
    params: &[Param {
        id: "max-side",
        doc: "Larger depths are kept at this on their longer side.",
        unit: "px",
        kind: ParamKind::Int { default: 2048, min: 64, max: 8192 },
    }],
    run,
};

const HEIGHT_MAP: &str = "height-map";

/// Each network has an engine of its own name.
const fn net(id: &'static str, doc: &'static str) -> Engine {
    Engine { id, doc, net: Some(id), params: &[quality::PRECISION] }
}

/// How much sides may differ from those of the picture, relative to them, for the file to show it.
const SAME_SHAPE: f64 = 0.02;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let image = asset.image(Slot::Image)?;
    let max_side = cx.int("max-side") as usize;
    let depth = match cx.engine {
        HEIGHT_MAP => {
            cx.step(0, 1)?;
            let heights = heights(asset, &image);
            cx.step(1, 1)?;
            let (width, height) = plane::fit(heights.width, heights.height, max_side);
            if (width, height) == (heights.width, heights.height) {
                DepthMap::of_heights(heights)
            } else {
                let shrunk = plane::averaged(&heights.map(f32::from), width, height);
                DepthMap::of_heights(shrunk.map(|v| v.round() as u16))
            }
        }
        id => {
            let precision = quality::precision(cx.choice(quality::PRECISION.id));
            let net = cx.net::<DepthNet>(id, precision)?;
            let picture = over_white(&image);
            let (width, height) = (image.width() as usize, image.height() as usize);
            let pixels = net.processor.pixels(&picture);
            let seen = net.run(&pixels, &Watch { step: &|done, total| cx.step(done, total), tap: None })?;
            let size = plane::fit(width, height, max_side);
            let restored = net.processor.restored_at(&seen, (width, height), size);
            DepthMap::of(&restored, net.config.unit(), crate::nets::depth::view(id))?
        }
    };
    asset.set(Slot::Depth, Value::Depth(Arc::new(depth)));
    Ok(())
}

/// What is transparent shows nothing of what it hides.
fn over_white(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(u32::from);
        ::image::Rgb([r, g, b].map(|v| ((v * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

/// Brightness of the file where it is the picture, else of the picture.
fn heights(asset: &Asset, image: &RgbaImage) -> plane::Plane<u16> {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let is_same = |heights: &plane::Plane<u16>| {
        let ratio = heights.width as f64 * height / (heights.height as f64 * width);
        (ratio - 1.0).abs() <= SAME_SHAPE && heights.width as f64 >= width
    };
    let of_file = asset.bytes(Slot::Source).and_then(|source| decode::decode_heights(&source));
    if let Some(heights) = of_file.ok().filter(is_same) {
        return heights;
    }
    let grey = DynamicImage::from(image.clone()).into_luma16();
    plane::Plane { width: grey.width() as usize, height: grey.height() as usize, data: grey.into_raw() }
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, sync::atomic::AtomicU32};

    use ::image::{ImageBuffer, ImageFormat, Luma, Rgba};
    use serde_json::json;

    use super::*;
    use crate::{
        cx::CancelToken,
        image::depth_map::Unit,
        nets::{
            Compute, Loader, NetHandle, Nets, Precision, Vars,
            depth::{Config, processor::Processor},
            synthetic::Synthetic,
        },
        stage::Settings,
    };

    fn settings(max_side: u32) -> Settings {
        Settings::from([("max-side".to_owned(), json!(max_side)), ("precision".to_owned(), json!("f32"))])
    }

    fn run_on(
        asset: &mut Asset,
        engine: &str,
        max_side: u32,
        nets: &dyn Nets,
        steps: &AtomicU32,
    ) -> Result<Arc<DepthMap>, StageError> {
        let settings = settings(max_side);
        let progress = |_| {
            steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let cx = StageCx { engine, settings: &settings, cancel: CancelToken::default(), progress: &progress, nets };
        run(&cx, asset)?;
        asset.depth()
    }

    fn height_map(source: Vec<u8>, max_side: u32) -> Arc<DepthMap> {
        let mut asset = Asset::default();
        asset.set_image(Slot::Image, decode::decode(&source).unwrap().image);
        asset.set(Slot::Source, Value::Bytes(source.into()));
        run_on(&mut asset, HEIGHT_MAP, max_side, &crate::nets::NoNets, &AtomicU32::new(0)).unwrap()
    }

    fn png(image: DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn sixteen_bits_have_more_levels_than_eight() {
        let level = |x: u32, y: u32| (x * 300 + y) as u16;
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(200, 150, |x, y| Luma([level(x, y)]));
        let flat = ::image::GrayImage::from_fn(200, 150, |x, y| Luma([(level(x, y) >> 8) as u8]));
        let n_levels = |map: &DepthMap| map.levels.data.iter().collect::<std::collections::HashSet<_>>().len();
        let (deep, flat) = (height_map(png(deep.into()), 2048), height_map(png(flat.into()), 2048));
        assert_eq!(deep.levels.at(120, 70), level(120, 70));
        assert!(n_levels(&deep) > 20_000 && n_levels(&flat) < 250, "{} {}", n_levels(&deep), n_levels(&flat));
        assert!(deep.coarse_step().is_none() && flat.coarse_step().is_some());
        assert_eq!((deep.unit, deep.view), (Unit::Relative, None));
    }

    #[test]
    fn large_height_maps_are_averaged_and_a_file_that_is_no_picture_is_not_missed() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(200, 100, |x, _| Luma([if x % 2 == 0 { 1000 } else { 3000 }]));
        let small = height_map(png(deep.into()), 100);
        assert!((small.levels.width, small.levels.height) == (100, 50) && small.levels.data.iter().all(|v| *v == 2000));

        let mut asset = Asset::default();
        asset.set_image(Slot::Image, RgbaImage::from_pixel(70, 70, Rgba([90, 90, 90, 255])));
        asset.set(Slot::Source, Value::Bytes(Arc::from(&b"a poem"[..])));
        let map = run_on(&mut asset, HEIGHT_MAP, 2048, &crate::nets::NoNets, &AtomicU32::new(0)).unwrap();
        assert!(map.levels.data.iter().all(|v| *v == 90 * 257));
    }

    #[test]
    fn a_network_gives_its_unit_its_camera_and_counted_steps() {
        struct Tiny(NetHandle);
        impl Nets for Tiny {
            fn net(&self, _: &str, _: Option<Precision>) -> Result<NetHandle, StageError> {
                Ok(self.0.clone())
            }
        }
        let tiny = json!({
            "backbone_config": {
                "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 96,
                "image_size": 64, "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "neck_hidden_sizes": [16, 24, 32, 40], "fusion_hidden_size": 32, "num_relative_features": 8,
            "bottleneck_features": 32, "num_attractors": [8, 4, 2, 1], "bin_embedding_dim": 16,
            "bin_configurations": [{ "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu" }],
        });
        let (weights, compute) = (Synthetic { seed: 7, tensors: None }, Compute::cpu(Precision::F32).unwrap());
        let config = Config::from_tree(&tiny).unwrap();
        let processor = Processor { height: 96, width: 128, ..Processor::released("zoedepth-n").unwrap() };
        let net = DepthNet::new(config, processor, &Vars::new(&weights, &compute)).unwrap();
        let n_steps = net.n_steps();
        let nets = Tiny(NetHandle::new("zoedepth-n", net));
        let image = RgbaImage::from_fn(320, 200, |x, y| Rgba([x as u8, y as u8, 99, 255]));
        let mut asset = Asset::default();
        asset.set_image(Slot::Image, image);
        let steps = AtomicU32::new(0);
        let map = run_on(&mut asset, "zoedepth-n", 160, &nets, &steps).unwrap();
        assert_eq!((map.levels.width, map.levels.height), (160, 100));
        assert!(map.unit == Unit::Metres && map.view == Some(55.0) && map.low > 0.0 && map.high > map.low);
        assert!(steps.into_inner() > n_steps);
    }

    #[test]
    fn every_network_has_an_engine_and_every_engine_a_network() {
        let engines: Vec<&str> = STAGE.engines.iter().filter_map(|engine| engine.net).collect();
        let mut known: Vec<&str> = crate::nets::depth::ids().collect();
        for id in &engines {
            assert!(Loader::find(id).is_some(), "{id}");
        }
        known.sort_unstable();
        let mut sorted = engines.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known);
    }
}
