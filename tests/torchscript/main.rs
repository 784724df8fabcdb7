//! TorchScript modules of a user's own, in a real daemon and its real worker. Run by
//! `tests/torchscript/run`, which writes the modules and names their folder.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::PathBuf};

use image::{Rgba, RgbaImage};
use meshkiln_models::image::decode::decode;
use meshkiln_protocol::{
    error::ErrorKind,
    job::{Job, JobState, SubmitParams},
    net::NetState,
};
use meshkiln_tests::{Daemon, Home, nets::folder, submit};

const SIDE: u32 = 64;

/// `[[input]]` and `[[output]]` of the sound modules.
fn ports(output: &str) -> String {
    format!(
        "[[input]]\nslot = \"image\"\nshape = [1, 3, {SIDE}, {SIDE}]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
         [[output]]\nslot = \"cutout\"\nshape = [1, 1, {SIDE}, {SIDE}]\n{output}"
    )
}

fn put(home: &Home, id: &str, module: &str, ports: &str) {
    let modules = PathBuf::from(env::var_os("MESHKILN_MODULES").expect("run tests/torchscript/run"));
    fs::create_dir_all(folder(home, id)).unwrap();
    fs::copy(modules.join(module), folder(home, id).join("model.pt")).unwrap();
    let manifest = format!("kind = \"torchscript\"\nstage = \"cutout\"\n{ports}");
    fs::write(folder(home, id).join("net.toml"), manifest).unwrap();
}

/// A bright disc before darkness, without alpha; larger with `n`.
fn picture(home: &Home, n: u32) -> PathBuf {
    let path = home.write(&format!("disc-{n}.png"), "");
    let shade = |x: u32, y: u32| if is_inside(x, y, n) { Rgba([230, 220, 210, 255]) } else { Rgba([20, 20, 30, 255]) };
    RgbaImage::from_fn(200, 200, shade).save(&path).unwrap();
    path
}

fn is_inside(x: u32, y: u32, n: u32) -> bool {
    (x as f32 - 99.5).hypot(y as f32 - 99.5) < 50.0 + n as f32
}

fn cut(home: &Home, daemon: &Daemon, n: u32, net: &str) -> Job {
    let set = vec![format!("cutout.net={net}")];
    let job =
        daemon.submit(&SubmitParams { recipe: Some("cutout".to_owned()), set, ..submit(&picture(home, n), None) });
    daemon.wait(job.id)
}

/// Share of the pixels that are as they should be.
fn right(job: &Job, n: u32) -> f64 {
    assert_eq!(job.state, JobState::Done, "{job:?}");
    assert_eq!(job.stages[1].engine, "torchscript");
    let cutout = decode(&fs::read(job.output.as_ref().unwrap()).unwrap()).unwrap().image;
    assert_eq!(cutout.dimensions(), (200, 200));
    let as_seen = cutout.enumerate_pixels().filter(|(x, y, pixel)| (pixel.0[3] > 127) == is_inside(*x, *y, n));
    as_seen.count() as f64 / 40_000.0
}

#[test]
fn a_module_cuts_out_and_stays_warm() {
    let mut home = Home::new("cpu");
    put(&home, "bright", "bright.pt", &ports(""));
    put(&home, "logits", "logits.pt", &ports("range = [-8, 8]\n"));
    let daemon = home.start();
    let net = daemon.until_net("bright", NetState::Cold);
    let own = net.own.unwrap();
    assert_eq!((own.kind.as_deref(), own.used_by.as_deref()), (Some("torchscript"), Some("cutout.net=bright")));
    assert_eq!((own.license, net.problem), (None, None));
    for n in 0..2 {
        let job = cut(&home, &daemon, n, "bright");
        assert!(right(&job, n) > 0.98, "{}", right(&job, n));
        assert_eq!(daemon.net("bright").loads, 1);
    }
    daemon.until_net("logits", NetState::Cold);
    let job = cut(&home, &daemon, 2, "logits");
    assert!(right(&job, 2) > 0.98, "{}", right(&job, 2));
    // Without a name for a net nothing of this is used.
    let params = SubmitParams { recipe: Some("cutout".to_owned()), ..submit(&picture(&home, 3), None) };
    let plain = daemon.wait(daemon.submit(&params).id);
    assert_eq!((plain.state, plain.stages[1].engine.as_str()), (JobState::Done, "classic"));
}

#[test]
fn a_module_that_is_not_as_its_manifest_says_is_told_by_the_field() {
    let mut home = Home::new("cpu");
    let narrow = ports("").replace("[1, 3,", "[1, 4,").replace("mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n", "");
    let cases = [
        (
            "half",
            "half.pt",
            ports(""),
            "`output[0].shape` of the manifest says [1, 1, 64, 64], the module makes [1, 1, 32, 32]",
        ),
        ("pair", "pair.pt", ports(""), "`output` of the manifest says 1 tensors, the module makes 2"),
        ("narrow", "bright.pt", narrow, "the module does not take `input[0].shape` [1, 4, 64, 64]"),
        ("text", "text.pt", ports(""), "it is no TorchScript module"),
    ];
    put(&home, "bright", "bright.pt", &ports(""));
    for (id, module, ports, _) in &cases {
        put(&home, id, module, ports);
    }
    let daemon = home.start();
    for (id, _, _, part) in &cases {
        daemon.until_net(id, NetState::Cold);
        let job = cut(&home, &daemon, 0, id);
        let error = job.error.unwrap();
        assert_eq!((job.state, error.kind, job.crashes), (JobState::Failed, ErrorKind::WeightsDamaged, 0), "{error:?}");
        assert!(error.message.contains(part), "{id}: {}", error.message);
        assert!(!error.message.contains('\n'), "{id}: {}", error.message);
    }
    assert!(right(&cut(&home, &daemon, 0, "bright"), 0) > 0.98);
    assert_eq!(daemon.status().workers[0].restarts, 0);
}
