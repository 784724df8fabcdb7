//! Fixtures of kinds `rrdb`, `srvgg` and `srvgg_real`: from pixels to more pixels.

use std::{cell::RefCell, collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use image::RgbImage;
use meshkiln_models::{
    StageError,
    nets::{
        Compute, Vars, Watch,
        blocks::{to_host, transposed},
        features,
        upscale::{
            rrdb::{self, Rrdb},
            srvgg::{self, Srvgg},
            to_rgb,
        },
    },
};
use safetensors::SafeTensors;

use crate::fixture::{Comparison, Fixture};

type Values = HashMap<String, Vec<f32>>;

/// Everything within the fixture's own tolerance.
pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    let seen = RefCell::new(HashMap::new());
    let inputs: Vec<String> =
        fixture.outputs.keys().filter_map(|name| Some(name.strip_suffix(".output")?.to_owned())).collect();
    let weights = fixture.weights();
    let vars = Vars::new(&weights, compute);
    let number = |key: &str| fixture.config[key].as_u64().expect("number") as usize;
    match fixture.kind.as_str() {
        "rrdb" => {
            fixture.check_weights();
            let (n_features, n_growth) = (number("num_feat"), number("num_grow_ch"));
            let config = rrdb::Config { n_features, n_growth, n_blocks: number("num_block"), scale: number("scale") };
            let net = Rrdb::new(config, &vars).expect("network");
            inputs.iter().for_each(|input| run(fixture, input, &seen, &|x, watch| net.forward(x, watch)));
        }
        _ => {
            let config = srvgg::Config {
                n_features: number("num_feat"),
                n_layers: number("num_conv"),
                scale: number("upscale"),
            };
            let net = match fixture.config["weights"].as_str() {
                None => {
                    fixture.check_weights();
                    Srvgg::new(config, &vars).expect("network")
                }
                Some(file) => {
                    let path = Path::new(crate::ROOT).join("../shared/data/weights/sr").join(file);
                    let bytes = std::fs::read(&path).expect("weights");
                    let weights = SafeTensors::deserialize(&bytes).expect("weights");
                    Srvgg::new(config, &Vars::new(&weights, compute)).expect("network")
                }
            };
            inputs.iter().for_each(|input| run(fixture, input, &seen, &|x, watch| net.forward(x, watch)));
            let mut seen = seen.borrow_mut();
            for input in &inputs {
                for (name, layer) in [("body1", 1), ("body_half", config.n_layers.div_ceil(2) * 2 - 1)] {
                    let values = seen.get(&format!("{input}.body.{layer}")).cloned().expect("values of the layer");
                    seen.insert(format!("{input}.{name}"), values);
                }
            }
        }
    }
    let seen = seen.into_inner();
    let of = |name: &String| match name.strip_suffix(".u8") {
        Some(input) => bytes(fixture, name, &seen[&format!("{input}.output")]),
        None => fixture.compare(name, &seen[name]),
    };
    fixture.outputs.keys().map(of).collect()
}

type Forward<'a> = &'a dyn Fn(&Tensor, &Watch) -> Result<Tensor, StageError>;

fn run(fixture: &Fixture, input: &str, seen: &RefCell<Values>, forward: Forward) {
    let (shape, pixels) = fixture.input_bytes(input);
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
    let keep = |name: &str, value: &Tensor| {
        let channels = value.dims3().expect("features").2;
        let mut values = transposed(&to_host(value).expect("values"), channels);
        if name == "up1" {
            // Stored before the leaky ReLU that is part of our layer.
            values.iter_mut().filter(|v| **v < 0.0).for_each(|v| *v /= 0.2);
        }
        seen.borrow_mut().insert(format!("{input}.{name}"), values);
    };
    let x = features::from_rgb(&picture, [0.0; 3], [1.0; 3], &Device::Cpu).expect("pixels");
    let steps = RefCell::new(Vec::new());
    let step = |done: u32, total: u32| {
        steps.borrow_mut().push((done, total));
        Ok(())
    };
    keep("output", &forward(&x, &Watch { step: &step, tap: Some(&keep) }).expect("output"));
    let steps = steps.into_inner();
    let total = steps[0].1;
    assert_eq!(steps, (0..=total).map(|done| (done, total)).collect::<Vec<_>>(), "steps are counted one by one");
}

/// Bytes that a value in the middle of two may be rounded to either way.
const N_TIES: usize = 4;

fn bytes(fixture: &Fixture, name: &str, output: &[f32]) -> Comparison {
    let (shape, golden) = fixture.golden_bytes(name);
    let (h, w) = (shape[0], shape[1]);
    let rows = transposed(output, h * w);
    let got = to_rgb(&Tensor::from_vec(rows, (h, w, 3), &Device::Cpu).expect("tensor")).expect("picture").into_raw();
    let off: Vec<usize> = (0..got.len()).filter(|i| got[*i] != golden[*i]).collect();
    let max_error = off.iter().map(|i| f64::from(got[*i].abs_diff(golden[*i]))).fold(0.0, f64::max);
    let is_within = off.len() <= N_TIES && max_error <= 1.0;
    let first_bad = off.first().filter(|_| !is_within).map(|i| (*i, f32::from(got[*i]), f32::from(golden[*i])));
    Comparison { name: name.to_owned(), n: got.len(), max_error, share: off.len() as f64 / N_TIES as f64, first_bad }
}
