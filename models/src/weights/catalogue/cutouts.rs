//! Networks that tell objects from their backgrounds.

use super::{License, MemoryClass, Need, Net, NetFile, Role, Runs};

const APACHE: License = License {
    id: "Apache-2.0",
    says: "Any use, commercial too, of the weights and of what they make; keep the licence and its notices with copies of the weights.",
};

/// Its authors' own repository. Revision, size and sum as public code that fetches it pins them.
pub static BIREFNET: Net = Net {
    id: "birefnet",
    doc: "The thing that a picture shows, told from its background to the hair.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "birefnet" }],
    repository: "ZhengPeng7/BiRefNet",
    revision: Some("e2bf8e4460fc8fa32bba5ea4d94b3233d367b0e4"),
    files: &[NetFile {
        path: "model.safetensors",
        bytes: Some(444_473_596),
        sha256: Some("9ab37426bf4de0567af6b5d21b16151357149139362e6e8992021b8ce356a154"),
        role: Role::Safetensors,
    }],
    license: License {
        id: "MIT",
        says: "Any use, commercial too, of the weights and of what they make; keep the copyright notice with copies of the weights.",
    },
    memory: MemoryClass::Gb4To8,
    cpu_viable: true,
    speed: "A minute or so for a picture on a CPU, whatever its size: it looks at 1024 pixels a side.",
    quality: "The finest outlines of all, hair and thin parts included.",
};

/// Its authors publish on Google Drive; this repository, of a maker of background removers, has the
/// same bytes: size and sum are those that several independent projects pin for the original file.
pub static U2NET: Net = Net {
    id: "u2net",
    doc: "What catches the eye in a picture, told from the rest.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "u2net" }],
    repository: "Carve/u2net-universal",
    revision: Some("10305d785481cf4b2eee1d447c39cd6e5f43d74b"),
    files: &[NetFile {
        path: "full_weights.pth",
        bytes: Some(176_290_937),
        sha256: Some("10025a17f49cd3208afc342b589890e402ee63123d6f2d289a4a0903695cce58"),
        role: Role::Checkpoint,
    }],
    license: APACHE,
    memory: MemoryClass::Gb2To4,
    cpu_viable: true,
    speed: "Seconds for a picture on a CPU, whatever its size: it looks at 320 pixels a side.",
    quality: "Reliable on photos of single things; edges and gaps are coarse before they are refined.",
};

/// As above; sum and size as several independent projects pin them for the authors' file, the
/// revision as public code that fetches it from here names it.
pub static U2NETP: Net = Net {
    id: "u2netp",
    doc: "What catches the eye in a picture, told from the rest, in four megabytes.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "u2netp" }],
    repository: "netradrishti/u2net-saliency",
    revision: Some("c723f1a701ee5d3240a28bb5a1d57b9e713698c5"),
    files: &[NetFile {
        path: "models/u2netp.pth",
        bytes: Some(4_683_258),
        sha256: Some("e7567cde013fb64813973ce6e1ecc25a80c05c3ca7adbc5a54f3c3d90991b854"),
        role: Role::Checkpoint,
    }],
    license: APACHE,
    memory: MemoryClass::Gb2To4,
    cpu_viable: true,
    speed: "About a second for a picture on a CPU, whatever its size: it looks at 320 pixels a side.",
    quality: "Finds single things nearly as well as u2net, with rougher edges.",
};

/// Its authors publish on Google Drive; this mirror is the one that most public code fetches from,
/// and two independent projects pin this sum for it.
pub static ISNET: Net = Net {
    id: "isnet",
    doc: "The thing that a picture shows, told from its background in fine detail.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "isnet" }],
    repository: "NimaBoscarino/IS-Net_DIS-general-use",
    revision: None,
    files: &[NetFile {
        path: "isnet-general-use.pth",
        bytes: None,
        sha256: Some("9e1aafea58f0b55d0c35077e0ceade6ba1ba2bce372fd4f8f77215391f3fac13"),
        role: Role::Checkpoint,
    }],
    license: APACHE,
    memory: MemoryClass::Gb2To4,
    cpu_viable: true,
    speed: "Ten seconds or so for a picture on a CPU, whatever its size: it looks at 1024 pixels a side.",
    quality: "Fine edges, thin parts and holes; now and then it takes several things for one.",
};

/// Its author's own repository. The sum is not known from public code.
pub static ISNET_ANIME: Net = Net {
    id: "isnet-anime",
    doc: "Drawn figures in the manner of anime, told from their background.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "isnet-anime" }],
    repository: "skytnt/anime-seg",
    revision: None,
    files: &[NetFile { path: "isnetis.ckpt", bytes: None, sha256: None, role: Role::Checkpoint }],
    license: APACHE,
    memory: MemoryClass::Gb2To4,
    cpu_viable: true,
    speed: "Ten seconds or so for a picture on a CPU, whatever its size: it looks at 1024 pixels a side.",
    quality: "Hair, clothes and what a figure holds; not for photos.",
};
