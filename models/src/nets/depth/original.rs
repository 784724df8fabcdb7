//! Weights of Depth Anything V2 under the names of its authors.
//!
//! Reference: DepthAnything/Depth-Anything-V2, `depth_anything_v2/{dinov2,dpt}.py`; transformers,
//! `models/depth_anything/convert_depth_anything_to_hf.py`. Queries, keys and values are one tensor there.

use std::borrow::Cow;

use crate::nets::checkpoint::{Checkpoint, Stored, Values};

/// A checkpoint that answers to the names of transformers.
pub struct Original<'a>(&'a dyn Checkpoint);

impl<'a> Original<'a> {
    pub fn new(checkpoint: &'a dyn Checkpoint) -> Original<'a> {
        Original(checkpoint)
    }

    /// Whether the checkpoint has the authors' names alone.
    pub fn is_needed(&self) -> bool {
        let bias = ["backbone.embeddings.patch_embeddings.projection.bias", "pretrained.patch_embed.proj.bias"];
        bias.map(|key| self.0.find(key, &[1]).is_some()) == [false, true]
    }
}

impl Checkpoint for Original<'_> {
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
        let (name, part) = original(key)?;
        let Some(part) = part else { return self.0.find(&name, shape) };
        let whole: Vec<usize> = shape.iter().enumerate().map(|(i, n)| if i == 0 { 3 * n } else { *n }).collect();
        let stored = self.0.find(&name, &whole)?;
        let mut found = stored.shape;
        let rows = found.first_mut()?;
        if *rows % 3 != 0 {
            return None;
        }
        *rows /= 3;
        let len = found.iter().product::<usize>();
        let third = |width: usize| part * len * width..(part + 1) * len * width;
        let values = match stored.values {
            Values::F32Bytes(bytes) => Values::F32Bytes(bytes.get(third(4))?),
            Values::F16Bytes(bytes) => Values::F16Bytes(bytes.get(third(2))?),
            Values::Bf16Bytes(bytes) => Values::Bf16Bytes(bytes.get(third(2))?),
            Values::F32(Cow::Borrowed(values)) => Values::F32(values.get(third(1))?.into()),
            Values::F32(Cow::Owned(values)) => Values::F32(values.get(third(1))?.to_vec().into()),
        };
        Some(Stored { shape: found, values })
    }

    fn release(&self, key: &str) {
        // What is shared goes with its last part.
        if let Some((name, None | Some(2))) = original(key) {
            self.0.release(&name);
        }
    }
}

/// The authors' name of `key`, and which third of the tensor it is where it is one.
fn original(key: &str) -> Option<(String, Option<usize>)> {
    if let Some(rest) = key.strip_prefix("backbone.encoder.layer.") {
        let (block, rest) = rest.split_once('.')?;
        let (part, tensor) = rest.rsplit_once('.')?;
        let (part, third) = match part {
            "attention.attention.query" => ("attn.qkv", Some(0)),
            "attention.attention.key" => ("attn.qkv", Some(1)),
            "attention.attention.value" => ("attn.qkv", Some(2)),
            "attention.output.dense" => ("attn.proj", None),
            "layer_scale1" => ("ls1", None),
            "layer_scale2" => ("ls2", None),
            same => (same, None),
        };
        let tensor = if tensor == "lambda1" { "gamma" } else { tensor };
        return Some((format!("pretrained.blocks.{block}.{part}.{tensor}"), third));
    }
    if let Some(rest) = key.strip_prefix("backbone.") {
        let name = match rest {
            "embeddings.cls_token" => "cls_token".to_owned(),
            "embeddings.position_embeddings" => "pos_embed".to_owned(),
            _ => match rest.strip_prefix("embeddings.patch_embeddings.projection.") {
                Some(tensor) => format!("patch_embed.proj.{tensor}"),
                None => rest.replace("layernorm", "norm"),
            },
        };
        return Some((format!("pretrained.{name}"), None));
    }
    let name = if let Some(rest) = key.strip_prefix("neck.reassemble_stage.layers.") {
        let (level, rest) = rest.split_once('.')?;
        let (part, tensor) = rest.split_once('.')?;
        let list = if part == "projection" { "projects" } else { "resize_layers" };
        format!("{list}.{level}.{tensor}")
    } else if let Some(rest) = key.strip_prefix("neck.convs.") {
        let (level, tensor) = rest.split_once('.')?;
        format!("scratch.layer{}_rn.{tensor}", level.parse::<usize>().ok()? + 1)
    } else if let Some(rest) = key.strip_prefix("neck.fusion_stage.layers.") {
        let (level, rest) = rest.split_once('.')?;
        let number = 4usize.checked_sub(level.parse().ok()?)?;
        let rest = rest
            .replace("residual_layer", "resConfUnit")
            .replace("convolution", "conv")
            .replace("projection", "out_conv");
        format!("scratch.refinenet{number}.{rest}")
    } else {
        let (part, tensor) = key.strip_prefix("head.")?.split_once('.')?;
        let part = match part {
            "conv1" => "output_conv1",
            "conv2" => "output_conv2.0",
            _ => "output_conv2.2",
        };
        format!("scratch.{part}.{tensor}")
    };
    Some((format!("depth_head.{name}"), None))
}
