//! `meshkiln` as people and scripts use it, on a real picture and a real worker.

use std::{fs, process::Stdio, time::Duration};

use meshkiln_models::{
    export::{glb, ownership},
    image::decode::decode,
};
use meshkiln_protocol::job::JobState;
use meshkiln_tests::{Home, PATIENCE, PROP, example, until};
use serde_json::Value as Json;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Stage states of a job by stage.
fn states(job: &Json) -> Vec<(String, String)> {
    let stages = job["stages"].as_array().unwrap();
    stages.iter().map(|s| (s["stage"].as_str().unwrap().into(), s["state"].as_str().unwrap().into())).collect()
}

#[test]
fn fire_starts_the_daemon_and_makes_a_file_that_refire_makes_again() {
    let home = Home::new("cpu");
    let lantern = home.path("lantern.png");
    fs::copy(example("lantern.png"), &lantern).unwrap();
    let lantern = lantern.to_str().unwrap();

    let fired = home.cli(&["fire", lantern]);
    assert!(fired.status.success(), "{}", text(&fired.stderr));
    let file = home.path("lantern.glb");
    assert!(text(&fired.stdout).contains(file.to_str().unwrap()), "{}", text(&fired.stdout));
    let first = fs::read(&file).unwrap();
    assert!(ownership::is_ours(&first));
    let content = glb::read(&first).unwrap();
    assert_eq!(content.name, "lantern");
    assert_eq!(content.meshkiln["report"]["passed"], true);
    let (low, high) = content.mesh.bounds().unwrap();
    assert!(low.y.abs() < 1e-6 && (high.y - 1.0).abs() < 0.02, "not a metre high, on the ground: {low} {high}");

    // The same again is the same file; another budget computes only what follows from it.
    let again = home.cli_json(&["refire", file.to_str().unwrap()]);
    assert!(states(&again["jobs"][0]).iter().all(|(_, state)| state == "cached"), "{again}");
    assert_eq!(fs::read(&file).unwrap(), first);
    let fewer = home.cli_json(&["refire", file.to_str().unwrap(), "--set", "simplify.triangles=1000"]);
    for (stage, state) in states(&fewer["jobs"][0]) {
        let before = PROP[..6].contains(&stage.as_str());
        assert_eq!(state, if before { "cached" } else { "done" }, "{stage}");
    }
    let fewer = glb::read(&fs::read(&file).unwrap()).unwrap();
    assert!((900..=1000).contains(&fewer.mesh.triangles.len()), "{} triangles", fewer.mesh.triangles.len());

    let times = &again["jobs"][0]["report"]["stage_ms"];
    assert_eq!(times.as_object().unwrap().len(), PROP.len(), "{times}");

    let jobs = home.cli_json(&["jobs"]);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 3);
    let assets = home.cli_json(&["assets"]);
    assert_eq!(assets["assets"][0]["path"], file.to_str().unwrap());
    assert!(text(&home.cli(&["job", "1", "log"]).stdout).contains("decode"));

    let preview = home.path("lantern-preview.png");
    let save = ["job", "1", "preview", "-o", preview.to_str().unwrap()];
    assert!(home.cli(&save).status.success());
    let picture = fs::read(&preview).unwrap();
    assert_eq!(decode(&picture).unwrap().image.dimensions(), (512, 512));
    let again = home.cli(&save);
    assert_eq!((again.status.code(), fs::read(&preview).unwrap()), (Some(2), picture), "it was overwritten");
}

