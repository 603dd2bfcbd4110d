//! What can go wrong on a channel, and what to try.

use septa_core::{
    PeerId,
    channel::{ChannelName, ConfigErrors, InvalidChannelName, message::TooLong},
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
    /// It is open already, or the node was shut down.
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

/// The message was not sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It will never be taken: split it, or open a stream of its own for it.
    #[error("the message for {peer} on the channel {name} is too long: {error}")]
    TooLong {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        name: ChannelName,
        /// By how much.
        error: TooLong,
    },
    /// Too many senders wait for this peer already; see
    /// [`Config::max_waiting`](septa_core::channel::Config::max_waiting).
    #[error("too many senders wait for {peer} on the channel {name}")]
    TooManyWaiting {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        name: ChannelName,
    },
    /// Messages wait for too many peers; see [`ChannelOptions::max_peers`](super::ChannelOptions::max_peers).
    #[error("the channel {name} has messages for {max} peers already")]
    TooManyPeers {
        /// Which channel.
        name: ChannelName,
        /// How many there may be.
        max: usize,
    },
    /// The channel was closed, or its node has ended.
    #[error("the channel {name} is closed")]
    Closed {
        /// Which channel.
        name: ChannelName,
    },
}

/// The message was not sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room now: wait with [`ready`](super::Channel::ready) or [`send`](super::Channel::send).
    #[error("too much waits for {peer} on the channel {name}")]
    Full {
        /// Whom it was for.
        peer: PeerId,
        /// Which channel.
        name: ChannelName,
    },
    /// Waiting would not help.
    #[error(transparent)]
    Failed(#[from] SendError),
}
