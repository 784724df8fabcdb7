//! Residual U-blocks and the U made of them: what U2-Net and IS-Net share.
//!
//! Paper: U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, Qin et al., 2020.
//! Reference: xuebinqin/U-2-Net, `model/u2net.py` @ ac7e1c8; xuebinqin/DIS, `IS-Net/models/isnet.py` @ b6764e2.
//! Differs from the reference: batch norm is folded into the convolutions before it; nothing else.
//!
//! Features are [h, w, c]. Each convolution is 3x3, with batch norm and ReLU behind it. What is
//! smaller is brought to the size of what it meets, bilinear; pooling keeps cut-off windows.

use candle_core::Tensor;

use super::{
    Vars, Watch,
    conv::{After, Conv2d, ConvShape},
    features::{max_pool, resize_bilinear},
};
use crate::error::StageError;

type Result<T, E = StageError> = std::result::Result<T, E>;

const NORM_EPS: f64 = 1e-5;

/// One block: its kind, and the channels that go in, within it and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsuShape {
    pub kind: Kind,
    pub n_in: usize,
    pub n_mid: usize,
    pub n_out: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// So many convolutions down, each but the last two followed by a pooling: RSU-4 to RSU-7.
    Pooled(usize),
    /// Four convolutions that look ever further instead of pooling: RSU-4F.
    Dilated,
}

/// The blocks of a U: six down, and five up again, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UShape {
    pub down: [RsuShape; 6],
    pub up: [RsuShape; 5],
}

impl UShape {
    /// `n_in` channels in; of each level its channels within the block and out of it, down and up.
    pub fn new(n_in: usize, down: [(usize, usize); 6], up: [(usize, usize); 5]) -> UShape {
        const KINDS: [Kind; 6] =
            [Kind::Pooled(7), Kind::Pooled(6), Kind::Pooled(5), Kind::Pooled(4), Kind::Dilated, Kind::Dilated];
        let mut width = n_in;
        let mut next = |level: usize, n_across: usize, (n_mid, n_out): (usize, usize)| {
            let n_in = width + n_across;
            width = n_out;
            RsuShape { kind: KINDS[level], n_in, n_mid, n_out }
        };
        UShape {
            down: std::array::from_fn(|level| next(level, 0, down[level])),
            up: std::array::from_fn(|i| next(4 - i, down[4 - i].1, up[i])),
        }
    }
}

/// A residual U-block.
struct Rsu {
    into: Conv2d,
    down: Vec<Conv2d>,
    /// Lowest first.
    up: Vec<Conv2d>,
    is_pooled: bool,
}

impl Rsu {
    fn new(shape: &RsuShape, vars: &Vars) -> Result<Rsu> {
        let RsuShape { kind, n_in, n_mid, n_out } = *shape;
        let conv = |name: String, n_in: usize, n_out: usize, dilation: usize| {
            let shape = ConvShape::new(n_in, n_out, 3).dilated(dilation);
            let vars = vars.pp(name);
            Conv2d::with_norm(shape, true, After::Relu, &vars.pp("conv_s1"), &vars.pp("bn_s1"), NORM_EPS)
        };
        let (n_down, is_pooled) = match kind {
            Kind::Pooled(n_down) => (n_down, true),
            Kind::Dilated => (4, false),
        };
        // The lowest convolution of a pooled block is not pooled but dilated.
        let dilation = |i: usize| match kind {
            Kind::Pooled(n) => 1 + usize::from(i == n),
            Kind::Dilated => 1 << (i - 1),
        };
        let down = |i| conv(format!("rebnconv{i}"), if i == 1 { n_out } else { n_mid }, n_mid, dilation(i));
        let up = |i| conv(format!("rebnconv{i}d"), 2 * n_mid, if i == 1 { n_out } else { n_mid }, dilation(i));
        Ok(Rsu {
            into: conv("rebnconvin".to_owned(), n_in, n_out, 1)?,
            down: (1..=n_down).map(down).collect::<Result<_>>()?,
            up: (1..n_down).rev().map(up).collect::<Result<_>>()?,
            is_pooled,
        })
    }

