//! What can go wrong on a channel, and what to try.

use std::time::Duration;

use septa_core::{
    PeerId, ProtocolId,
    channel::{ConfigErrors, InvalidChannelName, message::TooLong},
};

use crate::node::AcceptError;

/// The channel was not opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidChannelName),
    /// The options cannot work.
    #[error("the options of the channel cannot work: {0}")]
    Config(#[from] ConfigErrors),
    /// This option is zero: nothing would ever pass.
    #[error("the options of the channel cannot work: {name} must not be zero")]
    Zero {
        /// The field of the [`ChannelOptions`](super::ChannelOptions).
        name: &'static str,
    },
    /// It is open already, or the node was shut down.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// Only named channels can be compressed: the protocol is somebody else's.
    #[cfg(feature = "zstd")]
    #[error("only named channels can be compressed")]
    ForeignCompression,
}

/// The message was not sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It will never be taken: split it, or open a stream of its own for it.
    #[error("the message for {peer} on the channel {channel} is too long: {error}")]
    TooLong {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        channel: ProtocolId,
        /// By how much.
        error: TooLong,
    },
    /// Too many senders wait for this peer already; see
    /// [`Config::max_waiting`](septa_core::channel::Config::max_waiting).
    #[error("too many senders wait for {peer} on the channel {channel}")]
    TooManyWaiting {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        channel: ProtocolId,
    },
    /// Messages wait for too many peers; see [`ChannelOptions::max_peers`](super::ChannelOptions::max_peers).
    #[error("the channel {channel} has messages for {max} peers already")]
    TooManyPeers {
        /// Which channel.
        channel: ProtocolId,
        /// How many there may be.
        max: usize,
    },
    /// There was no connection to the peer for too long; see [`ChannelOptions::keep`](super::ChannelOptions::keep). What
    /// waited for it was dropped.
    #[error("{peer} was not reached for {kept:?}: what waited for it on the channel {channel} was dropped")]
    PeerGone {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        channel: ProtocolId,
        /// For how long messages are kept.
        kept: Duration,
    },
    /// The channel was closed, or its node has ended.
    #[error("the channel {channel} is closed")]
    Closed {
        /// Which channel.
        channel: ProtocolId,
    },
}

/// The message was not sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room now: wait with [`ready`](super::Channel::ready) or [`send`](super::Channel::send).
    #[error("too much waits for {peer} on the channel {channel}")]
    Full {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        channel: ProtocolId,
    },
    /// Waiting would not help.
    #[error(transparent)]
    Failed(#[from] SendError),
}
