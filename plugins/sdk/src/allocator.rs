//! The memory of a guest: free lists by powers of two, split from pages that the host
//! grants. It is a sixth of a guest smaller than the standard library's allocator, and
//! a policy's few short-lived values ask for no more. It knows nothing of policies.
//!
//! Blocks are never joined again, so memory is bounded by the sum of what each size
//! ever needed at once. A plugin that wants another allocator switches the feature
//! `allocator` off.

#![expect(unsafe_code, reason = "an allocator hands out raw memory; each use says why it holds")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::null_mut;

const PAGE_BYTES: usize = 1 << PAGE_CLASS;
const PAGE_CLASS: usize = 16;
/// 16 bytes: a free block holds the pointer to the next.
const CLASS_MIN: usize = 4;
/// 1 GiB, far beyond what any host grants.
const CLASS_MAX: usize = 30;

/// Where whole pages come from.
pub(crate) trait Pages {
    /// So many fresh pages in a row, aligned to a page; null if there are none.
    fn grow(&self, pages: usize) -> *mut u8;
}

/// The pages of the instance's own memory.
#[cfg(target_arch = "wasm32")]
#[derive(Debug)]
pub(crate) struct WasmPages;

#[cfg(target_arch = "wasm32")]
impl Pages for WasmPages {
    fn grow(&self, pages: usize) -> *mut u8 {
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX { null_mut() } else { (before * PAGE_BYTES) as *mut u8 }
    }
}

/// One list of free blocks for each size, and where new ones come from.
#[derive(Debug)]
pub(crate) struct Allocator<P> {
    /// By class: blocks of 2^class bytes, each aligned to its size up to a page.
    free: [Cell<*mut u8>; CLASS_MAX + 1],
    pages: P,
}

impl<P> Allocator<P> {
    pub(crate) const fn new(pages: P) -> Self {
        Self { free: [const { Cell::new(null_mut()) }; CLASS_MAX + 1], pages }
    }
}

impl<P: Pages> Allocator<P> {
    #[inline(always)]
    fn pop(&self, class: usize) -> *mut u8 {
        let block = self.free[class].get();
        if !block.is_null() {
            // SAFETY: a listed block is free, at least a pointer long and aligned for
            // one, and `push` wrote the next one's address into it.
            self.free[class].set(unsafe { block.cast::<*mut u8>().read() });
        }
        block
    }

    /// The block must be of that class, and nobody's.
    #[inline(always)]
    unsafe fn push(&self, class: usize, block: *mut u8) {
        // SAFETY: the caller gives the block up; see `pop` for its size.
        unsafe { block.cast::<*mut u8>().write(self.free[class].get()) };
        self.free[class].set(block);
    }

    /// As `alloc`, for where every call counts.
    #[inline(always)]
    pub(crate) fn alloc_in_place(&self, layout: Layout) -> *mut u8 {
        class(layout).map_or(null_mut(), |class| self.take(class))
    }

    /// As `dealloc`, for where every call counts; with its promise.
    #[inline(always)]
    pub(crate) unsafe fn dealloc_in_place(&self, block: *mut u8, layout: Layout) {
        if let Some(class) = class(layout) {
            // SAFETY: the caller gives back what `alloc` gave for this layout.
            unsafe { self.push(class, block) };
        }
    }

    #[inline(always)]
    fn take(&self, class: usize) -> *mut u8 {
        let block = self.pop(class);
        if block.is_null() { self.split(class) } else { block }
    }

    #[cold]
    #[inline(never)]
    fn split(&self, class: usize) -> *mut u8 {
        let mut from = class;
        let mut block = null_mut::<u8>();
        while block.is_null() && from < PAGE_CLASS {
            from += 1;
            block = self.pop(from);
        }
        if block.is_null() {
            from = class.max(PAGE_CLASS);
            block = self.pages.grow(1 << (from - PAGE_CLASS));
        }
        while !block.is_null() && from > class {
            from -= 1;
            // SAFETY: the upper half of a block twice that size, which is ours alone.
            unsafe { self.push(from, block.add(1 << from)) };
        }
        block
    }
}

