//! MobileSAM's image encoder: convolutions at first, then attention in windows.
//!
//! Paper: TinyViT: Fast Pretraining Distillation for Small Vision Transformers, 2022; Faster
//! Segment Anything: Towards Lightweight SAM for Mobile Applications, 2023.
//! Reference: ChaoningZhang/MobileSAM, `mobile_sam/modeling/tiny_vit_sam.py` @ 34bbbfd.
//! Checkpoint keys under `image_encoder.`; `norm_head` and `head` are not used.

use candle_core::Tensor;

use super::{
    config::TinyVitConfig,
    neck::Neck,
    windows::{PlacedAttention, Places, Windows},
};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        blocks::{Activation, LayerNorm, Linear},
        checkpoint::on_device,
        conv::{After, Conv2d, ConvShape},
        features,
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

const EPS: f32 = 1e-5;
/// Of batch norms.
const EPS_BATCH: f64 = 1e-5;
/// How much wider the hidden layers are, of convolutions and of perceptrons.
const EXPANSION: usize = 4;

pub struct TinyVit {
    patches: [Conv2d; 2],
    first: Vec<Bottleneck>,
    /// What follows each layer but the last.
    merges: [Bottleneck; 3],
    layers: [Vec<Block>; 3],
    neck: Neck,
}

/// 1x1, depthwise 3x3, 1x1.
struct Bottleneck {
    widen: Conv2d,
    spread: Conv2d,
    narrow: Conv2d,
}

struct Block {
    windows: Windows,
    norm_before: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    attention: PlacedAttention,
    mixed: Linear,
    local: Conv2d,
    norm_after: LayerNorm,
    hidden: Linear,
    out: Linear,
}

/// A convolution with its batch norm; of 3x3 ones each side has a border of zeros.
fn conv(shape: ConvShape, after: After, vars: &Vars) -> Result<Conv2d> {
    Conv2d::with_norm(shape, false, after, &vars.pp("c"), &vars.pp("bn"), EPS_BATCH)
}

impl TinyVit {
    /// Of pictures whose embeddings are `grid` x `grid` of `d_out` features.
    pub fn new(config: &TinyVitConfig, grid: usize, d_out: usize, vars: &Vars) -> Result<TinyVit> {
        let widths = config.widths;
        let layer = |i: usize| vars.pp("layers").pp(i);
        let patch = |i: usize, n_in, n_out, after| {
            conv(ConvShape::new(n_in, n_out, 3).stride(2), after, &vars.pp("patch_embed.seq").pp(i))
        };
        // The last layer keeps the size of the one before.
        let merge = |i: usize| {
            let stride = if i == 2 { 1 } else { 2 };
            let sizes = Sizes { n_in: widths[i], hidden: widths[i + 1], n_out: widths[i + 1], stride };
            Bottleneck::new(&sizes, &layer(i).pp("downsample"))
        };
        let first = Sizes { n_in: widths[0], hidden: EXPANSION * widths[0], n_out: widths[0], stride: 1 };
        let blocks = |i: usize| -> Result<Vec<Block>> {
            let side = if i == 1 { 2 * grid } else { grid };
            (0..config.depths[i]).map(|b| Block::new(config, i, side, &layer(i).pp("blocks").pp(b))).collect()
        };
        Ok(TinyVit {
            patches: [patch(0, 3, widths[0] / 2, After::Gelu)?, patch(2, widths[0] / 2, widths[0], After::None)?],
            first: (0..config.depths[0])
                .map(|b| Bottleneck::new(&first, &layer(0).pp("blocks").pp(b)))
                .collect::<Result<_>>()?,
            merges: [merge(0)?, merge(1)?, merge(2)?],
            layers: [blocks(1)?, blocks(2)?, blocks(3)?],
            neck: Neck::new(widths[3], d_out, &vars.pp("neck"))?,
        })
    }

    /// Normalised picture [side, side, 3] to its embedding [n, d_out]. `step` hears how many blocks
    /// are done, and the patches before them.
    pub fn forward(&self, picture: &Tensor, watch: &Watch, step: &dyn Fn(u32) -> Result<()>) -> Result<Tensor> {
        let mut x = self.patches[1].forward(&self.patches[0].forward(picture)?)?; // [side / 4, side / 4, c]
        watch.tap("patch_embed", &x);
        let mut done = 1;
        step(done)?;
        for (i, block) in self.first.iter().enumerate() {
            x = features::gelu(&features::add(&block.forward(&x)?, &x)?)?;
            watch.tap(&format!("layer0_block{i}"), &x);
            done += 1;
            step(done)?;
        }
        for (i, merge) in self.merges.iter().enumerate() {
            x = merge.forward(&x)?;
            watch.tap(&format!("layer{i}"), &x);
            for (b, block) in self.layers[i].iter().enumerate() {
                let name = format!("layer{}_block{b}", i + 1);
                x = block.forward(&x, &name, watch)?;
                done += 1;
                step(done)?;
            }
        }
        watch.tap("layer3", &x);
        let side = x.dim(0)?;
        self.neck.forward(&x.flatten_to(1)?, side, watch)
    }
}

