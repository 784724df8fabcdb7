//! Everything that can be loaded, and which tool suits which need.
//!
//! [`NETS`] has a line for each network that an engine runs, and none for
//! others. [`guide`] answers "what do I use for this?" from that table and from
//! [`BUILT_IN`], the tools that need no weights.

mod cutouts;
mod depths;
mod sams;
mod shapes;
mod upscalers;

/// One network: where it comes from, what it is for, what it asks of a machine.
#[derive(Debug)]
pub struct Net {
    /// Kebab-case; also the name of its folder among the weights.
    pub id: &'static str,
    /// One line, for lists.
    pub doc: &'static str,
    pub serves: &'static [Need],
    /// The engines that run it.
    pub engines: &'static [Runs],
    /// `OWNER/NAME` on the hub.
    pub repository: &'static str,
    /// Commit of the repository. `None`: not known, the main branch is taken.
    pub revision: Option<&'static str>,
    pub files: &'static [NetFile],
    pub license: License,
    pub memory: MemoryClass,
    /// Whether a picture takes minutes rather than hours without a GPU.
    pub cpu_viable: bool,
    /// One sentence: how fast, where.
    pub speed: &'static str,
    /// One sentence: what comes out, and what does not.
    pub quality: &'static str,
}

/// A stage and the engine of it that runs a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    pub stage: &'static str,
    pub engine: &'static str,
}

/// One published file of a net.
#[derive(Debug)]
pub struct NetFile {
    /// In the repository, and below the net's folder.
    pub path: &'static str,
    /// `None`: not known. The first download records it, later ones must match.
    pub bytes: Option<u64>,
    /// Lower-case hexadecimal. `None`: as with `bytes`.
    pub sha256: Option<&'static str>,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A pickle: converted to `.safetensors` beside it, which is what is loaded.
    Checkpoint,
    /// Loaded as it is.
    Safetensors,
    /// Read by the net itself.
    Config,
}

#[derive(Debug)]
pub struct License {
    /// As in the SPDX list where it is there.
    pub id: &'static str,
    /// One plain sentence on what it allows.
    pub says: &'static str,
}

/// Memory that a net needs on the device that runs it, activations included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryClass {
    UpToGb2,
    Gb2To4,
    Gb4To8,
    Gb8To16,
    Gb16AndMore,
}

impl MemoryClass {
    pub fn label(self) -> &'static str {
        match self {
            Self::UpToGb2 => "up to 2 GB",
            Self::Gb2To4 => "2-4 GB",
            Self::Gb4To8 => "4-8 GB",
            Self::Gb8To16 => "8-16 GB",
            Self::Gb16AndMore => "16+ GB",
        }
    }

    /// Bytes a device should have free before such a net is recommended on it.
    pub fn wants_bytes(self) -> u64 {
        let gb = match self {
            Self::UpToGb2 => 2,
            Self::Gb2To4 => 4,
            Self::Gb4To8 => 8,
            Self::Gb8To16 => 16,
            Self::Gb16AndMore => 24,
        };
        gb << 30
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Pictures out of pictures: cutouts.
    Image,
    /// A mesh out of a picture.
    ThreeD,
    /// Textures of a mesh.
    Texture,
    /// Distances out of a picture.
    Depth,
    /// A better mesh out of a mesh.
    Optimize,
}

impl Need {
    pub const ALL: [Need; 5] = [Need::Image, Need::ThreeD, Need::Texture, Need::Depth, Need::Optimize];

    /// As it is written after `--for`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::ThreeD => "3d",
            Self::Texture => "texture",
            Self::Depth => "depth",
            Self::Optimize => "optimize",
        }
    }

    pub fn find(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|need| need.id() == id)
    }
}

/// Every network that can be loaded.
pub static NETS: &[&Net] = &[
    &cutouts::BIREFNET,
    &cutouts::ISNET,
    &cutouts::U2NET,
    &cutouts::U2NETP,
    &cutouts::ISNET_ANIME,
    &shapes::TRIPOSR,
    &sams::MOBILE_SAM,
    &sams::SAM_VIT_B,
    &sams::SAM_VIT_L,
    &sams::SAM_VIT_H,
    &upscalers::X4PLUS,
    &upscalers::X4PLUS_ANIME,
    &upscalers::X2PLUS,
    &upscalers::GENERAL_X4V3,
    &upscalers::ANIMEVIDEOV3,
    &depths::DEPTH_ANYTHING_V2_SMALL,
    &depths::DEPTH_ANYTHING_V2_BASE,
    &depths::DEPTH_ANYTHING_V2_LARGE,
    &depths::DEPTH_ANYTHING_V2_INDOOR,
    &depths::DEPTH_ANYTHING_V2_OUTDOOR,
    &depths::ZOEDEPTH_NK,
    &depths::ZOEDEPTH_N,
    &depths::ZOEDEPTH_K,
    &depths::MIDAS,
    &depths::DPT_LARGE,
    &depths::DPT_HYBRID,
];

pub fn find(id: &str) -> Option<&'static Net> {
    NETS.iter().copied().find(|net| net.id == id)
}

impl Net {
    /// Bytes to fetch, as far as they are known.
    pub fn known_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).sum()
    }

    /// What is fetched: a commit, or the main branch where none is pinned.
    pub fn revision_or_main(&self) -> &'static str {
        self.revision.unwrap_or("main")
    }
}

