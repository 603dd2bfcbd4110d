//! What adapters share: parts of which a [`Runtime`](crate::Runtime) over an async runtime is made.
//!
//! Each adapter takes those that its runtime does not bring along. All of them reach out to the operating system, so
//! nothing else in this crate uses them.

mod build;
mod sockets;
mod system;
mod timer;

pub use build::{BuildError, build, build_node};
pub use sockets::{AcceptByFuture, socket};
pub use system::{MonotonicClock, OsSeeds, unix_time};
pub use timer::SleepTimer;
