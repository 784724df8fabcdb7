//! Whole nets: fetched, converted, verified, removed; from hubs, folders and by hand.

use std::fs;

use meshkiln_models::{
    cx::CancelToken,
    weights::{
        WeightsError,
        catalogue::{Net, Role},
        fetch::{self, Phase, Presence, RESERVE, Source},
        open::Weights,
    },
};

use crate::{
    ETAG, World, net, random_bytes,
    server::{Reply, Server, file},
    test_pickles, world,
};

#[test]
fn a_full_disk_is_noticed_before_anything_is_asked() {
    let content = random_bytes(10_000, 7);
    let weights = test_pickles::zipped(&test_pickles::dict(&[]), &[], false);
    let server = Server::start(|_| Reply::status("404 Not Found"));
    for (role, needed) in [(Role::Safetensors, 10_000), (Role::Checkpoint, 20_000)] {
        let net = net(&[("model.ckpt", &content, role)], true);
        let world = World { free: RESERVE + needed - 1, ..world() };
        let error = world.from(net, &server).unwrap_err();
        let WeightsError::DiskFull { needed: found, free, .. } = error else { panic!("{error:?}") };
        assert_eq!((found, free), (RESERVE + needed, RESERVE + needed - 1));
    }
    assert_eq!(server.requests().len(), 0);
    // A size that only the server knows is held against the disk before the body is read.
    let net = net(&[("model.ckpt", &weights, Role::Checkpoint)], false);
    let server = Server::start(move |request| file(request, &content, ETAG));
    let world = World { free: RESERVE + 5_000, ..world() };
    assert!(matches!(world.from(net, &server), Err(WeightsError::DiskFull { .. })));
    assert!(!world.has("model.ckpt"));
}

/// A checkpoint and a configuration, as a hub has them.
fn published() -> (Vec<u8>, Vec<u8>) {
    let bytes: Vec<u8> = (0..24).collect();
    let root = test_pickles::dict(&[(
        "w",
        test_pickles::tensor(test_pickles::storage("FloatStorage", "0", 6), 0, &[2, 3], &[3, 1]),
    )]);
    (b"width: 3\n".to_vec(), test_pickles::zipped(&root, &[("0", &bytes)], true))
}

fn toy() -> (&'static Net, Vec<u8>, Vec<u8>) {
    let (config, checkpoint) = published();
    let files = [("config.yaml", &config[..], Role::Config), ("model.ckpt", &checkpoint[..], Role::Checkpoint)];
    (net(&files, true), config, checkpoint)
}

#[test]
fn a_net_is_fetched_converted_and_here_and_goes_again() {
    let (net, config, checkpoint) = toy();
    let total = (config.len() + checkpoint.len()) as u64;
    let server = Server::start(move |request| match request.path.ends_with("config.yaml") {
        true => file(request, &config, ETAG),
        false => file(request, &checkpoint, ETAG),
    });
    let world = world();
    let folder = world.folder.path();
    assert_eq!(fetch::presence(net, folder), Presence::Absent);
    let installed = world.from(net, &server).unwrap();
    assert_eq!(installed.files[1].path, world.home("model.safetensors"));
    assert_eq!(Weights::open(&installed.files[1].path).unwrap().get("w").unwrap().shape, [2, 3]);
    assert_eq!(fetch::installed(net, folder), Some(installed.clone()));
    assert_eq!(fetch::presence(net, folder), Presence::Here(installed));
    let heard = world.heard.borrow().clone();
    assert!(heard.contains(&(Phase::Fetch, total, Some(total))));
    assert_eq!(heard.last(), Some(&(Phase::Convert, 24, Some(24))));
    assert!(heard.is_sorted_by_key(|(phase, done, _)| (*phase == Phase::Convert, *done)));
    // Nothing is asked twice.
    assert!(world.from(net, &server).is_ok());
    assert_eq!(server.requests().len(), 2);
    // One flipped byte is found, dropped and fetched again.
    let mut bytes = fs::read(world.home("model.ckpt")).unwrap();
    bytes[40] ^= 2;
    fs::write(world.home("model.ckpt"), bytes).unwrap();
    assert_eq!(fetch::verify(net, folder, &CancelToken::default()).unwrap(), ["model.ckpt"]);
    assert!(!fetch::is_here(net, folder));
    assert!(world.from(net, &server).is_ok());
    assert_eq!(server.requests().len(), 3);
    // So is one in what was made of it, and it is made again of what is here.
    let mut bytes = fs::read(world.home("model.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 4;
    fs::write(world.home("model.safetensors"), bytes).unwrap();
    assert_eq!(fetch::verify(net, folder, &CancelToken::default()).unwrap(), ["model.safetensors"]);
    assert!(world.from(net, &server).is_ok() && fetch::is_here(net, folder));
    assert_eq!(fetch::verify(net, folder, &CancelToken::default()).unwrap(), [""; 0]);
    assert_eq!(server.requests().len(), 3);
    fetch::remove(net, folder).unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    fetch::remove(net, folder).unwrap();
}

#[test]
fn folders_of_every_layout_are_sources() {
    let (net, config, checkpoint) = toy();
    for layout in ["", "toy", "owner/toy", "owner/toy/resolve/main"] {
        let source = tempfile::tempdir().unwrap();
        let below = source.path().join(layout);
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("config.yaml"), &config).unwrap();
        let world = world();
        let from = Source::Folder(source.path().to_owned());
        let error = world.pull(net, &from).unwrap_err();
        assert!(matches!(&error, WeightsError::NotThere { file, .. } if file == "model.ckpt"), "{layout}: {error:?}");
        let mut wrong = checkpoint.clone();
        wrong[77] ^= 1;
        fs::write(below.join("model.ckpt"), &wrong).unwrap();
        let error = world.pull(net, &from).unwrap_err();
        assert!(matches!(error, WeightsError::WrongBytes { what: "SHA-256", .. }), "{layout}: {error:?}");
        fs::write(below.join("model.ckpt"), &wrong[1..]).unwrap();
        let error = world.pull(net, &from).unwrap_err();
        assert!(matches!(error, WeightsError::WrongBytes { what: "size", .. }), "{layout}: {error:?}");
        assert!(!world.has("model.ckpt") && !world.has("model.ckpt.part") && world.has("config.yaml"), "{layout}");
        fs::write(below.join("model.ckpt"), &checkpoint).unwrap();
        assert!(world.pull(net, &from).is_ok(), "{layout}");
        assert_eq!(fs::read(below.join("model.ckpt")).unwrap(), checkpoint);
    }
}

#[test]
fn files_put_there_by_hand_are_taken_in_if_they_are_right() {
    let (net, config, checkpoint) = toy();
    let world = world();
    fs::create_dir_all(world.home("")).unwrap();
    fs::write(world.home("config.yaml"), &config).unwrap();
    fs::write(world.home("model.ckpt"), &checkpoint).unwrap();
    assert!(!fetch::is_here(net, world.folder.path()));
    let nowhere = Source::Folder(world.folder.path().join("nowhere"));
    assert!(world.pull(net, &nowhere).is_ok());
    fetch::remove(net, world.folder.path()).unwrap();
    fs::create_dir_all(world.home("")).unwrap();
    fs::write(world.home("config.yaml"), b"width: 4\n").unwrap();
    assert!(matches!(world.pull(net, &nowhere), Err(WeightsError::NotThere { .. })));
}