#[test]
fn a_foreign_file_is_never_overwritten_and_nothing_is_computed_again_afterwards() {
    let home = Home::new("cpu");
    let (picture, file) = (example("sword.png"), home.path("out/sword.glb"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "mine").unwrap();
    let args = ["fire", picture.to_str().unwrap(), "-o", file.to_str().unwrap(), "-r", "draft"];
    let refused = home.cli(&args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("hint:"), "{}", text(&refused.stderr));
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    fs::rename(&file, home.path("out/mine.glb")).unwrap();
    home.cli(&["job", "1", "retry"]);
    let job = home.cli_json(&["job", "1", "wait"]);
    assert!(states(&job["jobs"][0]).iter().all(|(_, state)| state == "cached" || state == "done"), "{job}");
    assert!(ownership::is_ours(&fs::read(&file).unwrap()));
    assert_eq!(fs::read_dir(home.path("out")).unwrap().count(), 2, "something half-written was left");
}

#[test]
fn wrong_things_are_told_with_what_to_do_and_a_documented_exit_code() {
    let home = Home::new("cpu");
    fs::write(home.path("noise.png"), "this is no picture").unwrap();
    let noise = home.path("noise.png");
    let noise = noise.to_str().unwrap();
    let lantern = example("lantern.png");
    let lantern = lantern.to_str().unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["fire", "no-such.png"], 2, "check the name"),
        (&["fire", home.dir.path().to_str().unwrap()], 2, "watch add"),
        (&["fire"], 2, "<IMAGES>"),
        (&["fire", noise], 1, "give a PNG"),
        (&["fire", lantern, "-r", "porp"], 4, "prop"),
        (&["fire", lantern, "-s", "simplify.triangels=5"], 4, "did you mean `triangles`"),
        (&["fire", lantern, "-s", "simplify.triangles=lots"], 4, "whole number"),
        (&["job", "999"], 4, "meshkiln jobs"),
        (&["watch", "add", "/no/such/folder"], 4, "create the folder"),
        (&["refire", "none.glb"], 4, "hint"),
    ];
    for (args, code, part) in cases {
        let output = home.cli(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
    assert_eq!(home.cli(&["down"]).status.code(), Some(0));
    assert_eq!(home.cli_json(&["status"])["running"], false);
}

#[test]
fn everything_lists_in_words_and_in_json() {
    let home = Home::new("cpu");
    for (args, list) in [
        (vec!["recipes"], "recipes"),
        (vec!["stages"], "stages"),
        (vec!["jobs"], "jobs"),
        (vec!["assets"], "assets"),
        (vec!["watch", "list"], "watches"),
        (vec!["doctor"], "checks"),
    ] {
        assert!(home.cli_json(&args)[list].is_array(), "{args:?}");
        let words = home.cli(&args);
        assert!(words.status.success() && !words.stdout.is_empty(), "{args:?}: {}", text(&words.stderr));
    }
    assert!(text(&home.cli(&["stages", "simplify"]).stdout).contains("triangles = 10000"));
    assert!(text(&home.cli(&["recipes", "draft"]).stdout).contains("[[stage]]"));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(!home.cli(&["completions", shell]).stdout.is_empty());
    }
    assert_eq!(home.cli_json(&["pause"])["queue"]["paused"], true);
    assert_eq!(home.cli_json(&["resume"])["queue"]["paused"], false);
    assert!(text(&home.cli(&["log"]).stdout).contains("serves"));
}

#[test]
#[cfg(unix)]
fn ctrl_c_cancels_the_job_and_leaves_nothing_behind() {
    let mut home = Home::new("fake");
    home.start();
    let source = home.path("slow.png");
    fs::write(&source, "decode progress 10000 x 10ms\n").unwrap();
    let mut command = home.command("meshkiln");
    let mut child = command
        .args(["fire", source.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it runs", Duration::from_secs(20), || home.cli_json(&["jobs", "--state", "running"])["jobs"][0].is_object());
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(home.cli_json(&["job", "1"])["job"]["state"], "cancelled");
    assert!(!home.path("slow.glb").exists());
}

#[test]
fn fire_outlives_its_daemon() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let lantern = home.path("lantern.png");
    fs::copy(example("lantern.png"), &lantern).unwrap();
    let mut fire = home.command("meshkiln");
    fire.arg("fire").arg(&lantern).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let fire = fire.spawn().unwrap();
    until("the job runs", PATIENCE, || daemon.jobs(&[JobState::Running]).len() == 1);
    home.kill();
    let fired = fire.wait_with_output().unwrap();
    let said = text(&fired.stderr);
    assert!(fired.status.success(), "{said}");
    assert!(said.contains("the daemon is gone; starting it again"), "{said}");
    assert!(ownership::is_ours(&fs::read(home.path("lantern.glb")).unwrap()));
}
