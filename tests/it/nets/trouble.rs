//! Nets of one's own that are not as they should be: said by name, with what to do, and nobody else
//! is harmed.

use std::{fs, time::Duration};

use meshkiln_protocol::{
    api::{Doctor, NetPull, NoParams},
    daemon::Verdict,
    error::ErrorKind,
    job::JobState,
    net::{NetPullParams, NetState},
};
use meshkiln_tests::{
    Daemon, Home, PATIENCE,
    nets::{Sizes, folder, put},
    pass, until,
};

use super::{done, order, picture};

fn read_again(daemon: &Daemon, id: &str) {
    daemon.call::<NetPull>(&NetPullParams { id: id.to_owned(), from: None });
    until("its files are read", PATIENCE, || daemon.net(id).pull.is_none());
}

#[test]
fn damaged_and_changed_weights_are_told_and_the_next_net_works() {
    let mut home = Home::new("cpu");
    put(&home, "good", 6, Sizes::SMALL);
    put(&home, "bad", 7, Sizes::SMALL);
    let weights = folder(&home, "bad").join("model.safetensors");
    let sound = fs::read(&weights).unwrap();
    fs::write(&weights, &sound[..sound.len() / 2]).unwrap();
    let daemon = home.start();
    for id in ["good", "bad"] {
        daemon.until_net(id, NetState::Cold);
    }

    let failed = daemon.submit(&order(&picture(&home, 0), "bad"));
    let failed = daemon.wait(failed.id);
    let error = failed.error.unwrap();
    assert_eq!(
        (failed.state, error.kind, failed.crashes),
        (JobState::Failed, ErrorKind::WeightsDamaged, 0),
        "{error:?}"
    );
    assert!(error.message.contains("model.safetensors") && error.message.contains("ends too early"), "{error:?}");
    assert!(error.hint.contains("meshkiln pull bad"), "{error:?}");
    let problem = daemon.net("bad").problem.unwrap();
    assert!(problem.contains("ends too early"), "{problem}");
    done(&daemon, &order(&picture(&home, 1), "good"));

    // Mended, but nobody has read it yet: results would stand for other weights.
    pass(Duration::from_millis(20));
    fs::write(&weights, &sound).unwrap();
    let early = daemon.submit(&order(&picture(&home, 0), "bad"));
    let early = daemon.wait(early.id);
    let error = early.error.unwrap();
    assert_eq!((early.state, error.kind), (JobState::Failed, ErrorKind::WeightsMissing), "{error:?}");
    assert!(error.hint.contains("meshkiln pull bad"), "{error:?}");
    read_again(&daemon, "bad");
    done(&daemon, &order(&picture(&home, 0), "bad"));
    assert_eq!((daemon.net("bad").loads, daemon.net("good").loads), (1, 1));

    // Of another architecture than the configuration says.
    pass(Duration::from_millis(20));
    put(&home, "bad", 7, Sizes { heads: 2, ..Sizes::SMALL });
    fs::write(&weights, &sound).unwrap();
    read_again(&daemon, "bad");
    let failed = daemon.submit(&order(&picture(&home, 2), "bad"));
    let failed = daemon.wait(failed.id);
    let error = failed.error.unwrap();
    assert_eq!((failed.state, error.kind), (JobState::Failed, ErrorKind::WeightsDamaged), "{error:?}");
    assert!(error.message.contains("of the weights is ["), "{error:?}");
    assert!(home.is_alive() && daemon.status().workers[0].restarts == 0);
}

#[test]
fn a_folder_that_is_no_net_is_told_and_stops_nothing() {
    let mut home = Home::new("cpu");
    put(&home, "good", 8, Sizes::SMALL);
    for (id, manifest) in [
        ("misspelt", "kind = \"triposer\"\n"),
        ("empty", "kind = \"triposr\"\n"),
        ("escape", "kind = \"triposr\"\nweights = \"../good/model.safetensors\"\n"),
        ("triposr", "kind = \"triposr\"\n"),
    ] {
        fs::create_dir_all(folder(&home, id)).unwrap();
        fs::write(folder(&home, id).join("net.toml"), manifest).unwrap();
    }
    fs::create_dir_all(folder(&home, "garbled")).unwrap();
    fs::write(folder(&home, "garbled").join("net.toml"), "kind = \"triposr\"\n").unwrap();
    fs::write(folder(&home, "garbled").join("model.ckpt"), "no checkpoint").unwrap();
    let daemon = home.start();
    daemon.until_net("good", NetState::Cold);
    for (id, problem, hint) in [
        ("misspelt", "line 1, column 8: there is no kind `triposer`", "did you mean `triposr`?"),
        ("empty", "there is no model.safetensors or model.ckpt beside it", "put the weights there"),
        ("escape", "leads out of the folder", "beside net.toml"),
    ] {
        let net = daemon.net(id);
        assert!(net.problem.as_ref().unwrap().contains(problem), "{net:?}");
        assert!(net.own.as_ref().unwrap().hint.as_ref().unwrap().contains(hint), "{net:?}");
        let pull = NetPullParams { id: id.to_owned(), from: None };
        let refused = [
            daemon.submit_refused(&order(&picture(&home, 0), id)),
            daemon.try_call::<NetPull>(&pull).expect_err("it was read"),
        ];
        for refused in refused {
            assert!(refused.kind == "invalid_input" && refused.message.contains(problem), "{refused:?}");
        }
    }
    let words = String::from_utf8(home.cli(&["nets"]).stdout).unwrap();
    assert!(words.contains("did you mean `triposr`?"), "{words}");
    let checks = daemon.call::<Doctor>(&NoParams {}).checks;
    let warned = checks.iter().filter(|check| check.what == "own network" && check.verdict == Verdict::Warning);
    assert_eq!(warned.count(), 5, "{checks:?}");

    for (set, part) in [
        ("reconstruct.net=god", "there is no network `god`"),
        ("reconstruct.net=../good", "must be the id of a network"),
        ("cutout.net=good", "network `good` is for reconstruct, not for cutout"),
        ("cutout.net=triposr", "network `triposr` is for reconstruct, not for cutout"),
        ("cutout.engine=torchscript", "runs only networks of your own"),
    ] {
        let mut params = order(&picture(&home, 0), "good");
        params.set = vec![set.to_owned()];
        let refused = daemon.submit_refused(&params);
        assert!(refused.kind == "invalid_input" && refused.message.contains(part), "{set}: {refused:?}");
    }
    // Its manifest is sound, its checkpoint is none.
    let garbled = daemon.submit_refused(&order(&picture(&home, 0), "garbled"));
    assert!(garbled.message.contains("the files of network `garbled` have not been read yet"), "{garbled:?}");
    let pulled = home.cli(&["pull", "garbled"]);
    let said = String::from_utf8(pulled.stderr).unwrap();
    assert!(!pulled.status.success() && said.contains("model.ckpt") && said.contains("hint:"), "{said}");
    let refused = daemon.try_call_json("net.remove", serde_json::json!({ "id": "good" })).unwrap().unwrap_err();
    assert!(refused.message.contains("is your own"), "{refused:?}");
    assert!(folder(&home, "good").join("model.safetensors").is_file());
    done(&daemon, &order(&picture(&home, 0), "good"));
}
