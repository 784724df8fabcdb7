//! TorchScript modules of a user, by what their manifests say of inputs and outputs
//! (`weights/own/signature.rs`).
//!
//! Pictures become tensors and tensors planes here (`values`, `plane`); the module itself runs in
//! libtorch, which is the feature `torchscript`. Nobody knows its layers: it is one counted step, and
//! a cancel is answered when it is over.

#[cfg(feature = "torchscript")]
mod module;

use ::image::RgbaImage;
use rayon::prelude::*;

pub use crate::weights::own::signature::ENGINE;
use crate::{
    cx::StageCx,
    error::StageError,
    image::{antialias, plane::Plane},
    slot::{Asset, Slot},
    weights::own::signature::Port,
};

#[cfg(feature = "torchscript")]
pub use module::{TorchScript, load};

/// The module that the step names on the slots of `asset` that it takes. What it makes, by slot:
/// one channel in 0..=1, at the size that its manifest says.
///
/// Errors: a slot that is empty, outputs of other shapes than the manifest says, libtorch's own.
#[cfg(feature = "torchscript")]
pub fn run(cx: &StageCx, asset: &Asset) -> Result<Vec<(Slot, Plane<f32>)>, StageError> {
    let id = cx.named_net().unwrap_or_default();
    let net = cx.nets.net(id, None)?.get::<TorchScript>();
    net.ok_or_else(|| StageError::internal(format!("network `{id}` is no module")))?.run(cx, asset)
}

/// Plans name no module where there is no libtorch; an old one may.
#[cfg(not(feature = "torchscript"))]
pub fn run(_: &StageCx, _: &Asset) -> Result<Vec<(Slot, Plane<f32>)>, StageError> {
    let (message, hint) = crate::weights::own::NO_TORCHSCRIPT;
    Err(StageError::new(crate::error::StageErrorKind::Unsupported, message, hint))
}

/// A picture as the tensor of a port, row-major: resized with antialiasing, its aspect ratio not
/// kept; colours as they are stored, alpha only where there are four channels.
pub fn values(picture: &RgbaImage, port: &Port) -> Vec<f32> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let stored: Vec<f32> = picture.as_raw().par_iter().map(|v| f32::from(*v) / 255.0).collect();
    let pixels = antialias::bilinear::<4>(&stored, width, height, port.width, port.height);
    let [low, high] = port.range;
    let channel = |c: usize| {
        let (mean, std) = (port.mean[c], port.std[c]);
        pixels.iter().skip(c).step_by(4).map(move |v| (low + v * (high - low) - mean) / std)
    };
    (0..port.channels).flat_map(channel).collect()
}

/// The tensor of a port of one channel as a plane in 0..=1: the inverse of mean, deviation and
/// range. What is no number counts as 0.
pub fn plane(values: &[f32], port: &Port) -> Plane<f32> {
    let [low, high] = port.range;
    let (mean, std) = (port.mean[0], port.std[0]);
    let share = |v: &f32| ((v * std + mean - low) / (high - low)).clamp(0.0, 1.0);
    let data = values.iter().map(|v| if v.is_nan() { 0.0 } else { share(v) }).collect();
    Plane { width: port.width, height: port.height, data }
}

/// At another size, bilinear, antialiased where it shrinks.
pub fn resized(plane: &Plane<f32>, width: usize, height: usize) -> Plane<f32> {
    let data = antialias::bilinear::<1>(&plane.data, plane.width, plane.height, width, height);
    Plane { width, height, data }
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    fn port(channels: usize) -> Port {
        Port {
            name: "input[0]".to_owned(),
            slot: Slot::Image,
            channels,
            height: 2,
            width: 3,
            range: [0.0, 1.0],
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    #[test]
    fn a_picture_becomes_planes_of_normalised_values_and_back() {
        let picture = RgbaImage::from_fn(3, 2, |x, y| Rgba([(x * 100) as u8, (y * 200) as u8, 51, 255]));
        let plain = values(&picture, &port(3));
        assert_eq!(plain.len(), 18);
        assert_eq!(plain[..6], [0.0, 100.0 / 255.0, 200.0 / 255.0, 0.0, 100.0 / 255.0, 200.0 / 255.0]);
        assert!(plain[12..].iter().all(|v| (v - 0.2).abs() < 1e-6), "{plain:?}");
        assert_eq!(values(&picture, &port(4))[18..], [1.0; 6]);

        let scaled = Port { range: [0.0, 255.0], mean: vec![51.0, 0.0, 0.0], std: vec![2.0, 1.0, 1.0], ..port(3) };
        let scaled = values(&picture, &scaled);
        assert!((scaled[1] - 24.5).abs() < 1e-4 && (scaled[17] - 51.0).abs() < 1e-4, "{scaled:?}");

        let alpha = Port { range: [-1.0, 1.0], ..port(1) };
        let read = plane(&[-1.0, 0.0, 1.0, 7.0, -7.0, f32::NAN], &alpha);
        assert_eq!((read.width, read.height, read.data.as_slice()), (3, 2, &[0.0, 0.5, 1.0, 1.0, 0.0, 0.0][..]));
        let larger = resized(&read, 6, 4);
        assert_eq!((larger.data.len(), larger.at(0, 0)), (24, 0.0));
        assert!(larger.data.iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    #[cfg(not(feature = "torchscript"))]
    fn without_libtorch_it_says_so() {
        let cx = StageCx {
            engine: ENGINE,
            settings: &Default::default(),
            cancel: Default::default(),
            progress: &|_| {},
            nets: &crate::nets::NoNets,
        };
        let error = run(&cx, &Asset::default()).unwrap_err();
        assert_eq!(error.message, "this meshkilnd was built without torchscript");
    }
}
