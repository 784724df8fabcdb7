//! Reader of torch checkpoints that executes nothing.
//!
//! Two containers are read: the zip archive that torch writes since 1.6 (stored
//! or deflated entries; torch/serialization.py, `_save`), and the older row of
//! pickles followed by raw storages (`_legacy_save`). Inside is a pickle that
//! describes dictionaries of tensors; `machine` runs its instructions on plain
//! data, and the few things that may be called are a closed list in `global`.
//!
//! Tensors are read one at a time, in row-major order, little-endian. Names are
//! paths through the dictionaries and lists, joined with dots, wrappers such as
//! `state_dict` or `module` included. States of optimizers are left out.
//!
//! Refused, each with an error that says what was found: TorchScript, archives
//! of big-endian machines, quantised and complex tensors, anything that names
//! code, and sizes that the file cannot hold.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read, Seek},
    path::Path,
};

use super::{Result, WeightsError, dtype::DType};

mod build;
mod container;
mod gather;
mod global;
mod legacy;
mod machine;
mod tensors;
mod torch_zip;
mod zip;

#[cfg(test)]
pub(super) mod test_pickles;
#[cfg(test)]
mod tests;

use container::Container;

/// Longest pickle stream, in bytes; real ones are well under a megabyte.
const MAX_PICKLE: u64 = 32 << 20;
const MAX_TENSORS: usize = 200_000;
const MAX_NAME: usize = 1024;
const MAX_DEPTH: usize = 32;
const MAX_DIMS: usize = 16;

/// An open checkpoint: what it holds is known, the values are still in the file.
pub struct Checkpoint {
    container: Container,
    tensors: Vec<Tensor>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    layout: Layout,
}

/// Where the elements lie within a storage. Checked to lie inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    storage: usize,
    /// Of the first element, in bytes.
    offset: u64,
    /// In elements, one for each axis.
    strides: Vec<u64>,
}

/// Bytes that can be read from any place.
pub trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

impl Tensor {
    /// Bytes of all elements.
    pub fn n_bytes(&self) -> u64 {
        self.dtype.bytes_of(&self.shape).unwrap_or(u64::MAX) // checked when the tensor was made
    }
}

impl Checkpoint {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| WeightsError::io(path.display(), &error))?;
        Self::read(Box::new(file), &path.display().to_string())
    }

    /// `name` stands for the file in errors.
    pub fn read(mut source: Box<dyn Source>, name: &str) -> Result<Self> {
        let mut head = [0; 4096];
        let io = |error: std::io::Error| WeightsError::io(name, &error);
        source.rewind().map_err(io)?;
        let mut n = 0;
        while n < head.len() {
            match source.read(&mut head[n..]).map_err(io)? {
                0 => break,
                more => n += more,
            }
        }
        let (container, found) = match &head[..n] {
            [b'P', b'K', 3, 4, ..] => torch_zip::open(source, name)?,
            [0x80, ..] => legacy::open(source, name)?,
            head => return Err(not_a_checkpoint(head, name)),
        };
        let declared: u64 = found.iter().map(Tensor::n_bytes).fold(0, u64::saturating_add);
        let limit = container.total_storage().saturating_mul(2).saturating_add(64 << 20);
        if declared > limit {
            // Tied weights share a storage; a thousand views of one do not belong to a network.
            let what = "the size of all tensors together".to_owned();
            return Err(WeightsError::TooLarge { file: name.to_owned(), what, found: declared, limit });
        }
        let mut names = HashSet::new();
        if let Some(twice) = found.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
            let what = format!("two tensors have the name `{}`", twice.name);
            return Err(WeightsError::Damaged { file: name.to_owned(), what });
        }
        Ok(Self { container, tensors: found })
    }

    /// In the order of the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The elements of one tensor in row-major order, in chunks of at most a
    /// megabyte. `index` counts as in [`Checkpoint::tensors`] and must be one of them.
    pub fn stream(&mut self, index: usize, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let tensor = &self.tensors[index];
        gather::stream(&mut self.container, tensor, sink)
    }

    /// All elements of one tensor at once. Memory: the tensor.
    pub fn bytes(&mut self, index: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream(index, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }
}

/// What people have in their folders under the name of a checkpoint.
fn not_a_checkpoint(head: &[u8], name: &str) -> WeightsError {
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    let unsupported =
        |found: &str, hint| WeightsError::Unsupported { file: name.to_owned(), found: found.to_owned(), hint };
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return unsupported("a web page instead of weights", "pull the net again; the page came in place of the file");
    }
    if text.starts_with("version https://git-lfs") {
        return unsupported("a Git LFS pointer instead of weights", "fetch the file itself: `git lfs pull`");
    }
    if head.get(8) == Some(&b'{') {
        return unsupported("safetensors under the name of a checkpoint", "rename it to end in `.safetensors`");
    }
    if head.get(257..262) == Some(b"ustar") {
        return unsupported("a tar archive of torch before 0.1.10", "save it again with a current torch");
    }
    let start = head.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let what = match head.is_empty() {
        true => return WeightsError::Truncated { file: name.to_owned(), what: "the file is empty".to_owned() },
        false => format!("it starts with {start}, which is neither a zip archive nor a pickle"),
    };
    WeightsError::Damaged { file: name.to_owned(), what }
}
