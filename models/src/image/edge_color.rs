//! Colours along and beyond an object's edge: the object's own.
//!
//! Half-transparent pixels carry colours mixed with the background, and
//! transparent ones carry anything at all. Both are replaced by the nearest
//! colours that are surely the object's, so that whoever samples the picture near
//! the edge never sees a fringe. Of a picture that was opaque the mixture also tells
//! what the nearest colours miss: Forte, "Approximate fast foreground colour
//! estimation", 2021, with nearest colours in place of blurred ones.

use ::image::RgbaImage;
use rayon::prelude::*;

use super::plane::{Plane, windowed};

/// From this alpha on a colour is the object's own.
const SOLID: u8 = 250;
/// A solid pixel beside one below this alpha may be mixed all the same.
const FIRM: u8 = 160;
/// Thin parts have no solid pixels: their densest ones stand in, from this alpha on.
const THIN: u8 = 24;
/// How far colours run on beyond the edge, in pixels.
const EXTENT: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has a colour of its own, or got one.
    Known,
    /// Takes half of its colour from further inside.
    Rim,
    /// Has a colour to be found.
    Open,
}

/// Sets the colours of all pixels that are not solidly inside the object. Alpha is
/// left alone. Far from the object everything is of the object's mean colour.
/// `poll` is called every few dozen milliseconds; its error ends the work halfway.
pub fn extend_colors<E>(image: &mut RgbaImage, poll: &dyn Fn() -> Result<(), E>) -> Result<(), E> {
    let mut states = states(image);
    poll()?;
    let mean = mean_colour(image.as_raw(), &states);
    spread(image, &mut states, EXTENT, poll)?;
    let raw: &mut [u8] = image.as_mut();
    raw.par_chunks_exact_mut(4).zip(&states).for_each(|(pixel, state)| {
        if *state != State::Known {
            pixel[..3].copy_from_slice(&mean);
        }
    });
    Ok(())
}

/// The same for a picture whose colours are those of an opaque one: half-transparent pixels are
/// `alpha * object + (1 - alpha) * background`. What this says about the object beyond its nearest
/// colours is kept, unless it points to the background's colour: that would be a mistake of alpha.
pub fn unmix_colors<E>(image: &mut RgbaImage, poll: &dyn Fn() -> Result<(), E>) -> Result<(), E> {
    let mixed = image.clone();
    extend_colors(image, poll)?;
    let mut background = mixed.clone();
    background.par_chunks_exact_mut(4).for_each(|pixel| pixel[3] = 255 - pixel[3]);
    let mut known = states(&background);
    poll()?;
    spread(&mut background, &mut known, 0, poll)?;
    let pixels = image.par_chunks_exact_mut(4).zip(mixed.as_raw().par_chunks_exact(4));
    pixels.zip(background.as_raw().par_chunks_exact(4)).zip(&known).for_each(|(((pixel, mixed), back), known)| {
        if (1..SOLID).contains(&pixel[3]) && *known == State::Known {
            let colour = unmixed([pixel, mixed, back].map(|p| [p[0], p[1], p[2]].map(f32::from)), pixel[3]);
            pixel[..3].copy_from_slice(&colour);
        }
    });
    poll()
}

