//! Baked maps held against known answers, and against the high mesh as a renderer shows it.

use std::sync::Arc;

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3, Vec4};

use super::*;
use crate::{
    error::StageErrorKind,
    image::srgb::Srgb,
    mesh::{
        normals::smooth_normals,
        raster::{Camera, Cull, Frame, Projection},
        tangents::vertex_tangents,
        test_shapes::cuboid,
        textured::{AlphaMode, Material, TextureUse},
    },
};

/// A ball of radius 1 from the six sides of a cube, each an `n` x `n` grid and a chart
/// of its own with some space around it.
fn cube_ball(n: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for side in 0..6 {
        let (axis, sign) = ((side / 2) as usize, if side % 2 == 0 { 1.0 } else { -1.0 });
        let first = mesh.positions.len() as u32;
        for (j, i) in (0..=n).flat_map(|j| (0..=n).map(move |i| (j, i))) {
            let (s, t) = (i as f32 / n as f32 * 2.0 - 1.0, j as f32 / n as f32 * 2.0 - 1.0);
            let mut p = [0.0; 3];
            (p[axis], p[(axis + 1) % 3], p[(axis + 2) % 3]) = (sign, sign * s, t);
            // Equal angles rather than equal lengths.
            let p = Vec3::from_array(p.map(|v: f32| (v * std::f32::consts::FRAC_PI_4).tan())).normalize();
            mesh.positions.push(p);
            let cell = Vec2::new((side % 3) as f32, (side / 3) as f32);
            let within = Vec2::new(s, t) * 0.46 + 0.5;
            mesh.uvs.push((cell + within) / Vec2::new(3.0, 2.0));
        }
        for (j, i) in (0..n).flat_map(|j| (0..n).map(move |i| (j, i))) {
            let a = first + j * (n + 1) + i;
            let [b, c, d] = [a + 1, a + n + 2, a + n + 1];
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh.normals = mesh.positions.clone();
    mesh
}

/// The ball with one chart instead: longitude and latitude.
pub(super) fn globe(n: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for (j, i) in (0..=n).flat_map(|j| (0..=2 * n).map(move |i| (j, i))) {
        let (u, v) = (i as f32 / (2 * n) as f32, j as f32 / n as f32);
        let ((sin, cos), (sin_v, cos_v)) =
            ((u * std::f32::consts::TAU).sin_cos(), (v * std::f32::consts::PI).sin_cos());
        mesh.positions.push(Vec3::new(sin * sin_v, cos_v, cos * sin_v));
        mesh.uvs.push(Vec2::new(u, v) * 0.96 + 0.02);
        if i < 2 * n && j < n {
            let a = j * (2 * n + 1) + i;
            let [b, c, d] = [a + 2 * n + 1, a + 2 * n + 2, a + 1];
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh.normals = mesh.positions.clone();
    mesh
}

/// A flat square of side 2 around the origin that faces +Y, on all of the texture.
fn floor() -> Mesh {
    let corners = [(-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, -1.0)];
    Mesh {
        positions: corners.map(|(x, z)| Vec3::new(x, 0.0, z)).to_vec(),
        normals: vec![Vec3::Y; 4],
        uvs: corners.map(|(x, z)| Vec2::new(x, z) / 2.0 + 0.5).to_vec(),
        triangles: vec![[0, 1, 2], [0, 2, 3]],
        ..Mesh::default()
    }
}

fn painted(mesh: Mesh, texture: RgbaImage) -> TexturedMesh {
    let material = Material { base_color_texture: Some(TextureUse::of(0)), ..Material::default() };
    TexturedMesh { mesh, materials: vec![material], textures: vec![Arc::new(texture)], ..TexturedMesh::default() }
}

fn from_high<'a>(high: &'a TexturedMesh) -> BakeSource<'a> {
    BakeSource { high: Some(high), color: ColorSource::High }
}

fn small() -> BakeOptions {
    BakeOptions { size: 128, occlusion: None, ..BakeOptions::default() }
}

fn baked(low: &Mesh, source: &BakeSource, options: &BakeOptions) -> Maps {
    bake(low, source, options, &|_, _| Ok(())).unwrap()
}

/// Four channels as a renderer reads them: between texels, without mip levels.
fn read(size: u32, uv: Vec2, texel: impl Fn(u32, u32) -> Vec4) -> Vec4 {
    let at = (uv * size as f32 - 0.5).clamp(Vec2::ZERO, Vec2::splat(size as f32 - 1.0));
    let (x, y, part) = (at.x as u32, at.y as u32, at.fract());
    let (right, below) = ((x + 1).min(size - 1), (y + 1).min(size - 1));
    let above = texel(x, y).lerp(texel(right, y), part.x);
    above.lerp(texel(x, below).lerp(texel(right, below), part.x), part.y)
}

fn linear(image: &RgbaImage, uv: Vec2) -> Vec4 {
    read(image.width(), uv, |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0;
        let srgb = Srgb::tables();
        Vec4::new(srgb.to_linear(r), srgb.to_linear(g), srgb.to_linear(b), f32::from(a) / 255.0)
    })
}

/// What `shade` gives for each pixel's triangle and weights, seen along -`back` from far away.
fn view<T>(mesh: &Mesh, back: Vec3, side: u32, shade: impl Fn([usize; 3], Vec3) -> T) -> Vec<Option<T>> {
    let camera = Camera::parallel(-back, Vec3::ZERO, 1.05);
    let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, side, side, Cull::Back);
    let frame = Frame::draw(&projection);
    let pixel = |i: u32| {
        let hit = frame.hit(&projection, i % side, i / side)?;
        Some(shade(mesh.triangles[hit.triangle as usize].map(|v| v as usize), hit.barycentric))
    };
    (0..side * side).map(pixel).collect()
}

