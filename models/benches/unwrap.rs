//! Lays out meshes as an atlas and prints one line of JSON for each: seconds and
//! the figures of the layout. The layouts are left as OBJ files for others to
//! measure.
//!
//! In: `spot`, `blub` and others from `../shared/data/meshes` where they are, and
//! whatever OBJ files lie in `target/peers/unwrap/in`. Out: standard output, and
//! `target/peers/unwrap/out`.
//!
//! `cargo bench -p meshkiln-models --bench unwrap [-- NAME...]`; `tests/peers/unwrap.py` runs it
//! beside xatlas.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use glam::Vec3;
use meshkiln_models::mesh::{
    Mesh,
    normals::smooth_normals,
    topology::weld_map,
    unwrap::atlas::{AtlasOptions, AtlasStats, atlas},
};
use serde_json::json;

const SHARED: &[&str] = &["spot", "blub", "teddy", "animal", "potion", "quadknot", "hand_prismatic"];

const OPTIONS: AtlasOptions = AtlasOptions { size: 1024, padding: 8 };

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("target/peers/unwrap");
    let data = root.join("../shared/data/meshes");
    let mut files: Vec<PathBuf> = SHARED.iter().map(|name| data.join(name).with_extension("obj")).collect();
    if let Ok(entries) = fs::read_dir(folder.join("in")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted =
        |file: &PathBuf| wanted.is_empty() || wanted.iter().any(|name| file.ends_with(format!("{name}.obj")));
    files.retain(is_wanted);
    let out = folder.join("out");
    fs::create_dir_all(&out).expect("folder for layouts");
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "obj")) {
        let Ok(text) = fs::read_to_string(file) else {
            eprintln!("skipped: {} is not there", file.display());
            continue;
        };
        let name = file.file_stem().expect("name").to_string_lossy();
        let mesh = read(&text);
        let start = Instant::now();
        match atlas(&mesh, &OPTIONS) {
            Ok((laid_out, stats)) => {
                let seconds = start.elapsed().as_secs_f64();
                fs::write(out.join(format!("{name}.obj")), written(&laid_out)).expect("layout");
                println!("{}", line(&name, mesh.triangles.len(), seconds, &stats));
            }
            Err(error) => println!("{}", json!({ "mesh": name, "error": error.to_string() })),
        }
    }
}

fn line(name: &str, n_triangles: usize, seconds: f64, stats: &AtlasStats) -> serde_json::Value {
    let layout = stats.layout;
    json!({
        "mesh": name,
        "triangles": n_triangles,
        "seconds": seconds,
        "charts": layout.n_charts,
        "tiny_charts": layout.n_tiny_charts,
        "stretch_l2": layout.stretch_l2,
        "stretch_most": layout.stretch_most,
        "density_deviation": layout.density_deviation,
        "seam_metres": layout.seam_length,
        "flipped": layout.n_flipped,
        "coverage": stats.coverage,
        "overlap": stats.overlap,
        "padding": stats.padding,
    })
}

/// Positions and triangles of an OBJ file, welded; polygons as fans.
fn read(text: &str) -> Mesh {
    let mut mesh = Mesh::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("v") => {
                let xyz: Vec<f32> = words.filter_map(|word| word.parse().ok()).collect();
                mesh.positions.push(Vec3::from_slice(&xyz[..3]));
            }
            Some("f") => {
                let n = mesh.positions.len() as i64;
                let index = |word: &str| word.split('/').next().and_then(|i| i.parse::<i64>().ok());
                let polygon: Vec<u32> =
                    words.filter_map(index).map(|i| if i < 0 { n + i } else { i - 1 } as u32).collect();
                mesh.triangles.extend((2..polygon.len()).map(|k| [polygon[0], polygon[k - 1], polygon[k]]));
            }
            _ => {}
        }
    }
    let weld = weld_map(&mesh.positions);
    mesh.triangles.iter_mut().flatten().for_each(|v| *v = weld[*v as usize]);
    mesh.triangles.retain(|[a, b, c]| a != b && b != c && c != a);
    mesh.normals = smooth_normals(&mesh.positions, &mesh.triangles);
    mesh
}

/// As OBJ, where v runs up.
fn written(mesh: &Mesh) -> String {
    let mut text = String::new();
    for (p, uv) in mesh.positions.iter().zip(&mesh.uvs) {
        let _ = writeln!(text, "v {} {} {}\nvt {} {}", p.x, p.y, p.z, uv.x, 1.0 - f64::from(uv.y));
    }
    for [a, b, c] in mesh.triangles.iter().map(|t| t.map(|v| v + 1)) {
        let _ = writeln!(text, "f {a}/{a} {b}/{b} {c}/{c}");
    }
    text
}
