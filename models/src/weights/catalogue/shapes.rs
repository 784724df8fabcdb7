//! Networks that make geometry of pictures.

use super::{License, MemoryClass, Need, Net, NetFile, Role, Runs};

/// Revision, sizes and sums as several independent projects pin them in public code.
pub static TRIPOSR: Net = Net {
    id: "triposr",
    doc: "A mesh with colours out of one picture, back side included.",
    serves: &[Need::ThreeD],
    engines: &[Runs { stage: "reconstruct", engine: "triposr" }],
    repository: "stabilityai/TripoSR",
    revision: Some("5b521936b01fbe1890f6f9baed0254ab6351c04a"),
    files: &[
        NetFile {
            path: "config.yaml",
            bytes: Some(987),
            sha256: Some("74ca708ce086bf68e97709ea6b3d91f14717921c04691e84043f0eb8fcc68e62"),
            role: Role::Config,
        },
        NetFile {
            path: "model.ckpt",
            bytes: Some(1_677_246_742),
            sha256: Some("429e2c6b22a0923967459de24d67f05962b235f79cde6b032aa7ed2ffcd970ee"),
            role: Role::Checkpoint,
        },
    ],
    license: License {
        id: "MIT",
        says: "Any use, commercial too, of the weights and of what they make; keep the copyright notice with copies of the weights.",
    },
    memory: MemoryClass::Gb4To8,
    cpu_viable: true,
    speed: "Its authors report under half a second for a picture on an A100.",
    quality: "Plausible shapes of single objects; soft details, colours without material properties.",
};
