//! Meshes in: every real one becomes an asset or says why not; `analyze` and
//! `compare` report; nothing outside a mesh's folder is read.
//!
//! The assets are left in `target/tmp/closed` and `target/tmp/open`, where
//! `tests/validate/run` puts them through validators that are not ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use meshkiln_protocol::{
    api::Submit,
    error::ErrorKind,
    job::{Class, JobState},
};
use meshkiln_tests::{Home, data, submit};

/// Closed meshes, with the volumes that `data/README.md` says.
const CLOSED: &[(&str, f64)] = &[
    ("animal.obj", 6.807e4),
    ("blub.obj", 1.129),
    ("box_textured.glb", 1.0),
    ("box_vertex_colors.glb", 1.0),
    ("featuretype.STL", 11.63),
    ("fuze.obj", 6.067e-4),
    ("fuze.ply", 6.067e-4),
    ("hand_prismatic.obj", 1.988e6),
    ("potion.obj", 6.071e5),
    ("quadknot.obj", 1.057e6),
    ("spot.obj", 0.7183),
    ("teddy.obj", 167.9),
    ("unit_cube.STL", 1.0),
    ("unit_sphere.STL", 4.153),
];
const OPEN: &[&str] = &[
    "avocado/Avocado.gltf",
    "cesium_milk_truck.glb",
    "chair_model.obj",
    "cycloidal.ply",
    "monkey.glb",
    "not_convex.obj",
    "suzanne/Suzanne.gltf",
    "waterbottle/WaterBottle.gltf",
];

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

#[test]
fn healthy_meshes_become_assets_and_keep_their_volume() {
    let Some(meshes) = data().map(|data| data.join("meshes")) else { return };
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let mut jobs = Vec::new();
    let open: Vec<_> = OPEN.iter().map(|name| (*name, None)).collect();
    let closed: Vec<_> = CLOSED.iter().map(|(name, volume)| (*name, Some(*volume))).collect();
    for (list, folder) in [(closed, fresh("closed")), (open, fresh("open"))] {
        for (name, volume) in list {
            let mut params = submit(&meshes.join(name), None);
            params.output = Some(folder.join(format!("{}.glb", name.replace(['/', '.'], "-"))).display().to_string());
            params.class = Class::Batch;
            jobs.push((name, volume, daemon.call::<Submit>(&params)));
        }
    }
    for (name, volume, job) in jobs {
        let job = daemon.wait(job.id);
        assert_eq!((job.state, &job.error), (JobState::Done, &None), "{name}");
        assert_eq!(job.recipe, "optimize");
        let report = job.report.unwrap();
        println!("{name:30} {} triangles, scores {}", report["triangles"], report["scores"]);
        assert_eq!(report["uv_overlap"], 0.0, "{name}: {report}");
        if let Some(volume) = volume {
            assert!(report["watertight"] == true && report["manifold"] == true, "{name}: {report}");
            let ratio = report["volume_m3"].as_f64().unwrap() / volume;
            assert!((ratio - 1.0).abs() <= 0.01, "{name}: the volume is {ratio} of what it was");
        }
    }
}

#[test]
fn broken_meshes_become_assets_or_say_why_not() {
    let Some(broken) = data().map(|data| data.join("meshes/broken_or_odd")) else { return };
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let out = fresh("broken");
    let mut paths: Vec<PathBuf> = fs::read_dir(broken).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut params = submit(&path, None);
        params.output = Some(out.join(format!("{}.glb", name.replace('.', "-"))).display().to_string());
        let error = match daemon.try_call::<Submit>(&params) {
            Err(e) => (e.kind, e.message),
            Ok(job) => match daemon.wait(job.id) {
                job if job.state == JobState::Done => {
                    let report = job.report.unwrap();
                    println!("{name:30} {} triangles, watertight {}", report["triangles"], report["watertight"]);
                    continue;
                }
                job => {
                    let error = job.error.unwrap();
                    assert!(!error.hint.is_empty() && error.kind != ErrorKind::Internal, "{name}: {error:?}");
                    (format!("{:?}", error.kind), error.message)
                }
            },
        };
        println!("{name:30} {}: {}", error.0, error.1);
    }
    assert!(home.is_alive() && daemon.status().workers.iter().all(|worker| worker.restarts == 0));
}

#[test]
fn analyze_and_compare_report_and_leave_no_file() {
    let home = Home::new("cpu");
    let cube = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1\n\
        f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n";
    let (whole, open) = (home.write("whole.obj", cube), home.write("open.obj", &cube[..cube.len() - 10]));
    let [whole, open] = [&whole, &open].map(|path| path.to_str().unwrap());

    let report = home.cli_json(&["analyze", whole])["report"].take();
    assert_eq!((&report["triangles"], &report["watertight"]), (&12.into(), &true.into()), "{report}");
    assert!(
        report["scores"]["topology"].as_f64()
            > home.cli_json(&["analyze", open])["report"]["scores"]["topology"].as_f64()
    );
    let same = home.cli_json(&["compare", whole, whole])["report"].take();
    let other = home.cli_json(&["compare", whole, open])["report"].take();
    assert_eq!(same["f_score_1"], 1.0, "{same}");
    assert!(other["hausdorff_m"].as_f64() > Some(0.1), "{other}");

    let text = String::from_utf8(home.cli(&["analyze", whole]).stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("triangles") && line.ends_with(" 12")), "{text}");
    let lone = home.cli(&["compare", whole, home.write("a.png", "no mesh").to_str().unwrap()]);
    assert!(!lone.status.success());
    let made: Vec<_> = fs::read_dir(home.fake_dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made.len(), 3, "something was left: {made:?}");
}

#[test]
fn a_mesh_reads_nothing_outside_its_folder() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let secret = home.write("secret.bin", [7; 64]);
    for uri in [
        "../secret.bin",
        secret.to_str().unwrap(),
        "file:///etc/passwd",
        "http://127.0.0.1:1/x.bin",
        "%2e%2e/secret.bin",
    ] {
        let text = format!(
            r#"{{"asset": {{"version": "2.0"}}, "buffers": [{{"byteLength": 64, "uri": "{uri}"}}],
                "bufferViews": [{{"buffer": 0, "byteLength": 36}}],
                "accessors": [{{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}}],
                "meshes": [{{"primitives": [{{"attributes": {{"POSITION": 0}}}}]}}],
                "nodes": [{{"mesh": 0}}], "scenes": [{{"nodes": [0]}}], "scene": 0}}"#
        );
        let mesh = home.write("inner/a.gltf", text);
        let refused = daemon.try_call::<Submit>(&submit(&mesh, None)).unwrap_err();
        assert_eq!(refused.kind, "invalid_input", "{uri}: {refused:?}");
    }
}
