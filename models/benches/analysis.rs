//! Times of analysis, comparison and turntable, as JSON lines.
//!
//! `cargo bench -p meshkiln-models --bench analysis [-- FILE.safetensors ...]`:
//! each file holds a mesh as `Mesh::to_bytes` writes it. Without files, a ring of
//! 500,000 triangles. Two files after `--compare` are compared. Each time is the
//! best of three. `tests/peers/analysis.py` runs this beside other programs.

use std::time::Instant;

use meshkiln_models::mesh::{
    Mesh,
    analysis::{AnalysisLimits, analyze},
    compare::compare,
    render::{Look, render},
    shapes, turntable,
};
use serde_json::{Value as Json, json};

/// Points on each surface, as the peers are given.
const N_SAMPLES: usize = 30_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.split_first() {
        Some((first, [a, b])) if first == "--compare" => {
            let (mesh_a, mesh_b) = (read(a), read(b));
            let (ms, found) = best_of_three(|| compare(&mesh_a, &mesh_b, N_SAMPLES, 1));
            say(json!({ "a": a, "b": b, "ms": ms, "comparison": found.map(|found| found.to_json()) }));
        }
        Some(_) => args.iter().for_each(|file| analysed(file, &read(file))),
        None => {
            let ring = shapes::torus(354, 0.3);
            analysed("ring", &ring);
            let coarse = shapes::torus(50, 0.3);
            let (ms, _) = best_of_three(|| compare(&ring, &coarse, N_SAMPLES, 1));
            say(json!({ "file": "ring against 5,000 triangles", "compare_ms": ms }));
            let (still, _) = best_of_three(|| render(&coarse, &shapes::grey(), &Look::default()));
            let turning = || turntable::frames(&coarse, &shapes::grey(), &Look::default(), 24).count();
            let (turn, _) = best_of_three(turning);
            say(json!({ "file": "5,000 triangles", "still_ms": still, "turntable_24_ms": turn }));
        }
    }
}

fn analysed(file: &str, mesh: &Mesh) {
    let limits = AnalysisLimits::default();
    let (ms, analysis) = best_of_three(|| analyze(mesh, (1024, 1024), &limits));
    let without = AnalysisLimits { max_intersection_tests: 0, ..limits };
    let (quick_ms, _) = best_of_three(|| analyze(mesh, (1024, 1024), &without));
    say(json!({
        "file": file, "triangles": mesh.triangles.len(), "ms": ms, "ms_without_intersections": quick_ms,
        "analysis": analysis.to_json(),
    }));
}

fn read(file: &str) -> Mesh {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{file}: {e}"));
    Mesh::from_bytes(&bytes).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Milliseconds, and the last result.
fn best_of_three<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut run = || {
        let start = Instant::now();
        let result = work();
        (start.elapsed().as_secs_f64() * 1e3, result)
    };
    let (a, b, (c, result)) = (run().0, run().0, run());
    ((a.min(b).min(c) * 10.0).round() / 10.0, result)
}

fn say(line: Json) {
    println!("{line}");
}
