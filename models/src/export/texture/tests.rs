//! Every texture format comes back as what went in, as far as it promises.

use image::{Rgba, RgbaImage};

use super::*;
use crate::{error::StageErrorKind, export::format::TextureFormat};

/// Smooth colours with some detail, opaque.
fn picture(w: u32, h: u32) -> RgbaImage {
    RgbaImage::from_fn(w, h, |x, y| {
        let wave = |v: u32, n: f32| ((v as f32 / n).sin() * 60.0 + 128.0) as u8;
        Rgba([wave(x, 7.0), wave(y, 5.0), wave(x + y, 11.0), 255])
    })
}

fn normals(w: u32, h: u32) -> RgbaImage {
    RgbaImage::from_fn(w, h, |x, y| {
        let n = glam::Vec3::new((x as f32 / 9.0).sin() * 0.5, (y as f32 / 7.0).cos() * 0.5, 1.0).normalize();
        let [r, g, b] = n.to_array().map(|v| (v * 127.5 + 127.5).round() as u8);
        Rgba([r, g, b, 255])
    })
}

/// Peak signal to noise ratio over the first `n` channels, in dB.
fn psnr(a: &RgbaImage, b: &RgbaImage, n: usize) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares = a.pixels().zip(b.pixels()).flat_map(|(a, b)| (0..n).map(|c| f64::from(a.0[c]) - f64::from(b.0[c])));
    let (sum, count) = squares.fold((0.0, 0), |(sum, count), d| (sum + d * d, count + 1));
    if sum == 0.0 { f64::INFINITY } else { 10.0 * (255.0 * 255.0 / (sum / count as f64)).log10() }
}

#[test]
fn every_format_keeps_colours_and_normals() {
    // Lowest ratios seen, less 2 dB: a decoder that mixes up channels or rows is far below.
    for (format, color_db, normal_db) in [
        (TextureFormat::Png, f64::INFINITY, f64::INFINITY),
        (TextureFormat::Jpeg, 34.0, 38.0),
        (TextureFormat::Webp, 30.0, f64::INFINITY),
        (TextureFormat::Ktx2, 28.0, 36.0),
        (TextureFormat::Dds, 38.0, 38.0),
    ] {
        for (map, image, at_least) in [
            (MapKind::BaseColor, picture(64, 32), color_db),
            (MapKind::Normal, normals(64, 32), normal_db),
            (MapKind::Orm, picture(32, 64), normal_db.min(30.0)),
        ] {
            let encoded = encode(map, &image, format).unwrap();
            assert_eq!(encoded.format, format);
            let db = psnr(&decode(&encoded.bytes).unwrap(), &image, 4);
            println!("{format:?} {map:?}: {db:.1} dB, {} bytes", encoded.bytes.len());
            assert!(db >= at_least, "{format:?} {map:?}: {db:.1} dB");
            assert_eq!(encode(map, &image, format).unwrap(), encoded, "equal bytes");
        }
    }
}

#[test]
fn alpha_survives_where_there_is_any() {
    let mut image = picture(32, 32);
    for (x, _, texel) in image.enumerate_pixels_mut() {
        texel.0[3] = if x < 16 { 255 } else { 40 };
    }
    for format in TextureFormat::ALL {
        let encoded = encode(MapKind::BaseColor, &image, *format).unwrap();
        let back = decode(&encoded.bytes).unwrap();
        for (x, alpha) in [(4, 255), (28, 40)] {
            let found = back.get_pixel(x, 9).0[3];
            assert!(found.abs_diff(alpha) <= 3, "{format:?}: alpha {found}, not {alpha}");
        }
    }
    assert_eq!(encode(MapKind::BaseColor, &image, TextureFormat::Jpeg).unwrap().format, TextureFormat::Png);
}

