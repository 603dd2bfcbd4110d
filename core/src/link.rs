//! What a [`Connection`](crate::Connection) is told about itself when it is made.

use crate::{PeerId, Seed};

/// Which end of a connection this is. It never changes during a connection's life.
///
/// The dialer proposes protocols, is the Noise initiator and the Yamux client (odd stream ids).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
}

impl Link {
    /// The dialing end. Name the peer, or opt out with [`ExpectedPeer::Any`].
    pub fn dialer(expected: ExpectedPeer, seed: Seed) -> Self {
        Self { role: Role::Dialer, expected, seed }
    }

    /// The accepting end, which learns from the handshake who called.
    pub fn listener(seed: Seed) -> Self {
        Self { role: Role::Listener, expected: ExpectedPeer::Any, seed }
    }
}
