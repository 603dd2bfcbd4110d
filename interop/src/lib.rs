//! Other people's libp2p, made easy to drive from a test.
//!
//! A test starts a [`RustPeer`] beside the node under test, gives it an address or takes one from it, and
//! compares what both sides saw. Nothing here waits without a bound.

mod rust_peer;
mod serve;

pub use rust_peer::{Event, RustPeer, RustPeerConfig, RustPeerError, WAIT};
pub use serve::{ECHO, FRAMES, Frames, PERF, RESET, SINK, frames};