impl NetFile {
    /// Name below the net's folder of what is loaded in place of this file.
    pub fn loaded_as(&self) -> String {
        match self.role {
            Role::Checkpoint => {
                let stem = self.path.rsplit_once('.').map_or(self.path, |(stem, _)| stem);
                format!("{stem}.safetensors")
            }
            Role::Safetensors | Role::Config => self.path.to_owned(),
        }
    }
}

/// A tool that is always here.
#[derive(Debug)]
pub struct BuiltIn {
    pub id: &'static str,
    pub doc: &'static str,
    pub serves: &'static [Need],
    pub used_by: Used,
    /// One sentence: when it is the right choice.
    pub suits: &'static str,
}

/// How a built-in tool is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    Engine(Runs),
    Recipe(&'static str),
}

/// Tools without weights, for each need the plainest one first.
pub static BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        id: "classic",
        doc: "Tells the object from its background by colour and edges.",
        serves: &[Need::Image],
        used_by: Used::Engine(Runs { stage: "cutout", engine: "classic" }),
        suits: "Objects on a plain or blurred background, and pictures that have alpha already.",
    },
    BuiltIn {
        id: "cutout",
        doc: "The object alone, as a picture with alpha.",
        serves: &[Need::Image],
        used_by: Used::Recipe("cutout"),
        suits: "When the picture is what you want, not a mesh.",
    },
    BuiltIn {
        id: "upscale",
        doc: "The picture alone, four times as wide and high.",
        serves: &[Need::Image],
        used_by: Used::Recipe("upscale"),
        suits: "Small pictures; without the weights of a network they are resampled.",
    },
    BuiltIn {
        id: "inflate",
        doc: "Blows the outline up to a rounded, closed mesh.",
        serves: &[Need::ThreeD],
        used_by: Used::Engine(Runs { stage: "reconstruct", engine: "inflate" }),
        suits: "Flat or roundish things seen from their main side, and machines without room for a network.",
    },
    BuiltIn {
        id: "project",
        doc: "The picture as the mesh's texture, continued where it did not see.",
        serves: &[Need::Texture],
        used_by: Used::Engine(Runs { stage: "bake", engine: "project" }),
        suits: "Meshes made of one picture.",
    },
    BuiltIn {
        id: "transfer",
        doc: "The textures of a finer mesh, baked onto a coarser one.",
        serves: &[Need::Texture, Need::Optimize],
        used_by: Used::Engine(Runs { stage: "bake", engine: "transfer" }),
        suits: "Meshes that have textures already and need new texture coordinates.",
    },
    BuiltIn {
        id: "height-map",
        doc: "The picture's own brightness as height.",
        serves: &[Need::Depth],
        used_by: Used::Engine(Runs { stage: "depth", engine: "height-map" }),
        suits: "Height maps of 8 or 16 bits, and pictures whose light parts stand out.",
    },
    BuiltIn {
        id: "depth",
        doc: "How far what the picture shows is away, as a PNG of 16 bits.",
        serves: &[Need::Depth],
        used_by: Used::Recipe("depth"),
        suits: "When the depth is what you want, not a mesh.",
    },
    BuiltIn {
        id: "relief",
        doc: "A closed plaque whose front rises as the picture's depth does.",
        serves: &[Need::ThreeD, Need::Depth],
        used_by: Used::Recipe("relief"),
        suits: "Signs, facades and ornaments; with a network for depth any picture.",
    },
    BuiltIn {
        id: "coin",
        doc: "A relief with the outline of the object.",
        serves: &[Need::ThreeD, Need::Depth],
        used_by: Used::Recipe("coin"),
        suits: "Coins, medals and badges before a plain background, or with alpha.",
    },
    BuiltIn {
        id: "terrain",
        doc: "A height map as ground that lies flat.",
        serves: &[Need::ThreeD, Need::Depth],
        used_by: Used::Recipe("terrain"),
        suits: "Height maps of landscapes, 16 bits above all.",
    },
    BuiltIn {
        id: "optimize",
        doc: "A mesh in, a game-ready one out: mended, on budget, unwrapped, baked anew.",
        serves: &[Need::Optimize],
        used_by: Used::Recipe("optimize"),
        suits: "Scans, sculpts and meshes of other generators.",
    },
    BuiltIn {
        id: "analyze",
        doc: "What is good and what is wrong with a mesh, in numbers.",
        serves: &[Need::Optimize],
        used_by: Used::Recipe("analyze"),
        suits: "Before anything is changed.",
    },
];

/// What suits a need.
#[derive(Debug)]
pub struct Guide {
    pub need: Need,
    /// Best result first. Empty where no network serves the need yet.
    pub nets: Vec<&'static Net>,
    /// Empty where nothing built in serves the need.
    pub built_in: Vec<&'static BuiltIn>,
}

pub fn guide(need: Need) -> Guide {
    Guide {
        need,
        nets: NETS.iter().copied().filter(|net| net.serves.contains(&need)).collect(),
        built_in: BUILT_IN.iter().filter(|tool| tool.serves.contains(&need)).collect(),
    }
}

#[cfg(test)]
mod tests;
