//! Colours along and beyond an object's edge: the object's own.
//!
//! Half-transparent pixels carry colours mixed with the background, and
//! transparent ones carry anything at all. Both are replaced by the nearest
//! colours that are surely the object's, so that whoever samples the picture near
//! the edge never sees a fringe.

use ::image::RgbaImage;
use rayon::prelude::*;

use super::plane::Plane;

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
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut states = states(image);
    poll()?;
    let raw: &mut [u8] = image.as_mut();
    let mean = mean_colour(raw, &states);

    let mut front: Vec<u32> = (0..states.len())
        .into_par_iter()
        .filter(|at| states[*at] != State::Known && beside_known(&states, *at, width, height))
        .map(|at| at as u32)
        .collect();
    let mut ring = 0;
    while !front.is_empty() {
        poll()?;
        // Colours of a ring depend on earlier rings only, not on the order within it.
        let colours: Vec<[u8; 3]> =
            front.par_iter().map(|at| colour_nearby(raw, &states, *at as usize, width, height)).collect();
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
                if states[n] != State::Known && (ring < EXTENT || raw[n * 4 + 3] > 0) {
                    next.push(n as u32);
                }
            });
        }
        next.sort_unstable();
        next.dedup();
        front = next;
    }
    raw.par_chunks_exact_mut(4).zip(&states).for_each(|(pixel, state)| {
        if *state != State::Known {
            pixel[..3].copy_from_slice(&mean);
        }
    });
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

/// Combines each pixel with those up to `radius` columns and rows away.
fn windowed(plane: &Plane<u8>, radius: usize, combine: impl Fn(u8, u8) -> u8 + Sync) -> Plane<u8> {
    let (width, height) = (plane.width, plane.height);
    let mut across = vec![0u8; width * height];
    across.par_chunks_exact_mut(width).zip(plane.data.par_chunks_exact(width)).for_each(|(out, row)| {
        out.copy_from_slice(row);
        for k in 1..=radius.min(width - 1) {
            out[k..].iter_mut().zip(&row[..width - k]).for_each(|(o, v)| *o = combine(*o, *v));
            out[..width - k].iter_mut().zip(&row[k..]).for_each(|(o, v)| *o = combine(*o, *v));
        }
    });
    let mut data = vec![0u8; width * height];
    data.par_chunks_exact_mut(width).enumerate().for_each(|(y, out)| {
        let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
        out.copy_from_slice(&across[y * width..(y + 1) * width]);
        for row in rows {
            out.iter_mut().zip(&across[row * width..(row + 1) * width]).for_each(|(o, v)| *o = combine(*o, *v));
        }
    });
    Plane { width, height, data }
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
