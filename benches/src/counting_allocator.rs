//! A global allocator that counts what each thread allocates.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use septa_core::testing::fuzz::Heap;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Passes everything on to the system allocator and counts, thread by thread, so that tests that run
/// side by side do not disturb each other.
pub struct CountingAllocator;

impl CountingAllocator {
    /// Bytes that this thread has allocated minus those that it has freed.
    pub fn live_bytes() -> isize {
        LIVE_BYTES.get()
    }

    /// How often this thread has allocated or grown a block.
    pub fn allocations() -> usize {
        ALLOCATIONS.get()
    }

    /// Takes [`live_bytes`](Self::live_bytes) for the highest so far.
    pub fn restart_peak() {
        PEAK_BYTES.set(LIVE_BYTES.get());
    }

    /// The highest that [`live_bytes`](Self::live_bytes) has been since
    /// [`restart_peak`](Self::restart_peak).
    pub fn peak_bytes() -> isize {
        PEAK_BYTES.get()
    }

    fn count(allocations: usize, bytes: isize) {
        // A thread that is ending may allocate after its counters are gone; that is nobody's figure.
        let _ = LIVE_BYTES.try_with(|live| {
            live.set(live.get() + bytes);
            let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
        });
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    }
}

impl Heap for CountingAllocator {
    fn live(&self) -> isize {
        Self::live_bytes()
    }

    fn restart_peak(&self) {
        Self::restart_peak();
    }

    fn peak(&self) -> isize {
        Self::peak_bytes()
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on unchanged to the system allocator, which upholds the contract;
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(1, signed(layout.size()));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::count(0, -signed(layout.size()));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count(1, signed(new_size) - signed(layout.size()));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
