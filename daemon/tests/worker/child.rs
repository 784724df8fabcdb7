//! The worker process by itself.

use std::{
    collections::BTreeMap,
    fs,
    process::Command as Program,
    time::{Duration, Instant},
};

use meshkiln_models::{
    export::{ownership::is_ours, provenance::provenance},
    recipe,
    slot::Slot,
    stage,
};
use meshkilnd::{
    store::blobs::Digest,
    worker::frames::{Command, FailureKind, Report, Run},
};
use serde_json::{Value as Json, json};

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

/// Runs the stages of a built-in recipe one after the other, as the daemon does,
/// and gives the last blob of each slot.
fn fire(worker: &mut Worker, recipe: &str, source: &str) -> BTreeMap<String, String> {
    fire_with(worker, recipe, source, |_| ())
}

fn fire_with(worker: &mut Worker, recipe: &str, source: &str, before: fn(&mut Worker)) -> BTreeMap<String, String> {
    let plan = recipe::Recipe::built_in(recipe).unwrap().plan(&|_| false).unwrap();
    let mut slots = BTreeMap::from([("source".to_owned(), source.to_owned())]);
    let provenance = provenance("meshkilnd 0", "lantern", source, &plan);
    for (run, step) in (1..).zip(&plan.steps) {
        let stage = stage::find(step.stage).unwrap();
        let read = stage.sees().filter_map(|slot| slots.get_key_value(slot.id()));
        before(worker);
        let outputs = worker.done(Run {
            run,
            stage: step.stage.to_owned(),
            engine: step.engine.to_owned(),
            settings: step.settings.clone(),
            inputs: read.map(|(slot, sha256)| (slot.clone(), sha256.clone())).collect(),
            inline: BTreeMap::from([("provenance".to_owned(), provenance.clone())]),
            nets: Vec::new(),
        });
        slots.extend(outputs.into_iter().map(|(slot, output)| (slot, output.sha256)));
    }
    slots
}

#[test]
fn the_fake_fires_every_recipe_and_its_assets_are_ours() {
    let it = place();
    let mut worker = it.worker("fake");
    for (name, _) in recipe::BUILT_IN {
        let source = it.blobs.put(format!("# {name}\n* sleep 1ms").as_bytes()).unwrap().sha256;
        let slots = fire(&mut worker, name, &source);
        let blob = |slot: &str| it.blobs.get(slots[slot].parse().unwrap()).unwrap();
        let plan = recipe::Recipe::built_in(name).unwrap().plan(&|_| false).unwrap();
        if plan.makes_file() {
            assert!(is_ours(&blob("asset")));
        }
        if plan.steps.iter().any(|step| stage::find(step.stage).unwrap().writes.contains(&Slot::Report)) {
            assert!(serde_json::from_slice::<Json>(&blob("report")).unwrap().is_object());
        }
        assert_eq!(fire(&mut it.worker("fake"), name, &source), slots, "the same bytes each time");
    }
}

#[test]
fn real_stages_make_an_asset_and_what_is_kept_in_memory_changes_nothing() {
    let it = place();
    let source = it.blobs.put(&disc()).unwrap().sha256;
    let mut worker = it.worker("cpu");
    let warm = fire(&mut worker, "draft", &source);
    assert!(is_ours(&it.blobs.get(warm["asset"].parse().unwrap()).unwrap()));
    let cold = fire_with(&mut worker, "draft", &source, |worker| worker.send(Command::Trim));
    assert_eq!(cold, warm);

    let broken = it.run(100, "decode", "no picture at all");
    assert_eq!(worker.kind(broken), FailureKind::Unsupported);
}

