//! Transformer over patches of a picture: ViT as in DPT, BEiT, DINOv2.
//!
//! Papers: An Image is Worth 16x16 Words, 2021; BEiT, 2022; DINOv2, 2023.
//! Reference: transformers 4.57.1, `models/{dpt,beit,dinov2}`.

use candle_core::{Device, Tensor};

use super::{
    Result,
    config::{Family, VitConfig},
    processor::Pixels,
    relative::RelativeBias,
};
use crate::nets::{
    Vars, Watch,
    blocks::{Activation, Attention, Columns, LayerNorm, Linear},
    checkpoint::on_device,
    features, positions,
};

pub struct Encoder {
    config: VitConfig,
    attention: Attention,
    patches: Linear,
    /// [1, d], with its position.
    class: Tensor,
    /// [side, side, d] of the trained grid.
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    /// Of what comes out.
    norm: Option<LayerNorm>,
}

struct Block {
    norm_before: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    bias: Option<RelativeBias>,
    mixed: Linear,
    norm_after: LayerNorm,
    hidden: Linear,
    out: Linear,
}

/// How a family calls the parts of a block.
struct Names {
    root: &'static str,
    norms: [&'static str; 2],
    perceptron: [&'static str; 2],
    /// What the branches are multiplied by.
    scales: Option<[&'static str; 2]>,
}

impl Family {
    fn names(self) -> Names {
        let norms = ["layernorm_before", "layernorm_after"];
        let perceptron = ["intermediate.dense", "output.dense"];
        match self {
            Family::Vit => Names { root: "dpt", norms, perceptron, scales: None },
            Family::Beit => Names { root: "backbone", norms, perceptron, scales: Some(["lambda_1", "lambda_2"]) },
            Family::Dino => Names {
                root: "backbone",
                norms: ["norm1", "norm2"],
                perceptron: ["mlp.fc1", "mlp.fc2"],
                scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
            },
        }
    }
}

impl Encoder {
    /// `vars` is the root of the checkpoint.
    pub fn new(config: &VitConfig, vars: &Vars) -> Result<Encoder> {
        let d = config.d;
        let vars = vars.pp(config.family.names().root);
        let embeddings = vars.pp("embeddings");
        let has_stem = config.patch_features != 3 * config.patch * config.patch;
        let projection = embeddings.pp(if has_stem { "projection" } else { "patch_embeddings.projection" });
        let (n_in, edge) = if has_stem { (config.patch_features, 1) } else { (3, config.patch) };
        let weight = projection.values("weight", &[d, n_in, edge, edge])?;
        let bias = projection.values("bias", &[d])?;

        let device = &vars.compute.device;
        let mut class = embeddings.values("cls_token", &[1, 1, d])?.to_vec();
        let positions = if config.family == Family::Beit {
            None
        } else {
            let side = config.trained_side / config.patch;
            let stored = embeddings.values("position_embeddings", &[1, 1 + side * side, d])?;
            class.iter_mut().zip(&stored[..d]).for_each(|(class, position)| *class += position);
            Some(on_device(&stored[d..], &[side, side, d], device)?)
        };
        Ok(Encoder {
            attention: Attention::new(config.heads, vars.compute),
            patches: Linear::from_values(Activation::None, config.patch_features, &weight, Some(&bias), vars.compute)?,
            class: on_device(&class, &[1, d], device)?,
            positions,
            blocks: (0..config.depth)
                .map(|i| Block::new(config, &vars.pp("encoder.layer").pp(i)))
                .collect::<Result<_>>()?,
            norm: match config.family {
                Family::Dino => Some(LayerNorm::new(d, config.eps, &vars.pp("layernorm"))?),
                Family::Vit | Family::Beit => None,
            },
            config: config.clone(),
        })
    }

    pub fn device(&self) -> &Device {
        self.class.device()
    }

    /// Patches [rows * columns, features] to the tokens [1 + rows * columns, d] after the blocks of
    /// `taken_after`, the class first. `step` hears how many blocks are done.
    pub fn forward(
        &self,
        patches: &Tensor,
        grid: (usize, usize),
        watch: &Watch,
        step: &dyn Fn(u32) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        let x = match self.positions(grid)? {
            Some(positions) => self.patches.forward_add(patches, &positions)?,
            None => self.patches.forward(patches)?.to_dtype(candle_core::DType::F32)?,
        };
        let mut x = Tensor::cat(&[&self.class, &x], 0)?; // [1 + n, d]
        watch.tap("embeddings", &x);
        let mut taken = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &self.attention, grid)?;
            watch.tap(&format!("layer{i}"), &x);
            if self.config.taken_after.contains(&(i + 1)) {
                taken.push(match &self.norm {
                    Some(norm) => norm.forward(&x)?,
                    None => x.clone(),
                });
            }
            step(i as u32 + 1)?;
        }
        Ok(taken)
    }

    /// [rows * columns, d] for a grid of patches.
    fn positions(&self, (rows, columns): (usize, usize)) -> Result<Option<Tensor>> {
        let Some(stored) = &self.positions else { return Ok(None) };
        let resized = match self.config.family {
            Family::Dino => positions::bicubic(stored, (rows, columns), 0.0)?,
            Family::Vit | Family::Beit => features::resize_bilinear(stored, rows, columns, false)?,
        };
        Ok(Some(resized.reshape((rows * columns, self.config.d))?))
    }
}

impl Block {
    fn new(config: &VitConfig, vars: &Vars) -> Result<Block> {
        let VitConfig { d, hidden, eps, family, .. } = *config;
        let names = family.names();
        let attention = vars.pp("attention.attention");
        let scale = |i: usize| names.scales.map(|names| vars.values(names[i], &[d])).transpose();
        let bias = match family {
            Family::Beit => {
                let side = config.trained_side / config.patch;
                Some(RelativeBias::new(side, config.heads, &attention.pp("relative_position_bias"))?)
            }
            Family::Vit | Family::Dino => None,
        };
        Ok(Block {
            norm_before: LayerNorm::new(d, eps, &vars.pp(names.norms[0]))?,
            qkv: qkv(d, family != Family::Beit, &attention)?,
            bias,
            mixed: scaled(d, d, scale(0)?.as_deref(), &vars.pp("attention.output.dense"))?,
            norm_after: LayerNorm::new(d, eps, &vars.pp(names.norms[1]))?,
            hidden: Linear::with(Activation::Gelu, d, hidden, &vars.pp(names.perceptron[0]))?,
            out: scaled(hidden, d, scale(1)?.as_deref(), &vars.pp(names.perceptron[1]))?,
        })
    }

