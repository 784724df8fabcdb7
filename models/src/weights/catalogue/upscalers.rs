//! Networks that make pictures larger.
//!
//! Real-ESRGAN publishes its weights as files of releases; the repositories here hold copies of them.
//! Sizes and sums are those of the releases, as several independent projects pin them in public code.

use super::{License, MemoryClass, Need, Net, NetFile, Role, Runs};

const LICENSE: License = License {
    id: "BSD-3-Clause",
    says: "Any use, commercial too, of the weights and of what they make; keep the copyright notice with copies of the weights.",
};

pub static X4PLUS: Net = Net {
    id: "realesrgan-x4plus",
    doc: "Pictures four times as large, for photographs and textures.",
    serves: &[Need::Image, Need::Texture],
    engines: &[
        Runs { stage: "upscale", engine: "realesrgan-x4plus" },
        Runs { stage: "texture", engine: "realesrgan-x4plus" },
    ],
    repository: "lllyasviel/Annotators",
    revision: None,
    files: &[NetFile {
        path: "RealESRGAN_x4plus.pth",
        bytes: Some(67_040_989),
        sha256: Some("4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1"),
        role: Role::Checkpoint,
    }],
    license: LICENSE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "A picture of 512x512 is 8.7 TFLOP: about a minute on a desktop CPU, a second on a GPU.",
    quality: "Sharp, clean edges and textures that were not there; smooths what it takes for noise.",
};

pub static X4PLUS_ANIME: Net = Net {
    id: "realesrgan-x4plus-anime",
    doc: "Pictures four times as large, for drawings.",
    serves: &[Need::Image, Need::Texture],
    engines: &[
        Runs { stage: "upscale", engine: "realesrgan-x4plus-anime" },
        Runs { stage: "texture", engine: "realesrgan-x4plus-anime" },
    ],
    repository: "leonelhs/realesrgan",
    revision: None,
    files: &[NetFile {
        path: "RealESRGAN_x4plus_anime_6B.pth",
        bytes: Some(17_938_799),
        sha256: Some("f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da"),
        role: Role::Checkpoint,
    }],
    license: LICENSE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "A quarter of the work of the large network.",
    quality: "Clean lines and flat areas; photographs look painted.",
};

pub static X2PLUS: Net = Net {
    id: "realesrgan-x2plus",
    doc: "Pictures twice as large, for photographs and textures.",
    serves: &[Need::Image, Need::Texture],
    engines: &[
        Runs { stage: "upscale", engine: "realesrgan-x2plus" },
        Runs { stage: "texture", engine: "realesrgan-x2plus" },
    ],
    repository: "dtarnow/UPscaler",
    revision: None,
    files: &[NetFile {
        path: "RealESRGAN_x2plus.pth",
        bytes: Some(67_061_725),
        sha256: Some("49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb"),
        role: Role::Checkpoint,
    }],
    license: LICENSE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "A quarter of the work of four times as large.",
    quality: "As the network for four times as large, and closer to the picture.",
};

pub static GENERAL_X4V3: Net = Net {
    id: "realesr-general-x4v3",
    doc: "Pictures four times as large, quickly.",
    serves: &[Need::Image, Need::Texture],
    engines: &[
        Runs { stage: "upscale", engine: "realesr-general-x4v3" },
        Runs { stage: "texture", engine: "realesr-general-x4v3" },
    ],
    repository: "leonelhs/realesrgan",
    revision: None,
    files: &[NetFile {
        path: "realesr-general-x4v3.pth",
        bytes: Some(4_885_111),
        sha256: Some("8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292"),
        role: Role::Checkpoint,
    }],
    license: LICENSE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "A fourteenth of the work of the large network.",
    quality: "Nearly as sharp as the large network, with fewer invented textures.",
};

pub static ANIMEVIDEOV3: Net = Net {
    id: "realesr-animevideov3",
    doc: "Pictures four times as large, for drawings, quickly.",
    serves: &[Need::Image, Need::Texture],
    engines: &[
        Runs { stage: "upscale", engine: "realesr-animevideov3" },
        Runs { stage: "texture", engine: "realesr-animevideov3" },
    ],
    repository: "leonelhs/realesrgan",
    revision: None,
    files: &[NetFile {
        path: "realesr-animevideov3.pth",
        bytes: Some(2_504_012),
        sha256: Some("b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d"),
        role: Role::Checkpoint,
    }],
    license: LICENSE,
    memory: MemoryClass::UpToGb2,
    cpu_viable: true,
    speed: "The quickest: half of the work of the general one.",
    quality: "Clean lines and flat areas; photographs look painted.",
};
