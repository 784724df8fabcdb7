use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use ::image::{Rgba, RgbaImage};

use super::*;
use crate::{
    cx::{CancelToken, Progress},
    stage::Settings,
};

const BLUE: [f32; 3] = [60.0, 80.0, 170.0];
const ORANGE: [f32; 3] = [220.0, 120.0, 30.0];

// ---------------------------------------------------------------- running

fn settings(use_alpha: bool) -> Settings {
    let mut settings: Settings =
        STAGE.params_of(STAGE.engine("classic").unwrap()).map(|param| (param.id.to_owned(), param.default())).collect();
    settings.insert("use-alpha".to_owned(), use_alpha.into());
    settings
}

fn run_with(
    image: RgbaImage,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RgbaImage, StageError> {
    let mut asset = Asset::default();
    asset.set_image(Slot::Image, image);
    let cx =
        StageCx { engine: "classic", settings, cancel: CancelToken::default(), progress, nets: &crate::nets::NoNets };
    (STAGE.run)(&cx, &mut asset)?;
    let cutout = asset.image(Slot::Cutout)?;
    Ok(RgbaImage::clone(&cutout))
}

fn cut(image: &RgbaImage) -> Result<RgbaImage, StageError> {
    run_with(image.clone(), &settings(true), &|_| {})
}

fn assert_no_object(image: &RgbaImage, what: &str) {
    match cut(image) {
        Ok(_) => panic!("{what}: an object was found"),
        Err(error) => {
            assert_eq!(error.kind, StageErrorKind::NoObject, "{what}: {error}");
            assert!(error.message.starts_with("no clear object") && !error.hint.is_empty(), "{what}: {error}");
        }
    }
}

// ---------------------------------------------------------------- drawing

/// How much of a pixel is object, 0 to 1.
type Shape = fn(f32, f32) -> f32;

fn disc(x: f32, y: f32) -> f32 {
    (60.5 - ((x - 120.0).powi(2) + (y - 100.0).powi(2)).sqrt()).clamp(0.0, 1.0)
}

/// A disc with a hole and a thin handle with a hole of its own.
fn ring(x: f32, y: f32) -> f32 {
    let at = |cx: f32, cy: f32| ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
    let band = |r: f32, inner: f32, outer: f32| (outer + 0.5 - r).clamp(0.0, 1.0) * (r - inner + 0.5).clamp(0.0, 1.0);
    band(at(110.0, 100.0), 30.0, 62.0).max(band(at(190.0, 100.0), 14.0, 20.0))
}

fn column(x: f32, y: f32) -> f32 {
    (x - 84.2).clamp(0.0, 1.0) * (155.8 - x).clamp(0.0, 1.0) * (y - 49.2).clamp(0.0, 1.0)
}

/// `object` over `background`, both given per pixel, with a little noise.
fn draw(shape: Shape, object: impl Fn(f32, f32) -> [f32; 3], background: impl Fn(f32, f32) -> [f32; 3]) -> RgbaImage {
    let mut rng = fastrand::Rng::with_seed(11);
    RgbaImage::from_fn(240, 200, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let (alpha, front, back) = (shape(x, y), object(x, y), background(x, y));
        let noise = rng.f32() * 3.0 - 1.5;
        let [r, g, b] = [0, 1, 2].map(|c| (front[c] * alpha + back[c] * (1.0 - alpha) + noise).clamp(0.0, 255.0) as u8);
        Rgba([r, g, b, 255])
    })
}

/// Shading that no part of a background has.
fn shaded(colour: [f32; 3]) -> impl Fn(f32, f32) -> [f32; 3] {
    move |x, y| colour.map(|v| v * (0.85 + 0.1 * (x * 0.07).sin() + 0.1 * (y * 0.11).cos()))
}

fn iou(found: &RgbaImage, truth: impl Fn(u32, u32) -> bool) -> f32 {
    let (mut both, mut either) = (0, 0);
    for (x, y, pixel) in found.enumerate_pixels() {
        let (a, b) = (pixel.0[3] >= 128, truth(x, y));
        both += u32::from(a && b);
        either += u32::from(a || b);
    }
    both as f32 / either.max(1) as f32
}

fn assert_found(image: &RgbaImage, shape: Shape, least: f32) -> RgbaImage {
    let found = cut(image).unwrap();
    assert_eq!(found.dimensions(), image.dimensions());
    let iou = iou(&found, |x, y| shape(x as f32, y as f32) >= 0.5);
    assert!(iou >= least, "IoU {iou}");
    found
}

