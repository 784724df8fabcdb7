//! Measure the asset and hold it against the gate: in the GLB as it was written,
//! and the cutout and the high mesh where there are any, out the report, and the
//! GLB with the report in it.
//!
//! The file is read back from its bytes, so a mistake of the writer is measured
//! too. The report holds no time: equal assets give equal reports.

mod gate;
mod measure;

use std::sync::Arc;

use serde_json::{Value as Json, json};

use self::{gate::Verdict, measure::Measured};
use crate::{
    cx::StageCx,
    error::{StageError, StageErrorKind},
    export,
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
    stages::analyze,
};

pub const STAGE: Stage = Stage {
    id: "check",
    version: 3,
    doc: "Measure the asset and hold it against the gate.",
    reads: &[Slot::Asset, Slot::Mesh],
    may_read: &[Slot::Cutout, Slot::High, Slot::Field, Slot::Notes],
    writes: &[Slot::Report, Slot::Asset],
    may_write: &[],
    engines: &[Engine {
        id: "built-in",
        doc: "Topology, geometry, UVs, silhouette and size, measured on the written file.",
        net: None,
        params: analyze::LIMITS,
    }],
    params: &[
        Param {
            id: "on-fail",
            doc: "What a failed gate does to the job.",
            unit: "",
            kind: ParamKind::Choice { default: "fail", options: &["fail", "warn"] },
        },
        Param {
            id: "watertight",
            doc: "Demand a closed surface: every edge has exactly two triangles.",
            unit: "",
            kind: ParamKind::Flag { default: true },
        },
        Param {
            id: "manifold",
            doc: "Demand that the surface touches itself in no edge and no vertex.",
            unit: "",
            kind: ParamKind::Flag { default: true },
        },
        Param {
            id: "max-degenerate",
            doc: "At most this many triangles without area.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 1_000_000 },
        },
        Param {
            id: "max-triangles",
            doc: "At most this many triangles, 0 for any number.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 10_000_000 },
        },
        Param {
            id: "min-iou",
            doc: "The silhouette must fit the cutout, if any, at least this well: intersection over union.",
            unit: "",
            kind: ParamKind::Float { default: 0.97, min: 0.0, max: 1.0 },
        },
        Param {
            id: "min-iou-field",
            doc: "The same where a network made the surface: it sees the picture in perspective, from where it guesses.",
            unit: "",
            kind: ParamKind::Float { default: 0.8, min: 0.0, max: 1.0 },
        },
        Param {
            id: "max-uv-overlap",
            doc: "At most this share of the used texture may belong to more than one triangle.",
            unit: "",
            kind: ParamKind::Float { default: 0.001, min: 0.0, max: 1.0 },
        },
        Param {
            id: "max-uv-outside",
            doc: "At most this many vertices may have a texture coordinate outside 0..1.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 10_000_000 },
        },
        Param {
            id: "max-bytes",
            doc: "The file may be at most this large, 0 for any size.",
            unit: "bytes",
            kind: ParamKind::Int { default: 0, min: 0, max: 4_294_967_295 },
        },
        Param {
            id: "max-self-intersections",
            doc: "At most this many triangles may pass through others, -1 for any number.",
            unit: "",
            kind: ParamKind::Int { default: -1, min: -1, max: 10_000_000 },
        },
        Param {
            id: "max-charts",
            doc: "At most this many charts on the texture, 0 for any number.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: 10_000_000 },
        },
        Param {
            id: "max-stretch",
            doc: "The texture may be stretched at most this much in the mean (L2), 0 for any; 1 is none.",
            unit: "",
            kind: ParamKind::Float { default: 0.0, min: 0.0, max: 1e6 },
        },
        Param {
            id: "max-density-deviation",
            doc: "Texels per metre may deviate at most this much, relative to their mean, 0 for any.",
            unit: "",
            kind: ParamKind::Float { default: 0.0, min: 0.0, max: 1e6 },
        },
        Param {
            id: "max-mean-distance",
            doc: "The surface may be at most this far from the high mesh, if any, relative to its size, 0 for any.",
            unit: "",
            kind: ParamKind::Float { default: 0.02, min: 0.0, max: 1e6 },
        },
        Param {
            id: "max-volume-change",
            doc: "The volume may differ by at most this share from that of the high mesh, if any, 0 for any.",
            unit: "",
            kind: ParamKind::Float { default: 0.0, min: 0.0, max: 1e6 },
        },
        min_score("min-score", "The overall score must be at least this, 0 for any."),
        min_score("min-topology", "The score for topology must be at least this, 0 for any."),
        min_score("min-geometry", "The score for geometry must be at least this, 0 for any."),
        min_score("min-uvs", "The score for UVs must be at least this, 0 for any."),
        min_score("min-budget", "The score for the budget, if any, must be at least this, 0 for any."),
    ],
    run,
};

