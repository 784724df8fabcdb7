//! Large blocks of memory begin at cache lines, larger ones at huge pages.

use std::alloc::{GlobalAlloc, Layout, System};

use super::buffer::{HUGE_PAGE, LINE, ask_for_huge_pages};

/// From so many bytes on blocks begin at cache lines; what is smaller is left as it is.
const LARGE: usize = 16 << 10;

/// From so many bytes on at huge pages. Allocators keep smaller blocks that are given back for the
/// next who asks (glibc, malloc/malloc.c: DEFAULT_MMAP_THRESHOLD_MAX), so that their pages are there.
const HUGE: usize = 32 << 20;

/// The system's allocator, but for a program that runs networks.
///
/// Where numbers do not begin at a cache line, which allocators do not promise, every load and store of
/// 16 of them touches two lines. And features of a picture are so large that they are given back to
/// the system after each layer and come anew, page by page: with huge pages, far fewer of them.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: meshkiln_ops::TensorAllocator = meshkiln_ops::TensorAllocator;
/// ```
pub struct TensorAllocator;

fn aligned(layout: Layout) -> Layout {
    let align = match layout.size() {
        size if size >= HUGE => HUGE_PAGE,
        size if size >= LARGE => LINE,
        _ => 1,
    };
    layout.align_to(align).unwrap_or(layout)
}

// SAFETY: the system's allocator with layouts at least as strict; what decides about them, the size, is
// the same when a block is given back.
unsafe impl GlobalAlloc for TensorAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        // SAFETY: the caller's promises.
        let block = unsafe { System.alloc(layout) };
        if layout.size() >= HUGE && !block.is_null() {
            ask_for_huge_pages(block, layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises; a block is as large as was asked for.
        unsafe {
            if layout.size() < LARGE {
                return System.alloc_zeroed(layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises; it came from this layout.
        unsafe { System.dealloc(block, aligned(layout)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises; a block that is or becomes large moves from one layout to
        // another, and the smaller of both sizes is there to be copied.
        unsafe {
            if layout.size().max(new_size) < LARGE {
                return System.realloc(block, layout, new_size);
            }
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: TensorAllocator = TensorAllocator;

    #[test]
    fn large_blocks_begin_at_lines_and_pages_and_keep_what_they_hold() {
        let mut values: Vec<f32> = Vec::new();
        for i in 0..100_000 {
            values.push(i as f32);
            if values.capacity() * 4 >= LARGE {
                assert_eq!(values.as_ptr().addr() % LINE, 0, "{} numbers", values.capacity());
            }
        }
        values.truncate(1000);
        values.shrink_to_fit();
        values.reserve_exact(50_000);
        assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32));
        for (size, align) in [(LARGE, LINE), (HUGE + 5, HUGE_PAGE)] {
            let zeros = vec![0_u8; size];
            assert_eq!(zeros.as_ptr().addr() % align, 0, "{size} bytes");
            assert!(zeros.iter().all(|v| *v == 0));
        }
    }
}
