//! Segment Anything: networks that cut out what is pointed at.
//!
//! Sizes and sums are those that many projects pin in public code for the files that the authors
//! publish elsewhere. The hub has the same files at `ybelkada/segment-anything`, which
//! transformers' conversion of them was made from, and at `dhkim2810/MobileSAM`.

use super::{License, MemoryClass, Need, Net, NetFile, Role, Runs};

const APACHE: License = License {
    id: "Apache-2.0",
    says: "Any use, commercial too, of the weights and of what they make; keep the licence with copies of the weights.",
};

pub static MOBILE_SAM: Net = Net {
    id: "mobile-sam",
    doc: "The object that is pointed at, cut out; small and quick.",
    serves: &[Need::Image],
    engines: &[Runs { stage: "cutout", engine: "mobile-sam" }],
    repository: "dhkim2810/MobileSAM",
    revision: None,
    files: &[NetFile {
        path: "mobile_sam.pt",
        bytes: Some(40_728_226),
        sha256: Some("6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"),
        role: Role::Checkpoint,
    }],
    license: APACHE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "A second or two for a picture on two cores, then tens of milliseconds for each click.",
    quality: "Masks close to those of the large ones; thin parts are lost more often.",
};

pub static SAM_VIT_B: Net = Net {
    id: "sam-vit-b",
    doc: "The object that is pointed at, cut out; the smallest of the original three.",
    engines: &[Runs { stage: "cutout", engine: "sam-vit-b" }],
    files: &[NetFile {
        path: "checkpoints/sam_vit_b_01ec64.pth",
        bytes: Some(375_042_383),
        sha256: Some("ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
        role: Role::Checkpoint,
    }],
    memory: MemoryClass::UpToGb2,
    speed: "Some ten seconds for a picture on two cores, then tens of milliseconds for each click.",
    quality: "Good masks of most things.",
    ..ORIGINAL
};

pub static SAM_VIT_L: Net = Net {
    id: "sam-vit-l",
    doc: "The object that is pointed at, cut out; the middle one of the original three.",
    engines: &[Runs { stage: "cutout", engine: "sam-vit-l" }],
    files: &[NetFile {
        path: "checkpoints/sam_vit_l_0b3195.pth",
        bytes: Some(1_249_524_607),
        sha256: Some("3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
        role: Role::Checkpoint,
    }],
    memory: MemoryClass::Gb2To4,
    speed: "Half a minute for a picture on two cores, then tens of milliseconds for each click.",
    quality: "Masks hardly worse than those of the largest.",
    ..ORIGINAL
};

pub static SAM_VIT_H: Net = Net {
    id: "sam-vit-h",
    doc: "The object that is pointed at, cut out; the largest of the original three.",
    engines: &[Runs { stage: "cutout", engine: "sam-vit-h" }],
    files: &[NetFile {
        path: "checkpoints/sam_vit_h_4b8939.pth",
        bytes: Some(2_564_550_879),
        sha256: Some("a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
        role: Role::Checkpoint,
    }],
    memory: MemoryClass::Gb4To8,
    speed: "A minute for a picture on two cores, then tens of milliseconds for each click.",
    quality: "The best masks of the four.",
    ..ORIGINAL
};

/// What the original three have in common.
const ORIGINAL: Net = Net {
    id: "",
    doc: "",
    serves: &[Need::Image],
    engines: &[],
    repository: "ybelkada/segment-anything",
    revision: None,
    files: &[],
    license: APACHE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "",
    quality: "",
};
