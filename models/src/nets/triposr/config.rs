//! Sizes of a TripoSR checkpoint, as its `config.yaml` gives them.

use serde_json::Value as Json;

use crate::error::StageError;

/// Sizes fixed by the checkpoint; not user options.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Side of the picture that the network sees, in pixels.
    pub image_side: usize,
    pub tokenizer: TokenizerConfig,
    pub backbone: BackboneConfig,
    pub decoder: DecoderConfig,
    /// Half the side of the cube that the field fills.
    pub radius: f32,
    /// Added to the decoder's first output before `exp`.
    pub density_bias: f32,
    /// Midpoints along each ray of a rendered view.
    pub n_ray_samples: usize,
}

/// The image tokenizer: a ViT as DINO trains it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerConfig {
    /// Token width.
    pub d: usize,
    pub depth: usize,
    pub heads: usize,
    /// Width of the hidden layer of a block's perceptron.
    pub hidden: usize,
    /// Patch edge, in pixels.
    pub patch: usize,
    /// Side of the pictures it was trained on: how many positions are stored.
    pub trained_side: usize,
    pub eps: f32,
}

/// The triplane transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct BackboneConfig {
    /// Side of a plane, in tokens.
    pub plane: usize,
    /// Token width outside the blocks.
    pub channels: usize,
    pub depth: usize,
    pub heads: usize,
    /// Width of a head; all heads together are the width within the blocks.
    pub d_head: usize,
}

impl BackboneConfig {
    /// Token width within the blocks.
    pub fn d(&self) -> usize {
        self.heads * self.d_head
    }

    pub fn n_tokens(&self) -> usize {
        3 * self.plane * self.plane
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Channels of each plane after upsampling.
    pub channels: usize,
    /// Width of the hidden layers.
    pub hidden: usize,
    pub n_hidden: usize,
}

impl Config {
    /// Published checkpoint (reference: `config.yaml` of stabilityai/TripoSR; the tokenizer's
    /// sizes are those of facebook/dino-vitb16, which it names).
    pub fn released() -> Config {
        Config {
            image_side: 512,
            tokenizer: TokenizerConfig {
                d: 768,
                depth: 12,
                heads: 12,
                hidden: 3072,
                patch: 16,
                trained_side: 224,
                eps: 1e-12,
            },
            backbone: BackboneConfig { plane: 32, channels: 1024, depth: 16, heads: 16, d_head: 64 },
            decoder: DecoderConfig { channels: 40, hidden: 64, n_hidden: 9 },
            radius: 0.87,
            density_bias: -1.0,
            n_ray_samples: 128,
        }
    }

    /// Same graph at toy size: real code path in milliseconds, on a plain CPU.
    pub fn tiny() -> Config {
        Config {
            image_side: 96,
            tokenizer: TokenizerConfig {
                d: 48,
                depth: 3,
                heads: 3,
                hidden: 192,
                patch: 16,
                trained_side: 64,
                eps: 1e-12,
            },
            backbone: BackboneConfig { plane: 8, channels: 64, depth: 2, heads: 2, d_head: 32 },
            decoder: DecoderConfig { channels: 8, hidden: 16, n_hidden: 3 },
            ..Config::released()
        }
    }

    /// From the tree of `config.yaml`. What it does not say is as released; it may have a
    /// part `dino` with the tokenizer's sizes. `${a.b}` stands for the value at `a.b`.
    ///
    /// Errors: a value of another kind, sizes that do not fit each other, a choice of the
    /// reference that the released checkpoint does not make.
    pub fn from_tree(tree: &Json) -> Result<Config, StageError> {
        let released = Config::released();
        let at = Tree { root: tree };
        let dino = released.tokenizer;
        let config = Config {
            image_side: at.size("cond_image_size", released.image_side)?,
            tokenizer: TokenizerConfig {
                d: at.size("dino.hidden_size", dino.d)?,
                depth: at.size("dino.num_hidden_layers", dino.depth)?,
                heads: at.size("dino.num_attention_heads", dino.heads)?,
                hidden: at.size("dino.intermediate_size", dino.hidden)?,
                patch: at.size("dino.patch_size", dino.patch)?,
                trained_side: at.size("dino.image_size", dino.trained_side)?,
                eps: at.number("dino.layer_norm_eps", dino.eps as f64)? as f32,
            },
            backbone: BackboneConfig {
                plane: at.size("tokenizer.plane_size", released.backbone.plane)?,
                channels: at.size("tokenizer.num_channels", released.backbone.channels)?,
                depth: at.size("backbone.num_layers", released.backbone.depth)?,
                heads: at.size("backbone.num_attention_heads", released.backbone.heads)?,
                d_head: at.size("backbone.attention_head_dim", released.backbone.d_head)?,
            },
            decoder: DecoderConfig {
                channels: at.size("post_processor.out_channels", released.decoder.channels)?,
                hidden: at.size("decoder.n_neurons", released.decoder.hidden)?,
                n_hidden: at.size("decoder.n_hidden_layers", released.decoder.n_hidden)?,
            },
            radius: at.number("renderer.radius", released.radius as f64)? as f32,
            density_bias: at.number("renderer.density_bias", released.density_bias as f64)? as f32,
            n_ray_samples: at.size("renderer.num_samples_per_ray", released.n_ray_samples)?,
        };
        at.must_be("decoder.activation", "silu")?;
        at.must_be("renderer.feature_reduction", "concat")?;
        at.must_be("renderer.density_activation", "exp")?;
        at.must_equal("backbone.in_channels", config.backbone.channels)?;
        at.must_equal("backbone.cross_attention_dim", config.tokenizer.d)?;
        at.must_equal("post_processor.in_channels", config.backbone.channels)?;
        at.must_equal("decoder.in_channels", 3 * config.decoder.channels)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), StageError> {
        let t = &self.tokenizer;
        let divisible = [
            (self.image_side, t.patch, "cond_image_size", "patch_size"),
            (t.trained_side, t.patch, "image_size", "patch_size"),
            (t.d, t.heads, "hidden_size", "num_attention_heads"),
            (self.backbone.channels, GROUPS, "num_channels", "the 32 groups of the norm"),
        ];
        match divisible.iter().find(|(whole, part, ..)| whole % part != 0) {
            Some((whole, part, name, by)) => Err(wrong(format!("{name} {whole} is not a multiple of {by} {part}"))),
            None => Ok(()),
        }
    }
}

/// Of the norm before the backbone.
pub const GROUPS: usize = 32;

struct Tree<'a> {
    root: &'a Json,
}

