//! The elements of one tensor, out of its storage, in row-major order.

use super::{Container, Result, Tensor};

const CHUNK: usize = 1 << 20;
/// Up to this size a storage of which a tensor is a part is read as a whole:
/// once for all tensors in it, and with its checksum.
const SHARED: u64 = 256 << 20;

pub fn stream(container: &mut Container, tensor: &Tensor, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (layout, n_bytes) = (&tensor.layout, tensor.n_bytes());
    let place = *container.place(layout.storage);
    if n_bytes == 0 {
        return Ok(());
    }
    if is_row_major(tensor) {
        if n_bytes == place.n_bytes {
            return container.stream(layout.storage, sink);
        }
        if place.n_bytes > SHARED && place.deflated.is_none() {
            return container.stream_part(layout.storage, layout.offset, n_bytes, sink);
        }
        let storage = container.load(layout.storage)?;
        let (from, to) = (layout.offset as usize, (layout.offset + n_bytes) as usize);
        return storage[from..to].chunks(CHUNK).try_for_each(sink);
    }
    gather(container.load(layout.storage)?, tensor, sink)
}

/// Axes of length 1 may have any stride.
fn is_row_major(tensor: &Tensor) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.layout.strides).rev().all(|(dim, stride)| {
        let fits = *dim == 1 || *stride == expected;
        expected = expected.saturating_mul(*dim as u64);
        fits
    })
}

/// Counts through the axes, last one fastest. The tensor is not empty.
fn gather(storage: &[u8], tensor: &Tensor, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let size = tensor.dtype.size();
    // An axis of length 1 is never stepped along, and its stride may be any number.
    let step = |(dim, stride): (&usize, &u64)| if *dim == 1 { 0 } else { *stride as usize * size };
    let strides: Vec<usize> = tensor.shape.iter().zip(&tensor.layout.strides).map(step).collect();
    let mut index = vec![0; tensor.shape.len()];
    let mut at = tensor.layout.offset as usize;
    let mut out = Vec::with_capacity(CHUNK);
    loop {
        out.extend_from_slice(&storage[at..at + size]);
        if out.len() + size > CHUNK {
            sink(&out)?;
            out.clear();
        }
        let mut axis = index.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return sink(&out) };
            axis = next;
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < tensor.shape[axis] {
                break;
            }
            at -= strides[axis] * tensor.shape[axis];
            index[axis] = 0;
        }
    }
}
