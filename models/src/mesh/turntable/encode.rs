//! Frames to one file: a moving picture, or a sheet.

use ::image::{
    Delay, Frame, RgbaImage,
    codecs::gif::{GifEncoder, Repeat},
    imageops,
};

use crate::{error::StageError, image::png_io};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Animated PNG: exact, large; where animation is unknown, the first frame is shown.
    Apng,
    /// 256 colours a frame, alpha on or off; shown everywhere.
    Gif,
    /// Lossy and small; shown by all browsers.
    WebP,
    /// One PNG with all frames row by row, in as many columns as make it square.
    Sheet,
}

/// Quality of WebP, 0..=100.
const WEBP_QUALITY: f32 = 85.0;

/// Effort of WebP, 0..=6. The default of 4 takes twice the time for a few percent.
const WEBP_METHOD: i32 = 2;

/// GIF's palettes are made from every so many pixels, 1..=30.
const GIF_SPEED: i32 = 10;

/// One file of all `frames`, of which there is at least one, all of one size
/// within 1..=16383 pixels. They repeat forever; one turn takes `turn_ms`. All but
/// APNG and GIF hold the frames in memory.
pub fn encode(
    frames: impl ExactSizeIterator<Item = Rendered>,
    turn_ms: u32,
    format: Format,
) -> Result<Vec<u8>, StageError> {
    match format {
        Format::Apng => apng(frames, turn_ms),
        Format::Gif => gif(frames, turn_ms),
        Format::WebP => web_p(frames, turn_ms),
        Format::Sheet => sheet(frames),
    }
}

type Rendered = Result<RgbaImage, StageError>;

fn apng(mut frames: impl ExactSizeIterator<Item = Rendered>, turn_ms: u32) -> Result<Vec<u8>, StageError> {
    let failed = |e: png::EncodingError| StageError::internal(format!("cannot encode APNG: {e}"));
    let n = frames.len() as u32;
    let first = frames.next().ok_or_else(no_frames)??;
    let (width, height) = first.dimensions();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_animated(n, 0).map_err(failed)?;
    let milliseconds = (turn_ms / n).clamp(1, u32::from(u16::MAX)) as u16;
    encoder.set_frame_delay(milliseconds, 1000).map_err(failed)?;
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(first.as_raw()).map_err(failed)?;
    for frame in frames {
        writer.write_image_data(frame?.as_raw()).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn gif(frames: impl ExactSizeIterator<Item = Rendered>, turn_ms: u32) -> Result<Vec<u8>, StageError> {
    let failed = |e: ::image::ImageError| StageError::internal(format!("cannot encode GIF: {e}"));
    if frames.len() == 0 {
        return Err(no_frames());
    }
    let delay = Delay::from_numer_denom_ms(turn_ms, frames.len() as u32);
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    for frame in frames {
        let mut frame = frame?;
        // Colours under faint shadow are dark: half a shadow is none.
        for pixel in frame.pixels_mut() {
            let [r, g, b, alpha] = pixel.0;
            pixel.0 = if alpha < 128 { [0; 4] } else { [r, g, b, 255] };
        }
        encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay)).map_err(failed)?;
    }
    drop(encoder);
    Ok(bytes)
}

fn web_p(frames: impl ExactSizeIterator<Item = Rendered>, turn_ms: u32) -> Result<Vec<u8>, StageError> {
    let failed = |what: String| StageError::internal(format!("cannot encode WebP: {what}"));
    let frames = frames.collect::<Result<Vec<_>, _>>()?;
    let Some((width, height)) = frames.first().map(RgbaImage::dimensions) else { return Err(no_frames()) };
    let mut config = webp::WebPConfig::new().map_err(|()| failed("other version of libwebp".to_owned()))?;
    config.quality = WEBP_QUALITY;
    config.method = WEBP_METHOD;
    let mut encoder = webp::AnimEncoder::new(width, height, &config);
    encoder.set_loop_count(0);
    let milliseconds = (turn_ms as usize / frames.len()).clamp(1, 60_000);
    for (i, frame) in frames.iter().enumerate() {
        let at = (i * milliseconds) as i32;
        encoder.add_frame(webp::AnimFrame::from_rgba(frame.as_raw(), width, height, at));
    }
    let encoded = encoder.try_encode().map_err(|e| failed(format!("{e:?}")))?;
    Ok(encoded.to_vec())
}

