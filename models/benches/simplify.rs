//! Cleaning and simplification: seconds and triangles. Prints one JSON line a measurement.
//!
//! Alone it takes a bumpy ring of 500,000 triangles to 10,000. With
//! `SIMPLIFY_MESHES=FOLDER` it takes every `NAME.mesh` there to 2 % of its
//! triangles and leaves `NAME.out`, so that `tests/peers/simplify.py` can compare.
//! Both files: the numbers of vertices and of triangles, u32; positions, f32;
//! indices, u32; little-endian.

use std::{env, error::Error, fs, path::Path, time::Instant};

use glam::Vec3;
use meshkiln_models::mesh::{
    Mesh,
    clean::{CleanOptions, clean_with},
    shapes,
    simplify::{SimplifyOptions, SimplifyTarget, simplify_with},
};
use serde_json::json;

const REPETITIONS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = env::var_os("SIMPLIFY_MESHES") else {
        measure("ring", &ring(), 10_000)?;
        return Ok(());
    };
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "mesh")) {
        let mesh = read(&fs::read(file)?)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let reduced = measure(&name, &mesh, mesh.triangles.len() / 50)?;
        write(&file.with_extension("out"), &reduced)?;
    }
    Ok(())
}

/// The best of a few runs; cleaning and simplification apart.
fn measure(name: &str, mesh: &Mesh, budget: usize) -> Result<Mesh, Box<dyn Error>> {
    let options = SimplifyOptions { target: SimplifyTarget::Triangles(budget), preserve_topology: false };
    let (mut clean_seconds, mut seconds) = (f64::INFINITY, f64::INFINITY);
    let mut last = None;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let (clean, _) = clean_with(mesh, &CleanOptions::default())?;
        clean_seconds = clean_seconds.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        last = Some(simplify_with(&clean, &options)?);
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    let (reduced, report) = last.ok_or("nothing was run")?;
    let line = json!({
        "name": name, "triangles_before": mesh.triangles.len(), "budget": budget, "triangles": report.triangles,
        "clean_seconds": clean_seconds, "seconds": seconds, "error_m": report.error_m, "reason": report.reason,
    });
    println!("{line}");
    Ok(reduced)
}

/// 500,000 triangles of a ring with bumps.
fn ring() -> Mesh {
    let mut mesh = shapes::torus(354, 0.4);
    for (p, n) in mesh.positions.iter_mut().zip(&mesh.normals) {
        *p += *n * 0.01 * (p.x * 31.0).sin() * (p.y * 29.0).sin() * (p.z * 37.0).sin();
    }
    mesh.uvs.clear();
    mesh
}

fn read(bytes: &[u8]) -> Result<Mesh, Box<dyn Error>> {
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let [n_vertices, n_triangles, rest @ ..] = &words[..] else { return Err("no header".into()) };
    let (positions, indices) = rest.split_at(*n_vertices as usize * 3);
    let position = |p: &[u32; 3]| Vec3::from_array(p.map(f32::from_bits));
    Ok(Mesh {
        positions: positions.as_chunks::<3>().0.iter().map(position).collect(),
        triangles: indices[..*n_triangles as usize * 3].as_chunks::<3>().0.to_vec(),
        ..Mesh::default()
    })
}

fn write(path: &Path, mesh: &Mesh) -> Result<(), std::io::Error> {
    let header = [mesh.positions.len() as u32, mesh.triangles.len() as u32];
    let positions = mesh.positions.iter().flat_map(|p| p.to_array().map(f32::to_bits));
    let words = header.into_iter().chain(positions).chain(mesh.triangles.iter().flatten().copied());
    fs::write(path, words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
}