    /// `parts` [h, w, c], side by side along channels, to [h, w, n_out].
    fn forward(&self, parts: &[&Tensor]) -> Result<Tensor> {
        let input = self.into.forward_cat(parts)?;
        let mut down: Vec<Tensor> = Vec::new();
        for (i, conv) in self.down.iter().enumerate() {
            let above = down.last().unwrap_or(&input);
            let is_lower = self.is_pooled && (1..self.down.len() - 1).contains(&i);
            let x = if is_lower { conv.forward(&halved(above)?)? } else { conv.forward(above)? };
            down.push(x);
        }
        let mut below = down.pop().ok_or_else(|| StageError::internal("a block without layers"))?;
        let Some((last, up)) = self.up.split_last() else {
            return Err(StageError::internal("a block that does not come up again"));
        };
        for conv in up {
            let across = down.pop().ok_or_else(|| StageError::internal("a block comes up too far"))?;
            below = conv.forward_cat(&[&like(&below, &across)?, &across])?;
        }
        let across = down.pop().ok_or_else(|| StageError::internal("a block comes up too far"))?;
        last.forward_add(&[&like(&below, &across)?, &across], &input, 1.0)
    }
}

/// The U of blocks, and a map out of each level on its way up.
pub struct NestedU {
    down: Vec<Rsu>,
    /// Lowest first.
    up: Vec<Rsu>,
    /// Topmost first; the sixth sees the lowest block.
    sides: Vec<Conv2d>,
}

/// Blocks, which is what is counted while a `NestedU` runs.
pub const N_BLOCKS: u32 = 11;

impl NestedU {
    pub fn new(shape: &UShape, vars: &Vars) -> Result<NestedU> {
        let down = |i: usize| Rsu::new(&shape.down[i], &vars.pp(format!("stage{}", i + 1)));
        let up = |i: usize| Rsu::new(&shape.up[i], &vars.pp(format!("stage{}d", 5 - i)));
        let side = |i: usize| {
            let n_in = if i < 5 { shape.up[4 - i].n_out } else { shape.down[5].n_out };
            Conv2d::new(ConvShape::new(n_in, 1, 3), After::None, &vars.pp(format!("side{}", i + 1)))
        };
        Ok(NestedU {
            down: (0..6).map(down).collect::<Result<_>>()?,
            up: (0..5).map(up).collect::<Result<_>>()?,
            sides: (0..6).map(side).collect::<Result<_>>()?,
        })
    }

    /// [h, w, c] to six maps [h / 2^i, w / 2^i, 1], sizes rounded up, before any sigmoid.
    /// `step` hears how many blocks are done.
    pub fn forward(&self, x: Tensor, watch: &Watch, step: &dyn Fn(u32) -> Result<()>) -> Result<Vec<Tensor>> {
        let mut down: Vec<Tensor> = Vec::new();
        for (i, block) in self.down.iter().enumerate() {
            let out = match down.last() {
                None => block.forward(&[&x])?,
                Some(above) => block.forward(&[&halved(above)?])?,
            };
            watch.tap(&format!("stage{}", i + 1), &out);
            step(i as u32 + 1)?;
            down.push(out);
        }
        drop(x);
        let mut below = down.pop().ok_or_else(|| StageError::internal("a net without blocks"))?;
        let mut maps = vec![self.sides[5].forward(&below)?];
        for (i, block) in self.up.iter().enumerate() {
            let across = down.pop().ok_or_else(|| StageError::internal("a net comes up too far"))?;
            below = block.forward(&[&like(&below, &across)?, &across])?;
            watch.tap(&format!("stage{}d", 5 - i), &below);
            maps.push(self.sides[4 - i].forward(&below)?);
            step(7 + i as u32)?;
        }
        maps.reverse();
        for (i, map) in maps.iter().enumerate() {
            watch.tap(&format!("side{}", i + 1), map);
        }
        Ok(maps)
    }
}

fn halved(x: &Tensor) -> Result<Tensor> {
    max_pool(x, 2, 2, true)
}

/// `x` at the size of `other`.
fn like(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let (h, w, _) = other.dims3()?;
    resize_bilinear(x, h, w, false)
}
