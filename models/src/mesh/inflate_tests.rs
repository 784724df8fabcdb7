//! Tests of `inflate` through its stage: shapes with known answers, random
//! blobs, real cutouts.

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec3};

use super::{
    Mesh,
    test_support::{cutouts, draw, inflated, pieces_and_holes, random_blob, silhouette_iou},
    topology::{Topology, topology},
};
use crate::{
    StageErrorKind,
    cx::{CancelToken, StageCx},
    slot::{Asset, Slot},
    stages::reconstruct,
};

fn sound(mesh: &Mesh, what: &str) -> Topology {
    let t = topology(&mesh.positions, &mesh.triangles);
    assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{what}: {t:?}");
    assert_eq!(t.n_vertices, mesh.positions.len(), "{what}: unused or doubled vertices");
    assert!(mesh.normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-4), "{what}: normals");
    t
}

/// Vertices - edges + faces of a closed surface: 2 for each piece, less 2 for each hole through it.
fn euler_number(t: &Topology) -> i64 {
    t.n_vertices as i64 - t.n_triangles as i64 / 2
}

fn volume(mesh: &Mesh) -> f32 {
    mesh.triangles.iter().map(|&t| mesh.corners(t)).map(|[a, b, c]| a.dot(b.cross(c)) / 6.0).sum()
}

/// Area seen from the front, in pixels.
fn front_area(mesh: &Mesh) -> f32 {
    let m = mesh.front.unwrap().metres_per_pixel;
    let area = |[a, b, c]: [Vec3; 3]| ((b - a).cross(c - a).z / 2.0).max(0.0);
    mesh.triangles.iter().map(|&t| area(mesh.corners(t))).sum::<f32>() / (m * m)
}

#[test]
fn a_disc_becomes_an_ellipsoid_of_the_depth_asked_for() {
    let centre = Vec2::new(128.3, 127.6);
    let disc = draw(256, 256, |p| p.distance(centre) < 100.0);
    for thickness in [1.0f32, 0.3] {
        let mesh = inflated(&disc, &[("thickness", thickness as f64), ("height", 2.0)]).unwrap();
        assert_eq!(euler_number(&sound(&mesh, "disc")), 2);
        let (low, high) = mesh.bounds().unwrap();
        assert!(low.y.abs() < 1e-6 && (high.y - 2.0).abs() < 1e-5);
        assert!((low.x + high.x).abs() < 1e-5 && low.z == -high.z);
        assert!((high.z - thickness).abs() < 0.01 * thickness, "depth {} for {thickness}", high.z);
        for p in &mesh.positions {
            let radius = ((*p - Vec3::Y) / Vec3::new(1.0, 1.0, thickness)).length();
            assert!((radius - 1.0).abs() < 0.012, "{radius} at {p}");
        }
        let ideal = 4.0 / 3.0 * std::f32::consts::PI * thickness;
        assert!((volume(&mesh) / ideal - 1.0).abs() < 0.015, "volume {} {ideal}", volume(&mesh));
        let front = mesh.front.unwrap();
        assert!((front.metres_per_pixel - 0.01).abs() < 1e-5);
        assert!(front.to_pixel(Vec3::Y).distance(centre) < 0.1, "{}", front.to_pixel(Vec3::Y));
    }
}

#[test]
fn front_and_back_are_mirror_images_and_face_outwards() {
    let blob = draw(96, 96, |p| p.distance(Vec2::new(40.0, 50.0)) < 30.0 || p.distance(Vec2::new(70.0, 30.0)) < 15.0);
    let mesh = inflated(&blob, &[]).unwrap();
    assert!(super::mirror::FrontHalf::of(&mesh).is_some());
    assert!(volume(&mesh) > 0.0);
    for (p, n) in mesh.positions.iter().zip(&mesh.normals) {
        assert!(if p.z == 0.0 { n.z.abs() < 1e-4 } else { n.z * p.z > 0.0 }, "normal {n} at {p}");
    }
}

#[test]
fn a_ring_keeps_its_hole_and_two_discs_stay_two() {
    let (a, b) = (Vec2::new(64.0, 64.0), Vec2::new(200.0, 70.0));
    let ring = draw(128, 128, |p| (20.0..50.0).contains(&p.distance(a)));
    let t = sound(&inflated(&ring, &[]).unwrap(), "ring");
    assert_eq!((t.n_components, euler_number(&t)), (1, 0));
    let discs = draw(256, 128, |p| p.distance(a) < 40.0 || p.distance(b) < 25.0);
    let t = sound(&inflated(&discs, &[]).unwrap(), "discs");
    assert_eq!((t.n_components, euler_number(&t)), (2, 4));
}

