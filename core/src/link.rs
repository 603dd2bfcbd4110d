//! What a [`Connection`](crate::Connection) is told about itself when it is made, and what it and its node tell
//! each other afterwards.

mod mailbox;

pub(crate) use mailbox::{ConnectionMessage, NodeMessage, Query, Report};
pub use mailbox::{Mailbox, SLOTS, Slotted, ToConnection, ToNode};

use crate::{PeerId, Seed};

/// Names a connection of a node. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ConnectionId(pub(crate) u64);

/// Which end of a connection this is. It never changes during a connection's life.
///
/// The dialer proposes protocols, is the Noise initiator and the Yamux client (odd stream ids).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Role {
    /// The end that asked for the connection.
    Dialer,
    /// The end that accepted it.
    Listener,
}

/// Whom this end wants to reach. A mismatch closes the connection before anything else is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpectedPeer {
    /// Only this peer will do.
    Exactly(PeerId),
    /// Any peer that proves the identity it claims. The usual choice of a listener; a dialer that
    /// chooses it cannot tell an impostor from the peer it wanted.
    Any,
}

/// Identity of one connection: its role, whom it expects and the seed of its randomness.
///
/// A TCP connection consumes it today; TLS, QUIC or relayed ones can later.
#[derive(Debug)]
pub struct Link {
    pub(crate) role: Role,
    pub(crate) expected: ExpectedPeer,
    pub(crate) seed: Seed,
    pub(crate) id: Option<ConnectionId>,
}

impl Link {
    /// The dialing end. Name the peer, or opt out with [`ExpectedPeer::Any`].
    pub fn dialer(expected: ExpectedPeer, seed: Seed) -> Self {
        Self { role: Role::Dialer, expected, seed, id: None }
    }

    /// The accepting end, which learns from the handshake who called.
    pub fn listener(seed: Seed) -> Self {
        Self { role: Role::Listener, expected: ExpectedPeer::Any, seed, id: None }
    }

    /// The connection belongs to a node: that admits its peer, and is told what becomes of it.
    pub(crate) fn of_node(mut self, id: ConnectionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Which connection of its node this is; `None` if there is no node.
    pub fn id(&self) -> Option<ConnectionId> {
        self.id
    }
}