/// A red disc on white: BMP, 24 bits.
fn disc() -> Vec<u8> {
    const SIDE: u32 = 96;
    let length = 54 + SIDE * SIDE * 3;
    let mut bytes = b"BM".to_vec();
    for word in [length, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for (x, y) in (0..SIDE * SIDE).map(|n| ((n % SIDE) as f32, (n / SIDE) as f32)) {
        let inside = (x - 48.0).hypot(y - 48.0) < 30.0;
        bytes.extend(if inside { [40, 30, 200] } else { [255; 3] });
    }
    bytes
}

#[test]
fn progress_is_thinned_out_but_for_the_first_and_the_last() {
    let it = place();
    let mut worker = it.worker("fake");
    let started = Instant::now();
    worker.send(Command::Run(it.run(1, "simplify", "simplify progress 300 x 2ms")));
    let (before, answer) = worker.until_answer(1);
    assert!(matches!(answer, Report::Done { .. }), "{answer:?}");
    let counted: Vec<u32> = before
        .iter()
        .filter_map(|report| match report {
            Report::Progress { run: 1, done, total: 300 } => Some(*done),
            _ => None,
        })
        .collect();
    assert_eq!((counted.first(), counted.last()), (Some(&1), Some(&300)));
    assert!(counted.is_sorted());
    let most = started.elapsed().as_millis() as usize / 50 + 3;
    assert!(counted.len() <= most, "{} reports, {most} allowed", counted.len());
}

#[test]
fn the_heart_beats_while_a_stage_runs() {
    let it = place();
    let mut worker = it.worker("fake");
    worker.send(Command::Run(it.run(1, "decode", "decode pretend-memory 2GiB\ndecode sleep 2500ms")));
    let (before, answer) = worker.until_answer(1);
    let beats: Vec<u64> = before
        .iter()
        .filter_map(|report| match report {
            Report::Heartbeat { rss_bytes, .. } => Some(*rss_bytes),
            _ => None,
        })
        .collect();
    assert!(beats.len() >= 2, "{before:?}");
    assert!(beats.iter().all(|&rss| rss >= 2 << 30), "{beats:?}");
    let Report::Done { elapsed_ms, peak_rss_bytes, .. } = answer else { panic!("{answer:?}") };
    assert!(elapsed_ms >= 2500 && peak_rss_bytes >= 2 << 30);
    worker.send(Command::Trim);
    let Report::Heartbeat { rss_bytes, .. } = worker.next() else { panic!("nothing else to say") };
    assert!(rss_bytes < 1 << 30);
}

#[test]
fn a_cancel_reaches_a_running_and_a_waiting_run_and_no_other() {
    let it = place();
    let mut worker = it.worker("fake");
    worker.send(Command::Cancel { run: 99 });
    worker.send(Command::Run(it.run(1, "cutout", "cutout progress 1 x 0ms\ncutout hang")));
    worker.send(Command::Run(it.run(2, "cutout", "cutout hang")));
    assert!(matches!(worker.next(), Report::Progress { run: 1, .. }));
    worker.send(Command::Cancel { run: 2 });
    worker.send(Command::Cancel { run: 1 });
    for run in [1, 2] {
        let (_, answer) = worker.until_answer(run);
        let Report::Failed { failure, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(failure.kind, FailureKind::Cancelled);
    }
    worker.send(Command::Cancel { run: 1 });
    worker.done(it.run(3, "cutout", ""));
}

#[test]
fn a_stage_that_fails_or_panics_costs_its_run_alone() {
    let it = place();
    let mut worker = it.worker("fake");
    let panicked = worker.failed(it.run(1, "clean", "clean panic"));
    assert_eq!(panicked.kind, FailureKind::Panicked);
    assert_eq!(panicked.message, "stage `clean` panicked: the fake was told to panic");
    for kind in ["no_object", "truncated", "gate_failed", "out_of_memory", "input_lost"] {
        let failure = worker.failed(it.run(2, "clean", &format!("clean error {kind}")));
        assert_eq!(json!(failure.kind), json!(kind));
    }
    assert_eq!(worker.kind(it.run(3, "clean", "clean dance")), FailureKind::InvalidInput);
    assert_eq!(worker.kind(it.run(4, "clean", "dance sleep 1ms")), FailureKind::InvalidInput);
    worker.done(it.run(5, "clean", "clean chatter"));
}

#[test]
fn a_run_that_does_nothing_costs_little_and_an_idle_worker_is_small() {
    let it = place();
    let mut worker = it.worker("fake");
    let mut times: Vec<Duration> = (0..100)
        .map(|n| {
            let run = it.run(n, "decode", &format!("# picture {n}"));
            let sent = Instant::now();
            worker.done(run);
            sent.elapsed()
        })
        .collect();
    times.sort();
    println!("run to done, one durable blob: median {:?}, 95 of 100 within {:?}", times[50], times[95]);
    assert!(times[50] < Duration::from_millis(100), "{times:?}");
    for device in ["fake", "cpu"] {
        let mut idle = it.worker(device);
        idle.send(Command::Trim);
        let Report::Heartbeat { rss_bytes, .. } = idle.next() else { panic!("nothing else to say") };
        println!("idle {device} worker: {:.1} MB", rss_bytes as f64 / 1e6);
        assert!(rss_bytes < 30_000_000, "{rss_bytes}");
    }
}

#[test]
fn runs_that_make_no_sense_and_inputs_that_are_lost_are_told_apart() {
    let it = place();
    for device in ["fake", "cpu"] {
        let mut worker = it.worker(device);
        let run = || it.run(1, "decode", "# a lantern");
        assert_eq!(worker.kind(Run { stage: "knit".to_owned(), ..run() }), FailureKind::Internal);
        let hostile = BTreeMap::from([("source".to_owned(), "../../../etc/passwd".to_owned())]);
        assert_eq!(worker.kind(Run { inputs: hostile, ..run() }), FailureKind::Internal);
        let missing = BTreeMap::from([("source".to_owned(), "0".repeat(64))]);
        assert_eq!(worker.kind(Run { inputs: missing, ..run() }), FailureKind::InputLost);

        let damaged = it.blobs.put(device.as_bytes()).unwrap().sha256;
        fs::write(it.blobs.dir().join(&damaged[..2]).join(&damaged), "gnawed").unwrap();
        let inputs = BTreeMap::from([("source".to_owned(), damaged)]);
        assert_eq!(worker.kind(Run { inputs, ..run() }), FailureKind::InputLost);
    }
    let mut cpu = it.worker("cpu");
    assert_eq!(cpu.kind(Run { engine: "magic".to_owned(), ..it.run(2, "decode", "") }), FailureKind::Internal);
    let slot = BTreeMap::from([("soup".to_owned(), Digest::of(b"").to_string())]);
    assert_eq!(cpu.kind(Run { inputs: slot, ..it.run(3, "decode", "") }), FailureKind::Internal);
}

#[test]
fn a_store_that_cannot_be_written_is_a_typed_failure_and_heals() {
    let it = place();
    let mut worker = it.worker("fake");
    let (run, tmp) = (it.run(1, "decode", "# a lantern"), it.blobs.dir().join("tmp"));
    fs::remove_dir_all(&tmp).unwrap();
    fs::write(&tmp, "in the way").unwrap();
    let failure = worker.failed(run.clone());
    assert_eq!(failure.kind, FailureKind::Storage, "{failure:?}");
    fs::remove_file(&tmp).unwrap();
    fs::create_dir(&tmp).unwrap();
    worker.done(run);
}

#[test]
fn every_way_to_die_ends_the_process_and_nothing_else() {
    let it = place();
    let deaths = [("segv", 11), ("abort", 6), ("kill", 9)];
    for (death, signal) in deaths {
        let mut worker = it.worker("fake");
        worker.send(Command::Run(it.run(1, "bake", &format!("bake crash {death}"))));
        let status = worker.status();
        #[cfg(unix)]
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal), "{death}");
        assert!(!status.success(), "{death} {signal}");
    }
    let mut worker = it.worker("fake");
    worker.send(Command::Run(it.run(1, "bake", "bake crash exit")));
    assert_eq!(worker.status().code(), Some(3));
}

