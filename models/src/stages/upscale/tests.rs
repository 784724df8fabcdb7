//! When pictures are made larger, by how much, and what else becomes of them.

use ::image::Rgba;
use serde_json::json;

use super::*;
use crate::{
    cx::CancelToken,
    nets::{Compute, Loader, NetHandle, Nets, Precision, synthetic::Synthetic},
    recipe::{Plan, Recipe},
    stage::Settings,
};

/// The network that a step asks for, with weights by formula.
struct Formula;

impl Nets for Formula {
    fn net(&self, id: &str, _: Option<Precision>) -> Result<NetHandle, StageError> {
        let compute = Compute::cpu(Precision::F32)?;
        Loader::find(id).expect("loader").load(None, &Synthetic { seed: 1, tensors: None }, &compute)
    }
}

fn cutout(side: u32) -> RgbaImage {
    let is_in = |x: u32, y: u32| (x as f32 - 40.0).hypot(y as f32 - 30.0) < side as f32 / 2.0;
    RgbaImage::from_fn(80, 60, |x, y| Rgba([x as u8, y as u8 * 3, 90, if is_in(x, y) { 255 } else { 0 }]))
}

fn upscaled(engine: &str, picture: RgbaImage, set: &[(&str, Json)]) -> (RgbaImage, Json) {
    let mut settings: Settings = STAGE.params.iter().map(|p| (p.id.to_owned(), p.default())).collect();
    settings.extend(set.iter().map(|(id, value)| ((*id).to_owned(), value.clone())));
    let mut asset = Asset::default();
    asset.set_image(Slot::Image, RgbaImage::new(80, 60));
    asset.set_image(Slot::Cutout, picture);
    asset.forget_writes();
    let cx = StageCx { engine, settings: &settings, cancel: CancelToken::default(), progress: &|_| {}, nets: &Formula };
    run(&cx, &mut asset).unwrap();
    assert!(!asset.is_written(Slot::Image), "the picture of which the cutout is made stays");
    (asset.image(Slot::Cutout).unwrap().as_ref().clone(), asset.json(Slot::Notes).unwrap()["upscale"].clone())
}

#[test]
fn what_is_large_enough_is_left_alone_and_the_note_says_so() {
    let before = cutout(50);
    for (engine, target, why) in [
        ("realesr-general-x4v3", 55, "the object is large enough"),
        (LANCZOS, 500, "no network is here, and resampling adds nothing"),
    ] {
        let (after, note) = upscaled(engine, before.clone(), &[(TARGET, json!(target))]);
        assert_eq!(after, before);
        assert_eq!((&note["factor"], &note["why"]), (&json!(1), &json!(why)));
    }
}

#[test]
fn the_factor_is_the_smallest_that_reaches_the_target_within_the_limit() {
    let net = "realesr-animevideov3";
    let size = |set: &[(&str, Json)]| upscaled(net, cutout(50), set).0.dimensions();
    assert_eq!(size(&[(TARGET, json!(100))]), (160, 120));
    assert_eq!(size(&[(TARGET, json!(1000))]), (320, 240));
    assert_eq!(size(&[(TARGET, json!(1000)), ("max-side", json!(200))]), (160, 120));
    assert_eq!(upscaled(LANCZOS, cutout(50), &[("factor", json!("2"))]).0.dimensions(), (160, 120));
}

/// Weights by formula give any colours; what is opaque and what is not must not move.
#[test]
fn alpha_is_enlarged_as_itself() {
    let (after, _) = upscaled(LANCZOS, cutout(40), &[("factor", json!("4"))]);
    let radius = |x: u32, y: u32| ((x as f32 + 0.5) / 4.0 - 40.5).hypot((y as f32 + 0.5) / 4.0 - 30.5);
    for (x, y, pixel) in after.enumerate_pixels() {
        match radius(x, y) {
            r if r < 18.5 => assert_eq!(pixel.0[3], 255, "{x} {y}"),
            r if r > 22.0 => assert_eq!(pixel.0[3], 0, "{x} {y}"),
            _ => (),
        }
    }
    let mut wide = RgbaImage::new(240, 60);
    ::image::imageops::replace(&mut wide, &cutout(40), 0, 0);
    let (after, _) = upscaled("realesr-animevideov3", wide, &[("factor", json!("4"))]);
    let rest = after.enumerate_pixels().filter(|(x, _, _)| *x >= 4 * 128);
    assert!(rest.clone().count() > 0);
    rest.for_each(|(x, y, pixel)| assert_eq!(pixel.0[3], 0, "{x} {y}: far from any edge alpha is not the network's"));
}

#[test]
fn the_target_follows_the_texture_of_the_recipe_also_when_a_plan_is_changed() {
    let target = |plan: &Plan| plan.steps.iter().find(|step| step.stage == "upscale").unwrap().settings[TARGET].clone();
    let mut recipe = Recipe::built_in("prop").unwrap();
    assert_eq!(target(&recipe.plan(&|_| true).unwrap()), json!(1024));
    recipe.set("bake", "size", &json!(2048)).unwrap();
    let plan = recipe.plan(&|_| true).unwrap();
    assert_eq!(target(&plan), json!(2048));
    let mut again = Plan::recipe_from_json(&plan.to_json()).unwrap();
    assert_eq!(again.plan(&|_| true).unwrap(), plan);
    again.set("bake", "size", &json!(512)).unwrap();
    assert_eq!(target(&again.plan(&|_| true).unwrap()), json!(512));
    again.set("upscale", TARGET, &json!(300)).unwrap();
    assert_eq!(target(&again.plan(&|_| true).unwrap()), json!(300));
}
