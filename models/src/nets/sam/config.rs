//! Sizes of the published checkpoints, and of toy ones.

use serde_json::Value as Json;

use crate::error::StageError;

/// Sizes fixed by the checkpoint; not user options.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Side of the square that the encoder sees, in pixels; a multiple of `PATCH`.
    pub side: usize,
    pub encoder: EncoderConfig,
    pub decoder: DecoderConfig,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EncoderConfig {
    TinyVit(TinyVitConfig),
    Vit(VitConfig),
}

/// Four layers, the first of convolutions, the others of attention in windows.
#[derive(Debug, Clone, PartialEq)]
pub struct TinyVitConfig {
    pub widths: [usize; 4],
    pub depths: [usize; 4],
    /// That of the first layer is not used.
    pub heads: [usize; 4],
    /// Sides of the windows, in tokens; that of the first layer is not used.
    pub windows: [usize; 4],
}

/// A plain ViT, most of its blocks with attention in windows.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// Token width.
    pub d: usize,
    pub depth: usize,
    pub heads: usize,
    /// Side of the windows, in tokens.
    pub window: usize,
    /// Blocks whose tokens see all others, in ascending order.
    pub global: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Features of the embedding and of every token.
    pub d: usize,
    pub heads: usize,
    /// Width of the hidden layer of a block's perceptron.
    pub hidden: usize,
}

/// Pixels of a side of what a token of the embedding stands for.
pub const PATCH: usize = 16;

impl Config {
    /// MobileSAM (reference: `mobile_sam/build_sam.py` @ 34bbbfd, `vit_t`).
    pub fn mobile() -> Config {
        Config::released(EncoderConfig::TinyVit(TinyVitConfig {
            widths: [64, 128, 160, 320],
            depths: [2, 2, 6, 2],
            heads: [2, 4, 5, 10],
            windows: [7, 7, 14, 7],
        }))
    }

    /// SAM ViT-B (reference: `segment_anything/build_sam.py` @ dca509f, as the next two).
    pub fn vit_b() -> Config {
        Config::vit(768, 12, 12, &[2, 5, 8, 11])
    }

    /// SAM ViT-L.
    pub fn vit_l() -> Config {
        Config::vit(1024, 24, 16, &[5, 11, 17, 23])
    }

    /// SAM ViT-H.
    pub fn vit_h() -> Config {
        Config::vit(1280, 32, 16, &[7, 15, 23, 31])
    }

    fn vit(d: usize, depth: usize, heads: usize, global: &[usize]) -> Config {
        Config::released(EncoderConfig::Vit(VitConfig { d, depth, heads, window: 14, global: global.to_vec() }))
    }

    fn released(encoder: EncoderConfig) -> Config {
        Config { side: 1024, encoder, decoder: DecoderConfig { d: 256, heads: 8, hidden: 2048 } }
    }

    /// The published configuration of the net `id` of the catalogue.
    pub fn of(id: &str) -> Option<Config> {
        match id {
            "mobile-sam" => Some(Config::mobile()),
            "sam-vit-b" => Some(Config::vit_b()),
            "sam-vit-l" => Some(Config::vit_l()),
            "sam-vit-h" => Some(Config::vit_h()),
            _ => None,
        }
    }

    /// ViT at toy size: real code path in milliseconds, on a plain CPU. Windows do not divide the grid.
    pub fn tiny() -> Config {
        Config {
            side: 96,
            encoder: EncoderConfig::Vit(VitConfig { d: 32, depth: 3, heads: 2, window: 4, global: vec![1] }),
            decoder: DecoderConfig { d: 32, heads: 2, hidden: 48 },
        }
    }

    /// TinyViT at toy size.
    pub fn tiny_mobile() -> Config {
        let encoder =
            TinyVitConfig { widths: [8, 16, 16, 32], depths: [1, 1, 2, 1], heads: [1, 1, 1, 2], windows: [4, 5, 4, 3] };
        Config { encoder: EncoderConfig::TinyVit(encoder), ..Config::tiny() }
    }

    /// From a tree with `side`, `decoder` (`d`, `heads`, `hidden`) and either `vit` (`d`, `depth`,
    /// `heads`, `window`, `global`) or `tiny_vit` (`widths`, `depths`, `heads`, `windows`). What it
    /// does not say of a part is as in `base`.
    ///
    /// Errors: a value of another kind, sizes that do not fit each other.
    pub fn from_tree(tree: &Json, base: Config) -> Result<Config, StageError> {
        let encoder = match (tree.get("tiny_vit"), tree.get("vit"), &base.encoder) {
            (Some(part), None, _) => EncoderConfig::TinyVit(TinyVitConfig {
                widths: sizes(part, "widths")?,
                depths: sizes(part, "depths")?,
                heads: sizes(part, "heads")?,
                windows: sizes(part, "windows")?,
            }),
            (None, Some(part), _) => EncoderConfig::Vit(VitConfig {
                d: size(part, "d")?,
                depth: size(part, "depth")?,
                heads: size(part, "heads")?,
                window: size(part, "window")?,
                global: list(part, "global")?,
            }),
            (None, None, encoder) => encoder.clone(),
            (Some(_), Some(_), _) => return Err(wrong("it has both `vit` and `tiny_vit`".to_owned())),
        };
        let decoder = match tree.get("decoder") {
            Some(part) => {
                DecoderConfig { d: size(part, "d")?, heads: size(part, "heads")?, hidden: size(part, "hidden")? }
            }
            None => base.decoder,
        };
        let side = if tree.get("side").is_some() { size(tree, "side")? } else { base.side };
        let config = Config { side, encoder, decoder };
        config.check()?;
        Ok(config)
    }