fn mix<T: std::ops::Mul<f32, Output = T> + std::ops::Add<Output = T> + Copy>(
    values: &[T],
    [a, b, c]: [usize; 3],
    w: Vec3,
) -> T {
    values[a] * w.x + values[b] * w.y + values[c] * w.z
}

pub(super) const VIEWS: [Vec3; 4] =
    [Vec3::Z, Vec3::new(0.6, 0.48, 0.64), Vec3::new(-0.48, -0.6, 0.64), Vec3::new(-0.8, 0.36, -0.48)];

#[test]
fn a_low_ball_with_the_normal_map_of_a_fine_one_looks_like_the_fine_one() {
    let (low, high) = (cube_ball(8), TexturedMesh::from(Mesh { uvs: Vec::new(), ..cube_ball(64) }));
    // Normals of the low mesh are its own, not the true ball's: the map has to make up for it.
    let low = Mesh { normals: smooth_normals(&low.positions, &low.triangles), ..low };
    let options = BakeOptions { size: 256, cage: 0.05, occlusion: None, ..BakeOptions::default() };
    let map = baked(&low, &from_high(&high), &options).normal.unwrap();
    let tangents = vertex_tangents(&low);

    for back in VIEWS {
        let seen = view(&low, back, 160, |triangle, w| {
            let normal = mix(&low.normals, triangle, w).normalize();
            let tangent = mix(&tangents, triangle, w);
            let along = tangent.truncate().normalize();
            let bitangent = normal.cross(along) * tangents[triangle[0]].w;
            let texel = read(256, mix(&low.uvs, triangle, w), |x, y| {
                let [r, g, b] = map.get_pixel(x, y).0.map(|v| f32::from(v) / 255.0 * 2.0 - 1.0);
                Vec4::new(r, g, b, 0.0)
            });
            (along * texel.x + bitangent * texel.y + normal * texel.z).normalize()
        });
        let want = view(&high.mesh, back, 160, |triangle, w| mix(&high.mesh.normals, triangle, w).normalize());
        let angles: Vec<f64> = seen
            .iter()
            .zip(&want)
            .filter_map(|(seen, want)| Some(f64::from((*seen)?.angle_between((*want)?)).to_degrees()))
            .collect();
        let mean = angles.iter().sum::<f64>() / angles.len() as f64;
        println!("normal map: {mean:.3} degrees over {} pixels", angles.len());
        assert!(angles.len() > 10_000 && mean < 1.0, "{mean} degrees from {back}");
    }
}

/// Unlit pixels in linear light, 4 x 4 samples each, of a texture that repeats; the background is black.
fn unlit(mesh: &Mesh, texture: &RgbaImage, back: Vec3, side: u32) -> Vec<Vec3> {
    let samples = view(mesh, back, side * 4, |triangle, w| {
        let uv = mix(&mesh.uvs, triangle, w);
        linear(texture, uv - uv.floor()).truncate()
    });
    let mean = |i: u32| {
        let (x, y) = (i % side * 4, i / side * 4);
        let block = (0..16).map(|k| samples[((y + k / 4) * side * 4 + x + k % 4) as usize].unwrap_or(Vec3::ZERO));
        block.sum::<Vec3>() / 16.0
    };
    (0..side * side).map(mean).collect()
}

