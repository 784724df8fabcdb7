//! Baking: a bumpy ball of half a million triangles onto ten thousand, and the rays
//! under it. Prints one JSON line a measurement.
//!
//! `tests/peers/bake.py` runs this and other programs on the same meshes and rays: with
//! `BAKE_DIR=FOLDER` they are left there, little-endian and without headers. With
//! `BAKE_PICTURES=FOLDER` the maps are left there, to be looked at.

use std::{env, error::Error, fs, path::Path, sync::Arc, time::Instant};

use glam::{Vec2, Vec3};
use meshkiln_models::mesh::{
    Maps, Mesh,
    bake::{BakeOptions, BakeSource, ColorSource, Extra, Occlusion, bake},
    bvh::Bvh,
    render::{Look, render},
    tangents::vertex_tangents,
    textured::{Material, TextureUse, TexturedMesh},
};
use rayon::prelude::*;
use serde_json::json;

/// Cells along a side of each of a ball's six charts: 499,392 and 10,092 triangles.
const FINE: u32 = 204;
const COARSE: u32 = 29;

const N_RAYS: usize = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let (high, low) = (ball(FINE), ball(COARSE));
    textured(&low)?;
    let (seconds, bvh) = best(3, || Bvh::new(&high.positions, &high.triangles));
    println!("{}", json!({ "name": "bvh", "triangles": high.triangles.len(), "seconds": seconds }));
    rays(&high, &bvh)?;
    let (seconds, _) = best(3, || vertex_tangents(&low));
    println!("{}", json!({ "name": "tangents", "triangles": low.triangles.len(), "seconds": seconds }));

    let colors = high.positions.iter().map(|p| ((*p * 3.0).map(f32::sin) * 0.4 + 0.5).extend(1.0)).collect();
    let source = TexturedMesh { colors, ..TexturedMesh::from(high.clone()) };
    if let Ok(folder) = env::var("BAKE_DIR") {
        leave(Path::new(&folder), "high", &source.mesh)?;
        leave(Path::new(&folder), "low", &low)?;
    }
    let plain = BakeOptions { supersample: 1, occlusion: None, normal: false, ..BakeOptions::default() };
    let all = [
        ("base colour", plain.clone()),
        ("base colour, normal", BakeOptions { normal: true, ..plain.clone() }),
        ("base colour, normal, 2 x 2", BakeOptions { normal: true, supersample: 2, ..plain.clone() }),
        (
            "base colour, normal, occlusion",
            BakeOptions { normal: true, occlusion: Some(Occlusion::default()), ..plain.clone() },
        ),
        ("the default", BakeOptions::default()),
        ("everything", BakeOptions { extras: Extra::ALL.to_vec(), ..BakeOptions::default() }),
    ];
    for (name, options) in all {
        let (seconds, _) = best(2, || baked(&low, &source, &options));
        println!("{}", json!({ "name": "bake", "maps": name, "size": options.size, "seconds": seconds }));
    }
    Ok(())
}

/// A source with textures: colour, roughness and bumps of 2048 each.
fn textured(low: &Mesh) -> Result<(), Box<dyn Error>> {
    let side = 2048;
    let checker = |x: u32, y: u32| (x / 64 + y / 64).is_multiple_of(2);
    let color = ::image::RgbaImage::from_fn(side, side, |x, y| {
        ::image::Rgba(if checker(x, y) { [230, 60, 40, 255] } else { [30, 90, 200, 255] })
    });
    let surface = ::image::RgbaImage::from_fn(side, side, |x, y| {
        ::image::Rgba(if checker(x, y) { [0, 60, 255, 255] } else { [0, 200, 0, 255] })
    });
    let bumps = ::image::RgbaImage::from_fn(side, side, |x, y| {
        let tilt = |v: u32| (v as f32 / 16.0).sin() * 60.0 + 128.0;
        ::image::Rgba([tilt(x) as u8, tilt(y) as u8, 230, 255])
    });
    let material = Material {
        base_color_texture: Some(TextureUse::of(0)),
        metallic: 1.0,
        metallic_roughness_texture: Some(TextureUse::of(1)),
        normal_texture: Some(TextureUse::of(2)),
        ..Material::default()
    };
    let source = TexturedMesh {
        materials: vec![material],
        textures: [color, surface, bumps].map(Arc::new).to_vec(),
        ..TexturedMesh::from(ball(FINE))
    };
    let options = BakeOptions { extras: Extra::ALL.to_vec(), ..BakeOptions::default() };
    let (seconds, maps) = best(1, || baked(low, &source, &options));
    println!(
        "{}",
        json!({ "name": "bake", "maps": "everything from three textures", "size": 1024, "seconds": seconds })
    );
    if let Ok(folder) = env::var("BAKE_PICTURES") {
        pictures(Path::new(&folder), low, &maps)?;
    }
    Ok(())
}

