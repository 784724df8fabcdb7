//! A trained upscaler on real pairs of pictures: the published checkpoint, through our reader of
//! pickles, to the figures of an independent implementation. Skipped where `../shared/data` is absent.

use std::path::{Path, PathBuf};

use image::RgbImage;
use meshkiln_models::{
    cx::CancelToken,
    nets::{Compute, Loader, Precision, Watch, upscale::Upscaler},
    weights::{convert::convert, open::Weights},
};

/// Name, and what NumPy measured against the ground truth, in dB.
const PAIRS: [(&str, f64); 2] = [("baboon", 20.00), ("comic", 20.01)];
/// The figures are rounded to a hundredth; two of them is what was asked for.
const TOLERANCE: f64 = 0.02;

#[test]
fn the_published_checkpoint_reproduces_the_published_figures() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    if !data.exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let converted = scratch.path().join("weights.safetensors");
    // Its entries are deflated, its tensors under `params`.
    let published = data.join("weights/sr/realesr-animevideov3.pth");
    convert(&published, "any", &converted, &CancelToken::default(), &mut |_, _| ()).unwrap();
    let weights = Weights::open(&converted).unwrap();
    let picture = |name: String| read(data.join("images/sr").join(name));
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute::cpu(precision).unwrap();
        let net = Loader::find("realesr-animevideov3").unwrap().load(None, &weights, &compute).unwrap();
        let net = net.get::<Upscaler>().unwrap();
        for (name, expected) in PAIRS {
            let larger = net.enlarge(&picture(format!("{name}.lq.png")), &Watch::nobody()).unwrap();
            let measured = psnr(&larger, &picture(format!("{name}.gt.png")));
            println!("{name} {}: {measured:.3} dB, {expected} expected", precision.id());
            assert!((measured - expected).abs() <= TOLERANCE, "{name} {precision:?}: {measured} dB, not {expected}");
        }
    }
}

fn read(path: PathBuf) -> RgbImage {
    image::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).to_rgb8()
}

/// Peak signal-to-noise ratio over all pixels and colours, in dB.
fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    let mean = squares.sum::<f64>() / a.as_raw().len() as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}
