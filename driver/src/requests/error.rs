//! What can go wrong with requests, and what to try.

use std::fmt;

use septa_core::{
    PeerId, ProtocolId,
    channel::{ConfigErrors, InvalidChannelName, message::TooLong, rpc},
};

use crate::node::AcceptError;

/// Requests cannot be asked and answered under this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestsError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidChannelName),
    /// The options cannot work.
    #[error("the options of the requests cannot work: {0}")]
    Config(#[from] ConfigErrors),
    /// It is served already, or the node was shut down.
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

/// There is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent, and never will be.
    #[error("the request to {peer} is too long: {error}")]
    TooLong {
        /// Whom it was for.
        peer: PeerId,
        /// By how much.
        error: TooLong,
    },
    /// Too many callers wait to ask this peer; see [`Config::max_waiting`](super::Config::max_waiting). Nothing was sent.
    #[error("too many callers wait to ask {peer}")]
    TooManyWaiting {
        /// Whom it was for.
        peer: PeerId,
    },
    /// Too many peers are being asked; see [`RequestOptions::max_peers`](super::RequestOptions::max_peers). Nothing was
    /// sent.
    #[error("{max} peers are being asked already")]
    TooManyPeers {
        /// How many there may be.
        max: usize,
    },
    /// The deadline came, and there was no connection to the peer. Nothing was sent.
    #[error("there was no connection to {peer} in time")]
    NotConnected {
        /// Whom it was for.
        peer: PeerId,
    },
    /// The deadline came before the answer. Whether the peer has acted on the request is not known.
    #[error("{peer} has not answered in time")]
    TimedOut {
        /// Whom it was for.
        peer: PeerId,
    },
    /// The connection or the stream ended before the answer. Whether the peer has acted on the request is not known.
    #[error("the stream to {peer} was lost before the answer")]
    Lost {
        /// Whom it was for.
        peer: PeerId,
    },
    /// The peer says that it does not answer. Whether it has acted on the request may be in its reason; a reset leaves
    /// that open, and may also come from a peer that has no room.
    #[error("{peer} refuses the request: {why}")]
    Refused {
        /// Whom it was for.
        peer: PeerId,
        /// How it says so.
        why: Refusal,
    },
    /// The peer does not answer such requests. It may begin to, later.
    #[error("{peer} does not answer requests of this protocol")]
    Unsupported {
        /// Whom it was for.
        peer: PeerId,
    },
    /// The peer broke the protocol: its stream was reset. Whether it has acted on the request is not known.
    #[error("{peer} broke the protocol: {error}")]
    Violation {
        /// Whom it was for.
        peer: PeerId,
        /// Which rule.
        error: Violation,
    },
    /// The handle was closed, or its node has ended.
    #[error("requests of {protocol} are closed")]
    Closed {
        /// Which requests.
        protocol: ProtocolId,
    },
}

/// How a peer says that it does not answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// With a reason: untrusted text of at most [`MAX_REASON_LEN`](rpc::MAX_REASON_LEN) bytes.
    Reason(Box<str>),
    /// By a reset of the request's own stream, with this code. There is no other way with
    /// [`exchanges`](crate::Node::exchanges).
    Reset(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Quoted, for it may contain anything.
            Self::Reason(reason) => write!(f, "{reason:?}"),
            Self::Reset(code) => write!(f, "the stream was reset with code {code:#x}"),
        }
    }
}

/// The rule that a peer broke in answering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// On the stream of all requests.
    #[error(transparent)]
    Stream(#[from] rpc::Error),
    /// On the stream of this one.
    #[error(transparent)]
    Exchange(#[from] rpc::exchange::Error),
}

/// The answer was not sent. The peer is told that there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// It is longer than [`Config::max_message_len`](super::Config::max_message_len), or
    /// [`MAX_REASON_LEN`](rpc::MAX_REASON_LEN) if it is a reason.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Nobody waits for it any more: the peer has cancelled the request or is gone, or this end was closed.
    #[error("nobody waits for the answer any more")]
    Cancelled,
}