/// The limit on memory: an allocation fails long before the machine suffers.
#[cfg(target_os = "linux")]
#[test]
fn a_stage_that_takes_all_memory_ends_its_process() {
    let it = place();
    let mut worker = it.worker("fake");
    worker.send(Command::Run(it.run(1, "export", "export oom")));
    let status = worker.status();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6));
    let said = worker.stderr();
    assert!(said.contains("memory allocation of 1073741824 bytes failed"), "{said}");
}

#[test]
fn what_happens_once_has_happened_for_the_next_process_too() {
    let it = place();
    let run = it.run(1, "bake", "bake crash exit once");
    let mut worker = it.worker("fake");
    worker.send(Command::Run(run.clone()));
    worker.status();
    it.worker("fake").done(run);
    let mut another = it.worker("fake");
    another.send(Command::Run(it.run(2, "bake", "# another picture\nbake crash exit once")));
    another.status();
}

#[test]
fn a_start_can_be_slow_or_fail() {
    let it = place();
    let script = it.fake_dir().join("worker");
    fs::write(&script, "sleep 300ms").unwrap();
    let started = Instant::now();
    it.worker("fake");
    assert!(started.elapsed() >= Duration::from_millis(300));
    fs::write(&script, "crash exit once").unwrap();
    assert_eq!(it.starting("fake").status().code(), Some(3));
    it.worker("fake");
    let mut unknown = it.starting("abacus");
    assert_eq!(unknown.status().code(), Some(1));
    assert!(unknown.stderr().contains("no device `abacus`"));
}

