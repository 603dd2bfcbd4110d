//! Measuring tools shared by the benchmarks and by the tests that count memory.

mod bulk;
mod churn;
mod cipher;
mod counting_allocator;
mod ends;
mod handshake;

pub use bulk::Bulk;
pub use churn::Churn;
pub use cipher::{Cipher, RECORD};
pub use counting_allocator::CountingAllocator;
pub use ends::Ends;
pub use handshake::Handshakes;

/// Whether a benchmark with a `main` of its own is to measure, and not only to show that it runs: cargo passes
/// `--bench`, unless it is `cargo test --benches`, and a person may add `--test`.
pub fn measures() -> bool {
    let given = |name| std::env::args().any(|arg| arg == name);
    given("--bench") && !given("--test")
}