/// The object's colour, from the nearest one of it, the mixture and the background's.
fn unmixed([object, mixed, background]: [[f32; 3]; 3], alpha: u8) -> [u8; 3] {
    let alpha = f32::from(alpha) / 255.0;
    let apart: [f32; 3] = std::array::from_fn(|c| background[c] - object[c]);
    let rest: [f32; 3] = std::array::from_fn(|c| mixed[c] - alpha * object[c] - (1.0 - alpha) * background[c]);
    let dot = |a: &[f32; 3], b: &[f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let towards = (dot(&rest, &apart) / dot(&apart, &apart).max(1.0)).max(0.0);
    std::array::from_fn(|c| (object[c] + alpha * (rest[c] - towards * apart[c])).round().clamp(0.0, 255.0) as u8)
}

/// Gives pixels beside known ones their colours, ring by ring: all that are not quite transparent,
/// and others up to `extent` pixels away.
fn spread<E>(
    image: &mut RgbaImage,
    states: &mut [State],
    extent: usize,
    poll: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let raw: &mut [u8] = image.as_mut();
    let mut front: Vec<u32> = (0..states.len())
        .into_par_iter()
        .filter(|at| {
            let is_wanted = extent > 0 || raw[at * 4 + 3] > 0;
            is_wanted && states[*at] != State::Known && beside_known(states, *at, width, height)
        })
        .map(|at| at as u32)
        .collect();
    let mut ring = 0;
    while !front.is_empty() {
        poll()?;
        // Colours of a ring depend on earlier rings only, not on the order within it.
        let colours: Vec<[u8; 3]> =
            front.par_iter().map(|at| colour_nearby(raw, states, *at as usize, width, height)).collect();
        for (at, colour) in front.iter().zip(&colours) {
            let at = *at as usize;
            for c in 0..3 {
                let mixed = (u16::from(raw[at * 4 + c]) + u16::from(colour[c])).div_ceil(2) as u8;
                raw[at * 4 + c] = if states[at] == State::Rim { mixed } else { colour[c] };
            }
        }
        front.iter().for_each(|at| states[*at as usize] = State::Known);
        ring += 1;
        let mut next = Vec::new();
        for at in &front {
            for_neighbours(*at as usize, width, height, |n, _| {
                if states[n] != State::Known && (ring < extent || raw[n * 4 + 3] > 0) {
                    next.push(n as u32);
                }
            });
        }
        next.sort_unstable();
        next.dedup();
        front = next;
    }
    Ok(())
}

fn states(image: &RgbaImage) -> Vec<State> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let alpha = Plane { width, height, data: image.as_raw().par_chunks_exact(4).map(|p| p[3]).collect() };
    let own = |alpha: u8, least: u8| alpha >= SOLID && least >= FIRM;
    let least = windowed(&alpha, 1, |a, b| a.min(b));
    let densest = windowed(&alpha, 2, |a, b| a.max(b));
    let owns = Plane {
        width,
        height,
        data: alpha.data.par_iter().zip(&least.data).map(|(a, l)| u8::from(own(*a, *l))).collect(),
    };
    let own_nearby = windowed(&owns, 2, |a, b| a.max(b));
    (0..width * height)
        .into_par_iter()
        .map(|i| {
            let a = alpha.data[i];
            let thin = a >= THIN && own_nearby.data[i] == 0 && u32::from(a) * 10 >= u32::from(densest.data[i]) * 9;
            match a {
                _ if owns.data[i] == 1 || thin => State::Known,
                SOLID.. => State::Rim,
                _ => State::Open,
            }
        })
        .collect()
}

fn mean_colour(raw: &[u8], states: &[State]) -> [u8; 3] {
    let mut sums = [0u64; 4];
    for (pixel, state) in raw.chunks_exact(4).zip(states) {
        let known = u64::from(*state == State::Known);
        (0..3).for_each(|c| sums[c] += u64::from(pixel[c]) * known);
        sums[3] += known;
    }
    [0, 1, 2].map(|c| ((sums[c] + sums[3] / 2) / sums[3].max(1)) as u8)
}

fn beside_known(states: &[State], at: usize, width: usize, height: usize) -> bool {
    let mut found = false;
    for_neighbours(at, width, height, |n, _| found |= states[n] == State::Known);
    found
}

/// Mean of the known colours around a pixel, those beside it counting more than
/// those at its corners.
fn colour_nearby(raw: &[u8], states: &[State], at: usize, width: usize, height: usize) -> [u8; 3] {
    let (mut sum, mut total) = ([0u32; 3], 0u32);
    for_neighbours(at, width, height, |n, diagonal| {
        if states[n] == State::Known {
            let weight = if diagonal { 2 } else { 3 };
            (0..3).for_each(|c| sum[c] += weight * u32::from(raw[n * 4 + c]));
            total += weight;
        }
    });
    sum.map(|v| ((v + total / 2) / total.max(1)) as u8)
}