impl<'a> Tree<'a> {
    fn find(&self, path: &str) -> Option<&'a Json> {
        let mut found = self.look(path)?;
        // A reference may name a reference; more than a few are a circle.
        for _ in 0..4 {
            let Some(name) = found.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}')) else { break };
            found = self.look(name)?;
        }
        Some(found)
    }

    fn look(&self, path: &str) -> Option<&'a Json> {
        path.split('.').try_fold(self.root, |at, name| at.get(name))
    }

    fn size(&self, path: &str, default: usize) -> Result<usize, StageError> {
        match self.find(path) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                Some(n) if (1..=1 << 16).contains(&n) => Ok(n as usize),
                _ => Err(wrong(format!("{path} is {value}, not a size from 1 to 65536"))),
            },
        }
    }

    fn number(&self, path: &str, default: f64) -> Result<f64, StageError> {
        match self.find(path) {
            None => Ok(default),
            // YAML 1.1 readers take `1e-12` for text.
            Some(value) => value
                .as_f64()
                .or_else(|| value.as_str()?.parse().ok())
                .ok_or_else(|| wrong(format!("{path} is {value}, not a number"))),
        }
    }

    fn must_be(&self, path: &str, only: &str) -> Result<(), StageError> {
        match self.find(path) {
            Some(value) if value.as_str() != Some(only) => Err(wrong(format!("{path} is {value}, not {only}"))),
            _ => Ok(()),
        }
    }

    fn must_equal(&self, path: &str, size: usize) -> Result<(), StageError> {
        let given = self.size(path, size)?;
        if given == size { Ok(()) } else { Err(wrong(format!("{path} is {given}, not {size}"))) }
    }
}

fn wrong(what: String) -> StageError {
    StageError::invalid(
        format!("the configuration of the checkpoint: {what}"),
        "fetch the weights again with `meshkiln pull triposr`",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_published_configuration_is_what_is_released() {
        let tree = json!({
            "cond_image_size": 512,
            "image_tokenizer": { "pretrained_model_name_or_path": "facebook/dino-vitb16" },
            "tokenizer": { "plane_size": 32, "num_channels": 1024 },
            "backbone": {
                "in_channels": "${tokenizer.num_channels}", "num_attention_heads": 16,
                "attention_head_dim": 64, "num_layers": 16, "cross_attention_dim": 768,
            },
            "post_processor": { "in_channels": 1024, "out_channels": 40 },
            "decoder": { "in_channels": 120, "n_neurons": 64, "n_hidden_layers": 9, "activation": "silu" },
            "renderer": {
                "radius": 0.87, "feature_reduction": "concat", "density_activation": "exp",
                "density_bias": -1.0, "num_samples_per_ray": 128,
            },
        });
        assert_eq!(Config::from_tree(&tree).unwrap(), Config::released());
    }

    #[test]
    fn what_does_not_fit_is_said_with_both_values() {
        let said = |tree: Json| Config::from_tree(&tree).unwrap_err().message;
        let before = "the configuration of the checkpoint: ";
        for (tree, message) in [
            (json!({ "decoder": { "in_channels": 119 } }), "decoder.in_channels is 119, not 120"),
            (json!({ "decoder": { "activation": "relu" } }), "decoder.activation is \"relu\", not silu"),
            (json!({ "cond_image_size": 500 }), "cond_image_size 500 is not a multiple of patch_size 16"),
            (json!({ "cond_image_size": 0 }), "cond_image_size is 0, not a size from 1 to 65536"),
            (json!({ "renderer": { "radius": "${a}" }, "a": "${a}" }), "renderer.radius is \"${a}\", not a number"),
        ] {
            assert_eq!(said(tree), format!("{before}{message}"));
        }
    }
}
