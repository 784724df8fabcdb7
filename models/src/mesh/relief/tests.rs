//! What reliefs look like: heights that are known, borders, orientation, closedness, layout.

use ::image::Rgba;
use glam::Vec3;

use super::*;
use crate::{
    image::plane::Plane,
    mesh::{
        test_support::draw,
        topology::topology,
        uv::{self, layout},
    },
};

const SIDE: usize = 256;

fn how() -> Relief {
    Relief {
        form: Form::Relief,
        width: 0.0,
        height: 2.0,
        depth: 0.25,
        base: 0.05,
        subdivisions: 128,
        border: Border::Plain,
        border_width: 0.1,
        invert: false,
        smooth: 0.0,
        clip: [0.0; 2],
        paint: Paint::Picture,
    }
}

/// Of a hemisphere on a plane, relative to its radius, which is 0.4 of the side; `x` and `y` in pixels.
fn dome(x: f32, y: f32) -> f32 {
    let p = (Vec2::new(x, y) / SIDE as f32 - 0.5) / 0.4;
    (1.0 - p.length_squared()).max(0.0).sqrt()
}

/// `bits` deep.
fn dome_map(bits: u32) -> DepthMap {
    let level = |x: usize, y: usize| {
        let height = dome(x as f32 + 0.5, y as f32 + 0.5);
        let levels = f32::from(u16::MAX >> (16 - bits));
        ((height * levels).round() * (65535.0 / levels)).round() as u16
    };
    DepthMap::of_heights(Plane::from_fn(SIDE, SIDE, level))
}

fn picture() -> RgbaImage {
    RgbaImage::from_fn(SIDE as u32, SIDE as u32, |x, y| Rgba([x as u8, y as u8, 60, 255]))
}

fn make(depth: &DepthMap, outline: Option<&RgbaImage>, how: &Relief) -> Made {
    relief(depth, &picture(), outline, how, &|| Ok(())).unwrap()
}

/// Vertices of the front with their height above the back, relative to the whole.
fn front(mesh: &Mesh, how: &Relief) -> Vec<(Vec2, f32)> {
    let (low, high) = mesh.bounds().unwrap();
    let n = (how.subdivisions + 1).pow(2);
    let base = how.base * 2.0;
    mesh.positions[..n]
        .iter()
        .map(|p| {
            let pixel = Vec2::new(p.x - low.x, high.y - p.y) / (high.y - low.y) * SIDE as f32;
            (pixel, (p.z - low.z - base) / (how.depth * 2.0))
        })
        .collect()
}

/// Largest error of the dome's heights, away from its rim, where it is steeper than any grid.
fn dome_error(mesh: &Mesh, how: &Relief) -> f32 {
    let steep = |p: &Vec2| ((*p / SIDE as f32 - 0.5).length() - 0.4).abs() < 0.03;
    let errors = front(mesh, how).into_iter().filter(|(p, _)| !steep(p)).map(|(p, z)| (z - dome(p.x, p.y)).abs());
    errors.fold(0.0, f32::max)
}

#[test]
fn a_dome_has_the_heights_of_a_dome_and_sixteen_bits_tell_them_finer() {
    let how = how();
    let (deep, coarse) = (make(&dome_map(16), None, &how), make(&dome_map(8), None, &how));
    assert!(dome_error(&deep.mesh, &how) < 0.004, "{}", dome_error(&deep.mesh, &how));
    assert!(dome_error(&coarse.mesh, &how) < 0.008, "{}", dome_error(&coarse.mesh, &how));
    let (low, high) = deep.mesh.bounds().unwrap();
    let close = |a: Vec3, b: Vec3| a.distance(b) < 0.005;
    // 2 m high, a base of 0.1 m and 0.5 m of relief, standing on the ground.
    assert!(close(low, Vec3::new(-1.0, 0.0, -0.3)) && close(high, Vec3::new(1.0, 2.0, 0.3)), "{low} {high}");
}