// ---------------------------------------------------------------- one object

#[test]
fn finds_a_disc_to_the_pixel_and_leaves_no_fringe() {
    let found = assert_found(&draw(disc, |_, _| ORANGE, |_, _| BLUE), disc, 0.99);
    for (x, y, pixel) in found.enumerate_pixels() {
        let alpha = f32::from(pixel.0[3]) / 255.0;
        assert!((alpha - disc(x as f32, y as f32)).abs() < 0.35, "alpha {alpha} at {x}, {y}");
        let off = (0..3).map(|c| (f32::from(pixel.0[c]) - ORANGE[c]).abs()).fold(0.0, f32::max);
        assert!(off < 24.0, "background in the colour {pixel:?} at {x}, {y}");
    }
}

#[test]
fn keeps_holes() {
    let found = assert_found(&draw(ring, shaded(ORANGE), |_, _| BLUE), ring, 0.98);
    assert_eq!([found.get_pixel(110, 100).0[3], found.get_pixel(192, 100).0[3]], [0, 0]);
}

#[test]
fn leaves_soft_shadows_to_the_background() {
    let studio = |x: f32, y: f32| {
        let shadow = 0.5 * (-((x - 135.0) / 60.0).powi(2) - ((y - 163.0) / 12.0).powi(2)).exp();
        [225.0, 222.0, 215.0].map(|v| (v - 0.12 * y + 0.06 * x) * (1.0 - shadow))
    };
    assert_found(&draw(disc, shaded(ORANGE), studio), disc, 0.97);
    assert_found(&draw(disc, shaded([90.0, 90.0, 90.0]), studio), disc, 0.95);
}

#[test]
fn finds_pale_objects_on_pale_backgrounds() {
    assert_found(&draw(disc, shaded([245.0, 240.0, 235.0]), |_, _| [252.0; 3]), disc, 0.96);
}

#[test]
fn finds_objects_that_touch_the_border() {
    assert_found(&draw(column, shaded(ORANGE), |_, y| BLUE.map(|v| v + 0.2 * y)), column, 0.98);
}

#[test]
fn finds_objects_between_bars() {
    let mut image = draw(disc, shaded(ORANGE), |_, _| [235.0, 220.0, 222.0]);
    for (_, y, pixel) in image.enumerate_pixels_mut() {
        if !(20..185).contains(&y) {
            *pixel = Rgba([0, 0, 0, 255]);
        }
    }
    assert_found(&image, disc, 0.98);
}

#[test]
fn finds_objects_among_several_colours() {
    // A floor, a wall and a window, each with a texture.
    let room = |x: f32, y: f32| {
        let grain = 12.0 * ((x * 1.3).sin() * (y * 1.7).cos());
        let base = if y > 140.0 {
            [110.0, 80.0, 60.0]
        } else if x > 180.0 {
            [190.0, 210.0, 230.0]
        } else {
            [150.0, 150.0, 140.0]
        };
        base.map(|v| v + grain)
    };
    assert_found(&draw(disc, shaded([200.0, 40.0, 60.0]), room), disc, 0.95);
}

// ---------------------------------------------------------------- no object

#[test]
fn says_when_there_is_no_object() {
    let mut rng = fastrand::Rng::with_seed(3);
    let blank = |v: u8| RgbaImage::from_pixel(200, 150, Rgba([v, v, v, 255]));
    assert_no_object(&blank(255), "white");
    assert_no_object(&blank(0), "black");
    let noise = RgbaImage::from_fn(200, 150, |_, _| Rgba([rng.u8(..), rng.u8(..), rng.u8(..), 255]));
    assert_no_object(&noise, "noise");
    let slope = RgbaImage::from_fn(200, 150, |x, y| Rgba([(x + 20) as u8, (y + 50) as u8, 128, 255]));
    assert_no_object(&slope, "gradient");
    let checks = RgbaImage::from_fn(200, 150, |x, y| Rgba([if (x / 8 + y / 8) % 2 == 0 { 40 } else { 210 }; 4]));
    assert_no_object(&RgbaImage::from_fn(200, 150, |x, y| Rgba([checks.get_pixel(x, y).0[0], 90, 90, 255])), "checks");
    let halves =
        RgbaImage::from_fn(200, 150, |x, _| if x < 100 { Rgba([200, 40, 40, 255]) } else { Rgba([40, 40, 200, 255]) });
    assert_no_object(&halves, "two halves");
    assert_no_object(&RgbaImage::from_pixel(100, 80, Rgba([10, 200, 30, 0])), "all transparent");
}

