//! Weights by formula: every named tensor gets values that are the same everywhere, bit for bit.
//!
//! For tests, benchmarks and checks on devices where no trained weights are at hand. Value i of
//! a tensor is b + a t with t in [-1, 1) from SplitMix64 (Steele, Lea, Flood, 2014) at the FNV-1a
//! hash of the tensor's name, xor the seed, plus i steps.

use std::{borrow::Cow, collections::HashMap};

use rayon::prelude::*;

use super::checkpoint::{Checkpoint, Stored, Values};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Values computed in one go.
const CHUNK: usize = 1 << 16;

/// How the values of one tensor are spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    pub shape: Vec<usize>,
    /// Half of the width of the range.
    pub a: f32,
    /// Middle of the range.
    pub b: f32,
}

impl Spread {
    /// What tensors get unless said otherwise: variance 1 / `fan_in` for matrices, near 1 for
    /// the weights of norms, near 0 for biases.
    pub fn default_of(name: &str, shape: &[usize]) -> Spread {
        let (a, b) = match shape {
            [_, rest @ ..] if !rest.is_empty() => ((3.0 / rest.iter().product::<usize>() as f64).sqrt() as f32, 0.0),
            _ if name.ends_with("running_var") || name.ends_with("weight") => (0.1, 1.0),
            _ => (0.05, 0.0),
        };
        Spread { shape: shape.to_vec(), a, b }
    }

    pub fn values(&self, name: &str, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, chunk)| {
            fill(name, seed, (i * CHUNK) as u64, self.a, self.b, chunk);
        });
        values
    }
}

/// A checkpoint whose values are computed when they are asked for.
pub struct Synthetic {
    pub seed: u64,
    /// By name; in its absence tensors have what `Spread::default_of` says, whatever they are called.
    pub tensors: Option<HashMap<String, Spread>>,
}

impl Checkpoint for Synthetic {
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
        let spread = match &self.tensors {
            Some(tensors) => Cow::Borrowed(tensors.get(key)?),
            None => Cow::Owned(Spread::default_of(key, shape)),
        };
        let values = Values::F32(spread.values(key, self.seed).into());
        Some(Stored { shape: spread.shape.clone(), values })
    }
}

/// Values `start`, `start` + 1, ... of the tensor `name`.
pub fn fill(name: &str, seed: u64, start: u64, a: f32, b: f32, to: &mut [f32]) {
    let key = fnv1a64(name.as_bytes()) ^ seed;
    for (i, value) in to.iter_mut().enumerate() {
        let hash = splitmix64(key.wrapping_add((start + i as u64).wrapping_mul(GOLDEN)));
        let t = ((hash >> 40) as i32 - (1 << 23)) as f32 * (1.0 / (1 << 23) as f32);
        // Two roundings: Rust does not fuse them.
        *value = b + a * t;
    }
}

/// Sum over elements of (2 i + 1) times the value's bits, which add up over tensors modulo 2^64.
pub fn checksum(values: &[f32]) -> u64 {
    let chunk = |(n, chunk): (usize, &[f32])| {
        chunk.iter().enumerate().fold(0u64, |sum, (i, value)| {
            let weight = ((n * CHUNK + i) as u64).wrapping_mul(2).wrapping_add(1);
            sum.wrapping_add(weight.wrapping_mul(u64::from(value.to_bits())))
        })
    };
    values.par_chunks(CHUNK).enumerate().map(chunk).reduce(|| 0, u64::wrapping_add)
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

fn splitmix64(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
