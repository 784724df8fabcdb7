//! Weights by name: where a net takes them from, and a cursor into the tree of names.

use std::{borrow::Cow, fmt::Display, ops::Deref};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::compute::Compute;
use crate::error::StageError;

/// A file of weights, or something that stands in for one.
pub trait Checkpoint: Sync {
    /// The tensor `key`; `None` where there is none. `shape` is what the net expects, row-major;
    /// it is for those who make values up, and a stored tensor may have another.
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>>;

    /// The tensor `key` has been read and will not be asked for again: memory that only holds
    /// it may go, also pages of a mapped file.
    fn release(&self, _key: &str) {}
}

/// A file in memory or mapped.
impl Checkpoint for SafeTensors<'_> {
    fn find(&self, key: &str, _shape: &[usize]) -> Option<Stored<'_>> {
        let tensor = self.tensor(key).ok()?;
        let values = match tensor.dtype() {
            Dtype::F32 => Values::F32Bytes(tensor.data()),
            Dtype::F16 => Values::F16Bytes(tensor.data()),
            Dtype::BF16 => Values::Bf16Bytes(tensor.data()),
            _ => return None,
        };
        Some(Stored { shape: tensor.shape().to_vec(), values })
    }
}

/// A tensor as it is stored.
pub struct Stored<'a> {
    pub shape: Vec<usize>,
    pub values: Values<'a>,
}

/// Little-endian bytes of a file, or numbers.
pub enum Values<'a> {
    F32Bytes(&'a [u8]),
    F16Bytes(&'a [u8]),
    Bf16Bytes(&'a [u8]),
    F32(Cow<'a, [f32]>),
}

impl<'a> Values<'a> {
    pub fn len(&self) -> usize {
        match self {
            Values::F32Bytes(bytes) => bytes.len() / 4,
            Values::F16Bytes(bytes) | Values::Bf16Bytes(bytes) => bytes.len() / 2,
            Values::F32(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Widened to f32, exactly; without a copy where they are f32 that lie as this machine wants them.
    pub fn into_f32(self) -> Cow<'a, [f32]> {
        let in_place = match self {
            Values::F32Bytes(bytes) if cfg!(target_endian = "little") => bytemuck::try_cast_slice(bytes).ok(),
            _ => None,
        };
        match (self, in_place) {
            (_, Some(values)) => Cow::Borrowed(values),
            (Values::F32(values), _) => values,
            (other, _) => {
                let mut values = vec![0.0; other.len()];
                other.copy_to(&mut values);
                values.into()
            }
        }
    }

    /// Writes all values, widened to f32, into `to`, which has as many places.
    pub fn copy_to(&self, to: &mut [f32]) {
        const CHUNK: usize = 1 << 18;
        fn widen<const N: usize>(bytes: &[u8], to: &mut [f32], one: impl Fn([u8; N]) -> f32 + Sync) {
            let (from, _) = bytes.as_chunks::<N>();
            to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = one(*from));
            });
        }
        match self {
            Values::F32Bytes(bytes) => widen(bytes, to, f32::from_le_bytes),
            Values::F16Bytes(bytes) => widen(bytes, to, |b| half::f16::from_le_bytes(b).to_f32()),
            Values::Bf16Bytes(bytes) => widen(bytes, to, |b| half::bf16::from_le_bytes(b).to_f32()),
            Values::F32(values) => to.copy_from_slice(values),
        }
    }
}

/// A place in a checkpoint's tree of names, and the device that weights go to.
#[derive(Clone)]
pub struct Vars<'a> {
    checkpoint: &'a dyn Checkpoint,
    pub compute: &'a Compute,
    prefix: String,
}

impl<'a> Vars<'a> {
    pub fn new(checkpoint: &'a dyn Checkpoint, compute: &'a Compute) -> Vars<'a> {
        Vars { checkpoint, compute, prefix: String::new() }
    }

    pub fn checkpoint(&self) -> &'a dyn Checkpoint {
        self.checkpoint
    }

    /// The place `name` below this one.
    pub fn pp(&self, name: impl Display) -> Vars<'a> {
        Vars { prefix: self.key(name), ..*self }
    }

    /// The same place, for another precision or device.
    pub fn on<'b>(&self, compute: &'b Compute) -> Vars<'b>
    where
        'a: 'b,
    {
        Vars { checkpoint: self.checkpoint, compute, prefix: self.prefix.clone() }
    }

    fn key(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// Whether there is a tensor `name` here, of `shape`: checkpoints have their tensors in one of
    /// several trees.
    pub fn has(&self, name: &str, shape: &[usize]) -> bool {
        self.checkpoint.find(&self.key(name), shape).is_some_and(|stored| stored.shape == shape)
    }

    /// The tensor `name` here, which must have `shape`.
    fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored<'a>, StageError> {
        let key = self.key(name);
        let wrong = |what: String| Err(StageError::invalid(what, "fetch the weights again with `meshkiln pull`"));
        match self.checkpoint.find(&key, shape) {
            None => wrong(format!("the weights have no tensor `{key}`")),
            Some(stored) if stored.shape != shape => {
                wrong(format!("tensor `{key}` of the weights is {:?}, not {shape:?}", stored.shape))
            }
            Some(stored) if stored.values.len() != shape.iter().product::<usize>() => {
                wrong(format!("tensor `{key}` of the weights has {} values for {shape:?}", stored.values.len()))
            }
            Some(stored) => Ok(stored),
        }
    }

    /// The tensor `name` here as f32, row-major; it must have `shape`.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Weight<'a>, StageError> {
        let values = self.stored(name, shape)?.values.into_f32();
        Ok(Weight { values, checkpoint: self.checkpoint, key: self.key(name) })
    }

    /// The same, copied to `to`.
    pub fn copy_to(&self, name: &str, shape: &[usize], to: &mut [f32]) -> Result<(), StageError> {
        self.stored(name, shape)?.values.copy_to(to);
        self.checkpoint.release(&self.key(name));
        Ok(())
    }

    /// The same as a tensor of f32 on the device.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, StageError> {
        on_device(&self.values(name, shape)?, shape, &self.compute.device)
    }
}

/// Numbers of a checkpoint while they are needed.
pub struct Weight<'a> {
    values: Cow<'a, [f32]>,
    checkpoint: &'a dyn Checkpoint,
    key: String,
}

impl Deref for Weight<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl Drop for Weight<'_> {
    fn drop(&mut self) {
        self.checkpoint.release(&self.key);
    }
}

/// Numbers as a tensor of f32 on `device`.
pub fn on_device(values: &[f32], shape: &[usize], device: &Device) -> Result<Tensor, StageError> {
    Ok(Tensor::from_slice(values, shape, device)?)
}
