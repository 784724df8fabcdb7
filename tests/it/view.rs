//! Pictures of assets and of what was made on the way to them.

use std::fs;

use base64::{Engine, prelude::BASE64_STANDARD};
use image::RgbaImage;
use meshkiln_protocol::{
    api::{AssetGet, AssetView},
    asset::{AssetGetParams, AssetViewParams, ViewMode},
    job::{AssetRef, JobId, JobState},
};
use meshkiln_tests::{Daemon, Home, example};

fn params(id: JobId) -> AssetViewParams {
    AssetViewParams { id, yaw_deg: None, pitch_deg: None, zoom: None, size: Some(96), mode: ViewMode::Shaded }
}

fn view(daemon: &Daemon, params: &AssetViewParams) -> RgbaImage {
    let png = BASE64_STANDARD.decode(daemon.call::<AssetView>(params).png_base64).unwrap();
    image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap().into_rgba8()
}

#[test]
fn an_asset_is_drawn_from_any_side_and_its_stages_show_what_they_made() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let lantern = home.path("lantern.png");
    fs::copy(example("lantern.png"), &lantern).unwrap();
    assert!(home.cli(&["fire", "-r", "draft", lantern.to_str().unwrap()]).status.success());
    let id = JobId(1);

    let front = view(&daemon, &params(id));
    assert_eq!(front.dimensions(), (96, 96));
    let opaque = |picture: &RgbaImage| picture.pixels().filter(|p| p.0[3] == 255).count();
    assert!((500..8000).contains(&opaque(&front)), "{} opaque pixels", opaque(&front));
    assert_eq!(view(&daemon, &params(id)), front, "the same again");
    let others = [
        AssetViewParams { yaw_deg: Some(120.0), ..params(id) },
        AssetViewParams { pitch_deg: Some(-40.0), ..params(id) },
        AssetViewParams { zoom: Some(3.0), ..params(id) },
        AssetViewParams { mode: ViewMode::Wireframe, ..params(id) },
        AssetViewParams { mode: ViewMode::Normals, ..params(id) },
    ];
    let mut pictures: Vec<RgbaImage> = others.iter().map(|params| view(&daemon, params)).collect();
    assert!(opaque(&pictures[2]) > opaque(&front), "nearer is larger");
    pictures.push(front);
    for (i, picture) in pictures.iter().enumerate() {
        assert!(pictures[..i].iter().all(|other| other != picture), "picture {i} is like one before");
    }

    for (wrong, what) in [
        (AssetViewParams { size: Some(4096), ..params(id) }, "`size`: 4096 is not between 16 and 768"),
        (AssetViewParams { zoom: Some(0.5), ..params(id) }, "`zoom`: 0.5 is not between 1 and 16"),
        (AssetViewParams { pitch_deg: Some(f32::MAX), ..params(id) }, "`pitch_deg`"),
    ] {
        let refused = daemon.try_call::<AssetView>(&wrong).unwrap_err();
        assert!(refused.message.contains(what), "{}", refused.message);
    }
    assert_eq!(daemon.try_call::<AssetView>(&params(JobId(9))).unwrap_err().kind, "not_found");

    let asset = daemon.call::<AssetGet>(&AssetGetParams { asset: AssetRef { id: Some(id), path: None } });
    assert!(asset.plan.unwrap().to_string().contains("simplify"), "every setting it was made with");

    let job = daemon.job(id);
    assert_eq!(job.state, JobState::Done);
    let picture_of = |stage: &str| {
        let run = job.stages.iter().find(|run| run.stage == stage).unwrap();
        let bytes = daemon.blob(run.picture_sha256.as_ref().unwrap());
        image::load_from_memory(&bytes).unwrap().into_rgba8()
    };
    let (whole, cutout) = (picture_of("decode"), picture_of("cutout"));
    assert_eq!(whole.dimensions(), cutout.dimensions());
    let all = (cutout.width() * cutout.height()) as usize;
    assert!((all / 10..all / 2).contains(&opaque(&cutout)), "{} of {all} pixels are the object", opaque(&cutout));
    let mesh = job.stages.iter().find(|run| run.stage == "clean").unwrap();
    assert_eq!(mesh.picture_sha256, None);
}

#[test]
fn a_picture_cannot_be_turned() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let lantern = home.path("lantern.png");
    fs::copy(example("lantern.png"), &lantern).unwrap();
    let out = home.path("cut.png");
    let fired = home.cli(&["fire", "-r", "cutout", "-o", out.to_str().unwrap(), lantern.to_str().unwrap()]);
    assert!(fired.status.success());
    let refused = daemon.try_call::<AssetView>(&params(JobId(1))).unwrap_err();
    assert_eq!(refused.kind, "unsupported");
    assert!(refused.message.contains("cannot be drawn"), "{}", refused.message);
}
