//! What the node asks its driver to do, and tells the application.

use alloc::vec::Vec;
use core::time::Duration;

use super::{AttemptId, Ban, DialId, Endpoints, LimitName, PeerState};
use crate::{
    ConnectionId, Instant, Multiaddr, PeerId, Role,
    connection::{CloseReason, DenyReason},
    link::ToConnection,
};

/// What the driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Find the addresses behind a `/dns..` address and hand them to
    /// [`handle_resolved`](super::Node::handle_resolved), or say that there are none with
    /// [`handle_dial_failed`](super::Node::handle_dial_failed).
    Resolve {
        /// Which attempt.
        id: AttemptId,
        /// The name, with its port.
        addr: Multiaddr,
    },
    /// Connect a transport and hand it to [`handle_dialed`](super::Node::handle_dialed), or say that it failed.
    StartDial {
        /// Which attempt.
        id: AttemptId,
        /// Where to.
        addr: Multiaddr,
    },
    /// Give up an attempt. What it may still yield is ignored.
    AbortDial {
        /// Which attempt.
        id: AttemptId,
    },
    /// Put a message into the mailbox of a connection.
    Send {
        /// Which connection.
        to: ConnectionId,
        /// The message.
        message: ToConnection,
    },
}

/// What happened, for the application. At most [`MAX_EVENTS`](super::MAX_EVENTS) wait.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The state of a peer has changed.
    State {
        /// Which peer.
        peer: PeerId,
        /// The state now.
        state: PeerState,
    },
    /// A connection to a peer is open. Exactly one [`Closed`](Self::Closed) follows.
    Opened {
        /// Which peer.
        peer: PeerId,
        /// Which connection.
        connection: ConnectionId,
        /// Which end this node is.
        role: Role,
        /// Where the connection begins and ends.
        endpoints: Endpoints,
    },
    /// A connection is over. Also comes for connections whose handshake failed; those were never opened.
    Closed {
        /// The peer, if it was known.
        peer: Option<PeerId>,
        /// Which connection.
        connection: ConnectionId,
        /// It had [opened](Self::Opened).
        was_open: bool,
        /// Why.
        reason: CloseReason,
    },
    /// An inbound connection, or the peer at the end of one, was turned away.
    Denied {
        /// The peer, if it was known.
        peer: Option<PeerId>,
        /// The address.
        remote: Multiaddr,
        /// Why.
        reason: DenyReason,
    },
    /// A peer or a network was banned, by hand or for its score.
    Banned {
        /// The ban.
        ban: Ban,
    },
    /// A ban is over, was lifted, or had to make room for another one.
    Unbanned {
        /// The ban.
        ban: Ban,
    },
    /// Every address of a peer has failed.
    DialFailed {
        /// Which peer.
        peer: PeerId,
        /// Which effort.
        dial: DialId,
        /// Efforts that failed one after the other.
        failures: u32,
        /// When the next one begins; `None` if none does by itself.
        retry_at: Option<Instant>,
        /// What became of each address, in the order in which they failed. At most 32, however many addresses a name
        /// leads to. Empty if no address of the peer is known.
        attempts: Vec<FailedAttempt>,
    },
    /// A limit of the node stands in the way of something. Comes once, and again if less than 80 % of it were used
    /// meanwhile.
    LimitReached {
        /// Which.
        name: LimitName,
    },
}

/// An address that was tried in vain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedAttempt {
    /// The address, or the name that could not be resolved.
    pub addr: Multiaddr,
    /// Why.
    pub why: DialFailure,
}

/// Why an address was tried in vain. The driver tells the first five; the node knows the others itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// The other end refused.
    #[error("the other end refused")]
    Refused,
    /// There is no way there.
    #[error("there is no way there")]
    Unreachable,
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    TimedOut,
    /// The name leads nowhere.
    #[error("the name leads nowhere")]
    ResolveFailed,
    /// Something else.
    #[error("the transport failed")]
    Other,
    /// There was a transport, but the connection closed before it was open.
    #[error("the connection closed before it was open: {0}")]
    Closed(CloseReason),
    /// This node does not want it now: the network is banned, or there is no room for another connection.
    #[error("not wanted by this node: {0}")]
    Denied(DenyReason),
}

/// Why a dial was not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The peer is banned or not on the allow-list.
    #[error("the peer is banned; lift the ban first")]
    Banned,
    /// No address of the peer is known that is not in a banned network.
    #[error("no address of the peer is known that is not banned; add one")]
    NoAddresses,
    /// There is a connection already.
    #[error("there is a connection to the peer already")]
    AlreadyConnected,
    /// The peer is this node itself.
    #[error("the peer is this node itself")]
    SelfDial,
    /// The application's handshake has just failed with this peer.
    #[error("the peer failed the handshake; wait for {left:?}")]
    Cooldown {
        /// How long it stays so.
        left: Duration,
    },
    /// As many peers are known as may be, and none can be forgotten.
    #[error("as many peers are known as may be; remove one or raise the limit")]
    Full,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}
