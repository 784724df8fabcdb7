//! Cutouts by pointing: a small real network in the real worker, and everything that can happen to it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use image::{GrayImage, Rgb, RgbImage};
use meshkiln_protocol::{
    api::{CutoutClick, CutoutClose, CutoutOpen, NetStop, NoParams, TakeBack, Yield},
    cutout::{
        CutoutClickParams, CutoutCloseParams, CutoutFrame, CutoutId, CutoutMask, CutoutMasks, CutoutOpenParams,
        CutoutPoint, CutoutSession,
    },
    job::{JobState, SourceParams},
    net::{NetIdParams, NetState, YieldParams},
};
use meshkiln_tests::{Daemon, Home, PATIENCE, sams, say, submit, until};

const SIZE: (u32, u32) = (320, 200);

fn is_bright(x: u32, y: u32) -> bool {
    (x as f32 - 130.5).hypot(y as f32 - 96.5) < 61.0
}

/// A bright disc on a dark ground.
fn picture(home: &Home) -> PathBuf {
    let disc = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| match is_bright(x, y) {
        true => Rgb([250, 240, 200 + (x % 50) as u8]),
        false => Rgb([20 + (y % 20) as u8, 30, 50]),
    });
    let path = home.write("disc.png", "");
    disc.save(&path).unwrap();
    path
}

fn open_params(path: &Path, net: Option<&str>) -> CutoutOpenParams {
    let source = SourceParams { path: Some(path.to_str().unwrap().to_owned()), ..SourceParams::default() };
    CutoutOpenParams { source, engine: None, net: net.map(str::to_owned) }
}

fn at(session: CutoutId, x: f32, y: f32) -> CutoutClickParams {
    CutoutClickParams { session, points: vec![CutoutPoint { x, y, object: true }], frame: None }
}

fn click(daemon: &Daemon, session: CutoutId) -> CutoutMasks {
    daemon.call::<CutoutClick>(&at(session, 130.0, 96.0))
}

fn pixels(mask: &CutoutMask) -> GrayImage {
    let png = BASE64_STANDARD.decode(&mask.png_base64).unwrap();
    image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap().into_luma8()
}

/// Overlap of what is `set` with the disc, over their union.
fn overlap(set: &dyn Fn(u32, u32) -> bool) -> f32 {
    let all = (0..SIZE.1).flat_map(|y| (0..SIZE.0).map(move |x| (x, y)));
    let (mut both, mut either) = (0, 0);
    for (x, y) in all {
        both += u32::from(set(x, y) && is_bright(x, y));
        either += u32::from(set(x, y) || is_bright(x, y));
    }
    both as f32 / either as f32
}

fn ready(home: &mut Home) -> (Daemon, CutoutSession) {
    sams::put(home, "bright", 2);
    let daemon = home.start();
    daemon.until_net("bright", NetState::Cold);
    let opened = daemon.call::<CutoutOpen>(&open_params(&picture(home), Some("bright")));
    (daemon, opened)
}

