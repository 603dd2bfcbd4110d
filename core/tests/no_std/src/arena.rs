//! The smallest allocator that runs core: a fixed arena that gives out and never takes back.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Enough for what `main` does, once.
const SIZE: usize = 16 * 1024 * 1024;

pub(crate) struct Arena {
    bytes: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: `used` hands every byte of `bytes` to at most one allocation.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) }
    }
}

// SAFETY: a block starts at the asked alignment, lies inside the arena and overlaps no other, because
// `used` only grows and moves past the block in the same atomic step that claims it.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let padding = base.wrapping_add(used).align_offset(layout.align());
            let Some(start) = used.checked_add(padding) else { return ptr::null_mut() };
            let Some(end) = start.checked_add(layout.size()) else { return ptr::null_mut() };
            if end > SIZE {
                return ptr::null_mut();
            }
            match self.used.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return base.wrapping_add(start),
                Err(now) => used = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
