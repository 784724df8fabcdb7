//! A small real network of Segment Anything's architecture, put into a home as the user's own.
//!
//! Weights are those of the formula of `nets::synthetic`, but for a few that make a mask of what is
//! brighter than the middle, wherever anybody points: nothing random cuts out anything.

use std::fs;

use serde_json::{Value as Json, json};

use crate::{
    Home,
    nets::{Tensors, by_formula, folder, safetensors},
};

/// Features of the embedding: the brightness of 4 x 4 cells of each patch, and its negative.
const D: usize = 32;
const CELLS: usize = 16;
const PATCH: usize = 16;

/// Overlaps over unions that the network says it expects, of the mask for sure prompts and of three:
/// what is bright, what is dark, and little of what is bright.
pub const IOU: [f32; 4] = [0.9, 0.95, 0.4, 0.3];

/// A network that takes clicks: manifest, configuration and weights. `depth` blocks, so many steps.
pub fn put(home: &Home, id: &str, depth: usize) {
    let folder = folder(home, id);
    fs::create_dir_all(&folder).unwrap();
    let config = json!({
        "side": 256,
        "vit": { "d": D, "depth": depth, "heads": 2, "window": 6, "global": [depth - 1] },
        "decoder": { "d": D, "heads": 2, "hidden": 48 },
    });
    // JSON is YAML.
    fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&weights(&config, depth))).unwrap();
    let manifest = "kind = \"sam-vit-b\"\ndoc = \"What is bright.\"\nlicense = \"CC0-1.0\"\n";
    fs::write(folder.join("net.toml"), manifest).unwrap();
}

fn weights(config: &Json, depth: usize) -> Tensors {
    let mut tensors = by_formula("sam-vit-b", config, 7);
    let mut set = |key: &str, value: &dyn Fn(usize) -> f32| {
        let (_, values) = tensors.get_mut(key).unwrap_or_else(|| panic!("no tensor {key}"));
        values.iter_mut().enumerate().for_each(|(i, v)| *v = value(i));
    };
    let nothing: &dyn Fn(usize) -> f32 = &|_| 0.0;
    // A cell's brightness, as a weight for each of its pixels and colours: [D, 3, row, column].
    set("image_encoder.patch_embed.proj.weight", &|i| {
        let (channel, row, column) = (i / (3 * PATCH * PATCH), i / PATCH % PATCH, i % PATCH);
        let sign = if channel < CELLS { 1.0 } else { -1.0 };
        let is_in_cell = row / 4 * 4 + column / 4 == channel % CELLS;
        if is_in_cell { sign / (3.0 * 16.0) } else { 0.0 }
    });
    set("image_encoder.patch_embed.proj.bias", nothing);
    set("image_encoder.pos_embed", nothing);
    for block in 0..depth {
        for layer in ["attn.proj", "mlp.lin2"] {
            set(&format!("image_encoder.blocks.{block}.{layer}.weight"), nothing);
            set(&format!("image_encoder.blocks.{block}.{layer}.bias"), nothing);
        }
    }
    set("image_encoder.neck.0.weight", &|i| f32::from(u8::from(i / D == i % D)));
    set("image_encoder.neck.2.weight", &|i| f32::from(u8::from(i / 9 / D == i / 9 % D && i % 9 == 4)));
    set("prompt_encoder.no_mask_embed.weight", nothing);
    for layer in 0..2 {
        let layer = format!("mask_decoder.transformer.layers.{layer}");
        set(&format!("{layer}.cross_attn_image_to_token.out_proj.weight"), nothing);
        set(&format!("{layer}.cross_attn_image_to_token.out_proj.bias"), nothing);
    }
    let norms = ["image_encoder.neck.1", "image_encoder.neck.3", "mask_decoder.output_upscaling.1"].map(str::to_owned);
    let norms = norms.into_iter().chain((0..2).map(|i| format!("mask_decoder.transformer.layers.{i}.norm4")));
    for norm in norms {
        set(&format!("{norm}.weight"), &|_| 1.0);
        set(&format!("{norm}.bias"), nothing);
    }
    // [D, D / 4, 2, 2]: to each quarter of a patch its four cells, and their negatives.
    set("mask_decoder.output_upscaling.0.weight", &|i| {
        let (from, to, row, column) = (i / D, i / 4 % (D / 4), i / 2 % 2, i % 2);
        let cell = (2 * row + to % 4 / 2) * 4 + 2 * column + to % 2;
        f32::from(u8::from(from == cell + if to < 4 { 0 } else { CELLS }))
    });
    set("mask_decoder.output_upscaling.0.bias", nothing);
    // [D / 4, D / 8, 2, 2]: to each cell its brightness and the negative.
    set("mask_decoder.output_upscaling.3.weight", &|i| {
        let (from, to, row, column) = (i / (D / 2), i / 4 % (D / 8), i / 2 % 2, i % 2);
        f32::from(u8::from(to < 2 && from == 4 * to + 2 * row + column))
    });
    set("mask_decoder.output_upscaling.3.bias", nothing);
    let filters = [[9.0, -9.0, 0.0, 0.0], [9.0, -9.0, 0.0, 0.0], [-9.0, 9.0, 0.0, 0.0], [3.0, -12.0, 0.0, 0.0]];
    for (mask, filter) in filters.into_iter().enumerate() {
        let last = format!("mask_decoder.output_hypernetworks_mlps.{mask}.layers.2");
        set(&format!("{last}.weight"), nothing);
        set(&format!("{last}.bias"), &|i| filter[i]);
    }
    set("mask_decoder.iou_prediction_head.layers.2.weight", nothing);
    set("mask_decoder.iou_prediction_head.layers.2.bias", &|i| IOU[i]);
    tensors
}