#[test]
fn a_picture_is_opened_once_and_clicks_are_answered_with_masks_that_a_job_repeats() {
    let mut home = Home::new("cpu");
    let (daemon, opened) = ready(&mut home);
    assert_eq!((opened.width, opened.height), SIZE);
    assert_eq!((opened.engine.as_str(), opened.net.as_str()), ("sam-vit-b", "bright"));
    let net = daemon.net("bright");
    assert_eq!((net.state, net.loads), (NetState::Warm, 1), "{net:?}");

    let answer = click(&daemon, opened.session);
    assert!(!answer.embedded, "it was looked at again");
    assert_eq!((answer.width, answer.height), SIZE);
    let iou: Vec<f32> = answer.masks.iter().map(|mask| mask.iou).collect();
    assert_eq!(iou, sams::IOU[1..], "three masks, best first");
    let best = pixels(&answer.masks[0]);
    assert_eq!(best.dimensions(), SIZE);
    let found = overlap(&|x, y| best.get_pixel(x, y).0[0] == 255);
    assert!(found > 0.9, "{found} of the disc");
    let share = best.pixels().filter(|p| p.0[0] == 255).count() as f32 / (SIZE.0 * SIZE.1) as f32;
    assert!((share - answer.masks[0].share).abs() < 1e-4, "{share} {}", answer.masks[0].share);
    let dark = pixels(&answer.masks[1]);
    assert!(overlap(&|x, y| dark.get_pixel(x, y).0[0] == 255) < 0.1, "the second mask is the ground");

    // With a frame and several points there is no doubt, and one mask.
    let frame = CutoutFrame { left: 60.0, top: 30.0, right: 200.0, bottom: 1000.0 };
    let mut sure = at(opened.session, 130.0, 96.0);
    sure.points.push(CutoutPoint { x: 10.0, y: 190.0, object: false });
    sure.frame = Some(frame);
    let sure = daemon.call::<CutoutClick>(&sure);
    assert_eq!((sure.masks.len(), sure.masks[0].iou), (1, sams::IOU[0]));
    assert_eq!(
        sure.set,
        [
            "cutout.engine=sam-vit-b",
            "cutout.net=bright",
            "cutout.points=0.40625,0.48 -0.03125,0.95",
            "cutout.frame=0.1875,0.15,0.625,1"
        ]
    );
    let slowest = (0..5).map(|_| click(&daemon, opened.session).elapsed_ms).max().unwrap();
    say(&format!("figure: a click on a warm embedding of a tiny network: {slowest} ms at the most"));

    // The same as a job: alpha with the edge on the picture's, colours of the ground gone.
    for set in [sure.set, vec!["cutout.engine=sam-vit-b".to_owned(), "cutout.net=bright".to_owned()]] {
        let cut = home.path(&format!("cut-{}.png", set.len()));
        let mut params = submit(&picture(&home), None);
        (params.recipe, params.set) = (Some("cutout".to_owned()), set);
        params.output = Some(cut.to_str().unwrap().to_owned());
        let job = daemon.submit(&params);
        let job = daemon.wait(job.id);
        assert_eq!(job.state, JobState::Done, "{job:?}");
        let cut = image::open(&cut).unwrap().into_rgba8();
        assert_eq!(cut.dimensions(), SIZE);
        let found = overlap(&|x, y| cut.get_pixel(x, y).0[3] > 127);
        assert!(found > 0.97, "{found} of the disc");
    }
    assert_eq!(daemon.net("bright").loads, 1);

    daemon.call::<CutoutClose>(&CutoutCloseParams { session: opened.session });
    let refused = daemon.try_call::<CutoutClick>(&at(opened.session, 1.0, 1.0)).unwrap_err();
    assert_eq!(refused.kind, "not_found", "{refused:?}");
    assert!(
        refused.message.contains("there is no open picture") && refused.hint.contains("cutout.open"),
        "{refused:?}"
    );
}

