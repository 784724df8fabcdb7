//! Fixture `pil_resize`: Pillow's resizing, byte for byte.

use image::{ImageBuffer, Luma, Pixel, Rgb, Rgba};
use meshkiln_models::image::pil_resize::{Filter, resize};

use crate::fixture::{Comparison, Fixture};

pub fn compare(fixture: &Fixture) -> Vec<Comparison> {
    let one = |output: &String| {
        let [input, filter, size] = output.split('.').collect::<Vec<_>>().try_into().expect("input, filter and size");
        let filter = match filter {
            "nearest" => Filter::Nearest,
            "box" => Filter::Box,
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "lanczos" => Filter::Lanczos,
            other => panic!("there is no filter {other}"),
        };
        let (width, height) = size.split_once('x').expect("width and height");
        let size = (width.parse().expect("width"), height.parse().expect("height"));
        let (shape, bytes) = fixture.input_bytes(input);
        let got = match shape.get(2) {
            None => resized::<Luma<u8>>(&shape, bytes, size, filter),
            Some(3) => resized::<Rgb<u8>>(&shape, bytes, size, filter),
            Some(_) => resized::<Rgba<u8>>(&shape, bytes, size, filter),
        };
        fixture.compare_bytes(output, &got)
    };
    fixture.outputs.keys().map(one).collect()
}

fn resized<P: Pixel<Subpixel = u8>>(
    shape: &[usize],
    bytes: Vec<u8>,
    (width, height): (u32, u32),
    filter: Filter,
) -> Vec<u8> {
    let image = ImageBuffer::<P, _>::from_raw(shape[1] as u32, shape[0] as u32, bytes).expect("picture");
    resize(&image, width, height, filter).into_raw()
}
