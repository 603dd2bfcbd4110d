//! Identify: the listener of the stream says who it is, in one message, and ends the stream. In
//! identify push the dialer says it, unasked, when something has changed.
//!
//! All that a peer says here is a claim. What can be checked is the public key, against the one that
//! the connection has authenticated and that identify never overrides, and a signed peer record.

mod dialer;
mod listener;
mod message;
mod push;
mod remote;

pub use dialer::{ClaimedKey, ClaimedRecord, Dialer, Received};
pub use listener::Listener;
pub use push::{PushDialer, PushListener, PushOutcome, PushSchedule};
pub use remote::{RemoteInfo, Ticket};

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{Multiaddr, ProtocolId, PublicKey, protobuf};

/// The name of the protocol.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/id/1.0.0");

/// The name of identify push.
pub const PUSH_PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/id/push/1.0.0");

/// Pushes that a connection should read at the same time. Stops a peer that opens many to make us
/// hold a message for each; an honest one has a second only when it has changed again meanwhile.
pub const MAX_INBOUND_PUSHES: usize = 4;

/// From the start of one push to the start of the next on the same connection. What changes meanwhile
/// goes out together. Spares peers from a node that changes all the time.
pub const MIN_PUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Longest message that is sent, in bytes without its length: rust-libp2p reads no longer ones, and
/// only the first.
pub const MAX_SENT_MESSAGE_LEN: usize = 4096;

/// Longest message that is accepted, in bytes without its length. Stops a peer from making us
/// buffer; a longer one is refused from its length.
pub const MAX_MESSAGE_LEN: usize = 8192;

/// Most messages that are read from one stream; what follows is ignored. go splits what it has to
/// say into two. Stops a peer that never ends.
pub const MAX_MESSAGES: usize = 10;

/// How long the dialer waits for the end of the stream.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Most protocols kept of one peer; the rest is dropped. Stops a peer from filling our book.
pub const MAX_PROTOCOLS: usize = 1024;

/// Most addresses kept of one peer; the rest is dropped. Stops a peer from filling our book and from
/// making us dial strangers.
pub const MAX_LISTEN_ADDRS: usize = 500;

/// Longest protocol or agent version that is kept, in bytes; the rest is cut off. These are shown to
/// people and written to logs, which a peer must not flood.
pub const MAX_TEXT_LEN: usize = 256;

/// What a peer says of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Info {
    /// The key behind the peer id. Must be present to be sent; others refuse a message without it.
    pub public_key: Option<PublicKey>,
    /// Where the peer says that it can be reached. Nothing proves that the peer is there.
    pub listen_addrs: Vec<Multiaddr>,
    /// The protocols that the peer serves. Those that cannot be proposed, because they do not begin
    /// with `/` or are too long, are not kept.
    pub protocols: Vec<ProtocolId>,
    /// The address from which the reader's connection came, as the peer saw it. A hint: any peer
    /// can say anything here.
    pub observed_addr: Option<Multiaddr>,
    /// The family of protocols, such as `ipfs/0.1.0`. Untrusted text; see `agent_version`.
    pub protocol_version: Option<String>,
    /// Program and version, such as `kubo/0.30.0`.
    ///
    /// Untrusted text. As received it has at most [`MAX_TEXT_LEN`] bytes, and characters that
    /// control a terminal or the direction of writing are replaced by U+FFFD. It may still try to
    /// deceive a human or a log parser; quote it.
    pub agent_version: Option<String>,
    /// A signed envelope with the peer's addresses, neither opened nor checked here. In what a
    /// [`Dialer`] returns it is `None`; see [`Received::peer_record`].
    pub signed_peer_record: Option<Vec<u8>>,
}

/// The message cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The public key is missing.
    #[error("an identify message needs the public key")]
    NoPublicKey,
    /// It would be longer than [`MAX_SENT_MESSAGE_LEN`]; name fewer addresses or protocols.
    #[error("the identify message has {len} bytes; peers read at most 4096")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// The peer did not identify itself. The machine stays failed; the stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message is longer than [`MAX_MESSAGE_LEN`].
    #[error("an identify message is longer than 8192 bytes")]
    MessageTooLong,
    /// The length of a message is not in its shortest form.
    #[error("the length of an identify message is not in its shortest form")]
    LengthNotMinimal,
    /// A message is not the protobuf that it must be.
    #[error("an identify message cannot be read: {0}")]
    Malformed(#[from] protobuf::Error),
    /// The stream ended before the first message or inside one.
    #[error("the identify stream ended before its message was complete")]
    UnexpectedEof,
    /// No complete message came within [`TIMEOUT`].
    #[error("the peer did not identify itself within 10 seconds")]
    Timeout,
}