    /// Side of the embedding, in tokens.
    pub fn grid(&self) -> usize {
        self.side / PATCH
    }

    /// Side of the masks that the decoder makes, in pixels.
    pub fn mask_side(&self) -> usize {
        4 * self.grid()
    }

    /// Steps that embedding a picture counts: one for each block, one for what is before and after.
    pub fn n_steps(&self) -> u32 {
        let n_blocks = match &self.encoder {
            EncoderConfig::TinyVit(tiny) => tiny.depths.iter().sum(),
            EncoderConfig::Vit(vit) => vit.depth,
        };
        n_blocks as u32 + 2
    }

    fn check(&self) -> Result<(), StageError> {
        let whole = |what: &str, n: usize, of: usize| {
            if of > 0 && n > 0 && n.is_multiple_of(of) {
                Ok(())
            } else {
                Err(wrong(format!("{what} {n} is not a positive multiple of {of}")))
            }
        };
        whole("side", self.side, PATCH)?;
        whole("decoder width", self.decoder.d, 8 * self.decoder.heads.max(1))?;
        match &self.encoder {
            EncoderConfig::Vit(vit) => {
                whole("token width", vit.d, vit.heads)?;
                whole("window", vit.window, 1)?;
                match vit.global.iter().find(|block| **block >= vit.depth) {
                    Some(block) => Err(wrong(format!("there is no block {block} among {}", vit.depth))),
                    None => Ok(()),
                }
            }
            EncoderConfig::TinyVit(tiny) => (0..4).try_for_each(|i| {
                whole("token width", tiny.widths[i], tiny.heads[i])?;
                whole("depth", tiny.depths[i], 1)?;
                whole("window", tiny.windows[i], 1)
            }),
        }
    }
}

fn wrong(what: String) -> StageError {
    StageError::invalid(format!("the network's configuration makes no sense: {what}"), "compare it with the checkpoint")
}

fn size(tree: &Json, key: &str) -> Result<usize, StageError> {
    let found = &tree[key];
    let n = found.as_u64().filter(|n| *n <= 1 << 16);
    n.map(|n| n as usize).ok_or_else(|| wrong(format!("`{key}` is {found}, not a whole number up to 65536")))
}

fn list(tree: &Json, key: &str) -> Result<Vec<usize>, StageError> {
    let found = &tree[key];
    let numbers = found.as_array().map(|list| list.iter().map(|n| n.as_u64().map(|n| n as usize)).collect());
    numbers.flatten().ok_or_else(|| wrong(format!("`{key}` is {found}, not a list of whole numbers")))
}

fn sizes(tree: &Json, key: &str) -> Result<[usize; 4], StageError> {
    list(tree, key)?.try_into().map_err(|list: Vec<_>| wrong(format!("`{key}` has {} numbers, not 4", list.len())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_changes_what_it_names_and_is_checked() {
        let base = Config::vit_b();
        assert_eq!(Config::from_tree(&json!({}), base.clone()).unwrap(), base);
        let vit = json!({ "d": 32, "depth": 3, "heads": 2, "window": 4, "global": [1] });
        let small = json!({ "side": 96, "vit": vit, "decoder": { "d": 32, "heads": 2, "hidden": 48 } });
        assert_eq!(Config::from_tree(&small, base.clone()).unwrap(), Config::tiny());

        for (tree, says) in [
            (json!({ "side": 100 }), "side 100 is not a positive multiple of 16"),
            (json!({ "side": "wide" }), "`side` is \"wide\""),
            (json!({ "vit": { "d": 32, "depth": 3, "heads": 2, "window": 4, "global": [3] } }), "no block 3 among 3"),
            (json!({ "vit": { "d": 33, "depth": 3, "heads": 2, "window": 4, "global": [] } }), "multiple of 2"),
            (json!({ "tiny_vit": { "widths": [8, 8] } }), "`widths` has 2 numbers"),
            (json!({ "vit": {}, "tiny_vit": {} }), "both"),
        ] {
            let error = Config::from_tree(&tree, base.clone()).unwrap_err();
            assert!(error.message.contains(says), "{error}");
        }
    }
}