#[test]
fn the_fake_lies_as_it_is_told() {
    let it = place();
    let mut worker = it.worker("fake");
    let missing = worker.done(it.run(5, "bake", "bake lie missing"));
    assert!(!it.blobs.contains(missing["maps"].sha256.parse().unwrap()));
    let wrong = worker.done(it.run(6, "bake", "bake lie digest"));
    assert!(wrong["maps"].sha256.parse::<Digest>().is_err());
    worker.send(Command::Run(it.run(7, "bake", "bake lie stale")));
    worker.until_answer(6);
    worker.send(Command::Run(it.run(8, "bake", "bake lie silent")));
    worker.done(it.run(9, "bake", ""));
    worker.send(Command::Run(it.run(10, "bake", "bake garbage\nbake hang")));
    assert!(worker.until_end().is_err());
}

#[test]
fn no_worker_outlives_its_pipe_whatever_it_is_doing() {
    let it = place();
    for busy in ["", "cutout hang ignore-cancel", "cutout mute"] {
        let mut worker = it.worker("fake");
        worker.send(Command::Run(it.run(1, "cutout", busy)));
        drop(worker.stdin.take());
        assert!(worker.status().success(), "{busy}");
    }
    let mut told = it.worker("fake");
    told.send(Command::Run(it.run(1, "cutout", "cutout hang ignore-cancel")));
    told.send(Command::Exit);
    assert!(told.status().success());
}

