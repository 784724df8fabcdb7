//! From the cutout to the picture that TripoSR was trained on: the object centred in a square
//! with a margin, over grey.
//!
//! Reference: TripoSR `tsr/utils.py` (`resize_foreground`, `ImagePreprocessor`) and `run.py` @ d26e331.
//! The steps in bytes are exact, the resized picture differs by rounding.

use ::image::{Rgb, RgbImage, Rgba, RgbaImage, imageops};
use rayon::prelude::*;

use crate::{
    error::{StageError, StageErrorKind},
    image::antialias,
};

/// The object's longer side over the picture's.
pub const RATIO: f64 = 0.85;

/// The object in the middle of a transparent square of which it fills `ratio`.
///
/// As in the reference, the last row and column of the visible part are lost, and an odd pixel
/// of margin goes to the right and the bottom. Errors: nothing is visible, or too little.
pub fn foreground(cutout: &RgbaImage, ratio: f64) -> Result<RgbaImage, StageError> {
    let visible = cutout.enumerate_pixels().filter(|(.., pixel)| pixel.0[3] > 0);
    let bounds = visible.fold(None, |bounds, (x, y, _)| {
        let (left, top, right, bottom) = bounds.unwrap_or((x, y, x, y));
        Some((x.min(left), y.min(top), x.max(right), y.max(bottom)))
    });
    let (left, top, right, bottom) =
        bounds.filter(|(left, top, right, bottom)| left < right && top < bottom).ok_or(StageError::new(
            StageErrorKind::NoObject,
            "the cutout shows no object",
            "give a picture in which the object is larger than a few pixels",
        ))?;
    let (width, height) = (right - left, bottom - top);
    let side = width.max(height);
    let outer = ((side as f64 / ratio) as u32).max(side);
    let margin = (outer - side) / 2;
    let object = imageops::crop_imm(cutout, left, top, width, height).to_image();
    let mut square = RgbaImage::from_pixel(outer, outer, Rgba([0; 4]));
    let (x, y) = (margin + (side - width) / 2, margin + (side - height) / 2);
    imageops::replace(&mut square, &object, x.into(), y.into());
    Ok(square)
}

/// Over grey, in f32, truncated to bytes.
pub fn composite(foreground: &RgbaImage) -> RgbImage {
    const GREY: f32 = 0.5;
    RgbImage::from_fn(foreground.width(), foreground.height(), |x, y| {
        let [r, g, b, a] = foreground.get_pixel(x, y).0.map(|v| f32::from(v) / 255.0);
        Rgb([r, g, b].map(|v| ((v * a + (1.0 - a) * GREY) * 255.0) as u8))
    })
}

/// `picture` at `side` x `side`, [h, w, 3] in 0..=1. Its aspect ratio is not kept.
pub fn condition(picture: &RgbImage, side: usize) -> Vec<f32> {
    let values: Vec<f32> = picture.as_raw().par_iter().map(|v| f32::from(*v) / 255.0).collect();
    antialias::bilinear::<3>(&values, picture.width() as usize, picture.height() as usize, side, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_centred_and_odd_margins_go_right_and_down() {
        // Visible 7 x 5, of which 6 x 4 remain: a square of 6, then of 7 (6 / 0.85 = 7.06).
        let cutout = RgbaImage::from_fn(20, 20, |x, y| {
            if (3..10).contains(&x) && (8..13).contains(&y) {
                Rgba([x as u8, y as u8, 9, 255])
            } else {
                Rgba([1; 4].map(|_| 0))
            }
        });
        let square = foreground(&cutout, RATIO).unwrap();
        assert_eq!(square.dimensions(), (7, 7));
        let visible: Vec<_> = square.enumerate_pixels().filter(|(.., p)| p.0[3] > 0).map(|(x, y, _)| (x, y)).collect();
        assert_eq!((visible[0], visible[visible.len() - 1], visible.len()), ((0, 1), (5, 4), 24));
        assert_eq!(square.get_pixel(0, 1).0, [3, 8, 9, 255]);
    }

    #[test]
    fn an_empty_cutout_shows_no_object() {
        let mut cutout = RgbaImage::new(5, 5);
        assert_eq!(foreground(&cutout, RATIO).unwrap_err().kind, StageErrorKind::NoObject);
        cutout.put_pixel(2, 2, Rgba([255; 4]));
        assert_eq!(foreground(&cutout, RATIO).unwrap_err().kind, StageErrorKind::NoObject);
    }
}