pub(super) fn checker(size: u32, cell: u32) -> RgbaImage {
    RgbaImage::from_fn(size, size, |x, y| {
        if (x / cell + y / cell).is_multiple_of(2) { Rgba([230, 60, 40, 255]) } else { Rgba([30, 90, 200, 255]) }
    })
}

#[test]
fn a_checker_on_new_texture_coordinates_looks_the_same() {
    // The same ball; its old texture coordinates are turned, sheared, mirrored and repeat the texture.
    let low = globe(48);
    let texture = checker(1024, 64);
    let turned = low.uvs.iter().map(|uv| Vec2::new(0.9 * uv.y - 0.6 * uv.x, 1.5 * uv.x + 0.3 * uv.y)).collect();
    let high = painted(Mesh { uvs: turned, ..low.clone() }, texture.clone());
    let options = BakeOptions { size: 1024, normal: false, occlusion: None, ..BakeOptions::default() };
    let maps = baked(&low, &from_high(&high), &options);
    let psnr = psnr((&low, &maps.base_color), (&high.mesh, &texture), &VIEWS[..2]);
    assert!(psnr >= 35.0, "{psnr} dB");
}

/// How alike two textured meshes look from `views`, in dB; background counts where
/// one of them shows it and the other does not.
pub(super) fn psnr(seen: (&Mesh, &RgbaImage), want: (&Mesh, &RgbaImage), views: &[Vec3]) -> f64 {
    let srgb = Srgb::tables();
    let (mut squared, mut n) = (0.0, 0);
    for back in views {
        let (seen, want) = (unlit(seen.0, seen.1, *back, 200), unlit(want.0, want.1, *back, 200));
        for (seen, want) in seen.iter().zip(want).filter(|(seen, want)| seen.x > 0.0 || want.x > 0.0) {
            for (seen, want) in seen.to_array().into_iter().zip(want.to_array()) {
                squared += (f64::from(srgb.from_linear(seen)) - f64::from(srgb.from_linear(want))).powi(2);
                n += 1;
            }
        }
    }
    let psnr = 10.0 * (255.0f64.powi(2) / (squared / n as f64)).log10();
    println!("checker: {psnr:.2} dB over {n} values");
    assert!(n > 50_000 * views.len(), "{n} values in {} views", views.len());
    psnr
}

#[test]
fn light_beside_a_wall_is_what_the_form_factor_says() {
    // A wall along the floor's left edge, so long that its ends do not matter.
    const HEIGHT: f32 = 0.5;
    const SIZE: u32 = 256;
    let low = floor();
    let mut high = low.clone();
    let first = high.positions.len() as u32;
    high.positions
        .extend([(0.0, 50.0), (0.0, -50.0), (HEIGHT, -50.0), (HEIGHT, 50.0)].map(|(y, z)| Vec3::new(-1.0, y, z)));
    high.normals.extend([Vec3::X; 4]);
    high.uvs.clear();
    high.triangles.extend([[first, first + 1, first + 2], [first, first + 2, first + 3]]);
    let occlusion = Some(Occlusion { samples: 32, distance: f32::INFINITY });
    let options = BakeOptions { size: SIZE, supersample: 1, occlusion, ..small() };
    let high = TexturedMesh::from(high);
    let orm = baked(&low, &from_high(&high), &options).orm.unwrap();
    let inner = 1..SIZE - 2;
    let mut sum = 0.0;
    for (x, _, pixel) in orm.enumerate_pixels().filter(|(x, y, _)| inner.contains(x) && inner.contains(y)) {
        // Blended over two texels to the right and one to the left: the mean is half a texel
        // on. At the border of the texture there are fewer texels, hence fewer rays.
        let distance = (x as f32 + 1.0) / SIZE as f32 * 2.0;
        let want = 1.0 - 0.5 * (1.0 - distance / (distance * distance + HEIGHT * HEIGHT).sqrt());
        // 1/512 by rounding to bytes; 512 rays, not all from one point, are up to 0.014 off here.
        let seen = f32::from(pixel.0[0]) / 255.0;
        assert!((seen - want).abs() < 0.02, "column {x}: {seen}, not {want}");
        sum += seen - want;
    }
    let mean = sum / (inner.len() * inner.len()) as f32;
    assert!(mean.abs() < 0.004, "on average {mean} too bright");
    // With a reach of 0.4 m what lies beyond sees no wall.
    let (low_corner, high_corner) = high.mesh.bounds().unwrap();
    let occlusion = Some(Occlusion { samples: 32, distance: 0.4 / (high_corner - low_corner).length() });
    let orm = baked(&low, &from_high(&high), &BakeOptions { occlusion, ..options }).orm.unwrap();
    // A texel is 1/128 m; close to the limit only rays along the floor are short enough.
    assert!(orm.enumerate_pixels().all(|(x, _, p)| x < 52 || p.0[0] == 255));
    assert!(orm.enumerate_pixels().all(|(x, _, p)| x > 30 || p.0[0] < 250));
}

