//! Upscalers with weights by formula: pieces, sizes, steps.

use ::image::{Rgb, RgbImage};

use super::*;
use crate::nets::{Compute, Precision, synthetic::Synthetic};

fn small(config: srvgg::Config) -> Upscaler {
    let weights = Synthetic { seed: 5, tensors: None };
    let compute = Compute::cpu(Precision::F32).unwrap();
    let net = Kind::Srvgg(Box::new(Srvgg::new(config, &Vars::new(&weights, &compute)).unwrap()));
    Upscaler { net, device: Device::Cpu }
}

fn picture(width: u32, height: u32) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(3);
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, rng.u8(..)]))
}

/// Five layers see five pixels far, and the outer eight of shared pixels count for nothing: pieces
/// give what the whole picture gives, but for noise.
#[test]
fn pieces_show_no_borders() {
    let net = small(srvgg::Config { n_features: 8, n_layers: 3, scale: 4 });
    let picture = picture(120, 90);
    let whole = net.enlarge(&picture, &Watch::nobody()).unwrap();
    assert_eq!(whole.dimensions(), (480, 360));
    let tiles = Tiles::new(120, 90, 32, 70 * 70);
    assert!(tiles.len() >= 4);
    let pieces = net.enlarge_tiles(&picture, &tiles, &Watch::nobody()).unwrap();
    let differences = whole.as_raw().iter().zip(pieces.as_raw()).map(|(a, b)| a.abs_diff(*b));
    assert!(differences.clone().all(|d| d <= 1), "{:?}", differences.max());
}

#[test]
fn steps_go_on_from_piece_to_piece_and_an_error_ends_the_run() {
    let net = small(srvgg::Config { n_features: 8, n_layers: 2, scale: 2 });
    let picture = picture(40, 30);
    let tiles = Tiles::new(40, 30, 4, 20 * 20);
    let heard = std::cell::RefCell::new(Vec::new());
    let step = |done: u32, total: u32| {
        heard.borrow_mut().push((done, total));
        if done * 2 > total { Err(StageError::cancelled()) } else { Ok(()) }
    };
    let error = net.enlarge_tiles(&picture, &tiles, &Watch { step: &step, tap: None }).unwrap_err();
    assert_eq!(error.message, "cancelled");
    let heard = heard.into_inner();
    assert!(heard.is_sorted() && heard.iter().all(|(_, total)| *total == heard[0].1), "{heard:?}");
    assert!(heard.last().is_some_and(|(done, total)| *done == total / 2 + 1), "{heard:?}");
}

/// The published names in either tree, and without one.
#[test]
fn averaged_weights_are_preferred() {
    struct Trees(&'static [&'static str]);
    impl crate::nets::Checkpoint for Trees {
        fn find(&self, key: &str, shape: &[usize]) -> Option<crate::nets::checkpoint::Stored<'_>> {
            let tree = key.split_once('.').map_or("", |(tree, _)| tree);
            let value = self.0.iter().position(|t| *t == tree)? as f32;
            let values = vec![value; shape.iter().product()];
            let values = crate::nets::checkpoint::Values::F32(values.into());
            Some(crate::nets::checkpoint::Stored { shape: shape.to_vec(), values })
        }
    }
    let compute = Compute::cpu(Precision::F32).unwrap();
    let first = |trees: &'static [&'static str]| {
        let trees = Trees(trees);
        published(&Vars::new(&trees, &compute), "body.0.bias", &[4]).pp("body.0").values("bias", &[4]).unwrap().to_vec()
    };
    assert_eq!(first(&["params", "params_ema"]), [1.0; 4]);
    assert_eq!(first(&["params"]), [0.0; 4]);
    assert_eq!(first(&["body"]), [0.0; 4]);
}
