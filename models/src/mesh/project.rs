//! Texture by projection: the cutout painted onto an unwrapped mesh from the front.
//!
//! In: cutout (straight alpha, sRGB), mesh with texture coordinates and its
//! `FrontView`. Out: an opaque texture. The back gets the picture that the front
//! shows at the same place, so nothing jumps at the outline.

mod picture;

use ::image::{Rgba, RgbaImage};
use glam::Vec3;
use rayon::prelude::*;

use self::picture::{Mean, Picture};
use super::{
    FrontView, Mesh,
    raster::{Camera, Cull, Frame, NOTHING, Projection},
};
use crate::image::fill::fill_unknown;

/// Paints a `size` x `size` texture, alpha 255 everywhere. Texels off the charts
/// continue the charts' colours, in every mip level. The rim
/// takes its colour from somewhat inside the outline: neither what the cutout
/// holds under transparent pixels nor a fringe of background reaches the texture.
///
/// A cutout without a single visible pixel gives a black texture.
pub fn project(cutout: &RgbaImage, mesh: &Mesh, front: &FrontView, size: u32) -> RgbaImage {
    let corners: Vec<Vec3> = mesh.uvs.iter().map(|uv| uv.extend(0.0)).collect();
    let projection = Projection::new(&corners, &mesh.triangles, &Camera::texture(), size, size, Cull::Nothing);
    let frame = Frame::draw(&projection);

    let picture = Picture::new(cutout, pixels_per_texel(mesh, front, size));
    let mut texels = vec![[0u8; 3]; frame.faces.len()];
    let mut known: Vec<bool> = frame.faces.iter().map(|&face| face != NOTHING).collect();
    texels.par_chunks_mut(size.max(1) as usize).enumerate().for_each(|(y, row)| {
        for (x, texel) in row.iter_mut().enumerate() {
            if let Some(hit) = frame.hit(&projection, x as u32, y as u32) {
                let [a, b, c] = mesh.corners(mesh.triangles[hit.triangle as usize]);
                let weights = hit.barycentric;
                *texel = picture.sample(front.to_pixel(a * weights.x + b * weights.y + c * weights.z));
            }
        }
    });
    grow(&mut texels, &mut known, size as usize);
    fill_unknown(&mut texels, &mut known, size as usize);
    RgbaImage::from_fn(size, size, |x, y| {
        let [r, g, b] = texels[(y * size + x) as usize];
        Rgba([r, g, b, 255])
    })
}

/// How many pixels of the cutout, along one side, fall on a texel.
fn pixels_per_texel(mesh: &Mesh, front: &FrontView, size: u32) -> f32 {
    let (mut in_picture, mut in_texture) = (0.0, 0.0);
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle).map(|p| front.to_pixel(p));
        in_picture += f64::from((b - a).perp_dot(c - a).abs());
        let [a, b, c] = triangle.map(|v| mesh.uvs[v as usize] * size as f32);
        in_texture += f64::from((b - a).perp_dot(c - a).abs());
    }
    if in_texture > 0.0 { (in_picture / in_texture).sqrt() as f32 } else { 1.0 }
}

