//! Memory for kernels: aligned to cache lines, huge pages where it pays, scratch that is kept.

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error},
    cell::RefCell,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use rayon::prelude::*;

/// Numbers that are all zero bits when zero, and for which any bits are a value.
///
/// # Safety
/// Only for plain integers and floating-point numbers.
pub(super) unsafe trait Plain: Copy + Send + Sync {}
// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: plain numbers.
unsafe impl Plain for u16 {}

const LINE: usize = 64;
const HUGE_PAGE: usize = 2 << 20;

/// A fixed number of numbers, aligned to a cache line; to a huge page when larger than one.
pub(super) struct Aligned<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: owns plain numbers, like `Box<[T]>`.
unsafe impl<T: Plain> Send for Aligned<T> {}
// SAFETY: shared access only reads, like `Box<[T]>`.
unsafe impl<T: Plain> Sync for Aligned<T> {}

impl<T: Plain> Aligned<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        if layout::<T>(len).align() > LINE {
            return Self::build(len, HUGE_PAGE / size_of::<T>(), |_, _| ());
        }
        Aligned { start: allocate(len, true), len }
    }

    /// `from`, then zeros up to `len`.
    pub fn padded(from: &[T], len: usize) -> Self {
        let mut to = Self::zeroed(len);
        to[..from.len()].copy_from_slice(from);
        to
    }

    /// `len` numbers, `fill`ed in parallel: it gets the index of a chunk of `chunk` numbers
    /// (the last may be shorter), zeroed, so that padding needs no care.
    pub fn build(len: usize, chunk: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let start = allocate::<T>(len, false);
        let shared = Shared(start.as_ptr());
        (0..len.div_ceil(chunk)).into_par_iter().for_each(|i| {
            let first = i * chunk;
            let n = chunk.min(len - first);
            // SAFETY: chunks are disjoint parts of the new allocation; zeroed before they become a slice.
            let part = unsafe {
                let at = shared.get().add(first);
                at.write_bytes(0, n);
                slice::from_raw_parts_mut(at, n)
            };
            fill(i, part);
        });
        Aligned { start, len }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` is valid for `len` initialised numbers as long as `self` lives.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Aligned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate` with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), layout::<T>(self.len)) }
    }
}

fn layout<T>(len: usize) -> Layout {
    let size = (len * size_of::<T>()).max(1);
    let align = if size >= 2 * HUGE_PAGE { HUGE_PAGE } else { LINE };
    Layout::from_size_align(size, align).expect("fewer bytes than the address space has")
}

fn allocate<T>(len: usize, zeroed: bool) -> NonNull<T> {
    let layout = layout::<T>(len);
    // SAFETY: the layout has a size above zero.
    let start = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
    if start.is_null() {
        handle_alloc_error(layout)
    }
    if layout.align() == HUGE_PAGE {
        ask_for_huge_pages(start, layout.size());
    }
    // SAFETY: checked above.
    unsafe { NonNull::new_unchecked(start.cast()) }
}

/// Results, which begin at a cache line: where they do not, as allocators promise nothing, every load
/// and store of 16 numbers touches two lines.
#[derive(Debug, Default)]
pub struct Lined<T> {
    values: Vec<T>,
    first: usize,
}

/// From so many bytes on allocators give memory back to the system at once (glibc, malloc/malloc.c:
/// DEFAULT_MMAP_THRESHOLD_MAX) and get it anew page by page: of huge pages there are fewer.
const ANEW: usize = 32 << 20;

impl<T: Copy + Default> Lined<T> {
    /// `len` numbers that `fill` writes.
    ///
    /// # Safety
    /// `fill` writes all of them.
    pub(super) unsafe fn filled(len: usize, fill: impl FnOnce(*mut T)) -> Lined<T> {
        // SAFETY: as promised.
        unsafe { Lined::default().refilled(len, fill) }
    }

    /// The same in this memory, if there is enough of it.
    ///
    /// # Safety
    /// `fill` writes all of them.
    pub(super) unsafe fn refilled(self, len: usize, fill: impl FnOnce(*mut T)) -> Lined<T> {
        let mut values = self.values;
        values.clear();
        if values.capacity() < len + LINE / size_of::<T>() {
            values = Vec::with_capacity(len + LINE / size_of::<T>());
            if size_of_val(values.spare_capacity_mut()) >= ANEW {
                ask_for_huge_pages(values.as_mut_ptr().cast(), size_of::<T>() * values.capacity());
            }
        }
        let first = values.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        values.resize(first, T::default());
        fill(values.as_mut_ptr().wrapping_add(first));
        // SAFETY: there is room for a line more than `len`, and they are written, as promised.
        unsafe { values.set_len(first + len) }
        Lined { values, first }
    }

    /// The numbers with what is before them, and how much that is.
    pub fn into_parts(self) -> (Vec<T>, usize) {
        (self.values, self.first)
    }
}

impl<T> From<Vec<T>> for Lined<T> {
    fn from(values: Vec<T>) -> Lined<T> {
        Lined { values, first: 0 }
    }
}

impl<T> Deref for Lined<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.first..]
    }
}

/// For memory that was just allocated; a refusal changes nothing.
fn ask_for_huge_pages(start: *mut u8, len: usize) {
    #[cfg(target_os = "linux")]
    {
        // Whole ones within.
        let before = start.align_offset(HUGE_PAGE).min(len);
        let whole = (len - before) / HUGE_PAGE * HUGE_PAGE;
        // SAFETY: advice about pages, which changes nothing of what they hold.
        unsafe { libc::madvise(start.wrapping_add(before).cast(), whole, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, len);
}

/// A pointer that several threads write through, each to places of its own.
pub(super) struct Shared<T>(pub *mut T);

// SAFETY: only a pointer; who writes through it answers for where.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn get(&self) -> *mut T {
        self.0
    }
}

/// Gives `work` this thread's scratch: `lens` numbers each, aligned to cache lines, with whatever
/// was left in them. Kept for the next call. Not to be nested, nor to wait for other threads in.
pub(super) fn with_scratch<const N: usize, R>(lens: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Aligned<f32>> = RefCell::new(Aligned::zeroed(1 << 16));
    }
    const PER_LINE: usize = LINE / size_of::<f32>();
    SCRATCH.with_borrow_mut(|scratch| {
        let padded = lens.map(|len| len.next_multiple_of(PER_LINE) + PER_LINE);
        let needed: usize = padded.iter().sum();
        if scratch.len() < needed {
            *scratch = Aligned::zeroed(needed.next_power_of_two());
        }
        let mut rest: &mut [f32] = scratch;
        let parts = std::array::from_fn(|i| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(padded[i]);
            rest = others;
            &mut part[..lens[i]]
        });
        work(parts)
    })
}

/// The same memory as bf16 numbers, two for each f32.
pub(super) fn as_bf16(scratch: &mut [f32]) -> &mut [u16] {
    // SAFETY: any bits are an u16, which needs less alignment than f32.
    unsafe { slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), scratch.len() * 2) }
}

/// Gives `work` a buffer of this thread's for `len` numbers, with whatever was left in it.
/// Other threads may be given parts of it. Kept for the next call; a nested call gets another.
pub(super) fn with_kept<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static KEPT: std::cell::Cell<Option<Aligned<f32>>> = const { std::cell::Cell::new(None) };
    }
    let mut buffer = match KEPT.take() {
        Some(kept) if kept.len() >= len => kept,
        _ => Aligned::zeroed(len.next_power_of_two()),
    };
    let result = work(&mut buffer[..len]);
    KEPT.set(Some(buffer));
    result
}