const fn min_score(id: &'static str, doc: &'static str) -> Param {
    Param { id, doc, unit: "", kind: ParamKind::Float { default: 0.0, min: 0.0, max: 100.0 } }
}

/// Work steps: read, analysis, silhouette, high mesh, report.
const N_STEPS: u32 = 5;

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let bytes = asset.bytes(Slot::Asset)?;
    let content = export::read(&bytes)?;
    cx.step(1, N_STEPS)?;
    let mut measured = Measured::surface(&content, &analyze::limits(cx));
    cx.step(2, N_STEPS)?;
    if let Ok(cutout) = asset.image(Slot::Cutout) {
        let limit = if asset.field().is_some() { "min-iou-field" } else { "min-iou" };
        measured = measured.with_silhouette(&content.mesh, &cutout, cx.float(limit));
    }
    cx.step(3, N_STEPS)?;
    if let Ok(high) = asset.high() {
        let placed = asset.mesh().ok();
        measured = measured.with_high(&content.mesh, placed.as_deref(), &high);
    }
    cx.step(4, N_STEPS)?;

    let notes = asset.json(Slot::Notes).ok();
    let (reported, report, verdict) = sealed(&bytes, &measured, notes.as_deref(), cx)?;
    if let Some(worst) = verdict.worst()
        && cx.choice("on-fail") == "fail"
    {
        let message = match verdict.n_failed() - 1 {
            0 => worst.message.clone(),
            more => format!("{}; {more} more failed", worst.message),
        };
        return Err(StageError::new(StageErrorKind::GateFailed, message, worst.hint));
    }
    asset.set(Slot::Asset, Value::Bytes(reported.into()));
    asset.set(Slot::Report, Value::Json(Arc::new(report)));
    cx.step(N_STEPS, N_STEPS)
}

/// The file with its report. The report says how large the file is, which it
/// makes larger: repeated until the figure is true.
fn sealed(
    bytes: &[u8],
    measured: &Measured,
    notes: Option<&Json>,
    cx: &StageCx,
) -> Result<(Vec<u8>, Json, Verdict), StageError> {
    let mut n_bytes = bytes.len();
    // The first try gets all but the length of this one number right.
    for _ in 0..8 {
        let verdict = Verdict::of(measured, n_bytes, cx);
        let report = report(measured, notes, n_bytes, &verdict);
        let reported = export::with_report(bytes, &report)?;
        if reported.len() == n_bytes {
            return Ok((reported, report, verdict));
        }
        n_bytes = reported.len();
    }
    Err(StageError::internal("size of the file with its report does not settle"))
}

fn report(measured: &Measured, notes: Option<&Json>, n_bytes: usize, verdict: &Verdict) -> Json {
    let mut report = measured.to_json();
    if let Some(notes) = notes {
        report["notes"] = notes.clone();
    }
    report["file_bytes"] = json!(n_bytes);
    report["passed"] = json!(verdict.worst().is_none());
    report["gate"] = verdict.to_json();
    report
}

#[cfg(test)]
mod tests;