/// Texels next to a chart take its colour from there: that is what filtering at
/// the chart's edge mixes in.
fn grow(texels: &mut [[u8; 3]], known: &mut [bool], width: usize) {
    let (before, was_known) = (texels.to_vec(), known.to_vec());
    let height = before.len().checked_div(width).unwrap_or(0);
    texels.par_chunks_mut(width.max(1)).zip(known.par_chunks_mut(width.max(1))).enumerate().for_each(
        |(y, (row, known))| {
            for x in (0..width).filter(|&x| !was_known[y * width + x]) {
                let mut mean = Mean::default();
                for v in y.saturating_sub(1)..(y + 2).min(height) {
                    for u in x.saturating_sub(1)..(x + 2).min(width) {
                        if was_known[v * width + u] {
                            mean.add(before[v * width + u], if u == x || v == y { 2.0 } else { 1.0 });
                        }
                    }
                }
                if let Some(colour) = mean.get() {
                    row[x] = colour;
                    known[x] = true;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use glam::Vec2;

    use super::*;
    use crate::mesh::{
        raster::silhouette,
        test_shapes::{lens, ring},
        unwrap::{PlanarOptions, planar},
    };

    const SIDE: u32 = 400;
    const FRONT: FrontView = FrontView { metres_per_pixel: 1.0 / SIDE as f32, origin: Vec2::splat(SIDE as f32 / 2.0) };

    fn unwrapped(mesh: Mesh) -> Mesh {
        let options = PlanarOptions { padding: 8.0 / 1024.0, spread: 0.5 };
        Mesh { front: Some(FRONT), ..planar(&mesh, &options).unwrap() }
    }

    /// What `object` shows where `coverage` says, blended with `behind` along
    /// the edge and nothing but `behind` outside.
    fn cutout(mesh: &Mesh, behind: [u8; 3], object: impl Fn(u32, u32) -> [u8; 3]) -> RgbaImage {
        let coverage = silhouette(mesh, &FRONT, SIDE, SIDE);
        RgbaImage::from_fn(SIDE, SIDE, |x, y| {
            let alpha = coverage[(y * SIDE + x) as usize];
            let part = f32::from(alpha) / 255.0;
            let [r, g, b] = std::array::from_fn(|k| {
                (f32::from(object(x, y)[k]) * part + f32::from(behind[k]) * (1.0 - part)).round() as u8
            });
            Rgba([r, g, b, alpha])
        })
    }

    /// The mesh from the front, unlit, nearest texel.
    fn front_picture(mesh: &Mesh, texture: &RgbaImage) -> Vec<Option<[u8; 3]>> {
        let camera = Camera::front(&FRONT, SIDE, SIDE, 1.0, -1.0);
        let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, SIDE, SIDE, Cull::Back);
        let frame = Frame::draw(&projection);
        let size = texture.width() as f32;
        (0..SIDE * SIDE)
            .map(|i| {
                let hit = frame.hit(&projection, i % SIDE, i / SIDE)?;
                let [a, b, c] = mesh.triangles[hit.triangle as usize].map(|v| mesh.uvs[v as usize]);
                let uv = (a * hit.barycentric.x + b * hit.barycentric.y + c * hit.barycentric.z) * size - 0.5;
                let at = |dx: f32, dy: f32| {
                    let p = (uv.floor() + Vec2::new(dx, dy)).clamp(Vec2::ZERO, Vec2::splat(size - 1.0));
                    Vec3::from_array(
                        texture.get_pixel(p.x as u32, p.y as u32).0[..3]
                            .try_into()
                            .map(|rgb: [u8; 3]| rgb.map(f32::from))
                            .unwrap(),
                    )
                };
                let part = uv - uv.floor();
                let color =
                    at(0.0, 0.0).lerp(at(1.0, 0.0), part.x).lerp(at(0.0, 1.0).lerp(at(1.0, 1.0), part.x), part.y);
                Some(color.to_array().map(|v| v.round() as u8))
            })
            .collect()
    }

    #[test]
    fn from_the_front_the_mesh_looks_like_the_picture() {
        let mesh = unwrapped(lens(Vec2::new(0.22, 0.45), 0.15, 40));
        // A checker whose corners are blurred as far as any camera would.
        let checker = |x: u32, y: u32| {
            let wave = |v: u32| ((v as f32 / 20.0 * std::f32::consts::PI).sin() * 6.0).clamp(-1.0, 1.0);
            let v = (127.5 + 110.0 * wave(x) * wave(y)) as u8;
            [v, 255 - v, 80]
        };
        let cutout = cutout(&mesh, [255, 0, 255], checker);
        let seen = front_picture(&mesh, &project(&cutout, &mesh, &FRONT, 1024));
        let is_inside = |x: u32, y: u32| cutout.get_pixel(x, y).0[3] == 255;
        let (mut squared, mut n) = (0.0, 0);
        for (x, y) in (2..SIDE - 2).flat_map(|x| (2..SIDE - 2).map(move |y| (x, y))) {
            if (x - 2..=x + 2).all(|u| (y - 2..=y + 2).all(|v| is_inside(u, v))) {
                let seen = seen[(y * SIDE + x) as usize].expect("inside the silhouette");
                for (seen, want) in seen.into_iter().zip(checker(x, y)) {
                    squared += (f64::from(seen) - f64::from(want)).powi(2);
                    n += 1;
                }
            }
        }
        assert!(n > 100_000, "{n}");
        let psnr = 10.0 * (255.0f64.powi(2) / (squared / f64::from(n))).log10();
        assert!(psnr >= 30.0, "{psnr} dB");
    }

    #[test]
    fn no_background_reaches_any_texel_of_any_mip_level() {
        for mesh in [lens(Vec2::new(0.3, 0.45), 0.15, 20), ring(0.3, 0.12, 8)].map(unwrapped) {
            let mut texture = project(&cutout(&mesh, [255, 0, 255], |_, _| [20, 180, 40]), &mesh, &FRONT, 512);
            while texture.width() > 1 {
                for p in texture.pixels() {
                    let [r, g, b, a] = p.0;
                    assert!(r.abs_diff(20) <= 2 && g.abs_diff(180) <= 2 && b.abs_diff(40) <= 2 && a == 255, "{p:?}");
                }
                let half = texture.width() / 2;
                texture = ::image::imageops::resize(&texture, half, half, ::image::imageops::FilterType::Triangle);
            }
        }
    }

    #[test]
    fn the_back_shows_the_same_as_the_front_mirrored() {
        let mesh = unwrapped(lens(Vec2::splat(0.4), 0.2, 24));
        let texture = project(&cutout(&mesh, [0; 3], |x, y| [(x / 2) as u8, (y / 2) as u8, 9]), &mesh, &FRONT, 512);
        let color_at = |uv: Vec2| texture.get_pixel((uv.x * 512.0) as u32, (uv.y * 512.0) as u32).0;
        let at = |p: Vec3| mesh.positions.iter().position(|q| *q == p).map(|v| color_at(mesh.uvs[v]));
        let mut n = 0;
        for (p, uv) in mesh.positions.iter().zip(&mesh.uvs).filter(|(p, _)| p.z > 0.0) {
            if let Some(back) = at(Vec3::new(p.x, p.y, -p.z)) {
                n += 1;
                assert!(
                    color_at(*uv).iter().zip(back).all(|(f, b)| f.abs_diff(b) <= 3),
                    "{p}: {:?}, {back:?}",
                    color_at(*uv)
                );
            }
        }
        assert!(n > 1000, "{n}");
    }

    #[test]
    fn hair_thinner_than_the_edge_keeps_its_colour() {
        // One pixel wide and half transparent, on a magenta ground.
        let mesh = unwrapped(lens(Vec2::new(0.01, 0.45), 0.01, 8));
        let cutout = RgbaImage::from_fn(SIDE, SIDE, |x, y| match x.abs_diff(SIDE / 2) {
            0 if (20..380).contains(&y) => Rgba([10, 20, 200, 120]),
            _ => Rgba([255, 0, 255, 0]),
        });
        let texture = project(&cutout, &mesh, &FRONT, 256);
        assert!(texture.pixels().all(|p| p.0 == [10, 20, 200, 255]));
    }

    #[test]
    fn pictures_without_an_object_and_tiny_pictures_are_survived() {
        let mesh = unwrapped(lens(Vec2::splat(0.4), 0.2, 4));
        assert!(project(&RgbaImage::new(50, 40), &mesh, &FRONT, 64).pixels().all(|p| p.0[3] == 255));
        let one = RgbaImage::from_pixel(1, 1, Rgba([1, 2, 3, 255]));
        assert!(project(&one, &mesh, &FRONT, 64).pixels().all(|p| p.0 == [1, 2, 3, 255]));
    }
}
