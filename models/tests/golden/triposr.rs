//! Fixtures of kind `triposr`: from the picture over grey to field and views.

use std::{cell::RefCell, collections::HashMap};

use glam::Vec3;
use image::RgbImage;
use meshkiln_models::{
    field::Field,
    nets::{
        Compute, Precision, Vars, Watch,
        blocks::to_host,
        triposr::{
            Config, TripoSr, preprocess,
            render::{Camera, Ray, render},
        },
    },
};
use serde_json::Value as Json;

use crate::fixture::{Comparison, Fixture, Output};

/// Everything within the fixture's own tolerance.
pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    fixture.check_weights();
    let values = values(fixture, compute);
    fixture.outputs.keys().map(|name| fixture.compare(name, &values[name])).collect()
}

/// How many times the tolerance of f32 values may be off that come of two bf16 for each f32: 16 bits
/// of mantissa instead of 24. Measured on a CPU with tiles: at most 1.4, on intermediate values of
/// the tiny network; 0.4 on densities and colours of the full-size one.
const SPLIT: f64 = 4.0;

/// Everything within `SPLIT` times the fixture's tolerance.
pub fn compare_split(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    let values = values(fixture, compute);
    let within = |(name, output): (&String, &Output)| {
        let tolerance = |golden: f64| SPLIT * (output.atol + output.rtol * golden.abs());
        fixture.compare_within(name, &values[name], &tolerance)
    };
    fixture.outputs.iter().map(within).collect()
}

/// All outputs by name, each as a whole.
fn values(fixture: &Fixture, compute: &Compute) -> HashMap<String, Vec<f32>> {
    let config = Config::from_tree(&fixture.config).expect("configuration");
    let weights = fixture.weights();
    let net = TripoSr::new(config, &Vars::new(&weights, compute)).expect("network");
    let (shape, pixels) = fixture.input_bytes("image");
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");

    let seen = RefCell::new(HashMap::new());
    let tap = |name: &str, value: &candle_core::Tensor| {
        if fixture.outputs.contains_key(name) || name == "dino_tokens" {
            seen.borrow_mut().insert(name.to_owned(), to_host(value).expect("values"));
        }
    };
    let watched = net.field(&picture, &Watch { tap: Some(&tap), ..Watch::nobody() }).expect("field");
    // Layers do more at once when nobody looks on.
    let field = net.field(&picture, &Watch::nobody()).expect("field");
    let mut values = seen.into_inner();
    if fixture.outputs.contains_key("dino_tokens_head") {
        let tokens = values["dino_tokens"].chunks_exact(net.config.tokenizer.d);
        values.insert("dino_tokens_head".to_owned(), tokens.take(8).flat_map(|token| token[..16].to_vec()).collect());
    }
    values.insert("cond".to_owned(), preprocess::condition(&picture, net.config.image_side));
    if compute.precision == Precision::F32 {
        let watched = fixture.compare("scene_code", &watched.planes().values);
        assert!(watched.is_within(), "looked on: {watched}");
    }
    values.insert("scene_code".to_owned(), field.planes().values.clone());
    of_field(fixture, &field, &mut values);
    for (i, views) in fixture.config["render"].as_array().expect("views").iter().enumerate() {
        of_views(&format!("render{i}"), views, &field, net.config.n_ray_samples, &mut values);
    }
    values
}

fn of_field(fixture: &Fixture, field: &Field, values: &mut HashMap<String, Vec<f32>>) {
    let bias = field.scales.density_bias;
    let (_, points) = fixture.input("points");
    let points: Vec<Vec3> = points.as_chunks::<3>().0.iter().map(|p| Vec3::from_array(*p)).collect();
    let raw = field.raw(&points);
    values.insert("query_density_raw".to_owned(), raw.iter().map(|v| v[0]).collect());
    values.insert("query_density".to_owned(), raw.iter().map(|v| (v[0] + bias).exp()).collect());
    let color = |v: &[f32; 4]| [v[1], v[2], v[3]].map(|v| 1.0 / (1.0 + (-v).exp()));
    values.insert("query_color".to_owned(), raw.iter().flat_map(color).collect());

    let n = fixture.config["grid"].as_u64().expect("grid") as usize;
    let at = |i: usize| (i as f32 / (n - 1) as f32 * 2.0 - 1.0) * field.scales.radius;
    let grid: Vec<Vec3> = (0..n * n * n).map(|i| Vec3::new(at(i / n / n), at(i / n % n), at(i % n))).collect();
    values.insert("grid_density".to_owned(), field.raw(&grid).iter().map(|v| (v[0] + bias).exp()).collect());
}

fn of_views(name: &str, views: &Json, field: &Field, n_samples: usize, values: &mut HashMap<String, Vec<f32>>) {
    let number = |key: &str| views[key].as_f64().expect(key) as f32;
    let kept = views["keep"].as_array().expect("keep").iter().map(|i| i.as_u64().expect("view") as f32);
    let cameras = kept.map(|i| Camera {
        azimuth: 360.0 * i / number("n_views"),
        elevation: number("elevation_deg"),
        distance: number("camera_distance"),
        fov: number("fovy_deg"),
        side: number("size") as usize,
    });
    let cameras: Vec<Camera> = cameras.collect();
    let rays: Vec<Ray> = cameras.iter().flat_map(Camera::rays).collect();
    values.insert(format!("{name}_rays_o"), cameras.iter().flat_map(|c| c.position().to_array()).collect());
    values.insert(format!("{name}_rays_d"), rays.iter().flat_map(|ray| ray.direction.to_array()).collect());
    values.insert(name.to_owned(), render(field, &rays, n_samples).into_flattened());
}

/// Largest difference that products of bf16 may make: of the logarithm of density and of a colour
/// in 0..=1, at the fixture's 4096 points. Measured with the kernels of a CPU with AMX: 0.10 and
/// 0.045 on the tiny network, 0.07 and 0.036 on the full-size one.
const HALF_LOG_DENSITY: f64 = 0.25;
const HALF_COLOR: f64 = 0.12;

/// Half precision against the same fixture, within bounds of our own.
pub fn compare_half(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    let values = values(fixture, compute);
    let bounds = [("query_density_raw", HALF_LOG_DENSITY), ("query_color", HALF_COLOR)];
    bounds.iter().map(|(name, bound)| fixture.compare_within(name, &values[*name], &|_| *bound)).collect()
}