    /// [n, d] to [n, d]
    fn forward(&self, x: &Tensor, attention: &Attention, grid: (usize, usize)) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm_before.forward(x)?)?; // [n, 3 d]
        let [q, k, v] = [0, 1, 2].map(|block| Columns { tensor: &qkv, block, of: 3 });
        let mixed = match &self.bias {
            None => attention.forward(q, k, v)?,
            Some(bias) => attention.forward_biased(q, k, v, &bias.of(grid, x.device())?)?,
        };
        let x = self.mixed.forward_add(&mixed, x)?;
        let hidden = self.hidden.forward(&self.norm_after.forward(&x)?)?;
        self.out.forward_add(&hidden, &x)
    }
}

/// Queries, keys and values of `d` features as one layer.
fn qkv(d: usize, keys_have_bias: bool, vars: &Vars) -> Result<Linear> {
    let (mut weight, mut bias) = (vec![0.0; 3 * d * d], vec![0.0; 3 * d]);
    for (i, name) in ["query", "key", "value"].into_iter().enumerate() {
        let vars = vars.pp(name);
        vars.copy_to("weight", &[d, d], &mut weight[i * d * d..][..d * d])?;
        if keys_have_bias || name != "key" {
            vars.copy_to("bias", &[d], &mut bias[i * d..][..d])?;
        }
    }
    Linear::from_values(Activation::None, d, &weight, Some(&bias), vars.compute)
}

/// A linear layer and what its outputs are multiplied by, [n_out], as one.
fn scaled(n_in: usize, n_out: usize, scale: Option<&[f32]>, vars: &Vars) -> Result<Linear> {
    let Some(scale) = scale else { return Linear::new(n_in, n_out, vars) };
    let mut weight = vars.values("weight", &[n_out, n_in])?.to_vec();
    let mut bias = vars.values("bias", &[n_out])?.to_vec();
    for ((row, bias), scale) in weight.chunks_exact_mut(n_in).zip(&mut bias).zip(scale) {
        row.iter_mut().for_each(|w| *w *= scale);
        *bias *= scale;
    }
    Linear::from_values(Activation::None, n_in, &weight, Some(&bias), vars.compute)
}

/// Patches [n, 3 p p] of a picture, each channel by channel, row by row.
pub fn patches(pixels: &Pixels, patch: usize, device: &Device) -> Result<Tensor> {
    let Pixels { height, width, values } = pixels;
    let (rows, columns) = (height / patch, width / patch);
    let mut out = Vec::with_capacity(values.len());
    for (top, left) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
        for c in 0..3 {
            for y in 0..patch {
                let row = &values[((top * patch + y) * width + left * patch) * 3..];
                out.extend((0..patch).map(|x| row[x * 3 + c]));
            }
        }
    }
    on_device(&out, &[rows * columns, 3 * patch * patch], device)
}