#[test]
fn thin_parts_are_thinner_than_wide_ones() {
    let shape = draw(256, 256, |p| {
        p.distance(Vec2::new(80.0, 128.0)) < 60.0 || ((p.y - 128.0).abs() < 6.0 && (80.0..240.0).contains(&p.x))
    });
    let mesh = inflated(&shape, &[("thickness", 1.0)]).unwrap();
    let front = mesh.front.unwrap();
    let depth_around = |x: f32| {
        let near = mesh.positions.iter().filter(|&&p| (front.to_pixel(p).x - x).abs() < 4.0);
        near.map(|p| p.z / front.metres_per_pixel).fold(0.0, f32::max)
    };
    assert!((depth_around(80.0) - 60.0).abs() < 1.0, "{}", depth_around(80.0));
    assert!((6.0..12.0).contains(&depth_around(200.0)), "{}", depth_around(200.0));
}

#[test]
fn the_outline_is_exact_to_a_fraction_of_a_pixel() {
    for (left, top, w, h) in [(20.3, 30.7, 100.45, 60.2), (15.5, 15.5, 64.0, 90.0), (10.9, 12.1, 33.3, 44.4)] {
        let beyond = |p: Vec2| (Vec2::new(left, top) - p).max(p - Vec2::new(left + w, top + h)).max_element();
        // Exact coverage instead of samples.
        let overlap = |from: f32, to: f32, i: u32| (to.min(i as f32 + 1.0) - from.max(i as f32)).clamp(0.0, 1.0);
        let rectangle = RgbaImage::from_fn(150, 150, |x, y| {
            let share = overlap(left, left + w, x) * overlap(top, top + h, y);
            Rgba([9, 9, 9, (share * 255.0).round() as u8])
        });
        let mesh = inflated(&rectangle, &[]).unwrap();
        let area = front_area(&mesh);
        assert!((area / (w * h) - 1.0).abs() < 0.005, "{area} instead of {}", w * h);
        let furthest = mesh.positions.iter().map(|&p| beyond(mesh.front.unwrap().to_pixel(p))).fold(0.0, f32::max);
        assert!(furthest < 0.25, "a vertex lies {furthest} pixels outside {w} x {h}");
    }
}

#[test]
fn hard_edges_lose_their_stair_steps() {
    // An ellipse without soft edges: its outline must still be smooth.
    let (centre, axes) = (Vec2::new(150.2, 149.9), Vec2::new(70.0, 130.0));
    let to_circle = |p: Vec2| (Vec2::from_angle(0.1).rotate(p - centre)) / axes;
    let ellipse = RgbaImage::from_fn(300, 300, |x, y| {
        let inside = to_circle(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)).length() < 1.0;
        Rgba([9, 9, 9, if inside { 255 } else { 0 }])
    });
    let mesh = inflated(&ellipse, &[]).unwrap();
    let front = mesh.front.unwrap();
    let outline: Vec<f32> = mesh
        .positions
        .iter()
        .filter(|p| p.z == 0.0)
        .map(|&p| {
            let q = to_circle(front.to_pixel(p));
            (q.length() - 1.0) * q.length() / (q / axes).length()
        })
        .collect();
    let rms = (outline.iter().map(|d| d * d).sum::<f32>() / outline.len() as f32).sqrt();
    assert!(rms < 0.12, "the outline strays {rms} pixels from the ellipse");
}

#[test]
fn pixels_that_touch_in_a_corner_give_a_sound_solid() {
    let corner = |alpha: u8| {
        RgbaImage::from_fn(64, 64, |x, y| {
            let inside = (x < 32) == (y < 32) && (8..56).contains(&x) && (8..56).contains(&y);
            Rgba([0, 0, 0, if inside { alpha } else { 0 }])
        })
    };
    for alpha in [128, 200, 255] {
        for resolution in [32.0, 64.0, 200.0] {
            sound(&inflated(&corner(alpha), &[("resolution", resolution)]).unwrap(), "corner");
        }
    }
    let chequers = RgbaImage::from_fn(64, 64, |x, y| Rgba([0, 0, 0, if (x + y) % 2 == 0 { 255 } else { 0 }]));
    sound(&inflated(&chequers, &[("resolution", 64.0)]).unwrap(), "chequers");
    let mut rng = fastrand::Rng::with_seed(1);
    let noise = RgbaImage::from_fn(96, 96, |_, _| Rgba([0, 0, 0, rng.u8(..)]));
    for resolution in [32.0, 96.0, 150.0] {
        sound(&inflated(&noise, &[("resolution", resolution)]).unwrap(), "noise");
    }
}

