//! Networks that see pictures, and the layers they are made of, on the CPU. One JSON line each.
//!
//! ```sh
//! pictures [layers] [srvgg] [rrdb] [u2net] [isnet] [memory] [memory-rrdb] [--runs N] [--precisions f32,bf16]
//! ```
//!
//! Weights are made by formula. Seconds are the best of N runs on all threads. `memory` and
//! `memory-rrdb` make a picture of 1024x1024 four times as large and tell the peak of the whole
//! process: run them alone.
//! `tests/peers/pictures.py` runs this beside PyTorch.

use std::{env, error::Error, time::Instant};

use candle_core::{Device, Tensor};
use image::{Rgb, RgbImage};
use meshkiln_models::nets::{
    Compute, Loader, Precision, Vars, Watch,
    conv::{After, Conv2d, ConvShape, ConvTranspose2d, TransposedShape},
    isnet::IsNet,
    saliency::Saliency,
    synthetic::Synthetic,
    u2net::U2Net,
    upscale::Upscaler,
};
use serde_json::{Value as Json, json};

const FORMULA: Synthetic = Synthetic { seed: 1, tensors: None };

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let value = |name: &str| given.iter().position(|word| word == name).and_then(|i| given.get(i + 1));
    let n_runs = value("--runs").map_or(Ok(5), |n| n.parse())?;
    let precisions = value("--precisions").map_or("f32,bf16", |list| list);
    let precisions: Vec<Precision> = precisions.split(',').filter_map(Precision::find).collect();
    let parts = ["layers", "srvgg", "rrdb", "u2net", "isnet", "memory", "memory-rrdb"];
    let named: Vec<&str> = parts.into_iter().filter(|part| given.iter().any(|word| word == part)).collect();
    let named = if named.is_empty() { vec!["layers", "srvgg"] } else { named };
    for precision in precisions {
        let compute = Compute::cpu(precision)?;
        for part in &named {
            match *part {
                "layers" => layers(&compute, n_runs)?,
                "srvgg" => enlarge("realesr-general-x4v3", 512, &compute, n_runs)?,
                "rrdb" => enlarge("realesrgan-x4plus", 512, &compute, n_runs)?,
                "u2net" => cut_out::<U2Net>("u2net", &compute, n_runs)?,
                "isnet" => cut_out::<IsNet>("isnet", &compute, n_runs)?,
                _ => {
                    let net = if *part == "memory" { "realesr-general-x4v3" } else { "realesrgan-x4plus" };
                    enlarge(net, 1024, &compute, 1)?;
                    println!("{}", json!({ "part": part, "precision": precision.id(), "peak_mb": peak_mb() }));
                }
            }
        }
    }
    Ok(())
}

/// Convolutions of RRDBNet, SRVGG, U2Net, ISNet and SAM: name, shape, side of the picture.
fn shapes() -> Vec<(&'static str, ConvShape, usize)> {
    vec![
        ("rrdb grow 64", ConvShape::new(64, 32, 3), 128),
        ("rrdb grow 160", ConvShape::new(160, 32, 3), 128),
        ("rrdb end 192", ConvShape::new(192, 64, 3), 128),
        ("srvgg body 64", ConvShape::new(64, 64, 3), 256),
        ("srvgg last 48", ConvShape::new(64, 48, 3), 256),
        ("first 3", ConvShape::new(3, 64, 3), 256),
        ("u2net 512 at 20", ConvShape::new(512, 512, 3), 20),
        ("u2net 512 at 10", ConvShape::new(512, 256, 3), 10),
        ("u2net dilated 4", ConvShape::new(256, 256, 3).dilated(4), 20),
        ("u2net side", ConvShape::new(64, 1, 3), 320),
        ("u2netp 16", ConvShape::new(64, 16, 3), 160),
        ("1x1 64", ConvShape::new(64, 64, 1), 256),
        ("1x1 64 to 256", ConvShape::new(64, 256, 1), 128),
        ("1x1 256 to 64", ConvShape::new(256, 64, 1), 128),
        ("isnet stride 2", ConvShape::new(64, 128, 3).stride(2), 256),
        ("sam depthwise", ConvShape::new(128, 128, 3).depthwise(), 128),
    ]
}

fn layers(compute: &Compute, n_runs: usize) -> Result<(), Box<dyn Error>> {
    let vars = Vars::new(&FORMULA, compute);
    for (name, shape, side) in shapes() {
        let layer = Conv2d::new(shape, After::LeakyRelu(0.2), &vars.pp(name))?;
        let x = numbers(side, shape.n_in)?;
        let seconds = best(n_runs, || Ok(layer.forward(&x)?))?;
        let out = shape.size(side);
        let products = out * out * shape.n_out * shape.n_in / shape.groups * shape.kernel * shape.kernel;
        print(name, compute, seconds, json!({ "gflops": 2.0 * products as f64 / seconds * 1e-9 }));
    }
    for (name, n_in, n_out, kernel, stride, padding, side) in
        [("transposed 2", 256, 64, 2, 2, 0, 64), ("transposed 4", 128, 64, 4, 2, 1, 64)]
    {
        let shape = TransposedShape { n_in, n_out, kernel, stride, padding };
        let layer = ConvTranspose2d::new(shape, After::None, &vars.pp(name))?;
        let x = numbers(side, n_in)?;
        let seconds = best(n_runs, || Ok(layer.forward(&x)?))?;
        let products = side * side * n_in * n_out * kernel * kernel;
        print(name, compute, seconds, json!({ "gflops": 2.0 * products as f64 / seconds * 1e-9 }));
    }
    Ok(())
}

fn enlarge(id: &str, side: u32, compute: &Compute, n_runs: usize) -> Result<(), Box<dyn Error>> {
    let net = Loader::find(id).ok_or("loader")?.load(None, &FORMULA, compute)?;
    let net = net.get::<Upscaler>().ok_or("upscaler")?;
    let picture = RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, (x * y / 64) as u8]));
    let seconds = best(n_runs, || Ok(net.enlarge(&picture, &Watch::nobody())?))?;
    print(&format!("{id} of {side}"), compute, seconds, json!({}));
    Ok(())
}

/// The network alone, on a picture of the size that it sees.
fn cut_out<N: Saliency + Send + Sync + 'static>(
    id: &str,
    compute: &Compute,
    n_runs: usize,
) -> Result<(), Box<dyn Error>> {
    let net = Loader::find(id).ok_or("loader")?.load(None, &FORMULA, compute)?;
    let net = net.get::<N>().ok_or("net")?;
    let x = numbers(net.prepare().side, 3)?;
    let seconds = best(n_runs, || Ok(net.forward(&x, &Watch::nobody())?))?;
    print(&format!("{id} of {}", net.prepare().side), compute, seconds, json!({}));
    Ok(())
}

/// [side, side, channels] in -1..=1.
fn numbers(side: usize, channels: usize) -> Result<Tensor, Box<dyn Error>> {
    let mut rng = fastrand::Rng::with_seed(1);
    let values = (0..side * side * channels).map(|_| rng.f32() * 2.0 - 1.0).collect();
    Ok(Tensor::from_vec(values, (side, side, channels), &Device::Cpu)?)
}

fn best<T>(n_runs: usize, run: impl Fn() -> Result<T, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut seconds = f64::INFINITY;
    for _ in 0..n_runs {
        let start = Instant::now();
        run()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

fn print(name: &str, compute: &Compute, seconds: f64, more: Json) {
    let mut line = json!({ "part": name, "precision": compute.precision.id(), "seconds": seconds });
    if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
        line.extend(more.clone());
    }
    println!("{line}");
}

/// What the process had at most, as Linux counts it.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
