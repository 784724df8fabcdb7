//! KTX 2.0 with Basis Universal, as `KHR_texture_basisu` wants it.
//!
//! Colours are ETC1S with BasisLZ (about a bit a texel), normals and other data
//! UASTC (eight bits a texel), because ETC1S mixes channels. All mip levels.
//!
//! Basis Universal's encoder runs through the `basis-universal` crate, which gives
//! its `.basis` container; both containers hold the same slices and codebooks,
//! which are moved over here, and back for reading.
//!
//! Specifications: KTX File Format 2.0, sections 3 and "BasisLZ Global Data";
//! Basis Universal's file header, `basisu_file_headers.h`.

use ::image::RgbaImage;
use basis_universal::{
    BasisTextureFormat,
    encoding::{ColorSpace, Compressor, CompressorParams},
    transcoding::{TranscodeParameters, Transcoder, TranscoderTextureFormat},
};

use super::{MAX_TEXELS, MapKind, scale::mip_chain};
use crate::error::{StageError, StageErrorKind};

pub const IDENTIFIER: &[u8; 12] = b"\xABKTX 20\xBB\r\n\x1A\n";

/// Of 255; the encoder's own default is 128.
const ETC1S_QUALITY: u32 = 192;
/// Of 4: slower ones gain tenths of a decibel.
const UASTC_LEVEL: u32 = 1;

/// Sides must be multiples of four, at most 16384.
pub fn encode(map: MapKind, image: &RgbaImage) -> Result<Vec<u8>, StageError> {
    let (w, h) = image.dimensions();
    if w % 4 != 0 || h % 4 != 0 || u64::from(w) * u64::from(h) > MAX_TEXELS {
        return Err(StageError::internal(format!("texture of {w}x{h} cannot be KTX2: sides are no multiples of 4")));
    }
    let levels = mip_chain(map, image);
    let basis = compressed(map, &levels)?;
    container(map, &basis, w, h)
}

/// The finest level of a KTX2 that `encode` wrote.
pub fn decode(bytes: &[u8]) -> Result<RgbaImage, StageError> {
    let (basis, w, h) = basis_of(bytes).ok_or_else(|| damaged("is damaged"))?;
    if u64::from(w) * u64::from(h) > MAX_TEXELS {
        return Err(StageError::new(
            StageErrorKind::TooLarge,
            format!("the KTX2 of {w}x{h} has more than {MAX_TEXELS} texels"),
            "lower bake.size",
        ));
    }
    let mut transcoder = Transcoder::new();
    transcoder.prepare_transcoding(&basis).map_err(|()| damaged("cannot be decoded"))?;
    let level = transcoder.transcode_image_level(
        &basis,
        TranscoderTextureFormat::RGBA32,
        TranscodeParameters { image_index: 0, level_index: 0, ..TranscodeParameters::default() },
    );
    let texels = level.map_err(|e| damaged(&format!("cannot be decoded: {e:?}")))?;
    RgbaImage::from_raw(w, h, texels).ok_or_else(|| damaged("is short"))
}

/// The levels as a `.basis` file.
fn compressed(map: MapKind, levels: &[RgbaImage]) -> Result<Vec<u8>, StageError> {
    let mut params = CompressorParams::new();
    if map.is_color() {
        params.set_basis_format(BasisTextureFormat::ETC1S);
        params.set_etc1s_quality_level(ETC1S_QUALITY);
        params.set_color_space(ColorSpace::Srgb);
    } else {
        params.set_basis_format(BasisTextureFormat::UASTC4x4);
        params.set_uastc_quality_level(UASTC_LEVEL);
        params.set_color_space(ColorSpace::Linear);
    }
    for (i, level) in levels.iter().enumerate() {
        let mut target = match i.checked_sub(1) {
            None => params.source_image_mut(0),
            Some(mip) => params.source_mipmap_image_mut(0, mip as u32),
        };
        target.init(level.as_raw(), level.width(), level.height(), 4);
    }
    // One thread: the order of its work must not depend on the machine.
    let mut compressor = Compressor::new(1);
    // SAFETY: both calls need valid parameters. The images above were copied, are
    // not empty, each half the one before, at most 16384 a side; format, quality
    // and colour space come from the crate's own enums and stated ranges.
    #[allow(unsafe_code)]
    let done = unsafe { compressor.init(&params) && compressor.process().is_ok() };
    if !done {
        return Err(StageError::internal("Basis Universal cannot encode the texture"));
    }
    Ok(compressor.basis_file().to_vec())
}

