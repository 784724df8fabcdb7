//! Sizes of the checkpoints, as their `config.json` gives them, and what their depths mean.

use serde_json::Value as Json;

use crate::error::StageError;
pub use crate::image::depth_map::Unit;

type Result<T, E = StageError> = std::result::Result<T, E>;

/// Where the convolutional net of DPT-Hybrid is in the checkpoint.
pub const BIT: &str = "dpt.embeddings.backbone.bit";

/// Sizes fixed by the checkpoint; not user options.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub stem: Option<BitConfig>,
    pub vit: VitConfig,
    pub neck: NeckConfig,
    pub head: HeadConfig,
    pub metric: Option<MetricConfig>,
}

/// ResNetv2 with weight standardisation before the transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct BitConfig {
    pub depths: Vec<usize>,
    pub sizes: Vec<usize>,
    /// Channels of the first convolution.
    pub first: usize,
    pub groups: usize,
}

/// How a family of transformers names its parts and what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Positions of the tokens are added, resized bilinearly.
    Vit,
    /// Scores get a bias by relative position; branches are scaled; keys have no bias.
    Beit,
    /// As `Vit`, resized bicubically; branches are scaled, what comes out is normed.
    Dino,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    pub family: Family,
    /// Token width.
    pub d: usize,
    pub depth: usize,
    pub heads: usize,
    /// Width of the hidden layer of a block's perceptron.
    pub hidden: usize,
    /// Patch edge, in pixels.
    pub patch: usize,
    /// Features of a patch before its projection: its pixels, or channels of the stem.
    pub patch_features: usize,
    /// Side of the pictures it was trained on: how many positions are stored.
    pub trained_side: usize,
    pub eps: f32,
    /// After how many blocks tokens are taken out.
    pub taken_after: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NeckConfig {
    /// Channels of the levels, finest first.
    pub sizes: Vec<usize>,
    /// How many pixels become of a patch, each way; 0.5 for a half.
    pub factors: Vec<f64>,
    /// Levels that the stem gives, which are taken as they are.
    pub n_given: usize,
    /// The class token is mixed into all others.
    pub readout: bool,
    /// Channels of fused levels.
    pub fused: usize,
    /// Each level grows to the size of the next instead of to twice its own.
    pub to_next: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HeadConfig {
    /// Names of the three convolutions.
    pub names: [&'static str; 3],
    /// Channels before the last one.
    pub hidden: usize,
    /// Depth is this much times a sigmoid; without it, what is above zero.
    pub max_depth: Option<f64>,
}

/// ZoeDepth's head: bins of depth whose centres are moved by attractors.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricConfig {
    /// Channels of the relative head's last features.
    pub relative: usize,
    /// Channels of the coarsest level.
    pub bottleneck: usize,
    /// Attractors of the four levels.
    pub attractors: Vec<usize>,
    pub embedding: usize,
    pub temperature: [f32; 2],
    pub centers: Centers,
    /// More than one: a transformer over the coarsest level chooses.
    pub domains: Vec<Domain>,
    /// Of the choosing transformer.
    pub router: Option<RouterConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centers {
    /// Above zero.
    Unbounded,
    /// Between the least and the largest depth.
    Normed,
}

/// A kind of scenes and its range of depths.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    pub name: String,
    pub n_bins: usize,
    pub min: f32,
    pub max: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    pub d: usize,
    pub depth: usize,
    pub heads: usize,
    pub hidden: usize,
}

impl Config {
    /// From the tree of `config.json`; what it does not say is as transformers 4.57.1 has it
    /// (`configuration_{dpt,depth_anything,zoedepth,beit,dinov2,bit}.py`).
    ///
    /// Errors: another kind of model, a value of another kind, a choice that no published
    /// checkpoint makes.
    pub fn from_tree(tree: &Json) -> Result<Config> {
        let tree = tree.get("hf").unwrap_or(tree);
        let kind = match tree["model_type"].as_str() {
            Some(kind) => kind,
            // Descriptions of our own leave it out.
            None if tree.get("bin_configurations").is_some() => "zoedepth",
            None if tree.get("head_hidden_size").is_some() => "depth_anything",
            None => "dpt",
        };
        let tree = Tree(tree);
        let config = match kind {
            "dpt" => dpt(&tree)?,
            "depth_anything" => depth_anything(&tree)?,
            "zoedepth" => zoedepth(&tree)?,
            other => return Err(wrong(format!("`model_type` is {other}, not dpt, depth_anything or zoedepth"))),
        };
        config.checked()
    }

    /// Sizes of the checkpoint of the network `id`, for when its `config.json` is absent
    /// (references: the `convert_*_to_hf.py` of each family in transformers).
    ///
    /// Errors: an `id` that is none of ours.
    pub fn released(id: &str) -> Result<Config> {
        Config::from_tree(&super::released::config(id)?)
    }

    pub fn unit(&self) -> Unit {
        let metric = self.metric.is_some() || self.head.max_depth.is_some();
        if metric { Unit::Metres } else { Unit::Relative }
    }

    /// Whether pixels of this size can be run.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        let patch = self.vit.patch;
        if height == 0 || width == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(StageError::internal(format!("{width}x{height} pixels are no patches of {patch}")));
        }
        let side = self.vit.trained_side;
        if self.stem.is_some() && (height, width) != (side, side) {
            return Err(StageError::internal(format!("{width}x{height} pixels are not {side}x{side}")));
        }
        Ok(())
    }

    fn checked(self) -> Result<Config> {
        let (vit, neck) = (&self.vit, &self.neck);
        if vit.heads == 0 || vit.d % vit.heads != 0 || vit.patch == 0 || vit.trained_side % vit.patch != 0 {
            return Err(wrong(format!("{} features in {} heads, patches of {}", vit.d, vit.heads, vit.patch)));
        }
        let n = neck.sizes.len();
        if n < 2 || neck.factors.len() != n || neck.n_given + vit.taken_after.len() != n || neck.fused < 2 {
            return Err(wrong(format!("{n} levels of {} factors and {:?}", neck.factors.len(), vit.taken_after)));
        }
        if vit.taken_after.iter().any(|n| *n == 0 || *n > vit.depth) || !vit.taken_after.is_sorted() {
            return Err(wrong(format!("tokens are taken after {:?} of {} blocks", vit.taken_after, vit.depth)));
        }
        Ok(self)
    }
}

