//! What makes a map of the pyramid: blocks that look at several distances at once.

use candle_core::Tensor;

use super::{Config, deform::DeformableConv};
use crate::{
    error::StageError,
    nets::{
        Vars, Watch,
        conv::{After, Conv2d, ConvShape},
        features::{add, resize_bilinear, sigmoid},
    },
};

type Result<T, E = StageError> = std::result::Result<T, E>;

const NORM_EPS: f64 = 1e-5;

/// `x` at `h` x `w`, corners on corners.
pub fn resized(x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
    resize_bilinear(x, h, w, true)
}

/// [h, w, n_in] to [h, w, n_out].
pub struct DecoderBlock {
    first: Conv2d,
    aspp: Aspp,
    last: Conv2d,
}

impl DecoderBlock {
    pub fn new(n_in: usize, n_out: usize, config: &Config, vars: &Vars) -> Result<DecoderBlock> {
        let conv = |n_in, n_out, after, conv: &str, norm: &str| {
            Conv2d::with_norm(ConvShape::new(n_in, n_out, 3), true, after, &vars.pp(conv), &vars.pp(norm), NORM_EPS)
        };
        Ok(DecoderBlock {
            first: conv(n_in, config.inner, After::Relu, "conv_in", "bn_in")?,
            aspp: Aspp::new(config.inner, config.planes, &vars.pp("dec_att"))?,
            last: conv(config.inner, n_out, After::None, "conv_out", "bn_out")?,
        })
    }

    /// `parts` side by side along channels.
    pub fn forward(&self, parts: &[&Tensor]) -> Result<Tensor> {
        self.last.forward(&self.aspp.forward(&self.first.forward_cat(parts)?)?)
    }
}

/// Atrous spatial pyramid pooling (Chen et al., 2017) with taps that move.
struct Aspp {
    parts: Vec<DeformableConv>,
    whole: Conv2d,
    joined: Conv2d,
}