struct Sizes {
    n_in: usize,
    hidden: usize,
    n_out: usize,
    stride: usize,
}

impl Bottleneck {
    fn new(sizes: &Sizes, vars: &Vars) -> Result<Bottleneck> {
        let Sizes { n_in, hidden, n_out, stride } = *sizes;
        let spread = ConvShape::new(hidden, hidden, 3).depthwise().stride(stride);
        Ok(Bottleneck {
            widen: conv(ConvShape::new(n_in, hidden, 1), After::Gelu, &vars.pp("conv1"))?,
            spread: conv(spread, After::Gelu, &vars.pp("conv2"))?,
            narrow: conv(ConvShape::new(hidden, n_out, 1), After::None, &vars.pp("conv3"))?,
        })
    }

    /// [h, w, n_in] to [h / stride, w / stride, n_out]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.narrow.forward(&self.spread.forward(&self.widen.forward(x)?)?)
    }
}

impl Block {
    /// Of layer `i`, on a grid `side` wide and high.
    fn new(config: &TinyVitConfig, i: usize, side: usize, vars: &Vars) -> Result<Block> {
        let (d, heads, window) = (config.widths[i], config.heads[i], config.windows[i]);
        let (attention, mlp) = (vars.pp("attn"), vars.pp("mlp"));
        let places = Places::Table(distances(heads, window, &attention)?);
        Ok(Block {
            windows: Windows { height: side, width: side, side: window },
            norm_before: LayerNorm::new(d, EPS, &attention.pp("norm"))?,
            qkv: untangled(d, heads, &attention.pp("qkv"))?,
            attention: PlacedAttention::new(heads, places, vars.compute),
            mixed: Linear::new(d, d, &attention.pp("proj"))?,
            local: conv(ConvShape::new(d, d, 3).depthwise(), After::None, &vars.pp("local_conv"))?,
            norm_after: LayerNorm::new(d, EPS, &mlp.pp("norm"))?,
            hidden: Linear::with(Activation::Gelu, d, EXPANSION * d, &mlp.pp("fc1"))?,
            out: Linear::new(EXPANSION * d, d, &mlp.pp("fc2"))?,
        })
    }

    /// [h, w, d] to [h, w, d]; tokens beyond the grid are zeros before the norm.
    fn forward(&self, x: &Tensor, name: &str, watch: &Watch) -> Result<Tensor> {
        let tokens = x.flatten_to(1)?;
        let normed = self.norm_before.forward(&self.windows.split(&tokens)?)?;
        let seen = self.attention.forward(&self.qkv.forward(&normed)?, self.windows.n())?;
        if watch.tap.is_some() {
            watch.tap(&format!("{name}_attn"), &self.mixed.forward(&seen)?);
        }
        let tokens = self.mixed.forward_add(&self.windows.join(&seen)?, &tokens)?;
        let local = self.local.forward(&tokens.reshape(x.dims())?)?.flatten_to(1)?;
        let hidden = self.hidden.forward(&self.norm_after.forward(&local)?)?;
        let y = self.out.forward_add(&hidden, &local)?.reshape(x.dims())?;
        watch.tap(name, &y);
        Ok(y)
    }
}

/// Queries, keys and values side by side, of a checkpoint that has them head by head.
fn untangled(d: usize, heads: usize, vars: &Vars) -> Result<Linear> {
    let (weight, bias) = (vars.values("weight", &[3 * d, d])?, vars.values("bias", &[3 * d])?);
    let d_head = d / heads;
    let from = |to: usize| {
        let (block, head, i) = (to / d, to % d / d_head, to % d_head);
        (head * 3 + block) * d_head + i
    };
    let sorted: Vec<f32> = (0..3 * d).flat_map(|to| weight[from(to) * d..][..d].iter().copied()).collect();
    let bias: Vec<f32> = (0..3 * d).map(|to| bias[from(to)]).collect();
    Linear::from_values(Activation::None, d, &sorted, Some(&bias), vars.compute)
}

/// Biases by how many rows and columns a key is away, [heads, side^2], as [heads, side^2, side^2].
fn distances(heads: usize, side: usize, vars: &Vars) -> Result<Tensor> {
    let n = side * side;
    let stored = vars.values("attention_biases", &[heads, n])?;
    let at = |i: usize| {
        let (head, query, key) = (i / n / n, i / n % n, i % n);
        let away = (query / side).abs_diff(key / side) * side + (query % side).abs_diff(key % side);
        stored[head * n + away]
    };
    let table: Vec<f32> = (0..heads * n * n).map(at).collect();
    on_device(&table, &[heads, n, n], &vars.compute.device)
}
