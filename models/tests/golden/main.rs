//! Networks against their reference implementations: synthetic weights, stored inputs, stored outputs.
//!
//! Runs over every fixture of a kind that is known here, in `tests/golden` and in the folder that
//! `MESHKILN_PARITY` names, or else `../shared/parity` where it is there: any configuration, any
//! seed. Prints the largest error of each output. `cargo test --release golden -- --nocapture`

mod birefnet;
mod depth;
mod fixture;
mod matting;
mod mesh;
mod pil_resize;
mod preprocess;
mod sam;
mod triposr;
mod upscale;

use std::path::{Path, PathBuf};

use meshkiln_models::{
    StageError,
    cx::{CancelToken, Progress},
    nets::{Compute, Loader, NetHandle, Nets, Precision, compute::Kernels},
    recipe::Recipe,
    run::run_plan_with,
    slot::{Asset, Slot, Value},
};
use serde_json::json;

use crate::fixture::{Comparison, Fixture};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Above this many parameters a fixture is left to optimised builds.
const MAX_UNOPTIMISED: u64 = 50_000_000;
/// The same with candle's own operations, which are slow on a CPU; larger nets are of the same graphs.
const MAX_CANDLE: u64 = 12_000_000;

#[test]
fn golden_f32() {
    let compute = Compute::cpu(Precision::F32).unwrap();
    over_fixtures(|fixture| match fixture.kind.as_str() {
        "depth" => Some(depth::compare(fixture, &compute)),
        "depth_processor" => Some(depth::compare_processors(fixture)),
        "triposr" => Some(triposr::compare(fixture, &compute)),
        "birefnet" => Some(birefnet::compare(fixture, &compute)),
        "matting" => Some(matting::compare(fixture, &compute)),
        "triposr_preprocess" => Some(preprocess::compare(fixture)),
        "triposr_mesh" => Some(mesh::compare(fixture)),
        "pil_resize" => Some(pil_resize::compare(fixture)),
        "sam" | "mobilesam" => Some(sam::compare(fixture, &compute)),
        "rrdb" | "srvgg" | "srvgg_real" => Some(upscale::compare(fixture, &compute)),
        _ => None,
    });
}

/// What runs on a GPU, with candle's own operations, in f32 and as far as a CPU can.
#[test]
fn golden_candle() {
    let compute = Compute { kernels: Kernels::Candle, ..Compute::cpu(Precision::F32).unwrap() };
    over_fixtures(|fixture| {
        let most = if cfg!(debug_assertions) { MAX_CANDLE } else { MAX_UNOPTIMISED };
        let is_quick = fixture.n_parameters <= most;
        match fixture.kind.as_str() {
            "depth" if is_quick => Some(depth::compare(fixture, &compute)),
            "birefnet" => Some(birefnet::compare(fixture, &compute)),
            "matting" if is_quick => Some(matting::compare(fixture, &compute)),
            "sam" | "mobilesam" => Some(sam::compare(fixture, &compute)),
            "rrdb" | "srvgg" | "srvgg_real" if is_quick => Some(upscale::compare(fixture, &compute)),
            "triposr" if is_quick => Some(triposr::compare(fixture, &compute)),
            _ => None,
        }
    });
}

/// Two bf16 for each f32, against a small multiple of the tolerance of f32.
#[test]
fn golden_bf16x3() {
    let compute = Compute::cpu(Precision::Bf16x3).unwrap();
    over_fixtures(|fixture| match fixture.kind.as_str() {
        "depth" => Some(depth::compare_rounded(fixture, &compute, depth::SPLIT)),
        "triposr" => Some(triposr::compare_split(fixture, &compute)),
        _ => None,
    });
}

#[test]
fn golden_bf16() {
    let compute = Compute::cpu(Precision::Bf16).unwrap();
    over_fixtures(|fixture| match fixture.kind.as_str() {
        "depth" => Some(depth::compare_rounded(fixture, &compute, depth::HALF)),
        "triposr" => Some(triposr::compare_half(fixture, &compute)),
        "matting" => Some(matting::compare_half(fixture, &compute)),
        _ => None,
    });
}