fn sheet(frames: impl ExactSizeIterator<Item = Rendered>) -> Result<Vec<u8>, StageError> {
    let n = frames.len() as u32;
    let columns = (1..=n).find(|columns| columns * columns >= n).ok_or_else(no_frames)?;
    let mut sheet = RgbaImage::new(0, 0);
    for (i, frame) in (0..n).zip(frames) {
        let frame = frame?;
        let (width, height) = frame.dimensions();
        if i == 0 {
            sheet = RgbaImage::new(width * columns, height * n.div_ceil(columns));
        }
        imageops::replace(&mut sheet, &frame, i64::from(i % columns * width), i64::from(i / columns * height));
    }
    png_io::encode_rgba(&sheet)
}

fn no_frames() -> StageError {
    StageError::internal("a turntable of 0 frames cannot be encoded")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ::image::{
        AnimationDecoder, Rgba,
        codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
    };

    use super::*;

    /// A dark square that moves over a light ground.
    fn pictures() -> Vec<RgbaImage> {
        let square = |i: u32, x: u32, y: u32| (8 * i..8 * i + 16).contains(&x) && (16..32).contains(&y);
        let color = |i, x, y| if square(i, x, y) { [160, 30, 20, 255] } else { [220, 225, 230, 255] };
        (0..5).map(|i| RgbaImage::from_fn(64, 48, |x, y| Rgba(color(i, x, y)))).collect()
    }

    fn encoded(pictures: &[RgbaImage], format: Format) -> Vec<u8> {
        encode(pictures.iter().cloned().map(Ok), 500, format).unwrap()
    }

    /// Largest difference of any channel.
    fn apart(a: &RgbaImage, b: &RgbaImage) -> u8 {
        a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    fn check(frames: ::image::Frames, most: u8) {
        let frames = frames.collect_frames().unwrap();
        assert_eq!(frames.len(), 5);
        for (frame, wanted) in frames.iter().zip(pictures()) {
            let (milliseconds, per) = frame.delay().numer_denom_ms();
            assert_eq!(milliseconds, 100 * per);
            assert!(apart(frame.buffer(), &wanted) <= most, "{}", apart(frame.buffer(), &wanted));
        }
    }

    #[test]
    fn every_format_gives_the_frames_back_in_time() {
        let file = |format| Cursor::new(encoded(&pictures(), format));
        check(PngDecoder::new(file(Format::Apng)).unwrap().apng().unwrap().into_frames(), 0);
        check(GifDecoder::new(file(Format::Gif)).unwrap().into_frames(), 4);
        // Lossy, and colour at half the resolution: the square's rim is off.
        check(WebPDecoder::new(file(Format::WebP)).unwrap().into_frames(), 90);
    }

    #[test]
    fn an_animated_png_is_a_png_of_its_first_frame() {
        let still = png_io::decode_rgba(&encoded(&pictures(), Format::Apng)).unwrap();
        assert_eq!(still, pictures()[0]);
    }

    #[test]
    fn a_sheet_is_nearly_square_and_in_reading_order() {
        let sheet = png_io::decode_rgba(&encoded(&pictures(), Format::Sheet)).unwrap();
        assert_eq!(sheet.dimensions(), (3 * 64, 2 * 48));
        let last = imageops::crop_imm(&sheet, 64, 48, 64, 48).to_image();
        assert_eq!(last, pictures()[4]);
        assert_eq!(sheet.get_pixel(191, 95).0, [0; 4], "no frame is there");
    }

    #[test]
    fn clear_pixels_stay_clear() {
        let clear = vec![RgbaImage::from_fn(8, 8, |x, _| Rgba([10, 200, 30, [0, 20, 255][x as usize % 3]])); 2];
        let gif = GifDecoder::new(Cursor::new(encoded(&clear, Format::Gif))).unwrap().into_frames();
        let first = gif.collect_frames().unwrap().remove(0).into_buffer();
        assert!(first.enumerate_pixels().all(|(x, _, p)| p.0[3] == [0, 0, 255][x as usize % 3]));
        assert_eq!(png_io::decode_rgba(&encoded(&clear, Format::Apng)).unwrap(), clear[0]);
    }

    #[test]
    fn no_frames_and_a_failing_frame_are_errors() {
        for format in [Format::Apng, Format::Gif, Format::WebP, Format::Sheet] {
            let failing = [Ok(pictures().remove(0)), Err(StageError::cancelled())];
            let error = encode(failing.into_iter(), 1000, format).expect_err("cancelled");
            assert_eq!(error.message, "cancelled");
            let none: [Rendered; 0] = [];
            assert!(encode(none.into_iter(), 1000, format).is_err());
        }
    }
}
