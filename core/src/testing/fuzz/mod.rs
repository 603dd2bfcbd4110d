//! Bodies of the fuzz targets: one function each from bytes to nothing, which panics where a promise is
//! broken.
//!
//! The harness around them, in `fuzz/` and in the test that replays the corpora, calls [`check`]: it knows
//! how to count the heap, which this crate may not. Every state machine is drained after its input, with
//! its clock run forward until no timer is left.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a fuzz target reports by panicking"
)]

mod channel;
mod connection_bytes;
mod connection_pair;
mod fast_crypto;
mod identify;
mod input;
mod multistream;
mod node_operations;
mod noise_handshake;
mod noise_record;
mod parsers;
mod signed_record;
mod yamux_header;
mod yamux_session;

pub use channel::{channel_inbox, channel_rpc};
pub use connection_bytes::connection_bytes;
pub use connection_pair::connection_pair;
pub use identify::identify;
pub use multistream::{multistream_dialer, multistream_listener};
pub use node_operations::node_operations;
pub use noise_handshake::noise_handshake;
pub use noise_record::noise_record;
pub use parsers::{multiaddr, peer_id, protobuf, varint};
pub use signed_record::signed_record;
pub use yamux_header::yamux_header;
pub use yamux_session::yamux_session;

use input::Input;

/// Most bytes of an input that count; what is behind them is ignored.
pub const MAX_INPUT: usize = 4096;

/// One fuzz target.
#[derive(Debug)]
pub struct Target {
    /// Its name: that of its function, its file in `fuzz/fuzz_targets` and its corpus.
    pub name: &'static str,
    /// Its body.
    pub run: fn(&[u8]),
    /// Most bytes of heap that the body may hold at any time, its own buffers and models included.
    pub max_heap: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "varint", run: varint, max_heap: 4 * KIB },
    Target { name: "protobuf", run: protobuf, max_heap: 256 * KIB },
    Target { name: "multiaddr", run: multiaddr, max_heap: 64 * KIB },
    Target { name: "peer_id", run: peer_id, max_heap: 16 * KIB },
    Target { name: "multistream_dialer", run: multistream_dialer, max_heap: 128 * KIB },
    Target { name: "multistream_listener", run: multistream_listener, max_heap: 128 * KIB },
    Target { name: "noise_handshake", run: noise_handshake, max_heap: 320 * KIB },
    Target { name: "noise_record", run: noise_record, max_heap: 512 * KIB },
    Target { name: "yamux_header", run: yamux_header, max_heap: 256 * KIB },
    Target { name: "yamux_session", run: yamux_session, max_heap: 16 * 1024 * KIB },
    Target { name: "connection_bytes", run: connection_bytes, max_heap: 4 * 1024 * KIB },
    Target { name: "connection_pair", run: connection_pair, max_heap: 16 * 1024 * KIB },
    Target { name: "node_operations", run: node_operations, max_heap: 512 * KIB },
    Target { name: "identify", run: identify, max_heap: 256 * KIB },
    Target { name: "signed_record", run: signed_record, max_heap: 128 * KIB },
    Target { name: "channel_inbox", run: channel_inbox, max_heap: 1024 * KIB },
    Target { name: "channel_rpc", run: channel_rpc, max_heap: 512 * KIB },
];

const KIB: usize = 1024;

/// Counts what the current thread holds in the heap.
pub trait Heap {
    /// Bytes that are allocated now.
    fn live(&self) -> isize;
    /// Takes the bytes that are allocated now for the highest so far.
    fn restart_peak(&self);
    /// The highest that [`live`](Self::live) has been since [`restart_peak`](Self::restart_peak).
    fn peak(&self) -> isize;
}

/// Runs the target called `name` on `data`.
///
/// # Panics
/// If the target finds a fault, holds more heap than its bound at any time, keeps any at the end, or does
/// not exist.
pub fn check(name: &str, data: &[u8], heap: &dyn Heap) {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else { panic!("no target is called {name}") };
    let before = heap.live();
    heap.restart_peak();
    (target.run)(&data[..data.len().min(MAX_INPUT)]);
    let peak = usize::try_from(heap.peak() - before).unwrap_or(0);
    assert!(peak <= target.max_heap, "{name} held {peak} bytes of heap, more than {}", target.max_heap);
    assert_eq!(heap.live(), before, "{name} keeps memory");
}
