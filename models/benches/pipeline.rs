//! From a reconstruction of half a million triangles to a finished asset: the
//! time of each stage and the peak of memory, as one JSON object.
//!
//!   cargo bench -p meshkiln-models --bench pipeline [-- FOLDER]
//!
//! With FOLDER the source is left there as `source.ply` and the asset as
//! `asset.glb`, for `tests/peers/pipeline.py` to do the same with other tools.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use glam::Vec3;
use meshkiln_models::{
    cx::CancelToken,
    export::provenance::provenance,
    recipe::Recipe,
    run::run_plan,
    slot::{Asset, Slot, Value, sha256_hex},
};
use serde_json::{Value as Json, json};

/// Squares along an edge of the cube that is blown up to a blob: 12 n² triangles.
const N: usize = 204;
const BUDGET: i64 = 10_000;
const TEXTURE: i64 = 1024;

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let source = ply(N);
    if let Some(folder) = &folder {
        fs::create_dir_all(folder).expect("folder");
        fs::write(folder.join("source.ply"), &source).expect("source");
    }

    let mut recipe = Recipe::built_in("optimize").expect("recipe");
    recipe.set("simplify", "triangles", &json!(BUDGET)).expect("setting");
    recipe.set("bake", "size", &json!(TEXTURE)).expect("setting");
    recipe.set("unwrap", "size", &json!(TEXTURE)).expect("setting");
    let plan = recipe.plan(&|_| false).expect("plan");
    let record = provenance("bench", "blob", &sha256_hex(&source), &plan);
    let mut asset = Asset::default();
    asset.set(Slot::Source, Value::Bytes(source.into()));
    asset.set(Slot::Provenance, Value::Json(record.into()));

    let begun = Mutex::new(BTreeMap::<&str, (Instant, Duration)>::new());
    let start = Instant::now();
    let result = run_plan(&plan, &mut asset, &CancelToken::default(), &|stage, _| {
        let mut begun = begun.lock().unwrap_or_else(|e| e.into_inner());
        let entry = begun.entry(stage).or_insert((Instant::now(), Duration::ZERO));
        entry.1 = entry.0.elapsed();
    });
    let total = start.elapsed();
    let stages: BTreeMap<&str, f64> = begun
        .into_inner()
        .unwrap_or_default()
        .into_iter()
        .map(|(stage, (_, took))| (stage, took.as_secs_f64()))
        .collect();
    let report = asset.json(Slot::Report).map_or(Json::Null, |report| Json::clone(&report));
    println!(
        "{}",
        json!({
            "error": result.err().map(|e| e.to_string()),
            "seconds": total.as_secs_f64(),
            "stage_seconds": stages,
            "peak_mib": peak_mib(),
            "report": report,
        })
    );
    if let (Some(folder), Ok(bytes)) = (&folder, asset.bytes(Slot::Asset)) {
        fs::write(folder.join("asset.glb"), bytes).expect("asset");
    }
}

/// A blob with bumps, as a network reconstructs things, coloured on its vertices;
/// binary PLY. Every vertex is there once: the surface is closed.
fn ply(n: usize) -> Vec<u8> {
    let mut index = BTreeMap::new();
    let (mut vertices, mut faces) = (Vec::new(), Vec::new());
    for (axis, sign) in (0..3).flat_map(|axis| [(axis, 1i64), (axis, -1)]) {
        let mut at = |i: usize, j: usize| {
            let (m, i, j) = (n as i64, 2 * i as i64 - n as i64, 2 * j as i64 - n as i64);
            let mut key = [0i64; 3];
            (key[axis], key[(axis + 1) % 3], key[(axis + 2) % 3]) = (sign * m, i, j);
            *index.entry(key).or_insert_with(|| {
                vertices.push(bump(Vec3::from_array(key.map(|k| k as f32 / n as f32))));
                vertices.len() as u32 - 1
            })
        };
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let [a, b, c, d] = [at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)];
            let two = [[a, b, c], [a, c, d]];
            faces.extend(two.map(|[a, b, c]| if sign > 0 { [a, b, c] } else { [a, c, b] }));
        }
    }
    let mut out = format!(
        "ply\nformat binary_little_endian 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n\
         property uchar red\nproperty uchar green\nproperty uchar blue\nelement face {}\n\
         property list uchar int vertex_indices\nend_header\n",
        vertices.len(),
        faces.len()
    )
    .into_bytes();
    for p in vertices {
        out.extend(p.to_array().into_iter().flat_map(f32::to_le_bytes));
        let stripe = if (p * 6.0).floor().element_sum() as i64 % 2 == 0 { 60.0 } else { 0.0 };
        out.extend((p * 60.0 + 130.0 + stripe).clamp(Vec3::ZERO, Vec3::splat(255.0)).to_array().map(|c| c as u8));
    }
    for face in faces {
        out.push(3);
        out.extend(face.into_iter().flat_map(u32::to_le_bytes));
    }
    out
}

fn bump(on_cube: Vec3) -> Vec3 {
    let p = on_cube.normalize();
    let coarse = (p.x * 4.0 + 1.0).sin() * (p.y * 5.0).sin() * (p.z * 3.0 + 2.0).cos();
    let fine = (p.x * 40.0).sin() * (p.y * 37.0 + 1.0).sin() * (p.z * 43.0).sin();
    p * Vec3::new(0.5, 0.8, 0.6) * (1.0 + 0.2 * coarse + 0.008 * fine)
}

/// Largest resident memory of this process so far; `None` where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb >> 10)
}