/// Also when somebody else still holds the other end of its pipe.
#[cfg(target_os = "linux")]
#[test]
fn no_worker_outlives_the_process_that_started_it() {
    let it = place();
    let mut shell = Program::new("sh");
    shell
        .args(["-c", r#"exec 3<&0; "$0" worker --device fake --blobs "$1" --nets "$1" <&3 & wait"#, EXE])
        .arg(it.blobs.dir());
    let mut shell = Worker::start(&mut shell);
    let Report::Ready { pid, .. } = shell.next() else { panic!("ready comes first") };
    assert!(is_alive(pid) && pid != shell.child.id());
    shell.send(Command::Run(it.run(1, "cutout", "cutout hang ignore-cancel")));
    shell.child.kill().unwrap();
    wait_for("the worker ends", || !is_alive(pid));
}

/// The next report that is no heartbeat.
fn answer(worker: &mut Worker) -> Report {
    loop {
        match worker.next() {
            Report::Heartbeat { .. } => {}
            other => return other,
        }
    }
}

fn load(worker: &mut Worker, load: u64, net: &str) -> Report {
    worker.send(Command::Load { load, net: net.to_owned() });
    answer(worker)
}

#[test]
fn nets_are_loaded_measured_used_and_let_go_by_the_load_that_brought_them() {
    const GIB: u64 = 1 << 30;
    let it = place();
    let say = |more: &str| {
        let nets = "device 10GiB\nnet matting 6GiB decode 1GiB\nnet other 4GiB bake\n";
        fs::write(it.fake_dir().join("nets"), format!("{nets}{more}")).unwrap();
    };
    say("");
    let mut worker = it.worker("fake");
    let run = |run| Run { nets: vec!["matting".to_owned()], ..it.run(run, "decode", "# it") };
    assert_eq!(worker.failed(run(1)).message, "net `matting` is not loaded");

    let Report::Loaded { load: 2, bytes, peak_bytes, memory: Some(memory), .. } = load(&mut worker, 2, "matting")
    else {
        panic!("it fits")
    };
    assert_eq!((bytes, peak_bytes), (6 * GIB, 6 * GIB));
    assert_eq!((memory.used_bytes, memory.free_bytes, memory.total_bytes), (6 * GIB, 4 * GIB, 10 * GIB));
    worker.send(Command::Run(run(3)));
    let (_, done) = worker.until_answer(3);
    let Report::Done { working_bytes, memory: Some(memory), .. } = done else { panic!("{done:?}") };
    assert_eq!((working_bytes, memory.used_bytes), (GIB, 6 * GIB));

    let Report::LoadFailed { load: 4, failure, .. } = load(&mut worker, 4, "none") else { panic!("it is not there") };
    assert_eq!(failure.kind, FailureKind::WeightsMissing);
    say("others 1GiB\n");
    let Report::LoadFailed { load: 5, failure, memory: Some(memory) } = load(&mut worker, 5, "other") else {
        panic!("it does not fit")
    };
    assert_eq!((failure.kind, memory.free_bytes), (FailureKind::OutOfMemory, 3 * GIB));

    // An unload of an earlier load changes nothing; the right one gives all back, or what it was told to keep.
    for (load, used) in [(1, 6 * GIB), (2, GIB)] {
        say("keep matting 1GiB\n");
        worker.send(Command::Unload { load, net: "matting".to_owned() });
        let Report::Unloaded { load: unloaded, memory: Some(memory) } = answer(&mut worker) else { panic!("unloaded") };
        assert_eq!((unloaded, memory.used_bytes), (load, used));
    }
    say("load matting error device_fault\n");
    let Report::LoadFailed { failure, .. } = load(&mut worker, 6, "matting") else { panic!("it fails") };
    assert_eq!(failure.kind, FailureKind::DeviceFault);
    assert_eq!(worker.status().code(), Some(70), "a process on a failed device is of no use");
}

#[test]
fn the_cpu_tells_its_memory_and_a_build_without_nets_says_so() {
    let it = place();
    let mut worker = it.worker("cpu");
    let Report::LoadFailed { load: 1, failure, .. } = load(&mut worker, 1, "matting") else { panic!("no such net") };
    assert_eq!(failure.kind, FailureKind::WeightsMissing);
    if cfg!(target_os = "linux") {
        let Report::Heartbeat { memory: Some(memory), rss_bytes } = worker.next() else {
            panic!("nothing else to say")
        };
        assert!(memory.free_bytes <= memory.total_bytes && memory.used_bytes <= memory.total_bytes, "{memory:?}");
        assert!(memory.used_bytes.abs_diff(rss_bytes) < 64 << 20, "{memory:?}");
    }
}
