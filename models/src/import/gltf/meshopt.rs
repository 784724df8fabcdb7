//! `EXT_meshopt_compression` (and `KHR_meshopt_compression`): packed buffer views.
//!
//! Decoding is meshoptimizer's, which is made for untrusted bytes; what it writes
//! is bounded by the counts checked here.

use gltf::json::buffer::View;
use meshopt::{decode_filter_color, decode_filter_exp, decode_filter_oct, decode_filter_quat};
use serde::Deserialize;

use super::{
    super::{damaged, too_large},
    data::Data,
};
use crate::error::StageError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Packed {
    buffer: usize,
    #[serde(default)]
    byte_offset: u64,
    byte_length: u64,
    byte_stride: usize,
    count: usize,
    mode: Mode,
    #[serde(default)]
    filter: Filter,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Attributes,
    Triangles,
    Indices,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Default, Debug)]
#[serde(rename_all = "UPPERCASE")]
enum Filter {
    #[default]
    None,
    Octahedral,
    Quaternion,
    Exponential,
    Color,
}

/// Content of a packed view, `None` for others. `room` is how many bytes may
/// still be unpacked.
pub fn unpack(view: &View, data: &Data, room: &mut u64) -> Result<Option<Vec<u8>>, StageError> {
    let names = ["EXT_meshopt_compression", "KHR_meshopt_compression"];
    let packed = view.extensions.as_ref().and_then(|all| names.iter().find_map(|name| all.others.get(*name)));
    let Some(packed) = packed else { return Ok(None) };
    let packed =
        Packed::deserialize(packed).map_err(|e| damaged(format!("a compressed view of the glTF is not valid: {e}")))?;
    let size = (packed.count as u64).saturating_mul(packed.byte_stride as u64);
    if size > *room {
        return Err(too_large("unpacked bytes", size, *room));
    }
    let bytes = data.range(packed.buffer, packed.byte_offset, packed.byte_length)?;
    *room -= size;
    let (n, stride) = (packed.count, packed.byte_stride);
    let mut out = match (packed.mode, stride) {
        (Mode::Attributes, 4..=256) if stride % 4 == 0 => vertices(bytes, n, stride),
        (Mode::Triangles, 2) if n % 3 == 0 => words(meshopt::decode_index_buffer::<u16>(bytes, n), u16::to_le_bytes),
        (Mode::Triangles, 4) if n % 3 == 0 => words(meshopt::decode_index_buffer::<u32>(bytes, n), u32::to_le_bytes),
        (Mode::Indices, 2) => words(meshopt::decode_index_sequence::<u16>(bytes, n), u16::to_le_bytes),
        (Mode::Indices, 4) => words(meshopt::decode_index_sequence::<u32>(bytes, n), u32::to_le_bytes),
        _ => return Err(damaged(format!("a compressed view of the glTF has {n} elements of {stride} bytes"))),
    }
    .ok_or_else(|| damaged(format!("{} compressed bytes of the glTF do not unpack", bytes.len())))?;
    if packed.mode == Mode::Attributes {
        apply(packed.filter, stride, &mut out)?;
    }
    Ok(Some(out))
}

fn words<T, const N: usize>(decoded: meshopt::Result<Vec<T>>, to_bytes: fn(T) -> [u8; N]) -> Option<Vec<u8>> {
    Some(decoded.ok()?.into_iter().flat_map(to_bytes).collect())
}

/// A vertex of `N` bytes.
#[derive(Clone)]
#[repr(transparent)]
struct Vertex<const N: usize>([u8; N]);

impl<const N: usize> Default for Vertex<N> {
    fn default() -> Self {
        Vertex([0; N])
    }
}

/// The decoder is generic over the vertex, the stride is only known now: all
/// strides that the extension allows.
fn vertices(bytes: &[u8], n: usize, stride: usize) -> Option<Vec<u8>> {
    macro_rules! of_stride {
        ($($size:literal)*) => {
            match stride {
                $($size => {
                    let decoded = meshopt::decode_vertex_buffer::<Vertex<$size>>(bytes, n).ok()?;
                    Some(decoded.iter().flat_map(|vertex| vertex.0).collect())
                })*
                _ => None,
            }
        };
    }
    of_stride!(4 8 12 16 20 24 28 32 36 40 44 48 52 56 60 64 68 72 76 80 84 88 92 96 100 104 108 112 116 120 124 128
        132 136 140 144 148 152 156 160 164 168 172 176 180 184 188 192 196 200 204 208 212 216 220 224 228 232 236
        240 244 248 252 256)
}

fn apply(filter: Filter, stride: usize, bytes: &mut [u8]) -> Result<(), StageError> {
    match (filter, stride) {
        (Filter::None, _) => {}
        (Filter::Octahedral, 4) => through(bytes, i8::from_le_bytes, i8::to_le_bytes, |v| decode_filter_oct(chunks(v))),
        (Filter::Octahedral, 8) => {
            through(bytes, i16::from_le_bytes, i16::to_le_bytes, |v| decode_filter_oct(chunks(v)))
        }
        (Filter::Color, 4) => through(bytes, u8::from_le_bytes, u8::to_le_bytes, |v| decode_filter_color(chunks(v))),
        (Filter::Color, 8) => through(bytes, u16::from_le_bytes, u16::to_le_bytes, |v| decode_filter_color(chunks(v))),
        (Filter::Quaternion, 8) => {
            through(bytes, i16::from_le_bytes, i16::to_le_bytes, |v| decode_filter_quat(chunks(v)))
        }
        // Each number by itself, so the stride does not matter.
        (Filter::Exponential, _) => {
            through(bytes, u32::from_le_bytes, u32::to_le_bytes, |v| decode_filter_exp(v.as_chunks_mut::<1>().0));
        }
        _ => return Err(damaged(format!("a compressed view of the glTF has the filter {filter:?} on {stride} bytes"))),
    }
    Ok(())
}

/// Four numbers each.
fn chunks<T>(values: &mut [T]) -> &mut [[T; 4]] {
    values.as_chunks_mut::<4>().0
}

/// `decode` on the bytes as numbers.
fn through<T: Copy, const N: usize>(
    bytes: &mut [u8],
    from: fn([u8; N]) -> T,
    to: fn(T) -> [u8; N],
    decode: impl Fn(&mut [T]),
) {
    let mut values: Vec<T> = bytes.as_chunks::<N>().0.iter().map(|bytes| from(*bytes)).collect();
    decode(&mut values);
    for (bytes, value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *bytes = to(value);
    }
}
