//! TripoSR on a device: goldens, load, picture to field, its parts, memory. One JSON line each.
//!
//! ```sh
//! triposr [--device cpu|cuda:0|metal] [--parity DIR] [--precisions f32,bf16] [--runs N]
//!         [--cycles N] [--skip goldens,load,field,surface,refined,dense,cycles] [--kernels candle]
//! ```
//!
//! Weights are made by formula from the fixture `triposr_full` in DIR (../shared/parity unless
//! said otherwise), written to a file in the temporary folder, and mapped from there.
//! `tests/peers/triposr.py` runs this beside PyTorch.

// The tests use more of these.
#[allow(dead_code)]
#[path = "../tests/golden/fixture.rs"]
mod fixture;
#[allow(dead_code)]
#[path = "../tests/golden/triposr.rs"]
mod golden;

use std::{
    cell::RefCell,
    env,
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use glam::Vec3;
use image::RgbImage;
use memmap2::{Mmap, UncheckedAdvice};
use meshkiln_models::{
    field::Field,
    mesh::iso_surface::{Inside, IsoOptions, iso_surface},
    nets::{
        Checkpoint, Compute, Precision, Vars, Watch,
        checkpoint::{Stored, Values},
        compute::{Kernels, open_device},
        triposr::{Config, TripoSr},
    },
};
use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use crate::fixture::Fixture;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let device = open_device(&options.device)?;
    let full = Fixture::open(&options.parity.join("triposr_full.json"));
    let (shape, pixels) = full.input_bytes("image");
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).ok_or("picture")?;
    let config = Config::from_tree(&full.config)?;
    let precisions = options.precisions.iter().map(|&precision| Compute::new(device.clone(), precision));
    let mut computes: Vec<Compute> = precisions.collect::<Result<_, _>>()?;
    if options.candle {
        computes.iter_mut().for_each(|compute| compute.kernels = Kernels::Candle);
    }

    if options.does("goldens") {
        for name in ["triposr_tiny", "triposr_full"] {
            let fixture = Fixture::open(&options.parity.join(format!("{name}.json")));
            computes.iter().for_each(|compute| goldens(&fixture, compute));
        }
    }
    let file = WeightsFile::of(&full)?;
    for compute in &computes {
        measure(&options, &config, &file, &picture, compute)?;
    }
    if options.does("cycles") {
        cycles(options.cycles, &config, &file, &picture, computes.last().ok_or("no precision")?)?;
    }
    Ok(())
}

struct Options {
    device: String,
    parity: PathBuf,
    precisions: Vec<Precision>,
    runs: usize,
    cycles: usize,
    skipped: Vec<String>,
    /// Leave our own kernels out.
    candle: bool,
}

