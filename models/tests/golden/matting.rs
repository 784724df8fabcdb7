//! Fixtures of kind `matting`: U2-Net and IS-Net, from a picture at the network's size to the mask.

use std::{cell::RefCell, collections::HashMap};

use image::RgbImage;
use meshkiln_models::nets::{
    Compute, Vars, Watch,
    blocks::to_host,
    isnet::{self, IsNet},
    saliency::Saliency,
    u2net::{self, U2Net},
};

use crate::fixture::{Comparison, Fixture};

/// Bytes of a mask that truncation may have put on the other side.
const N_OFF_BY_ONE: f64 = 2e-4;

/// Values within the fixture's own tolerance, masks equal but for rounding.
pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    fixture.check_weights();
    let weights = fixture.weights();
    let net = net(fixture, &Vars::new(&weights, compute));
    let mut compared = Vec::new();
    for input in ["image", "small"] {
        let of_input = |name: &&String| name.split_once('.').is_some_and(|(of, _)| of == input);
        let outputs: Vec<&String> = fixture.outputs.keys().filter(of_input).collect();
        if outputs.is_empty() {
            continue;
        }
        let (shape, pixels) = fixture.input_bytes(input);
        let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
        let x = net.prepare().values(&picture, &compute.device).expect("values");
        let seen = RefCell::new(HashMap::from([("normalized".to_owned(), channels_first(&x))]));
        let tap = |name: &str, value: &candle_core::Tensor| {
            seen.borrow_mut().insert(name.to_owned(), channels_first(value));
        };
        let watched = net.forward(&x, &Watch { tap: Some(&tap), ..Watch::nobody() }).expect("map");
        // Maps that only comparing needs are left out when nobody looks on.
        let map = to_host(&net.forward(&x, &Watch::nobody()).expect("map")).expect("values");
        assert_eq!(to_host(&watched).expect("values"), map, "{}: looked on", fixture.name);
        let seen = seen.into_inner();
        for output in outputs {
            let name = output.split_once('.').expect("input and value").1;
            compared.push(match name {
                "mask" => fixture.compare_rounded(output, &net.prepare().bytes(&map), N_OFF_BY_ONE),
                _ => fixture.compare(output, &seen[name]),
            });
        }
    }
    compared
}

/// [h, w, c] to the reference's [c, h, w].
pub fn channels_first(x: &candle_core::Tensor) -> Vec<f32> {
    to_host(&x.permute((2, 0, 1)).expect("turned").contiguous().expect("turned")).expect("values")
}

/// How far maps in bf16 may be off in the mean: a mask's pixels are decided far from there.
const HALF: f64 = 0.01;

/// The final map alone, its mean error instead of the largest.
pub fn compare_half(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    let weights = fixture.weights();
    let net = net(fixture, &Vars::new(&weights, compute));
    let (shape, pixels) = fixture.input_bytes("image");
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
    let x = net.prepare().values(&picture, &compute.device).expect("values");
    let map = to_host(&net.forward(&x, &Watch::nobody()).expect("map")).expect("values");
    vec![fixture.compare_mean("image.d0", &map, HALF)]
}

fn net(fixture: &Fixture, vars: &Vars) -> Box<dyn Saliency> {
    match fixture.config["net"].as_str() {
        Some("u2net") => Box::new(U2Net::new(u2net::Config::released(), vars).expect("network")),
        Some("u2netp") => Box::new(U2Net::new(u2net::Config::small(), vars).expect("network")),
        Some("isnet") => Box::new(IsNet::new(isnet::Config::released(), vars).expect("network")),
        other => panic!("there is no network {other:?}"),
    }
}
