//! The worker process by itself.

use std::{
    collections::BTreeMap,
    fs,
    process::Command as Program,
    time::{Duration, Instant},
};

use meshkiln_models::{recipe, stage};
use meshkilnd::{
    store::blobs::Digest,
    worker::frames::{Command, FailureKind, Report, Run},
};
use serde_json::json;

use crate::harness::{EXE, Worker, is_alive, place, wait_for};

#[test]
fn a_run_is_answered_with_blobs_that_are_there_and_the_same_each_time() {
    let it = place();
    let mut worker = it.worker("fake");
    let run = it.run(1, "decode", "# a lantern");
    worker.send(Command::Run(run.clone()));
    let (_, answer) = worker.until_answer(1);
    let Report::Done { run: 1, outputs, peak_rss_bytes, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(outputs.keys().collect::<Vec<_>>(), ["image"]);
    let image = it.blobs.get(outputs["image"].sha256.parse().unwrap()).unwrap();
    assert_eq!(image.len() as u64, outputs["image"].bytes);
    if cfg!(target_os = "linux") {
        assert!((1 << 20..1 << 30).contains(&peak_rss_bytes), "{peak_rss_bytes}");
    }
    assert_eq!(it.worker("fake").done(Run { run: 2, ..run.clone() }), outputs);
    let other = it.run(3, "decode", "# another lantern");
    assert_ne!(worker.done(other)["image"].sha256, outputs["image"].sha256);
    let mut changed = Run { run: 4, ..run };
    changed.settings.insert("max-side".to_owned(), json!(64));
    assert_ne!(worker.done(changed)["image"].sha256, outputs["image"].sha256);
}

/// Runs the stages of a built-in recipe one after the other, as the daemon does.
fn fire(worker: &mut Worker, recipe: &str, source: &str) -> BTreeMap<String, String> {
    let (_, text) = recipe::BUILT_IN.iter().find(|(name, _)| *name == recipe).unwrap();
    let plan = recipe::Recipe::parse(recipe, text, &|_| None).unwrap().plan(&|_| true).unwrap();
    let mut slots = BTreeMap::from([("source".to_owned(), source.to_owned())]);
    let provenance = meshkiln_models::export::provenance::provenance("meshkilnd 0", "lantern", source, &plan);
    for (run, step) in (1..).zip(&plan.steps) {
        let stage = stage::find(step.stage).unwrap();
        let read = stage.reads.iter().filter_map(|slot| slots.get_key_value(slot.id()));
        let outputs = worker.done(Run {
            run,
            stage: step.stage.to_owned(),
            engine: step.engine.to_owned(),
            settings: step.settings.clone(),
            inputs: read.map(|(slot, sha256)| (slot.clone(), sha256.clone())).collect(),
            inline: BTreeMap::from([("provenance".to_owned(), provenance.clone())]),
        });
        slots.extend(outputs.into_iter().map(|(slot, output)| (slot, output.sha256)));
    }
    slots
}

#[test]
fn directives_travel_through_every_stage_of_every_recipe() {
    let it = place();
    let mut worker = it.worker("fake");
    for name in ["prop", "draft", "cutout"] {
        let source = it.blobs.put(b"preview panic\nexport-image sleep 1ms").unwrap().sha256;
        if name == "cutout" {
            fire(&mut worker, name, &source);
            continue;
        }
        let last = it.run(0, "preview", "").run;
        assert_eq!(last, 0);
        let plain = it.blobs.put(format!("# {name}").as_bytes()).unwrap().sha256;
        let slots = fire(&mut worker, name, &plain);
        let report = it.blobs.get(slots["report"].parse().unwrap()).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&report).unwrap().is_object());
        let asset = it.blobs.get(slots["asset"].parse().unwrap()).unwrap();
        assert!(meshkiln_models::export::ownership::is_ours(&asset));
    }
}
