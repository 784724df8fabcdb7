//! Targets: what each engine wants, as data.
//!
//! A preset chooses the formats, names the nodes, states limits and what happens
//! beyond them. Too many triangles or a map that is missing is an error, because
//! only an earlier stage can mend it well; a texture that is too large or has an
//! odd size is resized, and the record says so.

use super::{
    format::{Format, TextureFormat},
    texture::{Block, MapKind},
};

pub struct Preset {
    pub id: &'static str,
    pub doc: &'static str,
    pub format: Format,
    pub texture: TextureFormat,
    /// Meshes quantised and compressed (`EXT_meshopt_compression`).
    pub compress: bool,
    pub names: Names,
    /// Where levels of detail go.
    pub lods: Place,
    /// Where the collider goes.
    pub collider: Place,
    /// Longest side of a texture, in texels.
    pub max_texture: u32,
    /// Are sides of textures brought to powers of two?
    pub power_of_two: bool,
    /// Of the finest mesh; 0 for any number.
    pub max_triangles: usize,
    /// Of the finest mesh, as stored; 0 for any number.
    pub max_vertices: usize,
    /// Maps without which the target shows nothing sensible.
    pub required: &'static [MapKind],
    /// DirectX normals: green points down in textures outside the GLB. Inside,
    /// glTF prescribes up, and importers turn it.
    pub green_down: bool,
    /// Does a DDS say that its colours are sRGB?
    pub dds_srgb: bool,
    /// Textures beside the mesh, in this order; maps not listed are left out.
    pub loose: &'static [Loose],
}

/// Names of nodes and their meshes: `{name}` is the asset's, `{n}` counts from 1,
/// `{nn}` the same with two digits.
pub struct Names {
    /// The finest mesh.
    pub object: &'static str,
    /// The same where there are levels of detail.
    pub object_with_lods: &'static str,
    pub lod: &'static str,
    pub collider: &'static str,
}

/// Which scene of a GLB holds a node. Viewers draw the default scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The default scene, beside the object: for importers that know the name
    /// and hide or convert the node.
    WithObject,
    /// A scene of its own, so that nothing is drawn over the object.
    OwnScene,
    /// Not written.
    LeftOut,
}

/// A texture as a file of its own.
pub struct Loose {
    pub map: MapKind,
    /// Appended to the asset's name.
    pub suffix: &'static str,
    /// Used when it is a DDS.
    pub block: Block,
    /// Used instead when the map has transparent texels.
    pub block_with_alpha: Block,
}

/// The table. The first is the default.
pub static PRESETS: &[Preset] = &[
    Preset {
        id: "generic",
        doc: "Any viewer or engine: plain glTF, levels of detail and colliders in scenes of their own.",
        ..GENERIC
    },
    Preset {
        id: "unreal",
        doc: "Unreal Engine 5: colliders named UCX_NAME_01 beside the object, power-of-two textures, DirectX normals in DDS.",
        names: Names { collider: "UCX_{name}_{nn}", ..GENERIC.names },
        collider: Place::WithObject,
        power_of_two: true,
        green_down: true,
        ..GENERIC
    },
    Preset {
        id: "unity",
        doc: "Unity: NAME_LOD0, NAME_LOD1 and so on, one scene each, for an LOD Group; power-of-two textures.",
        names: Names { object_with_lods: "{name}_LOD0", collider: "{name}_Collider_{nn}", ..GENERIC.names },
        power_of_two: true,
        ..GENERIC
    },
    Preset {
        id: "godot",
        doc: "Godot 4: colliders named NAME_01-convcolonly beside the object; no levels of detail, the importer makes its own.",
        names: Names { collider: "{name}_{nn}-convcolonly", ..GENERIC.names },
        lods: Place::LeftOut,
        collider: Place::WithObject,
        power_of_two: true,
        ..GENERIC
    },
    Preset {
        id: "web",
        doc: "Web pages: small downloads, meshopt compression and WebP textures of at most 2048 texels a side.",
        texture: TextureFormat::Webp,
        compress: true,
        max_texture: 2048,
        ..GENERIC
    },
    Preset {
        id: "fallout4",
        doc: "Fallout 4 and its tools: OBJ of at most 65535 triangles and vertices, power-of-two DDS with diffuse and DirectX normal.",
        format: Format::Obj,
        texture: TextureFormat::Dds,
        max_texture: 4096,
        power_of_two: true,
        max_triangles: 65_535,
        max_vertices: 65_535,
        required: &[MapKind::BaseColor, MapKind::Normal],
        green_down: true,
        // The game takes every texture as it is and corrects colours by their use.
        dds_srgb: false,
        loose: &[
            Loose { map: MapKind::BaseColor, suffix: "_d", block: Block::Bc1, block_with_alpha: Block::Bc3 },
            Loose { map: MapKind::Normal, suffix: "_n", block: Block::Bc5, block_with_alpha: Block::Bc5 },
            Loose { map: MapKind::Emissive, suffix: "_g", block: Block::Bc1, block_with_alpha: Block::Bc3 },
        ],
        ..GENERIC
    },
];

