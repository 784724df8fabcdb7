//! Alpha that came with the picture.

use ::image::RgbaImage;

use super::{
    components::{Keep, keep_object},
    plane::Plane,
};

/// Alpha up to this is transparent, from 255 minus this on opaque.
const SLACK: u8 = 6;
/// A real cut-out has at least this share of transparent pixels ...
const LEAST_TRANSPARENT: f64 = 0.01;
/// ... and of visible ones.
const LEAST_VISIBLE: f64 = 0.001;
/// Alpha below this does not connect parts.
const FAINT: u8 = 32;

/// An artist's parts are kept if they are more than specks, wherever they are near.
const KEEP: Keep = Keep { smallest_part: 0.0005, pinhole: 0.0 };

/// Whether the picture's alpha tells an object from its background.
pub fn is_real(image: &RgbaImage) -> bool {
    let (mut n_transparent, mut n_visible) = (0u64, 0u64);
    for pixel in image.pixels() {
        n_transparent += u64::from(pixel.0[3] <= SLACK);
        n_visible += u64::from(pixel.0[3] >= 128);
    }
    let n = image.pixels().len() as f64;
    n_transparent as f64 >= LEAST_TRANSPARENT * n && n_visible as f64 >= LEAST_VISIBLE * n
}

/// The picture's alpha, with nearly opaque and nearly transparent made so, without
/// specks far too small to be part of the object.
pub fn cleaned(image: &RgbaImage) -> Plane<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let visible = Plane { width, height, data: image.pixels().map(|p| p.0[3] >= FAINT).collect() };
    let kept = keep_object(&visible, &KEEP);
    let data = image
        .pixels()
        .zip(visible.data.iter().zip(&kept.data))
        .map(|(pixel, (visible, kept))| match pixel.0[3] {
            _ if *visible && !kept => 0,
            a if a <= SLACK => 0,
            a if a >= 255 - SLACK => 255,
            a => a,
        })
        .collect();
    Plane { width, height, data }
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    fn square(outside: u8, inside: u8) -> RgbaImage {
        RgbaImage::from_fn(100, 100, |x, y| {
            let within = (30..70).contains(&x) && (30..70).contains(&y);
            Rgba([90, 80, 70, if within { inside } else { outside }])
        })
    }

    #[test]
    fn only_alpha_that_tells_an_object_is_real() {
        assert!(is_real(&square(0, 255)));
        assert!(is_real(&square(3, 200)), "mattes of networks are rarely quite 0 and 255");
        assert!(!is_real(&square(255, 255)));
        assert!(!is_real(&square(128, 128)));
        assert!(!is_real(&square(0, 0)));
        let mut stray = square(255, 255);
        (0..40).for_each(|i| stray.put_pixel(i, i, Rgba([0, 0, 0, 0])));
        assert!(!is_real(&stray));
    }

    #[test]
    fn specks_go_and_the_rest_stays() {
        let mut image = square(2, 251);
        image.put_pixel(5, 5, Rgba([0, 0, 0, 255]));
        image.put_pixel(30, 30, Rgba([0, 0, 0, 90]));
        // A part of its own: a tenth of the object.
        (40..60).for_each(|y| (75..83).for_each(|x| image.put_pixel(x, y, Rgba([0, 0, 0, 255]))));
        let alpha = cleaned(&image);
        assert_eq!([alpha.at(5, 5), alpha.at(0, 0), alpha.at(50, 50), alpha.at(30, 30)], [0, 0, 255, 90]);
        assert_eq!(alpha.at(80, 50), 255);
    }
}