fn dpt(tree: &Tree) -> Result<Config> {
    let is_hybrid = tree.flag("is_hybrid", false)?;
    if tree.text("readout_type", "project")? != "project" || tree.flag("add_projection", false)? {
        return Err(wrong("another readout or head than those of the published checkpoints".to_owned()));
    }
    let neck = NeckConfig {
        sizes: tree.sizes("neck_hidden_sizes", &[96, 192, 384, 768])?,
        factors: tree.numbers("reassemble_factors", &[4.0, 2.0, 1.0, 0.5])?,
        n_given: if is_hybrid { 2 } else { 0 },
        readout: true,
        fused: tree.size("fusion_hidden_size", 256)?,
        to_next: false,
    };
    let head = HeadConfig { names: ["head.head.0", "head.head.2", "head.head.4"], hidden: 32, max_depth: None };
    let (stem, vit) = match tree.part("backbone_config") {
        Some(beit) if !is_hybrid => (None, vit(&beit, Family::Beit)?),
        bit => {
            let mut vit = vit(tree, Family::Vit)?;
            vit.trained_side = tree.size("image_size", 384)?;
            let taken = tree.sizes("backbone_out_indices", &[2, 5, 8, 11])?;
            vit.taken_after = taken.iter().skip(neck.n_given).map(|index| index + 1).collect();
            let stem = if is_hybrid { Some(bit_config(bit.as_ref())?) } else { None };
            if let Some(last) = stem.as_ref().and_then(|stem| stem.sizes.last()) {
                vit.patch_features = *last;
            }
            (stem, vit)
        }
    };
    Ok(Config { stem, vit, neck, head, metric: None })
}