#[test]
fn nothing_darkens_the_outside_of_a_ball_and_the_inside_of_a_box_is_black() {
    let ball = cube_ball(12);
    let options = BakeOptions {
        occlusion: Some(Occlusion { samples: 4, distance: 1.0 }),
        extras: vec![Extra::Thickness],
        thickness_samples: 8,
        ..small()
    };
    let maps = baked(&ball, &BakeSource { high: None, color: ColorSource::High }, &options);
    assert!(maps.orm.unwrap().pixels().all(|p| p.0 == [255; 3]));
    // A chord at angle a to the normal is 2 cos(a) long; the mean by the cosine law is 4/3,
    // of a longest side of 2. The ball has flat faces, hence a little less.
    for pixel in maps.extra["thickness"].pixels() {
        assert!(pixel.0[0].abs_diff((2.0 / 3.0 * 255.0) as u8) <= 6, "{pixel:?}");
    }

    // The same floor within a closed box.
    let mut high = cuboid(Vec3::ZERO, Vec3::splat(3.0));
    let first = high.positions.len() as u32;
    high.positions.extend(floor().positions);
    high.triangles.extend(floor().triangles.iter().map(|t| t.map(|v| v + first)));
    let orm = baked(&floor(), &from_high(&TexturedMesh::from(high)), &options).orm.unwrap();
    assert!(orm.pixels().all(|p| p.0 == [0, 255, 255]));
}

/// The largest difference, of 255, between what both sides of each seam show.
fn seam(mesh: &Mesh, texture: &RgbaImage) -> f32 {
    let mut sides: std::collections::BTreeMap<[[u32; 3]; 2], Vec<[u32; 2]>> = Default::default();
    for triangle in &mesh.triangles {
        for k in 0..3 {
            let mut edge = [triangle[k], triangle[(k + 1) % 3]];
            let key = |v: u32| mesh.positions[v as usize].to_array().map(f32::to_bits);
            edge.sort_by_key(|v| key(*v));
            sides.entry(edge.map(key)).or_default().push(edge);
        }
    }
    let mut worst = 0.0f32;
    for edges in sides.values().filter(|edges| edges.len() == 2 && edges[0] != edges[1]) {
        for part in [0.1, 0.35, 0.5, 0.8] {
            let [a, b] = [0, 1].map(|i| {
                let [from, to] = edges[i].map(|v| mesh.uvs[v as usize]);
                linear(texture, from.lerp(to, part)).truncate()
            });
            worst = worst.max((a - b).abs().max_element() * 255.0);
        }
    }
    worst
}

#[test]
fn colours_by_position_meet_along_seams() {
    let ball = cube_ball(10);
    let color = |points: &[Vec3], normals: &[Vec3]| {
        assert!(points.len() == normals.len() && normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-5));
        points.iter().map(|p| (*p * 0.45 + 0.5).extend(1.0).to_array()).collect()
    };
    let source = BakeSource { high: None, color: ColorSource::Points(&color) };
    let maps = baked(&ball, &source, &BakeOptions { roughness: 0.3, ..small() });
    assert!(maps.normal.is_none() && maps.orm.is_none() && maps.roughness == 0.3);
    let worst = seam(&ball, &maps.base_color);
    println!("seam: {worst:.2} of 255");
    // One by rounding to bytes, where linear steps of a bright byte are about 2 of 255.
    assert!(worst <= 3.0, "{worst}");
}

