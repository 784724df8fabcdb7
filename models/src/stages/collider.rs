//! Make the convex pieces that physics collides with.

use serde_json::json;

use crate::{
    cx::StageCx,
    error::StageError,
    mesh::collider::{ColliderKind, ColliderOptions, collider},
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
};

pub const STAGE: Stage = Stage {
    id: "collider",
    version: 1,
    doc: "Make the convex pieces that physics collides with.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::Notes],
    writes: &[Slot::Collider],
    may_write: &[Slot::Notes],
    engines: &[
        Engine {
            id: "hull",
            doc: "One convex piece around everything: the quickest to collide with.",
            net: None,
            params: &[],
        },
        Engine {
            id: "pieces",
            doc: "Several convex pieces that follow hollows and holes.",
            net: None,
            params: &[Param {
                id: "max-pieces",
                doc: "At most this many pieces.",
                unit: "",
                kind: ParamKind::Int { default: 8, min: 1, max: 64 },
            }],
        },
    ],
    params: &[
        Param {
            id: "max-vertices",
            doc: "At most this many corners a piece; engines take 255 triangles at most.",
            unit: "",
            kind: ParamKind::Int { default: 64, min: 8, max: 127 },
        },
        Param {
            id: "error",
            doc: "How far the collider may be from the mesh before it gets more corners or pieces, relative to the diagonal.",
            unit: "",
            kind: ParamKind::Float { default: 0.01, min: 0.0001, max: 1.0 },
        },
    ],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    cx.step(0, 1)?;
    let (kind, max_pieces) = match cx.engine {
        "pieces" => (ColliderKind::Decomposition, cx.int("max-pieces") as usize),
        _ => (ColliderKind::Hull, 1),
    };
    let mesh = asset.mesh()?;
    let size = mesh.bounds().map_or(0.0, |(low, high)| (high - low).length());
    let options = ColliderOptions {
        kind,
        max_pieces,
        max_vertices_per_piece: cx.int("max-vertices") as usize,
        error: cx.float("error") as f32 * size,
    };
    let pieces = collider(&mesh, &options)?;
    let triangles: usize = pieces.iter().map(|piece| piece.triangles.len()).sum();
    asset.note(STAGE.id, json!({ "pieces": pieces.len(), "triangles": triangles }));
    asset.set(Slot::Collider, Value::Meshes(pieces.into()));
    cx.step(1, 1)
}
