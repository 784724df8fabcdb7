//! An asset turned once around, as pictures.
//!
//! In: mesh, maps, a look, the number of frames. Out: the frames, one at a time,
//! and files made of them. The camera keeps its distance, so nothing grows or
//! shifts while it turns; the light stays with the camera. The first frame is
//! seen from the look's azimuth, the next from farther to the right. Equal input
//! gives equal bytes.

mod encode;

use std::f32::consts::TAU;

use ::image::RgbaImage;
use glam::Vec3;

use super::{
    Maps, Mesh,
    render::{Look, render_framed},
};

pub use encode::{Format, encode};

/// Most pixels in all frames together: some formats need them all in memory, at
/// about 12 bytes a pixel.
pub const MAX_PIXELS: u64 = 1 << 25;

/// Heights in which the turning body is measured.
const SLICES: usize = 48;

/// `n` pictures of `look.size`, evenly over one turn.
pub fn frames<'a>(
    mesh: &'a Mesh,
    maps: &'a Maps,
    look: &'a Look,
    n: u32,
) -> impl ExactSizeIterator<Item = RgbaImage> + 'a {
    let body = turning_body(mesh, n);
    (0..n).map(move |i| {
        let azimuth = look.azimuth + 360.0 * i as f32 / n as f32;
        render_framed(mesh, maps, &Look { azimuth, ..*look }, &body)
    })
}

/// Points around all that the mesh sweeps over when it turns about the vertical
/// axis through the middle of its bounds; alike from each of `n` directions.
fn turning_body(mesh: &Mesh, n: u32) -> Vec<Vec3> {
    let Some((low, high)) = mesh.bounds() else { return Vec::new() };
    let (middle, height) = ((low + high) / 2.0, (high.y - low.y).max(f32::MIN_POSITIVE));
    let mut radii = [0f32; SLICES];
    for p in &mesh.positions {
        let slice = ((p.y - low.y) / height * SLICES as f32) as usize;
        let radius = &mut radii[slice.min(SLICES - 1)];
        *radius = radius.max((p.x - middle.x).hypot(p.z - middle.z));
    }
    // A whole number of points between two directions.
    let around = n.max(1) * 48u32.div_ceil(n.max(1));
    // Where the polygon of points is inside the circle, it is so by this much.
    let outwards = 1.0 / (TAU / 2.0 / around as f32).cos();
    let slices = radii.iter().enumerate().filter(|(_, radius)| **radius > 0.0);
    slices
        .flat_map(|(slice, &radius)| {
            let edge = move |k: usize| low.y + height * (slice + k) as f32 / SLICES as f32;
            (0..around).flat_map(move |i| {
                let (s, c) = (i as f32 / around as f32 * TAU).sin_cos();
                [edge(0), edge(1)]
                    .map(|y| Vec3::new(middle.x + s * radius * outwards, y, middle.z + c * radius * outwards))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{render::Background, shapes, test_shapes::cuboid};

    fn look(size: u32) -> Look {
        Look { size, background: Background::Transparent, ..Look::default() }
    }

    /// Topmost and bottommost opaque row.
    fn rows(picture: &RgbaImage) -> (u32, u32) {
        let all = picture.enumerate_pixels().filter(|(_, _, p)| p.0[3] == 255).map(|(_, y, _)| y);
        all.fold((u32::MAX, 0), |(top, bottom), y| (top.min(y), bottom.max(y)))
    }

    #[test]
    fn a_round_thing_looks_alike_from_everywhere_and_keeps_its_size() {
        let pictures: Vec<_> = frames(&shapes::sphere(48), &shapes::grey(), &look(96), 6).collect();
        assert_eq!(pictures.len(), 6);
        for picture in &pictures[1..] {
            assert_eq!(rows(picture), rows(&pictures[0]));
            let apart = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
            let sum: u64 = picture.as_raw().iter().zip(pictures[0].as_raw()).map(apart).sum();
            assert!(sum < picture.as_raw().len() as u64 / 2, "mean difference above half a step: {sum}");
        }
    }

    #[test]
    fn a_slab_off_the_axis_stays_in_the_frame_at_one_size() {
        let slab = cuboid(Vec3::new(40.0, 3.0, -7.0), Vec3::new(1.0, 0.8, 0.1));
        let heights: Vec<u32> = frames(&slab, &shapes::grey(), &look(128), 8)
            .map(|picture| {
                let rim = picture.enumerate_pixels().filter(|(x, y, _)| x % 127 == 0 || y % 127 == 0);
                assert!(rim.clone().count() > 0 && rim.into_iter().all(|(_, _, p)| p.0[3] < 255), "out of the frame");
                let (top, bottom) = rows(&picture);
                bottom - top
            })
            .collect();
        // Opposite sides look alike; edge on and face on the slab is about as high.
        assert!((0..4).all(|i| heights[i].abs_diff(heights[i + 4]) <= 1), "{heights:?}");
        assert!(heights.iter().max().unwrap() - heights.iter().min().unwrap() < 25, "{heights:?}");
    }

    #[test]
    fn nothing_turns_too() {
        assert_eq!(frames(&Mesh::default(), &shapes::grey(), &look(16), 2).count(), 2);
        assert_eq!(frames(&Mesh::default(), &shapes::grey(), &look(16), 0).count(), 0);
    }
}