const GENERIC: Preset = Preset {
    id: "",
    doc: "",
    format: Format::Glb,
    texture: TextureFormat::Png,
    compress: false,
    names: Names { object: "{name}", object_with_lods: "{name}", lod: "{name}_LOD{n}", collider: "{name}_COL_{nn}" },
    lods: Place::OwnScene,
    collider: Place::OwnScene,
    max_texture: 8192,
    power_of_two: false,
    max_triangles: 0,
    max_vertices: 0,
    required: &[MapKind::BaseColor],
    green_down: false,
    dds_srgb: true,
    loose: &[
        Loose { map: MapKind::BaseColor, suffix: "_basecolor", block: Block::Bc7, block_with_alpha: Block::Bc7 },
        Loose { map: MapKind::Normal, suffix: "_normal", block: Block::Bc5, block_with_alpha: Block::Bc5 },
        Loose { map: MapKind::Occlusion, suffix: "_occlusion", block: Block::Bc4, block_with_alpha: Block::Bc4 },
        Loose { map: MapKind::Roughness, suffix: "_roughness", block: Block::Bc4, block_with_alpha: Block::Bc4 },
        Loose { map: MapKind::Metallic, suffix: "_metallic", block: Block::Bc4, block_with_alpha: Block::Bc4 },
        Loose { map: MapKind::Emissive, suffix: "_emissive", block: Block::Bc7, block_with_alpha: Block::Bc7 },
    ],
};

pub fn find(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}

/// The default.
pub fn generic() -> &'static Preset {
    &PRESETS[0]
}

impl Names {
    /// Name of the finest mesh.
    pub fn object(&self, name: &str, n_lods: usize) -> String {
        let pattern = if n_lods == 0 { self.object } else { self.object_with_lods };
        fill(pattern, name, 0)
    }

    /// Name of a coarser mesh, `n` from 1.
    pub fn lod(&self, name: &str, n: usize) -> String {
        fill(self.lod, name, n)
    }

    /// Name of a convex piece, `n` from 1.
    pub fn collider(&self, name: &str, n: usize) -> String {
        fill(self.collider, name, n)
    }
}

fn fill(pattern: &str, name: &str, n: usize) -> String {
    // The asset's name last: it may itself hold `{n}`.
    pattern.replace("{nn}", &format!("{n:02}")).replace("{n}", &n.to_string()).replace("{name}", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (i, preset) in PRESETS.iter().enumerate() {
            assert!(PRESETS[..i].iter().all(|other| other.id != preset.id), "{} twice", preset.id);
            assert!(preset.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) && !preset.id.is_empty());
            assert!(preset.doc.ends_with('.') && preset.doc.len() > 20, "{}", preset.id);
            assert!(preset.max_texture.is_power_of_two(), "{}", preset.id);
            for required in preset.required {
                assert!(preset.loose.iter().any(|loose| loose.map == *required), "{} {required:?}", preset.id);
            }
            assert!(!preset.names.lod("a", 1).eq(&preset.names.lod("a", 2)));
        }
        assert_eq!(generic().id, "generic");
    }

    #[test]
    fn names_follow_each_engine() {
        let names = |id| &find(id).unwrap().names;
        assert_eq!(names("generic").object("lamp", 3), "lamp");
        assert_eq!(names("generic").lod("lamp", 2), "lamp_LOD2");
        assert_eq!(names("unreal").collider("lamp", 1), "UCX_lamp_01");
        assert_eq!(names("unity").object("lamp", 3), "lamp_LOD0");
        assert_eq!(names("unity").object("lamp", 0), "lamp");
        assert_eq!(names("godot").collider("lamp", 12), "lamp_12-convcolonly");
        assert_eq!(names("generic").lod("{n}", 7), "{n}_LOD7");
    }
}