impl Options {
    fn read() -> Result<Options, Box<dyn Error>> {
        let mut options = Options {
            device: "cpu".to_owned(),
            parity: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/parity")),
            precisions: Vec::new(),
            runs: 3,
            cycles: 100,
            skipped: Vec::new(),
            candle: false,
        };
        let mut given = env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = given.next() {
            let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--device" => options.device = value,
                "--parity" => options.parity = value.into(),
                "--runs" => options.runs = value.parse()?,
                "--kernels" => options.candle = value == "candle",
                "--cycles" => options.cycles = value.parse()?,
                "--skip" => options.skipped = value.split(',').map(str::to_owned).collect(),
                "--precisions" => {
                    for id in value.split(',') {
                        options.precisions.push(Precision::find(id).ok_or_else(|| format!("no precision {id}"))?);
                    }
                }
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        if options.precisions.is_empty() {
            let on_cpu = options.device == "cpu";
            let other = if on_cpu { Precision::F16 } else { Precision::Bf16x3 };
            options.precisions.extend(Precision::ALL.iter().filter(|p| **p != other));
        }
        Ok(options)
    }

    fn does(&self, part: &str) -> bool {
        !self.skipped.iter().any(|skipped| skipped == part)
    }
}

/// Largest errors against the reference, and their share of the fixture's tolerance for f32.
fn goldens(fixture: &Fixture, compute: &Compute) {
    for comparison in golden::compare(fixture, compute) {
        say(json!({
            "name": "golden", "fixture": fixture.name, "precision": compute.precision.id(),
            "output": comparison.name, "values": comparison.n, "largest_error": comparison.max_error,
            "share_of_f32_tolerance": comparison.share,
        }));
    }
}

/// Load, picture to field, its parts, and the surface, in one precision.
fn measure(
    options: &Options,
    config: &Config,
    file: &WeightsFile,
    picture: &RgbImage,
    compute: &Compute,
) -> Result<(), Box<dyn Error>> {
    let precision = compute.precision.id();
    reset_peak();
    let memory_before = memory(compute);
    let (mut loads, mut load_cpu) = (Vec::new(), Vec::new());
    for _ in 0..if options.does("load") { 3 } else { 0 } {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let net = load(config, file, compute)?;
        compute.device.synchronize()?;
        loads.push(start.elapsed().as_secs_f64());
        load_cpu.push(cpu_seconds().zip(cpu).map(|(after, before)| after - before));
        drop(net);
    }
    let net = load(config, file, compute)?;
    compute.device.synchronize()?;
    say(json!({
        "name": "load", "precision": precision, "kernels": format!("{:?}", compute.kernels), "seconds": loads, "cpu_seconds": load_cpu, "memory": memory(compute),
        "memory_before": memory_before,
    }));
    if !options.does("field") {
        return Ok(());
    }

    let first = timed(&net, config, picture)?;
    let field = first.field;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        let cpu = cpu_seconds();
        let run = timed(&net, config, picture)?;
        assert!(run.field == field, "a second run gave another field");
        let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before);
        runs.push(Seconds { all: run.seconds, tokenizer: run.tokenizer, backbone: run.backbone, cpu });
    }
    let by = |part: fn(&Seconds) -> f64| {
        let mut seconds: Vec<f64> = runs.iter().map(part).collect();
        seconds.sort_by(f64::total_cmp);
        json!({ "p50": seconds[seconds.len() / 2], "min": seconds[0] })
    };
    say(json!({
        "name": "image_to_field", "precision": precision, "first_seconds": first.seconds, "runs": runs.len(),
        "seconds": by(|run| run.all), "tokenizer": by(|run| run.tokenizer), "backbone": by(|run| run.backbone),
        "cpu_seconds": by(|run| run.cpu.unwrap_or(0.0)), "memory": memory(compute),
    }));
    if options.does("surface") {
        surface(options, &field, precision, compute)?;
    }
    Ok(())
}

/// What one run took.
struct Seconds {
    all: f64,
    tokenizer: f64,
    backbone: f64,
    /// Of all threads.
    cpu: Option<f64>,
}

/// The surface on the grid of 256^3 points that the reference evaluates, and all of that grid.
fn surface(given: &Options, field: &Field, precision: &str, compute: &Compute) -> Result<(), Box<dyn Error>> {
    const N: u32 = 256;
    let level = field.scales.threshold.ln();
    let logs = |points: &[Vec3]| Ok(field.log_densities(points));
    let sparse = IsoOptions { edge_steps: 0, ..IsoOptions::new(field.bounds(), N - 1, level, Inside::Above) };
    let refined = IsoOptions { edge_steps: 3, ..sparse.clone() };
    let dense = IsoOptions { dense: true, ..sparse.clone() };
    for (name, options) in [("sparse", sparse), ("refined", refined), ("dense", dense)] {
        if !given.does(name) {
            continue;
        }
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let (mesh, stats) = iso_surface(&logs, &options, &|_, _| Ok(()))?;
        say(json!({
            "name": "surface", "precision": precision, "kind": name, "points_per_side": N,
            "seconds": start.elapsed().as_secs_f64(),
            "cpu_seconds": cpu_seconds().zip(cpu).map(|(after, before)| after - before),
            "points": stats.n_points, "refining_points": stats.n_refining_points, "triangles": mesh.triangles.len(),
            "memory": memory(compute),
        }));
    }
    Ok(())
}

/// Loads, runs once and drops the net again and again; what memory is taken after some of the cycles.
fn cycles(
    n: usize,
    config: &Config,
    file: &WeightsFile,
    picture: &RgbImage,
    compute: &Compute,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut after = Vec::new();
    for i in 0..n {
        let net = load(config, file, compute)?;
        if i == 0 && !compute.device.is_cpu() {
            net.field(picture, &Watch::nobody())?;
        }
        drop(net);
        compute.device.synchronize()?;
        if i == 0 || i == n / 2 || i + 1 == n {
            after.push(json!({ "cycle": i + 1, "memory": memory(compute) }));
        }
    }
    say(json!({
        "name": "cycles", "precision": compute.precision.id(), "n": n, "after": after,
        "seconds": start.elapsed().as_secs_f64(),
    }));
    Ok(())
}

