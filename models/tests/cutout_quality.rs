//! The classic cutout against published ones: mean IoU and error over `../shared/data/images`, with
//! bounds for what stands before a plain background. `cargo test --test cutout_quality -- --nocapture`
//! prints the table.
//!
//! Most of these pictures have busy backgrounds, where the classic way finds nothing or something
//! else, and the published results are those of networks, not the truth: their rows are measured
//! and not judged.

use std::path::{Path, PathBuf};

use image::{ImageReader, RgbaImage};
use meshkiln_models::image::{
    classic::cut,
    pil_resize::{Filter, resize},
};

const WORKING_SIDE: usize = 320;

#[derive(Debug, Clone, Copy)]
struct Score {
    iou: f64,
    /// Mean absolute error of alpha, 0..=1.
    mae: f64,
}

/// Of what `cut` finds; nothing found is transparent everywhere.
fn score(picture: &RgbaImage, truth: &[u8]) -> (Score, bool) {
    let found = cut(picture, WORKING_SIDE, &|_| Ok(()));
    let is_found = found.is_ok();
    let found = found.map_or_else(|_| vec![0; truth.len()], |alpha| alpha.data);
    let (mut both, mut either, mut error) = (0u64, 0u64, 0.0);
    for (a, b) in found.iter().zip(truth) {
        both += u64::from(*a >= 128 && *b >= 128);
        either += u64::from(*a >= 128 || *b >= 128);
        error += f64::from(a.abs_diff(*b)) / 255.0;
    }
    (Score { iou: both as f64 / either.max(1) as f64, mae: error / truth.len() as f64 }, is_found)
}

fn images() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/images");
    if !folder.is_dir() {
        println!("skipped: ../shared/data/images is absent");
        return None;
    }
    Some(folder)
}

fn open(path: &Path) -> RgbaImage {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    reader.decode().unwrap_or_else(|e| panic!("{}: {e}", path.display())).to_rgba8()
}

fn print(name: &str, score: Score, is_found: bool) {
    let what = if is_found { "" } else { "  no clear object" };
    println!("{name:40} IoU {:.3}  MAE {:.3}{what}", score.iou, score.mae);
}

fn print_mean(scores: &[Score]) -> Score {
    let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
    let mean = Score { iou: mean(|s| s.iou), mae: mean(|s| s.mae) };
    println!("{:40} IoU {:.3}  MAE {:.3}", "mean", mean.iou, mean.mae);
    mean
}

/// `matte/NAME.*` with cut-outs `NAME.NET.png`, `saliency/NAME.*` with maps `NAME.NET.png`.
#[test]
fn published_cutouts() {
    let Some(images) = images() else { return };
    let mut scores = Vec::new();
    for folder in ["matte", "saliency"] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(images.join(folder)).expect("folder").map(|entry| entry.expect("entry").path()).collect();
        files.sort();
        let stem = |path: &Path| path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        for published in files.iter().filter(|path| stem(path).contains('.')) {
            let name = stem(published);
            let of = name.split('.').next().unwrap_or_default();
            let picture = files.iter().find(|path| stem(path) == of).expect("picture");
            let truth = open(published);
            let channel = if folder == "matte" { 3 } else { 0 };
            let truth: Vec<u8> = truth.pixels().map(|p| p.0[channel]).collect();
            let (score, is_found) = score(&open(picture), &truth);
            print(&name, score, is_found);
            scores.push((name, score));
        }
    }
    print_mean(&scores.iter().map(|s| s.1).collect::<Vec<_>>());
    // A lamp before a plain wall, and an animal before a blurred meadow.
    for (name, least) in [("lamp2_meitu_1.u2netp", 0.95), ("whisk.u2netp", 0.94)] {
        let (_, score) = scores.iter().find(|s| s.0 == name).expect("picture");
        assert!(score.iou >= least, "{name}: {score:?}");
    }
}

/// Objects of known alpha before plain backgrounds, at 512 pixels.
#[test]
fn plain_backgrounds() {
    let Some(images) = images() else { return };
    const SIDE: u32 = 512;
    type Paint = fn(f32, f32) -> [f32; 3];
    let backgrounds: [(&str, Paint); 4] = [
        ("white", |_, _| [255.0; 3]),
        ("grey", |_, _| [128.0; 3]),
        ("dark", |_, _| [28.0; 3]),
        ("sky", |u, v| [90.0 + 60.0 * v, 130.0 + 60.0 * v, 180.0 + 40.0 * v + 10.0 * u]),
    ];
    let mut scores = Vec::new();
    for name in ["chair", "dog1_rgba", "flamingo", "hamburger", "horse", "robot"] {
        let object = resize(&open(&images.join("object").join(format!("{name}.png"))), SIDE, SIDE, Filter::Bilinear);
        let truth: Vec<u8> = object.pixels().map(|p| p.0[3]).collect();
        for (background, colour) in backgrounds {
            let picture = RgbaImage::from_fn(SIDE, SIDE, |x, y| {
                let [r, g, b, a] = object.get_pixel(x, y).0.map(f32::from);
                let back = colour(x as f32 / SIDE as f32, y as f32 / SIDE as f32);
                let mixed = |c: usize| ([r, g, b][c] * a / 255.0 + back[c] * (1.0 - a / 255.0)) as u8;
                [mixed(0), mixed(1), mixed(2), 255].into()
            });
            let (score, is_found) = score(&picture, &truth);
            let name = format!("{name} before {background}");
            print(&name, score, is_found);
            assert!(score.iou >= 0.95 && score.mae < 0.01, "{name}: {score:?}");
            scores.push(score);
        }
    }
    let mean = print_mean(&scores);
    assert!(mean.iou >= 0.97, "{mean:?}");
}

/// The upper hoop's right half looks like the stones behind it.
#[test]
fn a_hoop_like_the_wall_behind_it_stays_with_its_barrel() {
    let picture = open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/barrel.webp"));
    let alpha = cut(&picture, WORKING_SIDE, &|_| Ok(())).expect("barrel");
    for x in (180..=470).step_by(10) {
        assert_eq!(alpha.at(x, 215), 255, "the hoop at {x}, 215");
    }
    // Stones and floor around it do not.
    for (x, y) in [(100, 215), (540, 215), (320, 60), (320, 610)] {
        assert_eq!(alpha.at(x, y), 0, "the background at {x}, {y}");
    }
}
