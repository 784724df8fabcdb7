//! The network at toy size: names of tensors, steps, cancelling, errors.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::Mutex,
};

use ::image::{Rgb, RgbImage};
use serde_json::Value as Json;

use super::*;
use crate::{
    error::StageErrorKind,
    nets::{Checkpoint, Compute, Loader, Precision, checkpoint::Stored, compute::Kernels, synthetic::Synthetic},
};

const WEIGHTS: Synthetic = Synthetic { seed: 7, tensors: None };

/// Remembers what it is asked for.
struct Recorder(Mutex<BTreeSet<(String, Vec<usize>)>>);

impl Checkpoint for Recorder {
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
        let is_new = self.0.lock().unwrap().insert((key.to_owned(), shape.to_vec()));
        assert!(is_new, "{key} is read twice");
        // Nothing of `WEIGHTS` is borrowed.
        let Stored { shape, values } = WEIGHTS.find(key, shape)?;
        Some(Stored { shape, values: crate::nets::checkpoint::Values::F32(values.into_f32().into_owned().into()) })
    }
}

fn net(kernels: Kernels) -> TripoSr {
    let compute = Compute { kernels, ..Compute::cpu(Precision::F32).unwrap() };
    TripoSr::new(Config::tiny(), &Vars::new(&WEIGHTS, &compute)).unwrap()
}

fn picture() -> RgbImage {
    RgbImage::from_fn(70, 70, |x, y| Rgb([(x * 3) as u8, (y * 2) as u8, ((x * y) % 251) as u8]))
}

#[test]
fn all_tensors_of_the_checkpoint_but_the_pooler_are_read_once_by_their_published_names() {
    let recorder = Recorder(Mutex::default());
    TripoSr::new(Config::tiny(), &Vars::new(&recorder, &Compute::cpu(Precision::F32).unwrap())).unwrap();
    let fixture = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/triposr_tiny.json"));
    let fixture: Json = serde_json::from_str(fixture).unwrap();
    let published = fixture["tensors"].as_array().unwrap().iter().map(|tensor| {
        let shape = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        (tensor["name"].as_str().unwrap().to_owned(), shape)
    });
    let published: BTreeSet<(String, Vec<usize>)> = published.filter(|(name, _)| !name.contains("pooler")).collect();
    assert_eq!(recorder.0.into_inner().unwrap(), published);
    assert_eq!(Config::from_tree(&fixture["config"]).unwrap(), Config::tiny());
}

#[test]
fn every_block_is_a_step_and_an_error_ends_the_run_there() {
    let net = net(Kernels::Ours);
    let steps = RefCell::new(Vec::new());
    let count = |done, total| {
        steps.borrow_mut().push((done, total));
        Ok(())
    };
    let field = net.field(&picture(), &Watch { step: &count, tap: None }).unwrap();
    let total = net.n_steps();
    assert_eq!(total, 3 + 2 + 2);
    assert_eq!(*steps.borrow(), (0..=total).map(|done| (done, total)).collect::<Vec<_>>());

    for last in 0..=total {
        let seen = Cell::new(0);
        let cancel = |done, _| {
            seen.set(done);
            if done == last { Err(StageError::cancelled()) } else { Ok(()) }
        };
        let error = net.field(&picture(), &Watch { step: &cancel, tap: None }).unwrap_err();
        assert_eq!((error.kind, seen.get()), (StageErrorKind::Cancelled, last));
    }
    // The net is as it was.
    assert_eq!(net.field(&picture(), &Watch::nobody()).unwrap(), field);
}

#[test]
fn our_kernels_and_candles_agree() {
    let [ours, candles] =
        [Kernels::Ours, Kernels::Candle].map(|kernels| net(kernels).field(&picture(), &Watch::nobody()).unwrap());
    let largest = ours.planes().values.iter().fold(0f32, |most, v| most.max(v.abs()));
    for (a, b) in ours.planes().values.iter().zip(&candles.planes().values) {
        // Rounding noise of f32 sums through five blocks.
        assert!((a - b).abs() < 1e-5 * largest, "{a} and {b} of {largest}");
    }
}

#[test]
fn weights_that_lack_a_tensor_or_have_another_shape_are_named() {
    struct Without(&'static str, bool);
    impl Checkpoint for Without {
        fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
            match (key == self.0, self.1) {
                (true, true) => None,
                (true, false) => WEIGHTS.find(key, &[3, 3]),
                _ => WEIGHTS.find(key, shape),
            }
        }
    }
    let compute = Compute::cpu(Precision::F32).unwrap();
    let error =
        |checkpoint: Without| TripoSr::new(Config::tiny(), &Vars::new(&checkpoint, &compute)).err().unwrap().message;
    let key = "backbone.transformer_blocks.1.attn1.to_k.weight";
    assert_eq!(error(Without(key, true)), format!("the weights have no tensor `{key}`"));
    assert_eq!(error(Without(key, false)), format!("tensor `{key}` of the weights is [3, 3], not [64, 64]"));
}

#[test]
fn loaders_are_found_by_the_ids_that_engines_name() {
    let named: BTreeSet<&str> =
        crate::stage::STAGES.iter().flat_map(|stage| stage.engines).filter_map(|engine| engine.net).collect();
    let loaders: BTreeSet<&str> = crate::nets::LOADERS.iter().map(|loader| loader.id).collect();
    assert_eq!(named, loaders);
    assert!(Loader::find("triposr").is_some() && Loader::find("none").is_none());
}
