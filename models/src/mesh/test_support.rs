//! What tests of geometry share: drawing cutouts, running stages, comparing silhouettes.

use std::path::PathBuf;

use ::image::{Rgba, RgbaImage};
use glam::Vec2;

use super::Mesh;
use crate::{
    StageError,
    cx::StageCx,
    slot::{Asset, Slot},
    stage::{self, Settings},
};

/// A picture whose alpha is how much of each pixel `inside` covers, by 8 x 8 samples.
pub fn draw(width: u32, height: u32, inside: impl Fn(Vec2) -> bool) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let sample = |i: u32| Vec2::new(x as f32 + (i % 8) as f32 / 8.0, y as f32 + (i / 8) as f32 / 8.0) + 1.0 / 16.0;
        let n = (0..64).filter(|&i| inside(sample(i))).count();
        Rgba([180, 140, 90, (n * 255 / 64) as u8])
    })
}

/// Runs one stage with the first engine that needs no network and settings, except for `set`.
pub fn run_stage(id: &str, asset: &mut Asset, set: &[(&str, f64)]) -> Result<(), StageError> {
    let stage = stage::find(id).unwrap();
    let engine = stage.engines.iter().find(|e| e.net.is_none()).unwrap();
    let mut settings: Settings = stage.params_of(engine).map(|p| (p.id.to_owned(), p.default())).collect();
    for &(param, value) in set {
        let old = settings.get_mut(param).unwrap_or_else(|| panic!("{id} has no parameter {param}"));
        *old = if old.is_i64() { (value as i64).into() } else { value.into() };
    }
    let cx = StageCx {
        engine: engine.id,
        settings: &settings,
        cancel: Default::default(),
        progress: &|_| {},
        nets: &crate::nets::NoNets,
    };
    (stage.run)(&cx, asset)
}

/// The solid that `reconstruct` makes of a cutout.
pub fn inflated(cutout: &RgbaImage, set: &[(&str, f64)]) -> Result<Mesh, StageError> {
    let mut asset = Asset::default();
    asset.set_image(Slot::Cutout, cutout.clone());
    run_stage("reconstruct", &mut asset, set)?;
    Ok(asset.mesh()?.as_ref().clone())
}

/// Shared pixels of the cutout and of the mesh seen from the front, as a share of all their pixels.
pub fn silhouette_iou(mesh: &Mesh, cutout: &RgbaImage) -> f64 {
    let front = mesh.front.unwrap();
    let (width, height) = (cutout.width() as usize, cutout.height() as usize);
    let mut covered = vec![false; width * height];
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle).map(|p| front.to_pixel(p));
        let (low, high) = (a.min(b).min(c), a.max(b).max(c));
        for y in low.y.max(0.0) as usize..(high.y.max(0.0) as usize + 1).min(height) {
            for x in low.x.max(0.0) as usize..(high.x.max(0.0) as usize + 1).min(width) {
                let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                let sides = [(a, b), (b, c), (c, a)].map(|(u, v)| (v - u).perp_dot(p - u));
                covered[y * width + x] |= sides.iter().all(|&s| s <= 0.0) || sides.iter().all(|&s| s >= 0.0);
            }
        }
    }
    let (mut both, mut either) = (0, 0);
    for (pixel, mesh) in cutout.pixels().zip(covered) {
        let picture = pixel.0[3] >= 128;
        both += usize::from(picture && mesh);
        either += usize::from(picture || mesh);
    }
    both as f64 / either as f64
}

/// Pieces and holes of a silhouette, counted on its pixels. `None` where pixels
/// touch in a corner only, so that the count is a matter of taste, and where a
/// piece or a hole is small enough to be taken for noise.
pub fn pieces_and_holes(cutout: &RgbaImage) -> Option<(usize, usize)> {
    let (width, height) = (cutout.width() as usize + 2, cutout.height() as usize + 2);
    let mut inside = vec![false; width * height];
    for (x, y, pixel) in cutout.enumerate_pixels() {
        inside[(y as usize + 1) * width + x as usize + 1] = pixel.0[3] >= 128;
    }
    for i in 0..inside.len() - width - 1 {
        let [a, b, c, d] = [i, i + 1, i + width, i + width + 1].map(|i| inside[i]);
        if a == d && b == c && a != b {
            return None;
        }
    }
    let mut seen = vec![false; inside.len()];
    let (mut n_pieces, mut n_gaps) = (0, 0);
    for start in 0..inside.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut patch = vec![start];
        let mut next = 0;
        while next < patch.len() {
            let i = patch[next];
            next += 1;
            for j in [i.wrapping_sub(1), i + 1, i.wrapping_sub(width), i + width] {
                if j < inside.len() && inside[j] == inside[start] && !std::mem::replace(&mut seen[j], true) {
                    patch.push(j);
                }
            }
        }
        if patch.len() < 40 {
            return None;
        }
        *if inside[start] { &mut n_pieces } else { &mut n_gaps } += 1;
    }
    Some((n_pieces, n_gaps - 1))
}

/// A round blob of a few merging discs with some discs cut out.
pub fn random_blob(rng: &mut fastrand::Rng) -> RgbaImage {
    let mut discs = |n: usize, least: f32, most: f32| -> Vec<(Vec2, f32)> {
        (0..n)
            .map(|_| {
                let centre = Vec2::new(20.0 + 88.0 * rng.f32(), 20.0 + 88.0 * rng.f32());
                (centre, least + (most - least) * rng.f32())
            })
            .collect()
    };
    let (add, cut) = (discs(6, 6.0, 26.0), discs(4, 4.0, 12.0));
    let within = |discs: &[(Vec2, f32)], p: Vec2| discs.iter().any(|&(c, r)| p.distance_squared(c) < r * r);
    draw(128, 128, |p| within(&add, p) && !within(&cut, p))
}

/// `name` in the folder of test data beside the project; says so and returns `None` without it.
pub fn test_data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if !path.exists() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(path)
}

/// The pictures under `folder` of the test data that have a real alpha.
pub fn cutouts(folder: &str) -> Vec<(String, RgbaImage)> {
    let Some(path) = test_data(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .filter_map(|file| Some((file.file_stem()?.to_str()?.to_owned(), ::image::open(file).ok()?.to_rgba8())))
        .filter(|(_, image)| image.pixels().any(|p| p.0[3] < 128))
        .collect()
}
