//! Users' picture files to upright sRGB pixels.
//!
//! PNG, JPEG, WebP, BMP, TIFF and GIF (first frame of animations), by content.
//! Orientation and ICC profile are applied, 16 bits, grey, palettes and CMYK
//! become 8-bit RGBA. Everything else gets a typed error that names what it is.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ::image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbaImage, error::LimitErrorKind,
    metadata::Orientation,
};
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

use super::{
    color,
    complete::{Completeness, completeness},
    plane::Plane,
    sniff::{Kind, sniff},
};
use crate::error::{StageError, StageErrorKind};

/// Longest file, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Longest side, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// Largest picture, in pixels.
pub const MAX_PIXELS: u64 = 64 << 20;
/// What one decoder may allocate, in bytes.
const MAX_ALLOC: u64 = 256 << 20;

const DAMAGED_HINT: &str = "open the picture in an image editor and save it again";

/// A decoded picture and what had to be passed over on the way.
pub struct Decoded {
    pub image: RgbaImage,
    pub notes: Vec<String>,
}

/// `bytes` is the whole file. Never panics, whatever they are: the decoders'
/// own panics on hostile files come back as `InvalidInput`.
///
/// Errors: `Unsupported`, `TooLarge`, `Truncated`, `InvalidInput`.
pub fn decode(bytes: &[u8]) -> Result<Decoded, StageError> {
    decode_with(bytes, Values::Srgb)
}

/// Like `decode`, for a texture of a mesh: values as stored, because glTF has
/// readers ignore profile and orientation, and maps of normals are no colours.
pub fn decode_texels(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    decode_with(bytes, Values::Stored).map(|decoded| decoded.image)
}

/// Like `decode`, for a height map: brightness as stored, with all bits that there are, upright but
/// not through any colour profile. 8 bits become 16 by 257; colours become grey by Rec. 709.
pub fn decode_heights(bytes: &[u8]) -> Result<Plane<u16>, StageError> {
    with_limits(bytes, |bytes, format| {
        let (decoder, orientation) = open(bytes, format)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| failed(format, e))?;
        image.apply_orientation(orientation);
        let grey = image.into_luma16();
        Ok(Plane { width: grey.width() as usize, height: grey.height() as usize, data: grey.into_raw() })
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// Upright, through the picture's colour profile.
    Srgb,
    Stored,
}

fn decode_with(bytes: &[u8], values: Values) -> Result<Decoded, StageError> {
    with_limits(bytes, |bytes, format| decode_as(bytes, format, values))
}

/// `read` of a file whose format and size are fine; its panics come back as errors.
fn with_limits<T>(bytes: &[u8], read: impl Fn(&[u8], ImageFormat) -> Result<T, StageError>) -> Result<T, StageError> {
    let format = match sniff(bytes) {
        Kind::Picture(format) => format,
        Kind::Refused { name, hint } => {
            return Err(StageError::new(StageErrorKind::Unsupported, format!("{name} is not read"), hint));
        }
        Kind::Unknown if bytes.is_empty() => return Err(truncated("the file is empty")),
        Kind::Unknown => {
            return Err(StageError::new(
                StageErrorKind::Unsupported,
                "this is not a picture format that is read",
                "give a PNG, JPEG, WebP, BMP, TIFF or GIF file; meshes go to recipe optimize",
            ));
        }
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_FILE_BYTES}", bytes.len());
        return Err(StageError::new(StageErrorKind::TooLarge, message, "save the picture smaller"));
    }
    declared_size(bytes, format).map_or(Ok(()), check_size)?;
    let result = catch_unwind(AssertUnwindSafe(|| read(bytes, format)));
    let outcome = result.unwrap_or_else(|_| Err(StageError::invalid("the picture is damaged", DAMAGED_HINT)));
    // Some decoders fill what is missing with grey, others fail in various words.
    match (outcome, completeness(bytes)) {
        (_, Completeness::Truncated) => Err(truncated(&format!("the {} ends before the picture does", name(format)))),
        (outcome, _) => outcome,
    }
}