fn bit_config(tree: Option<&Tree>) -> Result<BitConfig> {
    let none = Json::Object(serde_json::Map::new());
    let empty = Tree(&none);
    let tree = tree.unwrap_or(&empty);
    let depths = tree.sizes("depths", &[3, 4, 9])?;
    let mut sizes = tree.sizes("hidden_sizes", &[256, 512, 1024, 2048])?;
    sizes.truncate(depths.len());
    let layer = tree.text("layer_type", "bottleneck")?;
    if layer != "bottleneck" || sizes.len() != 3 {
        return Err(wrong(format!("a stem of {} stages with layers of type {layer}", sizes.len())));
    }
    Ok(BitConfig { depths, sizes, first: tree.size("embedding_size", 64)?, groups: tree.size("num_groups", 32)? })
}

fn depth_anything(tree: &Tree) -> Result<Config> {
    let backbone = tree.part("backbone_config").ok_or_else(|| wrong("there is no `backbone_config`".to_owned()))?;
    let kind = tree.text("depth_estimation_type", "relative")?;
    let max_depth = match kind.as_str() {
        "relative" => None,
        "metric" => Some(tree.number("max_depth", 1.0)?),
        other => return Err(wrong(format!("`depth_estimation_type` is {other}, not relative or metric"))),
    };
    Ok(Config {
        stem: None,
        vit: vit(&backbone, Family::Dino)?,
        neck: NeckConfig {
            sizes: tree.sizes("neck_hidden_sizes", &[48, 96, 192, 384])?,
            factors: tree.numbers("reassemble_factors", &[4.0, 2.0, 1.0, 0.5])?,
            n_given: 0,
            readout: false,
            fused: tree.size("fusion_hidden_size", 64)?,
            to_next: true,
        },
        head: HeadConfig {
            names: ["head.conv1", "head.conv2", "head.conv3"],
            hidden: tree.size("head_hidden_size", 32)?,
            max_depth,
        },
        metric: None,
    })
}

fn zoedepth(tree: &Tree) -> Result<Config> {
    let backbone = tree.part("backbone_config").ok_or_else(|| wrong("there is no `backbone_config`".to_owned()))?;
    if tree.text("attractor_kind", "mean")? != "mean" || tree.flag("use_batch_norm_in_fusion_residual", false)? {
        return Err(wrong("another kind of attractors or fusion than the published checkpoints have".to_owned()));
    }
    let relative = tree.size("num_relative_features", 32)?;
    let centers = match tree.text("bin_centers_type", "softplus")?.as_str() {
        "softplus" => Centers::Unbounded,
        "normed" => Centers::Normed,
        other => return Err(wrong(format!("`bin_centers_type` is {other}, not softplus or normed"))),
    };
    let default = [serde_json::json!({ "name": "nyu", "n_bins": 64, "min_depth": 1e-3, "max_depth": 10.0 })];
    let domains = tree.0.get("bin_configurations").and_then(Json::as_array).map_or(&default[..], |list| list);
    let domain = |tree: &Json| -> Result<Domain> {
        let tree = Tree(tree);
        Ok(Domain {
            name: tree.text("name", "nyu")?,
            n_bins: tree.size("n_bins", 64)?,
            min: tree.number("min_depth", 1e-3)? as f32,
            max: tree.number("max_depth", 10.0)? as f32,
        })
    };
    let domains = domains.iter().map(domain).collect::<Result<Vec<_>>>()?;
    let router = RouterConfig {
        d: tree.size("patch_transformer_hidden_size", 128)?,
        depth: tree.size("num_patch_transformer_layers", 4)?,
        heads: tree.size("patch_transformer_num_attention_heads", 4)?,
        hidden: tree.size("patch_transformer_intermediate_size", 1024)?,
    };
    Ok(Config {
        stem: None,
        vit: vit(&backbone, Family::Beit)?,
        neck: NeckConfig {
            sizes: tree.sizes("neck_hidden_sizes", &[256, 512, 1024, 1024])?,
            factors: tree.numbers("reassemble_factors", &[4.0, 2.0, 1.0, 0.5])?,
            n_given: 0,
            readout: true,
            fused: tree.size("fusion_hidden_size", 256)?,
            to_next: false,
        },
        head: HeadConfig {
            names: ["relative_head.conv1", "relative_head.conv2", "relative_head.conv3"],
            hidden: relative,
            max_depth: None,
        },
        metric: Some(MetricConfig {
            relative,
            bottleneck: tree.size("bottleneck_features", 256)?,
            attractors: tree.sizes("num_attractors", &[16, 8, 4, 1])?,
            embedding: tree.size("bin_embedding_dim", 128)?,
            temperature: [tree.number("min_temp", 0.0212)? as f32, tree.number("max_temp", 50.0)? as f32],
            centers,
            router: (domains.len() > 1).then_some(router),
            domains,
        }),
    })
}

