//! Networks against their reference implementations: synthetic weights, stored inputs, stored outputs.
//!
//! Runs over every fixture of a kind that is known here, in `tests/golden` and in the folder that
//! `MESHKILN_PARITY` names, or else `../shared/parity` where it is there: any configuration, any
//! seed. Prints the largest error of each output. `cargo test --release golden -- --nocapture`

mod fixture;
mod mesh;
mod preprocess;
mod triposr;

use std::path::{Path, PathBuf};

use meshkiln_models::nets::{Compute, Precision, compute::Kernels};

use crate::fixture::{Comparison, Fixture};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Above this many parameters a fixture is left to optimised builds.
const MAX_UNOPTIMISED: u64 = 50_000_000;

#[test]
fn golden_f32() {
    let compute = Compute::cpu(Precision::F32).unwrap();
    over_fixtures(|fixture| match fixture.kind.as_str() {
        "triposr" => Some(triposr::compare(fixture, &compute)),
        "triposr_preprocess" => Some(preprocess::compare(fixture)),
        "triposr_mesh" => Some(mesh::compare(fixture)),
        _ => None,
    });
}

/// What runs on a GPU, with candle's own operations, in f32 and as far as a CPU can.
#[test]
fn golden_candle() {
    let compute = Compute { kernels: Kernels::Candle, ..Compute::cpu(Precision::F32).unwrap() };
    over_fixtures(|fixture| {
        let is_quick = fixture.n_parameters <= MAX_UNOPTIMISED;
        (fixture.kind == "triposr" && is_quick).then(|| triposr::compare(fixture, &compute))
    });
}

#[test]
fn golden_bf16() {
    let compute = Compute::cpu(Precision::Bf16).unwrap();
    over_fixtures(|fixture| (fixture.kind == "triposr").then(|| triposr::compare_half(fixture, &compute)));
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
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "json") && path.with_extension("safetensors").exists())
            .filter(|path| !found.iter().any(|other| other.file_name() == path.file_name()))
            .collect();
        files.sort();
        found.extend(files);
    }
    found
}
