//! What can go wrong on a node, with whom, and what to try.

use std::time::Duration;

use septa_core::{
    Multiaddr, PeerId, ProtocolId,
    connection::CloseReason,
    node::{BansFull, BookError, DialError, FailedAttempt, PeerState, SetBackoffError},
};

use crate::{
    error::{ConfigErrors, OpenStreamError},
    storage::StorageError,
};

/// The node was shut down. Nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node was shut down")]
pub struct ShutDown;

/// No node was made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The peer was not reached. What is wanted of it is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// No effort was begun.
    #[error("cannot connect to {peer}: {error}")]
    Refused {
        /// Whom.
        peer: PeerId,
        /// Why.
        error: DialError,
    },
    /// Every address has failed.
    #[error("cannot connect to {peer}: {}", list(attempts))]
    Failed {
        /// Whom.
        peer: PeerId,
        /// What became of each address. Empty if none is known.
        attempts: Vec<FailedAttempt>,
        /// When the node tries again by itself, if it does.
        retry_in: Option<Duration>,
    },
    /// The effort was called off, or the connection ended before the peer was established: it is in this state now.
    #[error("the connection to {peer} was given up; it is now in the state {state:?}")]
    Ended {
        /// Whom.
        peer: PeerId,
        /// What it is now.
        state: PeerState,
    },
    /// There was a connection, which is over already. The peer may not want this node.
    #[error("the connection to {peer} was lost at once: {reason}")]
    Lost {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: Box<CloseReason>,
    },
    /// The address does not say which peer is there.
    #[error("{addr} does not name a peer: add /p2p/<peer id>")]
    NoPeer {
        /// The address.
        addr: Multiaddr,
    },
    /// The node was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

/// No stream was opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no connection to the peer; connect first.
    #[error("there is no connection to {peer}; connect first")]
    NotConnected {
        /// Whom.
        peer: PeerId,
    },
    /// The connection did not allow it.
    #[error("cannot open a stream to {peer}: {error}")]
    Stream {
        /// Whom.
        peer: PeerId,
        /// Why.
        error: OpenStreamError,
    },
    /// The node was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

/// The protocol is not served by the caller.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// Somebody else serves it: another part of the program, or the node itself.
    #[error("{protocol} is served already")]
    Taken {
        /// The protocol.
        protocol: ProtocolId,
    },
    /// The node was shut down.
    #[error("the node was shut down")]
    ShutDown,
}

/// Nobody was banned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// All places are taken by bans for ever.
    #[error(transparent)]
    Full(#[from] BansFull),
    /// The node was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

/// The address book was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The book does not take it.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The delays do not work.
    #[error(transparent)]
    Backoff(#[from] SetBackoffError),
    /// The node was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

fn list(attempts: &[FailedAttempt]) -> String {
    if attempts.is_empty() {
        return "no address is known".to_owned();
    }
    let each = attempts.iter().map(|attempt| format!("{}: {}", attempt.addr, attempt.why));
    each.collect::<Vec<_>>().join("; ")
}