#[test]
fn each_block_format_keeps_what_it_has() {
    let image = normals(40, 24);
    for (block, n_channels, at_least) in [
        (Block::Bc1, 3, 32.0),
        (Block::Bc3, 4, 32.0),
        (Block::Bc4, 1, 40.0),
        (Block::Bc5, 3, 40.0),
        (Block::Bc7, 4, 40.0),
    ] {
        let bytes = encode_dds(MapKind::Normal, &image, block, false).unwrap();
        let db = psnr(&decode(&bytes).unwrap(), &image, n_channels);
        println!("{block:?}: {db:.1} dB");
        assert!(db >= at_least, "{block:?}: {db:.1} dB");
    }
}

#[test]
fn the_header_of_a_dds_tells_sizes_levels_and_colour_space() {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    for (block, srgb, dxgi, level_bytes) in [
        // DXGI_FORMAT numbers and bytes of 16x8, 8x4, 4x2, 2x1, 1x1.
        (Block::Bc1, true, 72, 8 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc1, false, 71, 8 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc3, true, 78, 16 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc4, false, 80, 8 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc5, false, 83, 16 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc7, true, 99, 16 * (8 + 2 + 1 + 1 + 1)),
        (Block::Bc7, false, 98, 16 * (8 + 2 + 1 + 1 + 1)),
    ] {
        let bytes = encode_dds(MapKind::BaseColor, &picture(16, 8), block, srgb).unwrap();
        assert_eq!([12, 16, 28, 128].map(|at| word(&bytes, at)), [8, 16, 5, dxgi], "{block:?}");
        assert_eq!(bytes.len(), 148 + level_bytes, "{block:?}");
    }
}

#[test]
fn mip_levels_average_light_and_directions() {
    // Half white, half black: the mean light is 188 in sRGB, 128 in data.
    let stripes = RgbaImage::from_fn(2, 2, |x, _| if x == 0 { Rgba([255; 4]) } else { Rgba([0, 0, 0, 255]) });
    assert_eq!(resized(MapKind::BaseColor, &stripes, 1, 1).get_pixel(0, 0).0, [188, 188, 188, 255]);
    assert_eq!(resized(MapKind::Orm, &stripes, 1, 1).get_pixel(0, 0).0, [128, 128, 128, 255]);
    // Left and right lean cancel out; what is left points straight out.
    let leaning = RgbaImage::from_fn(2, 1, |x, _| Rgba([if x == 0 { 38 } else { 217 }, 128, 217, 255]));
    assert_eq!(resized(MapKind::Normal, &leaning, 1, 1).get_pixel(0, 0).0, [128, 128, 255, 255]);
    // Odd sides: each texel keeps its share.
    let ramp = RgbaImage::from_fn(3, 1, |x, _| Rgba([(x * 90) as u8, 0, 0, 255]));
    let half = resized(MapKind::Orm, &ramp, 2, 1);
    assert_eq!([half.get_pixel(0, 0).0[0], half.get_pixel(1, 0).0[0]], [30, 150]);
}

#[test]
fn sizes_fit_the_limits() {
    assert_eq!(allowed_size((1000, 500), 4096, true, false), (1024, 512));
    assert_eq!(allowed_size((90, 91), 4096, true, false), (64, 128));
    assert_eq!(allowed_size((4096, 1024), 2048, false, false), (2048, 512));
    assert_eq!(allowed_size((1000, 998), 2048, false, true), (1000, 1000));
    assert_eq!(allowed_size((1, 1), 2048, true, true), (4, 4));
    assert_eq!(allowed_size((10_000, 3), 8192, true, false), (8192, 2));
}

#[test]
fn damaged_textures_get_typed_errors() {
    for format in TextureFormat::ALL {
        let bytes = encode(MapKind::BaseColor, &picture(16, 16), *format).unwrap().bytes;
        for length in 0..bytes.len() {
            if let Err(error) = decode(&bytes[..length]) {
                assert!(error.kind != StageErrorKind::Internal && error.message.len() < 1000, "{format:?}: {error}");
            }
        }
    }
    assert_eq!(decode(b"BM6").unwrap_err().kind, StageErrorKind::Unsupported);
}
