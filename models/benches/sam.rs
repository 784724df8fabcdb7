//! Times of Segment Anything with weights by formula, as JSON lines.
//!
//! `cargo bench --workspace --bench sam [-- NET ...]`: `mobile-sam` unless named. Loading, embedding
//! a picture of 1024x768, the masks of a click, and those masks at the size that clients get.
//! Each time is the best of five. `tests/peers/sam.py` runs this beside PyTorch.

use std::{hint::black_box, time::Instant};

use image::{Rgb, RgbImage};
use meshkiln_models::nets::{
    Compute, Precision, Vars, Watch,
    compute::best_precision,
    sam::{Config, Point, Prompt, Sam, Wanted},
    synthetic::Synthetic,
};
use serde_json::json;

const SIZE: (u32, u32) = (1024, 768);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let nets = if args.is_empty() { vec!["mobile-sam".to_owned()] } else { args };
    for id in nets {
        let config = Config::of(&id).unwrap_or_else(|| panic!("there is no net {id}"));
        for precision in [Precision::F32, Precision::Bf16] {
            // What the machine does not do quickly nobody asks of it.
            if precision == Precision::F32 || best_precision(&candle_core::Device::Cpu) == precision {
                run(&id, config.clone(), precision);
            }
        }
    }
}

fn run(id: &str, config: Config, precision: Precision) {
    let compute = Compute::cpu(precision).unwrap_or_else(|e| panic!("{e}"));
    let weights = Synthetic { seed: 1, tensors: None };
    let start = Instant::now();
    let net = Sam::new(config, &Vars::new(&weights, &compute)).unwrap_or_else(|e| panic!("{e}"));
    let load = start.elapsed().as_secs_f64();
    let picture =
        RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb([(x % 251) as u8, (y % 241) as u8, (x * y % 255) as u8]));
    let (embed, embedding) = best(|| net.embed(&picture, &Watch::nobody()).unwrap_or_else(|e| panic!("{e}")));
    let point = Point { x: 500.0, y: 300.0, is_object: true };
    let prompt = Prompt { points: vec![point], ..Prompt::default() };
    let click = || net.masks(&embedding, &prompt, Wanted::Three, &Watch::nobody()).unwrap_or_else(|e| panic!("{e}"));
    let (masks, found) = best(click);
    let (enlarge, _) = best(|| {
        for logits in &found.logits {
            let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
            black_box(embedding.fit.enlarged(logits, found.side, width, height).map(|logit| logit > 0.0));
        }
    });
    println!(
        "{}",
        json!({
            "name": id, "precision": precision.id(), "threads": rayon::current_num_threads(), "load_seconds": load,
            "embed_seconds": embed, "masks_seconds": masks, "enlarge_seconds": enlarge,
        })
    );
}

/// Seconds, and the last result.
fn best<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut run = || {
        let start = Instant::now();
        let result = work();
        (start.elapsed().as_secs_f64(), result)
    };
    let (mut seconds, mut result) = run();
    for _ in 0..4 {
        let (again, other) = run();
        seconds = seconds.min(again);
        result = other;
    }
    (seconds, result)
}