/// A whole recipe with the network: field, surface, colours. Synthetic weights make foam, which
/// no gate lets pass; that is only told.
#[test]
fn golden_recipe() {
    struct Loaded(NetHandle);
    impl Nets for Loaded {
        fn net(&self, _: &str, _: Option<Precision>) -> Result<NetHandle, StageError> {
            Ok(self.0.clone())
        }
    }
    let fixture = Fixture::open(&Path::new(ROOT).join("tests/golden/triposr_tiny.json"));
    let compute = Compute::cpu(Precision::F32).unwrap();
    let loader = Loader::find("triposr").unwrap();
    let nets = Loaded(loader.load(Some(&fixture.config), &fixture.weights(), &compute).unwrap());

    let mut recipe = Recipe::built_in("draft").unwrap();
    recipe.set("reconstruct", "quality", &json!("light")).unwrap();
    recipe.set("reconstruct", "height", &json!(0.5)).unwrap();
    let plan = recipe.plan(&|net| net == "triposr").unwrap();
    assert_eq!(plan.steps.iter().find(|step| step.stage == "reconstruct").unwrap().engine, "triposr");
    let mut asset = Asset::default();
    let source = std::fs::read(Path::new(ROOT).join("examples/lantern.png")).unwrap();
    asset.set(Slot::Source, Value::Bytes(source.into()));
    asset.set(Slot::Provenance, Value::Json(json!({ "name": "foam", "plan": plan.to_json() }).into()));
    let steps = std::sync::Mutex::new(Vec::new());
    let hear = |stage: &'static str, progress: Progress| {
        if stage == "reconstruct" {
            steps.lock().unwrap().push(progress.done);
        }
    };
    run_plan_with(&nets, &plan, &mut asset, &CancelToken::default(), &hear).unwrap();

    let (field, mesh) = (asset.field().unwrap(), asset.mesh().unwrap());
    let (low, high) = mesh.bounds().unwrap();
    assert!((high.y - low.y - 0.5).abs() < 0.01, "{low} {high}");
    // Vertices of the simplified foam are near the surface: more of them than not within a factor
    // of two of the density there.
    let densities = field.densities(&mesh.positions);
    let near = densities.iter().filter(|d| (12.5..50.0).contains(*d)).count();
    assert!(near * 2 > densities.len(), "{near} of {} vertices are near the surface", densities.len());
    let colors = asset.maps().unwrap().base_color.pixels().map(|p| p.0).collect::<std::collections::HashSet<_>>();
    assert!(colors.len() > 100, "{} colours", colors.len());
    assert!(steps.into_inner().unwrap().len() > 7);
}

#[test]
fn golden_weights_formula() {
    fixture::check_formula(&Path::new(ROOT).join("tests/golden/vectors.json"));
}

fn over_fixtures(compare: impl Fn(&Fixture) -> Option<Vec<Comparison>>) {
    let mut failed = Vec::new();
    let mut n_compared = 0;
    for path in fixture_files() {
        let fixture = Fixture::open(&path);
        if cfg!(debug_assertions) && fixture.n_parameters > MAX_UNOPTIMISED {
            println!("skipped: {} is for optimised builds: cargo test --release golden", fixture.name);
            continue;
        }
        let Some(comparisons) = compare(&fixture) else { continue };
        println!("{} ({})", fixture.name, path.display());
        for comparison in comparisons {
            println!("  {comparison}");
            n_compared += 1;
            if !comparison.is_within() {
                failed.push(format!("{}: {comparison}", fixture.name));
            }
        }
    }
    assert!(n_compared > 0, "there was nothing to compare");
    assert!(failed.is_empty(), "outside the tolerance:\n{}", failed.join("\n"));
}

/// Descriptions of fixtures; of two with one name the first found counts.
fn fixture_files() -> Vec<PathBuf> {
    let shared = Path::new(ROOT).join("../shared/parity");
    let more = match std::env::var_os("MESHKILN_PARITY") {
        Some(folder) => Some(PathBuf::from(folder)),
        None if shared.exists() => Some(shared),
        None => {
            println!("skipped: MESHKILN_PARITY names no folder, and ../shared/parity is absent");
            None
        }
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in [Some(Path::new(ROOT).join("tests/golden")), more].into_iter().flatten() {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.extension().is_some_and(|e| e == "json") && path.with_extension("safetensors").exists())
            .filter(|path| !found.iter().any(|other| other.file_name() == path.file_name()))
            .collect();
        files.sort();
        found.extend(files);
    }
    found
}