fn vit(tree: &Tree, family: Family) -> Result<VitConfig> {
    let d = tree.size("hidden_size", 768)?;
    let patch = tree.size("patch_size", if family == Family::Dino { 14 } else { 16 })?;
    let depth = tree.size("num_hidden_layers", 12)?;
    let hidden = match family {
        Family::Dino => d * tree.size("mlp_ratio", 4)?,
        _ => tree.size("intermediate_size", 3072)?,
    };
    let default_eps = if family == Family::Dino { 1e-6 } else { 1e-12 };
    Ok(VitConfig {
        family,
        d,
        depth,
        heads: tree.size("num_attention_heads", 12)?,
        hidden,
        patch,
        patch_features: 3 * patch * patch,
        trained_side: tree.size("image_size", 224)?,
        eps: tree.number("layer_norm_eps", default_eps)? as f32,
        taken_after: tree.stages()?,
    })
}

fn wrong(what: String) -> StageError {
    StageError::invalid(
        format!("the configuration of the weights does not fit: {what}"),
        "fetch the weights again with `meshkiln pull`",
    )
}

/// An object of JSON whose values have defaults.
struct Tree<'a>(&'a Json);

impl<'a> Tree<'a> {
    /// `null` is as good as nothing.
    fn value(&self, key: &str) -> Option<&'a Json> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn part(&self, key: &str) -> Option<Tree<'a>> {
        self.value(key).filter(|value| value.is_object()).map(Tree)
    }

    fn read<T>(&self, key: &str, default: T, read: impl Fn(&'a Json) -> Option<T>) -> Result<T> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => read(value).ok_or_else(|| wrong(format!("`{key}` is {value}"))),
        }
    }

    fn size(&self, key: &str, default: usize) -> Result<usize> {
        self.read(key, default, size)
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.read(key, default, number)
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.read(key, default, |value| value.as_bool().or_else(|| value.as_str()?.parse().ok()))
    }

    fn text(&self, key: &str, default: &str) -> Result<String> {
        self.read(key, default.to_owned(), |value| value.as_str().map(str::to_owned))
    }

    fn sizes(&self, key: &str, default: &[usize]) -> Result<Vec<usize>> {
        self.read(key, default.to_vec(), |value| value.as_array()?.iter().map(size).collect())
    }

    fn numbers(&self, key: &str, default: &[f64]) -> Result<Vec<f64>> {
        self.read(key, default.to_vec(), |value| value.as_array()?.iter().map(number).collect())
    }

    /// Numbers of `out_features`, `stage6` and so on, or else `out_indices`.
    fn stages(&self) -> Result<Vec<usize>> {
        let of = |value: &Json| value.as_str()?.strip_prefix("stage")?.parse().ok();
        let named = self.read("out_features", Vec::new(), |value| value.as_array()?.iter().map(of).collect())?;
        if named.is_empty() { self.sizes("out_indices", &[]) } else { Ok(named) }
    }
}

/// Trees of YAML have numbers as text.
fn number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn size(value: &Json) -> Option<usize> {
    number(value).filter(|v| *v >= 0.0 && v.fract() == 0.0 && *v < 1e9).map(|v| v as usize)
}
