//! Pictures, alpha and maps made larger by a network or by resampling.

use std::{num::NonZeroU32, sync::Arc};

use ::image::{GrayImage, RgbImage, RgbaImage};

use super::{ENGINES, LANCZOS};
use crate::{
    cx::StageCx,
    error::StageError,
    image::pil_resize::{Filter, resize},
    nets::{Precision, Watch, upscale::Upscaler},
    stages::quality,
};

/// What the engine of a step makes pictures larger with.
pub struct Enlarger {
    /// `None`: resampling.
    net: Option<Arc<Upscaler>>,
}

/// Hears how many steps of how many are done; an error ends the work.
type Step<'a> = &'a dyn Fn(u32, u32) -> Result<(), StageError>;

impl Enlarger {
    /// In the precision that the step names, or else in `precision`.
    ///
    /// Errors: weights that are not here.
    pub fn new(cx: &StageCx, precision: Option<Precision>) -> Result<Enlarger, StageError> {
        if cx.engine == LANCZOS {
            return Ok(Enlarger { net: None });
        }
        let engine = ENGINES.iter().find(|engine| engine.id == cx.engine);
        let id = engine.and_then(|engine| engine.net);
        let id = id.ok_or_else(|| StageError::internal(format!("unknown engine `{}`", cx.engine)))?;
        let precision = quality::precision(cx.choice(quality::PRECISION.id)).or(precision);
        Ok(Enlarger { net: Some(cx.net::<Upscaler>(id, precision)?) })
    }

    /// `factor` times as wide and high. Alpha is a picture of its own, of which the network sees only
    /// where there are edges.
    pub fn picture(&self, picture: &RgbaImage, factor: NonZeroU32, step: Step) -> Result<RgbaImage, StageError> {
        let rgb = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
            let [r, g, b, _] = picture.get_pixel(x, y).0;
            ::image::Rgb([r, g, b])
        });
        let alpha =
            GrayImage::from_fn(picture.width(), picture.height(), |x, y| ::image::Luma([picture.get_pixel(x, y).0[3]]));
        let is_opaque = alpha.as_raw().iter().all(|a| *a == u8::MAX);
        // Colours take about as long as alpha with an edge everywhere.
        let n_parts = if is_opaque { 1 } else { 2 };
        let rgb = self.colors(&rgb, factor, &|done, total| step(done, n_parts * total))?;
        let mut larger = RgbaImage::from_fn(rgb.width(), rgb.height(), |x, y| {
            let [r, g, b] = rgb.get_pixel(x, y).0;
            ::image::Rgba([r, g, b, u8::MAX])
        });
        if !is_opaque {
            let alpha = self.plane(&alpha, factor, &|done, total| step(total + done, n_parts * total))?;
            larger.pixels_mut().zip(alpha.pixels()).for_each(|(pixel, alpha)| pixel.0[3] = alpha.0[0]);
        }
        Ok(larger)
    }

    /// Colours alone.
    pub fn colors(&self, picture: &RgbImage, factor: NonZeroU32, step: Step) -> Result<RgbImage, StageError> {
        let (width, height) = (picture.width() * factor.get(), picture.height() * factor.get());
        let Some(net) = &self.net else {
            step(0, 1)?;
            let larger = resize(picture, width, height, Filter::Lanczos);
            step(1, 1)?;
            return Ok(larger);
        };
        let mut larger = net.enlarge(picture, &Watch { step: &|done, total| step(done, total), tap: None })?;
        // A network for twice the size goes twice over a picture that is to be four times as large.
        while larger.width() < width {
            larger = net.enlarge(&larger, &Watch { step: &|_, _| step(1, 1), tap: None })?;
        }
        Ok(if larger.width() == width { larger } else { resize(&larger, width, height, Filter::Lanczos) })
    }

    /// One channel.
    fn plane(&self, plane: &GrayImage, factor: NonZeroU32, step: Step) -> Result<GrayImage, StageError> {
        let (width, height) = (plane.width() * factor.get(), plane.height() * factor.get());
        // Sharper filters ring: there would be rims around what is transparent.
        let mut larger = resize(plane, width, height, Filter::Bilinear);
        if self.net.is_none() {
            return Ok(larger);
        }
        // Where the plane is of one value around, resampling is as good; the rest is seen in squares,
        // with what surrounds them.
        const SIDE: u32 = 64;
        const AROUND: u32 = 16;
        let corners = (0..plane.height()).step_by(SIDE as usize);
        let corners = corners.flat_map(|y| (0..plane.width()).step_by(SIDE as usize).map(move |x| (x, y)));
        let squares: Vec<Square> = corners
            .map(|(x, y)| Square::new(plane, x, y, SIDE, AROUND))
            .filter(|square| square.has_edges(plane))
            .collect();
        step(0, squares.len().max(1) as u32)?;
        for (i, square) in squares.iter().enumerate() {
            let grey = |x: u32, y: u32| [plane.get_pixel(square.around.0 + x, square.around.1 + y).0[0]; 3];
            let seen = RgbImage::from_fn(square.around.2, square.around.3, |x, y| ::image::Rgb(grey(x, y)));
            let seen = self.colors(&seen, factor, &|_, _| Ok(()))?;
            let f = factor.get();
            let (dx, dy) = ((square.x - square.around.0) * f, (square.y - square.around.1) * f);
            for (y, x) in (0..square.height * f).flat_map(|y| (0..square.width * f).map(move |x| (y, x))) {
                let [r, g, b] = seen.get_pixel(dx + x, dy + y).0.map(u16::from);
                larger.put_pixel(square.x * f + x, square.y * f + y, ::image::Luma([((r + g + b + 1) / 3) as u8]));
            }
            step(i as u32 + 1, squares.len() as u32)?;
        }
        Ok(larger)
    }
}

/// A part of a plane: x, y, width and height of it and of what is seen around it.
struct Square {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    around: (u32, u32, u32, u32),
}

impl Square {
    fn new(plane: &GrayImage, x: u32, y: u32, side: u32, around: u32) -> Square {
        let (width, height) = (side.min(plane.width() - x), side.min(plane.height() - y));
        let (left, top) = (x.saturating_sub(around), y.saturating_sub(around));
        let right = (x + width + around).min(plane.width());
        let bottom = (y + height + around).min(plane.height());
        Square { x, y, width, height, around: (left, top, right - left, bottom - top) }
    }

    fn has_edges(&self, plane: &GrayImage) -> bool {
        let (x, y, width, height) = self.around;
        let first = plane.get_pixel(x, y);
        (y..y + height).any(|y| (x..x + width).any(|x| plane.get_pixel(x, y) != first))
    }
}
