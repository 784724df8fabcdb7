//! Cut the object out of its background.
//!
//! In: the picture. Out: the same picture with the object's alpha, straight, and
//! the object's own colours under and beyond its edge; or `no clear object`.

pub mod clicks;
pub mod sam;

use ::image::{DynamicImage, RgbaImage};

use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    image::{
        classic::{self, FINE_SIDE, no_object},
        edge_color, given_alpha, matte,
        plane::{Plane, fit, shrink_rgb},
    },
    nets::{
        Net, Watch,
        birefnet::BiRefNet,
        isnet::IsNet,
        saliency::{Saliency, soft_at},
        torchscript,
        u2net::U2Net,
    },
    slot::{Asset, Slot},
    stage::{Engine, Param, ParamKind, Stage, net_param},
    stages::quality,
};

/// The first whose network is here is taken unless one is named. What comes after `classic` is only
/// taken when named.
pub const STAGE: Stage = Stage {
    id: "cutout",
    version: 2,
    doc: "Cut the object out of its background.",
    reads: &[Slot::Image],
    may_read: &[],
    writes: &[Slot::Cutout],
    may_write: &[],
    engines: &[
        Engine {
            id: "birefnet",
            doc: "BiRefNet: the finest outlines, hair and wires too; large and slow without a GPU.",
            net: Some("birefnet"),
            params: &[quality::PRECISION],
        },
        Engine {
            id: "isnet",
            doc: "IS-Net: finds what a picture shows before any background, in fine detail.",
            net: Some("isnet"),
            params: &[quality::PRECISION],
        },
        Engine {
            id: "u2net",
            doc: "U2-Net: finds what catches the eye; coarser than isnet, for smaller machines.",
            net: Some("u2net"),
            params: &[quality::PRECISION],
        },
        Engine {
            id: "u2netp",
            doc: "U2-Net of four megabytes: quick on any CPU, and rougher.",
            net: Some("u2netp"),
            params: &[quality::PRECISION],
        },
        Engine {
            id: "classic",
            doc: "Background model from the border, graph cut, guided filter; the picture's own alpha when it has one.",
            net: None,
            params: &[Param {
                id: "working-side",
                doc: "Longer side at which the object is found; its edge is refined at the picture's full size.",
                unit: "px",
                kind: ParamKind::Int { default: 320, min: 128, max: 1024 },
            }],
        },
        sam::engine::<0>("MobileSAM: what is pointed at, or what stands out; small and quick."),
        sam::engine::<1>("Segment Anything, ViT-B: what is pointed at, or what stands out."),
        sam::engine::<2>("Segment Anything, ViT-L: what is pointed at, or what stands out; slower, finer."),
        sam::engine::<3>("Segment Anything, ViT-H: what is pointed at, or what stands out; slowest, finest."),
        Engine {
            id: "isnet-anime",
            doc: "IS-Net for drawn figures in the manner of anime.",
            net: Some("isnet-anime"),
            params: &[quality::PRECISION],
        },
        Engine {
            id: torchscript::ENGINE,
            doc: "A TorchScript module of your own that says how opaque the picture is where.",
            net: None,
            params: &[net_param("")],
        },
    ],
    params: &[Param {
        id: "use-alpha",
        doc: "Take the picture's own alpha when it tells an object from its background.",
        unit: "",
        kind: ParamKind::Flag { default: true },
    }],
    run,
};

/// Smaller pictures show nothing that could be told from a background.
const SMALLEST_SIDE: u32 = 8;
/// Nobody would call less than this share of a picture an object.
const SMALLEST_SHARE: f32 = 0.0005;

const N_STEPS: u32 = classic::N_STEPS + 1;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let image = asset.image(Slot::Image)?;
    let (width, height) = image.dimensions();
    if width.min(height) < SMALLEST_SIDE {
        return Err(StageError::new(
            StageErrorKind::NoObject,
            format!("no clear object: the picture has {width}x{height} pixels"),
            format!("give a picture of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"),
        ));
    }
    cx.step(0, N_STEPS)?;
    let has_alpha = cx.flag("use-alpha") && given_alpha::is_real(&image);
    let alpha = match cx.engine {
        _ if has_alpha => given_alpha::cleaned(&image),
        "birefnet" => by_net::<BiRefNet>(cx, &image)?,
        "isnet" | "isnet-anime" => by_net::<IsNet>(cx, &image)?,
        "u2net" | "u2netp" => by_net::<U2Net>(cx, &image)?,
        id if sam::IDS.contains(&id) => sam::alpha(cx, &image)?,
        torchscript::ENGINE => by_module(cx, asset)?,
        _ => classic::cut(&image, cx.int("working-side") as usize, &|done| cx.step(done, N_STEPS))?,
    };
    cx.step(N_STEPS - 1, N_STEPS)?;
    let mut cutout = RgbaImage::clone(&image);
    for (pixel, alpha) in cutout.pixels_mut().zip(&alpha.data) {
        pixel.0[3] = *alpha;
    }
    let poll = || cx.check_cancel();
    // Colours beside alpha that came with the picture are what somebody made them.
    if has_alpha {
        edge_color::extend_colors(&mut cutout, &poll)?;
    } else {
        edge_color::unmix_colors(&mut cutout, &poll)?;
    }
    asset.set_image(Slot::Cutout, cutout);
    cx.step(N_STEPS, N_STEPS)
}

/// What the network of the engine says of the cutout, with the edges of the picture.
fn by_net<N: Net + Saliency>(cx: &StageCx, image: &RgbaImage) -> Result<Plane<u8>, StageError> {
    let net = cx.net::<N>(cx.engine, quality::precision(cx.choice(quality::PRECISION.id)))?;
    let picture = DynamicImage::ImageRgba8(RgbaImage::clone(image)).to_rgb8();
    // The network's steps are most of the work, but not all of the steps that are counted.
    let step = |done: u32, total: u32| cx.step(done * (N_STEPS - 2) / total.max(1), N_STEPS);
    let map = net.map(&picture, &Watch { step: &step, tap: None })?;
    let (width, height) = fit(image.width() as usize, image.height() as usize, FINE_SIDE);
    let soft = soft_at(&map, net.prepare(), width as u32, height as u32);
    let n_inside = soft.data.iter().filter(|v| **v >= 0.5).count();
    if (n_inside as f32) < SMALLEST_SHARE * soft.data.len() as f32 {
        return Err(no_object());
    }
    let blur = width.max(height) as f32 / net.prepare().side as f32;
    Ok(matte::refine(image, &shrink_rgb(image, width, height), &soft, blur))
}

/// What the module says of the cutout, at the size of the picture.
fn by_module(cx: &StageCx, asset: &Asset) -> Result<Plane<u8>, StageError> {
    let made = torchscript::run(cx, asset)?;
    let alpha = made.into_iter().find(|(slot, _)| *slot == Slot::Cutout).map(|(_, alpha)| alpha);
    let alpha = alpha.ok_or_else(|| StageError::internal("the module makes no cutout"))?;
    let (width, height) = asset.image(Slot::Image)?.dimensions();
    let alpha = torchscript::resized(&alpha, width as usize, height as usize).map(|v| (v * 255.0).round() as u8);
    // Under half there is nothing that anybody would call an object.
    if alpha.data.iter().all(|v| *v < 128) { Err(no_object()) } else { Ok(alpha) }
}

#[cfg(test)]
mod tests;
