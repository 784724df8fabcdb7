//! From a picture to what nets that cut out see of it, and from their map back to the picture.
//!
//! Reference: danielgatis/rembg, `sessions/base.py`, `sessions/u2net.py`, `sessions/dis_general_use.py`:
//! Pillow's Lanczos both ways, values over the picture's own maximum, in f64 until they are cast.
//! `Stretch::Letterbox` is SkyTNT/anime-segmentation, `inference.py` @ 1e51dde.

use ::image::{GrayImage, RgbImage, imageops};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{Watch, blocks::to_host};
use crate::{
    error::StageError,
    image::{
        pil_resize::{Filter, resize},
        plane::Plane,
    },
};

/// What a net wants of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepare {
    /// Rows and columns that the net was trained at.
    pub side: usize,
    /// Of values in 0..=1.
    pub mean: [f64; 3],
    pub std: [f64; 3],
    pub stretch: Stretch,
}

/// How a picture becomes a square of values in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// To the whole square, and values so that the picture's largest is 1. What comes out is
    /// stretched to the whole range.
    ByMaximum,
    /// Proportions kept, black bars on both sides; values over 255.
    Letterbox,
}

/// A net that says how much of each pixel belongs to the object.
pub trait Saliency {
    fn prepare(&self) -> &Prepare;

    /// Where its weights are.
    fn device(&self) -> &Device;

    /// [h, w, 3] to [h, w, 1] in 0..=1.
    fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor, StageError>;

    /// How much of each pixel of `picture` belongs to the object, as the network sees it: at its own
    /// size, without bars.
    fn map(&self, picture: &RgbImage, watch: &Watch) -> Result<GrayImage, StageError> {
        let prepare = self.prepare();
        let (width, height) = picture.dimensions();
        let side = prepare.side as u32;
        let part = Part::of(prepare.stretch, width, height, side);
        let square = part.square(picture, prepare.stretch, side);
        let map = to_host(&self.forward(&prepare.values(&square, self.device())?, watch)?)?;
        let map = GrayImage::from_raw(side, side, prepare.bytes(&map))
            .ok_or_else(|| StageError::internal("a map of another size than the picture"))?;
        Ok(imageops::crop_imm(&map, part.left, part.top, part.width, part.height).to_image())
    }
}

/// A `map` in 0..=1 at the size of the picture or less, as the reference brings it there.
pub fn soft_at(map: &GrayImage, prepare: &Prepare, width: u32, height: u32) -> Plane<f32> {
    let map = resize(map, width, height, prepare.filter());
    let data = map.as_raw().par_iter().map(|v| f32::from(*v) / 255.0).collect();
    Plane { width: width as usize, height: height as usize, data }
}

impl Prepare {
    fn filter(&self) -> Filter {
        match self.stretch {
            Stretch::ByMaximum => Filter::Lanczos,
            Stretch::Letterbox => Filter::Bilinear,
        }
    }

    /// A picture that has the net's size already as [h, w, 3].
    pub fn values(&self, picture: &RgbImage, device: &Device) -> Result<Tensor, StageError> {
        let top = match self.stretch {
            Stretch::ByMaximum => f64::from(picture.as_raw().iter().copied().max().unwrap_or(0)).max(1e-6),
            Stretch::Letterbox => 255.0,
        };
        let value = |(i, v): (usize, &u8)| ((f64::from(*v) / top - self.mean[i % 3]) / self.std[i % 3]) as f32;
        let values: Vec<f32> = picture.as_raw().par_iter().enumerate().map(value).collect();
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        Ok(Tensor::from_vec(values, (h, w, 3), &Device::Cpu)?.to_device(device)?)
    }

    /// The net's map, of values in 0..=1, as bytes. A map that is the same everywhere says
    /// nothing, and stays as it is.
    pub fn bytes(&self, map: &[f32]) -> Vec<u8> {
        let (low, high) =
            map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        let byte = |v: &f32| match self.stretch {
            Stretch::ByMaximum if high > low => ((v - low) / (high - low) * 255.0) as u8,
            Stretch::ByMaximum => (v * 255.0) as u8,
            Stretch::Letterbox => (v * 255.0).round() as u8,
        };
        map.iter().map(byte).collect()
    }
}

/// Where in the net's square the picture is.
struct Part {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Part {
    fn of(stretch: Stretch, width: u32, height: u32, side: u32) -> Part {
        if stretch == Stretch::ByMaximum {
            return Part { left: 0, top: 0, width: side, height: side };
        }
        let longer = u64::from(width.max(height)).max(1);
        let scaled = |n: u32| ((u64::from(side) * u64::from(n) / longer) as u32).max(1);
        let (width, height) = (scaled(width), scaled(height));
        Part { left: (side - width) / 2, top: (side - height) / 2, width, height }
    }