#[test]
fn nothing_foreign_reaches_any_texel_of_any_mip_level() {
    let high = painted(cube_ball(16), RgbaImage::from_pixel(4, 4, Rgba([20, 180, 40, 255])));
    let mut texture = baked(&cube_ball(6), &from_high(&high), &small()).base_color;
    while texture.width() > 1 {
        assert!(texture.pixels().all(|p| p.0 == [20, 180, 40, 255]), "level of {}", texture.width());
        let half = texture.width() / 2;
        texture = ::image::imageops::resize(&texture, half, half, ::image::imageops::FilterType::Triangle);
    }
}

#[test]
fn both_sides_of_a_thin_plate_keep_their_own_colour() {
    // The high plate is half as thick, so that its far side is within the cage too.
    let low = plate(0.02);
    let mut high = TexturedMesh::from(plate(0.01));
    high.mesh.uvs.clear();
    high.colors = high.mesh.normals.iter().map(|n| Vec4::new(n.y.max(0.0), 0.0, (-n.y).max(0.0), 1.0)).collect();
    let maps = baked(&low, &from_high(&high), &BakeOptions { cage: 0.1, ..small() });
    for (x, _, pixel) in maps.base_color.enumerate_pixels().filter(|(x, _, _)| x % 64 != 0 && x % 64 != 63) {
        assert_eq!(pixel.0, if x < 64 { [255, 0, 0, 255] } else { [0, 0, 255, 255] }, "column {x}");
    }
}

/// Two squares back to back: the upper one on the left half of the texture.
fn plate(half: f32) -> Mesh {
    let mut mesh = floor();
    mesh.uvs.iter_mut().for_each(|uv| uv.x *= 0.5);
    let lower: Vec<Vec2> = mesh.uvs.iter().map(|uv| Vec2::new(1.0 - uv.x, uv.y)).collect();
    mesh.uvs.extend(lower);
    mesh.positions.iter_mut().for_each(|p| p.y = half);
    mesh.positions.extend(mesh.positions.clone().iter().map(|p| Vec3::new(p.x, -half, p.z)));
    mesh.normals.extend([Vec3::NEG_Y; 4]);
    mesh.triangles.extend([[4, 6, 5], [4, 7, 6]]);
    mesh
}

#[test]
fn materials_that_differ_are_packed_and_equal_ones_stay_factors() {
    let mut high = TexturedMesh::from(plate(0.02));
    let own = |roughness, metallic, alpha| Material {
        roughness,
        metallic,
        alpha,
        emissive: [0.5, 0.0, 1.5],
        base_color: Vec4::new(1.0, 1.0, 1.0, 0.4),
        ..Material::default()
    };
    high.materials = vec![own(0.2, 1.0, AlphaMode::Opaque), own(0.6, 0.0, AlphaMode::Blend)];
    high.face_materials = vec![0, 0, 1, 1];
    let options = BakeOptions { extras: vec![Extra::MaterialId], occlusion: Some(Occlusion::default()), ..small() };
    let maps = baked(&plate(0.02), &from_high(&high), &options);
    let (left, right) = ((20, 64), (100, 64));
    let pixel = |image: &RgbImage, (x, y)| image.get_pixel(x, y).0;
    let orm = maps.orm.as_ref().unwrap();
    assert_eq!((pixel(orm, left), pixel(orm, right)), ([255, 51, 255], [255, 153, 0]));
    assert_eq!((maps.roughness, maps.metallic), (1.0, 1.0));
    assert_eq!(pixel(maps.emissive.as_ref().unwrap(), left), [188, 0, 255]);
    assert_eq!([left, right].map(|(x, y)| maps.base_color.get_pixel(x, y).0[3]), [255, 102]);
    let ids = &maps.extra["material-id"];
    assert_ne!(pixel(ids, left), pixel(ids, right));

    high.materials[1] = own(0.2, 1.0, AlphaMode::Opaque);
    let maps = baked(&plate(0.02), &from_high(&high), &small());
    assert!(maps.orm.is_none() && (maps.roughness, maps.metallic) == (0.2, 1.0));
    assert!(maps.base_color.pixels().all(|p| p.0[3] == 255));
}

#[test]
fn an_occlusion_texture_of_the_source_goes_before_rays() {
    let mut high = painted(floor(), RgbaImage::from_pixel(2, 2, Rgba([102, 0, 0, 255])));
    high.materials[0].occlusion_texture = Some(TextureUse::of(0));
    for occlusion in [None, Some(Occlusion::default())] {
        let maps = baked(&floor(), &from_high(&high), &BakeOptions { occlusion, ..small() });
        assert!(maps.orm.unwrap().pixels().all(|p| p.0 == [102, 255, 255]));
    }
}