const HEADER: usize = 80;
const LEVEL_INDEX: usize = 24;
const UASTC: u8 = 1;
const ETC1S_MODEL: u8 = 163;
const UASTC_MODEL: u8 = 166;
const BASIS_LZ: u32 = 1;
const WRITER: &[u8] = b"KTXwriter\0Meshkiln\0";

/// `.basis` to KTX2.
fn container(map: MapKind, basis: &[u8], w: u32, h: u32) -> Result<Vec<u8>, StageError> {
    let file = Basis::read(basis).ok_or_else(|| StageError::internal("Basis Universal gave an unknown container"))?;
    let n_levels = file.slices.iter().map(|slice| slice.level + 1).max().unwrap_or(0);
    let has_alpha = file.slices.iter().any(|slice| slice.is_alpha);
    let etc1s = file.format != UASTC;

    // For ETC1S one level is its colours, then its alpha.
    let mut levels = vec![Vec::new(); n_levels];
    let mut descriptions = vec![[0u32; 5]; n_levels];
    for slice in &file.slices {
        let level = &mut levels[slice.level];
        let at = if slice.is_alpha { 3 } else { 1 };
        descriptions[slice.level][at] = level.len() as u32;
        descriptions[slice.level][at + 1] = slice.data.len() as u32;
        level.extend_from_slice(slice.data);
    }

    let dfd = data_format(map, etc1s, has_alpha);
    let mut key_values = Vec::new();
    key_values.extend((WRITER.len() as u32).to_le_bytes());
    key_values.extend(WRITER);
    key_values.resize(key_values.len().next_multiple_of(4), 0);
    let mut global = Vec::new();
    if etc1s {
        global.extend(file.n_endpoints.to_le_bytes());
        global.extend(file.n_selectors.to_le_bytes());
        for part in [file.endpoints, file.selectors, file.tables, &[]] {
            global.extend((part.len() as u32).to_le_bytes());
        }
        global.extend(descriptions.iter().flatten().flat_map(|word| word.to_le_bytes()));
        global.extend([file.endpoints, file.selectors, file.tables].concat());
    }

    let dfd_at = HEADER + LEVEL_INDEX * n_levels;
    let kvd_at = dfd_at + dfd.len();
    let mut body = [dfd.as_slice(), &key_values].concat();
    let mut global_at = 0;
    if etc1s {
        body.resize((dfd_at + body.len()).next_multiple_of(8) - dfd_at, 0);
        global_at = dfd_at + body.len();
        body.extend(&global);
    }
    let mut index = vec![[0u64; 3]; n_levels];
    // The smallest level first, so that a stream shows something early.
    for (level, data) in levels.iter().enumerate().rev() {
        if !etc1s {
            body.resize((dfd_at + body.len()).next_multiple_of(16) - dfd_at, 0);
        }
        let uncompressed = if etc1s { 0 } else { data.len() as u64 };
        index[level] = [(dfd_at + body.len()) as u64, data.len() as u64, uncompressed];
        body.extend(data);
    }

    let mut bytes = IDENTIFIER.to_vec();
    let scheme = if etc1s { BASIS_LZ } else { 0 };
    // Format undefined, type size 1, width, height, depth, layers, faces, levels, scheme.
    for word in [0, 1, w, h, 0, 0, 1, n_levels as u32, scheme] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [dfd_at, dfd.len(), kvd_at, key_values.len()] {
        bytes.extend((word as u32).to_le_bytes());
    }
    for word in [global_at as u64, global.len() as u64] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(index.iter().flatten().flat_map(|word| word.to_le_bytes()));
    bytes.extend(body);
    Ok(bytes)
}