/// Short rays of a cosine-weighted hemisphere over the surface, as occlusion sends them.
fn rays(mesh: &Mesh, bvh: &Bvh) -> Result<(), Box<dyn Error>> {
    let reach = 0.25 * mesh.bounds().map_or(0.0, |(low, high)| (high - low).length());
    let mut random = fastrand::Rng::with_seed(1);
    let step = mesh.triangles.len() * 8 / N_RAYS + 1;
    let rays: Vec<(Vec3, Vec3)> = mesh
        .triangles
        .iter()
        .step_by(step)
        .cycle()
        .take(N_RAYS)
        .map(|triangle| {
            let [a, b, c] = mesh.corners(*triangle);
            let normal = (b - a).cross(c - a).normalize();
            let (right, up) = normal.any_orthonormal_pair();
            let (turn, share) = (random.f32() * std::f32::consts::TAU, random.f32());
            let (x, y) = (turn.cos() * share.sqrt(), turn.sin() * share.sqrt());
            ((a + b + c) / 3.0 + normal * 1e-4, right * x + up * y + normal * (1.0 - share).sqrt())
        })
        .collect();
    let blocked = |&(origin, direction): &(Vec3, Vec3)| bvh.is_blocked(origin, direction, reach);
    let nearest = |&(o, d): &(Vec3, Vec3)| bvh.cast(o, d, f32::INFINITY, |_, _| true).is_some();
    for n_threads in [1, rayon::current_num_threads()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
        let (any, n_blocked) = best(3, || pool.install(|| rays.par_iter().filter(|ray| blocked(ray)).count()));
        let (first, n_hits) = best(3, || pool.install(|| rays.par_iter().filter(|ray| nearest(ray)).count()));
        println!(
            "{}",
            json!({ "name": "rays", "threads": n_threads, "rays": N_RAYS, "any_seconds": any, "blocked": n_blocked,
                "first_seconds": first, "hits": n_hits })
        );
    }
    if let Ok(folder) = env::var("BAKE_DIR") {
        let values = rays.iter().flat_map(|(o, d)| o.to_array().into_iter().chain(d.to_array()));
        fs::write(Path::new(&folder).join("rays.f32"), values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn baked(low: &Mesh, source: &TexturedMesh, options: &BakeOptions) -> Maps {
    let source = BakeSource { high: Some(source), color: ColorSource::High };
    bake(low, &source, options, &|_, _| Ok(())).unwrap_or_else(|e| panic!("{e}"))
}

/// The fastest of `n` runs in seconds, and what the last gave.
fn best<T>(n: usize, mut run: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let start = Instant::now();
        let value = run();
        (start.elapsed().as_secs_f64(), value)
    };
    let (mut seconds, mut value) = timed();
    for _ in 1..n {
        let again = timed();
        (seconds, value) = (seconds.min(again.0), again.1);
    }
    (seconds, value)
}

/// Six grids of `n` x `n` cells, each a chart of its own, on a ball of about 1 m with bumps.
fn ball(n: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for side in 0..6u32 {
        let (axis, sign) = ((side / 2) as usize, if side.is_multiple_of(2) { 1.0 } else { -1.0 });
        let first = mesh.positions.len() as u32;
        for (j, i) in (0..=n).flat_map(|j| (0..=n).map(move |i| (j, i))) {
            let (s, t) = (i as f32 / n as f32 * 2.0 - 1.0, j as f32 / n as f32 * 2.0 - 1.0);
            let mut p = [0.0; 3];
            (p[axis], p[(axis + 1) % 3], p[(axis + 2) % 3]) = (sign, sign * s, t);
            mesh.positions.push(bumpy(Vec3::from_array(p.map(|v: f32| (v * std::f32::consts::FRAC_PI_4).tan()))));
            let cell = Vec2::new((side % 3) as f32, (side / 3) as f32);
            mesh.uvs.push((cell + Vec2::new(s, t) * 0.49 + 0.5) / Vec2::new(3.0, 2.0));
        }
        for (j, i) in (0..n).flat_map(|j| (0..n).map(move |i| (j, i))) {
            let a = first + j * (n + 1) + i;
            let [b, c, d] = [a + 1, a + n + 2, a + n + 1];
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh.normals = meshkiln_models::mesh::normals::smooth_normals(&mesh.positions, &mesh.triangles);
    mesh
}

/// Large folds that throw shadows, and small ones that only the fine mesh has.
fn bumpy(direction: Vec3) -> Vec3 {
    let p = direction.normalize();
    let wave = |q: Vec3| (q.x.sin() * q.y.cos() + q.y.sin() * q.z.cos() + q.z.sin() * q.x.cos()) / 1.5;
    p * (0.5 + 0.06 * wave(p * 7.0) + 0.003 * wave(p * 60.0))
}

fn leave(folder: &Path, name: &str, mesh: &Mesh) -> Result<(), Box<dyn Error>> {
    let positions = mesh.positions.iter().flat_map(|p| p.to_array()).flat_map(f32::to_le_bytes);
    fs::write(folder.join(format!("{name}.positions.f32")), positions.collect::<Vec<u8>>())?;
    let triangles = mesh.triangles.iter().flatten().flat_map(|v| v.to_le_bytes());
    fs::write(folder.join(format!("{name}.triangles.u32")), triangles.collect::<Vec<u8>>())?;
    let uvs = mesh.uvs.iter().flat_map(|uv| uv.to_array()).flat_map(f32::to_le_bytes);
    fs::write(folder.join(format!("{name}.uvs.f32")), uvs.collect::<Vec<u8>>())?;
    Ok(())
}

fn pictures(folder: &Path, low: &Mesh, maps: &Maps) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    maps.base_color.save(folder.join("base-color.png"))?;
    let named = [("normal", &maps.normal), ("orm", &maps.orm), ("emissive", &maps.emissive)];
    for (name, map) in named.into_iter().filter_map(|(name, map)| Some((name.to_owned(), map.as_ref()?))) {
        map.save(folder.join(name + ".png"))?;
    }
    for (name, map) in &maps.extra {
        map.save(folder.join(name.clone() + ".png"))?;
    }
    render(low, maps, &Look { size: 768, ..Look::default() }).save(folder.join("render.png"))?;
    let plain = Maps { base_color: maps.base_color.clone(), roughness: 0.8, ..Maps::default() };
    render(low, &plain, &Look { size: 768, ..Look::default() }).save(folder.join("render-without.png"))?;
    Ok(())
}