#[test]
fn steps_of_eight_bits_are_gone_and_those_of_the_picture_stay() {
    // A slope of three levels over the whole width: 8 bits have four terraces of it.
    let slope = |bits: u32| {
        let levels = f32::from(u16::MAX >> (16 - bits));
        let value = |x: usize| ((100.0 + 3.0 * x as f32 / SIDE as f32) / 255.0 * levels).round() * (65535.0 / levels);
        DepthMap::of_heights(Plane::from_fn(SIDE, SIDE, |x, _| value(x).round() as u16))
    };
    let roughness = |map: &DepthMap| {
        let mesh = make(map, None, &how()).mesh;
        let normals = &mesh.normals[..129 * 129];
        normals.iter().map(|n| n.x).fold(0.0f32, |a, b| a.max(b.abs()))
    };
    let (deep, coarse) = (roughness(&slope(16)), roughness(&slope(8)));
    assert!(coarse < 3.0 * deep, "{coarse} {deep}");
    // A low dome of 60 levels is as round as one of 16 bits: its normals are those of a dome.
    let low_dome = |bits: u32| {
        let levels = f32::from(u16::MAX >> (16 - bits));
        let value = |x: usize, y: usize| (40.0 + 60.0 * dome(x as f32 + 0.5, y as f32 + 0.5)) / 255.0;
        let level = |x: usize, y: usize| ((value(x, y) * levels).round() * (65535.0 / levels)).round() as u16;
        DepthMap::of_heights(Plane::from_fn(SIDE, SIDE, level))
    };
    let how = Relief { smooth: 1.0, ..how() };
    let (deep, coarse) = (make(&low_dome(16), None, &how).mesh, make(&low_dome(8), None, &how).mesh);
    let n = 129 * 129;
    let inside = |p: &Vec3| Vec2::new(p.x, p.y - 1.0).length() < 0.7;
    let off = (0..n).filter(|i| inside(&deep.positions[*i]));
    let angles: Vec<f32> = off.map(|i| deep.normals[i].angle_between(coarse.normals[i]).to_degrees()).collect();
    let mean = angles.iter().sum::<f32>() / angles.len() as f32;
    let worst = angles.iter().copied().fold(0.0, f32::max);
    println!("low dome: normals off by {mean} degrees, at most {worst}");
    assert!(mean < 1.0 && worst < 6.0, "{mean} {worst}");
    // A cliff stays one.
    let cliff = DepthMap::of_heights(Plane::from_fn(SIDE, SIDE, |x, _| if x < 128 { 0 } else { 65535 }));
    let how = Relief { smooth: 0.0, ..how };
    let heights = front(&make(&cliff, None, &how).mesh, &how);
    let between = heights.iter().filter(|(_, z)| (0.01..0.99).contains(z)).count();
    assert!(between <= 2 * 129, "{between}");
}

#[test]
fn every_form_is_closed_where_it_says_so_and_its_layout_is_clean() {
    let ring = draw(SIDE as u32, SIDE as u32, |p| (40.0..120.0).contains(&p.distance(Vec2::splat(128.0))));
    for (form, outline) in [
        (Form::Relief, None),
        (Form::Block, None),
        (Form::Terrain, None),
        (Form::Relief, Some(&ring)),
        (Form::Block, Some(&ring)),
        (Form::Terrain, Some(&ring)),
    ] {
        for border in [Border::Plain, Border::Frame, Border::Taper] {
            let how = Relief { form, border, ..how() };
            let Made { mesh, high } = make(&dome_map(16), outline, &how);
            let found = topology(&mesh.positions, &mesh.triangles);
            assert_eq!(found.is_watertight(), form != Form::Terrain, "{form:?} {border:?}");
            assert!(found.is_manifold() && found.n_degenerate == 0, "{form:?} {border:?} {found:?}");
            let used = uv::measure(&mesh.uvs, &mesh.triangles, 1024);
            let laid = layout::measure(&mesh);
            assert!(used.n_outside == 0 && used.overlap < 1e-4, "{form:?} {border:?} {used:?}");
            assert_eq!((laid.n_flipped, laid.n_flat), (0, 0), "{form:?} {border:?}");
            assert_eq!(high.mesh.positions, mesh.positions);
            assert!(mesh.normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-4));
            // All triangles face away from the inside.
            if form != Form::Terrain {
                let volume: f32 = mesh
                    .triangles
                    .iter()
                    .map(|t| {
                        let [a, b, c] = mesh.corners(*t);
                        a.dot(b.cross(c)) / 6.0
                    })
                    .sum();
                assert!(volume > 0.0, "{form:?} {border:?} {volume}");
            }
        }
    }
}

#[test]
fn terrain_lies_flat_with_the_pictures_upper_edge_away() {
    // Highest in the upper right corner.
    let map = DepthMap::of_heights(Plane::from_fn(64, 64, |x, y| ((x + 63 - y) * 500) as u16));
    let how = Relief { form: Form::Terrain, width: 10.0, height: 0.0, ..how() };
    let mesh = make(&map, None, &how).mesh;
    let (low, high) = mesh.bounds().unwrap();
    assert!(low.distance(Vec3::new(-5.0, 0.0, -5.0)) < 0.1 && high.distance(Vec3::new(5.0, 2.5, 5.0)) < 0.1);
    let top = mesh.positions.iter().copied().max_by(|a, b| a.y.total_cmp(&b.y)).unwrap();
    assert!(top.x > 4.8 && top.z < -4.8, "{top}");
    assert!(mesh.normals.iter().all(|n| n.y > 0.5));
}

