//! Buffers, views and accessors of a glTF, every range checked.
//!
//! Values are read for the vertices that are asked for, not for the whole
//! accessor: many small primitives may share a large one.

use std::borrow::Cow;

use gltf::json::{
    accessor::{ComponentType, Type},
    validation::Checked,
};

use super::{
    super::{
        Bundle, Limits,
        bundle::missing_buffer,
        damaged,
        path::{Reference, resolve_uri},
        truncated,
    },
    document::Document,
    meshopt,
};
use crate::error::StageError;

pub struct Data<'a> {
    pub document: &'a Document,
    buffers: Vec<Result<Cow<'a, [u8]>, StageError>>,
    /// Content of compressed views.
    unpacked: Vec<Option<Result<Vec<u8>, StageError>>>,
}

/// Elements of an accessor as they lie in memory.
#[derive(Clone, Copy)]
struct Elements<'a> {
    /// `None`: all zero, but for the sparse ones.
    data: Option<&'a [u8]>,
    stride: usize,
    count: usize,
    component: ComponentType,
    n_components: usize,
    normalized: bool,
    sparse: Option<Sparse<'a>>,
}

/// Elements that replace others: a sorted list of indices, and their values.
#[derive(Clone, Copy)]
struct Sparse<'a> {
    count: usize,
    indices: &'a [u8],
    index_kind: ComponentType,
    values: &'a [u8],
}

impl<'a> Data<'a> {
    /// What is wrong with a buffer or view is an error when it is used.
    pub fn new(document: &'a Document, bin: Option<&'a [u8]>, bundle: &'a Bundle, limits: &Limits) -> Data<'a> {
        let buffers = (0..document.buffers.len()).map(|i| buffer(document, i, bin, bundle)).collect();
        let mut data = Data { document, buffers, unpacked: Vec::new() };
        let mut room = limits.bytes;
        data.unpacked =
            document.buffer_views.iter().map(|view| meshopt::unpack(view, &data, &mut room).transpose()).collect();
        data
    }

    pub fn buffer(&self, index: usize) -> Result<&[u8], StageError> {
        match self.buffers.get(index) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(error.clone()),
            None => Err(damaged(format!("the glTF has no buffer {index}"))),
        }
    }

    /// Bytes of a buffer view, and its stride when it states one.
    pub fn view(&self, index: usize) -> Result<(&[u8], Option<usize>), StageError> {
        let view = self.document.buffer_views.get(index);
        let view = view.ok_or_else(|| damaged(format!("the glTF has no buffer view {index}")))?;
        let stride = view.byte_stride.map(|stride| stride.0);
        match self.unpacked.get(index) {
            Some(Some(Ok(bytes))) => return Ok((bytes, stride)),
            Some(Some(Err(error))) => return Err(error.clone()),
            _ => {}
        }
        let offset = view.byte_offset.map_or(0, |offset| offset.0);
        Ok((self.range(view.buffer.value(), offset, view.byte_length.0)?, stride))
    }

    /// Bytes of a buffer.
    pub fn range(&self, buffer: usize, offset: u64, length: u64) -> Result<&[u8], StageError> {
        let bytes = self.buffer(buffer)?;
        let end = offset.checked_add(length).filter(|&end| end <= bytes.len() as u64);
        let end = end.ok_or_else(|| {
            damaged(format!(
                "the glTF wants {length} bytes from {offset} of buffer {buffer}, which has {}",
                bytes.len()
            ))
        })?;
        Ok(&bytes[offset as usize..end as usize])
    }

    /// Number of elements claimed, not of those there are.
    pub fn count(&self, accessor: usize) -> Result<u64, StageError> {
        Ok(self.accessor(accessor)?.count.0)
    }

    pub fn shape(&self, accessor: usize) -> Result<Option<Type>, StageError> {
        Ok(match self.accessor(accessor)?.type_ {
            Checked::Valid(shape) => Some(shape),
            Checked::Invalid => None,
        })
    }

