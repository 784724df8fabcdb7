//! Fixtures of kind `birefnet`: from a picture at the network's size to the map.

use std::{cell::RefCell, collections::HashMap};

use image::RgbImage;
use meshkiln_models::nets::{
    Compute, Vars, Watch,
    birefnet::{BiRefNet, Config},
    saliency::Saliency,
    swin,
};

use crate::{
    fixture::{Comparison, Fixture},
    matting::channels_first,
};

pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    fixture.check_weights();
    let weights = fixture.weights();
    let net = BiRefNet::new(config(fixture), &Vars::new(&weights, compute)).expect("network");
    let (shape, pixels) = fixture.input_bytes("image");
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
    let x = net.prepare().values(&picture, &compute.device).expect("values");
    let seen = RefCell::new(HashMap::new());
    let tap = |name: &str, value: &candle_core::Tensor| {
        seen.borrow_mut().insert(name.to_owned(), channels_first(value));
    };
    net.forward(&x, &Watch { tap: Some(&tap), ..Watch::nobody() }).expect("map");
    let seen = seen.into_inner();
    fixture.outputs.keys().map(|name| fixture.compare(name, &seen[name])).collect()
}

fn config(fixture: &Fixture) -> Config {
    let number = |name: &str| fixture.config[name].as_u64().expect("number") as usize;
    let four = |name: &str| {
        let list = fixture.config[name].as_array().expect("list");
        [0, 1, 2, 3].map(|i| list[i].as_u64().expect("number") as usize)
    };
    Config {
        swin: swin::Config {
            width: number("width"),
            depths: four("depths"),
            heads: four("heads"),
            window: number("window"),
        },
        inner: number("inner"),
        planes: number("planes"),
        gradient: number("gradient"),
        ..Config::released()
    }
}