fn load(config: &Config, file: &WeightsFile, compute: &Compute) -> Result<TripoSr, Box<dyn Error>> {
    let mapped = file.open()?;
    let tensors = Mapped { tensors: SafeTensors::deserialize(&mapped)?, map: &mapped };
    Ok(TripoSr::new(config.clone(), &Vars::new(&tensors, compute))?)
}

struct Run {
    field: Field,
    seconds: f64,
    tokenizer: f64,
    backbone: f64,
}

/// Parts end when their last layer reports; on a GPU that is when it was queued, and what the
/// queue still does counts for what follows.
fn timed(net: &TripoSr, config: &Config, picture: &RgbImage) -> Result<Run, Box<dyn Error>> {
    let start = Instant::now();
    let ends = RefCell::new(Vec::new());
    let step = |_: u32, _: u32| {
        ends.borrow_mut().push(start.elapsed().as_secs_f64());
        Ok(())
    };
    let field = net.field(picture, &Watch { step: &step, tap: None })?;
    let seconds = start.elapsed().as_secs_f64();
    let ends = ends.into_inner();
    let tokenizer = ends[config.tokenizer.depth + 1];
    Ok(Run { field, seconds, tokenizer, backbone: seconds - tokenizer })
}

/// The full-size network's weights as a safetensors file, which goes with this.
struct WeightsFile(PathBuf);

impl WeightsFile {
    fn of(fixture: &Fixture) -> Result<WeightsFile, Box<dyn Error>> {
        let path = env::temp_dir().join(format!("meshkiln-triposr-{}.safetensors", std::process::id()));
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (name, spread) in &fixture.tensors {
            let start = end;
            end += 4 * spread.shape.iter().product::<usize>();
            header.insert(name.clone(), json!({ "dtype": "F32", "shape": spread.shape, "data_offsets": [start, end] }));
        }
        let mut header = Json::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(64) + 56, b' ');
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (name, spread) in &fixture.tensors {
            out.write_all(bytemuck::cast_slice(&spread.values(name, fixture.seed)))?;
        }
        out.flush()?;
        Ok(WeightsFile(path))
    }

    fn open(&self) -> Result<Mmap, Box<dyn Error>> {
        let file = File::open(&self.0)?;
        // SAFETY: a file of this process's own that nobody writes to any more.
        Ok(unsafe { Mmap::map(&file) }?)
    }
}

impl Drop for WeightsFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Mapped<'a> {
    tensors: SafeTensors<'a>,
    map: &'a Mmap,
}

impl Checkpoint for Mapped<'_> {
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
        self.tensors.find(key, shape)
    }

    fn release(&self, key: &str) {
        let Some(Stored { values: Values::F32Bytes(bytes), .. }) = self.tensors.find(key, &[]) else { return };
        let start = bytes.as_ptr() as usize - self.map.as_ptr() as usize;
        // SAFETY: pages of a file that was mapped to be read come back from it when they are read again.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes.len()) };
    }
}

/// Bytes: of the process now and at most since `reset_peak` (Linux), and taken on the GPU.
fn memory(compute: &Compute) -> Json {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    json!({ "resident": of("VmRSS:"), "peak": of("VmHWM:"), "gpu_used": gpu_used(compute) })
}

#[cfg(feature = "cuda")]
fn gpu_used(compute: &Compute) -> Option<u64> {
    use candle_core::cuda_backend::cudarc::driver::result::mem_get_info;
    let candle_core::Device::Cuda(_) = &compute.device else { return None };
    compute.device.synchronize().ok()?;
    let (free, total) = mem_get_info().ok()?;
    Some((total - free) as u64)
}

#[cfg(not(feature = "cuda"))]
fn gpu_used(_: &Compute) -> Option<u64> {
    None
}

/// From now on the peak counts anew; Linux, where it is allowed.
fn reset_peak() {
    let _ = fs::write(Path::new("/proc/self/clear_refs"), "5");
}

/// What all threads used so far. On Linux to a hundredth of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2);
    Some(ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn say(line: Json) {
    println!("{line}");
}
