//! Every real picture ends as an asset or as an error that says why not.
//!
//! The assets are left in `target/tmp/assets`, where `tests/validate/run` puts
//! them through validators that are not ours.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use meshkiln_protocol::{
    api::{DaemonStatus, NoParams, Submit},
    error::ErrorKind,
    job::{Class, JobState},
};
use meshkiln_tests::{Home, data, submit};

/// Plain backgrounds or alpha: these must become assets.
const MUST: &[&str] = &[
    "examples/lantern.png",
    "examples/mushroom.png",
    "examples/shield.jpg",
    "examples/sword.png",
    "examples/vase.png",
    "examples/barrel.webp",
    "object/chair.png",
    "object/dog1_rgba.png",
    "object/flamingo.png",
    "object/hamburger.png",
    "object/horse.png",
    "object/iso_house.png",
    "object/marble.png",
    "object/poly_fox.png",
    "object/robot.png",
    "object/stripes.png",
    "object/teapot.png",
    "object/unicorn.png",
    "depth_normal/cactus.png",
    "depth_normal/cactus_rgba.png",
    "depth_normal/catstatue.png",
    "depth_normal/catstatue_rgba.png",
    "depth_normal/futuristic_car.png",
    "depth_normal/futuristic_car_rgba.png",
    "depth_normal/hamburger_rgba.png",
    "depth_normal/teddy.png",
    "depth_normal/teddy_rgba.png",
];

/// `folder/name` and path of every picture.
fn pictures() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("examples")];
    if let Some(data) = data() {
        let names = ["object", "depth_normal", "matte", "photo", "saliency", "sr", "odd", "hdr"];
        folders.extend(names.map(|name| data.join("images").join(name)));
    }
    let mut found = Vec::new();
    for folder in folders {
        let label = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.ends_with(".md") && !name.ends_with(".py") && path.is_file() {
                found.push((format!("{label}/{name}"), path.canonicalize().unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_picture_ends_as_an_asset_or_says_why_not() {
    let assets = Path::new(env!("CARGO_TARGET_TMPDIR")).join("assets");
    let _ = fs::remove_dir_all(&assets);
    fs::create_dir_all(&assets).unwrap();
    let assets = assets.canonicalize().unwrap();

    let mut home = Home::new("cpu");
    let daemon = home.start();
    let start = Instant::now();
    let jobs: Vec<_> = pictures()
        .into_iter()
        .map(|(name, path)| {
            let output = assets.join(format!("{}.glb", name.replace(['/', '.'], "-")));
            let mut params = submit(&path, None);
            params.output = Some(output.to_str().unwrap().to_owned());
            params.class = Class::Batch;
            (name, output, daemon.try_call::<Submit>(&params))
        })
        .collect();

    let mut n_assets = 0;
    for (name, output, job) in jobs {
        let job = match job {
            Ok(job) => daemon.wait(job.id),
            // Refused before it was queued.
            Err(e) => {
                println!("{name:45} {}: {}", e.kind, e.message);
                assert!(!MUST.contains(&name.as_str()), "{name}: {e:?}");
                continue;
            }
        };
        match (job.state, &job.error) {
            (JobState::Done, None) => {
                n_assets += 1;
                let report = job.report.unwrap();
                let iou = report["silhouette_iou"].as_f64().unwrap();
                println!("{name:45} {} triangles, silhouette {iou:.4}", report["triangles"]);
                assert!(iou >= 0.97 && report["watertight"] == true && report["manifold"] == true, "{name}: {report}");
                assert!(output.is_file(), "{name}");
            }
            (JobState::Failed, Some(error)) => {
                println!("{name:45} {:?}: {}", error.kind, error.message);
                assert!(!MUST.contains(&name.as_str()), "{name}: {error:?}");
                let typed = [
                    ErrorKind::InvalidInput,
                    ErrorKind::Truncated,
                    ErrorKind::Unsupported,
                    ErrorKind::TooLarge,
                    ErrorKind::NoObject,
                    ErrorKind::GateFailed,
                ];
                assert!(typed.contains(&error.kind), "{name}: {error:?}");
                assert!(!error.hint.is_empty() && !output.exists(), "{name}: {error:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let status = daemon.call::<DaemonStatus>(&NoParams {});
    assert!(home.is_alive() && status.workers.iter().all(|w| w.restarts == 0), "{status:?}");
    println!("{n_assets} assets in {:.0} s", start.elapsed().as_secs_f64());
}
