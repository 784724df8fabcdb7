//! Iso-surfaces: how few points of a network's field are asked for, and how fast
//! triangles are made of a grid. Prints one JSON line a measurement.
//!
//! `tests/peers/surface.py` runs this and other programs on the same grid:
//! with `SURFACE_GRID=FILE` the grid is left there, f32, x fastest.
//! `SURFACE_DENSE=0` leaves out the dense evaluation of the network, minutes long;
//! the argument `grid` all of the network. The argument `huge` runs nothing but an
//! analytic surface at 1024^3, and says how much memory that took.

use std::{env, error::Error, fs, time::Instant};

use glam::Vec3;
use meshkiln_models::mesh::iso_surface::{Grid, Inside, IsoOptions, iso_surface, marching_cubes};
use rayon::prelude::*;
use serde_json::json;

/// TripoSR's cube, grid and density level.
const RADIUS: f32 = 0.87;
const RESOLUTION: u32 = 255;
const LEVEL: f32 = 25.0;

fn main() -> Result<(), Box<dyn Error>> {
    let has = |name: &str| env::args().any(|argument| argument == name);
    if has("huge") {
        return huge();
    }
    if !has("grid") {
        network()?;
    }
    grid()
}

/// A ball with bumps, 1024 cells along a side: the grid would take 4.3 GB.
fn huge() -> Result<(), Box<dyn Error>> {
    let value = |p: &Vec3| p.length() - 0.8 + 0.03 * (p.x * 19.0).sin() * (p.y * 17.0).sin() * (p.z * 23.0).sin();
    let field = |points: &[Vec3]| Ok(points.iter().map(value).collect());
    let options = IsoOptions {
        coarse_step: 16,
        edge_steps: 0,
        ..IsoOptions::new((Vec3::NEG_ONE, Vec3::ONE), 1024, 0.0, Inside::Below)
    };
    let start = Instant::now();
    let (mesh, stats) = iso_surface(&field, &options, &|_, _| Ok(()))?;
    println!(
        "{}",
        json!({
            "name": "huge", "points_per_side": 1025, "seconds": start.elapsed().as_secs_f64(),
            "cpu_seconds": cpu_seconds(), "points": stats.n_points, "dense_points": stats.n_dense_points,
            "share": stats.n_points as f64 / stats.n_dense_points as f64,
            "triangles": mesh.triangles.len(), "peak_mib": peak_mib(),
        })
    );
    Ok(())
}

/// Largest resident memory of this process so far; `None` where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb >> 10)
}

/// Coarse to fine on a decoder with TripoSR's sizes, against every point.
fn network() -> Result<(), Box<dyn Error>> {
    let decoder = Decoder::new();
    let field = |points: &[Vec3]| Ok(decoder.density(points));
    let bounds = (Vec3::splat(-RADIUS), Vec3::splat(RADIUS));
    let options = IsoOptions { edge_steps: 0, ..IsoOptions::new(bounds, RESOLUTION, LEVEL, Inside::Above) };
    let start = Instant::now();
    let (mesh, stats) = iso_surface(&field, &options, &|_, _| Ok(()))?;
    let seconds = start.elapsed().as_secs_f64();
    let mut line = json!({
        "name": "network", "points_per_side": RESOLUTION + 1, "coarse_step": options.coarse_step,
        "seconds": seconds, "points": stats.n_points, "dense_points": stats.n_dense_points,
        "share": stats.n_points as f64 / stats.n_dense_points as f64, "triangles": stats.n_triangles,
    });
    if env::var("SURFACE_DENSE").is_ok_and(|v| v == "0") {
        line["same_triangles"] = json!(null);
    } else {
        let start = Instant::now();
        let (dense, _) = iso_surface(&field, &IsoOptions { dense: true, ..options }, &|_, _| Ok(()))?;
        line["dense_seconds"] = json!(start.elapsed().as_secs_f64());
        line["same_triangles"] = json!(mesh == dense);
    }
    println!("{line}");
    Ok(())
}