#[test]
fn borders_are_flat_rims_or_run_out_low_and_inverted_is_the_other_way_round() {
    let at_edge = |mesh: &Mesh, how: &Relief| {
        let on_edge = |p: &Vec2| p.min_element() < 0.1 || p.max_element() > SIDE as f32 - 0.1;
        let edge: Vec<f32> = front(mesh, how).into_iter().filter(|(p, _)| on_edge(p)).map(|(_, z)| z).collect();
        (edge.iter().copied().fold(f32::MAX, f32::min), edge.iter().copied().fold(f32::MIN, f32::max))
    };
    let map = DepthMap::of_heights(Plane::from_fn(SIDE, SIDE, |x, y| ((x * 7 + y * 13) % 256 * 257) as u16));
    for (border, expected) in [(Border::Frame, 1.0f32), (Border::Taper, 0.0)] {
        let how = Relief { border, ..how() };
        let (low, high) = at_edge(&make(&map, None, &how).mesh, &how);
        assert!((low - expected).abs() < 1e-3 && (high - expected).abs() < 1e-3, "{border:?} {low} {high}");
    }
    let how = Relief { invert: true, ..how() };
    let heights = front(&make(&dome_map(16), None, &how).mesh, &how);
    let middle = heights.iter().find(|(p, _)| p.distance(Vec2::splat(128.0)) < 1.0).unwrap().1;
    assert!(middle < 0.01 && heights[0].1 > 0.99, "{middle} {}", heights[0].1);
}

#[test]
fn outliers_are_clipped_and_what_lies_outside_the_outline_does_not_count() {
    let spiked = Plane::from_fn(SIDE, SIDE, |x, y| {
        let inside = (x as f32 - 128.0).hypot(y as f32 - 128.0) < 90.0;
        match (inside, (x + y) % 128 == 3 && x % 64 == 1) {
            (false, _) => 60_000,
            (true, true) => 65_535,
            (true, false) => 1_000 + (x * 10) as u16,
        }
    });
    let coin = draw(SIDE as u32, SIDE as u32, |p| p.distance(Vec2::splat(128.0)) < 88.0);
    let how = Relief { clip: [0.01, 0.01], ..how() };
    let mesh = make(&DepthMap::of_heights(spiked), Some(&coin), &how).mesh;
    let (low, high) = mesh.bounds().unwrap();
    let thickness = (high.z - low.z) / 2.0;
    assert!((thickness - 0.3).abs() < 0.01, "{thickness}");
    // Left is low and right is high, whatever is around: the slope fills the range.
    let top = |x: f32| {
        let near = mesh.positions.iter().filter(|p| (p.x - x).abs() < 0.05 && (p.y - 1.0).abs() < 0.1);
        near.map(|p| p.z).fold(f32::MIN, f32::max) - low.z
    };
    assert!(top(-0.8) < 0.2 && top(0.8) > 0.45, "{} {}", top(-0.8), top(0.8));
}

#[test]
fn what_is_around_an_object_does_not_bleed_into_its_rim() {
    // A flat grey disc before white: the rim is as high as the middle.
    let disc = Plane::from_fn(SIDE, SIDE, |x, y| {
        let radius = (x as f32 + 0.5 - 128.0).hypot(y as f32 + 0.5 - 128.0);
        let white = ((radius - 90.0) / 2.0 + 0.5).clamp(0.0, 1.0);
        let level = if radius < 30.0 { 10_000.0 } else { 20_000.0 };
        (level + (65_535.0 - level) * white) as u16
    });
    let coin = draw(SIDE as u32, SIDE as u32, |p| p.distance(Vec2::splat(128.0)) < 90.0);
    for subdivisions in [48, 300] {
        let how = Relief { subdivisions, smooth: 1.0, ..how() };
        let mesh = make(&DepthMap::of_heights(disc.clone()), Some(&coin), &how).mesh;
        let (low, high) = mesh.bounds().unwrap();
        let rim = |p: &&Vec3| Vec2::new(p.x, p.y - 1.0).length() > 0.9 && p.z > low.z + 0.01;
        let lowest = mesh.positions.iter().filter(rim).map(|p| p.z).fold(f32::MAX, f32::min);
        assert!(high.z - lowest < 0.01, "{subdivisions}: {lowest} {}", high.z);
    }
}

#[test]
fn the_picture_is_on_the_front_and_its_mean_on_the_back() {
    let Made { mesh, high } = make(&dome_map(16), None, &how());
    let (low, top) = mesh.bounds().unwrap();
    for (uv, p) in high.mesh.uvs.iter().zip(&high.mesh.positions) {
        let expected = Vec2::new(p.x - low.x, top.y - p.y) / 2.0;
        assert!(uv.distance(expected) < 1e-4);
    }
    let back = high.face_materials.iter().filter(|material| **material == 1).count();
    assert_eq!(back, 2 * 128 * 128);
    assert!(high.materials[1].base_color.z > high.materials[1].base_color.w * 0.03 && high.textures.len() == 1);
    let plain = make(&dome_map(16), None, &Relief { paint: Paint::Plain, ..how() }).high;
    assert!(plain.textures.is_empty() && plain.materials[0].base_color == plain.materials[1].base_color);
}
