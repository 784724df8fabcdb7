//! Weights in memory: a safetensors file, mapped, its header checked.
//!
//! Format: 8 bytes with the length of a JSON header, the header, the tensors
//! (safetensors' README, "Format"). Checked before anything is handed out: the
//! header's size, every shape against its bytes, and that the tensors fill the
//! rest of the file without a hole or an overlap.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    ops::{Deref, Range},
    path::{Path, PathBuf},
};

use memmap2::{Mmap, UncheckedAdvice};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{Result, WeightsError, dtype::DType};

/// Longest header, in bytes; that of a network of 5,000 tensors has half a megabyte.
pub const MAX_HEADER: u64 = 16 << 20;

/// A file, mapped as a rule, and what is in it. Pages are read when they are looked at, and
/// shared between all processes that map the file.
pub struct Weights {
    path: PathBuf,
    bytes: Bytes,
    header: Header,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// One tensor: row-major, little-endian, borrowed from the file. Data
/// starts at a multiple of the element's size in files that `convert` wrote;
/// other writers promise no alignment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub data: &'a [u8],
}

impl Weights {
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| WeightsError::io(path.display(), &error);
        let file = File::open(path).map_err(io)?;
        // SAFETY: weights files are written under another name and renamed when
        // they are complete; nothing of ours writes to one that has its final name, and
        // replacing or removing it leaves this mapping on the old file. A user who writes
        // into a file of their own while it is loaded gets numbers of both, or ends the
        // worker where the file got shorter; every value is a valid f32, and headers were
        // checked before.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::new(Bytes::Mapped(map), path)
    }

    /// A file that is in memory already; `path` stands for it in errors.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        Self::new(Bytes::Owned(bytes), path)
    }

    fn new(bytes: Bytes, path: &Path) -> Result<Self> {
        let header = Header::parse(&bytes, &path.display().to_string())?;
        Ok(Self { path: path.to_owned(), bytes, header })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.header.tensors.contains_key(key)
    }

    /// Free text that the writer of the file left in it.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    pub fn get(&self, key: &str) -> Result<View<'_>> {
        match self.header.tensors.get(key) {
            Some(entry) => Ok(View { dtype: entry.dtype, shape: &entry.shape, data: &self.bytes[entry.bytes.clone()] }),
            None => Err(self.missing(vec![key.to_owned()], 1)),
        }
    }

    /// `key` will not be looked at soon: its pages need not stay in this process.
    pub fn release(&self, key: &str) {
        let (Bytes::Mapped(map), Some(entry)) = (&self.bytes, self.header.tensors.get(key)) else { return };
        // SAFETY: the mapping is of a file and never written to, so pages that go come back
        // from the file, equal, when they are looked at again.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, entry.bytes.start, entry.bytes.len()) };
    }

    /// Like [`Weights::get`], and the shape must be this one.
    pub fn get_shaped(&self, key: &str, shape: &[usize]) -> Result<View<'_>> {
        let view = self.get(key)?;
        match view.shape == shape {
            true => Ok(view),
            false => Err(WeightsError::Tensor {
                file: self.path.display().to_string(),
                key: key.to_owned(),
                expected: format!("{shape:?}"),
                found: format!("{:?}", view.shape),
            }),
        }
    }

    /// An error that names the first few of `keys` that are not there.
    pub fn require<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Result<()> {
        let missing: Vec<&str> = keys.into_iter().filter(|key| !self.contains(key)).collect();
        match missing.len() {
            0 => Ok(()),
            n => Err(self.missing(missing.iter().take(3).map(|key| (*key).to_owned()).collect(), n)),
        }
    }

    fn missing(&self, first: Vec<String>, n_missing: usize) -> WeightsError {
        WeightsError::MissingKeys { file: self.path.display().to_string(), first, n_missing }
    }
}

/// A header that was checked against the bytes behind it.
#[derive(Debug)]
pub(super) struct Header {
    pub tensors: BTreeMap<String, Entry>,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// In the file.
    pub bytes: Range<usize>,
}

impl Header {
    /// `bytes` are the whole file.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let truncated = |what: String| WeightsError::Truncated { file: file.to_owned(), what };
        let damaged = |what: String| WeightsError::Damaged { file: file.to_owned(), what };
        let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(truncated(format!("{} bytes are no header", bytes.len())));
        };
        let len = u64::from_le_bytes(*len);
        if len > MAX_HEADER {
            let what = "the length of the header".to_owned();
            return Err(WeightsError::TooLarge { file: file.to_owned(), what, found: len, limit: MAX_HEADER });
        }
        let Some((header, data)) = rest.split_at_checked(len as usize) else {
            return Err(truncated(format!("the header has {len} bytes, {} are there", rest.len())));
        };
        let raw: RawHeader = serde_json::from_slice(header).map_err(|error| damaged(format!("the header: {error}")))?;
        let start = bytes.len() - data.len();
        let mut tensors = BTreeMap::new();
        let mut spans = Vec::with_capacity(raw.tensors.len());
        for (name, raw) in raw.tensors {
            let [from, to] = raw.data_offsets;
            let wrong = |expected: String, found: String| WeightsError::Tensor {
                file: file.to_owned(),
                key: name.clone(),
                expected,
                found,
            };
            let Some(dtype) = DType::from_name(&raw.dtype) else {
                return Err(wrong("of a known type".to_owned(), format!("`{}`", raw.dtype)));
            };
            match dtype.bytes_of(&raw.shape) {
                Some(n) if from.checked_add(n) == Some(to) => {}
                n => {
                    let n = n.map_or("more than 2^64".to_owned(), |n| n.to_string());
                    return Err(wrong(format!("{n} bytes for {} {:?}", raw.dtype, raw.shape), format!("{from}..{to}")));
                }
            }
            if to > data.len() as u64 {
                return Err(truncated(format!("`{name}` ends at byte {to} of {}", data.len())));
            }
            spans.push((from, to));
            let bytes = start + from as usize..start + to as usize;
            if tensors.insert(name.clone(), Entry { dtype, shape: raw.shape, bytes }).is_some() {
                return Err(damaged(format!("the header has `{name}` twice")));
            }
        }
        spans.sort_unstable();
        let mut end = 0;
        for (from, to) in spans {
            if from != end {
                return Err(damaged(format!("after byte {end} of the data, the next tensor starts at {from}")));
            }
            end = to;
        }
        if end != data.len() as u64 {
            return Err(damaged(format!("the tensors have {end} bytes, the file has {}", data.len())));
        }
        Ok(Self { tensors, metadata: raw.metadata })
    }
}

/// The header as written, in its order, nothing checked but its form.
struct RawHeader {
    tensors: Vec<(String, RawEntry)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a dictionary of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
                let mut n_metadata = 0;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                        n_metadata += 1;
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                match n_metadata {
                    0 | 1 => Ok(header),
                    _ => Err(A::Error::custom("two sets of metadata")),
                }
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests;