/// Marching cubes alone.
fn grid() -> Result<(), Box<dyn Error>> {
    const N: usize = 256;
    let at = |i: usize| (i as f32 / (N - 1) as f32 * 2.0 - 1.0) * 1.1;
    let values: Vec<f32> = (0..N * N * N)
        .into_par_iter()
        .map(|i| {
            let p = Vec3::new(at(i % N), at(i / N % N), at(i / N / N));
            let bumps = (p.x * 9.0).sin() * (p.y * 8.0).cos() + (p.z * 10.0).sin() * (p.x * 7.0).cos();
            p.length() - 0.8 + 0.06 * bumps
        })
        .collect();
    if let Ok(path) = env::var("SURFACE_GRID") {
        fs::write(path, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    let grid = Grid { values: &values, n_points: [N; 3], origin: Vec3::ZERO, cell: 1.0 };
    for n_threads in [1, rayon::current_num_threads()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
        let mut best = f64::INFINITY;
        let mut n_triangles = 0;
        let cpu_before = cpu_seconds();
        const N_RUNS: u32 = 20;
        for _ in 0..N_RUNS {
            let start = Instant::now();
            let mesh = pool.install(|| marching_cubes(&grid, 0.0, Inside::Below))?;
            best = best.min(start.elapsed().as_secs_f64());
            n_triangles = mesh.triangles.len();
        }
        let cpu = cpu_before.zip(cpu_seconds()).map(|(before, after)| (after - before) / N_RUNS as f64);
        println!(
            "{}",
            json!({ "name": "grid", "threads": n_threads, "seconds": best, "cpu_seconds": cpu, "triangles": n_triangles })
        );
    }
    Ok(())
}

/// What all threads used so far, which a busy machine does not change much. On Linux
/// to a hundredth of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // utime and stime, after the program's name in brackets.
    let ticks = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2);
    Some(ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

const CHANNELS: usize = 40;
const PLANE: usize = 64;
const WIDTH: usize = 64;
const N_HIDDEN: usize = 9;
/// Points that go through the layers together.
const BATCH: usize = 32;

/// Features from three planes, then ten layers 64 wide with SiLU, then density =
/// exp(out - 1): TripoSR's decoder with made-up weights. Channel 0 carries a
/// blobby body through the layers' first unit, the others add detail.
struct Decoder {
    /// Plane, row, column, channel.
    planes: Vec<f32>,
    /// Input-major.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Decoder {
    fn new() -> Decoder {
        let mut random = fastrand::Rng::with_seed(5);
        let mut planes = vec![0.0; 3 * PLANE * PLANE * CHANNELS];
        let waves: Vec<[f32; 4]> =
            (0..3 * CHANNELS).map(|_| std::array::from_fn(|_| random.f32() * 8.0 - 4.0)).collect();
        for plane in 0..3 {
            for texel in 0..PLANE * PLANE {
                let at = |i: usize| (i as f32 + 0.5) / PLANE as f32 * 2.0 - 1.0;
                let (u, v) = (at(texel % PLANE), at(texel / PLANE));
                for channel in 0..CHANNELS {
                    let [a, b, c, d] = waves[plane * CHANNELS + channel];
                    let detail = (a * u + b * v + c).sin() * d / 4.0;
                    let body = 2.2 - 5.0 * (u * u + v * v) + 1.3 * (5.0 * u + plane as f32).sin() * (4.0 * v).cos();
                    planes[(plane * PLANE * PLANE + texel) * CHANNELS + channel] =
                        if channel == 0 { body } else { detail };
                }
            }
        }
        let mut layers = Vec::new();
        for layer in 0..=N_HIDDEN {
            let n_in = if layer == 0 { 3 * CHANNELS } else { WIDTH };
            let n_out = if layer == N_HIDDEN { 4 } else { WIDTH };
            let scale = (2.0 / n_in as f32).sqrt();
            let mut weights: Vec<f32> = (0..n_in * n_out).map(|_| (random.f32() * 2.0 - 1.0) * scale).collect();
            let mut biases = vec![0.0; n_out];
            // The first unit: the sum of the planes' first channels, shifted to where SiLU is straight.
            (0..n_in).for_each(|i| weights[i * n_out] *= 0.02);
            if layer == 0 {
                (0..3).for_each(|plane| weights[plane * CHANNELS * n_out] = 1.0);
                biases[0] = 40.0;
            } else {
                weights[0] = 1.0;
                (1..n_out).for_each(|o| weights[o] = 0.0);
            }
            if layer == N_HIDDEN {
                biases[0] = LEVEL.ln() + 1.0 - 40.0;
            }
            layers.push((weights, biases));
        }
        Decoder { planes, layers }
    }

    fn density(&self, points: &[Vec3]) -> Vec<f32> {
        points.chunks(BATCH).flat_map(|batch| self.batch(batch)).collect()
    }

    fn batch(&self, points: &[Vec3]) -> Vec<f32> {
        let mut x: Vec<f32> = points.iter().flat_map(|p| self.features(*p / RADIUS)).collect();
        for (layer, (weights, biases)) in self.layers.iter().enumerate() {
            let n_out = biases.len();
            let n_in = weights.len() / n_out;
            let mut y = Vec::with_capacity(points.len() * n_out);
            for input in x.chunks_exact(n_in) {
                let start = y.len();
                y.extend_from_slice(biases);
                let output = &mut y[start..];
                for (value, row) in input.iter().zip(weights.chunks_exact(n_out)) {
                    output.iter_mut().zip(row).for_each(|(o, w)| *o += value * w);
                }
                if layer < N_HIDDEN {
                    output.iter_mut().for_each(|o| *o /= 1.0 + (-*o).exp());
                }
            }
            x = y;
        }
        x.chunks_exact(4).map(|out| (out[0] - 1.0).exp()).collect()
    }

    /// Bilinear, pixel centres at halves, zero beyond the edge.
    fn features(&self, p: Vec3) -> [f32; 3 * CHANNELS] {
        let mut features = [0.0; 3 * CHANNELS];
        for (plane, (u, v)) in [(p.x, p.y), (p.x, p.z), (p.y, p.z)].into_iter().enumerate() {
            let at = |t: f32| (t + 1.0) / 2.0 * PLANE as f32 - 0.5;
            let (x, y) = (at(u), at(v));
            for (column, row) in
                [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| (x.floor() + i as f32, y.floor() + j as f32))
            {
                let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
                let inside = |t: f32| (0.0..PLANE as f32).contains(&t);
                if inside(column) && inside(row) {
                    let texel = (plane * PLANE + row as usize) * PLANE + column as usize;
                    let from = &self.planes[texel * CHANNELS..][..CHANNELS];
                    let to = &mut features[plane * CHANNELS..][..CHANNELS];
                    to.iter_mut().zip(from).for_each(|(t, f)| *t += weight * f);
                }
            }
        }
        features
    }
}