/// Calls `visit` with up to eight neighbours and whether each is a diagonal one.
#[inline(always)]
fn for_neighbours(at: usize, width: usize, height: usize, mut visit: impl FnMut(usize, bool)) {
    let (x, y) = (at % width, at / width);
    for row in y.saturating_sub(1)..(y + 2).min(height) {
        for column in x.saturating_sub(1)..(x + 2).min(width) {
            if row != y || column != x {
                visit(row * width + column, row != y && column != x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    const OBJECT: [u8; 3] = [200, 40, 40];

    /// A disc of alpha, its edge mixed with white, on white.
    fn disc(size: u32, radius: f32) -> RgbaImage {
        RgbaImage::from_fn(size, size, |x, y| {
            let centre = size as f32 / 2.0 - 0.5;
            let distance = ((x as f32 - centre).powi(2) + (y as f32 - centre).powi(2)).sqrt();
            let alpha = (radius - distance + 0.5).clamp(0.0, 1.0);
            let [r, g, b] = OBJECT.map(|v| (f32::from(v) * alpha + 255.0 * (1.0 - alpha)).round() as u8);
            Rgba([r, g, b, (alpha * 255.0).round() as u8])
        })
    }

    #[test]
    fn no_pixel_keeps_the_background() {
        let mut image = disc(90, 20.0);
        let before = image.clone();
        extend_colors(&mut image, &|| Ok::<(), ()>(())).unwrap();
        for (x, y, pixel) in image.enumerate_pixels() {
            assert_eq!(pixel.0[3], before.get_pixel(x, y).0[3], "alpha is left alone");
            assert!((0..3).all(|c| pixel.0[c].abs_diff(OBJECT[c]) <= 4), "at {x}, {y}: {pixel:?}");
        }
    }

    /// A red and blue stripy disc with an edge ten pixels wide before saturated green; alpha is off
    /// by a fifth either way. The share of green that is left, and the mean error of colours, each
    /// weighted by alpha, over what is half transparent.
    #[test]
    fn soft_edges_keep_their_texture_and_no_background() {
        const GREEN: [f32; 3] = [0.0, 255.0, 0.0];
        let stripes = |x: u32, y: u32| match (x + 2 * y) / 6 % 2 {
            0 => [190.0f32, 30.0, 40.0],
            _ => [60.0, 20.0, 160.0],
        };
        let truth = |x: u32, y: u32| {
            let distance = ((x as f32 - 59.5).powi(2) + (y as f32 - 59.5).powi(2)).sqrt();
            ((45.0 - distance) / 10.0).clamp(0.0, 1.0)
        };
        for off in [-0.2f32, 0.0, 0.2] {
            let image = RgbaImage::from_fn(120, 120, |x, y| {
                let (alpha, object) = (truth(x, y), stripes(x, y));
                let [r, g, b] = [0, 1, 2].map(|c| (object[c] * alpha + GREEN[c] * (1.0 - alpha)).round() as u8);
                Rgba([r, g, b, ((alpha + off * alpha * (1.0 - alpha)) * 255.0).round() as u8])
            });
            let measure = |image: &RgbaImage| {
                let (mut green, mut error, mut total) = (0.0f32, 0.0f32, 0.0f32);
                for (x, y, pixel) in image.enumerate_pixels().filter(|p| (3..250).contains(&p.2.0[3])) {
                    let (object, weight) = (stripes(x, y), f32::from(pixel.0[3]));
                    let apart: [f32; 3] = std::array::from_fn(|c| f32::from(pixel.0[c]) - object[c]);
                    green += weight * (apart[1] / (255.0 - object[1])).max(0.0);
                    error += weight * apart.iter().map(|v| v.abs() / 3.0).sum::<f32>();
                    total += weight;
                }
                [green / total, error / total]
            };
            let (mut extended, mut unmixed) = (image.clone(), image.clone());
            extend_colors(&mut extended, &|| Ok::<(), ()>(())).unwrap();
            unmix_colors(&mut unmixed, &|| Ok::<(), ()>(())).unwrap();
            let [as_it_was, extended, unmixed] = [image, extended, unmixed].map(|image| measure(&image));
            println!("alpha off by {off}: {as_it_was:?}, extended {extended:?}, unmixed {unmixed:?}");
            assert!(as_it_was[0] > 0.3, "{as_it_was:?}");
            assert!(unmixed[0] < 0.02 && unmixed[1] < 0.75 * extended[1], "{off}: {unmixed:?} {extended:?}");
        }
    }

    #[test]
    fn colours_run_on_sideways() {
        // Left half red, right half blue: beyond the edge each side goes on in its colour.
        let mut image = RgbaImage::from_fn(100, 100, |x, y| {
            let inside = (40..60).contains(&x) && (40..60).contains(&y);
            let colour = if x < 50 { [255, 0, 0] } else { [0, 0, 255] };
            if inside { Rgba([colour[0], colour[1], colour[2], 255]) } else { Rgba([0, 0, 0, 0]) }
        });
        extend_colors(&mut image, &|| Ok::<(), ()>(())).unwrap();
        assert_eq!(image.get_pixel(32, 50).0, [255, 0, 0, 0]);
        assert_eq!(image.get_pixel(67, 50).0, [0, 0, 255, 0]);
        assert_eq!(image.get_pixel(0, 0).0, [128, 0, 128, 0], "far away: the mean");
    }

    #[test]
    fn thin_lines_lend_their_densest_colour() {
        let mut image = RgbaImage::from_fn(21, 21, |x, _| match x {
            10 => Rgba([10, 200, 10, 150]),
            9 | 11 => Rgba([200, 220, 200, 40]),
            _ => Rgba([255, 255, 255, 0]),
        });
        extend_colors(&mut image, &|| Ok::<(), ()>(())).unwrap();
        assert_eq!(image.get_pixel(9, 10).0, [10, 200, 10, 40]);
        assert_eq!(image.get_pixel(5, 10).0, [10, 200, 10, 0]);
    }

    #[test]
    fn nothing_visible_is_no_problem() {
        let mut image = RgbaImage::from_pixel(9, 9, Rgba([9, 8, 7, 0]));
        extend_colors(&mut image, &|| Ok::<(), ()>(())).unwrap();
        assert!(image.pixels().all(|p| p.0[3] == 0));
    }
}
