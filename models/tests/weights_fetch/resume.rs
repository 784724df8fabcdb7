//! Downloads that are cut, tampered with, cancelled and taken up again.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use meshkiln_models::weights::WeightsError;

use crate::{
    ETAG, NAME, World, one, random_bytes,
    server::{Server, file},
    sha256, world,
};

#[test]
fn fifty_downloads_cut_at_random_end_with_the_right_bytes() {
    let mut worst = 0.0_f64;
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let content = Arc::new(random_bytes(random.usize(200_000..2_000_000), seed));
        let (net, n_cuts) = (one(&content), random.usize(1..6));
        let (served, cuts) = (content.clone(), Arc::new(Mutex::new((random.fork(), n_cuts))));
        let server = Server::start(move |request| {
            let reply = file(request, &served, ETAG);
            let (random, left) = &mut *cuts.lock().unwrap();
            match *left {
                0 => reply,
                _ => {
                    *left -= 1;
                    let n = reply.body.len();
                    reply.cut(random.usize(..n))
                }
            }
        });
        // Half of them go on in the same pull, half in a new one, as after a crash or a restart.
        let world = World { retries: if seed % 2 == 0 { 8 } else { 0 }, ..world() };
        let mut result = world.from(net, &server);
        while let Err(WeightsError::Network { .. }) = result {
            assert!(!world.has(NAME) && seed % 2 == 1);
            result = world.from(net, &server);
        }
        let installed = result.unwrap();
        assert_eq!(fs::read(&installed.files[0].path).unwrap(), *content, "seed {seed}");
        assert_eq!(server.requests().len(), n_cuts + 1);
        assert!(!world.has("model.safetensors.part") && !world.has("model.safetensors.part.json"));
        worst = worst.max(server.sent() as f64 / content.len() as f64 - 1.0);
    }
    println!("50 of 50 resumed; at most {:.2} % fetched twice", worst * 100.0);
    assert!(worst <= 0.05);
}

#[test]
fn tampered_partials_never_get_through() {
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let content = Arc::new(random_bytes(1_000_000, seed));
        let (net, served, n) = (one(&content), content.clone(), Arc::new(AtomicUsize::new(0)));
        let server = Server::start(move |request| {
            let reply = file(request, &served, ETAG);
            if n.fetch_add(1, Ordering::Relaxed) == 0 { reply.cut(600_000) } else { reply }
        });
        let world = World { retries: 0, ..world() };
        assert!(world.from(net, &server).is_err());
        let (part, record) = (world.home("model.safetensors.part"), world.home("model.safetensors.part.json"));
        let mut bytes = fs::read(&part).unwrap();
        assert_eq!(bytes.len(), 600_000);
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
        let n_requests = match seed % 3 {
            // Noticed before anything is asked of the server.
            0 => 2,
            // The record says that these are the bytes: only the sum of the whole tells.
            1 => {
                let text = fs::read_to_string(&record).unwrap();
                fs::write(&record, text.replace(&sha256(&content[..600_000]), &sha256(&bytes))).unwrap();
                3
            }
            // Nothing vouches for what is there.
            _ => {
                fs::remove_file(&record).unwrap();
                2
            }
        };
        fs::write(&part, &bytes).unwrap();
        let installed = world.from(net, &server).unwrap();
        assert_eq!(fs::read(&installed.files[0].path).unwrap(), *content, "seed {seed}");
        assert_eq!(server.requests().len(), n_requests, "seed {seed}");
    }
}

#[test]
fn bytes_that_came_after_the_last_record_are_fetched_again_and_no_others() {
    let content = Arc::new(random_bytes(1_000_000, 1));
    let (net, served, n) = (one(&content), content.clone(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |request| {
        let reply = file(request, &served, ETAG);
        if n.fetch_add(1, Ordering::Relaxed) == 0 { reply.cut(700_000) } else { reply }
    });
    let world = World { retries: 0, ..world() };
    assert!(world.from(net, &server).is_err());
    // As when the power goes between a write and its record.
    let part = world.home("model.safetensors.part");
    fs::write(&part, [fs::read(&part).unwrap(), vec![0; 50_000]].concat()).unwrap();
    assert!(world.from(net, &server).is_ok());
    assert_eq!(server.requests()[1].headers["range"], "bytes=700000-");
    assert_eq!(server.requests()[1].headers["if-range"], ETAG);
    assert_eq!(server.sent(), 1_000_000);
}

#[test]
fn a_file_that_changed_on_the_server_starts_again() {
    let (old, new) = (random_bytes(500_000, 1), random_bytes(500_000, 2));
    let (net, n) = (one(&new), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |request| match n.fetch_add(1, Ordering::Relaxed) {
        0 => file(request, &old, "\"old\"").cut(300_000),
        _ => file(request, &new, "\"new\""),
    });
    let world = world();
    assert!(world.from(net, &server).is_ok());
    assert_eq!(server.requests().len(), 2);
}
