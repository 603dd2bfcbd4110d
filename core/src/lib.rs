//! A sans-IO libp2p core: the bytes are libp2p's, the I/O is yours.
//!
//! Nothing here owns a socket, a clock, a thread or a source of randomness. Bytes, the current
//! [`Instant`] and a [`Seed`] come in; bytes, a deadline and events come out. The same inputs give
//! the same outputs, bit for bit, on every platform.
//!
//! # The driving contract
//!
//! * Inputs are called `handle_*`, commands are verbs, outputs are called `poll_*`, and getters take
//!   `&self`. Any number of inputs may come before a drain.
//! * After any call that takes `&mut self`, ask again for output, timeout and events.
//! * A `now` that runs backwards counts as the last one seen.
//! * Events say what became possible and never carry payload.
//!
//! # Layers
//!
//! ```text
//! node                       many peers: dialing, admission, which connection stays; touches no bytes
//! link                       what a connection is told by its node, and tells it
//! connection                 one secure, multiplexed connection over any ordered byte stream
//!   multistream noise yamux  usable alone
//!     buf crypto identity    block queues; the provider trait; keys
//!       time seed varint protobuf peer_id multiaddr protocol_id
//! signed_envelope            what a peer has signed, whoever passes it on
//!   peer_record              its addresses
//! channel                    messages, requests and the handshake of the applications, on streams
//! protocol                   ping, identify and perf: small machines on one stream each
//! ```
#![no_std]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::float_arithmetic, clippy::unreachable)
)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod buf;
pub mod channel;
pub mod connection;
pub mod crypto;
pub mod identity;
pub mod link;
pub mod multiaddr;
pub mod multistream;
pub mod node;
pub mod noise;
mod peer_id;
pub mod peer_record;
pub mod protobuf;
pub mod protocol;
mod protocol_id;
mod room;
mod seed;
pub mod signed_envelope;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod varint;
pub mod yamux;

pub use connection::Connection;
pub use identity::{Identity, PublicKey};
pub use link::{ConnectionId, ExpectedPeer, Link, Role};
pub use multiaddr::Multiaddr;
pub use peer_id::{InvalidPeerId, PeerId};
pub use peer_record::SignedPeerRecord;
pub use protocol_id::{InvalidProtocolId, MAX_PROTOCOL_ID_LEN, ProtocolId, ProtocolSet};
pub use seed::{Seed, SeedStream};
pub use time::Instant;
