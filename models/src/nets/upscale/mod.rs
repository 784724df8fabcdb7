//! Upscalers: networks that make a picture larger, and pictures of any size through them.
//!
//! `Rrdb` is Real-ESRGAN's large network, `Srvgg` its light one. Both see RGB in 0..=1, rows of
//! pixels, and give as many times more. `Upscaler::enlarge` cuts pictures in pieces (tiles.rs).

pub mod rrdb;
pub mod srvgg;
mod tiles;

use ::image::RgbImage;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use self::{rrdb::Rrdb, srvgg::Srvgg, tiles::Tiles};
use super::{
    Net, Vars, Watch,
    blocks::{read, to_host},
    features,
};
use crate::error::StageError;

type Result<T, E = StageError> = std::result::Result<T, E>;

pub struct Upscaler {
    net: Kind,
    device: Device,
}

enum Kind {
    Rrdb(Box<Rrdb>),
    Srvgg(Box<Srvgg>),
}

impl Net for Upscaler {
    fn load(id: &str, _: Option<&serde_json::Value>, vars: &Vars) -> Result<Self> {
        let device = vars.compute.device.clone();
        let net = match id {
            "realesrgan-x4plus" => Kind::Rrdb(Box::new(Rrdb::new(rrdb::Config::x4plus(), vars)?)),
            "realesrgan-x4plus-anime" => Kind::Rrdb(Box::new(Rrdb::new(rrdb::Config::x4plus_anime(), vars)?)),
            "realesrgan-x2plus" => Kind::Rrdb(Box::new(Rrdb::new(rrdb::Config::x2plus(), vars)?)),
            "realesr-general-x4v3" => Kind::Srvgg(Box::new(Srvgg::new(srvgg::Config::general_x4v3(), vars)?)),
            "realesr-animevideov3" => Kind::Srvgg(Box::new(Srvgg::new(srvgg::Config::animevideov3(), vars)?)),
            other => return Err(StageError::internal(format!("`{other}` is no upscaler"))),
        };
        Ok(Upscaler { net, device })
    }
}

impl Upscaler {
    /// How many times wider and higher pictures become.
    pub fn factor(&self) -> usize {
        match &self.net {
            Kind::Rrdb(net) => net.config.scale,
            Kind::Srvgg(net) => net.config.scale,
        }
    }

    /// Pixels from one piece of a picture to the next that both see, and pixels of the largest piece.
    fn pieces(&self) -> (usize, usize) {
        match &self.net {
            // Hundreds of layers see far, but what is 16 pixels away hardly counts.
            Kind::Rrdb(_) => (48, 544 * 544),
            Kind::Srvgg(_) => (40, 768 * 768),
        }
    }

    /// A picture `factor` times as wide and high. Pictures of more than half a million pixels are cut in
    /// pieces that overlap and fade into one another, so that memory is bounded.
    pub fn enlarge(&self, picture: &RgbImage, watch: &Watch) -> Result<RgbImage> {
        let (overlap, largest) = self.pieces();
        let tiles = Tiles::new(picture.width() as usize, picture.height() as usize, overlap, largest);
        self.enlarge_tiles(picture, &tiles, watch)
    }

    fn enlarge_tiles(&self, picture: &RgbImage, tiles: &Tiles, watch: &Watch) -> Result<RgbImage> {
        let n_tiles = tiles.len() as u32;
        let mut sums = tiles.sums(self.factor());
        for (i, tile) in tiles.iter().enumerate() {
            let piece = ::image::imageops::crop_imm(picture, tile.x.start, tile.y.start, tile.x.len(), tile.y.len());
            let x = features::from_rgb(&piece.to_image(), [0.0; 3], [1.0; 3], &self.device)?;
            let step = |done: u32, total: u32| (watch.step)(i as u32 * total + done, n_tiles * total);
            let y = self.forward(&x, &Watch { step: &step, tap: watch.tap })?;
            let y = if y.device().is_cpu() { y } else { y.to_device(&Device::Cpu)? };
            read(&y, |values| {
                sums.add(&tile, values);
                Ok(())
            })?;
        }
        Ok(sums.picture())
    }

    /// [h, w, 3] in 0..=1 to [factor h, factor w, 3], not clamped.
    pub fn forward(&self, x: &Tensor, watch: &Watch) -> Result<Tensor> {
        match &self.net {
            Kind::Rrdb(net) => net.forward(x, watch),
            Kind::Srvgg(net) => net.forward(x, watch),
        }
    }
}

/// [h, w, 3] in 0..=1 as bytes, rounded.
pub fn to_rgb(y: &Tensor) -> Result<RgbImage> {
    let (h, w, _) = y.dims3()?;
    let bytes = to_host(y)?.par_iter().map(|v| to_byte(*v)).collect();
    RgbImage::from_raw(w as u32, h as u32, bytes).ok_or_else(|| StageError::internal("an upscaler gives no RGB"))
}

fn to_byte(v: f32) -> u8 {
    (v.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The tree of names in a published checkpoint: averaged weights where there are any.
fn published<'a>(vars: &Vars<'a>, first: &str, shape: &[usize]) -> Vars<'a> {
    let trees = ["params_ema", "params"].map(|tree| vars.pp(tree));
    trees.into_iter().find(|tree| tree.has(first, shape)).unwrap_or_else(|| vars.clone())
}

#[cfg(test)]
mod tests;
