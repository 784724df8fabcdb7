//! Fixtures of kind `triposr_preprocess`: from the cutout to the network's picture.

use image::{RgbImage, RgbaImage};
use meshkiln_models::nets::triposr::preprocess::{composite, condition, foreground};

use crate::fixture::{Comparison, Fixture};

/// The steps in bytes must be equal.
pub fn compare(fixture: &Fixture) -> Vec<Comparison> {
    let ratio = fixture.config["ratio"].as_f64().expect("ratio");
    let mut compared = Vec::new();
    for output in fixture.outputs.keys() {
        let (picture, step) = output.split_once('.').expect("picture and step");
        let (shape, pixels) = fixture.input_bytes(picture);
        let cutout = RgbaImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
        let object = foreground(&cutout, ratio).expect("foreground");
        match step.strip_prefix("cond") {
            Some(side) => {
                let side = side.parse().expect("side");
                compared.push(fixture.compare(output, &condition(&composite(&object), side)));
            }
            None => {
                let got = match step {
                    "foreground" => object.into_raw(),
                    "composite" => RgbImage::into_raw(composite(&object)),
                    other => panic!("there is no step {other}"),
                };
                compared.push(fixture.compare_bytes(output, &got));
            }
        }
    }
    compared
}