/// Khronos data format descriptor, version 1.3, basic block.
fn data_format(map: MapKind, etc1s: bool, has_alpha: bool) -> Vec<u8> {
    const BT709: u8 = 1;
    const LINEAR: u8 = 1;
    const SRGB: u8 = 2;
    // Samples: bit offset, bits - 1, channel: 0 is RGB, 15 alpha. Only colours have alpha.
    let samples: &[(u16, u8, u8)] = match (etc1s, has_alpha) {
        (true, false) => &[(0, 63, 0)],
        (true, true) => &[(0, 63, 0), (64, 63, 15)],
        (false, _) => &[(0, 127, 0)],
    };
    let block_length = 24 + 16 * samples.len() as u16;
    let mut dfd = Vec::new();
    dfd.extend((u32::from(block_length) + 4).to_le_bytes());
    dfd.extend(0u32.to_le_bytes());
    dfd.extend(2u16.to_le_bytes());
    dfd.extend(block_length.to_le_bytes());
    let (primaries, transfer) = if map.is_color() { (BT709, SRGB) } else { (0, LINEAR) };
    dfd.extend([if etc1s { ETC1S_MODEL } else { UASTC_MODEL }, primaries, transfer, 0]);
    // Blocks of 4x4 texels, of 16 bytes where nothing compresses them further.
    dfd.extend([3, 3, 0, 0]);
    dfd.extend([if etc1s { 0 } else { 16 }, 0, 0, 0, 0, 0, 0, 0]);
    for &(offset, length, channel) in samples {
        dfd.extend(offset.to_le_bytes());
        dfd.extend([length, channel]);
        dfd.extend([0; 8]);
        dfd.extend(u32::MAX.to_le_bytes());
    }
    dfd
}

/// Parts of a `.basis` file.
struct Basis<'a> {
    format: u8,
    n_endpoints: u16,
    n_selectors: u16,
    endpoints: &'a [u8],
    selectors: &'a [u8],
    tables: &'a [u8],
    slices: Vec<Slice<'a>>,
}

struct Slice<'a> {
    level: usize,
    is_alpha: bool,
    data: &'a [u8],
}

const BASIS_HEADER: usize = 77;
const BASIS_SLICE: usize = 23;