    /// All elements of a list of indices.
    pub fn indices(&self, accessor: usize) -> Result<Vec<u32>, StageError> {
        let elements = self.elements(accessor, Type::Scalar)?;
        if matches!(elements.component, ComponentType::F32 | ComponentType::I8 | ComponentType::I16) {
            return Err(damaged(format!("accessor {accessor} of the glTF has {:?} for indices", elements.component)));
        }
        Ok((0..elements.count).map(|i| elements.word(i)).collect())
    }

    /// Elements of `N` numbers for each of `wanted`, which are sorted. Integers are
    /// shares of their largest where the accessor says so.
    pub fn numbers<const N: usize>(
        &self,
        accessor: usize,
        shape: Type,
        wanted: &[u32],
    ) -> Result<Vec<[f32; N]>, StageError> {
        let elements = self.elements(accessor, shape)?;
        if let Some(&last) = wanted.last().filter(|&&last| last as usize >= elements.count) {
            let message = format!("the glTF names element {last} of accessor {accessor}, which has {}", elements.count);
            return Err(damaged(message));
        }
        Ok(wanted.iter().map(|&i| elements.numbers(i as usize)).collect())
    }

    fn accessor(&self, index: usize) -> Result<&gltf::json::Accessor, StageError> {
        self.document.accessors.get(index).ok_or_else(|| damaged(format!("the glTF has no accessor {index}")))
    }

    fn elements(&self, index: usize, shape: Type) -> Result<Elements<'_>, StageError> {
        let accessor = self.accessor(index)?;
        let component = match (&accessor.component_type, &accessor.type_) {
            (Checked::Valid(component), Checked::Valid(found)) if *found == shape => component.0,
            (_, found) => {
                let message = format!(
                    "accessor {index} of the glTF is {found:?} of {:?}, not {shape:?}",
                    accessor.component_type
                );
                return Err(damaged(message));
            }
        };
        let n_components = shape.multiplicity();
        let size = component.size() * n_components;
        let count = accessor.count.0;
        let wants = |what: &str, count: u64, stride: usize, have: usize| {
            damaged(format!("accessor {index} of the glTF wants {count} {what}, {stride} bytes apart, of {have} bytes"))
        };
        let (data, stride) = match accessor.buffer_view {
            Some(view) => {
                let (data, stride) = self.view(view.value())?;
                let stride = stride.filter(|&stride| stride > 0).unwrap_or(size);
                let offset = accessor.byte_offset.map_or(0, |offset| offset.0).min(data.len() as u64);
                let data = &data[offset as usize..];
                if !fits(count, stride, size, data.len()) {
                    return Err(wants("elements", count, stride, data.len()));
                }
                (Some(data), stride)
            }
            None if accessor.sparse.is_some() => (None, size),
            None => return Err(damaged(format!("accessor {index} of the glTF has no data"))),
        };
        let sparse = match &accessor.sparse {
            None => None,
            Some(sparse) => {
                let from = |view: usize, offset: u64| -> Result<&[u8], StageError> {
                    let (data, _) = self.view(view)?;
                    Ok(&data[offset.min(data.len() as u64) as usize..])
                };
                let indices = from(sparse.indices.buffer_view.value(), sparse.indices.byte_offset.0)?;
                let values = from(sparse.values.buffer_view.value(), sparse.values.byte_offset.0)?;
                let index_kind = match &sparse.indices.component_type {
                    Checked::Valid(kind) => kind.0,
                    Checked::Invalid => {
                        return Err(damaged(format!("sparse indices of accessor {index} have no type")));
                    }
                };
                let n = sparse.count.0;
                if !fits(n, index_kind.size(), index_kind.size(), indices.len()) {
                    return Err(wants("sparse indices", n, index_kind.size(), indices.len()));
                }
                if !fits(n, size, size, values.len()) {
                    return Err(wants("sparse values", n, size, values.len()));
                }
                Some(Sparse { count: n as usize, indices, index_kind, values })
            }
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Elements { data, stride, count, component, n_components, normalized: accessor.normalized, sparse })
    }
}

