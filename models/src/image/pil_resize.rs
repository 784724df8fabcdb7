//! Resizing as Pillow does it, to the bit: what reference implementations do to a picture
//! before a network sees it.
//!
//! Reference: Pillow 13.0.0, `src/libImaging/Resample.c`, `Geometry.c` (nearest), `Convert.c`
//! (premultiplied alpha). Bytes in, bytes out: a row pass, then a column pass, each in 22-bit
//! fixed point and rounded to bytes. A filter widens with the scale when pictures shrink, is cut
//! at the border, and its weights add up to 1.

use ::image::{ImageBuffer, Pixel};
use rayon::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The value under the centre; no antialiasing.
    Nearest,
    /// Mean over an area.
    Box,
    /// Triangle.
    Bilinear,
    /// Keys' cubic with a = -0.5.
    Bicubic,
    /// Three lobes.
    Lanczos,
}

impl Filter {
    /// Half the filter's width, in pixels of the larger picture.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest => 0.0,
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Filter::Nearest => 0.0,
            Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// `image` at `width` x `height`, both at least 1: `Image.resize((width, height), filter)`.
/// Colours of pictures with alpha are weighted by it (not by `Nearest`).
pub fn resize<P>(image: &ImageBuffer<P, Vec<u8>>, width: u32, height: u32, filter: Filter) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    let n_channels = usize::from(P::CHANNEL_COUNT);
    let from = [image.width() as usize, image.height() as usize];
    let to = [width.max(1) as usize, height.max(1) as usize];
    let bytes = match n_channels {
        1 => resize_bytes::<1>(image.as_raw(), from, to, filter),
        2 => resize_bytes::<2>(image.as_raw(), from, to, filter),
        3 => resize_bytes::<3>(image.as_raw(), from, to, filter),
        _ => resize_bytes::<4>(image.as_raw(), from, to, filter),
    };
    ImageBuffer::from_fn(to[0] as u32, to[1] as u32, |x, y| {
        let at = (y as usize * to[0] + x as usize) * n_channels;
        *P::from_slice(&bytes[at..at + n_channels])
    })
}

/// The same for rows of `N` bytes a pixel; sizes are [width, height]. With two or four channels
/// the last is alpha.
fn resize_bytes<const N: usize>(bytes: &[u8], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
    if from == to {
        return bytes.to_vec();
    }
    if filter == Filter::Nearest {
        return nearest::<N>(bytes, from, to);
    }
    if !matches!(N, 2 | 4) {
        return passes::<N>(bytes.to_vec(), from, to, filter);
    }
    let mut bytes = bytes.to_vec();
    bytes.as_chunks_mut::<N>().0.iter_mut().for_each(premultiply);
    let mut out = passes::<N>(bytes, from, to, filter);
    out.as_chunks_mut::<N>().0.iter_mut().for_each(unpremultiply);
    out
}

fn nearest<const N: usize>(bytes: &[u8], [width, height]: [usize; 2], [to_width, to_height]: [usize; 2]) -> Vec<u8> {
    let columns = places(width, to_width);
    let mut out = Vec::with_capacity(to_width * to_height * N);
    for y in places(height, to_height) {
        let row = &bytes[y * width * N..][..width * N];
        columns.iter().for_each(|x| out.extend(&row[x * N..][..N]));
    }
    out
}

/// What lies under each target pixel; the steps are added up, as there.
fn places(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut at = step * 0.5;
    let next = |_| {
        let place = (at as usize).min(from - 1);
        at += step;
        place
    };
    (0..to).map(next).collect()
}

fn premultiply<const N: usize>(pixel: &mut [u8; N]) {
    let alpha = u32::from(pixel[N - 1]);
    for value in &mut pixel[..N - 1] {
        let product = u32::from(*value) * alpha + 128;
        *value = (((product >> 8) + product) >> 8) as u8;
    }
}

fn unpremultiply<const N: usize>(pixel: &mut [u8; N]) {
    let alpha = u32::from(pixel[N - 1]);
    if !matches!(alpha, 0 | 255) {
        pixel[..N - 1].iter_mut().for_each(|value| *value = (255 * u32::from(*value) / alpha).min(255) as u8);
    }
}