impl<'a> Basis<'a> {
    fn read(bytes: &'a [u8]) -> Option<Basis<'a>> {
        let n_slices = number(bytes, 14, 3)?;
        let part = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
        let descriptions = number(bytes, 65, 4)?;
        let mut slices = Vec::new();
        for i in 0..n_slices {
            let at = descriptions + i * BASIS_SLICE;
            slices.push(Slice {
                level: number(bytes, at + 3, 1)?,
                is_alpha: number(bytes, at + 4, 1)? & 1 != 0,
                data: part(number(bytes, at + 13, 4)?, number(bytes, at + 17, 4)?)?,
            });
        }
        Some(Basis {
            format: number(bytes, 20, 1)? as u8,
            n_endpoints: number(bytes, 39, 2)? as u16,
            endpoints: part(number(bytes, 41, 4)?, number(bytes, 45, 3)?)?,
            n_selectors: number(bytes, 48, 2)? as u16,
            selectors: part(number(bytes, 50, 4)?, number(bytes, 54, 3)?)?,
            tables: part(number(bytes, 57, 4)?, number(bytes, 61, 4)?)?,
            slices,
        })
    }
}

/// The finest level of a KTX2 as a `.basis` file of one image, and its sides.
fn basis_of(bytes: &[u8]) -> Option<(Vec<u8>, u32, u32)> {
    if !bytes.starts_with(IDENTIFIER) {
        return None;
    }
    let (w, h) = (number(bytes, 20, 4)?, number(bytes, 24, 4)?);
    let etc1s = number(bytes, 44, 4)? == BASIS_LZ as usize;
    let n_levels = number(bytes, 40, 4)?;
    let part = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
    let data = part(number(bytes, HEADER, 8)?, number(bytes, HEADER + 8, 8)?)?;
    if w == 0 || h == 0 || w > 16_384 || h > 16_384 {
        return None;
    }

    let mut codebooks: [&[u8]; 3] = [&[]; 3];
    let (mut n_endpoints, mut n_selectors) = (0, 0);
    let mut slices: Vec<(&[u8], bool)> = vec![(data, false)];
    if etc1s {
        let global = part(number(bytes, 64, 8)?, number(bytes, 72, 8)?)?;
        (n_endpoints, n_selectors) = (number(global, 0, 2)?, number(global, 2, 2)?);
        let mut at = 20 + 20usize.checked_mul(n_levels)?;
        for (i, codebook) in codebooks.iter_mut().enumerate() {
            let length = number(global, 4 + 4 * i, 4)?;
            *codebook = global.get(at..at.checked_add(length)?)?;
            at += length;
        }
        let slice = |at: usize| {
            let (offset, length) = (number(global, at, 4)?, number(global, at + 4, 4)?);
            data.get(offset..offset.checked_add(length)?)
        };
        slices = vec![(slice(24)?, false)];
        let alpha = slice(32)?;
        if !alpha.is_empty() {
            slices.push((alpha, true));
        }
    }

    let has_alpha = slices.len() > 1;
    let mut at = BASIS_HEADER + BASIS_SLICE * slices.len();
    let mut place = |part: &[u8]| {
        let start = at;
        at += part.len();
        start
    };
    let codebook_at = codebooks.map(&mut place);
    let mut out = Fields::default();
    for (value, width) in [(0x4273, 2), (0x13, 2), (BASIS_HEADER, 2), (0, 2)] {
        out.put(value, width);
    }
    let n_data = BASIS_SLICE * slices.len()
        + codebooks.iter().map(|part| part.len()).sum::<usize>()
        + slices.iter().map(|(part, _)| part.len()).sum::<usize>();
    let flags = usize::from(etc1s) + if has_alpha { 4 } else { 0 };
    for (value, width) in [
        (n_data, 4),
        (0, 2),
        (slices.len(), 3),
        (1, 3),
        (usize::from(!etc1s), 1),
        (flags, 2),
        (0, 1),
        (0, 3),
        (0, 4),
        (0, 4),
        (0, 4),
        (n_endpoints, 2),
        (codebook_at[0], 4),
        (codebooks[0].len(), 3),
        (n_selectors, 2),
        (codebook_at[1], 4),
        (codebooks[1].len(), 3),
        (codebook_at[2], 4),
        (codebooks[2].len(), 4),
        (BASIS_HEADER, 4),
        (0, 4),
        (0, 4),
    ] {
        out.put(value, width);
    }
    for &(slice, is_alpha) in &slices {
        let start = place(slice);
        for (value, width) in [
            (0, 3),
            (0, 1),
            (usize::from(is_alpha), 1),
            (w, 2),
            (h, 2),
            (w.div_ceil(4), 2),
            (h.div_ceil(4), 2),
            (start, 4),
            (slice.len(), 4),
            (0, 2),
        ] {
            out.put(value, width);
        }
    }
    let mut file = out.bytes;
    file.extend(codebooks.concat());
    for (slice, _) in slices {
        file.extend(slice);
    }
    Some((file, w as u32, h as u32))
}

/// Little-endian numbers of odd widths.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
}

impl Fields {
    fn put(&mut self, value: usize, n_bytes: usize) {
        self.bytes.extend(&(value as u64).to_le_bytes()[..n_bytes]);
    }
}

fn number(bytes: &[u8], at: usize, n_bytes: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(n_bytes)?)?;
    usize::try_from(field.iter().rev().fold(0u64, |value, byte| (value << 8) | u64::from(*byte))).ok()
}

fn damaged(what: &str) -> StageError {
    StageError::invalid(format!("the KTX2 {what}"), "fire the source image again")
}