/// A decoder under our limits, and how what it gives is to be turned.
fn open(bytes: &[u8], format: ImageFormat) -> Result<(impl ImageDecoder, Orientation), StageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(|e| failed(format, e))?;
    check_size(decoder.dimensions())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    decoder.set_limits(limits).map_err(|e| failed(format, e))?;
    let orientation = match format {
        ImageFormat::Png => png_orientation(bytes, &mut decoder),
        _ => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    Ok((decoder, orientation))
}

fn decode_as(bytes: &[u8], format: ImageFormat, values: Values) -> Result<Decoded, StageError> {
    let (mut decoder, orientation) = open(bytes, format)?;
    let mut notes = Vec::new();
    if values == Values::Stored {
        let image = DynamicImage::from_decoder(decoder).map_err(|e| failed(format, e))?;
        return Ok(Decoded { image: image.into_rgba8(), notes });
    }
    let profile = decoder.icc_profile().unwrap_or_default();

    let pixels = |decoder| DynamicImage::from_decoder(decoder).map_err(|e| failed(format, e));
    let mut image = match (&profile, profile.as_deref().and_then(|p| cmyk_jpeg(bytes, format, p))) {
        (_, Some(Ok(image))) => image,
        (_, Some(Err(reason))) => {
            notes.push(reason);
            pixels(decoder)?
        }
        (Some(profile), None) => {
            let (image, problem) = color::to_srgb(pixels(decoder)?, profile);
            notes.extend(problem);
            image
        }
        (None, None) => pixels(decoder)?,
    };
    image.apply_orientation(orientation);
    Ok(Decoded { image: image.into_rgba8(), notes })
}

/// Size by the header, for formats whose decoders refuse it in words of their own.
fn declared_size(bytes: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as u32);
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    match format {
        ImageFormat::Gif => Some((half(6)?, half(8)?)),
        ImageFormat::Bmp if word(14)? == 12 => Some((half(18)?, half(20)?)),
        // Rows from the top down are told by a negative height.
        ImageFormat::Bmp => Some((word(18)?, (word(22)? as i32).unsigned_abs())),
        _ => None,
    }
}

fn check_size((width, height): (u32, u32)) -> Result<(), StageError> {
    if width == 0 || height == 0 {
        return Err(StageError::invalid(format!("the picture is {width}x{height} pixels"), DAMAGED_HINT));
    }
    if width.max(height) > MAX_SIDE || width as u64 * height as u64 > MAX_PIXELS {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!(
                "the picture is {width}x{height} pixels, more than {MAX_SIDE} a side or {} million in all",
                MAX_PIXELS >> 20
            ),
            "save the picture smaller: 4096 pixels on the longer side are plenty",
        ));
    }
    Ok(())
}

/// The eXIf chunk, or the hex text that ImageMagick writes in its place.
fn png_orientation(bytes: &[u8], decoder: &mut impl ImageDecoder) -> Orientation {
    match decoder.exif_metadata() {
        Ok(Some(exif)) => Orientation::from_exif_chunk(&exif),
        _ => png_text_exif(bytes).as_deref().and_then(Orientation::from_exif_chunk),
    }
    .unwrap_or(Orientation::NoTransforms)
}

/// A `Raw profile type exif` text: newline, name, newline, length, newline, hex.
fn png_text_exif(bytes: &[u8]) -> Option<Vec<u8>> {
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    let info = reader.info();
    let is_exif = |keyword: &str| keyword == "Raw profile type exif" || keyword == "Raw profile type APP1";
    let compressed = info.compressed_latin1_text.iter().find(|t| is_exif(&t.keyword)).and_then(|t| t.get_text().ok());
    let text = compressed
        .or_else(|| info.uncompressed_latin1_text.iter().find(|t| is_exif(&t.keyword)).map(|t| t.text.clone()))?;
    let mut lines = text.trim_start().splitn(3, '\n');
    let (_name, _length, hex) = (lines.next()?, lines.next()?, lines.next()?);
    let digits: Vec<u8> = hex.bytes().filter_map(|c| (c as char).to_digit(16)).map(|d| d as u8).collect();
    let data: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
    Some(data.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec).unwrap_or(data))
}