#[test]
fn a_session_survives_its_worker_its_net_and_a_yield() {
    let mut home = Home::new("cpu");
    let (daemon, opened) = ready(&mut home);
    let first = click(&daemon, opened.session);

    // Its worker dies.
    let pid = daemon.worker_pid().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    until("another worker is there", PATIENCE, || daemon.worker_pid().is_some_and(|now| now != pid));
    let again = click(&daemon, opened.session);
    assert!(again.embedded && again.masks == first.masks, "not the same after a new worker");
    assert!(!click(&daemon, opened.session).embedded);
    assert_eq!(daemon.net("bright").loads, 2);

    // Its net is let go.
    daemon.call::<NetStop>(&NetIdParams { id: "bright".to_owned() });
    daemon.until_net("bright", NetState::Cold);
    let again = click(&daemon, opened.session);
    assert!(again.embedded && again.masks == first.masks, "not the same after a new load");
    assert_eq!(daemon.net("bright").loads, 3);

    // The device is given away, and taken back.
    daemon.call::<Yield>(&YieldParams { for_ms: None, now: true });
    let refused = daemon.try_call::<CutoutClick>(&at(opened.session, 130.0, 96.0)).unwrap_err();
    assert_eq!(refused.kind, "busy", "{refused:?}");
    assert!(refused.message.contains("given away") && refused.hint.contains("meshkiln resume"), "{refused:?}");
    let refused = daemon.try_call::<CutoutOpen>(&open_params(&picture(&home), Some("bright"))).unwrap_err();
    assert_eq!(refused.kind, "busy", "{refused:?}");
    daemon.call::<TakeBack>(&NoParams {});
    assert!(click(&daemon, opened.session).masks == first.masks);

    // Sessions are not kept beyond the daemon.
    home.kill();
    let daemon = home.start();
    let refused = daemon.try_call::<CutoutClick>(&at(opened.session, 1.0, 1.0)).unwrap_err();
    assert_eq!(refused.kind, "not_found", "{refused:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let mut home = Home::new("cpu");
    let (daemon, opened) = ready(&mut home);
    let session = opened.session;
    let frame = |left, top, right, bottom| CutoutClickParams {
        frame: Some(CutoutFrame { left, top, right, bottom }),
        points: Vec::new(),
        session,
    };
    for (params, says) in [
        (at(session, 321.0, 20.0), "point 321,20 is outside the picture of 320x200 pixels"),
        (at(session, 20.0, -1.0), "20,-1 is no place on a picture"),
        (CutoutClickParams { points: Vec::new(), ..at(session, 0.0, 0.0) }, "nothing is pointed at"),
        (CutoutClickParams { points: vec![at(session, 1.0, 1.0).points[0]; 65], frame: None, session }, "at most 64"),
        (frame(50.0, 10.0, 50.0, 90.0), "does not have left before right"),
        (frame(400.0, 10.0, 500.0, 90.0), "frame 400,10,500,90 is outside the picture"),
    ] {
        let refused = daemon.try_call::<CutoutClick>(&params).unwrap_err();
        assert_eq!(refused.kind, "invalid_input", "{refused:?}");
        assert!(refused.message.contains(says) && !refused.hint.is_empty(), "{says}: {refused:?}");
    }
    // And the next click is answered as ever.
    assert!(!click(&daemon, session).embedded);

    let text = home.write("no-picture.png", "this is no picture");
    let mesh = home.write("cube.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n");
    let disc = picture(&home);
    let engine = |engine: &str| CutoutOpenParams { engine: Some(engine.to_owned()), ..open_params(&disc, None) };
    for (params, kind, says) in [
        (open_params(&text, Some("bright")), "unsupported", ""),
        (open_params(&mesh, Some("bright")), "unsupported", "a mesh, not a picture"),
        (open_params(&home.path("none.png"), Some("bright")), "not_found", "is not there"),
        (open_params(&disc, Some("dark")), "invalid_input", "there is no network `dark`"),
        (engine("classic"), "unsupported", "engine `classic` of `cutout` takes no points"),
        (engine("sam-vit-h"), "weights_missing", "the weights of network `sam-vit-h` are not here"),
        (open_params(&disc, None), "invalid_input", "no engine of `cutout` that reads `points` can run here"),
    ] {
        let refused = daemon.try_call::<CutoutOpen>(&params).unwrap_err();
        assert_eq!(refused.kind, kind, "{says}: {refused:?}");
        assert!(refused.message.contains(says) && !refused.hint.is_empty(), "{says}: {refused:?}");
    }
    // A picture that could not be opened takes no place: there is one more than these.
    for _ in 0..15 {
        daemon.call::<CutoutOpen>(&open_params(&disc, Some("bright")));
    }
    let refused = daemon.try_call::<CutoutOpen>(&open_params(&disc, Some("bright"))).unwrap_err();
    assert_eq!(refused.kind, "busy", "{refused:?}");
    assert!(refused.message.contains("16 pictures are open"), "{refused:?}");

    // Weights that are not what they should be are told to who opens a picture.
    let weights = meshkiln_tests::nets::folder(&home, "bright").join("model.safetensors");
    daemon.call::<NetStop>(&NetIdParams { id: "bright".to_owned() });
    daemon.until_net("bright", NetState::Cold);
    let sound = fs::read(&weights).unwrap();
    meshkiln_tests::pass(Duration::from_millis(20));
    fs::write(&weights, &sound[..sound.len() / 2]).unwrap();
    let refused = daemon.try_call::<CutoutClick>(&at(session, 130.0, 96.0)).unwrap_err();
    assert!(refused.kind.starts_with("weights_") && refused.hint.contains("meshkiln pull bright"), "{refused:?}");
    assert!(home.is_alive() && daemon.status().workers[0].restarts == 0);
}
