//! What is demanded of an asset, and whether it keeps to it.

use serde_json::{Value as Json, json};

use super::measure::{Measured, rounded};
use crate::cx::StageCx;

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
        let t = &measured.topology;
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
        let (iou, min_iou) = (rounded(measured.silhouette_iou), cx.float("min-iou"));
        checks.push(Check {
            what: "silhouette_iou",
            value: json!(iou),
            limit: json!(min_iou),
            passed: iou >= min_iou,
            message: format!("silhouette IoU {iou} is under the limit of {min_iou}"),
            hint: "raise simplify.triangles or set check.on-fail=warn",
        });
        checks.push(at_most(
            "uv_outside",
            "texture coordinates outside 0..1",
            measured.uv.n_outside as i64,
            cx.int("max-uv-outside"),
            "raise check.max-uv-outside or set check.on-fail=warn",
        ));
        let (overlap, max_overlap) = (rounded(measured.uv.overlap), cx.float("max-uv-overlap"));
        checks.push(Check {
            what: "uv_overlap",
            value: json!(overlap),
            limit: json!(max_overlap),
            passed: overlap <= max_overlap,
            message: format!("UV overlap {overlap} is over the limit of {max_overlap}"),
            hint: "raise check.max-uv-overlap or set check.on-fail=warn",
        });
        if cx.int("max-bytes") > 0 {
            checks.push(at_most(
                "file_bytes",
                "bytes",
                n_bytes as i64,
                cx.int("max-bytes"),
                "lower bake.size or raise check.max-bytes",
            ));
        }
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