#[test]
fn refuses_pictures_too_small_to_tell() {
    for (width, height) in [(1, 1), (7, 300), (300, 7)] {
        let error = cut(&RgbaImage::from_pixel(width, height, Rgba([9, 9, 9, 255]))).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::NoObject);
        assert_eq!(error.message, format!("no clear object: the picture has {width}x{height} pixels"));
    }
    for (width, height) in [(8, 8), (8, 4000), (9, 33)] {
        assert_no_object(&RgbaImage::from_pixel(width, height, Rgba([9, 9, 9, 255])), "small and blank");
    }
}

// ---------------------------------------------------------------- given alpha

#[test]
fn takes_given_alpha_as_it_is() {
    let mut image = draw(ring, shaded(ORANGE), |_, _| [0.0; 3]);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        pixel.0[3] = (ring(x as f32, y as f32) * 255.0).round() as u8;
    }
    let found = cut(&image).unwrap();
    for (given, found) in image.pixels().zip(found.pixels()) {
        assert!(given.0[3].abs_diff(found.0[3]) <= 6);
        assert!(found.0[0] > 120, "black under the edge: {found:?}");
    }
    // Without it the colours have to do.
    let found = run_with(image, &settings(false), &|_| {}).unwrap();
    assert!(iou(&found, |x, y| ring(x as f32, y as f32) >= 0.5) > 0.98);
}

// ---------------------------------------------------------------- behaviour

#[test]
fn equal_pictures_give_equal_cutouts_on_any_number_of_threads() {
    let image = draw(ring, shaded(ORANGE), |x, y| [150.0 + 20.0 * (x * 0.9).sin(), 140.0, 90.0 + 0.3 * y]);
    let on =
        |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(|| cut(&image).unwrap());
    let one = on(1);
    assert!(one == on(3) && one == on(3));
}

#[test]
fn counts_its_steps() {
    for use_alpha in [true, false] {
        let seen = Mutex::new(Vec::new());
        let mut image = draw(disc, shaded(ORANGE), |_, _| BLUE);
        image
            .enumerate_pixels_mut()
            .for_each(|(x, y, p)| p.0[3] = if disc(x as f32, y as f32) >= 0.5 { 255 } else { 0 });
        run_with(image, &settings(use_alpha), &|progress| seen.lock().unwrap().push(progress)).unwrap();
        let seen = seen.into_inner().unwrap();
        assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{seen:?}");
        assert_eq!(seen.last(), Some(&Progress { done: N_STEPS, total: N_STEPS }));
    }
}

#[test]
fn stops_at_every_step_when_cancelled() {
    let image = draw(disc, shaded(ORANGE), |_, y| if y > 140.0 { BLUE } else { [150.0, 160.0, 140.0] });
    for stop_at in 0..N_STEPS {
        let mut asset = Asset::default();
        asset.set_image(Slot::Image, image.clone());
        let cancel = CancelToken::default();
        let progress = |progress: Progress| {
            if progress.done >= stop_at {
                cancel.cancel();
            }
        };
        let settings = settings(true);
        let cx = StageCx {
            engine: "classic",
            settings: &settings,
            cancel: cancel.clone(),
            progress: &progress,
            nets: &crate::nets::NoNets,
        };
        let error = (STAGE.run)(&cx, &mut asset).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::Cancelled);
        assert!(asset.get(Slot::Cutout).is_none());
    }
}

// ---------------------------------------------------------------- real pictures

fn data() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/images"));
    if !folder.is_dir() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(folder.to_owned())
}

fn open(path: &Path) -> RgbaImage {
    ::image::ImageReader::open(path).unwrap().with_guessed_format().unwrap().decode().unwrap().to_rgba8()
}