/// A CMYK JPEG with a profile, through that profile. `None` for anything else;
/// without a profile `image` converts the inks by the usual formula.
fn cmyk_jpeg(bytes: &[u8], format: ImageFormat, profile: &[u8]) -> Option<Result<DynamicImage, String>> {
    if format != ImageFormat::Jpeg {
        return None;
    }
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), DecoderOptions::default());
    decoder.decode_headers().ok()?;
    // YCCK is left to `image`: its inks are not to be had without the conversion to RGB.
    if decoder.input_colorspace()? != ColorSpace::CMYK {
        return None;
    }
    decoder.set_options(DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::CMYK));
    let (width, height) = decoder.dimensions()?;
    let mut ink = decoder.decode().ok()?;
    // Adobe writes how much ink is absent.
    ink.iter_mut().for_each(|value| *value = 255 - *value);
    Some(color::cmyk_to_srgb(&ink, width as u32, height as u32, profile).map(DynamicImage::from))
}

fn failed(format: ImageFormat, error: ImageError) -> StageError {
    let name = name(format);
    match error {
        ImageError::Limits(e) if matches!(e.kind(), LimitErrorKind::InsufficientMemory) => StageError::new(
            StageErrorKind::TooLarge,
            format!("decoding the {name} takes more than {} MiB", MAX_ALLOC >> 20),
            "save the picture smaller or with 8 bits a channel",
        ),
        ImageError::Limits(e) => StageError::new(
            StageErrorKind::TooLarge,
            format!("the {name} is too large: {e}"),
            "save the picture smaller",
        ),
        ImageError::Unsupported(e) => StageError::new(
            StageErrorKind::Unsupported,
            format!("this kind of {name} is not read: {e}"),
            "save the picture as an 8-bit PNG",
        ),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            truncated(&format!("the {name} ends before the picture does"))
        }
        e => StageError::invalid(format!("the {name} is damaged: {e}"), DAMAGED_HINT),
    }
}

