//! Measuring tools shared by the benchmarks and by the tests that count memory.

mod bulk;
mod cipher;
mod counting_allocator;

pub use bulk::Bulk;
pub use cipher::{Cipher, RECORD};
pub use counting_allocator::CountingAllocator;