#[test]
fn maps_on_request_hold_what_they_are_named_after() {
    // The high floor is half a cage above the low one, tilted by nothing.
    let low = floor();
    let diagonal = 8.0f32.sqrt();
    let mut high = low.clone();
    high.positions.iter_mut().for_each(|p| p.y += 0.02 * diagonal / 2.0);
    high.uvs.clear();
    let options = BakeOptions { extras: Extra::ALL.to_vec(), ..small() };
    let maps = baked(&low, &from_high(&TexturedMesh::from(high)), &options);
    let names: Vec<&str> = maps.extra.keys().map(String::as_str).collect();
    assert_eq!(names, ["curvature", "height", "material-id", "object-normal", "position", "thickness"]);
    let at = |name: &str, x, y| maps.extra[name].get_pixel(x, y).0;
    assert_eq!(at("height", 64, 64), [191; 3]);
    assert_eq!(at("curvature", 64, 64), [128; 3]);
    assert_eq!(at("object-normal", 64, 64), [128, 255, 128]);
    // x from left to right, z from top to bottom; y is above the low mesh's top.
    let [x, y, z] = at("position", 96, 32);
    assert!(x.abs_diff(192) <= 1 && z.abs_diff(64) <= 1 && y.abs_diff(4) <= 1, "{x} {y} {z}");
    // No ray meets anything below.
    assert_eq!(at("thickness", 64, 64), [255; 3]);
}

#[test]
fn equal_input_gives_equal_bytes_on_any_number_of_threads() {
    let high = painted(cube_ball(20), checker(64, 8));
    let options = BakeOptions {
        size: 64,
        occlusion: Some(Occlusion { samples: 2, distance: 0.3 }),
        extras: Extra::ALL.to_vec(),
        ..BakeOptions::default()
    };
    let draw = || baked(&cube_ball(6), &from_high(&high), &options);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(draw);
    let together = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap().install(draw);
    assert!(alone == together);
}

#[test]
fn an_error_of_the_listener_ends_the_work() {
    let high = TexturedMesh::from(cube_ball(4));
    let told = std::cell::RefCell::new(Vec::new());
    let step = |done, total| {
        told.borrow_mut().push((done, total));
        if done == 2 { Err(StageError::cancelled()) } else { Ok(()) }
    };
    let error = bake(&cube_ball(2), &from_high(&high), &BakeOptions { size: 512, ..small() }, &step).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::Cancelled);
    let told = told.into_inner();
    assert_eq!(told.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1, 2]);
    let all = std::cell::RefCell::new(Vec::new());
    bake(&cube_ball(2), &from_high(&high), &small(), &|done, total| {
        all.borrow_mut().push((done, total));
        Ok(())
    })
    .unwrap();
    let all = all.into_inner();
    assert!(all.windows(2).all(|w| w[1].0 == w[0].0 + 1) && all.last().is_some_and(|(done, total)| done == total));
}

#[test]
fn what_cannot_be_baked_is_refused() {
    let high = TexturedMesh::from(cube_ball(2));
    let flat =
        TexturedMesh::from(Mesh { positions: vec![Vec3::ONE; 3], triangles: vec![[0, 1, 2]], ..Mesh::default() });
    let low = cube_ball(2);
    let no_layout = Mesh { uvs: Vec::new(), ..low.clone() };
    let refused = |low: &Mesh, high: &TexturedMesh, options: BakeOptions| {
        assert_eq!(
            bake(low, &from_high(high), &options, &|_, _| Ok(())).unwrap_err().kind,
            StageErrorKind::InvalidInput
        );
    };
    refused(&no_layout, &high, small());
    refused(&Mesh::default(), &high, small());
    refused(&low, &flat, small());
    refused(&low, &TexturedMesh::default(), small());
    for options in [
        BakeOptions { size: 8, ..small() },
        BakeOptions { size: 9000, ..small() },
        BakeOptions { supersample: 0, ..small() },
        BakeOptions { cage: f32::NAN, ..small() },
        BakeOptions { occlusion: Some(Occlusion { samples: 0, distance: 1.0 }), ..small() },
        BakeOptions { occlusion: Some(Occlusion { samples: 1, distance: f32::NAN }), ..small() },
    ] {
        refused(&low, &high, options);
    }
}