/// Objects with known alpha, put before backgrounds: how much of them is found. The
/// flamingo, with legs three pixels wide, sets the limits; the mean is well above.
#[test]
fn finds_real_objects_before_plain_backgrounds() {
    let Some(images) = data() else { return };
    type Paint = fn(f32, f32) -> [f32; 3];
    let backgrounds: [(&str, Paint, f32); 4] = [
        ("white", |_, _| [255.0; 3], 0.92),
        ("grey", |_, _| [128.0; 3], 0.93),
        ("dark", |_, _| [28.0; 3], 0.94),
        ("sky", |u, v| [90.0 + 60.0 * v, 130.0 + 60.0 * v, 180.0 + 40.0 * v + 10.0 * u], 0.96),
    ];
    let mut all = Vec::new();
    for name in ["chair", "dog1_rgba", "flamingo", "hamburger", "horse", "robot"] {
        let object = open(&images.join("object").join(format!("{name}.png")));
        let object = ::image::imageops::resize(&object, 384, 384, ::image::imageops::FilterType::Triangle);
        for (background, colour, least) in &backgrounds {
            let picture = RgbaImage::from_fn(384, 384, |x, y| {
                let pixel = object.get_pixel(x, y).0;
                let (alpha, back) = (f32::from(pixel[3]) / 255.0, colour(x as f32 / 384.0, y as f32 / 384.0));
                let [r, g, b] = [0, 1, 2].map(|c| (f32::from(pixel[c]) * alpha + back[c] * (1.0 - alpha)) as u8);
                Rgba([r, g, b, 255])
            });
            let found = cut(&picture).unwrap_or_else(|error| panic!("{name} before {background}: {error}"));
            let iou = iou(&found, |x, y| object.get_pixel(x, y).0[3] >= 128);
            println!("{name} before {background}: IoU {iou:.3}");
            assert!(iou >= *least, "{name} before {background}: IoU {iou}");
            all.push(iou);
        }
    }
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    assert!(mean >= 0.97, "mean IoU {mean}");
}

/// Photos with published cut-outs, which are scaled and shifted: compared after
/// laying their bounds over one another.
#[test]
fn agrees_with_published_cutouts() {
    let Some(images) = data() else { return };
    let folder = images.join("depth_normal");
    for (name, least) in [("cactus", 0.95), ("catstatue", 0.94), ("teddy", 0.97)] {
        let found = bounded(&cut(&open(&folder.join(format!("{name}.png")))).unwrap());
        let (width, height) = found.dimensions();
        let published = bounded(&open(&folder.join(format!("{name}_rgba.png"))));
        let published = ::image::imageops::resize(&published, width, height, ::image::imageops::FilterType::Triangle);
        let iou = iou(&found, |x, y| published.get_pixel(x, y).0[3] >= 128);
        println!("{name}: IoU {iou:.3}");
        assert!(iou >= least, "{name}: IoU {iou}");
    }
}

fn bounded(image: &RgbaImage) -> RgbaImage {
    let set: Vec<(u32, u32)> = image.enumerate_pixels().filter(|p| p.2.0[3] >= 128).map(|p| (p.0, p.1)).collect();
    let range = |values: Vec<u32>| (*values.iter().min().unwrap(), *values.iter().max().unwrap());
    let (left, right) = range(set.iter().map(|p| p.0).collect());
    let (top, bottom) = range(set.iter().map(|p| p.1).collect());
    ::image::imageops::crop_imm(image, left, top, right - left + 1, bottom - top + 1).to_image()
}

/// What was cut out of pictures whose true outline nobody published: its share of
/// the picture, as measured on results that were looked at.
#[test]
fn finds_the_objects_of_plain_pictures() {
    let Some(images) = data() else { return };
    for (name, share) in
        [("iso_house", 0.40), ("marble", 0.37), ("poly_fox", 0.285), ("stripes", 0.31), ("teapot", 0.25)]
    {
        let found = cut(&open(&images.join("object").join(format!("{name}.png")))).unwrap();
        let n = found.pixels().filter(|p| p.0[3] >= 128).count();
        let found_share = n as f32 / found.pixels().len() as f32;
        assert!((found_share - share).abs() < 0.03, "{name}: {found_share}, not {share}");
    }
    let teapot = cut(&open(&images.join("object/teapot.png"))).unwrap();
    assert_eq!(teapot.get_pixel(735, 400).0[3], 0, "the teapot's handle is a hole");
}

#[test]
fn refuses_real_pictures_without_one_object() {
    let Some(images) = data() else { return };
    for name in
        ["sr/baboon.gt.png", "sr/OST_009.png", "sr/ADE_val_00000114.jpg", "photo/sam_picture1.jpg", "photo/bike.jpg"]
    {
        assert_no_object(&open(&images.join(name)), name);
    }
}
