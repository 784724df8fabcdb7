//! Whole analyses: known answers, and scores in the order a person would give.

use glam::{Vec2, Vec3};

use super::*;
use crate::mesh::{shapes, test_shapes::cuboid};

fn analysed(mesh: &Mesh) -> Analysis {
    analyze(mesh, (1024, 1024), &AnalysisLimits::default())
}

#[test]
fn a_box_scores_full_marks_and_its_figures_are_known() {
    let json = analysed(&shapes::cube()).to_json();
    for (key, value) in [
        ("triangles", json!(12)),
        ("vertices", json!(24)),
        ("welded_vertices", json!(8)),
        ("edges", json!(18)),
        ("holes", json!(0)),
        ("genus", json!(0)),
        ("area_m2", json!(24.0)),
        ("volume_m3", json!(8.0)),
        ("uv_charts", json!(6)),
        ("uv_flipped", json!(0)),
        ("self_intersections", json!({ "pairs": 0, "triangles": 0, "complete": true })),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!((&json["scores"]["topology"], &json["scores"]["geometry"]), (&json!(100.0), &json!(100.0)));
    assert!(json["scores"].get("budget").is_none());
}

#[test]
fn scores_fall_in_the_order_a_person_would_give() {
    let whole = shapes::sphere(24);
    let overall = |change: &dyn Fn(&mut Mesh)| {
        let mut mesh = whole.clone();
        change(&mut mesh);
        analysed(&mesh).scores.overall
    };
    let sound = overall(&|_| {});
    let pinprick = overall(&|mesh| mesh.triangles.truncate(mesh.triangles.len() - 1));
    let gaping = overall(&|mesh| mesh.triangles.truncate(mesh.triangles.len() * 2 / 3));
    let ragged = overall(&|mesh| {
        let mut i = 0;
        mesh.triangles.retain(|_| {
            i += 1;
            i % 5 != 0
        });
    });
    let soup = overall(&|mesh| {
        let mut random = fastrand::Rng::with_seed(2);
        for p in &mut mesh.positions {
            *p = Vec3::new(random.f32(), random.f32(), random.f32());
        }
        mesh.uvs.clear();
    });
    let order = [sound, pinprick, gaping, ragged, soup];
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    assert!(sound > 80.0 && soup < 15.0, "{order:?}");
}

#[test]
fn each_defect_costs_its_own_score_and_no_other() {
    let whole = analysed(&shapes::sphere(24)).scores;
    let without_uvs = analysed(&Mesh { uvs: Vec::new(), ..shapes::sphere(24) }).scores;
    assert_eq!(without_uvs, Scores { uvs: 0.0, overall: without_uvs.overall, ..whole });

    let mut inside_out = shapes::sphere(24);
    inside_out.triangles.iter_mut().for_each(|t| t.swap(0, 1));
    let turned = analysed(&inside_out).scores;
    assert!(turned.topology == whole.topology && turned.geometry < 0.6 * whole.geometry, "{turned:?}");

    let mut overlapping = shapes::sphere(24);
    overlapping.uvs.iter_mut().for_each(|uv| uv.x = (uv.x * 2.0).fract());
    let stacked = analysed(&overlapping).scores;
    assert!(stacked.geometry == whole.geometry && stacked.uvs < 0.3 * whole.uvs, "{stacked:?}");
}

#[test]
fn a_budget_is_kept_or_costs() {
    let over = |triangles, texture| {
        let limits = AnalysisLimits { budget: Budget { triangles, texture }, ..AnalysisLimits::default() };
        analyze(&shapes::sphere(24), (1024, 1024), &limits).scores.budget
    };
    assert_eq!(over(0, 0), None);
    // 2208 triangles.
    assert_eq!(over(2208, 0), Some(100.0));
    let [little, much] = [2000, 1000].map(|n| over(n, 0).unwrap());
    assert!(100.0 > little && little > 70.0 && much < 30.0, "{little} {much}");
    assert_eq!(over(0, 1024), Some(100.0));
    assert!(over(0, 512).unwrap() < 60.0);
}

#[test]
fn interpenetrating_boxes_are_seen() {
    let mut mesh = cuboid(Vec3::ZERO, Vec3::ONE);
    let other = cuboid(Vec3::new(0.9, 0.2, 0.3), Vec3::new(0.4, 0.5, 0.6));
    mesh.triangles.extend(other.triangles.iter().map(|t| t.map(|v| v + 8)));
    mesh.positions.extend(other.positions);
    let crossing = analysed(&mesh);
    assert!(crossing.intersections.n_faces >= 6 && crossing.intersections.complete, "{:?}", crossing.intersections);
    assert_eq!((crossing.topology.n_components, crossing.genus()), (2, Some(0)));
    assert!(crossing.scores.geometry < 60.0 && crossing.scores.topology > 90.0, "{:?}", crossing.scores);
}

#[test]
fn nothing_and_nonsense_are_survived() {
    let empty = analysed(&Mesh::default());
    assert_eq!((empty.scores.overall, empty.genus(), empty.volume()), (0.0, None, None));
    let not_numbers = Mesh {
        positions: vec![Vec3::NAN; 3],
        uvs: vec![Vec2::splat(f32::INFINITY); 3],
        triangles: vec![[0, 1, 2]; 2],
        ..Mesh::default()
    };
    let analysis = analysed(&not_numbers);
    assert_eq!((analysis.shape.n_not_finite, analysis.scores.overall), (2, 0.0));
    // JSON has no word for what is not a number.
    assert!(!analysis.to_json()["area_m2"].is_null());
    let mut partly = shapes::sphere(12);
    partly.positions[40] = Vec3::splat(f32::INFINITY);
    let json = analysed(&partly).to_json();
    assert!(json["area_m2"].as_f64().unwrap() > 10.0, "{json}");
    assert!(json["texel_density_per_m"]["mean"].as_f64().unwrap() > 1.0, "{json}");
}

#[test]
fn equal_meshes_give_equal_figures_on_any_number_of_threads() {
    let mut mesh = shapes::torus(40, 0.4);
    for (i, p) in mesh.positions.iter_mut().enumerate() {
        *p *= 1.0 + 0.1 * ((i * 37) as f32).sin();
    }
    let on = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(|| analysed(&mesh));
    let alone = on(1);
    assert!(alone.intersections.n_pairs > 0);
    assert_eq!(alone, on(3));
}
