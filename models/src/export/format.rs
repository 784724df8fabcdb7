//! The formats a finished file can have, and the names they go by.

/// How the geometry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// glTF 2.0 binary: everything in one file. A ZIP when its textures are DDS,
    /// which glTF cannot hold: they lie beside the GLB.
    Glb,
    /// Wavefront OBJ with MTL and textures, in a ZIP.
    Obj,
    /// Binary PLY: the finest mesh, its colours on the vertices.
    Ply,
    /// Binary STL: the finest mesh, no colours; millimetres, +Z up.
    Stl,
}

/// How the textures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextureFormat {
    Png,
    Jpeg,
    Webp,
    /// KTX 2.0 with Basis Universal: stays compressed in the memory of any GPU.
    Ktx2,
    /// BC1 to BC7 for engines that load them as they are.
    Dds,
}

impl Format {
    pub const ALL: &[Format] = &[Format::Glb, Format::Obj, Format::Ply, Format::Stl];

    pub fn id(self) -> &'static str {
        match self {
            Format::Glb => "glb",
            Format::Obj => "obj",
            Format::Ply => "ply",
            Format::Stl => "stl",
        }
    }

    pub fn find(id: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.id() == id)
    }

    /// Does a file of this format hold pictures, levels of detail and colliders?
    pub fn holds_textures(self) -> bool {
        matches!(self, Format::Glb | Format::Obj)
    }
}

impl TextureFormat {
    pub const ALL: &[TextureFormat] =
        &[TextureFormat::Png, TextureFormat::Jpeg, TextureFormat::Webp, TextureFormat::Ktx2, TextureFormat::Dds];

    pub fn id(self) -> &'static str {
        match self {
            TextureFormat::Png => "png",
            TextureFormat::Jpeg => "jpeg",
            TextureFormat::Webp => "webp",
            TextureFormat::Ktx2 => "ktx2",
            TextureFormat::Dds => "dds",
        }
    }

    pub fn find(id: &str) -> Option<TextureFormat> {
        TextureFormat::ALL.iter().copied().find(|format| format.id() == id)
    }

    /// Of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            TextureFormat::Jpeg => "jpg",
            other => other.id(),
        }
    }
}