/// The class whose blocks are large enough and aligned; none beyond the largest.
#[inline(always)]
fn class(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).max(1 << CLASS_MIN);
    if bytes > 1 << CLASS_MAX || layout.align() > PAGE_BYTES {
        return None;
    }
    Some(bytes.next_power_of_two().trailing_zeros() as usize)
}

// SAFETY: a block is in a list or handed out, never both, and blocks don't overlap: they
// are whole pages or halves of a block. Each is as large and as aligned as its class,
// which `class` derives from the layout alone, so `dealloc` finds the same.
unsafe impl<P: Pages> GlobalAlloc for Allocator<P> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.alloc_in_place(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { self.dealloc_in_place(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that, rounded to the alignment, fits isize.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if class(new_layout) == class(layout) {
            return block;
        }
        // SAFETY: the old block is the caller's until it is given back here, and the new
        // one is another; both are at least as long as what is copied.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                block.copy_to_nonoverlapping(new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

// SAFETY: guests have one thread: the interface's calls are synchronous, and the target
// without atomics has no other threads.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for Allocator<WasmPages> {}

#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics"), feature = "allocator"))]
#[global_allocator]
pub(crate) static GLOBAL: Allocator<WasmPages> = Allocator::new(WasmPages);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    /// Pages from the test's own allocator, given back at the end.
    #[derive(Default)]
    struct HostPages(RefCell<Vec<(*mut u8, Layout)>>);

    impl Pages for HostPages {
        fn grow(&self, pages: usize) -> *mut u8 {
            let layout = Layout::from_size_align(pages * PAGE_BYTES, PAGE_BYTES).unwrap();
            // SAFETY: the layout isn't empty.
            let block = unsafe { std::alloc::alloc(layout) };
            self.0.borrow_mut().push((block, layout));
            block
        }
    }

    impl Drop for HostPages {
        fn drop(&mut self) {
            for (block, layout) in self.0.take() {
                // SAFETY: allocated above with this layout.
                unsafe { std::alloc::dealloc(block, layout) };
            }
        }
    }

    #[test]
    fn a_block_given_back_is_the_next_one_handed_out() {
        let allocator = Allocator::new(HostPages::default());
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: the layout isn't empty, and each block is given back once.
        unsafe {
            let first = allocator.alloc(layout);
            allocator.dealloc(first, layout);
            assert_eq!(allocator.alloc(layout), first);
        }
        assert_eq!(allocator.pages.0.borrow().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_are_aligned_and_keep_what_was_written(
            steps in prop::collection::vec((0_usize..140_000, 0_u32..9, any::<bool>()), 1..60),
        ) {
            let allocator = Allocator::new(HostPages::default());
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for (index, (size, align, resize)) in steps.into_iter().enumerate() {
                let mark = u8::try_from(index).unwrap();
                let layout = Layout::from_size_align(size.max(1), 1 << align).unwrap();
                // SAFETY: layouts aren't empty; each block is used within its layout, and
                // under the newest layout once it was resized.
                unsafe {
                    if let (true, Some((block, old, mark))) = (resize, held.pop()) {
                        let new = allocator.realloc(block, old, layout.size());
                        let kept = old.size().min(layout.size());
                        for offset in 0..kept {
                            prop_assert_eq!(new.add(offset).read(), mark);
                        }
                        new.write_bytes(mark, layout.size());
                        let new_layout =
                            Layout::from_size_align(layout.size(), old.align()).unwrap();
                        held.push((new, new_layout, mark));
                    }
                    let block = allocator.alloc(layout);
                    prop_assert_eq!(block.align_offset(layout.align()), 0);
                    block.write_bytes(mark, layout.size());
                    held.push((block, layout, mark));
                    if index % 3 == 2 {
                        let (block, layout, _) = held.swap_remove(index % held.len());
                        allocator.dealloc(block, layout);
                    }
                    for (block, layout, mark) in &held {
                        for offset in [0, layout.size() / 2, layout.size() - 1] {
                            prop_assert_eq!(block.add(offset).read(), *mark);
                        }
                    }
                }
            }
        }
    }
}
