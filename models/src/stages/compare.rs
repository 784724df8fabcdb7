//! Hold one mesh against another: in two mesh files, out the report.

use std::sync::Arc;

use crate::{
    cx::StageCx,
    error::StageError,
    import::{self, Axes, Bundle, Limits, pair},
    mesh::{Mesh, compare::compare},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "compare",
    version: 2,
    doc: "Hold the source against a second mesh: distances, F-score, normals, silhouettes.",
    reads: &[Slot::Source],
    may_read: &[],
    writes: &[Slot::Report],
    may_write: &[],
    engines: &[Engine { id: "built-in", doc: "Points spread over both surfaces.", net: None, params: &[] }],
    params: &[
        Param {
            id: "samples",
            doc: "Points on each surface.",
            unit: "",
            kind: ParamKind::Int { default: 30_000, min: 100, max: 10_000_000 },
        },
        Param {
            id: "seed",
            doc: "Another seed takes other points.",
            unit: "",
            kind: ParamKind::Int { default: 0, min: 0, max: i64::MAX },
        },
        Param {
            id: "axes",
            doc: "Which way is up in both files; auto: y for GLB, glTF and OBJ, z for PLY and STL.",
            unit: "",
            kind: ParamKind::Choice { default: "auto", options: &["auto", "y-up", "z-up"] },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let [first, second] = pair::from_bytes(&asset.bytes(Slot::Source)?)?;
    let first = read(cx, &first)?;
    cx.step(1, 3)?;
    let second = read(cx, &second)?;
    cx.step(2, 3)?;
    let comparison = compare(&second, &first, cx.int("samples") as usize, cx.int("seed") as u64);
    let comparison = comparison.ok_or_else(|| {
        StageError::invalid("a mesh without area cannot be compared", "see what `meshkiln analyze` says of both")
    })?;
    asset.set(Slot::Report, Value::Json(Arc::new(comparison.to_json())));
    cx.step(3, 3)
}

fn read(cx: &StageCx, bundle: &Bundle) -> Result<Mesh, StageError> {
    let mut imported = import::read(bundle, &Limits::default())?;
    Axes::from_choice(cx.choice("axes"), imported.format).turn_y_up(&mut imported.textured);
    Ok(imported.textured.mesh)
}