#[test]
fn an_object_cut_off_by_the_border_of_the_picture_is_closed_there() {
    let full = RgbaImage::from_pixel(40, 30, Rgba([1, 2, 3, 255]));
    let mesh = inflated(&full, &[("height", 3.0)]).unwrap();
    assert_eq!(euler_number(&sound(&mesh, "full")), 2);
    assert!((front_area(&mesh) / 1200.0 - 1.0).abs() < 0.01, "{}", front_area(&mesh));
}

#[test]
fn random_blobs_are_closed_manifold_and_keep_their_pieces_and_holes() {
    let mut n_counted = 0;
    for seed in 0..32 {
        let blob = random_blob(&mut fastrand::Rng::with_seed(seed));
        let resolutions = [32.0, 64.0, 100.0, 250.0];
        for &resolution in &resolutions[..if seed % 8 == 0 { 4 } else { 3 }] {
            let mesh = inflated(&blob, &[("resolution", resolution)]).unwrap();
            let t = sound(&mesh, &format!("seed {seed} at {resolution}"));
            // Narrow gaps may close where cells are coarser or finer than pixels.
            if let Some((n_pieces, n_holes)) = pieces_and_holes(&blob).filter(|_| resolution == 100.0) {
                n_counted += 1;
                let expected = (n_pieces, 2 * (n_pieces as i64 - n_holes as i64));
                assert_eq!((t.n_components, euler_number(&t)), expected, "seed {seed}");
            }
        }
    }
    assert!(n_counted > 20, "only {n_counted} blobs had countable pieces");
}

#[test]
fn silhouettes_of_real_cutouts_are_kept() {
    let (objects, more) = (cutouts("images/object"), cutouts("images/depth_normal"));
    let both = objects.iter().map(|c| (c, &[384.0, 192.0][..])).chain(more.iter().map(|c| (c, &[384.0][..])));
    for ((name, cutout), resolutions) in both {
        for &resolution in resolutions {
            let mesh = inflated(cutout, &[("resolution", resolution)]).unwrap();
            sound(&mesh, name);
            let iou = silhouette_iou(&mesh, cutout);
            println!("{name} at {resolution}: {} triangles, IoU {iou:.4}", mesh.triangles.len());
            assert!(iou >= 0.985, "{name} at {resolution}: IoU {iou}");
        }
    }
}

#[test]
fn equal_cutouts_give_equal_bytes() {
    let blob = random_blob(&mut fastrand::Rng::with_seed(7));
    let bytes = || inflated(&blob, &[]).unwrap().to_bytes().unwrap();
    assert_eq!(bytes(), bytes());
}

#[test]
fn an_empty_cutout_is_no_object_and_a_hairline_is_one() {
    let empty = RgbaImage::new(50, 50);
    assert_eq!(inflated(&empty, &[]).err().unwrap().kind, StageErrorKind::NoObject);
    for (w, h) in [(200, 1), (1, 200), (9, 1), (3, 3)] {
        let line = RgbaImage::from_pixel(w, h, Rgba([0, 0, 0, 255]));
        sound(&inflated(&line, &[]).unwrap(), "hairline");
    }
}

#[test]
fn progress_counts_up_and_cancelling_stops() {
    let mut asset = Asset::default();
    asset.set_image(Slot::Cutout, RgbaImage::from_pixel(60, 60, Rgba([0, 0, 0, 255])));
    let engine = reconstruct::STAGE.engine("inflate").unwrap();
    let settings = reconstruct::STAGE.params_of(engine).map(|p| (p.id.to_owned(), p.default())).collect();
    let seen = std::sync::Mutex::new(Vec::new());
    let cancel = CancelToken::default();
    let progress = |p: crate::cx::Progress| {
        seen.lock().unwrap().push(p.done);
        if p.done == 3 {
            cancel.cancel();
        }
    };
    let cx = StageCx {
        engine: engine.id,
        settings: &settings,
        cancel: cancel.clone(),
        progress: &progress,
        nets: &crate::nets::NoNets,
    };
    let error = (reconstruct::STAGE.run)(&cx, &mut asset).err().unwrap();
    assert_eq!(error.kind, StageErrorKind::Cancelled);
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3]);
}