fn passes<const N: usize>(bytes: Vec<u8>, from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
    let mut bytes = bytes;
    if from[0] != to[0] {
        bytes = along_rows::<N>(&bytes, from[0], to[0], filter);
    }
    if from[1] != to[1] {
        bytes = along_columns::<N>(&bytes, to[0], from[1], to[1], filter);
    }
    bytes
}

fn along_rows<const N: usize>(bytes: &[u8], width: usize, to_width: usize, filter: Filter) -> Vec<u8> {
    let taps = taps(width, to_width, filter);
    let mut out = vec![0; bytes.len() / width * to_width];
    out.par_chunks_exact_mut(to_width * N).zip(bytes.par_chunks_exact(width * N)).for_each(|(to, from)| {
        let (to, from) = (to.as_chunks_mut::<N>().0, from.as_chunks::<N>().0);
        for (pixel, tap) in to.iter_mut().zip(&taps) {
            let mut sums = [HALF; N];
            for (weight, from) in tap.weights.iter().zip(&from[tap.first..]) {
                sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * i32::from(*value));
            }
            *pixel = sums.map(to_byte);
        }
    });
    out
}

fn along_columns<const N: usize>(
    bytes: &[u8],
    width: usize,
    height: usize,
    to_height: usize,
    filter: Filter,
) -> Vec<u8> {
    let taps = taps(height, to_height, filter);
    let n = width * N;
    let mut out = vec![0; to_height * n];
    out.par_chunks_exact_mut(n).zip(&taps).for_each(|(to, tap)| {
        let mut sums = vec![HALF; n];
        for (weight, from) in tap.weights.iter().zip(bytes[tap.first * n..].chunks_exact(n)) {
            sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * i32::from(*value));
        }
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = to_byte(sum));
    });
    out
}

/// Bits after the point of weights.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// What one target pixel is made of, along one axis.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    // Divided by and multiplied with in the reference's order: the last bit of a weight hangs on it.
    let shrink = 1.0 / stretch;
    let tap = |i| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (first..end).map(|j| filter.weight((j as f64 - centre + 0.5) * shrink)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = if sum == 0.0 { *weight } else { weight / sum } * f64::from(1u32 << PRECISION);
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        Tap { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use ::image::{GrayImage, LumaA, Rgba, RgbaImage};

    use super::*;

    const FILTERS: [Filter; 5] = [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

    #[test]
    fn halving_weighs_one_three_three_one() {
        let row = GrayImage::from_raw(6, 1, vec![0, 0, 80, 0, 0, 0]).unwrap();
        assert_eq!(resize(&row, 3, 1, Filter::Bilinear).into_raw(), [11, 30, 0]);
        assert_eq!(resize(&row, 3, 1, Filter::Box).into_raw(), [0, 40, 0]);
        assert_eq!(resize(&row, 2, 1, Filter::Nearest).into_raw(), [0, 0]);
    }

    #[test]
    fn flat_pictures_stay_flat_and_the_transparent_does_not_bleed() {
        let flat = RgbaImage::from_pixel(13, 7, Rgba([10, 200, 77, 255]));
        let half = ImageBuffer::<LumaA<u8>, _>::from_fn(16, 4, |x, _| LumaA(if x < 8 { [90, 255] } else { [255, 0] }));
        for filter in FILTERS {
            for (width, height) in [(1, 1), (5, 31), (13, 7), (40, 3)] {
                let resized = resize(&flat, width, height, filter);
                assert_eq!(resized.dimensions(), (width, height));
                assert!(resized.pixels().all(|p| p.0 == [10, 200, 77, 255]), "{filter:?}");
            }
            let small = resize(&half, 7, 3, filter);
            // Cubic and Lanczos ring; premultiplied bytes of low alpha are coarse.
            assert!(small.pixels().all(|p| p.0[1] < 32 || p.0[0].abs_diff(90) <= 20), "{filter:?} {small:?}");
        }
    }
}