fn truncated(message: &str) -> StageError {
    StageError::new(
        StageErrorKind::Truncated,
        message,
        "copy the file again; if it is still being written, it is tried again when it has changed",
    )
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Gif => "GIF",
        _ => "picture",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use expect_test::expect;

    use super::*;

    const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/images");

    fn verdict(bytes: &[u8]) -> String {
        match decode(bytes) {
            Ok(Decoded { image, notes }) => {
                let n = (image.width() * image.height()) as f64;
                let mean: Vec<_> =
                    (0..4).map(|c| (image.pixels().map(|p| p.0[c] as f64).sum::<f64>() / n).round()).collect();
                let notes = notes.iter().map(|n| format!(" ({n})")).collect::<String>();
                format!("{}x{} mean {mean:?}{notes}", image.width(), image.height())
            }
            Err(e) => format!("{:?}: {e}", e.kind),
        }
    }

    #[test]
    fn odd_files_decode_or_say_why_not() {
        let folder = Path::new(DATA).join("odd");
        let Ok(entries) = fs::read_dir(&folder) else {
            eprintln!("skipped: ../shared/data is absent");
            return;
        };
        let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
        paths.push(Path::new(DATA).join("hdr/mud_road_puresky_1k.hdr"));
        paths.push(Path::new(DATA).join("sr/tree_alpha_16bit.png"));
        paths.push(Path::new(DATA).join("sr/wolf_gray.jpg"));
        paths.sort();
        let lines: Vec<String> = paths
            .iter()
            .map(|p| format!("{}: {}\n", p.file_name().unwrap().display(), verdict(&fs::read(p).unwrap())))
            .collect();
        expect![[r#"
            mud_road_puresky_1k.hdr: Unsupported: a Radiance HDR picture is not read
            apng_mode_16bit.png: 128x64 mean [254.0, 0.0, 0.0, 255.0]
            avif_hopper.avif: Unsupported: an AVIF picture is not read
            bmp_b_reallybig.bmp: TooLarge: the picture is 3000000x2000000 pixels, more than 16384 a side or 64 million in all
            broken_data_stream.png: Truncated: the PNG ends before the picture does
            bw_gradient.png: 256x10 mean [128.0, 128.0, 128.0, 255.0]
            decompression_bomb.gif: Truncated: the GIF ends before the picture does
            exif_imagemagick_orientation.png: 512x512 mean [145.0, 143.0, 143.0, 255.0]
            flower2.webp: 300x225 mean [116.0, 79.0, 76.0, 255.0]
            hopper.jpg: 128x128 mean [90.0, 80.0, 96.0, 255.0]
            hopper.pfm: Unsupported: a float map (PFM) is not read
            hopper.ppm: Unsupported: a Netpbm picture is not read
            hopper_16bit.pgm: Unsupported: a Netpbm picture is not read
            hopper_bad_exif.jpg: 500x500 mean [126.0, 126.0, 126.0, 255.0]
            hopper_lzw.tif: 128x128 mean [90.0, 80.0, 95.0, 255.0]
            hopper_orientation_3.jpg: 128x128 mean [90.0, 80.0, 96.0, 255.0]
            hopper_orientation_6.jpg: 128x128 mean [90.0, 80.0, 96.0, 255.0]
            hopper_orientation_6.webp: 128x128 mean [90.0, 80.0, 96.0, 255.0]
            hopper_orientation_8.jpg: 128x128 mean [90.0, 80.0, 96.0, 255.0]
            huge_6000x4000_rgba_png_named.jpg: 6000x4000 mean [43.0, 43.0, 38.0, 45.0]
            i_trns.png: 64x64 mean [0.0, 0.0, 0.0, 220.0]
            icc_profile_big.jpg: 425x250 mean [60.0, 122.0, 176.0, 255.0]
            iss634.webp: 245x245 mean [135.0, 137.0, 90.0, 255.0]
            la.tga: Unsupported: this is not a picture format that is read
            negative_size.ppm: Unsupported: this is not a picture format that is read
            orientation_rectangle.jpg: 1x2 mean [254.0, 0.0, 0.0, 255.0]
            p_trns_single.png: 64x64 mean [73.0, 176.0, 119.0, 200.0]
            pil_sample_cmyk.jpg: 100x100 mean [30.0, 5.0, 7.0, 255.0]
            rgb32rle_top_right.tga: Unsupported: this is not a picture format that is read
            tRNS_null_1x1.png: 1x1 mean [255.0, 77.0, 0.0, 0.0]
            tiff_16bit_RGB.tiff: 100x40 mean [42.0, 29.0, 22.0, 255.0]
            tiff_strip_cmyk_jpeg.tif: 100x100 mean [30.0, 5.0, 7.0, 255.0]
            transparent.webp: 200x150 mean [34.0, 26.0, 27.0, 75.0]
            truncated_image.png: Truncated: the PNG ends before the picture does
            truncated_jpeg.jpg: Truncated: the JPEG ends before the picture does
            ultrahdr.jpg: Truncated: the JPEG ends before the picture does
            uncompressed_la.png: 128x128 mean [47.0, 47.0, 47.0, 47.0]
            zero_width.gif: InvalidInput: the picture is 0x32 pixels
            tree_alpha_16bit.png: 342x256 mean [152.0, 163.0, 130.0, 114.0]
            wolf_gray.jpg: 236x236 mean [134.0, 134.0, 134.0, 255.0]
        "#]]
        .assert_eq(&lines.concat());
    }

    #[test]
    fn height_maps_keep_their_bits_and_stand_upright() {
        let png = |image: DynamicImage| {
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let deep = ::image::ImageBuffer::<::image::Luma<u16>, _>::from_fn(300, 200, |x, y| {
            ::image::Luma([(x * 200 + y) as u16])
        });
        let heights = decode_heights(&png(deep.clone().into())).unwrap();
        assert_eq!((heights.width, heights.height, &heights.data), (300, 200, deep.as_raw()));
        let grey = ::image::GrayImage::from_fn(9, 4, |x, y| ::image::Luma([(x * 20 + y) as u8]));
        let heights = decode_heights(&png(grey.clone().into())).unwrap();
        assert!(heights.data.iter().zip(grey.as_raw()).all(|(deep, grey)| *deep == u16::from(*grey) * 257));
        assert_eq!(decode_heights(&png(deep.into())[..900]).map(|_| ()).unwrap_err().kind, StageErrorKind::Truncated);

        let Ok(bytes) = fs::read(Path::new(DATA).join("odd/orientation_rectangle.jpg")) else {
            eprintln!("skipped: ../shared/data is absent");
            return;
        };
        let heights = decode_heights(&bytes).unwrap();
        assert_eq!((heights.width, heights.height), (1, 2));
    }

    #[test]
    fn texels_are_as_stored_whatever_the_orientation_says() {
        let Ok(bytes) = fs::read(Path::new(DATA).join("odd/orientation_rectangle.jpg")) else {
            eprintln!("skipped: ../shared/data is absent");
            return;
        };
        assert_eq!(decode(&bytes).unwrap().image.dimensions(), (1, 2));
        assert_eq!(decode_texels(&bytes).unwrap().dimensions(), (2, 1));
    }

    #[test]
    fn every_cut_file_is_truncated_and_never_a_grey_picture() {
        for name in ["odd/hopper.jpg", "odd/flower2.webp", "odd/p_trns_single.png"] {
            let Ok(bytes) = fs::read(Path::new(DATA).join(name)) else {
                eprintln!("skipped: ../shared/data is absent");
                return;
            };
            for length in (16..bytes.len() - 1).step_by(bytes.len() / 40) {
                let error = decode(&bytes[..length]).map(|_| ()).unwrap_err();
                assert_eq!(error.kind, StageErrorKind::Truncated, "{name} cut to {length}: {error}");
            }
        }
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let names =
            ["hopper.jpg", "flower2.webp", "p_trns_single.png", "hopper_lzw.tif", "zero_width.gif", "iss634.webp"];
        for name in names {
            let Ok(original) = fs::read(Path::new(DATA).join("odd").join(name)) else {
                eprintln!("skipped: ../shared/data is absent");
                return;
            };
            for _ in 0..170 {
                let mut bytes = original.clone();
                for _ in 0..random.usize(1..8) {
                    let i = random.usize(0..bytes.len());
                    bytes[i] = random.u8(..);
                }
                let _typed_either_way = decode(&bytes);
            }
        }
    }

    /// Small files that claim, or are, far more than may be decoded.
    fn bombs() -> Vec<(String, Vec<u8>)> {
        let patched = |name: &str, format, at: usize, size: &[u8]| {
            let mut bytes = Cursor::new(Vec::new());
            RgbaImage::new(4, 4).write_to(&mut bytes, format).unwrap();
            let mut bytes = bytes.into_inner();
            bytes[at..at + size.len()].copy_from_slice(size);
            (name.to_owned(), bytes)
        };
        let mut bombs = Vec::new();
        for side in [20_000u32, 60_000, 500_000, 0x7fff_ffff, 0xffff_fff0] {
            let (big, little) = (side.to_be_bytes(), side.to_le_bytes());
            bombs.push(patched("png", ImageFormat::Png, 16, &[big, big].concat()));
            bombs.push(patched("bmp", ImageFormat::Bmp, 18, &[little, little].concat()));
        }
        for side in [20_000u16, 65_500, 65_535] {
            let little = side.to_le_bytes();
            bombs.push(patched("gif", ImageFormat::Gif, 6, &[little, little].concat()));
            bombs.push(patched("webp", ImageFormat::WebP, 21, &[0xff, 0xff, 0xff, 0xff]));
        }
        // Truly that large: 11,500 rows of nothing, half a megabyte on the disk.
        for side in [8_500u32, 11_500, 15_000, 16_000] {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, side, side);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.set_depth(png::BitDepth::One);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&vec![0; (side.div_ceil(8) * side) as usize]).unwrap();
            writer.finish().unwrap();
            bombs.push((format!("png of {side}"), bytes));
        }
        bombs
    }

    #[test]
    fn bombs_are_refused_by_what_they_claim() {
        let bombs = bombs();
        assert_eq!(bombs.len(), 20);
        for (name, bytes) in bombs {
            assert!(bytes.len() < 1 << 20, "{name} is no bomb: {} bytes", bytes.len());
            let error = decode(&bytes).map(|_| ()).unwrap_err();
            let typed = [StageErrorKind::TooLarge, StageErrorKind::InvalidInput, StageErrorKind::Truncated];
            assert!(typed.contains(&error.kind), "{name}: {error}");
        }
    }
}