    fn square(&self, picture: &RgbImage, stretch: Stretch, side: u32) -> RgbImage {
        match stretch {
            Stretch::ByMaximum => resize(picture, side, side, Filter::Lanczos),
            Stretch::Letterbox => {
                let mut square = RgbImage::new(side, side);
                let picture = resize(picture, self.width, self.height, Filter::Bilinear);
                imageops::replace(&mut square, &picture, self.left.into(), self.top.into());
                square
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ::image::Rgb;

    use super::*;
    use crate::{
        error::StageErrorKind,
        nets::{
            Compute, Precision, Vars,
            isnet::{self, IsNet},
            synthetic::Synthetic,
            u2net::{self, U2Net},
        },
    };

    fn nets(compute: &Compute) -> Vec<Box<dyn Saliency>> {
        let weights = Synthetic { seed: 7, tensors: None };
        let vars = Vars::new(&weights, compute);
        let letterbox =
            isnet::Config { prepare: Prepare { side: 64, ..isnet::Config::anime().prepare }, ..isnet::Config::tiny() };
        vec![
            Box::new(U2Net::new(u2net::Config::tiny(), &vars).unwrap()),
            Box::new(IsNet::new(isnet::Config::tiny(), &vars).unwrap()),
            Box::new(IsNet::new(letterbox, &vars).unwrap()),
        ]
    }

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 3) as u8, 90]))
    }

    #[test]
    fn maps_have_the_pictures_part_of_the_square_whatever_its_shape() {
        let compute = Compute::cpu(Precision::F32).unwrap();
        for net in nets(&compute) {
            let prepare = net.prepare();
            for (width, height) in [(37, 90), (90, 37), (8, 8), (1, 300)] {
                let map = net.map(&picture(width, height), &Watch::nobody()).unwrap();
                let longer = map.width().max(map.height());
                assert_eq!(longer, prepare.side as u32);
                if prepare.stretch == Stretch::Letterbox {
                    let shorter = map.width().min(map.height()) as f32;
                    let ratio = width.min(height) as f32 / width.max(height) as f32;
                    assert!((shorter / longer as f32 - ratio).abs() <= 1.0 / longer as f32);
                } else {
                    assert_eq!(map.dimensions(), (longer, longer));
                }
                let soft = soft_at(&map, prepare, width, height);
                assert_eq!((soft.width, soft.height), (width as usize, height as usize));
                assert!(soft.data.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }

    #[test]
    fn steps_are_counted_and_an_error_ends_the_run() {
        let compute = Compute::cpu(Precision::F32).unwrap();
        for net in nets(&compute) {
            let seen = RefCell::new(Vec::new());
            let step = |done: u32, total: u32| {
                seen.borrow_mut().push((done, total));
                Ok(())
            };
            net.map(&picture(40, 40), &Watch { step: &step, tap: None }).unwrap();
            let seen = seen.into_inner();
            let total = seen[0].1;
            assert!(seen.iter().enumerate().all(|(i, &(done, of))| (i as u32, total) == (done, of)), "{seen:?}");
            assert_eq!(seen.len() as u32, total + 1);

            let stop = |done: u32, _| if done == 3 { Err(StageError::cancelled()) } else { Ok(()) };
            let stopped = net.map(&picture(40, 40), &Watch { step: &stop, tap: None });
            assert_eq!(stopped.unwrap_err().kind, StageErrorKind::Cancelled);
        }
    }

    #[test]
    fn values_are_over_the_pictures_maximum_or_over_bytes() {
        let dim = RgbImage::from_pixel(2, 1, Rgb([100, 50, 0]));
        let of = |prepare: &Prepare| to_host(&prepare.values(&dim, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(of(&isnet::Config::released().prepare)[..3], [0.5, 0.0, -0.5]);
        assert_eq!(of(&isnet::Config::anime().prepare)[..3], [100.0 / 255.0, 50.0 / 255.0, 0.0]);
        let black = RgbImage::new(2, 1);
        let values = to_host(&u2net::Config::small().prepare.values(&black, &Device::Cpu).unwrap()).unwrap();
        assert!(values.iter().all(|v| v.is_finite()), "{values:?}");
    }

    #[test]
    fn maps_are_stretched_to_the_whole_range_unless_they_are_flat() {
        let stretched = isnet::Config::released().prepare;
        assert_eq!(stretched.bytes(&[0.25, 0.5, 0.75]), [0, 127, 255]);
        assert_eq!(stretched.bytes(&[0.5, 0.5]), [127, 127]);
        assert_eq!(isnet::Config::anime().prepare.bytes(&[0.25, 0.5, 1.0]), [64, 128, 255]);
    }
}
