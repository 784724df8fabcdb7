//! Networks that see distances in a picture.
//!
//! Licences are those of the model cards: DPT and MiDaS as Intel published the converted weights
//! (Apache-2.0 and MIT), ZoeDepth MIT, of Depth Anything V2 the small ones Apache-2.0 and the others
//! not for commercial use. No public code pins sizes or sums of these files: the first download
//! records them.

use super::{License, MemoryClass, Need, Net, NetFile, Role, Runs};

const CONFIG: NetFile = NetFile { path: "config.json", bytes: None, sha256: None, role: Role::Config };
const SAFETENSORS: [NetFile; 2] =
    [CONFIG, NetFile { path: "model.safetensors", bytes: None, sha256: None, role: Role::Safetensors }];
const PICKLE: [NetFile; 2] =
    [CONFIG, NetFile { path: "pytorch_model.bin", bytes: None, sha256: None, role: Role::Checkpoint }];

const APACHE: License = License {
    id: "Apache-2.0",
    says: "Any use, commercial too, of the weights and of what they make; keep the notices with copies of the weights.",
};
const MIT: License = License {
    id: "MIT",
    says: "Any use, commercial too, of the weights and of what they make; keep the copyright notice with copies of the weights.",
};
const NON_COMMERCIAL: License = License {
    id: "CC-BY-NC-4.0",
    says: "Not for commercial use: name the authors, and do not sell what you make with these weights.",
};

/// What all share with the smallest one of their family.
const ANYTHING: Net = Net {
    id: "depth-anything-v2-small",
    doc: "Relative depth of any picture, small and quick.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "depth-anything-v2-small" }],
    repository: "depth-anything/Depth-Anything-V2-Small-hf",
    revision: None,
    files: &SAFETENSORS,
    license: APACHE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "Some seconds for a picture on a CPU: 25 million parameters.",
    quality: "Sharp edges and thin things; only which is nearer, not how far.",
};

pub static DEPTH_ANYTHING_V2_SMALL: Net = ANYTHING;

pub static DEPTH_ANYTHING_V2_BASE: Net = Net {
    id: "depth-anything-v2-base",
    doc: "Relative depth of any picture, not for commercial use.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "depth-anything-v2-base" }],
    repository: "depth-anything/Depth-Anything-V2-Base-hf",
    license: NON_COMMERCIAL,
    memory: MemoryClass::UpToGb2,
    speed: "About four times the work of the small one: 98 million parameters.",
    quality: "Somewhat finer than the small one.",
    ..ANYTHING
};

pub static DEPTH_ANYTHING_V2_LARGE: Net = Net {
    id: "depth-anything-v2-large",
    doc: "Relative depth of any picture, finest, not for commercial use.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "depth-anything-v2-large" }],
    repository: "depth-anything/Depth-Anything-V2-Large-hf",
    license: NON_COMMERCIAL,
    memory: MemoryClass::Gb2To4,
    speed: "About a minute for a picture on a CPU: 335 million parameters.",
    quality: "The finest details of the three; only which is nearer, not how far.",
    ..ANYTHING
};

pub static DEPTH_ANYTHING_V2_INDOOR: Net = Net {
    id: "depth-anything-v2-indoor",
    doc: "Metres in pictures of rooms.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "depth-anything-v2-indoor" }],
    repository: "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
    quality: "Up to 20 metres, learnt from rendered rooms seen at 60 degrees.",
    ..ANYTHING
};

pub static DEPTH_ANYTHING_V2_OUTDOOR: Net = Net {
    id: "depth-anything-v2-outdoor",
    doc: "Metres in pictures of streets.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "depth-anything-v2-outdoor" }],
    repository: "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",
    quality: "Up to 80 metres, learnt from rendered streets seen at 81 degrees.",
    ..ANYTHING
};

const ZOEDEPTH: Net = Net {
    id: "zoedepth-nk",
    doc: "Metres indoors and outdoors.",
    serves: &[Need::Depth],
    engines: &[Runs { stage: "depth", engine: "zoedepth-nk" }],
    repository: "Intel/zoedepth-nyu-kitti",
    revision: None,
    files: &SAFETENSORS,
    license: MIT,
    memory: MemoryClass::Gb2To4,
    cpu_viable: true,
    speed: "A minute or two for a picture on a CPU: 346 million parameters.",
    quality: "Looks whether a picture shows rooms or streets, then measures up to 10 or 80 metres; softer edges.",
};

pub static ZOEDEPTH_NK: Net = ZOEDEPTH;

pub static ZOEDEPTH_N: Net = Net {
    id: "zoedepth-n",
    doc: "Metres in pictures of rooms.",
    engines: &[Runs { stage: "depth", engine: "zoedepth-n" }],
    repository: "Intel/zoedepth-nyu",
    quality: "Up to 10 metres; softer edges.",
    ..ZOEDEPTH
};

pub static ZOEDEPTH_K: Net = Net {
    id: "zoedepth-k",
    doc: "Metres in pictures of streets.",
    engines: &[Runs { stage: "depth", engine: "zoedepth-k" }],
    repository: "Intel/zoedepth-kitti",
    quality: "Up to 80 metres; softer edges.",
    ..ZOEDEPTH
};

pub static MIDAS: Net = Net {
    id: "midas",
    doc: "Relative depth of any picture, MiDaS 3.1 with a large BEiT.",
    engines: &[Runs { stage: "depth", engine: "midas" }],
    repository: "Intel/dpt-beit-large-384",
    quality: "Robust on unusual pictures; only which is nearer, not how far.",
    ..ZOEDEPTH
};

const DPT: Net = Net {
    id: "dpt-large",
    doc: "Relative depth of any picture, MiDaS 3.0 with a large ViT.",
    engines: &[Runs { stage: "depth", engine: "dpt-large" }],
    repository: "Intel/dpt-large",
    files: &PICKLE,
    license: APACHE,
    speed: "About a minute for a picture on a CPU: 343 million parameters.",
    quality: "Robust, with soft edges; only which is nearer, not how far.",
    ..ZOEDEPTH
};

pub static DPT_LARGE: Net = DPT;

pub static DPT_HYBRID: Net = Net {
    id: "dpt-hybrid",
    doc: "Relative depth of any picture, MiDaS 3.0 with a ResNet before a ViT.",
    engines: &[Runs { stage: "depth", engine: "dpt-hybrid" }],
    repository: "Intel/dpt-hybrid-midas",
    memory: MemoryClass::UpToGb2,
    speed: "About a third of the work of `dpt-large`: 123 million parameters.",
    quality: "Nearly as good as `dpt-large`.",
    ..DPT
};
