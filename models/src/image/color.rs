//! Colours of files to sRGB: ICC profiles, by moxcms.

use ::image::{DynamicImage, GrayImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};
use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformOptions};

/// `image` converted from the colours of `profile` to sRGB, or as it was, with
/// the reason, when the profile is broken or describes other channels.
///
/// Alpha is kept. 16-bit pictures are converted at 16 bits.
pub fn to_srgb(image: DynamicImage, profile: &[u8]) -> (DynamicImage, Option<String>) {
    match convert(&image, profile) {
        Ok(converted) => (converted, None),
        Err(reason) => (image, Some(reason)),
    }
}

fn convert(image: &DynamicImage, profile: &[u8]) -> Result<DynamicImage, String> {
    let source = ColorProfile::new_from_slice(profile).map_err(|e| format!("the ICC profile is broken: {e:?}"))?;
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    let failed = |e: moxcms::CmsError| format!("the ICC profile cannot be applied: {e:?}");
    let (w, h) = (image.width(), image.height());

    match (source.color_space, image) {
        (DataColorSpace::Rgb, DynamicImage::ImageRgb8(from)) => {
            let mut to = RgbImage::new(w, h);
            let transform = source.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (DataColorSpace::Rgb, DynamicImage::ImageRgba8(from)) => {
            let mut to = RgbaImage::new(w, h);
            let transform = source.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgba, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (DataColorSpace::Rgb, DynamicImage::ImageRgb16(from)) => {
            let mut to = ImageBuffer::<Rgb<u16>, Vec<u16>>::new(w, h);
            let transform = source.create_transform_16bit(Layout::Rgb, &srgb, Layout::Rgb, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (DataColorSpace::Rgb, DynamicImage::ImageRgba16(from)) => {
            let mut to = ImageBuffer::<Rgba<u16>, Vec<u16>>::new(w, h);
            let transform =
                source.create_transform_16bit(Layout::Rgba, &srgb, Layout::Rgba, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (DataColorSpace::Gray, DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_)) => {
            let from: GrayImage = image.to_luma8();
            let mut to = RgbImage::new(w, h);
            let transform = source.create_transform_8bit(Layout::Gray, &srgb, Layout::Rgb, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (DataColorSpace::Gray, DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_)) => {
            let from = image.to_luma_alpha8();
            let mut to = RgbaImage::new(w, h);
            let transform =
                source.create_transform_8bit(Layout::GrayAlpha, &srgb, Layout::Rgba, options).map_err(failed)?;
            transform.transform(from.as_raw(), &mut to).map_err(failed)?;
            Ok(to.into())
        }
        (space, _) => Err(format!("the ICC profile is for {space:?} pixels, the picture has others")),
    }
}

/// CMYK ink (0 none, 255 full; 4 bytes a pixel) through a CMYK profile to sRGB.
pub fn cmyk_to_srgb(ink: &[u8], width: u32, height: u32, profile: &[u8]) -> Result<RgbImage, String> {
    let source = ColorProfile::new_from_slice(profile).map_err(|e| format!("the ICC profile is broken: {e:?}"))?;
    if source.color_space != DataColorSpace::Cmyk {
        return Err(format!("the ICC profile is for {:?} pixels, the picture has CMYK", source.color_space));
    }
    let failed = |e: moxcms::CmsError| format!("the ICC profile cannot be applied: {e:?}");
    let srgb = ColorProfile::new_srgb();
    // Paper is darker and duller than a screen: keep the relations between colours.
    let options = TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
    // moxcms names four-channel CMYK by its size: the layout of RGBA.
    let transform = source.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgb, options).map_err(failed)?;
    let mut to = RgbImage::new(width, height);
    transform.transform(ink, &mut to).map_err(failed)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_p3_red_is_redder_than_srgb_can_say() {
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        let image: DynamicImage = RgbImage::from_pixel(2, 1, Rgb([200, 100, 50])).into();
        let (converted, problem) = to_srgb(image, &p3);
        assert_eq!(problem, None);
        let [r, g, b] = converted.to_rgb8().get_pixel(0, 0).0;
        assert!(r > 205 && g < 100 && b < 50, "{r} {g} {b}");
    }

    #[test]
    fn a_profile_for_other_pixels_or_a_broken_one_changes_nothing() {
        let image: DynamicImage = RgbImage::from_pixel(2, 1, Rgb([200, 100, 50])).into();
        for profile in [ColorProfile::new_gray_with_gamma(2.2).encode().unwrap(), vec![0; 200], vec![]] {
            let (same, problem) = to_srgb(image.clone(), &profile);
            assert_eq!(same, image);
            assert!(problem.is_some());
        }
    }
}
