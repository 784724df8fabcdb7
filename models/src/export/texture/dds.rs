//! DDS: block-compressed textures with all mip levels, ready for a GPU.
//!
//! The header is always of the DX10 kind, whose format says whether colours are
//! sRGB. Blocks are compressed by `block_compression`, a port of Intel's ISPC
//! texture compressor; the container is `ddsfile`'s.
//!
//! Size: half a byte a texel for BC1 and BC4, one byte for the others, a third
//! more for the mip levels.

use std::io::Cursor;

use ::image::RgbaImage;
use block_compression::{BC7Settings, CompressionVariant, decode::decompress_blocks_as_rgba8, encode::compress_rgba8};
use ddsfile::{AlphaMode, D3D10ResourceDimension, Dds, DxgiFormat, NewDxgiParams};
use rayon::prelude::*;

use super::{MAX_TEXELS, MapKind, is_opaque, scale::mip_chain};
use crate::error::{StageError, StageErrorKind};

/// A block format: 4x4 texels in 8 or 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// RGB, 8 bytes. Alpha is lost.
    Bc1,
    /// RGB and alpha.
    Bc3,
    /// One channel, 8 bytes.
    Bc4,
    /// Two channels: x and y of normals, z is what makes the length 1.
    Bc5,
    /// RGB and alpha, the best quality.
    Bc7,
}

/// `image` with its mip levels. Sides should be multiples of four, which older
/// readers demand. `srgb` goes into the header only, and where the format has it.
pub fn encode(map: MapKind, image: &RgbaImage, block: Block, srgb: bool) -> Result<Vec<u8>, StageError> {
    let opaque = is_opaque(image);
    let levels = mip_chain(map, image);
    let failed = |e: ddsfile::Error| StageError::internal(format!("cannot write DDS: {e}"));
    let mut dds = Dds::new_dxgi(NewDxgiParams {
        height: image.height(),
        width: image.width(),
        depth: None,
        format: block.dxgi(srgb),
        mipmap_levels: Some(levels.len() as u32),
        array_layers: None,
        caps2: None,
        is_cubemap: false,
        resource_dimension: D3D10ResourceDimension::Texture2D,
        alpha_mode: if opaque { AlphaMode::Opaque } else { AlphaMode::Straight },
    })
    .map_err(failed)?;
    dds.data = levels.iter().flat_map(|level| compressed(level, block, opaque)).collect();
    let mut bytes = Vec::new();
    dds.write(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The finest level of a DDS that `encode` wrote; normals of BC5 get their z back.
pub fn decode(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    let damaged = |what: String| StageError::invalid(format!("the DDS {what}"), "fire the source image again");
    let dds = Dds::read(&mut Cursor::new(bytes)).map_err(|e| damaged(format!("cannot be read: {e}")))?;
    let (w, h) = (dds.get_width(), dds.get_height());
    if w == 0 || h == 0 || u64::from(w) * u64::from(h) > MAX_TEXELS {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("the DDS of {w}x{h} is empty or has more than {MAX_TEXELS} texels"),
            "lower bake.size",
        ));
    }
    let format = dds.get_dxgi_format().ok_or_else(|| damaged("names no format".to_owned()))?;
    let block = Block::ALL.iter().copied().find(|block| [true, false].map(|srgb| block.dxgi(srgb)).contains(&format));
    let block = block.ok_or_else(|| damaged(format!("has format {format:?}")))?;
    let (padded_w, padded_h) = (w.next_multiple_of(4), h.next_multiple_of(4));
    let variant = block.variant(false);
    let blocks = dds.data.get(..variant.blocks_byte_size(padded_w, padded_h));
    let blocks = blocks.ok_or_else(|| damaged(format!("ends after {} bytes of blocks", dds.data.len())))?;
    let mut padded = RgbaImage::new(padded_w, padded_h);
    decompress_blocks_as_rgba8(variant, padded_w, padded_h, blocks, padded.as_flat_samples_mut().samples);
    let mut image = image::imageops::crop_imm(&padded, 0, 0, w, h).to_image();
    for texel in image.pixels_mut() {
        match block {
            Block::Bc5 => texel.0 = with_z(texel.0),
            Block::Bc4 => texel.0 = [texel.0[0], texel.0[0], texel.0[0], 255],
            Block::Bc1 => texel.0[3] = 255,
            Block::Bc3 | Block::Bc7 => {}
        }
    }
    Ok(image)
}

impl Block {
    const ALL: &[Block] = &[Block::Bc1, Block::Bc3, Block::Bc4, Block::Bc5, Block::Bc7];

    fn dxgi(self, srgb: bool) -> DxgiFormat {
        match (self, srgb) {
            (Block::Bc1, false) => DxgiFormat::BC1_UNorm,
            (Block::Bc1, true) => DxgiFormat::BC1_UNorm_sRGB,
            (Block::Bc3, false) => DxgiFormat::BC3_UNorm,
            (Block::Bc3, true) => DxgiFormat::BC3_UNorm_sRGB,
            (Block::Bc4, _) => DxgiFormat::BC4_UNorm,
            (Block::Bc5, _) => DxgiFormat::BC5_UNorm,
            (Block::Bc7, false) => DxgiFormat::BC7_UNorm,
            (Block::Bc7, true) => DxgiFormat::BC7_UNorm_sRGB,
        }
    }

    fn variant(self, opaque: bool) -> CompressionVariant {
        match self {
            Block::Bc1 => CompressionVariant::BC1,
            Block::Bc3 => CompressionVariant::BC3,
            Block::Bc4 => CompressionVariant::BC4,
            Block::Bc5 => CompressionVariant::BC5,
            Block::Bc7 if opaque => CompressionVariant::BC7(BC7Settings::opaque_fast()),
            Block::Bc7 => CompressionVariant::BC7(BC7Settings::alpha_fast()),
        }
    }
}

/// Blocks of one level, row by row; the border is repeated to whole blocks.
fn compressed(level: &RgbaImage, block: Block, opaque: bool) -> Vec<u8> {
    let (w, h) = (level.width().next_multiple_of(4), level.height().next_multiple_of(4));
    let padded = if (w, h) == level.dimensions() {
        level.clone()
    } else {
        RgbaImage::from_fn(w, h, |x, y| *level.get_pixel(x.min(level.width() - 1), y.min(level.height() - 1)))
    };
    let variant = block.variant(opaque);
    let stride = w * 4;
    let mut blocks = vec![0; variant.blocks_byte_size(w, h)];
    // Rows of blocks know nothing of each other, so threads do not change the result.
    let row_bytes = variant.blocks_byte_size(w, 4);
    let rows = blocks.par_chunks_exact_mut(row_bytes).zip(padded.as_raw().par_chunks_exact(stride as usize * 4));
    rows.for_each(|(blocks, texels)| compress_rgba8(variant, texels, blocks, w, 4, stride));
    blocks
}

fn with_z([x, y, _, _]: [u8; 4]) -> [u8; 4] {
    let [nx, ny] = [x, y].map(|byte| f32::from(byte) / 127.5 - 1.0);
    let z = (1.0 - nx * nx - ny * ny).max(0.0).sqrt();
    [x, y, (z * 127.5 + 127.5).round() as u8, 255]
}
