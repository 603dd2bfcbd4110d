//! What the fuzz targets share. Their bodies are in `septa_core::testing::fuzz`.

// The counting allocator of the benchmarks, without their dependencies.
#[path = "../benches/src/counting_allocator.rs"]
mod counting_allocator;

pub use counting_allocator::CountingAllocator;
pub use libfuzzer_sys::fuzz_target;
use septa_core::testing::fuzz;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Runs the target called `name` on `data` and counts the heap that it takes.
pub fn check(name: &str, data: &[u8]) {
    fuzz::check(name, data, &ALLOCATOR);
}

/// The fuzzer's entry point for the target with this name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::fuzz_target!(|data: &[u8]| $crate::check(stringify!($name), data));
    };
}