impl Aspp {
    fn new(n: usize, planes: usize, vars: &Vars) -> Result<Aspp> {
        let part = |name: &str, kernel: usize| {
            let vars = vars.pp(name);
            DeformableConv::new(n, planes, kernel, &vars.pp("atrous_conv"), &vars.pp("bn"), NORM_EPS)
        };
        let names = [("aspp1", 1), ("aspp_deforms.0", 1), ("aspp_deforms.1", 3), ("aspp_deforms.2", 7)];
        let one = |n_in, n_out, conv: &str, norm: &str| {
            let shape = ConvShape::new(n_in, n_out, 1);
            Conv2d::with_norm(shape, false, After::Relu, &vars.pp(conv), &vars.pp(norm), NORM_EPS)
        };
        Ok(Aspp {
            parts: names.into_iter().map(|(name, kernel)| part(name, kernel)).collect::<Result<_>>()?,
            whole: one(n, planes, "global_avg_pool.1", "global_avg_pool.2")?,
            joined: one(5 * planes, n, "conv1", "bn1")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (h, w, c) = x.dims3()?;
        let mut parts = self.parts.iter().map(|part| part.forward(x)).collect::<Result<Vec<_>>>()?;
        let mean = x.reshape((h * w, c))?.mean(0)?.reshape((1, 1, c))?;
        let whole = self.whole.forward(&mean)?;
        parts.push(whole.broadcast_as((h, w, whole.dim(2)?))?.contiguous()?);
        self.joined.forward_cat(&parts.iter().collect::<Vec<_>>())
    }
}

/// The picture itself, at a size of the pyramid.
struct PictureBlock {
    first: Conv2d,
    last: Conv2d,
}

impl PictureBlock {
    fn new(n_in: usize, n_out: usize, inner: usize, vars: &Vars) -> Result<PictureBlock> {
        let conv = |n_in, n_out, name: &str| Conv2d::new(ConvShape::new(n_in, n_out, 3), After::None, &vars.pp(name));
        Ok(PictureBlock { first: conv(n_in, inner, "conv1")?, last: conv(inner, n_out, "conv_out")? })
    }

    /// `picture` [H, W, 3] cut into tiles of `h` x `w`, whose colours become channels: by colour,
    /// then by row and column of tiles.
    fn forward(&self, picture: &Tensor, h: usize, w: usize) -> Result<Tensor> {
        let (high, wide, c) = picture.dims3()?;
        let (rows, columns) = (high / h, wide / w);
        let tiles = picture.reshape(&[rows, h, columns, w, c][..])?.permute([1, 3, 4, 0, 2])?;
        let tiles = tiles.contiguous()?.reshape((h, w, c * rows * columns))?;
        self.last.forward(&self.first.forward(&tiles)?)
    }
}

/// One step up: what is decoded so far, at the next size, with what comes across and the picture.
struct Step {
    block: DecoderBlock,
    /// Where the picture changes: what of the block's result counts.
    gradient: Conv2d,
    attention: Conv2d,
    across: Conv2d,
    picture: PictureBlock,
}

pub struct Decoder {
    deepest: PictureBlock,
    /// Levels 4, 3, 2.
    steps: Vec<Step>,
    last: DecoderBlock,
    picture: PictureBlock,
    out: Conv2d,
}

/// Blocks, which is what is counted.
pub const N_BLOCKS: u32 = 4;

impl Decoder {
    /// `channels` of the four maps, deepest first.
    pub fn new(channels: [usize; 4], config: &Config, vars: &Vars) -> Result<Decoder> {
        let n_gradient = config.gradient;
        let of_picture = |i: usize| channels[i.saturating_sub(1)] / 8;
        // Of level 5, which is that of the deepest map, down to 1.
        let picture = |i: usize| {
            let n_in = 3 * [1024, 256, 64, 16, 1][i];
            PictureBlock::new(n_in, of_picture(i), config.inner, &vars.pp(format!("ipt_blk{}", 5 - i)))
        };
        let outs = [channels[1], channels[2], channels[3], channels[3] / 2];
        let block = |i: usize| {
            let n_in = channels[i] + of_picture(i);
            DecoderBlock::new(n_in, outs[i], config, &vars.pp(format!("decoder_block{}", 4 - i)))
        };
        let step = |i: usize| {
            let level = 4 - i;
            let gradient = vars.pp(format!("gdt_convs_{level}"));
            let shape = ConvShape::new(outs[i], n_gradient, 3);
            let one =
                |n_in, n_out, after, name: String| Conv2d::new(ConvShape::new(n_in, n_out, 1), after, &vars.pp(name));
            Ok(Step {
                block: block(i)?,
                gradient: Conv2d::with_norm(shape, true, After::Relu, &gradient.pp("0"), &gradient.pp("1"), NORM_EPS)?,
                attention: one(n_gradient, 1, After::Sigmoid, format!("gdt_convs_attn_{level}.0"))?,
                across: one(outs[i], outs[i], After::None, format!("lateral_block{level}.conv"))?,
                picture: picture(i + 1)?,
            })
        };
        let shape = ConvShape::new(outs[3] + of_picture(4), 1, 1);
        Ok(Decoder {
            deepest: picture(0)?,
            steps: (0..3).map(step).collect::<Result<_>>()?,
            last: block(3)?,
            picture: picture(4)?,
            out: Conv2d::new(shape, After::None, &vars.pp("conv_out1.0"))?,
        })
    }

    /// `picture` [H, W, 3] and the four `maps`, deepest last, to [H, W, 1] in 0..=1.
    pub fn forward(
        &self,
        picture: &Tensor,
        maps: &[Tensor],
        watch: &Watch,
        step: &dyn Fn() -> Result<()>,
    ) -> Result<Tensor> {
        let (h, w, _) = maps[3].dims3()?;
        let mut x = maps[3].clone();
        let mut beside = self.deepest.forward(picture, h, w)?;
        for (i, level) in self.steps.iter().enumerate() {
            let decoded = level.block.forward(&[&x, &beside])?;
            let attention = level.attention.forward(&level.gradient.forward(&decoded)?)?;
            let decoded = decoded.broadcast_mul(&attention)?;
            watch.tap(&format!("p{}", 4 - i), &decoded);
            let across = &maps[2 - i];
            let (h, w, _) = across.dims3()?;
            x = add(&resized(&decoded, h, w)?, &level.across.forward(across)?)?;
            beside = level.picture.forward(picture, h, w)?;
            step()?;
        }
        let decoded = self.last.forward(&[&x, &beside])?;
        watch.tap("p1", &decoded);
        let (h, w, _) = picture.dims3()?;
        let decoded = resized(&decoded, h, w)?;
        let out = self.out.forward_cat(&[&decoded, &self.picture.forward(picture, h, w)?])?;
        step()?;
        sigmoid(&out)
    }
}
