//! What is demanded of an asset, and whether it keeps to it.

use serde_json::{Value as Json, json};

use super::measure::Measured;
use crate::{cx::StageCx, mesh::analysis::rounded};

/// One demand and what was found. Only demands that are made are listed.
pub struct Check {
    pub what: &'static str,
    pub value: Json,
    pub limit: Json,
    pub passed: bool,
    /// What is wrong, with both values.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// All checks, the gravest first.
pub struct Verdict(Vec<Check>);

impl Verdict {
    /// Holds the figures and the size of the file against the settings.
    pub fn of(measured: &Measured, n_bytes: usize, cx: &StageCx) -> Verdict {
        let analysis = &measured.analysis;
        let t = &analysis.topology;
        let mut checks = Vec::new();
        if cx.flag("watertight") {
            let open = t.n_border_edges + t.n_non_manifold_edges;
            checks.push(Check {
                what: "watertight",
                value: json!(t.is_watertight()),
                limit: json!(true),
                passed: t.is_watertight(),
                message: format!(
                    "the surface is not watertight: {open} edges without exactly two triangles, 0 allowed"
                ),
                hint: "set check.watertight=false to accept open surfaces",
            });
        }
        if cx.flag("manifold") {
            let (edges, vertices) = (t.n_non_manifold_edges, t.n_non_manifold_vertices);
            checks.push(Check {
                what: "manifold",
                value: json!(t.is_manifold()),
                limit: json!(true),
                passed: t.is_manifold(),
                message: format!(
                    "the surface is not manifold: it touches itself in {edges} edges and {vertices} vertices, 0 allowed"
                ),
                hint: "set check.manifold=false to accept such surfaces",
            });
        }
        checks.push(at_most(
            "degenerate",
            "triangles without area",
            t.n_degenerate as i64,
            cx.int("max-degenerate"),
            "raise simplify.triangles or check.max-degenerate",
        ));
        if cx.int("max-triangles") > 0 {
            checks.push(at_most(
                "triangles",
                "triangles",
                t.n_triangles as i64,
                cx.int("max-triangles"),
                "lower simplify.triangles or raise check.max-triangles",
            ));
        }
        if let Some((iou, min_iou)) = measured.silhouette_iou {
            let iou = rounded(iou);
            checks.push(Check {
                what: "silhouette_iou",
                value: json!(iou),
                limit: json!(min_iou),
                passed: iou >= min_iou,
                message: format!("silhouette IoU {iou} is under the limit of {min_iou}"),
                hint: "raise simplify.triangles or set check.on-fail=warn",
            });
        }
        checks.push(at_most(
            "uv_outside",
            "texture coordinates outside 0..1",
            analysis.uv_use.n_outside as i64,
            cx.int("max-uv-outside"),
            "raise check.max-uv-outside or set check.on-fail=warn",
        ));
        checks.push(not_over(
            "uv_overlap",
            "UV overlap",
            analysis.uv_use.overlap,
            cx.float("max-uv-overlap"),
            "raise check.max-uv-overlap or set check.on-fail=warn",
        ));
        if cx.int("max-bytes") > 0 {
            checks.push(at_most(
                "file_bytes",
                "bytes",
                n_bytes as i64,
                cx.int("max-bytes"),
                "lower bake.size or raise check.max-bytes",
            ));
        }
        checks.extend(of_quality(measured, cx));
        Verdict(checks)
    }

    /// The gravest check that failed.
    pub fn worst(&self) -> Option<&Check> {
        self.0.iter().find(|check| !check.passed)
    }

    pub fn n_failed(&self) -> usize {
        self.0.iter().filter(|check| !check.passed).count()
    }

    pub fn to_json(&self) -> Json {
        let entry = |check: &Check| {
            let mut entry = json!({
                "what": check.what, "value": check.value, "limit": check.limit, "passed": check.passed,
            });
            if !check.passed {
                entry["hint"] = json!(check.hint);
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }
}

/// Demands that are made only where they are set, or where there is a high mesh.
fn of_quality(measured: &Measured, cx: &StageCx) -> Vec<Check> {
    let analysis = &measured.analysis;
    let mut checks = Vec::new();
    if cx.int("max-self-intersections") >= 0 {
        checks.push(at_most(
            "self_intersections",
            "triangles that pass through others",
            analysis.intersections.n_faces as i64,
            cx.int("max-self-intersections"),
            "raise check.max-self-intersections or simplify.triangles",
        ));
    }
    let mut limited = |what, words, value: Option<f64>, param, hint| {
        if let Some(value) = value
            && cx.float(param) > 0.0
        {
            checks.push(not_over(what, words, value, cx.float(param), hint));
        }
    };
    let high = measured.high.as_ref();
    limited(
        "mean_distance",
        "mean distance from the high mesh, relative to its size,",
        high.map(|high| high.mean_distance()),
        "max-mean-distance",
        "raise simplify.triangles or check.max-mean-distance",
    );
    limited(
        "volume_change",
        "share by which the volume differs from that of the high mesh",
        high.and_then(|high| high.volume_change()),
        "max-volume-change",
        "raise simplify.triangles or check.max-volume-change",
    );
    let layout = analysis.layout.as_ref();
    limited(
        "uv_stretch",
        "mean UV stretch",
        layout.map(|layout| layout.stretch_l2),
        "max-stretch",
        "raise check.max-stretch or set check.on-fail=warn",
    );
    limited(
        "texel_density_deviation",
        "deviation of texels per metre",
        layout.map(|layout| layout.density.deviation),
        "max-density-deviation",
        "raise check.max-density-deviation or set check.on-fail=warn",
    );
    if cx.int("max-charts") > 0 {
        checks.push(at_most(
            "uv_charts",
            "charts",
            layout.map_or(0, |layout| layout.n_charts as i64),
            cx.int("max-charts"),
            "raise check.max-charts or set check.on-fail=warn",
        ));
    }
    let scores = &analysis.scores;
    for (param, what, words, score) in [
        ("min-score", "score", "overall score", Some(scores.overall)),
        ("min-topology", "score_topology", "score for topology", Some(scores.topology)),
        ("min-geometry", "score_geometry", "score for geometry", Some(scores.geometry)),
        ("min-uvs", "score_uvs", "score for UVs", Some(scores.uvs)),
        ("min-budget", "score_budget", "score for the budget", scores.budget),
    ] {
        let limit = cx.float(param);
        if let Some(score) = score
            && limit > 0.0
        {
            let score = rounded(score);
            checks.push(Check {
                what,
                value: json!(score),
                limit: json!(limit),
                passed: score >= limit,
                message: format!("the {words} of {score} is under the limit of {limit}"),
                hint: "look at the counts in the report, or set check.on-fail=warn",
            });
        }
    }
    checks
}

fn not_over(what: &'static str, words: &str, value: f64, limit: f64, hint: &'static str) -> Check {
    let value = rounded(value);
    Check {
        what,
        value: json!(value),
        limit: json!(limit),
        passed: value <= limit,
        message: format!("{words} {value} is over the limit of {limit}"),
        hint,
    }
}

fn at_most(what: &'static str, words: &str, value: i64, limit: i64, hint: &'static str) -> Check {
    Check {
        what,
        value: json!(value),
        limit: json!(limit),
        passed: value <= limit,
        message: format!("{value} {words} are over the limit of {limit}"),
        hint,
    }
}