/// Do `count` elements of `size` bytes, `stride` apart, end within `length`?
fn fits(count: u64, stride: usize, size: usize, length: usize) -> bool {
    let last = count.saturating_sub(1).checked_mul(stride as u64);
    let end = last.and_then(|last| last.checked_add(size as u64));
    stride >= size && (count == 0 || end.is_some_and(|end| end <= length as u64))
}

impl<'a> Elements<'a> {
    fn bytes(&self, i: usize) -> Option<&'a [u8]> {
        let size = self.component.size() * self.n_components;
        if let Some(place) = self.sparse.and_then(|sparse| sparse.find(i as u32).map(|place| (sparse, place))) {
            return place.0.values.get(place.1 * size..)?.get(..size);
        }
        self.data?.get(i * self.stride..)?.get(..size)
    }

    fn numbers<const N: usize>(&self, i: usize) -> [f32; N] {
        let Some(bytes) = self.bytes(i) else { return [0.0; N] };
        let size = self.component.size();
        std::array::from_fn(|k| {
            bytes.get(k * size..).map_or(0.0, |bytes| number(bytes, self.component, self.normalized))
        })
    }

    fn word(&self, i: usize) -> u32 {
        self.bytes(i).map_or(0, |bytes| unsigned(bytes, self.component))
    }
}

impl Sparse<'_> {
    /// Place of element `i` among the sparse ones, which are sorted.
    fn find(&self, i: u32) -> Option<usize> {
        let size = self.index_kind.size();
        let at = |place: usize| unsigned(&self.indices[place * size..], self.index_kind);
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            match at(middle).cmp(&i) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// glTF 2.0, section 3.6.2.2: the most negative of normalised integers is -1, too.
fn number(bytes: &[u8], component: ComponentType, normalized: bool) -> f32 {
    let (value, largest) = match component {
        ComponentType::I8 => (f32::from(bytes[0] as i8), 127.0),
        ComponentType::U8 => (f32::from(bytes[0]), 255.0),
        ComponentType::I16 => (f32::from(i16::from_le_bytes([bytes[0], bytes[1]])), 32767.0),
        ComponentType::U16 => (f32::from(u16::from_le_bytes([bytes[0], bytes[1]])), 65535.0),
        ComponentType::U32 => (unsigned(bytes, component) as f32, u32::MAX as f32),
        ComponentType::F32 => return f32::from_bits(unsigned(bytes, component)),
    };
    if normalized { (value / largest).max(-1.0) } else { value }
}

fn unsigned(bytes: &[u8], component: ComponentType) -> u32 {
    match component.size() {
        1 => u32::from(bytes[0]),
        2 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
        _ => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
    }
}

fn buffer<'a>(
    document: &Document,
    index: usize,
    bin: Option<&'a [u8]>,
    bundle: &'a Bundle,
) -> Result<Cow<'a, [u8]>, StageError> {
    let buffer = &document.buffers[index];
    let bytes = match (&buffer.uri, bin) {
        (Some(uri), _) => match resolve_uri(uri)? {
            Reference::Data(bytes) => Cow::Owned(bytes),
            Reference::File(path) => Cow::Borrowed(bundle.file(&path).ok_or_else(|| missing_buffer(&path))?),
        },
        (None, Some(bin)) if index == 0 => Cow::Borrowed(bin),
        _ => return Err(damaged(format!("buffer {index} of the glTF has no data"))),
    };
    let (length, have) = (buffer.byte_length.0, bytes.len());
    if (have as u64) < length {
        return Err(truncated(format!("buffer {index} of the glTF has {have} of {length} bytes")));
    }
    Ok(bytes)
}
