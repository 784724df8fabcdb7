use std::fs;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::*;
use crate::{
    cx::CancelToken,
    weights::{
        WeightsError,
        open::Weights,
        pickle::test_pickles::{dict, storage, tensor, zipped},
    },
};

/// A folder of all weights with one network in it.
fn root(id: &str, manifest: &str, files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(id);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(MANIFEST), manifest).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    root
}

/// What is said of a manifest beside `model.safetensors` and `model.pt`.
fn check(manifest: &str, expected: Expect) {
    let root = root("tune", manifest, &[("model.safetensors", b""), ("model.pt", b"")]);
    let (nets, problems) = list(root.path());
    let said = match (nets.first(), problems.first()) {
        (Some(own), None) => format!("{own:#?}"),
        (None, Some(problem)) => format!("{}\nhint: {}", problem.message, problem.hint),
        other => panic!("{other:?}"),
    };
    expected.assert_eq(&said.replace(&root.path().display().to_string(), "ROOT"));
}

#[test]
fn a_manifest_says_what_runs_the_net() {
    check(
        "kind = \"triposr\"\nlicense = \"CC-BY-4.0\"\n",
        expect![[r#"
            Own {
                id: "tune",
                folder: "ROOT/tune",
                doc: "A network of your own.",
                license: Some(
                    "CC-BY-4.0",
                ),
                kind: BuiltIn {
                    net: "triposr",
                    runs: Runs {
                        stage: "reconstruct",
                        engine: "triposr",
                    },
                },
                weights: "model.safetensors",
                config: None,
            }"#]],
    );
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_with_what_to_do() {
    check(
        "",
        expect![[r#"
        ROOT/tune/net.toml: `kind` is missing
        hint: say what runs it: kind = "triposr", or kind = "torchscript""#]],
    );
    check(
        "kind = \"triposer\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 1, column 8: there is no kind `triposer`
        hint: did you mean `triposr`?"#]],
    );
    check(
        "kind = 3\n",
        expect![[r#"
        ROOT/tune/net.toml: line 1, column 8: expected text in quotes, found integer
        hint: write text in quotes there"#]],
    );
    check(
        "kind = \n",
        expect![[r#"
        ROOT/tune/net.toml: line 1, column 8: string values must be quoted, expected literal string
        hint: check the TOML syntax there"#]],
    );
    check(
        "kind = \"triposr\"\nwieghts = \"a\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 2, column 1: there is no key `wieghts`
        hint: did you mean `weights`?"#]],
    );
    check(
        "kind = \"triposr\"\nweights = \"none.safetensors\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 2, column 11: `weights`: ROOT/tune/none.safetensors is not there
        hint: put the file there, or correct its name"#]],
    );
    check(
        "kind = \"triposr\"\nweights = \"../tune/model.safetensors\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 2, column 11: `weights` leads out of the folder: ../tune/model.safetensors
        hint: put the file, or a link to it, beside net.toml"#]],
    );
    check(
        "kind = \"triposr\"\nconfig = \"/etc/hosts\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 2, column 10: `config` leads out of the folder: /etc/hosts
        hint: put the file, or a link to it, beside net.toml"#]],
    );
    check(
        "kind = \"torchscript\"\nstage = \"cutuot\"\n",
        expect![[r#"
        ROOT/tune/net.toml: line 2, column 9: there is no stage that runs modules `cutuot`
        hint: did you mean `cutout`?"#]],
    );
}

#[test]
fn what_is_wrong_with_a_port_is_said_by_its_name() {
    let module = |ports: &str| format!("kind = \"torchscript\"\nstage = \"cutout\"\n{ports}");
    let input = "[[input]]\nslot = \"image\"\nshape = [1, 3, 32, 32]\n";
    check(
        &module(""),
        expect![[r#"
        ROOT/tune/net.toml: `input` is missing
        hint: say what it is: [[input]] with slot and shape"#]],
    );
    check(
        &module("[[input]]\nslot = \"mesh\"\n"),
        expect![[r#"
        ROOT/tune/net.toml: line 4, column 8: there is no slot for `input[0]` `mesh`
        hint: one of: image"#]],
    );
    check(
        &module("[[input]]\nslot = \"image\"\nshape = [3, 32, 32]\n"),
        expect![[r#"
        ROOT/tune/net.toml: line 5, column 9: `input[0].shape` is [3, 32, 32], not batch 1, channels, rows, columns
        hint: write shape = [1, 3, ROWS, COLUMNS]"#]],
    );
    check(
        &module("[[input]]\nslot = \"image\"\nshape = [1, 2, 32, 32]\n"),
        expect![[r#"
        ROOT/tune/net.toml: line 5, column 9: `input[0].shape` has 2 channels, not 3 or 4
        hint: make the second number 3 or 4"#]],
    );
    check(
        &module("[[input]]\nslot = \"image\"\nshape = [1, 3, 32.5, 32]\n"),
        expect![[r#"
        ROOT/tune/net.toml: line 5, column 9: `input[0].shape` is 32.5 x 32 pixels, not whole numbers from 1 to 8192
        hint: write rows and columns in pixels"#]],
    );
    check(
        &module(&format!("{input}mean = [0.5]\n")),
        expect![[r#"
        ROOT/tune/net.toml: line 6, column 8: `input[0].mean` has 1 of 3 numbers
        hint: write one number for each channel"#]],
    );
    check(
        &module(&format!("{input}std = [1, 0, 1]\n")),
        expect![[r#"
        ROOT/tune/net.toml: line 6, column 7: `input[0].std` is 0
        hint: values are divided by it: leave it out, or write another"#]],
    );
    check(
        &module(&format!("{input}range = [1, 1]\n")),
        expect![[r#"
        ROOT/tune/net.toml: line 6, column 9: `input[0].range` is [1, 1], not two different numbers
        hint: write range = [0, 1]"#]],
    );
    check(
        &module(&format!("{input}rnage = [0, 1]\n")),
        expect![[r#"
        ROOT/tune/net.toml: line 6, column 1: there is no key `rnage`
        hint: did you mean `range`?"#]],
    );
    check(
        &module(input),
        expect![[r#"
        ROOT/tune/net.toml: `output` is missing
        hint: say what it is: [[output]] with slot and shape"#]],
    );
}

#[test]
#[cfg(not(feature = "torchscript"))]
fn a_sound_manifest_of_a_module_is_told_what_is_missing() {
    let port = |key: &str, slot: &str, channels: u32| {
        format!("[[{key}]]\nslot = \"{slot}\"\nshape = [1, {channels}, 32, 32]\n")
    };
    let ports = port("input", "image", 3) + &port("output", "cutout", 1);
    check(
        &format!("kind = \"torchscript\"\nstage = \"cutout\"\n{ports}"),
        expect![[r#"
        this meshkilnd was built without torchscript
        hint: build it with `cargo build --release --features meshkilnd/torchscript`"#]],
    );
}

#[test]
fn names_do_not_lead_elsewhere_and_hide_nothing_of_the_catalogue() {
    let manifest = "kind = \"triposr\"\n";
    for (id, part) in [("triposr", "is a network of the catalogue"), ("My Net", "cannot be called `My Net`")] {
        let root = root(id, manifest, &[("model.safetensors", b"")]);
        let (nets, problems) = list(root.path());
        assert!(nets.is_empty() && problems[0].message.contains(part), "{problems:?}");
        assert!(problems[0].hint.starts_with("rename"), "{problems:?}");
        assert_eq!(find(id, root.path()), None, "what the catalogue has is not hidden");
    }
    let outside = root("tune", manifest, &[("model.safetensors", b"")]);
    assert_eq!(find("../tune", outside.path()), None);
    #[cfg(unix)]
    {
        let root = root("linked", manifest, &[]);
        let target = outside.path().join("tune/model.safetensors");
        std::os::unix::fs::symlink(target, root.path().join("linked/model.safetensors")).unwrap();
        assert!(find("linked", root.path()).unwrap().is_ok(), "a link is the user's own");
    }
    assert!(is_id("a-1") && !is_id("") && !is_id("a--b") && !is_id("-a") && !is_id("A") && !is_id("a.b"));
    assert_eq!(list(Path::new("/no/such/folder")), (vec![], vec![]));
}

#[test]
fn files_that_change_are_read_again_and_not_loaded_before() {
    let root = root("tune", "kind = \"triposr\"\n", &[("model.safetensors", b"one"), ("config.yaml", b"a: 1\n")]);
    let own = find("tune", root.path()).unwrap().unwrap();
    assert_eq!(own.ready(), None);
    let mut heard = Vec::new();
    let ready = own
        .take_in(&CancelToken::default(), &mut |phase, file, done, total| {
            heard.push((phase, file.to_owned(), done, total))
        })
        .unwrap();
    assert_eq!(heard[0], (taken::Phase::Read, "model.safetensors".to_owned(), 3, 3));
    assert_eq!((ready.sha256.len(), own.ready()), (2, Some(ready.clone())));

    // As long as before, a moment later.
    let weights = own.path("model.safetensors");
    fs::write(&weights, b"two").unwrap();
    let later = fs::metadata(&weights).unwrap().modified().unwrap() + core::time::Duration::from_secs(1);
    fs::File::options().write(true).open(&weights).unwrap().set_modified(later).unwrap();
    assert_eq!(own.ready(), None);
    let again =
        own.take_in(&CancelToken::default(), &mut |_, file, _, _| assert_eq!(file, "model.safetensors")).unwrap();
    assert!(again.sha256[0] != ready.sha256[0] && again.sha256[1] == ready.sha256[1]);

    fs::remove_file(&weights).unwrap();
    assert_eq!(own.ready(), None);
    assert!(matches!(own.take_in(&CancelToken::default(), &mut |_, _, _, _| {}), Err(WeightsError::Io { .. })));
}

#[test]
fn a_checkpoint_is_converted_beside_itself() {
    let checkpoint =
        zipped(&dict(&[("a", tensor(storage("FloatStorage", "f", 2), 0, &[2], &[1]))]), &[("f", &[7; 8])], true);
    let root = root("tune", "kind = \"triposr\"\n", &[("model.ckpt", &checkpoint)]);
    let own = find("tune", root.path()).unwrap().unwrap();
    let ready = own.take_in(&CancelToken::default(), &mut |_, _, _, _| {}).unwrap();
    assert_eq!(Weights::open(&ready.weights).unwrap().get("a").unwrap().data, [7; 8]);
    assert_eq!(fs::read(own.path("model.ckpt")).unwrap(), checkpoint);
    fs::remove_file(&ready.weights).unwrap();
    assert_eq!(own.ready(), None);
    let cancelled = CancelToken::default();
    cancelled.cancel();
    assert_eq!(own.take_in(&cancelled, &mut |_, _, _, _| {}), Err(WeightsError::Cancelled));

    fs::write(own.path("model.ckpt"), b"no checkpoint").unwrap();
    let error = own.take_in(&CancelToken::default(), &mut |_, _, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("model.ckpt"), "{error}");
}
